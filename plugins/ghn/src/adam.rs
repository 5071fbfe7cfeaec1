//! Adam (Kingma and Ba, 2015), as PyTorch computes it: without weight decay, bias corrected. The
//! same pass over memory moves the average of the values.

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

/// How far one step goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    /// What the gradient is multiplied by.
    pub(crate) factor: f64,
    /// The learning rate.
    pub(crate) learning_rate: f64,
    /// The share of the way to the new values that their average moves.
    pub(crate) share: f32,
}

impl Moments {
    /// Before the first step.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len], steps: 0 }
    }

    /// Moves `values` against their gradient, and then `average`, which is empty where there is
    /// none, towards them.
    pub(crate) fn step(
        &mut self,
        values: &mut [f32],
        average: &mut [f32],
        gradient: &[f32],
        by: Move,
    ) {
        self.steps += 1;
        // An exponent beyond i32 would leave a correction of one in any case.
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let correction1 = 1.0 - BETA1.powi(steps);
        let correction2 = 1.0 - BETA2.powi(steps);
        dispatch(Step {
            values,
            average,
            gradient,
            moments: self,
            factor: by.factor as f32,
            share: by.share,
            rate: (by.learning_rate / correction1) as f32,
            root: correction2.sqrt() as f32,
        });
    }
}

struct Step<'a> {
    values: &'a mut [f32],
    average: &'a mut [f32],
    gradient: &'a [f32],
    moments: &'a mut Moments,
    factor: f32,
    share: f32,
    /// Learning rate over the first moment's bias correction.
    rate: f32,
    /// Square root of the second moment's bias correction.
    root: f32,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { values, average, gradient, moments, factor, share, rate, root } = self;
        let one = One { factor, rate, root };
        let moments = moments.first.iter_mut().zip(&mut moments.second);
        let values = values.iter_mut().zip(gradient).zip(moments);
        if average.is_empty() {
            for ((value, &gradient), (first, second)) in values {
                one.step(value, gradient, first, second);
            }
        } else {
            for (((value, &gradient), (first, second)), average) in values.zip(average) {
                one.step(value, gradient, first, second);
                *average += share * (*value - *average);
            }
        }
    }
}

/// The step of one value.
#[derive(Clone, Copy)]
struct One {
    factor: f32,
    rate: f32,
    root: f32,
}

impl One {
    #[inline(always)]
    fn step(self, value: &mut f32, gradient: f32, first: &mut f32, second: &mut f32) {
        let (keep1, take1) = (BETA1 as f32, (1.0 - BETA1) as f32);
        let (keep2, take2) = (BETA2 as f32, (1.0 - BETA2) as f32);
        let gradient = gradient * self.factor;
        *first = keep1 * *first + take1 * gradient;
        *second = keep2 * *second + take2 * (gradient * gradient);
        *value -= self.rate * *first / (second.sqrt() / self.root + EPSILON as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Move = Move { factor: 1.0, learning_rate: 1e-3, share: 0.0 };

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
            moments.step(&mut value, &mut [], &[gradient], BY);
            assert!((f64::from(value[0]) - expected).abs() < 2e-7, "{} {expected}", value[0]);
        }
    }

    #[test]
    fn the_factor_scales_the_gradient() {
        let (mut one, mut other) = (Moments::zeros(1), Moments::zeros(1));
        let (mut a, mut b) = ([0.25f32], [0.25f32]);
        one.step(&mut a, &mut [], &[4.0], Move { factor: 0.5, ..BY });
        other.step(&mut b, &mut [], &[2.0], BY);
        assert_eq!((a, one), (b, other));
    }

    #[test]
    fn the_average_follows_the_values_and_leaves_them_alone() {
        let start: Vec<f32> = (0..21).map(|at| (at as f32).sin()).collect();
        let (mut values, mut average) = (start.clone(), start.clone());
        let mut alone = start.clone();
        let (mut moments, mut others) = (Moments::zeros(21), Moments::zeros(21));
        let mut expected = start;
        for share in [0.75, 0.5, 0.25] {
            let gradient: Vec<f32> = values.iter().map(|value| value.cos()).collect();
            moments.step(&mut values, &mut average, &gradient, Move { share, ..BY });
            others.step(&mut alone, &mut [], &gradient, BY);
            for (expected, value) in expected.iter_mut().zip(&values) {
                *expected += share * (value - *expected);
            }
        }
        assert_eq!((&values, &moments), (&alone, &others));
        assert_eq!(average, expected);
        assert_ne!(average, values);
    }
}
