//! Runs networks on any dfdx device, one readable dfdx expression a primitive.
//!
//! This executor is the oracle: it shares no arithmetic with the fast ones, not even the loss, and
//! prefers the plain way to the quick one. It is also the one that runs on CUDA.
//!
//! Every primitive is a gather from the flattened inputs (windows, shifts and padding are no more
//! than positions), a matrix product or a reduction, so that dfdx's own tape differentiates it.
//! On the CPU dfdx adds in a fixed order, whatever the number of threads; on CUDA the gradients of
//! what is gathered twice add up in any order, so their last bits may differ from run to run.

mod record;

mod executor;
mod primitives;

pub use executor::DfdxExecutor;
pub use ghnas_dfdx_device::{OpenDevice, cpu};

use ghnas_core::inventory;
use ghnas_core::registry::{BuildContext, Settings, default_preset, no_settings};
use ghnas_core::{Device, Executor, Factory, Registration};

inventory::submit! {
    Registration {
        id: "dfdx",
        summary: "dfdx tensors on the CPU or CUDA: slow, plain, the reference for other executors",
        source: env!("CARGO_PKG_NAME"),
        presets: || default_preset(&Settings::new()),
        factory: Factory::Executor(build),
    }
}

fn build(settings: &Settings, context: &BuildContext<'_>) -> Result<Box<dyn Executor>, String> {
    no_settings(settings)?;
    match context.device {
        Device::Cpu => Ok(Box::new(DfdxExecutor::<f32, _>::new(cpu()))),
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => {
            let device = ghnas_dfdx_device::cuda(ordinal)?;
            Ok(Box::new(DfdxExecutor::<f32, _>::new(device)))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(ghnas_dfdx_device::NO_CUDA.into()),
    }
}
