//! The first pass: folders are made, files go to the windows, everything else is made at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::existing::{beside, is_equal, is_to_replace};
use super::output::{self, Job, Place};
use super::walk::{Step, Walk};
use super::window::Windows;
use super::{Overwrite, Run};
use crate::files::{self, Stat, Target};
use crate::model::{Id, Id16, Node, NodeType};
use crate::progress::{Event, FileStatus};
use crate::repository::Error;

/// Bytes of a file from which on only its changed parts are rewritten. Smaller ones are written anew, which leaves the old one whole
/// until the new one is.
const REWRITE_MIN: u64 = 16 << 20;

/// What is known of a folder that entries are made in.
#[derive(Clone, Copy, Default)]
struct Made {
    /// This run made it: nothing is in it yet but what this run puts there.
    is_new: bool,
    /// It hands no attributes down to what is made in it.
    is_bare: bool,
}

/// A folder that entries are made in.
struct Folder {
    handle: Arc<OwnedFd>,
    made: Made,
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
            let is_file = stat.kind == NodeType::File && node.kind == NodeType::File;
            // One that was stopped half-way would be newer than the snapshot's, and kept by the next run.
            let in_place = self.options.overwrite != Overwrite::IfNewer;
            return if is_file && in_place && stat.nlink == 1 && stat.size >= REWRITE_MIN {
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
            self.listener.event(Event::File { path, bytes: node.size, status });
        }
    }

    /// Makes a folder, or takes the one that is there, and opens it.
    fn folder(&self, handle: &OwnedFd, node: &Node, path: &[u8]) -> Result<Option<Folder>, Error> {
        let mut is_new = true;
        let made = match files::make_directory(handle.as_fd(), &node.name) {
            Err(Errno::EXIST) => {
                let Ok(stat) = files::stat(handle.as_fd(), &node.name) else { return Ok(None) };
                if stat.kind == NodeType::Directory {
                    is_new = false;
                    Ok(())
                } else if is_to_replace(self.options.overwrite, &stat, node, false) {
                    self.folder_over(handle, &node.name)
                } else {
                    self.problem(path, "something that is no folder is there; it was kept", "not_restored");
                    return Ok(None);
                }
            }
            other => other,
        };
        match made.and_then(|()| files::open_directory(handle.as_fd(), &node.name)) {
            Ok(handle) => {
                let is_bare = is_new
                    && files::xattrs_fd(handle.as_fd())
                        .is_ok_and(|all| all.values.is_empty() && all.unread.is_empty());
                Ok(Some(Folder { handle: Arc::new(handle), made: Made { is_new, is_bare } }))
            }
            Err(error) => self.not_written(path, error).map(|()| None),
        }
    }

    /// Makes a folder in the place of something else, which goes once the folder can be made.
    fn folder_over(&self, handle: &OwnedFd, name: &[u8]) -> files::Result<()> {
        let temporary = self.temporary();
        files::make_directory(handle.as_fd(), &temporary)?;
        let renamed = files::remove_any(handle.as_fd(), name)
            .and_then(|()| files::rename(handle.as_fd(), &temporary, name));
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
        self.metadata(Target::Named(handle, &node.name), node, path, folder.made.is_bare);
        Ok(())
    }

    /// Makes an entry that is no folder and no file, by what was decided.
    fn other(&self, folder: &Folder, node: &Node, path: &[u8]) -> Result<(), Error> {
        match self.decide(folder, node, path) {
            Decision::Skip => Ok(()),
            _ if self.options.dry_run => {
                self.counts.others.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Decision::Make => self.special(folder, node, path, None),
            Decision::Replace(stat) => self.special(folder, node, path, Some(stat.kind)),
            Decision::Rewrite => self.special(folder, node, path, Some(NodeType::File)),
        }
    }

    /// Gives metadata back to an entry that this run made; what could not be given is told. `is_bare`: it has no attributes yet.
    pub(super) fn metadata(&self, target: Target<'_>, node: &Node, path: &[u8], is_bare: bool) {
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
                        Ok(_) => self.damaged(path, "an attribute has another length than stored"),
                        Err(error) => self.damaged(path, &error.to_string()),
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
    }

    /// Counts a file of a dry run.
    fn would_restore(&self, node: &Node, path: &[u8]) {
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(node.size, Ordering::Relaxed);
        self.tell(path, node, FileStatus::New);
    }

    fn file(
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

/// Restores the entries of a tree into an open folder.
pub fn tree(run: &Run<'_>, root: Option<Arc<OwnedFd>>, tree: Id, path: &[u8]) -> Result<(), Error> {
    super::window::with(run, |windows| {
        let mut linked: HashMap<Id16, Id> = HashMap::new();
        let mut walk = Walk::new(run, root, tree, path, Made::default());
        while let Some(step) = walk.next()? {
            let node = match step {
                Step::Entry(node) => node,
                Step::Left(_) => continue,
                Step::Damaged(error) => {
                    run.damaged(walk.path(), &format!("part of this folder is lost: {error}"));
                    continue;
                }
            };
            let is_directory = node.kind == NodeType::Directory;
            if run.is_excluded(walk.path(), is_directory) {
                continue;
            }
            let folder = walk.level().and_then(|level| {
                let made = level.own;
                level.handle().map(|handle| Folder { handle: handle.clone(), made })
            });
            match node.kind {
                NodeType::Directory => {
                    let Some(tree) = node.tree else { continue };
                    if walk.is_too_deep() {
                        run.damaged(walk.path(), "it lies deeper than any folder may");
                        continue;
                    }
                    let below = match &folder {
                        Some(folder) if run.options.dry_run => {
                            files::open_directory(folder.handle.as_fd(), &node.name)
                                .ok()
                                .map(|handle| Folder { handle: Arc::new(handle), made: Made::default() })
                        }
                        Some(folder) => {
                            if !run.is_included(walk.path(), true) && !holds_included(run, tree, walk.path())?
                            {
                                continue;
                            }
                            match run.folder(&folder.handle, &node, walk.path())? {
                                Some(below) => Some(below),
                                None => continue,
                            }
                        }
                        None => None,
                    };
                    run.counts.directories.fetch_add(1, Ordering::Relaxed);
                    let made = below.as_ref().map_or(Made::default(), |below| below.made);
                    walk.enter(below.map(|below| below.handle), tree, made);
                }
                _ if !run.is_included(walk.path(), false) => {}
                NodeType::Unreadable => {
                    let why = node.error.map_or("could not be read", |error| error.words());
                    run.problem(
                        walk.path(),
                        &format!("was not in this snapshot: {why} when it was made"),
                        "unreadable_in_snapshot",
                    );
                }
                // The second name of a file that is made already: linked in the second pass.
                _ if is_second_name(&mut linked, &node) => {}
                NodeType::File => run.file(windows, folder.as_ref(), *node, walk.path().to_vec())?,
                _ => match &folder {
                    Some(folder) => run.other(folder, &node, walk.path())?,
                    None => {
                        run.counts.others.fetch_add(1, Ordering::Relaxed);
                    }
                },
            }
        }
        Ok(())
    })
}

/// Restores a second name as a file of its own, where no link can be made.
pub fn apart(run: &Run<'_>, handle: &Arc<OwnedFd>, mut node: Node, path: &[u8]) -> Result<(), Error> {
    node.link = None;
    let folder = Folder { handle: handle.clone(), made: Made::default() };
    super::window::with(run, |windows| match node.kind {
        NodeType::File => run.file(windows, Some(&folder), node, path.to_vec()),
        _ => run.other(&folder, &node, path),
    })
}

/// Whether the node is another name of one met before: of its group, and equal in everything but the name. Nodes that only claim to be of
/// one group are restored apart.
pub fn is_second_name(linked: &mut HashMap<Id16, Id>, node: &Node) -> bool {
    let Some(group) = node.link else { return false };
    let mut nameless = node.clone();
    nameless.name = b"name".to_vec();
    let digest = crate::crypto::object_name(&crate::format::node::encode(&nameless));
    match linked.entry(group) {
        Entry::Occupied(first) => *first.get() == digest,
        Entry::Vacant(place) => {
            place.insert(digest);
            false
        }
    }
}

/// Whether anything below a folder is asked for by `--include`, so that no empty folders are made on the way to nothing.
fn holds_included(run: &Run<'_>, tree: Id, path: &[u8]) -> Result<bool, Error> {
    let mut walk = Walk::new(run, None, tree, path, ());
    while let Some(step) = walk.next()? {
        let node = match step {
            Step::Entry(node) => node,
            Step::Left(_) => continue,
            // Damage is told where it is met.
            Step::Damaged(_) => return Ok(true),
        };
        let is_directory = node.kind == NodeType::Directory;
        if run.is_excluded(walk.path(), is_directory) {
            continue;
        }
        if run.is_included(walk.path(), is_directory) {
            return Ok(true);
        }
        if let (true, Some(tree), false) = (is_directory, node.tree, walk.is_too_deep()) {
            walk.enter(None, tree, ());
        }
    }
    Ok(false)
}

/// Restores one entry that is no folder into an open folder; beside what is there when that differs.
pub fn single(run: &Run<'_>, target: Option<Arc<OwnedFd>>, mut node: Node, path: &[u8]) -> Result<(), Error> {
    if run.options.overwrite == Overwrite::Keep
        && let Some(handle) = &target
        && let Ok(stat) = files::stat(handle.as_fd(), &node.name)
        && !is_equal(handle.as_fd(), &node.name, &stat, &node)
    {
        node.name = beside(handle.as_fd(), &node, &run.options.beside).map_err(|error| Error::Conflict {
            what: format!("a file is there that differs, and no name beside it is free: {error}"),
        })?;
        let name = crate::terminal::escape::escape(&node.name).into_owned();
        let what = match files::stat(handle.as_fd(), &node.name) {
            Ok(_) => {
                format!("what is there differs and was kept; the snapshot's is beside it already as {name}")
            }
            Err(_) => format!("what is there differs and was kept; restored beside it as {name}"),
        };
        run.listener.event(Event::Note(&what));
    }
    node.link = None;
    let made = super::finish::Made::of(&node);
    let has_flags = node.flags != 0;
    let name = node.name.clone();
    let is_file = node.kind == NodeType::File;
    let folder = target.clone().map(|handle| Folder { handle, made: Made::default() });
    super::window::with(run, |windows| match (&folder, is_file) {
        (_, true) => run.file(windows, folder.as_ref(), node, path.to_vec()),
        (Some(folder), false) => run.other(folder, &node, path),
        _ => Ok(()),
    })?;
    if let (true, Some(handle), false) = (is_file && has_flags, &target, run.options.dry_run) {
        super::finish::flags(run, handle, &name, &made, path);
    }
    Ok(())
}
