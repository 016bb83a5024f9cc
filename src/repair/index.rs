//! `repair index`: packs that no readable index object names are named again by their own directories, what an index object says
//! otherwise than the pack itself is put right, and only then the unreadable index objects go.

use std::collections::{HashMap, HashSet};

use super::{Run, Tools, at_work, may_go_on};
use crate::backend::Kind;
use crate::format::index::{IndexObject, PackEntry};
use crate::format::limits::{INDEX_PACKS, LIST_MAX};
use crate::format::session::Damage;
use crate::model::Id;
use crate::progress::Event;
use crate::repository::index_objects::{chunks_of, fitting};
use crate::repository::session::Session;
use crate::repository::{Error, list_names};

/// What is wrong with the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexPlan {
    /// Index objects that can be read.
    pub objects: u64,
    /// Index objects that can not: they go.
    pub unreadable: Vec<Id>,
    /// Index objects of a later version: they stay.
    pub later: Vec<Id>,
    /// Packs that no readable index object names, and their chunks: they are named again.
    pub unnamed_packs: u64,
    pub unnamed_chunks: u64,
    /// Packs that none names, and whose own directories can not be read: what they hold is not known.
    pub unknown: Vec<Id>,
    /// Index objects that say something else than the packs themselves, and how many packs that is: they are replaced.
    pub wrong: Vec<Id>,
    pub wrong_packs: u64,
    /// Index objects of write-only keys that name packs which can not be read, and those packs: what these hold is lost, unless they come back.
    pub partly: Vec<Id>,
    pub unseen: Vec<Id>,
}

impl IndexPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        [&self.unreadable, &self.wrong, &self.partly].iter().all(|names| names.is_empty())
            && self.unnamed_packs == 0
    }

    /// Whether something goes that can not be had again.
    pub fn takes_away(&self) -> bool {
        !self.unreadable.is_empty() || !self.unseen.is_empty()
    }
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct IndexOutcome {
    pub plan: IndexPlan,
    /// Whether it was agreed to, and there was something to do.
    pub done: bool,
    pub packs_named: u64,
    pub objects_removed: u64,
}

/// Repairs the index. With `read_packs`, every pack is asked, whatever the index says of it. `agree` is shown the plan, and says whether
/// to go on. A removal record that can not be read is no hindrance: what it says stays said, and a pack that is named though it is to go
/// counts for nobody.
pub fn index(
    tools: Tools<'_>,
    read_packs: bool,
    agree: &mut dyn FnMut(&IndexPlan) -> bool,
) -> Result<IndexOutcome, Error> {
    at_work(tools, Vec::new(), |run, session| {
        let (plan, unnamed) = look(run, read_packs)?;
        let mut outcome = IndexOutcome { plan, ..IndexOutcome::default() };
        if !agree(&outcome.plan) || outcome.plan.is_empty() {
            return Ok(outcome);
        }
        if let Some(session) = session {
            execute(run, session, &unnamed, &mut outcome)?;
        }
        Ok(outcome)
    })
}

/// Looks at every index object, and at every pack that none names. Gives the names and lengths of those packs too.
fn look(run: &Run<'_>, read_packs: bool) -> Result<(IndexPlan, Vec<(u32, Id, u64)>), Error> {
    let repository = run.repository;
    let mut plan = IndexPlan::default();
    let removed = repository.removals()?.removed();
    // The packs first: what is listed here was there before the index objects are read.
    let stored: HashMap<Id, u64> = repository.stored_packs()?.into_iter().collect();
    let mut named = HashSet::new();
    for name in list_names(&*repository.backend, Kind::Index)? {
        run.check_stop()?;
        match repository.load_index_object(&name) {
            Ok(object) => {
                plan.objects += 1;
                named.extend(object.packs.iter().map(|entry| entry.name));
                if !object.unseen.is_empty() {
                    // It is put anew without them.
                    plan.unseen.extend(&object.unseen);
                    plan.partly.push(name);
                    continue;
                }
                let mut wrong = 0;
                for entry in object.packs.iter().filter(|entry| read_packs && !removed.contains(&entry.name))
                {
                    run.check_stop()?;
                    let Some(length) = stored.get(&entry.name) else { continue };
                    wrong += u64::from(run.own_entry(&entry.name, *length)?.is_some_and(|own| own != *entry));
                    run.tools.listener.event(Event::Bytes(u64::from(entry.directory_length)));
                }
                if wrong > 0 {
                    plan.wrong.push(name);
                    plan.wrong_packs += wrong;
                }
            }
            // A pruner removed it meanwhile.
            Err(error) if error.is_damage() && !repository.backend_has(Kind::Index, &name)? => {}
            Err(error) if error.is_of_later_version() => plan.later.push(name),
            Err(error) if error.is_damage() && !error.is_forbidden() => plan.unreadable.push(name),
            Err(error) => return Err(error),
        }
    }
    plan.unseen.sort_unstable();
    plan.unseen.dedup();
    let mut unnamed = Vec::new();
    for (name, length) in stored {
        run.check_stop()?;
        if named.contains(&name) || removed.contains(&name) || plan.unseen.binary_search(&name).is_ok() {
            continue;
        }
        match run.own_entry(&name, length)? {
            Some(entry) => {
                plan.unnamed_packs += 1;
                plan.unnamed_chunks += chunks_of(&entry) as u64;
                unnamed.push((entry.maker.writer, name, length));
            }
            None if repository.backend_has(Kind::Packs, &name)? => plan.unknown.push(name),
            None => {}
        }
    }
    unnamed.sort_unstable();
    plan.unknown.sort_unstable();
    plan.unreadable.sort_unstable();
    Ok((plan, unnamed))
}

