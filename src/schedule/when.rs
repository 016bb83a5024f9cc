//! When something runs again and again, in plain words: read, shown, and said as a calendar of systemd and as the fields of cron. Only what
//! both can say is a `When`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The jitter where nothing else is said, and where the time between two runs allows it.
const JITTER: Duration = Duration::from_secs(30 * 60);
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// The days of a week, Sunday first, as cron counts them.
const WEEK: [(&str, &str); 7] = [
    ("sun", "sunday"),
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
];

/// Times that come again: `daily 03:30`, `every 4h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(pub(super) Times);

/// What a `When` is; its numbers are as both systemd and cron take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// Every so many minutes of each hour, from its beginning.
    Minutes(u8),
    /// Every so many hours of each day, from its beginning.
    Hours(u8),
    /// At that minute of some days.
    Days(Days, u16),
}

/// Which days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Days {
    All,
    /// Monday to Friday.
    Working,
    /// That day of each week, Sunday is 0.
    Week(u8),
    /// That day of each month, 1 to 28.
    Month(u8),
}

/// Why a text says no times, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WhenError(String);

impl Default for When {
    /// Daily, after the hours in which clocks are put forward and back in nearly all zones.
    fn default() -> When {
        When(Times::Days(Days::All, NIGHT))
    }
}

/// The time of day where none is said: 03:30.
const NIGHT: u16 = 3 * 60 + 30;

impl FromStr for When {
    type Err = WhenError;

