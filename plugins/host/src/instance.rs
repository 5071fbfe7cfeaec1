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
    plugin: Arc<Plugin>,
    kind: PluginKind,
    entry: String,
    pointer: Pointer,
    access: Access,
    /// Set once the instance has panicked.
    unusable: AtomicBool,
    /// What the plugin calls; must outlive the instance.
    _host: Box<FutureHost>,
    _callbacks: Box<Callbacks>,
}

/// The host's table with room behind it, so that tests can offer a longer one.
#[repr(C)]
struct FutureHost {
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
    /// The plugin broke the rules.
    Fault(PluginFault),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(words) => f.write_str(words),
            Self::Fault(fault) => fault.fmt(f),
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
    fn create_with_table(
        plugin: &Arc<Plugin>,
        kind: PluginKind,
        entry: &str,
        settings: &Settings,
        context: &BuildContext<'_>,
        table_size: usize,
    ) -> Result<Self, String> {
        let offer = plugin.offer(kind).ok_or("the plugin has no such interface")?;
        let access = match offer.table.flags {
            flags if flags & THREAD_BOUND != 0 => Access::OneThread(Bound::new()?),
            flags if flags & SHAREABLE != 0 => Access::Shared,
            _ => Access::OneAtATime(Mutex::new(())),
        };
        let callbacks = Box::<Callbacks>::default();
        let host = std::ptr::from_ref(&*callbacks).cast_mut().cast();
        let host = Host { size: table_size as u32, ..host_table(context.threads, host) };
        let host = Box::new(FutureHost { host, future: [u64::MAX; 8] });
        let request = Create {
            entry: entry.into(),
            settings: settings.clone(),
            seed: context.seed,
            threads: context.threads,
            device: context.device.to_string(),
        };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let create = offer.table.create.expect("checked when the plugin was loaded");
        let table = Pointer(std::ptr::from_ref(&*host).cast_mut().cast());
        let (status, pointer, response) = callbacks.during(context, || {
            access.run(|| {
                let (mut pointer, mut error) = (std::ptr::null_mut(), OwnedBytes::EMPTY);
                let request = Bytes::of(&request);
                // SAFETY: all pointers are valid for the call, the table beyond it.
                let status =
                    unsafe { create(table.get().cast(), request, &mut pointer, &mut error) };
                // SAFETY: the plugin handed the bytes over.
                (status, Pointer(pointer), unsafe { take(error) })
            })
        });
        let instance = Self {
            plugin: plugin.clone(),
            kind,
            entry: entry.into(),
            pointer,
            access,
            // Until it is known that there is one.
            unusable: AtomicBool::new(true),
            _host: host,
            _callbacks: callbacks,
        };
        instance.outcome("create", status, response).map_err(|error| error.to_string())?;
        if pointer.0.is_null() {
            return Err(instance.fault("create", "it gave no instance").to_string());
        }
        instance.unusable.store(false, Ordering::Release);
        Ok(instance)
    }

    /// The plugin that it is of.
    pub(crate) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The interface that it is of.
    pub(crate) fn table(&self) -> &Interface {
        &self.plugin.offer(self.kind).expect("it was made through this interface").table
    }

