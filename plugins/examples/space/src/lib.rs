//! A search space: four operations in a row.

use ghnas_plugin_sdk::prelude::*;

/// Blocks of four operations, each of which reads the one before it.
pub struct MySpace;

impl Motifs for MySpace {
    const OPERATIONS: &'static [&'static str] =
        &["identity", "conv_1x1", "sep_conv_3x3", "max_pool_3x3"];

    /// Node 0 is the input of a block; each of these nodes reads the one before it.
    fn draw(_: Phase, rng: &mut Rng) -> Vec<MotifNode> {
        let op = |node| MotifNode::new(*Self::OPERATIONS.choose(rng).expect("four"), [node]);
        (0..4).map(op).collect()
    }
}

register!(SearchSpace for MySpace, "example-space", "four operations in a row", |context| {
    StackedSpace::new::<MySpace>(context)
});
export_plugin!();
