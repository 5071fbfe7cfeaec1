//! Laws of architectures: their hash, their canonical form, their JSON.

use std::collections::BTreeMap;

use ghnas_core::{Architecture, ArchitectureError, Edge, Motif, MotifNode};
use proptest::prelude::*;

use crate::graphs::{acyclic_inputs, permutation};

/// A motif of few operations and attributes, so that many nodes are alike.
fn motif() -> impl Strategy<Value = Motif> {
    let labelled = acyclic_inputs(8).prop_flat_map(|inputs| {
        let count = inputs.len();
        let edges: usize = inputs.iter().map(Vec::len).sum();
        let node = ("[ab]", prop::option::weighted(0.2, 0..2i64));
        let nodes = prop::collection::vec(node, count);
        let through = prop::collection::vec(prop::option::weighted(0.3, "[xy]"), edges);
        (Just(inputs), nodes, through)
    });
    labelled.prop_map(|(inputs, nodes, through)| {
        let mut through = through.into_iter();
        let edge = |from: usize| match through.next().expect("one an edge") {
            None => Edge::Plain(from),
            Some(op) => Edge::Through { from, op },
        };
        let mut edges: Vec<Vec<Edge>> = Vec::new();
        let mut edge = edge;
        for from in inputs {
            edges.push(from.into_iter().map(&mut edge).collect());
        }
        let node = |((op, scale), inputs): ((String, Option<i64>), Vec<Edge>)| MotifNode {
            op,
            inputs,
            attributes: scale.map(|scale| ("scale".into(), scale)).into_iter().collect(),
        };
        Motif::new("cell", nodes.into_iter().zip(edges).map(node).collect()).unwrap()
    })
}

fn motif_and_order() -> impl Strategy<Value = (Motif, Vec<usize>)> {
    motif().prop_flat_map(|motif| {
        let order = permutation(motif.nodes().len());
        (Just(motif), order)
    })
}

fn arch(motif: Motif) -> Architecture {
    Architecture::new("space", vec![motif])
}

/// Whether some renaming of nodes turns one motif into the other, by trying all.
fn isomorphic(one: &Motif, two: &Motif) -> bool {
    fn extend(one: &Motif, two: &Motif, order: &mut Vec<usize>) -> bool {
        if order.len() == two.nodes().len() {
            let sorted = |motif: &Motif| {
                let mut nodes = motif.nodes().to_vec();
                nodes.iter_mut().for_each(|node| node.inputs.sort());
                nodes
            };
            return sorted(&one.reordered(order)) == sorted(two);
        }
        let matching = |node: &usize| {
            let (a, b) = (&one.nodes()[*node], &two.nodes()[order.len()]);
            (&a.op, &a.attributes, a.inputs.len()) == (&b.op, &b.attributes, b.inputs.len())
        };
        let candidates: Vec<usize> =
            (0..two.nodes().len()).filter(|node| !order.contains(node)).filter(matching).collect();
        candidates.into_iter().any(|node| {
            order.push(node);
            let found = extend(one, two, order);
            order.pop();
            found
        })
    }
    one.nodes().len() == two.nodes().len() && extend(one, two, &mut Vec::new())
}

proptest! {
    #[test]
    fn relabelling_keeps_hash_and_canonical_form((motif, order) in motif_and_order()) {
        let moved = arch(motif.reordered(&order));
        let arch = arch(motif);
        prop_assert_eq!(arch.hash(), moved.hash());
        prop_assert_eq!(arch.canonical(), moved.canonical());
    }

    #[test]
    fn the_canonical_form_is_the_same_graph_in_topological_order(motif in motif()) {
        let arch = arch(motif);
        let canonical = arch.canonical();
        prop_assert_eq!(canonical.hash(), arch.hash());
        prop_assert_eq!(&canonical.canonical(), &canonical);
        let nodes = canonical.motifs()[0].nodes();
        for (at, node) in nodes.iter().enumerate() {
            prop_assert!(node.inputs.iter().all(|edge| edge.from() < at));
        }
        let sorted = |motif: &Motif| {
            let kinds = motif.nodes().iter().map(|n| (n.op.clone(), n.attributes.clone()));
            let mut kinds: Vec<(String, BTreeMap<String, i64>)> = kinds.collect();
            kinds.sort();
            kinds
        };
        prop_assert_eq!(sorted(&canonical.motifs()[0]), sorted(&arch.motifs()[0]));
    }

    #[test]
    fn a_changed_node_or_edge_changes_the_hash_unless_the_graph_stays_isomorphic(
        motif in motif(),
        pick in any::<prop::sample::Index>(),
        edge in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
    ) {
        let mut nodes = motif.nodes().to_vec();
        let node = pick.index(nodes.len());
        match nodes[node].inputs.len() {
            0 => nodes[node].op = if nodes[node].op == "a" { "b".into() } else { "a".into() },
            count => {
                let earlier = motif.dag().descendants_of([node]);
                let free: Vec<usize> = (0..nodes.len()).filter(|&v| !earlier[v]).collect();
                nodes[node].inputs[edge.index(count)] = Edge::Plain(free[from.index(free.len())]);
            }
        }
        let changed = Motif::new("cell", nodes).unwrap();
        let same = isomorphic(&motif, &changed);
        prop_assert_eq!(arch(motif).hash() == arch(changed).hash(), same);
    }

    #[test]
    fn json_keeps_an_architecture(motifs in prop::collection::vec(motif(), 0..3)) {
        let arch = Architecture::new("space", motifs);
        prop_assert_eq!(arch.to_string().parse::<Architecture>(), Ok(arch.clone()));
        let value = serde_json::to_value(&arch).unwrap();
        prop_assert_eq!(serde_json::from_value::<Architecture>(value).unwrap(), arch);
    }

    #[test]
    fn another_schema_version_is_refused(motif in motif(), found in 2u32..) {
        let mut document = serde_json::to_value(arch(motif)).unwrap();
        document["schema"] = found.into();
        let parsed = document.to_string().parse::<Architecture>();
        prop_assert_eq!(parsed, Err(ArchitectureError::Schema { found }));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*", cut in any::<prop::sample::Index>()) {
        let json = arch(Motif::new("cell", vec![MotifNode::new("a", [])]).unwrap()).to_string();
        let cut = cut.index(json.len());
        // The text is ASCII, so it can be cut and spliced anywhere.
        let spliced = format!("{}{text}{}", &json[..cut], &json[cut..]);
        if let Ok(arch) = spliced.parse::<Architecture>() {
            prop_assert_eq!(arch.to_string().parse::<Architecture>(), Ok(arch));
        }
        prop_assert!(json[..cut].parse::<Architecture>().is_err());
    }
}
