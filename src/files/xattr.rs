//! Extended attributes, ACLs and capabilities among them: all names, all values, empty ones too, nothing dropped silently.
//!
//! The calls take a handle or a path. Entries that have no handle (symlinks, FIFOs, devices) are reached through
//! `/proc/self/fd`, by the directory's handle and the name, so the path is short and nothing is followed.

use rustix::fd::BorrowedFd;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::open::proc_path;
use super::{Result, again, single, stat};

/// Room for the names at the first try: more is rare.
const LIST_FIRST: usize = 1 << 10;
/// Room for a value at the first try: what is kept in a node.
const VALUE_FIRST: usize = 4 << 10;
/// Longest list of names and longest value that Linux gives.
const SYSTEM_MAX: usize = 64 << 10;

/// Names under which XFS shows root its own form of an ACL, beside the ACL itself: nothing to keep, and harmful to give back.
const DOUBLES: [(&[u8], &[u8]); 2] = [
    (b"trusted.SGI_ACL_FILE", b"system.posix_acl_access"),
    (b"trusted.SGI_ACL_DEFAULT", b"system.posix_acl_default"),
];

/// The extended attributes of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xattrs {
    /// Names and values, in order of name.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names whose values could not be read, and why.
    pub unread: Vec<(Vec<u8>, Errno)>,
}

/// The attributes of `name` in `dir`, of a symlink itself. An error means that not even the names could be read.
pub fn xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Xattrs> {
    let path = proc_path(dir, single(name)?);
    read(&Place::Path(&path)).map_err(|error| match error {
        // The entry is there, so it is `/proc` that is missing.
        Errno::NOENT if stat(dir, name).is_ok() => Errno::NOSYS,
        other => other,
    })
}

/// The attributes of an open file or directory.
pub fn xattrs_fd(fd: BorrowedFd<'_>) -> Result<Xattrs> {
    read(&Place::Open(fd))
}

fn read(place: &Place<'_>) -> Result<Xattrs> {
    let mut found = Xattrs::default();
    for name in place.names()? {
        match place.get(&name) {
            Ok(value) => found.values.push((name, value)),
            // Removed since it was listed, unless it is listed still.
            Err(Errno::NODATA) if !place.names()?.contains(&name) => {}
            Err(error) => found.unread.push((name, error)),
        }
    }
    Ok(found)
}

/// What the calls are made on.
pub(super) enum Place<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// A path; a symlink at its end is meant itself.
    Path(&'a [u8]),
    /// A handle (`O_PATH`) as a path below `/proc/self/fd`, which is followed, and leads to what the handle stands for.
    Handle(&'a [u8]),
}

impl Place<'_> {
    /// The names there, in order; none where the file system keeps no attributes.
    pub(super) fn names(&self) -> Result<Vec<Vec<u8>>> {
        let mut small = [0; LIST_FIRST];
        let mut large = Vec::new();
        let list = match self.list(&mut small) {
            Ok(length) => &small[..length],
            Err(Errno::RANGE) => {
                large.resize(SYSTEM_MAX, 0);
                let length = self.list(&mut large)?;
                &large[..length]
            }
            Err(Errno::OPNOTSUPP) => &[],
            Err(error) => return Err(error),
        };
        let mut names: Vec<Vec<u8>> =
            list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
        names.sort_unstable();
        names.dedup();
        let is_there = |name: &[u8]| names.iter().any(|other| other == name);
        let doubles = DOUBLES.map(|(double, of)| (is_there(of), double));
        names.retain(|name| !doubles.contains(&(true, name.as_slice())));
        Ok(names)
    }

    fn list(&self, buffer: &mut [u8]) -> Result<usize> {
        again(|| match self {
            Place::Open(fd) => rustix::fs::flistxattr(fd, &mut *buffer),
            Place::Path(path) => rustix::fs::llistxattr(*path, &mut *buffer),
            Place::Handle(path) => rustix::fs::listxattr(*path, &mut *buffer),
        })
    }

    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        let mut small = [0; VALUE_FIRST];
        match self.get_into(name, &mut small) {
            Err(Errno::RANGE) => {
                let mut large = vec![0; SYSTEM_MAX];
                let length = self.get_into(name, &mut large)?;
                large.truncate(length);
                large.shrink_to_fit();
                Ok(large)
            }
            other => other.map(|length| small[..length].to_vec()),
        }
    }

    fn get_into(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize> {
        again(|| match self {
            Place::Open(fd) => rustix::fs::fgetxattr(fd, name, &mut *buffer),
            Place::Path(path) => rustix::fs::lgetxattr(*path, name, &mut *buffer),
            Place::Handle(path) => rustix::fs::getxattr(*path, name, &mut *buffer),
        })
    }

    /// Sets an attribute, whether it is there or not.
    pub(super) fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        again(|| match self {
            Place::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Place::Path(path) => rustix::fs::lsetxattr(*path, name, value, XattrFlags::empty()),
            Place::Handle(path) => rustix::fs::setxattr(*path, name, value, XattrFlags::empty()),
        })
    }

    /// Removes an attribute.
    pub(super) fn remove(&self, name: &[u8]) -> Result<()> {
        again(|| match self {
            Place::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Place::Path(path) => rustix::fs::lremovexattr(*path, name),
            Place::Handle(path) => rustix::fs::removexattr(*path, name),
        })
    }
}
