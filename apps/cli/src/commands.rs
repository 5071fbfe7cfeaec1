//! One file a command; this one only hands over.

mod architectures;
mod bench;
mod config;
mod correlate;
mod data;
mod export;
mod inspect;
mod plugins;
mod rank;
mod study;
mod tabular;
mod truth;

use anyhow::Result;
use ghnas_engine::Piece;

use crate::args::{Arguments, Command, ConfigCommand, Evaluator};

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { command, global } = arguments;
    match command {
        Command::Search { config, study, table } => match table.evaluator {
            Evaluator::Generator => study::search(global, &config, &study, &table),
            Evaluator::Table => tabular::run(global, &config, &study, &table),
        },
        Command::TrainGenerator { config, study } => study::train(global, &config, &study),
        Command::Score { config, study } => study::score(global, &config, &study),
        Command::Rank { config, study, proxy, archs, out } => {
            let options = rank::Options { study, proxy, archs, out };
            rank::run(global, &config, &options)
        }
        Command::Correlate { config, study, truth_table, column } => {
            let options = correlate::Options { study, table: truth_table.zip(column) };
            correlate::run(global, &config, &options)
        }
        Command::Truth { config, out, archs, piece, merge } => {
            let options =
                truth::Options { out, archs, piece: piece.unwrap_or(Piece::WHOLE), merge };
            truth::run(global, &config, &options)
        }
        Command::Inspect { config, arch } => inspect::run(global, &config, &arch),
        Command::Sample { config, sample } => architectures::sample(global, &config, &sample),
        Command::Mutate { config, arch, n } => architectures::mutate(global, &config, &arch, n),
        Command::Crossover { config, arch, n } => architectures::cross(global, &config, &arch, n),
        Command::Export { config, arch, format, lowered, out } => {
            export::run(global, &config, &arch, format, lowered, out.as_deref())
        }
        Command::Bench { what, config, arch, batch, runs, tensors } => {
            let options = bench::Options {
                arch: arch.as_deref(),
                batch: batch as usize,
                runs: runs as usize,
                tensors: tensors.as_deref(),
            };
            bench::run(global, &config, what, options)
        }
        Command::Data(command) => data::run(&global, command),
        Command::Plugins(command) => plugins::run(&global, command),
        Command::Config(ConfigCommand::Show { config }) => config::show(global, &config),
    }
}
