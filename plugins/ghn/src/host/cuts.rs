//! The cuts of all output branches on slices, forward beside backward: only the outputs that some
//! cut takes are computed, where [`hypernetwork`](crate::hypernetwork) computes whole kernels.

use crate::pass::Values;
use crate::plan::{Band, BranchPlan, Piece, Plan};
use crate::simd::{Kernel, Real};
use crate::threads::Divide;

use super::matrix::{add_product, add_transposed_product, begin, finish};

/// Computes outputs, as [`Plan::outputs`] says.
pub(super) struct Forward<'a, E> {
    pub(super) plan: &'a Plan,
    /// By [`ParameterId`](crate::parameters::ParameterId).
    pub(super) values: &'a [Values<E>],
    /// The features of the node of each cut: [cuts, hypernetwork hidden].
    pub(super) features: &'a [E],
    pub(super) pieces: &'a [Piece],
    /// Of these pieces.
    pub(super) outputs: &'a mut [E],
}

impl<E: Real> Divide for Forward<'_, E> {
    fn divide(self) -> Result<(Self, Self), Self> {
        if self.pieces.len() < 2 {
            return Err(self);
        }
        let Self { plan, values, features, .. } = self;
        let (one, other) = self.pieces.split_at(self.pieces.len() / 2);
        let border = other[0].first_output - one[0].first_output;
        let (outputs, others) = self.outputs.split_at_mut(border);
        let half = |pieces, outputs| Self { plan, values, features, pieces, outputs };
        Ok((half(one, outputs), half(other, others)))
    }
}

impl<E: Real> Kernel for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut rest = self.outputs;
        for piece in self.pieces {
            let branch = &self.plan.branches[piece.branch];
            let slice = &branch.slices[piece.slice];
            let weight = &self.values[branch.layer.weight.index()];
            let bias = &self.values[branch.layer.bias.index()].data;
            let hidden = weight.shape[1];
            let cuts = slice.cuts.len();
            let features = &self.features[slice.first_cut * hidden..][..cuts * hidden];
            let rows = &slice.cutting.rows[piece.rows.clone()];
            let own;
            (own, rest) = rest.split_at_mut(rows.len() * cuts);
            let blocks = rows.chunks(DOTS).zip(own.chunks_mut(DOTS * cuts));
            for (rows, own) in blocks {
                // Cuts inside, so that a row of weights is read once for all of them.
                for (cut, features) in features.chunks_exact(hidden).enumerate() {
                    let line = |row: usize| &weight.data[row * hidden..][..hidden];
                    let mut begun = [[E::default(); 8]; DOTS];
                    for (begun, &row) in begun.iter_mut().zip(rows) {
                        *begun = begin::<E, FMA>(line(row), features);
                    }
                    let outputs = own.chunks_exact_mut(cuts).zip(rows);
                    for ((output, &row), begun) in outputs.zip(&begun) {
                        output[cut] = finish::<E, FMA>(begun, line(row), features) + bias[row];
                    }
                }
            }
        }
    }
}

/// Dot products that are computed together.
const DOTS: usize = 16;

/// What a branch's part of the backward pass adds up.
#[derive(Default)]
pub(super) struct BranchGradient<E> {
    /// [largest, hypernetwork hidden]
    pub(super) weight: Vec<E>,
    /// As long as the branch's output.
    pub(super) bias: Vec<E>,
    /// The gradients of features, for each band: [cuts of the branch, hypernetwork hidden].
    pub(super) features: Vec<E>,
}

/// What all branches read in the backward pass.
pub(super) struct Given<'a, E> {
    /// By [`ParameterId`](crate::parameters::ParameterId).
    pub(super) values: &'a [Values<E>],
    /// The features of the node of each cut: [cuts, hypernetwork hidden].
    pub(super) features: &'a [E],
    /// The gradients of outputs, as [`Plan::outputs`] says.
    pub(super) directions: &'a [E],
}

/// The backward pass of some branches.
pub(super) struct Branches<'a, E> {
    pub(super) branches: &'a [BranchPlan],
    pub(super) gradients: &'a mut [BranchGradient<E>],
}

impl<E: Real> Divide for Branches<'_, E> {
    fn divide(self) -> Result<(Self, Self), Self> {
        if self.branches.len() < 2 {
            return Err(self);
        }
        let middle = self.branches.len() / 2;
        let (branches, other_branches) = self.branches.split_at(middle);
        let (gradients, other_gradients) = self.gradients.split_at_mut(middle);
        let other = Self { branches: other_branches, gradients: other_gradients };
        Ok((Self { branches, gradients }, other))
    }
}

