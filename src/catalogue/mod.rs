//! The catalogue of paths: every version of every path, answered from one local file whatever the number of snapshots.
//!
//! Filled by going through snapshots in the order of their times and reading only the folders whose trees differ from those of the
//! snapshot before. Wherever it can not be had, `history` walks the snapshots themselves and gives the same answers.

mod below;
mod fill;
mod find;
mod history;
mod telling;
mod timeline;
mod walk;

use std::sync::atomic::{AtomicBool, Ordering};

pub use below::{below, is_held};
pub use fill::{Filled, Filling, fill, keep_up};
pub use find::{Match, Wanted, ending, find};
pub use history::{History, Version, history};
pub use telling::Telling;
pub use timeline::Timelines;
pub use walk::history_by_walking;

use crate::index::catalogue::Facts;
use crate::model::{Content, Id, Node, SegmentKind};
use crate::repository::{Error, Repository};

/// Ends with `Stopped` when that is wanted.
fn check_stop(stop: &AtomicBool) -> Result<(), Error> {
    if stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
}

/// The first 8 bytes of a hash, as a number that SQLite keeps.
fn short(hash: blake3::Hash) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// What tells versions of the entry at a path below a tree apart; none when there is no such entry.
pub fn facts_of(repository: &Repository, root: Id, names: &[&[u8]]) -> Result<Option<Facts>, Error> {
    let Some((last, above)) = names.split_last() else { return Ok(None) };
    let tree = match above {
        [] => Some(root),
        above => repository.find_node(root, above)?.and_then(|node| node.tree),
    };
    let Some(tree) = tree else { return Ok(None) };
    Ok(repository.find_encoded(tree, last)?.map(|(node, encoded)| facts(&node, &encoded)))
}

/// What stands for the contents of an entry, as in `Facts`.
pub fn content_of(node: &Node) -> i64 {
    let mut contents = blake3::Hasher::new();
    contents.update(&[node.kind as u8]);
    match &node.content {
        Content::Page(Id(id)) => {
            contents.update(b"page").update(id);
        }
        Content::Inline(segments) => {
            for segment in segments {
                contents.update(&segment.length.to_le_bytes());
                match segment.kind {
                    SegmentKind::Data(Id(id)) => contents.update(b"data").update(&id),
                    SegmentKind::Hole => contents.update(b"hole"),
                    SegmentKind::Gap => contents.update(b"gap"),
                };
            }
        }
    }
    contents.update(&node.target).update(&node.device.0.to_le_bytes()).update(&node.device.1.to_le_bytes());
    short(contents.finalize())
}

/// What tells versions of an entry apart; `encoded` is the node as it is stored.
fn facts(node: &Node, encoded: &[u8]) -> Facts {
    Facts {
        kind: node.kind,
        size: node.size,
        mtime: node.mtime,
        content: content_of(node),
        node: short(blake3::hash(encoded)),
    }
}
