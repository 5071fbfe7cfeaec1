//! Ground truth: architectures trained from scratch by one recipe, with several seeds each.
//!
//! Nothing that ranks can read it: methods are handed architectures, and a [`Truth`] meets their
//! scores only in [`compare`](crate::comparison::compare()).

mod csv;
mod table;
#[cfg(test)]
mod tests;

pub use csv::read_csv;
pub(crate) use csv::{Rows, Unit, read_rows};
pub use table::{Truth, TruthHeader, TruthRow, TruthTable};

use std::collections::BTreeSet;

use ghnas_core::loss::cross_entropy;
use ghnas_core::{Architecture, Catalogue, Images, LossSum, Phase, SearchSpace, Weights, rng};
use serde::Serialize;

use crate::comparison::TruthColumn;
use crate::config::TruthConfig;
use crate::data::TestSplit;
use crate::error::EngineError;
use crate::observer::Context;
use crate::parts::Parts;
use crate::scorer::{even_batches, last_logits};
use crate::scratch::{Jobs, Run, Workshop, run_jobs};

/// What `train_truth` did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TruthReport {
    /// The table.
    pub file: std::path::PathBuf,
    /// Runs in the table.
    pub trained: u64,
    /// Runs that there are to be.
    pub total: u64,
    /// Runs whose loss did not stay finite.
    pub failed: u64,
}

/// Which runs this process does: of all runs in order, every `of`th from `number` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// From 0.
    pub number: u64,
    /// Of how many.
    pub of: u64,
}

impl Piece {
    /// All runs.
    pub const WHOLE: Self = Self { number: 0, of: 1 };
}

/// One run to do.
struct Job {
    arch: Architecture,
    seed: u64,
}

/// The architectures that ground truth is made of: the first `count` different ones of the
/// sampler's stream for this purpose.
///
/// # Errors
/// [`EngineError::Space`] where the space cannot sample.
pub fn sample_truth(
    space: &dyn SearchSpace,
    seed: u64,
    count: u64,
) -> Result<Vec<Architecture>, EngineError> {
    let (mut archs, mut hashes) = (Vec::new(), BTreeSet::new());
    // A space may hold fewer different architectures than are asked for.
    for index in 0..count.saturating_mul(100) {
        if archs.len() as u64 == count {
            break;
        }
        let seed = rng::derive_seed(seed, "truth-arch", index);
        let arch = space.sample(Phase::Score, seed).map_err(|source| {
            let what = format!("architecture {index} of the ground truth");
            EngineError::Space { what, source }
        })?;
        if hashes.insert(arch.hash()) {
            archs.push(arch);
        }
    }
    Ok(archs)
}

/// What ground truth is made with.
pub struct TruthWork<'a> {
    /// The recipe.
    pub config: &'a TruthConfig,
    /// What the recipe chooses.
    pub parts: &'a Parts,
    /// Where generators and executors come from, one of each a run.
    pub catalogue: &'a Catalogue,
    /// The images that accuracy is measured on.
    pub test: &'a TestSplit,
    /// What is trained.
    pub archs: &'a [Architecture],
    /// Which of the runs.
    pub piece: Piece,
    /// Runs at a time, each on a thread of its own.
    pub threads: usize,
}

/// Trains what is missing in `table` and writes every run as it is done. A run that is interrupted
/// is begun anew the next time, with the same result.
///
/// # Errors
/// [`EngineError::Interrupted`] after an interrupt; otherwise what failed.
pub fn train_truth(
    table: &mut TruthTable,
    work: &TruthWork<'_>,
    context: &mut Context<'_>,
) -> Result<TruthReport, EngineError> {
    let TruthWork { config, parts, catalogue, test, archs, piece, threads } = *work;
    let (seeds, recipe) = (config.keys.seeds, &config.config);
    // Seed by seed, so that a table that is not finished has as many architectures as it can.
    let all = (0..seeds).flat_map(|seed| archs.iter().map(move |arch| (arch, seed)));
    let mine = (0..).zip(all).filter(|(number, _)| number % piece.of == piece.number);
    let jobs: Vec<Job> = mine
        .filter(|(_, (arch, seed))| !table.holds(&arch.hash().to_string(), *seed))
        .map(|(_, (arch, seed))| Job { arch: arch.clone(), seed })
        .collect();
    let workshop = Workshop { config: recipe, catalogue, data: &parts.data };
    let interrupt = context.interrupt.clone();
    let (space, task, steps) = (&*parts.space, parts.task(), recipe.train.steps);
    let train = |Job { arch, seed }: &Job| -> Result<Option<TruthRow>, EngineError> {
        let started = std::time::Instant::now();
        let run_seed = rng::derive_seed(recipe.seed, "truth-run", *seed);
        let what = format!("architecture {}, seed {run_seed}", arch.hash());
        let lowered = space.lower(arch, task);
        let network =
            lowered.map_err(|source| EngineError::Space { what: what.clone(), source })?;
        let mut run = workshop.begin(network, run_seed, what)?;
        if !run.train_to(steps, steps, recipe, &interrupt)? {
            return Ok(None);
        }
        let sum = test_loss(&mut run, test, recipe.search.batch)?;
        Ok(Some(TruthRow::new(arch.clone(), *seed, sum, started.elapsed())))
    };
    let images = steps as f64 * recipe.train.batch as f64;
    let jobs = Jobs { jobs: &jobs, unit: "runs", images, threads };
    run_jobs(&jobs, context, train, |row| {
        let loss = row.loss;
        table.add(row).map(|()| loss)
    })?;
    table.sort(archs)?;
    Ok(table.report(archs.len() as u64 * seeds))
}

/// Loss and accuracy on all test images, batch norm by the statistics of each batch.
fn test_loss(run: &mut Run, test: &TestSplit, batch: usize) -> Result<LossSum, EngineError> {
    let Run { network, generator, executor, .. } = run;
    let what = || "test images".to_string();
    let mut weights = Weights::zeros_for(network.params());
    generator
        .predict(network, &mut weights)
        .map_err(|source| EngineError::Generator { what: what(), source })?;
    let (mut sum, mut logits) = (LossSum::default(), Vec::new());
    for batch in even_batches(test.len(), batch) {
        let (images, labels) = test.images(batch.start, batch.len());
        let batch = Images { data: &images, count: labels.len() };
        let last = last_logits(network, &weights, batch, &mut **executor, &mut logits)
            .map_err(|source| EngineError::Executor { what: what(), source })?;
        sum += cross_entropy(last, &labels, network.classes());
    }
    Ok(sum)
}

/// The truth as statistics want it.
pub fn truth_column(truth: &Truth) -> TruthColumn<'_> {
    let by_seed = truth.by_seed();
    let mean =
        |arch: usize| by_seed.iter().map(|seed| seed[arch]).sum::<f64>() / by_seed.len() as f64;
    let accuracy = (0..truth.archs().len()).map(mean).collect();
    TruthColumn { hashes: truth.names(), accuracy, by_seed: by_seed.to_vec() }
}
