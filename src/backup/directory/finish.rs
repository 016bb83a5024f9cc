//! A directory's end: its entries compared with what is remembered of them, what changed read, and its tree stored.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::old::Old;
use crate::backup::change::{self, Digest, Seen, SideReader, SideWriter, Trust};
use crate::backup::entry::{self, Outcome, Worker};
use crate::backup::walk::{Child, Directory, Entry, State, Volume};
use crate::files::unread as reason;
use crate::files::{self, Stat};
use crate::format::limits::PAGE_MAX;
use crate::index::DirectoryRow;
use crate::model::{Id, Node, NodeType, Unread};
use crate::progress::FileStatus;
use crate::repository::{Error, build::TreeBuilder};

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
    /// A file here has other names, through which it may change.
    linked: bool,
    /// An entry that is on no file system, until its place in the order of names has come.
    made: Option<&'a Node>,
}

impl Job<'_, '_> {
    /// Puts what is on no file system before the entry of that name.
    fn put_made(&mut self, next: Option<&[u8]>) -> Result<(), Error> {
        let is_due = |made: &&Node| next.is_none_or(|next| made.name.as_slice() < next);
        let Some(made) = self.made.take_if(|made| is_due(made)) else { return Ok(()) };
        self.clean = false;
        self.side.push(&Seen { inode: 0, ctime: made.mtime, racy: true, tree: made.tree });
        self.builder.push(&made.name, crate::format::node::encode(made))
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
                has_failed: false,
            },
            None => Old {
                nodes: Box::new(std::iter::empty()),
                side: SideReader::new(&[]),
                next: None,
                has_failed: false,
            },
        };
        old.advance();
        old
    }

    /// Reads what changed and stores the directory's tree.
    pub(super) fn finish(&mut self, directory: &Arc<Directory>) -> Result<Child, Error> {
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
                let stat = |place: usize| files::stat(handle.as_fd(), state.names.bytes(place)).ok();
                (0..state.names.len()).filter_map(stat).filter(|stat| stat.kind != NodeType::Directory)
            });
            if self.run.count_unmodified(directory, &state, again.into_iter().flatten()) {
                self.run.look_again(directory);
            }
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
            linked: false,
            made: self.run.made.as_ref().filter(|_| directory.parent.is_none()),
        };
        if state.names.len() > PAGE_MAX {
            let filter = self.run.filter(directory, &handle, &state.names);
            let mut listed = state.entries.iter().peekable();
            for place in 0..state.names.len() {
                let name = state.names.bytes(place);
                if let Some(entry) = listed.next_if(|entry| entry.name as usize == place) {
                    self.listed(&mut job, &mut old, &state, entry)?;
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
                self.listed(&mut job, &mut old, &state, entry)?;
            }
        }
        if old.has_failed {
            self.run.counts.not_compared.store(true, Ordering::Relaxed);
        }
        job.put_made(None)?;
        let Job { builder, side, digest, clean, linked, .. } = job;
        let tree = builder.finish()?;
        self.run.counts.directories.fetch_add(1, Ordering::Relaxed);
        if directory.way.is_none() {
            if !clean || linked {
                self.run.look_again(directory);
            }
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
        let mut old = Old { nodes, side: SideReader::endless(), next: None, has_failed: false };
        old.advance();
        old
    }

    /// An entry of a directory whose entries are all in memory.
    fn listed(
        &mut self,
        job: &mut Job<'_, '_>,
        old: &mut Old<'_>,
        state: &State,
        entry: &Entry,
    ) -> Result<(), Error> {
        let name = state.names.bytes(entry.name as usize);
        let child = entry.child.and_then(|child| state.children[child as usize]);
        self.entry(job, old, name, entry.stat, child)
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
        job.put_made(Some(name))?;
        let before = old.find(name);
        let stat = match stat {
            Ok(stat) => stat,
            Err(why) => {
                self.run.problem(job.directory, Some(name), why.words(), "unreadable");
                return self.put_unreadable(job, name, None, why, before);
            }
        };
        let seen = Seen::new(&stat, self.run.read_as_of(job.volume), self.run.racy_seconds());
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
            if same && !mounted && (job.trusted || self.run.store.holds(node)?) {
                let mut node = node.clone();
                self.run.name_owners(&mut node, &stat);
                self.run.count_file(job.directory, name, &node, FileStatus::Unmodified);
                job.linked |= self.run.see_link(&stat, false);
                return self.put(job, name, &stat, seen, &node);
            }
        }
        if !mounted && let Some(node) = self.take_finished(job, name, &stat)? {
            job.linked |= self.run.see_link(&stat, true);
            return self.put(job, name, &stat, seen, &node);
        }
        match self.read_entry(job.handle, job.directory, job.volume, name, stat)? {
            Outcome::Node(node, stat, looked_at, is_encrypted) => {
                let seen = Seen::new(&stat, looked_at, self.run.racy_seconds());
                let seen = Seen { racy: seen.racy || node.error.is_some(), ..seen };
                // Read again only because its times were too fresh: equal is equal.
                let status = match &before {
                    Some((old, _)) if *old == *node => FileStatus::Unmodified,
                    Some(_) => FileStatus::Changed,
                    None => FileStatus::New,
                };
                if is_encrypted {
                    self.run.counts.files_incompressible.fetch_add(1, Ordering::Relaxed);
                }
                self.run.count_read(job.directory, name, &node, status);
                let steady = status == FileStatus::Unmodified
                    && before.as_ref().is_some_and(|(_, seen)| seen.ctime == stat.ctime);
                job.linked |= self.run.see_link(&stat, !steady);
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
        if !change::is_unchanged(&node, &seen, stat, job.trust) || !self.run.store.holds(&node)? {
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
                // Of what is read elsewhere, the attributes of that.
                let stand_in = self.run.stand_ins.of_entry(job.directory, name);
                let opened = stand_in.and_then(|stand_in| files::open_root(&stand_in.folder).ok());
                let node = self.capture(job.handle, name, stat, opened.as_ref().map(AsFd::as_fd))?;
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
        self.run.count_unreadable(job.directory, name);
        job.clean = false;
        let mut node = Node::new(name, NodeType::Unreadable);
        node.error = Some(why);
        if let Some(stat) = stat {
            entry::put_stat(&mut node, stat);
            node.was = Some(stat.kind);
            node.size = 0;
        }
        node.previous = match before {
            // What was last known goes along, not a chain of all that was ever unreadable.
            Some((before, _)) if before.kind == NodeType::Unreadable => before.previous,
            Some((before, _)) => crate::format::node::encode(&before),
            None => Vec::new(),
        };
        if !job.trusted && !self.can_keep(&node.previous)? {
            node.previous.clear();
        }
        job.builder.push(name, crate::format::node::encode(&node))?;
        job.side.push(&Seen { inode: 0, ctime: node.mtime, racy: true, tree: None });
        Ok(())
    }

    /// Whether all that a node of before needs is known to be stored. Of a folder that would be all below it: it is not looked for.
    fn can_keep(&self, previous: &[u8]) -> Result<bool, Error> {
        match crate::format::node::decode(previous) {
            Ok(node) => Ok(node.tree.is_none() && self.run.store.holds(&node)?),
            Err(_) => Ok(false),
        }
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
