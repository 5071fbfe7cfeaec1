//! Weight generators at the boundary: plans and tickets by number, weights in the host's buffer.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ghnas_core::{
    BuildContext, Factory, Network, ParamId, Registration, Settings, StepOptions, Ticket,
    WeightGenerator, Weights,
};
use ghnas_plugin_abi::{Interface, OwnedBytes, Status, interface};
use ghnas_plugin_messages::{Step, Stepped, method, state};

use crate::shim::{self, Failure, Kind, guard, instance, read, write};

/// A generator with the networks of its plans and tickets.
pub(crate) struct Generator(Mutex<Inner>);

struct Inner {
    generator: Box<dyn WeightGenerator>,
    plans: BTreeMap<u64, Arc<Network>>,
    next_plan: u64,
    tickets: BTreeMap<u64, Arc<Network>>,
    /// Weights or gradients on this side of the boundary.
    buffer: Weights,
}

impl Kind for Generator {
    fn create(
        registration: &Registration,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<Self, String> {
        let Factory::WeightGenerator(build) = registration.factory else {
            return Err("not a weight generator".into());
        };
        Ok(Self(Mutex::new(Inner {
            generator: build(settings, context)?,
            plans: BTreeMap::new(),
            next_plan: 0,
            tickets: BTreeMap::new(),
            buffer: Weights::default(),
        })))
    }

    fn call(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut inner = self.lock();
        let Inner { generator, plans, next_plan, tickets, .. } = &mut *inner;
        match method {
            method::PLAN => {
                let plan = *next_plan;
                plans.insert(plan, Arc::new(read(request)?));
                *next_plan += 1;
                write(&plan)
            }
            method::DROP_PLAN => {
                plans.remove(&read(request)?);
                write(&())
            }
            method::DISCARD => {
                let ticket = read(request)?;
                tickets.remove(&ticket);
                generator.discard(Ticket(ticket));
                write(&())
            }
            method::STEP => {
                let Step { learning_rate, clip_norm } = read(request)?;
                let clip_norm = clip_norm.unwrap_or(f64::INFINITY);
                let report = generator.step(StepOptions { learning_rate, clip_norm });
                write(&Stepped::from(report.map_err(Failure::refused)?))
            }
            method::PARAMETER_COUNT => write(&generator.parameter_count()),
            method::SAVE => {
                let saved = generator.save().map_err(Failure::refused)?;
                state::encode(&saved).map_err(Failure::Refused)
            }
            method::LOAD => {
                let saved = state::decode(request).map_err(Failure::Malformed)?;
                generator.load(&saved).map_err(Failure::refused)?;
                tickets.clear();
                Ok(Vec::new())
            }
            _ => Err(Failure::UnknownMethod),
        }
    }
}

impl Generator {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // After a panic the host calls no more, so nobody sees the broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The interface of generators with the given entries.
pub(crate) const fn interface(entries: &'static [u8]) -> Interface {
    Interface {
        generate: Some(generate),
        vjp: Some(vjp),
        ..shim::interface::<Generator>(interface::WEIGHT_GENERATOR, entries)
    }
}

unsafe extern "C" fn generate(
    generator: *mut c_void,
    plan: u64,
    ticket: *mut u64,
    weights: *mut f32,
    len: usize,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        // SAFETY: the host calls with an instance of a generator.
        let mut inner = unsafe { instance::<Generator>(generator)? }.lock();
        let Inner { generator, plans, tickets, buffer, .. } = &mut *inner;
        let unknown = || Failure::Malformed(format!("there is no plan {plan}"));
        let network = plans.get(&plan).ok_or_else(unknown)?.clone();
        buffer.reset_for(network.params());
        check_length(buffer, len)?;
        if ticket.is_null() {
            generator.predict(&network, buffer).map_err(Failure::refused)?;
        } else {
            let issued = generator.generate(&network, buffer).map_err(Failure::refused)?;
            // SAFETY: the host lends a place for the ticket.
            unsafe { ticket.write(issued.0) };
            tickets.insert(issued.0, network);
        }
        // SAFETY: the host lends `len` floats for the length of the call.
        let target = unsafe { std::slice::from_raw_parts_mut(weights, len) };
        for id in ids(buffer) {
            let (start, length) = buffer.extent(id);
            target[start..start + length].copy_from_slice(buffer.get(id));
        }
        Ok(Vec::new())
    })
}

unsafe extern "C" fn vjp(
    generator: *mut c_void,
    ticket: u64,
    gradients: *const f32,
    len: usize,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        // SAFETY: the host calls with an instance of a generator.
        let mut inner = unsafe { instance::<Generator>(generator)? }.lock();
        let Inner { generator, tickets, buffer, .. } = &mut *inner;
        let unknown = || Failure::refused(ghnas_core::GeneratorError::Ticket(ticket));
        let network = tickets.get(&ticket).ok_or_else(unknown)?;
        buffer.reset_for(network.params());
        check_length(buffer, len)?;
        // SAFETY: the host lends `len` floats for the length of the call.
        let source = unsafe { std::slice::from_raw_parts(gradients, len) };
        for id in ids(buffer) {
            let (start, length) = buffer.extent(id);
            buffer.get_mut(id).copy_from_slice(&source[start..start + length]);
        }
        tickets.remove(&ticket);
        generator.vjp(Ticket(ticket), buffer).map_err(Failure::refused)?;
        Ok(Vec::new())
    })
}

fn check_length(buffer: &Weights, len: usize) -> Result<(), Failure> {
    match buffer.as_slice().len() {
        expected if expected == len => Ok(()),
        expected => Err(Failure::Malformed(format!("a buffer of {len} floats, not {expected}"))),
    }
}

fn ids(buffer: &Weights) -> impl Iterator<Item = ParamId> + use<> {
    (0..buffer.len() as u32).map(ParamId)
}
