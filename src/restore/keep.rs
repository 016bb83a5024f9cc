//! Keeping what is there beside what takes its place: under the same name with its own time in it.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::Run;
use super::existing::free_name;
use crate::files::{self, Stat};
use crate::locks::lock;
use crate::model::NodeType;
use crate::terminal::time;

/// How what was there is marked: with its time, in a form that any file system takes.
fn mark(stat: &Stat) -> String {
    time::show(stat.mtime).replace(' ', "T").replace(':', "")
}

impl Run<'_> {
    /// Keeps an entry that is to be replaced under a second name; a folder, or where there are no second names, under that name
    /// alone. Errors: when it can not be kept, and must not be replaced then.
    pub(super) fn keep(&self, folder: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> files::Result<()> {
        if !self.options.keep_present || self.options.dry_run {
            return Ok(());
        }
        let mut is_kept = false;
        let kept = free_name(name, &mark(stat), &mut |candidate| match files::stat(folder, candidate) {
            Err(Errno::NOENT) => true,
            // A run that was cut off has kept it.
            Ok(there) => {
                is_kept = there.same_inode(stat);
                is_kept
            }
            Err(_) => false,
        })?;
        let above = files::stat_fd(folder)?;
        lock(&self.options.kept).insert((above.dev, above.inode, kept.clone()));
        if is_kept {
            return Ok(());
        }
        let linked = match stat.kind {
            NodeType::Directory => Err(Errno::PERM),
            _ => files::hard_link(folder, name, folder, &kept),
        };
        match linked {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                files::rename_new(folder, name, &kept)?;
            }
            other => other?,
        }
        self.counts.kept.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether something was kept under that name, which is not removed then, though the snapshot has nothing there.
    pub(super) fn is_kept(&self, folder: BorrowedFd<'_>, name: &[u8]) -> bool {
        let kept = lock(&self.options.kept);
        !kept.is_empty()
            && files::stat_fd(folder)
                .is_ok_and(|above| kept.contains(&(above.dev, above.inode, name.to_vec())))
    }
}
