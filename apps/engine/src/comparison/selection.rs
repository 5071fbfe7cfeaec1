//! Which architectures are the better half, and what is lost by a method's choice.

use std::cmp::Ordering;

/// Positions by descending value; ties by ascending hash.
pub(super) fn best_first(
    positions: impl Iterator<Item = usize>,
    value: impl Fn(usize) -> f64,
    hashes: &[String],
) -> Vec<usize> {
    let mut order: Vec<usize> = positions.collect();
    let compare = |&a: &usize, &b: &usize| match value(b).partial_cmp(&value(a)) {
        Some(Ordering::Equal) | None => hashes[a].cmp(&hashes[b]),
        Some(order) => order,
    };
    order.sort_by(compare);
    order
}

/// Writes to `half` the better half of the multiset `counts`, an odd one rounded up. `by_truth`
/// are all positions, the best first; the last one taken may be taken in part.
pub(super) fn better_half(by_truth: &[usize], counts: &[u32], half: &mut Vec<u32>) {
    half.clear();
    half.resize(counts.len(), 0);
    let mut left = counts.iter().sum::<u32>().div_ceil(2);
    for &position in by_truth {
        half[position] = counts[position].min(left);
        left -= half[position];
    }
}

/// The best truth of all less the best truth among a method's `k` best, over the distinct
/// architectures that occur in `counts`; nothing where the method has scored fewer than `k` of
/// them. `by_score` are the positions that the method has scored, its best first.
pub(super) fn regret(
    truth: &[f64],
    by_truth: &[usize],
    by_score: &[usize],
    counts: &[u32],
    k: usize,
) -> Option<f64> {
    let occurs = |position: &&usize| counts[**position] > 0;
    let best = *by_truth.iter().find(occurs)?;
    let mut chosen = 0;
    let best_chosen =
        by_score.iter().filter(occurs).take(k).fold(f64::NEG_INFINITY, |best, &at| {
            chosen += 1;
            best.max(truth[at])
        });
    (chosen == k).then(|| truth[best] - best_chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes() -> Vec<String> {
        ["d", "a", "c", "b"].map(String::from).to_vec()
    }

    #[test]
    fn ties_at_the_boundary_go_by_hash() {
        let truth = [0.5, 0.7, 0.5, 0.5];
        let order = best_first(0..4, |at| truth[at], &hashes());
        assert_eq!(order, [1, 3, 2, 0]);
        let mut half = Vec::new();
        better_half(&order, &[1; 4], &mut half);
        assert_eq!(half, [0, 1, 0, 1]);
        better_half(&order, &[0, 1, 3, 1], &mut half);
        assert_eq!(half, [0, 1, 1, 1], "one of the three copies is in the half");
    }

    #[test]
    fn regret_is_what_the_best_choice_misses() {
        let (truth, scores) = ([0.9, 0.7, 0.8, 0.6], [1.0, 4.0, 3.0, 2.0]);
        let by_truth = best_first(0..4, |at| truth[at], &hashes());
        let by_score = best_first(0..4, |at| scores[at], &hashes());
        let regret = |counts: &[u32], k| regret(&truth, &by_truth, &by_score, counts, k);
        assert_eq!(regret(&[1; 4], 1), Some(0.9 - 0.7));
        assert_eq!(regret(&[1; 4], 3), Some(0.9 - 0.8));
        assert_eq!(regret(&[1; 4], 4), Some(0.0));
        assert_eq!(regret(&[1; 4], 5), None);
        assert_eq!(regret(&[0, 0, 1, 2], 1), Some(0.0));
    }
}
