//! One directory: begun by listing it and looking at its entries, finished when its children are, by reading what changed.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::change::{self, Digest, Seen, SideReader, SideWriter, Trust};
use super::entry::{Outcome, Worker};
use super::tree::TreeBuilder;
use super::walk::{Child, Directory, Entry, State, Volume};
use crate::files::unread as reason;
use crate::files::{self, Stat};
use crate::format::limits::{DEPTH_MAX, PAGE_MAX};
use crate::index::DirectoryRow;
use crate::model::{Id, Id16, Node, NodeType, Unread};
use crate::progress::FileStatus;
use crate::repository::Error;

/// Ancestors that may be finished now, and whether somebody is at it.
#[derive(Default)]
pub struct Parents {
    later: Vec<Arc<Directory>>,
    settling: bool,
}

/// The tree of the parent snapshot, read along with the entries, both in order of name.
struct Old<'a> {
    nodes: Box<dyn Iterator<Item = Result<Node, Error>> + 'a>,
    side: SideReader<'a>,
    next: Option<(Node, Seen)>,
}

impl<'a> Old<'a> {
    fn advance(&mut self) {
        // A tree that can not be read, or has no row, means that everything is looked at anew: never an error here.
        self.next = match (self.nodes.next(), self.side.next()) {
            (Some(Ok(node)), Some(seen)) => Some((node, seen)),
            _ => None,
        };
    }

