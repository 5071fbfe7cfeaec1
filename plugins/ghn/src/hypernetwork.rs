//! The hypernetwork's output branches (section 7.2): one linear layer a parameter kind, to the
//! largest kernel of the kind, from which parameters are cut.

use dfdx::prelude::*;

use crate::model::{Matrix, Model, Taped, Vector};
use crate::plan::BranchPlan;

/// The outputs that the cuts of one branch take, for each slice [rows, cuts], as dfdx operations.
pub(crate) fn branch<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    branch: &BranchPlan,
    features: Matrix<E, D>,
    tape: T,
) -> Taped<Vector<E, D>, T, D> {
    let cuts = branch.slices.iter().flat_map(|slice| &slice.cuts);
    let nodes: Vec<usize> = cuts.map(|cut| cut.row).collect();
    let count = nodes.len();
    let nodes = model.device.try_tensor_from_vec(nodes, (count,))?;
    // features: [cuts, hypernetwork hidden], whole: [cuts, largest]
    let (features, tape) = features.put_tape(tape).try_gather(nodes)?.split_tape();
    let (whole, tape) = model.linear(branch.layer, features, tape)?;
    let flat = whole.put_tape(tape).try_reshape_like(&(count * branch.largest,))?;
    let mut indices = Vec::with_capacity(branch.outputs());
    let mut first = 0;
    for slice in &branch.slices {
        let cuts = first..first + slice.cuts.len();
        for row in &slice.cutting.rows {
            indices.extend(cuts.clone().map(|cut| cut * branch.largest + row));
        }
        first = cuts.end;
    }
    let length = indices.len();
    let indices = model.device.try_tensor_from_vec(indices, (length,))?;
    Ok(flat.try_gather(indices)?.split_tape())
}
