//! What lies over the lists: versions, a text, the questions before a restore, its progress, and messages of several lines.

use super::key::Key;
use super::list::List;
use super::message::{Path, Progress, Version};
use super::text::Text;
use crate::terminal::size::show_size;
use crate::terminal::time;

/// The versions of a path.
#[derive(Debug)]
pub struct Versions {
    pub path: Path,
    pub rows: Vec<Version>,
    pub list: List,
    /// What may be missing, in words.
    pub doubts: Vec<String>,
}

/// What is to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub snapshot: usize,
    pub paths: Vec<Path>,
    /// In words.
    pub what: String,
    /// The folder that is typed.
    pub target: String,
}

/// A message of several lines.
#[derive(Debug)]
pub struct Told {
    pub title: String,
    pub text: Text,
}

/// What is over the lists.
#[derive(Debug, Default)]
pub enum Over {
    #[default]
    None,
    Versions(Versions),
    Text(Text),
    /// Where to is asked.
    Ask(Wanted),
    /// Whether really is asked.
    Confirm(Wanted),
    Restoring(Wanted, Progress),
    Told(Told),
}

impl Told {
    pub fn new(title: impl Into<String>, lines: &[String]) -> Told {
        let title = title.into();
        let text = Text::of_lines(title.clone(), lines);
        Told { title, text }
    }
}

impl Wanted {
    /// Takes a key of the folder's name; whether it was one.
    pub fn key(&mut self, key: Key) -> bool {
        match key {
            Key::Char(character) => self.target.push(character),
            Key::Backspace => {
                self.target.pop();
            }
            Key::Clear => self.target.clear(),
            _ => return false,
        }
        true
    }
}

impl Versions {
    pub fn new(path: Path, rows: Vec<Version>, doubts: Vec<String>) -> Versions {
        let mut versions = Versions { path, rows, list: List::default(), doubts };
        versions.arrange();
        versions
    }

    /// Shows what the filter lets through.
    pub fn arrange(&mut self) {
        let lets = |row: &usize| {
            let version = &self.rows[*row];
            let line = [version.mtime, version.first, version.last].map(time::show).join(" ");
            self.list.lets(&format!("{line} {} {}", show_size(version.size), version.note))
        };
        let shown = (0..self.rows.len()).filter(lets).collect();
        self.list.show(shown);
    }
}
