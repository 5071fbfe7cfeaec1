//! Instances whose methods are called with bytes as they are, for tests of plugins.

use std::mem::offset_of;
use std::sync::Arc;

use ghnas_core::{BuildContext, Settings};
use ghnas_plugin_abi::{Bytes, Host, OwnedBytes};

use crate::instance::{CallError, FutureHost, Instance, Pointer};
use crate::plugin::{Plugin, PluginKind};

/// An instance whose methods are called with bytes as they are.
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
        match create(offset_of!(Host, context)) {
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
        self.0.call_bytes(method, request)
    }

    /// Calls a method and releases its answer as the ABI says: once, after which there are no
    /// bytes and no release function.
    ///
    /// # Errors
    /// In words, where the plugin does not do so.
    pub fn release_once(&self, method: &str, request: &[u8]) -> Result<(), String> {
        let call = self.0.table().call.expect("checked when the plugin was loaded");
        self.0.access(|Pointer(instance)| {
            let mut response = OwnedBytes::EMPTY;
            let (method, request) = (Bytes::of(method.as_bytes()), Bytes::of(request));
            // SAFETY: the instance was made by this plugin, and the bytes outlive the call.
            unsafe { call(instance, method, request, &mut response) };
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
