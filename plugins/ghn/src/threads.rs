//! The threads that a generator computes with. Work is divided at borders that depend on the work
//! alone, so that any number of threads gives the same bytes.

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads of one generator.
pub(crate) struct Threads {
    /// None for the calling thread alone.
    pool: Option<ThreadPool>,
}

/// Work that can be divided into independent pieces.
pub(crate) trait Divide: Sized + Send {
    /// Two halves; the work itself where it is one piece.
    fn divide(self) -> Result<(Self, Self), Self>;
}

impl Threads {
    /// The calling thread.
    pub(crate) const ONE: Self = Self { pool: None };

    /// `count` threads.
    ///
    /// # Errors
    /// In words, where they cannot be started.
    pub(crate) fn new(count: usize) -> Result<Self, String> {
        if count <= 1 {
            return Ok(Self::ONE);
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|index| format!("ghn-{index}"))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { pool: Some(pool) })
    }

    /// Runs `work` on one of these threads, so that what it [shares](Self::share) begins without
    /// waiting for one to wake up, and no more threads are awake than there are.
    pub(crate) fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            None => work(),
            Some(pool) => pool.install(work),
        }
    }

    /// Calls `each` for every piece of `work`, several at a time.
    pub(crate) fn share<W: Divide>(&self, work: W, each: impl Fn(W) + Sync) {
        match &self.pool {
            None => serially(work, &each),
            Some(pool) => match work.divide() {
                Ok((one, other)) => {
                    pool.install(|| {
                        rayon::join(|| in_parallel(one, &each), || in_parallel(other, &each))
                    });
                }
                // One piece is done sooner here than by a thread that has to wake up.
                Err(piece) => each(piece),
            },
        }
    }
}

fn serially<W: Divide>(work: W, each: &impl Fn(W)) {
    match work.divide() {
        Ok((one, other)) => {
            serially(one, each);
            serially(other, each);
        }
        Err(piece) => each(piece),
    }
}

fn in_parallel<W: Divide>(work: W, each: &(impl Fn(W) + Sync)) {
    match work.divide() {
        Ok((one, other)) => {
            rayon::join(|| in_parallel(one, each), || in_parallel(other, each));
        }
        Err(piece) => each(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers to be replaced by the length of their piece.
    struct Numbers<'a>(&'a mut [usize]);

    impl Divide for Numbers<'_> {
        fn divide(self) -> Result<(Self, Self), Self> {
            if self.0.len() <= 3 {
                return Err(self);
            }
            let (one, other) = self.0.split_at_mut(self.0.len() / 2);
            Ok((Self(one), Self(other)))
        }
    }

    #[test]
    fn pieces_are_the_same_for_any_number_of_threads() {
        for count in [0, 1, 2, 5] {
            let mut numbers = [0; 13];
            let threads = Threads::new(count).unwrap();
            threads.share(Numbers(&mut numbers), |piece| piece.0.fill(piece.0.len()));
            assert_eq!(numbers, [3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2], "{count} threads");
        }
    }
}