    /// Calls a method with JSON and reads JSON.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        request: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call_through(self.table(), method, request)
    }

    /// As [`call`](Self::call), through another interface over the same instance.
    pub(crate) fn call_through<T: DeserializeOwned>(
        &self,
        table: &Interface,
        method: &str,
        request: &impl Serialize,
    ) -> Result<T, CallError> {
        let request = serde_json::to_vec(request)
            .map_err(|error| CallError::Refused(format!("{method}: {error}")))?;
        let response = self.call_bytes(table, method, &request)?;
        serde_json::from_slice(&response)
            .map_err(|error| self.fault(method, format!("its answer is not understood: {error}")))
    }

    /// Calls a method with bytes and gets bytes.
    pub(crate) fn call_bytes(
        &self,
        table: &Interface,
        method: &str,
        request: &[u8],
    ) -> Result<Vec<u8>, CallError> {
        let call = table.call.expect("checked when the plugin was loaded");
        self.run(method, |Pointer(instance), response| {
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
        let (status, response) = self.access.run(|| {
            // Looked at where calls come one at a time.
            if self.unusable.load(Ordering::Acquire) {
                return (None, Vec::new());
            }
            let mut response = OwnedBytes::EMPTY;
            let status = work(self.pointer, &mut response);
            if status == Status::PANIC {
                self.unusable.store(true, Ordering::Release);
            }
            // SAFETY: the plugin handed the bytes over.
            (Some(status), unsafe { take(response) })
        });
        match status {
            Some(status) => self.outcome(method, status, response),
            None => Err(self.fault(method, "this instance is unusable since it panicked")),
        }
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
            Status::PANIC => Err(self.fault(method, format!("it panicked: {}", words()))),
            Status(other) => Err(self.fault(method, format!("it gave the unknown status {other}"))),
        }
    }

    /// A fault in a call of this instance, which is kept for the app.
    pub(crate) fn fault(&self, method: &str, reason: impl Into<String>) -> CallError {
        CallError::Fault(
            PluginFault {
                plugin: self.plugin.id().into(),
                file: self.plugin.file().into(),
                call: format!("{} '{}', {method}", self.kind, self.entry),
                reason: reason.into(),
            }
            .kept(),
        )
    }
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

/// An instance whose methods are called with bytes as they are, for tests of plugins.
pub struct Probe(Instance);

impl Plugin {
    /// Makes an instance to probe; the error is in words.
    ///
    /// # Errors
    /// In words, where the plugin refuses.
    pub fn probe(
        self: &Arc<Self>,
        kind: PluginKind,
        entry: &str,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<Probe, String> {
        Instance::create(self, kind, entry, settings, context).map(Probe)
    }

    /// Makes an instance with a table of the host that ends where it offers nothing, and one with
    /// a table of a later release. The first may be refused, in words.
    ///
    /// # Errors
    /// In words, where the plugin takes fields that are not there, or cannot do with more.
    pub fn probe_tables(
        self: &Arc<Self>,
        kind: PluginKind,
        entry: &str,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<(), String> {
        let create = |size| {
            Instance::create_with_table(self, kind, entry, settings, context, size).map(|_| ())
        };
        match create(std::mem::offset_of!(Host, context)) {
            Err(words) if crate::is_fault(&words) => return Err(words),
            _ => {}
        }
        create(size_of::<FutureHost>())
    }
}

impl Probe {
    /// Calls a method, known or not, with any bytes.
    ///
    /// # Errors
    /// [`CallError`] says what came of it.
    pub fn call(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, CallError> {
        self.0.call_bytes(self.0.table(), method, request)
    }

    /// Calls a method and releases its answer as the ABI says: once, after which there are no
    /// bytes and no release function.
    ///
    /// # Errors
    /// In words, where the plugin does not do so.
    pub fn release_once(&self, method: &str, request: &[u8]) -> Result<(), String> {
        let call = self.0.table().call.expect("checked when the plugin was loaded");
        self.0.access.run(|| {
            let mut response = OwnedBytes::EMPTY;
            let (method, request) = (Bytes::of(method.as_bytes()), Bytes::of(request));
            // SAFETY: the instance was made by this plugin, and the bytes outlive the call.
            unsafe { call(self.0.pointer.get(), method, request, &mut response) };
            let Some(release) = response.release else {
                return match response.data.is_null() {
                    true => Ok(()),
                    false => Err("it handed over bytes without a release function".into()),
                };
            };
            // SAFETY: called once, with the bytes that carry it.
            unsafe { release(&mut response) };
            match response.data.is_null() && response.len == 0 && response.release.is_none() {
                true => Ok(()),
                false => Err("its release function left something to release again".into()),
            }
        })
    }
}
