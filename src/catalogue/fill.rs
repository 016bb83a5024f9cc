//! Filling: a snapshot at a time, oldest first, each in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{check_stop, facts};
use crate::index;
use crate::index::catalogue::{BYTES_MAX, Catalogue, Child, Facts, Lane, PathNumber, ROOT, Writing};
use crate::model::{Contents, Id, Node, NodeType, Snapshot};
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository};
use crate::terminal::size::show_count;

/// Files that vanished, or came, in one snapshot among which moved ones are looked for.
const MOVED_MAX: usize = 1 << 20;
/// Folders that a backup adds to the catalogue by itself: what changes from day to day, and not a first snapshot.
const FOLDERS_BY_THE_WAY: u64 = 5000;

/// Folders after which it is said how far it is.
const FOLDERS_EACH: u64 = 100;

/// How often and how long another process that fills the catalogue is waited for.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);

/// What filling did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Snapshots that were added.
    pub added: u64,
    /// Folders that were read.
    pub folders: u64,
    /// Folders that could not be read: of those nothing is known in that snapshot.
    pub unread: u64,
    /// Snapshots whose rows were given up to keep the catalogue small.
    pub given_up: u64,
}

/// How far filling is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Snapshots that were added, of how many.
    pub done: usize,
    pub all: usize,
    /// Folders that were read until now.
    pub folders: u64,
}

impl Filling {
    /// The same in words.
    pub fn words(&self) -> String {
        let folders = show_count(self.folders, "folder");
        format!("{} of {} taken into the catalogue of paths, {folders} read", self.done, snapshots(self.all))
    }
}

fn snapshots(count: usize) -> String {
    show_count(count as u64, "snapshot")
}

/// Adds the snapshots that the catalogue lacks, oldest first; waits for another process that does the same. Those of which a folder could
/// not be read that can be read now, and those behind them, are added anew. `each` is told how far it is, before each snapshot and now and
/// then within one.
///
/// Errors: `Index` when the catalogue can not be written (`Busy`: another process was at it for most of a minute), `Stopped`, those of the
/// storage.
pub fn fill(
    repository: &Repository,
    catalogue: &Catalogue,
    snapshots: &[Named],
    stop: &AtomicBool,
    each: &mut dyn FnMut(Filling),
) -> Result<Filled, Error> {
    let mut filled = Filled::default();
    for _ in 1..TRIES {
        match add_missing(repository, catalogue, snapshots, stop, each, &mut filled) {
            // What another process added need not be added again.
            Err(Error::Index(index::Error::Busy)) => {
                check_stop(stop)?;
                std::thread::sleep(PAUSE);
            }
            other => return other.map(|()| filled),
        }
    }
    add_missing(repository, catalogue, snapshots, stop, each, &mut filled)?;
    Ok(filled)
}

fn add_missing(
    repository: &Repository,
    catalogue: &Catalogue,
    snapshots: &[Named],
    stop: &AtomicBool,
    each: &mut dyn FnMut(Filling),
    filled: &mut Filled,
) -> Result<(), Error> {
    take_back_healed(repository, catalogue, stop)?;
    let known: HashSet<Id> = catalogue.known()?.into_iter().map(|(name, _)| name).collect();
    let missing: Vec<&Named> = snapshots.iter().filter(|named| !known.contains(&named.name)).collect();
    for (place, named) in missing.iter().enumerate() {
        let begun = filled.folders;
        let mut within =
            |folders| each(Filling { done: place, all: missing.len(), folders: begun + folders });
        within(0);
        let named = (&named.name, &named.snapshot);
        add(repository, catalogue, named, u64::MAX, stop, &mut within, filled)?;
    }
    Ok(())
}

/// Takes back what was added since a folder could not be read that has been healed.
fn take_back_healed(repository: &Repository, catalogue: &Catalogue, stop: &AtomicBool) -> Result<(), Error> {
    // A tree says the same in every snapshot.
    let mut readable: HashMap<Id, bool> = HashMap::new();
    let mut taken_back = None;
    for (lane, number, tree) in catalogue.unread()? {
        check_stop(stop)?;
        if taken_back == Some(lane) {
            continue;
        }
        let is_readable = match readable.get(&tree) {
            Some(is_readable) => *is_readable,
            None => is_readable(repository, tree)?,
        };
        readable.insert(tree, is_readable);
        if is_readable {
            catalogue.change(|writing| writing.cut_back(lane, number, &tree).map_err(Error::from))?;
            taken_back = Some(lane);
        }
    }
    Ok(())
}

