//! Storage whose clock a test sets. Needs `through!` (tests/pruning/through.rs).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use copal::backend::{Backend, Entry, Error as StorageError, Kind, Memory};
use copal::model::Time;
use copal::model::clock::Clock;

/// Storage in memory whose clock is set by hand, and the same clock as a machine's.
#[derive(Clone)]
pub struct Timed {
    pub inner: Memory,
    pub seconds: Arc<AtomicI64>,
}

impl Timed {
    pub fn new() -> Timed {
        Timed { inner: Memory::new(), seconds: Arc::default() }
    }
}

impl Clock for Timed {
    fn now(&self) -> Time {
        Time::new(4_000_000_000 + self.seconds.load(Ordering::SeqCst), 0)
    }
    fn pause(&self, seconds: u64) {
        self.seconds.fetch_add(seconds as i64, Ordering::SeqCst);
    }
}

impl Backend for Timed {
    through! { location put replace get get_range list stat remove create }
    fn time(&self) -> Result<Time, StorageError> {
        Ok(self.now())
    }
}
