//! The first pass: folders are made, files go to the windows, everything else is made at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::entry::{Folder, Made};
use super::existing::{beside, is_equal};
use super::walk::{Step, Walk};
use super::{Overwrite, Run};
use crate::files;
use crate::model::{Id, Id16, Node, NodeType};
use crate::progress::Event;
use crate::repository::Error;

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
                    let what = match error.is_of_later_version() {
                        true => format!("part of this folder was not restored: {error}"),
                        false => format!("part of this folder is lost: {error}"),
                    };
                    run.not_read(walk.path(), &what, &error);
                    continue;
                }
            };
            let is_directory = node.kind == NodeType::Directory;
            if run.is_excluded(walk.path(), is_directory) {
                continue;
            }
            run.tell_marked(&node, walk.path());
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
                NodeType::Unreadable if node.has_lost_entries() => {}
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
                    None => run.would_make(&node, walk.path()),
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