fn is_readable(repository: &Repository, tree: Id) -> Result<bool, Error> {
    // First where it should lie, and no further: what is not found there makes every index object be read again, each time until it is
    // healed.
    let places = repository.index.lookup_for_reading(Contents::Trees, &tree)?;
    if !places.iter().any(|place| repository.chunk_at_opens(Contents::Trees, &tree, place)) {
        return Ok(false);
    }
    for node in repository.nodes(tree) {
        match node {
            Err(error) if error.is_damage() => return Ok(false),
            other => drop(other?),
        }
    }
    Ok(true)
}

/// Adds a snapshot that was just made, when the catalogue has the one before it and not much has changed; whether it is there now.
pub fn keep_up(
    repository: &Repository,
    catalogue: &Catalogue,
    (name, snapshot): (&Id, &Snapshot),
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let parent = snapshot.parent;
    if !parent.map_or(Ok(false), |parent| catalogue.has(&parent))? {
        return Ok(false);
    }
    let (mut nobody, mut filled) = (|_| {}, Filled::default());
    match add(repository, catalogue, (name, snapshot), FOLDERS_BY_THE_WAY, stop, &mut nobody, &mut filled) {
        Err(Error::Stopped) => Ok(false),
        other => other.map(|()| true),
    }
}

fn add(
    repository: &Repository,
    catalogue: &Catalogue,
    (name, snapshot): (&Id, &Snapshot),
    folders_most: u64,
    stop: &AtomicBool,
    within: &mut dyn FnMut(u64),
    filled: &mut Filled,
) -> Result<(), Error> {
    let done = catalogue.change(|writing| {
        // Another process may have been here.
        if writing.has(name)? {
            return Ok(None);
        }
        let lane = writing.lane(&snapshot.host, &snapshot.sources, snapshot.time)?;
        let number = writing.add_snapshot(&lane, name, snapshot.time)?;
        let mut adding = Adding {
            repository,
            writing,
            stop,
            lane,
            number,
            within: &mut *within,
            folders: 0,
            unread: 0,
            folders_most,
            is_repaired: snapshot.stands_for.is_some(),
            moved: Moved::default(),
        };
        adding.folders(snapshot.root)?;
        let (folders, unread) = (adding.folders, adding.unread);
        adding.find_moved()?;
        // What is not there in one that a repair wrote may be lost: unknown is not absent.
        if unread > 0 || snapshot.stands_for.is_some() {
            writing.set_partial(name)?;
        }
        Ok::<_, Error>(Some((folders, unread, writing.shrink(BYTES_MAX)?)))
    })?;
    if let Some((folders, unread, given_up)) = done {
        filled.added += 1;
        filled.folders += folders;
        filled.unread += unread;
        filled.given_up += given_up;
    }
    Ok(())
}

/// What vanished and what came.
#[derive(Default)]
struct Moved {
    /// By contents.
    vanished: HashMap<i64, PathNumber>,
    came: Vec<(i64, PathNumber)>,
}

struct Adding<'a, 'c> {
    repository: &'a Repository,
    writing: &'a mut Writing<'c>,
    stop: &'a AtomicBool,
    lane: Lane,
    number: i64,
    /// Is told how many folders were read.
    within: &'a mut dyn FnMut(u64),
    folders: u64,
    unread: u64,
    folders_most: u64,
    /// A repair wrote the snapshot: its folders may lack entries that were lost.
    is_repaired: bool,
    moved: Moved,
}

impl Adding<'_, '_> {
    /// All folders that differ from what the catalogue has.
    fn folders(&mut self, root: Id) -> Result<(), Error> {
        let mut stack = vec![(ROOT, root)];
        while let Some((path, tree)) = stack.pop() {
            check_stop(self.stop)?;
            if self.writing.folder(self.lane.number, path)? == Some(tree) {
                continue;
            }
            self.folders += 1;
            if self.folders.is_multiple_of(FOLDERS_EACH) {
                (self.within)(self.folders);
            }
            if self.folders > self.folders_most {
                return Err(Error::Stopped);
            }
            if self.folder(path, tree, &mut stack)? {
                self.writing.set_folder(self.lane.number, path, &tree)?;
            } else {
                // It is looked at again with the next snapshot, whatever tree it has there.
                self.unread += 1;
                self.writing.add_unread(self.lane.number, self.number, &tree)?;
                self.writing.drop_folder(self.lane.number, path)?;
            }
        }
        Ok(())
    }

