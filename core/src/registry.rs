//! The catalogue of everything that can be chosen by id, filled through `inventory`.
//!
//! A crate submits a [`Registration`]; the binary that links it finds it in
//! [`Catalogue::built_in`]. Sources outside the binary add entries with [`Catalogue::add`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::embedding::Encoder;
use crate::executor::Executor;
use crate::generator::WeightGenerator;
use crate::operation::Operation;
use crate::proxy::Proxy;
use crate::schedule::Propagator;
use crate::searcher::Searcher;
use crate::space::SearchSpace;

/// Settings of one entry: a JSON object whose keys the entry defines.
pub type Settings = serde_json::Map<String, Value>;

/// Where computations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The CUDA device with this ordinal.
    Cuda(usize),
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            Some(("cuda", ordinal)) => ordinal
                .parse()
                .map(Self::Cuda)
                .map_err(|_| format!("'{ordinal}' is not the number of a CUDA device")),
            _ => Err(format!("'{text}' is not a device; use cpu or cuda:0")),
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// Why an entry cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No entry of this kind has this id.
    #[error(
        "unknown {kind} '{id}'{}; there are: {}",
        .nearest.as_ref().map(|name| format!(", did you mean '{name}'?")).unwrap_or_default(),
        .known.join(", ")
    )]
    Unknown {
        /// The kind of entry.
        kind: &'static str,
        /// The id asked for.
        id: String,
        /// The nearest id that exists.
        nearest: Option<String>,
        /// All ids that exist.
        known: Vec<String>,
    },
    /// Two sources offer one id.
    #[error("{kind} '{id}' is offered by both {first} and {second}; remove one")]
    Duplicate {
        /// The kind of entry.
        kind: &'static str,
        /// The id.
        id: String,
        /// The source that came first.
        first: String,
        /// The source that came second.
        second: String,
    },
    /// The entry refuses its settings.
    #[error("{kind} '{id}': {reason}")]
    Settings {
        /// The kind of entry.
        kind: &'static str,
        /// The id.
        id: String,
        /// Which key, and what was expected.
        reason: String,
    },
}

/// What an entry may use while it is built.
pub struct BuildContext<'a> {
    /// The catalogue, for entries that are made of others.
    pub catalogue: &'a Catalogue,
    /// Seed of everything that the entry draws.
    pub seed: u64,
    /// Where it computes.
    pub device: Device,
    /// How many threads it may use.
    pub threads: usize,
    /// The space that a searcher searches, for one that makes architectures itself
    /// ([`Command::Evaluate`](crate::Command::Evaluate)); none for every other entry, and for
    /// searchers of plugins.
    pub space: Option<&'a Arc<dyn SearchSpace>>,
    /// Makes the encoder of a searcher that learns from vectors, or says why there is none. It is
    /// called by such a searcher alone, since an encoder costs memory; searchers of plugins have
    /// none.
    pub encoder: &'a dyn Fn() -> Result<Arc<dyn Encoder>, String>,
}

impl<'a> BuildContext<'a> {
    /// One thread of the processor, seed 0, no space and no encoder.
    pub fn new(catalogue: &'a Catalogue) -> Self {
        let encoder = &|| Err("there is no trained weight generator to embed networks".into());
        Self { catalogue, seed: 0, device: Device::Cpu, threads: 1, space: None, encoder }
    }
}

