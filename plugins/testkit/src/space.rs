//! Search spaces: sampling, notation, lowering, evolution, enumeration.

use std::sync::Arc;

use ghnas_core::{Architecture, Phase, SearchSpace, Task};

use crate::{Suite, require, words};

/// Architectures that each law is tried on, a phase.
const SAMPLES: u64 = 12;

/// Architectures of an enumeration that are looked at, spread over all of it.
const LISTED: u64 = 48;

pub(crate) fn check(suite: &mut Suite<'_>) {
    suite.check("same seed, same architecture, on every thread", |suite| {
        let space = build(suite)?;
        let own = samples(&*space)?;
        let others = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| samples(&*space)));
            threads.map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
        });
        for other in others {
            require(other? == own, || "another thread got another architecture".into())?;
        }
        let again = samples(&*build(suite)?)?;
        require(again == own, || "another instance got another architecture".into())
    });
    suite.check("samples are valid, in canonical order, and lower", |suite| {
        let space = build(suite)?;
        for arch in samples(&*space)? {
            space.validate(&arch).map_err(|error| format!("{arch}: {error}"))?;
            require(arch.canonical() == arch, || format!("{arch} is not in canonical order"))?;
            lowers(&*space, &arch)?;
        }
        Ok(())
    });
    suite.check("what is printed is parsed to the same", |suite| {
        let space = build(suite)?;
        for arch in samples(&*space)? {
            let again = space.parse(&arch.to_string()).map_err(words)?;
            require(again == arch, || format!("{arch} became {again}"))?;
        }
        Ok(())
    });
    suite.check("the space's own notation is one line and is parsed to the same hash", |suite| {
        let space = build(suite)?;
        for arch in samples(&*space)? {
            let text = space.format(&arch);
            require(!text.contains(['\n', '\r']), || format!("{text:?} is more than one line"))?;
            let again = space.parse(&text).map_err(|error| format!("{text}: {error}"))?;
            require(again.hash() == arch.hash(), || format!("{arch} as {text} became {again}"))?;
        }
        Ok(())
    });
    suite.check("architectures of another space are refused", |suite| {
        let space = build(suite)?;
        let arch = space.sample(Phase::Score, 0).map_err(words)?;
        let foreign = Architecture::new("another-space", arch.motifs().to_vec());
        let refused = space.validate(&foreign).is_err()
            && space.lower(&foreign, Task::CIFAR10).is_err()
            && space.parse("not an architecture").is_err();
        require(refused, || "it took one".into())
    });
    suite.check("mutation and crossover give valid children and keep their parents", |suite| {
        let space = build(suite)?;
        let Some(evolve) = space.evolve() else { return Ok(()) };
        let parents = samples(&*space)?;
        for (seed, pair) in (0..).zip(parents.windows(2)) {
            let before = pair.to_vec();
            let mutated = evolve.mutate(&pair[0], seed).map_err(words)?;
            let crossed = evolve.cross(&pair[0], &pair[1], seed).map_err(words)?;
            for child in [&mutated, &crossed] {
                space.validate(child).map_err(|error| format!("{child}: {error}"))?;
                lowers(&*space, child)?;
            }
            let again = evolve.mutate(&pair[0], seed).map_err(words)?;
            require(again == mutated, || "same seed, another mutation".into())?;
            let again = evolve.cross(&pair[0], &pair[1], seed).map_err(words)?;
            require(again == crossed, || "same seed, another child".into())?;
            require(before == pair, || "a parent changed".into())?;
        }
        Ok(())
    });
    suite.check("an enumeration gives valid architectures that differ, and has an end", |suite| {
        let space = build(suite)?;
        let Some(enumerate) = space.enumerate() else { return Ok(()) };
        let size = enumerate.size();
        require(size > 0, || "it is empty".into())?;
        let mut listed = std::collections::BTreeMap::new();
        for index in spread(size) {
            let arch = enumerate.nth(index).map_err(words)?;
            let again = enumerate.nth(index).map_err(words)?;
            require(again == arch, || format!("{index} gave {arch}, then {again}"))?;
            let text = space.format(&arch);
            if let Some((other, _)) = listed.insert(text.clone(), (index, arch)) {
                return Err(format!("{other} and {index} are both {text}"));
            }
        }
        for (text, (index, arch)) in &listed {
            let parsed = space.parse(text).map_err(|error| format!("{index}, {text}: {error}"))?;
            require(parsed.hash() == arch.hash(), || format!("{arch} as {text}: {parsed}"))?;
            space.validate(arch).map_err(|error| format!("{index}, {text}: {error}"))?;
            lowers(&*space, arch)?;
        }
        require([size, u64::MAX].into_iter().all(|index| enumerate.nth(index).is_err()), || {
            format!("it says to have {size}, and gives more")
        })
    });
    if let Ok(space) = build(suite) {
        for arch in samples(&*space).unwrap_or_default() {
            suite.record(arch.to_string());
            if let Ok(network) = space.lower(&arch, Task::CIFAR10) {
                suite.record(serde_json::to_vec(&network).unwrap_or_default());
            }
        }
    }
}

fn build(suite: &Suite<'_>) -> Result<Arc<dyn SearchSpace>, String> {
    let built = suite.catalogue.spaces.build(&suite.entry.id, &suite.settings, &suite.context());
    built.map_err(words)
}

fn samples(space: &dyn SearchSpace) -> Result<Vec<Architecture>, String> {
    let phases = [Phase::Train, Phase::Score];
    let all = phases.into_iter().flat_map(|phase| (0..SAMPLES).map(move |seed| (phase, seed)));
    all.map(|(phase, seed)| space.sample(phase, seed).map_err(words)).collect()
}

/// Indices below `size`, the first and the last among them.
fn spread(size: u64) -> impl Iterator<Item = u64> {
    let count = size.min(LISTED);
    let last = u128::from(size - 1);
    let place = move |k: u64| last * u128::from(k) / u128::from(count.max(2) - 1);
    (0..count).map(move |k| u64::try_from(place(k)).expect("it is at most the last index"))
}

fn lowers(space: &dyn SearchSpace, arch: &Architecture) -> Result<(), String> {
    let lower = || space.lower(arch, Task::CIFAR10).map_err(|error| format!("{arch}: {error}"));
    require(lower()? == lower()?, || format!("{arch} was lowered to two networks"))
}
