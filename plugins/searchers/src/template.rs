//! A graph whose operations are choices, found by sampling a space: what a policy decides, and how
//! the neighbours of an architecture are listed.
//!
//! The graph is that of the richest of a few samples. On NAS-Bench-201 that is a cell with all six
//! edges, and leaving an edge out is the benchmark's `none`: the template covers the space.

use std::collections::BTreeSet;

use ghnas_core::{Architecture, Edge, Motif, MotifNode, Phase, SearchSpace, rng};

/// Samples in a row that show neither a richer graph nor another operation before the search for
/// the template ends. A NAS-Bench-201 cell with six edges is missed once in 10^8 times.
const PATIENCE: u32 = 64;

/// A graph with the operations that may stand at each of its positions.
#[derive(Debug)]
pub(crate) struct Template {
    space: String,
    names: Vec<String>,
    motifs: Vec<Vec<MotifNode>>,
    positions: Vec<Position>,
}

/// A node or an edge whose operation is a choice.
#[derive(Debug)]
struct Position {
    motif: usize,
    node: usize,
    /// The edge of the node, where the operation is an edge's.
    edge: Option<usize>,
    /// Choice i is operation i; one past the last leaves the edge out.
    ops: Vec<String>,
    /// Whether the edge may be left out.
    droppable: bool,
}

impl Template {
    /// The template of `space`: the same for every seed, so that runs that differ in their seed
    /// alone search the same graph.
    ///
    /// # Errors
    /// In words, where no sample can be had or nothing is left to choose.
    pub(crate) fn of(space: &dyn SearchSpace) -> Result<Self, String> {
        let (mut node_ops, mut edge_ops) = (BTreeSet::new(), BTreeSet::new());
        let mut richest: Option<(usize, Architecture)> = None;
        let (mut index, mut idle) = (0, 0);
        while idle < PATIENCE {
            let seed = rng::derive_seed(0, "searchers.template", index);
            let arch = space
                .sample(Phase::Score, seed)
                .map_err(|error| format!("no template: {error}"))?;
            index += 1;
            idle += 1;
            let mut size = 0;
            for node in arch.motifs().iter().flat_map(Motif::nodes) {
                size += 1 + node.inputs.len();
                let mut fresh = node_ops.insert(node.op.clone());
                for op in node.inputs.iter().filter_map(Edge::op) {
                    fresh |= edge_ops.insert(op.to_string());
                }
                idle = if fresh { 0 } else { idle };
            }
            if richest.as_ref().is_none_or(|(most, _)| size > *most) {
                richest = Some((size, arch));
                idle = 0;
            }
        }
        let (_, arch) = richest.expect("a sample was drawn");
        let mut template = Self {
            space: arch.space().into(),
            names: arch.motifs().iter().map(|motif| motif.name().into()).collect(),
            motifs: arch.motifs().iter().map(|motif| motif.nodes().to_vec()).collect(),
            positions: Vec::new(),
        };
        template.positions = template.find_positions(space, &node_ops, &edge_ops);
        match template.positions.is_empty() {
            true => Err(format!("space '{}' leaves no operation to choose", template.space)),
            false => Ok(template),
        }
    }

    /// The places where more than one operation makes an architecture of the space.
    fn find_positions(
        &self,
        space: &dyn SearchSpace,
        node_ops: &BTreeSet<String>,
        edge_ops: &BTreeSet<String>,
    ) -> Vec<Position> {
        let mut positions = Vec::new();
        for (motif, nodes) in self.motifs.iter().enumerate() {
            for (node, content) in nodes.iter().enumerate() {
                let edges = (0..content.inputs.len()).map(Some);
                for edge in std::iter::once(None).chain(edges) {
                    let vocabulary = match edge.map(|edge| content.inputs[edge].op()) {
                        None => node_ops,
                        Some(Some(_)) => edge_ops,
                        Some(None) => continue,
                    };
                    let fits = |op: Option<&str>| {
                        let mut motifs = self.motifs.clone();
                        put(&mut motifs[motif][node], edge, op);
                        space.validate(&self.assemble(motifs)).is_ok()
                    };
                    let ops: Vec<String> =
                        vocabulary.iter().filter(|op| fits(Some(op))).cloned().collect();
                    let droppable = edge.is_some() && fits(None);
                    if ops.len() + usize::from(droppable) > 1 {
                        positions.push(Position { motif, node, edge, ops, droppable });
                    }
                }
            }
        }
        positions
    }

