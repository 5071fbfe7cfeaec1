//! The conformance suite of plugins: what every plugin of a kind must do, checked through the real
//! ABI. An author runs it by [`conformance!`], a user by `ghnas plugins check`.

mod boundary;
mod generator;
mod jacobian;
mod networks;
mod operation;
mod propagator;
mod searcher;
mod space;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ghnas_core::{BuildContext, Catalogue, Registration, Settings, inventory};
use ghnas_executor_native as _;
use ghnas_operations as _;
use ghnas_plugin_abi::{EntryFunction, Header};
use ghnas_plugin_host::{EntryInfo, Plugin, PluginKind};
use ghnas_plugin_sdk::Registered;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Makes the test `conformance` of what a plugin crate registers: `conformance!(MySpace);` in a
/// file of its `tests` folder, with the type that [`register!`] names, or with several.
///
/// [`register!`]: ghnas_plugin_sdk::register
#[macro_export]
macro_rules! conformance {
    ($($entry:ty),+ $(,)?) => {
        #[test]
        fn conformance() {
            $crate::assert_conform(&[$($crate::Tested::of::<$entry>()),+]);
        }
    };
}

/// One check with what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Entry and rule: `search-space 'cell': same seed, same architecture`.
    pub name: String,
    /// What does not hold; nothing where the rule holds.
    pub error: Option<String>,
}

/// What the suite found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// All checks, in order.
    pub checks: Vec<Check>,
    /// Of all that the plugin computed; the same in every process.
    pub digest: String,
}

impl Report {
    /// The checks that do not hold.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.error.is_some())
    }
}

/// What checks of one entry work with, and where they write what they find.
pub(crate) struct Suite<'a> {
    plugin: &'a Arc<Plugin>,
    catalogue: &'a Catalogue,
    kind: PluginKind,
    entry: &'a EntryInfo,
    /// Of the entry's default preset.
    settings: Settings,
    begin: &'a mut dyn FnMut(&str),
    checks: &'a mut Vec<Check>,
    digest: &'a mut Sha256,
}

/// Seed of everything in the suite.
const SEED: u64 = 11;

impl Suite<'_> {
    fn context(&self) -> BuildContext<'_> {
        context(self.catalogue)
    }

    /// Runs one check.
    fn check(&mut self, rule: &str, check: impl FnOnce(&Self) -> Result<(), String>) {
        let name = format!("{} '{}': {rule}", self.kind, self.entry.id);
        (self.begin)(&name);
        let error = check(self).err();
        self.checks.push(Check { name, error });
    }

    /// Adds bytes that must be the same in every process.
    fn record(&mut self, bytes: impl AsRef<[u8]>) {
        self.digest.update(bytes);
    }
}

fn context(catalogue: &Catalogue) -> BuildContext<'_> {
    BuildContext { seed: SEED, ..BuildContext::new(catalogue) }
}

/// Runs the suite over all entries of a plugin. `begin` is told every check before it runs, so
/// that a crash can be told from a failure.
pub fn run(plugin: &Arc<Plugin>, begin: &mut dyn FnMut(&str)) -> Report {
    run_over(plugin, &|_, _| true, begin)
}

fn run_over(
    plugin: &Arc<Plugin>,
    wanted: &dyn Fn(PluginKind, &str) -> bool,
    begin: &mut dyn FnMut(&str),
) -> Report {
    let (mut checks, mut digest) = (Vec::new(), Sha256::new());
    match catalogue(plugin) {
        Err(error) => checks.push(Check { name: "catalogue".into(), error: Some(error) }),
        Ok(catalogue) => {
            for (kind, entry) in plugin.entries().filter(|(kind, it)| wanted(*kind, &it.id)) {
                let presets = entry.presets.first();
                let mut suite = Suite {
                    plugin,
                    catalogue: &catalogue,
                    kind,
                    entry,
                    settings: presets.map(|preset| preset.settings.clone()).unwrap_or_default(),
                    begin,
                    checks: &mut checks,
                    digest: &mut digest,
                };
                boundary::check(&mut suite);
                match kind {
                    PluginKind::SearchSpace => space::check(&mut suite),
                    PluginKind::Operation => operation::check(&mut suite),
                    PluginKind::Propagator => propagator::check(&mut suite),
                    PluginKind::Searcher => searcher::check(&mut suite),
                    PluginKind::WeightGenerator => generator::check(&mut suite),
                }
            }
        }
    }
    let digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Report { checks, digest }
}

