//! Placeholder.

pub mod data;
