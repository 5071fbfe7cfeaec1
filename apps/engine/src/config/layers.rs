//! Puts a configuration together: defaults, below presets, below files, below flags, with the
//! source of each value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ghnas_core::registry::{Entry, RegistryError, Shelf, nearest};
use ghnas_core::{Catalogue, Settings};
use serde_json::Value;

use super::{Config, Violation};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The program's default.
    Default,
    /// A preset of the space or of another entry.
    Preset(String),
    /// A file, with the line.
    File(PathBuf, usize),
    /// A `--set` flag.
    Flag(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::File(path, line) => write!(f, "file {}, line {line}", path.display()),
            Self::Flag(text) => write!(f, "flag --set {text}"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read the config {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("{}, line {line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A flag is not of the form `key.path=value`.
    #[error("--set {flag}: expected key.path=value, such as --set train.steps=500")]
    Flag {
        /// The flag's text.
        flag: String,
    },
    /// There is no such key.
    #[error(
        "{from}: unknown key '{key}'{}",
        .nearest.as_ref().map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
    )]
    UnknownKey {
        /// The full key.
        key: String,
        /// Where it was given.
        from: Source,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// A value is of the wrong type or out of its range.
    #[error("{from}: {key} = {value}: {expected}")]
    Value {
        /// The full key.
        key: String,
        /// Where it was given.
        from: Source,
        /// The value, as TOML.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// An id or preset does not exist.
    #[error("{from}: {key}: {error}")]
    Entry {
        /// The full key.
        key: String,
        /// Where it was given.
        from: Source,
        /// What there is.
        error: Box<RegistryError>,
    },
}

/// One value of a resolved configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The full key: `train.steps`.
    pub key: String,
    /// The value as TOML; nothing where it is unset.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

/// A configuration with all settings filled in, and where each value comes from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    sources: BTreeMap<String, Source>,
}

impl Resolved {
    fn refuse(&self, Violation { key, expected }: Violation) -> ConfigError {
        let leaf = self.leaves().into_iter().find(|leaf| leaf.key == key);
        let Leaf { value, source, .. } = leaf.expect("a violated key is one of the config");
        ConfigError::Value {
            key: key.into(),
            from: source,
            value: value.unwrap_or("unset".into()),
            expected: format!("expected {expected}"),
        }
    }

    /// Every value with its source, by key.
    pub fn leaves(&self) -> Vec<Leaf> {
        let leaf = |(path, value): (Vec<String>, Value)| {
            let key = path.join(".");
            let source = self.sources.get(&key).cloned().unwrap_or(Source::Default);
            Leaf { value: to_toml(&value).map(|value| value.to_string()), key, source }
        };
        flatten(&self.config.to_json()).into_iter().map(leaf).collect()
    }
}

impl Config {
    pub(super) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a config is plain data")
    }

    /// The configuration as a TOML document, from which [`resolve`] reads it again.
    pub fn to_toml(&self) -> String {
        let document = to_toml(&self.to_json()).expect("a config is an object");
        toml::to_string(&document).expect("a table is a document")
    }

    /// The values that a resumed study may not change, as one text.
    pub(crate) fn fixed_part(&self) -> String {
        self.fixed_values().iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    /// Full keys of the values that differ from those of `other`, apart from those that a
    /// resumed study may change.
    pub(crate) fn changed_keys(&self, other: &Self) -> Vec<String> {
        let (own, others) = (self.fixed_values(), other.fixed_values());
        let keys = own.keys().chain(others.keys().filter(|key| !own.contains_key(*key)));
        keys.filter(|key| own.get(*key) != others.get(*key)).cloned().collect()
    }

    /// Without values that are unset, which TOML leaves out.
    fn fixed_values(&self) -> BTreeMap<String, Value> {
        let by_key = |config: &Self| {
            let leaves = flatten(&config.to_json()).into_iter();
            leaves.map(|(path, value)| (path.join("."), value)).collect::<BTreeMap<_, _>>()
        };
        let (mut values, defaults) = (by_key(self), by_key(&Self::default()));
        let later = |key: &str, value: &Value| {
            Self::LATER_KEYS.contains(&key) && defaults.get(key) == Some(value)
        };
        let fixed = |key: &str| !Self::FREE_KEYS.contains(&key);
        values.retain(|key, value| fixed(key) && !value.is_null() && !later(key, value));
        values
    }
}

/// One value as it was given.
#[derive(Clone)]
pub(super) struct Given {
    /// What lies over a shared configuration: `methods.ghn`, for keys below it.
    pub(super) overlay: String,
    pub(super) path: Vec<String>,
    pub(super) value: Value,
    from: Source,
}

impl Given {
    fn key(&self) -> String {
        let overlay = (!self.overlay.is_empty()).then_some(self.overlay.as_str());
        overlay
            .into_iter()
            .chain(self.path.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(".")
    }

    pub(super) fn wrong(&self, expected: String) -> ConfigError {
        ConfigError::Value {
            key: self.key(),
            from: self.from.clone(),
            value: to_toml(&self.value).map_or("unset".into(), |value| value.to_string()),
            expected,
        }
    }

    /// The section whose settings this is one of.
    fn settings_section(&self) -> Option<&str> {
        (self.path.len() > 2 && self.path[1] == "settings").then(|| self.path[0].as_str())
    }
}

/// Puts `files`, the later on top, and `flags` (`key.path=value`) over the defaults, with the
/// settings of every entry filled from the catalogue's presets.
///
/// # Errors
/// [`ConfigError`] names the key, where it was given and what was expected.
pub fn resolve(
    files: &[&Path],
    flags: &[String],
    catalogue: &Catalogue,
) -> Result<Resolved, ConfigError> {
    resolve_given(read_all(files, flags)?, catalogue)
}

/// All values of `files` and then of `flags`, in order.
pub(super) fn read_all(files: &[&Path], flags: &[String]) -> Result<Vec<Given>, ConfigError> {
    let mut given = Vec::new();
    for path in files {
        given.extend(read_file(path)?);
    }
    for flag in flags {
        given.extend(read_flag(flag)?);
    }
    Ok(given)
}

/// Puts values over the defaults, the later on top.
pub(super) fn resolve_given(
    given: Vec<Given>,
    catalogue: &Catalogue,
) -> Result<Resolved, ConfigError> {
    let (settings, plain): (Vec<Given>, Vec<Given>) =
        given.into_iter().partition(|given| given.settings_section().is_some());
    let mut resolved = Resolved { config: Config::default(), sources: BTreeMap::new() };
    for given in plain {
        apply_plain(&mut resolved, given)?;
    }
    fill_entries(&mut resolved, catalogue)?;
    let presets = resolved.config.to_json();
    for given in settings {
        apply_setting(&mut resolved, given, &presets)?;
    }
    match resolved.config.check_together() {
        Ok(()) => Ok(resolved),
        Err(violation) => Err(resolved.refuse(violation)),
    }
}

/// Sets a value outside settings. Values go in one by one, so that an error has one culprit.
fn apply_plain(resolved: &mut Resolved, given: Given) -> Result<(), ConfigError> {
    let mut document = resolved.config.to_json();
    let Some(place) = place(&mut document, &given.path) else {
        return Err(unknown_key(&given, &Config::default().to_json()));
    };
    if place.is_object() && given.value.as_object().is_some_and(Settings::is_empty) {
        return Ok(()); // An empty section, such as `[train]`, sets nothing.
    }
    *place = given.value.clone();
    let config: Config =
        serde_json::from_value(document).map_err(|error| given.wrong(error.to_string()))?;
    if let Err(violation) = config.check() {
        debug_assert_eq!(violation.key, given.path.join("."), "earlier values are in range");
        return Err(given.wrong(format!("expected {}", violation.expected)));
    }
    resolved.config = config;
    resolved.sources.insert(given.path.join("."), given.from);
    Ok(())
}

/// Sets a value inside settings, whose keys and types are those of the entry's preset. A table that
/// is empty there takes any key: it is for settings of something else, which checks them itself.
fn apply_setting(
    resolved: &mut Resolved,
    given: Given,
    presets: &Value,
) -> Result<(), ConfigError> {
    let mut document = resolved.config.to_json();
    if is_open(presets, &given.path) {
        let below = given.path.iter().try_fold(&mut document, |value, part| {
            Some(value.as_object_mut()?.entry(part.clone()).or_insert(Settings::new().into()))
        });
        *below.ok_or_else(|| given.wrong("expected no table".into()))? = Value::Null;
    }
    let Some(known) = place(&mut document, &given.path) else {
        return Err(unknown_key(&given, &document));
    };
    let kind = |value: &Value| match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    };
    // A preset that leaves a setting out says nothing about its type.
    if !known.is_null() && kind(known) != kind(&given.value) {
        return Err(given.wrong(format!("expected {}", kind(known))));
    }
    *known = given.value.clone();
    resolved.config =
        serde_json::from_value(document).map_err(|error| given.wrong(error.to_string()))?;
    resolved.sources.insert(given.path.join("."), given.from);
    Ok(())
}

/// Fills the settings of every entry from its preset.
fn fill_entries(resolved: &mut Resolved, catalogue: &Catalogue) -> Result<(), ConfigError> {
    let Resolved { config, sources } = resolved;
    let space = &mut config.space;
    let preset = fill(sources, &catalogue.spaces, "space", &space.id, space.preset.as_deref())?;
    if let Some((name, settings)) = preset {
        sources.entry("space.preset".into()).or_insert(Source::Default);
        (space.preset, space.settings) = (Some(name), settings);
    }
    let generator = fill(sources, &catalogue.generators, "generator", &config.generator.id, None)?;
    let executor = fill(sources, &catalogue.executors, "executor", &config.executor.id, None)?;
    let searcher = fill(sources, &catalogue.searchers, "searcher", &config.searcher.id, None)?;
    config.generator.settings = generator.map(|(_, settings)| settings).unwrap_or_default();
    config.executor.settings = executor.map(|(_, settings)| settings).unwrap_or_default();
    config.searcher.settings = searcher.map(|(_, settings)| settings).unwrap_or_default();
    Ok(())
}

/// Name and settings of the preset, or of the entry's first; nothing where it has no preset.
fn fill<T>(
    sources: &mut BTreeMap<String, Source>,
    shelf: &Shelf<T>,
    section: &str,
    id: &str,
    preset: Option<&str>,
) -> Result<Option<(String, Settings)>, ConfigError> {
    let refuse = |sources: &BTreeMap<String, Source>, field: &str, error| {
        let key = format!("{section}.{field}");
        let from = sources.get(&key).cloned().unwrap_or(Source::Default);
        ConfigError::Entry { key, from, error: Box::new(error) }
    };
    let entry: &Entry<T> = shelf.get(id).map_err(|error| refuse(sources, "id", error))?;
    let found = match preset {
        None => entry.presets.first(),
        Some(name) => match entry.presets.iter().find(|preset| preset.name == name) {
            Some(found) => Some(found),
            None => {
                let known = || entry.presets.iter().map(|preset| preset.name.as_str());
                let error = RegistryError::Unknown {
                    kind: "preset",
                    id: name.into(),
                    nearest: nearest(name, known()),
                    known: known().map(String::from).collect(),
                };
                return Err(refuse(sources, "preset", error));
            }
        },
    };
    let Some(found) = found else { return Ok(None) };
    for (path, _) in flatten(&Value::Object(found.settings.clone())) {
        let key = format!("{section}.settings.{}", path.join("."));
        sources.insert(key, Source::Preset(found.name.clone()));
    }
    Ok(Some((found.name.clone(), found.settings.clone())))
}

fn read_file(path: &Path) -> Result<Vec<Given>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let line_of = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        path: path.into(),
        line: line_of(error.span().map_or(0, |span| span.start)),
        reason: error.message().into(),
    };
    let table: toml::Table = toml::from_str(&text).map_err(syntax)?;
    let spans = toml::de::DeTable::parse(&text).map_err(syntax)?;
    let given = flatten(&to_json(toml::Value::Table(table))).into_iter().map(|(path_of, value)| {
        let line = line_of(position(spans.get_ref(), &path_of));
        let from = Source::File(path.into(), line);
        Given { overlay: String::new(), path: path_of, value, from }
    });
    Ok(given.collect())
}

