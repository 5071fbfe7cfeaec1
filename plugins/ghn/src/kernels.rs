//! What a device can do better than by composing dfdx operations.

use std::sync::Arc;

use dfdx::prelude::*;

use crate::hypernetwork;
use crate::model::{Matrix, Model, Taped, Vector};
use crate::plan::Plan;
use crate::propagation;

/// The two parts of the GHN that are worth kernels of their own. The defaults compose dfdx
/// operations and run on every device; they define what the kernels of a device must give.
///
/// A kernel may read a leaf's values in host memory, and then adds its gradient to that leaf's.
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
}

#[cfg(feature = "cuda")]
impl Kernels<f32> for Cuda {}
