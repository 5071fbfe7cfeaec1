//! Flat tensors, and the tape that follows a computation over many of them.

use dfdx::dtypes::Dtype;
use dfdx::shapes::{Axis, Shape};
use dfdx::tensor::{PutTape, SplitTape, Tape, Tensor};
use dfdx::tensor_ops::{Device, GatherTo, TryConcatAlong};

/// A value of a network, [count, channels, height, width], or a parameter; flattened.
pub(crate) type Flat<E, D> = Tensor<(usize,), E, D>;

/// What a gathered element is: a position in the flattened inputs, or padding.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// A zero.
    Padding,
    /// This element of the inputs, laid end to end.
    At(usize),
}

/// Computes on `device` and records what it does: on an `OwnedTape` for gradients, or nowhere.
///
/// dfdx keeps the tape in the tensor last computed. A network is a graph, not a chain, so here the
/// tape lives beside the tensors and travels with each computation in turn.
pub(crate) struct Recorder<E: Dtype, D: Device<E>, T: Tape<E, D>> {
    device: D,
    tape: T,
    dtype: std::marker::PhantomData<E>,
}

impl<E: Dtype, D: Device<E>, T: Tape<E, D>> Recorder<E, D, T> {
    pub(crate) fn new(device: D) -> Self {
        Self { device, tape: T::default(), dtype: std::marker::PhantomData }
    }

    /// All that was recorded.
    pub(crate) fn into_tape(self) -> T {
        self.tape
    }

    /// `compute` of `input`, recorded. Other tensors that `compute` reads are recorded too, but
    /// must not be `input` itself: dfdx cannot borrow the gradient of one tensor twice.
    pub(crate) fn record<A: Shape, B: Shape>(
        &mut self,
        input: &Tensor<A, E, D>,
        compute: impl FnOnce(Tensor<A, E, D, T>) -> Result<Tensor<B, E, D, T>, D::Err>,
    ) -> Result<Tensor<B, E, D>, D::Err> {
        let tape = std::mem::take(&mut self.tape);
        let (output, tape) = compute(input.clone().put_tape(tape))?.split_tape();
        self.tape = tape;
        Ok(output)
    }

    /// A tensor that is not differentiated.
    pub(crate) fn constant<S: Shape>(
        &self,
        values: Vec<E>,
        shape: S,
    ) -> Result<Tensor<S, E, D>, D::Err> {
        self.device.try_tensor_from_vec(values, shape)
    }

    /// The elements of `inputs`, laid end to end, that `sources` names; their gradients add up.
    pub(crate) fn gather(
        &mut self,
        inputs: &[&Flat<E, D>],
        sources: impl Iterator<Item = Source>,
    ) -> Result<Flat<E, D>, D::Err> {
        // A zero before the inputs, for padding. Padding is never multiplied, so what is not
        // finite in an image stays where it is.
        let mut joined = self.constant(vec![E::default()], (1,))?;
        for &input in inputs {
            joined =
                self.record(&joined, |joined| (joined, input.clone()).try_concat_along(Axis::<0>))?;
        }
        let positions: Vec<usize> = sources
            .map(|source| match source {
                Source::Padding => 0,
                Source::At(position) => position + 1,
            })
            .collect();
        let length = positions.len();
        let positions: Tensor<(usize,), usize, D> =
            self.device.try_tensor_from_vec(positions, (length,))?;
        self.record(&joined, |joined| joined.try_gather(positions))
    }
}
