//! Propagation along the chain of modules on slices, forward beside backward: what
//! [`propagation`](crate::propagation) composes of dfdx operations.
//!
//! The nodes of a step are updated as one matrix. The gradients of weights are products of what
//! all updates leave behind, and are left to [`weights`](super::weights).

use crate::pass::Values;
use crate::plan::{ModulePlan, Plan};
use crate::simd::{Kernel, Real};

use super::affine::{Affine, add_input_gradient, rectify, rectify_back};
use super::matrix::add;

/// The layers of the graph neural network.
#[derive(Clone, Copy)]
pub(super) struct Gnn<'a, E> {
    pub(super) message: [Affine<'a, E>; 2],
    pub(super) gru_input: Affine<'a, E>,
    pub(super) gru_state: Affine<'a, E>,
}

/// What happened in a propagation, one row a message or an update of a node in the order in which
/// they were computed.
#[derive(Default)]
pub(super) struct Record<E> {
    /// The embeddings of senders: [sends, hidden].
    pub(super) sender: Vec<E>,
    /// The message network's rectified hidden layer: [sends, message hidden].
    pub(super) layer: Vec<E>,
    /// What updated nodes heard: [updates, hidden].
    pub(super) message: Vec<E>,
    /// Their embeddings before the update: [updates, hidden].
    pub(super) state: Vec<E>,
    /// The gates r, z, n: [updates, 3 * hidden].
    gates: Vec<E>,
    /// W_h h + b_h: [updates, 3 * hidden].
    from_state: Vec<E>,
    /// The gradients of messages: [sends, hidden].
    pub(super) dsent: Vec<E>,
    /// The gradients of the message network's hidden layer before rectification.
    pub(super) dlayer: Vec<E>,
    /// The gradients of W_i m + b_i: [updates, 3 * hidden].
    pub(super) dinput: Vec<E>,
    /// The gradients of W_h h + b_h: [updates, 3 * hidden].
    pub(super) dstate: Vec<E>,
    scratch: Scratch<E>,
}

/// Memory of the walk over one module.
#[derive(Default)]
struct Scratch<E> {
    /// By node: its last message, or that message's gradient.
    sent: Vec<E>,
    /// Rows of a step that are gathered here, and scattered from here.
    rows: Vec<E>,
    /// The gradients of what the nodes of a step heard.
    dmessages: Vec<E>,
    /// By node: its place among the updates of a step.
    position: Vec<usize>,
    /// What the module hears of the one before, or the gradient of what it passes on.
    previous: Vec<E>,
    /// The gradient of what it hears.
    dprevious: Vec<E>,
}

impl<E: Real> Record<E> {
    /// Makes room for a propagation by `plan`; what was there is left as it is.
    fn fit(&mut self, plan: &Plan, hidden: usize, message_hidden: usize) {
        let count = |of: fn(&ModulePlan) -> usize| plan.modules.iter().map(of).sum::<usize>();
        let sends = count(|module| module.propagation.sends);
        let updates = count(|module| module.propagation.updates);
        let resize = |vector: &mut Vec<E>, length| vector.resize(length, E::default());
        resize(&mut self.sender, sends * hidden);
        resize(&mut self.layer, sends * message_hidden);
        resize(&mut self.message, updates * hidden);
        resize(&mut self.state, updates * hidden);
        resize(&mut self.gates, updates * 3 * hidden);
        resize(&mut self.from_state, updates * 3 * hidden);
    }

    /// Makes room for the gradients, as long as what they are of.
    fn fit_gradients(&mut self) {
        let resize = |vector: &mut Vec<E>, length| vector.resize(length, E::default());
        resize(&mut self.dsent, self.sender.len());
        resize(&mut self.dlayer, self.layer.len());
        resize(&mut self.dinput, self.gates.len());
        resize(&mut self.dstate, self.from_state.len());
    }
}

/// Rows `from..from + count` of a matrix with rows of this length.
macro_rules! rows {
    ($matrix:expr, $from:expr, $count:expr, $length:expr) => {
        $matrix[$from * $length..($from + $count) * $length]
    };
}

/// Writes the embeddings of all nodes after propagation.
pub(super) struct Forward<'a, E> {
    pub(super) gnn: Gnn<'a, E>,
    pub(super) plan: &'a Plan,
    /// By [`ParameterId`](crate::parameters::ParameterId), for the embeddings of operations.
    pub(super) values: &'a [Values<E>],
    pub(super) record: &'a mut Record<E>,
    /// [nodes, hidden]
    pub(super) h: &'a mut [E],
}

