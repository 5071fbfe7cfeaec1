//! The host with real libraries: every kind, a plugin in C, plugins that break the rules, folders
//! and trust.

mod common;

mod bad_plugins;
mod c_plugin;
mod folders;
mod kinds;
mod profiles;
