//! What a search found: the best, and the front of the objective against multiply-adds.

use std::collections::BTreeMap;

use ghnas_core::{Architecture, SearchSpace};

use crate::chart::{Dot, Panel, Scatter};
use crate::config::Objective;
use crate::error::EngineError;
use crate::parts::Parts;
use crate::report::{GeneratorReport, Ranked, Seconds, StudyReport};
use crate::scorer::Score;
use crate::selection::SelectionReport;
use crate::store::{Candidate, CandidateState, Phase as Timed};
use crate::study::Study;

/// Steps over which the generator's final loss is averaged.
const FINAL_STEPS: usize = 100;

/// The results of `study` so far.
pub(crate) fn report(study: &Study, parts: &Parts) -> Result<StudyReport, EngineError> {
    let (store, config) = (study.store(), study.config());
    let objective = config.search.objective;
    let steps = study.checkpoint()?.map_or(0, |checkpoint| checkpoint.step);
    let candidates = candidates(study)?;
    let failed = |candidate: &&Candidate| matches!(candidate.state, CandidateState::Failed(_));
    let failed = candidates.iter().filter(failed).count() as u64;
    let count = candidates.len() as u64;
    let distinct = distinct(&candidates, |one, other| one < other);
    let generated = generated(&candidates);
    let accuracies: Vec<f64> = generated.iter().filter_map(|row| row.accuracy).collect();
    let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
    let mut front = front(&generated, objective);
    let distinct_count = distinct.len() as u64;
    let mut top: Vec<Ranked> = distinct.into_iter().filter(|row| row.error.is_none()).collect();
    sort(&mut top, objective);
    top.truncate(config.search.top);
    for row in top.iter_mut().chain(&mut front) {
        row.notation = notation(&*parts.space, &row.arch);
    }
    Ok(StudyReport {
        study: study.dir().into(),
        data: parts.data.source().to_string(),
        images: config.search.images,
        generator: GeneratorReport {
            id: config.generator.id.clone(),
            parameters: parts.generator.parameter_count() as u64,
            steps,
            skipped: store.skipped_steps()?,
            final_loss: store.final_loss(FINAL_STEPS)?,
            selection: SelectionReport::of(study, steps)?,
        },
        candidates: count,
        distinct: distinct_count,
        failed,
        objective,
        mean_accuracy: (!accuracies.is_empty()).then_some(mean),
        best_accuracy: accuracies.into_iter().reduce(f64::max),
        top,
        front,
        seconds: Seconds {
            train: store.seconds(Timed::Train)?,
            score: store.seconds(Timed::Score)?,
        },
    })
}

/// The front among all that was scored, as a chart.
///
/// # Errors
/// [`EngineError::Store`] where the store cannot be read.
pub fn front_svg(study: &Study) -> Result<String, EngineError> {
    let objective = study.config().search.objective;
    let rows = generated(&candidates(study)?);
    let front = front(&rows, objective);
    let dot = |row: &Ranked| {
        let value = match objective {
            Objective::Loss => row.loss?,
            Objective::Accuracy => row.accuracy?,
        };
        Some(Dot {
            x: row.multiply_adds? as f64,
            y: value,
            marked: front.iter().any(|one| one.hash == row.hash),
            label: row.hash.clone(),
        })
    };
    let name = match objective {
        Objective::Loss => "loss",
        Objective::Accuracy => "accuracy",
    };
    let panel = Panel {
        title: format!("{name} on validation images"),
        subtitle: format!("{} of {} architectures on the front", front.len(), rows.len()),
        dots: rows.iter().filter_map(dot).collect(),
    };
    let chart = Scatter {
        x_label: "multiply-adds".into(),
        y_label: name.into(),
        marked: "Pareto front".into(),
        panels: vec![panel],
    };
    Ok(chart.to_svg())
}

/// The candidates that the configuration asks for; the study may hold more, from a search for more.
fn candidates(study: &Study) -> Result<Vec<Candidate>, EngineError> {
    let mut candidates = study.candidates()?;
    candidates.retain(|candidate| candidate.id < study.config().search.candidates);
    Ok(candidates)
}