    /// How many choices each position has; at least two.
    pub(crate) fn counts(&self) -> Vec<usize> {
        let count = |position: &Position| position.ops.len() + usize::from(position.droppable);
        self.positions.iter().map(count).collect()
    }

    /// How many architectures the template makes, where the space is exactly those.
    pub(crate) fn covered(&self, space: &dyn SearchSpace) -> Option<u64> {
        let size = space.enumerate()?.size();
        let all = self.counts().into_iter().try_fold(1_u64, |all, n| all.checked_mul(n as u64));
        all.filter(|&all| all == size)
    }

    /// The architecture with one choice a position. It need not be one of the space where the
    /// template does not cover that.
    pub(crate) fn architecture(&self, choices: &[usize]) -> Architecture {
        let mut motifs = self.motifs.clone();
        // The last first: an edge that is left out moves those behind it.
        for (position, &choice) in self.positions.iter().zip(choices).rev() {
            let node = &mut motifs[position.motif][position.node];
            put(node, position.edge, position.ops.get(choice).map(String::as_str));
        }
        self.assemble(motifs)
    }

    fn assemble(&self, motifs: Vec<Vec<MotifNode>>) -> Architecture {
        let motif = |(name, nodes): (&String, Vec<MotifNode>)| {
            Motif::new(name.clone(), nodes).expect("a part of a DAG is a DAG")
        };
        Architecture::new(&*self.space, self.names.iter().zip(motifs).map(motif).collect())
    }
}

/// Puts an operation on a node or on one of its edges; none leaves the edge out.
fn put(node: &mut MotifNode, edge: Option<usize>, op: Option<&str>) {
    match (edge, op) {
        (None, op) => node.op = op.expect("nodes are never left out").into(),
        (Some(edge), Some(op)) => {
            let from = node.inputs[edge].from();
            node.inputs[edge] = Edge::Through { from, op: op.into() };
        }
        (Some(edge), None) => {
            node.inputs.remove(edge);
        }
    }
}

/// The choices that a number stands for, the last of which changes fastest.
pub(crate) fn digits(mut number: u64, counts: &[usize]) -> Vec<usize> {
    let mut digits: Vec<usize> = counts
        .iter()
        .rev()
        .map(|&count| {
            let digit = number % count as u64;
            number /= count as u64;
            digit as usize
        })
        .collect();
    digits.reverse();
    digits
}

/// The numbers whose choices differ from those of `number` at one position.
pub(crate) fn neighbours(number: u64, counts: &[usize]) -> Vec<u64> {
    let (mut stride, mut all) = (1, Vec::new());
    for (&count, digit) in counts.iter().zip(digits(number, counts)).rev() {
        let base = number - digit as u64 * stride;
        let others = (0..count).filter(|&other| other != digit);
        all.extend(others.map(|other| base + other as u64 * stride));
        stride *= count as u64;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ_in_one_digit() {
        let counts = [2, 3, 4];
        assert_eq!(digits(17, &counts), [1, 1, 1]);
        let mut all = neighbours(17, &counts);
        all.sort_unstable();
        let differ = |&other: &u64| {
            let pairs = digits(other, &counts).into_iter().zip(digits(17, &counts));
            pairs.filter(|(a, b)| a != b).count() == 1
        };
        assert_eq!(all, (0..24).filter(differ).collect::<Vec<u64>>());
        assert_eq!(all.len(), 1 + 2 + 3);
    }
}
