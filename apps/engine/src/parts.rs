//! What a configuration chooses: data set, space, generator, executor and searcher.

use std::cell::Cell;
use std::sync::Arc;

use ghnas_core::{
    BuildContext, Catalogue, Device, Executor, Proxy, RegistryError, SearchSpace, Searcher, Task,
    WeightGenerator,
};

use crate::config::{Config, VariantConfig};
use crate::data::{self, DataSet};
use crate::encoder::GeneratorEncoder;
use crate::error::EngineError;
use crate::lowering::Lowering;

/// The working parts of a study, built before it is opened, so that a wrong setting leaves no
/// study behind.
pub struct Parts {
    /// The images; never test images.
    pub data: DataSet,
    /// The space.
    pub space: Arc<dyn SearchSpace>,
    /// The space with the settings of each of `search.variants`.
    pub(crate) variants: Vec<Arc<dyn SearchSpace>>,
    /// The weight generator.
    pub generator: Box<dyn WeightGenerator>,
    /// What runs networks.
    pub executor: Box<dyn Executor>,
    /// What proposes candidates.
    pub searcher: Box<dyn Searcher>,
    /// What the searcher learns from, where it asks for that; it has no generator before training
    /// is over.
    pub(crate) encoder: Option<Arc<GeneratorEncoder>>,
}

impl Parts {
    /// Loads the data set and builds the rest. `config` must be resolved.
    ///
    /// # Errors
    /// [`EngineError`] names the section and key, or the data set's file.
    pub fn build(
        config: &Config,
        catalogue: &Catalogue,
        device: Device,
        threads: usize,
    ) -> Result<Self, EngineError> {
        Self::with_data(load_data(config)?, config, catalogue, device, threads)
    }

    /// As [`build`](Self::build), with images that are loaded already.
    ///
    /// # Errors
    /// [`EngineError`] names the section and key.
    pub fn with_data(
        data: DataSet,
        config: &Config,
        catalogue: &Catalogue,
        device: Device,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let (search, validation) = (&config.search, data.validation().len());
        let references = if search.references > 0 { search.reference_images } else { 0 };
        for (key, wanted, split, found) in [
            ("train.batch", config.train.batch, "training", data.train().len()),
            ("search.images", search.images, "validation", validation),
            ("search.reference_images", references, "validation", validation),
        ] {
            if wanted > found {
                return Err(EngineError::FewImages { key, wanted, found, split });
            }
        }
        let context =
            BuildContext { seed: config.seed, device, threads, ..BuildContext::new(catalogue) };
        let space = build_space(config, &context)?;
        let variants = build_variants(config, &context)?;
        let mut generator = build_generator(config, &context)?;
        let encoder = match generator.embed() {
            Some(_) => Ok(GeneratorEncoder::new(space.clone(), data.info().task())),
            None => Err(format!("weight generator '{}' has no embeddings", config.generator.id)),
        };
        let (encoder, asked) = (encoder.map(Arc::new), Cell::new(false));
        let ask = || {
            asked.set(true);
            encoder.clone().map(|encoder| encoder as _)
        };
        let searcher = build_searcher(config, &space, &BuildContext { encoder: &ask, ..context })?;
        let encoder = encoder.ok().filter(|_| asked.get());
        let executor = build_executor(config, &context)?;
        Ok(Self { data, space, variants, generator, executor, searcher, encoder })
    }

    /// What networks are for.
    pub fn task(&self) -> Task {
        self.data.info().task()
    }

    /// How networks are made of architectures.
    pub(crate) fn lowering(&self) -> Lowering<'_> {
        Lowering { space: &*self.space, variants: &self.variants, task: self.task() }
    }
}

/// Loads the images that `config` chooses.
///
/// # Errors
/// [`EngineError::Data`] names the data set's file.
pub fn load_data(config: &Config) -> Result<DataSet, EngineError> {
    Ok(match &config.data.dir {
        None => DataSet::excerpt(),
        Some(dir) => data::load_for_search(dir, config.data.validation, config.seed)?,
    })
}

