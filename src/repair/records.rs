//! `repair records`: records of who is at work and of what a prune takes away that can not be read. Until they are mended, nothing is
//! pruned, and without those of the second kind nothing is saved. docs/concurrency.md says why this misleads nobody.

use std::collections::HashSet;

use super::{Run, Tools, at_work, may_go_on};
use crate::backend::Kind;
use crate::crypto::{self, FULL, object_name};
use crate::format::session::{self, Damage, Role, SessionObject, State};
use crate::model::{Id, Id16, Time};
use crate::repository::session::Session;
use crate::repository::sessions::Peer;
use crate::repository::snapshots::Origin;
use crate::repository::{Error, list_names, put_named};

/// Who may still act on what a removal record said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay {
    pub host: Vec<u8>,
    /// From when on that is not so any more, should it never be heard of again.
    pub until: Time,
}

/// What is wrong with these records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordsPlan {
    /// Sessions that can not be read: they go.
    pub sessions: Vec<Id>,
    /// Removal records that this machine's cache has: they are put back as they were.
    pub known: Vec<Id>,
    /// Removal records that can not be had again: they go.
    pub removals: Vec<Id>,
    /// Packs that index objects name, that are not there, and of which nothing else says so: they are written down as missing.
    pub missing: Vec<Id>,
    /// Of a later version: left alone.
    pub later: Vec<(Kind, Id)>,
    /// Who keeps removal records from going.
    pub in_the_way: Vec<InTheWay>,
    /// Removal records can not go yet, and neither can sessions, which may be of who acts on them.
    pub waits: bool,
}

impl RecordsPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.known.is_empty() && self.removals.is_empty()
    }

    /// Whether something goes that can not be had again.
    pub fn takes_away(&self) -> bool {
        let goes = !self.sessions.is_empty() || !self.removals.is_empty();
        goes && !self.waits
    }
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct RecordsOutcome {
    pub plan: RecordsPlan,
    /// Whether it was agreed to, and something was done.
    pub done: bool,
    pub put_back: u64,
    pub removed: u64,
}

/// Puts back removal records that the cache has, and removes those, and sessions, that can not be read. What index objects name and is
/// gone is written down as missing first. `nobody_at_work` says that no other run is at work or asleep, on any machine: otherwise a
/// removal record only goes when it is certain that nobody acts on it. `agree` is shown the plan, and says whether to go on.
///
/// Errors: `Damaged` also when an index object can not be read while a removal record goes: which packs should be there is not known then.
pub fn records(
    tools: Tools<'_>,
    nobody_at_work: bool,
    agree: &mut dyn FnMut(&RecordsPlan) -> bool,
) -> Result<RecordsOutcome, Error> {
    at_work(tools, Vec::new(), |run, session| {
        let mut outcome = RecordsOutcome { plan: look(run, session, nobody_at_work)?, ..Default::default() };
        if let (true, false, Some(session)) = (agree(&outcome.plan), outcome.plan.is_empty(), session) {
            execute(run, session, &mut outcome)?;
        }
        Ok(outcome)
    })
}

/// The bytes of a removal record in the cache, when they are whole.
fn cached(run: &Run<'_>, name: &Id) -> Option<Vec<u8>> {
    let bytes = run.repository.index.cached_object(Kind::Removals.number(), name).ok().flatten()?;
    let is_whole =
        object_name(&bytes) == *name && session::decode_removal(&run.repository.keys, &bytes).is_ok();
    is_whole.then_some(bytes)
}

fn look(run: &Run<'_>, session: Option<&Session<'_>>, nobody_at_work: bool) -> Result<RecordsPlan, Error> {
    let repository = run.repository;
    let mut plan = RecordsPlan::default();
    let removals = repository.removals_from(Origin::Storage)?;
    let removed = removals.removed();
    for (name, error) in removals.unreadable.into_iter().zip(removals.problems) {
        match () {
            () if error.is_of_later_version() => plan.later.push((Kind::Removals, name)),
            () if error.is_forbidden() => return Err(error),
            () if cached(run, &name).is_some() => plan.known.push(name),
            () => plan.removals.push(name),
        }
    }
    if !plan.removals.is_empty() && session.is_some() {
        // Whoever read it while it was whole had put a session before: now that is listed.
        repository.settle(run.tools.clock)?;
    }
    let (peers, unreadable) = repository.sessions_readable()?;
    for (name, error) in unreadable {
        match () {
            () if error.is_of_later_version() => plan.later.push((Kind::Sessions, name)),
            () if error.is_forbidden() => return Err(error),
            () => plan.sessions.push(name),
        }
    }
    if !plan.removals.is_empty() {
        let now = match session {
            Some(session) => session.check_alive()?,
            None => run.tools.clock.now(),
        };
        let own = session.map(|session| session.id);
        // Writers, such as a repair that was cut off, take nothing away by what removal records say, and who only adds nothing at all.
        let takes = |peer: &&Peer| peer.role != Role::Writer && peer.writer == FULL;
        for peer in peers.iter().filter(|peer| Some(peer.id) != own).filter(takes) {
            if let Some(until) = peer.stirs_until().filter(|until| now < *until) {
                plan.in_the_way.push(InTheWay { host: peer.host.clone(), until });
            }
        }
        let is_unknown =
            !plan.sessions.is_empty() || plan.later.iter().any(|(kind, _)| *kind == Kind::Sessions);
        plan.waits = !nobody_at_work && (is_unknown || !plan.in_the_way.is_empty());
        plan.missing = missing(run, &removed)?;
    }
    Ok(plan)
}

