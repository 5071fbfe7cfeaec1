//! Laws of slices and tiles of the largest kernel (section 7.2).

use ghnas_core::{Slicing, SlicingError};
use proptest::prelude::*;

/// A shape of one to four dimensions whose sides are at most `most`.
fn shape(rank: usize, most: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..=most, rank)
}

/// A largest shape, and a shape that can be cut from it or tiled with it.
fn pair() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    (1usize..=4).prop_flat_map(|rank| shape(rank, 5)).prop_flat_map(|largest| {
        let side = |(axis, &most): (usize, &usize)| 1..=if axis < 2 { 3 * most } else { most };
        let sides: Vec<_> = largest.iter().enumerate().map(side).collect();
        (Just(largest), sides)
    })
}

/// Three shapes, each within the one before.
fn nested() -> impl Strategy<Value = [Vec<usize>; 3]> {
    let within = |outer: &[usize]| outer.iter().map(|&most| 1..=most).collect::<Vec<_>>();
    (1usize..=4)
        .prop_flat_map(|rank| shape(rank, 8))
        .prop_flat_map(move |outer| (within(&outer), Just(outer)))
        .prop_flat_map(move |(middle, outer)| (within(&middle), Just(middle), Just(outer)))
        .prop_map(|(inner, middle, outer)| [outer, middle, inner])
}

fn slicing(largest: &[usize], shape: &[usize]) -> Slicing {
    Slicing::new(largest, shape).expect("the shape fits")
}

/// Small whole numbers, whose sums and products are exact.
fn whole_numbers(length: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-9i8..=9).prop_map(f32::from), length)
}

proptest! {
    #[test]
    fn slice_of_slice_is_slice([outer, middle, inner] in nested()) {
        let first: Vec<usize> = slicing(&outer, &middle).indices().collect();
        let through: Vec<usize> =
            slicing(&middle, &inner).indices().map(|index| first[index]).collect();
        prop_assert_eq!(through, slicing(&outer, &inner).indices().collect::<Vec<_>>());
    }

    #[test]
    fn a_slice_is_a_centred_box([outer, inner, _] in nested()) {
        let indices: Vec<usize> = slicing(&outer, &inner).indices().collect();
        let (first, last) = (indices[0], *indices.last().unwrap());
        let mut stride = 1;
        for (&whole, &part) in outer.iter().zip(&inner).rev() {
            let (before, end) = (first / stride % whole, last / stride % whole);
            prop_assert_eq!(end - before + 1, part);
            prop_assert!(before.abs_diff(whole - 1 - end) <= 1, "{before} before, {end} last");
            stride *= whole;
        }
        let mut sorted = indices.clone();
        sorted.dedup();
        prop_assert!(sorted.len() == indices.len() && indices.is_sorted());
    }

    #[test]
    fn the_whole_is_a_slice_of_itself(largest in (1usize..=4).prop_flat_map(|rank| shape(rank, 6))) {
        let identity = slicing(&largest, &largest);
        let all: Vec<usize> = (0..identity.len()).collect();
        prop_assert_eq!(identity.indices().collect::<Vec<_>>(), all);
    }

    /// <cut(x), g> = <x, add_gradient(g)>, and what was there before stays.
    #[test]
    fn the_gradient_of_a_slice_is_its_adjoint(
        (slicing, largest, gradient, before) in pair().prop_flat_map(|(largest, shape)| {
            let slicing = slicing(&largest, &shape);
            let (outer, inner) = (slicing.largest_len(), slicing.len());
            (Just(slicing), whole_numbers(outer), whole_numbers(inner), whole_numbers(outer))
        })
    ) {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let mut cut = vec![f32::NAN; slicing.len()];
        slicing.cut(&largest, &mut cut);
        let mut after = before.clone();
        slicing.add_gradient(&gradient, &mut after);
        let added: Vec<f32> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        prop_assert_eq!(dot(&cut, &gradient), dot(&largest, &added));
    }

    #[test]
    fn the_gradient_lands_in_its_place_and_nowhere_else((largest, shape) in pair()) {
        let slicing = slicing(&largest, &shape);
        let mut landed = vec![0.0; slicing.largest_len()];
        slicing.add_gradient(&vec![1.0; slicing.len()], &mut landed);
        let mut uses = vec![0.0; slicing.largest_len()];
        slicing.indices().for_each(|index| uses[index] += 1.0);
        prop_assert_eq!(landed, uses);
    }

    #[test]
    fn tiles_cover_every_element_of_the_largest_about_equally(
        (largest, times) in (1usize..=4)
            .prop_flat_map(|rank| (shape(rank, 5), prop::collection::vec(1usize..=3, rank)))
    ) {
        let tiled = largest.iter().zip(&times).enumerate();
        let tiled: Vec<usize> =
            tiled.map(|(axis, (&side, &times))| if axis < 2 { side * times } else { side }).collect();
        let copies: usize = times.iter().take(2).product();
        let slicing = slicing(&largest, &tiled);
        let mut uses = vec![0; slicing.largest_len()];
        slicing.indices().for_each(|index| uses[index] += 1);
        prop_assert_eq!(uses, vec![copies; slicing.largest_len()]);
    }

    /// Any two shapes either fit, and then every index lies inside, or are refused by name.
    #[test]
    fn shapes_fit_or_are_refused(
        largest in prop::collection::vec(0usize..=4, 0..=5),
        shape in prop::collection::vec(0usize..=6, 0..=5),
    ) {
        match Slicing::new(&largest, &shape) {
            Ok(slicing) => {
                prop_assert_eq!(slicing.indices().count(), shape.iter().product::<usize>());
                prop_assert!(slicing.indices().all(|index| index < slicing.largest_len()));
            }
            Err(SlicingError::Rank { .. }) => prop_assert_ne!(largest.len(), shape.len()),
            Err(SlicingError::Empty { .. }) => {
                let empty = largest.contains(&0) || shape.contains(&0);
                prop_assert!(empty || shape.is_empty() || shape.len() > 4);
            }
            Err(SlicingError::Kernel { .. }) => {
                let sides = largest.iter().zip(&shape).skip(2);
                prop_assert!(sides.into_iter().any(|(largest, shape)| shape > largest));
            }
        }
    }
}
