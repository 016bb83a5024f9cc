//! Times as other programs write them.

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;

use crate::model::Time;

/// Reads `2026-11-28T16:44:25.364287639+02:00`, and how many seconds east of UTC that says; without an offset it is UTC.
pub fn read(text: &str) -> Option<(Time, i64)> {
    let has_offset = text
        .split_once('T')
        .is_some_and(|(_, clock)| clock.ends_with(['Z', 'z']) || clock.contains(['+', '-']));
    let whole = if has_offset { text.to_owned() } else { format!("{text}Z") };
    let at: Timestamp = whole.parse().ok()?;
    let nanos = at.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    let time = Time::new(seconds, u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?);
    let offset = Pieces::parse(&whole).ok()?.to_numeric_offset().map_or(0, |offset| offset.seconds());
    Some((time, i64::from(offset)))
}

/// Nanoseconds since 1970.
pub fn of_nanos(nanos: i64) -> Time {
    Time::new(nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_nanoseconds_and_offsets() {
        for (text, seconds, nanos, offset) in [
            ("2026-11-28T16:44:25.364287639Z", 1_795_884_265, 364_287_639, 0),
            ("2026-11-28T18:44:25.364287639+02:00", 1_795_884_265, 364_287_639, 7200),
            ("2026-11-28T16:44:29.000000", 1_795_884_269, 0, 0),
            ("1960-01-01T00:00:00.123456789Z", -315_619_200, 123_456_789, 0),
            ("1960-01-01T00:00:00-05:30", -315_619_200 + 19_800, 0, -19_800),
        ] {
            assert_eq!(read(text), Some((Time::new(seconds, nanos), offset)), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "T"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(of_nanos(-1), Time::new(-1, 999_999_999));
    }
}
