//! Data sets: CIFAR-10 from files, the excerpt of it that is built in, and batches drawn from them.
//!
//! Images that a search may see and images to test with have different types: [`DataSet`] holds
//! the training and the validation split, [`TestSplit`] the test images, and neither turns into
//! the other. Whatever ranks architectures takes a [`DataSet`].

mod archive;
mod augment;
mod batches;
mod cifar10;
mod error;
mod excerpt;
mod fetch;
#[cfg(test)]
mod fixture;
mod npm;
mod set;
mod sheet;
mod split;
mod staging;
mod tfjs;

pub use batches::{BatchOptions, Batches};
pub use cifar10::{load_for_search, load_test};
pub use error::DataError;
pub use excerpt::write_excerpt;
pub use fetch::{DataReport, OnProgress, Progress, check, default_dir, fetch, import};
pub use set::{DataSet, ImageSetInfo, Source, Split, TestSplit};
