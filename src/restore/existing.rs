//! What is in the target already: whether it is what the snapshot holds, and what may be done about it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::walk::{Step, Walk};
use super::{Overwrite, Run};
use crate::files::{self, Stat};
use crate::model::{Id, Node, NodeType, Time};
use crate::repository::Error;

/// Names of differing entries that a refusal tells.
const TOLD: usize = 5;

/// Whether an entry is, as far as size, time and target tell, what the node says.
pub fn is_equal(handle: BorrowedFd<'_>, name: &[u8], stat: &Stat, node: &Node) -> bool {
    if stat.kind != node.kind {
        return false;
    }
    match node.kind {
        NodeType::File => stat.size == node.size && stat.mtime == node.mtime,
        NodeType::Symlink => files::read_link(handle, name).is_ok_and(|target| target == node.target),
        NodeType::CharacterDevice | NodeType::BlockDevice => stat.device == node.device,
        _ => true,
    }
}

/// The time of a file that could not be given back whole: no later restore takes it for what is stored, nor for something newer.
pub fn time_of_broken(stored: Time) -> Time {
    stored.plus_seconds(-1)
}

/// Gives an open file that is not whole its time.
pub fn mark_broken(file: BorrowedFd<'_>, stored: Time) {
    let _ = files::set_mtime(file, Some(time_of_broken(stored)));
    // A file system has a first day, and may not tell a second from the next.
    if files::stat_fd(file).is_ok_and(|stat| stat.mtime == stored) {
        let _ = files::set_mtime(file, None);
    }
}

/// Whether an existing entry is to be replaced by the node.
pub fn is_to_replace(overwrite: Overwrite, stat: &Stat, node: &Node, equal: bool) -> bool {
    match overwrite {
        Overwrite::Keep | Overwrite::Never => false,
        Overwrite::Always => true,
        Overwrite::IfChanged => !equal,
        Overwrite::IfNewer => node.mtime > stat.mtime,
    }
}

/// How a refusal ends.
pub const NOTHING_WRITTEN: &str = "; nothing was written there";

/// Stops before anything is written when something in the target differs from the snapshot.
pub fn refuse_conflicts(run: &Run<'_>, tree: Id, path: &[u8]) -> Result<(), Error> {
    let root = match files::open_root(&run.options.target) {
        Ok(root) => Arc::new(root),
        // Nothing there: nothing differs.
        Err(_) => return Ok(()),
    };
    let (mut count, mut told) = (0u64, Vec::new());
    let mut walk = Walk::new(run, Some(root), tree, path, ());
    while let Some(step) = walk.next()? {
        // Damage is met and named when it is restored.
        let Step::Entry(node) = step else { continue };
        let is_directory = node.kind == NodeType::Directory;
        if run.is_excluded(walk.path(), is_directory) || node.kind == NodeType::Unreadable {
            continue;
        }
        let Some(handle) = walk.level().and_then(|level| level.handle().cloned()) else { continue };
        let Ok(stat) = files::stat(handle.as_fd(), &node.name) else { continue };
        if is_directory && stat.kind == NodeType::Directory && !walk.is_too_deep() {
            // One that can not be looked into is told when something is to be made in it.
            if let (Ok(child), Some(tree)) = (files::open_directory(handle.as_fd(), &node.name), node.tree) {
                walk.enter(Some(Arc::new(child)), tree, ());
            }
        } else if run.is_included(walk.path(), is_directory)
            && !is_equal(handle.as_fd(), &node.name, &stat, &node)
        {
            count += 1;
            if told.len() < TOLD {
                told.push(crate::terminal::escape::escape(walk.path()).into_owned());
            }
        }
    }
    if count == 0 {
        return Ok(());
    }
    let more = if count > told.len() as u64 {
        format!(" and {} more", count - told.len() as u64)
    } else {
        String::new()
    };
    Err(Error::Conflict {
        what: format!(
            "{} holds {} differing from the snapshot: {}{more}{NOTHING_WRITTEN}",
            run.options.target.display(),
            crate::terminal::size::show_count(count, "entry"),
            told.join(", ")
        ),
    })
}

/// A name beside one that is taken: `report.odt` becomes `report.<mark>.odt`, and `report.<mark>.2.odt` should that be taken too by
/// something that is not what the node says. Errors: `EXIST` when a thousand of them are.
pub fn beside(handle: BorrowedFd<'_>, node: &Node, mark: &str) -> files::Result<Vec<u8>> {
    free_name(&node.name, mark, &mut |candidate| match files::stat(handle, candidate) {
        Err(Errno::NOENT) => true,
        Ok(stat) => is_equal(handle, candidate, &stat, node),
        _ => false,
    })
}

/// The first of the names beside `name`, with that mark in it, that is free as `is_free` says.
pub fn free_name(name: &[u8], mark: &str, is_free: &mut dyn FnMut(&[u8]) -> bool) -> files::Result<Vec<u8>> {
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
        if is_free(&candidate) {
            return Ok(candidate);
        }
    }
    Err(Errno::EXIST)
}
