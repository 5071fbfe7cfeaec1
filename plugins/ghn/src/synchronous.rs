//! Synchronous schedule: every node updates at once from its neighbours (section 3, Eq. 3 and 4).

use ghnas_core::registry::{BuildContext, default_preset, from_settings};
use ghnas_core::{
    Dag, Factory, Preset, Propagator, Registration, Schedule, ScheduleError, ScheduleStep,
    Settings, inventory,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

inventory::submit! {
    Registration {
        id: "synchronous",
        summary: "all nodes update at once, one step a round (Eq. 3 and 4)",
        source: env!("CARGO_PKG_NAME"),
        presets,
        factory: Factory::Propagator(build),
    }
}

fn presets() -> Vec<Preset> {
    default_preset(&Synchronous::default())
}

fn build(settings: &Settings, _: &BuildContext<'_>) -> Result<Arc<dyn Propagator>, String> {
    Ok(Arc::new(from_settings::<Synchronous>(settings)?))
}

/// Which neighbours a node hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Neighbours {
    /// Those with edges pointing towards it: its inputs, as Eq. 4 has it.
    #[default]
    Inputs,
    /// Its inputs and its consumers.
    Both,
}

/// One round is one step in which every node updates from the embeddings before the step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synchronous {
    /// Which neighbours a node hears.
    pub neighbours: Neighbours,
}

impl Propagator for Synchronous {
    fn schedule(&self, graph: &Dag, rounds: usize) -> Result<Schedule, ScheduleError> {
        let heard = |node: usize| {
            let consumers: &[usize] = match self.neighbours {
                Neighbours::Inputs => &[],
                Neighbours::Both => graph.consumers(node),
            };
            graph.inputs(node).iter().chain(consumers).map(move |&from| (from, node))
        };
        let step = ScheduleStep {
            updates: (0..graph.len()).collect(),
            messages: (0..graph.len()).flat_map(heard).collect(),
        };
        Ok(Schedule { steps: vec![step; rounds] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_hears_its_inputs_only() {
        let graph = Dag::new(vec![vec![], vec![0], vec![0, 1]]).unwrap();
        let schedule = Synchronous::default().schedule(&graph, 2).unwrap();
        schedule.validate(&graph).unwrap();
        assert_eq!(schedule.update_count(), 6);
        assert_eq!(schedule.steps[1].messages, [(0, 1), (0, 2), (1, 2)]);
    }

    #[test]
    fn both_directions_double_the_messages() {
        let graph = Dag::new(vec![vec![], vec![0], vec![0, 1]]).unwrap();
        let schedule = Synchronous { neighbours: Neighbours::Both }.schedule(&graph, 1).unwrap();
        schedule.validate(&graph).unwrap();
        assert_eq!(schedule.steps[0].messages.len(), 6);
    }
}
