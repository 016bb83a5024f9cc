//! Calendars and spans of time: in which hour, day, week, month and year a snapshot falls, and what lies how far back. Total for any
//! time, also for those that no calendar reaches.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, Time as Clock};
use jiff::tz::TimeZone;

use crate::model::{Snapshot, Time};

const DAY: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01, and days of 400 years.
const EPOCH_DAYS: i64 = 719_468;
const ERA_DAYS: i64 = 146_097;
/// Largest number in a span: no calendar needs more.
const SPAN_MOST: i64 = 1_000_000;

/// How long back, in the units of a calendar: `2y5m7d3h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub years: i64,
    pub months: i64,
    pub days: i64,
    pub hours: i64,
}

impl Span {
    /// Reads years, months, days and hours, in any order, each at most once: `1y5m7d2h`.
    pub fn parse(text: &str) -> Result<Span, &'static str> {
        const WRONG: &str = "write years, months, days and hours, such as 1y5m7d2h or 30d";
        let mut parts = [None; 4];
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(WRONG);
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: i64 = rest[..digits].parse().map_err(|_| WRONG)?;
            let unit = rest[digits..].chars().next().and_then(|unit| "ymdh".find(unit)).ok_or(WRONG)?;
            if number > SPAN_MOST {
                return Err("a number is too large");
            }
            if parts[unit].replace(number).is_some() {
                return Err("a unit stands there twice");
            }
            rest = &rest[digits + 1..];
        }
        let [years, months, days, hours] = parts.map(Option::unwrap_or_default);
        Ok(Span { years, months, days, hours })
    }

    /// Whether it is no time at all.
    pub fn is_zero(&self) -> bool {
        *self == Span::default()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

/// Whose clock on the wall counts.
#[derive(Clone, Debug, Default)]
pub enum Calendar {
    /// That of the place where the snapshot was made.
    #[default]
    Own,
    Zone(TimeZone),
}

impl Calendar {
    /// Reads the name of a zone, `UTC`, or `local`.
    pub fn parse(text: &str) -> Result<Calendar, String> {
        if text.eq_ignore_ascii_case("local") {
            return Ok(Calendar::Zone(TimeZone::system()));
        }
        TimeZone::get(text).map(Calendar::Zone).map_err(|_| {
            format!("no time zone {text} is known here; write one such as Europe/Lisbon, UTC or local")
        })
    }

    /// What the clock on the wall showed when the snapshot was made, as seconds since 1970 there.
    pub fn local(&self, snapshot: &Snapshot) -> i64 {
        let offset = match self {
            Calendar::Own => snapshot.utc_offset,
            Calendar::Zone(zone) => Timestamp::from_second(snapshot.time.seconds)
                .map_or(0, |at| i64::from(zone.to_offset(at).seconds())),
        };
        snapshot.time.seconds.saturating_add(offset)
    }

    /// The time that lies `span` before the snapshot: years, months and days back on the calendar, then hours. A day that a month
    /// does not have is one of the next month.
    pub fn before(&self, snapshot: &Snapshot, span: Span) -> Time {
        let local = self.local(snapshot);
        let (year, month, day) = civil(local.div_euclid(DAY));
        let months = (year - span.years) * 12 + (month - 1) - span.months;
        let first = days_of(months.div_euclid(12), months.rem_euclid(12) + 1);
        let days = first + day - 1 - span.days;
        let wall = days.saturating_mul(DAY).saturating_add(local.rem_euclid(DAY));
        let seconds = match self {
            Calendar::Own => wall.saturating_sub(snapshot.utc_offset),
            Calendar::Zone(zone) => instant(zone, days, local.rem_euclid(DAY)).unwrap_or(wall),
        };
        Time { seconds: seconds.saturating_sub(span.hours * 3600), nanos: snapshot.time.nanos }
    }
}

/// When the clock on the wall of a zone shows that; of a time that is not there or there twice, as people expect.
fn instant(zone: &TimeZone, days: i64, second: i64) -> Option<i64> {
    let (year, month, day) = civil(days);
    let date =
        Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let clock = Clock::new(
        i8::try_from(second / 3600).ok()?,
        i8::try_from(second / 60 % 60).ok()?,
        i8::try_from(second % 60).ok()?,
        0,
    );
    Some(date.to_datetime(clock.ok()?).to_zoned(zone.clone()).ok()?.timestamp().as_second())
}

/// Year, month from 1 and day from 1 of a day since 1970, in the Gregorian calendar. A year is counted from March here, so that a leap
/// day is its last.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The first day of a month, since 1970.
pub(super) fn days_of(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let month = if month > 2 { month - 3 } else { month + 9 };
    era * ERA_DAYS + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 - EPOCH_DAYS
}

/// A stretch of the calendar in which one snapshot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// None: each snapshot is one by itself.
    Each,
    Hour,
    Day,
    /// Monday to Sunday, as ISO 8601 has it.
    Week,
    Month,
    Year,
}

impl Period {
    pub const ALL: [Period; 6] =
        [Period::Each, Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];

    /// How rules are named for it.
    pub fn adjective(self) -> &'static str {
        match self {
            Period::Each => "last",
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Year => "yearly",
        }
    }

    /// The number of the stretch in which a clock on the wall shows that; of `Each`, `number`.
    pub fn of(self, local: i64, number: usize) -> i64 {
        let days = local.div_euclid(DAY);
        match self {
            Period::Each => i64::try_from(number).unwrap_or(i64::MAX),
            Period::Hour => local.div_euclid(3600),
            Period::Day => days,
            // 1970 began on a Thursday.
            Period::Week => (days + 3).div_euclid(7),
            Period::Month => {
                let (year, month, _) = civil(days);
                year * 12 + month
            }
            Period::Year => civil(days).0,
        }
    }
}
