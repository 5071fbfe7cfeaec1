//! Times of the parts of a training step.

use ghnas_core::{Architecture, Images, Network, StepOptions, Weights};
use serde::Serialize;

use super::work::{Pass, Work};
use super::{
    BenchOptions, Measured, Timing, WARM_UP_RUNS, executor_failed, generator_failed, lower,
};
use crate::data::{BatchOptions, Batches};
use crate::error::EngineError;
use crate::observer::Clock;
use crate::parts::Parts;

/// Times of the parts of a training step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepBench {
    /// Canonical hash of the architecture.
    pub hash: String,
    /// Images a batch.
    pub batch: usize,
    /// What the machine can do at most.
    pub roofline: Option<super::Roofline>,
    /// Forward and backward of the network: loss and gradient of every parameter.
    pub network: Measured,
    /// Generating the weights.
    pub generate: Timing,
    /// The generator's vector-Jacobian product.
    pub vjp: Timing,
    /// Clipping and the optimiser's update.
    pub update: Timing,
    /// All of it.
    pub total: Timing,
}

/// Times a training step of `arch` over the first training batch.
///
/// # Errors
/// [`EngineError`] where the architecture, the generator or the executor fails.
pub fn bench_step(
    parts: &mut Parts,
    arch: &Architecture,
    clock: &dyn Clock,
    options: BenchOptions,
) -> Result<StepBench, EngineError> {
    let mut step = PreparedStep::new(parts, arch, options.batch)?;
    let mut times: [Vec<f64>; 5] = Default::default();
    for run in 0..WARM_UP_RUNS + options.runs {
        let mut last = clock.now();
        let begin = last;
        let mut lap = || {
            let now = clock.now();
            1e3 * now.saturating_sub(std::mem::replace(&mut last, now)).as_secs_f64()
        };
        let ticket = parts
            .generator
            .generate(&step.network, &mut step.weights)
            .map_err(|source| generator_failed("generate", source))?;
        let generate = lap();
        step.run_network(parts)?;
        let network = lap();
        let applied = parts.generator.vjp(ticket, &step.gradients);
        applied.map_err(|source| generator_failed("vjp", source))?;
        let vjp = lap();
        // A step of no length: the times are those of training, the generator stays as it is.
        let update = StepOptions { learning_rate: 0.0, clip_norm: 5.0 };
        let done = parts.generator.step(update);
        done.map_err(|source| generator_failed("step", source))?;
        let update = lap();
        let total = 1e3 * clock.now().saturating_sub(begin).as_secs_f64();
        if run >= WARM_UP_RUNS {
            for (list, time) in times.iter_mut().zip([network, generate, vjp, update, total]) {
                list.push(time);
            }
        }
    }
    let [network, generate, vjp, update, total] = times.map(Timing::of);
    let work = Work::of_network(&step.network, Pass::ForwardBackward, options.batch);
    Ok(StepBench {
        hash: arch.hash().to_string(),
        batch: options.batch,
        roofline: options.roofline,
        network: Measured::new(network, &work, options.roofline),
        generate,
        vjp,
        update,
        total,
    })
}

/// A network with everything that its step reads and writes.
pub(super) struct PreparedStep {
    pub(super) network: Network,
    pub(super) weights: Weights,
    pub(super) gradients: Weights,
    pub(super) images: Vec<f32>,
    pub(super) labels: Vec<u16>,
}

impl PreparedStep {
    pub(super) fn new(
        parts: &Parts,
        arch: &Architecture,
        batch: usize,
    ) -> Result<Self, EngineError> {
        let network = lower(parts, arch)?;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        let options = BatchOptions { batch, augment: false };
        Batches::new(&parts.data, options, 0)?.fill(0, &mut images, &mut labels);
        let weights = Weights::zeros_for(network.params());
        Ok(Self { gradients: weights.clone(), weights, network, images, labels })
    }

    /// Loss and gradients of one step; gives the mean loss.
    pub(super) fn run_network(&mut self, parts: &mut Parts) -> Result<f64, EngineError> {
        let images = Images { data: &self.images, count: self.labels.len() };
        let done = parts.executor.loss_and_gradients(
            &self.network,
            &self.weights,
            images,
            &self.labels,
            &mut self.gradients,
        );
        Ok(done.map_err(executor_failed)?.mean_loss())
    }
}
