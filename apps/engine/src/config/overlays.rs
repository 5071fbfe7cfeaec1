//! A comparison's configuration: what its methods share, and what each of them and the ground
//! truth lay over it.
//!
//! Keys below `truth` and `methods.NAME` are those of any configuration, put on top of the shared
//! ones, and a few of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ghnas_core::{Catalogue, Settings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::layers::{Given, place, read_all, resolve_given, unknown_key};
use super::{Config, ConfigError};

/// A comparison of methods against ground truth.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonConfig {
    /// What all methods share.
    pub shared: Config,
    /// The comparison's own keys.
    pub comparison: ComparisonKeys,
    /// The ground truth.
    pub truth: TruthConfig,
    /// The methods by name.
    pub methods: Vec<MethodConfig>,
}

/// Keys of `[comparison]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparisonKeys {
    /// Resamples of the bootstrap.
    pub resamples: usize,
    /// Settings of the space for which the parameters of every trained method are counted too: how
    /// memory grows with operations and nodes (section 7.1).
    pub memory: Vec<Settings>,
}

impl Default for ComparisonKeys {
    fn default() -> Self {
        Self { resamples: 10_000, memory: Vec::new() }
    }
}

/// Ground truth: architectures that are trained from scratch, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthConfig {
    /// Keys of its own.
    pub keys: TruthKeys,
    /// The recipe: data, space, generator (of the weights that are trained) and training.
    pub config: Config,
}

/// Keys of `[truth]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruthKeys {
    /// The table, JSON lines.
    pub file: PathBuf,
    /// Architectures to sample, where none are given.
    pub archs: u64,
    /// Runs of each architecture.
    pub seeds: u64,
}

impl Default for TruthKeys {
    fn default() -> Self {
        Self { file: "truth.jsonl".into(), archs: 100, seeds: 2 }
    }
}

/// A method that scores architectures.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodConfig {
    /// Its name in tables.
    pub name: String,
    /// What it does.
    pub kind: MethodKind,
    /// Its configuration.
    pub config: Config,
}

/// How a method scores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// Trains one generator, which then makes the weights of every architecture.
    Trained,
    /// Trains the weights of every architecture, and scores after each of these numbers of steps.
    FromScratch(Vec<u64>),
    /// Asks a zero-cost proxy.
    Proxy(String),
}

/// Keys of `[methods.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MethodKeys {
    /// Id of a zero-cost proxy; nothing is trained then.
    proxy: Option<String>,
    /// Numbers of steps after which every architecture is scored, each trained for itself.
    snapshots: Option<Vec<u64>>,
}

/// Resolves a comparison from files and flags, as [`resolve`](super::resolve) does a study.
///
/// # Errors
/// [`ConfigError`] names the key, where it was given and what was expected.
pub fn resolve_comparison(
    files: &[&Path],
    flags: &[String],
    catalogue: &Catalogue,
) -> Result<ComparisonConfig, ConfigError> {
    let mut shared = Vec::new();
    let (mut comparison, mut truth) = (ComparisonKeys::default(), TruthKeys::default());
    let mut over_truth = Vec::new();
    let mut methods: BTreeMap<String, (MethodKeys, Vec<Given>)> = BTreeMap::new();
    for given in read_all(files, flags)? {
        match given.path.first().map(String::as_str) {
            Some("comparison") => {
                if let Some(given) = own_or_overlay(&mut comparison, under(given, 1))? {
                    return Err(unknown_key(&given, &to_json(&comparison)));
                }
            }
            Some("truth") => over_truth.extend(own_or_overlay(&mut truth, under(given, 1))?),
            Some("methods") if given.path.len() > 2 => {
                let (keys, over) = methods.entry(given.path[1].clone()).or_default();
                over.extend(own_or_overlay(keys, under(given, 2))?);
            }
            // A table without keys: what is shared.
            Some("methods") if given.path.len() == 2 && given.value == json!({}) => {
                methods.entry(given.path[1].clone()).or_default();
            }
            Some("methods") => {
                let expected = "expected a table, such as [methods.ghn]".to_string();
                return Err(given.wrong(expected));
            }
            _ => shared.push(given),
        }
    }
    let over = |overlay: Vec<Given>| {
        resolve_given(shared.iter().cloned().chain(overlay).collect(), catalogue)
    };
    let methods = methods.into_iter().map(|(name, (keys, overlay))| {
        let kind = match (keys.proxy, keys.snapshots) {
            (Some(id), _) => MethodKind::Proxy(id),
            (None, Some(snapshots)) => MethodKind::FromScratch(snapshots),
            (None, None) => MethodKind::Trained,
        };
        Ok(MethodConfig { name, kind, config: over(overlay)?.config })
    });
    Ok(ComparisonConfig {
        methods: methods.collect::<Result<_, ConfigError>>()?,
        truth: TruthConfig { keys: truth, config: over(over_truth)?.config },
        comparison,
        shared: over(Vec::new())?.config,
    })
}

