//! The executor: walks a network's steps, and differentiates the loss with dfdx's tape.

use dfdx::dtypes::Dtype;
use dfdx::shapes::{Axis, Rank0};
use dfdx::tensor::{NoneTape, OwnedTape, PutTape, Tape, Tensor};
use dfdx::tensor_ops::{Backward, Device, MeanTo, ReshapeTo, TryAdd, TryMul};
use ghnas_core::executor::check_call;
use ghnas_core::{Executor, ExecutorError, Images, LossSum, Network, ParamId, Weights};
use ghnas_dfdx_device::OpenDevice;

use crate::primitives::Call;
use crate::record::{Flat, Recorder, Source};

/// Runs networks with numbers of type `E` on a dfdx device `D`.
///
/// In `f64` it is exact enough for finite differences; weights, images, logits and gradients cross
/// its boundary as `f32` all the same.
pub struct DfdxExecutor<E, D> {
    open: OpenDevice<D>,
    dtype: std::marker::PhantomData<fn() -> E>,
}

/// What a pass over a batch with labels gives.
struct Losses<E: Dtype, D: Device<E>> {
    /// The mean cross-entropies of all outputs, summed with their weights.
    total: Tensor<Rank0, E, D>,
    /// Of the last output.
    last: LossSum,
}

impl<E: Dtype, D: Device<E>> DfdxExecutor<E, D> {
    /// An executor on the device that `open` opens.
    pub fn new(open: OpenDevice<D>) -> Self {
        Self { open, dtype: std::marker::PhantomData }
    }

    /// The loss whose gradient [`Executor::loss_and_gradients`] gives, over all outputs; as exact
    /// as `E`.
    ///
    /// # Errors
    /// [`ExecutorError`] where the network or a buffer does not fit.
    pub fn total_loss(
        &self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        labels: &[u16],
    ) -> Result<f64, ExecutorError> {
        check_call(network, weights, images, Some(labels))?;
        let mut recorder = Recorder::<E, D, NoneTape>::new(self.open()?);
        let losses = (|| {
            let params = load_params(&recorder, network, weights)?;
            let outputs = forward(&mut recorder, network, &params, images)?;
            losses(&mut recorder, network, &outputs, labels)
        })();
        let total = losses.map_err(device_error)?.total;
        Ok(wide(&total.as_vec())[0])
    }

    fn open(&self) -> Result<D, ExecutorError> {
        (self.open)().map_err(ExecutorError::Device)
    }
}

impl<E: Dtype, D: Device<E>> Executor for DfdxExecutor<E, D> {
    fn evaluate(
        &mut self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<(), ExecutorError> {
        check_call(network, weights, images, None)?;
        let mut recorder = Recorder::<E, D, NoneTape>::new(self.open()?);
        let outputs = load_params(&recorder, network, weights)
            .and_then(|params| forward(&mut recorder, network, &params, images))
            .map_err(device_error)?;
        logits.clear();
        for output in &outputs {
            logits.extend(narrow(&output.as_vec()));
        }
        Ok(())
    }

    fn loss_and_gradients(
        &mut self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        labels: &[u16],
        gradients: &mut Weights,
    ) -> Result<LossSum, ExecutorError> {
        check_call(network, weights, images, Some(labels))?;
        let device = self.open()?;
        (|| {
            let mut recorder = Recorder::<E, D, OwnedTape<E, D>>::new(device);
            let params = load_params(&recorder, network, weights)?;
            let outputs = forward(&mut recorder, network, &params, images)?;
            let losses = losses(&mut recorder, network, &outputs, labels)?;
            let mut found = losses.total.put_tape(recorder.into_tape()).try_backward()?;
            gradients.reset_for(network.params());
            for (id, param) in params.iter().enumerate() {
                // A parameter that no output depends on has no gradient yet; this makes it zeros.
                found.try_alloc_for(param)?;
                let values = found.get(param).as_vec();
                let target = gradients.get_mut(ParamId(id as u32));
                target.iter_mut().zip(narrow(&values)).for_each(|(to, value)| *to = value);
            }
            Ok(losses.last)
        })()
        .map_err(device_error::<D::Err>)
    }
}

/// All parameters, as numbers of type `E` on the device.
fn load_params<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    recorder: &Recorder<E, D, T>,
    network: &Network,
    weights: &Weights,
) -> Result<Vec<Flat<E, D>>, D::Err> {
    let params = network.params().iter().enumerate().map(|(id, param)| {
        recorder.constant(convert(weights.get(ParamId(id as u32))), (param.len(),))
    });
    params.collect()
}

