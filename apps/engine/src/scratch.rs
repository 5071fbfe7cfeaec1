//! Trains the weights of given architectures, each from scratch, several at a time.
//!
//! Ground truth and the baseline SGD-k-step (section 5.3) are the same work: a generator in which
//! architectures share nothing is trained on one architecture alone. Every run is a function of
//! the configuration, the seed and the architecture, so that they may run in any order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use ghnas_core::{
    Architecture, BuildContext, Catalogue, Device, Executor, Network, SearchSpace, StepOptions,
    Task, WeightGenerator,
};

use crate::config::Config;
use crate::data::{BatchOptions, Batches, DataSet};
use crate::error::EngineError;
use crate::gradient::{Gradient, Part};
use crate::observer::Interrupt;
use crate::parts::{build_executor, build_generator};
use crate::step_inputs::StepInputs;

/// What every run shares.
pub(crate) struct Workshop<'a> {
    pub(crate) config: &'a Config,
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) space: &'a dyn SearchSpace,
    pub(crate) data: &'a DataSet,
    pub(crate) task: Task,
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
    pub(crate) step: u64,
    /// Steps without a finite loss and gradient, which moved nothing.
    pub(crate) skipped: u64,
}

impl Workshop<'_> {
    /// A run that is about to begin, on one thread.
    pub(crate) fn begin(&self, arch: &Architecture, seed: u64) -> Result<Run, EngineError> {
        let what = format!("architecture {}, seed {seed}", arch.hash());
        let network = self
            .space
            .lower(arch, self.task)
            .map_err(|source| EngineError::Space { what: what.clone(), source })?;
        let catalogue = self.catalogue;
        let context = BuildContext { catalogue, seed, device: Device::Cpu, threads: 1 };
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
            skipped: 0,
        })
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
            let part = Part { network, inputs, share: 1.0 };
            let result = gradient.add(part, &mut **generator, &mut **executor);
            let what = || format!("{}, step {}", self.what, self.step);
            let mut moved = result.map_err(|failure| failure.at(what()))?.finite;
            if moved {
                let learning_rate = config.train.learning_rate_at(self.step, of);
                let options = StepOptions { learning_rate, clip_norm: config.train.clip_norm };
                let done = generator.step(options);
                let failed = |source| EngineError::Generator { what: what(), source };
                moved = done.map_err(failed)?.applied;
            }
            self.skipped += u64::from(!moved);
            self.step += 1;
        }
        Ok(true)
    }
}

/// Runs `work` on every job, `threads` at a time, and hands each result to `finished` as it comes,
/// on the calling thread. The first error ends it, after the jobs that have begun.
pub(crate) fn run_jobs<Job: Sync, Done: Send>(
    jobs: &[Job],
    threads: usize,
    work: impl Fn(&Job) -> Result<Option<Done>, EngineError> + Sync,
    mut finished: impl FnMut(Done) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
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
        for done in results {
            if let Err(error) = finished(done) {
                return fail(error);
            }
        }
    });
    failure.into_inner().expect("no thread panics with it").map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once_whatever_the_threads() {
        let jobs: Vec<usize> = (0..50).collect();
        for threads in [1, 2, 7, 100] {
            let mut done = Vec::new();
            let finished = |job| {
                done.push(job);
                Ok(())
            };
            run_jobs(&jobs, threads, |job| Ok(Some(*job)), finished).unwrap();
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
        let result = run_jobs(&jobs, 1, work, |_| {
            done += 1;
            Ok(())
        });
        assert!(matches!(result, Err(EngineError::Command { candidate: 3, .. })));
        assert_eq!(done, 3);
    }
}
