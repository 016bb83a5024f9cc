//! When to say how far filling is: not of what is done at once, and not all the time.

use std::time::{Duration, Instant};

use super::Filling;
use crate::terminal::size::show_count;

/// What takes no longer is not worth a word.
const QUIETLY: Duration = Duration::from_secs(1);
/// How often it is said how far it is.
const EACH: Duration = Duration::from_secs(5);

/// What was said of one filling.
pub struct Telling {
    begun: Instant,
    told: Option<Instant>,
}

impl Telling {
    pub fn new(now: Instant) -> Telling {
        Telling { begun: now, told: None }
    }

    /// A line to be said when it is that far, if it is time.
    pub fn step(&mut self, filling: &Filling, now: Instant) -> Option<String> {
        match self.told {
            None if now.duration_since(self.begun) < QUIETLY => None,
            None => {
                self.told = Some(now);
                let count = show_count(filling.all as u64, "snapshot");
                Some(format!("taking {count} into the catalogue of paths; the next time this is done"))
            }
            Some(told) if now.duration_since(told) < EACH => None,
            Some(_) => {
                self.told = Some(now);
                Some(filling.words())
            }
        }
    }

    /// The last line, when there was one before.
    pub fn end(&self) -> Option<String> {
        self.told.map(|_| "the catalogue of paths is filled".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_told_now_and_then() {
        let begun = Instant::now();
        let after = |milliseconds| begun + Duration::from_millis(milliseconds);
        let filling = |done| Filling { done, all: 1200, folders: 5 };
        let mut telling = Telling::new(begun);
        assert_eq!(telling.step(&filling(0), begun), None);
        assert_eq!(telling.step(&filling(1), after(999)), None);
        assert_eq!(telling.end(), None);
        let line = telling.step(&filling(2), after(1000)).unwrap();
        assert_eq!(line, "taking 1200 snapshots into the catalogue of paths; the next time this is done");
        assert_eq!(telling.step(&filling(3), after(5999)), None);
        let line = telling.step(&filling(700), after(6000)).unwrap();
        assert_eq!(line, "700 of 1200 snapshots taken into the catalogue of paths, 5 folders read");
        assert_eq!(telling.step(&filling(800), after(10_999)), None);
        assert!(telling.step(&filling(900), after(11_000)).is_some() && telling.end().is_some());
    }
}
