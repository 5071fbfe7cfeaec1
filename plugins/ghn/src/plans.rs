//! Plans that are used again: those of the last networks, and what plans of other networks have in
//! common with them. Architectures repeat in small spaces, their modules and shapes in all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ghnas_core::{Dag, GeneratorError, Network, Propagator, ScheduleError, Slicing, SlicingError};

use crate::parameters::Parameters;
use crate::plan::{Cutting, Plan, Propagation};
use crate::settings::GhnSettings;

/// How many plans, and how many propagations, are kept.
const KEPT: usize = 16;

/// The plans of the last networks.
#[derive(Default)]
pub(crate) struct Plans {
    recent: Recent<Network, Plan>,
    parts: Parts,
}

impl Plans {
    /// The plan of `network`; makes the embeddings and branches that are new.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(crate) fn plan(
        &mut self,
        network: &Network,
        propagator: &dyn Propagator,
        settings: &GhnSettings,
        parameters: &mut Parameters,
    ) -> Result<Arc<Plan>, GeneratorError> {
        // All that a plan is made from.
        let same = |known: &Network| {
            known.modules() == network.modules() && known.params() == network.params()
        };
        if let Some(plan) = self.recent.get(same) {
            return Ok(plan);
        }
        let plan = Plan::new(network, propagator, settings, parameters, &mut self.parts)?;
        Ok(self.recent.keep(network.clone(), plan))
    }

    /// Forgets the plans, which name parameters that are no more.
    pub(crate) fn clear(&mut self) {
        self.recent = Recent::default();
    }
}

/// What plans share.
#[derive(Default)]
pub(crate) struct Parts {
    propagations: Recent<Dag, Propagation>,
    /// By largest shape, then by shape. There are few: a space has a handful of each.
    cuttings: BTreeMap<Vec<usize>, BTreeMap<Vec<usize>, Arc<Cutting>>>,
}

impl Parts {
    /// The propagation over a module's graph.
    ///
    /// # Errors
    /// [`ScheduleError`] where the propagator cannot make one, or makes one that does not hold.
    pub(crate) fn propagation(
        &mut self,
        graph: &Dag,
        propagator: &dyn Propagator,
        rounds: usize,
    ) -> Result<Arc<Propagation>, ScheduleError> {
        if let Some(known) = self.propagations.get(|known| known == graph) {
            return Ok(known);
        }
        let schedule = propagator.schedule(graph, rounds)?;
        schedule.validate(graph)?;
        let propagation = Propagation::new(schedule, graph.len());
        Ok(self.propagations.keep(graph.clone(), propagation))
    }

    /// How `shape` is cut from `largest`.
    ///
    /// # Errors
    /// [`SlicingError`] where it cannot be.
    pub(crate) fn cutting(
        &mut self,
        largest: &[usize],
        shape: &[usize],
    ) -> Result<Arc<Cutting>, SlicingError> {
        if let Some(known) = self.cuttings.get(largest).and_then(|known| known.get(shape)) {
            return Ok(Arc::clone(known));
        }
        let cutting = Arc::new(Cutting::new(&Slicing::new(largest, shape)?));
        let known = self.cuttings.entry(largest.to_vec()).or_default();
        known.insert(shape.to_vec(), Arc::clone(&cutting));
        Ok(cutting)
    }
}

/// The values that were used last, at most [`KEPT`] of them.
struct Recent<K, V> {
    /// The last one first.
    entries: VecDeque<(K, Arc<V>)>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { entries: VecDeque::new() }
    }
}

impl<K, V> Recent<K, V> {
    fn get(&mut self, is_it: impl Fn(&K) -> bool) -> Option<Arc<V>> {
        let position = self.entries.iter().position(|(key, _)| is_it(key))?;
        let entry = self.entries.remove(position)?;
        let value = Arc::clone(&entry.1);
        self.entries.push_front(entry);
        Some(value)
    }

    fn keep(&mut self, key: K, value: V) -> Arc<V> {
        let value = Arc::new(value);
        self.entries.truncate(KEPT - 1);
        self.entries.push_front((key, Arc::clone(&value)));
        value
    }
}

#[cfg(test)]
mod tests {
    use ghnas_core::Phase;

    use super::*;
    use crate::{ForwardBackward, test_networks};

    #[test]
    fn the_last_plans_are_kept_and_others_made_anew() {
        let mut recent: Recent<usize, usize> = Recent::default();
        for key in 0..KEPT {
            recent.keep(key, 10 * key);
        }
        // The oldest becomes the newest.
        assert_eq!(recent.get(|&key| key == 0).as_deref(), Some(&0));
        recent.keep(KEPT, 0);
        assert!(recent.get(|&key| key == 1).is_none());
        assert_eq!(recent.get(|&key| key == 2).as_deref(), Some(&20));
        assert_eq!(recent.entries.len(), KEPT);
    }

    #[test]
    fn a_network_has_one_plan_and_another_network_its_own() {
        let (mut plans, mut parameters) = (Plans::default(), Parameters::new(1));
        let settings = GhnSettings::default();
        let [one, other] = [1, 6].map(|seed| test_networks::cell(Phase::Train, seed));
        let mut plan = |network: &Network| {
            let propagator = ForwardBackward::default();
            plans.plan(network, &propagator, &settings, &mut parameters).unwrap()
        };
        let first = plan(&one);
        let second = plan(&other);
        assert!(Arc::ptr_eq(&first, &plan(&one.clone())));
        assert!(!Arc::ptr_eq(&first, &second));
        let shared = |plan: &Plan| Arc::as_ptr(&plan.modules[1].propagation);
        assert_eq!(shared(&first), Arc::as_ptr(&first.modules[2].propagation));
        let cutting = |plan: &Plan| Arc::as_ptr(&plan.branches[0].slices[0].cutting);
        assert_eq!(cutting(&first), cutting(&second), "both have the same stem");
    }
}
