//! What tells a file system from any other that may be mounted in its place: never a device number, which the next one
//! gets too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, StatxFlags};
use rustix::ioctl::{Getter, Opcode, opcode};

use super::{Result, again, stat_fd};

/// What a file system's identity is made of, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ToldBy {
    /// Its UUID and subvolume.
    #[default]
    Uuid,
    /// The number that statfs gives, which every version of Linux makes from the UUID (and the subvolume) there.
    Fsid,
    /// The source it is mounted from: `server:/export`.
    Source,
    /// The source, when it names a place (`me@host:/path`) and is not only a program's name; the UUID of a disk below.
    Place,
    /// The folders that it lies over.
    Layers,
}

/// The kind, and what tells it from others of its kind for longest; and whether that is told at all. When not, the bytes
/// serve for the present only.
pub(super) fn identity(
    fd: BorrowedFd<'_>,
    magic: u32,
    told_by: ToldBy,
    mount: Option<&Mount>,
) -> Result<(Vec<u8>, bool)> {
    let device = stat_fd(fd)?.dev;
    let fsid = again(|| rustix::fs::fstatvfs(fd))?.f_fsid;
    let told = match told_by {
        ToldBy::Source => mount.map(|mount| mount.source.clone()),
        ToldBy::Layers => mount.and_then(Mount::layers),
        ToldBy::Fsid => told_fsid(fsid, device),
        ToldBy::Place => match mount {
            Some(mount) if rustix::fs::major(device) == 0 => mount.place(),
            _ => None,
        },
        ToldBy::Uuid => None,
    };
    let told = told.or_else(|| match told_by {
        ToldBy::Source | ToldBy::Layers => None,
        _ => uuid(fd).or_else(|| uuid_of_device(device)),
    });
    let is_told = told.is_some();
    let mut identity = magic.to_le_bytes().to_vec();
    identity.extend(told.unwrap_or_else(|| [fsid.to_le_bytes(), device.to_le_bytes()].concat()));
    Ok((identity, is_told))
}

/// The number of statfs, unless it is nothing or only the device's number in the kernel's own writing.
fn told_fsid(fsid: u64, device: u64) -> Option<Vec<u8>> {
    let (major, minor) = (u64::from(rustix::fs::major(device)), u64::from(rustix::fs::minor(device)));
    let as_kernel = (minor & 0xff) | major << 8 | (minor & !0xff) << 12;
    let is_device = [device, as_kernel, as_kernel.rotate_left(32)].contains(&fsid);
    (fsid != 0 && !is_device).then(|| fsid.to_le_bytes().to_vec())
}

/// As the kernel's `struct fsuuid2`.
#[repr(C)]
struct FsUuid {
    length: u8,
    bytes: [u8; 16],
}

/// As the kernel's `struct xfs_fsop_geom_v1`.
#[repr(C)]
struct XfsGeometry {
    sizes: [u32; 8],
    counts: [u64; 4],
    uuid: [u8; 16],
    more: [u32; 8],
}

const FS_IOC_GETFSUUID: Opcode = opcode::read::<FsUuid>(0x15, 0);
const XFS_IOC_FSGEOMETRY_V1: Opcode = opcode::read::<XfsGeometry>(b'X', 100);
const FAT_IOCTL_GET_VOLUME_ID: Opcode = opcode::read::<u32>(b'r', 0x13);

/// The file system's own UUID and its subvolume.
fn uuid(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let mut uuid = own_uuid(fd).or_else(|| xfs_uuid(fd)).or_else(|| fat_volume(fd))?;
    if uuid.iter().all(|byte| *byte == 0) {
        return None;
    }
    uuid.extend_from_slice(&subvolume(fd).unwrap_or(0).to_le_bytes());
    Some(uuid)
}

/// Linux 6.9.
fn own_uuid(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    // SAFETY: this request fills in a `struct fsuuid2`, which `FsUuid` is, and takes nothing.
    let uuid = unsafe { rustix::ioctl::ioctl(fd, Getter::<FS_IOC_GETFSUUID, FsUuid>::new()) }.ok()?;
    Some(uuid.bytes.get(..uuid.length.into())?.to_vec())
}

/// The same on an older Linux.
fn xfs_uuid(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    // SAFETY: this request fills in a `struct xfs_fsop_geom_v1`, which `XfsGeometry` is, and takes nothing.
    let geometry =
        unsafe { rustix::ioctl::ioctl(fd, Getter::<XFS_IOC_FSGEOMETRY_V1, XfsGeometry>::new()) }.ok()?;
    Some(geometry.uuid.to_vec())
}

fn fat_volume(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    // SAFETY: this request fills in an unsigned 32-bit number and takes nothing.
    let number = unsafe { rustix::ioctl::ioctl(fd, Getter::<FAT_IOCTL_GET_VOLUME_ID, u32>::new()) }.ok()?;
    Some(number.to_le_bytes().to_vec())
}

/// The subvolume, on file systems that have such (Linux 6.10).
fn subvolume(fd: BorrowedFd<'_>) -> Option<u64> {
    let wanted = StatxFlags::from_bits_retain(0x8000);
    let raw = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    StatxFlags::from_bits_retain(raw.stx_mask).contains(wanted).then_some(raw.stx_subvol)
}

