//! Where the entries of a folder go when it is listed: into an answer with names alone, or into one with all that is known of each.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fuser::{FileAttr, Generation, ReplyDirectory, ReplyDirectoryPlus};

/// Takes entries as long as there is room.
pub trait Sink {
    /// Whether the kernel holds the inode of each entry from then on.
    fn is_held(&self) -> bool;

    /// Takes an entry; false when there was no room for it. `next` is where the list goes on behind it.
    fn take(&mut self, name: &[u8], next: u64, attr: &FileAttr, is_saved: bool) -> bool;
}

/// Names, numbers and types.
pub struct Plain<'a>(pub &'a mut ReplyDirectory);

/// With attributes; the function says how long the kernel may keep them.
pub struct Plus<'a>(pub &'a mut ReplyDirectoryPlus, pub &'a dyn Fn(bool) -> Duration);

impl Sink for Plain<'_> {
    fn is_held(&self) -> bool {
        false
    }

    fn take(&mut self, name: &[u8], next: u64, attr: &FileAttr, _is_saved: bool) -> bool {
        !self.0.add(attr.ino, next, attr.kind, OsStr::from_bytes(name))
    }
}

impl Sink for Plus<'_> {
    fn is_held(&self) -> bool {
        true
    }

    fn take(&mut self, name: &[u8], next: u64, attr: &FileAttr, is_saved: bool) -> bool {
        !self.0.add(attr.ino, next, OsStr::from_bytes(name), &(self.1)(is_saved), attr, Generation(0))
    }
}
