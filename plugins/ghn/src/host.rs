//! Kernels for the device whose memory is the host's: dfdx operations of our own, each with its
//! backward pass on the tape.

mod affine;
mod cuts;
mod gnn;

use std::sync::Arc;

use dfdx::prelude::*;

use crate::kernels::Kernels;
use crate::model::{Matrix, Model, Taped, Vector};
use crate::parameters::{Layer, Shared};
use crate::plan::Plan;
use crate::simd::{Real, dispatch};

use affine::Affine;
use gnn::{Gnn, Record};

impl<E: Real> Kernels<E> for Cpu
where
    Cpu: Device<E>,
{
    fn embed<T: Tape<E, Self>>(
        model: &Model<E, Self>,
        plan: &Arc<Plan>,
        mut tape: T,
    ) -> Taped<Matrix<E, Self>, T, Self> {
        let Shared { message: [message0, message1], gru_input, gru_state, .. } = plan.shared;
        let layers = [message0, message1, gru_input, gru_state];
        let gnn = Gnn {
            message: [affine(model, message0), affine(model, message1)],
            gru_input: affine(model, gru_input),
            gru_state: affine(model, gru_state),
        };
        let rows = plan.embeddings.iter().flat_map(|&id| model.leaf(id).values().iter().copied());
        let embeddings: Vec<E> = rows.collect();
        let mut record = Record::default();
        let h = dispatch(gnn::Forward {
            gnn: &gnn,
            plan,
            embeddings: &embeddings,
            record: T::OWNS_TAPE.then_some(&mut record),
        });
        let hidden = gnn.gru_state.inputs();
        let h = model.constant(h, (plan.nodes, hidden))?;
        if T::OWNS_TAPE {
            let parameters = layers.iter().flat_map(|layer| [layer.weight, layer.bias]);
            let parameters = parameters.chain(plan.embeddings.iter().copied());
            let parameters: Result<Vec<_>, _> = parameters.map(|id| model.tensor(id)).collect();
            let (parameters, plan, output) = (parameters?, Arc::clone(plan), h.clone());
            tape.add_backward_op(move |gradients| {
                let dh = storage(gradients, &output)?.clone();
                let found = dispatch(gnn::Backward { gnn: &gnn, plan: &plan, record: &record, dh });
                let [message0, message1] = found.message;
                let layers = [message0, message1, found.gru_input, found.gru_state];
                let layers = layers.iter().flat_map(|layer| [&layer.weight[..], &layer.bias]);
                let own = layers.chain(found.embeddings.chunks_exact(hidden));
                for (parameter, own) in parameters.iter().zip(own) {
                    add(storage(gradients, parameter)?, own);
                }
                Ok(())
            });
        }
        Ok((h, tape))
    }

    fn branch<T: Tape<E, Self>>(
        model: &Model<E, Self>,
        plan: &Arc<Plan>,
        branch: usize,
        features: Matrix<E, Self>,
        mut tape: T,
    ) -> Taped<Vector<E, Self>, T, Self> {
        let Layer { weight, bias } = plan.branches[branch].layer;
        let mut values = vec![E::default(); features.shape().0 * features.shape().1];
        features.copy_into(&mut values);
        let outputs = dispatch(cuts::Forward {
            branch: &plan.branches[branch],
            weight: model.leaf(weight).values(),
            bias: model.leaf(bias).values(),
            features: &values,
        });
        let length = outputs.len();
        let outputs: Vector<E, Self> = model.device.try_tensor_from_vec(outputs, (length,))?;
        if T::OWNS_TAPE {
            let parameters = [model.tensor(weight)?, model.tensor(bias)?];
            let weight = Arc::clone(model.leaf(weight).values());
            let (plan, output) = (Arc::clone(plan), outputs.clone());
            tape.add_backward_op(move |gradients| {
                let [weight_tensor, bias_tensor] = &parameters;
                let doutputs = storage(gradients, &output)?.clone();
                let (dfeatures, dbias) = dispatch(cuts::Backward {
                    branch: &plan.branches[branch],
                    weight: &weight,
                    features: &values,
                    doutputs: &doutputs,
                    dweight: storage(gradients, weight_tensor)?,
                });
                add(storage(gradients, bias_tensor)?, &dbias);
                add(storage(gradients, &features)?, &dfeatures);
                Ok(())
            });
        }
        Ok((outputs, tape))
    }

    fn add_gradient(
        gradients: &mut Gradients<E, Self>,
        parameter: &Matrix<E, Self>,
        sum: &mut [E],
    ) -> Result<(), Self::Err> {
        add(sum, storage(gradients, parameter)?);
        Ok(())
    }
}

fn affine<E: Real>(model: &Model<E, Cpu>, layer: Layer) -> Affine<E>
where
    Cpu: Device<E>,
{
    let [weight, bias] = [layer.weight, layer.bias].map(|id| Arc::clone(model.leaf(id).values()));
    Affine::new(weight, bias)
}

