//! The canonical order of a motif's nodes, and the hash that isomorphic architectures share.
//!
//! Colour refinement over operations, attributes and edges, then individualisation: where colours
//! do not tell nodes apart, each candidate is tried and the smallest encoding wins. Automorphisms
//! that turn up on the way prune candidates (McKay 1981), so that many equal branches stay cheap.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::architecture::{Architecture, Motif};

/// The key of an architecture everywhere: equal for isomorphic motifs of one space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchitectureHash([u8; 16]);

impl std::fmt::Display for ArchitectureHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ArchitectureHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Architecture {
    /// The canonical hash: the first 128 bits of SHA-256 over the space's id and the canonical
    /// encoding of each motif.
    pub fn hash(&self) -> ArchitectureHash {
        let mut hasher = Sha256::new();
        hasher.update(self.space().as_bytes());
        for motif in self.motifs() {
            hasher.update([0]);
            hasher.update(motif.name().as_bytes());
            hasher.update([0]);
            let canonical = motif.reordered(&canonical_order(motif));
            let nodes = serde_json::to_string(canonical.nodes()).expect("nodes are plain data");
            hasher.update(nodes.as_bytes());
        }
        let digest: [u8; 32] = hasher.finalize().into();
        ArchitectureHash(std::array::from_fn(|i| digest[i]))
    }

    /// The same architecture with every motif's nodes in canonical order, which is topological.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let motifs = self.motifs().iter().map(|motif| motif.reordered(&canonical_order(motif)));
        Self::new(self.space(), motifs.collect())
    }
}

/// The order of a motif's nodes that isomorphic motifs share; every node after its inputs.
///
/// Position `i` of the result is the node that comes `i`th.
pub fn canonical_order(motif: &Motif) -> Vec<usize> {
    let search = Search::new(motif);
    let mut best = Best::default();
    search.descend(search.initial.clone(), &mut Vec::new(), &mut best);
    let colours = best.colours.expect("the search reaches a leaf");
    let mut order: Vec<usize> = (0..colours.len()).collect();
    order.sort_by_key(|&node| colours[node]);
    order
}

/// The motif in the form that the search works on: labels as numbers.
struct Search {
    initial: Vec<usize>,
    /// Per node: (edge label, node that it comes from).
    inputs: Vec<Vec<(usize, usize)>>,
    /// Per node: (edge label, node that it goes to).
    consumers: Vec<Vec<(usize, usize)>>,
}

/// The best leaf so far, and the automorphisms found.
#[derive(Default)]
struct Best {
    code: Option<Vec<(usize, usize, usize)>>,
    colours: Option<Vec<usize>>,
    automorphisms: Vec<Vec<usize>>,
}

impl Search {
    fn new(motif: &Motif) -> Self {
        let nodes = motif.nodes();
        let labels = ranks(nodes.iter().map(|node| (&node.op, &node.attributes)));
        let edge_ops = nodes.iter().flat_map(|node| node.inputs.iter().map(|edge| edge.op()));
        let mut edge_labels = ranks(edge_ops).into_iter();
        let mut inputs = vec![Vec::new(); nodes.len()];
        let mut consumers = vec![Vec::new(); nodes.len()];
        for (to, node) in nodes.iter().enumerate() {
            for edge in &node.inputs {
                let label = edge_labels.next().expect("one label an edge");
                inputs[to].push((label, edge.from()));
                consumers[edge.from()].push((label, to));
            }
        }
        // Depth first: a canonical order is then also a topological one.
        let mut depth = vec![0; nodes.len()];
        for &v in motif.dag().topological_order() {
            let below = motif.dag().inputs(v).iter().map(|&from| depth[from] + 1);
            depth[v] = below.max().unwrap_or(0);
        }
        let initial = ranks(depth.into_iter().zip(labels));
        Self { initial, inputs, consumers }
    }

    fn descend(&self, colours: Vec<usize>, prefix: &mut Vec<usize>, best: &mut Best) {
        let colours = self.refine(colours);
        let Some(cell) = smallest_shared_colour(&colours) else {
            self.leaf(colours, best);
            return;
        };
        let members: Vec<usize> = (0..colours.len()).filter(|&v| colours[v] == cell).collect();
        let mut tried: Vec<usize> = Vec::new();
        for &node in &members {
            if equivalent_to_tried(node, &tried, prefix, &best.automorphisms) {
                continue;
            }
            // The chosen node goes before the others of its colour.
            let split = |v: usize| (colours[v], colours[v] == cell && v != node);
            let individual = ranks((0..colours.len()).map(split));
            prefix.push(node);
            self.descend(individual, prefix, best);
            prefix.pop();
            tried.push(node);
        }
    }