/// Puts index objects as they fill, and proves of each that it can be read before anything goes.
struct Filling<'a> {
    run: &'a Run<'a>,
    object: IndexObject,
}

impl Filling<'_> {
    fn push(&mut self, entry: PackEntry) -> Result<(), Error> {
        // An index object has packs of one maker.
        if self.object.packs.first().is_some_and(|first| first.maker.writer != entry.maker.writer) {
            let replaces = self.object.replaces.clone();
            self.put()?;
            self.object.replaces = replaces;
        }
        self.object.packs.push(entry);
        while fitting(&self.object.packs, INDEX_PACKS) < self.object.packs.len() {
            let packs = self.object.packs.split_off(fitting(&self.object.packs, INDEX_PACKS));
            // Each part says what it comes in the place of: who knew that learns from each.
            let replaces = self.object.replaces.clone();
            self.put()?;
            self.object = IndexObject { packs, replaces, ..IndexObject::default() };
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), Error> {
        let Some(writer) = self.object.packs.first().map(|entry| entry.maker.writer) else { return Ok(()) };
        let mut object = std::mem::take(&mut self.object);
        let name = self.run.repository.put_index_object_of(writer, &mut object)?;
        self.run.repository.load_index_object(&name).map(|_| ())
    }
}

/// Whether a pack may be named: it holds what it says, or it is written down that it does not, so that copies in it count for nobody.
fn is_told(run: &Run<'_>, name: &Id) -> Result<bool, Error> {
    match run.repository.holds_all(name)? {
        Some(true) => Ok(true),
        // It may come another time.
        None => Ok(false),
        Some(false) => run.repository.write_down(&[*name], run.tools.clock.now()),
    }
}

fn execute(
    run: &Run<'_>,
    session: &Session<'_>,
    unnamed: &[(u32, Id, u64)],
    outcome: &mut IndexOutcome,
) -> Result<(), Error> {
    let repository = run.repository;
    let mut filling = Filling { run, object: IndexObject::default() };
    for (_, name, length) in unnamed {
        run.check_stop()?;
        if let Some(entry) = run.own_entry(name, *length)?
            && is_told(run, name)?
        {
            filling.push(entry)?;
            outcome.packs_named += 1;
        }
    }
    filling.put()?;
    // Before nothing names them any more: should they come back, nobody takes them for packs without use.
    if !outcome.plan.unseen.is_empty() {
        for packs in outcome.plan.unseen.chunks(LIST_MAX) {
            let time = run.tools.clock.now();
            repository.put_damage(&Damage { packs: packs.to_vec(), lost: None, time })?;
        }
        repository.settle(run.tools.clock)?;
    }
    let stored: HashMap<Id, u64> = repository.stored_packs()?.into_iter().collect();
    let anew = [&outcome.plan.wrong[..], &outcome.plan.partly].concat();
    for name in &anew {
        let object = match repository.load_index_object(name) {
            Ok(object) => object,
            Err(error) if error.is_damage() && !repository.backend_has(Kind::Index, name)? => continue,
            Err(error) => return Err(error),
        };
        // More went out of reach since it was asked.
        if let Some(error) = repository.unseen(name, &object)
            && object.unseen.iter().any(|pack| outcome.plan.unseen.binary_search(pack).is_err())
        {
            return Err(error);
        }
        filling.object = IndexObject::default();
        filling.object.replaces.push(*name);
        filling.object.snapshots.extend(object.snapshots);
        for entry in object.packs {
            run.check_stop()?;
            let own = match stored.get(&entry.name) {
                Some(length) => run.own_entry(&entry.name, *length)?,
                None => None,
            };
            // Its end may be another's.
            let own = match own {
                Some(own) if own != entry && !is_told(run, &entry.name)? => None,
                other => other,
            };
            filling.push(own.unwrap_or(entry))?;
        }
        filling.put()?;
    }
    // All that they said, as far as it can be had, is said elsewhere now.
    may_go_on(session)?;
    for name in &outcome.plan.unreadable {
        match repository.load_index_object(name) {
            Err(error) if error.is_damage() && !error.is_forbidden() && !error.is_of_later_version() => {
                run.repository.remove_object(Kind::Index, name)?;
                outcome.objects_removed += 1;
            }
            // It was the storage that slipped, and not the object that is damaged.
            Ok(_) | Err(Error::Unsupported { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    for name in &anew {
        run.repository.remove_object(Kind::Index, name)?;
        outcome.objects_removed += 1;
    }
    outcome.done = true;
    repository.sync().map(|_| ())
}
