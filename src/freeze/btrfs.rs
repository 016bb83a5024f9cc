//! Snapshots of subvolumes of btrfs. Each lies in the subvolume that it was made of; one that lies below is none of its parts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mounts::Mount;
use super::{Kind, Made, Maker, tool};

/// The inode of the root folder of every subvolume.
const ROOT_INODE: u64 = 256;

pub struct Btrfs;

fn is_subvolume(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|about| about.is_dir() && about.ino() == ROOT_INODE)
}

/// Does something to the entries of a folder that is nobody's business: its time of change stays, so that the next backup finds it as it
/// was. What somebody else does to it in the same moment is told by its entries all the same.
fn unnoticed<T>(folder: &Path, work: impl FnOnce() -> T) -> T {
    let before = folder.metadata().and_then(|about| about.modified());
    let result = work();
    if let (Ok(before), Ok(folder)) = (before, std::fs::File::open(folder)) {
        let _ = folder.set_modified(before);
    }
    result
}

impl Maker for Btrfs {
    fn is_of(&self, mount: &Mount) -> bool {
        mount.kind == "btrfs"
    }

    fn root(&self, mount: &Mount, path: &Path) -> Result<PathBuf, String> {
        let inside = path.ancestors().take_while(|above| above.starts_with(&mount.point));
        let root = inside.into_iter().find(|above| is_subvolume(above));
        root.map(Path::to_path_buf).ok_or_else(|| "only a part of its subvolume is mounted there".to_owned())
    }

    fn name(&self, _: &Mount, root: &Path, name: &str, _: &Path) -> Result<Made, String> {
        // Hidden, since whoever looks into that folder meanwhile sees it.
        Ok(Made { kind: Kind::Btrfs, what: root.join(format!(".{name}")), place: None })
    }

    fn make(&self, _: &Mount, root: &Path, made: &Made) -> Result<PathBuf, String> {
        let words = ["btrfs", "subvolume", "snapshot", "-r"].map(OsStr::new);
        unnoticed(root, || tool::run(&[&words[..], &[root.as_os_str(), made.what.as_os_str()]].concat()))?;
        Ok(made.what.clone())
    }

    fn left_out(&self, root: &Path) -> Result<Vec<PathBuf>, String> {
        let shown = |verb: &str, option: &[&str]| {
            let words =
                ["btrfs", "subvolume", verb].into_iter().chain(option.iter().copied()).map(OsStr::new);
            tool::run(&words.chain([root.as_os_str()]).collect::<Vec<_>>())
        };
        // The first line is its path from the top of the file system.
        let about = shown("show", &[])?;
        let own = about.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let own: &[u8] = if own == b"/" || own == b"<FS_TREE>" { b"" } else { own };
        let list = shown("list", &["-o"])?;
        let mut found = Vec::new();
        for line in list.split(|byte| *byte == b'\n') {
            let Some(at) = line.windows(6).position(|word| word == b" path ") else { continue };
            let path = &line[at + 6..];
            let path = path.strip_prefix(b"<FS_TREE>/").unwrap_or(path);
            let below = match own {
                b"" => Some(path),
                own => path.strip_prefix(own).and_then(|rest| rest.strip_prefix(b"/")),
            };
            // What lies hidden under a mount, or is seen from elsewhere only, is not met.
            let below = below.map(|below| root.join(OsStr::from_bytes(below)));
            found.extend(below.filter(|below| is_subvolume(below)));
        }
        Ok(found)
    }

    fn remove(&self, made: &Made) -> Result<(), String> {
        if is_subvolume(&made.what) {
            let words = ["btrfs", "subvolume", "delete"].map(OsStr::new);
            let parent = made.what.parent().unwrap_or(Path::new("/"));
            let delete = || tool::run(&[&words[..], &[made.what.as_os_str()]].concat());
            return unnoticed(parent, delete).map(drop);
        }
        match made.what.parent() {
            Some(parent) if is_subvolume(parent) => Ok(()),
            _ => Err("its subvolume is not there; mount it".to_owned()),
        }
    }
}
