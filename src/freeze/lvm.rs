//! Snapshots of logical volumes, mounted read-only in a folder of copal's own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::mounts::{Mount, is_mounted};
use super::{Kind, Made, Maker, tool};

/// The least room in the group with which a snapshot is worth beginning.
const ROOM_LEAST: u64 = 64 << 20;

pub struct Lvm;

/// What is known of a logical volume.
#[derive(Debug, PartialEq, Eq)]
struct Volume {
    group: String,
    name: String,
    size: u64,
    /// Room that the group has.
    free: u64,
    is_thin: bool,
}

impl Volume {
    /// Bytes for what changes meanwhile: as much as there is, but a fifth of it, which may be somebody else's; never more than all of it.
    fn snapshot_size(&self) -> Result<u64, String> {
        if self.free < ROOM_LEAST {
            let free = self.free >> 20;
            return Err(format!("its volume group {} has only {free} MiB free", self.group));
        }
        Ok((self.free / 5 * 4).min(self.size))
    }
}

fn run(words: &[&str], last: &OsStr) -> Result<Vec<u8>, String> {
    let words: Vec<&OsStr> = words.iter().map(OsStr::new).chain([last]).collect();
    tool::run(&words)
}

fn ask(source: &Path) -> Result<Volume, String> {
    let columns = "vg_name,lv_name,lv_size,vg_free,segtype";
    let words = ["lvs", "--noheadings", "--separator", "|", "--units", "b", "--nosuffix", "-o", columns];
    let line = run(&words, source.as_os_str())?;
    read(&String::from_utf8_lossy(&line)).ok_or_else(|| "lvs says nothing about it".to_owned())
}

fn read(line: &str) -> Option<Volume> {
    let fields: Vec<&str> = line.lines().next()?.split('|').map(str::trim).collect();
    let [group, name, size, free, segment] = fields[..] else { return None };
    Some(Volume {
        group: group.to_owned(),
        name: name.to_owned(),
        size: size.parse().ok()?,
        free: free.parse().ok()?,
        is_thin: segment == "thin",
    })
}

impl Maker for Lvm {
    fn is_of(&self, mount: &Mount) -> bool {
        ["/dev/mapper/", "/dev/dm-"]
            .iter()
            .any(|start| mount.source.as_os_str().as_bytes().starts_with(start.as_bytes()))
            && !matches!(&mount.kind[..], "btrfs" | "zfs")
    }

    fn root(&self, mount: &Mount, _: &Path) -> Result<PathBuf, String> {
        Ok(mount.point.clone())
    }

    fn name(&self, mount: &Mount, _: &Path, name: &str, place: &Path) -> Result<Made, String> {
        let group = ask(&mount.source)?.group;
        Ok(Made { kind: Kind::Lvm, what: Path::new(&group).join(name), place: Some(place.to_path_buf()) })
    }

    fn make(&self, mount: &Mount, _: &Path, made: &Made) -> Result<PathBuf, String> {
        let volume = ask(&mount.source)?;
        let place = made.place.as_deref().ok_or("there is no folder to mount it on")?;
        let name = made.what.file_name().and_then(OsStr::to_str).ok_or("that is no name of a volume")?;
        let origin = format!("{}/{}", volume.group, volume.name);
        let begin = ["lvcreate", "--yes", "--snapshot", "--name", name];
        if volume.is_thin {
            run(&[&begin[..], &["--setactivationskip", "n"]].concat(), OsStr::new(&origin))?;
        } else {
            let size = format!("{}b", volume.snapshot_size()?);
            run(&[&begin[..], &["--size", &size]].concat(), OsStr::new(&origin))?;
        }
        std::fs::create_dir(place).map_err(|error| format!("{}: {error}", place.display()))?;
        // Its UUID is that of the file system that is mounted already, which XFS takes for a slip.
        let options = if mount.kind == "xfs" { "ro,nouuid" } else { "ro" };
        let device = Path::new("/dev").join(&made.what);
        let words = ["mount", "-t", &mount.kind, "-o", options].map(OsStr::new);
        tool::run(&[&words[..], &[device.as_os_str(), place.as_os_str()]].concat())?;
        let below = mount.root.strip_prefix("/").unwrap_or(&mount.root);
        Ok(place.join(below))
    }

    fn remove(&self, made: &Made) -> Result<(), String> {
        if let Some(place) = &made.place {
            if is_mounted(place) {
                run(&["umount"], place.as_os_str())?;
            }
            // Only when it is empty, and not when it is not there.
            let _ = std::fs::remove_dir(place);
        }
        let group = made.what.parent().ok_or("that is no name of a volume")?;
        let name = made.what.file_name().ok_or("that is no name of a volume")?;
        let list =
            run(&["lvs", "--noheadings", "--separator", "|", "-o", "lv_name,origin"], group.as_os_str())?;
        // Only what is a snapshot of something.
        let is_there = list.split(|byte| *byte == b'\n').any(|line| {
            let mut fields = line.split(|byte| *byte == b'|').map(<[u8]>::trim_ascii);
            fields.next() == Some(name.as_bytes()) && fields.next().is_some_and(|origin| !origin.is_empty())
        });
        if is_there { run(&["lvremove", "--yes"], made.what.as_os_str()).map(drop) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_takes_most_of_what_is_free_and_never_more_than_the_volume() {
        let volume = |size: u64, free: u64| read(&format!("  vg|lv|{size}|{free}|linear\n")).unwrap();
        assert_eq!(volume(10 << 30, 1 << 30).snapshot_size().unwrap(), (1u64 << 30) / 5 * 4);
        assert_eq!(volume(1 << 30, 10 << 30).snapshot_size().unwrap(), 1 << 30);
        assert!(volume(1 << 30, 0).snapshot_size().unwrap_err().contains("0 MiB free"));
        assert!(read("  vg|lv|1|2|thin").unwrap().is_thin);
        assert!(read("").is_none() && read("a|b").is_none());
    }
}
