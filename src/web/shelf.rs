//! What is read from the repository while the page is looked at. Others may write, forget and prune meanwhile: snapshots are looked for
//! again, and what is not found where it was is looked for where it may be now.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::catalogue;
use crate::index::catalogue::Catalogue;
use crate::locks::lock;
use crate::model::{Id, Node, NodeType};
use crate::repository::folders::Folders;
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::{Error, Repository};

/// How often it is looked for snapshots at most.
const LOOK: Duration = Duration::from_secs(3);
/// Shares of the memory: blocks, pages of folders.
const BLOCKS_SHARE: usize = 4;
const FOLDERS_SHARE: usize = 8;

/// A repository that is looked at.
pub struct Shelf {
    pub repository: Repository,
    cache: Option<PathBuf>,
    folders: Folders,
    known: Mutex<Option<(Instant, Arc<Snapshots>)>>,
    catalogue: Mutex<Option<Arc<Catalogue>>>,
}

impl Shelf {
    /// About so many bytes are kept in memory.
    pub fn new(repository: Repository, cache: Option<PathBuf>, memory: u64) -> Shelf {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        repository.keep_blocks(memory / BLOCKS_SHARE);
        let folders = Folders::new(memory / FOLDERS_SHARE);
        Shelf { repository, cache, folders, known: Mutex::default(), catalogue: Mutex::default() }
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

    /// The catalogue of paths with all of these snapshots in it: where it is kept, or in memory where it can not be had there.
    pub fn catalogue(&self, snapshots: &[Named], stop: &AtomicBool) -> Result<Arc<Catalogue>, Error> {
        let mut held = lock(&self.catalogue);
        if let Some(catalogue) = &*held
            && is_filled(self.fill(catalogue, snapshots, stop))?
        {
            return Ok(catalogue.clone());
        }
        let id = self.repository.id();
        let kept = self.cache.as_deref().and_then(|folder| Catalogue::open(folder, &id, true).ok().flatten());
        let catalogue = match kept {
            Some(kept) if is_filled(self.fill(&kept, snapshots, stop))? => kept,
            _ => {
                let memory = Catalogue::in_memory(&id)?;
                self.fill(&memory, snapshots, stop)?;
                memory
            }
        };
        let catalogue = Arc::new(catalogue);
        *held = Some(catalogue.clone());
        Ok(catalogue)
    }

    fn fill(&self, catalogue: &Catalogue, snapshots: &[Named], stop: &AtomicBool) -> Result<(), Error> {
        catalogue::fill(&self.repository, catalogue, snapshots, stop, &mut |_| {}).map(drop)
    }
}

/// False where that catalogue can not be used, and another one may.
fn is_filled(filled: Result<(), Error>) -> Result<bool, Error> {
    match filled {
        Err(Error::Index(_)) => Ok(false),
        other => other.map(|()| true),
    }
}
