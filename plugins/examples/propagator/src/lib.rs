//! A propagator: every node hears its inputs, in the order of a forward pass.

use ghnas_plugin_sdk::prelude::*;

/// A forward pass.
pub struct Forward;

impl Propagator for Forward {
    fn schedule(&self, graph: &Dag, rounds: usize) -> Result<Schedule, ScheduleError> {
        let step = |&node: &usize| ScheduleStep {
            updates: vec![node],
            messages: graph.inputs(node).iter().map(|&from| (from, node)).collect(),
        };
        let round: Vec<ScheduleStep> = graph.topological_order().iter().map(step).collect();
        let steps = round.len() * rounds;
        Ok(Schedule { steps: round.into_iter().cycle().take(steps).collect() })
    }
}

register!(Propagator for Forward, "example-propagator", "inputs only, in topological order", |_| Ok(Forward));
export_plugin!();
