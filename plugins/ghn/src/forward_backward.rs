//! Forward-backward schedule: nodes update in the order of a forward pass of the network, then in
//! that of its backward pass (section 4.4, Eq. 15).

use ghnas_core::registry::{BuildContext, default_preset, from_settings};
use ghnas_core::{
    Dag, Factory, Preset, Propagator, Registration, Schedule, ScheduleError, ScheduleStep,
    Settings, inventory,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

inventory::submit! {
    Registration {
        id: "forward-backward",
        summary: "nodes update one after the other, forwards and back (Eq. 15)",
        source: env!("CARGO_PKG_NAME"),
        presets,
        factory: Factory::Propagator(build),
    }
}

fn presets() -> Vec<Preset> {
    default_preset(&ForwardBackward::default())
}

fn build(settings: &Settings, _: &BuildContext<'_>) -> Result<Arc<dyn Propagator>, String> {
    Ok(Arc::new(from_settings::<ForwardBackward>(settings)?))
}

/// One round is 2|V| - 1 updates: every node in topological order hears its inputs, then every
/// node but the last, in reverse, hears its consumers.
///
/// Nodes that do not depend on one another within a pass share a step, which gives the same
/// embeddings as one node a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardBackward {}

impl Propagator for ForwardBackward {
    fn schedule(&self, graph: &Dag, rounds: usize) -> Result<Schedule, ScheduleError> {
        let order = graph.topological_order();
        let forward = pass(order, |node| graph.inputs(node));
        // The last node has just heard its inputs and starts the way back without an update.
        let but_last = &order[..order.len().saturating_sub(1)];
        let reversed: Vec<usize> = but_last.iter().rev().copied().collect();
        let backward = pass(&reversed, |node| graph.consumers(node));
        let round: Vec<ScheduleStep> = forward.into_iter().chain(backward).collect();
        let steps = round.len() * rounds;
        Ok(Schedule { steps: round.into_iter().cycle().take(steps).collect() })
    }
}

/// The steps of one pass over `order`: a node's step is behind those of all that it hears.
fn pass<'a>(order: &[usize], heard: impl Fn(usize) -> &'a [usize]) -> Vec<ScheduleStep> {
    let size = order.iter().map(|&node| node + 1).max().unwrap_or(0);
    let mut level: Vec<Option<usize>> = vec![None; size];
    let mut steps: Vec<ScheduleStep> = Vec::new();
    for &node in order {
        // A node outside the order keeps its embedding throughout the pass.
        let behind = |&from: &usize| level.get(from).copied().flatten().map(|level| level + 1);
        let own = heard(node).iter().filter_map(behind).max().unwrap_or(0);
        level[node] = Some(own);
        if own == steps.len() {
            steps.push(ScheduleStep { updates: Vec::new(), messages: Vec::new() });
        }
        steps[own].updates.push(node);
        steps[own].messages.extend(heard(node).iter().map(|&from| (from, node)));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(inputs: Vec<Vec<usize>>, expect: &[&[usize]]) {
        let graph = Dag::new(inputs).unwrap();
        let schedule = ForwardBackward::default().schedule(&graph, 1).unwrap();
        schedule.validate(&graph).unwrap();
        let updates: Vec<_> = schedule.steps.iter().map(|step| &step.updates[..]).collect();
        assert_eq!(updates, expect);
        assert_eq!(schedule.update_count(), 2 * graph.len() - 1);
    }

    #[test]
    fn a_chain_has_no_two_nodes_in_a_step() {
        check(vec![vec![], vec![0], vec![1]], &[&[0], &[1], &[2], &[1], &[0]]);
    }

    #[test]
    fn a_diamond_updates_its_branches_together() {
        let diamond = vec![vec![], vec![0], vec![0], vec![1, 2]];
        check(diamond, &[&[0], &[1, 2], &[3], &[2, 1], &[0]]);
    }

    #[test]
    fn a_leaf_that_is_not_last_updates_on_the_way_back() {
        check(vec![vec![], vec![0], vec![0]], &[&[0], &[1, 2], &[1], &[0]]);
    }

    #[test]
    fn one_node_updates_once_and_no_node_never() {
        check(vec![vec![]], &[&[0]]);
        let empty = Dag::new(vec![]).unwrap();
        assert!(ForwardBackward::default().schedule(&empty, 3).unwrap().steps.is_empty());
    }

    #[test]
    fn rounds_follow_one_another() {
        let graph = Dag::new(vec![vec![], vec![0], vec![1]]).unwrap();
        let one = ForwardBackward::default().schedule(&graph, 1).unwrap();
        let two = ForwardBackward::default().schedule(&graph, 2).unwrap();
        assert_eq!(two.steps, [one.steps.clone(), one.steps].concat());
    }
}
