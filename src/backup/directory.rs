//! One directory: begun by listing it and looking at its entries, finished when its children are, by reading what changed.

mod finish;
mod old;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::change::{self, Digest, SideReader};
use super::entry::Worker;
use super::touched::Hint;
use super::unseen::Before;
use super::walk::{Child, Directory, Entry, State};
use crate::files::unread as reason;
use crate::files::{self};
use crate::format::limits::{DEPTH_MAX, PAGE_MAX};
use crate::model::{Id, Id16, NodeType, Unread};
use crate::repository::Error;

/// Ancestors that may be finished now, and whether somebody is at it.
#[derive(Default)]
pub struct Parents {
    later: Vec<Arc<Directory>>,
    settling: bool,
}

impl<'r> Worker<'r> {
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
        let hint = match self.unseen(directory)? {
            Ok(tree) => return Ok(Err(Child::Done { tree, same: true })),
            Err(hint) => hint,
        };
        let opened = match (self.run.stand_ins.of(directory), &directory.parent) {
            (Some(stand_in), _) => files::open_root(&stand_in.folder),
            (None, Some((parent, _))) => {
                let state = parent.lock();
                match &state.handle {
                    Some(handle) => files::open_directory(handle.as_fd(), &directory.name),
                    None => Err(rustix::io::Errno::BADF),
                }
            }
            (None, None) => files::open_root(std::path::Path::new("/")),
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
        if !volume.trust().reuse && directory.way.is_none() {
            self.run.walk_again(directory);
        }
        // A marked folder stays, as an empty one.
        let marked = directory.way.is_none() && self.run.is_marked(&handle, &names);
        if marked {
            self.run.options.excludes.patterns.pass_over(directory.path());
        }
        let names = if marked { files::Names::default() } else { names };
        let filter = self.run.filter(directory, &handle, &names);
        let trust = volume.trust();
        let mut state = State { names, ..State::default() };
        let mut digest = Digest::new(volume.id);
        // Mounted or put there since its parent was listed: what the parent says of it is of another one.
        let mut steady = now.same_inode(&directory.stat);
        let stand_ins = Some(&self.run.stand_ins).filter(|all| all.are_in(directory));
        for place in 0..state.names.len() {
            let name = state.names.bytes(place);
            let stat = match stand_ins.and_then(|all| all.of_entry(directory, name)) {
                Some(stand_in) => stand_in.stat(),
                None => files::stat(handle.as_fd(), name),
            };
            let stat = match stat {
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
                && row.as_ref().is_some_and(|row| row.digest == digest)
                && !(directory.parent.is_none() && self.run.made.is_some());
            state.row = row;
        }
        state.volume = Some((volume, now));
        state.handle = Some(handle);
        let expected = self.expected_children(directory, &state)?;
        let hint = self.hint_below(hint, directory, &state);
        let children = self.children(directory, &state, &hint, expected);
        *directory.lock() = state;
        Ok(Ok(children))
    }

    /// Trees of the child directories in the parent snapshot, in the order of the entries, and how they compare with what was seen of them.
    fn expected_children(
        &self,
        directory: &Directory,
        state: &State,
    ) -> Result<Vec<(Option<Id>, Before)>, Error> {
        let mut expected = vec![(None, Before::Changed); state.children.len()];
        if state.children.is_empty() {
            return Ok(expected);
        }
        if state.all_same && state.names.len() <= PAGE_MAX {
            // Entries and rows go side by side: nothing was added or taken away.
            if let Some(row) = &state.row {
                for (entry, seen) in state.entries.iter().zip(SideReader::new(&row.side)) {
                    if let Some(child) = entry.child {
                        expected[child as usize] = (seen.tree, Before::Same);
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
        let side = match &directory.way {
            Some(_) => SideReader::endless(),
            None => SideReader::new(state.row.as_ref().map_or(&[], |row| &row.side)),
        };
        let trust = state.volume.as_ref().map(|(volume, _)| volume.trust());
        let mut nodes = self.run.repository.nodes(tree).map_while(Result::ok).zip(side).peekable();
        for entry in &state.entries {
            let Some(child) = entry.child else { continue };
            let name = state.names.bytes(entry.name as usize);
            while nodes.next_if(|(node, _)| node.name.as_slice() < name).is_some() {}
            if let Some((node, seen)) = nodes.next_if(|(node, _)| node.name == name) {
                let before = match (&directory.way, trust, &entry.stat) {
                    (Some(_), ..) => Before::Unsure,
                    (None, Some(trust), Ok(stat)) => Before::of(&node, &seen, stat, trust),
                    _ => Before::Changed,
                };
                expected[child as usize] = (node.tree, before);
            }
        }
        Ok(expected)
    }

    fn children(
        &self,
        directory: &Arc<Directory>,
        state: &State,
        hint: &Hint,
        expected: Vec<(Option<Id>, Before)>,
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
            let is_foreign = self.run.is_foreign(directory, &stat);
            if is_foreign {
                self.run.options.excludes.patterns.look_away();
            }
            let way = if is_foreign { Some(Default::default()) } else { way };
            let (expected, before) = expected[child as usize];
            children.push(Arc::new(Directory {
                parent: Some((directory.clone(), child as usize)),
                name: name.to_vec(),
                stat,
                key: self.run.key(directory.key, name),
                depth: directory.depth + 1,
                way,
                expected,
                hint: hint.below(name),
                before,
                pending: AtomicUsize::new(0),
                state: Default::default(),
            }));
        }
        // Taken from the end: the first name first.
        children.reverse();
        children
    }
}

/// The key of a child directory's row.
pub fn key(hasher: &crate::crypto::Hasher, parent: Id16, name: &[u8]) -> Id16 {
    hasher.local(&[&parent.0[..], name].concat())
}
