//! Search spaces: which architectures exist, and which network each one is.

use serde::{Deserialize, Serialize};

use crate::architecture::{Architecture, ArchitectureError};
use crate::network::{Network, NetworkError};
use crate::shape::Shape;

/// What an architecture is sampled for. A space may use smaller graphs for training the weight
/// generator than for the search itself (section 5.4, Figure 5a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// To train the weight generator.
    Train,
    /// To be scored.
    Score,
}

/// What the network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The shape of one image.
    pub image: Shape,
    /// The number of classes.
    pub classes: usize,
}

impl Task {
    /// CIFAR-10: 32 x 32 colour images of ten classes.
    pub const CIFAR10: Self = Self { image: Shape::new(3, 32, 32), classes: 10 };
}

/// Why a space cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The architecture is not one of the space.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The architecture has no network for this task and these settings.
    #[error("cannot lower the architecture: {0}")]
    Network(#[from] NetworkError),
    /// An index past the end of an enumeration.
    #[error("there is no architecture {index}; the space has {size}, counted from 0")]
    Index {
        /// The index asked for.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// Anything else, such as a plugin's own words.
    #[error("{0}")]
    Other(String),
    /// The space itself broke: whatever it is asked, it has no answer in this process.
    #[error("{0}")]
    Broken(String),
}

/// A search space (sections 5.1 and 7.1).
pub trait SearchSpace: Send + Sync {
    /// The id that its architectures carry.
    fn id(&self) -> &str;

    /// A random architecture in canonical order; a function of `phase` and `seed` alone.
    ///
    /// # Errors
    /// [`SpaceError`] where the settings leave nothing to sample.
    fn sample(&self, phase: Phase, seed: u64) -> Result<Architecture, SpaceError>;

    /// Checks that `arch` is one of this space.
    ///
    /// # Errors
    /// [`ArchitectureError`] names the motif and node that break a rule.
    fn validate(&self, arch: &Architecture) -> Result<(), ArchitectureError>;

    /// The network of `arch`.
    ///
    /// # Errors
    /// [`SpaceError`] where the architecture is not of this space or does not fit the task.
    fn lower(&self, arch: &Architecture, task: Task) -> Result<Network, SpaceError>;

    /// Reads the space's own notation; by default JSON.
    ///
    /// # Errors
    /// [`ArchitectureError`] says where the text is wrong.
    fn parse(&self, text: &str) -> Result<Architecture, ArchitectureError> {
        let arch: Architecture = text.parse()?;
        self.validate(&arch)?;
        Ok(arch)
    }

    /// Writes the space's own notation, on one line; by default JSON. [`parse`](Self::parse) reads
    /// it as an architecture of the same hash. What is not of the space is written as JSON.
    fn format(&self, arch: &Architecture) -> String {
        arch.to_string()
    }

    /// Mutation and crossover, where the space has them.
    fn evolve(&self) -> Option<&dyn Evolve> {
        None
    }

    /// All architectures one by one, where the space can count them.
    fn enumerate(&self) -> Option<&dyn Enumerate> {
        None
    }
}

/// All architectures of a space, in an order that the space documents and never changes.
///
/// No two are written the same. Isomorphic ones, which have one hash, may occur more than once: a
/// space that others enumerated has as many architectures as they count.
pub trait Enumerate: Send + Sync {
    /// How many there are.
    fn size(&self) -> u64;

    /// The architecture at `index`, from 0; its nodes need not be in canonical order.
    ///
    /// # Errors
    /// [`SpaceError::Index`] where `index` is not below the size.
    fn nth(&self, index: u64) -> Result<Architecture, SpaceError>;
}

/// Mutation and crossover. Parents are never changed.
pub trait Evolve: Send + Sync {
    /// A neighbour of `arch`; a function of the architecture and `seed` alone.
    ///
    /// # Errors
    /// [`SpaceError`] where `arch` is not of the space.
    fn mutate(&self, arch: &Architecture, seed: u64) -> Result<Architecture, SpaceError>;

    /// A child of two architectures; a function of them and `seed` alone.
    ///
    /// # Errors
    /// [`SpaceError`] where a parent is not of the space.
    fn cross(
        &self,
        first: &Architecture,
        second: &Architecture,
        seed: u64,
    ) -> Result<Architecture, SpaceError>;
}
