//! An ensemble of weight generators (Lakshminarayanan et al., NeurIPS 2017), registered as
//! `ensemble`: several of one kind that differ by their seeds.
//!
//! They are trained in turn, a step each, so that an ensemble of m trains each for an m-th of the
//! steps. A network is scored with each member's weights, and `search.ensemble` says how one loss
//! comes of these. Where networks are ranked, that takes away what one generator happens to favour:
//! docs/results/nas-bench-201-trials.md has figures.

mod ensemble;
#[cfg(test)]
mod tests;

use ghnas_core::registry::{BuildContext, default_preset, from_settings};
use ghnas_core::{Factory, Registration, Settings, WeightGenerator, inventory, rng};
use serde::{Deserialize, Serialize};

use crate::ensemble::Ensemble;

/// The most members that are accepted.
const MOST_MEMBERS: usize = 1000;

/// Settings of an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnsembleSettings {
    /// How many generators.
    pub members: usize,
    /// Id of the generators.
    pub generator: String,
    /// Their settings; what is left out has its default.
    pub settings: Settings,
}

impl Default for EnsembleSettings {
    fn default() -> Self {
        Self { members: 3, generator: "ghn".into(), settings: Settings::new() }
    }
}

inventory::submit! {
    Registration {
        id: "ensemble",
        summary: "several generators, trained in turn, whose mean logits score (Lakshminarayanan et al. 2017)",
        source: env!("CARGO_PKG_NAME"),
        presets: || default_preset(&EnsembleSettings::default()),
        factory: Factory::WeightGenerator(build),
    }
}

fn build(
    settings: &Settings,
    context: &BuildContext<'_>,
) -> Result<Box<dyn WeightGenerator>, String> {
    let EnsembleSettings { members, generator, settings } = from_settings(settings)?;
    if !(1..=MOST_MEMBERS).contains(&members) {
        return Err(format!("members = {members}, expected 1 to {MOST_MEMBERS}"));
    }
    let generators = &context.catalogue.generators;
    let entry = generators.get(&generator).map_err(|error| format!("generator: {error}"))?;
    let mut own = entry.default_settings();
    own.extend(settings);
    let member = |index: u64| {
        let seed = rng::derive_seed(context.seed, "ensemble", index);
        let built = generators.build(&generator, &own, &BuildContext { seed, ..*context });
        built.map_err(|error| format!("settings: {error}"))
    };
    let members: Result<Vec<_>, String> = (0..members as u64).map(member).collect();
    Ok(Box::new(Ensemble::new(members?)))
}
