//! The gradient of one architecture's loss with respect to the generator (Eq. 16).

use ghnas_core::{
    Executor, ExecutorError, GeneratorError, Images, Network, WeightGenerator, Weights,
};

use crate::error::EngineError;

/// One architecture of a step.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    /// The architecture's network.
    pub network: &'a Network,
    /// Its images.
    pub images: Images<'a>,
    /// Their labels.
    pub labels: &'a [u16],
    /// The architecture's share in the step's gradient.
    pub share: f32,
}

/// What came of one architecture.
#[derive(Clone, Copy)]
pub(crate) struct PartResult {
    /// Mean cross-entropy of the batch, in nats.
    pub loss: f64,
    /// Share of the batch classified correctly.
    pub accuracy: f64,
    /// Whether loss and gradient were finite, and so the gradient was added.
    pub finite: bool,
}

/// What failed in a step.
pub(crate) enum StepFailure {
    Generator(GeneratorError),
    Executor(ExecutorError),
}

impl StepFailure {
    /// The error, at the place that `what` names.
    pub(crate) fn at(self, what: String) -> EngineError {
        match self {
            Self::Generator(source) => EngineError::Generator { what, source },
            Self::Executor(source) => EngineError::Executor { what, source },
        }
    }
}

/// The buffers, reused from architecture to architecture.
#[derive(Default)]
pub(crate) struct Gradient {
    weights: Weights,
    gradients: Weights,
}

impl Gradient {
    /// Adds the architecture's gradient to the generator's: the executor gives the first factor,
    /// the generator the second. Where loss or gradient are not finite, nothing is added.
    pub(crate) fn add(
        &mut self,
        part: Part<'_>,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<PartResult, StepFailure> {
        let Part { network, images, labels, share } = part;
        let Self { weights, gradients } = self;
        weights.reset_for(network.params());
        gradients.reset_for(network.params());
        let ticket = generator.generate(network, weights).map_err(StepFailure::Generator)?;
        let sum = executor
            .loss_and_gradients(network, weights, images, labels, gradients)
            .map_err(StepFailure::Executor)?;
        let finite = sum.loss.is_finite() && gradients.all_finite();
        if finite {
            if share != 1.0 {
                gradients.as_mut_slice().iter_mut().for_each(|value| *value *= share);
            }
            generator.vjp(ticket, gradients).map_err(StepFailure::Generator)?;
        } else {
            generator.discard(ticket);
        }
        Ok(PartResult { loss: sum.mean_loss(), accuracy: sum.accuracy(), finite })
    }
}
