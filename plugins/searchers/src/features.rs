//! What a predictor sees of an architecture, and how that becomes the inputs of its networks.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Inputs that path encodings have at most: the paths that most of the evaluated architectures
/// have.
const MOST_PATHS: usize = 1024;

/// What is seen of an architecture; of one kind within a search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Features {
    /// Its paths; ascending, each once.
    Paths(Vec<u64>),
    /// Its embedding, of the same length for each.
    Vector(Arc<[f32]>),
}

/// How features become inputs.
#[derive(Debug, PartialEq)]
pub(crate) enum Inputs {
    /// An input a path, by the path; one where an architecture has it.
    Paths(BTreeMap<u64, usize>),
    /// An input an element, standardised.
    Vector(Vec<Scale>),
}

/// The mean that is subtracted from an element, and the factor that it is multiplied by then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    mean: f64,
    factor: f64,
}

impl Inputs {
    /// The inputs for architectures with these features: the paths that are the most frequent among
    /// them, or the elements with the means and standard deviations that they have in them.
    pub(crate) fn of<'a>(known: impl Iterator<Item = &'a Features>) -> Self {
        let (mut paths, mut vectors) = (Vec::new(), Vec::new());
        for features in known {
            match features {
                Features::Paths(own) => paths.extend(own.iter().copied()),
                Features::Vector(own) => vectors.push(&**own),
            }
        }
        match vectors.first() {
            Some(first) => Self::Vector((0..first.len()).map(|i| Scale::of(&vectors, i)).collect()),
            None => Self::Paths(most_frequent(&paths)),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Paths(inputs) => inputs.len(),
            Self::Vector(scales) => scales.len(),
        }
    }

    /// The inputs that are not zero, each with its number. Paths that are no inputs say nothing.
    pub(crate) fn encode(&self, features: &Features) -> Vec<(usize, f32)> {
        match (self, features) {
            (Self::Paths(inputs), Features::Paths(paths)) => {
                paths.iter().filter_map(|path| Some((*inputs.get(path)?, 1.0))).collect()
            }
            (Self::Vector(scales), Features::Vector(vector)) => {
                let scaled = scales.iter().zip(&**vector).map(|(scale, &x)| scale.apply(x));
                (0..).zip(scaled).filter(|(_, x)| *x != 0.0).collect()
            }
            _ => unreachable!("features are of one kind within a search"),
        }
    }
}

impl Scale {
    /// Of the elements at one place. An element that is the same in all becomes zero.
    fn of(vectors: &[&[f32]], place: usize) -> Self {
        let count = vectors.len() as f64;
        let values = || vectors.iter().map(|vector| f64::from(vector[place]));
        let mean = values().sum::<f64>() / count;
        let deviation = (values().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
        // What is left of equal numbers by rounding is no difference.
        let differs = deviation > 1e-6 * mean.abs();
        Self { mean, factor: if differs { 1.0 / deviation } else { 0.0 } }
    }

    fn apply(self, x: f32) -> f32 {
        ((f64::from(x) - self.mean) * self.factor) as f32
    }
}

/// The most frequent paths, numbered.
fn most_frequent(paths: &[u64]) -> BTreeMap<u64, usize> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for path in paths {
        *counts.entry(*path).or_default() += 1;
    }
    let mut order: Vec<(usize, u64)> = counts.into_iter().map(|(path, n)| (n, path)).collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    order.into_iter().take(MOST_PATHS).zip(0..).map(|((_, path), input)| (path, input)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_paths_become_inputs() {
        let many: Vec<u64> = (100..100 + MOST_PATHS as u64).collect();
        let known = [many, vec![5], vec![5]].map(Features::Paths);
        let inputs = Inputs::of(known.iter());
        assert_eq!(inputs.count(), MOST_PATHS);
        assert_eq!(inputs.encode(&Features::Paths(vec![5])), [(0, 1.0)]);
        let last = Features::Paths(vec![99 + MOST_PATHS as u64]);
        assert_eq!(inputs.encode(&last), []);
    }

    #[test]
    fn elements_are_standardised_over_what_is_known() {
        let vector = |x: [f32; 3]| Features::Vector(x.into());
        // Means 2, 0.1 and -3; deviations 1, 0 and 2.
        let known = [vector([1.0, 0.1, -1.0]), vector([3.0, 0.1, -5.0])];
        let inputs = Inputs::of(known.iter());
        assert_eq!(inputs.count(), 3);
        assert_eq!(inputs.encode(&known[0]), [(0, -1.0), (2, 1.0)]);
        assert_eq!(inputs.encode(&vector([2.0, 0.1, 7.0])), [(2, 5.0)]);
        // What differs in nothing known says nothing.
        assert_eq!(inputs.encode(&vector([2.0, 9.0, -3.0])), []);
    }
}
