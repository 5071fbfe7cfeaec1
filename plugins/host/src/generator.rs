//! A plugin's weight generator: plans and tickets by number, weights through a buffer of the
//! host's with guards around every parameter.

use std::collections::BTreeSet;

use bytemuck::{Pod, Zeroable};
use ghnas_core::{
    GeneratorError, GeneratorState, Network, ParamId, StepOptions, StepReport, Ticket,
    WeightGenerator, Weights,
};
use ghnas_plugin_messages::{Step, Stepped, finite, method, state};

use crate::instance::{CallError, Instance, Pointer};

pub(crate) struct PluginGenerator {
    instance: Instance,
    buffer: Guarded,
    tickets: BTreeSet<u64>,
}

fn other(error: CallError) -> GeneratorError {
    match error {
        CallError::Broken(fault) => GeneratorError::Broken(fault.to_string()),
        other => GeneratorError::Other(other.to_string()),
    }
}

impl PluginGenerator {
    pub(crate) fn new(instance: Instance) -> Self {
        Self { instance, buffer: Guarded::default(), tickets: BTreeSet::new() }
    }

    /// Plans, generates, and forgets the plan: a ticket keeps what it needs.
    fn fill(
        &mut self,
        network: &Network,
        weights: &mut Weights,
        ticket: Option<&mut u64>,
    ) -> Result<(), GeneratorError> {
        if !weights.fits(network.params()) {
            return Err(GeneratorError::Other("the buffer is laid out for another network".into()));
        }
        let plan: u64 = self.instance.call(method::PLAN, network).map_err(other)?;
        let filled = self.generate(plan, network, weights, ticket);
        // After a panic there is no plan to forget, and `filled` says so.
        let dropped = self.instance.call::<()>(method::DROP_PLAN, &plan);
        filled.and(dropped).map_err(other)
    }

    fn generate(
        &mut self,
        plan: u64,
        network: &Network,
        weights: &mut Weights,
        ticket: Option<&mut u64>,
    ) -> Result<(), CallError> {
        let generate = self.instance.table().generate.expect("checked when it was loaded");
        self.buffer.reset(weights.as_slice().len());
        let ticket = ticket.map_or(std::ptr::null_mut(), std::ptr::from_mut);
        let ticket = Pointer(ticket.cast());
        let body = self.buffer.body();
        self.instance.run("generate", |Pointer(instance), error| {
            // SAFETY: the instance is a generator; ticket and body outlive the call.
            unsafe {
                let (data, len) = (body.as_mut_ptr(), body.len());
                generate(instance, plan, ticket.get().cast(), data, len, error)
            }
        })?;
        let fault = |reason: String| self.instance.fault("generate", reason);
        if let Some(distance) = self.buffer.broken() {
            return Err(fault(format!("it wrote {distance} floats outside of the buffer")));
        }
        let mut end = 0;
        for (index, spec) in network.params().iter().enumerate() {
            let id = ParamId(index as u32);
            let (start, length) = weights.extent(id);
            let body = self.buffer.body();
            if body[end..start].iter().any(|value| value.to_bits() != CANARY) {
                return Err(fault(format!("it wrote into the gap before '{}'", spec.name)));
            }
            end = start + length;
            let values = &body[start..end];
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                let what = match value.to_bits() {
                    CANARY => "was not written".into(),
                    _ => format!("holds {value}"),
                };
                return Err(fault(format!("parameter '{}' {what}", spec.name)));
            }
            weights.get_mut(id).copy_from_slice(values);
        }
        match self.buffer.body()[end..].iter().all(|value| value.to_bits() == CANARY) {
            true => Ok(()),
            false => Err(fault("it wrote behind the last parameter".into())),
        }
    }
}

impl WeightGenerator for PluginGenerator {
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        let mut ticket = u64::MAX;
        self.fill(network, weights, Some(&mut ticket))?;
        if !self.tickets.insert(ticket) {
            let reason = format!("it gave ticket {ticket}, which is in use");
            return Err(other(self.instance.fault("generate", reason)));
        }
        Ok(Ticket(ticket))
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        self.fill(network, weights, None)
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        if !self.tickets.contains(&ticket.0) {
            return Err(GeneratorError::Ticket(ticket.0));
        }
        let vjp = self.instance.table().vjp.expect("checked when it was loaded");
        let slice = gradients.as_slice();
        let done = self.instance.run("vjp", |Pointer(instance), error| {
            // SAFETY: the instance is a generator; the gradients outlive the call.
            unsafe { vjp(instance, ticket.0, slice.as_ptr(), slice.len(), error) }
        });
        done.map_err(other)?;
        self.tickets.remove(&ticket.0);
        Ok(())
    }

    fn discard(&mut self, ticket: Ticket) {
        if self.tickets.remove(&ticket.0) {
            // Nobody waits for it; a fault is kept all the same.
            let _ = self.instance.call::<()>(method::DISCARD, &ticket.0);
        }
    }

    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        let StepOptions { learning_rate, clip_norm } = options;
        let request = Step { learning_rate, clip_norm: finite(clip_norm) };
        let stepped: Stepped = self.instance.call(method::STEP, &request).map_err(other)?;
        Ok(stepped.into())
    }

    /// Zero where the plugin does not answer; the fault is kept.
    fn parameter_count(&self) -> usize {
        self.instance.call(method::PARAMETER_COUNT, &()).unwrap_or(0)
    }

    fn save(&self) -> Result<GeneratorState, GeneratorError> {
        let bytes = self.instance.call_bytes(method::SAVE, &[]).map_err(other)?;
        let wrong = |reason| other(self.instance.fault(method::SAVE, reason));
        let saved = state::decode(&bytes).map_err(wrong)?;
        match saved.tensors.iter().find(|(_, tensor)| !tensor.data.iter().all(|x| x.is_finite())) {
            None => Ok(saved),
            Some((name, _)) => Err(wrong(format!("tensor '{name}' is not finite"))),
        }
    }

    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
        let bytes = state::encode(state).map_err(GeneratorError::Other)?;
        let loaded = self.instance.call_bytes(method::LOAD, &bytes);
        self.tickets.clear();
        loaded.map(|_| ()).map_err(other)
    }
}

/// Floats of a cache line.
const LINE: usize = 16;

/// Cache lines of guard on either side of a buffer.
const GUARD: usize = 64;

/// What stands where nothing was written: not a number that arithmetic makes.
const CANARY: u32 = 0xffe5_a5a5;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u32; LINE]);

/// A buffer that tells where it was written beside its body.
#[derive(Default)]
struct Guarded {
    lines: Vec<Line>,
}

impl Guarded {
    /// Makes room for `floats`, a whole number of cache lines, and fills all with canaries.
    fn reset(&mut self, floats: usize) {
        self.lines.clear();
        self.lines.resize(floats.div_ceil(LINE) + 2 * GUARD, Line([CANARY; LINE]));
    }

    fn body(&mut self) -> &mut [f32] {
        let end = self.lines.len() - GUARD;
        bytemuck::cast_slice_mut(&mut self.lines[GUARD..end])
    }

    /// How many floats outside of the body were written.
    fn broken(&self) -> Option<usize> {
        let (before, rest) = self.lines.split_at(GUARD);
        let after = &rest[rest.len() - GUARD..];
        let cells = before.iter().chain(after).flat_map(|line| line.0);
        let written = cells.filter(|&cell| cell != CANARY).count();
        (written > 0).then_some(written)
    }
}
