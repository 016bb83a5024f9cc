//! `repair snapshots`: for each snapshot of which something is lost another one is written, in which that is marked. The original stays
//! until it is said that it is to be forgotten, and then until its days are over.

use std::collections::{HashMap, HashSet};

use super::loss::Loss;
use super::objects::{self, Objects};
use super::rewrite::{Lost, Rewrite};
use super::{Run, Tools, at_work, may_go_on};
use crate::backend::Kind;
use crate::crypto::FULL;
use crate::format::note::{Group, Verb};
use crate::model::{Id, Snapshot};
use crate::repository::session::Session;
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::store;
use crate::repository::{Error, Synced, list_names};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only these snapshots; all when it is empty.
    pub only: Vec<Id>,
    /// Forget the originals for which another snapshot stands.
    pub forget: bool,
}

/// A snapshot for which another one must stand.
#[derive(Clone, Debug)]
pub struct Hit {
    pub named: Named,
    pub lost: Lost,
    /// Not even its root can be read.
    pub is_all_lost: bool,
    /// The change cache that it carries is lost: nothing that was saved.
    pub is_state_lost: bool,
    /// Its confirmation can not be read.
    pub is_unconfirmed: bool,
    /// The one that stands for it already.
    pub by: Option<Id>,
    /// It is to be forgotten.
    pub goes: bool,
}

impl Hit {
    /// Whether nothing is left to be done about it.
    fn is_done(&self) -> bool {
        self.by.is_some() && !self.goes && !self.is_unconfirmed
    }
}

/// What is lost, and what would be done.
#[derive(Clone, Debug, Default)]
pub struct SnapshotsPlan {
    pub snapshots: u64,
    pub hit: Vec<Hit>,
    pub objects: Objects,
    /// Snapshots in which something is of a later version: left alone.
    pub later: Vec<Id>,
    /// Originals that would be forgotten were they not protected.
    pub protected: Vec<Id>,
}

impl SnapshotsPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.hit.iter().all(Hit::is_done)
    }

    /// Whether something goes that can not be had again.
    pub fn takes_away(&self) -> bool {
        self.objects.takes_away()
    }
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct SnapshotsOutcome {
    pub plan: SnapshotsPlan,
    /// Whether it was agreed to, and there was something to do.
    pub done: bool,
    /// Originals, and the snapshots that stand for them now.
    pub written: Vec<(Id, Id)>,
    pub forgotten: Vec<Id>,
}

/// Writes snapshots with marked gaps in the place of those of which something is lost, and puts back or gives up what can not be read of
/// snapshots, confirmations and notes. `agree` is shown the plan, and says whether to go on.
///
/// Errors: `Damaged` when an index object can not be read: what is lost is not known then. `Overtaken`: run it again.
pub fn snapshots(
    tools: Tools<'_>,
    wanted: &Wanted,
    agree: &mut dyn FnMut(&SnapshotsPlan) -> bool,
) -> Result<SnapshotsOutcome, Error> {
    let before = tools.repository.snapshots()?;
    // Whoever forgets one of them meanwhile must not take away what is still to be taken over from it.
    let held: Vec<Id> = before
        .confirmed
        .iter()
        .chain(&before.unconfirmed)
        .map(|named| named.name)
        // Also those that are missing, and come back from the cache.
        .chain(before.lost.iter().map(|(name, _)| *name))
        .chain(before.broken_links().map(|(_, name)| name))
        .filter(|name| wanted.only.is_empty() || wanted.only.contains(name))
        .collect();
    at_work(tools, held.clone(), |run, session| {
        let held: HashSet<Id> = held.into_iter().collect();
        let mut sum = SnapshotsOutcome::default();
        loop {
            let missed = round(run, session, wanted, &held, agree, &mut sum)?;
            // What was missing and is back was not looked at yet.
            if !missed {
                return Ok(sum);
            }
        }
    })
}

