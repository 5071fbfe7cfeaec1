//! Kernels for the device whose memory is the host's: the whole GHN as one dfdx operation of our
//! own. What its forward pass computes is kept as plain data; its backward pass goes on the tape
//! when the product is wanted.

mod affine;
mod cuts;
mod gnn;
mod matrix;
mod weights;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use dfdx::prelude::*;
use ghnas_dfdx_device::OpenDevice;

use crate::kernels::Kernels;
use crate::model::Taped;
use crate::parameters::Layer;
use crate::pass::Pass;
#[cfg(test)]
use crate::pass::Values;
use crate::plan::Plan;
use crate::simd::{Kernel, Real, dispatch};
use crate::threads::Threads;

use affine::{Affine, add_input_gradient, rectify, rectify_back};
use cuts::{BranchGradient, Branches, Given};
use gnn::{Gnn, Record};
use weights::{LayerGradient, Layers, Rows};

/// What the forward pass leaves for the backward pass, and the memory of both.
#[derive(Default)]
pub(crate) struct Activations<E> {
    /// Weights of the shared layers, in the order of [`shared_layers`], transposed.
    transposed: [Vec<E>; 5],
    record: Record<E>,
    /// The embeddings after propagation: [nodes, hidden].
    h: Vec<E>,
    /// The hypernetwork's rectified hidden layer: [nodes, hypernetwork hidden].
    features: Vec<E>,
    /// Those of the node of each cut: [cuts, hypernetwork hidden].
    chosen: Vec<E>,
    dh: Vec<E>,
    dfeatures: Vec<E>,
    /// By branch of the plan; further ones are of other plans.
    branches: Vec<BranchGradient<E>>,
}

impl<E: Real> Kernels<E> for Cpu
where
    Cpu: Device<E>,
{
    fn generate(
        _: &OpenDevice<Self>,
        threads: &Threads,
        plan: &Arc<Plan>,
        pass: &mut Pass<E>,
    ) -> Result<(), String> {
        threads.enter(|| forward(threads, plan, pass));
        Ok(())
    }

    fn vjp(
        open: &OpenDevice<Self>,
        threads: &Arc<Threads>,
        plan: &Arc<Plan>,
        pass: &mut Pass<E>,
        gradients: &mut Vec<Vec<E>>,
    ) -> Result<(), String> {
        // An operation on the tape owns what it works with.
        let work = Rc::new(RefCell::new(Work {
            threads: Arc::clone(threads),
            plan: Arc::clone(plan),
            pass: std::mem::take(pass),
            gradients: std::mem::take(gradients),
        }));
        let backward = || {
            let (loss, tape) =
                along(&open()?, &work, OwnedTape::default()).map_err(|error| error.to_string())?;
            loss.put_tape(tape).try_backward().map_err(|error| error.to_string())
        };
        let result = backward();
        let mut work = work.borrow_mut();
        *pass = std::mem::take(&mut work.pass);
        *gradients = std::mem::take(&mut work.gradients);
        result.map(drop)
    }
}

/// What the GHN as an operation works with.
struct Work<E> {
    threads: Arc<Threads>,
    plan: Arc<Plan>,
    /// After its forward pass.
    pass: Pass<E>,
    /// By [`ParameterId`](crate::parameters::ParameterId).
    gradients: Vec<Vec<E>>,
}

/// The sum of a pass's outputs times its directions, as one operation on the tape. Its backward
/// pass adds the gradients of parameters to those of `work`, and uses up the directions.
fn along<E: Real, T: Tape<E, Cpu>>(
    device: &Cpu,
    work: &Rc<RefCell<Work<E>>>,
    mut tape: T,
) -> Taped<Tensor<Rank0, E, Cpu>, T, Cpu>
where
    Cpu: Device<E>,
{
    let sum = {
        let pass = &work.borrow().pass;
        dispatch(Along(&pass.outputs, &pass.directions))
    };
    let sum: Tensor<Rank0, E, Cpu> = device.try_tensor(sum)?;
    if T::OWNS_TAPE {
        let (work, output) = (Rc::clone(work), sum.clone());
        tape.add_backward_op(move |gradients| {
            let upstream = gradient(gradients, &output)?;
            let Work { threads, plan, pass, gradients } = &mut *work.borrow_mut();
            pass.directions.iter_mut().for_each(|direction| *direction *= upstream);
            threads.enter(|| backward(threads, plan, pass, gradients));
            Ok(())
        });
    }
    Ok((sum, tape))
}

