//! What a searcher's command asks for: an architecture and the rung that it is evaluated at.

use ghnas_core::{Architecture, CandidateId, Command, Evolve, Phase, SearchSpace, SpaceError};

use crate::error::EngineError;

/// An evaluation that a command asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) arch: Architecture,
    /// The fidelity: 0, or what a promotion names.
    pub(crate) rung: u32,
}

/// The rung of what a command asks for.
pub(crate) fn rung_of(command: &Command) -> u32 {
    match command {
        Command::Promote { rung, .. } => *rung,
        _ => 0,
    }
}

/// What `command`, the one of candidate `id`, asks for; `earlier` gives the architectures of
/// candidates before it. The inner error is the candidate's own.
///
/// # Errors
/// [`EngineError::Command`] where the space or the search lacks what the searcher asks for.
pub(crate) fn asked<'a>(
    space: &dyn SearchSpace,
    id: u64,
    command: &Command,
    earlier: impl Fn(usize) -> Option<&'a Architecture>,
) -> Result<Result<Asked, SpaceError>, EngineError> {
    let refuse = |reason: String| EngineError::Command { candidate: id, reason };
    let evolve = || -> Result<&dyn Evolve, EngineError> {
        let none = || refuse(format!("space '{}' has no mutation or crossover", space.id()));
        space.evolve().ok_or_else(none)
    };
    let known = |candidate: CandidateId| {
        let arch = usize::try_from(candidate.0).ok().and_then(&earlier);
        arch.ok_or_else(|| refuse(format!("candidate {} has no architecture", candidate.0)))
    };
    let arch = match command {
        Command::Sample { seed } => space.sample(Phase::Score, *seed),
        Command::Mutate { parent, seed } => evolve()?.mutate(known(*parent)?, *seed),
        Command::Cross { first, second, seed } => {
            evolve()?.cross(known(*first)?, known(*second)?, *seed)
        }
        Command::Evaluate { arch } => {
            space.validate(arch).map(|()| arch.clone()).map_err(SpaceError::from)
        }
        Command::Promote { candidate, .. } => Ok(known(*candidate)?.clone()),
    };
    Ok(arch.map(|arch| Asked { arch, rung: rung_of(command) }))
}