/// The gradient of a tensor, zeros where there is none yet.
fn storage<'a, S: Shape, E: Unit>(
    gradients: &'a mut Gradients<E, Cpu>,
    tensor: &Tensor<S, E, Cpu>,
) -> Result<&'a mut Vec<E>, CpuError> {
    Ok(&mut *gradients.get_or_alloc_mut(tensor)?)
}

fn add<E: Real>(sum: &mut [E], x: &[E]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

#[cfg(test)]
mod tests {
    use ghnas_core::{Network, Phase, Propagator};

    use super::*;
    use crate::parameters::{ParameterId, Parameters};
    use crate::synchronous::Neighbours;
    use crate::{ForwardBackward, Synchronous, hypernetwork, propagation, test_networks};

    fn model<E: Real>(parameters: &Parameters) -> Model<E, Cpu>
    where
        Cpu: Device<E>,
    {
        let leaf = |parameter: &crate::parameters::Parameter| {
            let values =
                parameter.values.iter().map(|&x| E::from_f32(x).expect("an f32 fits")).collect();
            crate::model::Leaf::new(parameter.shape, Arc::new(values))
        };
        Model::new(Cpu::default(), parameters.iter().map(leaf).collect())
    }

    /// Some direction of a given length.
    fn direction<E: Real>(length: usize) -> Vec<E> {
        (0..length).map(|at| E::from_f64((at as f64 * 0.7).sin()).expect("a sine fits")).collect()
    }

    /// A result along [`direction`], with its gradients for some tensors.
    fn differentiate<S: Shape, E: Real>(
        (output, tape): (Tensor<S, E, Cpu>, OwnedTape<E, Cpu>),
        tensors: &[Matrix<E, Cpu>],
    ) -> Vec<Vec<f64>>
    where
        Cpu: Device<E>,
    {
        let mut found = vec![output.as_vec()];
        let flat = output.put_tape(tape).reshape_like(&(found[0].len(),));
        let along = flat.device().tensor_from_vec(direction(found[0].len()), (found[0].len(),));
        let mut gradients = (flat * along).sum::<Rank0, _>().backward();
        for tensor in tensors {
            found.push(storage(&mut gradients, tensor).unwrap().clone());
        }
        let wide =
            |values: &Vec<E>| values.iter().map(|x| x.to_f64().expect("a real number")).collect();
        found.iter().map(wide).collect()
    }

    #[track_caller]
    fn assert_close(got: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
        for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
            let scale = expected.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
            for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
                let error = (got - expected).abs() / scale;
                assert!(error < tolerance, "tensor {index}, {at}: {got} for {expected}");
            }
        }
    }

    #[track_caller]
    fn check<E: Real>(network: &Network, propagator: &dyn Propagator, tolerance: f64)
    where
        Cpu: Device<E>,
    {
        let (plan, parameters) = test_networks::plan(network, propagator);
        let model = model::<E>(&parameters);
        let ids: Vec<ParameterId> = plan.parameters().collect();
        let mut tensors: Vec<_> = ids.iter().map(|&id| model.tensor(id).unwrap()).collect();
        let own = Cpu::embed(&model, &plan, OwnedTape::default()).unwrap();
        let composed = propagation::embed(&model, &plan, OwnedTape::default()).unwrap();
        let [own, composed] = [own, composed].map(|result| differentiate(result, &tensors));
        assert_close(&own, &composed, tolerance);

        let hidden =
            model.leaf(plan.branches[0].layer.weight).values().len() / plan.branches[0].largest;
        let features = direction(plan.nodes * hidden);
        let features = model.constant(features, (plan.nodes, hidden)).unwrap();
        tensors.push(features.clone());
        for (index, branch) in plan.branches.iter().enumerate() {
            let tape = OwnedTape::default();
            let own = Cpu::branch(&model, &plan, index, features.clone(), tape).unwrap();
            let tape = OwnedTape::default();
            let composed = hypernetwork::branch(&model, branch, features.clone(), tape).unwrap();
            let [own, composed] = [own, composed].map(|result| differentiate(result, &tensors));
            assert_close(&own, &composed, tolerance);
        }
    }

    #[test]
    fn kernels_give_what_dfdx_operations_give_in_double_precision() {
        let network = test_networks::small();
        check::<f64>(&network, &ForwardBackward::default(), 1e-12);
        check::<f64>(&network, &Synchronous { neighbours: Neighbours::Both }, 1e-12);
        let network = test_networks::cell(Phase::Train, 1);
        check::<f64>(&network, &ForwardBackward::default(), 1e-12);
    }

    #[test]
    fn kernels_give_what_dfdx_operations_give_in_single_precision() {
        check::<f32>(&test_networks::small(), &Synchronous::default(), 2e-5);
        let network = test_networks::cell(Phase::Score, 2);
        check::<f32>(&network, &ForwardBackward::default(), 2e-5);
    }
}
