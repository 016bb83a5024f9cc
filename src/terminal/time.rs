//! Times: shown in the local zone, written to JSON with their offset, and read as people type them. Knows no clock: the caller gives the present.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use crate::model::Time;

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a time; write for example 2026-11-01, '2026-11-01 14:00', 2026-11-01T14:00:05+01:00, yesterday, '3 days ago'"
)]
pub struct TimeError(String);

/// What a typed time means: from `start` up to and with `last`, one day for a date, one minute when no seconds are given, a second or an
/// instant otherwise. "The newest snapshot of that time" is the newest one not after `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub start: Time,
    pub last: Time,
}

impl Moment {
    /// An instant.
    fn instant(at: Timestamp) -> Moment {
        Moment { start: to_model(at), last: to_model(at) }
    }

    /// A stretch whose end does not belong to it.
    fn stretch(start: Timestamp, end: Timestamp) -> Moment {
        let start = to_model(start);
        let end = to_model(end);
        let last = if end.nanos > 0 {
            Time::new(end.seconds, end.nanos - 1)
        } else {
            Time::new(end.seconds - 1, 999_999_999)
        };
        Moment { start, last: last.max(start) }
    }
}

/// `2026-11-03 14:00:05` in the local zone.
pub fn show(time: Time) -> String {
    show_in(time, TimeZone::system())
}

/// The same in that zone. Times that no calendar reaches are shown as seconds since 1970.
pub fn show_in(time: Time, zone: TimeZone) -> String {
    match from_model(time) {
        Some(at) => at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", time.seconds),
    }
}

/// `2026-11-03T14:00:05.123456789+01:00` in the local zone, for JSON.
pub fn iso(time: Time) -> String {
    iso_in(time, TimeZone::system())
}

/// The same in that zone. Times that no calendar reaches are written as seconds since 1970.
pub fn iso_in(time: Time, zone: TimeZone) -> String {
    match from_model(time) {
        Some(at) => at.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string(),
        None => format!("@{}", time.seconds),
    }
}

/// `Tue, 03 Nov 2026 14:00:05 +0100` in the local zone, as mail wants it; none where no calendar reaches.
pub fn mail(time: Time) -> Option<String> {
    mail_in(time, TimeZone::system())
}

/// The same in that zone.
fn mail_in(time: Time, zone: TimeZone) -> Option<String> {
    let at = from_model(time)?.to_zoned(zone);
    (0..=9999).contains(&at.year()).then(|| at.strftime("%a, %d %b %Y %H:%M:%S %z").to_string())
}

/// Year, month, day, hour, minute and second in the local zone; none where no calendar reaches.
pub fn civil(time: Time) -> Option<[i16; 6]> {
    let at = from_model(time)?.to_zoned(TimeZone::system()).datetime();
    let [month, day, hour, minute, second] =
        [at.month(), at.day(), at.hour(), at.minute(), at.second()].map(i16::from);
    Some([at.year(), month, day, hour, minute, second])
}

/// The local zone's name (when it has one) and offset from UTC in seconds at that time, for a snapshot.
pub fn local_zone(time: Time) -> (Option<String>, i32) {
    let zone = TimeZone::system();
    let offset = from_model(time).map_or(0, |at| zone.to_offset(at).seconds());
    (zone.iana_name().map(str::to_owned), offset)
}

/// Reads a time in the local zone, see `parse_in`.
pub fn parse(text: &str, now: Time) -> Result<Moment, TimeError> {
    parse_in(text, now, TimeZone::system())
}

/// Reads `now`, `today`, `yesterday`, `3 days ago`, `2026-11-01`, `2026-11-01 14:00[:05]` (a `T` may stand for the space), or RFC 3339
/// with an offset; without one the zone counts.
pub fn parse_in(text: &str, now: Time, zone: TimeZone) -> Result<Moment, TimeError> {
    understand(text.trim(), now, zone).ok_or_else(|| TimeError(text.to_owned()))
}

