//! The parameters that SMASH learns directly: all but the 1x1 convolutions.
//!
//! A module has one tensor for each kind of parameter, and all of its nodes share it; smaller
//! kernels are slices of the largest one of the kind (Brock et al., 2018; `W` of the authors' code).
//! What reads the leaves of an earlier module has a tensor for each leaf, as the authors' output
//! layer has columns for each bank.

use ghnas_bank::{Bank, Columns, Init, parts};
use ghnas_plugin_sdk::prelude::*;

use crate::memory::generated;

/// A tensor that is learned directly, and what it is of a network's parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Direct {
    param: ParamId,
    tensor: String,
    shape: Vec<usize>,
    init: Init,
    place: Place,
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// These columns of the parameter are the tensor.
    Columns(Columns),
    /// The parameter is this slice of the tensor.
    Slice(Slicing),
}

impl Direct {
    /// The tensors of all parameters of `network` that are learned directly.
    ///
    /// # Errors
    /// Names the parameter that cannot be cut.
    pub(crate) fn all(network: &Network) -> Result<Vec<Self>, GeneratorError> {
        let mut all = Vec::new();
        for step in network.steps() {
            if generated(&step.primitive).is_some() {
                continue;
            }
            let mut parts = parts(network, step);
            for param in step.primitive.params() {
                let spec = &network.params()[param.index()];
                let module = &network.modules()[spec.node.module].name;
                let tensor = format!("{module}.{}", spec.kind);
                let direct = |tensor: String, shape: Vec<usize>, place| {
                    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
                    let tensor = format!("{tensor}.{}", sides.join("x"));
                    // Of the tensor alone: it must not matter which slice is asked for first.
                    let init = Init { role: spec.role, fan_in: shape[1..].iter().product() };
                    Self { param, tensor, shape, init, place }
                };
                // The first parameter of such a step is its kernel or matrix.
                let Some(parts) = parts.take() else {
                    let shape = stored(spec);
                    let refuse = |error: SlicingError| GeneratorError::Param {
                        param: spec.name.clone(),
                        reason: error.to_string(),
                    };
                    let slicing = Slicing::new(&shape, &spec.shape).map_err(refuse)?;
                    all.push(direct(tensor, shape, Place::Slice(slicing)));
                    continue;
                };
                for part in parts {
                    let from = &network.modules()[part.from.module].name;
                    let tensor = format!("{tensor}.{from}.node{}", part.from.node);
                    all.push(direct(tensor, part.shape, Place::Columns(part.columns)));
                }
            }
        }
        Ok(all)
    }

    /// Writes the tensor to its parameter in `weights`, drawing it where it is new.
    pub(crate) fn write(
        &self,
        bank: &mut Bank,
        weights: &mut Weights,
    ) -> Result<(), GeneratorError> {
        let values = bank.values(&self.tensor, &self.shape, self.init)?;
        let parameter = weights.get_mut(self.param);
        match &self.place {
            Place::Columns(columns) => columns.write(values, parameter),
            Place::Slice(slicing) => slicing.cut(values, parameter),
        }
        Ok(())
    }

    /// Adds the parameter's gradient to the tensor's: the adjoint of [`write`](Self::write).
    pub(crate) fn add_gradient(&self, gradients: &Weights, bank: &mut Bank) {
        let sum = bank.gradient_mut(&self.tensor).expect("drawn when it was written");
        let gradient = gradients.get(self.param);
        match &self.place {
            Place::Columns(columns) => columns.add_gradient(gradient, sum),
            Place::Slice(slicing) => slicing.add_gradient(gradient, sum),
        }
    }
}

/// The shape that is stored for a parameter: of the kind's largest kernel, at the width at hand.
fn stored(spec: &ParamSpec) -> Vec<usize> {
    let channels = spec.shape.iter().take(2);
    channels.chain(spec.largest.iter().skip(2)).copied().collect()
}
