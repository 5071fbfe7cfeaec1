//! Linear layers on slices, a matrix of inputs at a time.

use crate::simd::Real;

use super::matrix::{add_product, transpose};

/// A linear layer: y = W x + b.
#[derive(Clone, Copy)]
pub(super) struct Affine<'a, E> {
    /// W: [out, in]
    weight: &'a [E],
    /// W transposed, [in, out]: so that loops run along outputs.
    transposed: &'a [E],
    bias: &'a [E],
}

impl<'a, E: Real> Affine<'a, E> {
    /// A layer with weight [out, in] and a bias; its transposed weight is kept in `transposed`.
    pub(super) fn new(weight: &'a [E], bias: &'a [E], transposed: &'a mut Vec<E>) -> Self {
        transposed.resize(weight.len(), E::default());
        transpose(weight, weight.len() / bias.len(), transposed);
        Self { weight, transposed, bias }
    }

    /// The length of x.
    pub(super) fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    /// The length of y.
    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Writes W x + b to each row of y [n, out] for those of x [n, in].
    #[inline(always)]
    pub(super) fn forward<const FMA: bool>(&self, x: &[E], y: &mut [E]) {
        for row in y.chunks_exact_mut(self.outputs()) {
            row.copy_from_slice(self.bias);
        }
        add_product::<E, FMA>(x, self.inputs(), self.transposed, y);
    }
}

/// Adds to dx [n, in] what follows from dy [n, out] through a layer with weight [out, in].
#[inline(always)]
pub(super) fn add_input_gradient<E: Real, const FMA: bool>(
    weight: &[E],
    outputs: usize,
    dy: &[E],
    dx: &mut [E],
) {
    add_product::<E, FMA>(dy, outputs, weight, dx);
}

/// Replaces each x below zero by zero.
#[inline(always)]
pub(super) fn rectify<E: Real>(x: &mut [E]) {
    let zero = E::default();
    x.iter_mut().for_each(|x| *x = if *x > zero { *x } else { zero });
}

/// The adjoint of [`rectify`], which gave `y`.
#[inline(always)]
pub(super) fn rectify_back<E: Real>(y: &[E], dy: &mut [E]) {
    let zero = E::default();
    for (dy, &y) in dy.iter_mut().zip(y) {
        *dy = if y > zero { *dy } else { zero };
    }
}
