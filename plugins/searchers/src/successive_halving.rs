//! Successive halving (Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and
//! Hyperparameter Optimization"): samples are evaluated cheaply, and of each rung the best 1/eta
//! are evaluated again at the fidelity of the next.
//!
//! With two rungs it is the paper's choice of its final architectures (section 5.1): all are
//! scored, and the best are evaluated in full.

use std::collections::BTreeMap;

use ghnas_core::registry::{from_settings, settings_of};
use ghnas_core::{
    CandidateId, Command, Factory, Outcome, Preset, Registration, SearcherError, inventory,
};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::ask_tell::{AskTell, Strategy, Turn};
use crate::bits;
use crate::range::within;

/// Settings of the searcher `successive-halving`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuccessiveHalvingSettings {
    /// Samples that are evaluated at rung 0.
    pub initial: u64,
    /// One of this many candidates is promoted to the next rung.
    pub eta: u64,
    /// Fidelities, rung 0 included.
    pub rungs: u32,
}

impl Default for SuccessiveHalvingSettings {
    fn default() -> Self {
        Self { initial: 81, eta: 3, rungs: 4 }
    }
}

impl SuccessiveHalvingSettings {
    /// The paper's: the best 10 of 1000.
    pub fn top_best() -> Self {
        Self { initial: 1000, eta: 100, rungs: 2 }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        within("initial", self.initial, 1..=10_000_000)?;
        within("eta", self.eta, 2..=1_000_000)?;
        within("rungs", self.rungs, 1..=20)?;
        let last = self.rungs - 1;
        match self.quota(last) {
            0 => Err(format!(
                "initial = {}: none of them is left for rung {last}; expected at least \
                 eta^(rungs - 1) with eta = {} and rungs = {}",
                self.initial, self.eta, self.rungs
            )),
            _ => Ok(()),
        }
    }

    /// Candidates that are evaluated at `rung`.
    fn quota(&self, rung: u32) -> u64 {
        self.eta.checked_pow(rung).map_or(0, |part| self.initial / part)
    }
}

inventory::submit! {
    Registration {
        id: SuccessiveHalving::ID,
        summary: "evaluates the best 1/eta again at a higher fidelity (Jamieson and Talwalkar 2016)",
        source: env!("CARGO_PKG_NAME"),
        presets: || {
            [
                ("default", SuccessiveHalvingSettings::default()),
                ("top-best", SuccessiveHalvingSettings::top_best()),
            ]
            .map(|(name, settings)| Preset { name: name.into(), settings: settings_of(&settings) })
            .into()
        },
        factory: Factory::Searcher(|settings, context| {
            let settings: SuccessiveHalvingSettings = from_settings(settings)?;
            settings.validate()?;
            let state = State { rung: 0, left: settings.initial, queue: vec![], results: vec![] };
            let strategy = SuccessiveHalving { settings, state };
            Ok(Box::new(AskTell::new(strategy, context.seed)))
        }),
    }
}

struct SuccessiveHalving {
    settings: SuccessiveHalvingSettings,
    state: State,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    rung: u32,
    /// Samples that rung 0 still takes.
    left: u64,
    /// Candidates of rung 0 to evaluate at this rung, the next one last.
    queue: Vec<u64>,
    /// What was evaluated at this rung.
    results: Vec<Ranked>,
}

/// A candidate of rung 0 with its objective at the present rung.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ranked {
    candidate: u64,
    #[serde(with = "bits")]
    objective: f64,
}

impl Strategy for SuccessiveHalving {
    const ID: &'static str = "successive-halving";
    /// The candidate of rung 0.
    type Note = u64;
    type State = State;

