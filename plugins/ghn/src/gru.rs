//! The recurrent cell U of Eq. 3: a gated recurrent unit, with the equations of
//! torch.nn.GRUCell.
//!
//! r = sigmoid(W_ir m + b_ir + W_hr h + b_hr)
//! z = sigmoid(W_iz m + b_iz + W_hz h + b_hz)
//! n = tanh(W_in m + b_in + r * (W_hn h + b_hn))
//! h' = (1 - z) * n + z * h

use dfdx::prelude::*;

use crate::model::{Matrix, Model, Taped};
use crate::parameters::Shared;

/// The next embeddings [n, hidden] from messages and embeddings of that shape.
pub(crate) fn update<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    shared: &Shared,
    messages: Matrix<E, D>,
    h: Matrix<E, D>,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let hidden = h.shape().1;
    // from_message, from_state: [n, 3 * hidden], in the order reset, update, new
    let (from_message, tape) = model.linear(shared.gru_input, messages, tape)?;
    let (from_state, tape) = model.linear(shared.gru_state, h.clone(), tape)?;
    let (reset, tape) = gate(&from_message, 0, hidden, tape)?;
    let (other, tape) = gate(&from_state, 0, hidden, tape)?;
    let (reset, tape) = reset.put_tape(tape).try_add(other)?.try_sigmoid()?.split_tape();
    let (keep, tape) = gate(&from_message, 1, hidden, tape)?;
    let (other, tape) = gate(&from_state, 1, hidden, tape)?;
    let (keep, tape) = keep.put_tape(tape).try_add(other)?.try_sigmoid()?.split_tape();
    let (new, tape) = gate(&from_message, 2, hidden, tape)?;
    let (other, tape) = gate(&from_state, 2, hidden, tape)?;
    let (other, tape) = reset.put_tape(tape).try_mul(other)?.split_tape();
    let (new, tape) = new.put_tape(tape).try_add(other)?.try_tanh()?.split_tape();
    // (1 - z) * n + z * h = n + z * (h - n)
    let (change, tape) = h.put_tape(tape).try_sub(new.clone())?.try_mul(keep)?.split_tape();
    Ok(new.put_tape(tape).try_add(change)?.split_tape())
}

/// Columns `index * hidden..` of the gates, [n, hidden].
fn gate<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    gates: &Matrix<E, D>,
    index: usize,
    hidden: usize,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let columns = index * hidden..(index + 1) * hidden;
    let rows = 0..gates.shape().0;
    Ok(gates.clone().put_tape(tape).try_slice((rows, columns))?.split_tape())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::GhnSettings;
    use crate::parameters::Parameters;
    use crate::pass::Values;

    #[test]
    fn two_units_follow_the_equations() {
        // Recipe, in Python, with s(x) = 1 / (1 + exp(-x)) and gi, gh the products plus biases:
        // r = s(gi[k] + gh[k]); z = s(gi[2 + k] + gh[2 + k]); n = tanh(gi[4 + k] + r * gh[4 + k])
        // (1 - z) * n + z * h[k], for k in 0, 1.
        let expected = [0.631_789_579_439_517, -0.647_574_235_016_849];
        let input = [0.5, -0.3, 0.1, 0.2, -0.4, 0.6, 0.7, 0.05, 0.3, -0.8, -0.2, 0.9];
        let state = [0.2, 0.4, -0.5, 0.1, 0.3, -0.1, 0.6, 0.25, -0.7, 0.35, 0.15, -0.45];
        let settings = GhnSettings { hidden: 2, ..GhnSettings::default() };
        let mut parameters = Parameters::new(0);
        let shared = parameters.shared(&settings);
        let values = |name: &str, len: usize| match name {
            "gru.input.weight" => input.to_vec(),
            "gru.input.bias" => vec![0.1, -0.2, 0.05, 0.3, -0.15, 0.25],
            "gru.state.weight" => state.to_vec(),
            "gru.state.bias" => vec![-0.05, 0.15, 0.2, -0.1, 0.4, -0.3],
            _ => vec![f64::NAN; len],
        };
        let values = parameters.iter().map(|parameter| Values {
            shape: parameter.shape,
            data: Arc::new(values(&parameter.name, parameter.values.len())),
        });
        let model = Model::new(Cpu::default(), &values.collect::<Vec<_>>());
        let message = model.constant(vec![0.8, -1.2], (1, 2)).unwrap();
        let h = model.constant(vec![0.4, -0.6], (1, 2)).unwrap();
        let (next, _) = update(&model, &shared, message, h, NoneTape).unwrap();
        for (next, expected) in next.as_vec().into_iter().zip(expected) {
            assert!((next - expected).abs() < 1e-14, "{next} {expected}");
        }
    }
}
