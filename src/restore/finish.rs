//! The second pass: hard links are linked, folders get their owners, modes and times, children before parents; what is not in the
//! snapshot is removed when that was asked for; and inode flags come last.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::Run;
use super::existing::{is_equal, is_to_replace, time_of_broken};
use super::walk::{Step, Walk};
use crate::files::{self, Removal, Target};
use crate::model::{Id, Id16, Node, NodeType, Time};
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
        // Unknown is not absent.
        let has_lost = node.as_ref().is_some_and(Node::has_lost_entries);
        let delete = run.options.delete && inside && !has_lost;
        Folder { node, names: delete.then(Vec::new), inside }
    }
}

/// Finishes a tree that was restored into an open folder; in a dry run, only counts what would be removed. `has_lost`: entries of the
/// folder itself were lost, so that nothing in it is known to be too much.
pub fn tree(
    run: &Run<'_>,
    root: Option<Arc<OwnedFd>>,
    tree: Id,
    path: &[u8],
    has_lost: bool,
) -> Result<(), Error> {
    let Some(root) = root else { return Ok(()) };
    let mut top = Folder::new(run, path, None);
    top.names = top.names.filter(|_| !has_lost);
    let mut first: HashMap<Id16, Vec<u8>> = HashMap::new();
    let mut linked = HashMap::new();
    // Files that are immutable take no more links: their flags come when all links are made.
    let mut late: Vec<(Vec<u8>, Made)> = Vec::new();
    let place = Place { run, top: root.clone(), prefix: path.len() };
    let mut walk = Walk::new(run, Some(root), tree, path, top);
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
                (true, Some(original)) => {
                    let made = Made::of(&node);
                    place.link(original, &handle, *node, walk.path())?;
                    if made.flags != 0 {
                        late.push((walk.path().to_vec(), made));
                    }
                    continue;
                }
                _ => {
                    first.entry(group).or_insert_with(|| walk.path().to_vec());
                }
            }
        }
        if node.flags != 0 && node.kind == NodeType::File {
            late.push((walk.path().to_vec(), Made::of(&node)));
        }
    }
    for (path, made) in late {
        if let Ok((folder, name)) = place.find(&path) {
            flags(run, &folder, name, &made, &path);
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

    /// Makes `node` another name of what was restored at `original`; where no link can be made, a file of its own.
    fn link(&self, original: &[u8], handle: &Arc<OwnedFd>, node: Node, path: &[u8]) -> Result<(), Error> {
        let run = self.run;
        let is_broken = node.link.is_some_and(|group| run.is_broken(&group));
        match self.try_link(original, handle, &node, is_broken) {
            Ok(true) => {
                let counter =
                    if node.kind == NodeType::File { &run.counts.files } else { &run.counts.others };
                counter.fetch_add(1, Ordering::Relaxed);
                run.tell(path, &node, FileStatus::Restored);
                if is_broken {
                    run.damaged(path, "another name of a file that is damaged");
                }
            }
            Ok(false) if is_broken => {
                run.damaged(path, "another name of a file that is damaged; what was there was kept")
            }
            Ok(false) => {
                run.counts.skipped.fetch_add(1, Ordering::Relaxed);
                run.tell(path, &node, FileStatus::Unmodified);
            }
            Err(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return super::first::apart(run, handle, node, path);
            }
            Err(error) => {
                run.problem(path, &format!("not linked to its other name: {error}"), "not_restored")
            }
        }
        Ok(())
    }

    /// Whether a link was made; what is there gives way only when it can be, and to something whole.
    fn try_link(
        &self,
        original: &[u8],
        handle: &OwnedFd,
        node: &Node,
        is_broken: bool,
    ) -> files::Result<bool> {
        let (folder, name) = self.find(original)?;
        let source = files::stat(folder.as_fd(), name)?;
        let mut first = node.clone();
        first.name = name.to_vec();
        if is_broken {
            first.mtime = time_of_broken(node.mtime);
        }
        if !is_equal(folder.as_fd(), name, &source, &first) {
            // The first name was kept as it was: linking to it would give other bytes.
            return Err(Errno::STALE);
        }
        match files::stat(handle.as_fd(), &node.name) {
            Ok(there) if there.inode == source.inode && there.dev == source.dev => Ok(false),
            Ok(there) => {
                let equal = is_equal(handle.as_fd(), &node.name, &there, node);
                if is_broken || !is_to_replace(self.run.options.overwrite, &there, node, equal) {
                    return Ok(false);
                }
                let temporary = self.run.temporary();
                files::hard_link(folder.as_fd(), name, handle.as_fd(), &temporary)?;
                let is_kept = self.run.options.keep_present && !equal;
                if is_kept {
                    self.run.keep(handle.as_fd(), &node.name, &there).inspect_err(|_| {
                        let _ = files::remove(handle.as_fd(), &temporary);
                    })?;
                }
                if there.kind == NodeType::Directory && !is_kept {
                    files::remove_any(handle.as_fd(), &node.name).inspect_err(|_| {
                        let _ = files::remove(handle.as_fd(), &temporary);
                    })?;
                }
                files::rename(handle.as_fd(), &temporary, &node.name).inspect_err(|_| {
                    let _ = files::remove(handle.as_fd(), &temporary);
                })?;
                Ok(true)
            }
            Err(_) => files::hard_link(folder.as_fd(), name, handle.as_fd(), &node.name).map(|()| true),
        }
    }
}

fn end_folder(run: &Run<'_>, handle: &Arc<OwnedFd>, folder: &Folder, folder_path: &[u8]) {
    if let Some(kept) = &folder.names
        && let Ok(there) = files::names(handle.as_fd())
    {
        for place in 0..there.len() {
            let name = there.bytes(place);
            if kept.binary_search_by(|kept| kept.as_slice().cmp(name)).is_ok()
                || run.is_kept(handle.as_fd(), name)
            {
                continue;
            }
            let mut path = folder_path.to_vec();
            path.push(b'/');
            path.extend_from_slice(name);
            // Both are asked: whatever it is, no pattern that keeps it is a slip.
            if run.is_excluded(&path, false) | run.is_excluded(&path, true) || !run.is_included(&path, false)
            {
                continue;
            }
            let keep = |below: &[u8]| {
                let path = [folder_path, b"/", below].concat();
                run.is_excluded(&path, false) | run.is_excluded(&path, true) || !run.is_included(&path, false)
            };
            let removal = Removal { spared: &run.options.own, keep: &keep, only_count: run.options.dry_run };
            match removal.run(handle.as_fd(), name) {
                Ok(0) => {}
                Ok(removed) => {
                    let status = FileStatus::Removed;
                    run.listener.event(Event::Item { path: &path, bytes: 0, status });
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

/// By what a file that was restored is known, and the flags it gets.
pub struct Made {
    size: u64,
    mtime: Time,
    flags: u32,
}

impl Made {
    pub fn of(node: &Node) -> Made {
        Made { size: node.size, mtime: node.mtime, flags: node.flags }
    }
}

/// Gives inode flags to a file in an open folder, when it is what the snapshot holds and not one that was kept.
pub fn flags(run: &Run<'_>, handle: &OwnedFd, name: &[u8], made: &Made, path: &[u8]) {
    let Ok(stat) = files::stat(handle.as_fd(), name) else { return };
    if (stat.kind, stat.size, stat.mtime) != (NodeType::File, made.size, made.mtime) {
        return;
    }
    if let Ok((file, _)) = files::open_file(handle.as_fd(), name, &stat) {
        set_flags(run, &file, made.flags, path);
    }
}

fn set_flags(run: &Run<'_>, file: &OwnedFd, bits: u32, path: &[u8]) {
    let mut node = Node::new(b"", NodeType::File);
    node.flags = bits;
    for problem in files::apply_flags(file.as_fd(), &node) {
        run.problem(path, &format!("not given back: {problem}"), "metadata_not_restored");
    }
}