/// Builds the space that `config`, which must be resolved, chooses.
///
/// # Errors
/// [`EngineError::Entry`] names the key.
pub fn build_space(
    config: &Config,
    context: &BuildContext<'_>,
) -> Result<Arc<dyn SearchSpace>, EngineError> {
    let space = &config.space;
    let built = context.catalogue.spaces.build(&space.id, &space.settings, context);
    built.map_err(wrong("space.settings"))
}

/// Builds the space with the settings of each of `search.variants`.
fn build_variants(
    config: &Config,
    context: &BuildContext<'_>,
) -> Result<Vec<Arc<dyn SearchSpace>>, EngineError> {
    let build = |variant: &VariantConfig| {
        let mut settings = config.space.settings.clone();
        settings.extend(variant.settings.clone());
        let built = context.catalogue.spaces.build(&config.space.id, &settings, context);
        built.map_err(wrong("search.variants"))
    };
    config.search.variants.iter().map(build).collect()
}

/// Builds the searcher that `config` chooses, to search `space`.
pub(crate) fn build_searcher(
    config: &Config,
    space: &Arc<dyn SearchSpace>,
    context: &BuildContext<'_>,
) -> Result<Box<dyn Searcher>, EngineError> {
    let entry = &config.searcher;
    let context = BuildContext { space: Some(space), ..*context };
    let built = context.catalogue.searchers.build(&entry.id, &entry.settings, &context);
    built.map_err(wrong("searcher.settings"))
}

/// Builds the weight generator that `config` chooses.
pub(crate) fn build_generator(
    config: &Config,
    context: &BuildContext<'_>,
) -> Result<Box<dyn WeightGenerator>, EngineError> {
    let entry = &config.generator;
    let built = context.catalogue.generators.build(&entry.id, &entry.settings, context);
    built.map_err(wrong("generator.settings"))
}

/// Builds a zero-cost proxy with its default settings; `section` names where its id was given.
pub(crate) fn build_proxy(
    id: &str,
    section: &'static str,
    context: &BuildContext<'_>,
) -> Result<Box<dyn Proxy>, EngineError> {
    let shelf = &context.catalogue.proxies;
    let entry = shelf.get(id).map_err(wrong(section))?;
    shelf.build(id, &entry.default_settings(), context).map_err(wrong(section))
}

/// Builds the executor that `config` chooses.
pub(crate) fn build_executor(
    config: &Config,
    context: &BuildContext<'_>,
) -> Result<Box<dyn Executor>, EngineError> {
    let entry = &config.executor;
    let built = context.catalogue.executors.build(&entry.id, &entry.settings, context);
    built.map_err(wrong("executor.settings"))
}

pub(crate) fn wrong(section: &'static str) -> impl FnOnce(RegistryError) -> EngineError {
    move |error| EngineError::Entry { section, error: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    #[test]
    fn more_images_than_there_are_is_refused_by_key() {
        for (flag, expected) in [
            ("train.batch=25", "train.batch = 25, but the data set has 24 training images"),
            ("search.images=13", "search.images = 13, but the data set has 12 validation images"),
        ] {
            let config = toy::config(&[flag]);
            let parts = Parts::with_data(toy::data(0), &config, &toy::catalogue(), Device::Cpu, 1);
            assert_eq!(parts.err().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn settings_that_an_entry_refuses_are_named() {
        let mut config = toy::config(&[]);
        config.space.settings.insert("nodes".into(), "many".into());
        let parts = Parts::with_data(toy::data(0), &config, &toy::catalogue(), Device::Cpu, 1);
        let error = parts.err().unwrap().to_string();
        assert!(error.starts_with("space.settings: search space 'toy': nodes: "), "{error}");
        let variants = "search.variants=[{ settings = { nods = 2 }, share = 0.1, images = 4 }]";
        let config = toy::config(&[variants]);
        let parts = Parts::with_data(toy::data(0), &config, &toy::catalogue(), Device::Cpu, 1);
        let error = parts.err().unwrap().to_string();
        assert!(error.starts_with("search.variants: search space 'toy': nods: "), "{error}");
    }
}
