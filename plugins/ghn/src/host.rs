//! Kernels for the device whose memory is the host's: the whole GHN as one dfdx operation of our
//! own. What its forward pass computes is kept as plain data; its backward pass goes on the tape
//! when the product is wanted.

mod activations;
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
use crate::pass::Pass;
use crate::plan::Plan;
use crate::simd::{Kernel, Real, dispatch};
use crate::threads::Threads;

pub(crate) use activations::Activations;
use activations::{backward, embed, forward};

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

    fn embed(_: &OpenDevice<Self>, plan: &Plan, pass: &mut Pass<E>) -> Result<Vec<E>, String> {
        embed(plan, pass);
        Ok(pass.activations.h.clone())
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
