//! What one side has and the other lacks: kept until all is known, so that what only moved is told as renamed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::compare::Facts;
use super::live::Held;
use super::walk::Walk;
use super::{Change, Differences, What};
use crate::model::{Content, Id, NodeType};
use crate::repository::Error;

/// Files of the same size and time that are read for one of them.
const READ: usize = 4;

/// Which side has an entry that the other lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    Neither,
    Before,
    After,
}

/// A change that is kept.
pub struct Item {
    change: Change,
    pub only: Only,
    pub facts: Option<Facts>,
    /// What files that may be the same have in common.
    pub key: Option<[u8; 16]>,
    /// Of a stored folder.
    pub tree: Option<Id>,
    /// Of a file that is compared with one that is there now.
    pub content: Option<Box<Content>>,
    /// The items of what is in this folder.
    below: Range<usize>,
    /// All in it was seen, or is just being seen.
    expanded: bool,
    /// It is told with another one.
    gone: bool,
}

impl Item {
    pub fn plain(change: Change) -> Item {
        let (only, below) = (Only::Neither, 0..0);
        let (facts, key, tree, content) = (None, None, None, None);
        Item { change, only, facts, key, tree, content, below, expanded: false, gone: false }
    }

    fn name(&self) -> &[u8] {
        self.change.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

/// What was found so far.
#[derive(Default)]
pub struct Found {
    items: Vec<Item>,
    /// Nothing is kept any more.
    streams: bool,
    /// Folders that the walk came to after that, or that were not gone into before: path, tree, side.
    later: Vec<(Vec<u8>, Id, Only)>,
    /// Folders of the side before, by tree; there once all of them are known.
    trees: Option<HashMap<Id, Vec<usize>>>,
    /// The first walk is over: folders are gone into.
    goes_in: bool,
}

impl Found {
    /// Whether changes are kept.
    pub fn has_items(&self) -> bool {
        !self.streams
    }

    /// All of the folder that an item stands for was seen.
    pub fn leave(&mut self, item: Option<usize>) {
        let end = self.items.len();
        if let (Some(place), false) = (item, self.streams)
            && let Some(item) = self.items.get_mut(place)
        {
            item.below.end = end;
        }
    }

    /// Takes a folder with that tree from the side before, with all that is in it; one of the same name if there is one.
    fn claim(&mut self, tree: &Id, name: &[u8]) -> Option<usize> {
        let places = self.trees.as_ref()?.get(tree)?;
        let is_free = |place: &&usize| {
            let item = &self.items[**place];
            !item.gone && self.items[item.below.clone()].iter().all(|below| !below.gone)
        };
        let same_name = places.iter().find(|place| self.items[**place].name() == name && is_free(place));
        let place = *same_name.or_else(|| places.iter().find(is_free))?;
        let below = self.items[place].below.clone();
        self.items[place].gone = true;
        self.items[below].iter_mut().for_each(|item| item.gone = true);
        Some(place)
    }

    /// Makes `after` a rename of `before`.
    fn rename(&mut self, before: usize, after: usize) {
        let (from, old, size) = (
            self.items[before].change.path.clone(),
            self.items[before].facts,
            self.items[before].change.before,
        );
        self.items[before].gone = true;
        let item = &mut self.items[after];
        item.change.what = What::Renamed(from, differences(old, item.facts));
        item.change.before = size;
    }

    /// Whether an item stands for something that only `side` has, and is told on its own.
    fn is_open(&self, place: usize, side: Only) -> bool {
        let item = &self.items[place];
        item.only == side && !item.gone && !matches!(item.change.what, What::Renamed(..))
    }
}

fn differences(before: Option<Facts>, after: Option<Facts>) -> Differences {
    let found = before.zip(after).map(|(before, after)| before.differences(&after)).unwrap_or_default();
    // That it has other names is said by being renamed.
    Differences { links: false, ..found }
}

impl Walk<'_> {
    /// Keeps a change, or tells it.
    pub fn push(&mut self, item: Item) {
        if self.found.streams {
            return self.tell(&item.change);
        }
        self.found.items.push(item);
        if self.found.items.len() > self.options.kept {
            self.give_up_renames();
            self.flush();
        }
    }

    /// The same for a folder that only one side has; the item's place when it is to be gone into now.
    pub fn push_folder(&mut self, mut item: Item) -> Option<usize> {
        let (tree, side) = (item.tree, item.only);
        let place = self.found.items.len();
        if let (Some(tree), Only::After, false) = (&tree, side, self.found.streams)
            && let Some(before) = self.found.claim(tree, item.name())
        {
            let before = &self.found.items[before];
            item.change.what =
                What::Renamed(before.change.path.clone(), differences(before.facts, item.facts));
            self.push(item);
            return None;
        }
        // A folder that is there now is gone into at once: nothing is known of it as a whole.
        item.expanded = tree.is_none() || self.found.goes_in || self.found.streams;
        item.below = place + 1..place + 1;
        let goes_in = item.expanded;
        self.push(item);
        goes_in.then_some(place)
    }

    /// Tells all that is kept, and keeps nothing from now on.
    fn flush(&mut self) {
        self.found.streams = true;
        let mut items = std::mem::take(&mut self.found.items);
        items.retain(|item| !item.gone);
        // A folder before what is in it, and all of that before the next name.
        fn names(item: &Item) -> impl Iterator<Item = &[u8]> {
            item.change.path.split(|byte| *byte == b'/')
        }
        items.sort_by(|a, b| names(a).cmp(names(b)));
        for item in items {
            self.tell(&item.change);
            if let (Some(tree), false, false) =
                (item.tree, item.expanded, matches!(item.change.what, What::Renamed(..)))
            {
                self.found.later.push((item.change.path, tree, item.only));
            }
        }
    }

    /// Whether a stored folder has nothing in it: it is like any other such.
    fn is_empty(&self, tree: Id) -> bool {
        self.repository.nodes(tree).next().is_none()
    }

    /// Folders that both sides have as they are, each in another place.
    fn move_whole_folders(&mut self) {
        let found = &self.found;
        let waiting =
            |side| move |place: &usize| found.is_open(*place, side) && !found.items[*place].expanded;
        let all = 0..found.items.len();
        let mut trees: HashMap<Id, Vec<usize>> = HashMap::new();
        for place in all.clone().filter(waiting(Only::Before)) {
            if let Some(tree) = found.items[place].tree {
                trees.entry(tree).or_default().push(place);
            }
        }
        let after: Vec<usize> = all.filter(waiting(Only::After)).collect();
        self.found.trees = Some(trees);
        for place in after {
            let Some(tree) = self.found.items[place].tree else { continue };
            let is_known = self.found.trees.as_ref().is_some_and(|trees| trees.contains_key(&tree));
            if is_known && !self.is_empty(tree) {
                let name = self.found.items[place].name().to_vec();
                if let Some(before) = self.found.claim(&tree, &name) {
                    self.found.rename(before, place);
                }
            }
        }
        self.found.trees = None;
    }

    /// Goes into the folders that only `side` has.
    fn go_into(&mut self, side: Only) -> Result<(), Error> {
        for place in 0..self.found.items.len() {
            if self.found.streams || self.has_ended() {
                break;
            }
            let Some(tree) = self.found.items[place].tree else { continue };
            if !self.found.is_open(place, side) || self.found.items[place].expanded {
                continue;
            }
            let (path, name) =
                (self.found.items[place].change.path.clone(), self.found.items[place].name().to_vec());
            if let Some(before) = self.found.claim(&tree, &name) {
                self.found.rename(before, place);
                continue;
            }
            let start = self.found.items.len();
            let item = &mut self.found.items[place];
            (item.expanded, item.below) = (true, start..start);
            self.expand(&path, tree, side, Some(place))?;
        }
        Ok(())
    }

    /// Files that both sides have, each in another place: first those that kept their name.
    fn move_files(&mut self) -> Result<(), Error> {
        let names: [fn(&Item) -> &[u8]; 2] = [Item::name, |_| b""];
        for name in names {
            let mut places: HashMap<([u8; 16], Vec<u8>), Vec<usize>> = HashMap::new();
            let all = 0..self.found.items.len();
            for place in all.clone().rev().filter(|place| self.found.is_open(*place, Only::Before)) {
                let item = &self.found.items[place];
                if let Some(key) = item.key {
                    places.entry((key, name(item).to_vec())).or_default().push(place);
                }
            }
            for place in all {
                let item = &self.found.items[place];
                let Some(key) = item.key.filter(|_| self.found.is_open(place, Only::After)) else { continue };
                let Entry::Occupied(mut waiting) = places.entry((key, name(item).to_vec())) else { continue };
                if let Some(before) = self.take_equal(waiting.get_mut(), place)? {
                    self.found.rename(before, place);
                }
            }
        }
        Ok(())
    }

    /// Takes the one of these whose content the item has.
    fn take_equal(&self, waiting: &mut Vec<usize>, after: usize) -> Result<Option<usize>, Error> {
        let path = &self.found.items[after].change.path;
        for place in (0..waiting.len()).rev().take(READ) {
            let before = &self.found.items[waiting[place]];
            let is_equal = match &before.content {
                None => true,
                Some(content) => match self.holds(path, content, before.change.before) {
                    Ok(held) => matches!(held, Held::Same),
                    // It is not told as renamed; that it can not be read is told by whoever needs it.
                    Err(error) if error.is_damage() => false,
                    Err(error) => return Err(error),
                },
            };
            if is_equal {
                return Ok(Some(waiting.remove(place)));
            }
        }
        Ok(None)
    }
}

/// Ends a comparison: what was moved is found, the rest is gone into, and all is told.
pub fn finish(walk: &mut Walk<'_>) -> Result<(), Error> {
    if walk.found.has_items() {
        walk.move_whole_folders();
        walk.found.goes_in = true;
        walk.go_into(Only::Before)?;
    }
    if walk.found.has_items() {
        let mut trees: HashMap<Id, Vec<usize>> = HashMap::new();
        for (place, item) in walk.found.items.iter().enumerate() {
            if let (Some(tree), false) = (item.tree, item.below.is_empty())
                && walk.found.is_open(place, Only::Before)
                && item.change.kind == NodeType::Directory
            {
                trees.entry(tree).or_default().push(place);
            }
        }
        walk.found.trees = Some(trees);
        walk.go_into(Only::After)?;
    }
    if walk.found.has_items() {
        walk.found.trees = None;
        walk.move_files()?;
        walk.flush();
    }
    while let Some((path, tree, side)) = walk.found.later.pop() {
        if walk.has_ended() {
            break;
        }
        walk.expand(&path, tree, side, None)?;
    }
    Ok(())
}
