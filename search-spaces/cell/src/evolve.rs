//! Mutation and crossover of blocks, over canonical positions.

use ghnas_core::rng::stream;
use ghnas_core::{Architecture, Edge, Evolve, Motif, MotifNode, SearchSpace, SpaceError};
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::{CellSpace, ID, INPUTS, MOTIF};

impl Evolve for CellSpace {
    /// Gives one node another operation, or lets one of its edges come from another earlier node.
    fn mutate(&self, arch: &Architecture, seed: u64) -> Result<Architecture, SpaceError> {
        let mut rng = stream(seed, "cell.mutate", 0);
        let mut nodes = self.canonical_nodes(arch)?;
        let node = rng.random_range(INPUTS..nodes.len());
        let others: Vec<&String> =
            self.settings.operations.iter().filter(|&op| *op != nodes[node].op).collect();
        let free: Vec<usize> = (0..node)
            .filter(|&from| nodes[node].inputs.iter().all(|edge| edge.from() != from))
            .collect();
        // A node that reads every earlier node can only change its operation.
        let rewire = !free.is_empty() && (others.is_empty() || rng.random_bool(0.5));
        if rewire {
            let edge = rng.random_range(0..nodes[node].inputs.len());
            let from = *free.choose(&mut rng).expect("a free node was found above");
            nodes[node].inputs[edge] = Edge::Plain(from);
        } else if let Some(op) = others.choose(&mut rng) {
            nodes[node].op = (*op).clone();
        }
        from_nodes(nodes)
    }

    /// Takes each node, with its operation and its inputs, from one parent or the other. The
    /// child has as many nodes as the smaller parent.
    fn cross(
        &self,
        first: &Architecture,
        second: &Architecture,
        seed: u64,
    ) -> Result<Architecture, SpaceError> {
        let mut rng = stream(seed, "cell.cross", 0);
        let parents = [self.canonical_nodes(first)?, self.canonical_nodes(second)?];
        let length = parents[0].len().min(parents[1].len());
        // In canonical order inputs come first and edges come from smaller positions, so every
        // mixture of positions is a block again.
        let pick = |node: usize| parents[usize::from(rng.random_bool(0.5))][node].clone();
        from_nodes((0..length).map(pick).collect())
    }
}

impl CellSpace {
    fn canonical_nodes(&self, arch: &Architecture) -> Result<Vec<MotifNode>, SpaceError> {
        self.validate(arch)?;
        Ok(arch.canonical().motifs()[0].nodes().to_vec())
    }
}

fn from_nodes(nodes: Vec<MotifNode>) -> Result<Architecture, SpaceError> {
    Ok(Architecture::new(ID, vec![Motif::new(MOTIF, nodes)?]).canonical())
}
