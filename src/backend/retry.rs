//! Trying again what a network or a busy server let fail: pauses that grow, with chance in them, and a bound on all of them together.

use std::io;
use std::time::{Duration, Instant};

use super::Error;

/// How a try failed.
#[derive(Debug)]
pub enum Failed {
    /// It would fail again.
    ForGood(Error),
    /// The next try may succeed; not before `after`, when the server said so.
    ForNow { error: Error, after: Option<Duration> },
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::ForGood(error)
    }
}

/// For how long something is tried, and pauses are cut into, once the run is asked to stop.
const STOPPING: Duration = Duration::from_secs(5);
const SLICE: Duration = Duration::from_millis(100);

/// How often and for how long something is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// About the pause before the second try; each later one is about twice as long.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// No try begins so long after the first one began.
    pub total: Duration,
    /// Whether the run is asked to stop: then an outage is not waited for, only what passes within seconds.
    pub stops: fn() -> bool,
}

impl Default for Patience {
    /// For an outage that a router's restart or a server's upgrade is: a quarter of an hour.
    fn default() -> Patience {
        let seconds = Duration::from_secs;
        Patience {
            first: Duration::from_millis(500),
            most: seconds(60),
            total: seconds(15 * 60),
            stops: || false,
        }
    }
}

impl Patience {
    /// The pause before try number `next` (the second is 2) when `chance` (0 to 1) falls so: between a half and the whole of a time that
    /// doubles with each try, so that many clients of one server do not come back at one moment.
    fn pause(&self, next: u32, chance: f64) -> Duration {
        let doubled =
            self.first.saturating_mul(1_u32.checked_shl(next.saturating_sub(2)).unwrap_or(u32::MAX));
        doubled.min(self.most).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Sleeps until then; false when that is longer than anything is tried, or is by now.
    fn waits(&self, until: Instant, began: Instant) -> bool {
        loop {
            let total = if (self.stops)() { STOPPING.min(self.total) } else { self.total };
            if until.saturating_duration_since(began) > total {
                return false;
            }
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return true,
                left => std::thread::sleep(left.min(SLICE)),
            }
        }
    }

    /// Tries until it is done, would fail again, or took too long; `attempt` is given the number of the try, from 1 on. What is returned then
    /// says how often it was tried.
    pub fn run<T>(&self, mut attempt: impl FnMut(u32) -> Result<T, Failed>) -> Result<T, Error> {
        let began = Instant::now();
        let mut number = 1;
        loop {
            let (error, after) = match attempt(number) {
                Ok(done) => return Ok(done),
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::ForNow { error, after }) => (error, after),
            };
            let pause = self.pause(number + 1, chance()).max(after.unwrap_or_default());
            if !self.waits(Instant::now() + pause, began) {
                return Err(told(error, number));
            }
            number += 1;
        }
    }
}

/// The error after so many tries.
fn told(error: Error, tries: u32) -> Error {
    match error {
        Error::Io { object, operation, source } if tries > 1 => {
            let kind = source.kind();
            Error::Io {
                object,
                operation,
                source: io::Error::new(kind, format!("{source} (tried {tries} times)")),
            }
        }
        error => error,
    }
}

/// A number from 0 to 1 that others do not have.
fn chance() -> f64 {
    let number = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn failed() -> Error {
        Error::sort("there", "write", io::ErrorKind::ConnectionReset.into())
    }

    const QUICK: Patience = Patience {
        first: Duration::ZERO,
        most: Duration::ZERO,
        total: Duration::from_secs(60),
        stops: || false,
    };

    #[test]
    fn pauses_double_to_a_bound_and_chance_takes_half_of_them_at_most() {
        let patience = Patience::default();
        let millis = |next, chance| patience.pause(next, chance).as_millis();
        assert_eq!((millis(2, 1.0), millis(3, 1.0), millis(4, 1.0)), (500, 1000, 2000));
        assert_eq!((millis(2, 0.0), millis(4, 0.0)), (250, 1000));
        assert_eq!((millis(20, 1.0), millis(4_000_000_000, 0.0)), (60_000, 30_000));
    }

    #[test]
    fn what_failed_for_now_is_tried_again_and_what_failed_for_good_is_not() {
        let mut tries = Vec::new();
        let done = QUICK.run(|number| {
            tries.push(number);
            if number < 4 { Err(Failed::ForNow { error: failed(), after: None }) } else { Ok(number) }
        });
        assert_eq!((done.unwrap(), tries), (4, vec![1, 2, 3, 4]));

        let mut tries = 0;
        let error = QUICK
            .run(|_| -> Result<(), Failed> {
                tries += 1;
                Err(failed().into())
            })
            .unwrap_err();
        assert_eq!((tries, error.to_string()), (1, failed().to_string()));
    }

    #[test]
    fn a_run_that_is_asked_to_stop_does_not_wait_for_an_outage() {
        static STOPPED: AtomicBool = AtomicBool::new(false);
        let hour = Duration::from_secs(3600);
        let patience = Patience { total: hour, stops: || STOPPED.load(Ordering::Relaxed), ..QUICK };
        let mut tries = 0;
        let failed = patience.run(|_| -> Result<(), Failed> {
            tries += 1;
            // Asked while it sleeps: without that this test would take an hour.
            if tries == 2 {
                std::thread::spawn(|| STOPPED.store(true, Ordering::Relaxed));
            }
            let after = if tries == 1 { None } else { Some(hour / 2) };
            Err(Failed::ForNow { error: failed(), after })
        });
        assert_eq!((tries, failed.is_err()), (2, true));
        // What passes soon is waited for all the same.
        let passing = patience.run(|number| match number {
            1 => Err(Failed::ForNow { error: super::tests::failed(), after: None }),
            _ => Ok(()),
        });
        assert!(passing.is_ok());
    }

    #[test]
    fn when_all_its_time_would_be_over_it_says_how_often_it_was_tried() {
        let mut tries = 0;
        let error = QUICK
            .run(|number| -> Result<(), Failed> {
                tries += 1;
                let after = if number < 3 { None } else { Some(Duration::from_secs(61)) };
                Err(Failed::ForNow { error: failed(), after })
            })
            .unwrap_err();
        assert_eq!(tries, 3);
        assert!(error.to_string().ends_with("connection reset (tried 3 times)"), "{error}");
        assert!(matches!(error, Error::Io { operation: "write", .. }));
    }
}
