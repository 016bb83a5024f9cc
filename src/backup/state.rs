//! The change cache as part of a snapshot: a lost cache costs a download, not a re-read. docs/format.md, section 8.

use super::chunk::Chunker;
use crate::format::record::{Cursor, put_varint};
use crate::index::DirectoryRow;
use crate::model::{Contents, Cutter, Id, Id16, Segment, SegmentKind, Snapshot};
use crate::repository::{Error, Repository, store::Store};

/// Rows are cut fine, so that a few changed directories store little.
const AVERAGE: u32 = 64 << 10;
/// Bytes of rows collected before they are cut.
const COLLECT: usize = 4 << 20;
/// Rows entered at once.
const BATCH: usize = 4096;
/// Longest side part that is believed.
const SIDE_MAX: usize = 256 << 20;

/// Appends a row as it stands in a snapshot's state.
pub fn put_row(out: &mut Vec<u8>, row: &DirectoryRow) {
    out.extend_from_slice(&row.key.0);
    out.extend_from_slice(&row.tree.0);
    out.extend_from_slice(&row.digest);
    out.extend_from_slice(&row.inode.to_le_bytes());
    put_varint(out, row.side.len() as u64);
    out.extend_from_slice(&row.side);
}

/// Takes one row from the front of `bytes`; none, and nothing is taken, when it is not there whole.
pub fn take_row(bytes: &mut &[u8]) -> Option<DirectoryRow> {
    let mut cursor = Cursor(bytes);
    let key = Id16(cursor.array().ok()?);
    let tree = Id(cursor.array().ok()?);
    let digest = cursor.array().ok()?;
    let inode = u64::from_le_bytes(cursor.array().ok()?);
    let length = cursor.length().ok()?;
    let side = cursor.take(length).ok()?.to_vec();
    *bytes = cursor.0;
    Some(DirectoryRow { key, tree, digest, inode, side })
}

/// Stores the rows of a source and gives the segments that name them.
pub fn save(repository: &Repository, store: &Store<'_>, source: &Id16) -> Result<Vec<Segment>, Error> {
    let chunker = Chunker::new(repository.gear_table(), Cutter::gear(AVERAGE));
    let mut segments = Vec::new();
    let mut bytes = Vec::new();
    let mut after = None;
    loop {
        let mut ended = true;
        repository.index.each_directory(source, after, &mut |row| {
            after = Some(row.key);
            put_row(&mut bytes, &row);
            ended = bytes.len() < COLLECT;
            ended
        })?;
        let mut start = 0;
        while start < bytes.len() && (ended || bytes.len() - start >= chunker.maximum()) {
            let length = chunker.cut(&bytes[start..]);
            let (id, _) = store.save(0, Contents::Data, &bytes[start..start + length])?;
            segments.push(Segment { kind: SegmentKind::Data(id), length: length as u64 });
            start += length;
        }
        bytes.drain(..start);
        if ended {
            return Ok(segments);
        }
    }
}

/// Enters the rows that a snapshot carries, when the cache has none of its own; whether it did.
pub fn load(repository: &Repository, source: &Id16, snapshot: &Snapshot) -> Result<bool, Error> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut rows = Vec::new();
    for segment in &snapshot.state {
        let SegmentKind::Data(id) = segment.kind else { return Ok(false) };
        // Damage here costs reading, not the backup.
        let Ok(chunk) = repository.read_chunk(Contents::Data, &id) else { return Ok(false) };
        bytes.extend_from_slice(&chunk);
        let mut rest = &bytes[..];
        while let Some(row) = take_row(&mut rest) {
            rows.push(row);
        }
        let left = rest.len();
        bytes.drain(..bytes.len() - left);
        if bytes.len() > SIDE_MAX {
            return Ok(false);
        }
        if rows.len() >= BATCH {
            repository.index.save_directories(source, &rows).or_else(super::passing)?;
            rows.clear();
        }
    }
    repository.index.save_directories(source, &rows).or_else(super::passing)?;
    Ok(!snapshot.state.is_empty())
}
