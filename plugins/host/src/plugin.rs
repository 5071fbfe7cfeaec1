//! A loaded plugin: its tables, checked, and its entries in the catalogue.

use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ghnas_core::registry::Entry;
use ghnas_core::{BuildContext, Catalogue, RegistryError, Settings};
use ghnas_plugin_abi::{
    Bytes, EntryFunction, Header, Host, Interface, LEAST_HEADER_SIZE, MAGIC, MAJOR, MINOR,
    OwnedBytes, SHAREABLE, Status, THREAD_BOUND, interface, read_table,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::LoadError;
use crate::generator::PluginGenerator;
use crate::instance::Instance;
use crate::library::{self, Exports};
use crate::operation::PluginOperation;
use crate::propagator::PluginPropagator;
use crate::searcher::PluginSearcher;
use crate::space::PluginSpace;

pub use ghnas_plugin_messages::EntryInfo;

/// A kind of entry that plugins can offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    /// Search spaces.
    SearchSpace,
    /// Searchers.
    Searcher,
    /// Propagators.
    Propagator,
    /// Weight generators.
    WeightGenerator,
    /// Operations.
    Operation,
}

impl PluginKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::SearchSpace,
        Self::Searcher,
        Self::Propagator,
        Self::WeightGenerator,
        Self::Operation,
    ];

    /// The id of the interface that offers this kind.
    pub fn interface(self) -> &'static str {
        match self {
            Self::SearchSpace => interface::SEARCH_SPACE,
            Self::Searcher => interface::SEARCHER,
            Self::Propagator => interface::PROPAGATOR,
            Self::WeightGenerator => interface::WEIGHT_GENERATOR,
            Self::Operation => interface::OPERATION,
        }
    }
}

impl std::fmt::Display for PluginKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SearchSpace => "search-space",
            Self::Searcher => "searcher",
            Self::Propagator => "propagator",
            Self::WeightGenerator => "weight-generator",
            Self::Operation => "operation",
        })
    }
}

/// A loaded plugin. Stays loaded until the process ends.
pub struct Plugin {
    id: String,
    version: String,
    compiler: String,
    abi: (u16, u16),
    file: PathBuf,
    offers: Vec<Offer>,
    evolve: Option<Interface>,
    enumerate: Option<Interface>,
    unknown: Vec<String>,
}

/// One interface with its entries.
pub(crate) struct Offer {
    pub(crate) kind: PluginKind,
    pub(crate) table: Interface,
    pub(crate) entries: Vec<EntryInfo>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("id", &self.id).field("file", &self.file).finish()
    }
}

impl Plugin {
    /// Loads the library at `file`, whatever it is: for a user who names it.
    ///
    /// # Errors
    /// [`LoadError`] says why it is no plugin.
    pub fn open(file: &Path) -> Result<Arc<Self>, LoadError> {
        let bytes = std::fs::read(file).map_err(|error| LoadError::file(file, error))?;
        Self::of_bytes(&bytes, file)
    }

    /// Loads a library from its bytes; `file` is named in errors.
    pub(crate) fn of_bytes(bytes: &[u8], file: &Path) -> Result<Arc<Self>, LoadError> {
        let Exports { header, entry } = library::load(bytes, file)?;
        // SAFETY: the symbols are those of a plugin, which keeps the promises of the ABI.
        unsafe { Self::of_exports(header, entry, file) }
    }

