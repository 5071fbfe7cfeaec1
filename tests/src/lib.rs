//! End-to-end and property tests across crates.
