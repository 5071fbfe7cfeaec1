//! What a forward pass computes with: numbers, and numbers with a derivative.

use std::ops::{Add, AddAssign, Mul};

/// A number that networks can be run with. The default is zero.
pub(crate) trait Number:
    Copy + Default + Send + Sync + Add<Output = Self> + AddAssign + Mul<Output = Self>
{
    /// The value of a parameter.
    fn parameter(value: f32) -> Self;

    /// A number that depends on no parameter.
    fn constant(value: f64) -> Self;

    /// Whether it is the greater one.
    fn exceeds(self, other: Self) -> bool;
}

impl Number for f32 {
    fn parameter(value: f32) -> Self {
        value
    }

    fn constant(value: f64) -> Self {
        value as f32
    }

    fn exceeds(self, other: Self) -> bool {
        self > other
    }
}

/// A value at `t = 1` and its derivative with respect to `t`, where all parameters are multiplied
/// by `t`: forward-mode differentiation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Dual {
    pub(crate) value: f64,
    pub(crate) slope: f64,
}

impl Add for Dual {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
}

impl AddAssign for Dual {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul for Dual {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let slope = self.slope * other.value + self.value * other.slope;
        Self { value: self.value * other.value, slope }
    }
}

impl Number for Dual {
    fn parameter(value: f32) -> Self {
        // The derivative of t w is w.
        Self { value: f64::from(value), slope: f64::from(value) }
    }

    fn constant(value: f64) -> Self {
        Self { value, slope: 0.0 }
    }

    fn exceeds(self, other: Self) -> bool {
        self.value > other.value
    }
}
