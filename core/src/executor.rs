//! What runs a network: logits, loss and the gradient of every parameter.

use crate::loss::LossSum;
use crate::network::Network;
use crate::param::Weights;

/// Why an executor cannot run a network.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// A primitive that this executor does not have.
    #[error("step {step}: this executor has no {primitive} of this form: {reason}")]
    Unsupported {
        /// Position of the step.
        step: usize,
        /// Its primitive.
        primitive: &'static str,
        /// What about it.
        reason: String,
    },
    /// A buffer has another length than the network needs.
    #[error("{what} has {got} values where the network needs {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length needed.
        expected: usize,
    },
    /// A label is not below the number of classes.
    #[error("image {image} has label {label}, but the network has {classes} classes")]
    Label {
        /// Position in the batch.
        image: usize,
        /// Its label.
        label: u16,
        /// The network's classes.
        classes: usize,
    },
    /// The device failed.
    #[error("device: {0}")]
    Device(String),
}

/// A batch of images, row-major [count, channels, height, width].
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The values.
    pub data: &'a [f32],
    /// How many images.
    pub count: usize,
}

/// Runs networks. Batch norm uses the statistics of the batch, in training and in scoring.
pub trait Executor: Send {
    /// Writes the logits of every output, [outputs, count, classes], to `logits`.
    ///
    /// # Errors
    /// [`ExecutorError`] where the network or a buffer does not fit.
    fn evaluate(
        &mut self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<(), ExecutorError>;

    /// Writes the gradient of the loss with respect to every parameter to `gradients` and returns
    /// the loss of the last output. The loss is the mean cross-entropy over the batch, summed
    /// over outputs with their weights.
    ///
    /// # Errors
    /// [`ExecutorError`] where the network or a buffer does not fit.
    fn loss_and_gradients(
        &mut self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        labels: &[u16],
        gradients: &mut Weights,
    ) -> Result<LossSum, ExecutorError>;
}

/// Checks the buffers that every executor is given.
///
/// # Errors
/// [`ExecutorError::Length`] or [`ExecutorError::Label`] for the first that does not fit.
pub fn check_call(
    network: &Network,
    weights: &Weights,
    images: Images<'_>,
    labels: Option<&[u16]>,
) -> Result<(), ExecutorError> {
    let length = |what, got, expected| {
        if got == expected { Ok(()) } else { Err(ExecutorError::Length { what, got, expected }) }
    };
    if images.count == 0 {
        return Err(ExecutorError::Length { what: "the batch", got: 0, expected: 1 });
    }
    length("the batch", images.data.len(), images.count * network.input().elements())?;
    if !weights.fits(network.params()) {
        let (got, expected) = (weights.as_slice().len(), network.param_count());
        return Err(ExecutorError::Length { what: "the weights", got, expected });
    }
    let Some(labels) = labels else { return Ok(()) };
    length("the labels", labels.len(), images.count)?;
    let classes = network.classes();
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(()),
        Some(image) => Err(ExecutorError::Label { image, label: labels[image], classes }),
    }
}
