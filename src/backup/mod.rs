//! Backing up: sources in, one snapshot out. This file wires the pipeline: workers walk and read, the store's threads compress,
//! seal and put, and the snapshot comes last.

pub mod change;
pub mod chunk;
pub mod commands;
mod directory;
pub mod encrypted;
mod entry;
pub mod exclude;
mod file;
pub mod marked;
mod options;
pub mod presets;
mod run;
mod snapshot;
pub mod sources;
mod stand_in;
pub mod state;
mod stream;
mod totals;
pub mod touched;
mod unseen;
mod visited;
mod walk;
mod workers;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::clock::Clock;
use crate::model::{Id, Id16, Unread};
use crate::progress::{Event, Listener};
use crate::repository::session::{Session, kept_alive};
use crate::repository::snapshots::Named;
use crate::repository::store::{self, Store};
use crate::repository::writing::TRIES;
use crate::repository::{Error, Repository, caught};

use commands::CommandSource;
use run::{Run, encrypted_fact};
use touched::Touched;

pub use change::RACY_SECONDS;
pub use chunk::Chunker;
pub use file::store_front;
pub use options::{CHECKPOINT_SECONDS, Options, Outcome};
pub use stand_in::StandIn;
pub use stream::{Stream, backup_stream};

/// Backs up. Problems of single files go to the listener and make the snapshot incomplete; they are no error.
///
/// Errors: whatever keeps the repository from taking the data; then nothing was reported as saved. `Stopped` when `stop` was set.
pub fn backup(
    repository: &Repository,
    options: &Options,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let client = repository.client()?;
    let mut overtaken = false;
    let everything = Touched::everything();
    let mut hints = options.touched.as_ref();
    for attempt in 0..TRIES {
        let result =
            caught(|| attempt_backup(repository, options, hints, client, overtaken, clock, listener, stop));
        match result {
            // What the hints left out may have changed all the same.
            Ok(None) => hints = Some(&everything),
            Ok(Some(outcome)) => return Ok(outcome),
            Err(Error::Overtaken) if attempt + 1 < TRIES => {
                overtaken = true;
                listener.event(Event::Note(
                    "this run slept too long, or another machine marked packs for removal: going over everything again",
                ));
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Overtaken)
}

/// The snapshot to compare with: that named by hand, or the newest of this host and these sources.
fn find_parent(options: &Options, writer: u32, confirmed: &[Named]) -> Option<Named> {
    let sources = options.all_sources();
    confirmed
        .iter()
        .rev()
        // What a repair marked as lost must be read again.
        .filter(|named| named.snapshot.stands_for.is_none())
        // What others know of their files is theirs to believe.
        .filter(|named| named.snapshot.teller() == writer)
        .find(|named| match &options.parent {
            Some(parent) => named.name == *parent,
            None => named.snapshot.host == options.host && named.snapshot.sources == sources,
        })
        .cloned()
}

/// Digest of everything besides the sources that decides how a tree looks.
fn options_digest(options: &Options) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"tree 1")
        .update(&options.excludes.digest_input())
        .update(&[u8::from(options.one_file_system)]);
    for path in ["/etc/passwd", "/etc/group"] {
        let text = std::fs::read(path).unwrap_or_default();
        hasher.update(&(text.len() as u64).to_le_bytes()).update(&text);
    }
    hasher.finalize().as_bytes()[..16].to_vec()
}

fn source_key(repository: &Repository, options: &Options) -> Id16 {
    let mut bytes = options.host.clone();
    let commands = options.commands.iter().map(CommandSource::path);
    for source in options.sources.iter().cloned().chain(commands) {
        bytes.push(0);
        bytes.extend_from_slice(&source);
    }
    repository.hasher().local(&bytes)
}

