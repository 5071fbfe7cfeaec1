//! Adam (Kingma and Ba, 2015), as PyTorch computes it: without weight decay, bias corrected.

use crate::simd::{Kernel, dispatch};

/// Decay of the first moment.
const BETA1: f64 = 0.9;

/// Decay of the second moment.
const BETA2: f64 = 0.999;

/// Added to the square root of the second moment.
const EPSILON: f64 = 1e-8;

/// Running means of a parameter's gradient and of its square.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
    /// How many steps they have seen.
    pub(crate) steps: u64,
}

impl Moments {
    /// Before the first step.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len], steps: 0 }
    }

    /// Moves `values` against `factor` times `gradient`.
    pub(crate) fn step(
        &mut self,
        values: &mut [f32],
        gradient: &[f32],
        factor: f64,
        learning_rate: f64,
    ) {
        self.steps += 1;
        // An exponent beyond i32 would leave a correction of one in any case.
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let correction1 = 1.0 - BETA1.powi(steps);
        let correction2 = 1.0 - BETA2.powi(steps);
        dispatch(Step {
            values,
            gradient,
            moments: self,
            factor: factor as f32,
            rate: (learning_rate / correction1) as f32,
            root: correction2.sqrt() as f32,
        });
    }
}

struct Step<'a> {
    values: &'a mut [f32],
    gradient: &'a [f32],
    moments: &'a mut Moments,
    factor: f32,
    /// Learning rate over the first moment's bias correction.
    rate: f32,
    /// Square root of the second moment's bias correction.
    root: f32,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { values, gradient, moments, factor, rate, root } = self;
        let (keep1, take1) = (BETA1 as f32, (1.0 - BETA1) as f32);
        let (keep2, take2) = (BETA2 as f32, (1.0 - BETA2) as f32);
        let epsilon = EPSILON as f32;
        let moments = moments.first.iter_mut().zip(&mut moments.second);
        for ((value, &gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            let gradient = gradient * factor;
            *first = keep1 * *first + take1 * gradient;
            *second = keep2 * *second + take2 * (gradient * gradient);
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
        //     m = 0.9 * m + 0.1 * g; v = 0.999 * v + 0.001 * g * g
        //     p -= 1e-3 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8); print(p)
        let expected = [0.999_000_000_02, 0.999_559_503_510, 0.999_991_970_325];
        let mut moments = Moments::zeros(1);
        let mut value = [1.0f32];
        for (gradient, expected) in [0.5, -2.0, 1e-4].into_iter().zip(expected) {
            moments.step(&mut value, &[gradient], 1.0, 1e-3);
            assert!((f64::from(value[0]) - expected).abs() < 2e-7, "{} {expected}", value[0]);
        }
    }

    #[test]
    fn the_factor_scales_the_gradient() {
        let (mut one, mut other) = (Moments::zeros(1), Moments::zeros(1));
        let (mut a, mut b) = ([0.25f32], [0.25f32]);
        one.step(&mut a, &[4.0], 0.5, 1e-2);
        other.step(&mut b, &[2.0], 1.0, 1e-2);
        assert_eq!((a, one), (b, other));
    }
}
