//! NASWOT (Mellor et al. 2021): the log-determinant of the kernel of binary codes.
//!
//! Each rectifier's units are on or off for an image; the code of an image is all of them. Entry
//! (i, j) of the kernel is the number of units that agree on images i and j. The more the codes of
//! different images differ, the larger its determinant. Weights are drawn once (He et al. 2015),
//! batch norms use the statistics of the batch.

use ghnas_core::{BATCH_NORM_EPSILON, Images, Network, Proxy, ProxyError, Shape, Weights};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::forward::{Rules, run};
use crate::initial::he_normal;

/// Settings of the proxy `naswot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NaswotSettings {
    /// Images that are looked at, the first of the batch; at least 2. Fewer where the batch has
    /// fewer.
    pub batch: usize,
}

impl Default for NaswotSettings {
    fn default() -> Self {
        Self { batch: 32 }
    }
}

/// The proxy `naswot`.
pub(crate) struct Naswot {
    settings: NaswotSettings,
    seed: u64,
    pool: ThreadPool,
}

impl Naswot {
    /// # Errors
    /// In words, where the settings make no sense.
    pub(crate) fn new(
        settings: NaswotSettings,
        seed: u64,
        pool: ThreadPool,
    ) -> Result<Self, String> {
        if settings.batch < 2 {
            return Err(format!("batch = {}: codes are compared, so it takes 2", settings.batch));
        }
        Ok(Self { settings, seed, pool })
    }
}

impl Proxy for Naswot {
    fn score(&mut self, network: &Network, images: Images<'_>) -> Result<f64, ProxyError> {
        let error = |words: String| Err(ProxyError(words));
        let (count, length) = (images.count.min(self.settings.batch), network.input().elements());
        if count < 2 {
            return error(format!("{count} image(s), but codes are compared, so it takes 2"));
        }
        if images.data.len() != images.count * length {
            let (got, images) = (images.data.len(), images.count);
            return error(format!("{got} values for {images} images of {}", network.input()));
        }
        let images = &images.data[..count * length];
        if let Some(at) = images.iter().position(|value| !value.is_finite()) {
            return error(format!("image {} has a value that is not finite", at / length));
        }
        let weights = he_normal(network, self.seed);
        self.pool.install(|| log_determinant(network, &weights, images))
    }
}

/// The score of a network with these weights on these images, [count, network input].
pub(crate) fn log_determinant(
    network: &Network,
    weights: &Weights,
    images: &[f32],
) -> Result<f64, ProxyError> {
    let mut codes = Codes::new(images.len() / network.input().elements());
    run(network, weights, images.to_vec(), &mut codes);
    codes.log_determinant()
}

/// The codes of all images.
#[derive(Debug)]
pub(crate) struct Codes {
    /// A word for each 64 units of a rectifier, its last one filled up with zeros.
    words: Vec<Vec<u64>>,
    units: usize,
    /// Whether every rectifier has read finite values only.
    finite: bool,
}

impl Codes {
    pub(crate) fn new(count: usize) -> Self {
        Self { words: vec![Vec::new(); count], units: 0, finite: true }
    }

    /// In how many units two codes differ.
    fn distance(&self, i: usize, j: usize) -> usize {
        let words = self.words[i].iter().zip(&self.words[j]);
        words.map(|(a, b)| (a ^ b).count_ones() as usize).sum()
    }

    pub(crate) fn log_determinant(&self) -> Result<f64, ProxyError> {
        if self.units == 0 {
            return Err(ProxyError("it has no rectifier, so its images have no codes".into()));
        }
        if !self.finite {
            return Err(ProxyError("its activations are not finite".into()));
        }
        let count = self.words.len();
        let row = |i: usize| -> Vec<f64> {
            (0..=i).map(|j| (self.units - self.distance(i, j)) as f64).collect()
        };
        // Lower triangle. Where implementations in NumPy give minus infinity, this has no score.
        log_determinant_of((0..count).map(row).collect()).ok_or_else(|| {
            let pairs = (0..count).flat_map(|i| (0..i).map(move |j| (j, i)));
            let mut equal = pairs.filter(|&(i, j)| self.distance(i, j) == 0);
            ProxyError(match equal.next() {
                Some((i, j)) => {
                    format!("images {i} and {j} have the same code, so the kernel is singular")
                }
                None => "the kernel of its codes is singular; use fewer images".into(),
            })
        })
    }
}

impl Rules<f32> for Codes {
    fn batch_norm(
        &mut self,
        input: &[f32],
        shape: Shape,
        scale: Option<&[f32]>,
        shift: Option<&[f32]>,
    ) -> Vec<f32> {
        let (pixels, elements) = (shape.pixels(), shape.elements());
        let planes = |channel: usize| {
            input.chunks_exact(elements).map(move |image| &image[channel * pixels..][..pixels])
        };
        // Factor and summand of each channel.
        let affine = |channel: usize| {
            let n = (input.len() / shape.channels) as f64;
            let values = || planes(channel).flatten().map(|&x| f64::from(x));
            let mean = values().sum::<f64>() / n;
            let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let inverse = 1.0 / (variance + f64::from(BATCH_NORM_EPSILON)).sqrt();
            let factor = inverse * scale.map_or(1.0, |scale| f64::from(scale[channel]));
            let summand = shift.map_or(0.0, |shift| f64::from(shift[channel]));
            (mean as f32, factor as f32, summand as f32)
        };
        let affine: Vec<(f32, f32, f32)> =
            (0..shape.channels).into_par_iter().map(affine).collect();
        let mut output = vec![0.0; input.len()];
        let planes = output.par_chunks_exact_mut(pixels).zip(input.par_chunks_exact(pixels));
        planes.enumerate().for_each(|(plane, (y, x))| {
            let (mean, factor, summand) = affine[plane % shape.channels];
            y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * factor + summand);
        });
        output
    }

    fn rectifier(&mut self, input: &[f32], elements: usize) {
        self.units += elements;
        self.finite &= input.iter().all(|value| value.is_finite());
        for (words, values) in self.words.iter_mut().zip(input.chunks_exact(elements)) {
            words.extend(values.chunks(64).map(|values| {
                let bit = |word, (at, &x): (usize, &f32)| word | (u64::from(x > 0.0) << at);
                values.iter().enumerate().fold(0, bit)
            }));
        }
    }
}

/// The log-determinant of a positive semidefinite matrix, given its lower triangle, by Cholesky's
/// decomposition; nothing where it is singular to rounding.
fn log_determinant_of(mut rows: Vec<Vec<f64>>) -> Option<f64> {
    let (count, mut sum) = (rows.len(), 0.0);
    for i in 0..count {
        let diagonal = rows[i][i];
        for j in 0..=i {
            let (before, rest) = rows.split_at_mut(i);
            let row = &mut rest[0];
            let products: f64 = match before.get(j) {
                Some(other) => (0..j).map(|k| row[k] * other[k]).sum(),
                None => (0..j).map(|k| row[k] * row[k]).sum(),
            };
            let left = row[j] - products;
            row[j] = match before.get(j) {
                Some(other) => left / other[j],
                // Rounding leaves about this much of a pivot that is zero.
                None if left <= diagonal * count as f64 * f64::EPSILON => return None,
                None => left.sqrt(),
            };
        }
        sum += 2.0 * rows[i][i].ln();
    }
    Some(sum)
}
