//! What a file system is, and what it says that can be relied on.

use rustix::fd::BorrowedFd;

use super::identity::{Mount, ToldBy, identity};
use super::{Result, again};

/// The file system that a handle is on. Asked once for each mount, not for each entry.
/// By default nothing is trusted.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// The same for the same file system, across mounts and restarts where it can be told; different for any other.
    /// Where it cannot be told, `reuse` is false.
    pub identity: Vec<u8>,
    /// An entry keeps its inode number as long as it is there.
    pub trust_inode: bool,
    /// The system itself moves ctime at each change. Where not, it is missing or a copy of a time that anyone can set.
    pub trust_ctime: bool,
    /// Holes that the file system reports do read as zeros.
    pub trust_holes: bool,
    /// What was seen here earlier says something about now: not where contents live in memory or are made up, not in
    /// images whose inodes and times are chosen by who makes them, and not where another file system can not be told
    /// from this one.
    pub reuse: bool,
    /// As in the list of mounts (`ext4`, `fuse.sshfs`), or the magic number in hex.
    pub name: String,
}

impl FileSystem {
    /// Its files are the kernel's words of the moment (`/proc`): never to be read to their end, which there may not be.
    pub fn is_made_up(&self) -> bool {
        !self.reuse && !self.trust_holes
    }
}

/// What is known of one kind of file system.
struct Known {
    magic: u32,
    name: &'static str,
    doubts: Doubts,
}

/// What must not be relied on.
#[derive(Clone, Copy, Default)]
struct Doubts {
    inode: bool,
    ctime: bool,
    holes: bool,
    reuse: bool,
    /// What tells it from others of its kind.
    told_by: ToldBy,
}

const SOUND: Doubts =
    Doubts { inode: false, ctime: false, holes: false, reuse: false, told_by: ToldBy::Uuid };
const FSID: Doubts = Doubts { told_by: ToldBy::Fsid, ..SOUND };
const INODE_AND_CTIME: Doubts = Doubts { inode: true, ctime: true, ..SOUND };
/// Its times are those of the layer below, which may be an image that somebody made with times of their choice.
const OVERLAY: Doubts = Doubts { inode: true, reuse: true, told_by: ToldBy::Layers, ..SOUND };
const FUSE: Doubts = Doubts { told_by: ToldBy::Place, ..INODE_AND_CTIME };
/// Released versions have named dirty data a hole.
const HOLES: Doubts = Doubts { holes: true, ..FSID };
const MEMORY: Doubts = Doubts { reuse: true, ..SOUND };
/// Made whole by a program, often with fixed times: two of them may differ in nothing but what is in their files.
const IMAGE: Doubts = Doubts { reuse: true, inode: true, ..SOUND };
const MADE_UP: Doubts = Doubts { holes: true, reuse: true, ..INODE_AND_CTIME };
const NETWORK: Doubts = Doubts { told_by: ToldBy::Source, ..SOUND };
const NETWORK_WEAK: Doubts = Doubts { told_by: ToldBy::Source, ..INODE_AND_CTIME };

