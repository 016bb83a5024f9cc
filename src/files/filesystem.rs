//! What a file system is, and what it says that can be relied on.

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, StatxFlags};
use rustix::ioctl::{Getter, Opcode, opcode};

use super::{Result, again, stat_fd};

/// The file system that a handle is on. Asked once for each mount, not for each entry.
/// By default nothing is trusted.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// The same for the same file system, across mounts and restarts where it can be told; different for any other.
    pub identity: Vec<u8>,
    /// An entry keeps its inode number as long as it is there.
    pub trust_inode: bool,
    /// The system itself moves ctime at each change. Where not, it is missing or a copy of a time that anyone can set.
    pub trust_ctime: bool,
    /// Holes that the file system reports do read as zeros.
    pub trust_holes: bool,
    /// What was seen here earlier says something about now: not where contents live in memory or are made up.
    pub reuse: bool,
    /// As in the list of mounts (`ext4`, `fuse.sshfs`), or the magic number in hex.
    pub name: String,
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

/// What a file system's identity is made of, where there is a choice.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToldBy {
    /// Its UUID and subvolume, or its device number for want of a UUID.
    #[default]
    Uuid,
    /// The number that statfs gives, which every version of Linux makes from the UUID (and the subvolume) there.
    Fsid,
    /// The source it is mounted from: `server:/export`.
    Source,
}

const SOUND: Doubts =
    Doubts { inode: false, ctime: false, holes: false, reuse: false, told_by: ToldBy::Uuid };
const FSID: Doubts = Doubts { told_by: ToldBy::Fsid, ..SOUND };
const INODE: Doubts = Doubts { inode: true, ..SOUND };
const INODE_AND_CTIME: Doubts = Doubts { inode: true, ctime: true, ..SOUND };
/// Released versions have named dirty data a hole.
const HOLES: Doubts = Doubts { holes: true, ..FSID };
const MEMORY: Doubts = Doubts { reuse: true, ..SOUND };
const MADE_UP: Doubts = Doubts { holes: true, reuse: true, ..INODE_AND_CTIME };
const NETWORK: Doubts = Doubts { told_by: ToldBy::Source, ..SOUND };
const NETWORK_WEAK: Doubts = Doubts { told_by: ToldBy::Source, ..INODE_AND_CTIME };

/// By the number that statfs gives (linux/magic.h, and the sources of those that are not there). What is not listed
/// is relied on: comparing more only reads more.
const KNOWN: &[Known] = &[
    known(0x0000_ef53, "ext4", FSID),
    known(0x5846_5342, "xfs", SOUND),
    known(0x9123_683e, "btrfs", FSID),
    known(0xca45_1a4e, "bcachefs", SOUND),
    known(0x2fc1_2fc1, "zfs", HOLES),
    known(0xf2f5_2010, "f2fs", SOUND),
    known(0x7366_746e, "ntfs3", SOUND),
    known(0x7371_7368, "squashfs", SOUND),
    known(0x0000_9660, "iso9660", SOUND),
    known(0x0000_4d44, "vfat", INODE_AND_CTIME),
    known(0x2011_bab0, "exfat", INODE_AND_CTIME),
    known(0x6573_5546, "fuse", INODE_AND_CTIME),
    known(0x794c_7630, "overlay", INODE),
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
    let mount = mount_of(fd)?;
    let name = match (&mount, known) {
        (Some(mount), _) => mount.kind.clone(),
        (None, Some(known)) => known.name.to_owned(),
        (None, None) => format!("{magic:#x}"),
    };
    Ok(FileSystem {
        identity: identity(fd, magic, doubts.told_by, mount.as_ref())?,
        trust_inode: !doubts.inode,
        trust_ctime: !doubts.ctime,
        trust_holes: !doubts.holes,
        reuse: !doubts.reuse,
        name,
    })
}

