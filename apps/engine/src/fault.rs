//! Points at which a write can be made to fail by a test, as a full disk or a kill would make it.

#[cfg(not(test))]
pub(crate) fn point() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use armed::{arm, disarm, point};

#[cfg(test)]
mod armed {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        /// Points that still pass; nothing where all do.
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Lets `points` more points of this thread pass, and none after them.
    pub(crate) fn arm(points: u64) {
        LEFT.set(Some(points));
    }

    /// Lets all points pass again; gives those that were left to pass.
    pub(crate) fn disarm() -> Option<u64> {
        LEFT.take()
    }

    /// A point.
    pub(crate) fn point() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
