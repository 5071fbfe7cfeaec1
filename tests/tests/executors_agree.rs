//! Executors agree with each other, with finite differences and with PyTorch.

use ghnas_core::registry::{BuildContext, Settings};
use ghnas_core::{Catalogue, Executor, LossSum, Network, ParamId, Phase, Shape, Task, Weights};
use ghnas_executor_dfdx::{DfdxExecutor, cpu};
use ghnas_tests::{Case, random_network};
use serde_json::{Value, json};
use {ghnas_executor_native as _, ghnas_space_cell as _};

/// How many random networks are tried.
const NETWORKS: u64 = 60;

/// Largest difference, as a share of the largest value of the tensor. Sums of a few hundred terms
/// in f32 differ by 1e-6 to 1e-5 of it when their order changes; a wrong formula by much more.
/// The networks are small: in a large one some rectifier's input is nearer to zero than rounding,
/// and one rectifier that changes its mind moves a gradient by a percent.
const TOLERANCE: f64 = 1e-4;

/// A gradient that is zero by cancellation, such as that of a shift in front of a batch norm, is
/// all rounding error. So a tensor whose values are below this share of the largest gradient of
/// the network is measured against that share.
const FLOOR: f64 = 1e-2;

fn executor(id: &str) -> Box<dyn Executor> {
    let catalogue = Catalogue::built_in().expect("ids are unique");
    let context = BuildContext { threads: 2, ..BuildContext::new(&catalogue) };
    catalogue.executors.build(id, &Settings::new(), &context).expect("the CPU is there")
}

/// Small networks of the cell space with the given operations.
fn cell_networks(operations: &[Value], count: u64) -> impl Iterator<Item = (u64, Case)> {
    let catalogue = Catalogue::built_in().expect("ids are unique");
    let context = BuildContext::new(&catalogue);
    let mut settings = cell_preset();
    let changes = json!({
        "nodes": 5, "blocks": 3, "channels": 4, "reduce_after": [1], "operations": operations,
    });
    settings.extend(changes.as_object().expect("an object").clone());
    let space = catalogue.spaces.build("cell", &settings, &context).expect("settings are right");
    let task = Task { image: Shape::new(3, 9, 8), classes: 4 };
    (0..count).map(move |seed| {
        let arch = space.sample(Phase::Score, seed).expect("there is an architecture");
        let network = space.lower(&arch, task).expect("the architecture is of the space");
        (seed, Case::new(network, 4, seed))
    })
}

fn cell_preset() -> Settings {
    let catalogue = Catalogue::built_in().expect("ids are unique");
    let space = catalogue.spaces.get("cell").expect("it is linked");
    space.presets[0].settings.clone()
}

/// What an executor makes of a case.
struct Answer {
    logits: Vec<f32>,
    loss: LossSum,
    gradients: Weights,
}

fn ask(executor: &mut dyn Executor, case: &Case) -> Answer {
    let Case { network, weights, labels, .. } = case;
    let (mut logits, mut gradients) = (vec![f32::NAN; 3], Weights::zeros([5]));
    executor.evaluate(network, weights, case.batch(), &mut logits).expect("the case fits");
    let loss = executor
        .loss_and_gradients(network, weights, case.batch(), labels, &mut gradients)
        .expect("the case fits");
    assert!(gradients.fits(network.params()), "gradients are laid out as parameters");
    Answer { logits, loss, gradients }
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |largest, &value| f64::from(value.abs()).max(largest))
}

/// Largest difference as a share of the largest value of `expected`, or of `floor`.
fn difference(got: &[f32], expected: &[f32], floor: f64) -> f64 {
    assert_eq!(got.len(), expected.len(), "lengths differ");
    let scale = largest(expected).max(floor).max(f64::MIN_POSITIVE);
    let pairs = got.iter().zip(expected);
    let apart = pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs() / scale);
    // `max` would pass over what is not a number.
    apart.fold(0.0, |worst, apart| if apart <= worst { worst } else { apart })
}