    /// Splits colours by the colours around each node until nothing changes.
    fn refine(&self, mut colours: Vec<usize>) -> Vec<usize> {
        loop {
            let around = |edges: &[(usize, usize)]| {
                let mut seen: Vec<_> =
                    edges.iter().map(|&(label, v)| (label, colours[v])).collect();
                seen.sort_unstable();
                seen
            };
            let finer = ranks(
                (0..colours.len())
                    .map(|v| (colours[v], around(&self.inputs[v]), around(&self.consumers[v]))),
            );
            if finer == colours {
                return colours;
            }
            colours = finer;
        }
    }

    /// Every node has its own colour: compares the encoding with the best one.
    fn leaf(&self, colours: Vec<usize>, best: &mut Best) {
        let edges = self.inputs.iter().enumerate().flat_map(|(to, from)| {
            let to = colours[to];
            from.iter().map(move |&(label, from)| (to, from, label))
        });
        let mut code: Vec<_> = edges.map(|(to, from, label)| (to, colours[from], label)).collect();
        code.sort_unstable();
        if let (Some(best_code), Some(best_colours)) = (&best.code, &best.colours) {
            if code == *best_code {
                let mut at = vec![0; colours.len()];
                for (node, &colour) in best_colours.iter().enumerate() {
                    at[colour] = node;
                }
                best.automorphisms.push(colours.iter().map(|&colour| at[colour]).collect());
                return;
            }
            if code > *best_code {
                return;
            }
        }
        best.code = Some(code);
        best.colours = Some(colours);
    }
}

/// Whether automorphisms that leave `prefix` alone lead from a tried node to `node`.
fn equivalent_to_tried(
    node: usize,
    tried: &[usize],
    prefix: &[usize],
    automorphisms: &[Vec<usize>],
) -> bool {
    let fixing: Vec<_> =
        automorphisms.iter().filter(|map| prefix.iter().all(|&v| map[v] == v)).collect();
    let mut orbit = tried.to_vec();
    let mut next = 0;
    while next < orbit.len() {
        for map in &fixing {
            let inverse = map.iter().position(|&image| image == orbit[next]);
            for image in [Some(map[orbit[next]]), inverse].into_iter().flatten() {
                if !orbit.contains(&image) {
                    orbit.push(image);
                }
            }
        }
        next += 1;
    }
    orbit.contains(&node)
}

fn smallest_shared_colour(colours: &[usize]) -> Option<usize> {
    let mut count = BTreeMap::new();
    for &colour in colours {
        *count.entry(colour).or_insert(0) += 1;
    }
    count.into_iter().find(|&(_, count)| count > 1).map(|(colour, _)| colour)
}

/// The rank of each key among the distinct keys.
fn ranks<K: Ord>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    let keys: Vec<K> = keys.collect();
    let mut rank = BTreeMap::new();
    for key in &keys {
        rank.insert(key, 0);
    }
    for (position, value) in rank.values_mut().enumerate() {
        *value = position;
    }
    keys.iter().map(|key| rank[key]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::MotifNode;

    fn node(op: &str, inputs: &[usize]) -> MotifNode {
        MotifNode::new(op, inputs.iter().copied())
    }

    fn arch(nodes: Vec<MotifNode>) -> Architecture {
        Architecture::new("test", vec![Motif::new("cell", nodes).unwrap()])
    }

    #[test]
    fn relabelling_keeps_the_hash() {
        let one = arch(vec![node("in", &[]), node("a", &[0]), node("b", &[0]), node("c", &[1, 2])]);
        let two = arch(vec![node("c", &[2, 3]), node("in", &[]), node("b", &[1]), node("a", &[1])]);
        assert_eq!(one.hash(), two.hash());
        assert_eq!(one.canonical(), two.canonical());
    }

    #[test]
    fn structure_and_labels_change_the_hash() {
        let chain = arch(vec![node("in", &[]), node("a", &[0]), node("a", &[1])]);
        let fork = arch(vec![node("in", &[]), node("a", &[0]), node("a", &[0])]);
        let other = arch(vec![node("in", &[]), node("a", &[0]), node("b", &[1])]);
        assert_ne!(chain.hash(), fork.hash());
        assert_ne!(chain.hash(), other.hash());
        let mut second = node("in", &[]);
        second.attributes.insert("index".into(), 1);
        assert_ne!(arch(vec![node("in", &[])]).hash(), arch(vec![second]).hash());
    }

    #[test]
    fn many_equal_branches_are_cheap() {
        // Twelve equal chains of three: 12! ways to match them without pruning.
        let mut nodes = vec![node("in", &[])];
        for _ in 0..12 {
            let last = nodes.len();
            nodes.push(node("a", &[0]));
            nodes.push(node("b", &[last]));
            nodes.push(node("c", &[last + 1]));
        }
        let motif = Motif::new("cell", nodes).unwrap();
        let mut shuffled: Vec<usize> = (0..37).collect();
        shuffled.rotate_left(5);
        shuffled.swap(3, 30);
        let moved = motif.reordered(&shuffled);
        let canonical = |motif: &Motif| motif.reordered(&canonical_order(motif));
        assert_eq!(canonical(&motif), canonical(&moved));
    }
}
