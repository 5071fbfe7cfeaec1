//! What an architecture is scored by: its network, and those that the space makes of it with other
//! settings.

use std::sync::Arc;

use ghnas_core::{Architecture, Network, SearchSpace, SpaceError, Task};
use serde::Serialize;

/// Makes networks of architectures.
#[derive(Clone, Copy)]
pub(crate) struct Lowering<'a> {
    /// The space.
    pub space: &'a dyn SearchSpace,
    /// The same with the settings of each of `search.variants`.
    pub variants: &'a [Arc<dyn SearchSpace>],
    /// What networks are for.
    pub task: Task,
}

/// An architecture's networks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Lowered {
    /// The one that is ranked.
    pub network: Network,
    /// Those of `search.variants`, in order.
    pub variants: Vec<Network>,
}

impl Lowering<'_> {
    /// The networks of an architecture.
    ///
    /// # Errors
    /// As [`SearchSpace::lower`].
    pub(crate) fn lower(&self, arch: &Architecture) -> Result<Lowered, SpaceError> {
        let network = self.space.lower(arch, self.task)?;
        let variants = self.variants.iter().map(|space| space.lower(arch, self.task));
        Ok(Lowered { network, variants: variants.collect::<Result<_, _>>()? })
    }
}
