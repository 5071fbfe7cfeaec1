//! A plugin's propagator: a schedule as data, checked against the graph.

use ghnas_core::{Dag, Propagator, Schedule, ScheduleError};
use ghnas_plugin_messages::{ScheduleOf, method};

use crate::instance::{CallError, Instance};
use crate::stateless::Stateless;

pub(crate) struct PluginPropagator {
    instance: Stateless,
}

impl PluginPropagator {
    pub(crate) fn new(instance: Instance) -> Self {
        Self { instance: Stateless::new(instance) }
    }
}

impl Propagator for PluginPropagator {
    fn schedule(&self, graph: &Dag, rounds: usize) -> Result<Schedule, ScheduleError> {
        let words = |error: CallError| ScheduleError::Other(error.to_string());
        let inputs = (0..graph.len()).map(|node| graph.inputs(node).to_vec()).collect();
        let request = ScheduleOf { inputs, rounds, handle: None };
        let schedule: Schedule = self.instance.call(method::SCHEDULE, &request).map_err(words)?;
        match schedule.validate(graph) {
            Ok(()) => Ok(schedule),
            Err(error) => Err(words(self.instance.fault(method::SCHEDULE, error.to_string()))),
        }
    }
}
