//! Trains the weights of given architectures, each from scratch, several at a time.
//!
//! Ground truth and the baseline SGD-k-step (section 5.3) are the same work: a generator in which
//! architectures share nothing is trained on one architecture alone. Every run is a function of
//! the configuration, the seed and the architecture, so that they may run in any order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use ghnas_core::{BuildContext, Catalogue, Executor, Network, StepOptions, WeightGenerator};

use crate::config::{Config, EntryConfig, LearningRateSchedule};
use crate::data::{BatchOptions, Batches, DataSet};
use crate::error::EngineError;
use crate::gradient::{Gradient, Part};
use crate::observer::{Context, Interrupt, Progress};
use crate::parts::{build_executor, build_generator, wrong};
use crate::scorer::Scorer;
use crate::step_inputs::StepInputs;
use crate::store::CandidateState;

/// What every run shares.
pub(crate) struct Workshop<'a> {
    pub(crate) config: &'a Config,
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) data: &'a DataSet,
}

/// A study's configuration with what `search.rung_generator` and `search.rung_learning_rate` say in
/// place of its generator: how single architectures are trained beside it.
///
/// # Errors
/// [`EngineError::Entry`] where `search.rung_generator` does not exist.
pub(crate) fn beside(config: &Config, catalogue: &Catalogue) -> Result<Config, EngineError> {
    let mut config = config.clone();
    let id = config.search.rung_generator.clone();
    let entry = catalogue.generators.get(&id).map_err(wrong("search.rung_generator"))?;
    config.generator = EntryConfig { id, settings: entry.default_settings() };
    config.train.learning_rate = config.search.rung_learning_rate;
    config.train.schedule = LearningRateSchedule::Halve;
    config.train.halve_at.clear();
    Ok(config)
}

/// One architecture's training between two steps.
pub(crate) struct Run {
    pub(crate) network: Network,
    pub(crate) generator: Box<dyn WeightGenerator>,
    pub(crate) executor: Box<dyn Executor>,
    batches: Batches,
    inputs: StepInputs,
    gradient: Gradient,
    what: String,
    /// Steps done.
    step: u64,
}

impl Workshop<'_> {
    /// A run that is about to begin, on one thread; `what` names its architecture in errors.
    pub(crate) fn begin(
        &self,
        network: Network,
        seed: u64,
        what: String,
    ) -> Result<Run, EngineError> {
        let catalogue = self.catalogue;
        let context = BuildContext { seed, ..BuildContext::new(catalogue) };
        let train = &self.config.train;
        let options = BatchOptions { batch: train.batch, augment: self.config.data.augment };
        Ok(Run {
            network,
            generator: build_generator(self.config, &context)?,
            executor: build_executor(self.config, &context)?,
            batches: Batches::new(self.data, options, seed)?,
            inputs: StepInputs::default(),
            gradient: Gradient::default(),
            what,
            step: 0,
        })
    }

    /// Trains a network for `steps` steps and scores it; nothing where it was interrupted. `what`
    /// names the architecture in errors.
    pub(crate) fn score_after(
        &self,
        steps: u64,
        network: Network,
        what: impl Fn() -> String,
        scorer: &Scorer,
        interrupt: &Interrupt,
    ) -> Result<Option<CandidateState>, EngineError> {
        let mut run = self.begin(network, self.config.seed, what())?;
        if !run.train_to(steps, steps, self.config, interrupt)? {
            return Ok(None);
        }
        let mut scorer = scorer.clone();
        let score = scorer.score(&run.network, &mut *run.generator, &mut *run.executor);
        Ok(Some(match score {
            Ok(score) => CandidateState::Scored(score),
            Err(error) => CandidateState::Failed(error.of_network(what)?),
        }))
    }
}

impl Run {
    /// Trains until `step` steps of `of` are done; false where it was interrupted before.
    pub(crate) fn train_to(
        &mut self,
        step: u64,
        of: u64,
        config: &Config,
        interrupt: &Interrupt,
    ) -> Result<bool, EngineError> {
        while self.step < step {
            if interrupt.is_requested() {
                return Ok(false);
            }
            let Self { network, generator, executor, batches, inputs, gradient, .. } = self;
            batches.fill(self.step, &mut inputs.images, &mut inputs.labels);
            let (images, labels) = inputs.part(0, inputs.labels.len());
            let part = Part { network, images, labels, share: 1.0 };
            let result = gradient.add(part, &mut **generator, &mut **executor);
            let what = || format!("{}, step {}", self.what, self.step);
            // What is not finite moves nothing.
            if result.map_err(|failure| failure.at(what()))?.finite {
                let learning_rate = config.train.learning_rate_at(self.step, of);
                let options = StepOptions { learning_rate, clip_norm: config.train.clip_norm };
                let failed = |source| EngineError::Generator { what: what(), source };
                generator.step(options).map_err(failed)?;
            }
            self.step += 1;
        }
        Ok(true)
    }
}

