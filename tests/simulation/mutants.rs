//! Actors that do it wrong on purpose: the harness must find them out.

use std::collections::HashSet;

use copal::backend::{Backend, Kind};
use copal::crypto::object_name;
use copal::format::{
    self,
    note::Link,
    session::{Removal, encode_removal},
};
use copal::model::{Contents, Id, SegmentKind, Snapshot};
use copal::repository::{Error, Repository};

use super::actor::Actor;
use super::handle::Context;
use super::world;

/// Forgets snapshots in the test's own books, where only the pruner without protocol looks.
pub struct Forgetter;

impl Actor for Forgetter {
    fn name(&self) -> &'static str {
        "forgetter"
    }

    fn round(&mut self, context: &Context) -> Result<(), Error> {
        context.pause()?;
        let mut world = context.simulation.world();
        let kept: Vec<usize> =
            (0..world.saved.len()).filter(|number| !world.saved[*number].forgotten).collect();
        if kept.len() > 1 {
            let number = *context.random().pick(&kept[..kept.len() - 1]);
            world.saved[number].forgotten = true;
            drop(world);
            context.note("forgets", number as u64 + 1);
        }
        Ok(())
    }
}

/// A pruner without protocol: removes at once what the snapshots that it sees do not need.
pub struct NaivePruner {
    /// Says what it removes before it does, as a tombstone does.
    pub tells: bool,
    /// Waits until nobody else is at work, and keeps everybody from beginning.
    pub alone: bool,
}

/// Packs that hold anything that a snapshot needs.
fn needed(repository: &Repository, forgotten: &HashSet<Id>) -> Result<HashSet<Id>, Error> {
    let mut packs = HashSet::new();
    let mut seen = HashSet::new();
    let mut need = |contents: Contents, id: Id| -> Result<(), Error> {
        packs.extend(repository.index.lookup_for_reading(contents, &id)?.iter().map(|place| place.pack.name));
        Ok(())
    };
    let all = repository.snapshots()?;
    if let Some(problem) = all.problems.into_iter().next() {
        return Err(problem);
    }
    for named in all.confirmed.into_iter().chain(all.unconfirmed) {
        if forgotten.contains(&named.name) {
            continue;
        }
        let mut trees = vec![named.snapshot.root];
        for segment in &named.snapshot.state {
            if let SegmentKind::Data(id) = segment.kind {
                need(Contents::Data, id)?;
            }
        }
        while let Some(tree) = trees.pop() {
            if !seen.insert(tree) {
                continue;
            }
            need(Contents::Trees, tree)?;
            for node in repository.nodes(tree) {
                let node = node?;
                trees.extend(node.tree);
                repository.segments(&node.content, node.size, &mut |segment| match segment.kind {
                    SegmentKind::Data(id) => need(Contents::Data, id),
                    _ => Ok(()),
                })?;
            }
        }
    }
    Ok(packs)
}

impl NaivePruner {
    fn prune(&self, context: &Context) -> Result<(), Error> {
        let repository = context.open(None)?;
        if let Some(problem) = repository.sync()?.problems.into_iter().next() {
            return Err(problem);
        }
        let saved = context.simulation.world().saved.clone();
        let forgotten: Vec<Id> =
            saved.iter().filter(|saved| saved.forgotten).map(|saved| saved.name).collect();
        let needed = needed(&repository, &forgotten.iter().copied().collect())?;
        let backend = context.backend();
        if self.tells {
            let all = repository.snapshots()?;
            for named in all.saved().filter(|named| forgotten.contains(&named.name)) {
                let Snapshot { client, sequence, previous, .. } = named.snapshot;
                repository.remove_snapshot(&named.name, Link { client, sequence, previous })?;
            }
        }
        let keys = world::keys();
        let removed: Vec<Id> = repository
            .stored_packs()?
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !needed.contains(name))
            .collect();
        if self.tells && !removed.is_empty() {
            let removal = Removal {
                packs: removed.clone(),
                time: repository.storage_time()?,
                done: true,
                ..Removal::default()
            };
            let object = encode_removal(keys, &removal).unwrap();
            backend.put(Kind::Removals, &object_name(&object).to_string(), &object)?;
        }
        for name in &removed {
            let _ = backend.remove(Kind::Packs, &name.to_string());
        }
        let mut names = Vec::new();
        backend.list(Kind::Index, &mut |entry| names.push(entry.name))?;
        for name in names {
            // Tombstones say it all.
            if self.tells {
                break;
            }
            let Ok(bytes) = backend.get(Kind::Index, &name) else { continue };
            let object = format::index::decode(keys, &bytes).unwrap();
            if object.packs.iter().all(|pack| removed.contains(&pack.name)) {
                let _ = backend.remove(Kind::Index, &name);
            }
        }
        Ok(())
    }
}

impl Actor for NaivePruner {
    fn name(&self) -> &'static str {
        "naive pruner"
    }

    fn round(&mut self, context: &Context) -> Result<(), Error> {
        if self.alone {
            if context.simulation.world().busy > 1 {
                return Ok(());
            }
            context.simulation.set_alone(Some(context.actor));
            let done = self.prune(context);
            context.simulation.set_alone(None);
            context.simulation.world().count(if done.is_ok() { "prunings" } else { "prunings that failed" });
            return done;
        }
        // What it trips over is its own fault.
        let _ = self.prune(context);
        Ok(())
    }
}
