//! Propagation along a chain of modules (sections 3 and 4.3, Eq. 3 to 5 and 12 to 14), as dfdx
//! operations.
//!
//! The mean embedding of a module is a message to the entry nodes of the next: it is added to
//! what their neighbours send, in every update of an entry node, as it is (the message network
//! does not see it). The first module's entry nodes hear zeros, h of A_0 in Eq. 12.

use dfdx::prelude::*;
use ghnas_core::ScheduleStep;

use crate::model::{Matrix, Model, Taped};
use crate::plan::{ModulePlan, Plan};
use crate::{gru, message};

/// The embeddings of all nodes after propagation, [nodes, hidden].
pub(crate) fn embed<E: Dtype, D: Device<E>, T: Tape<E, D>>(
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
        for step in &module.propagation.schedule.steps {
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
fn embeddings<E: Dtype, D: Device<E>, T: Tape<E, D>>(
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
fn initial<E: Dtype, D: Device<E>, T: Tape<E, D>>(
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
fn advance<E: Dtype, D: Device<E>, T: Tape<E, D>>(
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
fn mean<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    h: Matrix<E, D>,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    let nodes = h.shape().0;
    let share = E::ONE / E::from_usize(nodes).expect("a count of nodes");
    product(model, vec![share; nodes], (1, nodes), h, tape)
}

/// A constant matrix times `x`.
fn product<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    model: &Model<E, D>,
    constant: Vec<E>,
    shape: (usize, usize),
    x: Matrix<E, D>,
    tape: T,
) -> Taped<Matrix<E, D>, T, D> {
    Ok(model.constant(constant, shape)?.put_tape(tape).try_matmul(x)?.split_tape())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ghnas_core::{
        Dag, Network, NetworkBuilder, Phase, Propagator, Schedule, ScheduleError, Shape, ValueId,
    };

    use super::*;
    use crate::kernels::Kernels;
    use crate::parameters::Parameters;
    use crate::pass::{Pass, Values};
    use crate::plans::Parts;
    use crate::simd::Real;
    use crate::{ForwardBackward, GhnSettings, Synchronous, test_networks};

    /// M(h), with one unit a layer.
    fn m(h: f64) -> f64 {
        -0.8 * (0.9 * h + 0.1).max(0.0) + 0.3
    }

    /// U(h, message), with one unit.
    fn u(h: f64, message: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let reset = sigmoid(0.4 * message + 0.1 - 0.3 * h + 0.2);
        let keep = sigmoid(-0.6 * message + 0.5 + 0.7 * h - 0.1);
        let new = (1.1 * message - 0.2 + reset * (0.8 * h + 0.05)).tanh();
        (1.0 - keep) * new + keep * h
    }

    /// Initial embeddings of the operations a, b and c.
    const INITIAL: [f64; 3] = [0.7, -0.4, 0.2];

    fn values(name: &str, len: usize) -> Vec<f64> {
        match name {
            "message.0.weight" => vec![0.9],
            "message.0.bias" => vec![0.1],
            "message.1.weight" => vec![-0.8],
            "message.1.bias" => vec![0.3],
            "gru.input.weight" => vec![0.4, -0.6, 1.1],
            "gru.input.bias" => vec![0.1, 0.5, -0.2],
            "gru.state.weight" => vec![-0.3, 0.7, 0.8],
            "gru.state.bias" => vec![0.2, -0.1, 0.05],
            "embedding.a" => vec![INITIAL[0]],
            "embedding.b" => vec![INITIAL[1]],
            "embedding.c" => vec![INITIAL[2]],
            _ => vec![f64::NAN; len],
        }
    }

    /// Nodes a and b, both read by c; then a module whose only node, an a, reads the first one.
    fn network() -> Network {
        let mut network = NetworkBuilder::new(Shape::new(2, 1, 1), 2);
        network.module("first");
        let a = network.node("a", vec![], true).relu(ValueId::IMAGES).unwrap();
        let b = network.node("b", vec![], false).add(&[ValueId::IMAGES, a]).unwrap();
        let c = network.node("c", vec![0, 1], false).add(&[a, b]).unwrap();
        network.module("second");
        let logits = network.node("a", vec![], true).add(&[c, a]).unwrap();
        network.output(logits, 1.0);
        network.finish().unwrap()
    }

    /// What the processor's kernels give.
    fn host<E: Real>(plan: &Plan, values: &[Values<E>]) -> Vec<E>
    where
        Cpu: Kernels<E>,
    {
        let mut pass = Pass { values: values.to_vec(), ..Pass::default() };
        Cpu::embed(&ghnas_dfdx_device::cpu(), plan, &mut pass).unwrap()
    }

    #[track_caller]
    fn check(propagator: &dyn Propagator, expected: [f64; 4]) {
        let settings =
            GhnSettings { rounds: 1, hidden: 1, message_hidden: 1, ..GhnSettings::default() };
        let mut parameters = Parameters::new(0);
        let mut parts = Parts::default();
        let plan = Plan::new(&network(), propagator, &settings, &mut parameters, &mut parts);
        let plan = plan.unwrap();
        let values = parameters.iter().map(|parameter| Values {
            shape: parameter.shape,
            data: Arc::new(values(&parameter.name, parameter.values.len())),
        });
        let values: Vec<_> = values.collect();
        let model = Model::new(Cpu::default(), &values);
        let (composed, _) = embed(&model, &plan, NoneTape).unwrap();
        for h in [composed.as_vec(), host(&plan, &values)] {
            for (node, (h, expected)) in h.into_iter().zip(expected).enumerate() {
                assert!((h - expected).abs() < 1e-14, "node {node}: {h} {expected}");
            }
        }
    }

    #[test]
    fn synchronous_propagation_by_hand() {
        let [a, b, c] = INITIAL;
        // Eq. 3 and 4: all from the embeddings before the step.
        let (next_a, next_b, next_c) = (u(a, 0.0), u(b, 0.0), u(c, m(a) + m(b)));
        // Eq. 13: the second module hears the mean of the first.
        let mean = (next_a + next_b + next_c) / 3.0;
        check(&Synchronous::default(), [next_a, next_b, next_c, u(a, mean)]);
    }

    #[test]
    fn forward_backward_propagation_by_hand() {
        let [a, b, c] = INITIAL;
        // Eq. 15: a, b, c, then b and a, which hear c.
        let (next_a, next_b) = (u(a, 0.0), u(b, 0.0));
        let next_c = u(c, m(next_a) + m(next_b));
        let (next_b, next_a) = (u(next_b, m(next_c)), u(next_a, m(next_c)));
        let mean = (next_a + next_b + next_c) / 3.0;
        check(&ForwardBackward::default(), [next_a, next_b, next_c, u(a, mean)]);
    }

    /// [`ForwardBackward`] as Eq. 15 has it, one node a step.
    struct OneByOne;

    impl Propagator for OneByOne {
        fn schedule(&self, graph: &Dag, rounds: usize) -> Result<Schedule, ScheduleError> {
            let order = graph.topological_order();
            let step = |node: usize, heard: &[usize]| ScheduleStep {
                updates: vec![node],
                messages: heard.iter().map(|&from| (from, node)).collect(),
            };
            let forward = order.iter().map(|&node| step(node, graph.inputs(node)));
            let backward = order.iter().rev().skip(1);
            let backward = backward.map(|&node| step(node, graph.consumers(node)));
            let round: Vec<ScheduleStep> = forward.chain(backward).collect();
            let steps = std::iter::repeat_n(round, rounds).flatten().collect();
            Ok(Schedule { steps })
        }
    }

    #[test]
    fn nodes_that_share_a_step_get_what_they_get_one_by_one() {
        for seed in 0..6 {
            let network = test_networks::cell(Phase::Score, seed);
            let embeddings = |propagator: &dyn Propagator| {
                let (plan, parameters) = test_networks::plan(&network, propagator);
                let propagations = plan.modules.iter().map(|module| &module.propagation);
                let steps: usize = propagations.map(|own| own.schedule.steps.len()).sum();
                (host(&plan, &test_networks::values::<f32>(&parameters)), steps)
            };
            let (batched, few) = embeddings(&ForwardBackward::default());
            let (sequential, many) = embeddings(&OneByOne);
            assert_eq!(batched, sequential, "network {seed}");
            assert!(few < many, "no step had two nodes");
        }
    }
}
