//! A folder on the screen: its entries as they come, their order, and the way back.

use super::list::List;
use super::message::{Path, Row, shown};
use crate::model::NodeType;
use crate::terminal::escape::escape;

/// A folder of a snapshot, and the entry in it that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub snapshot: usize,
    pub path: Path,
    pub name: Option<Vec<u8>>,
}

/// How far a folder is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Reading,
    Whole,
    /// Reading ended early.
    Stopped,
}

/// The folder that is looked at.
#[derive(Debug)]
pub struct Folder {
    pub snapshot: usize,
    pub path: Path,
    pub rows: Vec<Row>,
    pub list: List,
    pub read: Read,
    /// Which part of it is shown, of one with very many entries, and how many come after that.
    pub part: usize,
    pub after: u64,
    /// In order of their names, folders not first.
    pub by_name: bool,
    /// The entry to be chosen when it comes.
    seek: Option<Vec<u8>>,
}

impl Folder {
    /// Nothing of it is read yet.
    pub fn new(place: Place, by_name: bool) -> Folder {
        let Place { snapshot, path, name } = place;
        Folder {
            snapshot,
            path,
            rows: Vec::new(),
            list: List::default(),
            read: Read::Reading,
            part: 0,
            after: 0,
            by_name,
            seek: name,
        }
    }

    /// It is that one, with that entry to be chosen.
    pub fn at(&mut self, path: Path, seek: Option<Vec<u8>>, part: usize) {
        self.path = path;
        self.part = part;
        self.seek = seek.or(self.seek.take());
    }

    /// It is another part of it.
    pub fn turn_to(&mut self, part: usize) {
        self.part = part;
        self.rows.retain(|row| matches!(row, Row::Broken(_)));
        self.arrange();
    }

    /// More of it was read.
    pub fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
        self.arrange();
        if let Some(seek) = &self.seek {
            let is_it = |row: &Row| matches!(row, Row::Entry(entry) if entry.name == *seek);
            if let Some(row) = self.rows.iter().position(is_it) {
                self.list.choose(row);
                self.seek = None;
            }
        }
    }

    /// The person moved: nothing else is chosen for them.
    pub fn moved(&mut self) {
        self.seek = None;
    }

    /// Shows what the filter lets through: damage first, then folders, then the rest, each by name.
    pub fn arrange(&mut self) {
        let rank = |row: &Row| match row {
            Row::Broken(_) => 0,
            Row::Entry(entry) if entry.kind == NodeType::Directory && !self.by_name => 1,
            Row::Entry(_) => 2,
        };
        let lets = |row: &Row| match row {
            Row::Broken(_) => true,
            Row::Entry(entry) => self.list.lets(&escape(&entry.name)),
        };
        let mut shown: Vec<usize> = (0..self.rows.len()).filter(|row| lets(&self.rows[*row])).collect();
        shown.sort_by_key(|row| rank(&self.rows[*row]));
        // Nobody chose the first row by coming here: what comes before it then is as good.
        let is_fresh = self.list.place() == 0 && self.read == Read::Reading;
        self.list.show(shown);
        if is_fresh {
            self.list.key(super::key::Key::Home, 1);
        }
    }

    pub fn chosen(&self) -> Option<&Row> {
        self.list.chosen().and_then(|row| self.rows.get(row))
    }

    /// The path of the entry that is chosen.
    pub fn chosen_path(&self) -> Option<Path> {
        match self.chosen() {
            Some(Row::Entry(entry)) => Some(self.below(&entry.name)),
            _ => None,
        }
    }

    pub fn below(&self, name: &[u8]) -> Path {
        let mut path = self.path.clone();
        path.push(name.to_vec());
        path
    }

    /// Where the person is, to come back to.
    pub fn place(&self) -> Place {
        let name = self.chosen_path().and_then(|mut path| path.pop());
        Place { snapshot: self.snapshot, path: self.path.clone(), name }
    }

    /// Its path as it is shown.
    pub fn shown(&self) -> String {
        escape(&shown(&self.path)).into_owned()
    }
}