/// Makes a value of type `T` from settings; the error is in words and names the key.
pub type Build<T> = fn(&Settings, &BuildContext<'_>) -> Result<T, String>;

/// As [`Build`], for entries that carry state, such as a loaded plugin.
pub type BuildArc<T> = Arc<dyn Fn(&Settings, &BuildContext<'_>) -> Result<T, String> + Send + Sync>;

/// A named set of settings; the first of an entry is its default.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// The preset's name.
    pub name: String,
    /// All settings of the entry.
    pub settings: Settings,
}

/// How a registered entry is built: one variant a kind.
pub enum Factory {
    /// A search space.
    SearchSpace(Build<Arc<dyn SearchSpace>>),
    /// An operation that spaces may name.
    Operation(Build<Arc<dyn Operation>>),
    /// A propagation scheme.
    Propagator(Build<Arc<dyn Propagator>>),
    /// A weight generator.
    WeightGenerator(Build<Box<dyn WeightGenerator>>),
    /// A searcher.
    Searcher(Build<Box<dyn Searcher>>),
    /// An executor.
    Executor(Build<Box<dyn Executor>>),
    /// A zero-cost proxy.
    Proxy(Build<Box<dyn Proxy>>),
}

/// What a crate submits: `inventory::submit! { Registration { ... } }`.
pub struct Registration {
    /// Unique among entries of one kind.
    pub id: &'static str,
    /// One line for listings.
    pub summary: &'static str,
    /// The crate that offers it.
    pub source: &'static str,
    /// Its presets with all their settings; the first is the default.
    pub presets: fn() -> Vec<Preset>,
    /// How it is built.
    pub factory: Factory,
}

inventory::collect!(Registration);

/// An entry of the catalogue.
#[derive(Clone)]
pub struct Entry<T> {
    /// Its id.
    pub id: String,
    /// One line for listings.
    pub summary: String,
    /// The crate or file that offers it.
    pub source: String,
    /// Its presets; the first is the default.
    pub presets: Vec<Preset>,
    build: BuildArc<T>,
}

impl<T> Entry<T> {
    /// An entry that is built by `build`.
    pub fn new(
        id: impl Into<String>,
        summary: impl Into<String>,
        source: impl Into<String>,
        presets: Vec<Preset>,
        build: BuildArc<T>,
    ) -> Self {
        Self { id: id.into(), summary: summary.into(), source: source.into(), presets, build }
    }

    /// The settings of its default preset; none where it has no preset.
    pub fn default_settings(&self) -> Settings {
        self.presets.first().map(|preset| preset.settings.clone()).unwrap_or_default()
    }

    fn registered(registration: &Registration, build: Build<T>) -> Self
    where
        T: 'static,
    {
        let Registration { id, summary, source, presets, .. } = registration;
        Self::new(*id, *summary, *source, presets(), Arc::new(build))
    }
}

/// All entries of one kind, by id.
pub struct Shelf<T> {
    kind: &'static str,
    entries: BTreeMap<String, Entry<T>>,
}

impl<T> Shelf<T> {
    fn new(kind: &'static str) -> Self {
        Self { kind, entries: BTreeMap::new() }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] names both sources where the id is taken.
    pub fn add(&mut self, entry: Entry<T>) -> Result<(), RegistryError> {
        if let Some(first) = self.entries.get(&entry.id) {
            return Err(RegistryError::Duplicate {
                kind: self.kind,
                id: entry.id,
                first: first.source.clone(),
                second: entry.source,
            });
        }
        self.entries.insert(entry.id.clone(), entry);
        Ok(())
    }

    /// The entry with this id.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] lists what there is.
    pub fn get(&self, id: &str) -> Result<&Entry<T>, RegistryError> {
        self.entries.get(id).ok_or_else(|| RegistryError::Unknown {
            kind: self.kind,
            id: id.into(),
            nearest: nearest(id, self.entries.keys().map(String::as_str)),
            known: self.entries.keys().cloned().collect(),
        })
    }

    /// Builds the entry with this id.
    ///
    /// # Errors
    /// [`RegistryError`] where there is none or it refuses the settings.
    pub fn build(
        &self,
        id: &str,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<T, RegistryError> {
        (self.get(id)?.build)(settings, context).map_err(|reason| RegistryError::Settings {
            kind: self.kind,
            id: id.into(),
            reason,
        })
    }

    /// All entries, by id.
    pub fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.values()
    }
}

/// Everything that can be chosen by id.
pub struct Catalogue {
    /// Search spaces.
    pub spaces: Shelf<Arc<dyn SearchSpace>>,
    /// Operations that spaces may name.
    pub operations: Shelf<Arc<dyn Operation>>,
    /// Propagation schemes.
    pub propagators: Shelf<Arc<dyn Propagator>>,
    /// Weight generators.
    pub generators: Shelf<Box<dyn WeightGenerator>>,
    /// Searchers.
    pub searchers: Shelf<Box<dyn Searcher>>,
    /// Executors.
    pub executors: Shelf<Box<dyn Executor>>,
    /// Zero-cost proxies.
    pub proxies: Shelf<Box<dyn Proxy>>,
}

impl Catalogue {
    /// A catalogue without entries.
    pub fn empty() -> Self {
        Self {
            spaces: Shelf::new("search space"),
            operations: Shelf::new("operation"),
            propagators: Shelf::new("propagator"),
            generators: Shelf::new("weight generator"),
            searchers: Shelf::new("searcher"),
            executors: Shelf::new("executor"),
            proxies: Shelf::new("zero-cost proxy"),
        }
    }

    /// All that is registered in this binary.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] where two crates register one id.
    pub fn built_in() -> Result<Self, RegistryError> {
        let mut catalogue = Self::empty();
        for registration in inventory::iter::<Registration> {
            catalogue.add(registration)?;
        }
        Ok(catalogue)
    }

    /// Adds a registered entry.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] where the id is taken.
    pub fn add(&mut self, registration: &Registration) -> Result<(), RegistryError> {
        match registration.factory {
            Factory::SearchSpace(build) => self.spaces.add(Entry::registered(registration, build)),
            Factory::Operation(build) => {
                self.operations.add(Entry::registered(registration, build))
            }
            Factory::Propagator(build) => {
                self.propagators.add(Entry::registered(registration, build))
            }
            Factory::WeightGenerator(build) => {
                self.generators.add(Entry::registered(registration, build))
            }
            Factory::Searcher(build) => self.searchers.add(Entry::registered(registration, build)),
            Factory::Executor(build) => self.executors.add(Entry::registered(registration, build)),
            Factory::Proxy(build) => self.proxies.add(Entry::registered(registration, build)),
        }
    }
}

/// The name in `known` that is nearest to `name`, where one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .map(|(_, candidate)| candidate.into())
}