    fn find(&mut self, name: &[u8]) -> Option<(Node, Seen)> {
        while let Some((node, _)) = &self.next {
            match node.name.as_slice().cmp(name) {
                std::cmp::Ordering::Less => self.advance(),
                std::cmp::Ordering::Equal => {
                    let found = self.next.take();
                    self.advance();
                    return found;
                }
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }
}

impl<'r> Worker<'r> {
    fn old<'a>(&self, row: Option<&'a DirectoryRow>) -> Old<'a>
    where
        'r: 'a,
    {
        let mut old = match row {
            Some(row) => Old {
                nodes: Box::new(self.run.repository.nodes(row.tree)),
                side: SideReader::new(&row.side),
                next: None,
            },
            None => Old { nodes: Box::new(std::iter::empty()), side: SideReader::new(&[]), next: None },
        };
        old.advance();
        old
    }

    /// Lists a directory and puts its children on the stack; finishes it, and its ancestors as far as this was what they waited for.
    pub fn begin(&mut self, directory: &Arc<Directory>) -> Result<(), Error> {
        match self.list(directory)? {
            Ok(children) => {
                directory.pending.store(children.len() + 1, Ordering::Release);
                self.run.scheduler.push(children);
                self.settle(directory)
            }
            Err(child) => {
                let result = self.deliver(directory, child);
                self.run.scheduler.finished();
                result
            }
        }
    }

    /// Takes one from what the directory waits for, and finishes it when nothing is left.
    fn settle(&mut self, directory: &Arc<Directory>) -> Result<(), Error> {
        if directory.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        let child = self.finish(directory)?;
        let result = self.deliver(directory, child);
        self.run.scheduler.finished();
        result
    }

    fn deliver(&mut self, directory: &Arc<Directory>, child: Child) -> Result<(), Error> {
        match &directory.parent {
            Some((parent, slot)) => {
                parent.lock().children[*slot] = Some(child);
                // Ancestors are finished in a loop, not by recursion, however many there are in a row.
                self.parents.later.push(parent.clone());
                if self.parents.settling {
                    return Ok(());
                }
                self.parents.settling = true;
                let mut result = Ok(());
                while let Some(parent) = self.parents.later.pop() {
                    if result.is_ok() {
                        result = self.settle(&parent);
                    }
                }
                self.parents.settling = false;
                result
            }
            None => {
                self.run.set_root(child);
                Ok(())
            }
        }
    }

    /// Opens and lists; the children to begin, or why there is nothing to do.
    fn list(&mut self, directory: &Arc<Directory>) -> Result<Result<Vec<Arc<Directory>>, Child>, Error> {
        if directory.depth > DEPTH_MAX {
            self.run.problem(directory, None, "nested too deeply", "unreadable");
            return Ok(Err(Child::Unreadable(Unread::Other)));
        }
        let opened = match &directory.parent {
            Some((parent, _)) => {
                let state = parent.lock();
                match &state.handle {
                    Some(handle) => files::open_directory(handle.as_fd(), &directory.name),
                    None => Err(rustix::io::Errno::BADF),
                }
            }
            None => files::open_root(std::path::Path::new("/")),
        };
        let listed = opened.and_then(|handle| {
            let now = files::stat_fd(handle.as_fd())?;
            let names = match &directory.way {
                None => files::names(handle.as_fd())?,
                Some(way) => files::Names::from_sorted(way.keys())?,
            };
            Ok((handle, now, names))
        });
        let (handle, now, names) = match listed {
            Ok(listed) => listed,
            Err(rustix::io::Errno::NOENT) => return Ok(Err(Child::Gone)),
            Err(error) => {
                self.run.problem(directory, None, &error.to_string(), "unreadable");
                return Ok(Err(Child::Unreadable(reason(error))));
            }
        };
        let volume = self.run.volume(now.dev, handle.as_fd());
        // A marked folder stays, as an empty one.
        let marked = directory.way.is_none() && self.run.is_marked(&handle, &names);
        let names = if marked { files::Names::default() } else { names };
        let filter = self.run.filter(directory, &handle, &names);
        let trust = volume.trust();
        let mut state = State { names, ..State::default() };
        let mut digest = Digest::new(volume.id);
        // Mounted or put there since its parent was listed: what the parent says of it is of another one.
        let mut steady = now.same_inode(&directory.stat);
        for place in 0..state.names.len() {
            let name = state.names.bytes(place);
            let stat = match files::stat(handle.as_fd(), name) {
                Ok(stat) => Ok(stat),
                // What was asked for by name is missed; anything else may come and go.
                Err(rustix::io::Errno::NOENT) if directory.way.is_none() => continue,
                Err(error) => Err(reason(error)),
            };
            if !self.run.is_wanted(directory, filter.as_ref(), name, &stat) {
                continue;
            }
            if let Ok(stat) = &stat {
                digest.add(name, stat, trust);
                steady &= !change::is_mounted(&now, stat);
            }
            let is_directory = stat.as_ref().is_ok_and(|stat| stat.kind == NodeType::Directory);
            let child = is_directory.then(|| {
                state.children.push(None);
                state.children.len() as u32 - 1
            });
            // The entries of very long directories are looked at again when it is their turn: a million of them would fill the memory.
            if state.names.len() > PAGE_MAX && child.is_none() {
                continue;
            }
            state.entries.push(Entry { name: place as u32, stat, child });
        }
        // On the way to a source there is no row: few entries, and their trees come from the parent snapshot itself.
        let digest = digest.finish();
        if directory.way.is_none() {
            let (row, moved) = self.run.row(directory, &volume)?;
            state.trusted = !moved && row.as_ref().is_some_and(|row| Some(row.tree) == directory.expected);
            state.moved = moved;
            state.all_same = state.trusted
                && self.run.tree_reuse
                && trust.reuse
                && steady
                && state.entries.iter().all(|entry| entry.stat.is_ok())
                && digest != change::NEVER
                && row.as_ref().is_some_and(|row| row.digest == digest);
            state.row = row;
        }
        state.volume = Some((volume, now));
        let expected = self.expected_children(directory, &state)?;
        let children = self.children(directory, &state, expected);
        state.handle = Some(handle);
        *directory.lock() = state;
        Ok(Ok(children))
    }

    /// Trees of the child directories in the parent snapshot, in the order of the entries.
    fn expected_children(&self, directory: &Directory, state: &State) -> Result<Vec<Option<Id>>, Error> {
        let mut expected = vec![None; state.children.len()];
        if state.children.is_empty() {
            return Ok(expected);
        }
        if state.all_same && state.names.len() <= PAGE_MAX {
            // Entries and rows go side by side: nothing was added or taken away.
            if let Some(row) = &state.row {
                for (entry, seen) in state.entries.iter().zip(SideReader::new(&row.side)) {
                    if let Some(child) = entry.child {
                        expected[child as usize] = seen.tree;
                    }
                }
            }
            return Ok(expected);
        }
        let tree = match (&directory.way, state.trusted) {
            (Some(_), _) => directory.expected,
            (None, true) => state.row.as_ref().map(|row| row.tree),
            (None, false) => None,
        };
        let Some(tree) = tree else { return Ok(expected) };
        let mut nodes = self.run.repository.nodes(tree).map_while(Result::ok).peekable();
        for entry in &state.entries {
            let Some(child) = entry.child else { continue };
            let name = state.names.bytes(entry.name as usize);
            while nodes.next_if(|node| node.name.as_slice() < name).is_some() {}
            if let Some(node) = nodes.next_if(|node| node.name == name) {
                expected[child as usize] = node.tree;
            }
        }
        Ok(expected)
    }

    fn children(
        &self,
        directory: &Arc<Directory>,
        state: &State,
        expected: Vec<Option<Id>>,
    ) -> Vec<Arc<Directory>> {
        let mut children = Vec::with_capacity(expected.len());
        for entry in &state.entries {
            let (Some(child), Ok(stat)) = (entry.child, entry.stat) else { continue };
            let name = state.names.bytes(entry.name as usize);
            let way = match &directory.way {
                None => None,
                Some(ways) => ways.get(name).and_then(|way| (!way.whole).then(|| way.below.clone())),
            };
            // Another file system that is not entered: the mount point stays, as an empty folder.
            let way = if self.run.is_foreign(directory, &stat) { Some(Default::default()) } else { way };
            children.push(Arc::new(Directory {
                parent: Some((directory.clone(), child as usize)),
                name: name.to_vec(),
                stat,
                key: self.run.key(directory.key, name),
                depth: directory.depth + 1,
                way,
                expected: expected[child as usize],
                pending: AtomicUsize::new(0),
                state: Default::default(),
            }));
        }
        // Taken from the end: the first name first.
        children.reverse();
        children
    }

    /// Reads what changed and stores the directory's tree.
    fn finish(&mut self, directory: &Arc<Directory>) -> Result<Child, Error> {
        let mut state = std::mem::take(&mut *directory.lock());
        let Some(handle) = state.handle.take() else { return Ok(Child::Gone) };
        let Some((volume, here)) = state.volume.take() else { return Ok(Child::Gone) };
        self.run.visit(directory);
        let trust = volume.trust();
        let same_children =
            state.children.iter().all(|child| matches!(child, Some(Child::Done { same: true, .. })));
        if state.all_same
            && same_children
            && let Some(row) = &state.row
        {
            let again = (state.names.len() > PAGE_MAX).then(|| {
                let stat = |place: usize| {
                    files::stat(handle.as_fd(), state.names.bytes(place))
                        .ok()
                        .map(|stat| (place as u32, stat))
                };
                (0..state.names.len()).filter_map(stat).filter(|(_, stat)| stat.kind != NodeType::Directory)
            });
            self.run.count_unmodified(directory, &state, again.into_iter().flatten());
            return Ok(Child::Done { tree: row.tree, same: true });
        }
        let row = state.row.take();
        // An interrupted run left them, if any: a finished directory has a row.
        let finished = match &row {
            Some(_) => Default::default(),
            None => self.run.finished_files(directory, &volume)?,
        };
        let mut old = match &directory.way {
            None => self.old(row.as_ref()),
            Some(_) => self.old_on_the_way(directory),
        };
        let mut job = Job {
            directory,
            handle: handle.as_fd(),
            volume: &volume,
            here: &here,
            trust,
            trusted: state.trusted || directory.way.is_some(),
            moved: state.moved,
            finished,
            builder: TreeBuilder::new(self.run.store, self.number),
            side: SideWriter::new(volume.id),
            digest: Digest::new(volume.id),
            clean: trust.reuse && here.same_inode(&directory.stat),
        };
        if state.names.len() > PAGE_MAX {
            let filter = self.run.filter(directory, &handle, &state.names);
            let mut listed = state.entries.iter().peekable();
            for place in 0..state.names.len() {
                let name = state.names.bytes(place);
                if let Some(entry) = listed.next_if(|entry| entry.name as usize == place) {
                    self.entry(
                        &mut job,
                        &mut old,
                        name,
                        entry.stat,
                        entry.child.and_then(|child| state.children[child as usize]),
                    )?;
                    continue;
                }
                let stat = match files::stat(handle.as_fd(), name) {
                    Ok(stat) if stat.kind == NodeType::Directory => continue,
                    Ok(stat) => Ok(stat),
                    Err(rustix::io::Errno::NOENT) => continue,
                    Err(error) => Err(reason(error)),
                };
                if self.run.is_wanted(directory, filter.as_ref(), name, &stat) {
                    self.entry(&mut job, &mut old, name, stat, None)?;
                    self.run.checkpoint_when_due()?;
                }
            }
        } else {
            for entry in &state.entries {
                let name = state.names.bytes(entry.name as usize);
                self.entry(
                    &mut job,
                    &mut old,
                    name,
                    entry.stat,
                    entry.child.and_then(|child| state.children[child as usize]),
                )?;
            }
        }
        let Job { builder, side, digest, clean, .. } = job;
        let tree = builder.finish()?;
        self.run.counts.directories.fetch_add(1, Ordering::Relaxed);
        if directory.way.is_none() {
            let digest = if clean { digest.finish() } else { change::NEVER };
            let new = DirectoryRow {
                key: directory.key,
                tree,
                digest,
                inode: directory.stat.inode,
                side: side.finish(),
            };
            // What is known already need not be written again.
            let new = Some(new).filter(|new| row.as_ref() != Some(new));
            self.run.journal_row(directory, &volume, new);
        }
        // Dirty or not, an equal tree is an equal tree: what counts is whether it is stored, and that was looked up.
        let same = state.trusted && directory.expected == Some(tree);
        Ok(Child::Done { tree, same })
    }

    fn old_on_the_way<'a>(&self, directory: &Directory) -> Old<'a>
    where
        'r: 'a,
    {
        let nodes: Box<dyn Iterator<Item = Result<Node, Error>> + 'a> = match directory.expected {
            Some(tree) => Box::new(self.run.repository.nodes(tree)),
            None => Box::new(std::iter::empty()),
        };
        // No inode is remembered here, so nothing is taken over unread; the nodes serve as "previous" of what is unreadable.
        let mut old = Old { nodes, side: SideReader::endless(), next: None };
        old.advance();
        old
    }

