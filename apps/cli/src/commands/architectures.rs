//! `ghnas sample`, `mutate` and `crossover`: architectures, one a line.

use anyhow::Result;
use ghnas_core::rng::derive_seed;
use ghnas_core::{Architecture, SearchSpace, SpaceError};
use serde_json::{Value, json};

use crate::UsageError;
use crate::args::{ArchitectureFormat, ConfigArgs, Global, SampleArgs};
use crate::session::{Session, print, print_json};

pub(crate) fn sample(global: Global, config: &ConfigArgs, sample: &SampleArgs) -> Result<()> {
    let session = Session::new(global, config, None)?;
    let space = session.space()?;
    let mut lines = Lines::new(&session, &*space, sample.format);
    if sample.all {
        let none = || UsageError(format!("space '{}' cannot list its architectures", space.id()));
        let enumerate = space.enumerate().ok_or_else(none)?;
        for index in 0..enumerate.size() {
            lines.push(&enumerate.nth(index)?)?;
        }
        return lines.finish();
    }
    draw(&session, lines, sample.n, "sample", |seed| space.sample(sample.phase.into(), seed))
}

pub(crate) fn mutate(global: Global, config: &ConfigArgs, arch: &str, n: u64) -> Result<()> {
    let session = Session::new(global, config, None)?;
    let space = session.space()?;
    let parent = session.architecture(&*space, arch)?;
    let evolve = space.evolve().ok_or_else(|| no_evolution(&*space))?;
    let lines = Lines::new(&session, &*space, ArchitectureFormat::Json);
    draw(&session, lines, n, "mutate", |seed| evolve.mutate(&parent, seed))
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
    let lines = Lines::new(&session, &*space, ArchitectureFormat::Json);
    draw(&session, lines, n, "crossover", |seed| evolve.cross(&first, &second, seed))
}

fn no_evolution(space: &dyn SearchSpace) -> UsageError {
    UsageError(format!("space '{}' has no mutation and no crossover", space.id()))
}

/// Prints `n` architectures, each from its own seed.
fn draw(
    session: &Session,
    mut lines: Lines<'_>,
    n: u64,
    purpose: &str,
    mut make: impl FnMut(u64) -> Result<Architecture, SpaceError>,
) -> Result<()> {
    let seed = session.resolved.config.seed;
    for index in 0..n {
        lines.push(&make(derive_seed(seed, purpose, index))?)?;
    }
    lines.finish()
}

/// Prints architectures as they come, one a line; with `--json` one array at the end.
struct Lines<'a> {
    space: &'a dyn SearchSpace,
    format: ArchitectureFormat,
    /// What `--json` prints.
    documents: Option<Vec<Value>>,
}

impl<'a> Lines<'a> {
    fn new(session: &Session, space: &'a dyn SearchSpace, format: ArchitectureFormat) -> Self {
        Self { space, format, documents: session.global.json.then(Vec::new) }
    }

    fn push(&mut self, arch: &Architecture) -> Result<()> {
        let notation = match self.format {
            ArchitectureFormat::Json => None,
            ArchitectureFormat::Notation => Some(self.space.format(arch)),
        };
        let Some(documents) = &mut self.documents else {
            return print(&match notation {
                Some(text) => text + "\n",
                None => format!("{arch}\n"),
            });
        };
        let document = notation.map_or_else(|| json!(arch), Value::from);
        documents.push(json!({"arch": document, "hash": arch.hash().to_string()}));
        Ok(())
    }

    fn finish(self) -> Result<()> {
        self.documents.map_or(Ok(()), |documents| print_json(&documents))
    }
}
