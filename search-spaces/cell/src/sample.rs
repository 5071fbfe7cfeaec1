//! Random blocks: every node draws its in-degree, its inputs and its operation uniformly.

use ghnas_core::rng::stream;
use ghnas_core::{Architecture, Motif, MotifNode, SpaceError};
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::{CellSettings, ID, INDEX, INPUT, INPUTS, MOTIF};

/// A random architecture whose block has `nodes` nodes, the two inputs included.
pub(crate) fn sample(
    settings: &CellSettings,
    nodes: usize,
    seed: u64,
) -> Result<Architecture, SpaceError> {
    let mut rng = stream(seed, "cell", 0);
    let mut block: Vec<MotifNode> = (0..INPUTS).map(input_node).collect();
    while block.len() < nodes {
        let earlier = block.len();
        let bound = if settings.max_inputs == 0 { earlier } else { settings.max_inputs };
        let degree = rng.random_range(1..=bound.min(earlier));
        let mut inputs = rand::seq::index::sample(&mut rng, earlier, degree).into_vec();
        inputs.sort_unstable();
        let op = settings.operations.choose(&mut rng).expect("settings name an operation");
        block.push(MotifNode::new(op.as_str(), inputs));
    }
    Ok(Architecture::new(ID, vec![Motif::new(MOTIF, block)?]).canonical())
}

/// The node that takes the output of the block `1 + index` before.
fn input_node(index: usize) -> MotifNode {
    let mut node = MotifNode::new(INPUT, []);
    node.attributes.insert(INDEX.into(), index as i64);
    node
}
