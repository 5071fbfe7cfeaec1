//! What can go wrong with a plugin: it cannot be loaded, or a call to it fails.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Why a plugin is not loaded. Each names the plugin's file or folder.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder cannot be read or written.
    #[error("plugin {}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The manifest is not one.
    #[error("plugin manifest {}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The manifest and the library disagree.
    #[error(
        "plugin {}: its manifest says {what} {said}, but the library has {found}; install it again",
        path.display()
    )]
    Lie {
        /// The library.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// In the manifest.
        said: String,
        /// In the library.
        found: String,
    },
    /// Anybody could change the file.
    #[error("plugin {}: anybody may write it; run chmod o-w {}", path.display(), path.display())]
    Writable {
        /// The file or folder.
        path: PathBuf,
    },
    /// The user has not said that this plugin may run.
    #[error(
        "plugin '{id}' ({}) is not trusted; a plugin runs with all your rights: if you trust it, \
         run ghnas plugins trust {}",
        folder.display(), folder.display()
    )]
    Untrusted {
        /// The plugin's id.
        id: String,
        /// Its folder.
        folder: PathBuf,
    },
    /// The library is not the one that was pinned or described.
    #[error(
        "plugin '{id}' ({}) has SHA-256 {found}, but {by} says {expected}; \
         if you changed it yourself, install or trust it again",
        path.display()
    )]
    Hash {
        /// The plugin's id.
        id: String,
        /// The library.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash it should have.
        expected: String,
        /// Who says so.
        by: &'static str,
    },
    /// The file is no library that this process can load.
    #[error("plugin {}: {reason}", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The library was built for another major version of the ABI.
    #[error(
        "plugin {}: it speaks version {found} of the plugin ABI, this ghnas version {}; build it \
         against the SDK of this release",
        path.display(),
        ghnas_plugin_abi::MAJOR
    )]
    Major {
        /// The library.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// The library breaks a rule of the ABI.
    #[error("plugin '{id}' ({}): {reason}", path.display())]
    Table {
        /// The plugin's id.
        id: String,
        /// The library.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl LoadError {
    pub(crate) fn file(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), reason: error.to_string() }
    }
}

/// A call to a plugin that did not go as the ABI says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin '{plugin}' ({}), {call}: {reason}", file.display())]
pub struct PluginFault {
    /// The plugin's id.
    pub plugin: String,
    /// Its file.
    pub file: PathBuf,
    /// Entry and method.
    pub call: String,
    /// What was wrong.
    pub reason: String,
}

/// The latest faults of this process, as words. The traits of core carry errors of plugins as
/// words, so this is how an app tells a plugin's fault from another error.
static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How many faults are kept.
const MOST_FAULTS: usize = 64;

impl PluginFault {
    /// Keeps the fault for [`is_fault`].
    pub(crate) fn kept(self) -> Self {
        let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() == MOST_FAULTS {
            faults.remove(0);
        }
        faults.push(self.to_string());
        self
    }
}

/// Whether an error's text tells of a plugin's fault in this process.
pub fn is_fault(text: &str) -> bool {
    let faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    faults.iter().any(|fault| text.contains(fault))
}
