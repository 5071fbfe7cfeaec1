//! Times of every primitive over the shapes that occur in networks, each in a network of its own.

use ghnas_core::{Architecture, Images, Network, ParamId, Primitive, Shape, Weights, rng};
use rand::RngExt;
use serde::Serialize;

use super::probe::{CLASSES, Probe};
use super::work::{Pass, Roofline, Work};
use super::{BenchOptions, Measured, Timing, WARM_UP_RUNS, executor_failed, lower, timed};
use crate::error::EngineError;
use crate::observer::Clock;
use crate::parts::Parts;

/// A time below this share of its network's is not told from the noise.
const LEAST_SHARE: f64 = 0.02;

/// Times of all primitives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpsBench {
    /// Images a batch.
    pub batch: usize,
    /// What the machine can do at most.
    pub roofline: Option<Roofline>,
    /// Two a primitive: one a pass. By name, then from large to small values.
    pub ops: Vec<OpBench>,
}

/// One pass of one primitive, or of several in a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpBench {
    /// In a few words.
    pub name: String,
    /// The primitives; parameters are numbered 0.
    pub primitives: Vec<Primitive>,
    /// Shapes of its inputs, for one image.
    pub inputs: Vec<Shape>,
    /// Shape of its result.
    pub output: Shape,
    /// How often it occurs in the networks.
    pub occurrences: usize,
    /// What was timed.
    pub pass: Pass,
    /// Its own time: that of its network less what surrounds it.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Times every primitive that occurs in the networks of `archs`, by the executor.
///
/// # Errors
/// [`EngineError`] where an architecture or the executor fails.
pub fn bench_ops(
    parts: &mut Parts,
    archs: &[Architecture],
    clock: &dyn Clock,
    options: BenchOptions,
) -> Result<OpsBench, EngineError> {
    let mut probes: Vec<(Probe, usize)> = Vec::new();
    for arch in archs {
        for probe in Probe::all_of(&lower(parts, arch)?) {
            match probes.iter_mut().find(|(known, _)| *known == probe) {
                Some((_, occurrences)) => *occurrences += 1,
                None => probes.push((probe, 1)),
            }
        }
    }
    let size = |probe: &Probe| probe.inputs.iter().map(Shape::elements).sum::<usize>();
    probes.sort_by_cached_key(|(probe, _)| (probe.name(), std::cmp::Reverse(size(probe))));
    let mut ops = Vec::new();
    for (probe, occurrences) in probes {
        for (pass, measured) in measure(parts, &probe, clock, options)? {
            ops.push(OpBench {
                name: probe.name(),
                primitives: probe.primitives.clone(),
                inputs: probe.inputs.clone(),
                output: probe.output,
                occurrences,
                pass,
                measured,
            });
        }
    }
    Ok(OpsBench { batch: options.batch, roofline: options.roofline, ops })
}

/// The times of both passes of one probe; its networks run in turns.
fn measure(
    parts: &mut Parts,
    probe: &Probe,
    clock: &dyn Clock,
    options: BenchOptions,
) -> Result<[(Pass, Measured); 2], EngineError> {
    let refused = |error: ghnas_core::NetworkError| EngineError::Space {
        what: format!("bench, {}", probe.name()),
        source: error.into(),
    };
    let (own, others) = probe.networks().map_err(refused)?;
    let times = [1.0].into_iter().chain(others.iter().map(|&(times, _)| times)).collect::<Vec<_>>();
    let networks = [own].into_iter().chain(others.into_iter().map(|(_, network)| network));
    let mut inputs: Vec<Inputs> =
        networks.map(|network| Inputs::new(network, options.batch)).collect();
    let mut measure = |pass| -> Result<(Pass, Measured), EngineError> {
        let mut taken = vec![Vec::new(); inputs.len()];
        for run in 0..WARM_UP_RUNS + options.runs {
            for (inputs, taken) in inputs.iter_mut().zip(&mut taken) {
                let time = timed(clock, || inputs.run(parts, pass))?;
                if run >= WARM_UP_RUNS {
                    taken.push(time);
                }
            }
        }
        let timings: Vec<Timing> = taken.into_iter().map(Timing::of).collect();
        let own = |of: fn(&Timing) -> f64| {
            let total = times.iter().zip(&timings).map(|(times, timing)| times * of(timing)).sum();
            // What is too short to tell counts as nothing.
            if total < LEAST_SHARE * of(&timings[0]) { 0.0 } else { total }
        };
        let (median_ms, min_ms) = (own(|timing| timing.median_ms), own(|timing| timing.min_ms));
        let timing = Timing { median_ms, min_ms, runs: options.runs };
        let work = work(probe, pass, options.batch);
        Ok((pass, Measured::new(timing, &work, options.roofline)))
    };
    Ok([measure(Pass::Forward)?, measure(Pass::ForwardBackward)?])
}

/// What the primitives of a probe must do.
fn work(probe: &Probe, pass: Pass, count: usize) -> Work {
    let mut work = Work::default();
    let mut inputs = probe.inputs.clone();
    for primitive in &probe.primitives {
        let output = primitive.infer(&inputs).expect("the network of the probe was checked");
        work.add(primitive, &inputs, output, pass, count, true);
        inputs = vec![output];
    }
    work
}

/// A network with random weights and a random batch.
struct Inputs {
    network: Network,
    weights: Weights,
    gradients: Weights,
    images: Vec<f32>,
    labels: Vec<u16>,
    logits: Vec<f32>,
}

impl Inputs {
    fn new(network: Network, batch: usize) -> Self {
        let mut rng = rng::stream(0, "bench-ops", 0);
        let mut weights = Weights::zeros_for(network.params());
        for (index, param) in network.params().iter().enumerate() {
            let bound = (3.0 / param.fan_in as f32).sqrt();
            let values = weights.get_mut(ParamId(index as u32));
            values.iter_mut().for_each(|value| *value = rng.random_range(-bound..bound));
        }
        let length = batch * network.input().elements();
        let images = (0..length).map(|_| rng.random_range(-1.0..1.0)).collect();
        let labels = (0..batch).map(|image| (image % CLASSES) as u16).collect();
        let gradients = weights.clone();
        Self { network, weights, gradients, images, labels, logits: Vec::new() }
    }

    fn run(&mut self, parts: &mut Parts, pass: Pass) -> Result<(), EngineError> {
        let images = Images { data: &self.images, count: self.labels.len() };
        let (network, weights) = (&self.network, &self.weights);
        let done = match pass {
            Pass::Forward => parts.executor.evaluate(network, weights, images, &mut self.logits),
            Pass::ForwardBackward => {
                let (labels, gradients) = (&self.labels, &mut self.gradients);
                let run = &mut parts.executor;
                run.loss_and_gradients(network, weights, images, labels, gradients).map(|_| ())
            }
        };
        done.map_err(executor_failed)
    }
}
