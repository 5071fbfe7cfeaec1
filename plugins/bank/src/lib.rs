//! Weights that are learned directly, not generated: named tensors that are drawn when they are
//! first asked for, moved by gradient descent, averaged over training, saved and loaded.
//!
//! One-shot models, training from scratch and SMASH differ in which parameter of which network
//! reads which tensor; the tensors themselves are the same and live here.

mod adam;
mod average;
mod descent;
mod parts;
mod sgd;
mod slot;

use std::collections::BTreeMap;

use ghnas_core::rng::stream;
use ghnas_core::{
    Averaging, GeneratorError, GeneratorState, ParamRole, StateTensor, StepOptions, StepReport,
};
use rand::RngExt;

pub use adam::AdamSettings;
pub use average::Version;
pub use descent::Descent;
pub use parts::{Columns, Part, parts};
pub use sgd::SgdSettings;
pub use slot::Slot;

use average::Average;
use descent::{Moments, Move};

/// Marks the momentum of a tensor in saved state: the running mean of its gradient.
const MOMENTUM: &str = "momentum of ";

/// Marks the running mean of a tensor's squared gradient in saved state.
const SQUARES: &str = "squares of ";

/// Marks how many steps these have seen in saved state.
const STEPS: &str = "steps of ";

/// Marks the moving average of a tensor in saved state.
const AVERAGE: &str = "average of ";

/// Marks how many steps that has seen in saved state.
const AVERAGED: &str = "averaged steps of ";

/// How a tensor is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Init {
    /// What it does in its primitive.
    pub role: ParamRole,
    /// How many inputs are summed into one output.
    pub fan_in: usize,
}

impl Init {
    /// Kernels are uniform with variance 2 / fan_in (He et al., 2015), the classifier's matrix with
    /// variance 1 / fan_in; summands are zero and factors one.
    fn draw(self, rng: &mut impl rand::Rng, count: usize) -> Vec<f32> {
        let bound = match self.role {
            ParamRole::Kernel => (6.0 / self.fan_in as f32).sqrt(),
            ParamRole::Matrix => (3.0 / self.fan_in as f32).sqrt(),
            ParamRole::Shift => return vec![0.0; count],
            ParamRole::Scale => return vec![1.0; count],
        };
        (0..count).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect()
    }
}

/// A tensor with its gradient.
#[derive(Debug, Clone, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
    average: Average,
    gradient: Vec<f32>,
    moments: Moments,
    /// Whether it decays: summands and factors do not.
    decays: bool,
    /// Whether anything was added to the gradient since the last step.
    touched: bool,
}

/// Named tensors that are learned directly.
#[derive(Debug, Clone, PartialEq)]
pub struct Bank {
    seed: u64,
    descent: Descent,
    averaging: Averaging,
    tensors: BTreeMap<String, Tensor>,
}

impl Bank {
    /// An empty bank whose tensors will be drawn from `seed`. A tensor's average moves in the steps
    /// that the tensor moves in.
    pub fn new(seed: u64, descent: impl Into<Descent>, averaging: Averaging) -> Self {
        Self { seed, descent: descent.into(), averaging, tensors: BTreeMap::new() }
    }

    /// The values of the tensor `name`, row-major, drawn where it is new: a function of the seed
    /// and the name alone.
    ///
    /// # Errors
    /// [`GeneratorError::Param`] where the bank holds it in another shape.
    pub fn values(
        &mut self,
        version: Version,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Result<&[f32], GeneratorError> {
        if !self.tensors.contains_key(name) {
            let count = shape.iter().product();
            let tensor = Tensor {
                shape: shape.into(),
                values: init.draw(&mut stream(self.seed, name, 0), count),
                average: Average::default(),
                gradient: vec![0.0; count],
                moments: Moments::default(),
                decays: decays(init.role),
                touched: false,
            };
            self.tensors.insert(name.into(), tensor);
        }
        let tensor = &self.tensors[name];
        if tensor.shape != shape {
            return Err(GeneratorError::Param {
                param: name.into(),
                reason: format!("the bank holds it as {:?}, asked for {shape:?}", tensor.shape),
            });
        }
        Ok(match version {
            Version::Average if !tensor.average.values.is_empty() => &tensor.average.values,
            Version::Average | Version::Newest => &tensor.values,
        })
    }

    /// The gradient of the tensor `name`, to be added to; the next step moves the tensor.
    pub fn gradient_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        let tensor = self.tensors.get_mut(name)?;
        tensor.touched = true;
        Some(&mut tensor.gradient)
    }

