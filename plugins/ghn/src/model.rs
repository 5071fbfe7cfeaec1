//! The GHN's parameters as dfdx tensors on one device, and its forward pass: embeddings, then the
//! hypernetwork (Eq. 8 to 11).
//!
//! A function that computes takes a tape and gives it back, so that one tape records everything
//! in order and nothing where the caller gives a `NoneTape`.

use std::cell::OnceCell;

use dfdx::prelude::*;

use crate::hypernetwork;
use crate::parameters::{Layer, ParameterId};
use crate::pass::{Pass, Values};
use crate::plan::Plan;
use crate::propagation;

/// A matrix on a device.
pub(crate) type Matrix<E, D> = Tensor<(usize, usize), E, D>;

/// A vector on a device.
pub(crate) type Vector<E, D> = Tensor<(usize,), E, D>;

/// What an operation gives: a result and the tape.
pub(crate) type Taped<X, T, D> = Result<(X, T), <D as HasErr>::Err>;

/// A parameter in host memory, and on the device once it is wanted there.
struct Leaf<E: Dtype, D: Device<E>> {
    values: Values<E>,
    tensor: OnceCell<Matrix<E, D>>,
}

impl<E: Dtype, D: Device<E>> Leaf<E, D> {
    /// The values on the device. The same tensor each time, so that it has one gradient.
    fn on(&self, device: &D) -> Result<Matrix<E, D>, D::Err> {
        if let Some(tensor) = self.tensor.get() {
            return Ok(tensor.clone());
        }
        let [rows, columns] = self.values.shape;
        let tensor = device.try_tensor_from_vec(self.values.data.to_vec(), (rows, columns))?;
        Ok(self.tensor.get_or_init(|| tensor).clone())
    }

    /// Adds what dfdx found for the values to `sum`.
    fn collect(&self, gradients: &mut Gradients<E, D>, sum: &mut [E]) -> Result<(), D::Err> {
        let Some(tensor) = self.tensor.get() else { return Ok(()) };
        gradients.try_alloc_for(tensor)?;
        let mut own = vec![E::default(); self.values.data.len()];
        gradients.get(tensor).copy_into(&mut own);
        for (sum, own) in sum.iter_mut().zip(own) {
            *sum += own;
        }
        Ok(())
    }
}

/// All parameters at one time, for one device.
pub(crate) struct Model<E: Dtype, D: Device<E>> {
    pub(crate) device: D,
    /// By [`ParameterId`].
    leaves: Vec<Leaf<E, D>>,
}

impl<E: Dtype, D: Device<E>> Model<E, D> {
    /// A model with these parameters, by [`ParameterId`].
    pub(crate) fn new(device: D, values: &[Values<E>]) -> Self {
        let leaf = |values: &Values<E>| Leaf { values: values.clone(), tensor: OnceCell::new() };
        Self { device, leaves: values.iter().map(leaf).collect() }
    }

    /// A parameter on the device.
    pub(crate) fn tensor(&self, id: ParameterId) -> Result<Matrix<E, D>, D::Err> {
        self.leaves[id.index()].on(&self.device)
    }

    /// A matrix of constants on the device.
    pub(crate) fn constant(
        &self,
        values: Vec<E>,
        shape: (usize, usize),
    ) -> Result<Matrix<E, D>, D::Err> {
        self.device.try_tensor_from_vec(values, shape)
    }

    /// x [n, in] times the layer's weight, plus its bias: [n, out].
    pub(crate) fn linear<T: Tape<E, D>>(
        &self,
        layer: Layer,
        x: Matrix<E, D>,
        tape: T,
    ) -> Taped<Matrix<E, D>, T, D> {
        let rows = x.shape().0;
        let weight = self.tensor(layer.weight)?.put_tape(tape);
        let (weight, tape) = weight.try_permute::<_, Axes2<1, 0>>()?.split_tape();
        let (product, tape) = x.put_tape(tape).try_matmul(weight)?.split_tape();
        // A column of ones times the bias repeats it in every row.
        let ones = self.constant(vec![E::ONE; rows], (rows, 1))?;
        let (bias, tape) = ones.put_tape(tape).try_matmul(self.tensor(layer.bias)?)?.split_tape();
        Ok(product.put_tape(tape).try_add(bias)?.split_tape())
    }

    /// Every branch's outputs, as [`Plan::outputs`] says.
    fn forward<T: Tape<E, D>>(&self, plan: &Plan, tape: T) -> Taped<Vec<Vector<E, D>>, T, D> {
        if plan.branches.is_empty() {
            return Ok((Vec::new(), tape));
        }
        // h: [nodes, hidden], features: [nodes, hypernetwork hidden]
        let (h, tape) = propagation::embed(self, plan, tape)?;
        let (features, tape) = self.linear(plan.shared.hypernetwork, h, tape)?;
        let (features, mut tape) = features.put_tape(tape).try_relu()?.split_tape();
        let mut outputs = Vec::with_capacity(plan.branches.len());
        for branch in &plan.branches {
            let output;
            (output, tape) = hypernetwork::branch(self, branch, features.clone(), tape)?;
            outputs.push(output);
        }
        Ok((outputs, tape))
    }

