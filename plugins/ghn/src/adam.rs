//! Adam (Kingma and Ba, 2015), as PyTorch computes it: without weight decay, bias corrected. The
//! same pass over memory moves the average of the values and clears the gradient.

use crate::simd::{Kernel, dispatch};
use crate::threads::{Divide, Threads};

/// Decay of the first moment.
const BETA1: f64 = 0.9;

/// Decay of the second moment.
const BETA2: f64 = 0.999;

/// Added to the square root of the second moment.
const EPSILON: f64 = 1e-8;

/// Values that are one piece of work.
pub(crate) const PIECE: usize = 8192;

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

    /// Moves `values` against their gradient, which becomes zero, and then `average`, which is
    /// empty where there is none, towards them.
    pub(crate) fn step(
        &mut self,
        threads: &Threads,
        values: &mut [f32],
        average: &mut [f32],
        gradient: &mut [f32],
        by: Move,
    ) {
        self.steps += 1;
        // An exponent beyond i32 would leave a correction of one in any case.
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let correction1 = 1.0 - BETA1.powi(steps);
        let correction2 = 1.0 - BETA2.powi(steps);
        let root = correction2.sqrt();
        let one = One {
            factor: by.factor as f32,
            rate: (by.learning_rate / correction1 * root) as f32,
            epsilon: (EPSILON * root) as f32,
        };
        let (first, second) = (&mut self.first[..], &mut self.second[..]);
        let step = Step { values, average, gradient, first, second, one, share: by.share };
        threads.share(step, dispatch);
    }
}

struct Step<'a> {
    values: &'a mut [f32],
    average: &'a mut [f32],
    gradient: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    one: One,
    share: f32,
}

impl Divide for Step<'_> {
    fn divide(self) -> Result<(Self, Self), Self> {
        if self.values.len() <= PIECE {
            return Err(self);
        }
        let Self { one, share, .. } = self;
        let middle = self.values.len().div_ceil(2).next_multiple_of(PIECE);
        let (values, other_values) = self.values.split_at_mut(middle);
        let (average, other_average) = self.average.split_at_mut(middle.min(self.average.len()));
        let (gradient, other_gradient) = self.gradient.split_at_mut(middle);
        let (first, other_first) = self.first.split_at_mut(middle);
        let (second, other_second) = self.second.split_at_mut(middle);
        let other = Self {
            values: other_values,
            average: other_average,
            gradient: other_gradient,
            first: other_first,
            second: other_second,
            one,
            share,
        };
        Ok((Self { values, average, gradient, first, second, one, share }, other))
    }
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { values, average, gradient, first, second, one, share } = self;
        let moments = first.iter_mut().zip(second);
        let values = values.iter_mut().zip(gradient).zip(moments);
        if average.is_empty() {
            for ((value, gradient), (first, second)) in values {
                one.step(value, std::mem::take(gradient), first, second);
            }
        } else {
            for (((value, gradient), (first, second)), average) in values.zip(average) {
                one.step(value, std::mem::take(gradient), first, second);
                *average += share * (*value - *average);
            }
        }
    }
}

/// The step of one value.
#[derive(Clone, Copy)]
struct One {
    factor: f32,
    /// Learning rate over the bias correction of the first moment, times the root of that of the
    /// second.
    rate: f32,
    /// What is added to the root of the second moment, times the root of its bias correction.
    epsilon: f32,
}

impl One {
    #[inline(always)]
    fn step(self, value: &mut f32, gradient: f32, first: &mut f32, second: &mut f32) {
        let (keep1, take1) = (BETA1 as f32, (1.0 - BETA1) as f32);
        let (keep2, take2) = (BETA2 as f32, (1.0 - BETA2) as f32);
        let gradient = gradient * self.factor;
        let mean = keep1 * *first + take1 * gradient;
        let square = keep2 * *second + take2 * (gradient * gradient);
        // (rate * mean) / (sqrt(square) / root + epsilon), with one division.
        *value -= self.rate * mean / (square.sqrt() + self.epsilon);
        (*first, *second) = (mean, square);
    }
}

