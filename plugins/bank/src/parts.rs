//! Which columns of a kernel or matrix read which node of an earlier module.
//!
//! A module's output joins its leaves along channels, and which nodes are leaves differs from
//! architecture to architecture: so does the width of what reads it. In a supernet each possible
//! leaf has columns of its own.

use std::ops::Range;

use ghnas_core::{Network, NodeId, Primitive, Step, ValueId};

/// The columns of a parameter that read one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The node that they read, of an earlier module.
    pub from: NodeId,
    /// The parameter's shape with the inputs from this node alone.
    pub shape: Vec<usize>,
    /// Where they lie.
    pub columns: Columns,
}

/// A range of each row of a parameter; a row is what makes one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    row: usize,
    range: Range<usize>,
}

impl Columns {
    /// All of a parameter of this shape.
    pub fn all(shape: &[usize]) -> Self {
        let row = shape[1..].iter().product();
        Self { row, range: 0..row }
    }

    /// Writes `values`, row-major, to these columns of `parameter`.
    pub fn write(&self, values: &[f32], parameter: &mut [f32]) {
        let rows = parameter.chunks_exact_mut(self.row);
        for (row, values) in rows.zip(values.chunks_exact(self.range.len())) {
            row[self.range.clone()].copy_from_slice(values);
        }
    }

    /// Adds these columns of `gradient` to `sum`: the adjoint of [`write`](Self::write).
    pub fn add_gradient(&self, gradient: &[f32], sum: &mut [f32]) {
        let rows = gradient.chunks_exact(self.row);
        for (row, sums) in rows.zip(sum.chunks_exact_mut(self.range.len())) {
            for (sum, value) in sums.iter_mut().zip(&row[self.range.clone()]) {
                *sum += value;
            }
        }
    }
}

/// The parts of the kernel or matrix of `step`, in the order of its columns. None where it does
/// not mix channels, or reads no earlier module.
pub fn parts(network: &Network, step: &Step) -> Option<Vec<Part>> {
    let weight = match step.primitive {
        Primitive::Conv2d(conv) if conv.groups == 1 => conv.weight,
        Primitive::Linear { weight, .. } => weight,
        _ => return None,
    };
    if !network.modules()[step.node.module].nodes[step.node.node].entry {
        return None;
    }
    let shape = &network.params()[weight.index()].shape;
    let row: usize = shape[1..].iter().product();
    let input = *step.inputs.first()?;
    // Columns a channel: the kernel's taps, or the rows and columns that a matrix flattens.
    let channel = row / network.shape(input).channels;
    let mut start = 0;
    let part = |(from, channels): (NodeId, usize)| {
        let range = start..start + channels * channel;
        start = range.end;
        let mut shape = shape.clone();
        shape[1] = range.len() / shape[2..].iter().product::<usize>();
        Part { from, shape, columns: Columns { row, range } }
    };
    Some(joined(network, input)?.into_iter().map(part).collect())
}

/// The nodes of an earlier module that `value` joins, with their channels. None for the images.
fn joined(network: &Network, mut value: ValueId) -> Option<Vec<(NodeId, usize)>> {
    let mut step = producer(network, value)?;
    // What an entry node does to each channel comes after the join.
    while is_entry(network, step) && keeps_channels_apart(&step.primitive) {
        value = step.inputs[0];
        step = producer(network, value)?;
    }
    let NodeId { module, node } = step.node;
    let leaf = |node: usize| NodeId { module, node };
    if step.primitive != Primitive::Concat {
        return Some(vec![(leaf(only_leaf(network, step.node)), network.shape(value).channels)]);
    }
    let leaves = &network.modules()[module].nodes[node].inputs;
    let named = leaves.len() == step.inputs.len();
    let part = |(place, &value): (usize, &ValueId)| {
        let from = if named { leaf(leaves[place]) } else { producer(network, value)?.node };
        Some((from, network.shape(value).channels))
    };
    step.inputs.iter().enumerate().map(part).collect()
}

/// Where a module has one leaf, nothing is joined, and the leaf may have handed on another's
/// value: the leaf is then the one input of the node that would join.
fn only_leaf(network: &Network, producer: NodeId) -> usize {
    let graph = network.graph(producer.module);
    let mut ends = graph.leaves().filter(|&node| !graph.inputs(node).is_empty());
    match (ends.next(), ends.next()) {
        (Some(end), None) if end != producer.node && graph.inputs(end).len() == 1 => {
            graph.inputs(end)[0]
        }
        _ => producer.node,
    }
}

/// The step whose result `value` is; none for the images.
fn producer(network: &Network, value: ValueId) -> Option<&Step> {
    Some(&network.steps()[value.index().checked_sub(1)?])
}

fn is_entry(network: &Network, step: &Step) -> bool {
    network.modules()[step.node.module].nodes[step.node.node].entry
}

fn keeps_channels_apart(primitive: &Primitive) -> bool {
    use Primitive::{AveragePool, BatchNorm, GlobalAveragePool, MaxPool, Relu, Upsample, Zero};
    matches!(
        primitive,
        Relu | BatchNorm { .. }
            | MaxPool(_)
            | AveragePool { .. }
            | GlobalAveragePool
            | Upsample { .. }
            | Zero { .. }
    )
}

#[cfg(test)]
mod tests {
    use ghnas_core::{
        BuildContext, Catalogue, Convolution, NetworkBuilder, ParamId, ParamRequest, Shape,
    };
    use ghnas_space_cell as _;

    use super::*;

    /// Module, node and width of each part of a parameter.
    type Seen = Vec<(usize, usize, usize)>;

