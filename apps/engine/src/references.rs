//! Lets few images stand for many: what each of them counts for in a loss.
//!
//! Networks with generated weights differ little, and which of them is ahead depends on the images:
//! on some, those with many convolutions are, on others, those with few. So the losses of all
//! networks on an image are nearly a sum of a few patterns, and some networks whose losses on many
//! images are known tell how much of each pattern a few images have too much of. Weights of these
//! images that bring the known networks right bring the others right too. In survey sampling that
//! is the regression or calibration estimator (Deville and Saerndal, 1992). How much it gains is in
//! docs/results/nas-bench-201-trials.md.

use std::collections::BTreeMap;

use ghnas_core::{Phase, rng};

use crate::config::Config;
use crate::error::EngineError;
use crate::lowering::{Lowered, Lowering};
use crate::observer::Context;
use crate::parts::Parts;
use crate::scorer::{ScoreError, Scorer, mean};
use crate::scratch::{Jobs, run_jobs};
use crate::spares::{Pool, Seat};

/// How far the references' means may stay from what they should be, as a share of their losses'
/// mean square: with none, weights would follow what is chance in them.
const RIDGE: f64 = 1e-4;

/// What the row that keeps the weights' sum has, beside losses of about one nat.
const CONSTANT: f64 = 10.0;

