//! One entry: what is to be done with it by what is there already, and making it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::existing::{is_equal, is_to_replace};
use super::output::{self, Job, Place};
use super::window::Windows;
use super::{Overwrite, Run};
use crate::files::{self, Stat, Target};
use crate::model::{Node, NodeType};
use crate::progress::{Event, FileStatus};
use crate::repository::Error;

/// Bytes of a file from which on only its changed parts are rewritten. Smaller ones are written anew, which leaves the old one whole
/// until the new one is.
const REWRITE_MIN: u64 = 16 << 20;

/// What is known of a folder that entries are made in.
#[derive(Clone, Copy, Default)]
pub struct Made {
    /// This run made it: nothing is in it yet but what this run puts there.
    pub is_new: bool,
    /// It hands no attributes down to what is made in it.
    pub is_bare: bool,
}

/// A folder that entries are made in.
pub struct Folder {
    pub handle: Arc<OwnedFd>,
    pub made: Made,
}

/// What is to be done with an entry.
enum Decision {
    /// Nothing is there.
    Make,
    /// Something is there that goes when the new one is ready.
    Replace(Stat),
    /// A regular file is there whose changed parts are rewritten.
    Rewrite,
    Skip,
}

impl<'r> Run<'r> {
    fn decide(&self, folder: &Folder, node: &Node, path: &[u8]) -> Decision {
        if folder.made.is_new {
            return Decision::Make;
        }
        let handle = &folder.handle;
        let stat = match files::stat(handle.as_fd(), &node.name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Decision::Make,
            Err(error) => {
                self.problem(path, &error.to_string(), "not_restored");
                return Decision::Skip;
            }
        };
        let equal = is_equal(handle.as_fd(), &node.name, &stat, node);
        if is_to_replace(self.options.overwrite, &stat, node, equal) {
            if self.options.keep_present && !equal {
                return match self.keep(handle.as_fd(), &node.name, &stat) {
                    // It may have only the other name by now.
                    Ok(()) => match files::stat(handle.as_fd(), &node.name) {
                        Err(Errno::NOENT) if !self.options.dry_run => Decision::Make,
                        _ => Decision::Replace(stat),
                    },
                    Err(error) => {
                        let what = format!("what is there can not be kept beside it, so it stays: {error}");
                        self.problem(path, &what, "not_restored");
                        Decision::Skip
                    }
                };
            }
            let is_file = stat.kind == NodeType::File && node.kind == NodeType::File;
            // One that was stopped half-way would be newer than the snapshot's, and kept by the next run.
            let in_place = self.options.overwrite != Overwrite::IfNewer;
            // And where most would be new anyway, comparing saves nothing.
            let is_like = stat.size >= REWRITE_MIN && stat.size >= node.size / 2;
            return if is_file && in_place && stat.nlink == 1 && is_like {
                Decision::Rewrite
            } else {
                Decision::Replace(stat)
            };
        }
        if !equal && self.options.overwrite == Overwrite::Keep {
            self.problem(path, "something else has come there meanwhile; it was kept", "not_restored");
        } else {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            self.tell(path, node, FileStatus::Unmodified);
        }
        Decision::Skip
    }

    pub(super) fn tell(&self, path: &[u8], node: &Node, status: FileStatus) {
        if self.options.tell_files {
            let bytes = node.size;
            self.listener.event(match node.kind {
                NodeType::File => Event::File { path, bytes, status },
                _ => Event::Item { path, bytes, status },
            });
        }
    }

    /// Makes a folder, or takes the one that is there, and opens it.
    pub(super) fn folder(&self, handle: &OwnedFd, node: &Node, path: &[u8]) -> Result<Option<Folder>, Error> {
        let mut is_new = true;
        let made = match files::make_directory(handle.as_fd(), &node.name) {
            Err(Errno::EXIST) => {
                let Ok(stat) = files::stat(handle.as_fd(), &node.name) else { return Ok(None) };
                if stat.kind == NodeType::Directory {
                    is_new = false;
                    Ok(())
                } else if is_to_replace(self.options.overwrite, &stat, node, false) {
                    self.keep(handle.as_fd(), &node.name, &stat)
                        .and_then(|()| self.folder_over(handle, &node.name))
                } else {
                    self.problem(path, "something that is no folder is there; it was kept", "not_restored");
                    return Ok(None);
                }
            }
            other => other,
        };
        match made.and_then(|()| files::open_directory(handle.as_fd(), &node.name)) {
            Ok(handle) => {
                let handle = Arc::new(handle);
                if !is_new {
                    self.sweep(&handle);
                    self.enters(&handle);
                }
                let is_bare = is_new
                    && files::xattrs_fd(handle.as_fd())
                        .is_ok_and(|all| all.values.is_empty() && all.unread.is_empty());
                if is_new {
                    self.tell(path, node, FileStatus::Restored);
                }
                Ok(Some(Folder { handle, made: Made { is_new, is_bare } }))
            }
            Err(error) => self.not_written(path, error).map(|()| None),
        }
    }

    /// Makes a folder in the place of something else, which goes once the folder can be made.
    fn folder_over(&self, handle: &OwnedFd, name: &[u8]) -> files::Result<()> {
        let temporary = self.temporary();
        files::make_directory(handle.as_fd(), &temporary)?;
        let removed = match files::remove_any(handle.as_fd(), name) {
            // It has another name now.
            Err(Errno::NOENT) => Ok(()),
            other => other,
        };
        let renamed = removed.and_then(|()| files::rename(handle.as_fd(), &temporary, name));
        if renamed.is_err() {
            let _ = files::remove_directory(handle.as_fd(), &temporary);
        }
        renamed
    }

