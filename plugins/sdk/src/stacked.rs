//! A ready search space for those who only want to say how a motif is drawn: one motif over named
//! operations, stacked into a standard network (section 5.1).

use std::sync::Arc;

use ghnas_core::rng::stream;
use ghnas_core::{
    Architecture, ArchitectureError, BuildContext, Convolution, Evolve, Motif, MotifNode, Network,
    NetworkBuilder, NetworkError, Operation, OperationContext, ParamId, ParamRequest, Phase,
    SearchSpace, Settings, SpaceError, Task, ValueId,
};
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::{Registered, Rng};

/// The operation of node 0 of every motif: it takes the output of the block before.
const INPUT: &str = "input";

/// The name of the one motif.
const MOTIF: &str = "motif";

/// Blocks of a network.
const BLOCKS: usize = 3;

/// Channels before the first reduction; every further block halves height and width and doubles
/// them.
const CHANNELS: usize = 8;

/// Channels of the last block.
const MOST_CHANNELS: usize = CHANNELS << (BLOCKS - 1);

/// What a [`StackedSpace`] consists of.
pub trait Motifs: Registered {
    /// What a node may compute: ids of the catalogue.
    const OPERATIONS: &'static [&'static str];

    /// Draws the nodes of a motif after its input, which is node 0; each reads smaller nodes.
    fn draw(phase: Phase, rng: &mut Rng) -> Vec<MotifNode>;
}

/// A search space of one motif, stacked three times between a stem and a classifier, with 8, 16
/// and 32 channels. A block's output joins all nodes that nothing reads.
pub struct StackedSpace {
    id: &'static str,
    operations: Vec<(&'static str, Arc<dyn Operation>)>,
    draw: fn(Phase, &mut Rng) -> Vec<MotifNode>,
}

impl StackedSpace {
    /// The space of the motifs of `M`, under the id that `M` is registered with.
    ///
    /// # Errors
    /// In words, where the catalogue lacks an operation.
    pub fn new<M: Motifs>(context: &BuildContext<'_>) -> Result<Self, String> {
        let build = |&op: &&'static str| {
            let built = context.catalogue.operations.build(op, &Settings::new(), context);
            built.map(|built| (op, built)).map_err(|error| error.to_string())
        };
        let operations = M::OPERATIONS.iter().map(build).collect::<Result<Vec<_>, _>>()?;
        match operations.is_empty() {
            true => Err("a space needs an operation".into()),
            false => Ok(Self { id: M::ID, operations, draw: M::draw }),
        }
    }

    fn of_nodes(&self, nodes: Vec<MotifNode>) -> Result<Architecture, SpaceError> {
        let arch = Architecture::new(self.id, vec![Motif::new(MOTIF, nodes)?]).canonical();
        self.validate(&arch)?;
        Ok(arch)
    }

    fn operation(&self, name: &str) -> Option<&dyn Operation> {
        self.operations.iter().find(|(op, _)| *op == name).map(|(_, built)| &**built)
    }
}

impl SearchSpace for StackedSpace {
    fn id(&self) -> &str {
        self.id
    }

    fn sample(&self, phase: Phase, seed: u64) -> Result<Architecture, SpaceError> {
        let mut rng = stream(seed, self.id, 0);
        let mut nodes = vec![MotifNode::new(INPUT, [])];
        nodes.extend((self.draw)(phase, &mut rng));
        self.of_nodes(nodes)
    }

    fn validate(&self, arch: &Architecture) -> Result<(), ArchitectureError> {
        if arch.space() != self.id {
            let reason =
                format!("the architecture is of space '{}', not '{}'", arch.space(), self.id);
            return Err(ArchitectureError::Shape(reason));
        }
        let [motif] = arch.motifs() else {
            let reason = format!("it has {} motifs, expected one", arch.motifs().len());
            return Err(ArchitectureError::Shape(reason));
        };
        let mut inputs = 0;
        for (node, content) in motif.nodes().iter().enumerate() {
            let rule = |reason: &str| ArchitectureError::Rule {
                motif: motif.name().into(),
                node,
                reason: reason.into(),
            };
            let known = self.operations.iter().map(|(op, _)| *op);
            match (content.op.as_str(), content.inputs.is_empty()) {
                (INPUT, true) => inputs += 1,
                (INPUT, false) => return Err(rule("an input node reads nothing")),
                (_, true) => return Err(rule("it reads nothing; give it an input")),
                (op, false) if self.operation(op).is_none() => {
                    return Err(ArchitectureError::UnknownOperation {
                        motif: motif.name().into(),
                        node,
                        op: op.into(),
                        nearest: ghnas_core::registry::nearest(op, known),
                    });
                }
                _ if content.inputs.iter().any(|edge| edge.op().is_some()) => {
                    return Err(rule("edges of this space carry no operation"));
                }
                _ if !content.attributes.is_empty() => return Err(rule("it has no attributes")),
                _ => {}
            }
        }
        if inputs != 1 || motif.nodes().len() < 2 {
            let reason = format!(
                "the motif has {inputs} input nodes of {} nodes, expected one and an operation",
                motif.nodes().len()
            );
            return Err(ArchitectureError::Shape(reason));
        }
        Ok(())
    }

