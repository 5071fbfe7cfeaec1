//! The parameters that SMASH learns directly: all but the 1x1 convolutions.
//!
//! A module has one tensor for each kind of parameter, and all of its nodes share it; smaller
//! kernels are slices of the largest one of the kind (Brock et al., 2018; `W` of the authors' code).
//! What reads the leaves of an earlier module has a tensor for each leaf, as the authors' output
//! layer has columns for each bank.

use ghnas_bank::Slot;
use ghnas_plugin_sdk::prelude::*;

use crate::memory::generated;

/// The tensors of all parameters of `network` that are learned directly.
///
/// # Errors
/// Names the parameter that cannot be cut.
pub(crate) fn slots(network: &Network) -> Result<Vec<Slot>, GeneratorError> {
    let named =
        |spec: &ParamSpec| format!("{}.{}", network.modules()[spec.node.module].name, spec.kind);
    let mut all = Vec::new();
    for step in network.steps().iter().filter(|step| generated(&step.primitive).is_none()) {
        all.extend(Slot::all(network, step, named, stored)?);
    }
    Ok(all)
}

/// The shape that is stored for a parameter: of the kind's largest kernel, at the width at hand.
fn stored(spec: &ParamSpec) -> Vec<usize> {
    let channels = spec.shape.iter().take(2);
    channels.chain(spec.largest.iter().skip(2)).copied().collect()
}
