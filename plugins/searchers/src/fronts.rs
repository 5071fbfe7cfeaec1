//! Fast non-dominated sorting and crowding distances (Deb, Pratap, Agarwal, Meyarivan 2002,
//! sections III-A and III-B), for two objectives that are minimised.

/// A candidate's objectives; none is NaN.
pub(crate) type Point = [f64; 2];

/// Whether `a` is nowhere worse than `b` and somewhere better.
pub(crate) fn dominates(a: &Point, b: &Point) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a != b
}

/// The points in fronts, each by ascending position: the first is dominated by none, each further
/// one by none but those before.
pub(crate) fn fronts(points: &[Point]) -> Vec<Vec<usize>> {
    let mut dominated: Vec<Vec<usize>> = vec![Vec::new(); points.len()];
    // How many points that are in no front yet dominate each.
    let mut dominators = vec![0_usize; points.len()];
    for (a, first) in points.iter().enumerate() {
        for (b, second) in points.iter().enumerate() {
            if dominates(first, second) {
                dominated[a].push(b);
                dominators[b] += 1;
            }
        }
    }
    let mut fronts = Vec::new();
    let mut front: Vec<usize> = (0..points.len()).filter(|&i| dominators[i] == 0).collect();
    while !front.is_empty() {
        let mut next = Vec::new();
        for &b in front.iter().flat_map(|&a| &dominated[a]) {
            dominators[b] -= 1;
            if dominators[b] == 0 {
                next.push(b);
            }
        }
        next.sort_unstable();
        fronts.push(std::mem::replace(&mut front, next));
    }
    fronts
}

/// The crowding distance of each point of a front, in its order: the sum over objectives of the
/// gap between its neighbours, in parts of the front's extent; infinite at the ends.
pub(crate) fn crowding(points: &[Point], front: &[usize]) -> Vec<f64> {
    let mut distances = vec![0.0; front.len()];
    let mut order: Vec<usize> = (0..front.len()).collect();
    for objective in [0, 1] {
        let value = |place: usize| points[front[place]][objective];
        order.sort_by(|&a, &b| value(a).total_cmp(&value(b)).then(a.cmp(&b)));
        let (Some(&first), Some(&last)) = (order.first(), order.last()) else { break };
        let extent = value(last) - value(first);
        distances[first] = f64::INFINITY;
        distances[last] = f64::INFINITY;
        if extent > 0.0 {
            for neighbours in order.windows(3) {
                let [before, place, after] = [0, 1, 2].map(|i| neighbours[i]);
                distances[place] += (value(after) - value(before)) / extent;
            }
        }
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fronts_are_what_is_left_undominated_round_by_round(
            points in proptest::collection::vec((0_u8..12, 0_u8..12), 0..40)
        ) {
            let points: Vec<Point> =
                points.iter().map(|&(a, b)| [f64::from(a), f64::from(b)]).collect();
            let mut left: Vec<usize> = (0..points.len()).collect();
            let mut expected = Vec::new();
            while !left.is_empty() {
                let (front, rest): (Vec<usize>, Vec<usize>) = left.iter().partition(|&&i| {
                    !left.iter().any(|&j| {
                        let ([a, b], [c, d]) = (points[j], points[i]);
                        (a <= c && b < d) || (a < c && b <= d)
                    })
                });
                expected.push(front);
                left = rest;
            }
            prop_assert_eq!(fronts(&points), expected);
        }
    }

    #[test]
    fn crowding_is_the_gap_between_neighbours() {
        let points = [[0.0, 10.0], [9.0, 0.0], [1.0, 8.0], [4.0, 2.0], [7.0, 7.0]];
        let front = [0, 1, 2, 3];
        let expected = [
            f64::INFINITY,
            f64::INFINITY,
            (4.0 - 0.0) / 9.0 + (10.0 - 2.0) / 10.0,
            (9.0 - 1.0) / 9.0 + (8.0 - 0.0) / 10.0,
        ];
        assert_eq!(crowding(&points, &front), expected);
        assert_eq!(crowding(&points, &[4]), [f64::INFINITY]);
        // Equal points are at no distance, and are not divided by it.
        assert_eq!(crowding(&[[1.0, 1.0]; 3], &[0, 1, 2])[1], 0.0);
    }
}
