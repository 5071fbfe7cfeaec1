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

#[cfg(test)]
mod tests {
    use dfdx::shapes::Rank0;
    use dfdx::tensor::{Cpu, OwnedTape};
    use dfdx::tensor_ops::{Backward, SumTo, TryMul};

    use super::*;

    #[test]
    fn an_element_gathered_twice_has_both_gradients_and_padding_has_none() {
        let mut recorder = Recorder::<f32, Cpu, OwnedTape<f32, Cpu>>::new(Cpu::default());
        let first = recorder.constant(vec![1.0, 2.0], (2,)).unwrap();
        let second = recorder.constant(vec![3.0], (1,)).unwrap();
        let sources = [Source::At(1), Source::Padding, Source::At(2), Source::At(1)];
        let gathered = recorder.gather(&[&first, &second], sources.into_iter()).unwrap();
        assert_eq!(gathered.as_vec(), [2.0, 0.0, 3.0, 2.0]);
        let factors = recorder.constant(vec![1.0, 10.0, 100.0, 1000.0], (4,)).unwrap();
        let sum =
            recorder.record(&gathered, |x| x.try_mul(factors)?.try_sum::<Rank0, _>()).unwrap();
        let gradients = sum.put_tape(recorder.into_tape()).backward();
        assert_eq!(gradients.get(&first).as_vec(), [0.0, 1001.0]);
        assert_eq!(gradients.get(&second).as_vec(), [100.0]);
    }
}
