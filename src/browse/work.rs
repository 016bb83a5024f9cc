//! Does what the screen asks for, in a thread of its own: one piece of work after the other, each until it is told to stop.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::message::{Path, Reply, Row, Version, Work};
use super::text::TEXT_MOST;
use super::{part, restoring};
use crate::catalogue::{self, Filling, History, Timelines};
use crate::index::catalogue::Catalogue;
use crate::model::clock::Clock;
use crate::model::{Node, NodeType};
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository, caught};
use crate::terminal::escape::escape;
use crate::terminal::size::show_count;

/// A look at what others did to the repository is enough for that long: a prune may have moved what is read next.
const FRESH: Duration = Duration::from_secs(60);

/// What the worker needs to know.
pub struct Options {
    /// This machine's name.
    pub host: Vec<u8>,
    /// What `~` stands for in the folder that is typed.
    pub home: Option<PathBuf>,
    /// Where the catalogue of paths is; none: without it.
    pub catalogue: Option<PathBuf>,
    /// Device and inode of copal's own files and folders.
    pub own: HashSet<(u64, u64)>,
    /// Bytes that a restore may take.
    pub memory: u64,
}

/// A piece of work. Replies carry its number.
pub struct Job {
    pub number: u64,
    pub work: Work,
    pub stop: Arc<AtomicBool>,
}

pub struct Worker<'w> {
    pub repository: &'w Repository,
    /// Oldest first.
    pub all: &'w [Named],
    pub options: &'w Options,
    pub clock: &'w dyn Clock,
}

/// One piece of work being done.
pub struct Doing<'d> {
    pub stop: &'d AtomicBool,
    number: u64,
    replies: &'d Sender<(u64, Reply)>,
}

impl Doing<'_> {
    /// Says something; who does not listen any more has told it to stop.
    pub fn say(&self, reply: Reply) {
        let _ = self.replies.send((self.number, reply));
    }

    fn check(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }
}

