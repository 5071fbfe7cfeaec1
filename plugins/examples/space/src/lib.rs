//! A search space: four operations in a row.

use ghnas_plugin_sdk::prelude::*;

const OPERATIONS: [&str; 4] = ["identity", "conv_1x1", "sep_conv_3x3", "max_pool_3x3"];

/// Node 0 is the input of a block; each of these nodes reads the one before it.
fn draw(_: Phase, rng: &mut Rng) -> Vec<MotifNode> {
    let op = |node| MotifNode::new(*OPERATIONS.choose(rng).expect("there are four"), [node]);
    (0..4).map(op).collect()
}

register!(SearchSpace, "example-space", "four operations in a row", |context| {
    StackedSpace::new("example-space", &OPERATIONS, draw, context)
});
export_plugin!();
