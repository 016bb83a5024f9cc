//! Giving metadata back, in the order that keeps it: owner, mode, attributes and capabilities, times; inode flags last of all.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::xattr::flags_of;
use super::{Owners, Result, proc_path};
use crate::format::limits::FLAGS_KEPT;
use crate::model::{Node, NodeType, Time};

/// What metadata is given to.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// An entry of an open directory, itself, whatever it is.
    Entry(BorrowedFd<'a>, &'a [u8]),
}

/// Something that could not be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub what: String,
    pub error: Errno,
}

/// How metadata is given back.
pub struct Apply<'a> {
    pub owners: &'a Owners,
    /// By number, whatever the names say.
    pub numeric_ids: bool,
    pub is_root: bool,
}

fn stamp(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() }
}

impl Apply<'_> {
    fn owner(&self, node: &Node) -> (u32, u32) {
        if self.numeric_ids {
            return (node.uid, node.gid);
        }
        let named = |name: &[u8], id: u32, find: &dyn Fn(&[u8]) -> Option<u32>| {
            if name.is_empty() { id } else { find(name).unwrap_or(id) }
        };
        (
            named(&node.user, node.uid, &|name| self.owners.user_id(name)),
            named(&node.group, node.gid, &|name| self.owners.group_id(name)),
        )
    }

    /// Gives everything but inode flags. `attributes` are the node's, with their values; `now` is the owner that the entry has.
    pub fn apply(&self, target: Target<'_>, node: &Node, attributes: &[(Vec<u8>, Vec<u8>)], now: (u32, u32)) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut tried = |what: &str, result: Result<()>| {
            if let Err(error) = result {
                problems.push(Problem { what: what.to_owned(), error });
            }
        };
        let (uid, gid) = self.owner(node);
        if (uid, gid) != now {
            let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            let chown = |owner, group| match target {
                Target::Open(file) => rustix::fs::fchown(file, owner, group),
                Target::Entry(handle, name) => rustix::fs::chownat(handle, name, owner, group, AtFlags::SYMLINK_NOFOLLOW),
            };
            let mut result = chown(owner, group);
            if result.is_err() && uid == now.0 {
                // An ordinary user may still give a file to a group of theirs.
                result = chown(None, group);
            }
            tried("owner", result);
        }
        if node.kind != NodeType::Symlink {
            let mode = Mode::from_bits_retain(node.mode);
            tried(
                "mode",
                match target {
                    Target::Open(file) => rustix::fs::fchmod(file, mode),
                    Target::Entry(handle, name) => rustix::fs::chmodat(handle, name, mode, AtFlags::empty()),
                },
            );
        }
        for (name, value) in attributes {
            let result = match target {
                Target::Open(file) => rustix::fs::fsetxattr(file, &name[..], value, XattrFlags::empty()),
                Target::Entry(handle, entry) => {
                    rustix::fs::lsetxattr(&proc_path(handle, entry)[..], &name[..], value, XattrFlags::empty())
                }
            };
            tried(&format!("attribute {}", String::from_utf8_lossy(name)), result);
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: stamp(node.mtime),
        };
        tried(
            "time",
            match target {
                Target::Open(file) => rustix::fs::futimens(file, &times),
                Target::Entry(handle, name) => rustix::fs::utimensat(handle, name, &times, AtFlags::SYMLINK_NOFOLLOW),
            },
        );
        problems
    }

    /// Gives inode flags: after everything else, since immutable files take nothing more.
    pub fn apply_flags(&self, file: BorrowedFd<'_>, flags: u32) -> Option<Problem> {
        let result = rustix::fs::ioctl_getflags(file)
            .and_then(|now| rustix::fs::ioctl_setflags(file, flags_of(now.bits() & !FLAGS_KEPT | flags & FLAGS_KEPT)));
        result.err().map(|error| Problem { what: "inode flags".to_owned(), error })
    }
}
