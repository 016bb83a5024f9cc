//! A restored file against what was stored, and against the source: read again and hashed, by nothing that wrote it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::files;
use crate::format::limits::{CHUNK_MAX, FLAGS_KEPT};
use crate::model::{Contents, Id, Node, Segment, SegmentKind, XattrValue};
use crate::repository::{Error, Repository};

/// Bytes read at a time where no chunk says how many.
const STEP: usize = 64 << 10;

/// What a comparison of contents found; nothing where all is right.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is wrong with the restored file.
    pub stored: Option<String>,
    /// From which byte on the source holds something else.
    pub source: Option<u64>,
    /// Part of it was lost before, as a repair marked it.
    pub is_marked: bool,
}

/// Compares contents. Errors: of the repository as a whole, and of reading the source.
pub fn content(
    repository: &Repository,
    node: &Node,
    restored: OwnedFd,
    source: Option<OwnedFd>,
) -> Result<Found, Error> {
    let id = |bytes: &[u8]| repository.hasher().id(Contents::Data, bytes);
    let mut pair = Pair::new(restored, source);
    let listed = repository.segments(&node.content, node.size, &mut |segment| {
        pair.segment(&segment, &id);
        Ok(())
    });
    match listed {
        Ok(()) => {}
        Err(error) if error.is_damage() => pair.wrong(format!("what it is made of can not be read: {error}")),
        Err(error) => return Err(error),
    }
    let length = files::stat_fd(pair.restored.file.as_fd()).map(|stat| stat.size);
    if length != Ok(node.size) {
        pair.wrong(format!("it has {} bytes and was stored with {}", length.unwrap_or(0), node.size));
    }
    Ok(pair.found)
}

/// Two files that should hold the same.
struct Pair {
    restored: Reader,
    source: Option<Reader>,
    offset: u64,
    found: Found,
}

impl Pair {
    fn new(restored: OwnedFd, source: Option<OwnedFd>) -> Pair {
        Pair {
            restored: Reader::new(restored),
            source: source.map(Reader::new),
            offset: 0,
            found: Found::default(),
        }
    }

    fn wrong(&mut self, what: String) {
        self.found.stored.get_or_insert(what);
    }

    fn segment(&mut self, segment: &Segment, id: &dyn Fn(&[u8]) -> Id) {
        let (offset, length) = (self.offset, segment.length);
        self.offset = offset.saturating_add(length);
        match segment.kind {
            SegmentKind::Gap => self.found.is_marked = true,
            SegmentKind::Data(_) if length > CHUNK_MAX as u64 => {
                self.wrong(format!("from byte {offset} on it was stored in a piece that is too long"));
            }
            SegmentKind::Data(wanted) => {
                let length = length as usize;
                let is_right = |bytes: files::Result<&[u8]>| {
                    bytes.is_ok_and(|bytes| bytes.len() == length && id(bytes) == wanted)
                };
                if !is_right(self.restored.read(offset, length)) {
                    self.wrong(format!("from byte {offset} on it is not what was stored"));
                }
                let Some(source) = &mut self.source else { return };
                // Byte by byte where what came back is right; by what was stored where not.
                let is_same = match (source.read(offset, length), &self.found.stored) {
                    (Ok(bytes), None) => bytes == self.restored.bytes(),
                    (bytes, _) => is_right(bytes),
                };
                if !is_same {
                    self.found.source.get_or_insert(offset);
                }
            }
            SegmentKind::Hole => {
                if !self.restored.is_zero(offset, self.offset) {
                    self.wrong(format!("from byte {offset} on it is not the hole that was stored"));
                }
                if self.source.as_mut().is_some_and(|source| !source.is_zero(offset, self.offset)) {
                    self.found.source.get_or_insert(offset);
                }
            }
        }
    }
}

struct Reader {
    file: OwnedFd,
    buffer: Vec<u8>,
    filled: usize,
}

impl Reader {
    fn new(file: OwnedFd) -> Reader {
        Reader { file, buffer: Vec::new(), filled: 0 }
    }

    /// What was read last.
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Reads as many bytes; fewer at the end of the file.
    fn read(&mut self, offset: u64, length: usize) -> files::Result<&[u8]> {
        self.filled = 0;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        while self.filled < length {
            let at = offset + self.filled as u64;
            match rustix::io::pread(&self.file, &mut self.buffer[self.filled..length], at) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.bytes())
    }