    /// The number of values in all tensors.
    pub fn len(&self) -> usize {
        self.tensors.values().map(|tensor| tensor.values.len()).sum()
    }

    /// Whether nothing was asked for yet.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Sum of the squares of the gradient.
    pub fn squared_gradient_norm(&self) -> f64 {
        let touched = self.tensors.values().filter(|tensor| tensor.touched);
        touched.flat_map(|tensor| &tensor.gradient).map(|&g| f64::from(g) * f64::from(g)).sum()
    }

    /// Moves every tensor whose gradient was added to, and clears the gradient.
    pub fn step(&mut self, options: StepOptions) -> StepReport {
        let gradient_norm = self.squared_gradient_norm().sqrt();
        let applied = gradient_norm.is_finite();
        let scale = (options.clip_norm / gradient_norm).min(1.0);
        self.step_scaled(options.learning_rate, applied.then_some(scale));
        StepReport { gradient_norm, applied }
    }

    /// As [`step`](Self::step), with the factor that a larger model clips its gradient by; none
    /// where the gradient is not finite and nothing but the gradient is to change.
    pub fn step_scaled(&mut self, learning_rate: f64, scale: Option<f64>) {
        for tensor in self.tensors.values_mut().filter(|tensor| tensor.touched) {
            if let Some(scale) = scale {
                let by = Move { decays: tensor.decays, learning_rate, scale };
                let Tensor { values, average, gradient, moments, .. } = tensor;
                if self.averaging.is_on() {
                    average.begin(values);
                }
                self.descent.step(values, gradient, moments, by);
                if self.averaging.is_on() {
                    average.follow(values, self.averaging);
                }
            }
            tensor.gradient.fill(0.0);
            tensor.touched = false;
        }
    }

    /// All tensors with their moments and averages, in `state`.
    pub fn save(&self, state: &mut GeneratorState) {
        for (name, tensor) in &self.tensors {
            let Tensor { shape, values, average, moments, decays, .. } = tensor;
            let saved = |data: &Vec<f32>| StateTensor { shape: shape.clone(), data: data.clone() };
            state.tensors.insert(name.clone(), saved(values));
            let marked = [
                (MOMENTUM, &moments.first),
                (SQUARES, &moments.second),
                (AVERAGE, &average.values),
            ];
            for (mark, data) in marked.into_iter().filter(|(_, data)| !data.is_empty()) {
                state.tensors.insert(format!("{mark}{name}"), saved(data));
            }
            for (mark, steps) in [(STEPS, moments.steps), (AVERAGED, average.steps)] {
                if steps > 0 {
                    state.entries.insert(format!("{mark}{name}"), steps.to_string());
                }
            }
            if !decays {
                state.entries.insert(format!("no decay of {name}"), String::new());
            }
        }
    }

