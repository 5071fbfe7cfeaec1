//! Opens dfdx devices, and says in words why one cannot be had.

use std::sync::Arc;

use dfdx::tensor::Cpu;

/// Opens the device on the thread that is about to use it.
///
/// A generator moves between threads, but a CUDA device of dfdx holds streams that do not; so each
/// thread has its own handle to the device.
pub(crate) type OpenDevice<D> = Arc<dyn Fn() -> Result<D, String> + Send + Sync>;

/// The processor.
pub(crate) fn cpu() -> OpenDevice<Cpu> {
    let device = Cpu::default();
    Arc::new(move || Ok(device.clone()))
}

/// The CUDA device with this ordinal.
#[cfg(feature = "cuda")]
pub(crate) fn cuda(ordinal: usize) -> Result<OpenDevice<dfdx::tensor::Cuda>, String> {
    // Opened once here, so that a missing driver is an error of the settings.
    open_cuda(ordinal)?;
    Ok(Arc::new(move || open_cuda(ordinal)))
}

#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> Result<dfdx::tensor::Cuda, String> {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use cudarc::driver::result;
    use dfdx::tensor::Cuda;

    thread_local! {
        /// The devices that this thread has opened: loading their kernels takes a while.
        static OPENED: RefCell<BTreeMap<usize, Cuda>> = const { RefCell::new(BTreeMap::new()) };
    }
    OPENED.with_borrow_mut(|opened| {
        if let Some(device) = opened.get(&ordinal) {
            return Ok(device.clone());
        }
        // The driver is asked before dfdx asks it, which would panic where there is none.
        result::init().map_err(|error| format!("no usable CUDA driver: {error}"))?;
        let count = result::device::get_count()
            .map_err(|error| format!("the CUDA driver lists no devices: {error}"))?;
        if usize::try_from(count).is_ok_and(|count| ordinal >= count) {
            return Err(format!(
                "there is no cuda:{ordinal}; this machine has {count} CUDA devices"
            ));
        }
        let device = Cuda::try_build(ordinal, 0)
            .map_err(|error| format!("cannot open cuda:{ordinal}: {error}"))?;
        opened.insert(ordinal, device.clone());
        Ok(device)
    })
}
