//! What happened, step by step, in terms that are the same in every run of a seed: kinds and ordinal numbers, never names.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use copal::backend::Kind;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Put,
    Replace,
    Get,
    GetRange,
    List,
    Stat,
    Remove,
    Time,
    /// No operation of the storage: an actor lets the others go on.
    Pause,
    /// Something worth knowing; no step.
    Note(&'static str),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    Good,
    NotFound,
    Other,
    /// Failed on purpose, before or after it was done.
    FailedBefore,
    FailedAfter,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    pub actor: usize,
    /// By the thread that keeps the session alive.
    pub keeper: bool,
    pub operation: Operation,
    pub kind: Option<Kind>,
    /// Which object of its kind, or how many were listed.
    pub number: u64,
    pub ending: Ending,
    /// Nanoseconds since the beginning.
    pub now: i64,
}

#[derive(Default)]
pub struct Trace(Vec<Event>);

impl Trace {
    pub fn push(&mut self, event: Event) {
        self.0.push(event);
    }

    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// The last events as text.
    pub fn tail(&self, count: usize, names: &[&'static str]) -> String {
        let mut text = String::new();
        let start = self.0.len().saturating_sub(count);
        for (number, event) in self.0.iter().enumerate().skip(start) {
            let Event { actor, keeper, operation, kind, number: object, ending, now } = event;
            let (name, keeper) = (names.get(*actor).copied().unwrap_or("?"), if *keeper { "'" } else { "" });
            let seconds = *now as f64 / 1e9;
            let _ = write!(text, "{number:>6} {seconds:>14.3} {actor} {name}{keeper}: ");
            let _ = match (operation, kind) {
                (Operation::Note(words), _) => write!(text, "{words} {object}"),
                (operation, Some(kind)) => write!(text, "{operation:?} {} {object}", kind.folder()),
                (operation, None) => write!(text, "{operation:?}"),
            };
            let _ = if *ending == Ending::Good { writeln!(text) } else { writeln!(text, " -> {ending:?}") };
        }
        text
    }
}