impl<E: Real> Kernel for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { gnn, plan, values, record, h } = self;
        let hidden = gnn.gru_state.inputs();
        record.fit(plan, hidden, gnn.message[0].outputs());
        refill(&mut record.scratch.previous, hidden);
        let mut at = Place { send: 0, update: 0 };
        for module in &plan.modules {
            let own = &mut rows!(h, module.first, module.ops.len(), hidden);
            for (row, &op) in own.chunks_exact_mut(hidden).zip(&module.ops) {
                row.copy_from_slice(&values[plan.embeddings[op].index()].data);
            }
            at = walk::<E, FMA>(gnn, module, record, at, own);
            mean(own, &mut record.scratch.previous);
        }
    }
}

/// The next rows of a [`Record`].
#[derive(Clone, Copy)]
struct Place {
    send: usize,
    update: usize,
}

/// Runs one module's schedule on its embeddings h: [n, hidden]. Gives the place after it.
#[inline(always)]
fn walk<E: Real, const FMA: bool>(
    gnn: Gnn<'_, E>,
    module: &ModulePlan,
    record: &mut Record<E>,
    mut at: Place,
    h: &mut [E],
) -> Place {
    let Gnn { message: [first, second], gru_input, gru_state } = gnn;
    let (hidden, message_hidden) = (first.inputs(), first.outputs());
    let Scratch { sent, rows, position, previous, .. } = &mut record.scratch;
    refill(sent, h.len());
    position.resize(module.ops.len(), 0);
    let propagation = &module.propagation;
    for (step, senders) in propagation.schedule.steps.iter().zip(&propagation.senders) {
        if !senders.is_empty() {
            let state = &mut rows!(record.sender, at.send, senders.len(), hidden);
            gather(h, senders, hidden, state);
            let layer = &mut rows!(record.layer, at.send, senders.len(), message_hidden);
            first.forward::<FMA>(state, layer);
            rectify(layer);
            refill(rows, state.len());
            second.forward::<FMA>(layer, rows);
            scatter(rows, senders, hidden, sent);
            at.send += senders.len();
        }
        let updates = step.updates.len();
        let message = &mut rows!(record.message, at.update, updates, hidden);
        for (update, &node) in step.updates.iter().enumerate() {
            position[node] = update;
            let row = &mut rows!(message, update, 1, hidden);
            match module.entry[node] {
                true => row.copy_from_slice(previous),
                false => row.fill(E::default()),
            }
        }
        for &(from, to) in &step.messages {
            let heard = &rows!(sent, from, 1, hidden);
            add(heard, &mut rows!(message, position[to], 1, hidden));
        }
        let state = &mut rows!(record.state, at.update, updates, hidden);
        gather(h, &step.updates, hidden, state);
        let gates = &mut rows!(record.gates, at.update, updates, 3 * hidden);
        gru_input.forward::<FMA>(message, gates);
        let from_state = &mut rows!(record.from_state, at.update, updates, 3 * hidden);
        gru_state.forward::<FMA>(state, from_state);
        let gates = gates.chunks_exact_mut(3 * hidden).zip(from_state.chunks_exact(3 * hidden));
        for (&node, (gates, from_state)) in step.updates.iter().zip(gates) {
            update(gates, from_state, &mut rows!(h, node, 1, hidden));
        }
        at.update += updates;
    }
    at
}

/// The equations of [`gru`](crate::gru): turns `gates`, W_i m + b_i, into r, z and n, and `h` into
/// the next embedding.
#[inline(always)]
fn update<E: Real>(gates: &mut [E], from_state: &[E], h: &mut [E]) {
    let hidden = h.len();
    let (sigmoids, new) = gates.split_at_mut(2 * hidden);
    let (from_sigmoids, from_new) = from_state.split_at(2 * hidden);
    for (gate, &state) in sigmoids.iter_mut().zip(from_sigmoids) {
        *gate = (*gate + state).logistic();
    }
    let (reset, keep) = sigmoids.split_at(hidden);
    for ((new, &state), &reset) in new.iter_mut().zip(from_new).zip(reset) {
        *new = (*new + reset * state).hyperbolic_tangent();
    }
    for ((h, &new), &keep) in h.iter_mut().zip(&*new).zip(keep) {
        *h = new + keep * (*h - new);
    }
}

