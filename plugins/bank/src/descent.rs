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

impl Descent {
    /// Moves `values` against `scale` times `gradient`.
    pub(crate) fn step(
        &self,
        values: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
        decays: bool,
        learning_rate: f64,
        scale: f64,
    ) {
        match self {
            Self::Sgd(sgd) => sgd.step(values, gradient, moments, decays, learning_rate, scale),
            Self::Adam(adam) => adam.step(values, gradient, moments, decays, learning_rate, scale),
        }
    }
}
