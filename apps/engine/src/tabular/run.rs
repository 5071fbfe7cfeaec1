//! One run of a searcher against a table.

use ghnas_core::{Architecture, CandidateId, Outcome, SearchSpace, Searcher, SpaceError};

use super::table::Searched;
use crate::error::EngineError;
use crate::observer::Interrupt;
use crate::search::asked;

/// Candidates in succession that the table lacks, after which a run is given up.
const MOST_MISSES: u64 = 10_000;

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    /// After every evaluation, the row of the architecture that the searcher would pick.
    pub(super) picks: Vec<usize>,
    /// Candidates that the table lacks, which are no evaluations.
    pub(super) missing: u64,
    /// Candidates for which the space had no architecture, which are no evaluations either.
    pub(super) failed: u64,
}

/// The architecture that a searcher would pick: the best at the highest rung that any has reached.
/// The earlier of two that are as good stays.
#[derive(Default)]
struct Incumbent {
    rung: usize,
    accuracy: f64,
    row: usize,
}

/// Runs a searcher, known as `name`, until it has `wanted` evaluations or ends by itself; nothing
/// where it was interrupted.
pub(super) fn run(
    table: &Searched,
    space: &dyn SearchSpace,
    (name, searcher): (&str, &mut dyn Searcher),
    wanted: u64,
    interrupt: &Interrupt,
) -> Result<Option<Run>, EngineError> {
    let mut run = Run { picks: Vec::new(), missing: 0, failed: 0 };
    let mut archs: Vec<Option<Architecture>> = Vec::new();
    let (mut best, mut misses): (Option<Incumbent>, u64) = (None, 0);
    while (run.picks.len() as u64) < wanted {
        if interrupt.is_requested() {
            return Ok(None);
        }
        let Some(command) = searcher.suggest(1)?.pop() else { break };
        let id = archs.len() as u64;
        let refuse = |reason: String| EngineError::Command { candidate: id, reason };
        let candidate = asked(space, id, &command, |at| archs.get(at)?.as_ref())?;
        let (arch, found) = match candidate {
            Ok(asked) => {
                let rung = asked.rung as usize;
                if rung >= table.rungs() {
                    return Err(refuse(format!(
                        "searcher '{name}' asks for rung {rung}, but there are {} rungs, counted \
                         from 0; give one --column a rung, the cheapest first",
                        table.rungs()
                    )));
                }
                let row = table.row(space, &asked.arch);
                run.missing += u64::from(row.is_none());
                (Some(asked.arch), row.map(|row| (row, rung)))
            }
            Err(source @ SpaceError::Broken(_)) => {
                return Err(EngineError::Space { what: format!("candidate {id}"), source });
            }
            Err(_) => {
                run.failed += 1;
                (None, None)
            }
        };
        archs.push(arch);
        let outcome = match found {
            Some((row, rung)) => {
                let accuracy = table.accuracy(row, rung);
                let better = best.as_ref().is_none_or(|best| {
                    rung > best.rung || (rung == best.rung && accuracy > best.accuracy)
                });
                if better {
                    best = Some(Incumbent { rung, accuracy, row });
                }
                run.picks.extend(best.as_ref().map(|best| best.row));
                misses = 0;
                let rung = rung as u32;
                let multiply_adds = table.multiply_adds(row);
                (-accuracy / 100.0, multiply_adds, rung)
            }
            None => {
                misses += 1;
                if misses == MOST_MISSES {
                    return Err(refuse(format!(
                        "searcher '{name}' asked for {misses} architectures in a row that the \
                         table does not have"
                    )));
                }
                (f64::INFINITY, 0, 0)
            }
        };
        let (objective, multiply_adds, rung) = outcome;
        let candidate = CandidateId(id);
        searcher.report(&[Outcome { candidate, objective, multiply_adds, rung }])?;
    }
    if run.picks.is_empty() {
        let reason = format!("searcher '{name}' ended before anything was evaluated");
        return Err(EngineError::Command { candidate: archs.len() as u64, reason });
    }
    Ok(Some(run))
}
