//! What the tests across crates share: random networks with batches to run them on.

mod random_network;

pub use random_network::{Case, random_network};
