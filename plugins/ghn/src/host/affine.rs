//! Linear layers on slices, one vector at a time.

use std::sync::Arc;

use crate::simd::Real;

/// A linear layer: y = W x + b.
pub(super) struct Affine<E> {
    inputs: usize,
    /// W: [out, in]
    weight: Arc<Vec<E>>,
    /// W transposed, [in, out]: so that loops run along outputs.
    transposed: Vec<E>,
    bias: Arc<Vec<E>>,
}

/// The gradient of a linear layer's parameters.
pub(super) struct AffineGradient<E> {
    /// [out, in]
    pub(super) weight: Vec<E>,
    /// As long as the layer's output.
    pub(super) bias: Vec<E>,
}

impl<E: Real> Affine<E> {
    /// A layer with weight [out, in] and a bias.
    pub(super) fn new(weight: Arc<Vec<E>>, bias: Arc<Vec<E>>) -> Self {
        let outputs = bias.len();
        let inputs = weight.len() / outputs;
        let element = |at: usize| weight[at % outputs * inputs + at / outputs];
        let transposed = (0..weight.len()).map(element).collect();
        Self { inputs, weight, transposed, bias }
    }

    /// The length of x.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// The length of y.
    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// A gradient of zeros.
    pub(super) fn no_gradient(&self) -> AffineGradient<E> {
        AffineGradient {
            weight: vec![E::default(); self.weight.len()],
            bias: vec![E::default(); self.bias.len()],
        }
    }

    /// Writes W x + b to `y`.
    #[inline(always)]
    pub(super) fn forward<const FMA: bool>(&self, x: &[E], y: &mut [E]) {
        y.copy_from_slice(&self.bias);
        add_rows::<E, FMA>(y, x, &self.transposed);
    }

    /// Adds the gradient with respect to x to `dx`, and that of the parameters to `gradient`.
    #[inline(always)]
    pub(super) fn backward<const FMA: bool>(
        &self,
        dy: &[E],
        x: &[E],
        dx: &mut [E],
        gradient: &mut AffineGradient<E>,
    ) {
        add_rows::<E, FMA>(dx, dy, &self.weight);
        let rows = gradient.weight.chunks_exact_mut(self.inputs);
        for ((row, bias), &dy) in rows.zip(&mut gradient.bias).zip(dy) {
            *bias += dy;
            for (weight, &x) in row.iter_mut().zip(x) {
                *weight = dy.multiply_add::<FMA>(x, *weight);
            }
        }
    }
}

/// Adds to `sum` each of `rows`, as long as it, times its factor.
#[inline(always)]
fn add_rows<E: Real, const FMA: bool>(sum: &mut [E], factors: &[E], rows: &[E]) {
    let length = sum.len();
    // Four rows at a time, so that a sum is loaded and stored a quarter as often.
    let (fours, rest) = factors.as_chunks::<4>();
    let mut blocks = rows.chunks_exact(4 * length);
    for (&[f0, f1, f2, f3], block) in fours.iter().zip(&mut blocks) {
        let (r0, block) = block.split_at(length);
        let (r1, block) = block.split_at(length);
        let (r2, r3) = block.split_at(length);
        let rows = r0.iter().zip(r1).zip(r2.iter().zip(r3));
        for (sum, ((&r0, &r1), (&r2, &r3))) in sum.iter_mut().zip(rows) {
            let first = f1.multiply_add::<FMA>(r1, f0.multiply_add::<FMA>(r0, *sum));
            *sum = f3.multiply_add::<FMA>(r3, f2.multiply_add::<FMA>(r2, first));
        }
    }
    for (&factor, row) in rest.iter().zip(blocks.remainder().chunks_exact(length)) {
        for (sum, &row) in sum.iter_mut().zip(row) {
            *sum = factor.multiply_add::<FMA>(row, *sum);
        }
    }
}
