//! Stochastic gradient descent with momentum and weight decay, as PyTorch computes it.

use serde::{Deserialize, Serialize};

use crate::descent::{Moments, Move, check_decay, check_kept};

/// Settings of the descent; the learning rate comes with every step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdSettings {
    /// Share of the last movement that is kept.
    pub momentum: f32,
    /// Whether the gradient is looked up ahead of the momentum (Nesterov).
    pub nesterov: bool,
    /// Multiple of the value that is added to its gradient.
    pub weight_decay: f32,
}

impl SgdSettings {
    /// The paper's descent for networks (section 7.3).
    pub const PAPER: Self = Self { momentum: 0.9, nesterov: false, weight_decay: 0.0 };

    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        check_kept("momentum", self.momentum)?;
        check_decay(self.weight_decay)
    }

    /// Moves `values` against their gradient.
    pub(crate) fn step(
        &self,
        values: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
        by: Move,
    ) {
        let (rate, scale) = (by.learning_rate as f32, by.scale as f32);
        let decay = if by.decays { self.weight_decay } else { 0.0 };
        let moved = |value: f32, gradient: f32| scale * gradient + decay * value;
        if self.momentum == 0.0 {
            for (value, &gradient) in values.iter_mut().zip(gradient) {
                *value -= rate * moved(*value, gradient);
            }
            return;
        }
        moments.first.resize(gradient.len(), 0.0);
        let moments = &mut moments.first;
        for ((value, kept), &gradient) in values.iter_mut().zip(moments).zip(gradient) {
            let gradient = moved(*value, gradient);
            *kept = self.momentum * *kept + gradient;
            *value -= rate * if self.nesterov { gradient + self.momentum * *kept } else { *kept };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recipe, in PyTorch:
    /// p = torch.tensor([1.0], requires_grad=True)
    /// o = torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=NESTEROV)
    /// for g in [0.5, -2.0, 1.0]: p.grad = torch.tensor([g]); o.step(); print(p.item())
    #[test]
    fn three_steps_are_those_of_pytorch() {
        for (nesterov, expected) in
            [(false, [0.949, 1.102_151, 1.138_885]), (true, [0.903_1, 1.240_074, 1.171_808])]
        {
            let sgd = SgdSettings { momentum: 0.9, nesterov, weight_decay: 0.01 };
            let by = Move { decays: true, learning_rate: 0.1, scale: 1.0 };
            let (mut value, mut moments) = ([1.0], Moments::default());
            for (gradient, expected) in [0.5, -2.0, 1.0].into_iter().zip(expected) {
                sgd.step(&mut value, &[gradient], &mut moments, by);
                assert!((value[0] - expected).abs() < 1e-6, "{} {expected}", value[0]);
            }
        }
    }
}
