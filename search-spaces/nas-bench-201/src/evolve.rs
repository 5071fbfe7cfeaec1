//! Mutation and crossover of cells, over canonical positions.

use ghnas_core::rng::stream;
use ghnas_core::{Architecture, Evolve, SpaceError};
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::NasBench201;
use crate::cell::{Cell, EDGES, EdgeOperation};

impl Evolve for NasBench201 {
    /// Gives one edge another operation.
    fn mutate(&self, arch: &Architecture, seed: u64) -> Result<Architecture, SpaceError> {
        let mut rng = stream(seed, "nas-bench-201.mutate", 0);
        let mut cell = Cell::of(&arch.canonical())?;
        let edge = rng.random_range(0..EDGES.len());
        let others: Vec<EdgeOperation> =
            EdgeOperation::ALL.into_iter().filter(|&other| other != cell.0[edge]).collect();
        cell.0[edge] = *others.choose(&mut rng).expect("there are four others");
        Ok(cell.architecture().canonical())
    }

    /// Takes the operation of each edge from one parent or the other.
    fn cross(
        &self,
        first: &Architecture,
        second: &Architecture,
        seed: u64,
    ) -> Result<Architecture, SpaceError> {
        let mut rng = stream(seed, "nas-bench-201.cross", 0);
        let parents = [Cell::of(&first.canonical())?, Cell::of(&second.canonical())?];
        let child =
            Cell(std::array::from_fn(|edge| parents[usize::from(rng.random_bool(0.5))].0[edge]));
        Ok(child.architecture().canonical())
    }
}