/// Packs that index objects name and that are not there, but for those that are known to be gone: the record that can not be read may have
/// said so of them.
fn missing(run: &Run<'_>, removed: &HashSet<Id>) -> Result<Vec<Id>, Error> {
    let repository = run.repository;
    let mut missing = HashSet::new();
    for name in list_names(&*repository.backend, Kind::Index)? {
        run.check_stop()?;
        match repository.load_index_object(&name) {
            Ok(object) => {
                missing.extend(object.packs.iter().map(|entry| entry.name).chain(object.unseen));
            }
            Err(error) if error.is_damage() && !repository.backend_has(Kind::Index, &name)? => {}
            Err(error) => return Err(error),
        }
    }
    // After the index objects: what they name was put before them.
    let known: HashSet<Id> =
        repository.damage_records()?.into_iter().flat_map(|(_, damage)| damage.packs).collect();
    for (name, _) in repository.stored_packs()? {
        missing.remove(&name);
    }
    missing.retain(|name| !removed.contains(name) && !known.contains(name));
    let mut missing: Vec<Id> = missing.into_iter().collect();
    missing.sort_unstable();
    Ok(missing)
}

/// Puts a session that says of somebody unknown that it was at work until now. Nothing waits for it but removal records that can not be
/// read: it may be of a prune that sleeps.
fn stand_in(run: &Run<'_>, session: &Session<'_>) -> Result<(), Error> {
    let object = SessionObject {
        session: Id16(crypto::random()?),
        state: State::Begin,
        role: Role::Pruner,
        lease_seconds: 0,
        parents: Vec::new(),
        host: b"unknown".to_vec(),
        process: 0,
        client: Id16::default(),
        time: run.tools.clock.now(),
        storage_time: Some(session.check_alive()?),
    };
    let object = session::encode(&run.repository.keys, &object)
        .map_err(|error| Error::format("the session", error))?;
    put_named(&*run.repository.backend, Kind::Sessions, &object).map(|_| ())
}

fn execute(run: &Run<'_>, session: &Session<'_>, outcome: &mut RecordsOutcome) -> Result<(), Error> {
    let repository = run.repository;
    let plan = outcome.plan.clone();
    may_go_on(session)?;
    for name in &plan.known {
        if let Some(bytes) = cached(run, name) {
            repository.backend.replace(Kind::Removals, &name.to_string(), &bytes)?;
            outcome.put_back += 1;
        }
    }
    outcome.done = outcome.put_back > 0;
    if plan.waits {
        return Ok(());
    }
    if !plan.missing.is_empty() {
        let time = session.check_alive()?;
        repository.put_damage(&Damage { packs: plan.missing.clone(), lost: None, time })?;
        // Who does not see the removal record any more must see this.
        repository.settle(run.tools.clock)?;
    }
    run.check_stop()?;
    may_go_on(session)?;
    // Once more: perhaps it was the storage that slipped.
    let unreadable: HashSet<Id> = repository.removals_from(Origin::Storage)?.unreadable.into_iter().collect();
    for name in plan.removals.iter().filter(|name| unreadable.contains(name)) {
        repository.remove_object(Kind::Removals, name)?;
        outcome.removed += 1;
    }
    let (_, unreadable) = repository.sessions_readable()?;
    let unreadable: HashSet<Id> = unreadable.into_iter().map(|(name, _)| name).collect();
    let sessions: Vec<&Id> = plan.sessions.iter().filter(|name| unreadable.contains(name)).collect();
    if !sessions.is_empty() {
        stand_in(run, session)?;
    }
    for name in sessions {
        repository.remove_object(Kind::Sessions, name)?;
        outcome.removed += 1;
    }
    outcome.done |= outcome.removed > 0;
    repository.sync().map(|_| ())
}
