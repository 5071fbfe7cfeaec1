//! Laws of search spaces, tried on all that are linked in.

use std::sync::Arc;

use ghnas_core::registry::{BuildContext, Settings};
use ghnas_core::{Catalogue, Network, Phase, SearchSpace, Task};
use ghnas_space_cell as _;
use proptest::prelude::*;

/// Every space with the settings of every of its presets.
fn spaces() -> Vec<(String, Arc<dyn SearchSpace>)> {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let presets = catalogue
        .spaces
        .entries()
        .flat_map(|entry| entry.presets.iter().map(|preset| (entry.id.clone(), preset.clone())));
    let build = |id: &str, settings: &Settings| {
        catalogue.spaces.build(id, settings, &context).unwrap_or_else(|error| panic!("{error}"))
    };
    let spaces: Vec<_> = presets
        .map(|(id, preset)| (format!("{id}, {}", preset.name), build(&id, &preset.settings)))
        .collect();
    assert!(!spaces.is_empty(), "a space is linked in");
    spaces
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![Just(Phase::Train), Just(Phase::Score)]
}

/// Values from which the end of their module can be reached, or an output.
///
/// Not every module need reach an output: an architecture may read only the block before the
/// previous one, and then every second block is computed for nothing.
fn useful(network: &Network) -> Vec<bool> {
    let mut useful = vec![false; network.values()];
    for output in network.outputs() {
        useful[output.value.index()] = true;
    }
    let mut later_module = usize::MAX;
    for (at, step) in network.steps().iter().enumerate().rev() {
        let last_of_module = step.node.module != later_module;
        useful[at + 1] |= last_of_module;
        later_module = step.node.module;
        if useful[at + 1] {
            step.inputs.iter().for_each(|value| useful[value.index()] = true);
        }
    }
    useful
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn samples_belong_to_their_space_and_are_canonical(phase in phase(), seed in any::<u64>()) {
        for (name, space) in spaces() {
            let arch = space.sample(phase, seed).unwrap();
            prop_assert_eq!(space.validate(&arch), Ok(()), "{}", name);
            prop_assert_eq!(arch.space(), space.id());
            prop_assert_eq!(&arch.canonical(), &arch, "{}", name);
            let parsed = space.parse(&arch.to_string());
            prop_assert_eq!(parsed, Ok(arch), "{}", name);
        }
    }

    #[test]
    fn same_seed_same_architecture_and_network(phase in phase(), seed in any::<u64>()) {
        for ((name, one), (_, two)) in spaces().into_iter().zip(spaces()) {
            let arch = one.sample(phase, seed).unwrap();
            prop_assert_eq!(&two.sample(phase, seed).unwrap(), &arch, "{}", name);
            let lower = |space: &dyn SearchSpace| space.lower(&arch, Task::CIFAR10).unwrap();
            prop_assert_eq!(lower(&*one), lower(&*two), "{}", name);
        }
    }

    #[test]
    fn other_seeds_give_other_architectures(phase in phase(), seed in any::<u64>()) {
        for (name, space) in spaces() {
            let hash = |seed: u64| space.sample(phase, seed).unwrap().hash();
            let mut hashes: Vec<_> = (0..8).map(|step| hash(seed.wrapping_add(step))).collect();
            hashes.sort_unstable();
            hashes.dedup();
            // Chance may repeat one.
            prop_assert!(hashes.len() >= 7, "{name}: {} of 8 differ", hashes.len());
        }
    }

    #[test]
    fn every_step_and_node_of_a_sampled_network_reaches_the_end_of_its_module(
        phase in phase(),
        seed in any::<u64>(),
    ) {
        for (name, space) in spaces() {
            let network = space.lower(&space.sample(phase, seed).unwrap(), Task::CIFAR10).unwrap();
            let lost = useful(&network).iter().skip(1).position(|&useful| !useful);
            prop_assert_eq!(lost, None, "{}: a step that its module does not need", name);
            for (at, module) in network.modules().iter().enumerate() {
                let graph = network.graph(at);
                let last = module.nodes.len() - 1;
                for (node, reaches) in graph.ancestors_of([last]).into_iter().enumerate() {
                    // An input that the architecture does not use has no steps either.
                    let idle = network.steps().iter().all(|step| {
                        (step.node.module, step.node.node) != (at, node)
                    });
                    let unread = module.nodes[node].entry && graph.consumers(node).is_empty();
                    prop_assert!(reaches || (idle && unread), "{name}: {}.{node}", module.name);
                }
            }
        }
    }

    #[test]
    fn mutants_and_children_belong_to_the_space_and_depend_on_the_seed_alone(
        phase in phase(),
        seeds in any::<[u64; 3]>(),
    ) {
        for (name, space) in spaces() {
            let Some(evolve) = space.evolve() else { continue };
            let [first, second] = [seeds[0], seeds[1]].map(|seed| space.sample(phase, seed).unwrap());
            let mutant = evolve.mutate(&first, seeds[2]).unwrap();
            let child = evolve.cross(&first, &second, seeds[2]).unwrap();
            for arch in [&mutant, &child] {
                prop_assert_eq!(space.validate(arch), Ok(()), "{}", name);
                prop_assert!(space.lower(arch, Task::CIFAR10).is_ok(), "{}", name);
            }
            prop_assert_eq!(&evolve.mutate(&first, seeds[2]).unwrap(), &mutant, "{}", name);
            prop_assert_eq!(&evolve.cross(&first, &second, seeds[2]).unwrap(), &child, "{}", name);
        }
    }
}