impl Worker<'_> {
    /// Works until there is nobody any more who asks.
    pub fn serve(&self, jobs: &Receiver<Job>, replies: &Sender<(u64, Reply)>) {
        let mut synced = Instant::now();
        for Job { number, work, stop } in jobs {
            let doing = Doing { stop: &stop, number, replies };
            let done = caught(|| {
                // Something else may have been wanted before it began.
                doing.check()?;
                if synced.elapsed() > FRESH {
                    // What fails here is told by what is read then.
                    let _ = self.repository.sync();
                    synced = Instant::now();
                }
                self.answer(&doing, work)
            });
            doing.say(match done {
                Ok(reply) => reply,
                Err(Error::Stopped) => Reply::Stopped,
                Err(error) => Reply::Failed(error.to_string()),
            });
        }
    }

    fn answer(&self, doing: &Doing<'_>, work: Work) -> Result<Reply, Error> {
        match work {
            Work::List { snapshot, path, part, name } => {
                self.list(doing, &self.all[snapshot], path, (part, name))
            }
            Work::Read { snapshot, path } => self.read(doing, &self.all[snapshot], path),
            Work::Versions { snapshot, path } => self.versions(doing, &self.all[snapshot], path),
            Work::Restore { snapshot, paths, target } => {
                Ok(Reply::Restored(restoring::restore(self, doing, &self.all[snapshot], &paths, &target)))
            }
        }
    }

    /// The node of a path that is not empty.
    pub fn node(&self, named: &Named, path: &[Vec<u8>]) -> Result<Node, Error> {
        let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        let missing = || {
            let shown = escape(&super::message::shown(path)).into_owned();
            Error::Refused(format!("snapshot {} holds no {shown}", named.name.short()))
        };
        self.repository.find_node(named.snapshot.root, &names)?.ok_or_else(missing)
    }

    fn list(
        &self,
        doing: &Doing<'_>,
        named: &Named,
        mut path: Path,
        (part, name): (usize, Option<Vec<u8>>),
    ) -> Result<Reply, Error> {
        let mut seek = None;
        let (mut tree, mut node) = (named.snapshot.root, None);
        if !path.is_empty() {
            let found = self.node(named, &path)?;
            match (found.kind, found.tree) {
                (NodeType::Directory, Some(below)) => (tree, node) = (below, Some(found)),
                // A file that was backed up by itself.
                _ => {
                    seek = path.pop();
                    if !path.is_empty() {
                        let found = self.node(named, &path)?;
                        tree = found.tree.unwrap_or(tree);
                        node = Some(found);
                    }
                }
            }
        }
        // What comes first counts: the part of the folder in which that is.
        let seek = seek.or(name);
        doing.say(Reply::At { path, seek: seek.clone(), part });
        if let Some(lost) = node.as_ref().and_then(Node::lost_words) {
            doing.say(Reply::Rows(vec![Row::Broken(lost.to_owned())]));
        }
        let nodes = self.repository.nodes(tree);
        let mut say = |reply| {
            doing.say(reply);
            doing.check()
        };
        let after = part::entries(nodes, (part, seek.as_deref()), part::ENTRIES_MOST, &mut say)?;
        Ok(Reply::Listed { after })
    }

    fn read(&self, doing: &Doing<'_>, named: &Named, path: Path) -> Result<Reply, Error> {
        let node = self.node(named, &path)?;
        let (mut bytes, mut is_full) = (Vec::new(), false);
        let poured = self.repository.pour(&node.content, node.size, &mut |piece| {
            doing.check()?;
            let room = TEXT_MOST - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            is_full = bytes.len() == TEXT_MOST;
            if is_full { Err(Error::Stopped) } else { Ok(()) }
        });
        let broken = match poured {
            Ok(()) => None,
            Err(Error::Stopped) if is_full => None,
            Err(error) if error.is_damage() => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Reply::Text { path, bytes, size: node.size, broken })
    }

    fn versions(&self, doing: &Doing<'_>, named: &Named, path: Path) -> Result<Reply, Error> {
        let mut doubts = Vec::new();
        let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        let known = match self.by_catalogue(doing, &names, &mut doubts) {
            Err(Error::Index(error)) => {
                doubts.push(format!("found without the catalogue of paths: {error}"));
                None
            }
            known => known?,
        };
        let histories = match known {
            Some(histories) => histories,
            None => {
                doing.say(Reply::Doing("looking through the snapshots".to_owned()));
                let timelines = Timelines::new(self.all, None)?;
                let mut damaged = Vec::new();
                let histories = catalogue::history_by_walking(
                    self.repository,
                    &timelines,
                    &names,
                    false,
                    doing.stop,
                    &mut damaged,
                )?;
                if !damaged.is_empty() {
                    let count = show_count(damaged.len() as u64, "snapshot");
                    doubts.push(format!("{count} could not be read there"));
                }
                histories
            }
        };
        let own = histories.into_iter().find(|history| history.host == named.snapshot.host);
        let found = own.map(|history| history.versions).unwrap_or_default();
        let place = |wanted: &Named| self.all.iter().position(|named| named.name == wanted.name);
        let versions = found.into_iter().filter_map(|version| {
            Some(Version {
                kind: version.facts.kind,
                size: version.facts.size,
                mtime: version.facts.mtime,
                first: version.first.snapshot.time,
                last: version.last.snapshot.time,
                snapshot: place(version.last)?,
                count: version.snapshots,
                note: version.remarks(),
            })
        });
        Ok(Reply::Versions { versions: versions.collect(), path, doubts })
    }

    /// None where the catalogue is not in use, or does not know the path.
    fn by_catalogue(
        &self,
        doing: &Doing<'_>,
        names: &[&[u8]],
        doubts: &mut Vec<String>,
    ) -> Result<Option<Vec<History<'_>>>, Error> {
        let Some(folder) = &self.options.catalogue else { return Ok(None) };
        let Some(catalogue) = Catalogue::open(folder, &self.repository.id(), true)? else { return Ok(None) };
        let mut each = |filling: Filling| doing.say(Reply::Doing(filling.words()));
        let filled = catalogue::fill(self.repository, &catalogue, self.all, doing.stop, &mut each)?;
        if filled.unread > 0 {
            doubts.push(format!("{} could not be read", show_count(filled.unread, "folder")));
        }
        let timelines = Timelines::new(self.all, Some(&catalogue))?;
        if timelines.unknown() > 0 {
            doubts.push(format!("{} of the oldest snapshots are not in the catalogue", timelines.unknown()));
        }
        let Some(number) = catalogue.number(names)? else { return Ok(None) };
        Ok(Some(catalogue::history(&catalogue, &timelines, number, false)?))
    }
}
