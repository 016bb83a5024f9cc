//! The next time of a `When`, on the clock on the wall of a zone, as systemd finds it.

use jiff::Timestamp;
use jiff::civil::{Date, Time as Clock, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::when::{Days, Times, When};
use crate::model::Time;

/// Days that are looked at: more than a month, also where a month's only day falls into a gap.
const DAYS_MOST: usize = 100;

impl When {
    /// The first time after `after`; none where no calendar reaches.
    ///
    /// As with systemd, a time that a clock put forward leaves out does not come that day, and of an hour that comes twice only the first
    /// counts, unless `after` lies in the second.
    pub fn next(&self, after: Time, zone: &TimeZone) -> Option<Time> {
        let start = Timestamp::from_second(after.seconds).ok()?;
        let offset = zone.to_offset(start);
        let local = offset.to_datetime(start);
        // An hour that came twice, and this is the second time.
        let is_second = matches!(
            zone.to_ambiguous_timestamp(local).offset(),
            AmbiguousOffset::Fold { after: second, .. } if second == offset
        );
        let mut date = local.date();
        for _ in 0..DAYS_MOST {
            if self.is_on(date) {
                for minute in self.minutes() {
                    let clock = Clock::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?;
                    let local = date.to_datetime(clock);
                    let found = match zone.to_ambiguous_timestamp(local).offset() {
                        AmbiguousOffset::Unambiguous { offset } => offset,
                        AmbiguousOffset::Gap { .. } => continue,
                        AmbiguousOffset::Fold { after: second, .. } if is_second && second == offset => {
                            second
                        }
                        AmbiguousOffset::Fold { before: first, .. } => first,
                    };
                    let at = found.to_timestamp(local).ok()?.as_second();
                    if at > after.seconds {
                        return Some(Time::new(at, 0));
                    }
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// Whether it comes on that day.
    fn is_on(&self, date: Date) -> bool {
        match self.0 {
            Times::Minutes(_) | Times::Hours(_) | Times::Days(Days::All, _) => true,
            Times::Days(Days::Working, _) => !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday),
            Times::Days(Days::Week(day), _) => date.weekday().to_sunday_zero_offset() == day as i8,
            Times::Days(Days::Month(day), _) => date.day() == day as i8,
        }
    }

    /// The minutes of a day at which it comes.
    fn minutes(&self) -> impl Iterator<Item = u16> + use<> {
        let (first, step) = match self.0 {
            Times::Minutes(step) => (0, u16::from(step)),
            Times::Hours(step) => (0, u16::from(step) * 60),
            Times::Days(_, at) => (at, 24 * 60),
        };
        (first..24 * 60).step_by(step.max(1).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::time::{iso_in, parse_in};

    fn times(text: &str, after: &str, zone: &TimeZone, count: usize) -> Vec<String> {
        let mut at = parse_in(after, Time::default(), zone.clone()).unwrap().start;
        let when: When = text.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            at = when.next(at, zone).unwrap();
            found.push(iso_in(at, zone.clone()));
        }
        found
    }

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn the_next_time_is_strictly_later() {
        let utc = TimeZone::UTC;
        for (text, after, next) in [
            ("daily 03:30", "2026-11-28T03:29:59Z", "2026-11-28T03:30:00+00:00"),
            ("daily 03:30", "2026-11-28T03:30:00Z", "2026-11-29T03:30:00+00:00"),
            ("every 15m", "2026-12-31T23:45:00Z", "2027-01-01T00:00:00+00:00"),
            ("every 1m", "2026-11-28T03:29:59.5Z", "2026-11-28T03:30:00+00:00"),
            ("every 8h", "2026-11-28T08:00:01Z", "2026-11-28T16:00:00+00:00"),
            ("hourly", "2026-11-28T08:00:01Z", "2026-11-28T09:00:00+00:00"),
            ("weekdays 12:00", "2026-11-27T12:00:00Z", "2026-11-30T12:00:00+00:00"),
            ("weekly sun 03:00", "2026-11-28T12:00:00Z", "2026-11-29T03:00:00+00:00"),
            ("weekly sat 03:00", "2026-11-28T12:00:00Z", "2026-12-05T03:00:00+00:00"),
            ("monthly 28 04:00", "2026-01-28T04:00:00Z", "2026-02-28T04:00:00+00:00"),
            ("monthly 1", "2026-12-01T04:00:00Z", "2027-01-01T03:30:00+00:00"),
            ("daily 03:30", "1969-12-31T12:00:00Z", "1970-01-01T03:30:00+00:00"),
        ] {
            assert_eq!(times(text, after, &utc, 1), [next], "{text} after {after}");
        }
        assert_eq!(When::default().next(Time::new(i64::MAX, 0), &utc), None);
    }

    #[test]
    fn clocks_put_forward_leave_out_what_is_not_there_and_put_back_repeat_nothing() {
        let zone = berlin();
        assert_eq!(
            times("daily 02:30", "2026-03-28T12:00:00+01:00", &zone, 2),
            ["2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"]
        );
        assert_eq!(
            times("every 30m", "2026-03-29T01:15:00+01:00", &zone, 2),
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"]
        );
        assert_eq!(
            times("daily 02:30", "2026-10-24T12:00:00+02:00", &zone, 2),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        );
        assert_eq!(
            times("every 30m", "2026-10-25T02:10:00+02:00", &zone, 2),
            ["2026-10-25T02:30:00+02:00", "2026-10-25T03:00:00+01:00"]
        );
        // Whoever begins in the second of the two hours meets it.
        assert_eq!(
            times("every 30m", "2026-10-25T02:10:00+01:00", &zone, 2),
            ["2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00"]
        );
    }
}