    /// All parameters that have parts, by name.
    fn all(network: &Network) -> Vec<(String, Seen)> {
        let steps = network.steps().iter().filter_map(|step| {
            let parts = parts(network, step)?;
            let name = &network.params()[step.primitive.params().next()?.index()].name;
            let seen = |part: &Part| (part.from.module, part.from.node, part.shape[1]);
            Some((name.clone(), parts.iter().map(seen).collect()))
        });
        steps.collect()
    }

    #[test]
    fn a_bottleneck_and_the_classifier_have_a_part_a_leaf() {
        let catalogue = Catalogue::built_in().unwrap();
        let context = BuildContext::new(&catalogue);
        let mut settings = catalogue.spaces.get("cell").unwrap().presets[0].settings.clone();
        settings.insert("blocks".into(), 2.into());
        settings.insert("channels".into(), 4.into());
        settings.insert("reduce_after".into(), vec![1].into());
        let space = catalogue.spaces.build("cell", &settings, &context).unwrap();
        let lower = |nodes: &str| {
            let input = |index| format!(r#"{{"op":"input","attributes":{{"index":{index}}}}}"#);
            let text = format!(
                r#"{{"schema":1,"space":"cell","motifs":[{{"name":"cell","nodes":[{},{},{nodes}]}}]}}"#,
                input(0),
                input(1)
            );
            let task = ghnas_core::Task { image: Shape::new(3, 8, 8), classes: 10 };
            space.lower(&space.parse(&text).unwrap(), task).unwrap()
        };
        let name = |text: &str| text.to_string();
        // Nodes 2 and 4 are leaves; 3 feeds 4.
        let two = lower(
            r#"{"op":"conv_1x1","inputs":[0]},{"op":"max_pool_3x3","inputs":[1]},
               {"op":"max_pool_3x3","inputs":[3]}"#,
        );
        assert_eq!(two.modules()[1].nodes.last().unwrap().inputs, [2, 4]);
        assert_eq!(
            all(&two),
            [
                (name("block1.node0.bottleneck"), vec![(0, 0, 4)]),
                (name("block1.node1.bottleneck"), vec![(0, 0, 4)]),
                (name("block2.node0.bottleneck"), vec![(1, 2, 4), (1, 4, 4)]),
                (name("block2.node1.bottleneck"), vec![(0, 0, 4)]),
                (name("head.node0.matrix"), vec![(2, 2, 8), (2, 4, 8)]),
            ]
        );
        // The one leaf hands on the value of the node before it.
        let one = lower(r#"{"op":"max_pool_3x3","inputs":[0]},{"op":"identity","inputs":[2]}"#);
        assert_eq!(
            all(&one),
            [
                (name("block1.node0.bottleneck"), vec![(0, 0, 4)]),
                (name("block2.node0.bottleneck"), vec![(1, 3, 4)]),
                (name("head.node0.matrix"), vec![(2, 3, 8)]),
            ]
        );
    }

    #[test]
    fn columns_follow_taps_and_flattened_rows() {
        let mut network = NetworkBuilder::new(Shape::new(2, 3, 3), 2);
        let conv = |network: &mut NetworkBuilder, op, from, out_channels| {
            let mut node = network.node(op, vec![], true);
            let geometry = Convolution {
                weight: ParamId(0),
                out_channels,
                kernel: [3, 3],
                stride: 1,
                dilation: 1,
                padding: [1, 1],
                groups: 1,
            };
            let in_channels = node.shape(from).channels;
            let largest = vec![out_channels, in_channels, 3, 3];
            let request = ParamRequest { name: "kernel", kind: op, largest };
            node.conv2d(from, geometry, request).unwrap()
        };
        network.module("first");
        let [a, b] = [1, 3].map(|width| conv(&mut network, "wide", ValueId::IMAGES, width));
        let both = network.node("concat", vec![0, 1], false).concat(&[a, b]).unwrap();
        network.module("second");
        let value = conv(&mut network, "deep", both, 1);
        network.module("head");
        let mut node = network.node("classifier", vec![], true);
        let request = |name, largest| ParamRequest { name, kind: name, largest };
        let joined = node.concat(&[both, value]).unwrap();
        let matrix = request("matrix", vec![2, 45]);
        let logits = node.linear(joined, 2, matrix, request("bias", vec![2])).unwrap();
        network.output(logits, 1.0);
        let network = network.finish().unwrap();

        let of = |name: &str| {
            let reads = |step: &&Step| {
                let first = step.primitive.params().next();
                first.is_some_and(|id| network.params()[id.index()].name == name)
            };
            parts(&network, network.steps().iter().find(reads).unwrap())
        };
        assert_eq!(of("first.node0.kernel"), None, "the images are no node");
        let deep = of("second.node0.kernel").unwrap();
        assert_eq!(deep[1].shape, [1, 3, 3, 3]);
        assert_eq!(deep[1].columns, Columns { row: 36, range: 9..36 });
        // This join is the classifier's own, which names no leaves: what made the parts counts.
        let matrix = of("head.node0.matrix").unwrap();
        let made: Vec<_> = matrix.iter().map(|part| (part.from.module, &part.shape[..])).collect();
        assert_eq!(made, [(0, &[2, 36][..]), (1, &[2, 9])]);

        let mut parameter = [0.0; 90];
        matrix[1].columns.write(&[1.0; 18], &mut parameter);
        assert!(parameter.chunks(45).all(|row| row[..36] == [0.0; 36] && row[36..] == [1.0; 9]));
        let mut sum = [1.0; 18];
        matrix[1].columns.add_gradient(&parameter, &mut sum);
        assert_eq!(sum, [2.0; 18]);
    }
}
