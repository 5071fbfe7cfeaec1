//! What a device can do better than by composing dfdx operations.

use std::sync::Arc;

use dfdx::prelude::*;

use crate::hypernetwork;
use crate::model::{Matrix, Model, Taped, Vector};
use crate::plan::Plan;
use crate::propagation;

/// The two parts of the GHN that are worth kernels of their own. The defaults compose dfdx
/// operations and run on every device; they define what the kernels of a device must give.
pub(crate) trait Kernels<E: Dtype>: Device<E> {
    /// The embeddings of all nodes after propagation, [nodes, hidden].
    fn embed<T: Tape<E, Self>>(
        model: &Model<E, Self>,
        plan: &Arc<Plan>,
        tape: T,
    ) -> Taped<Matrix<E, Self>, T, Self> {
        propagation::embed(model, plan, tape)
    }

    /// The cuts of a branch of `plan`, one after the other, for features [nodes, hypernetwork hidden].
    fn branch<T: Tape<E, Self>>(
        model: &Model<E, Self>,
        plan: &Arc<Plan>,
        branch: usize,
        features: Matrix<E, Self>,
        tape: T,
    ) -> Taped<Vector<E, Self>, T, Self> {
        hypernetwork::branch(model, &plan.branches[branch], features, tape)
    }

    /// Adds the gradient of `parameter` to `sum`.
    fn add_gradient(
        gradients: &mut Gradients<E, Self>,
        parameter: &Matrix<E, Self>,
        sum: &mut [E],
    ) -> Result<(), Self::Err> {
        gradients.try_alloc_for(parameter)?;
        let mut own = vec![E::default(); sum.len()];
        gradients.get(parameter).copy_into(&mut own);
        for (sum, own) in sum.iter_mut().zip(own) {
            *sum += own;
        }
        Ok(())
    }
}

#[cfg(feature = "cuda")]
impl Kernels<f32> for Cuda {}
