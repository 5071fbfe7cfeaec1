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

#[cfg(test)]
mod tests {
    use super::*;

    use ghnas_core::{
        Architecture, ArchitectureError, Catalogue, Network, Phase, SpaceError, Task,
    };

    /// One architecture, without mutation.
    struct Point;

    impl SearchSpace for Point {
        fn id(&self) -> &str {
            "point"
        }
        fn sample(&self, _: Phase, _: u64) -> Result<Architecture, SpaceError> {
            Ok(Architecture::new("point", vec![]))
        }
        fn validate(&self, _: &Architecture) -> Result<(), ArchitectureError> {
            Ok(())
        }
        fn lower(&self, _: &Architecture, _: Task) -> Result<Network, SpaceError> {
            Err(SpaceError::Other("a point has no network".into()))
        }
    }

    #[test]
    fn a_space_that_cannot_be_searched_so_is_refused_before_the_search() {
        let (catalogue, space) = (Catalogue::built_in().unwrap(), Arc::new(Point) as _);
        let context = BuildContext { space: Some(&space), ..BuildContext::new(&catalogue) };
        for entry in catalogue.searchers.entries() {
            let settings = &entry.presets[0].settings;
            let error = catalogue.searchers.build(&entry.id, settings, &context).err();
            let expected = match entry.id.as_str() {
                "successive-halving" => None,
                "reinforce" => Some("space 'point' leaves no operation to choose".into()),
                _ => Some("space 'point' has no mutation or crossover; use random".into()),
            };
            let expected =
                expected.map(|reason: String| format!("searcher '{}': {reason}", entry.id));
            assert_eq!(error.map(|error| error.to_string()), expected);
        }
    }
}
