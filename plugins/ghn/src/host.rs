//! Kernels for the device whose memory is the host's: dfdx operations of our own, each with its
//! backward pass on the tape.

mod affine;
mod cuts;
mod gnn;

use std::rc::Rc;
use std::sync::Arc;

use dfdx::prelude::*;

use crate::kernels::Kernels;
use crate::model::{GradientSum, Matrix, Model, Taped, Vector};
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
        let rows = plan.embeddings.iter().flat_map(|&id| model.leaf(id).values.iter().copied());
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
            let sums = parameters.map(|id| Rc::clone(&model.leaf(id).gradient));
            let sums: Vec<GradientSum<E>> = sums.collect();
            let (plan, output) = (Arc::clone(plan), h.clone());
            tape.add_backward_op(move |gradients| {
                let dh = storage(gradients, &output)?.clone();
                let found = dispatch(gnn::Backward { gnn: &gnn, plan: &plan, record: &record, dh });
                let [message0, message1] = found.message;
                let layers = [message0, message1, found.gru_input, found.gru_state];
                let layers = layers.iter().flat_map(|layer| [&layer.weight[..], &layer.bias]);
                let own = layers.chain(found.embeddings.chunks_exact(hidden));
                for (sum, own) in sums.iter().zip(own) {
                    add(&mut sum.borrow_mut(), own);
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
            weight: &model.leaf(weight).values,
            bias: &model.leaf(bias).values,
            features: &values,
        });
        let length = outputs.len();
        let outputs: Vector<E, Self> = model.device.try_tensor_from_vec(outputs, (length,))?;
        if T::OWNS_TAPE {
            let sums = [weight, bias].map(|id| Rc::clone(&model.leaf(id).gradient));
            let weight = Arc::clone(&model.leaf(weight).values);
            let (plan, output) = (Arc::clone(plan), outputs.clone());
            tape.add_backward_op(move |gradients| {
                let [dweight, dbias] = &sums;
                let doutputs = storage(gradients, &output)?.clone();
                let dfeatures = dispatch(cuts::Backward {
                    branch: &plan.branches[branch],
                    weight: &weight,
                    features: &values,
                    doutputs: &doutputs,
                    dweight: &mut dweight.borrow_mut(),
                    dbias: &mut dbias.borrow_mut(),
                });
                add(storage(gradients, &features)?, &dfeatures);
                Ok(())
            });
        }
        Ok((outputs, tape))
    }
}

fn affine<E: Real>(model: &Model<E, Cpu>, layer: Layer) -> Affine<E>
where
    Cpu: Device<E>,
{
    let [weight, bias] = [layer.weight, layer.bias].map(|id| Arc::clone(&model.leaf(id).values));
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
    use crate::model::Leaf;
    use crate::parameters::{Parameter, Parameters};
    use crate::synchronous::Neighbours;
    use crate::{ForwardBackward, Synchronous, hypernetwork, propagation, test_networks};

    fn model<E: Real>(parameters: &Parameters) -> Model<E, Cpu>
    where
        Cpu: Device<E>,
    {
        let leaf = |parameter: &Parameter| {
            let values = parameter.values.iter().map(|&x| E::from_f32(x).unwrap());
            let zeros = vec![E::default(); parameter.values.len()];
            Leaf::new(parameter.shape, Arc::new(values.collect()), zeros)
        };
        Model::new(Cpu::default(), parameters.iter().map(leaf).collect())
    }

    /// Some direction of a given length.
    fn direction<E: Real>(length: usize) -> Vec<E> {
        (0..length).map(|at| E::from_f64((at as f64 * 0.7).sin()).unwrap()).collect()
    }

    /// A result, and the gradients of it along [`direction`] for all parameters and for `input`.
    fn differentiate<S: Shape, E: Real>(
        model: &Model<E, Cpu>,
        input: Option<&Matrix<E, Cpu>>,
        (output, tape): (Tensor<S, E, Cpu>, OwnedTape<E, Cpu>),
    ) -> Vec<Vec<f64>>
    where
        Cpu: Device<E>,
    {
        let mut found = vec![output.as_vec()];
        let length = found[0].len();
        let flat = output.put_tape(tape).reshape_like(&(length,));
        let along = model.device.tensor_from_vec(direction(length), (length,));
        let mut gradients = (flat * along).sum::<Rank0, _>().backward();
        model.collect(&mut gradients).unwrap();
        found.extend(input.map(|input| storage(&mut gradients, input).unwrap().clone()));
        found.extend(model.leaves().map(|leaf| leaf.gradient.take()));
        let wide = |values: &Vec<E>| values.iter().map(|x| x.to_f64().unwrap()).collect();
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
        let own = model::<E>(&parameters);
        let composed = model::<E>(&parameters);
        let result = Cpu::embed(&own, &plan, OwnedTape::default()).unwrap();
        let got = differentiate(&own, None, result);
        let result = propagation::embed(&composed, &plan, OwnedTape::default()).unwrap();
        assert_close(&got, &differentiate(&composed, None, result), tolerance);

        for index in 0..plan.branches.len() {
            let (own, composed) = (model::<E>(&parameters), model::<E>(&parameters));
            let (branch, features) = (&plan.branches[index], features(&own, &plan, index));
            let tape = OwnedTape::default();
            let result = Cpu::branch(&own, &plan, index, features.clone(), tape).unwrap();
            let got = differentiate(&own, Some(&features), result);
            let tape = OwnedTape::default();
            let result = hypernetwork::branch(&composed, branch, features.clone(), tape).unwrap();
            let expected = differentiate(&composed, Some(&features), result);
            assert_close(&got, &expected, tolerance);
        }
    }

    /// Some features for a branch.
    fn features<E: Real>(model: &Model<E, Cpu>, plan: &Plan, branch: usize) -> Matrix<E, Cpu>
    where
        Cpu: Device<E>,
    {
        let branch = &plan.branches[branch];
        let hidden = model.leaf(branch.layer.weight).values.len() / branch.largest;
        model.constant(direction(plan.nodes * hidden), (plan.nodes, hidden)).unwrap()
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

    #[test]
    fn dfdx_operations_give_the_same_bytes_for_any_number_of_threads() {
        // Its matrix products are shared out among threads, but never along the summed dimension.
        let network = test_networks::cell(Phase::Score, 2);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (plan, parameters) = test_networks::plan(&network, &ForwardBackward::default());
                let model = model::<f32>(&parameters);
                let largest = (0..plan.branches.len())
                    .max_by_key(|&branch| plan.branches[branch].largest)
                    .unwrap();
                let features = features(&model, &plan, largest);
                let (branch, tape) = (&plan.branches[largest], OwnedTape::default());
                let result = hypernetwork::branch(&model, branch, features.clone(), tape).unwrap();
                differentiate(&model, Some(&features), result)
            })
        };
        let one = run(1);
        assert!(one[0].len() > 48 * 48 * 2, "too little for threads to be used");
        assert_eq!(one, run(2));
        assert_eq!(one, run(5));
    }
}
