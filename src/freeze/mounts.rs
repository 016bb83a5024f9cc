//! What is mounted where.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags};

/// A line of the list of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub id: u64,
    /// Where it is.
    pub point: PathBuf,
    /// The folder of the file system that is seen there.
    pub root: PathBuf,
    /// `ext4`, `btrfs`.
    pub kind: String,
    /// A device, or what else it comes from.
    pub source: PathBuf,
}

/// Where this process finds that list.
const LIST: &str = "/proc/self/mountinfo";

/// What is mounted above and below these paths now, but for what another mount hides.
pub fn around(paths: &[PathBuf]) -> std::io::Result<Vec<Mount>> {
    let mut mounts = read(&std::fs::read(LIST)?);
    let is_near = |mount: &Mount| {
        paths.iter().any(|path| path.starts_with(&mount.point) || mount.point.starts_with(path))
    };
    // Only those are looked at: one of a network that hangs is none of our business.
    mounts.retain(|mount| is_near(mount) && mount.is_visible());
    Ok(mounts)
}

impl Mount {
    /// Whether its place shows it. Where the system does not say (before Linux 5.8) it is believed.
    fn is_visible(&self) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match rustix::fs::statx(rustix::fs::CWD, &self.point, flags, StatxFlags::MNT_ID) {
            Ok(about) if StatxFlags::from_bits_retain(about.stx_mask).contains(StatxFlags::MNT_ID) => {
                about.stx_mnt_id == self.id
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }
}

/// Reads `id parent major:minor root point options [optional]... - kind source options`, line by line. What is hidden by another mount
/// at the same place is left out.
pub fn read(list: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in list.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = fields.next().and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        let (Some(id), Some(root), Some(point)) = (id, fields.nth(2), fields.next()) else { continue };
        let mut after = fields.skip_while(|field| *field != b"-").skip(1);
        let (Some(kind), Some(source)) = (after.next(), after.next()) else { continue };
        let mount = Mount {
            id,
            point: unescape(point),
            root: unescape(root),
            kind: String::from_utf8_lossy(kind).into_owned(),
            source: unescape(source),
        };
        mounts.retain(|other| other.point != mount.point);
        mounts.push(mount);
    }
    mounts
}

/// The mount that a path lies on.
pub fn of<'m>(mounts: &'m [Mount], path: &Path) -> Option<&'m Mount> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// Spaces and such stand as a backslash and three octal digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some(digits) if byte == b'\\' => {
                out.push(
                    digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &after[3..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// Whether it is mounted there now.
pub fn is_mounted(place: &Path) -> bool {
    let list = std::fs::read(LIST).unwrap_or_default();
    read(&list).iter().any(|mount| mount.point.as_os_str().as_bytes() == place.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts_and_the_last_one_at_a_place() {
        let list = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            23 22 0:40 /@home /home rw shared:1 - btrfs /dev/sdb rw\n\
            24 22 8:3 / /a\\040b rw - xfs /dev/mapper/vg-lv rw\n\
            25 22 8:4 / /a\\040b rw master:1 - zfs tank/data rw\nbroken\n";
        let mounts = read(list);
        assert_eq!(mounts.len(), 3);
        let kind = |path: &str| of(&mounts, Path::new(path)).unwrap().kind.clone();
        assert_eq!(
            (kind("/home/x"), kind("/homely"), kind("/a b/c"), kind("/")),
            ("btrfs".into(), "ext4".into(), "zfs".into(), "ext4".into())
        );
        assert_eq!(of(&mounts, Path::new("/home")).unwrap().root, Path::new("/@home"));
    }
}
