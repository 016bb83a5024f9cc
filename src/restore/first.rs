//! The first pass: folders are made, files go to the windows, everything else is made at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::existing::{is_equal, is_to_replace};
use super::window::{Job, Place, Windows};
use super::{Overwrite, Run};
use crate::files::{self, Stat, Target};
use crate::model::{Id, Id16, Node, NodeType};
use crate::progress::{Event, FileStatus};
use crate::repository::Error;
use crate::repository::trees::Nodes;

/// A folder whose entries are being made.
struct Open<'r> {
    handle: Option<Arc<OwnedFd>>,
    nodes: Nodes<'r>,
    path: Vec<u8>,
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
    fn decide(&self, handle: &OwnedFd, node: &Node, path: &[u8]) -> Decision {
        let stat = match files::stat(handle.as_fd(), &node.name) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Decision::Make,
            Err(error) => {
                self.problem(path, &error.to_string(), "not_restored");
                return Decision::Skip;
            }
        };
        let equal = is_equal(handle.as_fd(), &node.name, &stat, node);
        if is_to_replace(self.options.overwrite, &stat, node, equal) {
            let is_file = stat.kind == NodeType::File && node.kind == NodeType::File;
            return if is_file && stat.nlink == 1 && stat.size > 0 {
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
    fn folder(&self, handle: &OwnedFd, node: &Node, path: &[u8]) -> Option<OwnedFd> {
        let open = || files::open_directory(handle.as_fd(), &node.name);
        match files::make_directory(handle.as_fd(), &node.name) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                let stat = files::stat(handle.as_fd(), &node.name).ok()?;
                if stat.kind != NodeType::Directory {
                    if !is_to_replace(self.options.overwrite, &stat, node, false) {
                        self.problem(
                            path,
                            "something that is no folder is there; it was kept",
                            "not_restored",
                        );
                        return None;
                    }
                    let made = files::remove_any(handle.as_fd(), &node.name)
                        .and_then(|()| files::make_directory(handle.as_fd(), &node.name));
                    if let Err(error) = made {
                        self.problem(path, &error.to_string(), "not_restored");
                        return None;
                    }
                }
            }
            Err(error) => {
                self.problem(path, &error.to_string(), "not_restored");
                return None;
            }
        }
        match open() {
            Ok(folder) => Some(folder),
            Err(error) => {
                self.problem(path, &error.to_string(), "not_restored");
                None
            }
        }
    }

    fn special(&self, handle: &OwnedFd, node: &Node, path: &[u8]) {
        let handle = handle.as_fd();
        let made = match node.kind {
            NodeType::Symlink => files::make_symlink(handle, &node.name, &node.target),
            _ => files::make_special(handle, node),
        };
        if let Err(error) = made {
            let what = match node.kind {
                NodeType::CharacterDevice | NodeType::BlockDevice if error == rustix::io::Errno::PERM => {
                    "devices can be made by root alone".to_owned()
                }
                _ => error.to_string(),
            };
            return self.problem(path, &what, "not_restored");
        }
        self.counts.others.fetch_add(1, Ordering::Relaxed);
        self.metadata(Target::Named(handle, &node.name), node, path);
    }

    /// Gives metadata back to an entry that this run made; what could not be given is told.
    pub(super) fn metadata(&self, target: Target<'_>, node: &Node, path: &[u8]) {
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
        };
        for problem in apply.apply(target, node, &attributes) {
            self.problem(path, &format!("not given back: {problem}"), "metadata_not_restored");
        }
    }

    fn file(
        &self,
        windows: &mut Windows<'_, 'r>,
        handle: Option<&Arc<OwnedFd>>,
        node: Node,
        path: Vec<u8>,
    ) -> Result<(), Error> {
        let Some(handle) = handle else {
            self.counts.files.fetch_add(1, Ordering::Relaxed);
            self.counts.bytes.fetch_add(node.size, Ordering::Relaxed);
            self.tell(&path, &node, FileStatus::New);
            return Ok(());
        };
        let place = match self.decide(handle, &node, &path) {
            Decision::Skip => return Ok(()),
            Decision::Make => Place::New,
            Decision::Replace(stat) if stat.kind == NodeType::Directory => {
                if let Err(error) = files::remove_any(handle.as_fd(), &node.name) {
                    self.problem(&path, &format!("a folder is there: {error}"), "not_restored");
                    return Ok(());
                }
                Place::New
            }
            Decision::Replace(_) => Place::New,
            // One that may not be written into is replaced as a whole.
            Decision::Rewrite if files::open_existing(handle.as_fd(), &node.name).is_err() => Place::New,
            Decision::Rewrite => Place::Existing,
        };
        if self.options.dry_run {
            self.counts.files.fetch_add(1, Ordering::Relaxed);
            self.counts.bytes.fetch_add(node.size, Ordering::Relaxed);
            self.tell(&path, &node, FileStatus::New);
            return Ok(());
        }
        windows.add(Job { handle: handle.clone(), node, path, place })
    }
}

