//! How long the parts of a training step, of a score and single primitives take, on the user's own
//! machine.

mod ops;
mod probe;
mod score;
mod step;
mod tensors;
mod work;

use ghnas_core::{Architecture, ExecutorError, GeneratorError, Network};
use serde::Serialize;

use crate::error::EngineError;
use crate::observer::Clock;
use crate::parts::Parts;

pub use ops::{OpBench, OpsBench, bench_ops};
pub use score::{ScoreBench, bench_score};
pub use step::{StepBench, bench_step};
pub use tensors::write_step_tensors;
pub use work::{Pass, Roofline};

use work::Work;

/// Runs before the clock counts: buffers grow, caches fill.
const WARM_UP_RUNS: usize = 3;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BenchOptions {
    /// Images a batch.
    pub batch: usize,
    /// Timed runs.
    pub runs: usize,
    /// What the machine can do at most, where that is known.
    pub roofline: Option<Roofline>,
}

/// Wall times of one thing, over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timing {
    /// Median, in milliseconds.
    pub median_ms: f64,
    /// Least, in milliseconds.
    pub min_ms: f64,
    /// How many runs.
    pub runs: usize,
}

impl Timing {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        Self { median_ms: times[middle], min_ms: times[0], runs: times.len() }
    }
}

/// Wall times, and the rates at which the work was done in their median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// The times.
    #[serde(flatten)]
    pub timing: Timing,
    /// Giga floating-point operations a second, two a multiply-add; nothing where the time is too
    /// short to tell.
    pub gflops: Option<f64>,
    /// Gigabytes a second that must be moved at least: every operand and result of a primitive
    /// once. Nothing where the time is too short to tell.
    pub gbytes_per_s: Option<f64>,
    /// The least time by the machine's roofline, summed over primitives, over the median. Above
    /// one where values stay in caches, or primitives are fused.
    pub peak_fraction: Option<f64>,
}

impl Measured {
    fn new(timing: Timing, work: &Work, roofline: Option<Roofline>) -> Self {
        let known = timing.median_ms > 0.0;
        let rate = |amount: f64| known.then(|| amount / (timing.median_ms * 1e6));
        let share = |roofline| work.least_ms(roofline) / timing.median_ms;
        Self {
            timing,
            gflops: rate(work.flops()),
            gbytes_per_s: rate(work.bytes()),
            peak_fraction: roofline.filter(|_| known).map(share),
        }
    }
}

/// Milliseconds that `work` takes.
fn timed<T>(
    clock: &dyn Clock,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<f64, EngineError> {
    let begin = clock.now();
    work()?;
    Ok(1e3 * clock.now().saturating_sub(begin).as_secs_f64())
}

fn lower(parts: &Parts, arch: &Architecture) -> Result<Network, EngineError> {
    let lowered = parts.space.lower(arch, parts.task());
    lowered.map_err(|source| EngineError::Space { what: "bench".into(), source })
}

fn generator_failed(call: &str, source: GeneratorError) -> EngineError {
    EngineError::Generator { what: format!("bench, {call}"), source }
}

fn executor_failed(source: ExecutorError) -> EngineError {
    EngineError::Executor { what: "bench".into(), source }
}
