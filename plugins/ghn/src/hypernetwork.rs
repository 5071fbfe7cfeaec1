//! The hypernetwork's output branches (section 7.2): one linear layer a parameter kind, to the
//! largest kernel of the kind, from which parameters are cut.

use dfdx::prelude::*;

use crate::kernels::Kernels;
use crate::model::{Matrix, Model, Taped, Vector};
use crate::plan::BranchPlan;

/// The cuts of one branch, one after the other, as dfdx operations.
pub(crate) fn branch<E: Dtype, D: Kernels<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    branch: &BranchPlan,
    features: Matrix<E, D>,
    tape: T,
) -> Taped<Vector<E, D>, T, D> {
    let rows: Vec<usize> = branch.cuts().map(|(cut, _)| cut.row).collect();
    let count = rows.len();
    let rows = model.device.try_tensor_from_vec(rows, (count,))?;
    // features: [cuts, hypernetwork hidden], whole: [cuts, largest]
    let (features, tape) = features.put_tape(tape).try_gather(rows)?.split_tape();
    let (whole, tape) = model.linear(branch.layer, features, tape)?;
    let flat = whole.put_tape(tape).try_reshape_like(&(count * branch.largest,))?;
    let starts = (0..count).map(|cut| cut * branch.largest);
    let indices: Vec<usize> = starts
        .zip(branch.cuts())
        .flat_map(|(start, (_, indices))| indices.iter().map(move |&index| start + index))
        .collect();
    let length = indices.len();
    let indices = model.device.try_tensor_from_vec(indices, (length,))?;
    Ok(flat.try_gather(indices)?.split_tape())
}
