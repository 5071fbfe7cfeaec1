//! What a command works with: the catalogue, the resolved configuration, the space.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ghnas_core::{Architecture, BuildContext, Catalogue, SearchSpace};
use ghnas_engine::{
    ComparisonConfig, Config, Resolved, Study, build_space, resolve, resolve_comparison,
};

use crate::args::{ConfigArgs, Global};
use crate::plugin_folders::PluginFolders;

/// Everything that flags choose.
pub(crate) struct Session {
    pub(crate) catalogue: Catalogue,
    pub(crate) resolved: Resolved,
    pub(crate) global: Global,
}

impl Session {
    /// Resolves the configuration: defaults, then the study that is gone on with, then files, then
    /// short flags, which count as `--set`, then `--set`.
    pub(crate) fn new(global: Global, config: &ConfigArgs, study: Option<&Path>) -> Result<Self> {
        let catalogue = catalogue(&global)?;
        let flags = flags(&global, config);
        let own = study.map(Study::config_path);
        let files: Vec<&Path> =
            own.iter().chain(&config.config).map(|path| path.as_path()).collect();
        let resolved = resolve(&files, &flags, &catalogue)?;
        Ok(Self { catalogue, resolved, global })
    }

    /// How many threads may be used.
    pub(crate) fn threads(&self) -> usize {
        self.global.threads()
    }

    /// The configured search space.
    pub(crate) fn space(&self) -> Result<Arc<dyn SearchSpace>> {
        let context = BuildContext {
            seed: self.resolved.config.seed,
            device: self.global.device,
            threads: self.threads(),
            ..BuildContext::new(&self.catalogue)
        };
        Ok(build_space(&self.resolved.config, &context)?)
    }

    /// The configuration that other files and flags give.
    pub(crate) fn resolve(&self, config: &ConfigArgs) -> Result<Config> {
        let files: Vec<&Path> = config.config.iter().map(PathBuf::as_path).collect();
        Ok(resolve(&files, &flags(&self.global, config), &self.catalogue)?.config)
    }

    /// The architecture that an argument gives: a file's content, or the text itself.
    pub(crate) fn architecture(
        &self,
        space: &dyn SearchSpace,
        argument: &str,
    ) -> Result<Architecture> {
        let path = Path::new(argument);
        // Notations hold characters such as `{` or `|` that name no file by accident.
        if !path.is_file() {
            let looks_like_path = !argument.contains(['{', '|']);
            return space.parse(argument).with_context(|| match looks_like_path {
                true => format!("{argument}: no such file, and not an architecture either"),
                false => "--arch".into(),
            });
        }
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        space.parse(text.trim()).with_context(|| path.display().to_string())
    }
}

/// All that is built in, and what plugins offer.
fn catalogue(global: &Global) -> Result<Catalogue> {
    let mut catalogue = Catalogue::built_in()?;
    PluginFolders::of(global)?.load()?.add_to(&mut catalogue)?;
    Ok(catalogue)
}

/// The catalogue, and the comparison that files and flags describe.
pub(crate) fn comparison(
    global: &Global,
    config: &ConfigArgs,
) -> Result<(Catalogue, ComparisonConfig)> {
    let catalogue = catalogue(global)?;
    let files: Vec<&Path> = config.config.iter().map(PathBuf::as_path).collect();
    let resolved = resolve_comparison(&files, &flags(global, config), &catalogue)?;
    Ok((catalogue, resolved))
}

/// Values that flags give, the later on top: short flags count as `--set`.
fn flags(global: &Global, config: &ConfigArgs) -> Vec<String> {
    let mut flags = Vec::new();
    let quoted = |text: &String| serde_json::Value::from(text.as_str()).to_string();
    flags.extend(global.seed.map(|seed| format!("seed={seed}")));
    flags.extend(config.space.as_ref().map(|id| format!("space.id={}", quoted(id))));
    flags.extend(config.preset.as_ref().map(|name| format!("space.preset={}", quoted(name))));
    flags.extend(config.set.iter().cloned());
    flags
}

/// Prints to standard output; a closed pipe is an error, not a panic.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the output")
}

/// Prints one JSON document to standard output.
pub(crate) fn print_json(document: &impl serde::Serialize) -> Result<()> {
    print(&(serde_json::to_string_pretty(document)? + "\n"))
}