#[track_caller]
fn check(what: &str, network: &Network, got: &Answer, expected: &Answer) {
    let logits = difference(&got.logits, &expected.logits, 0.0);
    assert!(logits <= TOLERANCE, "{what}: logits differ by {logits:e}");
    let loss = (got.loss.loss - expected.loss.loss).abs() / expected.loss.loss;
    assert!(loss <= TOLERANCE, "{what}: losses differ by {loss:e}");
    assert_eq!(
        (got.loss.correct, got.loss.count),
        (expected.loss.correct, expected.loss.count),
        "{what}: images classified correctly"
    );
    let floor = FLOOR * largest(expected.gradients.as_slice());
    for (id, param) in network.params().iter().enumerate() {
        let id = ParamId(id as u32);
        let apart = difference(got.gradients.get(id), expected.gradients.get(id), floor);
        let name = &param.name;
        assert!(apart <= TOLERANCE, "{what}: gradients of '{name}' differ by {apart:e}");
    }
}

/// Checks both executors against the oracle in double precision, and against each other.
fn check_all(executors: &mut [Box<dyn Executor>; 2], what: &str, case: &Case) {
    let exact = ask(&mut DfdxExecutor::<f64, _>::new(cpu()), case);
    let [native, dfdx] = executors.each_mut().map(|executor| ask(&mut **executor, case));
    check(&format!("native and double precision, {what}"), &case.network, &native, &exact);
    check(&format!("dfdx and double precision, {what}"), &case.network, &dfdx, &exact);
    check(&format!("native and dfdx, {what}"), &case.network, &native, &dfdx);
}

#[test]
fn executors_agree_on_random_networks() {
    let mut executors = ["native", "dfdx"].map(executor);
    for seed in 0..NETWORKS {
        check_all(&mut executors, &format!("seed {seed}"), &random_network(seed));
    }
}

#[test]
fn executors_agree_on_every_operation_of_the_cell_space() {
    let mut executors = ["native", "dfdx"].map(executor);
    let preset = cell_preset();
    let operations = preset["operations"].as_array().expect("a list");
    let alone = operations.iter().map(std::slice::from_ref);
    for operations in alone.chain([&operations[..]]) {
        for (seed, case) in cell_networks(operations, 4) {
            check_all(&mut executors, &format!("{operations:?}, seed {seed}"), &case);
        }
    }
}

/// The differences are in double precision, and their step is so small that hardly a rectifier
/// changes its mind within it.
#[test]
fn gradients_are_central_differences() {
    const STEP: f32 = 1.0 / (1 << 20) as f32;
    let (mut native, mut double) = (executor("native"), DfdxExecutor::<f64, _>::new(cpu()));
    for seed in 0..NETWORKS / 3 {
        let case = random_network(seed);
        let Case { network, labels, .. } = &case;
        let answers = [ask(&mut double, &case), ask(&mut *native, &case)];
        let floor = FLOOR * largest(answers[0].gradients.as_slice());
        for (id, param) in network.params().iter().enumerate() {
            let id = ParamId(id as u32);
            // The first and the last value, and one between.
            for at in [0, param.len() / 3, param.len() - 1] {
                let mut weights = case.weights.clone();
                let middle = weights.get(id)[at];
                let (below, above) = (middle - STEP, middle + STEP);
                let mut loss = |value: f32| {
                    weights.get_mut(id)[at] = value;
                    double.total_loss(network, &weights, case.batch(), labels).expect("it fits")
                };
                // The weights are f32, so the step is what they round it to.
                let slope = (loss(above) - loss(below)) / (f64::from(above) - f64::from(below));
                for (who, answer) in ["dfdx in double precision", "native"].iter().zip(&answers) {
                    let gradient = answer.gradients.get(id);
                    let scale = largest(gradient).max(floor);
                    let apart = (slope - f64::from(gradient[at])).abs() / scale;
                    let name = &param.name;
                    assert!(apart <= TOLERANCE, "{who}, seed {seed}, '{name}'[{at}]: {apart:e}");
                }
            }
        }
    }
}