/// Moves the first parts of the path out of it.
fn under(mut given: Given, parts: usize) -> Given {
    given.overlay = given.path.drain(..parts).collect::<Vec<_>>().join(".");
    given
}

/// Sets one of the overlay's own keys, or gives the value back.
fn own_or_overlay<T: Serialize + DeserializeOwned>(
    keys: &mut T,
    given: Given,
) -> Result<Option<Given>, ConfigError> {
    let mut document = to_json(keys);
    let Some(place) = place(&mut document, &given.path) else { return Ok(Some(given)) };
    *place = given.value.clone();
    *keys = serde_json::from_value(document).map_err(|error| given.wrong(error.to_string()))?;
    Ok(None)
}

fn to_json(keys: &impl Serialize) -> Value {
    serde_json::to_value(keys).expect("keys are plain data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    const TOYS: &str = "space.id = \"toy\"\ngenerator.id = \"toy-generator\"\n\
                        executor.id = \"toy-executor\"\n";

    fn resolved(text: &str, flags: &[&str]) -> Result<ComparisonConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("comparison.toml");
        std::fs::write(&path, format!("{TOYS}{text}")).unwrap();
        let flags: Vec<String> = flags.iter().map(|&flag| flag.into()).collect();
        resolve_comparison(&[&path], &flags, &toy::catalogue())
    }

    #[test]
    fn overlays_lie_over_what_is_shared() {
        let text = "train.steps = 7\n[truth]\nseeds = 3\ntrain.steps = 9\n[methods.a]\n\
                    snapshots = [1, 2]\n[methods.b]\ntrain.batch = 5\n[methods.c]\n";
        let config = resolved(text, &["methods.b.train.steps=4", "train.batch=6"]).unwrap();
        let steps = |config: &Config| (config.train.steps, config.train.batch);
        assert_eq!((config.truth.keys.seeds, steps(&config.truth.config)), (3, (9, 6)));
        let [a, b, c] = &config.methods[..] else { panic!("{:?}", config.methods) };
        assert_eq!((&a.kind, steps(&a.config)), (&MethodKind::FromScratch(vec![1, 2]), (7, 6)));
        assert_eq!((b.name.as_str(), &b.kind), ("b", &MethodKind::Trained));
        assert_eq!((steps(&b.config), steps(&config.shared)), ((4, 5), (7, 6)));
        assert_eq!((&c.kind, &c.config), (&MethodKind::Trained, &config.shared));
    }

    #[test]
    fn wrong_keys_are_named_in_full() {
        for (text, expected) in [
            ("[methods.a]\ntrain.stepz = 1\n", "unknown key 'methods.a.train.stepz'; did you"),
            ("[methods.a]\ntrain.steps = 0\n", "methods.a.train.steps = 0: expected at least 1"),
            ("[truth]\nseedz = 1\n", "unknown key 'truth.seedz'"),
            ("[truth]\nseeds = \"two\"\n", "truth.seeds = \"two\": "),
            ("[comparison]\nresample = 1\n", "unknown key 'comparison.resample'; did you"),
            ("methods = 3\n", "methods = 3: expected a table"),
        ] {
            let error = resolved(text, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
