//! What a network's structure alone says: the more, the better.

use ghnas_core::{Counting, Images, Network, Proxy, ProxyError, multiply_adds};

/// Which number is the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// Values of all parameters.
    Params,
    /// Multiply-adds for one image, as the field's tables count them.
    MultiplyAdds,
}

impl Proxy for Count {
    fn score(&mut self, network: &Network, _: Images<'_>) -> Result<f64, ProxyError> {
        Ok(match self {
            Self::Params => network.param_count() as f64,
            Self::MultiplyAdds => multiply_adds(network, Counting::default()).0 as f64,
        })
    }
}
