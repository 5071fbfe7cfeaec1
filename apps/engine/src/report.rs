//! What a study found, as it is printed: the JSON keys are the app's contract.

use std::path::PathBuf;

use ghnas_core::Architecture;
use serde::Serialize;

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
    /// Mean accuracy over all architectures that were scored, 0 to 1.
    pub mean_accuracy: Option<f64>,
    /// The best accuracy, 0 to 1.
    pub best_accuracy: Option<f64>,
    /// The best candidates, the best first.
    pub top: Vec<Ranked>,
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
    /// Its canonical hash, hexadecimal.
    pub hash: String,
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

/// Wall time, in seconds, of all processes that worked on a study.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seconds {
    /// Training the weight generator.
    pub train: f64,
    /// Scoring candidates.
    pub score: f64,
}