/// The byte at which the key with this path stands.
fn position(table: &toml::de::DeTable<'_>, path: &[String]) -> usize {
    let mut at = 0;
    let mut table = Some(table);
    for part in path {
        let found = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == part));
        let Some((key, value)) = found else { break };
        at = key.span().start;
        table = value.get_ref().as_table();
    }
    at
}

fn read_flag(flag: &str) -> Result<Vec<Given>, ConfigError> {
    let malformed = || ConfigError::Flag { flag: flag.into() };
    let (key, text) = flag.split_once('=').ok_or_else(malformed)?;
    let path: Vec<String> = key.trim().split('.').map(String::from).collect();
    if path.iter().any(String::is_empty) {
        return Err(malformed());
    }
    // What is not a TOML value is a string, so that shells need no second pair of quotes.
    let parsed: Option<toml::Table> = toml::from_str(&format!("value = {text}")).ok();
    let value = match parsed {
        Some(mut table) if table.len() == 1 => table.remove("value").map(to_json),
        _ => None,
    };
    let value = value.unwrap_or_else(|| Value::String(text.into()));
    let leaves = flatten(&value).into_iter().map(|(below, value)| Given {
        overlay: String::new(),
        path: path.iter().cloned().chain(below).collect(),
        value,
        from: Source::Flag(flag.into()),
    });
    Ok(leaves.collect())
}

