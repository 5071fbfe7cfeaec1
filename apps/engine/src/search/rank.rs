//! Ranks given architectures, several at once; nothing is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ghnas_core::{Architecture, Counting, Images, SearchSpace, multiply_adds};

use super::evaluate::{lower_one, score_one};
use super::networks::ScoredNetworks;
use super::restore_trained;
use super::results::{notation, ranked, sort};
use crate::config::Config;
use crate::data::DataSet;
use crate::error::EngineError;
use crate::lowering::Lowered;
use crate::observer::Context;
use crate::parts::{Parts, build_proxy};
use crate::references::refer;
use crate::report::Ranked;
use crate::scorer::Scorer;
use crate::scratch::{Jobs, run_jobs};
use crate::spares::{Pool, Spares};
use crate::store::CandidateState;
use crate::study::Study;

/// Scores `archs` with the trained generator of `study`: the best first, those without a score
/// last, isomorphic ones in the order in which they are given. `config` is that of the study, but
/// for what [`Study::check_ranking`] lets differ; `parts` are built from it.
///
/// # Errors
/// [`EngineError::NotTrained`] where the generator is not trained to the end;
/// [`EngineError::Interrupted`] after an interrupt; otherwise what failed. What is wrong with one
/// architecture is in its row.
pub fn rank(
    study: &Study,
    config: &Config,
    parts: &mut Parts,
    spares: Spares<'_>,
    context: &mut Context<'_>,
    archs: Vec<Architecture>,
) -> Result<Vec<Ranked>, EngineError> {
    study.check_ranking(config)?;
    restore_trained(study, parts)?;
    let scorer = Scorer::of(&parts.data, &config.search);
    let seats = spares.seats(config, &scorer, &*parts.generator)?;
    let scorer = refer(scorer, config, parts, &seats, context)?;
    let seats = seats.map(|seat| seat.with(&scorer));
    let lowering = parts.lowering();
    let known = ScoredNetworks::new();
    let score = |arch: &Architecture, hash: &str| {
        let what = || format!("architecture {hash}");
        let score = |it: &Lowered| known.score(it, || seats.lend(|seat| seat.score(it)));
        let state = score_one(lowering, arch, what, score)?;
        Ok(ranked(arch.clone(), hash.into(), &state))
    };
    let (space, images) = (lowering.space, scorer.image_count());
    let mut rows = score_distinct(archs, space, spares.at_once(), images, context, score)?;
    sort(&mut rows, config.search.objective);
    Ok(rows)
}

/// What a zero-cost proxy ranks with.
pub struct ProxyWork<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The proxy's id.
    pub proxy: &'a str,
    /// The images; it looks at a batch of `search.batch` of those for validation.
    pub data: &'a DataSet,
    /// The space of the architectures.
    pub space: &'a Arc<dyn SearchSpace>,
    /// Where it comes from.
    pub spares: Spares<'a>,
}

/// Scores `archs` with a zero-cost proxy, which needs no training: the greatest score first, those
/// without one last.
///
/// # Errors
/// As [`rank`].
pub fn rank_by_proxy(
    work: &ProxyWork<'_>,
    context: &mut Context<'_>,
    archs: Vec<Architecture>,
) -> Result<Vec<Ranked>, EngineError> {
    let ProxyWork { config, proxy, data, space, spares } = *work;
    let build = spares.build_context(config.seed);
    let proxies: Result<Vec<_>, EngineError> =
        (0..spares.at_once()).map(|_| build_proxy(proxy, "--proxy", &build)).collect();
    let proxies = Pool::new(proxies?);
    let (images, labels) = data.validation_images(config.search.batch);
    let known = ScoredNetworks::new();
    let task = data.info().task();
    let score = |arch: &Architecture, hash: &str| {
        let images = Images { data: &images, count: labels.len() };
        let none = |words: String| CandidateState::Failed(words);
        let network = match lower_one(&**space, arch, task, || format!("architecture {hash}"))? {
            Ok(network) => network,
            Err(words) => return Ok(ranked(arch.clone(), hash.into(), &none(words))),
        };
        let scored = known.score(&network, || proxies.lend(|proxy| proxy.score(&network, images)));
        let error = scored.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let mut row = ranked(arch.clone(), hash.into(), &none(error));
        if let Ok(score) = scored {
            (row.score, row.error) = (Some(score), None);
        }
        row.params = Some(network.param_count() as u64);
        row.multiply_adds = Some(multiply_adds(&network, Counting::default()).0);
        Ok(row)
    };
    let mut rows = score_distinct(archs, &**space, spares.at_once(), labels.len(), context, score)?;
    let score = |row: &Ranked| row.score.unwrap_or(f64::NEG_INFINITY);
    let scored = |row: &Ranked| row.error.is_none();
    rows.sort_by(|a, b| {
        let best = scored(b).cmp(&scored(a)).then(score(b).total_cmp(&score(a)));
        best.then_with(|| a.hash.cmp(&b.hash))
    });
    Ok(rows)
}

/// Scores every hash once, `threads` at a time; gives a row an architecture, in order.
fn score_distinct(
    archs: Vec<Architecture>,
    space: &dyn SearchSpace,
    threads: usize,
    images: usize,
    context: &mut Context<'_>,
    score: impl Fn(&Architecture, &str) -> Result<Ranked, EngineError> + Sync,
) -> Result<Vec<Ranked>, EngineError> {
    let hashes: Vec<String> = archs.iter().map(|arch| arch.hash().to_string()).collect();
    let mut seen = BTreeSet::new();
    let all = archs.iter().zip(hashes.iter().map(String::as_str));
    let jobs: Vec<(&Architecture, &str)> = all.filter(|(_, hash)| seen.insert(*hash)).collect();
    let interrupt = context.interrupt.clone();
    let one = |&(arch, hash): &(&Architecture, &str)| match interrupt.is_requested() {
        true => Ok(None),
        false => score(arch, hash).map(Some),
    };
    let jobs = Jobs { jobs: &jobs, unit: "architectures", images: images as f64, threads };
    let mut done: BTreeMap<String, Ranked> = BTreeMap::new();
    run_jobs(&jobs, context, one, |row| {
        let loss = row.loss;
        done.insert(row.hash.clone(), row);
        Ok(loss)
    })?;
    let row = |(arch, hash): (&Architecture, &String)| {
        let row = done[hash].clone();
        Ranked { arch: arch.clone(), notation: notation(space, arch), ..row }
    };
    Ok(archs.iter().zip(&hashes).map(row).collect())
}
