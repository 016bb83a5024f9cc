//! Which folders are watched: a tree of names from `/` down, and which of them each watch of the system stands for. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::backup::sources::Way;

/// A folder's number in the table.
pub type Number = u32;

/// A folder that is watched, or that leads to one.
#[derive(Debug, Default)]
pub struct Folder {
    pub above: Option<Number>,
    pub name: Vec<u8>,
    pub below: BTreeMap<Vec<u8>, Number>,
    /// The system's number of its watch; none where it can not be watched, and need not be.
    pub watch: Option<i32>,
    /// Names that count; none where all do.
    pub way: Option<BTreeMap<Vec<u8>, Way>>,
    /// Its entries say that it is to be left out: only they count.
    pub marked: bool,
    /// Of the file system that it is on.
    pub device: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Folders {
    all: HashMap<Number, Folder>,
    /// Several when one folder is at several places (bind mounts).
    by_watch: HashMap<i32, Vec<Number>>,
    next: Number,
}

impl Folders {
    pub fn get(&self, number: Number) -> Option<&Folder> {
        self.all.get(&number)
    }

    pub fn get_mut(&mut self, number: Number) -> Option<&mut Folder> {
        self.all.get_mut(&number)
    }

    /// How many are watched.
    pub fn watched(&self) -> usize {
        self.by_watch.values().map(Vec::len).sum()
    }

    /// How many of them lie in the sources.
    pub fn in_sources(&self) -> usize {
        self.all.values().filter(|folder| folder.watch.is_some() && folder.way.is_none()).count()
    }

    /// The folders that a watch stands for.
    pub fn of_watch(&self, watch: i32) -> Vec<Number> {
        self.by_watch.get(&watch).cloned().unwrap_or_default()
    }

    /// All watches.
    pub fn watches(&self) -> impl Iterator<Item = i32> {
        self.by_watch.keys().copied()
    }

    pub fn has_watch(&self, watch: i32) -> bool {
        self.by_watch.contains_key(&watch)
    }

    /// The folder of that name in another one.
    pub fn child(&self, number: Number, name: &[u8]) -> Option<Number> {
        self.all.get(&number)?.below.get(name).copied()
    }

    /// Adds a folder; one of that name must not be there.
    pub fn add(&mut self, folder: Folder) -> Number {
        // Numbers of folders that are gone come again after four thousand million others.
        while self.all.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        if let Some(above) = folder.above.and_then(|above| self.all.get_mut(&above)) {
            above.below.insert(folder.name.clone(), number);
        }
        if let Some(watch) = folder.watch {
            self.by_watch.entry(watch).or_default().push(number);
        }
        self.all.insert(number, folder);
        number
    }

    /// Forgets a folder and all below it; the watches that stand for none any more.
    pub fn remove(&mut self, number: Number) -> Vec<i32> {
        if let Some(folder) = self.all.get(&number)
            && let Some(above) = folder.above
        {
            let name = folder.name.clone();
            if let Some(above) = self.all.get_mut(&above) {
                above.below.remove(&name);
            }
        }
        let (mut left, mut free) = (vec![number], Vec::new());
        while let Some(number) = left.pop() {
            let Some(folder) = self.all.remove(&number) else { continue };
            left.extend(folder.below.into_values());
            let Some(watch) = folder.watch else { continue };
            if let Some(numbers) = self.by_watch.get_mut(&watch) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.by_watch.remove(&watch);
                    free.push(watch);
                }
            }
        }
        free
    }

    /// The system ended a watch: its folders stay, unwatched.
    pub fn ended(&mut self, watch: i32) {
        for number in self.by_watch.remove(&watch).unwrap_or_default() {
            if let Some(folder) = self.all.get_mut(&number) {
                folder.watch = None;
            }
        }
    }

    /// The names that lead to a folder.
    pub fn names(&self, number: Number) -> Vec<&[u8]> {
        let mut names = Vec::new();
        let mut next = Some(number);
        while let Some(folder) = next.and_then(|number| self.all.get(&number)) {
            if folder.above.is_some() {
                names.push(&folder.name[..]);
            }
            next = folder.above;
        }
        names.reverse();
        names
    }

    /// Its path; nothing for `/`.
    pub fn path(&self, number: Number) -> Vec<u8> {
        let mut path = Vec::new();
        for name in self.names(number) {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(folders: &mut Folders, above: Option<Number>, name: &str, watch: i32) -> Number {
        let name = name.as_bytes().to_vec();
        folders.add(Folder { above, name, watch: Some(watch), ..Folder::default() })
    }

    #[test]
    fn paths_follow_the_names_and_removing_takes_all_below() {
        let mut folders = Folders::default();
        let top = add(&mut folders, None, "", 1);
        let home = add(&mut folders, Some(top), "home", 2);
        let ann = add(&mut folders, Some(home), "ann", 3);
        assert_eq!((folders.path(top), folders.path(ann)), (b"".to_vec(), b"/home/ann".to_vec()));
        assert_eq!(folders.child(home, b"ann"), Some(ann));
        assert_eq!(folders.remove(home), [2, 3]);
        assert_eq!((folders.child(top, b"home"), folders.watched()), (None, 1));
        assert!(folders.remove(home).is_empty() && folders.get(ann).is_none());
    }

    #[test]
    fn a_watch_of_two_places_goes_with_the_last_of_them() {
        let mut folders = Folders::default();
        let top = add(&mut folders, None, "", 1);
        let one = add(&mut folders, Some(top), "one", 7);
        let other = add(&mut folders, Some(top), "other", 7);
        assert_eq!(folders.of_watch(7), [one, other]);
        assert!(folders.remove(one).is_empty());
        assert_eq!(folders.of_watch(7), [other]);
        folders.ended(7);
        assert!(folders.get(other).unwrap().watch.is_none() && !folders.has_watch(7));
        assert!(folders.remove(other).is_empty());
    }
}