pub(super) fn unknown_key(given: &Given, known: &Value) -> ConfigError {
    let key = given.key();
    let keys: Vec<(Vec<String>, String)> =
        flatten(known).into_iter().map(|(path, _)| (path.clone(), path.join("."))).collect();
    let of_that_name = || {
        let same = keys.iter().find(|(path, _)| path.last() == given.path.last());
        same.map(|(_, key)| key.clone())
    };
    let nearest = nearest(&given.path.join("."), keys.iter().map(|(_, key)| key.as_str()))
        .or_else(of_that_name);
    ConfigError::UnknownKey { key, from: given.from.clone(), nearest }
}

/// The value at a path, where the path exists.
pub(super) fn place<'a>(document: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |value, part| value.as_object_mut()?.get_mut(part))
}

/// Whether a table of `presets`, within an entry's settings and on the way to `path`, is empty.
fn is_open(presets: &Value, path: &[String]) -> bool {
    // Shorter ways end at the settings themselves, all keys of which a preset has.
    (3..path.len()).any(|length| {
        let value = path[..length].iter().try_fold(presets, |value, part| value.get(part));
        value.and_then(Value::as_object).is_some_and(Settings::is_empty)
    })
}

/// Every value that is not a table with its path; empty tables count as values.
pub(crate) fn flatten(value: &Value) -> Vec<(Vec<String>, Value)> {
    match value {
        Value::Object(table) if !table.is_empty() => {
            let below = |(key, value): (&String, &Value)| {
                let leaves = flatten(value).into_iter();
                let key = key.clone();
                leaves
                    .map(move |(path, value)| {
                        (std::iter::once(key.clone()).chain(path).collect(), value)
                    })
                    .collect::<Vec<_>>()
            };
            table.iter().flat_map(below).collect()
        }
        leaf => vec![(Vec::new(), leaf.clone())],
    }
}

fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        // JSON has no infinity; as a string it is refused wherever a number is expected.
        toml::Value::Float(number) if !number.is_finite() => Value::String(number.to_string()),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(datetime) => Value::String(datetime.to_string()),
        toml::Value::Array(values) => values.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, to_json(value))).collect())
        }
    }
}

/// Nothing for null: TOML leaves a key out instead.
fn to_toml(value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => toml::Value::Boolean(*flag),
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Number(number) => match number.as_i64() {
            Some(number) => toml::Value::Integer(number),
            None => toml::Value::Float(number.as_f64().expect("every JSON number is a float")),
        },
        Value::Array(values) => toml::Value::Array(values.iter().filter_map(to_toml).collect()),
        Value::Object(table) => {
            let values = table.iter().map(|(key, value)| Some((key.clone(), to_toml(value)?)));
            toml::Value::Table(values.flatten().collect())
        }
    })
}
