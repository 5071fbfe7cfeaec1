//! What the host has, as entries of the plugin's own catalogue: operations and propagators that
//! are built in, or that come from another plugin.

use std::ffi::c_void;
use std::sync::Arc;

use ghnas_core::registry::{Entry, RegistryError};
use ghnas_core::{
    BuildContext, Catalogue, Dag, Fragment, NetworkError, NodeBuilder, Operation, OperationContext,
    Propagator, Schedule, ScheduleError, Settings, Shape, ValueId,
};
use ghnas_plugin_abi::{Bytes, Host, HostCall, OwnedBytes, Status, read_table};
use ghnas_plugin_messages::{Build, Expand, Kind, Offered, ScheduleOf, method};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The host of one instance; calls may be made for as long as the instance lives.
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    context: *mut c_void,
    call: HostCall,
}

// SAFETY: the ABI lets a plugin call the host from any thread.
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

impl Connection {
    /// The connection that a table offers, where it offers one.
    ///
    /// # Safety
    /// `host` is null, or a table that lives as long as the connection is used.
    pub(crate) unsafe fn open(host: *const Host) -> Option<Self> {
        if host.is_null() {
            return None;
        }
        // SAFETY: a table starts with its size and is zeros beyond it.
        let table = unsafe { read_table(host, (*host).size as usize) };
        table.call.map(|call| Self { context: table.context, call })
    }

    /// Calls a method of the host; the error is in words.
    fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        request: &impl Serialize,
    ) -> Result<T, String> {
        let request = serde_json::to_vec(request).map_err(|error| error.to_string())?;
        let mut response = OwnedBytes::EMPTY;
        // SAFETY: the table promises that it can be called, and the bytes outlive the call.
        let status = unsafe {
            let method = Bytes::of(method.as_bytes());
            (self.call)(self.context, method, Bytes::of(&request), &mut response)
        };
        // SAFETY: the host hands over bytes that are readable until they are released.
        let bytes =
            unsafe { crate::shim::lent(Bytes { data: response.data, len: response.len }).to_vec() };
        if let Some(release) = response.release {
            // SAFETY: called once, with the bytes that carry it.
            unsafe { release(&mut response) };
        }
        match status {
            Status::OK => serde_json::from_slice(&bytes)
                .map_err(|error| format!("the host's answer to {method}: {error}")),
            _ => Err(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

/// All that this plugin links, and of the host all ids that are still free. What a plugin links
/// itself goes first: it needs no call across the boundary.
pub(crate) fn catalogue(connection: Option<Connection>) -> Result<Catalogue, String> {
    let words = |error: RegistryError| error.to_string();
    let mut catalogue = Catalogue::built_in().map_err(words)?;
    let Some(connection) = connection else { return Ok(catalogue) };
    for Offered { id, summary } in
        connection.call::<Vec<Offered>>(method::LIST, &Kind::Operation)?
    {
        if catalogue.operations.get(&id).is_err() {
            let build =
                move |id: &str, settings: &Settings| -> Result<Arc<dyn Operation>, String> {
                    let handle = connection.build(Kind::Operation, id, settings)?;
                    Ok(Arc::new(HostOperation { connection, handle }))
                };
            catalogue.operations.add(entry(id, summary, build)).map_err(words)?;
        }
    }
    for Offered { id, summary } in
        connection.call::<Vec<Offered>>(method::LIST, &Kind::Propagator)?
    {
        if catalogue.propagators.get(&id).is_err() {
            let build =
                move |id: &str, settings: &Settings| -> Result<Arc<dyn Propagator>, String> {
                    let handle = connection.build(Kind::Propagator, id, settings)?;
                    Ok(Arc::new(HostPropagator { connection, handle }))
                };
            catalogue.propagators.add(entry(id, summary, build)).map_err(words)?;
        }
    }
    Ok(catalogue)
}

fn entry<T>(
    id: String,
    summary: String,
    build: impl Fn(&str, &Settings) -> Result<T, String> + Send + Sync + 'static,
) -> Entry<T> {
    let own = id.clone();
    let build = move |settings: &Settings, _: &BuildContext<'_>| build(&own, settings);
    Entry::new(id, summary, "the host", Vec::new(), Arc::new(build))
}

impl Connection {
    fn build(&self, kind: Kind, id: &str, settings: &Settings) -> Result<u64, String> {
        let settings = settings.clone();
        self.call(method::BUILD, &Build { kind, id: id.into(), settings })
    }
}

/// An operation of the host.
struct HostOperation {
    connection: Connection,
    handle: u64,
}

impl Operation for HostOperation {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        context: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        let shapes: Vec<Shape> = inputs.iter().map(|&value| node.shape(value)).collect();
        let OperationContext { channels, max_channels } = context;
        let request = Expand { inputs: shapes, channels, max_channels, handle: Some(self.handle) };
        let fragment: Fragment =
            self.connection.call(method::EXPAND, &request).map_err(NetworkError::Whole)?;
        fragment.replay(node, inputs)
    }
}

/// A propagator of the host.
struct HostPropagator {
    connection: Connection,
    handle: u64,
}

impl Propagator for HostPropagator {
    fn schedule(&self, graph: &Dag, rounds: usize) -> Result<Schedule, ScheduleError> {
        let inputs = (0..graph.len()).map(|node| graph.inputs(node).to_vec()).collect();
        let request = ScheduleOf { inputs, rounds, handle: Some(self.handle) };
        self.connection.call(method::SCHEDULE, &request).map_err(ScheduleError::Other)
    }
}
