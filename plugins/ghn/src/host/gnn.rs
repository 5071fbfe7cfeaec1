//! Propagation along the chain of modules on slices, forward beside backward: what
//! [`propagation`](crate::propagation) composes of dfdx operations.
//!
//! A node's message is computed once an update of the node, and kept for all that hear it.

use std::ops::Range;

use crate::plan::{ModulePlan, Plan};
use crate::simd::{Kernel, Real};

use super::affine::{Affine, AffineGradient};

/// The layers of the graph neural network.
pub(super) struct Gnn<E> {
    pub(super) message: [Affine<E>; 2],
    pub(super) gru_input: Affine<E>,
    pub(super) gru_state: Affine<E>,
}

/// The gradients of the graph neural network's parameters.
pub(super) struct GnnGradient<E> {
    pub(super) message: [AffineGradient<E>; 2],
    pub(super) gru_input: AffineGradient<E>,
    pub(super) gru_state: AffineGradient<E>,
    /// [operations, hidden]
    pub(super) embeddings: Vec<E>,
}

/// What the backward pass needs of the forward pass.
#[derive(Default)]
pub(super) struct Record<E> {
    /// In the order in which they happened.
    events: Vec<Event>,
    /// By module: its events.
    modules: Vec<Range<usize>>,
    values: Vec<E>,
}

/// Something that happened in a module. `at` is where its values start.
enum Event {
    /// A node computed its message. Values: its embedding, the message network's rectified
    /// hidden layer.
    Send { node: usize, at: usize },
    /// The nodes of a step updated. Values for each: message, embedding before, gates r, z, n, and
    /// W_hn h + b_hn; all as long as an embedding.
    Step { step: usize, at: usize },
}

/// How many vectors of length `hidden` an update records.
const UPDATE_VECTORS: usize = 6;

/// The embeddings of all nodes after propagation, row-major [nodes, hidden].
pub(super) struct Forward<'a, E> {
    pub(super) gnn: &'a Gnn<E>,
    pub(super) plan: &'a Plan,
    /// [operations, hidden]
    pub(super) embeddings: &'a [E],
    pub(super) record: Option<&'a mut Record<E>>,
}

impl<E: Real> Kernel for Forward<'_, E> {
    type Output = Vec<E>;

    #[inline(always)]
    fn run<const FMA: bool>(mut self) -> Vec<E> {
        let hidden = self.gnn.gru_state.inputs();
        let mut h = Vec::with_capacity(self.plan.nodes * hidden);
        let mut previous = vec![E::default(); hidden];
        for module in &self.plan.modules {
            let first = h.len();
            for &op in &module.ops {
                h.extend_from_slice(&self.embeddings[op * hidden..][..hidden]);
            }
            let own = &mut h[first..];
            let begin = self.record.as_ref().map_or(0, |record| record.events.len());
            self.walk::<FMA>(module, &previous, own);
            if let Some(record) = &mut self.record {
                record.modules.push(begin..record.events.len());
            }
            mean(own, &mut previous);
        }
        h
    }
}

