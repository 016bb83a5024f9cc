//! Which snapshots a policy keeps, and why: pure, as restic counts. The newest of each stretch of the calendar stays; while a count is
//! not used up, the oldest snapshot fills it.

use std::collections::BTreeMap;
use std::fmt;

use super::calendar::{Period, Span};
use crate::model::Time;

/// How many stretches keep a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Most(u64),
    All,
}

impl Count {
    /// Reads a number, or `unlimited` (or -1) for all.
    pub fn parse(text: &str) -> Result<Count, &'static str> {
        match text.trim() {
            "unlimited" | "-1" => Ok(Count::All),
            number => number.parse().map(Count::Most).map_err(|_| "write a number, or unlimited"),
        }
    }

    fn is_left(self) -> bool {
        self != Count::Most(0)
    }

    fn less(self) -> Count {
        match self {
            Count::Most(number) => Count::Most(number.saturating_sub(1)),
            Count::All => Count::All,
        }
    }
}

/// Tags that a snapshot must have all of; an empty one stands for having none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags(pub Vec<String>);

impl Tags {
    /// Reads `tag,tag,...`.
    pub fn parse(text: &str) -> Tags {
        Tags(text.split(',').map(|tag| tag.trim().to_owned()).collect())
    }

    pub fn are_in(&self, tags: &[String]) -> bool {
        self.0.iter().all(|tag| if tag.is_empty() { tags.is_empty() } else { tags.contains(tag) })
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.join(", "))
    }
}

/// What is to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest of each of so many stretches.
    pub counts: BTreeMap<Period, Count>,
    /// The newest of each stretch, as far back from the newest snapshot.
    pub within: BTreeMap<Period, Span>,
    /// All that have one of these.
    pub tags: Vec<Tags>,
}

/// Why a snapshot is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Tags(Tags),
    /// The newest of its stretch, or the oldest of all.
    Count(Period, Place),
    Within(Period, Place, Span),
    Protected,
    /// It may go, and need not: what stays fits.
    Fits,
    /// It says that it was made later than it can have been; nobody knows where it belongs.
    Ahead,
}

/// What a snapshot is among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Newest,
    Oldest,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oldest = |place: &Place| if *place == Place::Oldest { "oldest " } else { "" };
        match self {
            Reason::Tags(tags) => write!(f, "has tags {tags}"),
            Reason::Count(period, place) => write!(f, "{}{} snapshot", oldest(place), period.adjective()),
            Reason::Within(Period::Each, _, span) => write!(f, "within {span}"),
            Reason::Within(period, place, span) => {
                write!(f, "{}{} within {span}", oldest(place), period.adjective())
            }
            Reason::Protected => f.write_str("protected"),
            Reason::Fits => f.write_str("fits"),
            Reason::Ahead => f.write_str("time lies ahead"),
        }
    }
}

impl Reason {
    /// Whether it is the policy that says so.
    pub fn is_rule(&self) -> bool {
        !matches!(self, Reason::Protected | Reason::Ahead)
    }
}

/// A snapshot as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    pub time: Time,
    /// What the clock on the wall showed.
    pub local: i64,
    pub tags: &'a [String],
}

impl Policy {
    /// Whether no rule keeps anything.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
            && !self.counts.values().any(|count| count.is_left())
            && self.within.values().all(Span::is_zero)
    }

    /// Every rule that keeps each of these snapshots, newest first; none = it goes. `since` gives the time that lies so far before the
    /// newest.
    pub fn reasons(&self, items: &[Item<'_>], since: impl Fn(Span) -> Time) -> Vec<Vec<Reason>> {
        let mut counts: Vec<(Period, Count, Option<i64>)> =
            self.counts.iter().map(|(period, count)| (*period, *count, None)).collect();
        let mut within: Vec<(Period, Span, Time, Option<i64>)> = (self.within.iter())
            .filter(|(_, span)| !span.is_zero())
            .map(|(period, span)| (*period, *span, since(*span), None))
            .collect();
        let mut all = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            let is_oldest = number + 1 == items.len();
            // Whether a stretch has its snapshot in this one.
            let place = |period: Period, last: &mut Option<i64>| {
                let here = period.of(item.local, number);
                match last.replace(here) == Some(here) {
                    false => Some(Place::Newest),
                    true => is_oldest.then_some(Place::Oldest),
                }
            };
            let mut reasons: Vec<Reason> =
                self.tags.iter().filter(|tags| tags.are_in(item.tags)).cloned().map(Reason::Tags).collect();
            for (period, count, last) in counts.iter_mut().filter(|(_, count, _)| count.is_left()) {
                if let Some(place) = place(*period, last) {
                    *count = count.less();
                    reasons.push(Reason::Count(*period, place));
                }
            }
            for (period, span, since, last) in &mut within {
                if item.time > *since
                    && let Some(place) = place(*period, last)
                {
                    reasons.push(Reason::Within(*period, place, *span));
                }
            }
            all.push(reasons);
        }
        all
    }
}
