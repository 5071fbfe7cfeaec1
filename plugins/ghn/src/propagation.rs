//! Propagation along a chain of modules (sections 3 and 4.3, Eq. 3 to 5 and 12 to 14), as dfdx
//! operations.
//!
//! The mean embedding of a module is a message to the entry nodes of the next: it is added to
//! what their neighbours send, in every update of an entry node, as it is (the message network
//! does not see it). The first module's entry nodes hear zeros, h of A_0 in Eq. 12.

use dfdx::prelude::*;
use ghnas_core::ScheduleStep;

use crate::kernels::Kernels;
use crate::model::{Matrix, Model, Taped};
use crate::plan::{ModulePlan, Plan};
use crate::{gru, message};

/// The embeddings of all nodes after propagation, [nodes, hidden].
pub(crate) fn embed<E: Dtype, D: Kernels<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    plan: &Plan,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let (rows, mut tape) = embeddings(model, plan, tape)?;
    let hidden = rows.shape().1;
    let mut previous = model.constant(vec![E::default(); hidden], (1, hidden))?;
    let mut all: Option<Matrix<E, D>> = None;
    for module in &plan.modules {
        let mut h;
        (h, tape) = initial(model, &rows, module, tape)?;
        for step in &module.schedule.steps {
            (h, tape) = advance(model, plan, module, step, &previous, h, tape)?;
        }
        (previous, tape) = mean(model, h.clone(), tape)?;
        let joined;
        (joined, tape) = match all {
            None => (h, tape),
            Some(all) => {
                let (joined, tape) =
                    (all.put_tape(tape), h).try_concat_along(Axis::<0>)?.split_tape();
                (joined, tape)
            }
        };
        all = Some(joined);
    }
    let nothing = || model.constant(Vec::new(), (0, hidden));
    Ok((all.map_or_else(nothing, Ok)?, tape))
}

/// The embeddings of the network's operations, [operations, hidden].
fn embeddings<E: Dtype, D: Kernels<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    plan: &Plan,
    mut tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let (first, others) = plan.embeddings.split_first().expect("a plan with branches has nodes");
    let mut rows = model.tensor(*first)?;
    for &id in others {
        let row = model.tensor(id)?;
        (rows, tape) = (rows.put_tape(tape), row).try_concat_along(Axis::<0>)?.split_tape();
    }
    Ok((rows, tape))
}

/// The embeddings of a module's nodes before propagation, [n, hidden].
fn initial<E: Dtype, D: Kernels<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    rows: &Matrix<E, D>,
    module: &ModulePlan,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let ops = model.device.try_tensor_from_vec(module.ops.clone(), (module.ops.len(),))?;
    Ok(rows.clone().put_tape(tape).try_gather(ops)?.split_tape())
}

/// One step of a schedule (Eq. 3 and 4). Sums over neighbours and choices of rows are products
/// with matrices of zeros and ones.
fn advance<E: Dtype, D: Kernels<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    plan: &Plan,
    module: &ModulePlan,
    step: &ScheduleStep,
    previous: &Matrix<E, D>,
    h: Matrix<E, D>,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let (nodes, updates) = (module.ops.len(), step.updates.len());
    let mut position = vec![None; nodes];
    let mut heard = vec![E::default(); updates * nodes];
    let mut entry = vec![E::default(); updates];
    let mut chosen = vec![E::default(); updates * nodes];
    let mut placed = vec![E::default(); nodes * updates];
    let mut kept = vec![E::default(); nodes * nodes];
    for (update, &node) in step.updates.iter().enumerate() {
        position[node] = Some(update);
        chosen[update * nodes + node] = E::ONE;
        placed[node * updates + update] = E::ONE;
        if module.entry[node] {
            entry[update] = E::ONE;
        }
    }
    for &(from, to) in &step.messages {
        let update = position[to].expect("the schedule was validated");
        heard[update * nodes + from] += E::ONE;
    }
    for (node, position) in position.iter().enumerate() {
        if position.is_none() {
            kept[node * nodes + node] = E::ONE;
        }
    }
    let (sent, tape) = message::messages(model, &plan.shared, h.clone(), tape)?;
    // received, old, new: [updates, hidden]
    let (received, tape) = product(model, heard, (updates, nodes), sent, tape)?;
    let (passed_on, tape) = product(model, entry, (updates, 1), previous.clone(), tape)?;
    let (received, tape) = received.put_tape(tape).try_add(passed_on)?.split_tape();
    let (old, tape) = product(model, chosen, (updates, nodes), h.clone(), tape)?;
    let (new, tape) = gru::update(model, &plan.shared, received, old, tape)?;
    let (new, tape) = product(model, placed, (nodes, updates), new, tape)?;
    let (kept, tape) = product(model, kept, (nodes, nodes), h, tape)?;
    Ok(kept.put_tape(tape).try_add(new)?.split_tape())
}

/// The mean of the rows of h, [1, hidden] (Eq. 13).
fn mean<E: Dtype, D: Kernels<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    h: Matrix<E, D>,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let nodes = h.shape().0;
    let share = E::ONE / E::from_usize(nodes).expect("a count of nodes");
    product(model, vec![share; nodes], (1, nodes), h, tape)
}

/// A constant matrix times `x`.
fn product<E: Dtype, D: Kernels<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    constant: Vec<E>,
    shape: (usize, usize),
    x: Matrix<E, D>,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    Ok(model.constant(constant, shape)?.put_tape(tape).try_matmul(x)?.split_tape())
}