/// A scorer on the images of `scorer`, each of which counts for as much as `search.references`
/// sampled architectures say, which are scored in `seats` with the trained generator, as many at a
/// time as there are; `scorer` itself where no architecture is to say it.
///
/// # Errors
/// [`EngineError::Interrupted`] after an interrupt; otherwise what failed. References that have no
/// score are left out, and the observer is told.
pub(crate) fn refer(
    scorer: Scorer,
    config: &Config,
    parts: &Parts,
    seats: &Pool<Seat>,
    context: &mut Context<'_>,
) -> Result<Scorer, EngineError> {
    let (search, of) = (&config.search, config.search.references);
    if of == 0 {
        return Ok(scorer);
    }
    let wide = Scorer::on(&parts.data, search.reference_images, search);
    let images = (scorer.image_count() + wide.image_count()) as f64;
    let threads = seats.idle();
    let scorers = Pool::new(vec![(scorer.clone(), wide); threads]);
    let (lowering, interrupt) = (parts.lowering(), context.interrupt.clone());
    let score = |&index: &u64| {
        if interrupt.is_requested() {
            return Ok(None);
        }
        let lowered = match sample(config, lowering, index) {
            Ok(lowered) => lowered,
            Err(words) => return Ok(Some((index, Err(words)))),
        };
        let both = scorers.lend(|(few, wide)| {
            seats.lend(|seat| -> Result<_, ScoreError> {
                let few = seat.losses_on(few, &lowered)?.to_vec();
                let many = seat.losses_on(wide, &lowered)?;
                Ok((few, mean(many.iter().copied())))
            })
        });
        let what = || format!("reference architecture {index}");
        let both = match both {
            Ok(both) => Ok(both),
            Err(error) => Err(error.of_network(what)?),
        };
        Ok(Some((index, both)))
    };
    let jobs: Vec<u64> = (0..of as u64).collect();
    let jobs = Jobs { jobs: &jobs, unit: "references", images, threads };
    // In the order of their numbers, whichever ends first.
    let mut references = BTreeMap::new();
    run_jobs(&jobs, context, score, |(index, both)| {
        let loss = both.as_ref().ok().map(|(_, mean)| *mean);
        references.insert(index, both);
        Ok(loss)
    })?;
    let (mut losses, mut means, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for reference in references.into_values() {
        match reference {
            Ok((few, many)) => {
                losses.push(few);
                means.push(many);
            }
            Err(words) => failed.push(words),
        }
    }
    if let Some(words) = failed.last() {
        let count = failed.len();
        context.observer.message(&format!(
            "{count} of {of} reference architectures have no score, the last because: {words}"
        ));
    }
    let weights = image_weights(scorer.image_count(), &losses, &means);
    Ok(scorer.weighted(weights))
}

/// The networks of reference `index`, or what is wrong with it in words.
fn sample(config: &Config, lowering: Lowering<'_>, index: u64) -> Result<Lowered, String> {
    let seed = rng::derive_seed(config.seed, "reference-arch", index);
    let arch = lowering.space.sample(Phase::Score, seed);
    arch.and_then(|arch| lowering.lower(&arch)).map_err(|error| error.to_string())
}

/// The weights w of `images` images that are nearest to 1 / images each, such that the sums of
/// references' losses [references, images], each image times its weight, are nearly their `means`,
/// and the weights' sum is nearly 1: with A the losses and a row of constants below them, b what
/// they should be and u the equal weights,
///
/// w = u + A^T (A A^T + ridge I)^-1 (b - A u)
fn image_weights(images: usize, losses: &[Vec<f64>], means: &[f64]) -> Vec<f64> {
    let equal = 1.0 / images as f64;
    let constant = vec![CONSTANT; images];
    let rows: Vec<&[f64]> = losses.iter().chain([&constant]).map(Vec::as_slice).collect();
    let goals = means.iter().copied().chain([CONSTANT]);
    let missing: Vec<f64> =
        rows.iter().zip(goals).map(|(row, goal)| goal - equal * row.iter().sum::<f64>()).collect();
    let mut products: Vec<Vec<f64>> =
        rows.iter().map(|one| rows.iter().map(|other| dot(one, other)).collect()).collect();
    let trace: f64 = (0..rows.len()).map(|index| products[index][index]).sum();
    let ridge = RIDGE * trace / rows.len() as f64;
    (0..rows.len()).for_each(|index| products[index][index] += ridge);
    let shares = solve(products, missing);
    let weight = |image: usize| {
        equal + rows.iter().zip(&shares).map(|(row, share)| row[image] * share).sum::<f64>()
    };
    (0..images).map(weight).collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// The x of `matrix` x = `right`, by Cholesky's decomposition; `matrix` is symmetric and positive
/// definite.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    // The lower triangle becomes L of L L^T.
    for row in 0..size {
        for column in 0..=row {
            let rest = matrix[row][column] - dot(&matrix[row][..column], &matrix[column][..column]);
            matrix[row][column] =
                if row == column { rest.sqrt() } else { rest / matrix[column][column] };
        }
    }
    for row in 0..size {
        let known = dot(&matrix[row][..row], &right[..row]);
        right[row] = (right[row] - known) / matrix[row][row];
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|below| matrix[below][row] * right[below]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::observer::{Interrupt, Silent};
    use crate::toy::{self, Ticks};

    /// Losses of networks that are made of three patterns over images and a little chance.
    fn drawn(networks: usize, images: usize) -> Vec<Vec<f64>> {
        let mut rng = rng::stream(5, "references-test", 0);
        let mut value = || rng.random::<f64>() - 0.5;
        let patterns: Vec<Vec<f64>> =
            (0..3).map(|_| (0..images).map(|_| value()).collect()).collect();
        let mut network = || {
            let shares = [value(), value(), value()];
            let loss = |image: usize| {
                let own =
                    patterns.iter().zip(shares).map(|(pattern, share)| pattern[image] * share);
                1.0 + own.sum::<f64>() + 0.01 * value()
            };
            (0..images).map(loss).collect()
        };
        (0..networks).map(|_| network()).collect()
    }

    /// Mean square of what the estimates miss, over networks.
    fn miss(networks: &[Vec<f64>], weights: &[f64]) -> f64 {
        let one = |losses: &Vec<f64>| {
            (dot(&losses[..weights.len()], weights) - mean(losses.iter().copied())).powi(2)
        };
        mean(networks.iter().map(one))
    }

    #[test]
    fn few_images_stand_for_many() {
        let (few, all) = (40, drawn(60, 2000));
        let (references, others) = all.split_at(20);
        let losses: Vec<Vec<f64>> = references.iter().map(|row| row[..few].to_vec()).collect();
        let means: Vec<f64> = references.iter().map(|row| mean(row.iter().copied())).collect();
        let weights = image_weights(few, &losses, &means);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-2);
        let equal = vec![1.0 / few as f64; few];
        let (with, without) = (miss(others, &weights), miss(others, &equal));
        assert!(with < without / 20.0, "{with} with references, {without} without");
    }

    #[test]
    fn no_reference_leaves_equal_weights() {
        let weights = image_weights(8, &[], &[]);
        assert!(weights.iter().all(|weight| (weight - 0.125).abs() < 1e-12), "{weights:?}");
    }

    #[test]
    fn weights_are_the_same_however_many_references_are_scored_at_a_time() {
        let few = ["search.images=6", "search.reference_images=12"];
        let config = toy::config(&[&few[..], &["search.references=7"]].concat());
        let mut parts = toy::parts(&config);
        let network = parts.space.lower(&toy::chain(&["wide", "narrow"]), parts.task()).unwrap();
        let plain = Scorer::of(&parts.data, &config.search);
        let refer = |parts: &Parts, threads| {
            let (clock, interrupt) = (Ticks::default(), Interrupt::default());
            let mut context = Context { observer: &mut Silent, interrupt, clock: &clock };
            let seats = toy::spares(threads).seats(&config, &plain, &*parts.generator).unwrap();
            refer(plain.clone(), &config, parts, &seats, &mut context).unwrap()
        };
        let scorers = [1, 3].map(|threads| refer(&parts, threads));
        let [plain, one, several] = [plain.clone(), scorers[0].clone(), scorers[1].clone()]
            .map(|mut it| it.score(&network, &mut *parts.generator, &mut *parts.executor).unwrap());
        assert!(one == several && one != plain, "{one:?}, {several:?}, {plain:?}");
    }

    /// A = [[2, 1], [1, 3]], x = [1, -2].
    #[test]
    fn solves_by_decomposition() {
        let x = solve(vec![vec![2.0, 1.0], vec![1.0, 3.0]], vec![0.0, -5.0]);
        assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] + 2.0).abs() < 1e-12, "{x:?}");
    }
}
