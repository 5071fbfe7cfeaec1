//! The GHN's parameters as dfdx tensors on one device, and its forward pass: embeddings, then the
//! hypernetwork (Eq. 8 to 11).
//!
//! A function that computes takes a tape and gives it back, so that one tape records everything
//! in order and nothing where the caller gives a `NoneTape`.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use dfdx::prelude::*;

use crate::kernels::Kernels;
use crate::parameters::{Layer, ParameterId};
use crate::plan::Plan;

/// A matrix on a device.
pub(crate) type Matrix<E, D> = Tensor<(usize, usize), E, D>;

/// A vector on a device.
pub(crate) type Vector<E, D> = Tensor<(usize,), E, D>;

/// What an operation gives: a result and the tape.
pub(crate) type Taped<X, T, D> = Result<(X, T), <D as HasErr>::Err>;

/// The gradient of a parameter, row-major, where backward passes add theirs.
pub(crate) type GradientSum<E> = Rc<RefCell<Vec<E>>>;

/// A parameter in host memory, and on the device once it is wanted there.
pub(crate) struct Leaf<E: Dtype, D: Device<E>> {
    shape: [usize; 2],
    /// Row-major.
    pub(crate) values: Arc<Vec<E>>,
    pub(crate) gradient: GradientSum<E>,
    tensor: OnceCell<Matrix<E, D>>,
}

impl<E: Dtype, D: Device<E>> Leaf<E, D> {
    /// A parameter with row-major values of `shape`. A gradient is added to `gradient`, which may
    /// be empty where none is wanted.
    pub(crate) fn new(shape: [usize; 2], values: Arc<Vec<E>>, gradient: Vec<E>) -> Self {
        let gradient = Rc::new(RefCell::new(gradient));
        Self { shape, values, gradient, tensor: OnceCell::new() }
    }

    /// The values on the device. The same tensor each time, so that it has one gradient.
    fn on(&self, device: &D) -> Result<Matrix<E, D>, D::Err> {
        if let Some(tensor) = self.tensor.get() {
            return Ok(tensor.clone());
        }
        let [rows, columns] = self.shape;
        let tensor = device.try_tensor_from_vec(self.values.to_vec(), (rows, columns))?;
        Ok(self.tensor.get_or_init(|| tensor).clone())
    }

