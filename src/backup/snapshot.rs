//! The snapshot itself: what it says of the run, and its commit.

use std::sync::atomic::Ordering;

use super::run::Run;
use super::{Options, passing};
use crate::model::{Id, Id16, Snapshot, Summary, Time};
use crate::repository::session::Session;
use crate::repository::snapshots::Snapshots;
use crate::repository::store::Store;
use crate::repository::{Error, Repository};

/// Puts the snapshot into this client's chain and commits it.
pub(super) fn commit(
    repository: &Repository,
    session: &Session<'_>,
    snapshot: &mut Snapshot,
    all: &Snapshots,
) -> Result<Id, Error> {
    // Forgotten ones are links of the chain like others, and so are those that are gone.
    let there = all.saved().map(|named| (named.snapshot.client, named.snapshot.sequence, named.name));
    let gone = all.notes.removed_links().map(|(name, link)| (link.client, link.sequence, name));
    let newest = there
        .chain(gone)
        .filter(|(client, ..)| *client == snapshot.client)
        .max_by_key(|(_, sequence, _)| *sequence);
    let remembered = repository
        .index
        .fact("sequence")?
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes);
    snapshot.previous = newest.map(|(_, _, name)| name);
    snapshot.sequence = newest.map_or(0, |(_, sequence, _)| sequence).max(remembered).saturating_add(1);
    snapshot.session = session.id;
    // What was found on the way in packs that no index object names is relied on: everyone must find it.
    repository.name_adopted()?;
    snapshot.removals_seen = repository.removals_known();
    let name = session.commit(snapshot)?;
    repository.index.set_fact("sequence", &snapshot.sequence.to_le_bytes()).or_else(passing)?;
    Ok(name)
}

pub(super) fn describe(
    options: &Options,
    run: &Run<'_>,
    store: &Store<'_>,
    root: Id,
    started: Time,
    client: Id16,
) -> Snapshot {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counts = &run.counts;
    let stored = store.stored();
    let mut sources = options.sources.clone();
    sources.sort();
    Snapshot {
        time: options.time.unwrap_or(started),
        time_given: options.time.is_some(),
        utc_offset: options.utc_offset,
        zone: options.zone.clone(),
        root,
        host: options.host.clone(),
        user: options.user.clone(),
        sources,
        tags: options.tags.clone(),
        program: concat!("copal ", env!("CARGO_PKG_VERSION")).to_owned(),
        client,
        incomplete: read(&counts.unreadable) + read(&counts.changed_while_read) > 0,
        options: options.described.clone(),
        summary: Summary {
            files: read(&counts.files),
            directories: read(&counts.directories),
            others: read(&counts.others),
            bytes: read(&counts.bytes),
            files_new: read(&counts.files_new),
            files_changed: read(&counts.files_changed),
            files_unmodified: read(&counts.files_unmodified),
            bytes_new: stored.bytes_new,
            bytes_stored: stored.bytes_stored,
            end: Time::default(),
            unreadable: read(&counts.unreadable),
            changed_while_read: read(&counts.changed_while_read),
        },
        ..Snapshot::default()
    }
}