/// Looks, asks and does. Whether there are snapshots now that were not looked at.
fn round(
    run: &Run<'_>,
    session: Option<&Session<'_>>,
    wanted: &Wanted,
    held: &HashSet<Id>,
    agree: &mut dyn FnMut(&SnapshotsPlan) -> bool,
    sum: &mut SnapshotsOutcome,
) -> Result<bool, Error> {
    run.sync()?;
    let known: HashSet<Id> = run.repository.index.known_index_objects()?.into_iter().collect();
    for name in list_names(&*run.repository.backend, Kind::Index)?.iter().filter(|name| !known.contains(name))
    {
        // What it names would seem lost.
        let object = run.repository.load_index_object(name)?;
        if let Some(error) = run.repository.unseen(name, &object) {
            return Err(error);
        }
    }
    // Packs that no index object names may hold what seems lost.
    run.repository.adopt_packs(&mut Synced::default())?;
    let (objects, mut all) = objects::look(run)?;
    let mut loss = Loss::new(run)?;
    let mut plan = SnapshotsPlan { objects, ..SnapshotsPlan::default() };
    find(run, wanted, held, &all, &mut loss, &mut plan)?;
    measure(run, &mut loss, &mut plan)?;
    let agreed = agree(&plan);
    sum.plan = plan;
    let (true, false, Some(session)) = (agreed, sum.plan.is_empty(), session) else { return Ok(false) };
    let plan = sum.plan.clone();
    objects::put_back(run, session, &plan.objects)?;
    write(run, session, &mut loss, &plan, &mut all, sum)?;
    objects::give_up(run, session, &plan.objects)?;
    forget(run, session, &plan, sum)?;
    sum.done = true;
    run.repository.sync()?;
    let seen: HashSet<Id> = all.saved().chain(&all.unconfirmed).map(|named| named.name).collect();
    let is_new = |(kind, name): &(Kind, Id)| *kind == Kind::Snapshots && !seen.contains(name);
    Ok(plan.objects.put_back.iter().any(is_new))
}

/// Finds the snapshots of which something is lost.
fn find<'r>(
    run: &'r Run<'r>,
    wanted: &Wanted,
    held: &HashSet<Id>,
    all: &Snapshots,
    loss: &mut Loss<'r>,
    plan: &mut SnapshotsPlan,
) -> Result<(), Error> {
    let stands: HashMap<Id, Id> =
        all.confirmed.iter().filter_map(|named| Some((named.snapshot.stands_for?, named.name))).collect();
    let unconfirmed: HashSet<Id> = plan.objects.unconfirmed.iter().copied().collect();
    let strange = all.unconfirmed.iter().filter(|named| unconfirmed.contains(&named.name));
    for named in all.confirmed.iter().chain(strange) {
        if !held.contains(&named.name) || !wanted.only.is_empty() && !wanted.only.contains(&named.name) {
            continue;
        }
        plan.snapshots += 1;
        let is_hit = match loss.walk(named.snapshot.root) {
            Ok(is_hit) => is_hit,
            Err(error) if error.is_of_later_version() => {
                plan.later.push(named.name);
                continue;
            }
            Err(error) => return Err(error),
        };
        let is_state_lost = loss.find_segments(&named.snapshot.state)?;
        let is_unconfirmed = unconfirmed.contains(&named.name);
        if !is_hit && !is_state_lost && !is_unconfirmed {
            continue;
        }
        let is_protected = named.standing.protected;
        if wanted.forget && is_protected && !is_unconfirmed {
            plan.protected.push(named.name);
        }
        plan.hit.push(Hit {
            named: named.clone(),
            lost: Lost::default(),
            is_all_lost: false,
            is_state_lost,
            is_unconfirmed,
            by: stands.get(&named.name).copied(),
            goes: wanted.forget && !is_protected && named.standing.forgotten.is_none() && !is_unconfirmed,
        });
        run.check_stop()?;
    }
    Ok(())
}

/// Says of each of them what is lost.
fn measure<'r>(run: &'r Run<'r>, loss: &mut Loss<'r>, plan: &mut SnapshotsPlan) -> Result<(), Error> {
    let options = run.store_options(Default::default(), true);
    store::with(run.repository, options, run.tools.clock, |store| {
        let mut rewrite = Rewrite::new(run, store, true);
        for hit in plan.hit.iter_mut().filter(|hit| hit.by.is_none()) {
            let root = hit.named.snapshot.root;
            if loss.is_tree_hit(&root) {
                let (tree, lost) = rewrite.tree(loss, root)?;
                (hit.is_all_lost, hit.lost) = (tree.is_none(), lost);
            }
        }
        Ok(())
    })
}