/// Restores the entries of a tree into an open folder.
pub fn tree(run: &Run<'_>, root: Option<Arc<OwnedFd>>, tree: Id, path: &[u8]) -> Result<(), Error> {
    super::window::with(run, |windows| {
        let mut linked: HashMap<Id16, Id> = HashMap::new();
        let mut stack = vec![Open { handle: root, nodes: run.repository.nodes(tree), path: path.to_vec() }];
        while let Some(open) = stack.last_mut() {
            run.check_stop()?;
            let node = match open.nodes.next() {
                Some(Ok(node)) => node,
                Some(Err(error)) if error.is_damage() => {
                    run.damaged(&open.path, &format!("part of this folder is lost: {error}"));
                    continue;
                }
                Some(Err(error)) => return Err(error),
                None => {
                    stack.pop();
                    continue;
                }
            };
            let mut below = open.path.clone();
            below.push(b'/');
            below.extend_from_slice(&node.name);
            let is_directory = node.kind == NodeType::Directory;
            if run.is_excluded(&below, is_directory) {
                continue;
            }
            match node.kind {
                NodeType::Directory => {
                    let Some(tree) = node.tree else { continue };
                    let wanted = run.is_included(&below, true);
                    let handle = match &open.handle {
                        Some(handle)
                            if !run.options.dry_run && (wanted || holds_included(run, tree, &below)?) =>
                        {
                            match run.folder(handle, &node, &below) {
                                Some(folder) => Some(Arc::new(folder)),
                                None => continue,
                            }
                        }
                        Some(_) if !run.options.dry_run => continue,
                        Some(handle) => files::open_directory(handle.as_fd(), &node.name).ok().map(Arc::new),
                        None => None,
                    };
                    run.counts.directories.fetch_add(1, Ordering::Relaxed);
                    stack.push(Open { handle, nodes: run.repository.nodes(tree), path: below });
                }
                _ if !run.is_included(&below, false) => {}
                NodeType::Unreadable => {
                    let why = node.error.map_or("could not be read", |error| error.words());
                    run.problem(
                        &below,
                        &format!("was not in this snapshot: {why} when it was made"),
                        "unreadable_in_snapshot",
                    );
                }
                // The second name of a file that is made already: linked in the second pass.
                _ if is_second_name(&mut linked, &node) => {}
                NodeType::File => {
                    let handle = open.handle.clone();
                    run.file(windows, handle.as_ref(), node, below)?;
                }
                _ => {
                    let Some(handle) = open.handle.clone() else {
                        run.counts.others.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    match run.decide(&handle, &node, &below) {
                        _ if run.options.dry_run => {
                            run.counts.others.fetch_add(1, Ordering::Relaxed);
                        }
                        Decision::Skip => {}
                        Decision::Make => run.special(&handle, &node, &below),
                        Decision::Replace(_) | Decision::Rewrite => {
                            match files::remove_any(handle.as_fd(), &node.name) {
                                Ok(()) => run.special(&handle, &node, &below),
                                Err(error) => run.problem(&below, &error.to_string(), "not_restored"),
                            }
                        }
                    }
                }
            }
        }
        Ok(())
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
    let mut stack = vec![(run.repository.nodes(tree), path.to_vec())];
    while let Some((nodes, path)) = stack.last_mut() {
        run.check_stop()?;
        let Some(node) = nodes.next() else {
            stack.pop();
            continue;
        };
        // Damage is told where it is met.
        let Ok(node) = node else { return Ok(true) };
        let mut below = path.clone();
        below.push(b'/');
        below.extend_from_slice(&node.name);
        let is_directory = node.kind == NodeType::Directory;
        if run.is_excluded(&below, is_directory) {
            continue;
        }
        if run.is_included(&below, is_directory) {
            return Ok(true);
        }
        if let (true, Some(tree)) = (is_directory, node.tree) {
            stack.push((run.repository.nodes(tree), below));
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
        node.name = beside(handle, &node.name, &run.options.beside)?;
        let name = crate::terminal::escape::escape(&node.name).into_owned();
        run.listener
            .event(Event::Note(&format!("what is there differs and was kept; restored beside it as {name}")));
    }
    node.link = None;
    let flags = node.flags;
    let name = node.name.clone();
    let is_file = node.kind == NodeType::File;
    super::window::with(run, |windows| match (&target, is_file) {
        (_, true) => run.file(windows, target.as_ref(), node, path.to_vec()),
        (Some(handle), false) if !run.options.dry_run => {
            match run.decide(handle, &node, path) {
                Decision::Make => run.special(handle, &node, path),
                Decision::Skip => {}
                Decision::Replace(_) | Decision::Rewrite => {
                    match files::remove_any(handle.as_fd(), &node.name) {
                        Ok(()) => run.special(handle, &node, path),
                        Err(error) => run.problem(path, &error.to_string(), "not_restored"),
                    }
                }
            }
            Ok(())
        }
        _ => Ok(()),
    })?;
    if let (true, Some(handle), false) = (is_file && flags != 0, &target, run.options.dry_run) {
        super::finish::flags(run, handle, &name, flags, path);
    }
    Ok(())
}

/// A name beside one that is taken: `report.odt` becomes `report.<mark>.odt`, and `report.<mark>.2.odt` should that be taken too.
fn beside(handle: &OwnedFd, name: &[u8], mark: &str) -> Result<Vec<u8>, Error> {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    for number in 1..1000 {
        let number = if number == 1 { String::new() } else { format!(".{number}") };
        // Names end at 255 bytes: the stem gives way.
        let room = 255usize.saturating_sub(mark.len() + number.len() + 1 + extension.len());
        let mut candidate = stem[..stem.len().min(room)].to_vec();
        candidate.push(b'.');
        candidate.extend_from_slice(mark.as_bytes());
        candidate.extend_from_slice(number.as_bytes());
        candidate.extend_from_slice(extension);
        if files::stat(handle.as_fd(), &candidate) == Err(rustix::io::Errno::NOENT) {
            return Ok(candidate);
        }
    }
    Err(Error::Conflict {
        what: "a file is there that differs, and a thousand restored ones beside it".to_owned(),
    })
}
