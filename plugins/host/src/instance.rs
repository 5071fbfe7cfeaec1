//! One instance of a plugin's entry: who may call it when, and what becomes of a failed call.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ghnas_core::{BuildContext, Settings};
use ghnas_plugin_abi::{Bytes, Host, Interface, OwnedBytes, SHAREABLE, Status, THREAD_BOUND};
use ghnas_plugin_messages::Create;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::callbacks::Callbacks;
use crate::error::PluginFault;
use crate::plugin::{Plugin, PluginKind, host_table};
use crate::thread::Bound;

/// An instance; ends when it is dropped, unless it panicked.
pub(crate) struct Instance {
    recipe: Recipe,
    pointer: Pointer,
    access: Access,
    /// Set once the instance has panicked.
    unusable: AtomicBool,
    /// What the plugin calls; must outlive the instance.
    host: Box<FutureHost>,
    callbacks: Box<Callbacks>,
}

/// What an instance is made from.
#[derive(Clone)]
struct Recipe {
    plugin: Arc<Plugin>,
    kind: PluginKind,
    entry: String,
    /// [`Create`] as JSON.
    request: Vec<u8>,
}

/// The host's table with room behind it, so that tests can offer a longer one.
#[repr(C)]
pub(crate) struct FutureHost {
    host: Host,
    future: [u64; 8],
}

/// How calls reach the instance.
enum Access {
    Shared,
    OneAtATime(Mutex<()>),
    OneThread(Bound),
}

impl Access {
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Shared => work(),
            Self::OneAtATime(lock) => {
                let _one = lock.lock().unwrap_or_else(PoisonError::into_inner);
                work()
            }
            Self::OneThread(thread) => thread.run(work),
        }
    }
}

/// A pointer of the plugin; `Access` decides from where it is used.
#[derive(Clone, Copy)]
pub(crate) struct Pointer(pub(crate) *mut c_void);

impl Pointer {
    /// The pointer; a closure that calls this takes all of `self`, which may change threads.
    pub(crate) fn get(self) -> *mut c_void {
        self.0
    }
}

// SAFETY: the ABI lets an instance be called from any thread, or says so and is then called from
// one; see `Access`.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

/// Why a call has no result.
#[derive(Debug)]
pub enum CallError {
    /// The plugin said no, in its own words.
    Refused(String),
    /// The plugin broke the rules; another call may go well.
    Fault(PluginFault),
    /// The plugin panicked, now or before: no later call goes well.
    Broken(PluginFault),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(words) => f.write_str(words),
            Self::Fault(fault) | Self::Broken(fault) => fault.fmt(f),
        }
    }
}

