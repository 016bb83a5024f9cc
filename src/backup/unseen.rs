//! Directories that are taken over without a look, since nothing happened in them or below; and what the next backup has to look at
//! again, whatever happens.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::change::{self, NEVER, Seen, Trust};
use super::entry::Worker;
use super::exclude::GIT_IGNORE_NAME;
use super::run::Run;
use super::touched::{Hint, Touched};
use super::walk::{Directory, State};
use crate::files::{self, Stat};
use crate::format::limits::PAGE_MAX;
use crate::locks::lock;
use crate::model::{Id, Node};
use crate::repository::Error;

/// Files with several names that are counted; with more, all names of each can not be found.
const LINKS_MOST: usize = 200_000;

/// How a directory compares with what its parent's row says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It is as it was.
    Same,
    /// It is as it was, but that was too fresh to prove anything, or nothing is remembered of it.
    Unsure,
    /// It is new, or differs.
    Changed,
}

impl Before {
    /// By its node and what was seen with it.
    pub fn of(node: &Node, seen: &Seen, stat: &Stat, trust: Trust) -> Before {
        match change::is_unchanged(node, &Seen { racy: false, ..*seen }, stat, trust) {
            true if seen.racy => Before::Unsure,
            true => Before::Same,
            false => Before::Changed,
        }
    }
}

/// A file with several names.
struct Linked {
    names: u64,
    seen: u64,
    changed: bool,
}

/// What a run with hints left, and what it says about the next one.
#[derive(Default)]
pub struct Unseen {
    left: AtomicU64,
    again: Mutex<Touched>,
    links: Mutex<HashMap<(u64, u64), Linked>>,
    too_many_links: std::sync::atomic::AtomicBool,
}

impl Unseen {
    /// How many directories were taken over without a look; those below them do not count.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// What the next backup has to look at, whatever happened.
    pub fn take_again(&self) -> Touched {
        std::mem::take(&mut lock(&self.again))
    }

    /// Whether a file changed some of whose names were not found: they may be in folders that were left, and nobody tells of them.
    pub fn is_in_doubt(&self) -> bool {
        let missed = |link: &Linked| link.changed && link.seen < link.names;
        self.left() > 0
            && (self.too_many_links.load(Ordering::Relaxed) || lock(&self.links).values().any(missed))
    }
}

impl Run<'_> {
    /// Notes one name of a file, when it has several; whether it has.
    pub fn see_link(&self, stat: &Stat, changed: bool) -> bool {
        if stat.nlink < 2 {
            return false;
        }
        if self.hints.is_some_and(|touched| !touched.is_everything()) {
            let mut links = lock(&self.unseen.links);
            if links.len() >= LINKS_MOST {
                self.unseen.too_many_links.store(true, Ordering::Relaxed);
                return true;
            }
            let link =
                links.entry((stat.dev, stat.inode)).or_insert(Linked { names: 0, seen: 0, changed: false });
            link.names = link.names.max(stat.nlink);
            link.seen += 1;
            link.changed |= changed;
        }
        true
    }

    /// The next backup has to look at this directory, whatever happens.
    pub fn look_again(&self, directory: &Directory) {
        if self.hints.is_some() {
            lock(&self.unseen.again).add(&directory.path());
        }
    }

    /// And at all below it.
    pub fn walk_again(&self, directory: &Directory) {
        if self.hints.is_some() {
            lock(&self.unseen.again).add_whole(&directory.path());
        }
    }
}

impl Worker<'_> {
    /// The tree of a directory that can be taken over as it is, unseen; or what is known of the directories in it, when it has to be listed.
    pub(super) fn unseen(&self, directory: &Directory) -> Result<Result<Id, Hint>, Error> {
        let Hint::Leave = &directory.hint else { return Ok(Err(directory.hint.clone())) };
        match directory.before {
            Before::Same if directory.way.is_none() => {}
            // Nothing is known to have changed, and a look costs little.
            Before::Same | Before::Unsure => return Ok(Err(Hint::Leave)),
            Before::Changed => return Ok(Err(Hint::Walk)),
        }
        let (Some(tree), Some((parent, _))) = (directory.expected, &directory.parent) else {
            return Ok(Err(Hint::Walk));
        };
        let volume = parent.lock().volume.clone();
        let Some((volume, above)) = volume else { return Ok(Err(Hint::Walk)) };
        let trust = volume.trust();
        let sound = self.run.tree_reuse
            && !self.run.options.force
            && trust.reuse
            && trust.inode
            && trust.ctime
            && !change::is_mounted(&above, &directory.stat);
        if !sound {
            return Ok(Err(Hint::Walk));
        }
        let row = self.run.repository.index.directory(&self.run.source, &directory.key)?;
        let same = row.is_some_and(|row| {
            row.tree == tree
                && row.inode == directory.stat.inode
                && row.digest != NEVER
                && change::volume_of(&row.side) == Some(volume.id)
        });
        if !same {
            return Ok(Err(Hint::Walk));
        }
        self.run.unseen.left.fetch_add(1, Ordering::Relaxed);
        Ok(Ok(tree))
    }

    /// What is known of the directories in one that was listed: less than its hint says, where it is another one or its rules changed.
    pub(super) fn hint_below(&self, hint: Hint, directory: &Directory, state: &State) -> Hint {
        if directory.way.is_some() || matches!(hint, Hint::Walk) {
            return hint;
        }
        let Some((volume, now)) = &state.volume else { return Hint::Walk };
        let same = state.trusted
            && now.same_inode(&directory.stat)
            && volume.trust().reuse
            && state.row.as_ref().is_some_and(|row| row.inode == now.inode);
        if same && !self.rules_changed(state) { hint } else { Hint::Walk }
    }

    /// Whether a `.gitignore` is there that is not as it was: it decides about everything below.
    fn rules_changed(&self, state: &State) -> bool {
        if !self.run.options.excludes.git_ignore || state.all_same && state.names.len() <= PAGE_MAX {
            return false;
        }
        let Some(place) = state.names.position(GIT_IGNORE_NAME) else { return false };
        let (Some(row), Some((volume, _)), Some(handle)) = (&state.row, &state.volume, &state.handle) else {
            return true;
        };
        let Ok(stat) = files::stat(handle.as_fd(), state.names.bytes(place)) else { return true };
        let nodes = self.run.repository.nodes(row.tree).map_while(Result::ok);
        let old =
            nodes.zip(change::SideReader::new(&row.side)).find(|(node, _)| node.name == GIT_IGNORE_NAME);
        !old.is_some_and(|(node, seen)| change::is_unchanged(&node, &seen, &stat, volume.trust()))
    }
}
