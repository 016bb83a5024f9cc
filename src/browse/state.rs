//! What is on the screen, and what each key makes of it. Nothing here reads, writes or draws.

use std::collections::BTreeSet;

use super::folder::{Folder, Place, Read};
use super::key::Key;
use super::list::List;
use super::message::{Effect, Path, Reply, Row, shown};
use super::over::{Over, Told, Versions};
use super::snapshot::SnapshotRow;
use super::text::Text;
use crate::model::Time;
use crate::terminal::escape::escape;

/// What it is busy with when it was told to stop.
pub const STOPPING: &str = "stopping";

/// Everything that the screen shows.
#[derive(Debug)]
pub struct State {
    /// Columns and rows of the screen.
    pub size: (u16, u16),
    /// The present time, for the name of a new folder.
    pub now: Time,
    /// In the order of the list of all, oldest first.
    pub snapshots: Vec<SnapshotRow>,
    pub list: List,
    pub folder: Option<Folder>,
    /// Where the person was before, for the way back.
    pub(super) trail: Vec<Place>,
    pub marks: BTreeSet<Path>,
    /// The snapshot in which they are.
    pub marked_in: usize,
    pub(super) by_name: bool,
    pub over: Over,
    pub has_help: bool,
    /// What is being read, in words.
    pub busy: Option<String>,
    /// One line for the person, until the next key.
    pub notice: String,
    /// What was damaged, as it was met.
    pub damaged: BTreeSet<String>,
    /// Restores that met damage, entries that could not be given back, and restores that ended early.
    pub lost: u64,
    pub problems: u64,
}

impl State {
    /// Shows the snapshots, newest first.
    pub fn new(snapshots: Vec<SnapshotRow>, notice: String) -> State {
        let mut state = State {
            size: (80, 24),
            now: Time::default(),
            snapshots,
            list: List::default(),
            folder: None,
            trail: Vec::new(),
            marks: BTreeSet::new(),
            marked_in: 0,
            by_name: false,
            over: Over::None,
            has_help: false,
            busy: None,
            notice,
            damaged: BTreeSet::new(),
            lost: 0,
            problems: 0,
        };
        state.arrange();
        state
    }

    /// Rows of the screen between the head and the two lines at the bottom.
    pub fn body(&self) -> usize {
        usize::from(self.size.1).saturating_sub(4).max(1)
    }

    pub(super) fn arrange(&mut self) {
        let lets = |row: &usize| self.list.lets(&self.snapshots[*row].line());
        let shown = (0..self.snapshots.len()).rev().filter(lets).collect();
        self.list.show(shown);
    }

    /// Keeps what is chosen in sight, whatever happened.
    pub fn settle(&mut self) {
        let (width, height) = (usize::from(self.size.0), self.body());
        self.list.settle(height);
        if let Some(folder) = &mut self.folder {
            folder.list.settle(height);
        }
        match &mut self.over {
            Over::Versions(versions) => versions.list.settle(height),
            Over::Text(text) => text.settle(width, height),
            Over::Told(told) => told.text.settle(width, height),
            _ => {}
        }
    }

    /// Whether letters are typed and mean themselves.
    fn is_typing(&self) -> bool {
        match (&self.over, &self.folder) {
            (Over::None, Some(folder)) => folder.list.is_typing,
            (Over::None, None) => self.list.is_typing,
            (Over::Versions(versions), _) => versions.list.is_typing,
            (over, _) => matches!(over, Over::Ask(_)),
        }
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key) -> Effect {
        let effect = self.answer(key);
        self.settle();
        effect
    }

    /// Takes what was pasted: letters where some are typed, and no keys anywhere.
    pub fn paste(&mut self, text: &str) {
        for character in text.chars().filter(|character| !character.is_control()) {
            if self.is_typing() {
                self.answer(Key::Char(character));
            }
        }
        self.settle();
    }

