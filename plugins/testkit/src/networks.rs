//! Small networks and graphs that checks run on.

use ghnas_core::{
    Dag, Network, NetworkBuilder, NetworkError, NodeBuilder, ParamRequest, Primitive, Shape, Task,
    ValueId,
};

/// Images of the small networks.
pub(crate) const TASK: Task = Task { image: Shape::new(2, 6, 6), classes: 3 };

/// A network whose one inner node is written by `write`, behind a mean and a classifier.
pub(crate) fn around(
    op: &str,
    write: impl FnOnce(&mut NodeBuilder<'_>) -> Result<ValueId, NetworkError>,
) -> Result<Network, NetworkError> {
    let mut network = NetworkBuilder::new(TASK.image, TASK.classes);
    network.module("block");
    let value = write(&mut network.node(op, vec![], true))?;
    network.module("head");
    let mut node = network.node("classifier", vec![], true);
    let features = node.step(Primitive::GlobalAveragePool, &[value])?;
    let channels = node.shape(features).channels;
    let matrix =
        ParamRequest { name: "matrix", kind: "classifier", largest: vec![TASK.classes, channels] };
    let bias = ParamRequest { name: "bias", kind: "bias", largest: vec![TASK.classes] };
    let logits = node.linear(features, TASK.classes, matrix, bias)?;
    network.output(logits, 1.0);
    network.finish()
}

/// Graphs of every form: none, one node, a chain, a diamond, two parts, everything to everything.
pub(crate) fn graphs() -> Vec<Dag> {
    let dense = (0..9).map(|node| (0..node).collect()).collect();
    [
        vec![],
        vec![vec![]],
        vec![vec![], vec![0], vec![1]],
        vec![vec![], vec![0], vec![0], vec![1, 2]],
        vec![vec![], vec![], vec![0], vec![1]],
        vec![vec![2], vec![0], vec![]],
        dense,
    ]
    .map(|inputs| Dag::new(inputs).expect("no cycle above"))
    .into()
}