/// The gradient of a number.
fn gradient<E: Unit>(
    gradients: &mut Gradients<E, Cpu>,
    number: &Tensor<Rank0, E, Cpu>,
) -> Result<E, CpuError> {
    Ok(gradients.get_or_alloc_mut(number)?[0])
}

struct Along<'a, E>(&'a [E], &'a [E]);

impl<E: Real> Kernel for Along<'_, E> {
    type Output = E;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> E {
        matrix::dot::<E, FMA>(self.0, self.1)
    }
}

/// The layers that every node goes through.
fn shared_layers(plan: &Plan) -> [Layer; 5] {
    let shared = plan.shared;
    let [first, second] = shared.message;
    [first, second, shared.gru_input, shared.gru_state, shared.hypernetwork]
}

/// Fills the outputs and activations of a pass.
fn forward<E: Real>(threads: &Threads, plan: &Plan, pass: &mut Pass<E>) {
    let Pass { values, outputs, activations, .. } = pass;
    let Activations { transposed, record, h, features, chosen, .. } = activations;
    // Every output is written.
    outputs.resize(plan.outputs, E::default());
    if plan.branches.is_empty() {
        return;
    }
    let mut transposed = transposed.iter_mut();
    let [first, second, gru_input, gru_state, hypernetwork] = shared_layers(plan).map(|layer| {
        let [weight, bias] = [layer.weight, layer.bias].map(|id| &values[id.index()].data);
        Affine::new(weight, bias, transposed.next().expect("as many as layers"))
    });
    h.resize(plan.nodes * gru_state.inputs(), E::default());
    let gnn = Gnn { message: [first, second], gru_input, gru_state };
    dispatch(gnn::Forward { gnn, plan, values, record, h });
    features.resize(plan.nodes * hypernetwork.outputs(), E::default());
    dispatch(Features { layer: hypernetwork, h, features });
    chosen.clear();
    for cut in plan.slices().flat_map(|slice| &slice.cuts) {
        let hidden = hypernetwork.outputs();
        chosen.extend_from_slice(&features[cut.row * hidden..][..hidden]);
    }
    let pieces = &plan.pieces[..];
    threads.share(cuts::Forward { plan, values, features: chosen, pieces, outputs }, dispatch);
}

/// Writes the hypernetwork's hidden layer.
struct Features<'a, E> {
    layer: Affine<'a, E>,
    h: &'a [E],
    features: &'a mut [E],
}

impl<E: Real> Kernel for Features<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.layer.forward::<FMA>(self.h, self.features);
        rectify(self.features);
    }
}

