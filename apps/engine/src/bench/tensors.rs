//! The tensors of a step, for other frameworks to compare with.

use std::path::Path;

use ghnas_core::{Architecture, Images, ParamId};

use super::step::PreparedStep;
use super::{executor_failed, generator_failed};
use crate::atomic::replace_file;
use crate::error::EngineError;
use crate::parts::Parts;
use crate::tensor::Tensor;

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