    /// Adds what dfdx found for the values on the device. Kernels that read the host's values have
    /// added theirs themselves.
    fn collect(&self, gradients: &mut Gradients<E, D>) -> Result<(), D::Err> {
        let Some(tensor) = self.tensor.get() else { return Ok(()) };
        gradients.try_alloc_for(tensor)?;
        let mut own = vec![E::default(); self.values.len()];
        gradients.get(tensor).copy_into(&mut own);
        for (sum, own) in self.gradient.borrow_mut().iter_mut().zip(own) {
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

impl<E: Dtype, D: Kernels<E>> Model<E, D> {
    /// A model with these parameters, by [`ParameterId`].
    pub(crate) fn new(device: D, leaves: Vec<Leaf<E, D>>) -> Self {
        Self { device, leaves }
    }

    /// A parameter.
    pub(crate) fn leaf(&self, id: ParameterId) -> &Leaf<E, D> {
        &self.leaves[id.index()]
    }

    /// All parameters, by [`ParameterId`].
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Leaf<E, D>> {
        self.leaves.iter()
    }

    /// A parameter on the device.
    pub(crate) fn tensor(&self, id: ParameterId) -> Result<Matrix<E, D>, D::Err> {
        self.leaf(id).on(&self.device)
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

    /// Every branch's cuts, one after the other.
    pub(crate) fn forward<T: Tape<E, D>>(
        &self,
        plan: &Arc<Plan>,
        tape: T,
    ) -> Taped<Vec<Vector<E, D>>, T, D> {
        if plan.branches.is_empty() {
            return Ok((Vec::new(), tape));
        }
        // h: [nodes, hidden], features: [nodes, hypernetwork hidden]
        let (h, tape) = D::embed(self, plan, tape)?;
        let (features, tape) = self.linear(plan.shared.hypernetwork, h, tape)?;
        let (features, mut tape) = features.put_tape(tape).try_relu()?.split_tape();
        let mut outputs = Vec::with_capacity(plan.branches.len());
        for branch in 0..plan.branches.len() {
            let output;
            (output, tape) = D::branch(self, plan, branch, features.clone(), tape)?;
            outputs.push(output);
        }
        Ok((outputs, tape))
    }

    /// Adds the gradients of the sum of outputs times `directions`, one vector a branch, to those
    /// of the leaves.
    ///
    /// Records the forward pass anew: a dfdx tape cannot move between threads, so a ticket keeps
    /// parameters instead, and an unused one costs no activations.
    pub(crate) fn vjp(&self, plan: &Arc<Plan>, directions: Vec<Vec<E>>) -> Result<(), D::Err> {
        let (outputs, mut tape) = self.forward(plan, OwnedTape::default())?;
        let mut loss = self.constant(vec![E::default()], (1, 1))?;
        for (output, direction) in outputs.into_iter().zip(directions) {
            // A product of vectors: dfdx multiplies matrices much faster than elements.
            let length = direction.len();
            let direction = self.constant(direction, (length, 1))?;
            let output = output.put_tape(tape).try_reshape_like(&(1, length))?;
            let term;
            (term, tape) = output.try_matmul(direction)?.split_tape();
            (loss, tape) = loss.put_tape(tape).try_add(term)?.split_tape();
        }
        let loss = loss.put_tape(tape).try_reshape_like(&())?;
        self.collect(&mut loss.try_backward()?)
    }

    /// Adds what dfdx found for parameters on the device to the leaves' gradients.
    pub(crate) fn collect(&self, gradients: &mut Gradients<E, D>) -> Result<(), D::Err> {
        self.leaves().try_for_each(|leaf| leaf.collect(gradients))
    }

    /// The sums of gradients, by [`ParameterId`].
    pub(crate) fn into_gradients(self) -> impl Iterator<Item = Vec<E>> {
        self.leaves.into_iter().map(|leaf| leaf.gradient.take())
    }
}

#[cfg(test)]
mod tests {
    use ghnas_core::{Phase, Propagator};

    use super::*;
    use crate::parameters::Parameters;
    use crate::{ForwardBackward, Synchronous, test_networks};

    fn model(values: &[Vec<f64>], parameters: &Parameters) -> Model<f64, Cpu> {
        let leaf = |(values, parameter): (&Vec<f64>, &crate::parameters::Parameter)| {
            Leaf::new(parameter.shape, Arc::new(values.clone()), vec![0.0; values.len()])
        };
        Model::new(Cpu::default(), values.iter().zip(parameters.iter()).map(leaf).collect())
    }

    fn outputs(model: &Model<f64, Cpu>, plan: &Arc<Plan>) -> Vec<Vec<f64>> {
        let (outputs, _) = model.forward(plan, NoneTape).unwrap();
        outputs.iter().map(|output| output.as_vec()).collect()
    }

    #[track_caller]
    fn check_vjp(network: &ghnas_core::Network, propagator: &dyn Propagator, every: usize) {
        let (plan, parameters) = test_networks::plan(network, propagator);
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let values: Vec<Vec<f64>> = parameters.iter().map(|p| wide(&p.values)).collect();
        // Any direction will do: that of the outputs, turned a little.
        let own = model(&values, &parameters);
        let turn = |output: Vec<f64>| {
            output.iter().enumerate().map(|(at, x)| x + (at as f64).sin()).collect::<Vec<_>>()
        };
        let direction: Vec<Vec<f64>> = outputs(&own, &plan).into_iter().map(turn).collect();
        own.vjp(&plan, direction.clone()).unwrap();
        let along = |values: &[Vec<f64>]| {
            let outputs = outputs(&model(values, &parameters), &plan);
            let pairs = outputs.iter().flatten().zip(direction.iter().flatten());
            pairs.map(|(output, direction)| output * direction).sum::<f64>()
        };
        let mut checked = 0;
        for (index, parameter) in parameters.iter().enumerate() {
            let gradient = own.leaves[index].gradient.borrow();
            let scale = gradient.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
            for at in (index % every..gradient.len()).step_by(every) {
                let shifted = |shift: f64| {
                    let mut moved = values.clone();
                    moved[index][at] += shift;
                    along(&moved)
                };
                let slope = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                let error = (slope - gradient[at]).abs();
                let name = &parameter.name;
                assert!(error < 1e-6 * scale, "{name}[{at}]: {slope} {}", gradient[at]);
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