impl Instance {
    /// Makes an instance; the error is in words.
    pub(crate) fn create(
        plugin: &Arc<Plugin>,
        kind: PluginKind,
        entry: &str,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<Self, String> {
        Self::create_with_table(plugin, kind, entry, settings, context, size_of::<Host>())
    }

    /// As [`create`](Self::create), with a table that says to have `table_size` bytes.
    pub(crate) fn create_with_table(
        plugin: &Arc<Plugin>,
        kind: PluginKind,
        entry: &str,
        settings: &Settings,
        context: &BuildContext<'_>,
        table_size: usize,
    ) -> Result<Self, String> {
        let request = Create {
            entry: entry.into(),
            settings: settings.clone(),
            seed: context.seed,
            threads: context.threads,
            device: context.device.to_string(),
        };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let recipe = Recipe { plugin: plugin.clone(), kind, entry: entry.into(), request };
        let table = Host { size: table_size as u32, ..host_table(context.threads) };
        let made = Self::make(recipe, table, Callbacks::default(), Some(context));
        made.map_err(|error| error.to_string())
    }

    /// Another instance of the same entry with the same settings, for which the host answers as it
    /// did for this one.
    pub(crate) fn again(&self) -> Result<Self, CallError> {
        Self::make(self.recipe.clone(), self.host.host, self.callbacks.again(), None)
    }

    /// `table` as it is but for what the plugin calls; without a `context`, `callbacks` know the
    /// answers.
    fn make(
        recipe: Recipe,
        table: Host,
        callbacks: Callbacks,
        context: Option<&BuildContext<'_>>,
    ) -> Result<Self, CallError> {
        let interface = recipe.table()?;
        let access = match interface.flags {
            flags if flags & THREAD_BOUND != 0 => {
                Access::OneThread(Bound::new().map_err(CallError::Refused)?)
            }
            flags if flags & SHAREABLE != 0 => Access::Shared,
            _ => Access::OneAtATime(Mutex::new(())),
        };
        let callbacks = Box::new(callbacks);
        let host = Host {
            context: std::ptr::from_ref(&*callbacks).cast_mut().cast(),
            call: Some(crate::callbacks::call),
            ..table
        };
        let host = Box::new(FutureHost { host, future: [u64::MAX; 8] });
        let create = interface.create.expect("checked when the plugin was loaded");
        let table = Pointer(std::ptr::from_ref(&*host).cast_mut().cast());
        let enter = || {
            access.run(|| {
                let (mut pointer, mut error) = (std::ptr::null_mut(), OwnedBytes::EMPTY);
                let request = Bytes::of(&recipe.request);
                // SAFETY: all pointers are valid for the call, the table beyond it.
                let status =
                    unsafe { create(table.get().cast(), request, &mut pointer, &mut error) };
                // SAFETY: the plugin handed the bytes over.
                (status, Pointer(pointer), unsafe { take(error) })
            })
        };
        let (status, pointer, response) = match context {
            Some(context) => callbacks.during(context, enter),
            None => callbacks.during_again(enter),
        };
        // Unusable until it is known that there is one.
        let unusable = AtomicBool::new(true);
        let instance = Self { recipe, pointer, access, unusable, host, callbacks };
        instance.outcome("create", status, response)?;
        if pointer.0.is_null() {
            return Err(instance.fault("create", "it gave no instance"));
        }
        instance.unusable.store(false, Ordering::Release);
        Ok(instance)
    }

    /// The plugin that it is of.
    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.recipe.plugin
    }

    /// The interface that it is of.
    pub(crate) fn table(&self) -> &Interface {
        self.recipe.table().expect("it was made through this interface")
    }

    /// Whether it may be called: no call of it has panicked.
    pub(crate) fn is_usable(&self) -> bool {
        !self.unusable.load(Ordering::Acquire)
    }

