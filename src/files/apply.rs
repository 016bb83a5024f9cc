//! Giving an entry its metadata back, in the order in which nothing undoes what came before, and saying what could not be.
//!
//! Owner first, since changing it takes setuid bits and capabilities away; then attributes, while the mode still lets them
//! be written, ACLs last of them; then the mode, so that nobody gets in before the ACL keeps him out; then the time. At the
//! end the entry is looked at, and what is not as stored is a problem. Inode flags come apart, last of all: they forbid
//! the rest.

use std::fmt;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Gid, IFlags, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::open::{no_flags, open_handle, proc_path};
use super::xattr::Place;
use super::{Owners, Result, Stat, again, stat_fd};
use crate::format::limits::FLAGS_KEPT;
use crate::model::{Node, NodeType, Time};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const ACLS: [&[u8]; 2] = [ACCESS_ACL, b"system.posix_acl_default"];
const CAPABILITY: &[u8] = b"security.capability";

/// What metadata is given to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// The entry of that name in a directory, without opening it: a symlink itself, a FIFO, socket or device.
    Named(BorrowedFd<'a>, &'a [u8]),
}

/// Something that could not be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `type`, `owner`, `group`, `mode`, `xattr`, `acl`, `mtime`, `flags`.
    pub what: &'static str,
    /// The attribute's name, of `xattr` and `acl`.
    pub name: Vec<u8>,
    pub error: Errno,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_slice() {
            [] => write!(f, "{}: {}", self.what, self.error),
            name => write!(f, "{} {}: {}", self.what, name.escape_ascii(), self.error),
        }
    }
}

/// How metadata is given back.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    pub owners: &'a Owners,
    /// By id, never by name.
    pub numeric_ids: bool,
    /// May give files to other users; when not, it is not tried.
    pub is_root: bool,
    /// The entry is new and inherited nothing: there are no attributes to look for.
    pub is_bare: bool,
}

impl Apply<'_> {
    /// Gives `target` the owner, mode, attributes and time of `node`. `xattr_values` are the node's attributes with
    /// long values fetched; others that are there go, when the node's list is known to be complete.
    pub fn apply(
        &self,
        target: Target<'_>,
        node: &Node,
        xattr_values: &[(Vec<u8>, Vec<u8>)],
    ) -> Vec<Problem> {
        let mut problems = Problems(Vec::new());
        if let Err((what, error)) = Entry::of(target)
            .map_err(|error| ("type", error))
            .and_then(|entry| self.apply_entry(&entry, node, xattr_values, &mut problems))
        {
            problems.add(what, error);
        }
        problems.0
    }

    fn apply_entry(
        &self,
        entry: &Entry<'_>,
        node: &Node,
        xattr_values: &[(Vec<u8>, Vec<u8>)],
        problems: &mut Problems,
    ) -> std::result::Result<(), (&'static str, Errno)> {
        let before = stat_fd(entry.fd()).map_err(|error| ("type", error))?;
        if before.kind != node.kind {
            // Swapped under us: whatever it is by now, it is not ours to change.
            return Err(("type", Errno::STALE));
        }
        let mut mode = node.mode & 0o7777;
        let (user_given, group_given) = self.owner(entry, node, &before, problems);
        // A program must not run as somebody else than it was meant to.
        if !user_given {
            mode &= !SETUID;
        }
        if !group_given && node.kind != NodeType::Directory {
            mode &= !SETGID;
        }
        if node.unread.is_empty() && !self.is_bare {
            remove_others(entry, node.kind, xattr_values, problems);
        }
        let (acls, plain): (Vec<_>, Vec<_>) =
            xattr_values.iter().partition(|(name, _)| ACLS.contains(&name.as_slice()));
        for (name, value) in plain.into_iter().chain(acls) {
            let given = change_xattr(entry, name, node.kind, |place| place.set(name, value));
            if given.is_err() && name == ACCESS_ACL {
                mode = without_acl(mode, value);
            }
            problems.note_named(name, given);
        }
        if node.kind != NodeType::Symlink {
            problems.note("mode", entry.set_mode(mode));
        }
        problems.note("mtime", entry.set_mtime(node));
        verify(entry, node, problems);
        Ok(())
    }

    /// Gives owner and group, and says which of them the entry now has.
    fn owner(&self, entry: &Entry<'_>, node: &Node, before: &Stat, problems: &mut Problems) -> (bool, bool) {
        let named = |name: &[u8], id: u32, find: &dyn Fn(&[u8]) -> Option<u32>| {
            if self.numeric_ids || name.is_empty() { id } else { find(name).unwrap_or(id) }
        };
        let uid = named(&node.user, node.uid, &|name| self.owners.user_id(name));
        let gid = named(&node.group, node.gid, &|name| self.owners.group_id(name));
        let mut user = if before.uid == uid { Ok(()) } else { Err(Errno::PERM) };
        let mut group = if before.gid == gid { Ok(()) } else { Err(Errno::PERM) };
        if user.is_err() && self.is_root {
            // Both at once, or each by itself where that fails.
            let both = group.is_err().then_some(gid);
            user = entry.set_owner(Some(uid), both);
            match (both, user) {
                (Some(_), Ok(())) => group = Ok(()),
                (Some(_), Err(_)) => user = entry.set_owner(Some(uid), None),
                (None, _) => {}
            }
        }
        if group.is_err() {
            group = entry.set_owner(None, Some(gid));
        }
        problems.note("owner", user);
        problems.note("group", group);
        (user.is_ok(), group.is_ok())
    }
}

