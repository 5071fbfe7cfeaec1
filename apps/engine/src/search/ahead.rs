//! Scores ahead of a search, several candidates at once.
//!
//! A search asks its searcher for one command after the other, and tells the outcome of each before
//! it asks for the next, so that it is a function of its configuration alone. Where a searcher does
//! not wait for outcomes (random search, a first population, a rung of successive halving), its next
//! commands can be foreseen: a copy of it is asked for several. Their scores are kept aside until
//! the search itself comes to them. A guess that was wrong costs time alone, and where guesses are
//! wrong they become rare.

use std::collections::BTreeMap;

use ghnas_core::{Architecture, Command, Searcher};

use super::command::{Asked, asked};
use super::evaluate::{Evaluator, Key};
use crate::observer::{Clock, Context, Interrupt, Silent};
use crate::scratch::{Jobs, run_jobs};
use crate::spares::{Pool, Seat};
use crate::store::{Candidate, CandidateState};

/// The most commands that are foreseen, for each candidate that is scored at a time: candidates
/// differ in size.
const MOST_ROUNDS: u64 = 4;

/// By how much the pause grows when guesses are wrong again.
const PATIENCE: u64 = 4;

/// Scores that a search has not come to yet.
pub(super) struct Ahead {
    /// The copy of the searcher.
    searcher: Box<dyn Searcher>,
    seats: Pool<Seat>,
    at_once: u64,
    scores: BTreeMap<Key, CandidateState>,
    /// The first candidate before which it looks ahead again.
    until: u64,
    /// Commands to foresee, for each candidate that is scored at a time.
    rounds: u64,
    /// Whether a guess was wrong since it last looked ahead.
    missed: bool,
    /// Candidates to wait after the next wrong guess.
    pause: u64,
}

impl Ahead {
    /// Looks ahead with as many seats as are used `at_once`; nothing was foreseen yet.
    pub(super) fn new(searcher: Box<dyn Searcher>, seats: Pool<Seat>, at_once: usize) -> Self {
        let at_once = at_once as u64;
        let (scores, pause) = (BTreeMap::new(), PATIENCE * at_once);
        Self { searcher, seats, at_once, scores, until: 0, rounds: 1, missed: false, pause }
    }

    /// Whether to look ahead before candidate `id`.
    pub(super) fn is_due(&self, id: u64) -> bool {
        id >= self.until
    }

    /// The score of candidate `id`, where it was foreseen.
    pub(super) fn take(&mut self, id: u64, key: &Key) -> Option<CandidateState> {
        let score = self.scores.remove(key);
        if score.is_none() && id < self.until && !self.missed {
            (self.missed, self.rounds) = (true, 1);
            self.until = id.saturating_add(1 + self.pause);
            self.pause = self.pause.saturating_mul(PATIENCE);
        }
        score
    }

    /// Foresees the commands of a searcher that is in `state` (none: it was not asked yet) after
    /// `candidates`, of which there are to be `of`, and scores what they ask for. An interrupt or an error ends it for good: the
    /// search meets either by itself, where it comes to it.
    pub(super) fn look(
        &mut self,
        state: Option<&[u8]>,
        candidates: &[Candidate],
        of: u64,
        evaluator: &Evaluator<'_>,
        (clock, interrupt): (&dyn Clock, &Interrupt),
    ) {
        let id = candidates.len() as u64;
        let wanted = (self.at_once * self.rounds).min(of.saturating_sub(id));
        let searcher = &mut self.searcher;
        let loaded = state.map_or(Ok(()), |state| searcher.load(state));
        let commands = loaded.and_then(|()| searcher.suggest(wanted as usize));
        let Ok(commands) = commands else {
            self.until = u64::MAX;
            return;
        };
        self.until = id + (commands.len() as u64).max(1);
        self.rounds = (self.rounds * 2).min(MOST_ROUNDS);
        if !std::mem::take(&mut self.missed) {
            self.pause = PATIENCE * self.at_once;
        }
        let jobs = self.jobs(id, &commands, candidates, evaluator);
        if jobs.len() < 2 {
            // The search scores one with all threads, and that is no wrong guess.
            self.until = id;
            return;
        }
        let mut context = Context { observer: &mut Silent, interrupt: interrupt.clone(), clock };
        let (seats, scores) = (&self.seats, &mut self.scores);
        let score = |(key, asked): &(Key, Asked)| {
            if interrupt.is_requested() {
                return Ok(None);
            }
            let what = || format!("architecture {}, foreseen", key.0);
            let scored = seats.lend(|seat| {
                evaluator.evaluate(asked, what, interrupt, |lowered| seat.score(lowered))
            })?;
            Ok(scored.map(|state| (key.clone(), state)))
        };
        let threads = self.at_once as usize;
        let jobs = Jobs { jobs: &jobs, unit: "candidates", images: 0.0, threads };
        let done = run_jobs(&jobs, &mut context, score, |(key, state)| {
            scores.insert(key, state);
            Ok(None)
        });
        if done.is_err() {
            self.until = u64::MAX;
        }
    }

    /// What commands ask for that has no score yet; what hangs on outcomes to come is left out.
    fn jobs(
        &self,
        first: u64,
        commands: &[Command],
        candidates: &[Candidate],
        evaluator: &Evaluator<'_>,
    ) -> Vec<(Key, Asked)> {
        let earlier = |at: usize| -> Option<&Architecture> { candidates.get(at)?.arch.as_ref() };
        let mut jobs: BTreeMap<Key, Asked> = BTreeMap::new();
        let mut order = Vec::new();
        for (id, command) in (first..).zip(commands) {
            let Ok(Ok(asked)) = asked(evaluator.lowering.space, id, command, earlier) else {
                continue;
            };
            let key = asked.key();
            let known = evaluator.known.contains_key(&key) || self.scores.contains_key(&key);
            if !known && !jobs.contains_key(&key) && evaluator.has(asked.rung) {
                order.push(key.clone());
                jobs.insert(key, asked);
            }
        }
        order.into_iter().filter_map(|key| jobs.remove_entry(&key)).collect()
    }
}
