//! Searchers at the boundary: commands and outcomes as data, state as bytes.

use std::sync::{Mutex, PoisonError};

use ghnas_core::{BuildContext, Factory, Outcome, Registration, Searcher, Settings};
use ghnas_plugin_messages::{Reported, Suggest, method};

use crate::shim::{Failure, Kind, read, write};

pub(crate) struct Proposals(Mutex<Box<dyn Searcher>>);

impl Kind for Proposals {
    fn create(
        registration: &Registration,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<Self, String> {
        match registration.factory {
            Factory::Searcher(build) => Ok(Self(Mutex::new(build(settings, context)?))),
            _ => Err("not a searcher".into()),
        }
    }

    fn call(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        // After a panic the host calls no more, so nobody sees the broken state.
        let mut searcher = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match method {
            method::SUGGEST => {
                let Suggest { n } = read(request)?;
                write(&searcher.suggest(n).map_err(|error| Failure::Refused(error.0))?)
            }
            method::REPORT => {
                let reported: Vec<Reported> = read(request)?;
                let outcomes: Vec<Outcome> = reported.into_iter().map(Outcome::from).collect();
                write(&searcher.report(&outcomes).map_err(|error| Failure::Refused(error.0))?)
            }
            method::SAVE => searcher.save().map_err(|error| Failure::Refused(error.0)),
            method::LOAD => {
                searcher.load(request).map_err(|error| Failure::Refused(error.0))?;
                Ok(Vec::new())
            }
            _ => Err(Failure::UnknownMethod),
        }
    }
}