    fn propose(
        &mut self,
        turn: &mut Turn<'_, u64>,
    ) -> Result<Option<(Command, u64)>, SearcherError> {
        let state = &mut self.state;
        if state.left > 0 {
            state.left -= 1;
            let sample = Command::Sample { seed: turn.rng.next_u64() };
            return Ok(Some((sample, turn.candidate.0)));
        }
        if state.queue.is_empty() && turn.awaited.is_empty() && state.rung + 1 < self.settings.rungs
        {
            state.rung += 1;
            let mut results = std::mem::take(&mut state.results);
            results.sort_by(|a, b| {
                a.objective.total_cmp(&b.objective).then(a.candidate.cmp(&b.candidate))
            });
            let best = results.iter().take(self.settings.quota(state.rung) as usize);
            state.queue = best.rev().map(|ranked| ranked.candidate).collect();
        }
        Ok(state.queue.pop().map(|origin| {
            (Command::Promote { candidate: CandidateId(origin), rung: state.rung }, origin)
        }))
    }

    fn learn(&mut self, candidate: u64, outcome: &Outcome) {
        if outcome.objective.is_finite() {
            self.state.results.push(Ranked { candidate, objective: outcome.objective });
        }
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn restore(&mut self, state: State, _: &BTreeMap<u64, u64>) -> Result<(), String> {
        within("rung", state.rung, 0..=self.settings.rungs - 1)?;
        within("samples", state.left, 0..=self.settings.initial)?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ghnas_core::Searcher;

    /// Runs to the end; the objective of origin i at rung r is `objective(i, r)`.
    fn rungs(
        settings: SuccessiveHalvingSettings,
        at_once: usize,
        objective: impl Fn(u64, u32) -> f64,
    ) -> Vec<Vec<u64>> {
        let state = State { rung: 0, left: settings.initial, queue: vec![], results: vec![] };
        let mut searcher = AskTell::new(SuccessiveHalving { settings, state }, 1);
        let (mut rungs, mut next) = (vec![Vec::new(); settings.rungs as usize], 0);
        loop {
            let commands = searcher.suggest(at_once).unwrap();
            let mut outcomes = Vec::new();
            for command in &commands {
                let (origin, rung) = match *command {
                    Command::Sample { .. } => (next, 0),
                    Command::Promote { candidate, rung } => (candidate.0, rung),
                    ref other => panic!("{other:?}"),
                };
                rungs[rung as usize].push(origin);
                let (candidate, objective) = (CandidateId(next), objective(origin, rung));
                outcomes.push(Outcome { candidate, objective, multiply_adds: 1, rung });
                next += 1;
            }
            if outcomes.is_empty() {
                return rungs;
            }
            outcomes.reverse();
            searcher.report(&outcomes).unwrap();
        }
    }

    #[test]
    fn each_rung_takes_the_best_of_the_one_before() {
        let settings = SuccessiveHalvingSettings { initial: 13, eta: 2, rungs: 3 };
        for at_once in [1, 4, 100] {
            // At rung 0 large numbers are better, at rung 1 small ones.
            let found =
                rungs(
                    settings,
                    at_once,
                    |origin, rung| {
                        if rung == 0 { -(origin as f64) } else { origin as f64 }
                    },
                );
            assert_eq!(found[0], Vec::from_iter(0..13));
            assert_eq!(found[1], [12, 11, 10, 9, 8, 7]);
            assert_eq!(found[2], [7, 8, 9]);
        }
    }

    #[test]
    fn what_failed_is_never_promoted() {
        let settings = SuccessiveHalvingSettings { initial: 9, eta: 3, rungs: 2 };
        let of = |origin: u64, _| if origin == 4 { 1.0 } else { f64::NAN };
        assert_eq!(rungs(settings, 1, of)[1], [4]);
        assert!(rungs(settings, 1, |_, _| f64::INFINITY)[1].is_empty());
    }

    #[test]
    fn too_few_samples_for_the_rungs_are_refused() {
        let settings = SuccessiveHalvingSettings { initial: 26, eta: 3, rungs: 4 };
        let error = settings.validate().unwrap_err();
        assert!(error.starts_with("initial = 26: none of them is left for rung 3"), "{error}");
        let settings = SuccessiveHalvingSettings { initial: 27, ..settings };
        settings.validate().unwrap();
        SuccessiveHalvingSettings::top_best().validate().unwrap();
    }
}
