//! Ctrl-C and `kill`: the first asks for a stop with the state saved, the second stops at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use ghnas_engine::Interrupt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// An interrupt that the process's signals request.
pub(crate) fn on_signals() -> Result<Interrupt> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset and only sets it.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(crate::exit::INTERRUPTED),
            Arc::clone(&flag),
        )
        .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
        .context("cannot listen for signals")?;
    }
    Ok(Interrupt::new(flag))
}
