//! Going through both sides at once, folder by folder. However deep they are, one path is kept for all levels.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::compare::{self, Facts, content_key};
use super::content::{live_key, why_unreadable};
use super::listing::{Listing, Peek, Source};
use super::live;
use super::moves::{Found, Item, Only};
use super::{Change, Met, Options, Side, Told, What};
use crate::files;
use crate::format::limits::DEPTH_MAX;
use crate::model::{Id, Node, NodeType};
use crate::repository::{Error, Repository};

/// A folder on the way.
struct Level<'w> {
    before: Listing<'w>,
    after: Listing<'w>,
    /// Bytes of the walk's path that are this folder's.
    path: usize,
    /// The item that stands for it, where its entries follow it.
    item: Option<usize>,
}

/// The folder that is there now, and the name in it of what is compared.
pub struct Base {
    pub folder: OwnedFd,
    pub name: Vec<u8>,
}

/// One comparison at work.
pub struct Walk<'w> {
    pub repository: &'w Repository,
    pub options: &'w Options,
    told: &'w mut dyn Told,
    stop: &'w AtomicBool,
    levels: Vec<Level<'w>>,
    pub path: Vec<u8>,
    pub base: Option<Base>,
    /// One of the snapshots was written by a repair.
    pub repaired: bool,
    pub met: Met,
    pub found: Found,
    /// Nobody wants to be told more.
    ended: bool,
}

const LOST_FOLDER: &str = "part of the folder can not be read on the other side";

