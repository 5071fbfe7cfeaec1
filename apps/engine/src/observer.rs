//! How a caller follows, times and interrupts a study. Nothing here changes a result.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Progress of training or scoring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What is counted, in the plural, such as "training steps".
    pub unit: &'static str,
    /// How many are done.
    pub done: u64,
    /// Of how many.
    pub of: u64,
    /// Training: mean cross-entropy over the last steps, the later weighing more. Scoring: that of
    /// the last candidate; nothing where it failed.
    pub loss: Option<f64>,
    /// Images a second in this process: trained on, or scored.
    pub images_per_second: f64,
    /// Seconds until this phase is done, at this speed.
    pub seconds_left: f64,
}

/// Is told what happens.
pub trait Observer {
    /// A training step was done.
    fn training_step(&mut self, progress: &Progress);

    /// A candidate was scored, or an architecture that scoring candidates needs.
    fn candidate_scored(&mut self, progress: &Progress);

    /// Something that a person should know, in one sentence.
    fn message(&mut self, text: &str);
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn training_step(&mut self, _: &Progress) {}

    fn candidate_scored(&mut self, _: &Progress) {}

    fn message(&mut self, _: &str) {}
}

/// A request to stop at the next step with the state saved; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// An interrupt that is requested by setting `flag`, such as from a signal handler.
    pub fn new(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Requests the stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the stop was requested.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The time, for checkpoints, budgets and reports.
pub trait Clock {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
}

/// The system's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What surrounds a run.
pub struct Context<'a> {
    /// Is told what happens.
    pub observer: &'a mut dyn Observer,
    /// Stops the run.
    pub interrupt: Interrupt,
    /// The time.
    pub clock: &'a dyn Clock,
}
