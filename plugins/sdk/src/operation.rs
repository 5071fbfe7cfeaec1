//! Operations at the boundary: recorded as fragments, which the host writes into its networks.

use std::sync::Arc;

use ghnas_core::{BuildContext, Factory, Fragment, Operation, Registration, Settings};
use ghnas_plugin_messages::{Expand, method};

use crate::shim::{Failure, Kind, read, write};

pub(crate) struct Expansion(Arc<dyn Operation>);

impl Kind for Expansion {
    fn create(
        registration: &Registration,
        settings: &Settings,
        context: &BuildContext<'_>,
    ) -> Result<Self, String> {
        match registration.factory {
            Factory::Operation(build) => Ok(Self(build(settings, context)?)),
            _ => Err("not an operation".into()),
        }
    }

    fn call(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
        match method {
            method::EXPAND => {
                let request: Expand = read(request)?;
                let fragment = Fragment::record(&*self.0, &request.inputs, request.context());
                write(&fragment.map_err(Failure::refused)?)
            }
            _ => Err(Failure::UnknownMethod),
        }
    }
}
