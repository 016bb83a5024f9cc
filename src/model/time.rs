//! Points in time as file systems keep them: seconds and nanoseconds since 1970, negative before.

/// A point in time: `seconds` since 1970-01-01 UTC (may be negative) plus `nanos` (0 to 999,999,999).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

impl Time {
    /// A time from its parts; nanoseconds beyond a second are clamped, since some file systems report nonsense.
    pub fn new(seconds: i64, nanos: u32) -> Time {
        Time { seconds, nanos: nanos.min(999_999_999) }
    }

    /// This time moved by whole seconds, stopping at the ends of the range.
    pub fn plus_seconds(self, seconds: i64) -> Time {
        Time { seconds: self.seconds.saturating_add(seconds), nanos: self.nanos }
    }

    /// Seconds from `earlier` to this time (negative when it is later), as a float for rates and ages.
    pub fn seconds_since(self, earlier: Time) -> f64 {
        (self.seconds - earlier.seconds) as f64 + (f64::from(self.nanos) - f64::from(earlier.nanos)) / 1e9
    }
}
