//! The `ghnas` command: arguments in, engine calls, tables or JSON out, exit codes.

mod args;
mod commands;
mod interrupt;
mod plugin_folders;
mod progress;
mod session;
mod summary;
mod table;

use std::process::ExitCode;

use clap::Parser;

// Crates that only register entries must be named, or the linker drops them.
use ghnas_ensemble as _;
use ghnas_executor_dfdx as _;
use ghnas_executor_native as _;
use ghnas_ghn as _;
use ghnas_operations as _;
use ghnas_searchers as _;
use ghnas_training_free as _;

use args::Arguments;
use ghnas_engine::{ConfigError, EngineError};
use ghnas_plugin_host::LoadError;

/// Exit codes, the same for every command.
mod exit {
    /// The command failed.
    pub(crate) const FAILED: u8 = 1;
    /// Wrong usage or configuration; clap uses the same.
    pub(crate) const USAGE: u8 = 2;
    /// A plugin cannot be loaded, or broke the rules.
    pub(crate) const PLUGIN: u8 = 3;
    /// Interrupted, with the state saved.
    pub(crate) const INTERRUPTED: u8 = 130;
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log();
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe, such as `head`, has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("GHNAS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let plugin = error.chain().any(|cause| cause.is::<LoadError>() || cause.is::<PluginError>());
    if plugin || ghnas_plugin_host::is_fault(&format!("{error:#}")) {
        return exit::PLUGIN;
    }
    let usage = error.chain().any(|cause| cause.is::<ConfigError>() || cause.is::<UsageError>());
    match error.downcast_ref::<EngineError>() {
        Some(EngineError::Interrupted { .. }) => exit::INTERRUPTED,
        _ if error.is::<Stopped>() => exit::INTERRUPTED,
        Some(
            EngineError::Config(_)
            | EngineError::Entry { .. }
            | EngineError::Changed { .. }
            | EngineError::OtherSpace { .. }
            | EngineError::NoEmbeddings { .. }
            | EngineError::FewImages { .. },
        ) => exit::USAGE,
        _ if usage => exit::USAGE,
        _ => exit::FAILED,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(broken))
}

/// A flag or argument that clap cannot check; the exit code is that of wrong usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Runs that were interrupted, after what was finished has been printed.
#[derive(Debug, thiserror::Error)]
#[error("interrupted after {done} of {of} runs; those that were finished are reported")]
struct Stopped {
    done: u64,
    of: u64,
}

/// A plugin that does not conform; the exit code is that of a plugin's failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct PluginError(String);
