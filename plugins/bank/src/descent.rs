//! How tensors move: which descent, and what it remembers of a tensor.

use crate::adam::AdamSettings;
use crate::sgd::SgdSettings;

/// A method of descent with its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Descent {
    /// Stochastic gradient descent with momentum.
    Sgd(SgdSettings),
    /// Adam.
    Adam(AdamSettings),
}

impl From<SgdSettings> for Descent {
    fn from(settings: SgdSettings) -> Self {
        Self::Sgd(settings)
    }
}

impl From<AdamSettings> for Descent {
    fn from(settings: AdamSettings) -> Self {
        Self::Adam(settings)
    }
}

/// What a descent remembers of one tensor; empty until the first step that moves it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Moments {
    /// SGD's momentum, or Adam's mean of the gradient.
    pub(crate) first: Vec<f32>,
    /// Adam's mean of the squared gradient.
    pub(crate) second: Vec<f32>,
    /// Adam's steps.
    pub(crate) steps: u64,
}

/// How far one step goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    /// Whether the tensor decays.
    pub(crate) decays: bool,
    /// The learning rate.
    pub(crate) learning_rate: f64,
    /// What the gradient is multiplied by.
    pub(crate) scale: f64,
}

impl Descent {
    /// Moves `values` against their gradient.
    pub(crate) fn step(
        &self,
        values: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
        by: Move,
    ) {
        match self {
            Self::Sgd(sgd) => sgd.step(values, gradient, moments, by),
            Self::Adam(adam) => adam.step(values, gradient, moments, by),
        }
    }
}

/// Checks a share that is kept from one step to the next.
pub(crate) fn check_kept(key: &str, share: f32) -> Result<(), String> {
    match (0.0..1.0).contains(&share) {
        true => Ok(()),
        false => Err(format!("{key} = {share}, expected 0 to 1, without 1")),
    }
}

/// Checks a weight decay.
pub(crate) fn check_decay(weight_decay: f32) -> Result<(), String> {
    match weight_decay >= 0.0 && weight_decay.is_finite() {
        true => Ok(()),
        false => Err(format!("weight_decay = {weight_decay}, expected 0 or more")),
    }
}