/// Writes the sum of squares of each piece of a gradient, in double precision, to `sums`, which has
/// an entry for each [`PIECE`].
pub(crate) fn sums_of_squares(threads: &Threads, values: &[f32], sums: &mut [f64]) {
    threads.share(Squares { values, sums }, |piece| {
        piece.sums.fill(dispatch(SumOfSquares(piece.values)));
    });
}

struct Squares<'a> {
    values: &'a [f32],
    sums: &'a mut [f64],
}

impl Divide for Squares<'_> {
    fn divide(self) -> Result<(Self, Self), Self> {
        if self.sums.len() < 2 {
            return Err(self);
        }
        let middle = self.sums.len() / 2;
        let (values, other_values) = self.values.split_at(middle * PIECE);
        let (sums, other_sums) = self.sums.split_at_mut(middle);
        Ok((Self { values, sums }, Self { values: other_values, sums: other_sums }))
    }
}

struct SumOfSquares<'a>(&'a [f32]);

impl Kernel for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let (chunks, rest) = self.0.as_chunks::<8>();
        let mut sums = [0.0f64; 8];
        for chunk in chunks {
            for (sum, &value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        let rest = rest.iter().map(|&value| f64::from(value) * f64::from(value));
        sums.into_iter().chain(rest).sum()
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
            moments.step(&Threads::ONE, &mut value, &mut [], &mut [gradient], BY);
            assert!((f64::from(value[0]) - expected).abs() < 2e-7, "{} {expected}", value[0]);
        }
    }

    #[test]
    fn the_factor_scales_the_gradient() {
        let (mut one, mut other) = (Moments::zeros(1), Moments::zeros(1));
        let (mut a, mut b) = ([0.25f32], [0.25f32]);
        one.step(&Threads::ONE, &mut a, &mut [], &mut [4.0], Move { factor: 0.5, ..BY });
        other.step(&Threads::ONE, &mut b, &mut [], &mut [2.0], BY);
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
            let mut gradient: Vec<f32> = values.iter().map(|value| value.cos()).collect();
            let mut same = gradient.clone();
            let by = Move { share, ..BY };
            moments.step(&Threads::ONE, &mut values, &mut average, &mut gradient, by);
            others.step(&Threads::ONE, &mut alone, &mut [], &mut same, BY);
            assert!(gradient.iter().chain(&same).all(|&gradient| gradient == 0.0));
            for (expected, value) in expected.iter_mut().zip(&values) {
                *expected += share * (value - *expected);
            }
        }
        assert_eq!((&values, &moments), (&alone, &others));
        assert_eq!(average, expected);
        assert_ne!(average, values);
    }

    #[test]
    fn pieces_and_threads_change_no_byte() {
        let length = 5 * PIECE + 77;
        let wave = |phase: f32| (0..length).map(move |at| (at as f32 * 0.37 + phase).sin());
        let stepped = |threads: &Threads, piece: usize| {
            let [mut values, mut average, mut gradient] =
                [0.0, 1.0, 2.0].map(|phase| wave(phase).collect::<Vec<f32>>());
            let by = Move { share: 0.25, ..BY };
            let mut moments = Vec::new();
            let pieces = values.chunks_mut(piece).zip(average.chunks_mut(piece));
            for ((values, average), gradient) in pieces.zip(gradient.chunks_mut(piece)) {
                let mut own = Moments::zeros(values.len());
                own.step(threads, values, average, gradient, by);
                moments.extend(own.first.into_iter().chain(own.second));
            }
            moments.sort_by(f32::total_cmp);
            (values, average, gradient, moments)
        };
        let one = stepped(&Threads::ONE, length);
        assert_eq!(one, stepped(&Threads::new(3).unwrap(), length));
        assert_eq!(one, stepped(&Threads::ONE, 1000));
    }
}