/// A row an architecture, by hash: of the candidates that are equal, the first, or a later one whose
/// rung is `better` than that of the one before.
fn distinct(candidates: &[Candidate], better: fn(u32, u32) -> bool) -> Vec<Ranked> {
    let mut rows: BTreeMap<String, Ranked> = BTreeMap::new();
    for candidate in candidates {
        let Some(arch) = &candidate.arch else { continue };
        let mut row = ranked(arch.clone(), arch.hash().to_string(), &candidate.state);
        row.rung = candidate.rung();
        if rows.get(&row.hash).is_none_or(|known| better(known.rung, row.rung)) {
            rows.insert(row.hash.clone(), row);
        }
    }
    rows.into_values().collect()
}

/// What the generator's weights scored: promotions have other scores, which no others compare with.
fn generated(candidates: &[Candidate]) -> Vec<Ranked> {
    let scored = |row: &Ranked| row.rung == 0 && row.error.is_none();
    distinct(candidates, |_, _| false).into_iter().filter(scored).collect()
}

/// Those of `rows` of which no other is as good or better by both the objective and multiply-adds,
/// from the fewest multiply-adds on. Of those that are equal by both, the first by hash.
fn front(rows: &[Ranked], objective: Objective) -> Vec<Ranked> {
    let mut rows: Vec<(u64, f64, &Ranked)> = rows
        .iter()
        .filter_map(|row| Some((row.multiply_adds?, row.cost(objective)?, row)))
        .collect();
    rows.sort_by(|a, b| {
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then_with(|| a.2.hash.cmp(&b.2.hash))
    });
    let mut least = f64::INFINITY;
    let mut front = Vec::new();
    for (_, cost, row) in rows {
        if cost < least {
            least = cost;
            front.push(row.clone());
        }
    }
    front
}

/// A row of what came of an architecture.
pub(super) fn ranked(arch: Architecture, hash: String, state: &CandidateState) -> Ranked {
    let (score, error): (Option<&Score>, _) = match state {
        CandidateState::Scored(score) => (Some(score), None),
        CandidateState::Failed(error) => (None, Some(error.clone())),
    };
    Ranked {
        arch,
        notation: None,
        hash,
        rung: 0,
        score: None,
        loss: score.map(|score| score.loss),
        accuracy: score.map(|score| score.accuracy),
        params: score.map(|score| score.params),
        multiply_adds: score.map(|score| score.multiply_adds),
        error,
    }
}

/// The space's own notation of an architecture, where it has one.
pub(super) fn notation(space: &dyn SearchSpace, arch: &Architecture) -> Option<String> {
    let text = space.format(arch);
    (text != arch.to_string()).then_some(text)
}

/// Sorts by rung, the highest first, then by the objective, then by hash; rows without a score come
/// last.
pub(super) fn sort(rows: &mut [Ranked], objective: Objective) {
    let cost = |row: &Ranked| row.cost(objective).unwrap_or(f64::INFINITY);
    let scored = |row: &Ranked| row.error.is_none();
    rows.sort_by(|a, b| {
        let best = scored(b).cmp(&scored(a)).then(b.rung.cmp(&a.rung));
        best.then(cost(a).total_cmp(&cost(b))).then_with(|| a.hash.cmp(&b.hash))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    fn row(name: &str, multiply_adds: u64, loss: f64) -> Ranked {
        let score = Score { loss, accuracy: 1.0 - loss / 10.0, params: 1, multiply_adds };
        ranked(toy::chain(&["wide"]), name.into(), &CandidateState::Scored(score))
    }

    #[test]
    fn nothing_on_the_front_is_dominated_and_nothing_else_is_not() {
        let rows = [
            row("a", 5, 2.0),
            row("b", 3, 2.0),
            row("c", 3, 2.5),
            row("d", 9, 1.0),
            row("e", 9, 1.0),
            row("f", 1, 4.0),
            row("g", 8, 1.5),
            row("h", 10, 1.0),
        ];
        for objective in [Objective::Loss, Objective::Accuracy] {
            let names: String = front(&rows, objective).into_iter().map(|row| row.hash).collect();
            assert_eq!(names, "fbgd");
        }
        assert!(front(&[], Objective::Loss).is_empty());
    }
}
