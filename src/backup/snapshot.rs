//! The snapshot itself: what it says of the run.

use std::sync::atomic::Ordering;

use super::Options;
use super::run::Run;
use crate::model::{Id, Id16, Snapshot, Summary, Time};
use crate::repository::store::Store;

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
    Snapshot {
        time: options.time.unwrap_or(started),
        time_given: options.time.is_some(),
        utc_offset: options.utc_offset,
        zone: options.zone.clone(),
        root,
        host: options.host.clone(),
        user: options.user.clone(),
        sources: options.all_sources(),
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
