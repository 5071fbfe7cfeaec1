//! Where plugins are looked for, and which of them are loaded.
//!
//! In this order: folders that the user names, `GHNAS_PLUGIN_PATH`, the user's data folder, the
//! folder beside the executable. Never the working directory, never the loader's own path.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ghnas_core::{Catalogue, RegistryError};

use crate::error::LoadError;
use crate::manifest::{MANIFEST, Manifest};
use crate::permissions;
use crate::pins::Pins;
use crate::plugin::{Plugin, sha256};

/// Why a folder is searched, and so what its plugins need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Named by a flag.
    Flag,
    /// Named by `GHNAS_PLUGIN_PATH`.
    Environment,
    /// The user's data folder.
    User,
    /// Beside the executable: these ship with it, and their manifests pin them.
    Bundled,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Flag => "--plugin-dir",
            Self::Environment => "GHNAS_PLUGIN_PATH",
            Self::User => "user",
            Self::Bundled => "bundled",
        })
    }
}

/// The folders that are searched, in order. Each is a plugin's folder or holds some.
#[derive(Debug, Clone, Default)]
pub struct SearchPath {
    folders: Vec<(Origin, PathBuf)>,
}

impl SearchPath {
    /// Adds a folder.
    pub fn push(&mut self, origin: Origin, folder: impl Into<PathBuf>) {
        self.folders.push((origin, folder.into()));
    }

    /// Adds the folders of a variable such as `GHNAS_PLUGIN_PATH`; empty parts are left out.
    pub fn push_all(&mut self, origin: Origin, variable: &OsStr) {
        let parts = std::env::split_paths(variable).filter(|part| !part.as_os_str().is_empty());
        parts.for_each(|folder| self.push(origin, folder));
    }

    /// The plugins in these folders, by folder and name; of two with one id the first. Reads
    /// manifests, runs nothing. Folders that do not exist hold nothing, unless a flag names them.
    pub fn find(&self) -> (Vec<Found>, Vec<Refused>) {
        let (mut found, mut refused): (Vec<Found>, Vec<Refused>) = (Vec::new(), Vec::new());
        for (origin, folder) in &self.folders {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            for folder in plugin_folders(*origin, &folder, &mut refused) {
                match Manifest::read(&folder) {
                    Err(error) => refused.push(Refused { folder, error }),
                    Ok(manifest) if found.iter().any(|other| other.manifest.id == manifest.id) => {}
                    Ok(manifest) => found.push(Found { origin: *origin, folder, manifest }),
                }
            }
        }
        (found, refused)
    }
}

/// The folder itself where it has a manifest, otherwise those in it that have one.
fn plugin_folders(origin: Origin, folder: &Path, refused: &mut Vec<Refused>) -> Vec<PathBuf> {
    if folder.join(MANIFEST).is_file() {
        return vec![folder.into()];
    }
    let listed = std::fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    match listed {
        Ok(mut paths) => {
            paths.retain(|path| path.join(MANIFEST).is_file());
            paths.sort();
            paths
        }
        Err(error) if origin != Origin::Flag && error.kind() == std::io::ErrorKind::NotFound => {
            Vec::new()
        }
        Err(error) => {
            let error = LoadError::file(folder, error);
            refused.push(Refused { folder: folder.into(), error });
            Vec::new()
        }
    }
}

