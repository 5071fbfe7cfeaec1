//! Which step of training gives the trained generator, and when training ends early.

use serde::Serialize;

use crate::config::{Selection, TrainConfig};
use crate::error::EngineError;
use crate::study::Study;
use crate::validation::Evaluation;

/// The evaluations of a training so far.
pub(crate) struct History {
    every: u64,
    select: Selection,
    patience: u64,
    evaluations: Vec<Evaluation>,
}

impl History {
    /// The evaluations that a study has stored.
    pub(crate) fn of(study: &Study) -> Result<Self, EngineError> {
        Ok(Self::new(&study.config().train, study.evaluations()?))
    }

    fn new(config: &TrainConfig, evaluations: Vec<Evaluation>) -> Self {
        let TrainConfig { evaluate_every: every, select, patience, .. } = *config;
        Self { every, select, patience, evaluations }
    }

    /// Adds the latest evaluation.
    pub(crate) fn push(&mut self, evaluation: Evaluation) {
        self.evaluations.push(evaluation);
    }

    /// The latest evaluation.
    pub(crate) fn last(&self) -> Option<&Evaluation> {
        self.evaluations.last()
    }

    /// Whether the generator is to be evaluated after `step` of `steps` steps, and was not.
    pub(crate) fn is_due(&self, step: u64, steps: u64) -> bool {
        self.every > 0
            && step > 0
            && (step.is_multiple_of(self.every) || step >= steps)
            && self.last().is_none_or(|last| last.step != step)
    }

    /// The evaluation whose generator is the trained one; nothing where that is the last one.
    pub(crate) fn selected(&self) -> Option<&Evaluation> {
        self.best().map(|at| &self.evaluations[at]).filter(|_| self.select != Selection::Last)
    }

    /// Whether the last `train.patience` evaluations are no better than one before.
    pub(crate) fn is_out_of_patience(&self) -> bool {
        let since = self.best().map_or(0, |best| (self.evaluations.len() - 1 - best) as u64);
        self.patience > 0 && since >= self.patience
    }

    /// The first of the best evaluations; nothing where none has what they are compared by. Fewer
    /// probes without a score count before all else: their losses are not in the mean.
    fn best(&self) -> Option<usize> {
        let mut best: Option<(usize, (usize, f64))> = None;
        for (at, evaluation) in self.evaluations.iter().enumerate() {
            let goodness = match self.select {
                Selection::Last | Selection::ValidationLoss => evaluation.loss.map(|loss| -loss),
                Selection::Stability => evaluation.stability,
                Selection::BriefTraining => evaluation.agreement,
            };
            let Some(goodness) = goodness else { continue };
            let key = (evaluation.scored(), goodness);
            if best.is_none_or(|(_, than)| key > than) {
                best = Some((at, key));
            }
        }
        best.map(|(at, _)| at)
    }
}

/// How the trained generator was chosen, as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelectionReport {
    /// By what.
    pub by: Selection,
    /// Training steps after which the generator is the trained one.
    pub step: u64,
    /// Its mean validation loss over the probes, in nats.
    pub loss: Option<f64>,
    /// Spearman's correlation of its ranking of the probes with that of the evaluation before.
    pub stability: Option<f64>,
    /// Spearman's correlation of its ranking of the probes with that after a brief training of each.
    pub agreement: Option<f64>,
    /// Evaluations so far.
    pub evaluations: u64,
    /// Whether training ended early, because evaluations got no better.
    pub stopped_early: bool,
}

impl SelectionReport {
    /// What is known of a study at `step`; nothing where its generator is not evaluated.
    pub(crate) fn of(study: &Study, step: u64) -> Result<Option<Self>, EngineError> {
        let history = History::of(study)?;
        if history.every == 0 {
            return Ok(None);
        }
        let chosen = history.selected().or(history.last().filter(|last| last.step == step));
        Ok(Some(Self {
            by: history.select,
            step: chosen.map_or(step, |chosen| chosen.step),
            loss: chosen.and_then(|chosen| chosen.loss),
            stability: chosen.and_then(|chosen| chosen.stability),
            agreement: chosen.and_then(|chosen| chosen.agreement),
            evaluations: history.evaluations.len() as u64,
            stopped_early: history.is_out_of_patience(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::ProbeLoss;

    /// Evaluations after every tenth step, of (loss, stability, probes with a loss).
    fn history(select: Selection, of: &[(Option<f64>, Option<f64>, usize)]) -> History {
        let evaluation = |(at, &(loss, stability, scored)): (usize, &(_, _, usize))| Evaluation {
            step: 10 * (at as u64 + 1),
            loss,
            stability,
            agreement: stability.map(|stability| -stability),
            probes: (0..3)
                .map(|at| ProbeLoss { hash: String::new(), loss: (at < scored).then_some(1.0) })
                .collect(),
        };
        let config =
            TrainConfig { evaluate_every: 10, select, patience: 2, ..TrainConfig::default() };
        History::new(&config, of.iter().enumerate().map(evaluation).collect())
    }

    const OF: [(Option<f64>, Option<f64>, usize); 5] = [
        (Some(2.0), None, 3),
        (Some(1.5), Some(0.5), 3),
        (Some(0.5), Some(0.95), 2),
        (Some(1.5), Some(0.9), 3),
        (Some(1.6), Some(0.9), 3),
    ];

    #[test]
    fn the_first_of_the_best_is_selected() {
        let step = |select, of: &[_]| history(select, of).selected().map(|best| best.step);
        assert_eq!(step(Selection::ValidationLoss, &OF), Some(20));
        assert_eq!(step(Selection::Stability, &OF), Some(40));
        assert_eq!(step(Selection::BriefTraining, &OF), Some(20));
        assert_eq!(step(Selection::Last, &OF), None);
        assert_eq!(step(Selection::Stability, &OF[..1]), None);
        assert_eq!(step(Selection::ValidationLoss, &[(None, None, 0), OF[4]]), Some(20));
    }

    #[test]
    fn patience_ends_after_as_many_evaluations_without_improvement() {
        let out = |select, count| history(select, &OF[..count]).is_out_of_patience();
        for select in [Selection::ValidationLoss, Selection::Last] {
            let ends = [0, 1, 2, 3, 4, 5].map(|count| out(select, count));
            assert_eq!(ends, [false, false, false, false, true, true]);
        }
        let ends = [3, 4, 5].map(|count| out(Selection::Stability, count));
        assert_eq!(ends, [false, false, false]);
        let mut endless = history(Selection::ValidationLoss, &OF);
        endless.patience = 0;
        assert!(!endless.is_out_of_patience());
    }

    #[test]
    fn an_evaluation_is_due_at_every_multiple_and_at_the_end_once() {
        let history = history(Selection::Last, &OF[..2]);
        let due = |step, steps| history.is_due(step, steps);
        assert!(!due(0, 100) && !due(20, 100) && !due(25, 100));
        assert!(due(30, 100) && due(25, 25) && due(26, 25));
        assert!(!due(20, 20), "it was done");
        let never = History { every: 0, ..history };
        assert!(!never.is_due(30, 30));
    }
}
