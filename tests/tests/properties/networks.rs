//! Laws of networks: their JSON, and that no document makes the checks panic.

use ghnas_core::{Counting, Network, NetworkSpec, ValueId, multiply_adds};
use ghnas_tests::random_network;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Values that a document of a network may hold by mistake or malice.
fn hostile() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!("relu")),
        Just(json!(-1)),
        Just(json!(1e308)),
        (0u64..6).prop_map(Value::from),
        (0u32..=64).prop_map(|bits| Value::from(u64::MAX.checked_shr(64 - bits).unwrap_or(0))),
        prop::collection::vec(prop_oneof![0u64..4, Just(1 << 40), Just(u64::MAX)], 0..5)
            .prop_map(Value::from),
    ]
}

/// The `pick`th of all places in `value`: the keys and positions that lead to it.
fn place(value: &mut Value, mut pick: usize) -> &mut Value {
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(count).sum(),
            Value::Object(fields) => fields.values().map(count).sum(),
            _ => 0,
        }
    }
    pick %= count(value);
    if pick == 0 {
        return value;
    }
    pick -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => unreachable!("only a container has places inside"),
    };
    for child in children {
        let places = count(child);
        if pick < places {
            return place(child, pick);
        }
        pick -= places;
    }
    unreachable!("the pick is below the number of places")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is accepted can be counted and written again.
    #[test]
    fn a_spoilt_document_is_a_network_or_an_error(
        seed in 0u64..50,
        spoils in prop::collection::vec((any::<usize>(), hostile()), 1..3),
    ) {
        let mut document = serde_json::to_value(random_network(seed).network).unwrap();
        for (pick, value) in spoils {
            *place(&mut document, pick) = value;
        }
        if let Ok(spec) = serde_json::from_value::<NetworkSpec>(document)
            && let Ok(network) = Network::new(spec.clone())
        {
            let all = Counting { linear_bias: true, batch_norm: true, sums: true };
            let (some, all) =
                (multiply_adds(&network, Counting::default()), multiply_adds(&network, all));
            prop_assert!(some <= all);
            prop_assert_eq!(network.spec(), &spec);
        }
    }
}

proptest! {
    #[test]
    fn json_keeps_a_network(seed in any::<u64>()) {
        let network = random_network(seed).network;
        let text = serde_json::to_string(&network).unwrap();
        prop_assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), network);
    }

    #[test]
    fn every_value_of_a_network_has_the_shape_that_its_step_infers(seed in any::<u64>()) {
        let network = random_network(seed).network;
        prop_assert_eq!(network.values(), network.steps().len() + 1);
        for (at, step) in network.steps().iter().enumerate() {
            let inputs: Vec<_> = step.inputs.iter().map(|&value| network.shape(value)).collect();
            prop_assert!(step.inputs.iter().all(|value| value.index() <= at));
            prop_assert_eq!(step.primitive.infer(&inputs), Ok(network.shape(ValueId(at as u32 + 1))));
        }
    }
}

/// Sets one value of a valid document and expects a refusal that says `because`.
#[track_caller]
fn refused(pointer: &str, value: Value, because: &str) {
    let mut document = serde_json::to_value(random_network(0).network).unwrap();
    *document.pointer_mut(pointer).expect(pointer) = value;
    let error = serde_json::from_value::<Network>(document).expect_err(pointer).to_string();
    assert!(error.contains(because), "{pointer}: {error}");
}

#[test]
fn hostile_sizes_are_refused() {
    let network = random_network(0).network;
    let named = |name: &str| {
        let found = network.steps().iter().position(|step| step.primitive.name() == name);
        found.unwrap_or_else(|| panic!("every primitive occurs, {name} too"))
    };
    let huge = json!(1u64 << 62);
    for side in 0..3 {
        refused(&format!("/input/{side}"), huge.clone(), "");
        refused(&format!("/input/{side}"), json!(0), "");
    }
    let (conv, pool) = (named("conv2d"), named("max_pool"));
    for field in ["stride", "dilation", "kernel/0", "padding/1"] {
        refused(&format!("/steps/{conv}/{field}"), huge.clone(), "conv2d");
    }
    refused(&format!("/steps/{conv}/groups"), json!(0), "groups");
    let mean = named("average_pool");
    refused(&format!("/steps/{mean}/window/size"), huge.clone(), "average_pool");
    refused(&format!("/steps/{pool}/size"), huge.clone(), "max_pool");
    refused(&format!("/steps/{}/factor", named("upsample")), huge.clone(), "too large");
    refused(&format!("/steps/{}/out_features", named("linear")), huge.clone(), "");
    refused("/params/0/shape/0", huge.clone(), "");
    refused("/params/0/largest/0", huge, "");
}
