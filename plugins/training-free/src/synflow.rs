//! Synaptic flow (Tanaka et al. 2020): the sum of |theta dR/dtheta| over all parameters.
//!
//! `R` is the sum of all logits for an input of ones, in a network whose parameters are replaced by
//! their magnitudes and whose batch norms are left out. All values are then positive, so the sum is
//! the derivative of `R(t theta)` at `t = 1`, which one forward pass computes exactly. Kernels and
//! matrices are drawn once (He et al. 2015); biases are zero and so carry no flow.
//!
//! The score is the natural logarithm: the flow itself spans tens of orders of magnitude, and only
//! ranks are the same for both.

use ghnas_core::{Images, Network, ParamId, Proxy, ProxyError, Shape, Weights};
use rayon::ThreadPool;

use crate::forward::{Rules, run};
use crate::initial::he_normal;
use crate::number::{Dual, Number};

/// The proxy `synflow`.
pub(crate) struct Synflow {
    pub(crate) seed: u64,
    pub(crate) pool: ThreadPool,
}

impl Proxy for Synflow {
    fn score(&mut self, network: &Network, _: Images<'_>) -> Result<f64, ProxyError> {
        let weights = he_normal(network, self.seed);
        let flow = self.pool.install(|| response(network, &weights)).slope;
        if !flow.is_finite() {
            return Err(ProxyError("its synaptic flow exceeds the range of numbers".into()));
        }
        if flow <= 0.0 {
            return Err(ProxyError("no flow reaches its logits: every path is cut".into()));
        }
        Ok(flow.ln())
    }
}

/// `R`, with the synaptic flow as its slope.
pub(crate) fn response(network: &Network, weights: &Weights) -> Dual {
    let mut magnitudes = weights.clone();
    for index in 0..network.params().len() {
        for value in magnitudes.get_mut(ParamId(index as u32)) {
            *value = value.abs();
        }
    }
    let ones = vec![Dual::constant(1.0); network.input().elements()];
    let logits = run(network, &magnitudes, ones, &mut Linear);
    logits.into_iter().flatten().fold(Dual::default(), |sum, logit| sum + logit)
}

/// No batch norm, and nothing to see at rectifiers.
struct Linear;

impl Rules<Dual> for Linear {
    fn batch_norm(
        &mut self,
        input: &[Dual],
        _: Shape,
        _: Option<&[f32]>,
        _: Option<&[f32]>,
    ) -> Vec<Dual> {
        input.to_vec()
    }

    fn rectifier(&mut self, _: &[Dual], _: usize) {}
}
