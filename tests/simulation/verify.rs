//! Whether everything that was saved comes back, by a fresh repository without a cache.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use copal::backend::{Backend, Memory};
use copal::check::{self, Finding, Reading};
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::model::clock::SystemClock;
use copal::model::{Contents, Id, NodeType, SegmentKind};
use copal::parity::{self, Wanted};
use copal::progress::Silent;
use copal::prune::{self, Unused};
use copal::repository::{self, Error, Repository, store};

use super::mender;
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
    let memory = simulation.lock().storage.copy();
    let mended = whole_in(&memory, &kept)?;
    simulation.world().add("packs read by recovery data", mended);
    Ok(())
}

/// Whether these can be read wholly; how many packs only by their recovery data.
fn whole_in(memory: &Memory, kept: &[Saved]) -> Result<u64, Failure> {
    let repository = open(memory.clone()).map_err(|error| Failure::Loss(error.to_string()))?;
    let loss = |what: &str, error: Error| Failure::Loss(format!("{what}: {error}"));
    repository.sync().map_err(|error| loss("synchronising", error))?;
    let all = repository.snapshots().map_err(|error| loss("listing", error))?;
    let mut seen = Seen::default();
    for saved in kept {
        let what = format!("snapshot {}", saved.name.short());
        let named = all.confirmed.iter().find(|named| named.name == saved.name);
        let named = named.ok_or_else(|| Failure::Loss(format!("{what} is gone")))?;
        read(&repository, named.snapshot.root, &saved.model, &mut seen)
            .map_err(|error| loss(&what, error))?;
    }
    Ok(repository.mended_packs().len() as u64)
}

/// At the end: all is whole, a check is clean, and another client can save.
pub fn ending(simulation: &Simulation, folder: &mut world::Folder) -> Result<(), Failure> {
    whole(simulation)?;
    let untidy = |what: &str, error: Error| Failure::Untidy(format!("{what}: {error}"));
    let memory = simulation.lock().storage.copy();
    let stop = AtomicBool::new(false);
    let rotted = mender::has_rotted(&simulation.world().counts);
    if rotted && mender::is_all_there(&simulation.lock().storage) {
        let repository = open(memory.clone()).map_err(|error| untidy("opening", error))?;
        let options = prune::Options { grace_seconds: 0, max_unused: Unused::Bytes(0), ..Default::default() };
        match prune::prune(&repository, &options, &SystemClock, &Silent, &stop) {
            // A spoiled byte may say that.
            Ok(_) | Err(Error::Unsupported { .. }) => {}
            Err(error) => return Err(untidy("a prune over spoiled packs", error)),
        }
        let kept: Vec<Saved> =
            simulation.world().saved.iter().filter(|saved| !saved.forgotten).cloned().collect();
        whole_in(&memory, &kept)?;
        simulation.world().count("prunings over spoiled packs at the end");
    }
    if rotted {
        let mut repository = open(memory.clone()).map_err(|error| untidy("opening", error))?;
        // Where new packs get none, spoiled recovery data stays as it is.
        repository
            .change_config(|config| config.parity_per_mille = config.parity_per_mille.max(50))
            .map_err(|error| untidy("the config", error))?;
        repository.sync().map_err(|error| untidy("synchronising", error))?;
        let repaired = parity::repair(&repository, &Wanted::All, store::MEMORY, &Silent, &stop)
            .map_err(|error| untidy("the repair", error))?;
        if let Some((pack, what)) = repaired.damaged.first() {
            return Err(Failure::Untidy(format!("pack {} stays damaged: {what}", pack.short())));
        }
    }
    let repository = open(memory.clone()).map_err(|error| untidy("opening", error))?;
    let synced = repository.sync().map_err(|error| untidy("synchronising", error))?;
    let report = check::check(&repository, &synced, Reading::Everything, &SystemClock, &Silent, &stop)
        .map_err(|error| untidy("the check", error))?;
    // A damaged pack that is to go is not put back.
    let marked = repository.removals().map_err(|error| untidy("removals", error))?.marked();
    let is_going = |finding: &&Finding| Id::parse(&finding.object).is_some_and(|name| marked.contains(&name));
    if let Some(finding) = report.findings.iter().find(|finding| !is_going(finding)) {
        return Err(Failure::Untidy(format!("the check finds {finding:?} of {}", report.findings.len())));
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

/// A simulated storage that begins with an empty repository, whose new packs get that much recovery data.
pub fn beginning(per_mille: u16) -> Storage {
    let memory = world::template().memory.copy();
    if per_mille > 0 {
        open(memory.clone()).unwrap().change_config(|config| config.parity_per_mille = per_mille).unwrap();
    }
    Storage::of(&memory)
}
