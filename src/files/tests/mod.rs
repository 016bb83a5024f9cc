//! Tests of the room, in a folder on a real disk; those that need root say so and fail without it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::*;
use crate::model::{Node, NodeType};

mod giving_back;
mod moving;
mod reading;

/// A folder below /var/tmp and its handle.
struct Folder {
    folder: tempfile::TempDir,
    handle: OwnedFd,
}

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let handle = open_root(folder.path()).unwrap();
        Folder { folder, handle }
    }

    fn dir(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.folder.path().join(OsStr::from_bytes(name))
    }

    fn file(&self, name: &[u8], content: &[u8]) -> Stat {
        File::from(create_file(self.dir(), name).unwrap()).write_all(content).unwrap();
        stat(self.dir(), name).unwrap()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// First line of tests whose names begin with `root_`: passing over them silently would hide what was not tested.
fn demand_root() {
    assert!(
        is_root(),
        "this test needs root: run the tests as root, or leave out those whose names begin with root_"
    );
}

/// Runs that as an ordinary user, in a thread of its own; as the present user when that is one already.
fn as_nobody<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if is_root() {
                let (user, group) = (rustix::fs::Uid::from_raw(65534), rustix::fs::Gid::from_raw(65534));
                set_thread_groups(&[]).unwrap();
                set_thread_res_gid(group, group, group).unwrap();
                set_thread_res_uid(user, user, user).unwrap();
            }
            what()
        });
        thread.join().unwrap()
    })
}

/// A node with the metadata that an entry has.
fn node_of(folder: &Folder, name: &[u8]) -> Node {
    let stat = stat(folder.dir(), name).unwrap();
    let mut node = Node::new(name, stat.kind);
    (node.mode, node.uid, node.gid, node.mtime) = (stat.mode, stat.uid, stat.gid, stat.mtime);
    node
}

fn apply_to(target: Target<'_>, node: &Node, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<Problem> {
    let owners = Owners::new();
    Apply { owners: &owners, numeric_ids: false, is_root: is_root(), is_bare: false }
        .apply(target, node, xattrs)
}

fn pair(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.to_vec())
}

/// An access ACL in the system's form: `user::rw-, user:4711:r-x, group::---, mask::rwx, other::---`.
fn acl() -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1u16, 6u16, none), (2, 5, 4711), (4, 0, none), (0x10, 7, none), (0x20, 0, none)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}
