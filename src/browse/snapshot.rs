//! A snapshot as a line of the screen.

use super::message::Path;
use crate::model::Time;
use crate::repository::snapshots::Named;
use crate::terminal::escape::escape;
use crate::terminal::size::show_size;
use crate::terminal::time;

/// What is shown of a snapshot; texts are printable.
#[derive(Clone, Debug)]
pub struct SnapshotRow {
    /// The beginning of its id.
    pub id: String,
    pub time: Time,
    pub host: String,
    pub tags: String,
    /// Bytes of all its files.
    pub size: u64,
    pub paths: String,
    pub sources: Vec<Vec<u8>>,
    /// Something could not be read when it was made.
    pub is_incomplete: bool,
}

impl SnapshotRow {
    pub fn new(named: &Named) -> SnapshotRow {
        let snapshot = &named.snapshot;
        let paths: Vec<String> = snapshot.sources.iter().map(|source| escape(source).into_owned()).collect();
        SnapshotRow {
            id: named.name.short(),
            time: snapshot.time,
            host: escape(&snapshot.host).into_owned(),
            tags: escape(named.standing.tags.join(",").as_bytes()).into_owned(),
            size: snapshot.summary.bytes,
            paths: paths.join(", "),
            sources: snapshot.sources.clone(),
            is_incomplete: snapshot.incomplete,
        }
    }

    /// What the filter looks at.
    pub fn line(&self) -> String {
        let SnapshotRow { id, time, host, tags, size, paths, .. } = self;
        format!("{id} {} {host} {tags} {} {paths}", time::show(*time), show_size(*size))
    }

    /// The folder that is shown first: what was backed up, not the way there.
    pub fn begins_at(&self) -> Path {
        match &self.sources[..] {
            [source] => source
                .split(|byte| *byte == b'/')
                .filter(|name| !name.is_empty())
                .map(<[u8]>::to_vec)
                .collect(),
            _ => Path::new(),
        }
    }
}