/// One backup; none when what the hints left unseen may have changed, so that it has to be walked.
#[allow(clippy::too_many_arguments)]
fn attempt_backup(
    repository: &Repository,
    options: &Options,
    hints: Option<&Touched>,
    client: Id16,
    overtaken: bool,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Option<Outcome>, Error> {
    let started = clock.now();
    let source = source_key(repository, options);
    let lineage = repository.index.lineage(&source)?;
    // The session first: from here on nobody removes what it relies on (docs/concurrency.md).
    let session = match options.dry_run {
        true => None,
        false => {
            Some(Session::begin(repository, clock, client, &options.host, lineage.into_iter().collect())?)
        }
    };
    let synced = repository.sync_before_snapshots()?;
    synced.tell("backup", listener);
    let all = repository.snapshots()?;
    let parent = find_parent(options, repository.writer(), &all.confirmed);
    // Only a snapshot that the session named is taken over without looking everything up.
    // And only while nothing was found missing or damaged since: what counts as absent must be read and stored again.
    let absence = repository.absence()?;
    let absence_fact = format!("absence {source}");
    // With the snapshot whose rows these are: two runs of one source may write them at the same time.
    let known = |name: Option<Id>| [&absence[..], &name.unwrap_or_default().0].concat();
    let same_absence = repository.index.fact(&absence_fact)?.as_deref() == Some(&known(lineage)[..]);
    if !options.dry_run {
        synced.check_writable()?;
        if !same_absence && repository.knows_of_losses()? {
            // Perhaps an index object is: packs that none names are named again, and need not be stored again.
            repository.adopt_packs(&mut Default::default())?;
        }
        repository.name_adopted()?;
    }
    let trusted =
        parent.as_ref().is_some_and(|parent| lineage == Some(parent.name)) && same_absence && !overtaken;
    let mut was_compared = lineage.is_some() && !options.force;
    if lineage.is_none()
        && !options.force
        && let Some(parent) = &parent
    {
        was_compared = state::load(repository, &source, &parent.snapshot)?;
    }
    let digest = options_digest(options);
    let tree_reuse = parent.as_ref().is_some_and(|parent| parent.snapshot.options_digest == digest);

    let store_options = store::Options {
        level: options.level,
        workers: workers::count(options),
        compressors: std::thread::available_parallelism().map_or(2, usize::from),
        uploaders: options.uploaders,
        memory: options.memory,
        domain: client,
        discard: options.dry_run,
    };
    listener.event(Event::Started);
    let work = |store: &Store<'_>| {
        let rows = repository.index.directory_counts(&source)?.0;
        let mut run =
            Run::new(repository, store, options, listener, clock, stop, source, tree_reuse, hints, rows);
        run.made = commands::save(&run, parent.as_ref().map(|parent| &parent.snapshot))?;
        run.counts.files_incompressible.store(unfinished_count(repository, &source), Ordering::Relaxed);
        let expected = parent.as_ref().filter(|_| trusted).map(|parent| parent.snapshot.root);
        let root = workers::walk(&run, expected);
        // A run that is stopped keeps what it finished.
        if !options.dry_run {
            run.checkpoint()?;
        }
        let (root, _) = root?;
        if run.unseen.is_in_doubt() {
            return Ok(None);
        }
        let swept = !options.dry_run && run.sweep()?;
        let mut snapshot = snapshot::describe(options, &run, store, root, started, client);
        let unchanged = parent.as_ref().is_some_and(|parent| parent.snapshot.root == root);
        let state_changed = !options.dry_run && (!unchanged || !trusted || swept || run.has_journalled());
        if state_changed {
            snapshot.state = state::save(repository, store, &source)?;
            store.checkpoint(|| {})?;
        } else if let Some(parent) = &parent {
            snapshot.state.clone_from(&parent.snapshot.state);
        }
        // What was added of the sources; the rows just saved are copal's own.
        let stored = store.stored();
        snapshot.summary.bytes_stored = stored.bytes_stored;
        let healed = (stored.chunks_healed, stored.bytes_healed);
        let metadata_unread = run.counts.metadata_unread.load(Ordering::Relaxed);
        snapshot.incomplete |= metadata_unread > 0;
        let files_incompressible = run.counts.files_incompressible.load(Ordering::Relaxed);
        let (again, left) = (run.unseen.take_again(), run.unseen.left());
        let not_compared = run.counts.not_compared.load(Ordering::Relaxed);
        Ok(Some((snapshot, metadata_unread, files_incompressible, healed, again, left, not_compared)))
    };
    let done = store::with(repository, store_options, clock, |store| {
        kept_alive(session.as_ref(), |error| store.fail(error), || work(store))
    })?;
    let Some((mut snapshot, metadata_unread, files_incompressible, healed, again, left, not_compared)) = done
    else {
        return Ok(None);
    };
    was_compared &= !not_compared;
    if let (true, Some(parent)) = (left > 0, &parent) {
        match totals::difference(repository, parent.snapshot.root, snapshot.root) {
            Ok(difference) => difference.complete(&parent.snapshot.summary, &mut snapshot.summary),
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let outcome = |name, snapshot, parent| {
        Ok(Some(Outcome {
            name,
            snapshot,
            parent,
            was_compared,
            metadata_unread,
            files_incompressible,
            healed,
            again,
            left,
        }))
    };

    snapshot.options_digest = digest;
    snapshot.parent = parent.as_ref().map(|parent| parent.name);
    snapshot.summary.end = clock.now();
    let Some(session) = session else {
        listener.event(Event::Finished);
        return outcome(None, snapshot, parent);
    };
    let same = match &parent {
        Some(parent) if options.skip_if_unchanged => {
            same_sources(repository, parent.snapshot.root, snapshot.root, &options.all_sources())?
        }
        _ => false,
    };
    // Whoever backs up again and again needs no second snapshot that lacks the same.
    let told_before = hints.is_some() && parent.as_ref().is_some_and(|parent| parent.snapshot.incomplete);
    if options.skip_if_unchanged && same && (!snapshot.incomplete || told_before) {
        repository.index.set_lineage(&source, parent.as_ref().map(|parent| parent.name)).or_else(passing)?;
        let _ = repository.index.remove_fact(&encrypted_fact(&source));
        drop(session);
        listener.event(Event::Finished);
        return outcome(None, snapshot, parent);
    }
    let name = repository.commit_next(&session, &mut snapshot, &all)?;
    // It is saved: whatever the cache says now, that is what is told.
    let _ = repository.index.set_fact(&absence_fact, &known(Some(name)));
    let _ = repository.index.set_lineage(&source, Some(name));
    let _ = repository.index.remove_fact(&encrypted_fact(&source));
    repository.renew_wanted_copies();
    repository.tell_unsynced(listener);
    drop(session);
    listener.event(Event::Finished);
    outcome(Some(name), snapshot, parent)
}

/// Files that looked encrypted in runs that were cut off since the last one that was not.
fn unfinished_count(repository: &Repository, source: &Id16) -> u64 {
    let fact = repository.index.fact(&encrypted_fact(source)).ok().flatten();
    fact.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Whether all sources are the same below two roots; the folders above them belong to others and may have changed.
fn same_sources(repository: &Repository, one: Id, other: Id, sources: &[Vec<u8>]) -> Result<bool, Error> {
    if one == other {
        return Ok(true);
    }
    for source in sources {
        let names = sources::components(source);
        if names.is_empty() {
            return Ok(false);
        }
        let is_same = match (repository.find_node(one, &names), repository.find_node(other, &names)) {
            // Who only adds has no more than the pages that it kept.
            (Err(Error::Closed { .. }), _) | (_, Err(Error::Closed { .. })) => false,
            (one, other) => one? == other?,
        };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A cache that can not be written costs time, nothing else.
fn passing(error: crate::index::Error) -> Result<(), crate::index::Error> {
    if error.is_passing() { Ok(()) } else { Err(error) }
}

/// Whether a source is there, so that a mistyped path is an error and not an empty backup.
pub fn source_problem(path: &[u8]) -> Option<Unread> {
    use std::os::unix::ffi::OsStrExt;
    match std::fs::symlink_metadata(std::ffi::OsStr::from_bytes(path)) {
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Unread::Vanished),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Some(Unread::Permission),
        Err(_) => Some(Unread::Other),
    }
}
