//! The division of a training set into images to train on and images to validate with.

use ghnas_core::rng;
use rand::seq::SliceRandom;

use super::DataError;

/// Positions in a training set, in ascending order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Division {
    /// To train on.
    pub(super) train: Vec<usize>,
    /// To validate with.
    pub(super) validation: Vec<usize>,
}

/// Chooses `validation` of the images with these `labels`, the same number of every class (one
/// more of the first classes where it does not divide evenly), by a shuffle that `seed` fixes.
///
/// # Errors
/// [`DataError::Validation`] where a class would be missing from either split.
pub(super) fn divide(
    labels: &[u16],
    classes: usize,
    validation: usize,
    seed: u64,
) -> Result<Division, DataError> {
    let mut of_class = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        of_class[usize::from(label)].push(index);
    }
    let rarest = of_class.iter().map(Vec::len).min().unwrap_or(0);
    let most = classes * rarest.saturating_sub(1);
    if !(classes..=most).contains(&validation) {
        let images = labels.len();
        return Err(DataError::Validation { got: validation, images, least: classes, most });
    }
    let mut rng = rng::stream(seed, "split", 0);
    let mut division = Division { train: Vec::new(), validation: Vec::new() };
    for (class, mut indices) in of_class.into_iter().enumerate() {
        let share = validation / classes + usize::from(class < validation % classes);
        indices.shuffle(&mut rng);
        division.train.extend(indices.split_off(share));
        division.validation.extend(indices);
    }
    division.train.sort_unstable();
    division.validation.sort_unstable();
    Ok(division)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twelve images of three classes, in turn.
    const LABELS: [u16; 12] = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2];

    fn counts(indices: &[usize]) -> [usize; 3] {
        let mut counts = [0; 3];
        indices.iter().for_each(|&index| counts[usize::from(LABELS[index])] += 1);
        counts
    }

    #[test]
    fn every_image_is_in_exactly_one_split_and_classes_are_balanced() {
        for validation in 3..=9 {
            let Division { train, validation: held_out } =
                divide(&LABELS, 3, validation, 5).unwrap();
            assert_eq!(held_out.len(), validation);
            let counts = counts(&held_out);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            let mut all = [train, held_out].concat();
            all.sort_unstable();
            assert_eq!(all, (0..12).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_seed_fixes_the_split() {
        let split = |seed| divide(&LABELS, 3, 6, seed).unwrap();
        assert_eq!(split(1), split(1));
        assert!((2..10).any(|seed| split(seed) != split(1)));
    }

    #[test]
    fn a_class_may_not_vanish_from_a_split() {
        for validation in [0, 2, 10, 12, 13, usize::MAX] {
            let error = divide(&LABELS, 3, validation, 0).unwrap_err().to_string();
            assert!(error.contains("of 12 training images, 3 to 9 can be kept"), "{error}");
        }
        assert!(divide(&[], 3, 3, 0).is_err());
    }
}
