//! The gradient of a step's architectures with respect to the generator (Eq. 16).

use std::sync::{Mutex, PoisonError};

use ghnas_core::loss::LossSum;
use ghnas_core::{
    Executor, ExecutorError, GeneratorError, Images, Network, Ticket, WeightGenerator, Weights,
};

use crate::error::EngineError;

/// One architecture of a step.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    /// The architecture's network.
    pub network: &'a Network,
    /// Its images.
    pub images: Images<'a>,
    /// Their labels.
    pub labels: &'a [u16],
    /// The architecture's share in the step's gradient.
    pub share: f32,
}

/// What came of one architecture.
#[derive(Clone, Copy)]
pub(crate) struct PartResult {
    /// Mean cross-entropy of the batch, in nats.
    pub loss: f64,
    /// Share of the batch classified correctly.
    pub accuracy: f64,
    /// Whether loss and gradient were finite, and so the gradient was added.
    pub finite: bool,
}

/// What failed in a step.
pub(crate) struct StepFailure {
    /// The position of the architecture.
    pub part: usize,
    cause: Cause,
}

enum Cause {
    Generator(GeneratorError),
    Executor(ExecutorError),
}

impl StepFailure {
    /// The error, at the place that `what` names.
    pub(crate) fn at(self, what: String) -> EngineError {
        match self.cause {
            Cause::Generator(source) => EngineError::Generator { what, source },
            Cause::Executor(source) => EngineError::Executor { what, source },
        }
    }
}

/// The buffers, reused from step to step.
#[derive(Default)]
pub(crate) struct Gradient {
    slots: Vec<Slot>,
    results: Vec<PartResult>,
}

/// What one architecture of a step needs.
#[derive(Default)]
struct Slot {
    weights: Weights,
    gradients: Weights,
    ticket: Option<Ticket>,
    sum: Option<Result<LossSum, ExecutorError>>,
}

impl Gradient {
    /// Adds the gradients of `parts` to the generator's: an executor gives the first factor, the
    /// generator the second. Executors work at the same time, each on one part after the other; the
    /// generator takes their gradients in the order of the parts, so that it makes no difference
    /// how many there are. Of a part whose loss or gradient is not finite, nothing is added.
    ///
    /// # Panics
    /// Without executors.
    pub(crate) fn add(
        &mut self,
        parts: &[Part<'_>],
        generator: &mut dyn WeightGenerator,
        executors: &mut [Box<dyn Executor>],
    ) -> Result<&[PartResult], StepFailure> {
        let Self { slots, results } = self;
        if slots.len() < parts.len() {
            slots.resize_with(parts.len(), Slot::default);
        }
        let failed = |part| move |error| StepFailure { part, cause: Cause::Generator(error) };
        for (at, (slot, part)) in slots.iter_mut().zip(parts).enumerate() {
            slot.weights.reset_for(part.network.params());
            let ticket = generator.generate(part.network, &mut slot.weights);
            slot.ticket = Some(ticket.map_err(failed(at))?);
        }
        run(slots, parts, executors);
        results.clear();
        for (at, (slot, part)) in slots.iter_mut().zip(parts).enumerate() {
            let (ticket, sum) = (slot.ticket.take(), slot.sum.take());
            let (ticket, sum) = ticket.zip(sum).expect("every part was generated and run");
            let sum =
                sum.map_err(|error| StepFailure { part: at, cause: Cause::Executor(error) })?;
            let finite = sum.loss.is_finite() && slot.gradients.all_finite();
            if finite {
                if part.share != 1.0 {
                    let values = slot.gradients.as_mut_slice().iter_mut();
                    values.for_each(|value| *value *= part.share);
                }
                generator.vjp(ticket, &slot.gradients).map_err(failed(at))?;
            } else {
                generator.discard(ticket);
            }
            let (loss, accuracy) = (sum.mean_loss(), sum.accuracy());
            results.push(PartResult { loss, accuracy, finite });
        }
        Ok(results)
    }
}

/// Runs every part by whichever executor is idle, each on a thread of its own.
fn run(slots: &mut [Slot], parts: &[Part<'_>], executors: &mut [Box<dyn Executor>]) {
    let jobs = Mutex::new(slots.iter_mut().zip(parts));
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = |executor: &mut dyn Executor| {
        while let Some((Slot { weights, gradients, sum, .. }, part)) = next() {
            let Part { network, images, labels, .. } = *part;
            gradients.reset_for(network.params());
            *sum = Some(executor.loss_and_gradients(network, weights, images, labels, gradients));
        }
    };
    let (own, others) = executors.split_first_mut().expect("there is an executor");
    std::thread::scope(|scope| {
        for executor in others.iter_mut().take(parts.len().saturating_sub(1)) {
            scope.spawn(|| work(&mut **executor));
        }
        work(&mut **own);
    });
}
