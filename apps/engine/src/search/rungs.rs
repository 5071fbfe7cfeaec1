//! Fidelities above a generator's score: an architecture is trained from scratch, and then scored on
//! the same validation images. With the GHN's score below, promoting the best is the paper's Top-Best
//! (section 5.1).

use ghnas_core::{Catalogue, Network};

use super::command::rung_of;
use crate::config::Config;
use crate::data::DataSet;
use crate::error::EngineError;
use crate::observer::Interrupt;
use crate::scorer::Scorer;
use crate::scratch::{Workshop, beside};
use crate::store::{Candidate, CandidateState};

impl Candidate {
    /// The fidelity that it was evaluated at: 0 for a generator's score; otherwise it was trained
    /// for as many steps as `search.rungs` has in this place, counted from 1.
    pub fn rung(&self) -> u32 {
        rung_of(&self.command)
    }
}

/// Training from scratch, for as many steps as each rung has.
pub(super) struct Rungs<'a> {
    /// The study's, with what is trained in place of its generator.
    config: Config,
    catalogue: &'a Catalogue,
    data: DataSet,
}

impl<'a> Rungs<'a> {
    /// The rungs of a study; nothing where it has none.
    ///
    /// # Errors
    /// [`EngineError::Entry`] where `search.rung_generator` does not exist.
    pub(super) fn new(
        config: &Config,
        catalogue: &'a Catalogue,
        data: &DataSet,
    ) -> Result<Option<Self>, EngineError> {
        if config.search.rungs.is_empty() {
            return Ok(None);
        }
        let config = beside(config, catalogue)?;
        Ok(Some(Self { config, catalogue, data: data.clone() }))
    }

    /// How many there are above the generator's score.
    pub(super) fn count(&self) -> usize {
        self.config.search.rungs.len()
    }

    /// Trains and scores at a rung, counted from 1; nothing where it was interrupted. `what` names
    /// the architecture in errors.
    pub(super) fn evaluate(
        &self,
        network: Network,
        rung: u32,
        what: impl Fn() -> String,
        scorer: &Scorer,
        interrupt: &Interrupt,
    ) -> Result<Option<CandidateState>, EngineError> {
        let Self { config, catalogue, data } = self;
        let steps = config.search.rungs[rung as usize - 1];
        let workshop = Workshop { config, catalogue, data };
        workshop.score_after(steps, network, what, scorer, interrupt)
    }
}
