//! Times of scoring one candidate.

use ghnas_core::{Architecture, Images, Weights};
use serde::Serialize;

use super::work::{Pass, Work};
use super::{
    BenchOptions, Measured, Timing, WARM_UP_RUNS, executor_failed, generator_failed, lower,
};
use crate::error::EngineError;
use crate::observer::Clock;
use crate::parts::Parts;

/// Times of scoring one candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreBench {
    /// Canonical hash of the architecture.
    pub hash: String,
    /// Images.
    pub images: usize,
    /// What the machine can do at most.
    pub roofline: Option<super::Roofline>,
    /// Generating the weights.
    pub predict: Timing,
    /// Logits of all images.
    pub evaluate: Measured,
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
    let work = Work::of_network(&network, Pass::Forward, labels.len());
    Ok(ScoreBench {
        hash: arch.hash().to_string(),
        images: labels.len(),
        roofline: options.roofline,
        predict: Timing::of(predicts),
        evaluate: Measured::new(Timing::of(evaluates), &work, options.roofline),
    })
}
