//! The gradients of the weights of layers that all nodes share, as products over all rows that went
//! through them.

use crate::parameters::Layer;
use crate::simd::{Kernel, Real};
use crate::threads::Divide;

use super::matrix::{add, add_transposed_product};

/// What is added to one layer's gradients.
pub(super) struct LayerGradient<'a, E> {
    pub(super) layer: Layer,
    /// The gradients of the layer's outputs: [n, out].
    pub(super) dy: &'a [E],
    /// Its inputs: [n, in].
    pub(super) x: &'a [E],
    /// [out, in]
    pub(super) weight: Vec<E>,
    /// As long as the layer's output.
    pub(super) bias: Vec<E>,
}

/// Some layers.
pub(super) struct Layers<'a, 'b, E>(pub(super) &'a mut [LayerGradient<'b, E>]);

impl<E: Real> Divide for Layers<'_, '_, E> {
    fn divide(self) -> Result<(Self, Self), Self> {
        if self.0.len() < 2 {
            return Err(self);
        }
        let (one, other) = self.0.split_at_mut(self.0.len() / 2);
        Ok((Self(one), Self(other)))
    }
}

/// Rows of a weight that are one piece of work.
const ROWS: usize = 16;

/// Some rows of one layer's weight, and the biases beside them.
pub(super) struct Rows<'a, E> {
    dy: &'a [E],
    x: &'a [E],
    /// Columns of dy.
    width: usize,
    /// Columns of x.
    columns: usize,
    first: usize,
    weight: &'a mut [E],
    bias: &'a mut [E],
}

impl<'a, E: Real> Rows<'a, E> {
    /// All rows of a layer.
    pub(super) fn new(gradient: &'a mut LayerGradient<'_, E>) -> Self {
        let width = gradient.bias.len();
        Self {
            dy: gradient.dy,
            x: gradient.x,
            width,
            columns: gradient.weight.len() / width,
            first: 0,
            weight: &mut gradient.weight,
            bias: &mut gradient.bias,
        }
    }
}

impl<E: Real> Divide for Rows<'_, E> {
    fn divide(self) -> Result<(Self, Self), Self> {
        if self.bias.len() <= ROWS {
            return Err(self);
        }
        let Self { dy, x, width, columns, first, .. } = self;
        // A multiple of the pieces' length, so that only the last one is shorter.
        let middle = self.bias.len().div_ceil(2).next_multiple_of(ROWS);
        let (weight, other_weight) = self.weight.split_at_mut(middle * columns);
        let (bias, other_bias) = self.bias.split_at_mut(middle);
        let half = |first, weight, bias| Self { dy, x, width, columns, first, weight, bias };
        Ok((half(first, weight, bias), half(first + middle, other_weight, other_bias)))
    }
}

impl<E: Real> Kernel for Rows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { dy, x, width, columns, first, weight, bias } = self;
        add_transposed_product::<E, FMA>(dy, width, first, x, columns, weight);
        for row in dy.chunks_exact(width) {
            add(&row[first..], bias);
        }
    }
}