/// The backward pass of some bands of rows of one branch: adds the gradients of weights and biases,
/// and writes those of features.
pub(super) struct Backward<'a, E> {
    given: &'a Given<'a, E>,
    branch: &'a BranchPlan,
    bands: &'a [Band],
    /// Of the rows of these bands: [rows, hypernetwork hidden].
    dweight: &'a mut [E],
    /// Of the rows of these bands.
    dbias: &'a mut [E],
    /// Of these bands, each [cuts of the branch, hypernetwork hidden].
    dfeatures: &'a mut [E],
}

impl<'a, E: Real> Backward<'a, E> {
    /// All bands of a branch.
    pub(super) fn new(
        given: &'a Given<'a, E>,
        branch: &'a BranchPlan,
        gradient: &'a mut BranchGradient<E>,
    ) -> Self {
        let hidden = gradient.weight.len() / branch.largest;
        let bands = &branch.bands[..];
        gradient.features.resize(bands.len() * branch.cuts() * hidden, E::default());
        let rows = bands[0].rows.start..bands[bands.len() - 1].rows.end;
        Self {
            given,
            branch,
            bands,
            dweight: &mut gradient.weight[rows.start * hidden..rows.end * hidden],
            dbias: &mut gradient.bias[rows],
            dfeatures: &mut gradient.features,
        }
    }
}

impl<E: Real> Divide for Backward<'_, E> {
    fn divide(self) -> Result<(Self, Self), Self> {
        if self.bands.len() < 2 {
            return Err(self);
        }
        let Self { given, branch, .. } = self;
        let (each, hidden) =
            (self.dfeatures.len() / self.bands.len(), self.dweight.len() / self.dbias.len());
        let (bands, other_bands) = self.bands.split_at(self.bands.len() / 2);
        let rows = other_bands[0].rows.start - bands[0].rows.start;
        let (dweight, other_dweight) = self.dweight.split_at_mut(rows * hidden);
        let (dbias, other_dbias) = self.dbias.split_at_mut(rows);
        let (dfeatures, other_dfeatures) = self.dfeatures.split_at_mut(bands.len() * each);
        let other = Self {
            given,
            branch,
            bands: other_bands,
            dweight: other_dweight,
            dbias: other_dbias,
            dfeatures: other_dfeatures,
        };
        Ok((Self { given, branch, bands, dweight, dbias, dfeatures }, other))
    }
}

/// Rows that stay in the first-level cache between the two products that read them.
const BLOCK: usize = 32;

impl<E: Real> Kernel for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { given, branch, bands, dweight, dbias, dfeatures } = self;
        let hidden = dweight.len() / dbias.len();
        let weight = &given.values[branch.layer.weight.index()].data;
        let first_row = bands[0].rows.start;
        let first_cut = branch.slices[0].first_cut;
        let each = dfeatures.len() / bands.len();
        dfeatures.fill(E::default());
        for (band, dfeatures) in bands.iter().zip(dfeatures.chunks_exact_mut(each)) {
            for (slice, range) in branch.slices.iter().zip(&band.slices) {
                let cuts = slice.cuts.len();
                let features = &given.features[slice.first_cut * hidden..][..cuts * hidden];
                let own = (slice.first_cut - first_cut) * hidden;
                let dfeatures = &mut dfeatures[own..][..cuts * hidden];
                let mut at = range.start;
                while at < range.end {
                    let rows = run_of(&slice.cutting.rows[at..range.end]);
                    let directions =
                        &given.directions[slice.first_output + at * cuts..][..rows * cuts];
                    let row = slice.cutting.rows[at];
                    let line = &weight[row * hidden..][..rows * hidden];
                    let own = row - first_row;
                    let dline = &mut dweight[own * hidden..][..rows * hidden];
                    add_product::<E, FMA>(directions, cuts, features, dline);
                    add_transposed_product::<E, FMA>(directions, cuts, 0, line, hidden, dfeatures);
                    let dbias = dbias[own..][..rows].iter_mut();
                    for (dbias, directions) in dbias.zip(directions.chunks_exact(cuts)) {
                        directions.iter().for_each(|&direction| *dbias += direction);
                    }
                    at += rows;
                }
            }
        }
    }
}

/// How many rows from the first on follow one another, at most [`BLOCK`].
#[inline(always)]
fn run_of(rows: &[usize]) -> usize {
    let follow = rows.windows(2).take(BLOCK - 1).take_while(|pair| pair[1] == pair[0] + 1);
    1 + follow.count()
}