/// Jobs that may run in any order.
pub(crate) struct Jobs<'a, Job> {
    pub(crate) jobs: &'a [Job],
    /// What a job is, in the plural.
    pub(crate) unit: &'static str,
    /// Images that a job works through, to show how fast it goes.
    pub(crate) images: f64,
    /// Jobs at a time.
    pub(crate) threads: usize,
}

/// Runs `work` on every job, and hands each result to `finished` as it comes, on the calling
/// thread; what it gives is the loss to show. The first error ends it, after the jobs that have
/// begun; work that gives nothing was interrupted.
///
/// # Errors
/// [`EngineError::Interrupted`] after an interrupt; otherwise what failed.
pub(crate) fn run_jobs<Job: Sync, Done: Send>(
    jobs: &Jobs<'_, Job>,
    context: &mut Context<'_>,
    work: impl Fn(&Job) -> Result<Option<Done>, EngineError> + Sync,
    mut finished: impl FnMut(Done) -> Result<Option<f64>, EngineError>,
) -> Result<(), EngineError> {
    let Jobs { jobs, unit, images, threads } = *jobs;
    let (begun, of, mut done) = (context.clock.now(), jobs.len() as u64, 0);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure = Mutex::new(None);
    let fail = |error| {
        stop.store(true, Ordering::Relaxed);
        failure.lock().expect("no thread panics with it").get_or_insert(error);
    };
    let (send, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            let send = send.clone();
            let (next, stop, work, fail) = (&next, &stop, &work, &fail);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    match work(job) {
                        // Nobody takes results any more where one could not be stored.
                        Ok(Some(done)) => {
                            if send.send(done).is_err() {
                                return;
                            }
                        }
                        Ok(None) => return,
                        Err(error) => return fail(error),
                    }
                }
            });
        }
        drop(send);
        for result in results {
            let loss = match finished(result) {
                Ok(loss) => loss,
                Err(error) => return fail(error),
            };
            done += 1;
            let seconds = context.clock.now().saturating_sub(begun).as_secs_f64();
            context.observer.candidate_scored(&Progress {
                unit,
                done,
                of,
                loss,
                images_per_second: done as f64 * images / seconds,
                seconds_left: (of - done) as f64 * seconds / done as f64,
            });
        }
    });
    match failure.into_inner().expect("no thread panics with it") {
        Some(error) => Err(error),
        None if done < of => Err(EngineError::Interrupted { done, of, unit }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Silent;
    use crate::toy::Ticks;

    fn run<Job: Sync, Done: Send>(
        jobs: &[Job],
        threads: usize,
        work: impl Fn(&Job) -> Result<Option<Done>, EngineError> + Sync,
        finished: impl FnMut(Done) -> Result<Option<f64>, EngineError>,
    ) -> Result<(), EngineError> {
        let (clock, interrupt) = (Ticks::default(), Interrupt::default());
        let mut context = Context { observer: &mut Silent, interrupt, clock: &clock };
        let jobs = Jobs { jobs, unit: "jobs", images: 1.0, threads };
        run_jobs(&jobs, &mut context, work, finished)
    }

    #[test]
    fn what_was_interrupted_is_said() {
        let jobs: Vec<u64> = (0..5).collect();
        let work = |&job: &u64| Ok((job < 2).then_some(job));
        let result = run(&jobs, 1, work, |_| Ok(None));
        assert!(matches!(result, Err(EngineError::Interrupted { done: 2, of: 5, .. })));
    }

    #[test]
    fn every_job_is_done_once_whatever_the_threads() {
        let jobs: Vec<usize> = (0..50).collect();
        for threads in [1, 2, 7, 100] {
            let mut done = Vec::new();
            let finished = |job| {
                done.push(job);
                Ok(None)
            };
            run(&jobs, threads, |job| Ok(Some(*job)), finished).unwrap();
            done.sort_unstable();
            assert_eq!(done, jobs);
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let jobs: Vec<u64> = (0..50).collect();
        let work = |&job: &u64| match job {
            3 => Err(EngineError::Command { candidate: job, reason: "broken".into() }),
            _ => Ok(Some(job)),
        };
        let mut done = 0;
        let result = run(&jobs, 1, work, |_| {
            done += 1;
            Ok(None)
        });
        assert!(matches!(result, Err(EngineError::Command { candidate: 3, .. })));
        assert_eq!(done, 3);
    }
}
