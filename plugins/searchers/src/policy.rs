//! A distribution over choices at positions, and the policy gradient (Williams 1992) that shifts
//! it, with Adam (Kingma and Ba 2015).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::bits;
use crate::lstm::Lstm;

/// Where the logits of a policy come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// A parameter for each choice at each position; positions are independent.
    Independent,
    /// An LSTM that reads the choices so far (Zoph and Le 2017).
    Lstm,
}

/// Writes the derivative of a function with respect to the logits of a position.
pub(crate) type Slope<'a> = dyn FnMut(usize, &[f64], &mut [f64]) + 'a;

/// Logits of the choices at each position, given those at earlier ones.
pub(crate) trait Logits: Send {
    /// How many parameters there are.
    fn len(&self) -> usize;

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<f64>;

    /// Calls `choose` for every position in turn with its logits.
    fn unroll(&self, params: &[f64], choose: &mut dyn FnMut(usize, &[f64]) -> usize);

    /// The gradient with respect to the parameters of a function of the logits along `choices`.
    fn gradient(&self, params: &[f64], choices: &[usize], slope: &mut Slope<'_>) -> Vec<f64>;
}

/// The parameters are the logits.
struct Independent {
    counts: Vec<usize>,
}

impl Independent {
    fn split<'a>(&self, params: &'a [f64]) -> impl Iterator<Item = &'a [f64]> {
        let mut rest = params;
        self.counts.iter().map(move |&count| {
            let (logits, others) = rest.split_at(count);
            rest = others;
            logits
        })
    }
}

impl Logits for Independent {
    fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// All choices are equally likely.
    fn initial(&self, _: &mut ChaCha8Rng) -> Vec<f64> {
        vec![0.0; self.len()]
    }

    fn unroll(&self, params: &[f64], choose: &mut dyn FnMut(usize, &[f64]) -> usize) {
        for (position, logits) in self.split(params).enumerate() {
            choose(position, logits);
        }
    }

    fn gradient(&self, params: &[f64], _: &[usize], slope: &mut Slope<'_>) -> Vec<f64> {
        let mut gradient = vec![0.0; params.len()];
        let mut rest = &mut gradient[..];
        for (position, logits) in self.split(params).enumerate() {
            let (slopes, others) = rest.split_at_mut(logits.len());
            slope(position, logits, slopes);
            rest = others;
        }
        gradient
    }
}

/// A distribution over choices, without its parameters.
pub(crate) struct Policy {
    logits: Box<dyn Logits>,
    counts: Vec<usize>,
}

/// All that changes as a policy learns.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyState {
    #[serde(with = "bits::list")]
    params: Vec<f64>,
    /// Adam's averages of the gradient and of its square.
    #[serde(with = "bits::list")]
    first: Vec<f64>,
    #[serde(with = "bits::list")]
    second: Vec<f64>,
    steps: i32,
}

/// What one step of learning is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lesson {
    /// The reward above what was expected.
    pub(crate) advantage: f64,
    /// Weight of the policy's entropy.
    pub(crate) entropy: f64,
    /// Adam's step size.
    pub(crate) rate: f64,
}

impl Policy {
    /// A policy over positions with so many choices.
    pub(crate) fn new(controller: Controller, counts: Vec<usize>) -> Self {
        let logits: Box<dyn Logits> = match controller {
            Controller::Independent => Box::new(Independent { counts: counts.clone() }),
            Controller::Lstm => Box::new(Lstm::new(counts.clone())),
        };
        Self { logits, counts }
    }

