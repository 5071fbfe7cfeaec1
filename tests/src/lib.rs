//! What the tests across crates share: random networks with batches to run them on, and the
//! `ghnas` binary.

pub mod binary;

mod random_network;

pub use random_network::{Case, random_network};
