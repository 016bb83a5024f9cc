//! Whether everything that was saved comes back, by a fresh repository without a cache.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use copal::backend::Backend;
use copal::check::{self, Reading};
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::model::clock::SystemClock;
use copal::model::{Contents, Id, NodeType, SegmentKind};
use copal::progress::Silent;
use copal::repository::{self, Error, Repository};

use super::scheduler::Simulation;
use super::storage::Storage;
use super::world::{self, Failure, Model, Saved};

/// What was compared already: chunks that are a content, and trees that hold what they should.
#[derive(Default)]
pub struct Seen {
    chunks: HashMap<Id, u64>,
    trees: HashMap<Id, Vec<Arc<BTreeMap<String, u64>>>>,
}

/// Opens the storage as it is, without a cache.
pub fn open(backend: impl Backend + 'static) -> Result<Repository, Error> {
    let key = MasterKey::from_bytes(world::template().key);
    repository::open(Box::new(backend), Unlock::KeyFile(&key), None)
}

/// The names of a path, from the root down.
fn names(path: &Path) -> Vec<&[u8]> {
    path.components().skip(1).map(|part| part.as_os_str().as_bytes()).collect()
}

/// Reads a snapshot and compares it with what it must hold.
pub fn read(repository: &Repository, root: Id, model: &Model, seen: &mut Seen) -> Result<(), Error> {
    for (source, files) in model.iter() {
        let tree = repository.find_node(root, &names(source))?.and_then(|node| node.tree);
        let tree = tree.ok_or_else(|| wrong(&source.display().to_string(), "is not there"))?;
        if seen.trees.get(&tree).is_some_and(|known| known.iter().any(|known| **known == *files)) {
            continue;
        }
        let mut left = files.clone();
        walk(repository, tree, String::new(), &mut left, seen)?;
        if let Some(name) = left.keys().next() {
            return Err(wrong(name, "is missing"));
        }
        seen.trees.entry(tree).or_default().push(Arc::new(files.clone()));
    }
    Ok(())
}

fn wrong(name: &str, what: &str) -> Error {
    Error::Damaged { object: name.to_owned(), what: what.to_owned() }
}

fn walk(
    repository: &Repository,
    tree: Id,
    path: String,
    left: &mut BTreeMap<String, u64>,
    seen: &mut Seen,
) -> Result<(), Error> {
    for node in repository.nodes(tree) {
        let node = node?;
        let name = format!("{path}{}", String::from_utf8_lossy(&node.name));
        match (node.kind, node.tree) {
            (NodeType::Directory, Some(below)) => {
                walk(repository, below, format!("{name}/"), left, seen)?;
                continue;
            }
            (NodeType::File, None) => {}
            _ => return Err(wrong(&name, "is something else")),
        }
        let number = left.remove(&name).ok_or_else(|| wrong(&name, "should not be there"))?;
        let mut bytes = Vec::new();
        let mut known = None;
        repository.segments(&node.content, node.size, &mut |segment| {
            let SegmentKind::Data(id) = segment.kind else { return Err(wrong(&name, "has a hole")) };
            known = Some(id);
            if seen.chunks.get(&id) != Some(&number) {
                bytes.extend_from_slice(&repository.read_chunk(Contents::Data, &id)?);
            }
            Ok(())
        })?;
        match known {
            Some(id) if seen.chunks.get(&id) == Some(&number) => {}
            Some(id) if bytes == world::content(number) => {
                seen.chunks.insert(id, number);
            }
            _ => return Err(wrong(&name, "has other bytes")),
        }
    }
    Ok(())
}

/// Everything that was saved and not forgotten must be there.
pub fn whole(simulation: &Simulation) -> Result<(), Failure> {
    let kept: Vec<Saved> =
        simulation.world().saved.iter().filter(|saved| !saved.forgotten).cloned().collect();
    let repository =
        open(simulation.lock().storage.copy()).map_err(|error| Failure::Loss(error.to_string()))?;
    let loss = |what: &str, error: Error| Failure::Loss(format!("{what}: {error}"));
    repository.sync().map_err(|error| loss("synchronising", error))?;
    let all = repository.snapshots().map_err(|error| loss("listing", error))?;
    let mut seen = Seen::default();
    for saved in &kept {
        let what = format!("snapshot {}", saved.name.short());
        let named = all.confirmed.iter().find(|named| named.name == saved.name);
        let named = named.ok_or_else(|| Failure::Loss(format!("{what} is gone")))?;
        read(&repository, named.snapshot.root, &saved.model, &mut seen)
            .map_err(|error| loss(&what, error))?;
    }
    Ok(())
}

/// At the end: all is whole, a check is clean, and another client can save.
pub fn ending(simulation: &Simulation, folder: &mut world::Folder) -> Result<(), Failure> {
    whole(simulation)?;
    let untidy = |what: &str, error: Error| Failure::Untidy(format!("{what}: {error}"));
    let memory = simulation.lock().storage.copy();
    let repository = open(memory.clone()).map_err(|error| untidy("opening", error))?;
    let synced = repository.sync().map_err(|error| untidy("synchronising", error))?;
    let stop = AtomicBool::new(false);
    let report = check::check(&repository, &synced, Reading::Everything, &SystemClock, &Silent, &stop)
        .map_err(|error| untidy("the check", error))?;
    if let Some(finding) = report.findings.first() {
        return Err(Failure::Untidy(format!(
            "the check finds {finding:?} and {} more",
            report.findings.len() - 1
        )));
    }
    let options = super::writer::options(b"another", vec![folder.path.clone()]);
    let repository = open(memory.clone()).map_err(|error| untidy("opening", error))?;
    let outcome = copal::backup::backup(&repository, &options, &SystemClock, &Silent, &stop)
        .map_err(|error| untidy("another backup", error))?;
    let model = Arc::new(vec![(folder.path.clone(), folder.files.clone())]);
    let repository = open(memory).map_err(|error| untidy("opening", error))?;
    repository.sync().map_err(|error| untidy("synchronising", error))?;
    read(&repository, outcome.snapshot.root, &model, &mut Seen::default())
        .map_err(|error| Failure::Loss(format!("another backup: {error}")))
}

/// A simulated storage that begins with an empty repository.
pub fn beginning() -> Storage {
    Storage::of(&world::template().memory)
}
