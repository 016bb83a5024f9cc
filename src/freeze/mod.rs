//! File systems as they were at one moment: a snapshot by the file system itself (btrfs, ZFS) or by what lies under it (LVM), read in the
//! place of the live one, and removed when it was read, by the next run if this one is killed.

mod btrfs;
mod lvm;
pub mod mounts;
mod plan;
mod record;
mod tool;
mod zfs;

use std::path::{Path, PathBuf};

use mounts::Mount;
use record::Record;

pub use plan::{Demand, Request, freeze};
pub use record::{clean, folder_of};

/// What makes snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Btrfs,
    Lvm,
    Zfs,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Btrfs, Kind::Lvm, Kind::Zfs];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Btrfs => "btrfs",
            Kind::Lvm => "lvm",
            Kind::Zfs => "zfs",
        }
    }

    fn maker(self) -> &'static dyn Maker {
        match self {
            Kind::Btrfs => &btrfs::Btrfs,
            Kind::Lvm => &lvm::Lvm,
            Kind::Zfs => &zfs::Zfs,
        }
    }

    /// The kind that makes snapshots of what is mounted there.
    pub fn of(mount: &Mount) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.maker().is_of(mount))
    }
}

/// One way of making snapshots. What went wrong is told in words, which end in what to do where there is something.
trait Maker {
    /// Whether what is mounted there may be of this kind.
    fn is_of(&self, mount: &Mount) -> bool;

    /// The folder of the mount that a snapshot holding `path` begins at: that of the mount, or of a subvolume.
    fn root(&self, mount: &Mount, path: &Path) -> Result<PathBuf, String>;

    /// What a snapshot of that folder with that name would be called; `place` is a folder to mount it on, when it needs that.
    fn name(&self, mount: &Mount, root: &Path, name: &str, place: &Path) -> Result<Made, String>;

    /// Makes it; gives the folder that is to be read instead of `root`.
    fn make(&self, mount: &Mount, root: &Path, made: &Made) -> Result<PathBuf, String>;

    /// Folders below that are left out of a snapshot of it, being subvolumes of their own.
    fn left_out(&self, root: &Path) -> Result<Vec<PathBuf>, String> {
        let _ = root;
        Ok(Vec::new())
    }

    /// Removes it; well when it is not there. That its name is one of copal's is known.
    fn remove(&self, made: &Made) -> Result<(), String>;
}

/// A snapshot that was made, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub kind: Kind,
    /// The subvolume's path, the volume (`group/volume`), the dataset and its snapshot (`pool/data@name`).
    pub what: PathBuf,
    /// Where it is mounted, if copal mounts it.
    pub place: Option<PathBuf>,
}

/// A folder that is read somewhere else than where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub path: PathBuf,
    pub folder: PathBuf,
    /// It is a snapshot, and not only a live file system below one.
    pub is_frozen: bool,
}

/// Snapshots that are there as long as this is.
pub struct Frozen {
    pub points: Vec<Point>,
    /// What could not be had, and is read as it is.
    pub told: Vec<String>,
    record: Option<Record>,
}

impl Frozen {
    /// Removes all snapshots; what could not be removed is tried again by the next run.
    pub fn release(mut self) -> Vec<String> {
        self.record.take().map_or_else(Vec::new, Record::release)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            record.release();
        }
    }
}
