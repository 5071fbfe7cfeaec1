//! The Graph HyperNetwork (Zhang, Ren, Urtasun 2019) on dfdx, and both propagation schemes of the
//! paper, registered with ghnas-core.
//!
//! A graph neural network walks the modules of a network and gives every node an embedding; a
//! hypernetwork makes the node's parameters from it. The network that gets the weights is never
//! run here.

mod forward_backward;
mod synchronous;

mod settings;

mod ghn;
mod plan;
mod plans;

mod kernels;
mod model;
mod pass;

mod gru;
mod hypernetwork;
mod message;
mod propagation;

mod host;
mod simd;
mod threads;

mod adam;
mod parameters;
mod state;

#[cfg(test)]
mod test_networks;

use std::sync::Arc;

use ghnas_core::registry::{BuildContext, from_settings};
use ghnas_core::{
    Device, Factory, Propagator, Registration, RegistryError, Settings, WeightGenerator, inventory,
};
use ghnas_dfdx_device::cpu;

pub use forward_backward::ForwardBackward;
pub use settings::GhnSettings;
pub use synchronous::{Neighbours, Synchronous};

use crate::ghn::Ghn;
use crate::threads::Threads;

/// The id of the generator.
pub const ID: &str = "ghn";

inventory::submit! {
    Registration {
        id: ID,
        summary: "graph hypernetwork: weights from the computation graph (Zhang, Ren, Urtasun 2019)",
        source: env!("CARGO_PKG_NAME"),
        presets: settings::presets,
        factory: Factory::WeightGenerator(build),
    }
}

fn build(
    settings: &Settings,
    context: &BuildContext<'_>,
) -> Result<Box<dyn WeightGenerator>, String> {
    let settings: GhnSettings = from_settings(settings)?;
    settings.validate()?;
    let propagator =
        build_propagator(&settings, context).map_err(|error| format!("propagator: {error}"))?;
    let threads = Threads::new(context.threads)?;
    match context.device {
        Device::Cpu => Ok(Box::new(Ghn::new(cpu(), threads, settings, propagator, context.seed))),
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => {
            let open = ghnas_dfdx_device::cuda(ordinal)?;
            Ok(Box::new(Ghn::new(open, threads, settings, propagator, context.seed)))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(ghnas_dfdx_device::NO_CUDA.into()),
    }
}

/// The propagation scheme that `settings` names; its default preset gives what they leave out.
fn build_propagator(
    settings: &GhnSettings,
    context: &BuildContext<'_>,
) -> Result<Arc<dyn Propagator>, RegistryError> {
    let propagators = &context.catalogue.propagators;
    let mut own = propagators.get(&settings.propagator)?.default_settings();
    own.extend(settings.propagator_settings.clone());
    propagators.build(&settings.propagator, &own, context)
}
