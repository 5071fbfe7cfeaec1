//! What a plugin may ask the host while it makes and uses an instance: operations and propagators
//! of the host's catalogue.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use ghnas_core::registry::Shelf;
use ghnas_core::{BuildContext, Dag, Fragment, Operation, Propagator};
use ghnas_plugin_abi::{Bytes, OwnedBytes, Status};
use ghnas_plugin_messages::{Build, Expand, Kind, Offered, ScheduleOf, method};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The host as one instance sees it.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// Set while the instance is made.
    context: RwLock<Option<Context>>,
    built: RwLock<Vec<Built>>,
}

/// The build context, without its lifetime.
struct Context(*const BuildContext<'static>);

// SAFETY: a build context may be shared between threads; the pointer is only used under the lock,
// while `Callbacks::during` keeps what it points at.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

#[derive(Clone)]
enum Built {
    Operation(Arc<dyn Operation>),
    Propagator(Arc<dyn Propagator>),
}

impl Callbacks {
    /// Runs `work`, during which the plugin may build entries of `context`'s catalogue.
    pub(crate) fn during<R>(&self, context: &BuildContext<'_>, work: impl FnOnce() -> R) -> R {
        let lock = || self.context.write().unwrap_or_else(PoisonError::into_inner);
        *lock() = Some(Context(std::ptr::from_ref(context).cast()));
        let result = work();
        // Waits for calls that still use the context.
        *lock() = None;
        result
    }

    fn answer(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, (Status, String)> {
        match method {
            method::LIST => {
                let kind: Kind = read(request)?;
                self.with_context(|context| {
                    write(&match kind {
                        Kind::Operation => offered(&context.catalogue.operations),
                        Kind::Propagator => offered(&context.catalogue.propagators),
                    })
                })
            }
            method::BUILD => {
                let Build { kind, id, settings } = read(request)?;
                let built = self.with_context(|context| {
                    let catalogue = context.catalogue;
                    let built = match kind {
                        Kind::Operation => catalogue
                            .operations
                            .build(&id, &settings, context)
                            .map(Built::Operation),
                        Kind::Propagator => catalogue
                            .propagators
                            .build(&id, &settings, context)
                            .map(Built::Propagator),
                    };
                    built.map_err(refused)
                })?;
                let mut all = self.built.write().unwrap_or_else(PoisonError::into_inner);
                all.push(built);
                write(&(all.len() as u64 - 1))
            }
            method::EXPAND => {
                let request: Expand = read(request)?;
                match self.get(request.handle)? {
                    Built::Operation(operation) => {
                        let fragment =
                            Fragment::record(&*operation, &request.inputs, request.context());
                        write(&fragment.map_err(refused)?)
                    }
                    Built::Propagator(_) => Err(malformed("the handle is of a propagator")),
                }
            }
            method::SCHEDULE => {
                let ScheduleOf { inputs, rounds, handle } = read(request)?;
                let graph = Dag::new(inputs).map_err(malformed)?;
                match self.get(handle)? {
                    Built::Propagator(propagator) => {
                        write(&propagator.schedule(&graph, rounds).map_err(refused)?)
                    }
                    Built::Operation(_) => Err(malformed("the handle is of an operation")),
                }
            }
            _ => Err((Status::UNKNOWN_METHOD, format!("the host has no method '{method}'"))),
        }
    }

    fn with_context<R>(
        &self,
        work: impl FnOnce(&BuildContext<'_>) -> Result<R, (Status, String)>,
    ) -> Result<R, (Status, String)> {
        let context = self.context.read().unwrap_or_else(PoisonError::into_inner);
        match &*context {
            // SAFETY: `during` keeps the context until this lock is released.
            Some(Context(context)) => work(unsafe { &**context }),
            None => Err(refused("entries of the host can only be built while an instance is made")),
        }
    }

    fn get(&self, handle: Option<u64>) -> Result<Built, (Status, String)> {
        let built = self.built.read().unwrap_or_else(PoisonError::into_inner);
        let position = handle.and_then(|handle| usize::try_from(handle).ok());
        position.and_then(|at| built.get(at).cloned()).ok_or_else(|| malformed("unknown handle"))
    }
}

fn offered<T>(shelf: &Shelf<T>) -> Vec<Offered> {
    let entries = shelf.entries();
    entries.map(|e| Offered { id: e.id.clone(), summary: e.summary.clone() }).collect()
}

fn read<T: DeserializeOwned>(request: &[u8]) -> Result<T, (Status, String)> {
    serde_json::from_slice(request).map_err(malformed)
}

fn write(response: &impl Serialize) -> Result<Vec<u8>, (Status, String)> {
    serde_json::to_vec(response).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> (Status, String) {
    (Status::ERROR, error.to_string())
}

fn malformed(error: impl std::fmt::Display) -> (Status, String) {
    (Status::MALFORMED, error.to_string())
}

/// The function behind [`ghnas_plugin_abi::Host::call`]; `context` is a [`Callbacks`].
pub(crate) unsafe extern "C" fn call(
    context: *mut c_void,
    method: Bytes,
    request: Bytes,
    response: *mut OwnedBytes,
) -> Status {
    let work = || {
        // SAFETY: the plugin passes the context of its table and lends the bytes.
        let (callbacks, method, request) =
            unsafe { (&*context.cast::<Callbacks>(), lent(method), lent(request)) };
        let method = std::str::from_utf8(method).unwrap_or_default();
        callbacks.answer(method, request)
    };
    let (status, bytes) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(bytes)) => (Status::OK, bytes),
        Ok(Err((status, words))) => (status, words.into_bytes()),
        Err(_) => (Status::PANIC, b"the host panicked".to_vec()),
    };
    if !response.is_null() {
        // SAFETY: the plugin lends a place for the response.
        unsafe { response.write(hand_over(bytes)) };
    }
    status
}

/// # Safety
/// `bytes` are readable for the length of the call.
unsafe fn lent<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.data.is_null() {
        return &[];
    }
    // SAFETY: by the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.len) }
}

fn hand_over(bytes: Vec<u8>) -> OwnedBytes {
    let mut bytes = std::mem::ManuallyDrop::new(bytes);
    let (data, len, capacity) = (bytes.as_mut_ptr(), bytes.len(), bytes.capacity());
    OwnedBytes { data, len, capacity, release: Some(release) }
}

unsafe extern "C" fn release(bytes: *mut OwnedBytes) {
    // SAFETY: a plugin calls this with bytes that `hand_over` made.
    let OwnedBytes { data, len, capacity, release } =
        unsafe { std::mem::replace(&mut *bytes, OwnedBytes::EMPTY) };
    if release.is_some() {
        // SAFETY: the parts of a vector, taken apart by `hand_over`; the second call finds none.
        drop(unsafe { Vec::from_raw_parts(data, len, capacity) });
    }
}
