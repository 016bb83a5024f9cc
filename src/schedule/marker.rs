//! The line that copal puts before what it writes: whose schedule it is, and a check by which changes by hand are seen.

use std::time::Duration;

use super::when::When;
use crate::terminal::size::{parse_duration, show_duration};

/// How the line begins.
const START: &str = "# copal schedule install (check ";
/// Digits of the check: enough against chance; it guards nobody against himself.
const DIGITS: usize = 16;

/// What the line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub profile: String,
    pub when: When,
    pub jitter: Duration,
    /// The minutes that cron adds each time.
    pub delay: Option<u16>,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Missing,
    /// As copal wrote it.
    Ours(Marker),
    /// Copal wrote it, and it was changed since.
    Edited(Marker),
    /// Something else.
    Foreign,
}

/// Letters and digits of that check.
fn check(text: &[u8]) -> String {
    blake3::hash(text).to_hex()[..DIGITS].to_owned()
}

impl Marker {
    /// What it says, without the check.
    fn words(&self) -> String {
        let mut words = format!("{}, {}, jitter {}", self.profile, self.when, show_duration(self.jitter));
        if let Some(delay) = self.delay {
            words += &format!(", delay {delay}m");
        }
        words
    }

    /// The line, and behind it what it guards.
    pub fn seal(&self, rest: &str) -> String {
        let guarded = format!("{}\n{rest}", self.words());
        format!("{START}{}): {guarded}", check(guarded.as_bytes()))
    }

    fn parse(words: &str) -> Option<Marker> {
        let mut parts = words.split(", ");
        let (profile, when) = (parts.next()?, parts.next()?.parse().ok()?);
        let jitter = parse_duration(parts.next()?.strip_prefix("jitter ")?).ok()?;
        let delay = match parts.next() {
            Some(delay) => Some(delay.strip_prefix("delay ")?.strip_suffix('m')?.parse().ok()?),
            None => None,
        };
        crate::profile::is_name(profile).then(|| Marker { profile: profile.to_owned(), when, jitter, delay })
    }

    /// Whether a line is one of copal's, and of which profile; nothing is said about what it guards.
    pub fn of_line(line: &[u8]) -> Option<Marker> {
        let line = std::str::from_utf8(line).ok()?.trim_end_matches('\n');
        let (_, words) = line.strip_prefix(START)?.split_once("): ")?;
        Marker::parse(words)
    }
}

/// What that content is: a line of copal's, and what it guards.
pub fn state(content: &[u8]) -> State {
    let end = content.iter().position(|byte| *byte == b'\n').unwrap_or(content.len());
    let Some(marker) = Marker::of_line(&content[..end]) else { return State::Foreign };
    let start = START.len() + DIGITS + "): ".len();
    let fits = content
        .get(start..)
        .is_some_and(|guarded| content[START.len()..].starts_with(check(guarded).as_bytes()));
    if fits { State::Ours(marker) } else { State::Edited(marker) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        let when = "weekly sun 03:00".parse().unwrap();
        Marker { profile: "web-1.home".into(), when, jitter: Duration::from_secs(90 * 60), delay: Some(17) }
    }

    #[test]
    fn what_was_sealed_is_known_again_and_each_change_is_seen() {
        for marker in [marker(), Marker { delay: None, jitter: Duration::ZERO, ..marker() }] {
            let sealed = marker.seal("[Unit]\nDescription=x\n");
            assert_eq!(state(sealed.as_bytes()), State::Ours(marker.clone()), "{sealed}");
            assert_eq!(
                sealed.lines().next().and_then(|line| Marker::of_line(line.as_bytes())),
                Some(marker.clone())
            );
            for place in 0..sealed.len() {
                let mut changed = sealed.clone().into_bytes();
                changed[place] ^= 1;
                assert!(!matches!(state(&changed), State::Ours(_)), "byte {place} of {sealed}");
            }
            assert_eq!(state((sealed.clone() + "x").as_bytes()), State::Edited(marker.clone()));
            assert_eq!(state(sealed.trim_end().as_bytes()), State::Edited(marker));
        }
    }

    #[test]
    fn anything_else_is_foreign() {
        for text in [
            "",
            "\n",
            "[Unit]\n",
            "# copal schedule install (check ",
            "# copal schedule install (check x): a, nightly, jitter 0s\n",
        ] {
            assert_eq!(state(text.as_bytes()), State::Foreign, "{text}");
        }
        assert_eq!(state(b"\xff\xfe"), State::Foreign);
        // A check that is too short or no check at all.
        let text = "# copal schedule install (check é): default, daily 03:30, jitter 0s\n";
        assert!(matches!(state(text.as_bytes()), State::Edited(_)));
    }
}
