//! Searchers beyond random search. Registers `regularized-evolution`, `local-search`, `reinforce`,
//! `bananas`, `successive-halving` and `nsga2`.
//!
//! Each is a `Strategy` of `ask_tell`: what to evaluate next, and what an outcome teaches.
//! Counting candidates, matching outcomes to commands and saving are written once, in `ask_tell`.
//! All minimise the objective; a candidate whose objective is not finite counts as an evaluation
//! and teaches nothing.

mod ask_tell;
mod bits;
mod range;
mod space;

mod regularized_evolution;
mod successive_halving;

mod fronts;
mod nsga2;

mod local_search;
mod template;

mod lstm;
mod policy;
mod reinforce;

mod bananas;
mod features;
mod mlp;
mod path_encoding;
mod predictor;

pub use bananas::{BananasSettings, Encoding};
pub use local_search::LocalSearchSettings;
pub use nsga2::Nsga2Settings;
pub use policy::Controller;
pub use regularized_evolution::RegularizedEvolutionSettings;
pub use reinforce::ReinforceSettings;
pub use successive_halving::SuccessiveHalvingSettings;
