//! Search spaces at the boundary, with mutation and crossover as an interface of their own.

use std::ffi::c_void;
use std::sync::Arc;

use ghnas_core::{BuildContext, Evolve, Factory, Registration, SearchSpace, Settings};
use ghnas_plugin_abi::{Bytes, Interface, OwnedBytes, SHAREABLE, Status, interface};
use ghnas_plugin_messages::{Cross, Lower, Mutate, OfArchitecture, Parse, Sample, method};

use crate::shim::{Failure, Kind, guard, instance, lent, read, write};

pub(crate) struct Space(Arc<dyn SearchSpace>);

impl Kind for Space {
    fn create(
        registration: &Registration,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<Self, String> {
        match registration.factory {
            Factory::SearchSpace(build) => Ok(Self(build(settings, context)?)),
            _ => Err("not a search space".into()),
        }
    }

    fn call(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        let Self(space) = self;
        match method {
            method::SAMPLE => {
                let Sample { phase, seed } = read(request)?;
                write(&space.sample(phase, seed).map_err(Failure::refused)?)
            }
            method::VALIDATE => {
                let OfArchitecture { arch } = read(request)?;
                write(&space.validate(&arch).map_err(Failure::refused)?)
            }
            method::LOWER => {
                let Lower { arch, task } = read(request)?;
                write(&space.lower(&arch, task).map_err(Failure::refused)?)
            }
            method::PARSE => {
                let Parse { text } = read(request)?;
                write(&space.parse(&text).map_err(Failure::refused)?)
            }
            _ => Err(Failure::UnknownMethod),
        }
    }
}

impl Space {
    fn evolve(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        let evolve = || -> Result<&dyn Evolve, Failure> {
            let none = || Failure::refused("this space has no mutation and no crossover");
            self.0.evolve().ok_or_else(none)
        };
        match method {
            method::AVAILABLE => write(&self.0.evolve().is_some()),
            method::MUTATE => {
                let Mutate { arch, seed } = read(request)?;
                write(&evolve()?.mutate(&arch, seed).map_err(Failure::refused)?)
            }
            method::CROSS => {
                let Cross { first, second, seed } = read(request)?;
                write(&evolve()?.cross(&first, &second, seed).map_err(Failure::refused)?)
            }
            _ => Err(Failure::UnknownMethod),
        }
    }
}

/// The interface of mutation and crossover, over instances of [`Space`].
pub(crate) const EVOLVE: Interface = Interface {
    size: size_of::<Interface>() as u32,
    flags: SHAREABLE,
    id: Bytes::of(interface::EVOLVE.as_bytes()),
    entries: Bytes::of(b"[]"),
    create: None,
    destroy: None,
    call: Some(call),
    generate: None,
    vjp: None,
};

unsafe extern "C" fn call(
    space: *mut c_void,
    method: Bytes,
    request: Bytes,
    response: *mut OwnedBytes,
) -> Status {
    guard(response, || {
        // SAFETY: the host calls with an instance of a space and lends the bytes.
        let (space, method, request) =
            unsafe { (instance::<Space>(space)?, lent(method), lent(request)) };
        let method = std::str::from_utf8(method).map_err(|_| Failure::UnknownMethod)?;
        space.evolve(method, request)
    })
}
