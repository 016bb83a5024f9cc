//! The second phase: what was marked is removed once nobody can rely on it. Everything here may be done by several at once, and be cut
//! off anywhere.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::usage::{Standing, Usage};
use super::{MARK_SECONDS, Outcome, Run, copy, sweep};
use crate::crypto::FULL;
use crate::format::note::Link;
use crate::format::session::Removal;
use crate::model::{Id, Id16, Time};
use crate::repository::Error;
use crate::repository::session::Session;
use crate::repository::sessions::Peer;

/// How much later than a mark a session must have begun to be counted as one that saw it, by the storage's clock, seconds.
const LATER_SECONDS: i64 = 3600;

/// Whether a session is that of a mark's pruner. Who only adds reads its id there, and is none.
fn is_of(peer: &Peer, mark: &Removal) -> bool {
    peer.id == mark.session && peer.writer == FULL
}

/// Whether a session may have begun before the mark was there for it to see.
fn may_predate(peer: &Peer, mark: &Removal, peers: &[Peer]) -> bool {
    // The end of the marking session was put after the mark. Of one without, `adopt` puts the mark anew.
    let marked = peers.iter().find(|other| is_of(other, mark)).and_then(|pruner| pruner.ended_stored);
    match (marked, peer.begun_stored) {
        (Some(marked), Some(begun)) => begun < marked.plus_seconds(LATER_SECONDS),
        _ => true,
    }
}

/// Whether a mark's time has come; those in its way are told.
fn is_due(mark: &Removal, peers: &[Peer], own: Id16, now: Time, outcome: &mut Outcome) -> bool {
    let others = || peers.iter().filter(|peer| peer.id != own && peer.is_alive(now));
    let is_old = now.seconds_since(mark.time) >= MARK_SECONDS as f64;
    let in_the_way: Vec<&Peer> = match is_old {
        true => others().filter(|peer| may_predate(peer, mark, peers)).collect(),
        false => others().collect(),
    };
    for peer in &in_the_way {
        if !outcome.at_work.contains(&peer.host) {
            outcome.at_work.push(peer.host.clone());
        }
    }
    in_the_way.is_empty()
}

/// Whether it will never be known until when a mark was put: its pruner is gone without a word. Whoever began at any time may then have
/// begun before it.
fn is_orphan(mark: &Removal, peers: &[Peer], own: Id16, now: Time) -> bool {
    mark.session != own
        && peers
            .iter()
            .find(|peer| is_of(peer, mark))
            .is_none_or(|pruner| pruner.ended_stored.is_none() && !pruner.is_alive(now))
}

/// Puts once more what orphaned marks name, for this session, whose end will tell; and removes those when everybody sees the new one. So
/// what is marked stays marked, and a mark waits for nobody who came after it.
fn adopt(
    run: &Run<'_>,
    session: &Session<'_>,
    waiting: Vec<(Id, Removal)>,
    peers: &[Peer],
    now: Time,
) -> Result<(), Error> {
    let (mut names, mut packs, mut snapshots) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (name, mark) in waiting.into_iter().filter(|(_, mark)| is_orphan(mark, peers, session.id, now)) {
        names.push(name);
        packs.extend(mark.packs);
        snapshots.extend(mark.snapshots);
    }
    // What another put anew is put anew too: each takes away a mark only for one of its own, put later. Else two could take away what
    // the other relies on.
    super::mark(run, session, packs.into_iter().collect(), snapshots.into_iter().collect())?;
    sweep::records(run, names)
}

/// Acts on every mark whose time has come.
pub(super) fn marks(run: &Run<'_>, session: &Session<'_>, outcome: &mut Outcome) -> Result<(), Error> {
    let repository = run.repository;
    let removals = repository.removals()?.whole()?;
    if removals.marks.is_empty() {
        return Ok(());
    }
    // What was just marked must be seen by everyone whose session is not seen here.
    run.settle()?;
    let peers = repository.sessions()?;
    let now = session.check_alive()?;
    let (due, waiting): (Vec<(Id, Removal)>, Vec<(Id, Removal)>) =
        removals.marks.into_iter().partition(|(_, mark)| is_due(mark, &peers, session.id, now, outcome));
    adopt(run, session, waiting, &peers, now)?;
    if due.is_empty() {
        return Ok(());
    }
    // After this, what others committed before is listed.
    fence(run, session, &peers)?;
    run.settle()?;
    let peers = repository.sessions()?;
    let Some((due, going, lengths)) = settled(run, session, due, &peers, outcome)? else { return Ok(()) };
    run.check_stop()?;
    // Once more: who names one of these snapshots since keeps it.
    let known: HashSet<Id16> = peers.iter().map(|peer| peer.id).collect();
    let newcomers = repository.sessions()?;
    let mut newcomers = newcomers.iter().filter(|peer| !known.contains(&peer.id) && !peer.is_ended);
    if newcomers.any(|peer| peer.parents.iter().any(|parent| going.contains_key(parent))) {
        return Ok(());
    }
    remove(run, session, due, &going, &lengths, outcome)?;
    run.sync()
}

/// Marks that can be acted on, snapshots that go, and lengths of packs.
type Settled = (Vec<(Id, Removal)>, HashMap<Id, Link>, HashMap<Id, u64>);

