//! Opens dfdx devices, and says in words why one cannot be had.

use std::sync::Arc;

use dfdx::tensor::Cpu;

/// Opens the device on the thread that is about to use it.
///
/// Generators and executors move between threads, but a CUDA device of dfdx holds streams that do
/// not; so each thread has its own handle to the device.
pub type OpenDevice<D> = Arc<dyn Fn() -> Result<D, String> + Send + Sync>;

/// What is said of a CUDA device where the build has none.
pub const NO_CUDA: &str = "this build has no CUDA support; rebuild with --features cuda";

/// The processor.
pub fn cpu() -> OpenDevice<Cpu> {
    let device = Cpu::default();
    Arc::new(move || Ok(device.clone()))
}

/// The CUDA device with this ordinal.
///
/// # Errors
/// In words, where there is no driver or no such device.
#[cfg(feature = "cuda")]
pub fn cuda(ordinal: usize) -> Result<OpenDevice<dfdx::tensor::Cuda>, String> {
    // Opened once here, so that a missing driver is an error of the settings.
    cuda::open(ordinal)?;
    Ok(Arc::new(move || cuda::open(ordinal)))
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