/// The work of `parse_in`.
fn understand(text: &str, now: Time, zone: TimeZone) -> Option<Moment> {
    let present = from_model(now)?.to_zoned(zone.clone());
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "now" => return Some(Moment::instant(present.timestamp())),
        "today" => return day(present.date(), &zone),
        "yesterday" => return day(present.date().yesterday().ok()?, &zone),
        _ => {}
    }
    if let Some(amount) = lower.strip_suffix("ago") {
        return ago(amount, &present);
    }
    // The shape is checked first, so that the prefix of an id is never taken for a time.
    let shape = |pattern: &str, text: &str| {
        let fits =
            |(wanted, byte): (u8, u8)| if wanted == b'0' { byte.is_ascii_digit() } else { wanted == byte };
        text.len() == pattern.len() && pattern.bytes().zip(text.bytes()).all(fits)
    };
    if shape("0000-00-00", text) {
        return day(text.parse::<Date>().ok()?, &zone);
    }
    if !shape("0000-00-00", text.get(..10)?) || !matches!(text.as_bytes().get(10)?, b' ' | b'T' | b't') {
        return None;
    }
    let clock = text.get(11..)?;
    if shape("00:00", clock) || shape("00:00:00", clock) {
        let length = if clock.len() == 5 { Span::new().minutes(1) } else { Span::new().seconds(1) };
        let start = text.parse::<DateTime>().ok()?.to_zoned(zone).ok()?.timestamp();
        return Some(Moment::stretch(start, start.checked_add(length).ok()?));
    }
    if !shape("00:00", clock.get(..5)?) || text.contains('[') {
        return None;
    }
    match text.parse::<Timestamp>() {
        Ok(at) => Some(Moment::instant(at)),
        Err(_) => Some(Moment::instant(text.parse::<DateTime>().ok()?.to_zoned(zone).ok()?.timestamp())),
    }
}

/// A whole day.
fn day(date: Date, zone: &TimeZone) -> Option<Moment> {
    let start = |date: Date| Some(date.to_zoned(zone.clone()).ok()?.timestamp());
    Some(Moment::stretch(start(date)?, start(date.tomorrow().ok()?)?))
}

/// What stands before `ago`: a number (or `a`, `an`) and a unit.
fn ago(amount: &str, present: &Zoned) -> Option<Moment> {
    let amount = amount.trim();
    let split = amount.find(|character: char| !character.is_ascii_digit())?;
    let (count, unit) = match amount.split_at(split) {
        ("", words) => words.strip_prefix("an ").or(words.strip_prefix("a ")).map(|unit| (1, unit))?,
        (digits, unit) => (digits.parse::<i64>().ok()?, unit),
    };
    let span = match unit.trim() {
        "s" | "second" | "seconds" => Span::new().try_seconds(count),
        "m" | "min" | "minute" | "minutes" => Span::new().try_minutes(count),
        "h" | "hour" | "hours" => Span::new().try_hours(count),
        "d" | "day" | "days" => Span::new().try_days(count),
        "w" | "week" | "weeks" => Span::new().try_weeks(count),
        "month" | "months" => Span::new().try_months(count),
        "y" | "year" | "years" => Span::new().try_years(count),
        _ => return None,
    };
    Some(Moment::instant(present.checked_sub(span.ok()?).ok()?.timestamp()))
}

/// The calendar's form, when it reaches that far.
fn from_model(time: Time) -> Option<Timestamp> {
    // jiff wants both parts to have one sign, and makes it so itself.
    Timestamp::new(time.seconds, i32::try_from(time.nanos).ok()?).ok()
}