/// Levenshtein distance, in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// Settings from anything that serialises to a JSON object, for presets.
///
/// # Panics
/// Where `value` does not serialise to an object; presets are constants of their crate.
pub fn settings_of(value: &impl serde::Serialize) -> Settings {
    match serde_json::to_value(value) {
        Ok(Value::Object(settings)) => settings,
        other => panic!("settings must serialise to an object, not {other:?}"),
    }
}

/// The one preset of an entry that has but its default settings.
///
/// # Panics
/// As [`settings_of`].
pub fn default_preset(settings: &impl serde::Serialize) -> Vec<Preset> {
    vec![Preset { name: "default".into(), settings: settings_of(settings) }]
}

/// Refuses settings where there are none to make.
///
/// # Errors
/// In words, with the first key.
pub fn no_settings(settings: &Settings) -> Result<(), String> {
    match settings.keys().next() {
        None => Ok(()),
        Some(key) => Err(format!("unknown key '{key}'; there are no settings")),
    }
}

/// Settings as the entry's own type.
///
/// # Errors
/// In words, with the key and what was expected.
pub fn from_settings<T: serde::de::DeserializeOwned>(settings: &Settings) -> Result<T, String> {
    let value = Value::Object(settings.clone());
    serde_path_to_error::deserialize(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_gets_a_suggestion() {
        let known = ["conv_1x1", "sep_conv_3x3", "identity"];
        assert_eq!(nearest("sep_conv3x3", known.into_iter()).as_deref(), Some("sep_conv_3x3"));
        assert_eq!(nearest("lstm", known.into_iter()), None);
    }

    #[test]
    fn devices_parse() {
        assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
        assert_eq!(Device::Cuda(1).to_string(), "cuda:1");
        assert!("gpu".parse::<Device>().unwrap_err().contains("cuda:0"));
    }
}
