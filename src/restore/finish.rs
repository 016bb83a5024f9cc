//! The second pass: hard links are linked, folders get their owners, modes and times, children before parents; what is not in the
//! snapshot is removed when that was asked for; and inode flags come last.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::Run;
use super::existing::{is_equal, is_to_replace};
use super::walk::{Step, Walk};
use crate::files::{self, Target};
use crate::model::{Id, Id16, Node, NodeType};
use crate::progress::{Event, FileStatus};
use crate::repository::Error;

/// What is known of a folder that is being finished.
struct Folder {
    /// The folder's own node; none for the target itself.
    node: Option<Node>,
    /// Names that the snapshot has here, when others are to be removed.
    names: Option<Vec<Vec<u8>>>,
    /// At or below a source.
    inside: bool,
}

impl Folder {
    fn new(run: &Run<'_>, path: &[u8], node: Option<Node>) -> Folder {
        let inside = run.sources.iter().any(|source| {
            path == source
                || source == b"/"
                || path.len() > source.len() && path.starts_with(source) && path[source.len()] == b'/'
        });
        let delete = run.options.delete && inside;
        Folder { node, names: delete.then(Vec::new), inside }
    }
}

/// Finishes a tree that was restored into an open folder; in a dry run, only counts what would be removed.
pub fn tree(run: &Run<'_>, root: Option<Arc<OwnedFd>>, tree: Id, path: &[u8]) -> Result<(), Error> {
    let Some(root) = root else { return Ok(()) };
    let mut first: HashMap<Id16, Vec<u8>> = HashMap::new();
    let mut linked = HashMap::new();
    // Files that are immutable take no more links: their flags come when all links are made.
    let mut late: Vec<(Vec<u8>, u32)> = Vec::new();
    let place = Place { run, top: root.clone(), prefix: path.len() };
    let mut walk = Walk::new(run, Some(root), tree, path, Folder::new(run, path, None));
    while let Some(step) = walk.next()? {
        let node = match step {
            Step::Entry(node) => node,
            Step::Left(level) => {
                if let Some(handle) = level.handle() {
                    end_folder(run, handle, &level.own, walk.path());
                }
                continue;
            }
            Step::Damaged(_) => {
                // Unknown is not absent: nothing is removed here.
                if let Some(level) = walk.level() {
                    level.own.names = None;
                }
                continue;
            }
        };
        let is_directory = node.kind == NodeType::Directory;
        let Some(level) = walk.level() else { continue };
        if node.kind == NodeType::Unreadable {
            level.own.names = None;
            continue;
        }
        if let Some(names) = &mut level.own.names {
            names.push(node.name.clone());
        }
        let Some(handle) = level.handle().cloned() else { continue };
        if run.is_excluded(walk.path(), is_directory) {
            continue;
        }
        if let (true, Some(tree)) = (is_directory, node.tree) {
            if walk.is_too_deep() {
                continue;
            }
            if let Ok(below) = files::open_directory(handle.as_fd(), &node.name) {
                let folder = Folder::new(run, walk.path(), Some(*node));
                walk.enter(Some(Arc::new(below)), tree, folder);
            }
            continue;
        }
        if run.options.dry_run || !run.is_included(walk.path(), false) {
            continue;
        }
        if let Some(group) = node.link {
            match (super::first::is_second_name(&mut linked, &node), first.get(&group)) {
                (true, Some(original)) => place.link(original, &handle, &node, walk.path()),
                _ => {
                    first.entry(group).or_insert_with(|| walk.path().to_vec());
                }
            }
        }
        if node.flags != 0 && node.kind == NodeType::File {
            late.push((walk.path().to_vec(), node.flags));
        }
    }
    for (path, bits) in late {
        if let Ok((folder, name)) = place.find(&path) {
            flags(run, &folder, name, bits, &path);
        }
    }
    Ok(())
}

/// Finds what was restored by its path.
struct Place<'p, 'r> {
    run: &'p Run<'r>,
    top: Arc<OwnedFd>,
    /// Bytes of a path that stand for `top`.
    prefix: usize,
}

impl Place<'_, '_> {
    /// The folder of a path below the target, opened one name at a time, and the last name.
    fn find<'n>(&self, path: &'n [u8]) -> files::Result<(Arc<OwnedFd>, &'n [u8])> {
        let mut names = path[self.prefix..].split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let mut name = names.next().ok_or(Errno::INVAL)?;
        let mut handle = self.top.clone();
        for next in names {
            handle = Arc::new(files::open_directory(handle.as_fd(), name)?);
            name = next;
        }
        Ok((handle, name))
    }

    /// Makes `node` another name of what was restored at `original`.
    fn link(&self, original: &[u8], handle: &OwnedFd, node: &Node, path: &[u8]) {
        let run = self.run;
        let result = self.find(original).and_then(|(folder, name)| {
            let source = files::stat(folder.as_fd(), name)?;
            let mut first = node.clone();
            first.name = name.to_vec();
            if !is_equal(folder.as_fd(), name, &source, &first) {
                // The first name was kept as it was: linking to it would give other bytes.
                return Err(Errno::STALE);
            }
            match files::stat(handle.as_fd(), &node.name) {
                Ok(there) if there.inode == source.inode && there.dev == source.dev => return Ok(false),
                Ok(there) => {
                    let equal = is_equal(handle.as_fd(), &node.name, &there, node);
                    if !is_to_replace(run.options.overwrite, &there, node, equal) {
                        return Ok(false);
                    }
                    files::remove_any(handle.as_fd(), &node.name)?;
                }
                Err(_) => {}
            }
            files::hard_link(folder.as_fd(), name, handle.as_fd(), &node.name).map(|()| true)
        });
        match result {
            Ok(true) => {
                let counter =
                    if node.kind == NodeType::File { &run.counts.files } else { &run.counts.others };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => {
                run.counts.skipped.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                run.problem(path, &format!("not linked to its other name: {error}"), "not_restored")
            }
        }
    }
}

fn end_folder(run: &Run<'_>, handle: &Arc<OwnedFd>, folder: &Folder, folder_path: &[u8]) {
    if let Some(kept) = &folder.names
        && let Ok(there) = files::names(handle.as_fd())
    {
        for place in 0..there.len() {
            let name = there.bytes(place);
            if kept.binary_search_by(|kept| kept.as_slice().cmp(name)).is_ok() {
                continue;
            }
            let mut path = folder_path.to_vec();
            path.push(b'/');
            path.extend_from_slice(name);
            if run.is_excluded(&path, false) || run.is_excluded(&path, true) || !run.is_included(&path, false)
            {
                continue;
            }
            match files::remove_all(handle.as_fd(), name, &run.options.own, run.options.dry_run) {
                Ok(removed) => {
                    let status = FileStatus::Removed;
                    run.listener.event(Event::File { path: &path, bytes: 0, status });
                    run.counts.deleted.fetch_add(removed, Ordering::Relaxed);
                }
                Err(error) => run.problem(&path, &format!("not removed: {error}"), "not_deleted"),
            }
        }
    }
    if run.options.dry_run {
        return;
    }
    if let Some(node) = &folder.node
        && run.is_included(folder_path, true)
        // Folders above the sources belong to the system: an ordinary user makes them as their own.
        && (run.is_root || folder.inside)
    {
        run.metadata(Target::Open(handle.as_fd()), node, folder_path, false);
        if node.flags != 0 {
            set_flags(run, handle, node.flags, folder_path);
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
