//! Laws of propagation schedules (sections 3 and 4.4).

use std::sync::Arc;

use ghnas_core::registry::{BuildContext, Settings};
use ghnas_core::{Catalogue, Dag, Propagator, Schedule};
use ghnas_ghn as _;
use proptest::prelude::*;

use crate::graphs::acyclic_inputs;

fn propagators() -> Vec<(String, Arc<dyn Propagator>)> {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let built = |id: &str| catalogue.propagators.build(id, &Settings::new(), &context).unwrap();
    let all: Vec<_> =
        catalogue.propagators.entries().map(|entry| (entry.id.clone(), built(&entry.id))).collect();
    assert!(all.len() >= 2, "both schemes of the paper are linked in");
    all
}

fn forward_backward() -> Arc<dyn Propagator> {
    let found = propagators().into_iter().find(|(id, _)| id == "forward-backward");
    found.expect("it is linked in").1
}

/// The same schedule with one node a step, in the order in which the nodes are listed.
fn one_by_one(schedule: &Schedule) -> Vec<(usize, Vec<usize>)> {
    let step = |(at, node): (usize, usize)| {
        let messages = schedule.steps[at].messages.iter().filter(move |(_, to)| *to == node);
        (node, messages.map(|&(from, _)| from).collect())
    };
    let steps = schedule.steps.iter().enumerate();
    steps.flat_map(|(at, s)| s.updates.iter().map(move |&node| (at, node))).map(step).collect()
}

proptest! {
    #[test]
    fn messages_travel_along_edges_or_against_them(
        inputs in acyclic_inputs(12),
        rounds in 1usize..4,
    ) {
        let graph = Dag::new(inputs).unwrap();
        for (id, propagator) in propagators() {
            prop_assert_eq!(propagator.schedule(&graph, rounds).unwrap().validate(&graph), Ok(()), "{}", id);
        }
    }

    #[test]
    fn every_node_updates_in_every_round(inputs in acyclic_inputs(12), rounds in 1usize..4) {
        let graph = Dag::new(inputs).unwrap();
        for (id, propagator) in propagators() {
            let mut updates = vec![0; graph.len()];
            for step in &propagator.schedule(&graph, rounds).unwrap().steps {
                step.updates.iter().for_each(|&node| updates[node] += 1);
            }
            prop_assert!(updates.iter().all(|&count| count >= rounds), "{id}: {updates:?}");
        }
    }

    #[test]
    fn forward_backward_makes_at_most_twice_the_nodes_less_one_updates_a_round(
        inputs in acyclic_inputs(12),
        rounds in 0usize..4,
    ) {
        let graph = Dag::new(inputs).unwrap();
        let updates = forward_backward().schedule(&graph, rounds).unwrap().update_count();
        prop_assert!(updates <= rounds * (2 * graph.len() - 1));
    }

    /// Eq. 15: on the way forward a node hears all its inputs, on the way back all its consumers.
    #[test]
    fn forward_backward_passes_news_through_the_whole_graph_in_one_round(
        inputs in acyclic_inputs(12),
    ) {
        let graph = Dag::new(inputs).unwrap();
        let updates = one_by_one(&forward_backward().schedule(&graph, 1).unwrap());
        // heard[v]: the nodes whose first embedding has found its way into that of v.
        let mut heard: Vec<Vec<bool>> =
            (0..graph.len()).map(|v| (0..graph.len()).map(|u| u == v).collect()).collect();
        for (node, from) in updates {
            for from in from {
                let news = heard[from].clone();
                heard[node].iter_mut().zip(news).for_each(|(known, new)| *known |= new);
            }
        }
        for (node, known) in heard.iter().enumerate() {
            for (other, above) in graph.ancestors_of([node]).into_iter().enumerate() {
                prop_assert!(!above || known[other], "{node} has not heard of its ancestor {other}");
            }
            for (other, below) in graph.descendants_of([node]).into_iter().enumerate() {
                prop_assert!(!below || known[other], "{node} has not heard of its descendant {other}");
            }
        }
    }

    /// Nodes that share a step do not hear one another, so one node a step gives the same.
    #[test]
    fn nodes_of_one_forward_backward_step_do_not_hear_one_another(inputs in acyclic_inputs(12)) {
        let graph = Dag::new(inputs).unwrap();
        for step in &forward_backward().schedule(&graph, 1).unwrap().steps {
            let within = step.messages.iter().find(|(from, _)| step.updates.contains(from));
            prop_assert_eq!(within, None);
        }
    }

    #[test]
    fn rounds_repeat_the_first(inputs in acyclic_inputs(10), rounds in 0usize..5) {
        let graph = Dag::new(inputs).unwrap();
        for (id, propagator) in propagators() {
            let one = propagator.schedule(&graph, 1).unwrap().steps;
            let many = propagator.schedule(&graph, rounds).unwrap().steps;
            prop_assert_eq!(many, vec![one; rounds].concat(), "{}", id);
        }
    }
}
