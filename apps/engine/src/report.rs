//! What a study found, as it is printed: the JSON keys are the app's contract.

use std::path::PathBuf;

use ghnas_core::Architecture;
use serde::Serialize;

use crate::config::Objective;
use crate::selection::SelectionReport;

/// A study's results so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyReport {
    /// The study's directory.
    pub study: PathBuf,
    /// Where the images come from.
    pub data: String,
    /// Validation images that every candidate was scored on.
    pub images: usize,
    /// The weight generator.
    pub generator: GeneratorReport,
    /// Candidates so far.
    pub candidates: u64,
    /// Architectures among them that differ.
    pub distinct: u64,
    /// Candidates that could not be scored.
    pub failed: u64,
    /// What candidates are ranked by.
    pub objective: Objective,
    /// Mean accuracy over all architectures that were scored with generated weights, 0 to 1.
    pub mean_accuracy: Option<f64>,
    /// The best of these accuracies, 0 to 1.
    pub best_accuracy: Option<f64>,
    /// The best candidates, the best first: those that were promoted to the highest rung before
    /// all others.
    pub top: Vec<Ranked>,
    /// The Pareto front of the objective and multiply-adds among all architectures that were scored
    /// with generated weights, from the fewest multiply-adds on.
    pub front: Vec<Ranked>,
    /// Time spent.
    pub seconds: Seconds,
}

/// A weight generator and its training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GeneratorReport {
    /// Its id.
    pub id: String,
    /// The number of its own parameters.
    pub parameters: u64,
    /// Training steps done.
    pub steps: u64,
    /// Of them, those without a finite loss and gradient, which changed nothing.
    pub skipped: u64,
    /// Mean training loss over the last 100 steps that were not skipped, in nats.
    pub final_loss: Option<f64>,
    /// Which of its states is the trained one; nothing where it is not evaluated during training.
    pub selection: Option<SelectionReport>,
}

/// An architecture with its score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranked {
    /// The architecture.
    pub arch: Architecture,
    /// The architecture in the space's own notation, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notation: Option<String>,
    /// Its canonical hash, hexadecimal.
    pub hash: String,
    /// 0 for a score with generated weights; otherwise it was trained from scratch for as many
    /// steps as `search.rungs` has in this place, counted from 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub rung: u32,
    /// What a zero-cost proxy gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Mean cross-entropy on the validation images, in nats; nothing where it has no score.
    pub loss: Option<f64>,
    /// Share of the validation images classified correctly, 0 to 1.
    pub accuracy: Option<f64>,
    /// The network's parameters.
    pub params: Option<u64>,
    /// The network's multiply-adds for one image.
    pub multiply_adds: Option<u64>,
    /// Why it has no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Ranked {
    /// What is minimised, where it was scored on validation images.
    pub(crate) fn cost(&self, objective: Objective) -> Option<f64> {
        Some(objective.cost(self.loss?, self.accuracy?))
    }
}

/// Serde wants a reference.
fn is_zero(rung: &u32) -> bool {
    *rung == 0
}

/// Wall time, in seconds, of all processes that worked on a study.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seconds {
    /// Training the weight generator.
    pub train: f64,
    /// Scoring candidates.
    pub score: f64,
}
