//! What a file system is trusted with, by its type.

use std::os::fd::BorrowedFd;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Stays the same from mount to mount where the system has such an id.
    pub identity: Vec<u8>,
    /// Inode numbers are kept from mount to mount and not made up.
    pub trust_inode: bool,
    /// A change of content or metadata always moves ctime.
    pub trust_ctime: bool,
    /// An equal stat proves equal content. False on tmpfs, where a write through a mapping moves no time.
    pub reuse: bool,
}

/// (type, trust inode, trust ctime, reuse); everything else is trusted.
const TABLE: &[(i64, bool, bool, bool)] = &[
    (0x0102_1994, true, true, false),  // tmpfs
    (0x8584_58f6, true, true, false),  // ramfs
    (0x6573_5546, false, false, true), // FUSE
    (0x0000_4d44, false, false, true), // FAT
    (0x2011_bab0, false, false, true), // exFAT
    (0xff53_4d42, false, false, true), // CIFS
    (0xfe53_4d42, false, false, true), // SMB2
    (0x0102_1997, false, false, true), // 9p
];

/// What the file system of an open directory is.
pub fn filesystem(handle: BorrowedFd<'_>) -> FileSystem {
    let kind = rustix::fs::fstatfs(handle).map_or(0, |stat| stat.f_type as i64);
    let id = rustix::fs::fstatvfs(handle).map_or(0, |stat| stat.f_fsid);
    let (trust_inode, trust_ctime, reuse) = TABLE
        .iter()
        .find(|row| row.0 == kind & 0xffff_ffff)
        .map_or((true, true, true), |row| (row.1, row.2, row.3));
    let mut identity = kind.to_le_bytes().to_vec();
    identity.extend_from_slice(&id.to_le_bytes());
    FileSystem { identity, trust_inode, trust_ctime, reuse }
}
