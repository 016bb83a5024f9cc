//! Room that is kept aside: on a full disk, what makes room must be written first.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};

/// Beside files on their way to become objects, and with a name that none of them has.
const PATH: &str = "tmp/reserve";
/// Its bytes: a session, a mark, tombstones, a few hundred notes, and what is written anew of an index of some 100 GB.
const BYTES: usize = 1 << 20;
/// It is kept only where so many times its length is free: who has less needs that himself.
const FREE_LEAST: u64 = 16;

/// Takes that room where it is not taken yet and the disk has plenty. Whether it was taken now. Not synced: it is only a help.
pub(super) fn take(root: &OwnedFd) -> bool {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let is_taken = || rustix::fs::statat(root, PATH, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let has_plenty = || {
        let free = rustix::fs::fstatvfs(root).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free.is_ok_and(|free| free >= FREE_LEAST * BYTES as u64)
    };
    if is_taken() || !has_plenty() {
        return false;
    }
    // Bytes that no file system can make shorter.
    let mut bytes = vec![0; BYTES];
    if getrandom::fill(&mut bytes).is_err() {
        return false;
    }
    let Ok(file) = rustix::fs::openat(root, PATH, flags, Mode::RUSR | Mode::WUSR) else { return false };
    let is_written = File::from(file).write_all(&bytes).is_ok();
    if !is_written {
        give_back(root);
    }
    is_written
}

/// Gives it back. Whether there was any.
pub(super) fn give_back(root: &OwnedFd) -> bool {
    rustix::fs::unlinkat(root, PATH, AtFlags::empty()).is_ok()
}
