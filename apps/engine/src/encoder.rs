//! Encodes architectures as the embeddings of their networks by a trained generator, for searchers
//! that learn from vectors. What training and the searcher do with it is theirs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use ghnas_core::{
    Architecture, ArchitectureHash, Encoder, EncoderError, SearchSpace, Task, WeightGenerator,
};

use crate::config::Config;
use crate::error::EngineError;
use crate::parts::Parts;
use crate::scorer::ScoreError;
use crate::search::{lower_one, restore_trained};
use crate::spares::{Pool, Spares};
use crate::study::Study;

/// Encodes with a generator that is trained later: searchers are built before, so that a wrong
/// setting is refused before training begins.
pub(crate) struct GeneratorEncoder {
    space: Arc<dyn SearchSpace>,
    task: Task,
    trained: RwLock<Option<Trained>>,
}

/// Generators in one state, one for each architecture that is encoded at a time.
struct Trained {
    generators: Pool<Box<dyn WeightGenerator>>,
    /// What was encoded; never iterated over.
    known: RwLock<HashMap<ArchitectureHash, Option<Arc<[f32]>>>>,
}

impl GeneratorEncoder {
    /// Without a generator yet.
    pub(crate) fn new(space: Arc<dyn SearchSpace>, task: Task) -> Self {
        Self { space, task, trained: RwLock::default() }
    }

    /// Takes trained generators, which have embeddings and are all in one state.
    pub(crate) fn train(&self, generators: Vec<Box<dyn WeightGenerator>>) {
        let trained = Trained { generators: Pool::new(generators), known: RwLock::default() };
        *self.trained.write().unwrap_or_else(PoisonError::into_inner) = Some(trained);
    }

    /// The embedding of an architecture; nothing where it has no network, or the generator none for
    /// it, or one that is not finite.
    fn embedding(
        &self,
        arch: &Architecture,
        generator: &mut dyn WeightGenerator,
    ) -> Result<Option<Arc<[f32]>>, EngineError> {
        let what = || format!("embedding of architecture {}", arch.hash());
        let Ok(network) = lower_one(&*self.space, arch, self.task, what)? else { return Ok(None) };
        let embed = generator.embed().expect("the generator was asked when it was built");
        match embed.embedding(&network) {
            Ok(vector) => Ok(vector.iter().all(|x| x.is_finite()).then(|| vector.into())),
            Err(error) => ScoreError::Generator(error).of_network(what).map(|_| None),
        }
    }
}

impl Encoder for GeneratorEncoder {
    fn encode(&self, arch: &Architecture) -> Result<Option<Arc<[f32]>>, EncoderError> {
        let trained = self.trained.read().unwrap_or_else(PoisonError::into_inner);
        let untrained = || EncoderError("the weight generator is not trained yet".into());
        let Trained { generators, known } = trained.as_ref().ok_or_else(untrained)?;
        let hash = arch.hash();
        if let Some(vector) = known.read().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Ok(vector.clone());
        }
        let made = generators.lend(|generator| self.embedding(arch, &mut **generator));
        let vector = made.map_err(|error| EncoderError(words(&error)))?;
        known.write().unwrap_or_else(PoisonError::into_inner).insert(hash, vector.clone());
        Ok(vector)
    }
}

/// The encoder that a searcher asked for, for a copy of it.
pub(crate) fn given(encoder: &Option<Arc<GeneratorEncoder>>) -> Result<Arc<dyn Encoder>, String> {
    let none = || "the searcher asked for no embeddings when it was built first".into();
    encoder.clone().map(|encoder| encoder as _).ok_or_else(none)
}

/// An encoder with the trained generator of the study in `dir`, for as many architectures at a time
/// as `spares` has threads. `config` is of those who search with it, in the same space.
///
/// # Errors
/// [`EngineError::OtherSpace`] where the study is of another space or of other settings of it;
/// [`EngineError::NoEmbeddings`] where its generator has none; [`EngineError::NotTrained`] where that
/// is not trained to the end; otherwise what failed.
pub fn study_encoder(
    dir: &Path,
    config: &Config,
    spares: Spares<'_>,
) -> Result<Arc<dyn Encoder>, EngineError> {
    let study = Study::load(dir)?;
    let own = study.config();
    let changed = own.changed_keys(config);
    if let Some(key) = changed.into_iter().find(|key| key.starts_with("space.")) {
        return Err(EngineError::OtherSpace { dir: dir.into(), key });
    }
    let Spares { catalogue, device, threads } = spares;
    let mut parts = Parts::build(own, catalogue, device, threads)?;
    if parts.generator.embed().is_none() {
        let generator = own.generator.id.clone();
        return Err(EngineError::NoEmbeddings { dir: dir.into(), generator });
    }
    restore_trained(&study, &mut parts)?;
    let encoder = GeneratorEncoder::new(parts.space.clone(), parts.task());
    encoder.train(spares.generators(own, &*parts.generator, spares.at_once())?);
    Ok(Arc::new(encoder))
}

/// An error with its causes.
fn words(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", words(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    #[test]
    fn it_embeds_once_it_has_a_trained_generator_and_what_has_a_network() {
        let config = toy::config(&[]);
        let mut parts = toy::parts(&config);
        assert!(parts.encoder.is_none(), "random search asks for none");
        let encoder = GeneratorEncoder::new(parts.space.clone(), parts.task());
        let arch = toy::chain(&["narrow", "wide"]);
        let error = encoder.encode(&arch).unwrap_err().to_string();
        assert_eq!(error, "embeddings: the weight generator is not trained yet");
        let copies = toy::spares(2).generators(&config, &*parts.generator, 2).unwrap();
        encoder.train(copies);
        let vector = encoder.encode(&arch).unwrap().unwrap();
        let network = parts.space.lower(&arch, parts.task()).unwrap();
        let expected = parts.generator.embed().unwrap().embedding(&network).unwrap();
        assert_eq!(vector[..], expected);
        let known = encoder.encode(&arch).unwrap().unwrap();
        assert!(Arc::ptr_eq(&vector, &known), "it is embedded once");
        // Neither has a network, or an embedding that is finite.
        assert_eq!(encoder.encode(&toy::chain(&["unheard of"])).unwrap(), None);
        assert_eq!(encoder.encode(&toy::chain(&["broken"])).unwrap(), None);
        // Another state of the generator has embeddings of its own.
        let mut other = toy::parts(&toy::config(&["seed=1"])).generator;
        other.embed().unwrap().embedding(&network).unwrap();
        encoder.train(vec![other]);
        assert_ne!(encoder.encode(&arch).unwrap().unwrap()[..], expected);
    }
}