    /// One entry: its node goes to the builder, and what was seen of it to the row.
    fn entry(
        &mut self,
        job: &mut Job<'_, '_>,
        old: &mut Old<'_>,
        name: &[u8],
        stat: Result<Stat, Unread>,
        child: Option<Child>,
    ) -> Result<(), Error> {
        self.run.check_stop()?;
        let before = old.find(name);
        let stat = match stat {
            Ok(stat) => stat,
            Err(why) => {
                self.run.problem(job.directory, Some(name), why.words(), "unreadable");
                return self.put_unreadable(job, name, None, why, before);
            }
        };
        let seen = Seen::new(&stat, self.run.clock.now(), self.run.racy_seconds());
        let mounted = change::is_mounted(job.here, &stat);
        job.clean &= !mounted;
        if stat.kind == NodeType::Directory {
            return match child {
                Some(Child::Done { tree, .. }) => {
                    let before = before.filter(|_| !mounted);
                    self.put_directory(job, name, &stat, seen, tree, before)
                }
                Some(Child::Unreadable(why)) => self.put_unreadable(job, name, Some(&stat), why, before),
                _ => self.put_gone(job, name, &stat, before),
            };
        }
        if let Some((node, before_seen)) = &before {
            let same = if job.moved {
                change::is_unmoved(node, before_seen, &stat, job.trust)
            } else {
                change::is_unchanged(node, before_seen, &stat, job.trust)
            };
            if same && !mounted && (job.trusted || self.run.is_stored(node)?) {
                let mut node = node.clone();
                self.run.name_owners(&mut node, &stat);
                self.run.count_file(job.directory, name, &node, FileStatus::Unmodified);
                return self.put(job, name, &stat, seen, &node);
            }
        }
        if !mounted && let Some(node) = self.take_finished(job, name, &stat)? {
            return self.put(job, name, &stat, seen, &node);
        }
        match self.read_entry(job.handle, job.directory, job.volume, name, stat)? {
            Outcome::Node(node, stat, looked_at) => {
                let seen = Seen::new(&stat, looked_at, self.run.racy_seconds());
                let seen = Seen { racy: seen.racy || node.error.is_some(), ..seen };
                // Read again only because its times were too fresh: equal is equal.
                let status = match &before {
                    Some((old, _)) if *old == *node => FileStatus::Unmodified,
                    Some(_) => FileStatus::Changed,
                    None => FileStatus::New,
                };
                self.run.count_read(job.directory, name, &node, status);
                job.clean &= !self.tell_unread(job.directory, name) && node.error.is_none();
                self.put(job, name, &stat, seen, &node)?;
                if !mounted {
                    self.run.journal_file(job.directory, job.volume, name, &seen, &node);
                }
                Ok(())
            }
            Outcome::Unreadable(why) => self.put_unreadable(job, name, Some(&stat), why, before),
            Outcome::Gone => self.put_gone(job, name, &stat, before),
        }
    }