/// Major number of loop devices: the system may name the image before the present one for a moment.
const LOOP: u32 = 7;

/// The UUID that the system found on a disk, for kinds of file systems that do not say it themselves.
fn uuid_of_device(device: u64) -> Option<Vec<u8>> {
    if matches!(rustix::fs::major(device), 0 | LOOP) {
        return None;
    }
    let is_it = |path: std::path::PathBuf| std::fs::metadata(path).is_ok_and(|found| found.rdev() == device);
    let links = std::fs::read_dir("/dev/disk/by-uuid").ok()?;
    let link = links.flatten().find(|link| is_it(link.path()))?;
    Some(link.file_name().into_encoded_bytes())
}

/// A line of the list of mounts.
pub(super) struct Mount {
    pub(super) kind: String,
    pub(super) source: Vec<u8>,
    options: Vec<u8>,
}

impl Mount {
    /// The mount that a handle is on; `None` where the system does not say.
    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Option<Mount>> {
        let Some(id) = stat_fd(fd)?.mount else { return Ok(None) };
        Ok(std::fs::read("/proc/self/mountinfo").ok().and_then(|list| find_mount(&list, id)))
    }

    /// The source, when it says where the contents come from. A device is not that: another disk gets its name; nor is a file: an
    /// archive may be replaced by another one whose entries have the same times.
    fn place(&self) -> Option<Vec<u8>> {
        let names_a_place =
            self.kind == "virtiofs" || self.source.iter().any(|byte| matches!(byte, b'/' | b':'));
        let is_file = std::fs::metadata(OsStr::from_bytes(&self.source)).is_ok_and(|about| about.is_file());
        (names_a_place && !is_file && !self.source.starts_with(b"/dev/")).then(|| self.source.clone())
    }

    /// The folders that an overlay lies over.
    fn layers(&self) -> Option<Vec<u8>> {
        let is_layer = |option: &&[u8]| option.starts_with(b"lowerdir") || option.starts_with(b"upperdir");
        let layers: Vec<&[u8]> = self.options.split(|byte| *byte == b',').filter(is_layer).collect();
        (!layers.is_empty()).then(|| layers.join(&b','))
    }
}

/// The line of that id: `id parent major:minor root point options [optional]... - kind source options`.
fn find_mount(list: &[u8], id: u64) -> Option<Mount> {
    let id = id.to_string().into_bytes();
    let fields = |line: &[u8]| line.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let line = list.split(|byte| *byte == b'\n').map(fields).find(|fields| fields.first() == Some(&id))?;
    let mut after = line.into_iter().skip_while(|field| field != b"-").skip(1);
    let kind = String::from_utf8_lossy(&after.next()?).into_owned();
    Some(Mount { kind, source: after.next()?, options: after.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_id_with_and_without_optional_fields() {
        let list = b"22 1 0:5 / /dev rw - devtmpfs udev rw\n\
            36 22 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - fuse.sshfs me@host:/a\\040b rw,x\n\
            37 22 0:9 / / rw - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/u,workdir=/w\n";
        let mount = find_mount(list, 36).unwrap();
        assert_eq!((mount.kind.as_str(), mount.source.as_slice()), ("fuse.sshfs", &b"me@host:/a\\040b"[..]));
        assert_eq!(find_mount(list, 22).unwrap().kind, "devtmpfs");
        assert_eq!(find_mount(list, 37).unwrap().layers().unwrap(), b"lowerdir=/l/A:/l/B,upperdir=/u");
        assert!(find_mount(list, 2).is_none());
        assert!(find_mount(b"36 broken", 36).is_none());
    }

    #[test]
    fn a_programs_or_a_devices_name_tells_nothing() {
        let mount = |kind: &str, source: &[u8]| Mount {
            kind: kind.to_owned(),
            source: source.to_vec(),
            options: Vec::new(),
        };
        assert!(mount("fuse.sshfs", b"me@host:/path").place().is_some());
        assert!(mount("fuse.gocryptfs", b"/home/ann/.cipher").place().is_some());
        assert!(mount("virtiofs", b"share").place().is_some());
        assert!(mount("fuse.s3fs", b"s3fs").place().is_none());
        assert!(mount("fuse.ntfs-3g", b"/dev/sdb1").place().is_none());
        assert!(mount("overlay", b"overlay").layers().is_none());
        let device = rustix::fs::makedev(8, 0x123);
        for fsid in [0, device, 0x10_0823, 0x10_0823 << 32] {
            assert!(told_fsid(fsid, device).is_none(), "{fsid:#x}");
        }
        assert!(told_fsid(0x1234_5678_9abc_def0, device).is_some());
    }

    #[test]
    fn the_request_numbers_are_the_kernels() {
        assert_eq!(FS_IOC_GETFSUUID, 0x8011_1500);
        assert_eq!(XFS_IOC_FSGEOMETRY_V1, 0x8070_5864);
        assert_eq!(FAT_IOCTL_GET_VOLUME_ID, 0x8004_7213);
    }
}