    /// Reads `hourly`, `every 15m`, `every 4h`, `daily [03:30]`, `weekdays [12:00]`, `weekly [sun] [03:00]`, `monthly [1] [04:00]`.
    fn from_str(text: &str) -> Result<When, WhenError> {
        let lower = text.to_ascii_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        let wrong = || {
            WhenError(format!(
                "'{text}' says no times; write for example hourly, 'every 4h', 'daily 03:30', 'weekdays 12:00', 'weekly sun 03:00', 'monthly 1 04:00'"
            ))
        };
        let at = |word: Option<&&str>| word.map_or(Ok(NIGHT), |word| clock(word).ok_or_else(wrong));
        let times = match words[..] {
            ["hourly"] => Times::Hours(1),
            ["every", step] => every(step).ok_or_else(|| {
                WhenError(format!(
                    "'{text}': systemd and cron both can say only what divides an hour or a day: 1m, 2m, 3m, 4m, 5m, 6m, 10m, 12m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h"
                ))
            })?,
            ["daily", ref rest @ ..] if rest.len() <= 1 => Times::Days(Days::All, at(rest.first())?),
            ["weekdays", ref rest @ ..] if rest.len() <= 1 => Times::Days(Days::Working, at(rest.first())?),
            ["weekly", ref rest @ ..] if rest.len() <= 2 => {
                let day = |word: &&str| WEEK.iter().position(|(short, long)| word == short || word == long);
                match rest.first().and_then(day) {
                    Some(day) => Times::Days(Days::Week(day as u8), at(rest.get(1))?),
                    None if rest.len() <= 1 => Times::Days(Days::Week(0), at(rest.first())?),
                    None => return Err(wrong()),
                }
            }
            ["monthly", ref rest @ ..] if rest.len() <= 2 => match rest.first().and_then(|word| number(word)) {
                Some(day @ 1..=28) => Times::Days(Days::Month(day as u8), at(rest.get(1))?),
                Some(_) => {
                    return Err(WhenError(format!(
                        "'{text}': every month has the days 1 to 28; on another one some months would be left out"
                    )));
                }
                None if rest.len() <= 1 => Times::Days(Days::Month(1), at(rest.first())?),
                None => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        Ok(When(times))
    }
}

/// One or two digits.
fn number(text: &str) -> Option<u16> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The minute of the day of `2:30` or `02:30`.
fn clock(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (number(hour)?, number(minute).filter(|_| minute.len() == 2)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// What `15m` or `4h` means, where it divides an hour or a day.
fn every(text: &str) -> Option<Times> {
    let at = text.find(|character: char| !character.is_ascii_digit())?;
    let (count, unit) = (number(&text[..at])?, &text[at..]);
    match unit {
        "m" if count == 60 => Some(Times::Hours(1)),
        "m" if count > 0 && count < 60 && 60 % count == 0 => Some(Times::Minutes(count as u8)),
        "h" if count > 0 && count < 24 && 24 % count == 0 => Some(Times::Hours(count as u8)),
        _ => None,
    }
}

impl fmt::Display for When {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Times::Minutes(step) => write!(f, "every {step}m"),
            Times::Hours(1) => f.write_str("hourly"),
            Times::Hours(step) => write!(f, "every {step}h"),
            Times::Days(days, at) => {
                match days {
                    Days::All => f.write_str("daily")?,
                    Days::Working => f.write_str("weekdays")?,
                    Days::Week(day) => write!(f, "weekly {}", name(day))?,
                    Days::Month(day) => write!(f, "monthly {day}")?,
                }
                write!(f, " {:02}:{:02}", at / 60, at % 60)
            }
        }
    }
}

/// The short name of a day of the week.
fn name(day: u8) -> &'static str {
    WEEK[usize::from(day) % WEEK.len()].0
}

impl When {
    /// The least time between two runs.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(match self.0 {
            Times::Minutes(step) => u64::from(step) * 60,
            Times::Hours(step) => u64::from(step) * 3600,
            Times::Days(days, _) => {
                let days = match days {
                    Days::All | Days::Working => 1,
                    Days::Week(_) => 7,
                    Days::Month(_) => 28,
                };
                days * u64::from(DAY) * 60
            }
        })
    }

    /// By how much a run may be late on purpose where nobody says: half an hour, or a third of the time between two runs.
    pub fn jitter(&self) -> Duration {
        JITTER.min(self.interval() / 3)
    }

    /// What systemd calls it: a value of `OnCalendar=`.
    pub fn on_calendar(&self) -> String {
        match self.0 {
            Times::Minutes(1) => "*-*-* *:*:00".into(),
            Times::Minutes(step) => format!("*-*-* *:00/{step}:00"),
            Times::Hours(1) => "*-*-* *:00:00".into(),
            Times::Hours(step) => format!("*-*-* 00/{step}:00:00"),
            Times::Days(days, at) => {
                let clock = format!("{:02}:{:02}:00", at / 60, at % 60);
                match days {
                    Days::All => format!("*-*-* {clock}"),
                    Days::Working => format!("Mon..Fri *-*-* {clock}"),
                    Days::Week(day) => {
                        let name = name(day);
                        format!("{}{} *-*-* {clock}", name[..1].to_ascii_uppercase(), &name[1..])
                    }
                    Days::Month(day) => format!("*-*-{day:02} {clock}"),
                }
            }
        }
    }

    /// So many minutes cron may add at most (with none more, 1): no run leaves its hour, its turn, or its day.
    pub fn room(&self) -> u16 {
        match self.0 {
            Times::Minutes(step) => step.into(),
            Times::Hours(step) => u16::from(step) * 60,
            Times::Days(_, at) => DAY - at,
        }
    }

    /// The five fields of cron, `delay` minutes later (less than `room`).
    pub fn cron(&self, delay: u16) -> String {
        let delay = delay.min(self.room() - 1);
        // From `first` on, each `step`, below `end`; lists are what every cron reads.
        let list = |first: u16, step: u16, end: u16| match step {
            1 => "*".to_owned(),
            step => {
                let all = (first..end).step_by(step.into()).map(|value| value.to_string());
                all.collect::<Vec<_>>().join(",")
            }
        };
        match self.0 {
            Times::Minutes(step) => format!("{} * * * *", list(delay, step.into(), 60)),
            Times::Hours(step) => format!("{} {} * * *", delay % 60, list(delay / 60, step.into(), 24)),
            Times::Days(days, at) => {
                let at = at + delay;
                let (minute, hour) = (at % 60, at / 60);
                match days {
                    Days::All => format!("{minute} {hour} * * *"),
                    Days::Working => format!("{minute} {hour} * * 1-5"),
                    Days::Week(day) => format!("{minute} {hour} * * {day}"),
                    Days::Month(day) => format!("{minute} {hour} {day} * *"),
                }
            }
        }
    }

    /// The minutes that cron adds: always the same for a `seed`, others for others, below `jitter`.
    pub fn delay(&self, jitter: Duration, seed: &[u8]) -> u16 {
        let most = u64::from(self.room()).min(jitter.as_secs() / 60);
        let hash = blake3::hash(seed);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u16::try_from(u64::from_le_bytes(first).checked_rem(most).unwrap_or(0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(text: &str) -> When {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn plain_words_are_read_and_shown_and_said_to_both() {
        for (text, shown, calendar, cron) in [
            ("hourly", "hourly", "*-*-* *:00:00", "0 * * * *"),
            ("every 60m", "hourly", "*-*-* *:00:00", "0 * * * *"),
            ("every 1h", "hourly", "*-*-* *:00:00", "0 * * * *"),
            ("every 15m", "every 15m", "*-*-* *:00/15:00", "0,15,30,45 * * * *"),
            ("every 1m", "every 1m", "*-*-* *:*:00", "* * * * *"),
            ("every 8h", "every 8h", "*-*-* 00/8:00:00", "0 0,8,16 * * *"),
            ("daily", "daily 03:30", "*-*-* 03:30:00", "30 3 * * *"),
            ("Daily 2:05", "daily 02:05", "*-*-* 02:05:00", "5 2 * * *"),
            ("weekdays 12:00", "weekdays 12:00", "Mon..Fri *-*-* 12:00:00", "0 12 * * 1-5"),
            ("weekly", "weekly sun 03:30", "Sun *-*-* 03:30:00", "30 3 * * 0"),
            ("weekly 23:59", "weekly sun 23:59", "Sun *-*-* 23:59:00", "59 23 * * 0"),
            ("weekly  Saturday 03:00", "weekly sat 03:00", "Sat *-*-* 03:00:00", "0 3 * * 6"),
            ("monthly", "monthly 1 03:30", "*-*-01 03:30:00", "30 3 1 * *"),
            ("monthly 28 04:00", "monthly 28 04:00", "*-*-28 04:00:00", "0 4 28 * *"),
            ("monthly 04:00", "monthly 1 04:00", "*-*-01 04:00:00", "0 4 1 * *"),
        ] {
            let when = when(text);
            assert_eq!(when.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(when), "{text}");
            assert_eq!(when.on_calendar(), calendar, "{text}");
            assert_eq!(when.cron(0), cron, "{text}");
        }
        assert_eq!(When::default(), when("daily 03:30"));
    }

    #[test]
    fn what_says_no_times_is_an_error_that_says_what_to_write() {
        for (text, word) in [
            ("", "daily 03:30"),
            ("nightly", "daily 03:30"),
            ("daily 24:00", "daily 03:30"),
            ("daily 3", "daily 03:30"),
            ("daily 3:5", "daily 03:30"),
            ("daily 03:30 04:30", "daily 03:30"),
            ("daily +3:30", "daily 03:30"),
            ("hourly 5", "hourly"),
            ("weekly sunny 03:00", "weekly sun"),
            ("weekly 03:00 sun", "weekly sun"),
            ("monthly 29", "1 to 28"),
            ("monthly 0 04:00", "1 to 28"),
            ("monthly first", "monthly 1"),
            ("every 7m", "divides"),
            ("every 90m", "divides"),
            ("every 5h", "divides"),
            ("every 24h", "divides"),
            ("every 0m", "divides"),
            ("every é", "divides"),
            ("every", "every 4h"),
        ] {
            let error = text.parse::<When>().map(|when| panic!("{text}: {when}")).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn what_cron_adds_stays_in_the_hour_the_turn_and_the_day() {
        assert_eq!(when("every 15m").cron(4), "4,19,34,49 * * * *");
        assert_eq!(when("every 8h").cron(75), "15 1,9,17 * * *");
        assert_eq!(when("hourly").cron(59), "59 * * * *");
        assert_eq!(when("monthly 28 23:50").cron(9), "59 23 28 * *");
        for text in
            ["every 1m", "every 15m", "hourly", "every 6h", "daily 23:59", "daily 03:30", "monthly 28 23:50"]
        {
            let when = when(text);
            let mut met = std::collections::BTreeSet::new();
            for seed in 0..500u32 {
                let delay = when.delay(Duration::from_secs(20 * 60), &seed.to_le_bytes());
                assert!(delay < when.room() && delay < 20, "{text}: {delay}");
                assert_eq!(delay, when.delay(Duration::from_secs(20 * 60), &seed.to_le_bytes()));
                met.insert(delay);
            }
            assert_eq!(met.len(), usize::from(when.room().min(20)), "{text}: not all delays are met");
            assert_eq!(when.delay(Duration::ZERO, b"x"), 0);
        }
    }

    #[test]
    fn jitter_is_half_an_hour_or_a_third_of_the_interval() {
        for (text, seconds) in
            [("daily", 1800), ("hourly", 1200), ("every 15m", 300), ("every 1m", 20), ("every 2h", 1800)]
        {
            assert_eq!(when(text).jitter(), Duration::from_secs(seconds), "{text}");
        }
    }
}
