//! `ghnas truth`: trains architectures from scratch, as ground truth for `ghnas correlate`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use ghnas_engine::{
    ComparisonConfig, Context, Parts, Piece, SystemClock, TruthHeader, TruthTable, TruthWork, data,
    sample_truth, train_truth,
};

use super::rank::read_architectures;
use crate::args::{ConfigArgs, Global};
use crate::interrupt;
use crate::progress::Bars;
use crate::session::{comparison, print, print_json};

/// Flags of the command.
pub(crate) struct Options {
    pub(crate) out: Option<PathBuf>,
    pub(crate) archs: Option<PathBuf>,
    pub(crate) piece: Piece,
    pub(crate) merge: Vec<PathBuf>,
}

pub(crate) fn run(global: Global, config: &ConfigArgs, options: &Options) -> Result<()> {
    let (catalogue, ComparisonConfig { truth, .. }) = comparison(&global, config)?;
    let recipe = &truth.config;
    let Some(dir) = &recipe.data.dir else {
        bail!(
            "ground truth needs test images, which the built-in excerpt does not have; \
             ghnas data fetch cifar10, then add --set data.dir=DIR"
        );
    };
    let parts = Parts::build(recipe, &catalogue, global.device, 1)?;
    let archs = match &options.archs {
        Some(path) => read_architectures(&*parts.space, path)?,
        None => sample_truth(&*parts.space, recipe.seed, truth.keys.archs)?,
    };
    let path = options.out.as_deref().unwrap_or(&truth.keys.file);
    let mut table = TruthTable::continued(path, &TruthHeader::of(recipe))?;
    let mut bars = Bars::new(global.quiet);
    for piece in &options.merge {
        use ghnas_engine::Observer;
        let added = table.merge(&TruthTable::read(piece)?)?;
        bars.message(&format!("{added} runs from {}", piece.display()));
    }
    let test = data::load_test(dir)?;
    let work = TruthWork {
        config: &truth,
        parts: &parts,
        catalogue: &catalogue,
        test: &test,
        archs: &archs,
        piece: options.piece,
        threads: global.threads(),
    };
    let clock = SystemClock::default();
    let interrupt = interrupt::on_signals()?;
    let mut context = Context { observer: &mut bars, interrupt, clock: &clock };
    let report = train_truth(&mut table, &work, &mut context);
    bars.clear();
    let report = report?;
    if global.json {
        return print_json(&report);
    }
    let failed = match report.failed {
        0 => String::new(),
        failed => format!(", {failed} of them diverged"),
    };
    print(&format!(
        "{} of {} runs are in {}{failed}\n",
        report.trained,
        report.total,
        report.file.display()
    ))
}
