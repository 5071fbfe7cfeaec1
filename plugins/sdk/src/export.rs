//! The plugin's tables, made from its own registrations when the host first asks.

use std::any::TypeId;
use std::sync::OnceLock;

use ghnas_core::{Factory, Registration, inventory};
use ghnas_plugin_abi::{
    Bytes, Header, Host, Interface, MAGIC, MAJOR, MINOR, OwnedBytes, Plugin, Status, interface,
};
use ghnas_plugin_messages::EntryInfo;

use crate::generator::{self, Generator};
use crate::operation::Expansion;
use crate::propagator::Scheme;
use crate::searcher::Proposals;
use crate::shim::{self, Failure, Kind, guard};
use crate::space::{ENUMERATE, EVOLVE, Space};

/// Exports everything that this crate registers. To stand once in a crate of type `cdylib`.
///
/// Registrations of other crates that the plugin links are its own to use, not offered.
#[macro_export]
macro_rules! export_plugin {
    () => {
        /// Read by the host before anything is called.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)]
        pub static ghnas_plugin_header_v1: $crate::abi::Header =
            $crate::header(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));

        /// Called once by the host.
        ///
        /// # Safety
        /// As the ABI says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn ghnas_plugin_entry_v1(
            host: *const $crate::abi::Host,
            plugin: *mut *const $crate::abi::Plugin,
            error: *mut $crate::abi::OwnedBytes,
        ) -> $crate::abi::Status {
            // SAFETY: the host keeps the promises of the ABI.
            unsafe { $crate::entry(env!("CARGO_PKG_NAME"), host, plugin, error) }
        }
    };
}

/// The header of a plugin.
#[doc(hidden)]
pub const fn header(id: &'static str, version: &'static str) -> Header {
    Header {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        size: size_of::<Header>() as u32,
        flags: 0,
        id: Bytes::of(id.as_bytes()),
        version: Bytes::of(version.as_bytes()),
        compiler: Bytes::of(COMPILER.as_bytes()),
    }
}

const COMPILER: &str = concat!("ghnas-plugin-sdk ", env!("CARGO_PKG_VERSION"));

/// The crate whose registrations are offered.
static SOURCE: OnceLock<&'static str> = OnceLock::new();

/// What is behind the exported entry function.
///
/// # Safety
/// As the ABI says of [`ghnas_plugin_abi::EntryFunction`].
#[doc(hidden)]
pub unsafe fn entry(
    source: &'static str,
    _host: *const Host,
    plugin: *mut *const Plugin,
    error: *mut OwnedBytes,
) -> Status {
    struct Table(Plugin);
    // SAFETY: the table and all behind it are constant.
    unsafe impl Send for Table {}
    // SAFETY: as above.
    unsafe impl Sync for Table {}
    static TABLE: OnceLock<Table> = OnceLock::new();

    guard(error, || {
        if *SOURCE.get_or_init(|| source) != source {
            return Err(Failure::refused("two plugins in one library"));
        }
        let table = match TABLE.get() {
            Some(table) => table,
            None => {
                let made = Table(table(source)?);
                TABLE.get_or_init(|| made)
            }
        };
        // SAFETY: the host lends a place for the table.
        unsafe { plugin.write(&table.0) };
        Ok(Vec::new())
    })
}

fn own(source: &'static str) -> impl Iterator<Item = &'static Registration> {
    inventory::iter::<Registration>.into_iter().filter(move |entry| entry.source == source)
}

/// Makes the table; what it points at lives as long as the process.
fn table(source: &'static str) -> Result<Plugin, Failure> {
    let inner = |factory: &Factory| matches!(factory, Factory::Executor(_) | Factory::Proxy(_));
    if own(source).any(|registration| inner(&registration.factory)) {
        return Err(Failure::refused("a plugin can offer neither executors nor zero-cost proxies"));
    }
    let mut interfaces = Vec::new();
    let mut offer = |kind: TypeId, interface: fn(&'static [u8]) -> Interface| {
        let mut entries: Vec<EntryInfo> = own(source)
            .filter(|registration| kind_of(&registration.factory) == Some(kind))
            .map(|registration| EntryInfo {
                id: registration.id.into(),
                summary: registration.summary.into(),
                presets: (registration.presets)().into_iter().map(Into::into).collect(),
            })
            .collect();
        // Registration order is the linker's.
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        if !entries.is_empty() {
            let text = serde_json::to_vec(&entries).map_err(Failure::refused)?;
            interfaces.push(interface(text.leak()));
        }
        Ok::<(), Failure>(())
    };
    let spaces = |entries| shim::interface::<Space>(interface::SEARCH_SPACE, entries);
    offer(TypeId::of::<Space>(), spaces)?;
    let operations = |entries| shim::interface::<Expansion>(interface::OPERATION, entries);
    offer(TypeId::of::<Expansion>(), operations)?;
    let propagators = |entries| shim::interface::<Scheme>(interface::PROPAGATOR, entries);
    offer(TypeId::of::<Scheme>(), propagators)?;
    let searchers = |entries| shim::interface::<Proposals>(interface::SEARCHER, entries);
    offer(TypeId::of::<Proposals>(), searchers)?;
    offer(TypeId::of::<Generator>(), generator::interface)?;
    if own(source).any(|entry| matches!(entry.factory, Factory::SearchSpace(_))) {
        interfaces.extend([EVOLVE, ENUMERATE]);
    }
    let pointers: Vec<*const Interface> = interfaces
        .into_iter()
        .map(|interface| std::ptr::from_ref(Box::leak(Box::new(interface))))
        .collect();
    let pointers: &'static [*const Interface] = pointers.leak();
    Ok(Plugin {
        size: size_of::<Plugin>() as u32,
        reserved: 0,
        interfaces: pointers.as_ptr(),
        interface_count: pointers.len(),
    })
}

/// The type that stands for a factory's kind at the boundary.
fn kind_of(factory: &Factory) -> Option<TypeId> {
    match factory {
        Factory::SearchSpace(_) => Some(TypeId::of::<Space>()),
        Factory::Operation(_) => Some(TypeId::of::<Expansion>()),
        Factory::Propagator(_) => Some(TypeId::of::<Scheme>()),
        Factory::WeightGenerator(_) => Some(TypeId::of::<Generator>()),
        Factory::Searcher(_) => Some(TypeId::of::<Proposals>()),
        Factory::Executor(_) | Factory::Proxy(_) => None,
    }
}

/// The offered registration of kind `K` with this id.
pub(crate) fn registration<K: Kind>(id: &str) -> Result<&'static Registration, Failure> {
    let source = SOURCE.get().ok_or_else(|| Failure::refused("the plugin was not entered"))?;
    own(source)
        .find(|entry| entry.id == id && kind_of(&entry.factory) == Some(TypeId::of::<K>()))
        .ok_or_else(|| Failure::refused(format!("this plugin has no entry '{id}' of this kind")))
}