impl<'w> Walk<'w> {
    pub fn new(
        repository: &'w Repository,
        options: &'w Options,
        told: &'w mut dyn Told,
        stop: &'w AtomicBool,
    ) -> Walk<'w> {
        Walk {
            repository,
            options,
            told,
            stop,
            levels: Vec::new(),
            path: Vec::new(),
            base: None,
            repaired: false,
            met: Met::default(),
            found: Found::default(),
            ended: false,
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Tells a change.
    pub fn tell(&mut self, change: &Change) {
        if !self.ended && self.told.change(change) == ControlFlow::Break(()) {
            self.ended = true;
        }
    }

    /// Tells that renames are not looked for any more.
    pub fn give_up_renames(&mut self) {
        self.met.without_renames = true;
    }

    /// Tells of damage and gives its words.
    pub fn damage(&mut self, error: &Error) -> String {
        match error.is_of_later_version() {
            true => self.met.later += 1,
            false => self.met.damaged += 1,
        }
        self.told.damage(&self.path, error);
        error.to_string()
    }

    /// Compares from the top, up to where one side has a folder of a snapshot that the other lacks: these are left for `moves`.
    pub fn start(&mut self, before: &Side, after: &Side) -> Result<(), Error> {
        let whole = matches!(before, Side::Whole { .. }) || matches!(after, Side::Whole { .. });
        let before = self.top(before)?;
        let after = self.top(after)?;
        self.pair(before, after, whole)?;
        self.run()
    }

    /// The node at the top of a side; a whole snapshot has one that says nothing.
    fn top(&mut self, side: &Side) -> Result<Box<Node>, Error> {
        match side {
            Side::Whole { tree, repaired } => {
                self.repaired |= repaired;
                let mut node = Node::new(b"", NodeType::Directory);
                node.tree = Some(*tree);
                if *repaired {
                    node.unread.push(crate::model::ENTRIES_LOST.to_owned());
                }
                Ok(Box::new(node))
            }
            Side::Stored { node, repaired } => {
                self.repaired |= repaired;
                let mut node = node.clone();
                node.name.clear();
                Ok(node)
            }
            Side::Live(path) => {
                let (folder, name) = live::open(path)?;
                let mut node = match name.is_empty() {
                    true => Some(Node::new(b"", NodeType::Directory)),
                    false => live::node(folder.as_fd(), &name),
                };
                self.base = Some(Base { folder, name });
                let mut node = node.take().ok_or_else(|| Error::Target {
                    path: path.display().to_string(),
                    what: rustix::io::Errno::NOENT.to_string(),
                })?;
                node.name.clear();
                Ok(Box::new(node))
            }
        }
    }

    /// Goes on until all folders are left.
    fn run(&mut self) -> Result<(), Error> {
        while let Some(level) = self.levels.last_mut() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            if self.ended {
                self.levels.clear();
                break;
            }
            self.path.truncate(level.path);
            let live = |folder: &OwnedFd, name: &[u8]| live::node(folder.as_fd(), name);
            let looks = [level.before.peek(&live)?, level.after.peek(&live)?];
            let damages: Vec<Error> = looks
                .into_iter()
                .filter_map(|look| match look {
                    Peek::Damaged(error) => Some(error),
                    _ => None,
                })
                .collect();
            if !damages.is_empty() {
                damages.iter().for_each(|error| drop(self.damage(error)));
                continue;
            }
            let order = match (level.before.name(), level.after.name()) {
                (None, None) => {
                    if let Some(left) = self.levels.pop() {
                        self.found.leave(left.item);
                    }
                    continue;
                }
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(before), Some(after)) => before.cmp(after),
            };
            let before = if order.is_le() { level.before.take() } else { None };
            let after = if order.is_ge() { level.after.take() } else { None };
            let (before_lacks, after_lacks) = (level.before.may_hold(), level.after.may_hold());
            if let Some(node) = before.as_ref().or(after.as_ref()) {
                self.path.push(b'/');
                self.path.extend_from_slice(&node.name);
            }
            match (before, after) {
                (Some(before), Some(after)) => self.pair(before, after, false)?,
                (Some(before), None) => self.only(before, Only::Before, after_lacks)?,
                (None, Some(after)) => self.only(after, Only::After, before_lacks)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn change(&self, what: What, before: Option<&Node>, after: Option<&Node>) -> Change {
        let size = |node: Option<&Node>| node.map_or(0, |node| node.size);
        let kind = after.or(before).map_or(NodeType::Unreadable, |node| node.kind);
        Change { path: self.path.clone(), kind, what, before: size(before), after: size(after) }
    }

    fn push_plain(&mut self, change: Change) {
        self.push(Item::plain(change));
    }

    fn unknown(&mut self, why: String, before: Option<&Node>, after: Option<&Node>) {
        let change = self.change(What::Unknown(why), before, after);
        self.push_plain(change);
    }

    /// An entry that both sides have. `quiet`: the entries themselves are not compared, only what is in them.
    fn pair(&mut self, before: Box<Node>, after: Box<Node>, quiet: bool) -> Result<(), Error> {
        if before == after {
            return Ok(());
        }
        let both = (Some(&*before), Some(&*after));
        if let Some(unread) = [&before, &after].into_iter().find(|node| node.kind == NodeType::Unreadable) {
            if self.base.is_some() && after.kind == NodeType::Unreadable {
                self.met.unread += 1;
            }
            self.unknown(why_unreadable(unread), both.0, both.1);
            return Ok(());
        }
        let content = match (before.kind, after.kind) {
            (NodeType::File, NodeType::File) => match self.content_differs(&before, &after)? {
                Ok(differs) => differs,
                Err(why) => {
                    self.unknown(why, both.0, both.1);
                    return Ok(());
                }
            },
            _ => false,
        };
        let differences = compare::differences(&before, &after, content, self.repository.hasher());
        if differences.any() && (!quiet || differences.kind) {
            let change = self.change(What::Changed(differences), both.0, both.1);
            self.push_plain(change);
        }
        let is_folder = |node: &Node| node.kind == NodeType::Directory;
        match (is_folder(&before), is_folder(&after)) {
            (true, true) if before.tree.is_some() && before.tree == after.tree => Ok(()),
            (true, true) => self.enter(Some(&before), Some(&after), None),
            (true, false) => self.enter(Some(&before), None, None),
            (false, true) => self.enter(None, Some(&after), None),
            (false, false) => Ok(()),
        }
    }

    /// An entry that one side has. `lacks`: the other may have had it all the same.
    fn only(&mut self, node: Box<Node>, side: Only, lacks: bool) -> Result<(), Error> {
        let (before, after) = match side {
            Only::After => (None, Some(&*node)),
            _ => (Some(&*node), None),
        };
        let is_live = self.base.is_some() && side == Only::After;
        if is_live && self.is_own(&node.name) {
            return Ok(());
        }
        if node.kind == NodeType::Unreadable {
            self.met.unread += u64::from(is_live);
            self.unknown(why_unreadable(&node), before, after);
            return Ok(());
        }
        if lacks {
            self.unknown(LOST_FOLDER.to_owned(), before, after);
            return Ok(());
        }
        let what = if side == Only::After { What::Added } else { What::Removed };
        let mut item = Item::plain(self.change(what, before, after));
        item.only = side;
        item.facts = Some(Facts::of(&node, self.repository.hasher()));
        item.tree = node.tree;
        match self.base.is_some() && node.kind == NodeType::File && node.size > 0 {
            true => {
                item.key = Some(live_key(&node));
                item.content = (side == Only::Before).then(|| Box::new(node.content.clone()));
            }
            false => item.key = content_key(&node),
        }
        if node.kind != NodeType::Directory {
            self.push(item);
            return Ok(());
        }
        if let Some(place) = self.push_folder(item) {
            let kept = self.found.has_items().then_some(place);
            match side {
                Only::After => self.enter(None, Some(&node), kept)?,
                _ => self.enter(Some(&node), None, kept)?,
            }
        }
        Ok(())
    }

    fn is_own(&self, name: &[u8]) -> bool {
        let Some(folder) = self.levels.last().and_then(|level| level.after.handle()) else { return false };
        !self.options.own.is_empty()
            && files::stat(folder.as_fd(), name)
                .is_ok_and(|stat| self.options.own.contains(&(stat.dev, stat.inode)))
    }

    /// Goes into the folder at the path, on one side or on both.
    fn enter(
        &mut self,
        before: Option<&Node>,
        after: Option<&Node>,
        item: Option<usize>,
    ) -> Result<(), Error> {
        if self.levels.len() > DEPTH_MAX {
            let what = "it lies deeper than any folder may".to_owned();
            self.damage(&Error::Damaged { object: "a folder".to_owned(), what });
            return Ok(());
        }
        let stored = |node: Option<&Node>| match node.and_then(|node| node.tree) {
            Some(tree) => Source::Stored(self.repository.nodes(tree)),
            None => Source::Nothing,
        };
        let lacks = |node: Option<&Node>| node.is_some_and(Node::has_lost_entries);
        let source = match after {
            Some(node) if self.base.is_some() => match self.open_live(&node.name) {
                Ok(source) => source,
                Err(error) => {
                    self.met.unread += 1;
                    self.unknown(error.to_string(), before, after);
                    return Ok(());
                }
            },
            node => stored(node),
        };
        let (before, after) =
            (Listing::new(stored(before), lacks(before)), Listing::new(source, lacks(after)));
        self.levels.push(Level { before, after, path: self.path.len(), item });
        Ok(())
    }

    /// Goes into a folder of a snapshot that only one side has, and through all that is in it.
    pub fn expand(&mut self, path: &[u8], tree: Id, side: Only, item: Option<usize>) -> Result<(), Error> {
        self.path = path.to_vec();
        let mut node = Node::new(b"", NodeType::Directory);
        node.tree = Some(tree);
        match side {
            Only::After => self.enter(None, Some(&node), item)?,
            _ => self.enter(Some(&node), None, item)?,
        }
        self.run()
    }

    /// The folder that is there at the path, and its names.
    fn open_live(&self, name: &[u8]) -> files::Result<Source<'w>> {
        let inside: BorrowedFd<'_>;
        let handle = match (self.levels.last().and_then(|level| level.after.handle()), &self.base) {
            (Some(folder), _) => files::open_directory(folder.as_fd(), name)?,
            (None, Some(base)) if base.name.is_empty() => {
                inside = base.folder.as_fd();
                rustix::io::fcntl_dupfd_cloexec(inside, 0)?
            }
            (None, Some(base)) => files::open_directory(base.folder.as_fd(), &base.name)?,
            (None, None) => return Err(rustix::io::Errno::NOENT),
        };
        let names = files::names(handle.as_fd())?;
        Ok(Source::Live(Arc::new(handle), names, 0))
    }
}