/// Copal's form.
fn to_model(at: Timestamp) -> Time {
    let nanos = at.as_nanosecond();
    let seconds = nanos.div_euclid(1_000_000_000);
    // Both fit: the calendar's range is far smaller than 64 bits of seconds.
    Time::new(seconds as i64, nanos.rem_euclid(1_000_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn berlin() -> TimeZone {
        // Written out, so that the test needs no time zone files.
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    /// 2026-11-03 14:00:05 in Berlin.
    const NOW: Time = Time { seconds: 1_793_710_805, nanos: 0 };

    #[test]
    fn times_are_shown_in_their_zone() {
        assert_eq!(show_in(NOW, berlin()), "2026-11-03 14:00:05");
        assert_eq!(iso_in(NOW, berlin()), "2026-11-03T14:00:05+01:00");
        assert_eq!(
            iso_in(Time::new(NOW.seconds, 120_000_000), TimeZone::UTC),
            "2026-11-03T13:00:05.12+00:00"
        );
        assert_eq!(mail_in(NOW, berlin()).as_deref(), Some("Tue, 03 Nov 2026 14:00:05 +0100"));
        assert_eq!(mail_in(Time::new(i64::MAX, 0), berlin()), None);
        assert_eq!(show_in(Time::new(-1, 500_000_000), TimeZone::UTC), "1969-12-31 23:59:59");
        assert_eq!(show_in(Time::new(-2_177_452_800, 0), TimeZone::UTC), "1901-01-01 00:00:00");
        assert_eq!(show_in(Time::new(i64::MAX, 0), TimeZone::UTC), "@9223372036854775807");
        assert_eq!(iso_in(Time::new(i64::MIN, 0), TimeZone::UTC), "@-9223372036854775808");
    }

    #[test]
    fn what_people_type_is_understood() {
        for (text, start, last) in [
            ("2026-11-01", "2026-11-01T00:00:00+01:00", "2026-11-01T23:59:59.999999999+01:00"),
            ("2026-10-25", "2026-10-25T00:00:00+02:00", "2026-10-25T23:59:59.999999999+01:00"),
            ("2026-11-01 14:00", "2026-11-01T14:00:00+01:00", "2026-11-01T14:00:59.999999999+01:00"),
            ("2026-11-01T14:00:05", "2026-11-01T14:00:05+01:00", "2026-11-01T14:00:05.999999999+01:00"),
            ("2026-07-01 14:00:05", "2026-07-01T14:00:05+02:00", "2026-07-01T14:00:05.999999999+02:00"),
            ("2026-11-01T14:00:05Z", "2026-11-01T15:00:05+01:00", "2026-11-01T15:00:05+01:00"),
            ("2026-11-01T14:00:05.5-03:00", "2026-11-01T18:00:05.5+01:00", "2026-11-01T18:00:05.5+01:00"),
            ("today", "2026-11-03T00:00:00+01:00", "2026-11-03T23:59:59.999999999+01:00"),
            (" Yesterday ", "2026-11-02T00:00:00+01:00", "2026-11-02T23:59:59.999999999+01:00"),
            ("now", "2026-11-03T14:00:05+01:00", "2026-11-03T14:00:05+01:00"),
            ("3 days ago", "2026-10-31T14:00:05+01:00", "2026-10-31T14:00:05+01:00"),
            ("1 month ago", "2026-10-03T14:00:05+02:00", "2026-10-03T14:00:05+02:00"),
            ("an hour ago", "2026-11-03T13:00:05+01:00", "2026-11-03T13:00:05+01:00"),
            ("2w ago", "2026-10-20T14:00:05+02:00", "2026-10-20T14:00:05+02:00"),
        ] {
            let moment = parse_in(text, NOW, berlin()).unwrap();
            assert_eq!(
                (iso_in(moment.start, berlin()), iso_in(moment.last, berlin())),
                (start.into(), last.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for text in [
            "",
            "20261101",
            "2026",
            "2026-11",
            "2026-13-01",
            "2026-02-30",
            "2026-11-01 25:00",
            "2026-11-01 14",
            "ago",
            "3 ago",
            "days ago",
            "3 fortnights ago",
            "99999999999999 years ago",
            "latest",
            "deadbeef",
            "2026-11-01x14:00",
            "2026-11-01 14:00 o'clock",
            "2026-11-0é 14:00",
        ] {
            assert!(parse_in(text, NOW, berlin()).is_err(), "{text}");
        }
        assert!(parse_in("soon", NOW, berlin()).unwrap_err().to_string().contains("'soon'"));
    }

    proptest! {
        #[test]
        fn iso_times_are_read_back_to_the_nanosecond(seconds in -2_200_000_000i64..15_000_000_000, nanos in 0u32..1_000_000_000) {
            let time = Time::new(seconds, nanos);
            let moment = parse_in(&iso_in(time, berlin()), NOW, TimeZone::UTC).unwrap();
            prop_assert_eq!(moment, Moment { start: time, last: time });
        }

        #[test]
        fn any_text_is_a_time_or_an_error(text in ".{0,24}") {
            let _ = parse_in(&text, NOW, berlin());
        }
    }
}
