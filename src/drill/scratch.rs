//! The scratch folder of a drill: of this user alone, locked while it is in use, and removed with all that is in it. Those that a drill
//! which was killed left behind are told by their lock, and removed by the next one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, IFlags};
use rustix::io::Errno;

use super::Error;
use crate::files::{self, Removal};

/// What names of scratch folders begin with; sixteen hexadecimal digits follow.
const BEGIN: &str = "copal-drill-";
/// How often a name is tried that a sweep of somebody else's took meanwhile.
const TRIES: usize = 10;

/// A fresh folder, removed when this is dropped.
pub struct Scratch {
    base: OwnedFd,
    name: Vec<u8>,
    path: PathBuf,
    /// Locked.
    folder: OwnedFd,
}

impl Scratch {
    /// Makes one in a folder that is there.
    pub fn make(base: &Path) -> Result<Scratch, Error> {
        let wrong =
            |error: Errno| Error::Scratch { path: base.display().to_string(), what: error.to_string() };
        let whole = std::path::absolute(base).unwrap_or_else(|_| base.to_path_buf());
        let base = files::open_root(&whole).map_err(wrong)?;
        sweep(&base);
        for _ in 0..TRIES {
            let token = u64::from_le_bytes(crate::crypto::random().map_err(crate::repository::Error::from)?);
            let name = format!("{BEGIN}{token:016x}");
            let path = whole.join(&name);
            let name = name.into_bytes();
            files::make_directory(base.as_fd(), &name).map_err(wrong)?;
            let Ok(folder) = files::open_directory(base.as_fd(), &name) else { continue };
            let locked = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive);
            // Where there are no locks, nobody sweeps either.
            let is_ours = !matches!(locked, Err(Errno::WOULDBLOCK))
                && files::stat(base.as_fd(), &name).is_ok_and(|there| {
                    files::stat_fd(folder.as_fd()).is_ok_and(|own| own.same_inode(&there))
                });
            if is_ours {
                return Ok(Scratch { base, name, path, folder });
            }
        }
        Err(wrong(Errno::BUSY))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it that is open.
    pub fn open(&self, name: &[u8]) -> files::Result<OwnedFd> {
        files::open_directory(self.folder.as_fd(), name)
    }

    /// Removes something in it.
    pub fn remove(&self, name: &[u8]) -> files::Result<()> {
        loosen(&self.folder, name);
        match remove(&self.folder, name) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    /// Bytes that this user may still write there; none where that is not told.
    pub fn free(&self) -> Option<u64> {
        let disk = rustix::fs::fstatvfs(&self.folder).ok()?;
        (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_whole(&self.base, &self.folder, &self.name);
    }
}

fn remove(folder: &OwnedFd, name: &[u8]) -> files::Result<()> {
    let removal = Removal { spared: &Default::default(), keep: &|_| false, only_count: false };
    removal.run(folder.as_fd(), name).map(|_| ())
}

/// Removes a scratch folder: what lies in it lies two folders deep at most.
fn remove_whole(base: &OwnedFd, folder: &OwnedFd, name: &[u8]) {
    if let Ok(names) = files::names(folder.as_fd()) {
        names.iter().for_each(|name| loosen(folder, name.bytes));
    }
    let _ = remove(base, name);
}

/// Takes flags away that keep files of a folder from being removed: they were restored as they were.
fn loosen(folder: &OwnedFd, name: &[u8]) {
    let Ok(folder) = files::open_directory(folder.as_fd(), name) else { return };
    let Ok(names) = files::names(folder.as_fd()) else { return };
    for name in names.iter().map(|name| name.bytes) {
        if let Ok(stat) = files::stat(folder.as_fd(), name)
            && let Ok((file, _)) = files::open_file(folder.as_fd(), name, &stat)
            && let Ok(flags) = rustix::fs::ioctl_getflags(&file)
            && flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)
        {
            let _ = rustix::fs::ioctl_setflags(&file, flags - (IFlags::IMMUTABLE | IFlags::APPEND));
        }
    }
}

fn is_scratch(name: &[u8]) -> bool {
    let is_hex =
        |text: &[u8]| text.len() == 16 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    name.strip_prefix(BEGIN.as_bytes()).is_some_and(is_hex)
}

/// Removes what drills of this user that are no more left in a folder.
fn sweep(base: &OwnedFd) {
    let Ok(names) = files::names(base.as_fd()) else { return };
    // Where other machines write too, their locks may not be seen.
    if !files::is_local(base.as_fd()) {
        return;
    }
    let own = rustix::process::geteuid().as_raw();
    for name in names.iter().map(|name| name.bytes).filter(|name| is_scratch(name)) {
        let Ok(folder) = files::open_directory(base.as_fd(), name) else { continue };
        if files::stat_fd(folder.as_fd()).is_ok_and(|stat| stat.uid == own)
            && rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            remove_whole(base, &folder, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_that_is_in_it_and_takes_what_a_killed_one_left_along() {
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        let left = base.path().join("copal-drill-0123456789abcdef");
        let other = base.path().join("copal-drill-of-mine");
        for folder in [&left, &other] {
            std::fs::create_dir_all(folder.join("a/b")).unwrap();
            std::fs::write(folder.join("a/b/file"), "left").unwrap();
        }
        let first = Scratch::make(base.path()).unwrap();
        assert!(!left.exists() && other.exists());
        std::fs::create_dir_all(first.path().join("a/b")).unwrap();
        std::fs::write(first.path().join("a/b/file"), "content").unwrap();
        // One that is in use stays.
        let second = Scratch::make(base.path()).unwrap();
        assert!(first.path().join("a/b/file").exists());
        assert!(first.free().is_some_and(|free| free > 0));
        first.remove(b"a").unwrap();
        first.remove(b"a").unwrap();
        assert!(!first.path().join("a").exists());
        drop((first, second));
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
        assert!(matches!(Scratch::make(&base.path().join("none")), Err(Error::Scratch { .. })));
    }

    #[test]
    fn others_may_not_look_into_it() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        let scratch = Scratch::make(base.path()).unwrap();
        assert_eq!(std::fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