    /// Its state before it has learned.
    pub(crate) fn begin(&self, rng: &mut ChaCha8Rng) -> PolicyState {
        let params = self.logits.initial(rng);
        let zeros = vec![0.0; params.len()];
        PolicyState { params, first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// Draws a choice at every position.
    pub(crate) fn sample(&self, state: &PolicyState, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut choices = Vec::with_capacity(self.counts.len());
        self.logits.unroll(&state.params, &mut |_, logits| {
            let probabilities = softmax(logits);
            let mut left: f64 = rng.random();
            // Rounding may leave a little past the last choice.
            let drawn = probabilities.iter().position(|probability| {
                left -= probability;
                left < 0.0
            });
            let choice = drawn.unwrap_or(logits.len() - 1);
            choices.push(choice);
            choice
        });
        choices
    }

    /// One step of Adam up the gradient of `advantage` times the log-likelihood of `choices` plus
    /// `entropy` times the policy's entropy along them.
    pub(crate) fn learn(
        &self,
        state: &mut PolicyState,
        choices: &[usize],
        Lesson { advantage, entropy, rate }: Lesson,
    ) {
        const DECAY: [f64; 2] = [0.9, 0.999]; // Kingma and Ba 2015, algorithm 1
        let gradient = self.gradient(&state.params, choices, advantage, entropy);
        let PolicyState { params, first, second, steps } = state;
        *steps = steps.saturating_add(1);
        let [unbias1, unbias2] = DECAY.map(|decay| 1.0 - decay.powi(*steps));
        let moments = first.iter_mut().zip(second);
        for ((param, gradient), (first, second)) in params.iter_mut().zip(gradient).zip(moments) {
            *first += (1.0 - DECAY[0]) * (gradient - *first);
            *second += (1.0 - DECAY[1]) * (gradient * gradient - *second);
            *param += rate * (*first / unbias1) / ((*second / unbias2).sqrt() + 1e-8);
        }
    }

    fn gradient(
        &self,
        params: &[f64],
        choices: &[usize],
        advantage: f64,
        entropy: f64,
    ) -> Vec<f64> {
        self.logits.gradient(params, choices, &mut |position, logits, slopes| {
            let probabilities = softmax(logits);
            let logs = probabilities.iter().map(|p| p.max(f64::MIN_POSITIVE).ln());
            let uncertainty: f64 =
                -logs.clone().zip(&probabilities).map(|(l, p)| l * p).sum::<f64>();
            for (choice, (log, p)) in logs.zip(&probabilities).enumerate() {
                let taken = if choice == choices[position] { 1.0 } else { 0.0 };
                slopes[choice] = advantage * (taken - p) - entropy * p * (log + uncertainty);
            }
        })
    }

    /// Checks that `state` is of this policy.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn check(&self, state: &PolicyState) -> Result<(), String> {
        let expected = self.logits.len();
        for values in [&state.params, &state.first, &state.second] {
            if values.len() != expected {
                let got = values.len();
                return Err(format!("a policy of {got} parameters, expected {expected}"));
            }
        }
        Ok(())
    }

    /// Whether `choices` are one choice a position.
    pub(crate) fn fits(&self, choices: &[usize]) -> bool {
        let mut pairs = choices.iter().zip(&self.counts);
        choices.len() == self.counts.len() && pairs.all(|(choice, count)| choice < count)
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut values: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    use ghnas_core::rng::stream;

    /// What the gradient is of.
    fn objective(
        policy: &Policy,
        params: &[f64],
        choices: &[usize],
        advantage: f64,
        entropy: f64,
    ) -> f64 {
        let mut sum = 0.0;
        policy.logits.unroll(params, &mut |position, logits| {
            let probabilities = softmax(logits);
            sum += advantage * probabilities[choices[position]].ln();
            sum -= entropy * probabilities.iter().map(|p| p * p.ln()).sum::<f64>();
            choices[position]
        });
        sum
    }

    #[test]
    fn the_policy_gradient_agrees_with_finite_differences() {
        let choices = [2, 0, 4, 1];
        for controller in [Controller::Independent, Controller::Lstm] {
            let mut random = stream(3, "policy-test", 0);
            let policy = Policy::new(controller, vec![3, 2, 5, 2]);
            let mut params = policy.begin(&mut random).params;
            // Away from the start, where many derivatives vanish.
            params.iter_mut().for_each(|param| *param += random.random_range(-0.5..0.5));
            let gradient = policy.gradient(&params, &choices, -0.7, 0.3);
            for index in (0..gradient.len()).step_by(1 + gradient.len() / 400) {
                let mut at = |shift: f64| {
                    let before = params[index];
                    params[index] += shift;
                    let value = objective(&policy, &params, &choices, -0.7, 0.3);
                    params[index] = before;
                    value
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                let error = (gradient[index] - difference).abs();
                assert!(error < 1e-7, "{controller:?} {index}: {} {difference}", gradient[index]);
            }
        }
    }

    #[test]
    fn what_is_rewarded_becomes_likely() {
        for (controller, rate) in [(Controller::Independent, 0.05), (Controller::Lstm, 0.01)] {
            let mut random = stream(1, "policy-test", 1);
            let policy = Policy::new(controller, vec![4, 4, 4]);
            let mut state = policy.begin(&mut random);
            for _ in 0..500 {
                let choices = policy.sample(&state, &mut random);
                let right = choices.iter().filter(|&&choice| choice == 3).count();
                let advantage = right as f64 - 1.5;
                policy.learn(&mut state, &choices, Lesson { advantage, entropy: 0.0, rate });
            }
            let mut draw = || policy.sample(&state, &mut random);
            let likely = (0..100).filter(|_| draw() == [3, 3, 3]).count();
            assert!(likely > 90, "{controller:?}: {likely}");
        }
    }
}
