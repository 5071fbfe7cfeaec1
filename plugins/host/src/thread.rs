//! A thread of one instance, for plugins whose instances must stay on the thread that made them.

use std::sync::mpsc::{Sender, channel};

type Job = Box<dyn FnOnce() + Send>;

/// Runs work on one thread, one piece after the other.
pub(crate) struct Bound {
    jobs: Sender<Job>,
}

impl Bound {
    /// A new thread; it ends when this is dropped.
    pub(crate) fn new() -> Result<Self, String> {
        let (jobs, queue) = channel::<Job>();
        std::thread::Builder::new()
            .name("ghnas-plugin".into())
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .map_err(|error| format!("no thread for it: {error}"))?;
        Ok(Self { jobs })
    }

    /// Runs `work` on the thread and waits for it.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let (done, result) = channel();
        let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
            // Where the receiver is gone, nobody waits.
            let _ = done.send(work());
        });
        // SAFETY: `recv` below returns only after the job has run or was dropped, so what it
        // borrows outlives it.
        let job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
        self.jobs.send(job).expect("the thread lives as long as this");
        result.recv().expect("calls into plugins do not unwind")
    }
}