impl<E: Real> Forward<'_, E> {
    /// Runs one module's schedule on its embeddings h: [n, hidden].
    #[inline(always)]
    fn walk<const FMA: bool>(&mut self, module: &ModulePlan, previous: &[E], h: &mut [E]) {
        let Gnn { message: [first, second], gru_input, gru_state } = self.gnn;
        let hidden = previous.len();
        let zero = E::default();
        let mut layer = vec![zero; first.outputs()];
        let mut sent = vec![zero; h.len()];
        let mut fresh = vec![false; module.ops.len()];
        let mut received = Vec::new();
        let mut position = vec![0; module.ops.len()];
        let mut from_message = vec![zero; 3 * hidden];
        let mut from_state = vec![zero; 3 * hidden];
        for (index, step) in module.schedule.steps.iter().enumerate() {
            for &(node, _) in &step.messages {
                if !std::mem::replace(&mut fresh[node], true) {
                    let own = &h[node * hidden..][..hidden];
                    first.forward::<FMA>(own, &mut layer);
                    layer.iter_mut().for_each(|x| *x = if *x > zero { *x } else { zero });
                    second.forward::<FMA>(&layer, &mut sent[node * hidden..][..hidden]);
                    if let Some(record) = &mut self.record {
                        record.events.push(Event::Send { node, at: record.values.len() });
                        record.values.extend_from_slice(own);
                        record.values.extend_from_slice(&layer);
                    }
                }
            }
            received.clear();
            for (update, &node) in step.updates.iter().enumerate() {
                position[node] = update;
                if module.entry[node] {
                    received.extend_from_slice(previous);
                } else {
                    received.resize(received.len() + hidden, zero);
                }
            }
            for &(from, to) in &step.messages {
                let sum = &mut received[position[to] * hidden..][..hidden];
                add(sum, &sent[from * hidden..][..hidden]);
            }
            if let Some(record) = &mut self.record {
                record.events.push(Event::Step { step: index, at: record.values.len() });
            }
            for (&node, message) in step.updates.iter().zip(received.chunks_exact(hidden)) {
                let own = &mut h[node * hidden..][..hidden];
                gru_input.forward::<FMA>(message, &mut from_message);
                gru_state.forward::<FMA>(own, &mut from_state);
                if let Some(record) = &mut self.record {
                    record.values.extend_from_slice(message);
                    record.values.extend_from_slice(own);
                }
                let gates = gates(&mut from_message, &from_state, own);
                if let Some(record) = &mut self.record {
                    record.values.extend_from_slice(gates);
                    record.values.extend_from_slice(&from_state[2 * hidden..]);
                }
                fresh[node] = false;
            }
        }
    }
}

/// The equations of [`gru`](crate::gru): turns `gates`, W_i m + b_i, into r, z and n, and `h` into
/// the next embedding. Gives the gates.
#[inline(always)]
fn gates<'a, E: Real>(gates: &'a mut [E], from_state: &[E], h: &mut [E]) -> &'a [E] {
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
    gates
}

/// The gradients of all parameters, for those of the embeddings after propagation.
pub(super) struct Backward<'a, E> {
    pub(super) gnn: &'a Gnn<E>,
    pub(super) plan: &'a Plan,
    pub(super) record: &'a Record<E>,
    /// [nodes, hidden]; used up.
    pub(super) dh: Vec<E>,
}

impl<E: Real> Kernel for Backward<'_, E> {
    type Output = GnnGradient<E>;

    #[inline(always)]
    fn run<const FMA: bool>(mut self) -> GnnGradient<E> {
        let hidden = self.gnn.gru_state.inputs();
        let zero = E::default();
        let mut gradient = GnnGradient {
            message: self.gnn.message.each_ref().map(Affine::no_gradient),
            gru_input: self.gnn.gru_input.no_gradient(),
            gru_state: self.gnn.gru_state.no_gradient(),
            embeddings: vec![zero; self.plan.embeddings.len() * hidden],
        };
        // Of the mean embedding that the module passed on.
        let mut dmean = vec![zero; hidden];
        for (module, events) in self.plan.modules.iter().zip(&self.record.modules).rev() {
            let mut dh = std::mem::take(&mut self.dh);
            let own = &mut dh[module.first * hidden..][..module.ops.len() * hidden];
            spread(&dmean, own);
            let events = &self.record.events[events.clone()];
            dmean = self.walk_back::<FMA>(module, events, own, &mut gradient);
            for (&op, own) in module.ops.iter().zip(own.chunks_exact(hidden)) {
                add(&mut gradient.embeddings[op * hidden..][..hidden], own);
            }
            self.dh = dh;
        }
        gradient
    }
}