/// Adds to `gradients` those of the sum of outputs times directions.
fn backward<E: Real>(threads: &Threads, plan: &Plan, pass: &mut Pass<E>, gradients: &mut [Vec<E>]) {
    let Pass { values, directions, activations, .. } = pass;
    let Activations { record, h, features, chosen, dh, dfeatures, branches, .. } = activations;
    if plan.branches.is_empty() {
        return;
    }
    if branches.len() < plan.branches.len() {
        branches.resize_with(plan.branches.len(), BranchGradient::default);
    }
    let branches = &mut branches[..plan.branches.len()];
    for (own, branch) in branches.iter_mut().zip(&plan.branches) {
        let Layer { weight, bias } = branch.layer;
        own.weight = std::mem::take(&mut gradients[weight.index()]);
        own.bias = std::mem::take(&mut gradients[bias.index()]);
    }
    let given = Given { values, features: chosen, directions };
    threads.share(Branches { branches: &plan.branches, gradients: branches }, |one| {
        for (branch, gradient) in one.branches.iter().zip(one.gradients) {
            threads.share(cuts::Backward::new(&given, branch, gradient), dispatch);
        }
    });
    dfeatures.clear();
    dfeatures.resize(features.len(), E::default());
    let hidden = features.len() / plan.nodes;
    for (own, branch) in branches.iter_mut().zip(&plan.branches) {
        let Layer { weight, bias } = branch.layer;
        gradients[weight.index()] = std::mem::take(&mut own.weight);
        gradients[bias.index()] = std::mem::take(&mut own.bias);
        let cuts = || branch.slices.iter().flat_map(|slice| &slice.cuts);
        for band in own.features.chunks_exact(branch.cuts() * hidden) {
            for (cut, row) in cuts().zip(band.chunks_exact(hidden)) {
                matrix::add(row, &mut dfeatures[cut.row * hidden..][..hidden]);
            }
        }
    }
    dh.clear();
    dh.resize(h.len(), E::default());
    let weight = &values[plan.shared.hypernetwork.weight.index()].data;
    dispatch(FeaturesBackward { weight, outputs: hidden, features, dfeatures, dh });
    dispatch(gnn::Backward { plan, values, record, dh });
    let hidden = h.len() / plan.nodes;
    for module in &plan.modules {
        let own = dh[module.first * hidden..].chunks_exact(hidden);
        for (&op, own) in module.ops.iter().zip(own) {
            matrix::add(own, &mut gradients[plan.embeddings[op].index()]);
        }
    }
    let rows: [(&[E], &[E]); 5] = [
        (&record.dlayer, &record.sender),
        (&record.dsent, &record.layer),
        (&record.dinput, &record.message),
        (&record.dstate, &record.state),
        (dfeatures, h),
    ];
    let mut rows = rows.into_iter();
    let mut layers = shared_layers(plan).map(|layer| {
        let (dy, x) = rows.next().expect("as many as layers");
        let [weight, bias] =
            [layer.weight, layer.bias].map(|id| std::mem::take(&mut gradients[id.index()]));
        LayerGradient { layer, dy, x, weight, bias }
    });
    threads.share(Layers(&mut layers), |some| {
        some.0.iter_mut().for_each(|one| threads.share(Rows::new(one), dispatch));
    });
    for LayerGradient { layer, weight, bias, .. } in layers {
        gradients[layer.weight.index()] = weight;
        gradients[layer.bias.index()] = bias;
    }
}

/// The adjoint of [`Features`] with respect to its input.
struct FeaturesBackward<'a, E> {
    /// [outputs, hidden]
    weight: &'a [E],
    outputs: usize,
    features: &'a [E],
    /// Turned into the gradient before rectification.
    dfeatures: &'a mut [E],
    /// Added to.
    dh: &'a mut [E],
}

impl<E: Real> Kernel for FeaturesBackward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { weight, outputs, features, dfeatures, dh } = self;
        rectify_back(features, dfeatures);
        add_input_gradient::<E, FMA>(weight, outputs, dfeatures, dh);
    }
}

/// The embeddings of all nodes after propagation.
#[cfg(test)]
pub(crate) fn embed<E: Real>(plan: &Plan, values: &[Values<E>]) -> Vec<E> {
    let mut pass = Pass { values: values.to_vec(), ..Pass::default() };
    forward(&Threads::ONE, plan, &mut pass);
    pass.activations.h
}

#[cfg(test)]
mod tests {
    use ghnas_core::{Network, Phase, Propagator};

    use super::*;
    use crate::model::Model;
    use crate::synchronous::Neighbours;
    use crate::test_networks::{differentiate, direction};
    use crate::{ForwardBackward, Synchronous, hypernetwork, test_networks};

