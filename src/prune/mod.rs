//! Giving back the room of what no snapshot needs, while others write and read: packs are marked, and removed when nobody can rely on
//! them. docs/concurrency.md has the protocol and why it holds.

mod compact;
mod copy;
mod finish;
mod outlook;
mod plan;
mod roots;
mod sweep;
mod usage;
mod walk;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::compress::Level;
use crate::format::session::{Removal, Role};
use crate::model::clock::Clock;
use crate::model::{Id, Id16, Time};
use crate::progress::{Event, Listener};
use crate::repository::session::{Session, kept_alive};
use crate::repository::sessions::Peer;
use crate::repository::snapshots::Origin;
use crate::repository::store;
use crate::repository::{Error, Repository};

pub use crate::repository::snapshots::GRACE_SECONDS;
pub use outlook::{Freed, Outlook, outlook};
pub use plan::{Plan, Unused};
use roots::Roots;
use usage::Usage;

/// Age of a mark from which it is acted on while others are at work, seconds: for readers that could not say that they are there.
pub const MARK_SECONDS: i64 = 24 * 3600;

/// What is pruned, and how much.
#[derive(Clone, Debug)]
pub struct Options {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// For how long a forgotten snapshot can be brought back, seconds.
    pub grace_seconds: i64,
    /// Unused bytes that may stay in packs that are partly in use.
    pub max_unused: Unused,
    /// Bytes of packs that are written anew at most.
    pub max_repack_bytes: Option<u64>,
    /// Small packs are put together too.
    pub repack_small: bool,
    /// From so many on small index objects, and tombstones, are put together.
    pub pieces: usize,
    pub level: Level,
    /// Threads that compress, and that put packs.
    pub compressors: usize,
    pub uploaders: usize,
    /// Bytes that the run may take, about.
    pub memory: u64,
    pub host: Vec<u8>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dry_run: false,
            grace_seconds: GRACE_SECONDS,
            max_unused: Unused::Share(0.05),
            max_repack_bytes: None,
            repack_small: false,
            pieces: compact::PIECES,
            level: Level::AUTO,
            compressors: std::thread::available_parallelism().map_or(2, usize::from),
            uploaders: store::UPLOADERS,
            memory: store::MEMORY,
            host: Vec::new(),
        }
    }
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub plan: Plan,
    /// Packs removed, and their bytes: also those that earlier runs marked.
    pub packs_removed: u64,
    pub bytes_removed: u64,
    /// Forgotten snapshots that are gone for good.
    pub snapshots_removed: u64,
    /// Bytes of packs written anew.
    pub bytes_rewritten: u64,
    /// Packs that wait for a later run, and their bytes.
    pub packs_waiting: u64,
    pub bytes_waiting: u64,
    /// Forgotten snapshots that go with them.
    pub snapshots_waiting: u64,
    /// Hosts that were at work, so that marks had to wait.
    pub at_work: Vec<Vec<u8>>,
    /// Packs that are damaged where they were to be written anew; it is written down.
    pub damaged: BTreeSet<Id>,
    /// Of those and of others, packs that stay since they should hold what can be read nowhere.
    pub stuck: BTreeSet<Id>,
}

impl Outcome {
    fn add(&mut self, copied: copy::Copied, listener: &dyn Listener) {
        self.bytes_rewritten += copied.bytes;
        self.stuck.extend(copied.stuck);
        for (pack, what) in copied.damaged {
            if self.damaged.insert(pack) {
                let what = &what;
                listener.event(Event::Problem { path: None, what, code: "damaged", during: "prune" });
            }
        }
    }
}

/// One run at work.
struct Run<'r> {
    repository: &'r Repository,
    options: &'r Options,
    clock: &'r dyn Clock,
    listener: &'r dyn Listener,
    stop: &'r AtomicBool,
    /// Set when the session's lease is lost.
    lost: &'r AtomicBool,
}

