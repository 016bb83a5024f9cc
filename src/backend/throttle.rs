//! A wrapper that moves no more bytes a second than it is told, in each direction.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Backend, Entry, Error, Kind, Space};
use crate::locks::lock;
use crate::model::Time;

/// How much of a second's bytes may go at once after a pause.
const BURST: f64 = 0.25;
/// The longest pause at once, so that an interrupt is noticed.
const PAUSE_MOST: Duration = Duration::from_millis(200);

/// Bytes a second, and when the next may go.
struct Gate {
    rate: f64,
    /// When all that was let through will have passed at that rate.
    clear: Mutex<Option<Instant>>,
}

impl Gate {
    fn new(rate: u64) -> Gate {
        Gate { rate: rate.max(1) as f64, clear: Mutex::new(None) }
    }

    /// Takes a place in the row for that many bytes; how long to wait until they have passed.
    fn enter(&self, bytes: usize, now: Instant) -> Duration {
        let mut clear = lock(&self.clear);
        let burst = Duration::from_secs_f64(BURST);
        let from = clear.map_or(now, |clear| clear.max(now.checked_sub(burst).unwrap_or(now)));
        // No more than what a run takes in years.
        let takes = Duration::from_secs_f64((bytes as f64 / self.rate).min(1e9));
        let until = from + takes;
        *clear = Some(until);
        until.saturating_duration_since(now)
    }

    fn pass(&self, bytes: usize) {
        let mut left = self.enter(bytes, Instant::now());
        while !left.is_zero() {
            let pause = left.min(PAUSE_MOST);
            std::thread::sleep(pause);
            left -= pause;
        }
    }
}

/// Bytes a second that may go up and come down; without a number as many as can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub upload: Option<u64>,
    pub download: Option<u64>,
}

impl Limits {
    pub fn is_given(self) -> bool {
        self != Limits::default()
    }
}

/// A backend behind two gates.
pub struct Throttled<B> {
    inner: B,
    upload: Option<Gate>,
    download: Option<Gate>,
}

impl<B: Backend> Throttled<B> {
    pub fn new(inner: B, limits: Limits) -> Throttled<B> {
        Throttled { inner, upload: limits.upload.map(Gate::new), download: limits.download.map(Gate::new) }
    }

    fn up(&self, bytes: &[u8]) {
        if let Some(gate) = &self.upload {
            gate.pass(bytes.len());
        }
    }

    fn down(&self, got: Result<Vec<u8>, Error>) -> Result<Vec<u8>, Error> {
        if let (Some(gate), Ok(bytes)) = (&self.download, &got) {
            gate.pass(bytes.len());
        }
        got
    }
}

impl<B: Backend> Backend for Throttled<B> {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.up(bytes);
        self.inner.put(kind, name, bytes)
    }
    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.up(bytes);
        self.inner.replace(kind, name, bytes)
    }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        self.down(self.inner.get(kind, name))
    }
    fn get_at_most(&self, kind: Kind, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        self.down(self.inner.get_at_most(kind, name, most))
    }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        self.down(self.inner.get_range(kind, name, offset, length))
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        self.inner.list(kind, each)
    }
    fn list_kinds(&self, kinds: &[Kind], each: &mut dyn FnMut(Kind, Entry)) -> Result<(), Error> {
        self.inner.list_kinds(kinds, each)
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        self.inner.stat(kind, name)
    }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        self.inner.remove(kind, name)
    }
    fn time(&self) -> Result<Time, Error> {
        self.inner.time()
    }
    fn listing_lag_seconds(&self) -> Option<u64> {
        self.inner.listing_lag_seconds()
    }
    fn space(&self) -> Result<Option<Space>, Error> {
        self.inner.space()
    }
    fn requests_at_once(&self) -> usize {
        self.inner.requests_at_once()
    }

    fn puts_over(&self) -> bool {
        self.inner.puts_over()
    }
    fn remove_leftovers(&self, before: Time) -> Result<u64, Error> {
        self.inner.remove_leftovers(before)
    }
    fn reserve(&self, keep: bool) -> bool {
        self.inner.reserve(keep)
    }
    fn is_unsynced(&self) -> bool {
        self.inner.is_unsynced()
    }
    fn exists_repository(&self) -> Result<bool, Error> {
        self.inner.exists_repository()
    }
    fn create(&self) -> Result<(), Error> {
        self.inner.create()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_for_those_before_them_and_pauses_are_no_savings() {
        let gate = Gate::new(1000);
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let near = |got: Duration, millis: u64| {
            assert!(
                got.abs_diff(Duration::from_millis(millis)) < Duration::from_millis(1),
                "{got:?} {millis}"
            );
        };
        near(gate.enter(1000, at(0)), 1000);
        near(gate.enter(500, at(0)), 1500);
        near(gate.enter(500, at(1000)), 1000);
        // After a long pause a quarter of a second is let through at once, no more.
        near(gate.enter(1000, at(100_000)), 750);
        near(gate.enter(0, at(200_000)), 0);
    }

    #[test]
    fn each_direction_has_its_own_gate_and_nothing_else_changes() {
        let limits = Limits { upload: Some(1 << 40), download: None };
        let throttled = Throttled::new(super::super::Memory::new(), limits);
        throttled.create().unwrap();
        let name = "ab".repeat(32);
        throttled.put(Kind::Packs, &name, b"abc").unwrap();
        assert_eq!(throttled.get(Kind::Packs, &name).unwrap(), b"abc");
        assert_eq!(throttled.get_range(Kind::Packs, &name, 1, 1).unwrap(), b"b");
        assert!(throttled.upload.as_ref().is_some_and(|gate| lock(&gate.clear).is_some()));
        assert!(throttled.download.is_none());
    }
}