    /// An entry that was there a moment ago: nothing, unless it was asked for by name or leads to what was.
    fn put_gone(
        &mut self,
        job: &mut Job<'_, '_>,
        name: &[u8],
        stat: &Stat,
        before: Option<(Node, Seen)>,
    ) -> Result<(), Error> {
        if job.directory.way.is_none() {
            return Ok(());
        }
        self.run.problem(job.directory, Some(name), Unread::Vanished.words(), "unreadable");
        self.put_unreadable(job, name, Some(stat), Unread::Vanished, before)
    }

    fn take_finished(
        &mut self,
        job: &mut Job<'_, '_>,
        name: &[u8],
        stat: &Stat,
    ) -> Result<Option<Node>, Error> {
        let Some((seen, node)) = job.finished.remove(name) else { return Ok(None) };
        if !change::is_unchanged(&node, &seen, stat, job.trust) || !self.run.is_stored(&node)? {
            return Ok(None);
        }
        self.run.count_file(job.directory, name, &node, FileStatus::New);
        Ok(Some(node))
    }

    fn put_directory(
        &mut self,
        job: &mut Job<'_, '_>,
        name: &[u8],
        stat: &Stat,
        seen: Seen,
        tree: Id,
        before: Option<(Node, Seen)>,
    ) -> Result<(), Error> {
        let mut node = match before {
            Some((node, before))
                if !job.moved && job.trusted && change::is_unchanged(&node, &before, stat, job.trust) =>
            {
                let mut node = node;
                self.run.name_owners(&mut node, stat);
                node
            }
            _ => {
                let node = self.capture(job.handle, name, stat, None)?;
                job.clean &= !self.tell_unread(job.directory, name);
                node
            }
        };
        node.tree = Some(tree);
        let seen = Seen { tree: Some(tree), ..seen };
        self.put(job, name, stat, seen, &node)
    }

