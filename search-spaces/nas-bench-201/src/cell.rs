//! A cell: the operations on its six edges, and the motif that it is as an architecture.
//!
//! As a motif, a cell is the nodes `input`, `sum`, `sum` and `output` with an operation on every
//! edge. Edges with `none` are left out, so that cells which differ in the order of two sums that
//! do not read each other have one hash.

use ghnas_core::registry::nearest;
use ghnas_core::{Architecture, ArchitectureError, Edge, Motif, MotifNode};

use crate::ID;

/// The name of the one motif.
const MOTIF: &str = "cell";

/// The operations of the motif's nodes, in the notation's order.
const NODES: [&str; 4] = ["input", "sum", "sum", "output"];

/// The edges in the notation's order, each with the node that it comes from and the one that it
/// goes to.
pub(crate) const EDGES: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];

/// What an edge carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EdgeOperation {
    /// Nothing.
    None,
    /// What it reads.
    SkipConnect,
    /// Rectification, 1x1 convolution, batch norm.
    NorConv1x1,
    /// Rectification, 3x3 convolution, batch norm.
    NorConv3x3,
    /// 3x3 average pooling.
    AvgPool3x3,
}

impl EdgeOperation {
    /// In the benchmark's order.
    pub(crate) const ALL: [Self; 5] =
        [Self::None, Self::SkipConnect, Self::NorConv1x1, Self::NorConv3x3, Self::AvgPool3x3];

    /// The benchmark's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SkipConnect => "skip_connect",
            Self::NorConv1x1 => "nor_conv_1x1",
            Self::NorConv3x3 => "nor_conv_3x3",
            Self::AvgPool3x3 => "avg_pool_3x3",
        }
    }

    /// The operation of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// The name that is most like `name`, where one is.
    pub(crate) fn nearest(name: &str) -> Option<String> {
        nearest(name, Self::ALL.into_iter().map(Self::name))
    }
}

/// A cell, by the operations on [`EDGES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell(pub(crate) [EdgeOperation; EDGES.len()]);

impl Cell {
    /// The cell that `arch` is. Two sums that do not read each other keep their order.
    ///
    /// # Errors
    /// [`ArchitectureError`] names the node that breaks a rule of the space.
    pub(crate) fn of(arch: &Architecture) -> Result<Self, ArchitectureError> {
        if arch.space() != ID {
            let reason = format!("the architecture is of space '{}', not '{ID}'", arch.space());
            return Err(ArchitectureError::Shape(reason));
        }
        let [motif] = arch.motifs() else {
            let reason =
                format!("the architecture has {} motifs, expected one", arch.motifs().len());
            return Err(ArchitectureError::Shape(reason));
        };
        if motif.name() != MOTIF {
            let reason = format!("the motif is named '{}', expected '{MOTIF}'", motif.name());
            return Err(ArchitectureError::Shape(reason));
        }
        let numbers = numbers(motif)?;
        let mut cell = Self([EdgeOperation::None; EDGES.len()]);
        for node in 0..NODES.len() {
            cell.read_edges(motif, node, numbers)?;
        }
        Ok(cell)
    }

    /// Takes over the edges into the node at position `node` of the motif.
    fn read_edges(
        &mut self,
        motif: &Motif,
        node: usize,
        numbers: [usize; NODES.len()],
    ) -> Result<(), ArchitectureError> {
        let content = &motif.nodes()[node];
        let rule = |reason: &str| ArchitectureError::Rule {
            motif: motif.name().into(),
            node,
            reason: reason.into(),
        };
        if !content.attributes.is_empty() {
            return Err(rule("a node of this space has no attributes"));
        }
        for edge in &content.inputs {
            let op = edge.op().ok_or_else(|| rule("every edge of this space has an operation"))?;
            let unknown = || ArchitectureError::UnknownOperation {
                motif: motif.name().into(),
                node,
                op: op.into(),
                nearest: EdgeOperation::nearest(op),
            };
            let operation = EdgeOperation::named(op).ok_or_else(unknown)?;
            if operation == EdgeOperation::None {
                return Err(rule("an edge with 'none' must be left out"));
            }
            let ends = (numbers[edge.from()], numbers[node]);
            let position = EDGES.iter().position(|&known| known == ends);
            let position = position
                .ok_or_else(|| rule("the input reads nothing, and nothing reads the output"))?;
            if self.0[position] != EdgeOperation::None {
                return Err(rule("it reads one node twice"));
            }
            self.0[position] = operation;
        }
        Ok(())
    }

    /// The cell as an architecture, its nodes in the notation's order.
    pub(crate) fn architecture(&self) -> Architecture {
        let node = |(number, name): (usize, &&str)| {
            let mut node = MotifNode::new(*name, []);
            let edges = EDGES.iter().zip(self.0).filter(|((_, to), _)| *to == number);
            let edges = edges.filter(|(_, operation)| *operation != EdgeOperation::None);
            let through = |(&(from, _), op): (&_, EdgeOperation)| Edge::Through {
                from,
                op: op.name().into(),
            };
            node.inputs = edges.map(through).collect();
            node
        };
        let nodes = NODES.iter().enumerate().map(node).collect();
        let motif = Motif::new(MOTIF, nodes).expect("edges go from smaller to larger numbers");
        Architecture::new(ID, vec![motif])
    }
}

/// The number of each node of the motif in the notation.
fn numbers(motif: &Motif) -> Result<[usize; NODES.len()], ArchitectureError> {
    let ops: Vec<&str> = motif.nodes().iter().map(|node| &*node.op).collect();
    let mut sorted = ops.clone();
    sorted.sort_unstable();
    let mut expected = NODES;
    expected.sort_unstable();
    if sorted != expected {
        let (got, expected) = (ops.join(", "), NODES.join(", "));
        let reason = format!("the cell has the nodes {got}; expected {expected}");
        return Err(ArchitectureError::Shape(reason));
    }
    // Stable, so that the two sums keep their order unless one reads the other.
    let mut order = [0, 1, 2, 3];
    order.sort_by_key(|&position| NODES.iter().position(|name| *name == ops[position]));
    if motif.dag().inputs(order[1]).contains(&order[2]) {
        order.swap(1, 2);
    }
    let mut numbers = [0; NODES.len()];
    for (number, position) in order.into_iter().enumerate() {
        numbers[position] = number;
    }
    Ok(numbers)
}
