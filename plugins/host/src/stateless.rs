//! An entry that keeps nothing from one call to the next: after a panic, the next call goes to a
//! fresh instance, so that one architecture that a plugin cannot do with fails alone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ghnas_plugin_abi::Interface;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::instance::{CallError, Instance, json};
use crate::plugin::Plugin;

/// Panics in a row after which an entry is given up. One that panics for every second
/// architecture comes to that once in four thousand million calls.
const MOST_PANICS: u32 = 32;

/// An entry without state. A call is made once: its panic is its own error, and no more than one
/// instance is made for it.
pub(crate) struct Stateless {
    plugin: Arc<Plugin>,
    table: Interface,
    current: RwLock<Arc<Instance>>,
    /// Panics since a call last went without one.
    panics: AtomicU32,
}

impl Stateless {
    pub(crate) fn new(instance: Instance) -> Self {
        Self {
            plugin: instance.plugin().clone(),
            table: *instance.table(),
            current: RwLock::new(Arc::new(instance)),
            panics: AtomicU32::new(0),
        }
    }

    /// The plugin that it is of.
    pub(crate) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The interface that it is of.
    pub(crate) fn table(&self) -> &Interface {
        &self.table
    }

    /// Calls a method with JSON and reads JSON.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        request: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call_through(&self.table, method, request)
    }

    /// As [`call`](Self::call), through another interface over the same instances.
    pub(crate) fn call_through<T: DeserializeOwned>(
        &self,
        table: &Interface,
        method: &str,
        request: &impl Serialize,
    ) -> Result<T, CallError> {
        let request = json(method, request)?;
        loop {
            let instance = self.usable(method)?;
            // Nothing where a call from another thread broke it since.
            let Some(outcome) = instance.call_if_usable(table, method, &request) else { continue };
            if !matches!(outcome, Err(CallError::Broken(_))) {
                self.panics.store(0, Ordering::Release);
            }
            return instance.read(method, &outcome.map_err(|error| self.count_panic(error))?);
        }
    }

    /// A fault in a call, which is kept for the app.
    pub(crate) fn fault(&self, method: &str, reason: impl Into<String>) -> CallError {
        self.current().fault(method, reason)
    }

    fn current(&self) -> Arc<Instance> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An instance that has not panicked, made where there is none.
    fn usable(&self, method: &str) -> Result<Arc<Instance>, CallError> {
        let current = self.current();
        if current.is_usable() {
            return Ok(current);
        }
        let mut place = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !place.is_usable() {
            if self.panics.load(Ordering::Acquire) >= MOST_PANICS {
                let reason = format!("it panicked {MOST_PANICS} times in a row and is given up");
                return Err(place.broken(method, reason));
            }
            *place = Arc::new(place.again().map_err(|error| self.count_panic(error))?);
        }
        Ok(place.clone())
    }

    /// Counts a panic, which says nothing of the next call.
    fn count_panic(&self, error: CallError) -> CallError {
        match error {
            CallError::Broken(fault) => {
                self.panics.fetch_add(1, Ordering::AcqRel);
                CallError::Fault(fault)
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};

    use ghnas_core::{Architecture, BuildContext, Catalogue, Network, Settings, Task};
    use ghnas_operations as _;
    use serde_json::json;

    use super::*;
    use crate::plugin::PluginKind;

    /// The space uses operations of the host, which it gets while an instance is made only.
    #[test]
    fn a_fresh_instance_is_told_what_the_first_was_told() {
        let tests = std::env::current_exe().unwrap();
        let library = format!("{DLL_PREFIX}ghnas_example_space{DLL_SUFFIX}");
        let plugin = Plugin::open(&tests.parent().unwrap().join(library)).unwrap();
        let catalogue = Catalogue::built_in().unwrap();
        let context = BuildContext::new(&catalogue);
        let (kind, entry) = (PluginKind::SearchSpace, "example-space");
        let instance = Instance::create(&plugin, kind, entry, &Settings::new(), &context);
        let space = Stateless::new(instance.unwrap());
        drop(catalogue);
        let network = || {
            let sample = json!({"phase": "score", "seed": 3});
            let arch: Architecture = space.call("sample", &sample).unwrap();
            let lower = json!({"arch": arch, "task": Task::CIFAR10});
            space.call::<Network>("lower", &lower).unwrap()
        };
        let before = network();
        for _ in 0..3 {
            match space.call::<()>("panic", &"on purpose") {
                Err(CallError::Fault(fault)) => assert!(fault.reason.contains("on purpose")),
                other => panic!("{other:?}"),
            }
            assert_eq!(network(), before);
        }
    }
}
