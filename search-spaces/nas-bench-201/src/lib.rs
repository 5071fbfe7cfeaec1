//! The search space of NAS-Bench-201 (Dong and Yang 2020, "NAS-Bench-201: Extending the Scope of
//! Reproducible Neural Architecture Search"): 15,625 cells whose accuracies are published.
//!
//! A cell has four nodes. Each reads every earlier one through an edge that carries one of five
//! operations, and sums what it reads. The graph that a GNN sees has a node for each edge's
//! operation; an edge with `none` carries nothing and has no node.

mod cell;
mod enumerate;
mod evolve;
mod lower;
mod notation;
mod operation;
mod program;
mod settings;

use ghnas_core::rng::stream;
use ghnas_core::{
    Architecture, ArchitectureError, Enumerate, Evolve, Network, Phase, SearchSpace, SpaceError,
    Task,
};
use rand::RngExt;

pub use settings::NasBench201Settings;

use cell::Cell;

/// The id of the space.
pub const ID: &str = "nas-bench-201";

ghnas_plugin_sdk::register!(
    SearchSpace for NasBench201,
    ID,
    "15,625 cells of six edges with published accuracies (Dong and Yang 2020)",
    settings::presets,
    |settings: NasBench201Settings, _| {
        settings.validate()?;
        Ok(NasBench201 { settings })
    }
);
ghnas_plugin_sdk::export_plugin!();

/// The space with its settings.
pub struct NasBench201 {
    settings: NasBench201Settings,
}

impl SearchSpace for NasBench201 {
    fn id(&self) -> &str {
        ID
    }

    /// Uniform over the cells, in both phases.
    fn sample(&self, _: Phase, seed: u64) -> Result<Architecture, SpaceError> {
        let index = stream(seed, "nas-bench-201", 0).random_range(0..self.size());
        Ok(self.nth(index)?.canonical())
    }

    fn validate(&self, arch: &Architecture) -> Result<(), ArchitectureError> {
        Cell::of(arch).map(|_| ())
    }

    fn lower(&self, arch: &Architecture, task: Task) -> Result<Network, SpaceError> {
        // Isomorphic cells have one network.
        let cell = Cell::of(&arch.canonical())?;
        lower::lower(&self.settings, &cell, task)
    }

    /// Reads the benchmark's notation, or JSON where the text begins as such.
    fn parse(&self, text: &str) -> Result<Architecture, ArchitectureError> {
        if !text.starts_with('{') {
            return Ok(notation::parse(text)?.architecture());
        }
        let arch: Architecture = text.parse()?;
        self.validate(&arch)?;
        Ok(arch)
    }

    /// The benchmark's notation. The nodes keep their order as far as edges let them, so that what
    /// was parsed is written as it was.
    fn format(&self, arch: &Architecture) -> String {
        Cell::of(arch).map_or_else(|_| arch.to_string(), |cell| cell.to_string())
    }

    fn evolve(&self) -> Option<&dyn Evolve> {
        Some(self)
    }

    fn enumerate(&self) -> Option<&dyn Enumerate> {
        Some(self)
    }
}