    /// Compares one folder with what the catalogue has of it; folders in it go on the stack. Whether all of it could be read.
    fn folder(
        &mut self,
        path: PathNumber,
        tree: Id,
        stack: &mut Vec<(PathNumber, Id)>,
    ) -> Result<bool, Error> {
        let mut before = self.writing.children(self.lane.number, path)?.into_iter().peekable();
        let mut gone = Vec::new();
        let mut is_whole = true;
        let mut nodes = self.repository.nodes(tree);
        while let Some(node) = nodes.next() {
            let node = match node {
                Ok(node) => node,
                Err(error) if error.is_damage() => {
                    is_whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            while let Some(child) = before.next_if(|child| child.name < node.name) {
                gone.push(child);
            }
            let child = before.next_if(|child| child.name == node.name);
            let facts = facts(&node, nodes.encoded());
            let below = self.entry(path, child, &node, &facts)?;
            if let (Some(tree), NodeType::Directory) = (node.tree, node.kind) {
                stack.push((below, tree));
            }
        }
        gone.extend(before);
        for child in gone {
            // One that was not met where not all is known is not said to be there, nor to be gone.
            self.ends(&child, is_whole && !self.is_repaired)?;
        }
        Ok(is_whole)
    }

    /// One entry, and what the catalogue has of it.
    fn entry(
        &mut self,
        parent: PathNumber,
        before: Option<Child>,
        node: &Node,
        facts: &Facts,
    ) -> Result<PathNumber, Error> {
        let lane = self.lane.number;
        let path = match before {
            Some(child) => {
                // Of folders only that they are there is kept here: what is in them has rows of its own.
                let stays =
                    child.kind == node.kind && (child.node == facts.node || node.kind == NodeType::Directory);
                if stays {
                    return Ok(child.path);
                }
                // What could not be read is unknown, so what was below it is not taken for gone.
                let may_hold = |kind| matches!(kind, NodeType::Directory | NodeType::Unreadable);
                if may_hold(child.kind) && !may_hold(node.kind) {
                    self.ends(&child, true)?;
                } else {
                    self.writing.close(lane, child.path, self.number - 1)?;
                }
                child.path
            }
            None => {
                let path = self.writing.path(parent, &node.name)?;
                if node.kind == NodeType::File && node.size > 0 && self.moved.came.len() < MOVED_MAX {
                    self.moved.came.push((facts.content, path));
                }
                path
            }
        };
        self.writing.open(lane, path, self.number, facts)?;
        Ok(path)
    }

    /// An entry is not there any more, nor anything below it; or, unless it `is_gone`, nothing is known of them.
    fn ends(&mut self, child: &Child, is_gone: bool) -> Result<(), Error> {
        let lane = self.lane.number;
        let mut stack = vec![child.clone()];
        while let Some(child) = stack.pop() {
            self.writing.close(lane, child.path, self.number - 1)?;
            let may_have_moved = is_gone && child.kind == NodeType::File && child.size > 0;
            if may_have_moved && self.moved.vanished.len() < MOVED_MAX {
                self.moved.vanished.insert(child.content, child.path);
            }
            if matches!(child.kind, NodeType::Directory | NodeType::Unreadable) {
                self.writing.drop_folder(lane, child.path)?;
                stack.extend(self.writing.children(lane, child.path)?);
            }
        }
        Ok(())
    }

    /// Files that came where one with the same contents vanished were moved.
    fn find_moved(&mut self) -> Result<(), Error> {
        if self.moved.vanished.is_empty() {
            return Ok(());
        }
        for (content, path) in std::mem::take(&mut self.moved.came) {
            if let Some(origin) = self.moved.vanished.get(&content) {
                self.writing.set_origin(self.lane.number, path, *origin)?;
            }
        }
        Ok(())
    }
}
