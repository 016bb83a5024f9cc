//! One entry that has to be looked at: its metadata captured, its content read, again when it moved meanwhile.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directory::Parents;
use super::file::{Failure, Reader};
use super::run::Run;
use super::walk::{Directory, Volume};
use crate::files::{self, OpenError, Stat};
use crate::format::limits::{NODE_MAX, SYMLINK_MAX, XATTR_INLINE};
use crate::model::{Content, Contents, Node, NodeType, Time, Unread, Xattr, XattrValue};
use crate::repository::Error;

/// How often a file that changes while it is read is read.
const TRIES: usize = 3;
/// Largest file that is read again because it changed: a growing log of gigabytes would only change again.
const RETRY_MOST: u64 = 256 << 20;

/// What came of an entry.
pub enum Outcome {
    /// Its node, its stat as read, when it was looked at, and whether it has new contents that look encrypted.
    Node(Box<Node>, Stat, Time, bool),
    Unreadable(Unread),
    Gone,
}

/// One of the threads that walk.
pub struct Worker<'r> {
    pub run: &'r Run<'r>,
    pub number: usize,
    pub reader: Reader<'r>,
    pub parents: Parents,
    /// What could not be read of the entry captured last, and why.
    pub unread: Vec<(String, rustix::io::Errno)>,
}

/// Copies what a stat says into a node.
pub fn put_stat(node: &mut Node, stat: &Stat) {
    node.mode = stat.mode;
    node.uid = stat.uid;
    node.gid = stat.gid;
    node.mtime = stat.mtime;
    node.btime = stat.btime;
    node.device = stat.device;
}

impl<'r> Worker<'r> {
    /// The node of an entry without its content or tree. What of it could not be read is in its `unread`, and in the worker's until
    /// `tell_unread`.
    pub fn capture(
        &mut self,
        handle: BorrowedFd<'_>,
        name: &[u8],
        stat: &Stat,
        opened: Option<BorrowedFd<'_>>,
    ) -> Result<Node, Error> {
        self.unread.clear();
        let mut node = Node::new(name, stat.kind);
        put_stat(&mut node, stat);
        self.run.name_owners(&mut node, stat);
        let attributes = match opened {
            Some(file) => files::xattrs_fd(file),
            None => files::xattrs(handle, name),
        };
        let attributes = match attributes {
            Ok(attributes) => attributes,
            // Gone meanwhile: the next look will say so.
            Err(rustix::io::Errno::NOENT) => files::Xattrs::default(),
            Err(error) => files::Xattrs { values: Vec::new(), unread: vec![(b"(all)".to_vec(), error)] },
        };
        let mut inline = 0;
        for (name, value) in attributes.values {
            inline += value.len();
            // Together they must stay far below the longest node.
            let value = if value.len() <= XATTR_INLINE && inline <= NODE_MAX / 4 || value.is_empty() {
                XattrValue::Inline(value)
            } else {
                let (id, _) = self.run.store.save(self.number, Contents::Data, &value)?;
                XattrValue::Chunk(id, value.len() as u64)
            };
            node.xattrs.push(Xattr { name, value });
        }
        node.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
        for (name, error) in attributes.unread {
            self.unread.push((format!("attribute {}", String::from_utf8_lossy(&name)), error));
        }
        if matches!(stat.kind, NodeType::File | NodeType::Directory) {
            let flags = match opened {
                Some(file) => files::inode_flags(file),
                None => {
                    files::open_directory(handle, name).and_then(|folder| files::inode_flags(folder.as_fd()))
                }
            };
            match flags {
                Ok(flags) => node.flags = flags,
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => self.unread.push(("inode flags".to_owned(), error)),
            }
        }
        node.unread = self.unread.iter().map(|(what, _)| what.clone()).collect();
        Ok(node)
    }

    /// Tells what could not be read of the entry that was captured last, and counts it; whether there was anything.
    pub fn tell_unread(&mut self, directory: &Directory, name: &[u8]) -> bool {
        if self.unread.is_empty() {
            return false;
        }
        self.run.counts.metadata_unread.fetch_add(1, Ordering::Relaxed);
        for (what, error) in self.unread.drain(..) {
            self.run.problem(directory, Some(name), &format!("{what}: {error}"), "metadata_not_read");
        }
        true
    }

    /// Tells that an entry can not be read.
    fn unreadable(&self, directory: &Directory, name: &[u8], error: rustix::io::Errno) -> Outcome {
        self.run.problem(directory, Some(name), &error.to_string(), "unreadable");
        Outcome::Unreadable(files::unread(error))
    }

