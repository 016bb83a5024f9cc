//! The server's clock, as its answers tell it, and dates as HTTP and S3 write them.

use std::sync::Mutex;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::locks::lock;
use crate::model::Time;

/// For so long the time of an answer is gone on from.
const FRESH: Duration = Duration::from_secs(5);

/// The time of the last answer that told it, and when it came by a clock that nobody sets and that goes on in a sleep.
#[derive(Default)]
pub(super) struct ServerClock(Mutex<Option<(Time, Duration)>>);

impl ServerClock {
    /// An answer with that date came just now.
    pub(super) fn note(&self, date: Time) {
        self.note_at(date, boot());
    }

    /// The server's time, when an answer told it not long ago. To a second.
    pub(super) fn now(&self) -> Option<Time> {
        self.now_at(boot())
    }

    fn note_at(&self, date: Time, at: Duration) {
        *lock(&self.0) = Some((date, at));
    }

    fn now_at(&self, now: Duration) -> Option<Time> {
        let (date, at) = (*lock(&self.0))?;
        let since = now.checked_sub(at)?;
        (since < FRESH).then(|| date.plus_seconds(since.as_secs() as i64))
    }
}

fn boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A date of an HTTP header: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<Time> {
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Time::new(zoned.as_second(), 0))
}

/// A date of a listing: `2009-10-12T17:50:30.000Z`.
pub(super) fn listing_date(text: &str) -> Option<Time> {
    let date: jiff::Timestamp = text.trim().parse().ok()?;
    Some(Time::new(date.as_second(), 0))
}

/// How long a server wants to be left alone: `Retry-After`, in seconds or as a date, with the answer's own date.
pub(super) fn retry_after(text: &str, date: Option<Time>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = http_date(text)?.seconds_since(date?);
    Some(Duration::from_secs(wait.max(0.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_nonsense_is_not() {
        let date = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(date, Time::new(784_111_777, 0));
        assert_eq!(listing_date("1994-11-06T08:49:37.123Z"), Some(date));
        for text in ["", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT", "1994", &"9".repeat(1000)] {
            assert_eq!((http_date(text), listing_date(text)), (None, None), "{text}");
        }
        let seconds = |text: &str| retry_after(text, Some(date)).map(|wait| wait.as_secs());
        assert_eq!(
            (seconds("0"), seconds(" 7 "), seconds("-1"), seconds("soon")),
            (Some(0), Some(7), None, None)
        );
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:40:37 GMT"), Some(0));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", None), None);
    }

    #[test]
    fn what_an_answer_told_goes_on_for_a_while() {
        let clock = ServerClock::default();
        assert_eq!(clock.now(), None);
        let date = Time::new(784_111_777, 0);
        let seconds = Duration::from_secs;
        clock.note_at(date, seconds(100));
        assert_eq!(clock.now_at(seconds(100)), Some(date));
        assert_eq!(clock.now_at(seconds(104)), Some(date.plus_seconds(4)));
        assert_eq!((clock.now_at(seconds(105)), clock.now_at(seconds(99))), (None, None));
    }
}