/// The common operations and the plugin's entries. Not everything that is built in: in a test of
/// the plugin's own crate its registrations are.
fn catalogue(plugin: &Arc<Plugin>) -> Result<Catalogue, String> {
    let mut catalogue = Catalogue::empty();
    let common = ["ghnas-operations", "ghnas-executor-native"];
    for registration in inventory::iter::<Registration> {
        if common.contains(&registration.source) {
            catalogue.add(registration).map_err(|error| error.to_string())?;
        }
    }
    plugin.add_to(&mut catalogue).map_err(|error| error.to_string())?;
    Ok(catalogue)
}

/// Set in the second process of [`assert_conform`].
const SECOND: &str = "GHNAS_CONFORMANCE_DIGEST_ONLY";

/// Goes before the digest in the output of the second process.
const MARK: &str = "conformance digest ";

/// A type that [`conformance!`] names, as an entry of its plugin.
#[doc(hidden)]
pub struct Tested {
    header: &'static Header,
    entry: EntryFunction,
    interface: &'static str,
    id: &'static str,
}

impl Tested {
    /// That of `T`.
    pub fn of<T: Registered>() -> Self {
        let (header, entry) = T::exports();
        Self { header, entry, interface: T::INTERFACE, id: T::ID }
    }

    fn is(&self, kind: PluginKind, id: &str) -> bool {
        (self.interface, self.id) == (kind.interface(), id)
    }
}

/// What [`conformance!`] runs.
///
/// # Panics
/// With all checks that do not hold.
#[doc(hidden)]
pub fn assert_conform(tested: &[Tested]) {
    let Some(Tested { header, entry, .. }) = tested.first() else { return };
    // SAFETY: these are the exports of the plugin under test, which is linked.
    let plugin = unsafe { Plugin::of_exports(*header, *entry, Path::new("in this process")) };
    let plugin = plugin.unwrap_or_else(|error| panic!("{error}"));
    let foreign = |it: &&Tested| !plugin.entries().any(|(kind, entry)| it.is(kind, &entry.id));
    if let Some(foreign) = tested.iter().find(foreign) {
        panic!("'{}' is of another plugin than '{}'", foreign.id, plugin.id());
    }
    let wanted = |kind: PluginKind, id: &str| tested.iter().any(|it| it.is(kind, id));
    let report = run_over(&plugin, &wanted, &mut |_| {});
    if std::env::var_os(SECOND).is_some() {
        #[allow(clippy::print_stdout, reason = "the first process reads it")]
        {
            println!("{MARK}{}", report.digest);
        }
        return;
    }
    let mut failures: Vec<String> = report.failures().map(|check| format!("{check:?}")).collect();
    let second = second_digest();
    if second.as_ref() != Ok(&report.digest) {
        let words = format!("another process: {second:?}, expected {}", report.digest);
        failures.push(words);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The digest of the same suite in another process of this test.
fn second_digest() -> Result<String, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(test)
        .args(["conformance", "--exact", "--nocapture"])
        .env(SECOND, "1")
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let digest = text.lines().find_map(|line| Some(line.split_once(MARK)?.1.to_string()));
    digest.ok_or_else(|| format!("it printed no digest: {text}"))
}

/// An error of a check unless `holds`.
pub(crate) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// An error in words.
pub(crate) fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
