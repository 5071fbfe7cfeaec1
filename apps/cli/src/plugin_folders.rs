//! Where this run looks for plugins, and where the user's trust in them is written down.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use ghnas_plugin_host::{Found, Origin, Pins, Plugins, Refused, SearchPath};

use crate::args::Global;

/// The name of the folders of plugins, in the user's data folder and beside the executable.
const PLUGINS: &str = "plugins";

/// The folders of plugins, and the user's pins.
pub(crate) struct PluginFolders {
    path: SearchPath,
    pins: Pins,
}

impl PluginFolders {
    /// Those of the flags and of the environment.
    pub(crate) fn of(global: &Global) -> Result<Self> {
        let mut path = SearchPath::default();
        for folder in &global.plugin_dir {
            path.push(Origin::Flag, folder);
        }
        if let Some(variable) = std::env::var_os("GHNAS_PLUGIN_PATH") {
            path.push_all(Origin::Environment, &variable);
        }
        if let Ok(folder) = user_folder() {
            path.push(Origin::User, folder);
        }
        if let Some(folder) = bundled_folder() {
            path.push(Origin::Bundled, folder);
        }
        let config = home("XDG_CONFIG_HOME", ".config").context("cannot find plugins.lock")?;
        Ok(Self { path, pins: Pins::read(&config.join("ghnas"))? })
    }

    /// Loads what is trusted; warns of the rest, which nothing else depends on.
    pub(crate) fn load(&self) -> Result<Plugins> {
        if let Some(folder) = bundled_folder().filter(|folder| !folder.is_dir()) {
            let hint = "cargo xtask plugins puts those that belong there into it";
            tracing::warn!("there is no folder of plugins {}; {hint}", folder.display());
        }
        let plugins = Plugins::load(&self.path, &self.pins);
        for Refused { error, .. } in &plugins.refused {
            tracing::warn!("{error}");
        }
        for plugin in &plugins.loaded {
            for interface in plugin.unknown_interfaces() {
                tracing::warn!("{}: left out {interface}, of a later ghnas", plugin.source());
            }
        }
        Ok(plugins)
    }

    /// What is found, without running anything of it.
    pub(crate) fn find(&self) -> (Vec<Found>, Vec<Refused>) {
        self.path.find()
    }

    /// The user's pins.
    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The user's pins, to add to.
    pub(crate) fn pins_mut(&mut self) -> &mut Pins {
        &mut self.pins
    }
}

/// The folder of the user's own plugins.
pub(crate) fn user_folder() -> Result<PathBuf> {
    Ok(home("XDG_DATA_HOME", ".local/share")?.join("ghnas").join(PLUGINS))
}

/// The folder beside the executable.
fn bundled_folder() -> Option<PathBuf> {
    let executable = std::env::current_exe().and_then(|path| path.canonicalize()).ok()?;
    Some(executable.parent()?.join(PLUGINS))
}

/// A folder of the XDG base directory specification, which has relative paths ignored.
fn home(variable: &str, default: &str) -> Result<PathBuf> {
    let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    let set = std::env::var_os(variable).and_then(absolute);
    let home = || Some(std::env::var_os("HOME").and_then(absolute)?.join(default));
    set.or_else(home).with_context(|| format!("neither {variable} nor HOME is set"))
}
