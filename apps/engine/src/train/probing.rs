//! Trains the probes briefly, each from scratch, where states of the generator are selected by that.

use super::Training;
use crate::error::EngineError;
use crate::observer::Context;
use crate::scorer::Scorer;
use crate::scratch::{Jobs, Workshop, run_jobs};
use crate::store::CandidateState;
use crate::validation::ProbeLoss;

impl Training<'_> {
    /// Trains the probes that the study has not trained yet, several at once; each is stored when it
    /// is done.
    ///
    /// # Errors
    /// [`EngineError::Interrupted`] after an interrupt; otherwise what failed.
    pub(super) fn train_probes(
        &mut self,
        context: &mut Context<'_>,
        scorer: &Scorer,
    ) -> Result<(), EngineError> {
        let Some(config) = self.beside.take() else { return Ok(()) };
        let steps = config.train.probe_steps;
        let images = (config.train.batch as u64 * steps) as f64;
        let probes = self.take_probes()?;
        let store = self.study.store_mut();
        let mut known = store.trained_probes()?;
        let missing: Vec<usize> =
            (0..probes.networks().len()).filter(|index| !known.contains_key(index)).collect();
        if !missing.is_empty() {
            let count = missing.len();
            context.observer.message(&format!("training {count} probes for {steps} steps each"));
        }
        let workshop =
            Workshop { config: &config, catalogue: self.spares.catalogue, data: &self.parts.data };
        let interrupt = context.interrupt.clone();
        let threads = self.spares.at_once();
        let jobs = Jobs { jobs: &missing, unit: "probes", images, threads };
        let work = |&index: &usize| {
            let (hash, network) = probes.networks()[index].clone();
            let what = || format!("probe {hash}");
            let state = workshop.score_after(steps, network, what, scorer, &interrupt)?;
            let loss = |state| match state {
                CandidateState::Scored(score) => Some(score.loss),
                CandidateState::Failed(_) => None,
            };
            Ok(state.map(|state| (index, ProbeLoss { hash, loss: loss(state) })))
        };
        run_jobs(&jobs, context, work, |(index, probe)| {
            store.transaction(|writer| writer.add_trained_probe(index, &probe))?;
            let loss = probe.loss;
            known.insert(index, probe);
            Ok(loss)
        })?;
        self.trained_probes = known.into_values().collect();
        self.probes = Some(probes);
        Ok(())
    }
}
