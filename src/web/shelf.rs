//! What is read from the repository while the page is looked at. Others may write, forget and prune meanwhile: snapshots are looked for
//! again, and what is not found where it was is looked for where it may be now.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::catalogue::{self, Filling, Telling};
use crate::index::catalogue::Catalogue;
use crate::locks::lock;
use crate::model::{Id, Node, NodeType};
use crate::repository::folders::Folders;
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::{Error, Repository, caught};

/// How often it is looked for snapshots at most.
const LOOK: Duration = Duration::from_secs(3);
/// Shares of the memory: blocks, pages of folders.
const BLOCKS_SHARE: usize = 4;
const FOLDERS_SHARE: usize = 8;

/// Snapshots, and files of the first ones, that are taken into the catalogue while whoever asked waits: about a second.
const SNAPSHOTS_AT_ONCE: usize = 50;
const FILES_AT_ONCE: u64 = 20_000;

/// The catalogue, or how far it is.
pub enum Ready {
    Now(Arc<Catalogue>),
    /// `begins`: whoever is told this is to fill it.
    Later {
        filling: Filling,
        begins: bool,
    },
}

/// A filling for which nobody waits.
#[derive(Default)]
enum Long {
    #[default]
    None,
    Working(Filling),
    /// It could not be done, which nobody was told yet.
    Failed(Error),
}

/// A repository that is looked at.
pub struct Shelf {
    pub repository: Repository,
    cache: Option<PathBuf>,
    folders: Folders,
    known: Mutex<Option<(Instant, Arc<Snapshots>)>>,
    catalogue: Mutex<Option<Arc<Catalogue>>>,
    long: Mutex<Long>,
}

impl Shelf {
    /// About so many bytes are kept in memory.
    pub fn new(repository: Repository, cache: Option<PathBuf>, memory: u64) -> Shelf {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        repository.keep_blocks(memory / BLOCKS_SHARE);
        let folders = Folders::new(memory / FOLDERS_SHARE);
        Shelf {
            repository,
            cache,
            folders,
            known: Mutex::default(),
            catalogue: Mutex::default(),
            long: Mutex::default(),
        }
    }

    /// The snapshots there are, as of a few seconds ago at most.
    pub fn snapshots(&self) -> Result<Arc<Snapshots>, Error> {
        let mut known = lock(&self.known);
        if let Some((looked, all)) = &*known
            && looked.elapsed() < LOOK
        {
            return Ok(all.clone());
        }
        self.repository.sync_before_snapshots()?;
        let all = Arc::new(self.repository.snapshots()?);
        *known = Some((Instant::now(), all.clone()));
        Ok(all)
    }

    /// Takes in what others did until now.
    pub fn look_again(&self) -> Result<(), Error> {
        *lock(&self.known) = None;
        self.snapshots().map(drop)
    }

    /// Does that, and once more where something was not as it should be: another process may have moved it meanwhile.
    pub fn again<T>(&self, work: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        match work() {
            Err(error) if error.is_damage() => {
                self.look_again()?;
                work()
            }
            other => other,
        }
    }

    /// The entry at these names below a root; none at the root itself, or where nothing is.
    pub fn find(&self, root: Id, names: &[Vec<u8>]) -> Result<Option<Node>, Error> {
        let mut tree = root;
        let mut found = None;
        for (depth, name) in names.iter().enumerate() {
            let Some(node) = self.again(|| self.folders.find(&self.repository, tree, name))? else {
                return Ok(None);
            };
            match node.tree {
                Some(below) if node.kind == NodeType::Directory => tree = below,
                _ if depth + 1 < names.len() => return Ok(None),
                _ => {}
            }
            found = Some(node);
        }
        Ok(found)
    }

    /// The catalogue of paths with all of these snapshots in it; or how far that is, where it takes long. The first one who is told so then
    /// fills it (`fill_meanwhile`). Errors: also those of a filling that nobody was told of yet.
    pub fn catalogue(&self, snapshots: &[Named], stop: &AtomicBool) -> Result<Ready, Error> {
        {
            let mut long = lock(&self.long);
            match std::mem::take(&mut *long) {
                Long::Failed(error) => return Err(error),
                Long::Working(filling) => {
                    *long = Long::Working(filling);
                    return Ok(Ready::Later { filling, begins: false });
                }
                Long::None => {}
            }
            if let Some(filling) = self.takes_long(snapshots) {
                *long = Long::Working(filling);
                return Ok(Ready::Later { filling, begins: true });
            }
        }
        self.filled(snapshots, stop, &mut |_| {}).map(Ready::Now)
    }

    /// Fills the catalogue for those who are told to wait. `say` is told lines for whoever runs this.
    pub fn fill_meanwhile(&self, stop: &AtomicBool, say: &mut dyn FnMut(String)) {
        let mut telling = Telling::new(Instant::now());
        let mut each = |filling: Filling| {
            *lock(&self.long) = Long::Working(filling);
            if let Some(line) = telling.step(&filling, Instant::now()) {
                say(line);
            }
        };
        let done = caught(|| self.filled(&self.snapshots()?.confirmed, stop, &mut each));
        if let Some(line) = telling.end().filter(|_| done.is_ok()) {
            say(line);
        }
        *lock(&self.long) = done.map_or_else(Long::Failed, |_| Long::None);
    }

    /// How much is to be taken in where nobody is to wait for it without a word.
    fn takes_long(&self, snapshots: &[Named]) -> Option<Filling> {
        let known = match &*lock(&self.catalogue) {
            Some(catalogue) => catalogue.known(),
            None => self.kept().map_or_else(|| Ok(Vec::new()), |catalogue| catalogue.known()),
        };
        let known: HashSet<Id> = known.unwrap_or_default().into_iter().map(|(name, _)| name).collect();
        let missing: Vec<&Named> = snapshots.iter().filter(|named| !known.contains(&named.name)).collect();
        let files = missing.iter().map(|named| named.snapshot.summary.files).max().unwrap_or(0);
        let is_long = missing.len() > SNAPSHOTS_AT_ONCE || known.is_empty() && files > FILES_AT_ONCE;
        is_long.then_some(Filling { done: 0, all: missing.len(), folders: 0 })
    }

    /// The catalogue where it is kept.
    fn kept(&self) -> Option<Catalogue> {
        let folder = self.cache.as_deref()?;
        Catalogue::open(folder, &self.repository.id(), true).ok().flatten()
    }

    /// The catalogue with all of these in it: where it is kept, or in memory where it can not be had there.
    fn filled(
        &self,
        snapshots: &[Named],
        stop: &AtomicBool,
        each: &mut dyn FnMut(Filling),
    ) -> Result<Arc<Catalogue>, Error> {
        let mut fill = |catalogue: &Catalogue| {
            catalogue::fill(&self.repository, catalogue, snapshots, stop, each).map(drop)
        };
        let held = lock(&self.catalogue).clone();
        if let Some(catalogue) = held
            && is_filled(fill(&catalogue))?
        {
            return Ok(catalogue);
        }
        let catalogue = match self.kept() {
            Some(kept) if is_filled(fill(&kept))? => kept,
            _ => {
                let memory = Catalogue::in_memory(&self.repository.id())?;
                fill(&memory)?;
                memory
            }
        };
        let catalogue = Arc::new(catalogue);
        *lock(&self.catalogue) = Some(catalogue.clone());
        Ok(catalogue)
    }
}

/// False where that catalogue can not be used, and another one may.
fn is_filled(filled: Result<(), Error>) -> Result<bool, Error> {
    match filled {
        Err(Error::Index(_)) => Ok(false),
        other => other.map(|()| true),
    }
}