    fn put_unreadable(
        &mut self,
        job: &mut Job<'_, '_>,
        name: &[u8],
        stat: Option<&Stat>,
        why: Unread,
        before: Option<(Node, Seen)>,
    ) -> Result<(), Error> {
        self.run.counts.unreadable.fetch_add(1, Ordering::Relaxed);
        job.clean = false;
        let mut node = Node::new(name, NodeType::Unreadable);
        node.error = Some(why);
        if let Some(stat) = stat {
            super::entry::put_stat(&mut node, stat);
            node.was = Some(stat.kind);
            node.size = 0;
        }
        node.previous = match before {
            // What was last known goes along, not a chain of all that was ever unreadable.
            Some((before, _)) if before.kind == NodeType::Unreadable => before.previous,
            Some((before, _)) => crate::format::node::encode(&before),
            None => Vec::new(),
        };
        job.builder.push(name, crate::format::node::encode(&node))?;
        job.side.push(&Seen { inode: 0, ctime: node.mtime, racy: true, tree: None });
        Ok(())
    }

    fn put(
        &mut self,
        job: &mut Job<'_, '_>,
        name: &[u8],
        stat: &Stat,
        seen: Seen,
        node: &Node,
    ) -> Result<(), Error> {
        job.clean &= !seen.racy;
        job.digest.add(name, stat, job.trust);
        job.side.push(&seen);
        job.builder.push(name, crate::format::node::encode(node))
    }
}

/// A directory being finished.
struct Job<'a, 's> {
    directory: &'a Arc<Directory>,
    handle: BorrowedFd<'a>,
    volume: &'a Volume,
    /// The directory itself, as it was when it was listed.
    here: &'a files::Stat,
    trust: Trust,
    /// What the old nodes name is stored for certain.
    trusted: bool,
    moved: bool,
    /// Files that an interrupted run had finished here.
    finished: std::collections::HashMap<Vec<u8>, (Seen, Node)>,
    builder: TreeBuilder<'s>,
    side: SideWriter,
    digest: Digest,
    /// Everything can be taken over unseen next time.
    clean: bool,
}

/// The key of a child directory's row.
pub fn key(hasher: &crate::crypto::Hasher, parent: Id16, name: &[u8]) -> Id16 {
    hasher.local(&[&parent.0[..], name].concat())
}
