//! The boundary to the Linux file system: an entry's metadata read exactly and given back exactly, through directory handles.
//!
//! Everything is named by a handle of its directory and one name as bytes: no long path is ever built, no symlink in an
//! entry's place is ever followed. Needs Linux 4.11 (statx); newer calls are used where they are there.

use rustix::io::Errno;

use crate::model::Unread;

pub mod apply;
pub mod filesystem;
mod identity;
mod lock;
pub mod make;
pub mod names;
pub mod open;
pub mod owners;
pub mod remove;
pub mod runs;
pub mod stat;
pub mod xattr;

#[cfg(test)]
mod tests;

pub use apply::{Apply, Problem, Target, apply_early_flags, apply_flags, set_mtime};
pub use filesystem::{FileSystem, filesystem, is_local};
pub use lock::{Busy, Lock};
pub use make::{
    create_file, hard_link, make_device, make_directory, make_fifo, make_socket, make_special, make_symlink,
    open_existing, remove, remove_any, remove_directory, rename, rename_new, sync,
};
pub use names::{Name, Names, names};
pub use open::{
    OpenError, inode_flags, open_directory, open_file, open_parent, open_root, raise_file_limit, read_link,
};
pub use owners::Owners;
pub use remove::Removal;
pub use runs::{Run, data_runs};
pub use stat::{Stat, stat, stat_fd};
pub use xattr::{Xattrs, xattrs, xattrs_fd};

/// What a call to the system gives; its error number says what the caller can do.
pub type Result<T> = std::result::Result<T, Errno>;

/// The name, when it is a single component; `EINVAL` for an empty one, `.`, `..`, and any with `/` or NUL.
pub fn single(name: &[u8]) -> Result<&[u8]> {
    let refused = matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0));
    if refused { Err(Errno::INVAL) } else { Ok(name) }
}

/// How the format names the reason for which something could not be read.
pub fn unread(error: Errno) -> Unread {
    match error {
        Errno::ACCESS | Errno::PERM => Unread::Permission,
        Errno::IO | Errno::NODEV | Errno::NXIO | Errno::UCLEAN | Errno::BADMSG => Unread::InputOutput,
        Errno::NOENT | Errno::STALE => Unread::Vanished,
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => Unread::Changed,
        _ => Unread::Other,
    }
}

/// Repeats a call that a signal interrupted.
pub(crate) fn again<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
