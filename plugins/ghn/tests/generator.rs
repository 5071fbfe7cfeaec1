//! What the registered GHN promises as a weight generator, on networks of the cell space.

use std::sync::Arc;

use ghnas_core::registry::BuildContext;
use ghnas_core::{
    Catalogue, Device, GeneratorError, GeneratorState, Network, ParamId, ParamRole, Phase,
    SearchSpace, Settings, Shape, Slicing, StepOptions, StepReport, Task, WeightGenerator, Weights,
};
use ghnas_ghn as _;
use ghnas_space_cell as _;

const STEP: StepOptions = StepOptions { learning_rate: 1e-3, clip_norm: 5.0 };

fn with_context<T>(seed: u64, use_it: impl FnOnce(&Catalogue, &BuildContext<'_>) -> T) -> T {
    let catalogue = Catalogue::built_in().unwrap();
    let device = Device::Cpu;
    let context = BuildContext { seed, device, ..BuildContext::new(&catalogue) };
    use_it(&catalogue, &context)
}

fn space() -> Arc<dyn SearchSpace> {
    with_context(0, |catalogue, context| {
        let preset = &catalogue.spaces.get("cell").unwrap().presets[0];
        catalogue.spaces.build("cell", &preset.settings, context).unwrap()
    })
}

fn network(phase: Phase, seed: u64) -> Network {
    let space = space();
    let task = Task { image: Shape::new(3, 32, 32), classes: 10 };
    space.lower(&space.sample(phase, seed).unwrap(), task).unwrap()
}

fn ghn_with(settings: &str, seed: u64) -> Result<Box<dyn WeightGenerator>, String> {
    ghn_on(1, settings, seed)
}

fn ghn_on(threads: usize, settings: &str, seed: u64) -> Result<Box<dyn WeightGenerator>, String> {
    let settings: Settings = serde_json::from_str(settings).unwrap();
    with_context(seed, |catalogue, context| {
        let context = BuildContext { threads, ..*context };
        let built = catalogue.generators.build("ghn", &settings, &context);
        built.map_err(|error| error.to_string())
    })
}

fn ghn(seed: u64) -> Box<dyn WeightGenerator> {
    ghn_with("{}", seed).unwrap()
}

fn predict(ghn: &mut dyn WeightGenerator, network: &Network) -> Weights {
    let mut weights = Weights::zeros_for(network.params());
    ghn.predict(network, &mut weights).unwrap();
    weights
}

/// A gradient that is not that of anything, but no two of its values are alike.
fn gradient(network: &Network, phase: f32) -> Weights {
    let mut gradient = Weights::zeros_for(network.params());
    for index in 0..gradient.len() as u32 {
        for (at, value) in gradient.get_mut(ParamId(index)).iter_mut().enumerate() {
            *value = ((at as f32 + 1.0) * 0.37 + index as f32 + phase).sin() * 1e-3;
        }
    }
    gradient
}

/// Generates and adds up the gradient for one network.
fn learn(ghn: &mut dyn WeightGenerator, network: &Network, gradient: &Weights) {
    let mut weights = Weights::zeros_for(network.params());
    let ticket = ghn.generate(network, &mut weights).unwrap();
    ghn.vjp(ticket, gradient).unwrap();
}

fn train(ghn: &mut dyn WeightGenerator, steps: u64) -> Vec<StepReport> {
    let step = |seed| {
        let network = network(Phase::Train, seed);
        learn(ghn, &network, &gradient(&network, 0.0));
        ghn.step(STEP).unwrap()
    };
    (0..steps).map(step).collect()
}

#[test]
fn same_seed_same_bytes() {
    let network = network(Phase::Train, 1);
    let weights = predict(&mut *ghn(3), &network);
    assert_eq!(weights.as_slice(), predict(&mut *ghn(3), &network).as_slice());
    assert_ne!(weights.as_slice(), predict(&mut *ghn(4), &network).as_slice());
    assert!(weights.all_finite());
}

#[test]
fn generate_gives_what_predict_gives() {
    let (mut ghn, network) = (ghn(1), network(Phase::Score, 2));
    let mut weights = Weights::zeros_for(network.params());
    ghn.generate(&network, &mut weights).unwrap();
    assert_eq!(weights.as_slice(), predict(&mut *ghn, &network).as_slice());
}

#[test]
fn what_a_ghn_has_seen_changes_no_initial_value() {
    let (first, second) = (network(Phase::Train, 1), network(Phase::Train, 6));
    let alone = predict(&mut *ghn(1), &second);
    let mut ghn = ghn(1);
    predict(&mut *ghn, &first);
    assert_eq!(alone.as_slice(), predict(&mut *ghn, &second).as_slice());
}

#[test]
fn generated_weights_start_near_their_intended_scale() {
    let mut squares = std::collections::BTreeMap::<String, (f64, usize)>::new();
    for seed in 0..3 {
        let mut ghn = ghn(seed);
        for arch in 0..8 {
            let phase = if arch % 2 == 0 { Phase::Train } else { Phase::Score };
            let network = network(phase, arch);
            let weights = predict(&mut *ghn, &network);
            for (index, param) in network.params().iter().enumerate() {
                let intended = match param.role {
                    ParamRole::Kernel | ParamRole::Matrix => (2.0 / param.fan_in as f64).sqrt(),
                    ParamRole::Scale | ParamRole::Shift => continue,
                };
                let entry = squares.entry(param.kind.clone()).or_default();
                for &weight in weights.get(ParamId(index as u32)) {
                    entry.0 += (f64::from(weight) / intended).powi(2);
                    entry.1 += 1;
                }
            }
        }
    }
    assert!(squares.len() >= 8, "{squares:?}");
    for (kind, (square, count)) in squares {
        let deviation = (square / count as f64).sqrt();
        assert!((0.5..2.0).contains(&deviation), "{kind}: {deviation} of what is intended");
    }
}

#[test]
fn trained_on_small_cells_it_makes_weights_for_large_ones() {
    let mut ghn = ghn(1);
    let network = network(Phase::Score, 0);
    let before = predict(&mut *ghn, &network);
    train(&mut *ghn, 3);
    let after = predict(&mut *ghn, &network);
    assert!(after.all_finite());
    assert_ne!(before.as_slice(), after.as_slice());
}

#[test]
fn an_operation_of_block_one_changes_the_weights_of_block_three() {
    let network = network(Phase::Train, 1);
    let mut spec = network.spec().clone();
    let block = spec.modules.iter().position(|module| module.name == "block1").unwrap();
    spec.modules[block].nodes[2].op = "something_else".into();
    let other = Network::new(spec).unwrap();
    let mut ghn = ghn(1);
    let (one, two) = (predict(&mut *ghn, &network), predict(&mut *ghn, &other));
    let differs = |prefix: &str| {
        let params = network.params().iter().enumerate();
        let own = params.filter(|(_, param)| param.name.starts_with(prefix));
        let mut differs = own.map(|(index, _)| ParamId(index as u32)).map(|id| {
            let pairs = one.get(id).iter().zip(two.get(id));
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        });
        differs.all(|difference| difference > 1e-6)
    };
    assert!(differs("block3."), "block 3 does not hear of block 1");
    let stem = ParamId(0);
    assert!(network.params()[0].name.starts_with("stem."));
    assert_eq!(one.get(stem), two.get(stem), "the stem hears of nothing before it");
}

#[test]
fn vjp_is_linear() {
    let network = network(Phase::Train, 2);
    let (one, two) = (gradient(&network, 0.0), gradient(&network, 1.0));
    let mut both = one.clone();
    for (sum, x) in both.as_mut_slice().iter_mut().zip(two.as_slice()) {
        *sum += x;
    }
    let (mut summed, mut apart) = (ghn(1), ghn(1));
    learn(&mut *summed, &network, &both);
    learn(&mut *apart, &network, &one);
    learn(&mut *apart, &network, &two);
    let (summed, apart) = (summed.step(STEP).unwrap(), apart.step(STEP).unwrap());
    let ratio = summed.gradient_norm / apart.gradient_norm;
    assert!((ratio - 1.0).abs() < 1e-5, "{summed:?} {apart:?}");
    let mut doubled = one.clone();
    doubled.as_mut_slice().iter_mut().for_each(|x| *x *= 2.0);
    let norm = |gradient: &Weights| {
        let mut ghn = ghn(1);
        learn(&mut *ghn, &network, gradient);
        ghn.step(STEP).unwrap().gradient_norm
    };
    // Doubling is exact in floating point.
    assert_eq!(norm(&doubled), 2.0 * norm(&one));
}

#[test]
fn two_tickets_are_differentiated_in_any_order() {
    let (first, second) = (network(Phase::Train, 1), network(Phase::Train, 6));
    let learned = |order: [usize; 2]| {
        let mut ghn = ghn(1);
        let networks = [&first, &second];
        let tickets = networks.map(|network| {
            let mut weights = Weights::zeros_for(network.params());
            ghn.generate(network, &mut weights).unwrap()
        });
        for index in order {
            ghn.vjp(tickets[index], &gradient(networks[index], 0.0)).unwrap();
        }
        ghn.step(STEP).unwrap()
    };
    let (one, two) = (learned([0, 1]), learned([1, 0]));
    assert!((one.gradient_norm / two.gradient_norm - 1.0).abs() < 1e-5, "{one:?} {two:?}");
}

#[test]
fn a_ticket_keeps_the_parameters_of_its_generation() {
    let network = network(Phase::Train, 1);
    let gradient = gradient(&network, 0.0);
    let norm = |steps_between: u64| {
        let mut ghn = ghn(1);
        let mut weights = Weights::zeros_for(network.params());
        let ticket = ghn.generate(&network, &mut weights).unwrap();
        train(&mut *ghn, steps_between);
        ghn.vjp(ticket, &gradient).unwrap();
        ghn.step(STEP).unwrap().gradient_norm
    };
    assert_eq!(norm(0), norm(2));
}

#[test]
fn a_ticket_is_used_up() {
    let (mut ghn, network) = (ghn(1), network(Phase::Train, 1));
    let mut weights = Weights::zeros_for(network.params());
    let other = self::network(Phase::Train, 2);
    let ticket = ghn.generate(&network, &mut weights).unwrap();
    let refused = ghn.vjp(ticket, &gradient(&other, 0.0));
    assert!(refused.is_err(), "the gradient of another network was taken");
    ghn.vjp(ticket, &weights).unwrap();
    assert!(matches!(ghn.vjp(ticket, &weights), Err(GeneratorError::Ticket(_))));
    let ticket = ghn.generate(&network, &mut weights).unwrap();
    ghn.discard(ticket);
    assert!(matches!(ghn.vjp(ticket, &weights), Err(GeneratorError::Ticket(_))));
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let mut ghn = ghn(1);
    train(&mut *ghn, 2);
    let before = ghn.save().unwrap();
    let network = network(Phase::Train, 1);
    let mut bad = gradient(&network, 0.0);
    bad.get_mut(ParamId(3))[0] = f32::NAN;
    learn(&mut *ghn, &network, &bad);
    let report = ghn.step(STEP).unwrap();
    assert!(!report.applied && !report.gradient_norm.is_finite());
    assert_eq!(ghn.save().unwrap(), before);
    // The gradient is gone: the next step is that of a GHN that never saw it.
    learn(&mut *ghn, &network, &gradient(&network, 0.0));
    assert!(ghn.step(STEP).unwrap().applied);
}

#[test]
fn a_parameter_without_a_gradient_rests() {
    let mut ghn = ghn(1);
    train(&mut *ghn, 6);
    let before = ghn.save().unwrap();
    let network = network(Phase::Train, 4);
    learn(&mut *ghn, &network, &gradient(&network, 0.0));
    ghn.step(STEP).unwrap();
    let after = ghn.save().unwrap();
    let kinds: Vec<_> = network.params().iter().map(|param| param.kind.as_str()).collect();
    let mut rested = 0;
    for (name, tensor) in &before.tensors {
        let Some(branch) = name.strip_prefix("parameter/branch.") else { continue };
        let used = kinds.iter().any(|kind| branch.starts_with(&format!("{kind}.")));
        assert_eq!(used, after.tensors[name] != *tensor, "{name}");
        rested += usize::from(!used);
    }
    assert!(rested > 0, "every branch was used");
}

#[test]
fn saved_and_loaded_it_goes_on_to_the_same_bytes() {
    let mut ghn = ghn(1);
    train(&mut *ghn, 3);
    let state = ghn.save().unwrap();
    // Another seed: what matters is in the state.
    let mut copy = self::ghn(99);
    predict(&mut *copy, &network(Phase::Score, 9));
    copy.load(&state).unwrap();
    assert_eq!(copy.save().unwrap(), state);
    let more = |ghn: &mut dyn WeightGenerator| {
        let network = network(Phase::Train, 20);
        learn(ghn, &network, &gradient(&network, 0.5));
        (ghn.step(STEP).unwrap(), ghn.save().unwrap())
    };
    assert_eq!(more(&mut *ghn), more(&mut *copy));
    let network = network(Phase::Score, 9);
    assert_eq!(predict(&mut *ghn, &network).as_slice(), predict(&mut *copy, &network).as_slice());
}

/// The state in which a GHN without an average has the averages of `state` for parameters.
fn of_averages(state: &GeneratorState) -> GeneratorState {
    let mut plain = state.clone();
    let settings = plain.entries.get_mut("settings").unwrap();
    *settings = settings.replace(r#""average":0.75"#, r#""average":0.0"#);
    for (name, tensor) in &state.tensors {
        if let Some(own) = name.strip_prefix("average/") {
            plain.tensors.remove(name);
            plain.tensors.insert(format!("parameter/{own}"), tensor.clone());
        }
    }
    plain
}

#[test]
fn an_averaging_ghn_learns_alike_and_predicts_by_the_average_of_its_values() {
    let (mut ghn, mut plain) = (ghn_with(r#"{"average": 0.75}"#, 1).unwrap(), ghn(1));
    let network = network(Phase::Train, 4);
    assert_eq!(predict(&mut *ghn, &network).as_slice(), predict(&mut *plain, &network).as_slice());
    // A naive loop over the values after each step.
    let (mut averages, mut steps) = (std::collections::BTreeMap::new(), 0);
    for seed in [1, 2, 1, 6, 2, 1] {
        let network = self::network(Phase::Train, seed);
        // Draws what is new.
        predict(&mut *plain, &network);
        let before = plain.save().unwrap();
        for ghn in [&mut ghn, &mut plain] {
            learn(&mut **ghn, &network, &gradient(&network, seed as f32));
            ghn.step(STEP).unwrap();
        }
        let after = plain.save().unwrap();
        for (name, tensor) in &after.tensors {
            let Some(own) = name.strip_prefix("parameter/") else { continue };
            let new = || before.tensors[name].data.clone();
            let average: &mut Vec<f32> = averages.entry(own.to_string()).or_insert_with(new);
            let [step, earlier] = [&after, &before]
                .map(|state| state.entries[&format!("steps/{own}")].parse::<f64>().unwrap());
            if step == earlier {
                continue;
            }
            let keep = (0.75f64).min((1.0 + step) / (10.0 + step)) as f32;
            for (average, &value) in average.iter_mut().zip(&tensor.data) {
                *average = keep * *average + (1.0 - keep) * value;
            }
            steps += 1;
        }
    }
    assert!(steps > 60, "{steps}");
    let state = ghn.save().unwrap();
    let mut differ = 0;
    for (name, tensor) in &plain.save().unwrap().tensors {
        assert_eq!(state.tensors[name], *tensor, "{name}");
        let Some(own) = name.strip_prefix("parameter/") else { continue };
        let average = state.tensors.get(&format!("average/{own}")).unwrap_or(tensor);
        for ((got, expected), value) in average.data.iter().zip(&averages[own]).zip(&tensor.data) {
            assert!((got - expected).abs() < 1e-6, "{name}: {got} {expected}");
            differ += usize::from((got - value).abs() > 1e-4);
        }
    }
    assert!(differ > 1000, "{differ}");
    // What is scored comes from the averages, what is trained does not.
    let mut weights = Weights::zeros_for(network.params());
    ghn.generate(&network, &mut weights).unwrap();
    let scored = predict(&mut *ghn, &network);
    assert_eq!(weights.as_slice(), predict(&mut *plain, &network).as_slice());
    assert_ne!(weights.as_slice(), scored.as_slice());
    plain.load(&of_averages(&state)).unwrap();
    assert_eq!(scored.as_slice(), predict(&mut *plain, &network).as_slice());
}

#[test]
fn an_average_is_saved_and_gone_on_with() {
    let averaging = || ghn_with(r#"{"average": 0.75}"#, 1).unwrap();
    let mut ghn = averaging();
    train(&mut *ghn, 3);
    let state = ghn.save().unwrap();
    let mut copy = averaging();
    copy.load(&state).unwrap();
    train(&mut *ghn, 2);
    train(&mut *copy, 2);
    assert_eq!(ghn.save().unwrap(), copy.save().unwrap());
    let network = network(Phase::Score, 9);
    assert_eq!(predict(&mut *ghn, &network).as_slice(), predict(&mut *copy, &network).as_slice());

    let mut without = state.clone();
    without.tensors.remove("average/gru.state.bias");
    let error = copy.load(&without).unwrap_err().to_string();
    assert_eq!(error, "state 'average/gru.state.bias': it is missing");
    // The settings tell a GHN that kept no average.
    let error = self::ghn(1).load(&state).unwrap_err().to_string();
    assert!(error.starts_with("state 'settings'") && error.contains("average"), "{error}");
    assert!(copy.load(&self::ghn(1).save().unwrap()).is_err());
}

#[test]
fn state_that_does_not_fit_is_named_and_changes_nothing() {
    let mut ghn = ghn(1);
    train(&mut *ghn, 1);
    let state = ghn.save().unwrap();
    let mut check = |name: &str, spoil: &dyn Fn(&mut GeneratorState)| {
        let mut spoiled = state.clone();
        spoil(&mut spoiled);
        match ghn.load(&spoiled) {
            Err(GeneratorError::State { name: got, .. }) => assert_eq!(got, name),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(ghn.save().unwrap(), state);
    };
    let weight = "parameter/message.0.weight";
    check(weight, &|state| drop(state.tensors.remove(weight)));
    check(weight, &|state| state.tensors.get_mut(weight).unwrap().shape = vec![1]);
    check(weight, &|state| state.tensors.get_mut(weight).unwrap().data[0] = f32::NAN);
    let moment = "second_moment/branch.stem.bias";
    check(moment, &|state| state.tensors.get_mut(moment).unwrap().data.truncate(3));
    check("steps/gru.state.bias", &|state| {
        state.entries.insert("steps/gru.state.bias".into(), "many".into());
    });
    check("parameter/branch.unknown.bias", &|state| {
        let tensor = state.tensors[weight].clone();
        state.tensors.insert("parameter/branch.unknown.bias".into(), tensor);
    });
    check("settings", &|state| {
        state.entries.insert("settings".into(), r#"{"rounds": 4}"#.into());
    });
    check("settings", &|state| drop(state.entries.remove("settings")));
}

#[test]
fn clipping_does_not_change_the_reported_norm() {
    let network = network(Phase::Train, 1);
    let report = |clip_norm| {
        let mut ghn = ghn(1);
        learn(&mut *ghn, &network, &gradient(&network, 0.0));
        let report = ghn.step(StepOptions { clip_norm, ..STEP }).unwrap();
        (report, predict(&mut *ghn, &network))
    };
    let (free, clipped) = (report(1e9), report(1e-6));
    assert_eq!(free.0, clipped.0);
    assert_ne!(free.1.as_slice(), clipped.1.as_slice());
}

#[test]
fn every_choice_of_settings_trains() {
    for settings in [
        r#"{"propagator": "synchronous"}"#,
        r#"{"propagator": "synchronous", "propagator_settings": {"neighbours": "both"}}"#,
        r#"{"normalize": false, "rounds": 1}"#,
        r#"{"rounds": 0, "hidden": 5, "message_hidden": 1, "hypernetwork_hidden": 3}"#,
    ] {
        let mut ghn = ghn_with(settings, 1).unwrap();
        for report in train(&mut *ghn, 2) {
            assert!(report.applied && report.gradient_norm > 0.0, "{settings}: {report:?}");
        }
        assert!(predict(&mut *ghn, &network(Phase::Score, 1)).all_finite(), "{settings}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, word) in [
        (r#"{"round": 5}"#, "round"),
        (r#"{"hidden": 0}"#, "hidden"),
        (r#"{"average": 1.0}"#, "average: 1, expected 0 (no average) to below 1"),
        (r#"{"rounds": 100000}"#, "rounds"),
        (r#"{"propagator": "forward_backward"}"#, "did you mean 'forward-backward'?"),
        (r#"{"propagator_settings": {"neighbours": "all"}}"#, "neighbours"),
    ] {
        let error = ghn_with(settings, 1).err().unwrap();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_kind_has_one_largest_shape() {
    let network = network(Phase::Train, 1);
    let mut ghn = ghn(1);
    predict(&mut *ghn, &network);
    let mut spec = network.spec().clone();
    for param in spec.params.iter_mut().filter(|param| param.kind == "pointwise") {
        param.largest[0] *= 2;
    }
    let other = Network::new(spec).unwrap();
    let mut weights = Weights::zeros_for(other.params());
    let error = ghn.predict(&other, &mut weights).unwrap_err().to_string();
    assert!(error.contains("pointwise"), "{error}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn without_cuda_support_the_device_is_refused() {
    let error = with_context(1, |catalogue, context| {
        let context = BuildContext { device: Device::Cuda(0), ..*context };
        catalogue.generators.build("ghn", &Settings::new(), &context).err().unwrap().to_string()
    });
    assert!(error.contains("rebuild with --features cuda"), "{error}");
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let trained = |threads| {
        let mut ghn = ghn_on(threads, r#"{"average": 0.75}"#, 1).unwrap();
        let reports = train(&mut *ghn, 4);
        let weights = predict(&mut *ghn, &network(Phase::Score, 1));
        (reports, ghn.save().unwrap(), weights.as_slice().to_vec())
    };
    let one = trained(1);
    assert!(one.0.iter().all(|report| report.applied));
    for threads in [2, 5] {
        assert!(one == trained(threads), "{threads} threads");
    }
}

#[test]
fn networks_that_come_again_change_no_byte() {
    // What is kept of a network is found again by the first, and made anew by the second.
    let seeds = [1, 2, 1, 1, 2];
    let learned = |forgets: bool| {
        let mut ghn = ghn(1);
        for seed in seeds {
            let network = network(Phase::Train, seed);
            if forgets {
                let state = ghn.save().unwrap();
                ghn = self::ghn(7);
                ghn.load(&state).unwrap();
            }
            learn(&mut *ghn, &network, &gradient(&network, 0.0));
            ghn.step(STEP).unwrap();
        }
        ghn.save().unwrap()
    };
    assert!(learned(false) == learned(true));
}

/// What the identity adds: a channel passed through at the centre of kernels that keep their number,
/// and nothing else.
#[test]
fn kernels_begin_near_the_identity() {
    let network = network(Phase::Train, 1);
    let with = predict(&mut *ghn_with(r#"{"identity": 2.0}"#, 3).unwrap(), &network);
    let without = predict(&mut *ghn(3), &network);
    for (index, param) in (0..).zip(network.params()) {
        let values = with.get(ParamId(index)).iter().zip(without.get(ParamId(index)));
        let added: Vec<f32> = values.map(|(with, without)| with - without).collect();
        let keeps = |largest: &[usize]| largest[0] == largest[1] || largest[1] == 1;
        if param.role != ParamRole::Kernel || !keeps(&param.largest) {
            assert!(added.iter().all(|value| *value == 0.0), "{}", param.name);
            continue;
        }
        let [_, inputs, height, width] = param.largest[..] else { panic!("{}", param.name) };
        let value = 2.0 * ((inputs * height * width) as f32 * 2.0 / param.fan_in as f32).sqrt();
        let centre = height / 2 * width + width / 2;
        let slice = Slicing::new(&param.largest, &param.shape).unwrap();
        for (added, at) in added.iter().zip(slice.indices()) {
            let (plane, tap) = (at / (height * width), at % (height * width));
            let passes = tap == centre && plane % inputs == plane / inputs % inputs;
            let expected = if passes { value } else { 0.0 };
            assert!((added - expected).abs() < 1e-4 * value, "{} {added} {expected}", param.name);
        }
        assert!(added.iter().any(|&added| added > 0.0), "{}", param.name);
    }
    let error = ghn_with(r#"{"identity": -1.0}"#, 0).err().unwrap();
    assert!(error.contains("identity = -1, expected 0 to 1000"), "{error}");
}
