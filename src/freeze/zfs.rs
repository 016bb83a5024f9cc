//! Snapshots of datasets of ZFS, read through `.zfs/snapshot`, which is there also where it is not shown.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::mounts::Mount;
use super::{Kind, Made, Maker, tool};

pub struct Zfs;

/// Dataset and name of a snapshot.
fn parts(what: &Path) -> Option<(&OsStr, &OsStr)> {
    let bytes = what.as_os_str().as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'@')?;
    Some((OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..])))
}

fn zfs(words: &[&str], what: &OsStr) -> Result<Vec<u8>, String> {
    let words: Vec<&OsStr> = ["zfs"].iter().chain(words).map(OsStr::new).chain([what]).collect();
    tool::run(&words)
}

impl Maker for Zfs {
    fn is_of(&self, mount: &Mount) -> bool {
        mount.kind == "zfs"
    }

    fn root(&self, mount: &Mount, _: &Path) -> Result<PathBuf, String> {
        if mount.root != Path::new("/") {
            return Err("only a part of its dataset is mounted there".to_owned());
        }
        Ok(mount.point.clone())
    }

    fn name(&self, mount: &Mount, _: &Path, name: &str, _: &Path) -> Result<Made, String> {
        let mut what = mount.source.clone().into_os_string();
        if what.as_bytes().contains(&b'@') {
            return Err("it is a snapshot itself".to_owned());
        }
        what.push("@");
        what.push(name);
        Ok(Made { kind: Kind::Zfs, what: what.into(), place: None })
    }

    fn make(&self, mount: &Mount, _: &Path, made: &Made) -> Result<PathBuf, String> {
        let (_, name) = parts(&made.what).ok_or("that is no name of a snapshot")?;
        zfs(&["snapshot"], made.what.as_os_str())?;
        Ok(mount.point.join(".zfs/snapshot").join(name))
    }

    fn remove(&self, made: &Made) -> Result<(), String> {
        let (dataset, _) = parts(&made.what).ok_or("that is no name of a snapshot")?;
        let list = zfs(&["list", "-H", "-t", "snapshot", "-o", "name"], dataset)?;
        let is_there = list.split(|byte| *byte == b'\n').any(|line| line == made.what.as_os_str().as_bytes());
        if is_there { zfs(&["destroy"], made.what.as_os_str()).map(drop) } else { Ok(()) }
    }
}
