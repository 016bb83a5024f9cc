//! Folders that are read somewhere else than at their path: a file system as it was at one moment, in the place of the live one.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::Run;
use super::walk::{Directory, Volume};
use crate::crypto::Hasher;
use crate::files::{self, Stat};
use crate::model::Time;

/// A folder of which the contents are read elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// Where it is stored: an absolute path.
    pub path: Vec<u8>,
    /// Where it is read.
    pub folder: PathBuf,
    /// It is the file system at `path` as it was then; none when it is that file system itself.
    pub as_of: Option<Time>,
}

/// By path; that of the root folder is empty.
#[derive(Default)]
pub struct StandIns {
    all: HashMap<Vec<u8>, StandIn>,
    /// Paths of the folders that have one among their entries.
    parents: std::collections::HashSet<Vec<u8>>,
}

impl StandIns {
    pub fn new(list: &[StandIn]) -> StandIns {
        let mut stand_ins = StandIns::default();
        for one in list {
            let path = Path::new(std::ffi::OsStr::from_bytes(&one.path));
            if let Some(parent) = path.parent() {
                stand_ins.parents.insert(key(parent.as_os_str().as_bytes()));
            }
            stand_ins.all.insert(key(&one.path), one.clone());
        }
        stand_ins
    }

    /// What the root folder is read as.
    pub fn root(&self) -> Option<&StandIn> {
        self.all.get(&b""[..])
    }

    /// Whether an entry of that directory has one. Asked once for each directory.
    pub fn are_in(&self, directory: &Directory) -> bool {
        !self.all.is_empty() && self.parents.contains(&directory.path())
    }

    /// What that directory is read as.
    pub fn of(&self, directory: &Directory) -> Option<&StandIn> {
        if self.all.is_empty() { None } else { self.all.get(&directory.path()) }
    }

    /// What an entry of that directory is read as.
    pub fn of_entry(&self, directory: &Directory, name: &[u8]) -> Option<&StandIn> {
        if self.all.is_empty() { None } else { self.all.get(&directory.path_of(name)) }
    }

    /// The file systems that are read as they were, by their device numbers now: they are the live ones by all that is remembered of them.
    pub fn volumes(&self, hasher: &Hasher) -> HashMap<u64, Arc<Volume>> {
        let mut volumes = HashMap::new();
        for one in self.all.values().filter(|one| one.as_of.is_some()) {
            let live = Path::new(std::ffi::OsStr::from_bytes(&one.path));
            let known = || -> files::Result<(u64, Volume)> {
                let file_system = files::filesystem(files::open_root(live)?.as_fd())?;
                let id = hasher.local(&file_system.identity);
                let links = file_system.identity.clone();
                Ok((one.stat()?.dev, Volume { file_system, id, links, as_of: one.as_of }))
            };
            // Otherwise it counts as another one, and is read whole.
            if let Ok((device, volume)) = known() {
                volumes.insert(device, Arc::new(volume));
            }
        }
        volumes
    }
}

fn key(path: &[u8]) -> Vec<u8> {
    if path == b"/" { Vec::new() } else { path.to_vec() }
}

impl StandIn {
    pub fn stat(&self) -> files::Result<Stat> {
        files::stat_fd(files::open_root(&self.folder)?.as_fd())
    }
}

impl Run<'_> {
    /// When what is read there was as it is read: what was written after that is not in it, however fresh its time.
    pub fn read_as_of(&self, volume: &Volume) -> Time {
        let now = self.clock.now();
        volume.as_of.map_or(now, |time| time.min(now))
    }
}
