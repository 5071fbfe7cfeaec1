//! What a device can do better than by composing dfdx operations.

use std::sync::Arc;

use dfdx::prelude::*;
use ghnas_dfdx_device::OpenDevice;

use crate::model;
use crate::pass::Pass;
use crate::plan::Plan;
use crate::threads::Threads;

/// The GHN as a function of its parameters, and that function's adjoint. The defaults compose dfdx
/// operations and run on every device; they define what the kernels of a device must give.
pub(crate) trait Kernels<E: Dtype>: Device<E> {
    /// Fills the outputs of `pass` from its values.
    ///
    /// # Errors
    /// In words, where the device fails.
    fn generate(
        open: &OpenDevice<Self>,
        _threads: &Threads,
        plan: &Arc<Plan>,
        pass: &mut Pass<E>,
    ) -> Result<(), String> {
        model::generate(open()?, plan, pass).map_err(|error| error.to_string())
    }

    /// The embeddings of all nodes after propagation, row-major [nodes, hidden], by the values of
    /// `pass`.
    ///
    /// # Errors
    /// In words, where the device fails.
    fn embed(open: &OpenDevice<Self>, plan: &Plan, pass: &mut Pass<E>) -> Result<Vec<E>, String> {
        model::embed(open()?, plan, pass).map_err(|error| error.to_string())
    }

    /// Adds to `gradients`, by [`ParameterId`](crate::parameters::ParameterId), those of the sum of
    /// outputs times directions of `pass`, whose outputs were [generated](Self::generate). Uses up
    /// its directions.
    ///
    /// # Errors
    /// In words, where the device fails; part of it may have been added then.
    fn vjp(
        open: &OpenDevice<Self>,
        _threads: &Arc<Threads>,
        plan: &Arc<Plan>,
        pass: &mut Pass<E>,
        gradients: &mut Vec<Vec<E>>,
    ) -> Result<(), String> {
        model::vjp(open()?, plan, pass, gradients).map_err(|error| error.to_string())
    }
}

#[cfg(feature = "cuda")]
impl Kernels<f32> for Cuda {}
