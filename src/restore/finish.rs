//! The second pass: hard links are linked, folders get their owners, modes and times, children before parents; what is not in the
//! snapshot is removed when that was asked for; and inode flags come last.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Run;
use crate::files::{self, Target};
use crate::model::{Id, Id16, Node, NodeType};
use crate::repository::Error;
use crate::repository::trees::Nodes;

struct Open<'r> {
    handle: Arc<OwnedFd>,
    nodes: Nodes<'r>,
    path: Vec<u8>,
    /// The folder's own node; none for the target itself.
    node: Option<Node>,
    /// Names that the snapshot has here, when others are to be removed.
    names: Option<Vec<Vec<u8>>>,
    /// At or below a source.
    inside: bool,
}

impl<'r> Open<'r> {
    fn new(run: &Run<'r>, handle: Arc<OwnedFd>, tree: Id, path: Vec<u8>, node: Option<Node>) -> Open<'r> {
        let inside = run.sources.iter().any(|source| {
            path == *source
                || source == b"/"
                || path.len() > source.len() && path.starts_with(source) && path[source.len()] == b'/'
        });
        let delete = run.options.delete && inside;
        Open { handle, nodes: run.repository.nodes(tree), path, node, names: delete.then(Vec::new), inside }
    }
}

/// Finishes a tree that was restored into an open folder; in a dry run, only counts what would be removed.
pub fn tree(run: &Run<'_>, root: Option<Arc<OwnedFd>>, tree: Id, path: &[u8]) -> Result<(), Error> {
    let Some(root) = root else { return Ok(()) };
    let mut first: HashMap<Id16, Vec<u8>> = HashMap::new();
    let mut linked = HashMap::new();
    // Files that are immutable take no more links: their flags come when all links are made.
    let mut late: Vec<(Arc<OwnedFd>, Vec<u8>, u32, Vec<u8>)> = Vec::new();
    let top = root.clone();
    let mut stack = vec![Open::new(run, root, tree, path.to_vec(), None)];
    while let Some(open) = stack.last_mut() {
        run.check_stop()?;
        let node = match open.nodes.next() {
            Some(Ok(node)) => node,
            Some(Err(error)) if error.is_damage() => {
                // Unknown is not absent: nothing is removed here.
                open.names = None;
                continue;
            }
            Some(Err(error)) => return Err(error),
            None => {
                if let Some(open) = stack.pop() {
                    end_folder(run, &open);
                }
                continue;
            }
        };
        let mut below = open.path.clone();
        below.push(b'/');
        below.extend_from_slice(&node.name);
        if let Some(names) = &mut open.names {
            names.push(node.name.clone());
        }
        let is_directory = node.kind == NodeType::Directory;
        if node.kind == NodeType::Unreadable {
            open.names = None;
            continue;
        }
        if run.is_excluded(&below, is_directory) {
            continue;
        }
        if let (true, Some(tree)) = (is_directory, node.tree) {
            if let Ok(handle) = files::open_directory(open.handle.as_fd(), &node.name) {
                let folder = Open::new(run, Arc::new(handle), tree, below, Some(node));
                stack.push(folder);
            }
            continue;
        }
        if run.options.dry_run || !run.is_included(&below, false) {
            continue;
        }
        if let Some(group) = node.link {
            match (super::first::is_second_name(&mut linked, &node), first.get(&group)) {
                (true, Some(original)) => link(run, &top, path.len(), original, open, &node, &below),
                _ => {
                    first.entry(group).or_insert_with(|| below.clone());
                }
            }
        }
        if node.flags != 0 && node.kind == NodeType::File {
            late.push((open.handle.clone(), node.name, node.flags, below));
        }
    }
    for (handle, name, bits, path) in late {
        flags(run, &handle, &name, bits, &path);
    }
    Ok(())
}

/// Opens the folder of a path below the target, one name at a time.
fn open_parent(top: &Arc<OwnedFd>, names: &[&[u8]]) -> files::Result<Arc<OwnedFd>> {
    let mut handle = top.clone();
    for name in names {
        handle = Arc::new(files::open_directory(handle.as_fd(), name)?);
    }
    Ok(handle)
}

fn link(
    run: &Run<'_>,
    top: &Arc<OwnedFd>,
    prefix: usize,
    original: &[u8],
    open: &Open<'_>,
    node: &Node,
    path: &[u8],
) {
    let names: Vec<&[u8]> =
        original[prefix..].split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let Some((name, folders)) = names.split_last() else { return };
    let result = open_parent(top, folders).and_then(|folder| {
        let source = files::stat(folder.as_fd(), name)?;
        let mut first = node.clone();
        first.name = name.to_vec();
        if !super::existing::is_equal(folder.as_fd(), name, &source, &first) {
            // The first name was kept as it was: linking to it would give other bytes.
            return Err(rustix::io::Errno::STALE);
        }
        match files::stat(open.handle.as_fd(), &node.name) {
            Ok(there) if there.inode == source.inode && there.dev == source.dev => return Ok(false),
            Ok(there) => {
                let equal = super::existing::is_equal(open.handle.as_fd(), &node.name, &there, node);
                if !super::existing::is_to_replace(run.options.overwrite, &there, node, equal) {
                    return Ok(false);
                }
                files::remove_any(open.handle.as_fd(), &node.name)?;
            }
            Err(_) => {}
        }
        files::hard_link(folder.as_fd(), name, open.handle.as_fd(), &node.name).map(|()| true)
    });
    match result {
        Ok(true) => {
            let counter = if node.kind == NodeType::File { &run.counts.files } else { &run.counts.others };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(false) => {
            run.counts.skipped.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => run.problem(path, &format!("not linked to its other name: {error}"), "not_restored"),
    }
}

fn end_folder(run: &Run<'_>, open: &Open<'_>) {
    if let Some(kept) = &open.names
        && let Ok(there) = files::names(open.handle.as_fd())
    {
        for place in 0..there.len() {
            let name = there.bytes(place);
            if kept.binary_search_by(|kept| kept.as_slice().cmp(name)).is_ok() {
                continue;
            }
            let mut path = open.path.clone();
            path.push(b'/');
            path.extend_from_slice(name);
            if run.is_excluded(&path, false) || run.is_excluded(&path, true) || !run.is_included(&path, false)
            {
                continue;
            }
            match files::remove_all(open.handle.as_fd(), name, &run.options.own, run.options.dry_run) {
                Ok(removed) => {
                    run.counts.deleted.fetch_add(removed, Ordering::Relaxed);
                }
                Err(error) => run.problem(&path, &format!("not removed: {error}"), "not_deleted"),
            }
        }
    }
    if run.options.dry_run {
        return;
    }
    if let Some(node) = &open.node
        && run.is_included(&open.path, true)
        // Folders above the sources belong to the system: an ordinary user makes them as their own.
        && (run.is_root || open.inside)
    {
        run.metadata(Target::Open(open.handle.as_fd()), node, &open.path, false);
        if node.flags != 0 {
            set_flags(run, &open.handle, node.flags, &open.path);
        }
    }
}

/// Gives inode flags to a file in an open folder.
pub fn flags(run: &Run<'_>, handle: &OwnedFd, name: &[u8], bits: u32, path: &[u8]) {
    let opened = files::stat(handle.as_fd(), name)
        .map_err(files::OpenError::Io)
        .and_then(|stat| files::open_file(handle.as_fd(), name, &stat));
    if let Ok((file, _)) = opened {
        set_flags(run, &file, bits, path);
    }
}

fn set_flags(run: &Run<'_>, file: &OwnedFd, bits: u32, path: &[u8]) {
    let mut node = Node::new(b"", NodeType::File);
    node.flags = bits;
    for problem in files::apply_flags(file.as_fd(), &node) {
        run.problem(path, &format!("not given back: {problem}"), "metadata_not_restored");
    }
}
