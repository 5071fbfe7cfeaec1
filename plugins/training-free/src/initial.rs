//! Freshly drawn weights (He et al. 2015).

use ghnas_core::rng::stream;
use ghnas_core::{Network, ParamId, ParamRole, Weights};
use rand::{Rng, RngExt};

/// Kernels and matrices normal with the variance 2 / fan-in, factors one, summands zero. A function
/// of the seed and of the shapes of the network's parameters.
pub(crate) fn he_normal(network: &Network, seed: u64) -> Weights {
    let mut weights = Weights::zeros_for(network.params());
    for (index, param) in network.params().iter().enumerate() {
        let values = weights.get_mut(ParamId(index as u32));
        match param.role {
            ParamRole::Kernel | ParamRole::Matrix => {
                let deviation = (2.0 / param.fan_in as f64).sqrt();
                let mut rng = stream(seed, "weights of training-free scores", index as u64);
                for value in values {
                    *value = (deviation * standard_normal(&mut rng)) as f32;
                }
            }
            ParamRole::Scale => values.fill(1.0),
            ParamRole::Shift => {}
        }
    }
    weights
}

/// Box and Muller (1958).
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    // The logarithm is of (0, 1].
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