/// Writes and commits the snapshots that stand for others.
fn write<'r>(
    run: &'r Run<'r>,
    session: &Session<'_>,
    loss: &mut Loss<'r>,
    plan: &SnapshotsPlan,
    all: &mut Snapshots,
    sum: &mut SnapshotsOutcome,
) -> Result<(), Error> {
    let client = run.repository.client()?;
    let wanted: Vec<&Hit> = plan.hit.iter().filter(|hit| hit.by.is_none()).collect();
    let mut roots = Vec::new();
    if !wanted.is_empty() {
        run.repository.name_adopted()?;
        store::with(run.repository, run.store_options(client, false), run.tools.clock, |store| {
            let mut rewrite = Rewrite::new(run, store, false);
            for hit in &wanted {
                let snapshot = &hit.named.snapshot;
                roots.push(match loss.is_tree_hit(&snapshot.root) {
                    false => snapshot.root,
                    true => match rewrite.tree(loss, snapshot.root)?.0 {
                        Some(root) => root,
                        None => rewrite.bare_root(&snapshot.sources)?,
                    },
                });
            }
            store.checkpoint(|| {})
        })?;
    }
    for (hit, root) in wanted.into_iter().zip(roots) {
        run.check_stop()?;
        let mut snapshot = stand_in(hit, root);
        snapshot.client = client;
        let name = run.repository.commit_next(session, &mut snapshot, all)?;
        sum.written.push((hit.named.name, name));
        let confirmed = Some(session.check_alive()?);
        all.confirmed.push(Named { name, snapshot, confirmed, standing: Default::default() });
    }
    // Also of those that an earlier run wrote, and was cut off before it came to this.
    for hit in plan.hit.iter().filter(|hit| hit.named.standing.protected) {
        let written = sum.written.iter().find(|(original, _)| *original == hit.named.name);
        let Some(name) = written.map(|(_, name)| *name).or(hit.by) else { continue };
        let is_said = all.notes.of(&name).iter().any(|(_, note)| note.verb.group() == Group::Protection);
        if !is_said {
            let time = session.check_alive()?;
            run.repository.put_note(&mut all.notes, &name, Verb::Protect, &[], time)?;
        }
    }
    Ok(())
}

/// The snapshot that stands for one that is hit.
fn stand_in(hit: &Hit, root: Id) -> Snapshot {
    let Named { name, snapshot, standing, .. } = &hit.named;
    Snapshot {
        root,
        tags: standing.tags.clone(),
        description: standing.description.clone(),
        program: concat!("copal ", env!("CARGO_PKG_VERSION")).to_owned(),
        incomplete: snapshot.incomplete || !hit.lost.is_empty() || hit.is_all_lost,
        parent: None,
        // What was lost must be read again: nothing may be taken over from it unseen.
        state: Vec::new(),
        options_digest: Vec::new(),
        stands_for: Some(*name),
        writer: FULL,
        // It is no more to be believed than the original.
        added_by: snapshot.teller(),
        ..snapshot.clone()
    }
}

/// Takes away the confirmations that can not be read, and forgets the originals, when that was asked for.
fn forget(
    run: &Run<'_>,
    session: &Session<'_>,
    plan: &SnapshotsPlan,
    sum: &mut SnapshotsOutcome,
) -> Result<(), Error> {
    may_go_on(session)?;
    for hit in plan.hit.iter().filter(|hit| hit.is_unconfirmed) {
        if !run.repository.reads(Kind::Confirmed, &hit.named.name)? {
            run.repository.remove_object(Kind::Confirmed, &hit.named.name)?;
        }
    }
    let going: Vec<Id> = plan.hit.iter().filter(|hit| hit.goes).map(|hit| hit.named.name).collect();
    if going.is_empty() {
        return Ok(());
    }
    let mut all = run.repository.snapshots()?;
    all.notes.check_known()?;
    for name in going {
        // As it is now: somebody may have protected it meanwhile.
        let Some(named) = all.confirmed.iter().find(|named| named.name == name) else { continue };
        if !named.standing.protected {
            let time = session.check_alive()?;
            run.repository.put_note(&mut all.notes, &name, Verb::Forget, &[], time)?;
            sum.forgotten.push(name);
        }
    }
    Ok(())
}
