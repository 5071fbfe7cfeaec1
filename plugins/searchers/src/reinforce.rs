//! REINFORCE with a learned policy (Zoph and Le 2017, "Neural Architecture Search with
//! Reinforcement Learning", section 3.2): the policy draws an operation for each place of a
//! [`Template`], and the reward above a moving average makes what was drawn more likely.

use std::collections::BTreeMap;
use std::sync::Arc;

use ghnas_core::registry::{from_settings, settings_of};
use ghnas_core::{
    Command, Factory, Outcome, Preset, Registration, SearchSpace, SearcherError, inventory, rng,
};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::ask_tell::{AskTell, Strategy, Turn};
use crate::policy::{Controller, Lesson, Policy, PolicyState};
use crate::range::within;
use crate::template::Template;
use crate::{bits, space};

/// Draws that may break a rule of the space before a sample of the space stands in.
const DRAWS: usize = 32;

/// Settings of the searcher `reinforce`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReinforceSettings {
    /// Where the policy's logits come from: `independent` or `lstm`.
    pub controller: Controller,
    /// Adam's step size.
    pub learning_rate: f64,
    /// The part of the old baseline in the new one; the rest is the newest reward.
    pub baseline: f64,
    /// Weight of the policy's entropy, in units of the objective; holds it back from certainty.
    pub entropy: f64,
}

impl Default for ReinforceSettings {
    fn default() -> Self {
        let controller = Controller::Independent;
        Self { controller, learning_rate: 0.1, baseline: 0.9, entropy: 0.0 }
    }
}

impl ReinforceSettings {
    /// With the paper's controller, whose parameters take smaller steps.
    pub fn lstm() -> Self {
        Self { controller: Controller::Lstm, learning_rate: 0.01, ..Self::default() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        within("learning_rate", self.learning_rate, 1e-9..=10.0)?;
        within("baseline", self.baseline, 0.0..=0.999_999)?;
        within("entropy", self.entropy, 0.0..=1e9)
    }
}

inventory::submit! {
    Registration {
        id: Reinforce::ID,
        summary: "a policy over operations, shifted by rewards (Zoph and Le 2017)",
        source: env!("CARGO_PKG_NAME"),
        presets: || {
            [("default", ReinforceSettings::default()), ("lstm", ReinforceSettings::lstm())]
                .map(|(name, settings)| Preset {
                    name: name.into(),
                    settings: settings_of(&settings),
                })
                .into()
        },
        factory: Factory::Searcher(|settings, context| {
            let settings: ReinforceSettings = from_settings(settings)?;
            settings.validate()?;
            let strategy = Reinforce::new(settings, space::needed(context)?, context.seed)?;
            Ok(Box::new(AskTell::new(strategy, context.seed)))
        }),
    }
}

struct Reinforce {
    settings: ReinforceSettings,
    template: Template,
    /// For validation; none where every draw is an architecture of the space.
    space: Option<Arc<dyn SearchSpace>>,
    policy: Policy,
    state: State,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    policy: PolicyState,
    baseline: Option<Reward>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct Reward(#[serde(with = "bits")] f64);

impl Reinforce {
    fn new(
        settings: ReinforceSettings,
        space: &Arc<dyn SearchSpace>,
        seed: u64,
    ) -> Result<Self, String> {
        let template = Template::of(&**space)?;
        let checked = template.covered(&**space).is_none().then(|| space.clone());
        let mut random = rng::stream(seed, "reinforce.policy", 0);
        let policy = Policy::new(settings.controller, template.counts());
        let state = State { policy: policy.begin(&mut random), baseline: None };
        Ok(Self { settings, template, space: checked, policy, state })
    }
}

impl Strategy for Reinforce {
    const ID: &'static str = "reinforce";
    /// The choices that were drawn; none for a sample of the space.
    type Note = Option<Vec<usize>>;
    type State = State;

    fn propose(
        &mut self,
        turn: &mut Turn<'_, Self::Note>,
    ) -> Result<Option<(Command, Self::Note)>, SearcherError> {
        for _ in 0..DRAWS {
            let choices = self.policy.sample(&self.state.policy, &mut turn.rng);
            let arch = self.template.architecture(&choices);
            if self.space.as_ref().is_none_or(|space| space.validate(&arch).is_ok()) {
                return Ok(Some((Command::Evaluate { arch }, Some(choices))));
            }
        }
        Ok(Some((Command::Sample { seed: turn.rng.next_u64() }, None)))
    }

    /// The gradient is that of the present policy, also where outcomes came since the draw.
    fn learn(&mut self, choices: Self::Note, outcome: &Outcome) {
        let reward = -outcome.objective;
        let (true, Some(choices)) = (reward.is_finite(), choices) else { return };
        let ReinforceSettings { baseline: keep, entropy, learning_rate: rate, .. } = self.settings;
        let before = self.state.baseline.map_or(reward, |Reward(value)| value);
        self.state.baseline = Some(Reward(keep * before + (1.0 - keep) * reward));
        let lesson = Lesson { advantage: reward - before, entropy, rate };
        self.policy.learn(&mut self.state.policy, &choices, lesson);
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn restore(&mut self, state: State, awaited: &BTreeMap<u64, Self::Note>) -> Result<(), String> {
        self.policy.check(&state.policy)?;
        if !awaited.values().flatten().all(|choices| self.policy.fits(choices)) {
            return Err("choices that this policy cannot make".into());
        }
        self.state = state;
        Ok(())
    }
}
