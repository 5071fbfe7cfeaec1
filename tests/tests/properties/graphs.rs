//! Laws of directed acyclic graphs, and the random graphs that other laws are tried on.

use ghnas_core::{Dag, DagError};
use proptest::prelude::*;

/// A permutation of `0..count`.
pub(crate) fn permutation(count: usize) -> impl Strategy<Value = Vec<usize>> {
    Just((0..count).collect::<Vec<usize>>()).prop_shuffle()
}

/// The inputs of each node of a graph of 1 to `most` nodes, whose numbers are in no order.
pub(crate) fn acyclic_inputs(most: usize) -> impl Strategy<Value = Vec<Vec<usize>>> {
    let ordered = (1..=most).prop_flat_map(|count| {
        let earlier = |node: usize| {
            prop::collection::vec(any::<prop::sample::Index>(), 0..=node.min(3))
                .prop_map(move |picks| picks.iter().map(|pick| pick.index(node)).collect())
        };
        (0..count).map(earlier).collect::<Vec<_>>()
    });
    ordered.prop_flat_map(|inputs| {
        let count = inputs.len();
        permutation(count).prop_map(move |names| relabelled(&inputs, &names))
    })
}

/// The graph in which node `v` is called `names[v]`.
fn relabelled(inputs: &[Vec<usize>], names: &[usize]) -> Vec<Vec<usize>> {
    let mut renamed = vec![Vec::new(); inputs.len()];
    for (node, from) in inputs.iter().enumerate() {
        renamed[names[node]] = from.iter().map(|&from| names[from]).collect();
    }
    renamed
}

/// Whether `to` can be reached from `from`, by trying every path.
fn reaches(inputs: &[Vec<usize>], from: usize, to: usize) -> bool {
    from == to || inputs[to].iter().any(|&before| reaches(inputs, from, before))
}

proptest! {
    #[test]
    fn the_order_has_every_node_once_and_after_its_inputs(inputs in acyclic_inputs(12)) {
        let dag = Dag::new(inputs.clone()).unwrap();
        let mut place = vec![None; dag.len()];
        for (at, &node) in dag.topological_order().iter().enumerate() {
            prop_assert_eq!(place[node].replace(at), None);
        }
        prop_assert!(place.iter().all(Option::is_some));
        for (node, from) in inputs.iter().enumerate() {
            prop_assert_eq!(dag.inputs(node), &from[..]);
            prop_assert!(from.iter().all(|&from| place[from] < place[node]));
        }
    }

    #[test]
    fn consumers_mirror_inputs(inputs in acyclic_inputs(12)) {
        let dag = Dag::new(inputs.clone()).unwrap();
        for from in 0..dag.len() {
            let read = |to: &usize| inputs[*to].iter().filter(|&&input| input == from).count();
            let expect: Vec<usize> =
                (0..dag.len()).flat_map(|to| std::iter::repeat_n(to, read(&to))).collect();
            prop_assert_eq!(dag.consumers(from), &expect[..]);
        }
        let leaves: Vec<usize> = (0..dag.len()).filter(|&v| dag.consumers(v).is_empty()).collect();
        prop_assert_eq!(dag.leaves().collect::<Vec<_>>(), leaves);
    }

    #[test]
    fn ancestors_and_descendants_are_what_paths_reach(inputs in acyclic_inputs(9)) {
        let dag = Dag::new(inputs.clone()).unwrap();
        for node in 0..dag.len() {
            let (above, below) = (dag.ancestors_of([node]), dag.descendants_of([node]));
            for other in 0..dag.len() {
                prop_assert_eq!(above[other], reaches(&inputs, other, node));
                prop_assert_eq!(below[other], reaches(&inputs, node, other));
            }
        }
    }

    #[test]
    fn an_edge_back_to_an_ancestor_is_refused(
        inputs in acyclic_inputs(12),
        pick in any::<prop::sample::Index>(),
        back in any::<prop::sample::Index>(),
    ) {
        let dag = Dag::new(inputs.clone()).unwrap();
        let node = pick.index(dag.len());
        let ancestors: Vec<usize> =
            (0..dag.len()).filter(|&v| dag.ancestors_of([node])[v]).collect();
        let mut cyclic = inputs;
        cyclic[ancestors[back.index(ancestors.len())]].push(node);
        let refused = matches!(Dag::new(cyclic), Err(DagError::Cycle { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn an_input_that_does_not_exist_is_refused(
        inputs in acyclic_inputs(12),
        pick in any::<prop::sample::Index>(),
        beyond in any::<u32>(),
    ) {
        let (len, node) = (inputs.len(), pick.index(inputs.len()));
        let from = len + beyond as usize;
        let mut wrong = inputs;
        wrong[node].push(from);
        prop_assert_eq!(Dag::new(wrong), Err(DagError::UnknownNode { node, from, len }));
    }
}