/// A plugin's folder that was found, with its manifest. Nothing of it has run.
#[derive(Debug, Clone)]
pub struct Found {
    /// Why its folder was searched.
    pub origin: Origin,
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Found {
    /// The plugin in this folder, as if a flag had named it.
    ///
    /// # Errors
    /// [`LoadError`] where there is no manifest, or it is not one.
    pub fn in_folder(folder: &Path) -> Result<Self, LoadError> {
        let folder = std::path::absolute(folder).map_err(|error| LoadError::file(folder, error))?;
        let manifest = Manifest::read(&folder)?;
        Ok(Self { origin: Origin::Flag, folder, manifest })
    }

    /// The library for this target.
    ///
    /// # Errors
    /// [`LoadError::Manifest`] where the manifest has none.
    pub fn library(&self) -> Result<PathBuf, LoadError> {
        let entry = self.manifest.for_this_target(&self.folder)?;
        Ok(self.folder.join(&entry.file))
    }

    /// The bytes of the library, if they are what the manifest says and nobody else can change
    /// them, with their SHA-256.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong.
    pub fn verified(&self) -> Result<(Vec<u8>, String), LoadError> {
        let library = self.library()?;
        for path in [&self.folder, &self.folder.join(MANIFEST), &library] {
            permissions::check(path)?;
        }
        if self.origin == Origin::Bundled
            && let Some(holder) = self.folder.parent()
        {
            permissions::check(holder)?;
        }
        let bytes = std::fs::read(&library).map_err(|error| LoadError::file(&library, error))?;
        let found = sha256(&bytes);
        let expected = &self.manifest.for_this_target(&self.folder)?.sha256;
        if *expected != found {
            return Err(self.other_hash(library, found, expected, "its manifest"));
        }
        Ok((bytes, found))
    }

    fn other_hash(
        &self,
        path: PathBuf,
        found: String,
        expected: &str,
        by: &'static str,
    ) -> LoadError {
        LoadError::Hash { id: self.manifest.id.clone(), path, found, expected: expected.into(), by }
    }

    /// Whether the plugin may run: bundled, or pinned to the hash that the library has.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong or missing.
    pub fn trusted(&self, pins: &Pins) -> Result<Vec<u8>, LoadError> {
        let (bytes, found) = self.verified()?;
        match pins.get(&self.manifest.id) {
            _ if self.origin == Origin::Bundled => Ok(bytes),
            Some(pinned) if pinned == found => Ok(bytes),
            Some(pinned) => Err(self.other_hash(self.library()?, found, pinned, "plugins.lock")),
            None => Err(LoadError::Untrusted {
                id: self.manifest.id.clone(),
                folder: self.folder.clone(),
            }),
        }
    }

    /// Loads the plugin if it is trusted.
    ///
    /// # Errors
    /// [`LoadError`] says why not.
    pub fn load(&self, pins: &Pins) -> Result<Arc<Plugin>, LoadError> {
        let bytes = self.trusted(pins)?;
        let library = self.library()?;
        let plugin = Plugin::of_bytes(&bytes, &library)?;
        self.compare(&plugin, &library)?;
        Ok(plugin)
    }

    /// Refuses a manifest that says other things than the library.
    fn compare(&self, plugin: &Plugin, library: &Path) -> Result<(), LoadError> {
        let Manifest { id, version, abi, kinds, .. } = &self.manifest;
        let list = |kinds: &[crate::PluginKind]| {
            let mut names: Vec<_> = kinds.iter().map(ToString::to_string).collect();
            names.sort();
            names.join(", ")
        };
        let (major, minor) = plugin.abi();
        for (what, said, found) in [
            ("id", id.clone(), plugin.id().to_string()),
            ("version", version.clone(), plugin.version().to_string()),
            ("abi", abi.clone(), format!("{major}.{minor}")),
            ("kinds", list(kinds), list(&plugin.kinds())),
        ] {
            if said != found {
                return Err(LoadError::Lie { path: library.into(), what, said, found });
            }
        }
        Ok(())
    }
}

/// A plugin that is not loaded.
#[derive(Debug)]
pub struct Refused {
    /// Its folder.
    pub folder: PathBuf,
    /// Why.
    pub error: LoadError,
}

/// The plugins of a run.
#[derive(Debug, Default)]
pub struct Plugins {
    /// Those that are loaded.
    pub loaded: Vec<Arc<Plugin>>,
    /// Those that are not; the others go on without them.
    pub refused: Vec<Refused>,
}

impl Plugins {
    /// Loads every trusted plugin of the search path.
    pub fn load(path: &SearchPath, pins: &Pins) -> Self {
        let (found, refused) = path.find();
        let mut plugins = Self { loaded: Vec::new(), refused };
        for found in found {
            match found.load(pins) {
                Ok(plugin) => plugins.loaded.push(plugin),
                Err(error) => plugins.refused.push(Refused { folder: found.folder, error }),
            }
        }
        plugins
    }

    /// Adds all entries to the catalogue.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] where two sources offer one id.
    pub fn add_to(&self, catalogue: &mut Catalogue) -> Result<(), RegistryError> {
        self.loaded.iter().try_for_each(|plugin| plugin.add_to(catalogue))
    }
}
