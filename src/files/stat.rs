//! What `statx` says of an entry.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};

use super::Result;
use crate::model::{NodeType, Time};

/// An entry's metadata. Sizes in bytes, `blocks` in units of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub kind: NodeType,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub blocks: u64,
    pub inode: u64,
    pub nlink: u64,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Option<Time>,
    /// Of a device: major and minor.
    pub device: (u32, u32),
    /// The device that the entry lies on: tells mounts apart, means nothing after a reboot.
    pub dev: u64,
}

fn time(stamp: StatxTimestamp) -> Time {
    Time::new(stamp.tv_sec, stamp.tv_nsec)
}

fn convert(statx: &Statx) -> Stat {
    let kind = match FileType::from_raw_mode(statx.stx_mode.into()) {
        FileType::RegularFile => NodeType::File,
        FileType::Directory => NodeType::Directory,
        FileType::Symlink => NodeType::Symlink,
        FileType::Fifo => NodeType::Fifo,
        FileType::Socket => NodeType::Socket,
        FileType::CharacterDevice => NodeType::CharacterDevice,
        FileType::BlockDevice => NodeType::BlockDevice,
        FileType::Unknown => NodeType::Unreadable,
    };
    let is_device = matches!(kind, NodeType::CharacterDevice | NodeType::BlockDevice);
    let has_btime = statx.stx_mask & StatxFlags::BTIME.bits() != 0;
    Stat {
        kind,
        mode: u32::from(statx.stx_mode) & 0o7777,
        uid: statx.stx_uid,
        gid: statx.stx_gid,
        size: statx.stx_size,
        blocks: statx.stx_blocks,
        inode: statx.stx_ino,
        nlink: u64::from(statx.stx_nlink),
        mtime: time(statx.stx_mtime),
        ctime: time(statx.stx_ctime),
        btime: has_btime.then(|| time(statx.stx_btime)),
        device: if is_device { (statx.stx_rdev_major, statx.stx_rdev_minor) } else { (0, 0) },
        dev: u64::from(statx.stx_dev_major) << 32 | u64::from(statx.stx_dev_minor),
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Looks at an entry of an open directory, never following a symlink and never triggering an automount.
pub fn stat(handle: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(handle, name, flags, WANTED).map(|statx| convert(&statx))
}

/// Looks at an open file or directory.
pub fn stat_fd(handle: BorrowedFd<'_>) -> Result<Stat> {
    rustix::fs::statx(handle, c"", AtFlags::EMPTY_PATH, WANTED).map(|statx| convert(&statx))
}