    /// Whether the file is all zeros there, and is as long.
    fn is_zero(&mut self, mut at: u64, end: u64) -> bool {
        if files::stat_fd(self.file.as_fd()).is_ok_and(|stat| stat.size < end) {
            return false;
        }
        while at < end {
            at = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data,
                // Nothing but a hole from here on.
                Err(Errno::NXIO) => return true,
                // No holes on this file system.
                Err(_) => at,
            };
            if at >= end {
                break;
            }
            let part = (end - at).min(STEP as u64) as usize;
            match self.read(at, part) {
                Ok(bytes) if bytes.len() == part && bytes.iter().all(|byte| *byte == 0) => at += part as u64,
                _ => return false,
            }
        }
        true
    }
}

/// What of a restored file's metadata is not as stored; nothing where all is. Not asked of what the system did not take.
pub fn metadata(repository: &Repository, node: &Node, restored: &OwnedFd) -> Result<Option<String>, Error> {
    let Ok(stat) = files::stat_fd(restored.as_fd()) else {
        return Ok(Some("it can not be looked at".to_owned()));
    };
    let mut wrong = Vec::new();
    let mut expect = |is_right: bool, what: &str| {
        if !is_right {
            wrong.push(what.to_owned());
        }
    };
    expect(stat.kind == node.kind, "type");
    expect(stat.mode == node.mode, "mode");
    expect((stat.uid, stat.gid) == (node.uid, node.gid), "owner");
    expect(stat.mtime == node.mtime, "time");
    if let Ok(flags) = files::inode_flags(restored.as_fd()) {
        // A folder hands some down.
        expect(flags & FLAGS_KEPT & node.flags == node.flags, "flags");
    }
    if let Ok(there) = files::xattrs_fd(restored.as_fd()) {
        for xattr in &node.xattrs {
            let value = match &xattr.value {
                XattrValue::Inline(value) => value.clone(),
                XattrValue::Chunk(id, _) => match repository.read_chunk(Contents::Data, id) {
                    Ok(value) => value.to_vec(),
                    Err(error) if error.is_damage() => {
                        return Ok(Some(format!("an attribute is lost: {error}")));
                    }
                    Err(error) => return Err(error),
                },
            };
            let is_there = there.values.iter().any(|(name, found)| *name == xattr.name && *found == value);
            expect(is_there, &format!("attribute {}", String::from_utf8_lossy(&xattr.name)));
        }
    }
    Ok((!wrong.is_empty()).then(|| format!("not as stored: {}", wrong.join(", "))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn id(bytes: &[u8]) -> Id {
        Id(*blake3::hash(bytes).as_bytes())
    }

    fn file(folder: &Path, name: &str, bytes: &[u8]) -> OwnedFd {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::File::open(path).unwrap().into()
    }

    /// Two chunks with a hole between, restored and at the source as given.
    fn compare(restored: &[u8], source: &[u8]) -> Found {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let segments = [
            (SegmentKind::Data(id(b"first chunk")), 11),
            (SegmentKind::Hole, 100_000),
            (SegmentKind::Data(id(b"second")), 6),
        ];
        let mut pair =
            Pair::new(file(folder.path(), "one", restored), Some(file(folder.path(), "other", source)));
        for (kind, length) in segments {
            pair.segment(&Segment { kind, length }, &id);
        }
        pair.found
    }

    #[test]
    fn each_side_is_told_by_where_it_differs() {
        let right = [&b"first chunk"[..], &[0; 100_000], b"second"].concat();
        let changed = |at: usize| {
            let mut bytes = right.clone();
            bytes[at] ^= 1;
            bytes
        };
        assert_eq!(compare(&right, &right), Found::default());
        for (at, from) in
            [(3, 0), (11, 11), (70_000, 11), (100_010, 11), (100_011, 100_011), (100_016, 100_011)]
        {
            assert_eq!(
                compare(&right, &changed(at)),
                Found { source: Some(from), ..Found::default() },
                "{at}"
            );
            let found = compare(&changed(at), &right);
            assert!(
                found.stored.is_some_and(|what| what.starts_with(&format!("from byte {from} on"))),
                "{at}"
            );
            assert_eq!(found.source, None, "{at}");
            // Both in the same way: what was stored is what counts.
            let found = compare(&changed(at), &changed(at));
            assert!(found.stored.is_some() && found.source == Some(from), "{at}");
        }
        for short in [0, 5, 11, 50_000, 100_012] {
            let found = compare(&right[..short], &right[..short]);
            assert!(found.stored.is_some() && found.source.is_some(), "{short}");
        }
    }
}
