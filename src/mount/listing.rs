//! Folders that are open: where the list of each stands. Of a saved folder one page is held, however many entries it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::inodes::Folder;
use super::made::{Entry, Made};
use super::shelf::Shelf;
use crate::locks::lock;
use crate::model::{Id, Node};
use crate::repository::Error;
use crate::repository::trees::Listing;

/// What is open, by the number that the kernel has for it.
pub struct Handles<T> {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<T>>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Handles<T> {
        Handles { next: AtomicU64::new(1), open: Mutex::default() }
    }
}

impl<T> Handles<T> {
    pub fn open(&self, what: T) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(number, Arc::new(what));
        number
    }

    pub fn get(&self, number: u64) -> Option<Arc<T>> {
        lock(&self.open).get(&number).cloned()
    }

    pub fn close(&self, number: u64) {
        let closed = lock(&self.open).remove(&number);
        drop(closed);
    }
}

/// An open folder.
pub enum Opened {
    Made(Arc<dyn Made>, Mutex<Listed>),
    Saved(Arc<Folder>, Box<Mutex<Cursor>>),
}

/// Entries of a made folder: as it was when it was opened, or, of very many, some that follow each other.
pub struct Listed {
    /// How many come before them.
    pub before: u64,
    pub entries: Vec<(Vec<u8>, Entry)>,
}

impl Listed {
    /// The entry of that number. Going on fetches the next ones, going back begins anew.
    pub fn at(
        &mut self,
        number: u64,
        made: &dyn Made,
        shelf: &Shelf,
    ) -> Result<Option<(&[u8], &Entry)>, Error> {
        if number < self.before {
            *self = Listed { before: 0, entries: made.entries(&shelf.view())? };
        }
        while number >= self.before + self.entries.len() as u64 {
            let Some((last, _)) = self.entries.last() else { return Ok(None) };
            let more = made.more(&shelf.view(), last)?;
            if more.is_empty() {
                return Ok(None);
            }
            self.before += self.entries.len() as u64;
            self.entries = more;
        }
        let entry = self.entries.get((number - self.before) as usize);
        Ok(entry.map(|(name, entry)| (name.as_slice(), entry)))
    }
}

/// Why a list is not all of it.
pub enum Trouble {
    Error(Error),
    /// A repair marked entries of the folder as lost.
    Lost,
}

/// How far the list of a saved folder was given.
pub struct Cursor {
    listing: Listing,
    /// Number of the entry that comes next.
    next: u64,
    /// Name of the one that came last.
    last: Vec<u8>,
    /// One that was read, and that there was no room for.
    held: Option<Node>,
    trouble: Option<Trouble>,
    /// The page that was looked for again.
    again: Option<Id>,
}

impl Cursor {
    /// `is_short` when entries of the folder are known to be lost.
    pub fn new(folder: &Folder, is_short: bool) -> Cursor {
        let trouble = is_short.then_some(Trouble::Lost);
        let listing = Listing::new(folder.tree);
        Cursor { listing, next: 0, last: Vec::new(), held: None, trouble, again: None }
    }

    /// Goes to the entry of that number. Going on costs nothing, going back begins anew.
    pub fn go_to(&mut self, number: u64, folder: &Folder, shelf: &Shelf) -> Result<(), Error> {
        if number < self.next {
            self.listing = Listing::new(folder.tree);
            (self.next, self.held) = (0, None);
            self.last.clear();
        }
        while self.next < number {
            if self.take(folder, shelf)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The next entry; none at the end. Errors: those of the storage; damage only costs what it hits, and is kept for the end.
    pub fn take(&mut self, folder: &Folder, shelf: &Shelf) -> Result<Option<Node>, Error> {
        if let Some(node) = self.held.take() {
            self.next += 1;
            return Ok(Some(node));
        }
        loop {
            let begun = Instant::now();
            match self.listing.next(&shelf.repository) {
                // Passed over after the list was begun anew: names come in order.
                Some(Ok(node)) if !self.last.is_empty() && node.name <= self.last => {}
                Some(Ok(node)) => {
                    self.next += 1;
                    self.last.clone_from(&node.name);
                    return Ok(Some(node));
                }
                Some(Err(error)) if error.is_damage() => {
                    let page = self.listing.page();
                    let is_first = self.again.replace(page) != Some(page);
                    if is_first && shelf.look_elsewhere(&page, begun)? {
                        self.listing = Listing::new(folder.tree);
                    } else {
                        shelf.give_up(&page);
                        self.trouble.get_or_insert(Trouble::Error(error));
                    }
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }

    /// Gives one back that there was no room for: it comes next.
    pub fn put_back(&mut self, node: Node) {
        self.next = self.next.saturating_sub(1);
        self.held = Some(node);
    }

    /// What could not be read on the way here.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }
}