    #[track_caller]
    fn assert_close<E: Real>(what: &str, got: &[E], expected: &[E], tolerance: f64) {
        let wide = |x: &E| x.to_f64().unwrap();
        let scale = expected.iter().fold(1e-3f64, |most, x| most.max(wide(x).abs()));
        assert_eq!(got.len(), expected.len());
        for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
            let error = (wide(got) - wide(expected)).abs() / scale;
            assert!(error < tolerance, "{what}, {at}: {got:?} for {expected:?}");
        }
    }

    #[track_caller]
    fn check<E: Real>(network: &Network, propagator: &dyn Propagator, tolerance: f64)
    where
        Cpu: Device<E>,
    {
        let (plan, parameters) = test_networks::plan(network, propagator);
        let values = test_networks::values::<E>(&parameters);
        let (outputs, gradients) = differentiate(false, 1, &plan, &values);
        let (expected, expected_gradients) = differentiate(true, 1, &plan, &values);
        assert_close("outputs", &outputs, &expected, tolerance);
        for (parameter, (got, expected)) in
            parameters.iter().zip(gradients.iter().zip(&expected_gradients))
        {
            assert_close(&parameter.name, got, expected, tolerance);
        }
        for threads in [2, 5] {
            let other = differentiate(false, threads, &plan, &values);
            assert!((&outputs, &gradients) == (&other.0, &other.1), "{threads} threads");
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

    #[test]
    fn a_pass_that_was_used_for_other_networks_gives_the_same_bytes() {
        let propagator = ForwardBackward::default();
        let networks = [test_networks::cell(Phase::Score, 2), test_networks::small()];
        let (open, threads) = (ghnas_dfdx_device::cpu(), Arc::new(Threads::ONE));
        let mut pass = Pass::default();
        for network in [0, 1, 0, 1].map(|index: usize| &networks[index]) {
            let (plan, parameters) = test_networks::plan(network, &propagator);
            let values = test_networks::values::<f32>(&parameters);
            let mut gradients = test_networks::zeros(&values);
            pass.values.clone_from(&values);
            Cpu::generate(&open, &threads, &plan, &mut pass).unwrap();
            pass.directions = direction(plan.outputs);
            Cpu::vjp(&open, &threads, &plan, &mut pass, &mut gradients).unwrap();
            let fresh = differentiate(false, 1, &plan, &values);
            assert!((&pass.outputs, &gradients) == (&fresh.0, &fresh.1));
        }
    }

    #[test]
    fn the_operation_goes_on_with_what_comes_from_behind_it() {
        let (plan, parameters) =
            test_networks::plan(&test_networks::small(), &ForwardBackward::default());
        let values = test_networks::values::<f64>(&parameters);
        let (_, once) = differentiate(false, 1, &plan, &values);
        let threads = Arc::new(Threads::ONE);
        let mut pass = Pass { values: values.clone(), ..Pass::default() };
        forward(&threads, &plan, &mut pass);
        pass.directions = direction(plan.outputs);
        let gradients = test_networks::zeros(&values);
        let work = Rc::new(RefCell::new(Work { threads, plan, pass, gradients }));
        let (sum, tape) = along(&Cpu::default(), &work, OwnedTape::default()).unwrap();
        (sum.put_tape(tape) * 4.0).backward();
        for (got, once) in work.borrow().gradients.iter().zip(&once) {
            // A product with a power of two is exact.
            let expected: Vec<f64> = once.iter().map(|x| 4.0 * x).collect();
            assert_eq!(*got, expected);
        }
    }

    #[test]
    fn dfdx_operations_give_the_same_bytes_for_any_number_of_threads() {
        // Its matrix products are shared out among threads, but never along the summed dimension.
        let network = test_networks::cell(Phase::Score, 2);
        let (plan, parameters) = test_networks::plan(&network, &ForwardBackward::default());
        let values = test_networks::values::<f32>(&parameters);
        let largest = plan.branches.iter().max_by_key(|branch| branch.largest).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let model = Model::new(Cpu::default(), &values);
                let hidden = values[largest.layer.weight.index()].shape[1];
                let features = direction(plan.nodes * hidden);
                let features = model.constant(features, (plan.nodes, hidden)).unwrap();
                let tape = OwnedTape::default();
                let (output, tape) = hypernetwork::branch(&model, largest, features, tape).unwrap();
                let outputs = output.as_vec();
                let along =
                    model.device.tensor_from_vec(direction(outputs.len()), (outputs.len(),));
                let loss = (output.put_tape(tape) * along).sum::<Rank0, _>();
                let mut gradients = test_networks::zeros(&values);
                model.collect(&mut loss.backward(), &mut gradients).unwrap();
                (outputs, gradients)
            })
        };
        let one = run(1);
        assert!(one.0.len() > 48 * 48 * 2, "too little for threads to be used");
        assert!(one == run(2));
        assert!(one == run(5));
    }
}