    /// Makes an entry that is no folder and no file; over what is there, which goes once the new one can be made.
    fn special(
        &self,
        folder: &Folder,
        node: &Node,
        path: &[u8],
        there: Option<NodeType>,
    ) -> Result<(), Error> {
        let handle = folder.handle.as_fd();
        let mut named = node.clone();
        if there.is_some() {
            named.name = self.temporary();
        }
        let mut made = match node.kind {
            NodeType::Symlink => files::make_symlink(handle, &named.name, &node.target),
            _ => files::make_special(handle, &named),
        };
        if let (Ok(()), Some(kind)) = (made, there) {
            if kind == NodeType::Directory {
                made = files::remove_any(handle, &node.name);
            }
            made = made.and_then(|()| files::rename(handle, &named.name, &node.name));
            if made.is_err() {
                let _ = files::remove(handle, &named.name);
            }
        }
        if let Err(error) = made {
            let is_device = matches!(node.kind, NodeType::CharacterDevice | NodeType::BlockDevice);
            if is_device && error == Errno::PERM {
                self.problem(path, "devices can be made by root alone", "not_restored");
                return Ok(());
            }
            return self.not_written(path, error);
        }
        self.counts.others.fetch_add(1, Ordering::Relaxed);
        let status = if there.is_some() { FileStatus::Updated } else { FileStatus::Restored };
        self.tell(path, node, status);
        self.metadata(Target::Named(handle, &node.name), node, path, folder.made.is_bare);
        Ok(())
    }

    /// Makes an entry that is no folder and no file, by what was decided.
    pub(super) fn other(&self, folder: &Folder, node: &Node, path: &[u8]) -> Result<(), Error> {
        match self.decide(folder, node, path) {
            Decision::Skip => Ok(()),
            _ if self.options.dry_run => {
                self.would_make(node, path);
                Ok(())
            }
            Decision::Make => self.special(folder, node, path, None),
            Decision::Replace(stat) => self.special(folder, node, path, Some(stat.kind)),
            Decision::Rewrite => self.special(folder, node, path, Some(NodeType::File)),
        }
    }

    /// Gives metadata back to an entry that this run made; what could not be given is told. `is_bare`: it has no attributes yet.
    /// Whether the repository gave all of it.
    pub(super) fn metadata(&self, target: Target<'_>, node: &Node, path: &[u8], is_bare: bool) -> bool {
        let mut is_whole = true;
        let mut attributes = Vec::with_capacity(node.xattrs.len());
        for xattr in &node.xattrs {
            match &xattr.value {
                crate::model::XattrValue::Inline(value) => {
                    attributes.push((xattr.name.clone(), value.clone()))
                }
                crate::model::XattrValue::Chunk(id, length) => {
                    match self.repository.read_chunk(crate::model::Contents::Data, id) {
                        Ok(value) if value.len() as u64 == *length => {
                            attributes.push((xattr.name.clone(), value.to_vec()))
                        }
                        Ok(_) => {
                            is_whole = false;
                            self.damaged(path, "an attribute has another length than stored");
                        }
                        Err(error) => {
                            is_whole = false;
                            self.not_read(path, &error.to_string(), &error);
                        }
                    }
                }
            }
        }
        let apply = files::Apply {
            owners: &self.owners,
            numeric_ids: self.options.numeric_ids,
            is_root: self.is_root,
            is_bare,
        };
        for problem in apply.apply(target, node, &attributes) {
            self.problem(path, &format!("not given back: {problem}"), "metadata_not_restored");
        }
        is_whole
    }

    /// Counts a file of a dry run.
    fn would_restore(&self, node: &Node, path: &[u8]) {
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(node.size, Ordering::Relaxed);
        self.tell(path, node, FileStatus::Restored);
    }

    /// Counts an entry of a dry run that is no folder and no file.
    pub(super) fn would_make(&self, node: &Node, path: &[u8]) {
        self.counts.others.fetch_add(1, Ordering::Relaxed);
        self.tell(path, node, FileStatus::Restored);
    }

    pub(super) fn file(
        &self,
        windows: &mut Windows<'_, 'r>,
        folder: Option<&Folder>,
        node: Node,
        path: Vec<u8>,
    ) -> Result<(), Error> {
        let Some(folder) = folder else {
            self.would_restore(&node, &path);
            return Ok(());
        };
        let handle = &folder.handle;
        let place = match self.decide(folder, &node, &path) {
            Decision::Skip => return Ok(()),
            _ if self.options.dry_run => {
                self.would_restore(&node, &path);
                return Ok(());
            }
            Decision::Make => Place::New,
            Decision::Replace(stat) if stat.kind == NodeType::Directory => {
                if let Err(error) = files::remove_any(handle.as_fd(), &node.name) {
                    self.problem(&path, &format!("a folder is there: {error}"), "not_restored");
                    return Ok(());
                }
                Place::New
            }
            Decision::Replace(_) => Place::Replacing,
            // One that may not be written into is replaced as a whole, and nothing good by something that is not whole.
            Decision::Rewrite => match files::open_existing(handle.as_fd(), &node.name) {
                Ok(file) => match output::is_whole(self, file, &node)? {
                    true => Place::Existing,
                    false => Place::Replacing,
                },
                Err(_) => Place::Replacing,
            },
        };
        windows.add(Job { handle: handle.clone(), node, path, place, is_bare: folder.made.is_bare })
    }
}
