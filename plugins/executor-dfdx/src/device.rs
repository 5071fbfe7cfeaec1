//! Opens dfdx devices, and says in words why one cannot be had.

use std::sync::Arc;

use dfdx::tensor::Cpu;
use ghnas_core::Executor;

/// Opens the device on the thread that is about to use it.
///
/// An executor moves between threads, but a CUDA device of dfdx holds streams that do not; so each
/// thread has its own handle to the device.
pub type OpenDevice<D> = Arc<dyn Fn() -> Result<D, String> + Send + Sync>;

/// The processor.
pub fn cpu() -> OpenDevice<Cpu> {
    Arc::new(|| Ok(Cpu::default()))
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn cuda_executor(_: usize) -> Result<Box<dyn Executor>, String> {
    Err("this build has no CUDA support; rebuild with --features cuda".into())
}

#[cfg(feature = "cuda")]
pub(crate) fn cuda_executor(ordinal: usize) -> Result<Box<dyn Executor>, String> {
    // Opened once here, so that a missing driver is an error of the settings.
    cuda::open(ordinal)?;
    let device: OpenDevice<_> = Arc::new(move || cuda::open(ordinal));
    Ok(Box::new(crate::DfdxExecutor::<f32, _>::new(device)))
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use cudarc::driver::result;
    use dfdx::tensor::Cuda;

    thread_local! {
        /// The devices that this thread has opened: loading their kernels takes a while.
        static OPENED: RefCell<BTreeMap<usize, Cuda>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub(super) fn open(ordinal: usize) -> Result<Cuda, String> {
        OPENED.with_borrow_mut(|opened| {
            if let Some(device) = opened.get(&ordinal) {
                return Ok(device.clone());
            }
            let device = open_anew(ordinal)?;
            opened.insert(ordinal, device.clone());
            Ok(device)
        })
    }

    /// Asks the driver before dfdx does, which would panic where there is none.
    fn open_anew(ordinal: usize) -> Result<Cuda, String> {
        result::init().map_err(|error| format!("no usable CUDA driver: {error}"))?;
        let count = result::device::get_count()
            .map_err(|error| format!("the CUDA driver lists no devices: {error}"))?;
        if usize::try_from(count).is_ok_and(|count| ordinal >= count) {
            return Err(format!(
                "there is no cuda:{ordinal}; this machine has {count} CUDA devices"
            ));
        }
        Cuda::try_build(ordinal, 0).map_err(|error| format!("cannot open cuda:{ordinal}: {error}"))
    }
}