/// Looks at what must stay, and copies what of it lies in packs that are to go. A mark on what can not be copied waits. None when
/// somebody else moved something: a later run sees it as it is then.
fn settled(
    run: &Run<'_>,
    session: &Session<'_>,
    mut due: Vec<(Id, Removal)>,
    peers: &[Peer],
    outcome: &mut Outcome,
) -> Result<Option<Settled>, Error> {
    let all = |due: &[(Id, Removal)], named: fn(&Removal) -> &Vec<Id>| -> HashSet<Id> {
        due.iter().flat_map(|(_, mark)| named(mark).iter().copied()).collect()
    };
    let mut is_copied = false;
    while !due.is_empty() {
        let snapshots = all(&due, |mark| &mark.snapshots);
        let (roots, usage) = super::look(run, peers, Some(session.id), Some(&snapshots))?;
        let needed = needed(run, &usage, &all(&due, |mark| &mark.packs))?;
        if needed.is_empty() {
            let there = usage.packs.iter().filter(|pack| pack.standing != Standing::Missing);
            let lengths = there.map(|pack| (pack.name, pack.length)).collect();
            return Ok(Some((due, roots.going.into_iter().collect(), lengths)));
        }
        if is_copied {
            return Ok(None);
        }
        // Somebody who began before the mark committed what needs these: they are written anew.
        let copied = copy::copy(run, &usage, &needed)?;
        let before = due.len();
        due.retain(|(_, mark)| !mark.packs.iter().any(|pack| copied.stuck.contains(pack)));
        is_copied = due.len() == before;
        outcome.add(copied, run.listener);
    }
    Ok(None)
}

/// Chunks in use that lie nowhere but in marked packs, one of which is among `packs`.
fn needed(run: &Run<'_>, usage: &Usage, packs: &HashSet<Id>) -> Result<copy::Needed, Error> {
    let mut needed = copy::Needed::new();
    usage.each(run, &mut |places, counting| {
        let is_going = |row| usage.pack(row).is_some_and(|pack| packs.contains(&pack.name));
        for (_, place) in counting.iter().filter(|(standing, _)| *standing == Standing::Marked) {
            if places.iter().any(|place| is_going(place.pack)) {
                needed.entry(place.pack).or_default().insert((place.block, place.offset));
            }
        }
    })?;
    Ok(needed)
}

/// Says of every session that is neither over nor alive that it must not commit: it may wake up.
pub(super) fn fence(run: &Run<'_>, session: &Session<'_>, peers: &[Peer]) -> Result<(), Error> {
    let now = session.check_alive()?;
    for peer in peers.iter().filter(|peer| peer.id != session.id && !peer.is_ended && !peer.is_alive(now)) {
        run.repository.put_fence(&peer.id, now)?;
    }
    Ok(())
}

/// Removes what marks name: snapshots, index objects, packs. The tombstones before those, so that whoever still hears of these packs knows
/// that they are gone, and the marks only when the tombstones are listed.
fn remove(
    run: &Run<'_>,
    session: &Session<'_>,
    due: Vec<(Id, Removal)>,
    going: &HashMap<Id, Link>,
    lengths: &HashMap<Id, u64>,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let repository = run.repository;
    run.check_stop()?;
    let mut packs = HashSet::new();
    for (_, mark) in &due {
        for (snapshot, link) in mark.snapshots.iter().filter_map(|name| Some((name, going.get(name)?))) {
            repository.remove_snapshot(snapshot, *link)?;
            outcome.snapshots_removed += 1;
        }
        packs.extend(mark.packs.iter().copied());
    }
    let mut index_objects = repository.rewrite_index(&packs)?;
    let mut tombstones = Vec::new();
    for (name, mark) in due {
        let tombstone = Removal {
            packs: mark.packs,
            time: session.check_alive()?,
            session: session.id,
            // They go when all tombstones are there.
            index_objects: std::mem::take(&mut index_objects),
            done: true,
            answers: Some(name),
            replaces: Vec::new(),
            // What came back meanwhile is not gone.
            snapshots: mark.snapshots.into_iter().filter(|name| going.contains_key(name)).collect(),
        };
        tombstones.push(tombstone);
    }
    // The one that lets index objects go is the last.
    for tombstone in tombstones.iter().rev() {
        repository.put_removal(tombstone)?;
    }
    for tombstone in &tombstones {
        outcome.packs_removed += tombstone.packs.len() as u64;
        outcome.bytes_removed += tombstone.packs.iter().filter_map(|pack| lengths.get(pack)).sum::<u64>();
        sweep::tombstone(run, tombstone)?;
    }
    sweep::records(run, tombstones.iter().filter_map(|tombstone| tombstone.answers))
}

/// Counts what waits.
pub(super) fn waiting(run: &Run<'_>, outcome: &mut Outcome) -> Result<(), Error> {
    let removals = run.repository.removals()?;
    let marked = removals.marked();
    let going: HashSet<Id> =
        removals.marks.iter().flat_map(|(_, mark)| mark.snapshots.iter().copied()).collect();
    let forgotten = run.repository.snapshots()?.forgotten;
    outcome.snapshots_waiting = forgotten.iter().filter(|named| going.contains(&named.name)).count() as u64;
    for (name, length) in run.repository.stored_packs()? {
        if marked.contains(&name) {
            outcome.packs_waiting += 1;
            outcome.bytes_waiting += length;
        }
    }
    Ok(())
}
