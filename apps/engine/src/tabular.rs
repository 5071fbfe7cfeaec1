//! Tabular mode: searchers run against a table of published accuracies instead of trained networks,
//! so that hundreds of runs take seconds (NAS-Bench-201, Dong and Yang 2020).
//!
//! A searcher is told the columns that it searches by, cheapest fidelity first: a column a rung.
//! What is reported after each evaluation is another column's value of the architecture that the
//! searcher would pick: the best so far by the highest of its own rungs that it has reached. That
//! column is of another type ([`Reported`](table::Reported)) and is looked at after all runs.

mod regret;
mod report;
mod run;
mod table;
#[cfg(test)]
mod tests;

pub use report::{RegretPoint, SearcherReport, TableReport, TabularReport, regret_csv, regret_svg};
pub use table::{TableColumns, TabularTable};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ghnas_core::{BuildContext, Catalogue, Encoder, SearchSpace, rng};

use self::regret::summarise;
use self::run::{Run, run};
use crate::config::Config;
use crate::error::EngineError;
use crate::observer::Context;
use crate::parts::build_searcher;
use crate::scratch::{Jobs, run_jobs};

/// Searchers that are run against a table.
pub struct TabularWork<'a> {
    /// The table.
    pub table: &'a TabularTable,
    /// The space that it is of.
    pub space: &'a Arc<dyn SearchSpace>,
    /// A configuration a searcher: `searcher`, `seed` and `search.candidates` (the evaluations of
    /// a run) are read of it.
    pub configs: &'a [Config],
    /// Where searchers come from.
    pub catalogue: &'a Catalogue,
    /// What searchers that ask for embeddings learn from; shared by all runs.
    pub encoder: Option<&'a Arc<dyn Encoder>>,
    /// Runs of each searcher.
    pub seeds: u64,
    /// Runs at a time.
    pub threads: usize,
}

/// One run to do.
struct Job {
    searcher: usize,
    seed: u64,
}

/// Runs every searcher with every seed. The result is the same for any number of threads.
///
/// After an interrupt, the runs that are finished are reported, and
/// [`interrupted`](TabularReport::interrupted) says so.
///
/// # Errors
/// [`EngineError::Command`] where a searcher asks for what space and table do not have; otherwise
/// what failed.
pub fn search_table(
    work: &TabularWork<'_>,
    context: &mut Context<'_>,
) -> Result<TabularReport, EngineError> {
    let TabularWork { table, space, configs, catalogue, encoder, seeds, threads } = *work;
    let started = context.clock.now();
    // Seed by seed, so that what is interrupted has as many seeds of each searcher as of any other.
    let jobs = (0..seeds).flat_map(|seed| (0..configs.len()).map(move |searcher| (searcher, seed)));
    let jobs: Vec<Job> = jobs.map(|(searcher, seed)| Job { searcher, seed }).collect();
    let interrupt = context.interrupt.clone();
    let asked = AtomicBool::new(false);
    let one = |job: &Job| -> Result<Option<(usize, u64, Run)>, EngineError> {
        let config = &configs[job.searcher];
        let seed = rng::derive_seed(config.seed, "tabular-run", job.seed);
        let ask = || {
            asked.store(true, Ordering::Relaxed);
            encoder.cloned().ok_or_else(|| "--embeddings STUDY gives a table embeddings".into())
        };
        let build = BuildContext { seed, encoder: &ask, ..BuildContext::new(catalogue) };
        let mut searcher = build_searcher(config, space, &build)?;
        let name = &config.searcher.id;
        let wanted = config.search.candidates;
        let run = run(table.searched(), &**space, (name, &mut *searcher), wanted, &interrupt)?;
        Ok(run.map(|run| (job.searcher, job.seed, run)))
    };
    let mut runs: Vec<Vec<(u64, Run)>> = configs.iter().map(|_| Vec::new()).collect();
    let jobs = Jobs { jobs: &jobs, unit: "runs", images: 0.0, threads };
    let done = run_jobs(&jobs, context, one, |(searcher, seed, run)| {
        runs[searcher].push((seed, run));
        Ok(None)
    });
    let interrupted = match done {
        Ok(()) => false,
        Err(EngineError::Interrupted { .. }) => true,
        Err(other) => return Err(other),
    };
    if encoder.is_some() && !asked.into_inner() {
        context.observer.message("no searcher asks for the embeddings that are given");
    }
    let reports = configs.iter().zip(runs).map(|(config, mut runs)| {
        // They end in any order.
        runs.sort_by_key(|(seed, _)| *seed);
        let runs: Vec<Run> = runs.into_iter().map(|(_, run)| run).collect();
        summarise(config, table.reported(), &runs, threads)
    });
    Ok(TabularReport {
        space: space.id().into(),
        table: table.report(),
        optimum: table.reported().optimum(),
        runs: reports.collect(),
        interrupted,
        seconds: context.clock.now().saturating_sub(started).as_secs_f64(),
    })
}
