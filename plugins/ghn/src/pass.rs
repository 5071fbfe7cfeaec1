//! What one generation computes and its vector-Jacobian product needs: plain data, which unlike a
//! tape of dfdx can wait for the product and move between threads. Its memory is used again.

use std::sync::Arc;

use crate::host::Activations;

/// The values of one parameter at one time.
#[derive(Debug, Clone)]
pub(crate) struct Values<E> {
    /// Rows and columns.
    pub(crate) shape: [usize; 2],
    /// Row-major; unchanged by later steps.
    pub(crate) data: Arc<Vec<E>>,
}

/// One generation.
#[derive(Default)]
pub(crate) struct Pass<E> {
    /// All parameters, by [`ParameterId`](crate::parameters::ParameterId).
    pub(crate) values: Vec<Values<E>>,
    /// As [`Plan::outputs`](crate::plan::Plan::outputs) says.
    pub(crate) outputs: Vec<E>,
    /// The gradients of the outputs.
    pub(crate) directions: Vec<E>,
    /// What the kernels for the processor keep; empty where dfdx operations are composed, which
    /// run the forward pass again for the product.
    pub(crate) activations: Activations<E>,
}
