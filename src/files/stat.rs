//! An entry's metadata by one statx call.

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags};

use super::{Result, again, single};
use crate::model::{NodeType, Time};

/// What the system says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `Unreadable` when the system names a type this program does not know.
    pub kind: NodeType,
    /// The 12 permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    pub inode: u64,
    pub nlink: u64,
    pub mtime: Time,
    pub ctime: Time,
    /// Where the file system keeps it.
    pub btime: Option<Time>,
    /// Major and minor of a device entry.
    pub device: (u32, u32),
    /// The device number of the file system.
    pub dev: u64,
    /// The mount the entry is on, when the system says (Linux 5.8); bind mounts have their own.
    pub mount: Option<u64>,
    /// Something is mounted here (Linux 5.8).
    pub mount_root: bool,
}

impl Stat {
    /// Whether both are the same inode of the same file system.
    pub fn same_inode(&self, other: &Stat) -> bool {
        self.inode == other.inode && self.dev == other.dev
    }
}

/// Metadata of `name` in `dir`; of a symlink itself, not of what it points to, and without starting an automount.
pub fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
    statx(dir, single(name)?, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

/// Metadata of what a handle stands for.
pub fn stat_fd(fd: BorrowedFd<'_>) -> Result<Stat> {
    statx(fd, b"", AtFlags::EMPTY_PATH)
}

fn statx(fd: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<Stat> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    again(|| rustix::fs::statx(fd, name, flags, mask)).map(|raw| from_raw(&raw))
}

fn from_raw(raw: &Statx) -> Stat {
    let given = StatxFlags::from_bits_retain(raw.stx_mask);
    let time = |time: &rustix::fs::StatxTimestamp| Time::new(time.tv_sec, time.tv_nsec);
    Stat {
        kind: kind(FileType::from_raw_mode(raw.stx_mode.into())).unwrap_or(NodeType::Unreadable),
        mode: u32::from(raw.stx_mode) & 0o7777,
        uid: raw.stx_uid,
        gid: raw.stx_gid,
        size: raw.stx_size,
        blocks: raw.stx_blocks,
        inode: raw.stx_ino,
        nlink: raw.stx_nlink.into(),
        mtime: time(&raw.stx_mtime),
        ctime: time(&raw.stx_ctime),
        btime: given.contains(StatxFlags::BTIME).then(|| time(&raw.stx_btime)),
        device: (raw.stx_rdev_major, raw.stx_rdev_minor),
        dev: rustix::fs::makedev(raw.stx_dev_major, raw.stx_dev_minor),
        mount: given.contains(StatxFlags::MNT_ID).then_some(raw.stx_mnt_id),
        mount_root: raw.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
    }
}

/// The stored type of a system's type, where there is one.
pub(super) fn kind(kind: FileType) -> Option<NodeType> {
    match kind {
        FileType::RegularFile => Some(NodeType::File),
        FileType::Directory => Some(NodeType::Directory),
        FileType::Symlink => Some(NodeType::Symlink),
        FileType::Fifo => Some(NodeType::Fifo),
        FileType::Socket => Some(NodeType::Socket),
        FileType::CharacterDevice => Some(NodeType::CharacterDevice),
        FileType::BlockDevice => Some(NodeType::BlockDevice),
        FileType::Unknown => None,
    }
}
