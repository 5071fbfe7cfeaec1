//! Propagators at the boundary: schedules as data.

use std::sync::Arc;

use ghnas_core::{BuildContext, Dag, Factory, Propagator, Registration, Settings};
use ghnas_plugin_messages::{ScheduleOf, method};

use crate::shim::{Failure, Kind, read, write};

pub(crate) struct Scheme(Arc<dyn Propagator>);

impl Kind for Scheme {
    fn create(
        registration: &Registration,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<Self, String> {
        match registration.factory {
            Factory::Propagator(build) => Ok(Self(build(settings, context)?)),
            _ => Err("not a propagator".into()),
        }
    }

    fn call(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        match method {
            method::SCHEDULE => {
                let ScheduleOf { inputs, rounds, .. } = read(request)?;
                let graph =
                    Dag::new(inputs).map_err(|error| Failure::Malformed(error.to_string()))?;
                write(&self.0.schedule(&graph, rounds).map_err(Failure::refused)?)
            }
            _ => Err(Failure::UnknownMethod),
        }
    }
}
