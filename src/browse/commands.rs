//! What each key does, screen by screen.

use super::folder::{Folder, Place};
use super::key::Key;
use super::list::Took;
use super::message::{Effect, Path, Row, Work, shown};
use super::over::{Over, Told, Versions, Wanted};
use super::state::{STOPPING, State, escape_line, is_back};
use crate::model::NodeType;
use crate::terminal::escape::escape;
use crate::terminal::size::show_count;
use crate::terminal::time;

/// Places that are remembered on the way.
const TRAIL_MOST: usize = 1000;
/// Entries that may be marked.
const MARKS_MOST: usize = 1000;

impl State {
    pub(super) fn key_of_snapshots(&mut self, key: Key) -> Effect {
        match self.list.key(key, self.body()) {
            Took::Filtered => self.arrange(),
            Took::Moved => {}
            Took::Nothing => match (key, self.list.chosen()) {
                (Key::Esc, _) if self.busy.is_some() => return self.stop(),
                (Key::Char('q') | Key::Esc, _) => return Effect::End { is_interrupted: false },
                (Key::Enter | Key::Right, Some(snapshot)) => {
                    self.trail.clear();
                    let path = self.snapshots[snapshot].begins_at();
                    return self.open(Place { snapshot, path, name: None });
                }
                (Key::Char('r'), Some(snapshot)) => self.ask(snapshot, vec![Vec::new()]),
                _ => {}
            },
        }
        Effect::None
    }

    pub(super) fn key_of_folder(&mut self, key: Key) -> Effect {
        let page = self.body();
        let Some(folder) = &mut self.folder else { return Effect::None };
        match folder.list.key(key, page) {
            Took::Filtered => folder.arrange(),
            Took::Moved => folder.moved(),
            Took::Nothing => return self.command(key),
        }
        Effect::None
    }

    /// What a key does with the folder, or with the entry that is chosen.
    fn command(&mut self, key: Key) -> Effect {
        let Some(folder) = &mut self.folder else { return Effect::None };
        let snapshot = folder.snapshot;
        match key {
            Key::Esc if self.busy.is_some() => return self.stop(),
            Key::Esc | Key::Char('q') => return self.back(),
            Key::Left | Key::Backspace => return self.up(),
            Key::Char('s') => {
                self.by_name = !self.by_name;
                folder.by_name = self.by_name;
                folder.arrange();
                self.notice = if self.by_name { "in order of names" } else { "folders first" }.to_owned();
                return Effect::None;
            }
            Key::Char('n') if folder.after > 0 => {
                let next = folder.part + 1;
                return self.turn(next);
            }
            Key::Char('p') if folder.part > 0 => {
                let before = folder.part - 1;
                return self.turn(before);
            }
            Key::Char('r') if !self.marks.is_empty() && self.marked_in == snapshot => {
                let paths = self.marks.iter().cloned().collect();
                self.ask(snapshot, paths);
                return Effect::None;
            }
            _ => {}
        }
        let (row, path) = match (folder.chosen().cloned(), folder.chosen_path()) {
            (Some(Row::Entry(entry)), Some(path)) => (entry, path),
            (Some(Row::Broken(what)), _) => {
                if key == Key::Enter {
                    let lines = [
                        escape_line(&what),
                        String::new(),
                        "Everything else of this folder is shown. See what is hit: copal check".to_owned(),
                    ];
                    self.over = Over::Told(Told::new("damaged", &lines));
                }
                return Effect::None;
            }
            _ => return Effect::None,
        };
        match (key, row.kind) {
            (Key::Enter | Key::Right, NodeType::Directory) => {
                let place = folder.place();
                self.remember(place);
                return self.open(Place { snapshot, path, name: None });
            }
            (Key::Enter | Key::Char('t'), NodeType::File) => {
                return self.work("reading the file", Work::Read { snapshot, path });
            }
            (Key::Enter | Key::Char('t'), kind) => {
                self.notice = match kind {
                    NodeType::Symlink => format!("a symlink to {}", escape(&row.target)),
                    NodeType::Unreadable => row.remark.unwrap_or_else(|| "could not be read".to_owned()),
                    kind => format!("no file: {}", kind.name()),
                };
            }
            (Key::Char('v'), _) => {
                return self.work("looking for versions", Work::Versions { snapshot, path });
            }
            (Key::Char(' '), _) => {
                self.mark(snapshot, path);
                if let Some(folder) = &mut self.folder {
                    folder.moved();
                    folder.list.key(Key::Down, 1);
                }
            }
            (Key::Char('r'), _) => self.ask(snapshot, vec![path]),
            _ => {}
        }
        Effect::None
    }

