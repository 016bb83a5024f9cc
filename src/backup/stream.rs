//! Backing up what comes out of a command or from standard input, as one file.

use std::sync::atomic::AtomicBool;

use super::chunk::Chunker;
use super::file::{Failure, Reader};
use super::touched::Touched;
use super::{Options, Outcome, find_parent};
use crate::format;
use crate::model::clock::Clock;
use crate::model::{Node, NodeType, Snapshot, Summary, Time};
use crate::progress::{Event, Listener};
use crate::repository::session::kept_alive;
use crate::repository::{Error, Repository, build::TreeBuilder, caught};
use crate::repository::{store, writing};

/// A stream and what it is called.
pub struct Stream<'a> {
    /// The stored path's names, from `/` down.
    pub path: Vec<Vec<u8>>,
    pub input: &'a mut dyn std::io::Read,
    /// Asked when the stream has ended: an error means that it is not to be trusted, and no snapshot is kept.
    pub verdict: &'a mut dyn FnMut() -> Result<(), String>,
}

/// Backs up a stream. Errors: as `backup`; `Refused` with the verdict's words.
pub fn backup_stream(
    repository: &Repository,
    options: &Options,
    stream: Stream<'_>,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    caught(|| save_stream(repository, options, stream, clock, listener, stop))
}

fn save_stream(
    repository: &Repository,
    options: &Options,
    stream: Stream<'_>,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let started = clock.now();
    let client = repository.client()?;
    let session =
        writing::begin(repository, clock, client, &options.host, options.dry_run, "backup", listener)?;
    let all = repository.snapshots()?;
    let parent = find_parent(options, repository.writer(), &all.confirmed);
    let how = writing::Options {
        level: options.level,
        uploaders: options.uploaders,
        memory: options.memory,
        dry_run: options.dry_run,
    };
    listener.event(Event::Started);
    let mut work = |store: &store::Store<'_>| {
        let on_bytes = |bytes| listener.event(Event::Bytes(bytes));
        let chunker = Chunker::new(repository.gear_table(), repository.config.cutter);
        let mut reader = Reader::new(store, 0, chunker, &on_bytes, stop);
        let (content, size) = reader.read_stream(stream.input).map_err(|failure| match failure {
            Failure::Storage(error) => error,
            Failure::Source(why) => {
                Error::Refused(format!("the stream ended early: {}; nothing was saved", why.words()))
            }
        })?;
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        (stream.verdict)().map_err(|words| Error::Refused(format!("{words}; no snapshot was made")))?;
        let mut node = Node::new(stream.path.last().map_or(&b"stdin"[..], |name| name), NodeType::File);
        node.mode = 0o600;
        node.mtime = started;
        node.uid = rustix::process::getuid().as_raw();
        node.gid = rustix::process::getgid().as_raw();
        node.content = content;
        node.size = size;
        let mut tree = None;
        for name in stream.path.iter().rev().skip(1).map(Some).chain([None]) {
            let mut builder = TreeBuilder::new(store, 0);
            builder.push(&node.name, format::node::encode(&node))?;
            let id = builder.finish()?;
            tree = Some(id);
            if let Some(name) = name {
                let (uid, gid) = (node.uid, node.gid);
                node = Node::new(name, NodeType::Directory);
                (node.mode, node.uid, node.gid, node.mtime, node.tree) = (0o700, uid, gid, started, Some(id));
            }
        }
        store.checkpoint(|| {})?;
        let stored = store.stored();
        let mut path = Vec::new();
        for name in &stream.path {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        let snapshot = Snapshot {
            time: options.time.unwrap_or(started),
            time_given: options.time.is_some(),
            utc_offset: options.utc_offset,
            zone: options.zone.clone(),
            root: tree.unwrap_or_default(),
            host: options.host.clone(),
            user: options.user.clone(),
            sources: vec![path],
            tags: options.tags.clone(),
            program: concat!("copal ", env!("CARGO_PKG_VERSION")).to_owned(),
            client,
            options: options.described.clone(),
            summary: Summary {
                files: 1,
                bytes: size,
                files_new: 1,
                bytes_new: stored.bytes_new,
                bytes_stored: stored.bytes_stored,
                end: Time::default(),
                ..Summary::default()
            },
            ..Snapshot::default()
        };
        Ok((snapshot, (stored.chunks_healed, stored.bytes_healed)))
    };
    let (mut snapshot, healed) = store::with(repository, how.store(client), clock, |store| {
        kept_alive(session.as_ref(), |error| store.fail(error), || work(store))
    })?;
    snapshot.parent = parent.as_ref().map(|parent| parent.name);
    snapshot.summary.end = clock.now();
    let name = match session {
        Some(session) => Some(repository.commit_next(&session, &mut snapshot, &all)?),
        None => None,
    };
    repository.tell_unsynced(listener);
    listener.event(Event::Finished);
    Ok(Outcome {
        name,
        snapshot,
        parent,
        was_compared: true,
        metadata_unread: 0,
        files_incompressible: 0,
        healed,
        again: Touched::default(),
        left: 0,
    })
}
