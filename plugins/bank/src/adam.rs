//! Adam (Kingma and Ba, 2015), as PyTorch computes it: with its weight decay, bias corrected.

use serde::{Deserialize, Serialize};

use crate::descent::{Moments, Move, check_decay, check_kept};

/// Settings of the descent; the learning rate comes with every step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamSettings {
    /// Decay of the running mean of the gradient.
    pub beta1: f32,
    /// Decay of the running mean of its square.
    pub beta2: f32,
    /// Added to the square root of the latter.
    pub epsilon: f32,
    /// Multiple of the value that is added to its gradient.
    pub weight_decay: f32,
}

impl AdamSettings {
    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        for (key, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            check_kept(key, beta)?;
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(format!("epsilon = {}, expected a number above 0", self.epsilon));
        }
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
        moments.first.resize(gradient.len(), 0.0);
        moments.second.resize(gradient.len(), 0.0);
        moments.steps += 1;
        // An exponent beyond i32 would leave a correction of one in any case.
        let steps = i32::try_from(moments.steps).unwrap_or(i32::MAX);
        let [correction1, correction2] =
            [self.beta1, self.beta2].map(|beta| 1.0 - f64::from(beta).powi(steps));
        let (rate, root) = ((by.learning_rate / correction1) as f32, correction2.sqrt() as f32);
        let scale = by.scale as f32;
        let decay = if by.decays { self.weight_decay } else { 0.0 };
        let Self { beta1, beta2, epsilon, .. } = *self;
        let moments = moments.first.iter_mut().zip(&mut moments.second);
        for ((value, &gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            let gradient = scale * gradient + decay * *value;
            *first = beta1 * *first + (1.0 - beta1) * gradient;
            *second = beta2 * *second + (1.0 - beta2) * (gradient * gradient);
            *value -= rate * *first / (second.sqrt() / root + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_steps_follow_the_formula() {
        // Recipe, in Python:
        // p, m, v = 1.0, 0.0, 0.0
        // for t, g in enumerate([0.5, -2.0, 1e-4], 1):
        //     g += 0.01 * p; m = 0.5 * m + 0.5 * g; v = 0.999 * v + 0.001 * g * g
        //     p -= 1e-2 * (m / (1 - 0.5**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-4); print(p)
        let adam = AdamSettings { beta1: 0.5, beta2: 0.999, epsilon: 1e-4, weight_decay: 0.01 };
        let expected = [0.990_001_960_400, 0.997_962_383_403, 1.002_093_108_715];
        let by = Move { decays: true, learning_rate: 1e-2, scale: 1.0 };
        let (mut moments, mut value) = (Moments::default(), [1.0f32]);
        for (gradient, expected) in [0.5, -2.0, 1e-4].into_iter().zip(expected) {
            adam.step(&mut value, &[gradient], &mut moments, by);
            assert!((f64::from(value[0]) - expected).abs() < 2e-7, "{} {expected}", value[0]);
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let good = AdamSettings { beta1: 0.5, beta2: 0.999, epsilon: 1e-4, weight_decay: 0.0 };
        assert_eq!(good.validate(), Ok(()));
        for (settings, key) in [
            (AdamSettings { beta1: 1.0, ..good }, "beta1 = 1,"),
            (AdamSettings { beta2: -0.1, ..good }, "beta2 = -0.1,"),
            (AdamSettings { epsilon: 0.0, ..good }, "epsilon = 0,"),
            (AdamSettings { weight_decay: f32::NAN, ..good }, "weight_decay = NaN,"),
        ] {
            let words = settings.validate().unwrap_err();
            assert!(words.starts_with(key), "{words}");
        }
    }
}
