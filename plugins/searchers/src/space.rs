//! What searchers ask of the space that they search.

use std::sync::Arc;

use ghnas_core::{BuildContext, SearchSpace};

/// The space, for a searcher that makes architectures itself.
///
/// # Errors
/// In words, where there is none.
pub(crate) fn needed<'a>(context: &BuildContext<'a>) -> Result<&'a Arc<dyn SearchSpace>, String> {
    context.space.ok_or_else(|| "it makes architectures itself, and was given no space".into())
}

/// Refuses a space without mutation and crossover before the search begins.
///
/// # Errors
/// In words, with the space.
pub(crate) fn evolves(context: &BuildContext<'_>) -> Result<(), String> {
    match context.space {
        Some(space) if space.evolve().is_none() => {
            Err(format!("space '{}' has no mutation or crossover; use random", space.id()))
        }
        _ => Ok(()),
    }
}
