//! `plugins.lock`: the plugins that the user trusts, each pinned to the hash of its library.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::LoadError;

/// The name of the file.
const FILE: &str = "plugins.lock";

/// The pinned plugins of a user.
#[derive(Debug, Clone)]
pub struct Pins {
    path: PathBuf,
    document: Document,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// SHA-256 of the library, by plugin id.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

impl Pins {
    /// The pins in `folder`, the user's configuration; none where there is no file.
    ///
    /// # Errors
    /// [`LoadError`] where the file cannot be read, or anybody may write it.
    pub fn read(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path, document: Document::default() });
            }
            Err(error) => return Err(LoadError::file(&path, error)),
        };
        crate::permissions::check(&path)?;
        let wrong = |error: toml::de::Error| LoadError::file(&path, error.to_string().trim());
        let document = toml::from_str(&text).map_err(wrong)?;
        Ok(Self { path, document })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hash that `plugin` is pinned to.
    pub fn get(&self, plugin: &str) -> Option<&str> {
        self.document.sha256.get(plugin).map(String::as_str)
    }

    /// Pins `plugin` to a hash and replaces the file.
    ///
    /// # Errors
    /// [`LoadError::File`] where it cannot be written; it is then what it was before.
    pub fn pin(&mut self, plugin: &str, sha256: &str) -> Result<(), LoadError> {
        let mut document = self.document.clone();
        document.sha256.insert(plugin.into(), sha256.into());
        let failed = |error: &dyn std::fmt::Display| LoadError::file(&self.path, error);
        let text = toml::to_string(&document).map_err(|error| failed(&error))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
        let header = "# Plugins that may run, by SHA-256 of the library: ghnas plugins trust\n";
        let written = file.write_all(header.as_bytes()).and_then(|()| {
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()
        });
        written.map_err(|error| failed(&error))?;
        file.persist(&self.path).map_err(|error| failed(&error.error))?;
        self.document = document;
        Ok(())
    }
}
