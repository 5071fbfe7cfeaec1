//! Searchers: commands are a function of the seed and the outcomes, and state is all there is.

use ghnas_core::{CandidateId, Command, Outcome, Searcher};

use crate::{Suite, require, words};

/// Candidates of a search.
const CANDIDATES: u64 = 40;

pub(crate) fn check(suite: &mut Suite<'_>) {
    suite.check("same seed and outcomes, same commands", |suite| {
        let (one, two) = (search(&mut *build(suite)?, 0)?, search(&mut *build(suite)?, 0)?);
        require(one == two, || "another instance proposed other candidates".into())
    });
    suite.check("saved and loaded, the search goes on as it would have", |suite| {
        let mut searcher = build(suite)?;
        search(&mut *searcher, 0)?;
        let state = searcher.save().map_err(words)?;
        let mut again = build(suite)?;
        again.load(&state).map_err(words)?;
        require(again.save().map_err(words)? == state, || "other state after loading".into())?;
        let (one, two) = (search(&mut *searcher, CANDIDATES)?, search(&mut *again, CANDIDATES)?);
        require(one == two, || "it proposed other candidates".into())
    });
    suite.check("damaged state is refused in words", |suite| {
        let mut searcher = build(suite)?;
        let refused = searcher.load(b"\x01not a state\xff").is_err();
        require(refused, || "it took bytes that it never saved".into())
    });
    let mut searcher = build(suite);
    if let Ok(searcher) = &mut searcher {
        let commands = search(&mut **searcher, 0).unwrap_or_default();
        suite.record(serde_json::to_vec(&commands).unwrap_or_default());
    }
}

fn build(suite: &Suite<'_>) -> Result<Box<dyn Searcher>, String> {
    let searchers = &suite.catalogue.searchers;
    searchers.build(&suite.entry.id, &suite.settings, &suite.context()).map_err(words)
}

/// Asks for one candidate after the other, from number `first`, and reports an outcome of each:
/// every seventh has none.
fn search(searcher: &mut dyn Searcher, first: u64) -> Result<Vec<Command>, String> {
    let mut all = Vec::new();
    for candidate in first..first + CANDIDATES {
        let Some(command) = searcher.suggest(1).map_err(words)?.pop() else { break };
        let parents = match command {
            Command::Mutate { parent, .. } => vec![parent],
            Command::Cross { first, second, .. } => vec![first, second],
            Command::Promote { candidate, .. } => vec![candidate],
            Command::Sample { .. } | Command::Evaluate { .. } => Vec::new(),
        };
        let known = |parent: &CandidateId| parent.0 < candidate && parent.0 % 7 != 6;
        require(parents.iter().all(known), || {
            format!("candidate {candidate} has a parent that has no score: {parents:?}")
        })?;
        let failed = candidate % 7 == 6;
        let objective = if failed { f64::INFINITY } else { (candidate * 37 % 11) as f64 };
        let rung = match command {
            Command::Promote { rung, .. } => rung,
            _ => 0,
        };
        let candidate = CandidateId(candidate);
        let outcome = Outcome { candidate, objective, multiply_adds: 1, rung };
        searcher.report(&[outcome]).map_err(words)?;
        all.push(command);
    }
    Ok(all)
}
