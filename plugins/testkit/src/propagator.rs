//! Propagators: schedules are valid and the same every time.

use std::sync::Arc;

use ghnas_core::Propagator;

use crate::networks::graphs;
use crate::{Suite, require, words};

pub(crate) fn check(suite: &mut Suite<'_>) {
    suite.check("schedules are valid on every graph, twice the same", |suite| {
        let (one, two) = (build(suite)?, build(suite)?);
        for graph in graphs() {
            for rounds in 0..3 {
                let schedule = one.schedule(&graph, rounds).map_err(words)?;
                schedule.validate(&graph).map_err(words)?;
                let again = two.schedule(&graph, rounds).map_err(words)?;
                require(again == schedule, || "another instance made another schedule".into())?;
            }
        }
        Ok(())
    });
    suite.check("every node is updated in a round", |suite| {
        let propagator = build(suite)?;
        for graph in graphs() {
            let schedule = propagator.schedule(&graph, 1).map_err(words)?;
            let updated = |node| schedule.steps.iter().any(|step| step.updates.contains(&node));
            require((0..graph.len()).all(updated), || format!("not every node of {graph:?}"))?;
        }
        Ok(())
    });
    if let Ok(propagator) = build(suite) {
        for graph in graphs() {
            let schedule = propagator.schedule(&graph, 2).unwrap_or_default();
            suite.record(serde_json::to_vec(&schedule).unwrap_or_default());
        }
    }
}

fn build(suite: &Suite<'_>) -> Result<Arc<dyn Propagator>, String> {
    let propagators = &suite.catalogue.propagators;
    propagators.build(&suite.entry.id, &suite.settings, &suite.context()).map_err(words)
}
