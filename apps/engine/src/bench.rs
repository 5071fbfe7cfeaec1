//! How long the parts of a training step and of a score take, on the user's own machine.

use std::path::Path;

use ghnas_core::{Architecture, Images, Network, ParamId, StepOptions, Weights, multiply_adds};
use serde::Serialize;

use crate::atomic::replace_file;
use crate::data::{BatchOptions, Batches};
use crate::error::EngineError;
use crate::observer::Clock;
use crate::parts::Parts;
use crate::tensor::Tensor;

/// Runs before the clock counts: buffers grow, caches fill.
const WARM_UP_RUNS: usize = 3;

/// A forward and backward pass is three forward passes of multiply-adds: one forward, one for the
/// gradient of the inputs and one for that of the weights.
const PASSES_OF_A_STEP: u64 = 3;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchOptions {
    /// Images a batch.
    pub batch: usize,
    /// Timed runs.
    pub runs: usize,
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

/// Times of the parts of a training step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepBench {
    /// Canonical hash of the architecture.
    pub hash: String,
    /// Images a batch.
    pub batch: usize,
    /// Forward and backward of the network: loss and gradient of every parameter.
    pub network: Timing,
    /// Giga floating-point operations a second of `network`, two a multiply-add, in its median.
    pub network_gflops: f64,
    /// Generating the weights.
    pub generate: Timing,
    /// The generator's vector-Jacobian product.
    pub vjp: Timing,
    /// Clipping and the optimiser's update.
    pub update: Timing,
    /// All of it.
    pub total: Timing,
}

/// Times of scoring one candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreBench {
    /// Canonical hash of the architecture.
    pub hash: String,
    /// Images.
    pub images: usize,
    /// Generating the weights.
    pub predict: Timing,
    /// Logits of all images.
    pub evaluate: Timing,
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
    let [network, generate, vjp, update, total] = times.map(timing);
    let counted = multiply_adds(&step.network, Default::default()).0;
    let operations = 2 * PASSES_OF_A_STEP * counted * options.batch as u64;
    Ok(StepBench {
        hash: arch.hash().to_string(),
        batch: options.batch,
        network_gflops: operations as f64 / (network.median_ms * 1e6),
        network,
        generate,
        vjp,
        update,
        total,
    })
}

/// Times the scoring of `arch` on the first `images` validation images, in batches of
/// `options.batch`.
///
/// # Errors
/// [`EngineError`] where the architecture, the generator or the executor fails.
pub fn bench_score(
    parts: &mut Parts,
    arch: &Architecture,
    clock: &dyn Clock,
    images: usize,
    options: BenchOptions,
) -> Result<ScoreBench, EngineError> {
    let network = lower(parts, arch)?;
    let mut weights = Weights::zeros_for(network.params());
    let (data, labels) = parts.data.validation_images(images);
    let elements = network.input().elements();
    let mut logits = Vec::new();
    let (mut predicts, mut evaluates) = (Vec::new(), Vec::new());
    for run in 0..WARM_UP_RUNS + options.runs {
        let begin = clock.now();
        let predicted = parts.generator.predict(&network, &mut weights);
        predicted.map_err(|source| generator_failed("predict", source))?;
        let middle = clock.now();
        for batch in data.chunks(options.batch * elements) {
            let batch = Images { data: batch, count: batch.len() / elements };
            let done = parts.executor.evaluate(&network, &weights, batch, &mut logits);
            done.map_err(executor_failed)?;
        }
        let end = clock.now();
        if run >= WARM_UP_RUNS {
            predicts.push(1e3 * middle.saturating_sub(begin).as_secs_f64());
            evaluates.push(1e3 * end.saturating_sub(middle).as_secs_f64());
        }
    }
    Ok(ScoreBench {
        hash: arch.hash().to_string(),
        images: labels.len(),
        predict: timing(predicts),
        evaluate: timing(evaluates),
    })
}

/// Writes a safetensors file for other frameworks to compare with: `images`, `labels`, and for
/// each parameter `weight.I` and `gradient.I`; then `logits` of every output and the `loss`.
///
/// # Errors
/// [`EngineError`] where the architecture or a part fails, or the file cannot be written.
pub fn write_step_tensors(
    parts: &mut Parts,
    arch: &Architecture,
    batch: usize,
    path: &Path,
) -> Result<(), EngineError> {
    let mut step = PreparedStep::new(parts, arch, batch)?;
    let predicted = parts.generator.predict(&step.network, &mut step.weights);
    predicted.map_err(|source| generator_failed("predict", source))?;
    let loss = step.run_network(parts)?;
    let mut logits = Vec::new();
    let images = Images { data: &step.images, count: batch };
    let done = parts.executor.evaluate(&step.network, &step.weights, images, &mut logits);
    done.map_err(executor_failed)?;

    let shape = step.network.input();
    let labels: Vec<f32> = step.labels.iter().map(|&label| f32::from(label)).collect();
    let images = [batch, shape.channels, shape.height, shape.width];
    let outputs = [step.network.outputs().len(), batch, step.network.classes()];
    let mut tensors = vec![
        ("images".into(), Tensor::of(&images, &step.images)),
        ("labels".into(), Tensor::of(&images[..1], &labels)),
        ("logits".into(), Tensor::of(&outputs, &logits)),
        ("loss".into(), Tensor::of(&[1], &[loss as f32])),
    ];
    for (index, spec) in step.network.params().iter().enumerate() {
        let id = ParamId(index as u32);
        let values = [("weight", step.weights.get(id)), ("gradient", step.gradients.get(id))];
        for (name, values) in values {
            tensors.push((format!("{name}.{index}"), Tensor::of(&spec.shape, values)));
        }
    }
    let tensors = tensors.iter().map(|(name, tensor): &(String, Tensor<'_>)| (name, tensor));
    let bytes = safetensors::serialize(tensors, None)
        .map_err(|error| EngineError::write(path, std::io::Error::other(error.to_string())))?;
    replace_file(path, &bytes)
}

/// A network with everything that its step reads and writes.
struct PreparedStep {
    network: Network,
    weights: Weights,
    gradients: Weights,
    images: Vec<f32>,
    labels: Vec<u16>,
}

impl PreparedStep {
    fn new(parts: &Parts, arch: &Architecture, batch: usize) -> Result<Self, EngineError> {
        let network = lower(parts, arch)?;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        let options = BatchOptions { batch, augment: false };
        Batches::new(&parts.data, options, 0)?.fill(0, &mut images, &mut labels);
        let weights = Weights::zeros_for(network.params());
        Ok(Self { gradients: weights.clone(), weights, network, images, labels })
    }

    /// Loss and gradients of one step; gives the mean loss.
    fn run_network(&mut self, parts: &mut Parts) -> Result<f64, EngineError> {
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

fn lower(parts: &Parts, arch: &Architecture) -> Result<Network, EngineError> {
    let lowered = parts.space.lower(arch, parts.task());
    lowered.map_err(|source| EngineError::Space { what: "bench".into(), source })
}

fn generator_failed(call: &str, source: ghnas_core::GeneratorError) -> EngineError {
    EngineError::Generator { what: format!("bench, {call}"), source }
}

fn executor_failed(source: ghnas_core::ExecutorError) -> EngineError {
    EngineError::Executor { what: "bench".into(), source }
}

fn timing(mut times: Vec<f64>) -> Timing {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    Timing { median_ms: times[middle], min_ms: times[0], runs: times.len() }
}