/// The kind, and what tells it from others of its kind for longest.
fn identity(fd: BorrowedFd<'_>, magic: u32, told_by: ToldBy, mount: Option<&Mount>) -> Result<Vec<u8>> {
    let mut identity = magic.to_le_bytes().to_vec();
    let fsid = again(|| rustix::fs::fstatvfs(fd))?.f_fsid.to_le_bytes();
    match (told_by, mount, uuid(fd)) {
        (ToldBy::Source, Some(mount), _) => identity.extend_from_slice(&mount.source),
        (ToldBy::Fsid, ..) if fsid != [0; 8] => identity.extend_from_slice(&fsid),
        (_, _, Some(uuid)) => {
            identity.extend_from_slice(&uuid);
            identity.extend_from_slice(&subvolume(fd).unwrap_or(0).to_le_bytes());
        }
        (_, _, None) => {
            identity.extend_from_slice(&fsid);
            identity.extend_from_slice(&stat_fd(fd)?.dev.to_le_bytes());
        }
    }
    Ok(identity)
}

/// As the kernel's `struct fsuuid2`.
#[repr(C)]
struct FsUuid {
    length: u8,
    bytes: [u8; 16],
}

const FS_IOC_GETFSUUID: Opcode = opcode::read::<FsUuid>(0x15, 0);

/// The file system's own UUID (Linux 6.9).
fn uuid(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    // SAFETY: this request fills in a `struct fsuuid2`, which `FsUuid` is, and takes nothing.
    let uuid = unsafe { rustix::ioctl::ioctl(fd, Getter::<FS_IOC_GETFSUUID, FsUuid>::new()) }.ok()?;
    let bytes = uuid.bytes.get(..uuid.length.into())?;
    bytes.iter().any(|byte| *byte != 0).then(|| bytes.to_vec())
}

/// The subvolume, on file systems that have such (Linux 6.10).
fn subvolume(fd: BorrowedFd<'_>) -> Option<u64> {
    let wanted = StatxFlags::from_bits_retain(0x8000);
    let raw = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    StatxFlags::from_bits_retain(raw.stx_mask).contains(wanted).then_some(raw.stx_subvol)
}

/// A line of the list of mounts.
struct Mount {
    kind: String,
    source: Vec<u8>,
}

/// The mount that a handle is on; `None` where the system does not say.
fn mount_of(fd: BorrowedFd<'_>) -> Result<Option<Mount>> {
    let Some(id) = stat_fd(fd)?.mount else { return Ok(None) };
    Ok(std::fs::read("/proc/self/mountinfo").ok().and_then(|list| find_mount(&list, id)))
}

/// The line of that id: `id parent major:minor root point options [optional]... - kind source options`.
fn find_mount(list: &[u8], id: u64) -> Option<Mount> {
    let id = id.to_string().into_bytes();
    let fields = |line: &[u8]| line.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let line = list.split(|byte| *byte == b'\n').map(fields).find(|fields| fields.first() == Some(&id))?;
    let mut after = line.into_iter().skip_while(|field| field != b"-").skip(1);
    let kind = String::from_utf8_lossy(&after.next()?).into_owned();
    Some(Mount { kind, source: after.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_id_with_and_without_optional_fields() {
        let list = b"22 1 0:5 / /dev rw - devtmpfs udev rw\n\
            36 22 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - fuse.sshfs me@host:/a\\040b rw,x\n";
        let mount = find_mount(list, 36).unwrap();
        assert_eq!((mount.kind.as_str(), mount.source.as_slice()), ("fuse.sshfs", &b"me@host:/a\\040b"[..]));
        assert_eq!(find_mount(list, 22).unwrap().kind, "devtmpfs");
        assert!(find_mount(list, 2).is_none());
        assert!(find_mount(b"36 broken", 36).is_none());
    }

    #[test]
    fn the_request_number_is_the_kernels() {
        assert_eq!(FS_IOC_GETFSUUID, 0x8011_1500);
    }
}
