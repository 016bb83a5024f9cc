//! One file of a drill: restored by itself, compared, and removed again.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::compare;
use super::sample::Pick;
use super::scratch::Scratch;
use super::{Error, Options, Sample, Side};
use crate::files::{self, Stat};
use crate::locks::lock;
use crate::model::{Node, NodeType};
use crate::progress::{Event, FileStatus, Listener};
use crate::repository::Repository;
use crate::repository::snapshots::Named;
use crate::restore;

/// The folder in the scratch folder that a file is restored into.
const FOLDER: &str = "file";

/// What the files of one snapshot have in common.
pub struct Work<'w> {
    pub repository: &'w Repository,
    pub named: &'w Named,
    pub options: &'w Options,
    pub scratch: &'w Scratch,
    pub listener: &'w dyn Listener,
    pub stop: &'w AtomicBool,
}

/// What the restore of one file said of it.
#[derive(Default)]
struct Said {
    damaged: Option<String>,
    untested: Option<String>,
    is_without_metadata: bool,
    is_marked: bool,
}

struct Ear<'l> {
    listener: &'l dyn Listener,
    said: Mutex<Said>,
}

impl Listener for Ear<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Problem { what, code, .. } => {
                let mut said = lock(&self.said);
                match code {
                    "metadata_not_restored" => said.is_without_metadata = true,
                    "lost_in_snapshot" => said.is_marked = true,
                    "unsupported" | "not_restored" => drop(said.untested.get_or_insert(what.to_owned())),
                    _ => drop(said.damaged.get_or_insert(what.to_owned())),
                }
            }
            Event::Bytes(_) => self.listener.event(event),
            _ => {}
        }
    }
}

impl Work<'_> {
    /// Drills one file: what is wrong with it.
    pub fn file(&self, pick: &Pick, sample: &mut Sample) -> Result<Vec<(Side, String)>, Error> {
        self.scratch.remove(FOLDER.as_bytes()).map_err(|error| self.wrong(error))?;
        let names: Vec<Vec<u8>> = pick
            .path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        let found = self.restored(pick, names, sample);
        let removed = self.scratch.remove(FOLDER.as_bytes());
        let found = found?;
        removed.map_err(|error| self.wrong(error))?;
        let (path, bytes, status) = (&pick.path[..], pick.size, FileStatus::Restored);
        self.listener.event(Event::File { path, bytes, status });
        Ok(found)
    }

    fn wrong(&self, error: rustix::io::Errno) -> Error {
        Error::Scratch { path: self.scratch.path().display().to_string(), what: error.to_string() }
    }

    fn restored(
        &self,
        pick: &Pick,
        names: Vec<Vec<u8>>,
        sample: &mut Sample,
    ) -> Result<Vec<(Side, String)>, Error> {
        let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let node = match self.repository.find_node(self.named.snapshot.root, &slices) {
            Ok(Some(node)) => node,
            Ok(None) => {
                return Ok(vec![(Side::Stored, "it is listed, and not found by its name".to_owned())]);
            }
            Err(error) if error.is_damage() => return Ok(vec![(Side::Stored, error.to_string())]),
            Err(error) => return Err(error.into()),
        };
        let options = restore::Options {
            target: self.scratch.path().join(FOLDER),
            path: names,
            // Whatever a name stands for here: what was stored is to come back.
            numeric_ids: true,
            is_to_last: false,
            memory: self.options.memory,
            ..restore::Options::default()
        };
        let ear = Ear { listener: self.listener, said: Mutex::default() };
        match restore::restore(self.repository, self.named, &options, &ear, self.stop) {
            Ok(_) => {}
            Err(error) if error.is_damage() => return Ok(vec![(Side::Stored, error.to_string())]),
            Err(error) => return Err(error.into()),
        }
        let said = ear.said.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(what) = said.damaged {
            return Ok(vec![(Side::Stored, what)]);
        }
        if let Some(what) = said.untested {
            return Ok(vec![(Side::Untested, what)]);
        }
        let opened =
            self.scratch.open(FOLDER.as_bytes()).map_err(files::OpenError::from).and_then(|folder| {
                let stat = files::stat(folder.as_fd(), &node.name)?;
                files::open_file(folder.as_fd(), &node.name, &stat)
            });
        let Ok((restored, _)) = opened else {
            return Ok(vec![(Side::Stored, "it was not restored, and nothing said why".to_owned())]);
        };
        sample.files += 1;
        sample.bytes += node.size;
        sample.without_metadata += u64::from(said.is_without_metadata);
        let mut found = Vec::new();
        if !said.is_without_metadata && !said.is_marked {
            let what = compare::metadata(self.repository, &node, &restored)?;
            found.extend(what.map(|what| (Side::Stored, what)));
        }
        let source = self.unchanged_source(&pick.path, &node);
        let (file, stat) = source.unzip();
        let again = file.as_ref().and_then(|file| file.try_clone().ok());
        let content = compare::content(self.repository, &node, restored, file)?;
        sample.marked += u64::from(content.is_marked || said.is_marked);
        found.extend(content.stored.map(|what| (Side::Stored, what)));
        if let (Some(again), Some(stat)) = (again, stat)
            // Somebody wrote to it meanwhile.
            && files::stat_fd(again.as_fd()).is_ok_and(|now| now == stat)
        {
            sample.compared += 1;
            let differs = |offset| format!("from byte {offset} on the file on disk is not what was stored");
            found.extend(content.source.map(|offset| (Side::Source, differs(offset))));
        }
        Ok(found)
    }

    /// The file on this machine, when size, times and all else say that it is what was stored.
    fn unchanged_source(&self, path: &[u8], node: &Node) -> Option<(OwnedFd, Stat)> {
        let snapshot = &self.named.snapshot;
        if snapshot.host != self.options.host || snapshot.time_given || node.error.is_some() {
            return None;
        }
        let before = snapshot.time.plus_seconds(-self.options.racy_seconds);
        let (file, stat) = open(path)?;
        let is_same = stat.kind == NodeType::File
            && stat.size == node.size
            && stat.mtime == node.mtime
            // Nobody can set this one: nothing changed since, and a file in its place would be younger.
            && stat.ctime < before
            && (stat.btime.is_none() || node.btime.is_none() || stat.btime == node.btime);
        let system = files::filesystem(file.as_fd()).ok()?;
        (is_same && system.reuse && system.trust_ctime).then_some((file, stat))
    }
}

/// Opens a file by its names from `/` down, without following a symlink in the place of any.
fn open(path: &[u8]) -> Option<(OwnedFd, Stat)> {
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let last = names.pop()?;
    let mut folder = files::open_root(Path::new(OsStr::from_bytes(b"/"))).ok()?;
    for name in names {
        folder = files::open_directory(folder.as_fd(), name).ok()?;
    }
    let stat = files::stat(folder.as_fd(), last).ok()?;
    files::open_file(folder.as_fd(), last, &stat).ok()
}
