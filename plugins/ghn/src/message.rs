//! The message network M of Eq. 4: two linear layers with a rectification between them.

use dfdx::prelude::*;

use crate::model::{Matrix, Model, Taped};
use crate::parameters::Shared;

/// What nodes with embeddings h [n, hidden] send: [n, hidden].
pub(crate) fn messages<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    shared: &Shared,
    h: Matrix<E, D>,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let [first, second] = shared.message;
    let (layer, tape) = model.linear(first, h, tape)?;
    let (layer, tape) = layer.put_tape(tape).try_relu()?.split_tape();
    model.linear(second, layer, tape)
}
