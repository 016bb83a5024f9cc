//! The only place that asks the system for the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Time;

/// Where a verb takes the time from; tests give their own.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Time;

    /// Waits.
    fn pause(&self, seconds: u64) {
        std::thread::sleep(std::time::Duration::from_secs(seconds));
    }

    /// Waits for that long, or until `ended` is closed; whether it is.
    fn wait(&self, ended: &Receiver<()>, most: Duration) -> bool {
        !matches!(ended.recv_timeout(most), Err(RecvTimeoutError::Timeout))
    }
}

/// The system's real-time clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => Time::new(after.as_secs() as i64, after.subsec_nanos()),
            Err(before) => Time::new(-(before.duration().as_secs() as i64) - 1, 0),
        }
    }
}
