//! What a plugin may ask the host while it makes and uses an instance: operations and propagators
//! of the host's catalogue.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
    making: RwLock<Option<Making>>,
    built: RwLock<Vec<Built>>,
    /// What was asked while the instance was made.
    asked: RwLock<Vec<Asked>>,
}

/// Where answers come from while an instance is made.
enum Making {
    /// From the catalogue.
    First(Context),
    /// From what the first instance was told: its build context is gone.
    Again,
}

/// The build context, without its lifetime.
struct Context(*const BuildContext<'static>);

/// A question with its answer.
#[derive(Clone)]
struct Asked {
    method: String,
    request: Vec<u8>,
    response: Vec<u8>,
}

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
        self.make(Making::First(Context(std::ptr::from_ref(context).cast())), work)
    }

    /// For another instance like the one that these are of, which asks the same.
    pub(crate) fn again(&self) -> Self {
        let (built, asked) = (read_lock(&self.built).clone(), read_lock(&self.asked).clone());
        Self { making: RwLock::default(), built: RwLock::new(built), asked: RwLock::new(asked) }
    }

    /// Runs `work`, during which the plugin gets the answers that it got the first time.
    pub(crate) fn during_again<R>(&self, work: impl FnOnce() -> R) -> R {
        self.make(Making::Again, work)
    }

    fn make<R>(&self, making: Making, work: impl FnOnce() -> R) -> R {
        *write_lock(&self.making) = Some(making);
        let result = work();
        // Waits for calls that still use the context.
        *write_lock(&self.making) = None;
        result
    }

    fn answer(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, (Status, String)> {
        match method {
            method::LIST => self.while_made(method, request, |context| {
                let kind: Kind = read(request)?;
                write(&match kind {
                    Kind::Operation => offered(&context.catalogue.operations),
                    Kind::Propagator => offered(&context.catalogue.propagators),
                })
            }),
            method::BUILD => self.while_made(method, request, |context| {
                let Build { kind, id, settings } = read(request)?;
                let catalogue = context.catalogue;
                let built = match kind {
                    Kind::Operation => {
                        catalogue.operations.build(&id, &settings, context).map(Built::Operation)
                    }
                    Kind::Propagator => {
                        catalogue.propagators.build(&id, &settings, context).map(Built::Propagator)
                    }
                };
                let mut all = write_lock(&self.built);
                all.push(built.map_err(refused)?);
                write(&(all.len() as u64 - 1))
            }),
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

    /// Answers from the catalogue, or from memory, while the instance is made.
    fn while_made(
        &self,
        method: &str,
        request: &[u8],
        work: impl FnOnce(&BuildContext<'_>) -> Result<Vec<u8>, (Status, String)>,
    ) -> Result<Vec<u8>, (Status, String)> {
        match &*read_lock(&self.making) {
            Some(Making::First(Context(context))) => {
                // SAFETY: `during` keeps the context until this lock is released.
                let response = work(unsafe { &**context })?;
                let (method, request) = (method.into(), request.into());
                let asked = Asked { method, request, response: response.clone() };
                write_lock(&self.asked).push(asked);
                Ok(response)
            }
            Some(Making::Again) => {
                let same = |asked: &&Asked| asked.method == method && asked.request == request;
                let known = read_lock(&self.asked).iter().find(same).cloned();
                let unknown = || refused("it did not ask for this when it was first made");
                known.map(|asked| asked.response).ok_or_else(unknown)
            }
            None => Err(refused("entries of the host can only be built while an instance is made")),
        }
    }

    fn get(&self, handle: Option<u64>) -> Result<Built, (Status, String)> {
        let built = read_lock(&self.built);
        let position = handle.and_then(|handle| usize::try_from(handle).ok());
        position.and_then(|at| built.get(at).cloned()).ok_or_else(|| malformed("unknown handle"))
    }
}

fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
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