impl Run<'_> {
    fn check_stop(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Error::Overtaken);
        }
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Synchronises, and refuses to go on from what is not wholly known.
    fn sync(&self) -> Result<(), Error> {
        match self.repository.sync()?.problems.into_iter().next() {
            None => Ok(()),
            Some(problem) => Err(problem),
        }
    }

    /// The storage's time; where it does not take what is asked for it, and nothing is to be done, this machine's.
    fn time(&self) -> Result<Time, Error> {
        match self.repository.storage_time() {
            Err(_) if self.options.dry_run => Ok(self.clock.now()),
            other => other,
        }
    }

    fn settle(&self) -> Result<(), Error> {
        self.repository.settle(self.clock)
    }
}

/// Removes what no snapshot needs: at once when nobody else is at work, else marks it for a later run. What earlier runs marked goes first.
///
/// Errors: `Damaged`, `Lost` and `Unsupported` when it can not be known what snapshots need, or what they need is missing: then nothing is
/// removed. Damage that is met while something is written anew is in what is given.
pub fn prune(
    repository: &Repository,
    options: &Options,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let lost = AtomicBool::new(false);
    let run = Run { repository, options, clock, listener, stop, lost: &lost };
    // Each one as it is there, whatever the cache knows: one that can not be read any more ends the run.
    repository.removals_from(Origin::Storage)?.whole()?;
    let outcome = if options.dry_run {
        listener.event(Event::Started);
        run.sync()?;
        let plan = plan_new(&run, None)?.plan;
        Outcome { plan, ..Outcome::default() }
    } else {
        match execute(&run) {
            // It is run again as after any cut, with what was kept aside for that.
            Err(error) if error.is_no_space() && repository.backend.reserve(false) => {
                let outcome = execute(&run)?;
                repository.backend.reserve(true);
                outcome
            }
            other => other?,
        }
    };
    listener.event(Event::Finished);
    Ok(outcome)
}

fn execute(run: &Run<'_>) -> Result<Outcome, Error> {
    let repository = run.repository;
    let client = repository.client()?;
    let session =
        Session::begin_as(Role::Pruner, repository, run.clock, client, &run.options.host, Vec::new())?;
    run.listener.event(Event::Started);
    let overtaken = |_| run.lost.store(true, Ordering::Relaxed);
    kept_alive(Some(&session), overtaken, || work(run, &session))
}

fn work(run: &Run<'_>, session: &Session<'_>) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    run.settle()?;
    run.sync()?;
    if run.repository.may_doubt_cache() {
        // What goes hangs on it: one flipped bit in the cache must not make a pack look useless.
        let compared = run.repository.compare_index(run.stop)?;
        if let Some(problem) = compared.problems.into_iter().next() {
            return Err(problem);
        }
    }
    sweep::leftovers(run)?;
    // Who may wake up and holds a snapshot that is to go would hold it for ever.
    finish::fence(run, session, &run.repository.sessions()?)?;
    finish::marks(run, session, &mut outcome)?;
    let new = plan_new(run, Some(session))?;
    let mut packs = new.plan.remove.clone();
    packs.extend(&new.plan.leftovers);
    if !new.plan.repack.is_empty() {
        let mut copied = copy::repack(run, &new)?;
        packs.append(&mut copied.packs);
        // Perhaps a repair can do something with them.
        packs.retain(|pack| !copied.stuck.contains(pack));
        outcome.add(copied, run.listener);
    }
    outcome.plan = new.plan;
    if !packs.is_empty() || !new.snapshots.is_empty() {
        run.check_stop()?;
        mark(run, session, packs, new.snapshots)?;
        finish::marks(run, session, &mut outcome)?;
    }
    finish::waiting(run, &mut outcome)?;
    compact::compact(run, session, &outcome)?;
    sweep::sessions(run, session)?;
    Ok(outcome)
}

/// Says which packs and forgotten snapshots are to go. From here on no writer relies on them.
fn mark(run: &Run<'_>, session: &Session<'_>, packs: Vec<Id>, snapshots: Vec<Id>) -> Result<(), Error> {
    // Lists are bounded, and so is a mark.
    let most = crate::format::limits::LIST_MAX / 4;
    let time = session.check_alive()?;
    let mut packs = packs.as_slice();
    let mut snapshots = snapshots.as_slice();
    while !packs.is_empty() || !snapshots.is_empty() {
        let (some, rest) = packs.split_at(packs.len().min(most));
        let (named, more) = snapshots.split_at(snapshots.len().min(most));
        let removal = Removal {
            packs: some.to_vec(),
            snapshots: named.to_vec(),
            time,
            session: session.id,
            ..Removal::default()
        };
        run.repository.put_removal(&removal)?;
        (packs, snapshots) = (rest, more);
    }
    Ok(())
}

