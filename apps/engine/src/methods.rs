//! Scores given architectures with every method of a comparison (section 5.3).
//!
//! Methods see training and validation images and architectures, and nothing else: test images are
//! of another type, and accuracies stay in the [`Truth`](crate::Truth) that the architectures came
//! from. What a method has scored is kept in a file, so that a comparison goes on where it was
//! left.

mod scores;

use std::path::Path;
use std::time::{Duration, Instant};

use ghnas_core::{
    Architecture, BuildContext, Catalogue, Device, Images, Phase, WeightGenerator, Weights, rng,
};
use serde::Serialize;

use self::scores::{Cell, MethodFile};
use crate::comparison::MethodScores;
use crate::config::{ComparisonConfig, Config, MethodConfig, MethodKind};
use crate::data::DataSet;
use crate::error::EngineError;
use crate::observer::{Context, Progress};
use crate::parts::{Parts, build_generator, build_proxy, build_space};
use crate::scorer::Scorer;
use crate::scratch::{Jobs, Workshop, run_jobs};
use crate::search::{lower_one, rank};
use crate::spares::Spares;
use crate::study::{Opening, Study};
use crate::train::train;

/// Files of scores are written at least this often.
const STORE_EVERY: Duration = Duration::from_secs(2);

/// Architectures from which a generator's size is taken; by then a supernet has met nearly every
/// operation at every node.
const MEMORY_ARCHS: u64 = 100;

/// What methods are run with.
pub struct MethodsWork<'a> {
    /// The methods.
    pub config: &'a ComparisonConfig,
    /// Where their parts come from.
    pub catalogue: &'a Catalogue,
    /// The images; never test images.
    pub data: &'a DataSet,
    /// What is scored.
    pub archs: &'a [Architecture],
    /// The folder for studies and scores.
    pub dir: &'a Path,
    /// Where generators compute.
    pub device: Device,
    /// Threads to compute with.
    pub threads: usize,
}

/// The size of a trained method's own parameters, for one setting of the space.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryPoint {
    /// The method.
    pub method: String,
    /// The settings that differ from the comparison's.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The generator's parameters, after it has met 100 architectures.
    pub parameters: u64,
    /// The bytes that these and the state of their training take.
    pub bytes: u64,
}