    fn mark(&mut self, snapshot: usize, path: Path) {
        if self.marked_in != snapshot && !self.marks.is_empty() {
            self.marks.clear();
            self.notice = "the marks in the other snapshot are gone".to_owned();
        }
        self.marked_in = snapshot;
        if !self.marks.remove(&path) {
            if self.marks.len() >= MARKS_MOST {
                self.notice = format!("no more than {MARKS_MOST} can be marked: mark the folder");
            } else {
                self.marks.insert(path);
            }
        }
    }

    pub(super) fn key_of_versions(&mut self, key: Key, mut versions: Versions) -> Effect {
        let took = versions.list.key(key, self.body());
        if took == Took::Filtered {
            versions.arrange();
        }
        let chosen = versions.list.chosen().and_then(|row| versions.rows.get(row).cloned());
        match (took, key, chosen) {
            (Took::Nothing, Key::Enter | Key::Right, Some(version)) => {
                let mut path = versions.path;
                let name = path.pop();
                if let Some(place) = self.folder.as_ref().map(Folder::place) {
                    self.remember(place);
                }
                self.open(Place { snapshot: version.snapshot, path, name })
            }
            (Took::Nothing, key, _) if is_back(key) => Effect::None,
            _ => {
                self.over = Over::Versions(versions);
                Effect::None
            }
        }
    }

    pub(super) fn key_of_target(&mut self, key: Key, mut wanted: Wanted) -> Effect {
        match key {
            Key::Esc => self.notice = "nothing was restored".to_owned(),
            Key::Enter if wanted.target.trim().is_empty() => {
                self.over = Over::Ask(wanted);
                self.notice = "name a folder".to_owned();
            }
            Key::Enter => self.over = Over::Confirm(wanted),
            key => {
                wanted.key(key);
                self.over = Over::Ask(wanted);
            }
        }
        Effect::None
    }

    pub(super) fn key_of_question(&mut self, key: Key, wanted: Wanted) -> Effect {
        match key {
            Key::Char('y' | 'Y') => {
                let Wanted { snapshot, paths, target, .. } = wanted.clone();
                self.over = Over::Restoring(wanted, Default::default());
                self.work("restoring", Work::Restore { snapshot, paths, target })
            }
            Key::Char('n' | 'N' | 'q') | Key::Esc => {
                self.notice = "nothing was restored".to_owned();
                Effect::None
            }
            _ => {
                self.over = Over::Confirm(wanted);
                Effect::None
            }
        }
    }

    /// Asks where to.
    fn ask(&mut self, snapshot: usize, paths: Vec<Path>) {
        let what = match &paths[..] {
            [one] if one.is_empty() => "all of it".to_owned(),
            [one] => escape(&shown(one)).into_owned(),
            several => show_count(several.len() as u64, "marked entry"),
        };
        let mark = time::show(self.now).replace(' ', "T").replace(':', "");
        let target = format!("./restored-{mark}");
        self.over = Over::Ask(Wanted { snapshot, paths, what, target });
    }

    fn work(&mut self, what: &str, work: Work) -> Effect {
        self.busy = Some(what.to_owned());
        Effect::Work(work)
    }

    fn stop(&mut self) -> Effect {
        self.busy = Some(STOPPING.to_owned());
        Effect::Stop
    }

    fn remember(&mut self, place: Place) {
        if self.trail.len() >= TRAIL_MOST {
            self.trail.remove(0);
        }
        self.trail.push(place);
    }

    fn open(&mut self, place: Place) -> Effect {
        let Place { snapshot, path, name } = place.clone();
        self.folder = Some(Folder::new(place, self.by_name));
        self.work("reading the folder", Work::List { snapshot, path, part: 0, name })
    }

    /// Another part of the folder.
    fn turn(&mut self, part: usize) -> Effect {
        let Some(folder) = &self.folder else { return Effect::None };
        let (snapshot, path) = (folder.snapshot, folder.path.clone());
        let place = Place { snapshot, path: path.clone(), name: None };
        self.folder = Some(Folder::new(place, self.by_name));
        self.work("reading the folder", Work::List { snapshot, path, part, name: None })
    }

    /// Where the person was before.
    fn back(&mut self) -> Effect {
        match self.trail.pop() {
            Some(place) => self.open(place),
            None => self.leave(),
        }
    }

    /// The folder above.
    fn up(&mut self) -> Effect {
        let Some(folder) = &self.folder else { return Effect::None };
        let (snapshot, mut path) = (folder.snapshot, folder.path.clone());
        let Some(name) = path.pop() else { return self.leave() };
        if self.trail.last().is_some_and(|place| place.snapshot == snapshot && place.path == path) {
            self.trail.pop();
        }
        self.open(Place { snapshot, path, name: Some(name) })
    }

    /// Back to the snapshots.
    fn leave(&mut self) -> Effect {
        if let Some(folder) = self.folder.take() {
            self.list.choose(folder.snapshot);
        }
        self.trail.clear();
        // What was still to come of the folder is for nobody.
        let is_busy = self.busy.take().is_some();
        if is_busy { Effect::Stop } else { Effect::None }
    }
}