    /// Calls a method with JSON and reads JSON.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        request: &impl Serialize,
    ) -> Result<T, CallError> {
        let response = self.call_bytes(method, &json(method, request)?)?;
        self.read(method, &response)
    }

    /// An answer in JSON.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        method: &str,
        response: &[u8],
    ) -> Result<T, CallError> {
        serde_json::from_slice(response)
            .map_err(|error| self.fault(method, format!("its answer is not understood: {error}")))
    }

    /// Calls a method with bytes and gets bytes.
    pub(crate) fn call_bytes(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, CallError> {
        let outcome = self.call_if_usable(self.table(), method, request);
        outcome.unwrap_or_else(|| Err(self.unusable(method)))
    }

    /// As [`call_bytes`](Self::call_bytes), through any interface over the instance; nothing where
    /// the instance is not usable, and so is not called.
    pub(crate) fn call_if_usable(
        &self,
        table: &Interface,
        method: &str,
        request: &[u8],
    ) -> Option<Result<Vec<u8>, CallError>> {
        let call = table.call.expect("checked when the plugin was loaded");
        self.run_if_usable(method, |Pointer(instance), response| {
            let method = Bytes::of(method.as_bytes());
            // SAFETY: the instance was made by this plugin, and the bytes outlive the call.
            unsafe { call(instance, method, Bytes::of(request), response) }
        })
    }

    /// Runs a call of the ABI on the instance, from where it may be called.
    pub(crate) fn run(
        &self,
        method: &str,
        work: impl FnOnce(Pointer, &mut OwnedBytes) -> Status + Send,
    ) -> Result<Vec<u8>, CallError> {
        self.run_if_usable(method, work).unwrap_or_else(|| Err(self.unusable(method)))
    }

    /// Runs `work` on the instance, whatever its state, from where it may be called.
    pub(crate) fn access<R: Send>(&self, work: impl FnOnce(Pointer) -> R + Send) -> R {
        self.access.run(|| work(self.pointer))
    }

    fn run_if_usable(
        &self,
        method: &str,
        work: impl FnOnce(Pointer, &mut OwnedBytes) -> Status + Send,
    ) -> Option<Result<Vec<u8>, CallError>> {
        let (status, response) = self.access.run(|| {
            // Looked at where calls come one at a time.
            if !self.is_usable() {
                return None;
            }
            let mut response = OwnedBytes::EMPTY;
            let status = work(self.pointer, &mut response);
            if status == Status::PANIC {
                self.unusable.store(true, Ordering::Release);
            }
            // SAFETY: the plugin handed the bytes over.
            Some((status, unsafe { take(response) }))
        })?;
        Some(self.outcome(method, status, response))
    }

    fn outcome(
        &self,
        method: &str,
        status: Status,
        response: Vec<u8>,
    ) -> Result<Vec<u8>, CallError> {
        let words = || String::from_utf8_lossy(&response).into_owned();
        match status {
            Status::OK => Ok(response),
            Status::ERROR => Err(CallError::Refused(words())),
            Status::UNKNOWN_METHOD => Err(self.fault(method, "it has no such method")),
            Status::MALFORMED => {
                Err(self.fault(method, format!("it does not understand the request: {}", words())))
            }
            Status::PANIC => Err(self.broken(method, format!("it panicked: {}", words()))),
            Status(other) => Err(self.fault(method, format!("it gave the unknown status {other}"))),
        }
    }

    /// A fault in a call of this instance, which is kept for the app.
    pub(crate) fn fault(&self, method: &str, reason: impl Into<String>) -> CallError {
        CallError::Fault(self.recipe.fault(method, reason))
    }

    /// As [`fault`](Self::fault), where no later call goes well.
    pub(crate) fn broken(&self, method: &str, reason: impl Into<String>) -> CallError {
        CallError::Broken(self.recipe.fault(method, reason))
    }

    fn unusable(&self, method: &str) -> CallError {
        self.broken(method, "this instance is unusable since it panicked")
    }
}

impl Recipe {
    fn table(&self) -> Result<&Interface, CallError> {
        let none = || CallError::Refused("the plugin has no such interface".into());
        self.plugin.offer(self.kind).map(|offer| &offer.table).ok_or_else(none)
    }

    fn fault(&self, method: &str, reason: impl Into<String>) -> PluginFault {
        PluginFault {
            plugin: self.plugin.id().into(),
            file: self.plugin.file().into(),
            call: format!("{} '{}', {method}", self.kind, self.entry),
            reason: reason.into(),
        }
        .kept()
    }
}

/// A request in JSON.
pub(crate) fn json(method: &str, request: &impl Serialize) -> Result<Vec<u8>, CallError> {
    let words = |error| CallError::Refused(format!("{method}: {error}"));
    serde_json::to_vec(request).map_err(words)
}

impl Drop for Instance {
    fn drop(&mut self) {
        // What a panic left behind is not touched again.
        if !*self.unusable.get_mut() {
            let destroy = self.table().destroy.expect("checked when the plugin was loaded");
            let pointer = self.pointer;
            self.access.run(move || {
                // SAFETY: the plugin made it, and it is destroyed once.
                unsafe { destroy(pointer.get()) }
            });
        }
    }
}

/// Copies bytes that a plugin handed over, and releases them.
///
/// # Safety
/// `bytes` are as a plugin wrote them: readable, with a release function where one is needed.
pub(crate) unsafe fn take(mut bytes: OwnedBytes) -> Vec<u8> {
    let copy = if bytes.data.is_null() {
        Vec::new()
    } else {
        // SAFETY: by the caller's promise.
        unsafe { std::slice::from_raw_parts(bytes.data, bytes.len) }.to_vec()
    };
    if let Some(release) = bytes.release {
        // SAFETY: called once, with the bytes that carry it.
        unsafe { release(&mut bytes) };
    }
    copy
}
