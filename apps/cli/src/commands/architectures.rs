//! `ghnas sample`, `mutate` and `crossover`: architectures as JSON, one a line.

use anyhow::Result;
use ghnas_core::rng::derive_seed;
use ghnas_core::{Architecture, Phase, SearchSpace, SpaceError};
use serde_json::json;

use crate::UsageError;
use crate::args::{ConfigArgs, Global};
use crate::session::{Session, print, print_json};

pub(crate) fn sample(global: Global, config: &ConfigArgs, n: u64, phase: Phase) -> Result<()> {
    let session = Session::new(global, config, None)?;
    let space = session.space()?;
    draw(&session, n, "sample", |seed| space.sample(phase, seed))
}

pub(crate) fn mutate(global: Global, config: &ConfigArgs, arch: &str, n: u64) -> Result<()> {
    let session = Session::new(global, config, None)?;
    let space = session.space()?;
    let parent = session.architecture(&*space, arch)?;
    let evolve = space.evolve().ok_or_else(|| no_evolution(&*space))?;
    draw(&session, n, "mutate", |seed| evolve.mutate(&parent, seed))
}

pub(crate) fn cross(global: Global, config: &ConfigArgs, archs: &[String], n: u64) -> Result<()> {
    let [first, second] = archs else {
        let reason = format!("crossover takes --arch twice, not {} times", archs.len());
        return Err(UsageError(reason).into());
    };
    let session = Session::new(global, config, None)?;
    let space = session.space()?;
    let first = session.architecture(&*space, first)?;
    let second = session.architecture(&*space, second)?;
    let evolve = space.evolve().ok_or_else(|| no_evolution(&*space))?;
    draw(&session, n, "crossover", |seed| evolve.cross(&first, &second, seed))
}

fn no_evolution(space: &dyn SearchSpace) -> UsageError {
    UsageError(format!("space '{}' has no mutation and no crossover", space.id()))
}

/// Prints `n` architectures, each from its own seed: one JSON a line, or one array with `--json`.
fn draw(
    session: &Session,
    n: u64,
    purpose: &str,
    mut make: impl FnMut(u64) -> Result<Architecture, SpaceError>,
) -> Result<()> {
    let seed = session.resolved.config.seed;
    let mut documents = Vec::new();
    for index in 0..n {
        let arch = make(derive_seed(seed, purpose, index))?;
        if session.global.json {
            documents.push(json!({"arch": arch, "hash": arch.hash().to_string()}));
        } else {
            print(&format!("{arch}\n"))?;
        }
    }
    if session.global.json { print_json(&documents) } else { Ok(()) }
}