    /// Goes on from the tensors of `state` for which `owns` holds (moments and averages go with
    /// their tensor). A tensor without an average, in a bank that averages, begins one with its
    /// next step.
    ///
    /// # Errors
    /// [`GeneratorError::State`] names the tensor that does not fit; nothing is changed then.
    pub fn load(
        &mut self,
        state: &GeneratorState,
        owns: impl Fn(&str) -> bool,
    ) -> Result<(), GeneratorError> {
        let mut tensors = BTreeMap::new();
        for (name, StateTensor { shape, data }) in &state.tensors {
            let marks = [MOMENTUM, SQUARES, AVERAGE];
            let of = marks.iter().find_map(|mark| name.strip_prefix(mark)).unwrap_or(name);
            if !owns(of) {
                continue;
            }
            let refuse =
                |reason: &str| GeneratorError::State { name: name.clone(), reason: reason.into() };
            if data.len() != shape.iter().product::<usize>() {
                return Err(refuse("its values do not fill its shape"));
            }
            if name.starts_with(AVERAGE) && !self.averaging.is_on() {
                return Err(refuse("this generator keeps no average"));
            }
            if of != name {
                let tensor = state.tensors.get(of).filter(|tensor| tensor.shape == *shape);
                tensor.ok_or_else(|| refuse("it belongs to no tensor of this shape"))?;
                continue;
            }
            let marked = |mark: &str| {
                let saved = state.tensors.get(&format!("{mark}{name}"));
                saved.map(|tensor| tensor.data.clone()).unwrap_or_default()
            };
            let steps = |mark: &str| match state.entries.get(&format!("{mark}{name}")) {
                Some(steps) => steps.parse().map_err(|_| refuse("its steps are no number")),
                None => Ok(0),
            };
            let (first, second) = (marked(MOMENTUM), marked(SQUARES));
            let tensor = Tensor {
                shape: shape.clone(),
                values: data.clone(),
                gradient: vec![0.0; data.len()],
                average: Average { values: marked(AVERAGE), steps: steps(AVERAGED)? },
                moments: Moments { first, second, steps: steps(STEPS)? },
                decays: !state.entries.contains_key(&format!("no decay of {name}")),
                touched: false,
            };
            tensors.insert(name.clone(), tensor);
        }
        self.tensors = tensors;
        Ok(())
    }
}

