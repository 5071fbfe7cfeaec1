//! Which tensors of a bank a network's parameters are, and where each lies in its parameter.

use ghnas_core::{
    GeneratorError, Network, ParamId, ParamSpec, Slicing, SlicingError, Step, Weights,
};

use crate::parts::{Columns, parts};
use crate::{Bank, Init, Version};

/// A tensor, and what it is of a network's parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// The parameter.
    pub param: ParamId,
    /// The tensor's name.
    pub tensor: String,
    shape: Vec<usize>,
    init: Init,
    place: Place,
}

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// These columns of the parameter are the tensor.
    Columns(Columns),
    /// The parameter is this slice of the tensor.
    Slice(Slicing),
}

impl Slot {
    /// The tensors of all parameters that `step` reads. What reads the joined leaves of an earlier
    /// module has a tensor for each of them; any other parameter has one, of the shape that
    /// `stored` gives, and is a slice of it. Names begin with what `named` gives, and end with the
    /// shape: a parameter whose shape differs from architecture to architecture has a tensor for
    /// each.
    ///
    /// # Errors
    /// Names the parameter that cannot be cut from what is stored.
    pub fn all(
        network: &Network,
        step: &Step,
        named: impl Fn(&ParamSpec) -> String,
        stored: impl Fn(&ParamSpec) -> Vec<usize>,
    ) -> Result<Vec<Self>, GeneratorError> {
        let mut slots = Vec::new();
        let mut parts = parts(network, step);
        for param in step.primitive.params() {
            let spec = &network.params()[param.index()];
            let slot = |name: String, shape: Vec<usize>, place| {
                let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
                // Of the tensor alone: neither what else is joined nor which slice is asked for
                // first may change what it starts from.
                let init = Init { role: spec.role, fan_in: shape[1..].iter().product() };
                Self { param, tensor: format!("{name}.{}", sides.join("x")), shape, init, place }
            };
            let name = named(spec);
            // The first parameter of a step that has parts is its kernel or matrix.
            let Some(parts) = parts.take() else {
                let shape = stored(spec);
                let place = place(spec, &shape)?;
                slots.push(slot(name, shape, place));
                continue;
            };
            for part in parts {
                let from = &network.modules()[part.from.module].name;
                let name = format!("{name}.{from}.node{}", part.from.node);
                slots.push(slot(name, part.shape, Place::Columns(part.columns)));
            }
        }
        Ok(slots)
    }

    /// Writes the tensor to its place in `weights`, drawing it where it is new.
    ///
    /// # Errors
    /// As [`Bank::values`].
    pub fn write(
        &self,
        version: Version,
        bank: &mut Bank,
        weights: &mut Weights,
    ) -> Result<(), GeneratorError> {
        let values = bank.values(version, &self.tensor, &self.shape, self.init)?;
        let parameter = weights.get_mut(self.param);
        match &self.place {
            Place::Columns(columns) => columns.write(values, parameter),
            Place::Slice(slicing) => slicing.cut(values, parameter),
        }
        Ok(())
    }

    /// Adds the gradient at its place to the tensor's: the adjoint of [`write`](Self::write).
    ///
    /// # Panics
    /// Where the tensor was not written before.
    pub fn add_gradient(&self, gradients: &Weights, bank: &mut Bank) {
        let sum = bank.gradient_mut(&self.tensor).expect("drawn when it was written");
        let gradient = gradients.get(self.param);
        match &self.place {
            Place::Columns(columns) => columns.add_gradient(gradient, sum),
            Place::Slice(slicing) => slicing.add_gradient(gradient, sum),
        }
    }
}

/// Where a tensor of this shape lies in the one parameter that reads it.
fn place(spec: &ParamSpec, shape: &[usize]) -> Result<Place, GeneratorError> {
    if shape == spec.shape {
        return Ok(Place::Columns(Columns::all(shape)));
    }
    let refuse = |error: SlicingError| GeneratorError::Param {
        param: spec.name.clone(),
        reason: error.to_string(),
    };
    Slicing::new(shape, &spec.shape).map(Place::Slice).map_err(refuse)
}
