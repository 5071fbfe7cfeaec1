//! `plugin.toml`: what a plugin folder holds, readable without running anything of it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::LoadError;
use crate::plugin::PluginKind;

/// The name of the manifest in a plugin's folder.
pub const MANIFEST: &str = "plugin.toml";

/// The manifest of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's id: its crate's name.
    pub id: String,
    /// Its own version.
    pub version: String,
    /// The version of the ABI that it was built for, `major.minor`.
    pub abi: String,
    /// What it offers.
    pub kinds: Vec<PluginKind>,
    /// Its libraries, by target such as `x86_64-linux`.
    pub files: BTreeMap<String, TargetFile>,
}

/// The library for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetFile {
    /// Relative to the plugin's folder, and in it.
    pub file: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// The target that this process runs on, as manifests name it.
pub fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

impl Manifest {
    /// Reads the manifest of the plugin in `folder`.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with it.
    pub fn read(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|error| LoadError::file(&path, error))?;
        let wrong = |reason: String| LoadError::Manifest { path: path.clone(), reason };
        let manifest: Self =
            toml::from_str(&text).map_err(|error| wrong(error.to_string().trim().into()))?;
        if !is_id(&manifest.id) {
            let id = &manifest.id;
            return Err(wrong(format!("id = '{id}': expected letters, digits, '-' and '_'")));
        }
        for entry in manifest.files.values() {
            let inside = |part| matches!(part, Component::Normal(_));
            if !entry.file.components().all(inside) {
                let file = entry.file.display();
                return Err(wrong(format!("file = '{file}' does not lie in the plugin's folder")));
            }
        }
        Ok(manifest)
    }

    /// The library for this process's target.
    ///
    /// # Errors
    /// [`LoadError::Manifest`] where there is none.
    pub fn for_this_target(&self, folder: &Path) -> Result<&TargetFile, LoadError> {
        self.files.get(&target()).ok_or_else(|| LoadError::Manifest {
            path: folder.join(MANIFEST),
            reason: format!(
                "no file for {}, only for {}",
                target(),
                self.files.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        })
    }
}

/// Whether `id` can be a plugin's id, and so a folder's name.
pub(crate) fn is_id(id: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !id.is_empty() && id.len() <= 64 && id.chars().all(allowed)
}