/// Removes attributes that are there and not stored: inherited ACLs, or of what was there before. Labels that the system
/// itself puts on everything stay.
fn remove_others(entry: &Entry<'_>, kind: NodeType, stored: &[(Vec<u8>, Vec<u8>)], problems: &mut Problems) {
    let names = match entry.place().names() {
        Ok(names) => names,
        Err(error) => return problems.add("xattr", error),
    };
    for name in names.iter().filter(|name| !stored.iter().any(|(kept, _)| kept == *name)) {
        let ours = [&b"user."[..], b"trusted.", b"system.posix_acl_", CAPABILITY];
        if ours.iter().any(|prefix| name.starts_with(prefix)) {
            let removed = change_xattr(entry, name, kind, |place| place.remove(name));
            problems.note_named(name, removed.or_else(gone_is_fine));
        }
    }
}

fn gone_is_fine(error: Errno) -> Result<()> {
    if error == Errno::NODATA { Ok(()) } else { Err(error) }
}

/// Changes an attribute; where the entry's mode forbids its own owner to write, it is opened up for that moment.
fn change_xattr(
    entry: &Entry<'_>,
    name: &[u8],
    kind: NodeType,
    change: impl Fn(&Place<'_>) -> Result<()>,
) -> Result<()> {
    match change(&entry.place()) {
        Err(Errno::ACCESS) if kind != NodeType::Symlink && name.starts_with(b"user.") => {
            entry.set_mode(0o700)?;
            change(&entry.place())
        }
        other => other,
    }
}

/// The mode of an entry that does not get its access ACL. With one, the group's bits are the ACL's mask, the most that
/// anybody in it may have; without it they would be the group's own rights, which may be fewer.
fn without_acl(mode: u32, acl: &[u8]) -> u32 {
    /// The tag of the entry for the owning group, in `u32 version || (u16 tag || u16 rights || u32 id)...`.
    const GROUP_OBJ: [u8; 2] = [4, 0];
    let entries = acl.get(4..).unwrap_or_default().chunks_exact(8);
    let rights = entries.filter(|entry| entry[..2] == GROUP_OBJ).map(|entry| u32::from(entry[2] & 7)).next();
    mode & (!0o070 | rights.unwrap_or(0) << 3)
}

/// Compares with what is there now: a file system may take a mode or a time and keep another.
fn verify(entry: &Entry<'_>, node: &Node, problems: &mut Problems) {
    match stat_fd(entry.fd()) {
        Ok(now) => {
            if now.mode != node.mode & 0o7777 && node.kind != NodeType::Symlink {
                problems.add("mode", Errno::PERM);
            }
            if now.mtime != node.mtime {
                problems.add("mtime", Errno::RANGE);
            }
        }
        Err(error) => problems.add("type", error),
    }
}

fn timestamps(mtime: Option<Time>) -> Timestamps {
    let last_modification = match mtime {
        Some(mtime) => Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification }
}

/// Gives an open file that time of change; the present when none is said.
pub fn set_mtime(fd: BorrowedFd<'_>, mtime: Option<Time>) -> Result<()> {
    again(|| rustix::fs::futimens(fd, &timestamps(mtime)))
}

/// Gives an open file or directory its inode flags (and takes others that are kept away): after everything else.
/// Flags that are refused do not keep the others back.
pub fn apply_flags(fd: BorrowedFd<'_>, node: &Node) -> Vec<Problem> {
    let wanted = node.flags & FLAGS_KEPT;
    let mut problems = Problems(Vec::new());
    match again(|| rustix::fs::ioctl_getflags(fd)) {
        Ok(now) => problems.note("flags", set_flags(fd, now.bits(), now.bits() & !FLAGS_KEPT | wanted)),
        Err(error) if wanted == 0 && no_flags(error) => {}
        Err(error) => problems.add("flags", error),
    }
    problems.0
}

/// Gives a new, still empty file (or a directory) the flags that decide how its contents are laid out: no copy-on-write,
/// compression. Says nothing: [`apply_flags`] does at the end.
pub fn apply_early_flags(fd: BorrowedFd<'_>, node: &Node) {
    let early = node.flags & (IFlags::NOCOW | IFlags::COMPRESSED).bits() & FLAGS_KEPT;
    if early != 0
        && let Ok(now) = again(|| rustix::fs::ioctl_getflags(fd))
    {
        let _ = set_flags(fd, now.bits(), now.bits() | early);
    }
}

/// Sets flags all at once, or, when that is refused, one after the other, those that forbid changes last.
fn set_flags(fd: BorrowedFd<'_>, now: u32, wanted: u32) -> Result<()> {
    let set = |flags| again(|| rustix::fs::ioctl_setflags(fd, IFlags::from_bits_retain(flags)));
    if now == wanted || set(wanted).is_ok() {
        return Ok(());
    }
    let protection = (IFlags::IMMUTABLE | IFlags::APPEND).bits();
    let different = now ^ wanted;
    let bits = (0..32).map(|shift| 1 << shift).filter(|bit| different & bit != 0);
    let (last, first): (Vec<u32>, Vec<u32>) = bits.partition(|bit| protection & bit != 0);
    let mut flags = now;
    let mut result = Ok(());
    for bit in first.into_iter().chain(last) {
        match set(flags ^ bit) {
            Ok(()) => flags ^= bit,
            Err(error) => result = Err(error),
        }
    }
    result
}

/// An entry that is held by a handle, and the path of a handle that only names it (`O_PATH`).
enum Entry<'a> {
    Open(BorrowedFd<'a>),
    Handle(OwnedFd, Vec<u8>),
}

impl Entry<'_> {
    fn of(target: Target<'_>) -> Result<Entry<'_>> {
        match target {
            Target::Open(fd) => Ok(Entry::Open(fd)),
            Target::Named(dir, name) => {
                let handle = open_handle(dir, name)?;
                let path = proc_path(handle.as_fd(), b"");
                Ok(Entry::Handle(handle, path))
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Entry::Open(fd) => *fd,
            Entry::Handle(fd, _) => fd.as_fd(),
        }
    }

    fn place(&self) -> Place<'_> {
        match self {
            Entry::Open(fd) => Place::Open(*fd),
            Entry::Handle(_, path) => Place::Handle(path),
        }
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        // -1 says "leave it" to the system, and is nobody's id.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        again(|| rustix::fs::chownat(self.fd(), c"", uid, gid, AtFlags::EMPTY_PATH))
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        let mode = Mode::from_bits_truncate(mode);
        again(|| match self {
            Entry::Open(fd) => rustix::fs::fchmod(fd, mode),
            Entry::Handle(_, path) => rustix::fs::chmod(path, mode),
        })
    }

    fn set_mtime(&self, node: &Node) -> Result<()> {
        let times = timestamps(Some(node.mtime));
        again(|| match self {
            Entry::Open(fd) => rustix::fs::futimens(fd, &times),
            Entry::Handle(_, path) => rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
        })
    }
}

/// Problems, each kind that concerns the whole entry once.
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, what: &'static str, error: Errno) {
        if !self.0.iter().any(|problem| problem.what == what) {
            self.0.push(Problem { what, name: Vec::new(), error });
        }
    }

    fn note_named(&mut self, name: &[u8], result: Result<()>) {
        if let Err(error) = result {
            let what = if ACLS.contains(&name) { "acl" } else { "xattr" };
            self.0.push(Problem { what, name: name.to_vec(), error });
        }
    }

    fn note(&mut self, what: &'static str, result: Result<()>) {
        if let Err(error) = result {
            self.add(what, error);
        }
    }
}