/// Scores the architectures with every method that has not scored them yet. Trained methods come
/// first, then those that train every architecture, then proxies, each in order of their names.
///
/// # Errors
/// [`EngineError::Interrupted`] after an interrupt, with the state saved; otherwise what failed.
/// What is wrong with one architecture is in its place among the scores.
pub fn score_methods(
    work: &MethodsWork<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<MethodScores>, EngineError> {
    std::fs::create_dir_all(work.dir).map_err(|error| EngineError::write(work.dir, error))?;
    let mut methods: Vec<&MethodConfig> = work.config.methods.iter().collect();
    methods.sort_by_key(|method| match method.kind {
        MethodKind::Trained => 0,
        MethodKind::FromScratch(_) => 1,
        MethodKind::Proxy(_) => 2,
    });
    let mut all = Vec::new();
    for method in methods {
        let mut file = MethodFile::open(work.dir, method, work.archs)?;
        if !file.is_complete() {
            context.observer.message(&format!("method {}", method.name));
            match &method.kind {
                MethodKind::Trained => trained(work, method, &mut file, context)?,
                MethodKind::FromScratch(at) => from_scratch(work, method, at, &mut file, context)?,
                MethodKind::Proxy(id) => proxy(work, method, id, &mut file, context)?,
            }
            file.write()?;
        }
        all.extend(file.method_scores());
    }
    Ok(all)
}

/// Trains one generator in a study of its own, and lets it make all weights.
fn trained(
    work: &MethodsWork<'_>,
    method: &MethodConfig,
    file: &mut MethodFile,
    context: &mut Context<'_>,
) -> Result<(), EngineError> {
    let config = &method.config;
    let mut parts =
        Parts::with_data(work.data.clone(), config, work.catalogue, work.device, work.threads)?;
    let mut study = Study::open(&work.dir.join(&method.name), config, Opening::Resume)?;
    let MethodsWork { catalogue, device, threads, .. } = *work;
    let spares = Spares { catalogue, device, threads };
    let report = train(&mut study, &mut parts, spares, context, None)?;
    let started = context.clock.now();
    let ranked = rank(&study, config, &mut parts, spares, context, work.archs.to_vec())?;
    let spent = context.clock.now().saturating_sub(started).as_secs_f64();
    let bytes = state_bytes(&*parts.generator, &method.name)?;
    file.set_initial(report.seconds.train, Some(bytes));
    let seconds = spent / ranked.len() as f64;
    for row in ranked {
        let cell =
            Cell { loss: row.loss, accuracy: row.accuracy, error: row.error, ..Cell::default() };
        file.add(row.hash, vec![Cell { seconds, ..cell }]);
    }
    Ok(())
}

/// Trains every architecture for itself, and scores it at each number of steps.
fn from_scratch(
    work: &MethodsWork<'_>,
    method: &MethodConfig,
    snapshots: &[u64],
    file: &mut MethodFile,
    context: &mut Context<'_>,
) -> Result<(), EngineError> {
    let config = &method.config;
    let space = build_space(config, &work.build_context(config.seed))?;
    let task = work.data.info().task();
    let workshop = Workshop { config, catalogue: work.catalogue, data: work.data };
    let scorer = Scorer::of(work.data, &config.search);
    let jobs = file.missing(work.archs);
    let (interrupt, clock) = (context.interrupt.clone(), context.clock);
    let last = snapshots.last().copied().unwrap_or(0);
    let threads = work.threads.max(1);
    let score = |arch: &Architecture| -> Result<Option<(String, Vec<Cell>)>, EngineError> {
        let hash = arch.hash().to_string();
        let what = || format!("architecture {hash}");
        let network = match lower_one(&*space, arch, task, what)? {
            Ok(network) => network,
            Err(words) => return Ok(Some((hash, vec![Cell::failed(words, 0.0); snapshots.len()]))),
        };
        let mut run =
            workshop.begin(network, config.seed, format!("{}, seed {}", what(), config.seed))?;
        let (mut scorer, mut cells, mut trained) = (scorer.clone(), Vec::new(), 0.0);
        for &step in snapshots {
            let started = Instant::now();
            if !run.train_to(step, last, config, &interrupt)? {
                return Ok(None);
            }
            trained += started.elapsed().as_secs_f64();
            let started = Instant::now();
            let score = scorer.score(&run.network, &mut *run.generator, &mut *run.executor);
            // As many at a time as there are threads.
            let seconds = (trained + started.elapsed().as_secs_f64()) / threads as f64;
            cells.push(match score {
                Ok(score) => Cell {
                    loss: Some(score.loss),
                    accuracy: Some(score.accuracy),
                    seconds,
                    ..Cell::default()
                },
                Err(error) => Cell::failed(error.of_network(what)?, seconds),
            });
        }
        Ok(Some((hash, cells)))
    };
    let images = (last * config.train.batch as u64) as f64;
    let jobs = Jobs { jobs: &jobs, unit: "architectures", images, threads };
    let mut stored = clock.now();
    let done = run_jobs(&jobs, context, score, |(hash, cells)| {
        let loss = cells.last().and_then(|cell| cell.loss);
        file.add(hash, cells);
        if clock.now().saturating_sub(stored) >= STORE_EVERY {
            stored = clock.now();
            file.write()?;
        }
        Ok(loss)
    });
    if matches!(done, Err(EngineError::Interrupted { .. })) {
        file.write()?;
    }
    done
}

/// Asks a zero-cost proxy.
fn proxy(
    work: &MethodsWork<'_>,
    method: &MethodConfig,
    id: &str,
    file: &mut MethodFile,
    context: &mut Context<'_>,
) -> Result<(), EngineError> {
    let config = &method.config;
    let build = work.build_context(config.seed);
    let space = build_space(config, &build)?;
    let mut proxy = build_proxy(id, "methods", &build)?;
    let (images, labels) = work.data.validation_images(config.search.batch);
    let task = work.data.info().task();
    let jobs = file.missing(work.archs);
    for (done, arch) in (1..).zip(&jobs) {
        if context.interrupt.is_requested() {
            file.write()?;
            let (done, of) = (done - 1, jobs.len() as u64);
            return Err(EngineError::Interrupted { done, of, unit: "architectures" });
        }
        let started = context.clock.now();
        let images = Images { data: &images, count: labels.len() };
        let lowered = lower_one(&*space, arch, task, || format!("architecture {}", arch.hash()))?;
        let score = lowered
            .and_then(|network| proxy.score(&network, images).map_err(|error| error.to_string()));
        let seconds = context.clock.now().saturating_sub(started).as_secs_f64();
        let cell = match score {
            Ok(score) => Cell { score: Some(score), seconds, ..Cell::default() },
            Err(words) => Cell::failed(words, seconds),
        };
        file.add(arch.hash().to_string(), vec![cell]);
        context.observer.candidate_scored(&Progress {
            unit: "architectures",
            done,
            of: jobs.len() as u64,
            loss: None,
            images_per_second: labels.len() as f64 / seconds,
            seconds_left: (jobs.len() as u64 - done) as f64 * seconds,
        });
    }
    Ok(())
}

/// How large the trained methods' generators are for each of the settings in `comparison.memory`
/// (section 7.1: a supernet grows with operations times nodes, a GHN with operations alone).
///
/// # Errors
/// What failed.
pub fn memory(work: &MethodsWork<'_>) -> Result<Vec<MemoryPoint>, EngineError> {
    let mut points = Vec::new();
    let mut seen = Vec::new();
    for method in work.config.methods.iter().filter(|method| method.kind == MethodKind::Trained) {
        // Two methods may differ by their training alone.
        if seen.contains(&&method.config.generator) {
            continue;
        }
        seen.push(&method.config.generator);
        for settings in &work.config.comparison.memory {
            let mut config = method.config.clone();
            config.space.settings.extend(settings.clone());
            let (parameters, bytes) = work.generator_size(&config)?;
            let (method, settings) = (method.name.clone(), settings.clone());
            points.push(MemoryPoint { method, settings, parameters, bytes });
        }
    }
    Ok(points)
}

impl MethodsWork<'_> {
    fn build_context(&self, seed: u64) -> BuildContext<'_> {
        let Self { catalogue, device, threads, .. } = *self;
        BuildContext { seed, device, threads, ..BuildContext::new(catalogue) }
    }

    /// Parameters and bytes of the generator after it has met enough architectures.
    fn generator_size(&self, config: &Config) -> Result<(u64, u64), EngineError> {
        let context = self.build_context(config.seed);
        let space = build_space(config, &context)?;
        let mut generator = build_generator(config, &context)?;
        let mut weights = Weights::default();
        for index in 0..MEMORY_ARCHS {
            let what = || format!("architecture {index} for the size of {}", config.generator.id);
            let network = space
                .sample(Phase::Score, rng::derive_seed(config.seed, "memory-arch", index))
                .and_then(|arch| space.lower(&arch, self.data.info().task()))
                .map_err(|source| EngineError::Space { what: what(), source })?;
            weights.reset_for(network.params());
            let made = generator.predict(&network, &mut weights);
            made.map_err(|source| EngineError::Generator { what: what(), source })?;
        }
        let parameters = generator.parameter_count() as u64;
        Ok((parameters, state_bytes(&*generator, &config.generator.id)?))
    }
}

/// The bytes that a generator's parameters and the state of their training take.
fn state_bytes(generator: &dyn WeightGenerator, what: &str) -> Result<u64, EngineError> {
    let state = generator
        .save()
        .map_err(|source| EngineError::Generator { what: format!("saving {what}"), source })?;
    let values: usize = state.tensors.values().map(|tensor| tensor.data.len()).sum();
    Ok((values * size_of::<f32>()) as u64)
}