/// Writes the gradients of everything in `record`, and turns those of the embeddings after
/// propagation into those of the embeddings before.
pub(super) struct Backward<'a, E> {
    pub(super) plan: &'a Plan,
    /// By [`ParameterId`](crate::parameters::ParameterId).
    pub(super) values: &'a [Values<E>],
    pub(super) record: &'a mut Record<E>,
    /// [nodes, hidden]
    pub(super) dh: &'a mut [E],
}

impl<E: Real> Kernel for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { plan, values, record, dh } = self;
        let hidden = values[plan.shared.gru_state.weight.index()].shape[1];
        record.fit_gradients();
        refill(&mut record.scratch.previous, hidden);
        let [mut send, mut update] = [record.sender.len(), record.state.len()].map(|n| n / hidden);
        for module in plan.modules.iter().rev() {
            let own = &mut rows!(dh, module.first, module.ops.len(), hidden);
            spread(&record.scratch.previous, own);
            send -= module.propagation.sends;
            update -= module.propagation.updates;
            walk_back::<E, FMA>(plan, values, module, record, Place { send, update }, own);
            let Scratch { previous, dprevious, .. } = &mut record.scratch;
            std::mem::swap(previous, dprevious);
        }
    }
}

/// Turns the gradient `dh` of one module's final embeddings into that of its initial ones, and
/// leaves in the scratch that of what the module heard of the previous one. `at` is the module's
/// first place.
#[inline(always)]
fn walk_back<E: Real, const FMA: bool>(
    plan: &Plan,
    values: &[Values<E>],
    module: &ModulePlan,
    record: &mut Record<E>,
    at: Place,
    dh: &mut [E],
) {
    let [first, second] = plan.shared.message.map(|layer| &values[layer.weight.index()]);
    let [input, state] = [plan.shared.gru_input, plan.shared.gru_state]
        .map(|layer| &values[layer.weight.index()].data[..]);
    let [message_hidden, hidden] = first.shape;
    let Scratch { sent: dsent, rows, dmessages, position, dprevious, .. } = &mut record.scratch;
    refill(dprevious, hidden);
    refill(dsent, dh.len());
    position.resize(module.ops.len(), 0);
    let propagation = &module.propagation;
    let mut at =
        Place { send: at.send + propagation.sends, update: at.update + propagation.updates };
    for (step, senders) in propagation.schedule.steps.iter().zip(&propagation.senders).rev() {
        let updates = step.updates.len();
        at.update -= updates;
        let dinput = &mut rows!(record.dinput, at.update, updates, 3 * hidden);
        let dstate = &mut rows!(record.dstate, at.update, updates, 3 * hidden);
        for (update, &node) in step.updates.iter().enumerate() {
            position[node] = update;
            let row = at.update + update;
            update_back(
                Update {
                    h: &rows!(record.state, row, 1, hidden),
                    gates: &rows!(record.gates, row, 1, 3 * hidden),
                    from_state: &rows!(record.from_state, row, 1, 3 * hidden),
                },
                &mut rows!(dh, node, 1, hidden),
                &mut rows!(dinput, update, 1, 3 * hidden),
                &mut rows!(dstate, update, 1, 3 * hidden),
            );
        }
        refill(dmessages, updates * hidden);
        add_input_gradient::<E, FMA>(input, 3 * hidden, dinput, dmessages);
        refill(rows, updates * hidden);
        gather(dh, &step.updates, hidden, rows);
        add_input_gradient::<E, FMA>(state, 3 * hidden, dstate, rows);
        scatter(rows, &step.updates, hidden, dh);
        for (&node, dmessage) in step.updates.iter().zip(dmessages.chunks_exact(hidden)) {
            if module.entry[node] {
                add(dmessage, dprevious);
            }
        }
        for &(from, to) in &step.messages {
            let dmessage = &rows!(dmessages, position[to], 1, hidden);
            add(dmessage, &mut rows!(dsent, from, 1, hidden));
        }
        if senders.is_empty() {
            continue;
        }
        at.send -= senders.len();
        let dmessage = &mut rows!(record.dsent, at.send, senders.len(), hidden);
        gather(dsent, senders, hidden, dmessage);
        // What was sent before is another message.
        senders.iter().for_each(|&node| rows!(dsent, node, 1, hidden).fill(E::default()));
        let dlayer = &mut rows!(record.dlayer, at.send, senders.len(), message_hidden);
        dlayer.fill(E::default());
        add_input_gradient::<E, FMA>(&second.data, hidden, dmessage, dlayer);
        let layer = &rows!(record.layer, at.send, senders.len(), message_hidden);
        rectify_back(layer, dlayer);
        refill(rows, senders.len() * hidden);
        gather(dh, senders, hidden, rows);
        add_input_gradient::<E, FMA>(&first.data, message_hidden, dlayer, rows);
        scatter(rows, senders, hidden, dh);
    }
}

