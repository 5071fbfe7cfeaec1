//! The path encoding of an architecture (White, Neiswanger, Savani 2021, "BANANAS: Bayesian
//! Optimization with Neural Architectures for Neural Architecture Search", section 4.1): which
//! sequences of operations lead from an input to an output.

use ghnas_core::{Architecture, Motif};

/// Paths, and beginnings of paths, of one length that are followed. Where a motif has more, its
/// longer paths are left out, as in the paper's truncated encoding.
const MOST: usize = 1024;

/// The paths of `arch`, each as a hash of its operations and its motif's name; ascending, each
/// once. Isomorphic architectures have the same.
pub(crate) fn paths(arch: &Architecture) -> Vec<u64> {
    let mut paths: Vec<u64> = arch.motifs().iter().flat_map(paths_of).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// A path goes from a node `input` to a node `output`, or to any node that nothing reads where no
/// node is named so.
fn paths_of(motif: &Motif) -> Vec<u64> {
    let nodes = motif.nodes();
    let named = |name: &str| nodes.iter().any(|node| node.op == name);
    let (inputs, outputs) = (named("input"), named("output"));
    let mut readers: Vec<Vec<(usize, &str)>> = vec![Vec::new(); nodes.len()];
    for (reader, node) in nodes.iter().enumerate() {
        for edge in &node.inputs {
            readers[edge.from()].push((reader, edge.op().unwrap_or_default()));
        }
    }
    let begins = |node: usize| match inputs {
        true => nodes[node].op == "input",
        false => nodes[node].inputs.is_empty(),
    };
    let ends = |node: usize| match outputs {
        true => nodes[node].op == "output",
        false => readers[node].is_empty(),
    };
    let name = extend(START, motif.name());
    // Beginnings of paths of one length, each with its last node.
    let mut level: Vec<(usize, u64)> = (0..nodes.len())
        .filter(|&node| begins(node))
        .map(|node| (node, arrive(name, &nodes[node])))
        .collect();
    let mut paths = Vec::new();
    while !level.is_empty() && level.len() <= MOST {
        paths.extend(level.iter().filter(|(node, _)| ends(*node)).map(|(_, hash)| *hash));
        let follow = |&(node, hash): &(usize, u64)| {
            let nodes = &nodes;
            let onward = readers[node].iter();
            onward.map(move |&(next, op)| (next, arrive(extend(hash, op), &nodes[next])))
        };
        level = level.iter().flat_map(follow).collect();
        level.sort_unstable();
        level.dedup();
    }
    paths
}

/// A path with another node.
fn arrive(hash: u64, node: &ghnas_core::MotifNode) -> u64 {
    let hash = extend(hash, &node.op);
    node.attributes.iter().fold(hash, |hash, (name, value)| {
        let hash = extend(hash, name);
        value.to_le_bytes().into_iter().fold(hash, mix)
    })
}

/// FNV-1a, 64 bits.
const START: u64 = 0xcbf2_9ce4_8422_2325;

fn mix(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The hash with a word and its end.
fn extend(hash: u64, word: &str) -> u64 {
    mix(word.bytes().fold(hash, mix), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    use ghnas_core::{Edge, MotifNode};

    fn cell(nodes: Vec<MotifNode>) -> Architecture {
        Architecture::new("test", vec![Motif::new("cell", nodes).unwrap()])
    }

    #[test]
    fn paths_are_counted_once_whatever_the_order_of_nodes() {
        let node = |op: &str, inputs: &[usize]| MotifNode::new(op, inputs.iter().copied());
        // input-a-c and input-b-c, where nothing else is an end.
        let diamond = cell(vec![
            node("input", &[]),
            node("a", &[0]),
            node("b", &[0]),
            node("c", &[1, 2]),
            node("d", &[]),
        ]);
        let other = cell(vec![
            node("d", &[]),
            node("input", &[]),
            node("b", &[1]),
            node("a", &[1]),
            node("c", &[2, 3]),
        ]);
        assert_eq!(paths(&diamond).len(), 2);
        assert_eq!(paths(&diamond), paths(&other));
        let twice =
            cell(vec![node("input", &[]), node("a", &[0]), node("a", &[0]), node("c", &[1, 2])]);
        assert_eq!(paths(&twice).len(), 1);
        assert!(paths(&diamond).contains(&paths(&twice)[0]));
    }

    #[test]
    fn operations_on_edges_tell_paths_apart_and_dead_ends_are_none() {
        let through = |op: &str| {
            let mut output = MotifNode::new("output", []);
            output.inputs = vec![Edge::Through { from: 0, op: op.into() }];
            // The sum is read by nothing.
            let mut sum = MotifNode::new("sum", []);
            sum.inputs = vec![Edge::Through { from: 0, op: "pool".into() }];
            paths(&cell(vec![MotifNode::new("input", []), output, sum]))
        };
        assert_eq!(through("conv").len(), 1);
        assert_ne!(through("conv"), through("skip"));
    }

    #[test]
    fn many_paths_are_cut_at_a_length() {
        // Every node reads all earlier ones: 2^(n - 2) paths from the first to the last, all of
        // different operations.
        let nodes = (0..20).map(|i| match i {
            0 => MotifNode::new("input", []),
            _ => MotifNode::new(format!("op{i}"), 0..i),
        });
        let count = paths(&cell(nodes.collect())).len();
        // Paths over up to two nodes between the ends; there are 3876 beginnings of longer ones.
        assert_eq!(count, 1 + 18 + 153);
    }
}