/// The logits of every output, each [count, classes].
fn forward<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    recorder: &mut Recorder<E, D, T>,
    network: &Network,
    params: &[Flat<E, D>],
    images: Images<'_>,
) -> Result<Vec<Flat<E, D>>, D::Err> {
    let count = images.count;
    let mut values = vec![recorder.constant(convert(images.data), (images.data.len(),))?];
    for (index, step) in network.steps().iter().enumerate() {
        let inputs: Vec<_> = step
            .inputs
            .iter()
            .map(|&value| (&values[value.index()], network.shape(value)))
            .collect();
        let output = network.shape(ghnas_core::ValueId(index as u32 + 1));
        let call = Call { count, inputs: &inputs, output, params };
        let value = recorder.compute(&step.primitive, &call)?;
        values.push(value);
    }
    Ok(network.outputs().iter().map(|output| values[output.value.index()].clone()).collect())
}

/// The cross-entropies of `outputs`, each [count, classes], against `labels`.
fn losses<E: Dtype, D: Device<E>, T: Tape<E, D>>(
    recorder: &mut Recorder<E, D, T>,
    network: &Network,
    outputs: &[Flat<E, D>],
    labels: &[u16],
) -> Result<Losses<E, D>, D::Err> {
    let (count, classes) = (labels.len(), network.classes());
    let at_labels = || {
        let rows = labels.iter().enumerate();
        rows.map(move |(row, &label)| Source::At(row * classes + usize::from(label)))
    };
    let mut total = recorder.constant(vec![E::default()], ())?;
    let mut last = LossSum::default();
    for (output, logits) in network.outputs().iter().zip(outputs) {
        let log_probabilities = recorder.record(logits, |logits| {
            logits
                .try_reshape_like(&(count, classes))?
                .try_log_softmax::<Axis<1>>()?
                .try_reshape_like(&(count * classes,))
        })?;
        let at_label = recorder.gather(&[&log_probabilities], at_labels())?;
        let weight = E::from_f32(-output.loss_weight).expect("dfdx's floats have all of f32");
        let loss = recorder.record(&at_label, |x| x.try_mean::<Rank0, _>()?.try_mul(weight))?;
        total = recorder.record(&total, |total| total.try_add(loss))?;
        last = LossSum {
            loss: -wide(&at_label.as_vec()).iter().sum::<f64>(),
            correct: count_correct(&wide(&logits.as_vec()), labels, classes),
            count,
        };
    }
    Ok(Losses { total, last })
}

/// How many rows of `logits` are largest at their label; of equal logits the first counts.
fn count_correct(logits: &[f64], labels: &[u16], classes: usize) -> usize {
    let is_first_largest = |(row, &label): (&[f64], &u16)| {
        let at = usize::from(label);
        row[..at].iter().all(|&logit| logit < row[at]) && row[at..].iter().all(|&x| x <= row[at])
    };
    logits.chunks_exact(classes).zip(labels).filter(|&pair| is_first_largest(pair)).count()
}

fn convert<E: Dtype>(values: &[f32]) -> Vec<E> {
    let convert = |&value| E::from_f32(value).expect("dfdx's floats have all of f32");
    values.iter().map(convert).collect()
}

fn wide<E: Dtype>(values: &[E]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64().expect("f64 has all of dfdx's floats")).collect()
}

fn narrow<E: Dtype>(values: &[E]) -> impl Iterator<Item = f32> + '_ {
    values.iter().map(|value| value.to_f32().expect("rounding is always possible"))
}

fn device_error<Error: std::fmt::Display>(error: Error) -> ExecutorError {
    ExecutorError::Device(error.to_string())
}