    /// Reads the tables behind a plugin's two exports; `file` is named in errors.
    ///
    /// # Errors
    /// [`LoadError`] where they are not what the ABI says.
    ///
    /// # Safety
    /// `header` and `entry` are the exports of a plugin that keeps the promises of the ABI and
    /// stays loaded.
    pub unsafe fn of_exports(
        header: *const Header,
        entry: EntryFunction,
        file: &Path,
    ) -> Result<Arc<Self>, LoadError> {
        // SAFETY: what comes before `id` is there in every version of the header.
        let fixed = unsafe { read_table(header, LEAST_HEADER_SIZE) };
        if fixed.magic != MAGIC {
            let reason = "it is no ghnas plugin: its header is something else".into();
            return Err(LoadError::Binary { path: file.into(), reason });
        }
        if fixed.major != MAJOR {
            return Err(LoadError::Major { path: file.into(), found: fixed.major });
        }
        // SAFETY: the header says how long it is.
        let header = unsafe { read_table(header, fixed.size as usize) };
        // SAFETY: strings of a header are constants of the plugin.
        let [id, version, compiler] = unsafe {
            [header.id, header.version, header.compiler]
                .map(|text| String::from_utf8_lossy(constant(text)).into_owned())
        };
        let wrong = |reason: String| LoadError::Table { id: id.clone(), path: file.into(), reason };
        if !crate::manifest::is_id(&id) {
            return Err(wrong("its id is not of letters, digits, '-' and '_'".into()));
        }
        // SAFETY: the entry function is called once, before anything else.
        let tables = unsafe { enter(entry) }.map_err(wrong)?;
        let mut plugin = Self {
            id: id.clone(),
            version,
            compiler,
            abi: (fixed.major, fixed.minor),
            file: file.into(),
            offers: Vec::new(),
            evolve: None,
            enumerate: None,
            unknown: Vec::new(),
        };
        for table in tables {
            plugin.add_interface(table).map_err(wrong)?;
        }
        if plugin.offers.is_empty() {
            // Known, but nothing without a space.
            let evolve = plugin.evolve.iter().map(|_| interface::EVOLVE);
            let enumerate = plugin.enumerate.iter().map(|_| interface::ENUMERATE);
            let unknown = plugin.unknown.iter().map(String::as_str);
            let names = match evolve.chain(enumerate).chain(unknown).collect::<Vec<_>>() {
                names if names.is_empty() => "nothing".into(),
                names => format!("only {}", names.join(", ")),
            };
            let reason = format!("it offers {names}, no interface that this ghnas knows");
            return Err(wrong(reason));
        }
        Ok(Arc::new(plugin))
    }

    fn add_interface(&mut self, table: Interface) -> Result<(), String> {
        // SAFETY: strings of a table are constants of the plugin.
        let (id, entries) = unsafe { (constant(table.id), constant(table.entries)) };
        let id = String::from_utf8_lossy(id).into_owned();
        if table.call.is_none() {
            return Err(format!("interface {id} has no call"));
        }
        match &*id {
            interface::EVOLVE => {
                self.evolve = Some(table);
                return Ok(());
            }
            interface::ENUMERATE => {
                self.enumerate = Some(table);
                return Ok(());
            }
            _ => {}
        }
        let Some(kind) = PluginKind::ALL.into_iter().find(|kind| kind.interface() == id) else {
            self.unknown.push(id);
            return Ok(());
        };
        if self.offers.iter().any(|offer| offer.kind == kind) {
            return Err(format!("interface {id} is there twice"));
        }
        if table.create.is_none() || table.destroy.is_none() {
            return Err(format!("interface {id} has no create or no destroy"));
        }
        let tensors = table.generate.is_some() && table.vjp.is_some();
        if kind == PluginKind::WeightGenerator && !tensors {
            return Err(format!("interface {id} has no generate or no vjp"));
        }
        if table.flags & SHAREABLE != 0 && table.flags & THREAD_BOUND != 0 {
            return Err(format!("interface {id} is both shareable and bound to a thread"));
        }
        let entries: Vec<EntryInfo> = serde_json::from_slice(entries)
            .map_err(|error| format!("interface {id}: its entries: {error}"))?;
        if entries.is_empty() {
            return Err(format!("interface {id} has no entry"));
        }
        self.offers.push(Offer { kind, table, entries });
        Ok(())
    }

    /// The plugin's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its own version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it was built with, in its own words.
    pub fn compiler(&self) -> &str {
        &self.compiler
    }

    /// The version of the ABI that it was built for.
    pub fn abi(&self) -> (u16, u16) {
        self.abi
    }

    /// The library.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Interfaces that this host does not know, and does not use.
    pub fn unknown_interfaces(&self) -> &[String] {
        &self.unknown
    }

    /// Whether its spaces may have mutation and crossover.
    pub fn evolves(&self) -> bool {
        self.evolve.is_some()
    }

    /// Whether its spaces may list all their architectures.
    pub fn enumerates(&self) -> bool {
        self.enumerate.is_some()
    }

    /// The kinds that it offers, in the order of [`PluginKind`].
    pub fn kinds(&self) -> Vec<PluginKind> {
        let mut kinds: Vec<_> = self.offers.iter().map(|offer| offer.kind).collect();
        kinds.sort();
        kinds
    }

    /// Its entries with their kinds.
    pub fn entries(&self) -> impl Iterator<Item = (PluginKind, &EntryInfo)> {
        let of = |offer: &'_ Offer| offer.kind;
        self.offers
            .iter()
            .flat_map(move |offer| offer.entries.iter().map(move |entry| (of(offer), entry)))
    }

    /// Plugin and file, as sources in the catalogue.
    pub fn source(&self) -> String {
        format!("plugin '{}' ({})", self.id, self.file.display())
    }