    /// Adds what dfdx found for parameters on the device to `sums`, by [`ParameterId`].
    pub(crate) fn collect(
        &self,
        gradients: &mut Gradients<E, D>,
        sums: &mut [Vec<E>],
    ) -> Result<(), D::Err> {
        self.leaves.iter().zip(sums).try_for_each(|(leaf, sum)| leaf.collect(gradients, sum))
    }
}

/// The embeddings of all nodes after propagation, row-major [nodes, hidden], by the values of
/// `pass`.
pub(crate) fn embed<E: Dtype, D: Device<E>>(
    device: D,
    plan: &Plan,
    pass: &Pass<E>,
) -> Result<Vec<E>, D::Err> {
    let (h, _) = propagation::embed(&Model::new(device, &pass.values), plan, NoneTape)?;
    Ok(h.as_vec())
}

/// Fills the outputs of `pass` from its values.
pub(crate) fn generate<E: Dtype, D: Device<E>>(
    device: D,
    plan: &Plan,
    pass: &mut Pass<E>,
) -> Result<(), D::Err> {
    let (outputs, _) = Model::new(device, &pass.values).forward(plan, NoneTape)?;
    pass.outputs.resize(plan.outputs, E::default());
    let mut rest = &mut pass.outputs[..];
    for (branch, output) in plan.branches.iter().zip(outputs) {
        let own;
        (own, rest) = rest.split_at_mut(branch.outputs());
        output.copy_into(own);
    }
    Ok(())
}

/// Adds the gradients of the sum of outputs times directions to `gradients`, by [`ParameterId`].
///
/// Records the forward pass anew: a tape of dfdx cannot move between threads, so a pass keeps
/// parameters instead, and an unused one costs no activations.
pub(crate) fn vjp<E: Dtype, D: Device<E>>(
    device: D,
    plan: &Plan,
    pass: &Pass<E>,
    gradients: &mut [Vec<E>],
) -> Result<(), D::Err> {
    let model = Model::new(device, &pass.values);
    let (outputs, mut tape) = model.forward(plan, OwnedTape::default())?;
    let mut loss = model.constant(vec![E::default()], (1, 1))?;
    let mut rest = &pass.directions[..];
    for (branch, output) in plan.branches.iter().zip(outputs) {
        // A product of vectors: dfdx multiplies matrices much faster than elements.
        let length = branch.outputs();
        let own;
        (own, rest) = rest.split_at(length);
        let direction = model.constant(own.to_vec(), (length, 1))?;
        let output = output.put_tape(tape).try_reshape_like(&(1, length))?;
        let term;
        (term, tape) = output.try_matmul(direction)?.split_tape();
        (loss, tape) = loss.put_tape(tape).try_add(term)?.split_tape();
    }
    let loss = loss.put_tape(tape).try_reshape_like(&())?;
    model.collect(&mut loss.try_backward()?, gradients)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ghnas_core::{Network, Phase, Propagator};

    use super::*;
    use crate::{ForwardBackward, Synchronous, test_networks};

    /// The sum of outputs times directions.
    fn along(plan: &Plan, values: Vec<Values<f64>>) -> f64 {
        let mut pass = Pass { values, ..Pass::default() };
        generate(Cpu::default(), plan, &mut pass).unwrap();
        let directions: Vec<f64> = test_networks::direction(plan.outputs);
        pass.outputs.iter().zip(directions).map(|(output, direction)| output * direction).sum()
    }

    /// Compares gradients with central differences of the composed outputs, for every `every`-th
    /// value.
    #[track_caller]
    fn check_vjp(network: &Network, propagator: &dyn Propagator, every: usize) {
        let (plan, parameters) = test_networks::plan(network, propagator);
        let values = test_networks::values::<f64>(&parameters);
        let gradients = [true, false]
            .map(|composed| test_networks::differentiate(composed, 2, &plan, &values).1);
        let mut checked = 0;
        for (index, parameter) in parameters.iter().enumerate() {
            let found = gradients.each_ref().map(|gradients| &gradients[index]);
            let scale = found[0].iter().fold(1e-3f64, |most, x| most.max(x.abs()));
            for at in (index % every..found[0].len()).step_by(every) {
                let shifted = |shift: f64| {
                    let mut moved = values.clone();
                    Arc::make_mut(&mut moved[index].data)[at] += shift;
                    along(&plan, moved)
                };
                let slope = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                let name = &parameter.name;
                for gradient in found {
                    let error = (slope - gradient[at]).abs();
                    assert!(error < 1e-6 * scale, "{name}[{at}]: {slope} {}", gradient[at]);
                }
                checked += usize::from(slope != 0.0);
            }
        }
        assert!(checked > parameters.count() / every / 4, "{checked} slopes were not zero");
    }

    #[test]
    fn vjp_is_the_central_difference_of_forward_backward() {
        check_vjp(&test_networks::small(), &ForwardBackward::default(), 7);
    }

    #[test]
    fn vjp_is_the_central_difference_of_synchronous_propagation() {
        check_vjp(&test_networks::small(), &Synchronous::default(), 13);
    }

    #[test]
    fn vjp_is_the_central_difference_on_a_cell_network() {
        check_vjp(&test_networks::cell(Phase::Train, 3), &ForwardBackward::default(), 997);
    }
}
