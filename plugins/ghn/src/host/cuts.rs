//! The cuts of an output branch on slices, forward beside backward: only the outputs that some cut
//! takes are computed, where [`hypernetwork`](crate::hypernetwork) computes whole kernels.

use crate::plan::BranchPlan;
use crate::simd::{Kernel, Real};

/// All cuts of a branch, one after the other.
pub(super) struct Forward<'a, E> {
    pub(super) branch: &'a BranchPlan,
    /// [largest, hypernetwork hidden]
    pub(super) weight: &'a [E],
    /// As long as the branch's output.
    pub(super) bias: &'a [E],
    /// [nodes, hypernetwork hidden]
    pub(super) features: &'a [E],
}

impl<E: Real> Kernel for Forward<'_, E> {
    type Output = Vec<E>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<E> {
        let hidden = self.weight.len() / self.bias.len();
        let mut outputs = vec![E::default(); self.branch.len()];
        let mut rest = &mut outputs[..];
        for slice in &self.branch.slices {
            let length = slice.indices.len();
            let (own, others) = rest.split_at_mut(slice.cuts.len() * length);
            // Cuts inside, so that a row of weights is read once for all of them.
            for (at, &index) in slice.indices.iter().enumerate() {
                let row = &self.weight[index * hidden..][..hidden];
                for (cut, own) in slice.cuts.iter().zip(own.chunks_exact_mut(length)) {
                    let features = &self.features[cut.row * hidden..][..hidden];
                    own[at] = dot::<E, FMA>(row, features) + self.bias[index];
                }
            }
            rest = others;
        }
        outputs
    }
}

/// The gradient of the features, [nodes, hypernetwork hidden]; adds those of weight and bias to
/// `dweight` and `dbias`.
pub(super) struct Backward<'a, E> {
    pub(super) branch: &'a BranchPlan,
    /// [largest, hypernetwork hidden]
    pub(super) weight: &'a [E],
    /// [nodes, hypernetwork hidden]
    pub(super) features: &'a [E],
    /// Of all cuts, one after the other.
    pub(super) doutputs: &'a [E],
    /// [largest, hypernetwork hidden]
    pub(super) dweight: &'a mut [E],
    /// As long as the branch's output.
    pub(super) dbias: &'a mut [E],
}

impl<E: Real> Kernel for Backward<'_, E> {
    type Output = Vec<E>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<E> {
        let hidden = self.weight.len() / self.branch.largest;
        let mut dfeatures = vec![E::default(); self.features.len()];
        let mut rest = self.doutputs;
        for slice in &self.branch.slices {
            let length = slice.indices.len();
            let (own, others) = rest.split_at(slice.cuts.len() * length);
            for (at, &index) in slice.indices.iter().enumerate() {
                let row = &self.weight[index * hidden..][..hidden];
                let drow = &mut self.dweight[index * hidden..][..hidden];
                for (cut, own) in slice.cuts.iter().zip(own.chunks_exact(length)) {
                    let doutput = own[at];
                    self.dbias[index] += doutput;
                    let node = cut.row * hidden..(cut.row + 1) * hidden;
                    add_scaled::<E, FMA>(drow, doutput, &self.features[node.clone()]);
                    add_scaled::<E, FMA>(&mut dfeatures[node], doutput, row);
                }
            }
            rest = others;
        }
        dfeatures
    }
}

/// Sums that a dot product keeps apart: two vectors of eight f32.
const LANES: usize = 16;

#[inline(always)]
fn dot<E: Real, const FMA: bool>(a: &[E], b: &[E]) -> E {
    let mut sums = [E::default(); LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = a[lane].multiply_add::<FMA>(b[lane], sums[lane]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    let rest = a_rest.iter().zip(b_rest);
    rest.fold(sums[0], |sum, (&a, &b)| a.multiply_add::<FMA>(b, sum))
}

#[inline(always)]
fn add_scaled<E: Real, const FMA: bool>(sum: &mut [E], factor: E, x: &[E]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum = factor.multiply_add::<FMA>(x, *sum);
    }
}