/// A plan, and what is needed to carry it out.
struct New {
    plan: Plan,
    usage: Usage,
    /// Forgotten snapshots that are to go.
    snapshots: Vec<Id>,
}

/// How often is looked again when something seems to be missing: another pruner may have moved it meanwhile.
const LOOKS: usize = 4;

/// Looks at what must stay and where it lies. In this order: what a snapshot needs was indexed before the snapshot was put.
fn look(
    run: &Run<'_>,
    peers: &[Peer],
    own: Option<Id16>,
    only: Option<&HashSet<Id>>,
) -> Result<(Roots, Usage), Error> {
    let now = run.time()?;
    let mut looks = 0;
    loop {
        looks += 1;
        let roots = roots::roots(run, peers, own, now, only)?;
        run.sync()?;
        if looks == LOOKS {
            // Perhaps an index object was lost: packs that none names are asked themselves.
            run.repository.adopt_packs(&mut Default::default())?;
        }
        if own.is_some() {
            // They count as copies from here on: nobody else would find what lies in them when the others are gone.
            run.repository.name_adopted()?;
        }
        match usage::usage(run, &roots) {
            Ok(usage) => match usage.missing {
                None => return Ok((roots, usage)),
                Some(missing) if looks == LOOKS => return Err(missing_error(&missing)),
                Some(_) => {}
            },
            Err(error) if error.is_damage() && looks < LOOKS => {}
            Err(error) => return Err(error),
        }
    }
}

fn plan_new(run: &Run<'_>, session: Option<&Session<'_>>) -> Result<New, Error> {
    let own = session.map(|session| session.id);
    let peers = run.repository.sessions()?;
    let (mut roots, usage) = look(run, &peers, own, None)?;
    // What waits already is not marked once more.
    let removals = run.repository.removals()?;
    let marked = removals.marked();
    let waiting: HashSet<Id> = removals.marks.into_iter().flat_map(|(_, mark)| mark.snapshots).collect();
    roots.going.retain(|(name, _)| !waiting.contains(name));
    let now = run.time()?;
    let alive: Vec<&Peer> = peers.iter().filter(|peer| Some(peer.id) != own && peer.is_alive(now)).collect();
    let mut spared = spared(run, &usage, &alive)?;
    spared.extend(marked);
    let leftovers = if alive.is_empty() { usage.leftovers.clone() } else { Vec::new() };
    let mut plan = plan::plan(&usage, &spared, leftovers, run.options, run.repository.config.pack_target);
    plan.snapshots = roots.going.len() as u64;
    plan.resting = roots.resting.len() as u64;
    plan.resting_until = roots.resting.iter().min().copied().zip(roots.resting.iter().max().copied());
    plan.held = roots.held;
    Ok(New { plan, usage, snapshots: roots.going.into_iter().map(|(name, _)| name).collect() })
}

fn missing_error(missing: &usage::Missing) -> Error {
    Error::Damaged {
        object: "the repository".to_owned(),
        what: format!(
            "{} chunks that snapshots need are in no pack, so nothing is removed; copal check says which files that hits",
            missing.chunks
        ),
    }
}

/// Packs without any use that somebody at work may just have written: marking them would only make that run begin again.
fn spared(run: &Run<'_>, usage: &Usage, alive: &[&Peer]) -> Result<HashSet<Id>, Error> {
    /// Clocks may differ by that, seconds: all that hangs on it is somebody's time.
    const SKEW_SECONDS: i64 = 3600;
    let mut spared = HashSet::new();
    let Some(first) = alive.iter().map(|peer| peer.begun.plus_seconds(-SKEW_SECONDS)).min() else {
        return Ok(spared);
    };
    for pack in usage.packs.iter().filter(|pack| pack.live == 0) {
        run.check_stop()?;
        let written: Result<Time, Error> =
            run.repository.read_pack_entry(&pack.name, pack.length).map(|entry| entry.directory.written);
        if written.is_ok_and(|written| written >= first) {
            spared.insert(pack.name);
        }
    }
    Ok(spared)
}
