//! From the C ABI to Rust and back: every call that comes in goes through [`guard`], so that
//! nothing unwinds out of the plugin.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ghnas_core::{BuildContext, Registration, Settings};
use ghnas_plugin_abi::{Bytes, Host, Interface, OwnedBytes, Status};
use ghnas_plugin_messages::{Create, method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::{self, Connection};

/// Why a call has no result.
pub(crate) enum Failure {
    /// In words for the user.
    Refused(String),
    /// There is no such method.
    UnknownMethod,
    /// The request is not what the method takes.
    Malformed(String),
}

impl Failure {
    pub(crate) fn refused(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }

    fn status(&self) -> Status {
        match self {
            Self::Refused(_) => Status::ERROR,
            Self::UnknownMethod => Status::UNKNOWN_METHOD,
            Self::Malformed(_) => Status::MALFORMED,
        }
    }

    fn into_words(self) -> String {
        match self {
            Self::Refused(words) | Self::Malformed(words) => words,
            Self::UnknownMethod => "there is no such method".into(),
        }
    }
}

/// One kind of entry at the boundary. Calls may come from several threads at a time.
pub(crate) trait Kind: Sized + Send + Sync + 'static {
    /// Builds the entry of `registration`, which is of this kind.
    fn create(
        registration: &Registration,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<Self, String>;

    /// Calls a method with the bytes of its request.
    fn call(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure>;
}

/// Reads a request.
pub(crate) fn read<T: DeserializeOwned>(request: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(request).map_err(|error| Failure::Malformed(error.to_string()))
}

/// Writes a response.
pub(crate) fn write(response: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(response).map_err(Failure::refused)
}

/// Runs `work` and hands its bytes over; a panic becomes a status.
pub(crate) fn guard(
    response: *mut OwnedBytes,
    work: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Status {
    let (status, bytes) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(bytes)) => (Status::OK, bytes),
        Ok(Err(failure)) => (failure.status(), failure.into_words().into_bytes()),
        Err(payload) => (Status::PANIC, panic_words(payload).into_bytes()),
    };
    if !response.is_null() {
        // SAFETY: the host lends a response that may be written.
        unsafe { response.write(hand_over(bytes)) };
    }
    status
}

fn panic_words(payload: Box<dyn Any + Send>) -> String {
    let words = payload.downcast_ref::<&str>().map(ToString::to_string);
    let words = words.or_else(|| payload.downcast_ref::<String>().cloned());
    // A payload may panic where it is dropped, and nothing would catch that.
    std::mem::forget(payload);
    words.unwrap_or_else(|| "a panic without words".into())
}

/// Bytes that free themselves by this plugin's allocator.
fn hand_over(bytes: Vec<u8>) -> OwnedBytes {
    let mut bytes = std::mem::ManuallyDrop::new(bytes);
    OwnedBytes {
        data: bytes.as_mut_ptr(),
        len: bytes.len(),
        capacity: bytes.capacity(),
        release: Some(release),
    }
}

unsafe extern "C" fn release(bytes: *mut OwnedBytes) {
    // SAFETY: the host calls this with bytes that `hand_over` made.
    let OwnedBytes { data, len, capacity, release } =
        unsafe { std::mem::replace(&mut *bytes, OwnedBytes::EMPTY) };
    if release.is_some() {
        // SAFETY: the parts of a vector, taken apart by `hand_over`; the second call finds none.
        drop(unsafe { Vec::from_raw_parts(data, len, capacity) });
    }
}

/// The slice that the host lends.
///
/// # Safety
/// `bytes` are readable for the length of the call.
pub(crate) unsafe fn lent<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.data.is_null() {
        return &[];
    }
    // SAFETY: by the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.len) }
}

/// The interface of kind `K` with the given id and entries.
pub(crate) const fn interface<K: Kind>(id: &'static str, entries: &'static [u8]) -> Interface {
    Interface {
        size: size_of::<Interface>() as u32,
        flags: ghnas_plugin_abi::SHAREABLE,
        id: Bytes::of(id.as_bytes()),
        entries: Bytes::of(entries),
        create: Some(create::<K>),
        destroy: Some(destroy::<K>),
        call: Some(call::<K>),
        generate: None,
        vjp: None,
    }
}

/// The instance behind a pointer that `create` gave out.
///
/// # Safety
/// `instance` comes from `create` of the same kind and was not destroyed.
pub(crate) unsafe fn instance<'a, K: Kind>(instance: *mut c_void) -> Result<&'a K, Failure> {
    // SAFETY: by the caller's promise; calls share the instance.
    unsafe { instance.cast::<K>().as_ref() }
        .ok_or_else(|| Failure::Malformed("a call without an instance".into()))
}

unsafe extern "C" fn create<K: Kind>(
    host: *const Host,
    request: Bytes,
    instance: *mut *mut c_void,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        // SAFETY: the host lends the request, and its table for the life of the instance.
        let (request, connection) = unsafe { (lent(request), Connection::open(host)) };
        let create: Create = read(request)?;
        let registration = crate::export::registration::<K>(&create.entry)?;
        let catalogue = host::catalogue(connection).map_err(Failure::Refused)?;
        let context = BuildContext {
            seed: create.seed,
            device: create.device.parse().map_err(Failure::Malformed)?,
            threads: create.threads,
            ..BuildContext::new(&catalogue)
        };
        let made = K::create(registration, &create.settings, &context).map_err(Failure::Refused)?;
        // SAFETY: the host lends a place for the instance.
        unsafe { instance.write(Box::into_raw(Box::new(made)).cast()) };
        Ok(Vec::new())
    })
}

unsafe extern "C" fn destroy<K: Kind>(instance: *mut c_void) {
    guard(std::ptr::null_mut(), || {
        if !instance.is_null() {
            // SAFETY: `create` made this box, and the host destroys it once.
            drop(unsafe { Box::from_raw(instance.cast::<K>()) });
        }
        Ok(Vec::new())
    });
}

unsafe extern "C" fn call<K: Kind>(
    instance: *mut c_void,
    method: Bytes,
    request: Bytes,
    response: *mut OwnedBytes,
) -> Status {
    guard(response, || {
        // SAFETY: the host calls with an instance of this kind and lends the bytes.
        let (it, name, request) =
            unsafe { (self::instance::<K>(instance)?, lent(method), lent(request)) };
        let method = std::str::from_utf8(name).map_err(|_| Failure::UnknownMethod)?;
        // So that a test can see that panics stay in here.
        if method == method::PANIC {
            panic!("{}", String::from_utf8_lossy(request));
        }
        it.call(method, request)
    })
}
