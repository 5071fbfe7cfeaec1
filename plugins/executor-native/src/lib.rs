//! Runs networks fast on CPU cores. Registers the executor `native`.
//!
//! Values are channels-last in one arena; batch norm, rectification, sums and concatenations are
//! fused into the loads of what reads them; see `plan` for how a network is cut into stages.
//! Results are the same to the byte for any number of threads.

mod floats;
mod image;
mod instructions;
mod kernels;
mod packing;
mod peaks;
mod plan;
#[cfg(test)]
mod reference;
mod run;
#[cfg(test)]
mod tests;
mod workspace;

use ghnas_core::executor::check_call;
use ghnas_core::registry::{default_preset, from_settings};
use ghnas_core::{
    BuildContext, Executor, ExecutorError, Factory, Images, LossSum, Network, Registration,
    Settings, Weights, inventory,
};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

pub use instructions::Instructions;
pub use peaks::{Peaks, measure_peaks};

use plan::Plan;
use run::Run;
use workspace::Workspace;

/// Settings of the executor `native`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NativeSettings {
    /// Which vector instructions the kernels use.
    pub instructions: Instructions,
}

/// The executor `native`.
///
/// ```
/// use ghnas_executor_native::{NativeExecutor, NativeSettings};
/// let executor = NativeExecutor::new(NativeSettings::default(), 2).unwrap();
/// # let _: Box<dyn ghnas_core::Executor> = Box::new(executor);
/// ```
pub struct NativeExecutor {
    instructions: Instructions,
    pool: ThreadPool,
    workspace: Workspace,
}

impl NativeExecutor {
    /// An executor that uses `threads` threads.
    ///
    /// # Errors
    /// In words, where the threads cannot be started or the processor lacks the instructions.
    pub fn new(settings: NativeSettings, threads: usize) -> Result<Self, String> {
        let instructions = settings.instructions.resolve()?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|index| format!("native-{index}"))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { instructions, pool, workspace: Workspace::default() })
    }
}

impl Executor for NativeExecutor {
    fn evaluate(
        &mut self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<(), ExecutorError> {
        check_call(network, weights, images, None)?;
        let plan = Plan::new(network, images.count, false);
        let Self { instructions, ref pool, ref mut workspace } = *self;
        let run = Run { plan: &plan, network, weights, images, instructions };
        pool.install(|| run.evaluate(workspace, logits))
    }

    fn loss_and_gradients(
        &mut self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        labels: &[u16],
        gradients: &mut Weights,
    ) -> Result<LossSum, ExecutorError> {
        check_call(network, weights, images, Some(labels))?;
        let plan = Plan::new(network, images.count, true);
        gradients.reset_for(network.params());
        let Self { instructions, ref pool, ref mut workspace } = *self;
        let run = Run { plan: &plan, network, weights, images, instructions };
        pool.install(|| run.loss_and_gradients(workspace, labels, gradients))
    }
}

inventory::submit! {
    Registration {
        id: "native",
        summary: "CPU cores: channels-last kernels, batch norm fused into its neighbours",
        source: "ghnas-executor-native",
        presets: || default_preset(&NativeSettings::default()),
        factory: Factory::Executor(build),
    }
}

fn build(settings: &Settings, context: &BuildContext<'_>) -> Result<Box<dyn Executor>, String> {
    let settings: NativeSettings = from_settings(settings)?;
    Ok(Box::new(NativeExecutor::new(settings, context.threads)?))
}