    /// Reads an entry that is no directory.
    pub fn read_entry(
        &mut self,
        handle: BorrowedFd<'_>,
        directory: &Arc<Directory>,
        volume: &Volume,
        name: &[u8],
        mut stat: Stat,
    ) -> Result<Outcome, Error> {
        self.reader.begin();
        for attempt in 1.. {
            let looked_at = self.run.read_as_of(volume);
            let again = attempt < TRIES && stat.size <= RETRY_MOST;
            let read = match stat.kind {
                NodeType::File => self.read_file(handle, directory, volume, name, &stat, again)?,
                _ => self.read_special(handle, directory, volume, name, &stat)?,
            };
            match read {
                Some(Outcome::Node(node, stat, _, is_encrypted)) => {
                    return Ok(Outcome::Node(node, stat, looked_at, is_encrypted));
                }
                Some(outcome) => return Ok(outcome),
                None => {}
            }
            // It changed under us, perhaps into something else.
            match files::stat(handle, name) {
                Ok(now) if now.kind == NodeType::Directory || attempt >= 2 * TRIES => {
                    self.run.problem(directory, Some(name), Unread::Changed.words(), "unreadable");
                    return Ok(Outcome::Unreadable(Unread::Changed));
                }
                Ok(now) => stat = now,
                Err(rustix::io::Errno::NOENT) => return Ok(Outcome::Gone),
                Err(error) => {
                    return Ok(self.unreadable(directory, name, error));
                }
            }
        }
        Ok(Outcome::Gone)
    }

    /// None: look again, it is not what it was.
    fn read_file(
        &mut self,
        handle: BorrowedFd<'_>,
        directory: &Arc<Directory>,
        volume: &Volume,
        name: &[u8],
        stat: &Stat,
        again: bool,
    ) -> Result<Option<Outcome>, Error> {
        let (file, now) = match files::open_file(handle, name, stat) {
            Ok(opened) => opened,
            Err(OpenError::ChangedType | OpenError::Replaced) => return Ok(None),
            Err(OpenError::Io(rustix::io::Errno::NOENT)) => return Ok(Some(Outcome::Gone)),
            Err(OpenError::Io(error)) => {
                return Ok(Some(self.unreadable(directory, name, error)));
            }
        };
        // As it is now: the listing may be hours old.
        let stat = &now;
        let mut node = self.capture(handle, name, stat, Some(file.as_fd()))?;
        node.size = stat.size;
        if stat.nlink > 1 {
            node.link = Some(self.run.link_group(stat, volume));
            if let Some(content) = self.run.linked_content(&node, stat) {
                node.content = content;
                return Ok(Some(Outcome::Node(Box::new(node), *stat, Time::default(), false)));
            }
        }
        match self.reader.read(file.as_fd(), stat, &volume.file_system) {
            Ok(read) => {
                if read.changed && again {
                    return Ok(None);
                }
                node.content = read.content;
                node.size = read.size;
                if read.changed {
                    node.error = Some(Unread::Changed);
                    self.run.counts.changed_while_read.fetch_add(1, Ordering::Relaxed);
                    self.run.problem(directory, Some(name), Unread::Changed.words(), "changed_while_read");
                } else if stat.nlink > 1 {
                    self.run.remember_link(&node, stat);
                }
                Ok(Some(Outcome::Node(Box::new(node), *stat, Time::default(), read.is_encrypted)))
            }
            Err(Failure::Storage(error)) => Err(error),
            Err(Failure::Source(why)) => {
                self.run.problem(directory, Some(name), why.words(), "unreadable");
                Ok(Some(Outcome::Unreadable(why)))
            }
        }
    }

    fn read_special(
        &mut self,
        handle: BorrowedFd<'_>,
        directory: &Arc<Directory>,
        volume: &Volume,
        name: &[u8],
        stat: &Stat,
    ) -> Result<Option<Outcome>, Error> {
        let mut node = self.capture(handle, name, stat, None)?;
        if stat.kind == NodeType::Symlink {
            match files::read_link(handle, name) {
                Ok(target) if target.len() <= SYMLINK_MAX => node.target = target,
                Ok(_) | Err(rustix::io::Errno::INVAL) => return Ok(None),
                Err(rustix::io::Errno::NOENT) => return Ok(Some(Outcome::Gone)),
                Err(error) => {
                    return Ok(Some(self.unreadable(directory, name, error)));
                }
            }
        }
        if stat.nlink > 1 {
            node.link = Some(self.run.link_group(stat, volume));
        }
        node.content = Content::default();
        Ok(Some(Outcome::Node(Box::new(node), *stat, Time::default(), false)))
    }
}
