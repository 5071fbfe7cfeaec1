//! Finds, trusts and loads plugins, and wraps what they offer as entries of the catalogue.
//!
//! A plugin runs with all rights of its user: nothing here is a sandbox. What is here makes sure
//! that only files the user trusted are loaded, and that a plugin's mistakes become errors with
//! the plugin's name, its file and the call.

mod discover;
mod manifest;
mod permissions;
mod pins;

mod binary;
mod library;
mod plugin;

mod callbacks;
mod instance;
mod probe;
mod stateless;
mod thread;

mod generator;
mod operation;
mod propagator;
mod searcher;
mod space;

mod error;
mod install;

pub use discover::{Found, Origin, Plugins, Refused, SearchPath};
pub use error::{LoadError, PluginFault, is_fault};
pub use install::install;
pub use instance::CallError;
pub use manifest::{MANIFEST, Manifest, TargetFile, target};
pub use pins::Pins;
pub use plugin::{EntryInfo, Plugin, PluginKind, sha256};
pub use probe::Probe;