/// What [`update`] read and wrote.
struct Update<'a, E> {
    h: &'a [E],
    gates: &'a [E],
    from_state: &'a [E],
}

/// The adjoint of [`update`]: writes the gradients of W_i m + b_i and of W_h h + b_h, and turns
/// `dh`, of the next embedding, into what reaches the old one without the layers.
#[inline(always)]
fn update_back<E: Real>(update: Update<'_, E>, dh: &mut [E], dinput: &mut [E], dstate: &mut [E]) {
    let hidden = dh.len();
    let h = update.h;
    let (reset, others) = update.gates.split_at(hidden);
    let (keep, new) = others.split_at(hidden);
    let from_state = &update.from_state[2 * hidden..];
    let (dinput_reset, others) = dinput.split_at_mut(hidden);
    let (dinput_keep, dinput_new) = others.split_at_mut(hidden);
    let (dstate_sigmoids, dstate_new) = dstate.split_at_mut(2 * hidden);
    for i in 0..hidden {
        let dnew = dh[i] * (E::ONE - keep[i]) * (E::ONE - new[i] * new[i]);
        let dkeep = dh[i] * (h[i] - new[i]);
        let dreset = dnew * from_state[i];
        dinput_reset[i] = dreset * reset[i] * (E::ONE - reset[i]);
        dinput_keep[i] = dkeep * keep[i] * (E::ONE - keep[i]);
        dinput_new[i] = dnew;
        dstate_new[i] = dnew * reset[i];
        dh[i] *= keep[i];
    }
    dstate_sigmoids[..hidden].copy_from_slice(dinput_reset);
    dstate_sigmoids[hidden..].copy_from_slice(dinput_keep);
}

/// Zeros of this length, in the memory at hand.
#[inline(always)]
fn refill<E: Real>(vector: &mut Vec<E>, length: usize) {
    vector.clear();
    vector.resize(length, E::default());
}

/// Copies the rows of `nodes` to `rows`.
#[inline(always)]
fn gather<E: Real>(matrix: &[E], nodes: &[usize], length: usize, rows: &mut [E]) {
    for (&node, row) in nodes.iter().zip(rows.chunks_exact_mut(length)) {
        row.copy_from_slice(&rows!(matrix, node, 1, length));
    }
}

/// Copies `rows` to the rows of `nodes`.
#[inline(always)]
fn scatter<E: Real>(rows: &[E], nodes: &[usize], length: usize, matrix: &mut [E]) {
    for (&node, row) in nodes.iter().zip(rows.chunks_exact(length)) {
        rows!(matrix, node, 1, length).copy_from_slice(row);
    }
}

/// The mean of the rows of `h` (Eq. 13).
#[inline(always)]
fn mean<E: Real>(h: &[E], mean: &mut [E]) {
    let share = share::<E>(h.len() / mean.len());
    mean.fill(E::default());
    for row in h.chunks_exact(mean.len()) {
        add(row, mean);
    }
    mean.iter_mut().for_each(|mean| *mean *= share);
}

/// The adjoint of [`mean`].
#[inline(always)]
fn spread<E: Real>(dmean: &[E], dh: &mut [E]) {
    let share = share::<E>(dh.len() / dmean.len());
    for row in dh.chunks_exact_mut(dmean.len()) {
        for (dh, &dmean) in row.iter_mut().zip(dmean) {
            *dh += dmean * share;
        }
    }
}

#[inline(always)]
fn share<E: Real>(nodes: usize) -> E {
    E::ONE / E::from_usize(nodes).expect("a count of nodes")
}