    pub(crate) fn offer(&self, kind: PluginKind) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.kind == kind)
    }

    pub(crate) fn evolve_table(&self) -> Option<&Interface> {
        self.evolve.as_ref()
    }

    pub(crate) fn enumerate_table(&self) -> Option<&Interface> {
        self.enumerate.as_ref()
    }

    /// Adds all entries to the catalogue.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] where an id is taken; names both sources.
    pub fn add_to(self: &Arc<Self>, catalogue: &mut Catalogue) -> Result<(), RegistryError> {
        for (kind, info) in self.entries() {
            match kind {
                PluginKind::SearchSpace => catalogue.spaces.add(self.entry(
                    info,
                    |i, info| {
                        PluginSpace::new(i, info.id.clone()).map(|space| Arc::new(space) as _)
                    },
                    kind,
                ))?,
                PluginKind::Searcher => catalogue.searchers.add(self.entry(
                    info,
                    |i, _| Ok(Box::new(PluginSearcher::new(i)) as _),
                    kind,
                ))?,
                PluginKind::Propagator => catalogue.propagators.add(self.entry(
                    info,
                    |i, _| Ok(Arc::new(PluginPropagator::new(i)) as _),
                    kind,
                ))?,
                PluginKind::WeightGenerator => {
                    catalogue.generators.add(self.entry(
                        info,
                        |i, _| Ok(Box::new(PluginGenerator::new(i)) as _),
                        kind,
                    ))?;
                }
                PluginKind::Operation => catalogue.operations.add(self.entry(
                    info,
                    |i, _| Ok(Arc::new(PluginOperation::new(i)) as _),
                    kind,
                ))?,
            }
        }
        Ok(())
    }

    fn entry<T>(
        self: &Arc<Self>,
        info: &EntryInfo,
        wrap: impl Fn(Instance, &EntryInfo) -> Result<T, String> + Send + Sync + 'static,
        kind: PluginKind,
    ) -> Entry<T> {
        let (plugin, own) = (self.clone(), info.clone());
        let build = move |settings: &Settings, context: &BuildContext<'_>| {
            wrap(Instance::create(&plugin, kind, &own.id, settings, context)?, &own)
        };
        let presets = info.presets.iter().cloned().map(Into::into).collect();
        Entry::new(&*info.id, &*info.summary, self.source(), presets, Arc::new(build))
    }
}

/// Calls the entry function and reads the interfaces it gives.
///
/// # Safety
/// `entry` is a plugin's entry function.
unsafe fn enter(entry: EntryFunction) -> Result<Vec<Interface>, String> {
    let host = host_table(1);
    let (mut plugin, mut error) = (std::ptr::null(), OwnedBytes::EMPTY);
    // SAFETY: all three pointers are valid for the call.
    let status = unsafe { entry(&host, &mut plugin, &mut error) };
    // SAFETY: the plugin handed the bytes over.
    let words = unsafe { crate::instance::take(error) };
    if status != Status::OK {
        let words = String::from_utf8_lossy(&words).into_owned();
        return Err(format!("its entry function failed: {words}"));
    }
    if plugin.is_null() {
        return Err("its entry function gave no table".into());
    }
    // SAFETY: a table starts with its size.
    let table = unsafe { read_table(plugin, (*plugin).size as usize) };
    if table.interfaces.is_null() || table.interface_count > 1000 {
        return Err(format!("its table has {} interfaces", table.interface_count));
    }
    // SAFETY: the table says how many pointers there are.
    let pointers = unsafe { std::slice::from_raw_parts(table.interfaces, table.interface_count) };
    let mut interfaces = Vec::new();
    for &pointer in pointers {
        if pointer.is_null() {
            return Err("a pointer to an interface is null".into());
        }
        // SAFETY: a table starts with its size.
        let size = unsafe { (*pointer).size as usize };
        if size < offset_of!(Interface, generate) {
            return Err(format!("an interface of {size} bytes is too short to be called"));
        }
        // SAFETY: the table says how long it is.
        interfaces.push(unsafe { read_table(pointer, size) });
    }
    Ok(interfaces)
}

/// The table that offers `threads`, and nothing to call.
pub(crate) fn host_table(threads: usize) -> Host {
    Host {
        size: size_of::<Host>() as u32,
        major: MAJOR,
        minor: MINOR,
        threads: threads as u64,
        context: std::ptr::null_mut(),
        call: None,
    }
}

/// A constant of the plugin.
///
/// # Safety
/// `bytes` are readable until the process ends.
unsafe fn constant(bytes: Bytes) -> &'static [u8] {
    if bytes.data.is_null() {
        return &[];
    }
    // SAFETY: by the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.len) }
}

/// SHA-256, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
