//! What the system tells of a folder, and what follows from it. Each event is only a hint that something happened there; what is there is looked
//! up, so that the order of events matters little.

use rustix::fs::inotify::{self, ReadFlags};

use super::folders::Number;
use super::watcher::State;
use crate::backup::exclude::GIT_IGNORE_NAME;

/// What happened, as told.
#[derive(Clone, Debug)]
pub struct Told {
    pub watch: i32,
    pub what: ReadFlags,
    pub name: Option<Vec<u8>>,
}

impl Told {
    pub fn of(event: &inotify::Event<'_>) -> Told {
        let name = event.file_name().map(|name| name.to_bytes().to_vec()).filter(|name| !name.is_empty());
        Told { watch: event.wd(), what: event.events(), name }
    }
}

/// An entry came or went.
fn is_structural(what: ReadFlags) -> bool {
    what.intersects(ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO)
}

impl State {
    /// Takes one event.
    pub(super) fn take_event(&mut self, told: &Told) {
        if told.what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.lost("the system could not keep up telling what changed");
        }
        if told.what.contains(ReadFlags::UNMOUNT) {
            return self.lost("something was unmounted");
        }
        let folders = self.folders.of_watch(told.watch);
        if told.what.contains(ReadFlags::IGNORED) {
            for number in &folders {
                self.touch_whole(*number, None);
            }
            return self.folders.ended(told.watch);
        }
        for number in folders {
            self.happened(number, told);
        }
    }

    fn happened(&mut self, number: Number, told: &Told) {
        let Some(folder) = self.folders.get(number) else { return };
        let Some(name) = &told.name else { return self.happened_to_itself(number, told) };
        let structural = is_structural(told.what);
        let has_child = folder.below.contains_key(name);
        if let Some(ways) = &folder.way {
            if !ways.contains_key(name) {
                return;
            }
            match structural {
                true => self.placed_again(number, name),
                false => self.touch(number, true),
            }
            return;
        }
        let is_directory = told.what.contains(ReadFlags::ISDIR);
        let marked = folder.marked;
        let mut path = self.folders.path(number);
        path.push(b'/');
        path.extend_from_slice(name);
        if self.rules(name) {
            self.touch_whole(number, None);
            return self.place_below_again(number);
        }
        if self.is_own_path(&path) || self.options.excludes.excluded_entry(&path, is_directory) || marked {
            // It is not saved, but the time at which its folder changed is.
            if structural {
                self.touch(number, false);
            }
            if has_child {
                self.placed_again(number, name);
            }
            return;
        }
        self.touch(number, !self.options.written.contains(&path));
        let may_open_now = is_directory && !has_child && told.what.contains(ReadFlags::ATTRIB);
        if structural && (is_directory || has_child) || may_open_now && self.unwatched.contains_key(&path) {
            self.placed_again(number, name);
        }
    }

    /// Of a folder itself, as its own watch tells it.
    fn happened_to_itself(&mut self, number: Number, told: &Told) {
        let is_way = self.folders.get(number).is_some_and(|folder| folder.way.is_some());
        if told.what.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
            match is_way {
                true => self.lost("a folder above the sources was moved"),
                // Where it is in its parent now, the parent tells; where that is not watched, its identity does.
                false => self.touch_whole(number, None),
            }
            return;
        }
        if is_way {
            return;
        }
        // Its own attributes are saved with its parent.
        let above = self.folders.get(number).and_then(|folder| folder.above);
        if let Some(above) = above {
            self.touch(above, true);
        }
        self.touch(number, true);
    }

    /// What is at that name now is watched, and walked.
    fn placed_again(&mut self, number: Number, name: &[u8]) {
        self.place_again(number, name);
        self.touch_whole(number, Some(name));
    }

    /// Whether an entry of that name decides what of its folder is saved.
    fn rules(&self, name: &[u8]) -> bool {
        let excludes = &self.options.excludes;
        excludes.is_marker(name) || excludes.git_ignore && name == GIT_IGNORE_NAME
    }

    /// Something happened in a folder. Whether that is worth a backup by itself is another thing.
    fn touch(&mut self, number: Number, counts: bool) {
        self.touched.add(&self.folders.path(number));
        if counts {
            self.count();
        }
    }

    /// Anything may have happened in a folder, or in what is at that name in it, and below.
    fn touch_whole(&mut self, number: Number, name: Option<&[u8]>) {
        let mut path = self.folders.path(number);
        if let Some(name) = name {
            self.touched.add(&path);
            path.push(b'/');
            path.extend_from_slice(name);
        }
        self.touched.add_whole(&path);
        self.count();
    }
}