    fn answer(&mut self, key: Key) -> Effect {
        match key {
            Key::Interrupt => return Effect::End { is_interrupted: true },
            Key::Redraw => return Effect::Redraw,
            _ => self.notice.clear(),
        }
        if self.has_help {
            self.has_help = false;
            return Effect::None;
        }
        if key == Key::Char('?') && !self.is_typing() {
            self.has_help = true;
            return Effect::None;
        }
        match (std::mem::take(&mut self.over), self.folder.is_some()) {
            (Over::None, false) => self.key_of_snapshots(key),
            (Over::None, true) => self.key_of_folder(key),
            (Over::Versions(versions), _) => self.key_of_versions(key, versions),
            (Over::Text(mut text), _) => {
                if text.key(key, self.body()) || !is_back(key) {
                    self.over = Over::Text(text);
                }
                Effect::None
            }
            (Over::Told(mut told), _) => {
                let stays =
                    !is_back(key) && (key != Key::Enter || told.text.top + self.body() < told.text.len());
                if stays {
                    told.text.key(key, self.body());
                    self.over = Over::Told(told);
                }
                Effect::None
            }
            (Over::Ask(wanted), _) => self.key_of_target(key, wanted),
            (Over::Confirm(wanted), _) => self.key_of_question(key, wanted),
            (Over::Restoring(wanted, progress), _) => {
                self.over = Over::Restoring(wanted, progress);
                if key != Key::Esc {
                    return Effect::None;
                }
                self.busy = Some(STOPPING.to_owned());
                Effect::Stop
            }
        }
    }

    /// Takes what comes back.
    pub fn take(&mut self, reply: Reply) {
        self.receive(reply);
        self.settle();
    }

    fn receive(&mut self, reply: Reply) {
        match reply {
            Reply::At { path, seek, part } => {
                if let Some(folder) = &mut self.folder {
                    folder.at(path, seek, part);
                }
                return;
            }
            Reply::Part(part) => {
                if let Some(folder) = &mut self.folder {
                    folder.turn_to(part);
                }
                return;
            }
            Reply::Rows(rows) => {
                let Some(folder) = &mut self.folder else { return };
                for row in &rows {
                    if let Row::Broken(what) = row {
                        self.damaged.insert(format!("{}: {what}", folder.shown()));
                    }
                }
                folder.add(rows);
                return;
            }
            Reply::Doing(what) => {
                self.busy = Some(what);
                return;
            }
            Reply::Progress(progress) => {
                if let Over::Restoring(_, shown) = &mut self.over {
                    *shown = progress;
                }
                return;
            }
            Reply::Listed { after } => {
                if let Some(folder) = &mut self.folder {
                    folder.after = after;
                }
                self.read(Read::Whole);
            }
            Reply::Text { path, bytes, size, broken } => {
                let name = escape(&shown(&path)).into_owned();
                if let Some(broken) = &broken {
                    self.damaged.insert(format!("{name}: {broken}"));
                }
                self.over = Over::Text(Text::new(name, &bytes, size, broken.as_deref()));
            }
            Reply::Versions { path, versions, doubts } => {
                self.over = Over::Versions(Versions::new(path, versions, doubts));
            }
            Reply::Restored(outcome) => {
                self.lost += outcome.damaged;
                self.problems += outcome.problems;
                if outcome.is_whole {
                    self.marks.clear();
                }
                self.over = Over::Told(Told::new("restore", &outcome.lines));
            }
            Reply::Stopped => {
                // Who went away from it need not hear that.
                if self.busy.is_some() {
                    self.notice = "stopped".to_owned();
                }
                self.read(Read::Stopped);
            }
            Reply::Failed(what) => {
                self.read(Read::Stopped);
                let lines = [escape_line(&what)];
                self.over = Over::Told(Told::new("that failed", &lines));
            }
        }
        self.busy = None;
    }

    fn read(&mut self, read: Read) {
        if let Some(folder) = self.folder.as_mut().filter(|folder| folder.read == Read::Reading) {
            folder.read = read;
        }
    }
}

/// A message may hold a name as it is.
pub(super) fn escape_line(text: &str) -> String {
    match text.chars().any(char::is_control) {
        true => escape(text.as_bytes()).into_owned(),
        false => text.to_owned(),
    }
}

pub(super) fn is_back(key: Key) -> bool {
    matches!(key, Key::Esc | Key::Char('q') | Key::Left | Key::Backspace)
}
