//! The boundary to the file system: what an entry is, read exactly and given back exactly. Everything goes through directory handles
//! and single names, so no path is ever too long and no symlink is ever followed.

mod apply;
mod filesystem;
mod make;
mod names;
mod open;
mod owners;
mod runs;
mod stat;
mod xattr;

pub use apply::{Apply, Problem, Target};
pub use filesystem::{FileSystem, filesystem};
pub use make::{create_file, hard_link, make_directory, make_special, make_symlink, open_existing, remove, remove_all, rename};
pub use names::{Names, names};
pub use open::{OpenError, open_directory, open_file, open_root, raise_file_limit, read_link};
pub use owners::Owners;
pub use runs::{Run, data_runs};
pub use stat::{Stat, stat, stat_fd};
pub use xattr::{inode_flags, inode_flags_at, xattrs, xattrs_fd};

/// Errors here are the system's numbers.
pub type Result<T> = std::result::Result<T, rustix::io::Errno>;

/// A path through which the system reaches an entry of an open directory without following anything on the way.
fn proc_path(handle: std::os::fd::BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    use std::os::fd::AsRawFd;
    let mut path = format!("/proc/self/fd/{}/", handle.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}
