//! Where a network's weights come from: a differentiable map from networks to weights.

use std::collections::BTreeMap;

use crate::embedding::Embed;
use crate::network::Network;
use crate::param::Weights;

/// Why a weight generator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// A parameter of the network cannot be made.
    #[error("parameter '{param}': {reason}")]
    Param {
        /// The parameter's name.
        param: String,
        /// Why.
        reason: String,
    },
    /// A ticket is unknown, or was used up.
    #[error("ticket {0} is not of a generation that can still be differentiated")]
    Ticket(u64),
    /// Saved state does not fit.
    #[error("state '{name}': {reason}")]
    State {
        /// The tensor or entry.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// The device failed.
    #[error("device: {0}")]
    Device(String),
    /// Anything else, such as a plugin's own words.
    #[error("{0}")]
    Other(String),
    /// The generator itself broke: its state is lost, and it makes no weights in this process.
    #[error("{0}")]
    Broken(String),
}

/// Names one generation whose vector-Jacobian product can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How [`WeightGenerator::step`] moves the generator's own parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// Learning rate.
    pub learning_rate: f64,
    /// Gradients with a larger Euclidean norm are scaled down to this one.
    pub clip_norm: f64,
}

/// What [`WeightGenerator::step`] did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Euclidean norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// False where the gradient was not finite, and nothing but the gradient was changed.
    pub applied: bool,
}

/// A named tensor of saved state.
#[derive(Debug, Clone, PartialEq)]
pub struct StateTensor {
    /// Lengths of the dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<f32>,
}

/// All that a generator needs to go on: tensors (parameters, moments) and small text entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GeneratorState {
    /// Tensors by name.
    pub tensors: BTreeMap<String, StateTensor>,
    /// Counters and settings by name.
    pub entries: BTreeMap<String, String>,
}

/// Generates all weights of a network and can be trained through them (Eq. 16).
///
/// The executor computes the gradient of the loss with respect to the weights, the generator the
/// product of that gradient with its own Jacobian. A GHN, a one-shot bank, SMASH and training
/// from scratch all have this shape.
pub trait WeightGenerator: Send {
    /// Writes the weights of `network` to `weights`, which is laid out for its parameters, and
    /// keeps what the vector-Jacobian product needs. Tickets that are never redeemed cost memory
    /// until [`discard`](Self::discard).
    ///
    /// # Errors
    /// Where a parameter cannot be made.
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError>;

    /// Writes the weights of `network` to `weights`, for scoring: nothing is kept. A generator that
    /// averages its parameters over training makes them from the average.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError>;

    /// Adds the product of `gradients` (of the loss with respect to the weights of `ticket`) and
    /// the generator's Jacobian to the generator's gradient. Uses the ticket up.
    ///
    /// # Errors
    /// Where the ticket is unknown or the gradients have another layout.
    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError>;

    /// Forgets a ticket.
    fn discard(&mut self, ticket: Ticket);

    /// Moves the generator's parameters against the gradient that was added up, and clears it.
    ///
    /// # Errors
    /// Where the device fails.
    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError>;

    /// The number of the generator's own parameters so far.
    fn parameter_count(&self) -> usize;

    /// Everything needed to go on, equal to the bit.
    ///
    /// # Errors
    /// Where the device fails.
    fn save(&self) -> Result<GeneratorState, GeneratorError>;

    /// Goes on from saved state.
    ///
    /// # Errors
    /// [`GeneratorError::State`] names the entry that does not fit; nothing is changed then.
    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError>;

    /// Embeddings of networks, where the generator has them. Generators of plugins have none: their
    /// ABI does not carry them.
    fn embed(&mut self) -> Option<&mut dyn Embed> {
        None
    }

    /// The generators that it is an ensemble of; none where it is a single one. A network is scored
    /// with the weights that each of them [predicts](Self::predict).
    fn members(&mut self) -> &mut [Box<dyn WeightGenerator>] {
        &mut []
    }
}