impl<E: Real> Backward<'_, E> {
    /// Turns the gradient `dh` of one module's final embeddings into that of its initial ones.
    /// Gives the gradient of what the module heard of the previous one.
    #[inline(always)]
    fn walk_back<const FMA: bool>(
        &self,
        module: &ModulePlan,
        events: &[Event],
        dh: &mut [E],
        gradient: &mut GnnGradient<E>,
    ) -> Vec<E> {
        let Gnn { message: [first, second], gru_input, gru_state } = self.gnn;
        let hidden = gru_state.inputs();
        let zero = E::default();
        let mut dprevious = vec![zero; hidden];
        // Of the messages that were current at the event.
        let mut dsent = vec![zero; dh.len()];
        let mut dlayer = vec![zero; first.outputs()];
        let mut dmessages = Vec::new();
        let mut position = vec![0; module.ops.len()];
        let mut dinput = vec![zero; 3 * hidden];
        let mut dstate = vec![zero; 3 * hidden];
        for event in events.iter().rev() {
            match *event {
                Event::Step { step, at } => {
                    let step = &module.schedule.steps[step];
                    dmessages.clear();
                    dmessages.resize(step.updates.len() * hidden, zero);
                    let size = UPDATE_VECTORS * hidden;
                    let records = self.record.values[at..].chunks_exact(size);
                    let updates = step.updates.iter().enumerate().zip(records);
                    for ((update, &node), record) in updates {
                        position[node] = update;
                        let own = &mut dh[node * hidden..][..hidden];
                        gates_back(record, own, &mut dinput, &mut dstate);
                        let (message, h) = record[..2 * hidden].split_at(hidden);
                        let dmessage = &mut dmessages[update * hidden..][..hidden];
                        gru_input.backward::<FMA>(
                            &dinput,
                            message,
                            dmessage,
                            &mut gradient.gru_input,
                        );
                        gru_state.backward::<FMA>(&dstate, h, own, &mut gradient.gru_state);
                        if module.entry[node] {
                            add(&mut dprevious, dmessage);
                        }
                    }
                    for &(from, to) in &step.messages {
                        let dmessage = &dmessages[position[to] * hidden..][..hidden];
                        add(&mut dsent[from * hidden..][..hidden], dmessage);
                    }
                }
                Event::Send { node, at } => {
                    let (h, layer) =
                        self.record.values[at..][..hidden + dlayer.len()].split_at(hidden);
                    let dmessage = &mut dsent[node * hidden..][..hidden];
                    let [dfirst, dsecond] = &mut gradient.message;
                    dlayer.fill(zero);
                    second.backward::<FMA>(dmessage, layer, &mut dlayer, dsecond);
                    for (dlayer, &layer) in dlayer.iter_mut().zip(layer) {
                        *dlayer = if layer > zero { *dlayer } else { zero };
                    }
                    let own = &mut dh[node * hidden..][..hidden];
                    first.backward::<FMA>(&dlayer, h, own, dfirst);
                    dmessage.fill(zero);
                }
            }
        }
        dprevious
    }
}

/// The adjoint of [`gates`]: writes the gradients of W_i m + b_i and of W_h h + b_h, and turns
/// `dh`, of the next embedding, into what reaches the old one without the layers.
#[inline(always)]
fn gates_back<E: Real>(record: &[E], dh: &mut [E], dinput: &mut [E], dstate: &mut [E]) {
    let hidden = dh.len();
    let vector = |index: usize| &record[index * hidden..][..hidden];
    let (h, reset, keep, new, from_state) = (vector(1), vector(2), vector(3), vector(4), vector(5));
    let (dinput_reset, rest) = dinput.split_at_mut(hidden);
    let (dinput_keep, dinput_new) = rest.split_at_mut(hidden);
    for i in 0..hidden {
        let dnew = dh[i] * (E::ONE - keep[i]) * (E::ONE - new[i] * new[i]);
        let dkeep = dh[i] * (h[i] - new[i]);
        let dreset = dnew * from_state[i];
        dinput_reset[i] = dreset * reset[i] * (E::ONE - reset[i]);
        dinput_keep[i] = dkeep * keep[i] * (E::ONE - keep[i]);
        dinput_new[i] = dnew;
        dh[i] *= keep[i];
    }
    dstate.copy_from_slice(dinput);
    for (dstate, &reset) in dstate[2 * hidden..].iter_mut().zip(reset) {
        *dstate *= reset;
    }
}

/// The mean of the rows of `h` (Eq. 13).
#[inline(always)]
fn mean<E: Real>(h: &[E], mean: &mut [E]) {
    let share = share::<E>(h.len() / mean.len());
    mean.fill(E::default());
    for row in h.chunks_exact(mean.len()) {
        add(mean, row);
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

#[inline(always)]
fn add<E: Real>(sum: &mut [E], x: &[E]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}