fn decays(role: ParamRole) -> bool {
    matches!(role, ParamRole::Kernel | ParamRole::Matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Init = Init { role: ParamRole::Kernel, fan_in: 8 };
    const OPTIONS: StepOptions = StepOptions { learning_rate: 0.1, clip_norm: 1e9 };

    fn bank() -> Bank {
        let sgd = SgdSettings { momentum: 0.9, ..SgdSettings::default() };
        let mut bank = Bank::new(3, sgd, Averaging::OFF);
        bank.values(Version::Newest, "a", &[4, 2], KERNEL).unwrap();
        bank.values(Version::Newest, "shift", &[4], Init { role: ParamRole::Shift, fan_in: 1 })
            .unwrap();
        bank
    }

    #[test]
    fn a_tensor_depends_on_seed_and_name_alone() {
        let mut other = Bank::new(3, SgdSettings::default(), Averaging::OFF);
        other.values(Version::Newest, "b", &[100], KERNEL).unwrap();
        let again = other.values(Version::Newest, "a", &[4, 2], KERNEL).unwrap().to_vec();
        assert_eq!(bank().values(Version::Newest, "a", &[4, 2], KERNEL).unwrap(), again);
        assert_ne!(
            Bank::new(4, SgdSettings::default(), Averaging::OFF)
                .values(Version::Newest, "a", &[4, 2], KERNEL)
                .unwrap(),
            again
        );
        assert!(bank().values(Version::Newest, "a", &[2, 4], KERNEL).is_err());
    }

    #[test]
    fn the_variance_is_he_s() {
        let mut bank = Bank::new(0, SgdSettings::default(), Averaging::OFF);
        let values = bank.values(Version::Newest, "a", &[20_000], KERNEL).unwrap();
        let variance = values.iter().map(|x| f64::from(x * x)).sum::<f64>() / 20_000.0;
        assert!((variance - 0.25).abs() < 0.01, "{variance}");
    }

    #[test]
    fn only_touched_tensors_move() {
        let mut bank = bank();
        let before = bank.clone();
        bank.gradient_mut("shift").unwrap().fill(2.0);
        let report = bank.step(OPTIONS);
        assert_eq!(report, StepReport { gradient_norm: 4.0, applied: true });
        assert_eq!(bank.tensors["a"], before.tensors["a"]);
        assert_eq!(bank.tensors["shift"].values, [-0.2; 4]);
        assert_eq!(bank.step(OPTIONS).gradient_norm, 0.0);
        assert_eq!(bank.tensors["shift"].values, [-0.2; 4]);
    }

    #[test]
    fn a_gradient_that_is_not_finite_moves_nothing() {
        let mut bank = bank();
        let before = bank.clone();
        bank.gradient_mut("a").unwrap()[3] = f32::NAN;
        assert!(!bank.step(OPTIONS).applied);
        assert_eq!(bank, before);
    }

    #[test]
    fn a_long_gradient_is_clipped() {
        let mut bank = bank();
        bank.gradient_mut("shift").unwrap().fill(2.0);
        bank.step(StepOptions { clip_norm: 1.0, ..OPTIONS });
        assert_eq!(bank.tensors["shift"].values, [-0.05; 4]);
    }

    #[test]
    fn saved_and_loaded_it_goes_on_alike() {
        goes_on_alike(bank());
        let adam = AdamSettings { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 };
        goes_on_alike(Bank { descent: adam.into(), ..bank() });
        goes_on_alike(Bank { averaging: Averaging::new(0.75).unwrap(), ..bank() });
    }

    #[test]
    fn the_average_is_that_of_a_naive_loop_and_changes_no_training() {
        let mut plain = bank();
        let mut bank = Bank { averaging: Averaging::new(0.75).unwrap(), ..bank() };
        let read = |bank: &mut Bank, version, name: &str| {
            let shape = bank.tensors[name].shape.clone();
            bank.values(version, name, &shape, KERNEL).unwrap().to_vec()
        };
        let mut expected = read(&mut bank, Version::Average, "a");
        assert_eq!(expected, read(&mut bank, Version::Newest, "a"), "before the first step");
        for (step, gradient) in (1..).zip([0.5, -1.0, 2.0, 0.25, 0.5, f32::NAN, 1.0]) {
            for bank in [&mut bank, &mut plain] {
                bank.gradient_mut("a").unwrap().fill(gradient);
                bank.step(OPTIONS);
            }
            if gradient.is_nan() {
                continue;
            }
            let step = if step > 6 { step - 1 } else { step };
            let keep = 0.75f32.min((1.0 + step as f32) / (10.0 + step as f32));
            for (average, value) in expected.iter_mut().zip(&plain.tensors["a"].values) {
                *average = keep * *average + (1.0 - keep) * value;
            }
        }
        assert_eq!(read(&mut bank, Version::Newest, "a"), plain.tensors["a"].values);
        let average = read(&mut bank, Version::Average, "a");
        for (got, expected) in average.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
        assert_ne!(average, plain.tensors["a"].values);
        assert_eq!(read(&mut plain, Version::Average, "a"), plain.tensors["a"].values);
        assert!(bank.tensors["shift"].average.values.is_empty(), "it has not moved");
    }

    #[test]
    fn an_average_that_nothing_reads_is_refused() {
        let mut averaging = Bank { averaging: Averaging::new(0.75).unwrap(), ..bank() };
        averaging.gradient_mut("a").unwrap().fill(0.5);
        averaging.step(OPTIONS);
        let mut state = GeneratorState::default();
        averaging.save(&mut state);
        let error = bank().load(&state, |_| true).unwrap_err().to_string();
        assert_eq!(error, "state 'average of a': this generator keeps no average");
        state.tensors.remove("average of a");
        let mut loaded = bank();
        loaded.averaging = averaging.averaging;
        loaded.load(&state, |_| true).unwrap();
        let read =
            |version, bank: &mut Bank| bank.values(version, "a", &[4, 2], KERNEL).unwrap().to_vec();
        assert_eq!(read(Version::Average, &mut loaded), read(Version::Newest, &mut averaging));
    }

    #[track_caller]
    fn goes_on_alike(mut bank: Bank) {
        let step = |bank: &mut Bank| {
            bank.gradient_mut("a").unwrap().fill(0.5);
            bank.step(OPTIONS);
        };
        step(&mut bank);
        let mut state = GeneratorState::default();
        bank.save(&mut state);
        let mut loaded = Bank::new(3, bank.descent, bank.averaging);
        loaded.load(&state, |_| true).unwrap();
        step(&mut bank);
        step(&mut loaded);
        assert_eq!(bank, loaded);

        let mut other = state.clone();
        other.entries.insert("steps of a".into(), "many".into());
        assert!(loaded.load(&other, |_| true).is_err());
        state.tensors.get_mut("a").unwrap().data.pop();
        assert!(loaded.load(&state, |_| true).is_err());
        assert_eq!(bank, loaded);
    }
}
