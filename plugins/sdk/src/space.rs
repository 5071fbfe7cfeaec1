//! Search spaces at the boundary. What only some spaces can do, evolution and enumeration, has
//! interfaces of its own over the same instances.

use std::ffi::c_void;
use std::sync::Arc;

use ghnas_core::{BuildContext, Enumerate, Evolve, Factory, Registration, SearchSpace, Settings};
use ghnas_plugin_abi::{Bytes, Interface, OwnedBytes, SHAREABLE, Status, interface};
use ghnas_plugin_messages::{Cross, Lower, Mutate, Nth, OfArchitecture, Parse, Sample, method};

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
            method::FORMAT => {
                let OfArchitecture { arch } = read(request)?;
                write(&space.format(&arch))
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

    fn enumerate(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        match method {
            method::SIZE => write(&self.0.enumerate().map(Enumerate::size)),
            method::NTH => {
                let Nth { index } = read(request)?;
                let none = || Failure::refused("this space cannot list its architectures");
                let enumerate = self.0.enumerate().ok_or_else(none)?;
                write(&enumerate.nth(index).map_err(Failure::refused)?)
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
    call: Some(call_evolve),
    generate: None,
    vjp: None,
};

/// The interface that lists all architectures, over instances of [`Space`].
pub(crate) const ENUMERATE: Interface = Interface {
    id: Bytes::of(interface::ENUMERATE.as_bytes()),
    call: Some(call_enumerate),
    ..EVOLVE
};

unsafe extern "C" fn call_evolve(
    space: *mut c_void,
    method: Bytes,
    request: Bytes,
    response: *mut OwnedBytes,
) -> Status {
    // SAFETY: the host calls with an instance of a space and lends the bytes.
    unsafe { call(space, method, request, response, Space::evolve) }
}

unsafe extern "C" fn call_enumerate(
    space: *mut c_void,
    method: Bytes,
    request: Bytes,
    response: *mut OwnedBytes,
) -> Status {
    // SAFETY: as above.
    unsafe { call(space, method, request, response, Space::enumerate) }
}

/// Calls a method by name with the bytes of its request.
type Method = fn(&Space, &str, &[u8]) -> Result<Vec<u8>, Failure>;

/// Calls a method of one of the interfaces over a space.
///
/// # Safety
/// `space` is an instance of [`Space`]; the bytes are lent, and `response` may be written.
unsafe fn call(
    space: *mut c_void,
    method: Bytes,
    request: Bytes,
    response: *mut OwnedBytes,
    of: Method,
) -> Status {
    guard(response, || {
        // SAFETY: by the caller's promise.
        let (space, method, request) =
            unsafe { (instance::<Space>(space)?, lent(method), lent(request)) };
        let method = std::str::from_utf8(method).map_err(|_| Failure::UnknownMethod)?;
        of(space, method, request)
    })
}
