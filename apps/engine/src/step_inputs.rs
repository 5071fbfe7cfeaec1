//! What a training step needs, made one step ahead by a thread of its own.
//!
//! Inputs are a function of the seed and of the step alone, so that it makes no difference when
//! or where they are made.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::Scope;

use ghnas_core::{Images, Network, SearchSpace, SpaceError, Task};

use crate::config::Config;
use crate::data::{BatchOptions, Batches};
use crate::error::EngineError;
use crate::parts::Parts;
use crate::sampling::{ArchSampler, Drawn};

/// Images, labels and architectures of one step.
#[derive(Default)]
pub(crate) struct StepInputs {
    /// [batch, channels, height, width]
    pub images: Vec<f32>,
    /// [batch]
    pub labels: Vec<u16>,
    /// The architectures' hashes, hexadecimal, with their networks.
    pub networks: Vec<(String, Network)>,
    /// What the space could not sample or lower, with the architectures' hashes where there are any.
    pub failed: Vec<(String, SpaceError)>,
}

impl StepInputs {
    /// The `index`-th part of the images, with their labels, where each has `count` images.
    pub(crate) fn part(&self, index: usize, count: usize) -> (Images<'_>, &[u16]) {
        let size = self.images.len() / self.labels.len();
        let (images, labels) =
            (&self.images[index * count * size..], &self.labels[index * count..]);
        (Images { data: &images[..count * size], count }, &labels[..count])
    }
}

/// Makes the inputs of any step.
pub(crate) struct StepSource {
    space: Arc<dyn SearchSpace>,
    batches: Batches,
    task: Task,
    archs: ArchSampler,
}

impl StepSource {
    /// The source for a study with this configuration.
    ///
    /// # Errors
    /// [`EngineError::Data`] where there are fewer training images than in a batch.
    pub(crate) fn new(config: &Config, parts: &Parts) -> Result<Self, EngineError> {
        let options = BatchOptions { batch: config.train.batch, augment: config.data.augment };
        Ok(Self {
            space: parts.space.clone(),
            batches: Batches::new(&parts.data, options, config.seed)?,
            task: parts.task(),
            archs: ArchSampler::new(config.seed, &config.train),
        })
    }

    /// Makes inputs from step `first` on in a thread of `scope`, which ends with the result.
    pub(crate) fn run_ahead<'scope>(
        mut self,
        scope: &'scope Scope<'scope, '_>,
        first: u64,
    ) -> StepsAhead {
        let (send, ready) = mpsc::sync_channel(1);
        let (used, returned) = mpsc::channel::<StepInputs>();
        // One set of buffers is worked with while the other is filled.
        for _ in 0..2 {
            used.send(StepInputs::default()).expect("the other end is still here");
        }
        scope.spawn(move || {
            for step in first.. {
                let Ok(mut inputs) = returned.recv() else { return };
                let filled = self.fill(step, &mut inputs).map(|()| inputs);
                let last = filled.is_err();
                if send.send(filled).is_err() || last {
                    return;
                }
            }
        });
        StepsAhead { ready, used }
    }

    fn fill(&mut self, step: u64, inputs: &mut StepInputs) -> Result<(), EngineError> {
        self.batches.fill(step, &mut inputs.images, &mut inputs.labels);
        inputs.networks.clear();
        inputs.failed.clear();
        let drawn = self.archs.draw(&*self.space, self.task, step);
        let broken = |source| EngineError::Space { what: format!("training step {step}"), source };
        for Drawn { hash, network } in drawn.map_err(broken)? {
            match network {
                Ok(network) => inputs.networks.push((hash, network)),
                Err(error) => inputs.failed.push((hash, error)),
            }
        }
        Ok(())
    }
}

/// Inputs of step after step, each ready before it is asked for.
pub(crate) struct StepsAhead {
    ready: Receiver<Result<StepInputs, EngineError>>,
    used: Sender<StepInputs>,
}

impl StepsAhead {
    /// The inputs of the next step.
    ///
    /// # Errors
    /// [`EngineError::Space`] where the space is broken; there is no next step then.
    pub(crate) fn next(&self) -> Result<StepInputs, EngineError> {
        self.ready.recv().expect("the source sends until it has failed")
    }

    /// Takes inputs back, so that their buffers are used again.
    pub(crate) fn give_back(&self, inputs: StepInputs) {
        // After its last step, the source takes no more.
        let _ = self.used.send(inputs);
    }
}
