//! Further generators, executors and proxies, so that several candidates can be scored at once.
//!
//! Each runs on one thread of its own: for small networks that is faster than one network on all
//! threads. Scores are the same to the byte either way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ghnas_core::{BuildContext, Catalogue, Device, Executor, WeightGenerator};

use crate::config::Config;
use crate::error::EngineError;
use crate::lowering::Lowered;
use crate::parts::{build_executor, build_generator};
use crate::scorer::{Score, ScoreError, Scorer};

/// Where further parts come from.
#[derive(Clone, Copy)]
pub struct Spares<'a> {
    /// What they are built from.
    pub catalogue: &'a Catalogue,
    /// Where generators compute.
    pub device: Device,
    /// Threads of all of them together.
    pub threads: usize,
}

/// Things that one thread at a time may use, as many as there are threads.
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<T>>,
}

/// A generator and an executor, to score networks on one thread.
pub(crate) struct Seat {
    scorer: Scorer,
    generator: Box<dyn WeightGenerator>,
    executor: Box<dyn Executor>,
}

impl<'a> Spares<'a> {
    /// How many candidates are scored at once: a CUDA device serves one.
    pub(crate) fn at_once(&self) -> usize {
        if self.device == Device::Cpu { self.threads.max(1) } else { 1 }
    }

    /// What a spare part of a study with this seed is built in.
    pub(crate) fn build_context(&self, seed: u64) -> BuildContext<'a> {
        let threads = (self.threads / self.at_once()).max(1);
        BuildContext { seed, device: self.device, threads, ..BuildContext::new(self.catalogue) }
    }

    /// Seats whose generators are copies of `generator`, which `config` chooses.
    ///
    /// # Errors
    /// As [`generators`](Self::generators), and where an executor cannot be built.
    pub(crate) fn seats(
        &self,
        config: &Config,
        scorer: &Scorer,
        generator: &dyn WeightGenerator,
    ) -> Result<Pool<Seat>, EngineError> {
        let context = self.build_context(config.seed);
        let seat = |generator| {
            let executor = build_executor(config, &context)?;
            Ok(Seat { scorer: scorer.clone(), generator, executor })
        };
        let copies = self.generators(config, generator, self.at_once())?.into_iter();
        Ok(Pool::new(copies.map(seat).collect::<Result<_, EngineError>>()?))
    }

    /// Copies of `generator`, which `config` chooses.
    ///
    /// # Errors
    /// [`EngineError`] where the generator cannot be saved, built or loaded.
    pub(crate) fn generators(
        &self,
        config: &Config,
        generator: &dyn WeightGenerator,
        count: usize,
    ) -> Result<Vec<Box<dyn WeightGenerator>>, EngineError> {
        let wrong = |source| EngineError::Generator { what: "copying it".into(), source };
        let state = generator.save().map_err(wrong)?;
        let context = self.build_context(config.seed);
        let copy = |_| {
            let mut copy = build_generator(config, &context)?;
            copy.load(&state).map_err(wrong)?;
            Ok(copy)
        };
        (0..count).map(copy).collect()
    }
}

impl<T> Pool<T> {
    pub(crate) fn new(all: Vec<T>) -> Self {
        Self { idle: Mutex::new(all) }
    }

    /// How many nobody has at the moment.
    pub(crate) fn idle(&self) -> usize {
        self.lock().len()
    }

    /// All of them, changed by `change`.
    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> Pool<U> {
        let all = self.idle.into_inner().unwrap_or_else(PoisonError::into_inner);
        Pool::new(all.into_iter().map(change).collect())
    }

    /// Lends one out for `work`.
    ///
    /// # Panics
    /// Where more are asked for at a time than there are.
    pub(crate) fn lend<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut one = self.lock().pop().expect("no more threads than things to lend");
        let result = work(&mut one);
        self.lock().push(one);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(crate) fn score(&mut self, of: &Lowered) -> Result<Score, ScoreError> {
        let Self { scorer, generator, executor } = self;
        scorer.score_with(&of.network, &of.variants, &mut **generator, &mut **executor)
    }

    /// The same with another scorer.
    pub(crate) fn with(self, scorer: &Scorer) -> Self {
        Self { scorer: scorer.clone(), ..self }
    }

    /// The loss of every image of another scorer.
    pub(crate) fn losses_on<'a>(
        &mut self,
        other: &'a mut Scorer,
        of: &Lowered,
    ) -> Result<&'a [f64], ScoreError> {
        other.losses(&of.network, &of.variants, &mut *self.generator, &mut *self.executor)
    }
}