/// By the number that statfs gives (linux/magic.h, and the sources of those that are not there). What is not listed
/// is relied on when it has a UUID: comparing more only reads more.
const KNOWN: &[Known] = &[
    known(0x0000_ef53, "ext4", FSID),
    known(0x5846_5342, "xfs", SOUND),
    known(0x9123_683e, "btrfs", FSID),
    known(0xca45_1a4e, "bcachefs", SOUND),
    known(0x2fc1_2fc1, "zfs", HOLES),
    known(0xf2f5_2010, "f2fs", SOUND),
    known(0x7366_746e, "ntfs3", FSID),
    known(0x7371_7368, "squashfs", IMAGE),
    known(0xe0f5_e1e2, "erofs", IMAGE),
    known(0x0000_9660, "iso9660", IMAGE),
    known(0x1501_3346, "udf", IMAGE),
    known(0x28cd_3d45, "cramfs", IMAGE),
    known(0x0000_7275, "romfs", IMAGE),
    known(0x0000_4d44, "vfat", INODE_AND_CTIME),
    known(0x2011_bab0, "exfat", INODE_AND_CTIME),
    known(0x6573_5546, "fuse", FUSE),
    known(0x794c_7630, "overlay", OVERLAY),
    known(0x0000_6969, "nfs", NETWORK),
    known(0x00c3_6400, "ceph", NETWORK),
    known(0xff53_4d42, "cifs", NETWORK_WEAK),
    known(0xfe53_4d42, "smb3", NETWORK_WEAK),
    known(0x0000_517b, "smb", NETWORK_WEAK),
    known(0x0102_1997, "9p", NETWORK_WEAK),
    known(0x5346_414f, "afs", NETWORK_WEAK),
    known(0x6b41_4653, "afs", NETWORK_WEAK),
    known(0x786f_4256, "vboxsf", NETWORK_WEAK),
    known(0x0102_1994, "tmpfs", MEMORY),
    known(0x8584_58f6, "ramfs", MEMORY),
    known(0x9584_58f6, "hugetlbfs", MEMORY),
    known(0x0000_9fa0, "proc", MADE_UP),
    known(0x6265_6572, "sysfs", MADE_UP),
    known(0x0027_e0eb, "cgroup", MADE_UP),
    known(0x6367_7270, "cgroup2", MADE_UP),
    known(0x6462_6720, "debugfs", MADE_UP),
    known(0x7472_6163, "tracefs", MADE_UP),
    known(0x7363_6673, "securityfs", MADE_UP),
    known(0x6265_6570, "configfs", MADE_UP),
    known(0x0000_1cd1, "devpts", MADE_UP),
    known(0x1980_0202, "mqueue", MADE_UP),
    known(0xcafe_4a11, "bpf", MADE_UP),
    known(0x6165_676c, "pstore", MADE_UP),
    known(0xde5e_81e4, "efivarfs", MADE_UP),
    known(0x4249_4e4d, "binfmt_misc", MADE_UP),
    known(0x0000_0187, "autofs", MADE_UP),
];

const fn known(magic: u32, name: &'static str, doubts: Doubts) -> Known {
    Known { magic, name, doubts }
}

/// What the file system of an open file or directory is.
pub fn filesystem(fd: BorrowedFd<'_>) -> Result<FileSystem> {
    let statfs = again(|| rustix::fs::fstatfs(fd))?;
    let magic = statfs.f_type as u32;
    let known = KNOWN.iter().find(|known| known.magic == magic);
    let doubts = known.map_or(SOUND, |known| known.doubts);
    let mount = Mount::of(fd)?;
    let name = match (&mount, known) {
        (Some(mount), _) => mount.kind.clone(),
        (None, Some(known)) => known.name.to_owned(),
        (None, None) => format!("{magic:#x}"),
    };
    let (identity, is_told) = identity(fd, magic, doubts.told_by, mount.as_ref())?;
    Ok(FileSystem {
        identity,
        trust_inode: !doubts.inode,
        trust_ctime: !doubts.ctime,
        trust_holes: !doubts.holes,
        reuse: is_told && !doubts.reuse,
        name,
    })
}

/// Whether it is a file system that this system alone writes to, as far as is known: not of a network, of a cluster, or a program's.
pub fn is_local(fd: BorrowedFd<'_>) -> bool {
    let magic = again(|| rustix::fs::fstatfs(fd)).map_or(0, |statfs| statfs.f_type as u32);
    KNOWN
        .iter()
        .find(|known| known.magic == magic)
        .is_some_and(|known| !matches!(known.doubts.told_by, ToldBy::Source | ToldBy::Place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_what_lives_in_memory_prove_nothing_by_their_stat() {
        let proves_nothing = |name: &str| KNOWN.iter().any(|known| known.name == name && known.doubts.reuse);
        for name in
            ["squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs", "overlay", "tmpfs", "ramfs", "proc"]
        {
            assert!(proves_nothing(name), "{name}");
        }
        for name in ["ext4", "xfs", "btrfs", "zfs", "nfs", "cifs", "fuse", "vfat"] {
            assert!(!proves_nothing(name), "{name}");
        }
    }
}
