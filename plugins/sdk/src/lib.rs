//! What the author of a plugin depends on.
//!
//! A plugin is written as a built-in is: implement a trait of ghnas-core and register it. One line,
//! [`export_plugin!`], then makes the crate a plugin:
//!
//! ```
//! use ghnas_plugin_sdk::prelude::*;
//!
//! /// The sum of the rectified inputs.
//! pub struct Rectify;
//!
//! impl Operation for Rectify {
//!     fn expand(
//!         &self,
//!         node: &mut NodeBuilder<'_>,
//!         inputs: &[ValueId],
//!         _: OperationContext,
//!     ) -> Result<ValueId, NetworkError> {
//!         let rectified: Result<Vec<_>, _> = inputs.iter().map(|&x| node.relu(x)).collect();
//!         node.add(&rectified?)
//!     }
//! }
//!
//! register!(Operation for Rectify, "rectify", "sum of the rectified inputs", |_| Ok(Rectify));
//! export_plugin!();
//! # fn main() {}
//! ```
//!
//! What happens at the boundary is described in `docs/abi.md`.

mod register;
mod stacked;

mod export;
mod host;
mod shim;

mod generator;
mod operation;
mod propagator;
mod searcher;
mod space;

pub use ghnas_core as core;
pub use ghnas_plugin_abi as abi;
pub use register::Registered;
pub use stacked::{Motifs, StackedSpace};

/// The stream of random numbers that [`core::rng::stream`] gives.
pub type Rng = rand_chacha::ChaCha8Rng;

/// Everything that a plugin's file usually needs.
pub mod prelude {
    pub use ghnas_core::registry::{BuildContext, default_preset, from_settings, settings_of};
    pub use ghnas_core::rng::stream;
    pub use ghnas_core::*;
    pub use rand::RngExt;
    pub use rand::seq::{IndexedRandom, SliceRandom};

    pub use crate::{Motifs, Registered, Rng, StackedSpace, export_plugin, register};
}

#[doc(hidden)]
pub use export::{entry, header};
#[doc(hidden)]
pub use register::{made, made_with};