    fn lower(&self, arch: &Architecture, task: Task) -> Result<Network, SpaceError> {
        self.validate(arch)?;
        let arch = arch.canonical();
        let mut network = NetworkBuilder::new(task.image, task.classes);
        network.module("stem");
        let stem = network.node("stem", vec![], true).convolve(
            ValueId::IMAGES,
            (3, 1),
            CHANNELS,
            ("stem", vec![CHANNELS, task.image.channels, 3, 3]),
        )?;
        let mut value = stem;
        for block in 0..BLOCKS {
            value = self.block(&arch.motifs()[0], &mut network, block, value)?;
        }
        network.classifier(value, MOST_CHANNELS)?;
        Ok(network.finish()?)
    }

    fn evolve(&self) -> Option<&dyn Evolve> {
        Some(self)
    }
}

impl StackedSpace {
    fn block(
        &self,
        motif: &Motif,
        network: &mut NetworkBuilder,
        block: usize,
        input: ValueId,
    ) -> Result<ValueId, NetworkError> {
        let channels = CHANNELS << block;
        // What the block before joins, a leaf each; its kernel is tiled over all of them.
        let leaf = CHANNELS << block.saturating_sub(1);
        let stride = if block == 0 { 1 } else { 2 };
        network.module(format!("block{}", block + 1));
        let mut values: Vec<ValueId> = Vec::new();
        for (node, content) in motif.nodes().iter().enumerate() {
            let value = if content.op == INPUT {
                let mut builder = network.node(format!("{INPUT}_{stride}"), vec![], true);
                let kind = format!("bottleneck_{leaf}");
                let rectified = builder.relu(input)?;
                let largest = vec![MOST_CHANNELS, leaf, 1, 1];
                builder.convolve(rectified, (1, stride), channels, (&kind, largest))?
            } else {
                let read = motif.dag().inputs(node);
                let inputs: Vec<ValueId> = read.iter().map(|&from| values[from]).collect();
                let context = OperationContext { channels, max_channels: MOST_CHANNELS };
                let mut builder = network.node(&*content.op, read.to_vec(), false);
                let operation = self.operation(&content.op).expect("validated by the caller");
                operation.expand(&mut builder, &inputs, context)?
            };
            values.push(value);
        }
        let leaves: Vec<usize> = motif.dag().leaves().collect();
        let parts: Vec<ValueId> = leaves.iter().map(|&node| values[node]).collect();
        network.node("concat", leaves, false).concat(&parts)
    }
}

/// A convolution with batch norm, as stems and inputs have it.
trait Convolve {
    fn convolve(
        &mut self,
        input: ValueId,
        kernel_and_stride: (usize, usize),
        out_channels: usize,
        kind_and_largest: (&str, Vec<usize>),
    ) -> Result<ValueId, NetworkError>;
}

impl Convolve for ghnas_core::NodeBuilder<'_> {
    fn convolve(
        &mut self,
        input: ValueId,
        (kernel, stride): (usize, usize),
        out_channels: usize,
        (kind, largest): (&str, Vec<usize>),
    ) -> Result<ValueId, NetworkError> {
        let geometry = Convolution {
            weight: ParamId(0), // The builder puts the new parameter here.
            out_channels,
            kernel: [kernel; 2],
            stride,
            dilation: 1,
            padding: [(kernel - 1) / 2; 2],
            groups: 1,
        };
        let value = self.conv2d(input, geometry, ParamRequest { name: "kernel", kind, largest })?;
        self.batch_norm(value)
    }
}

impl Evolve for StackedSpace {
    /// Gives one node another operation.
    fn mutate(&self, arch: &Architecture, seed: u64) -> Result<Architecture, SpaceError> {
        self.validate(arch)?;
        let mut rng = stream(seed, self.id, 1);
        let mut nodes = arch.canonical().motifs()[0].nodes().to_vec();
        let own: Vec<usize> = (0..nodes.len()).filter(|&node| nodes[node].op != INPUT).collect();
        let node = *own.choose(&mut rng).expect("validated: there is an operation");
        let others: Vec<&str> =
            self.operations.iter().map(|(op, _)| *op).filter(|op| *op != nodes[node].op).collect();
        if let Some(op) = others.choose(&mut rng) {
            nodes[node].op = (*op).into();
        }
        self.of_nodes(nodes)
    }

    /// Takes each node's operation from one parent or the other, and the edges of the first.
    fn cross(
        &self,
        first: &Architecture,
        second: &Architecture,
        seed: u64,
    ) -> Result<Architecture, SpaceError> {
        self.validate(first)?;
        self.validate(second)?;
        let mut rng = stream(seed, self.id, 2);
        let mut nodes = first.canonical().motifs()[0].nodes().to_vec();
        let second = second.canonical();
        for (node, other) in nodes.iter_mut().zip(second.motifs()[0].nodes()) {
            if node.op != INPUT && other.op != INPUT && rng.random_bool(0.5) {
                node.op.clone_from(&other.op);
            }
        }
        self.of_nodes(nodes)
    }
}
