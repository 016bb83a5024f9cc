//! The names in a directory: read in large pieces, sorted bytewise, kept in one piece of memory.

use rustix::fd::BorrowedFd;
use rustix::fs::{RawDir, SeekFrom};
use rustix::io::Errno;

use super::{Result, stat};
use crate::model::NodeType;

/// Bytes asked of the system at once: a directory of a few thousand names in one call, and no stack or cache strain.
const BUFFER: usize = 64 << 10;

/// One name of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    pub bytes: &'a [u8],
    /// What the directory says the entry is; not every file system does.
    pub kind: Option<NodeType>,
}

/// All names of a directory, ascending bytewise, each once; 8 bytes and the name itself for each.
#[derive(Clone, Debug, Default)]
pub struct Names {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u32,
    length: u16,
    kind: Option<NodeType>,
}

impl Names {
    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The name at that place in order.
    pub fn get(&self, index: usize) -> Option<Name<'_>> {
        self.entries.get(index).map(|entry| Name { bytes: bytes(&self.arena, entry), kind: entry.kind })
    }

    /// Names that are in order already, of entries of unknown type.
    pub fn from_sorted<'a>(names: impl IntoIterator<Item = &'a Vec<u8>>) -> Result<Names> {
        let mut all = Names::default();
        for name in names {
            all.push(name, None)?;
        }
        Ok(all)
    }

    /// The bytes of the name at that place; empty past the end.
    pub fn bytes(&self, index: usize) -> &[u8] {
        self.get(index).map_or(&[], |name| name.bytes)
    }

    /// Whether a name is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.position(name).is_some()
    }

    /// The names in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Name<'_>> + ExactSizeIterator {
        self.entries.iter().map(|entry| Name { bytes: bytes(&self.arena, entry), kind: entry.kind })
    }

    /// The place of a name, when it is there.
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|entry| bytes(&self.arena, entry).cmp(name)).ok()
    }

    fn push(&mut self, name: &[u8], kind: Option<NodeType>) -> Result<()> {
        let offset = u32::try_from(self.arena.len()).map_err(|_| Errno::OVERFLOW)?;
        let length = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        self.arena.extend_from_slice(name);
        self.entries.push(Entry { offset, length, kind });
        Ok(())
    }

    /// Sorts, by the eight bytes after what all names have in common first: a million names mostly without touching them.
    fn sort(&mut self) {
        let arena = &self.arena;
        let common = self.common_prefix();
        let mut keyed: Vec<(u64, Entry)> =
            self.entries.iter().map(|entry| (key(&bytes(arena, entry)[common..]), *entry)).collect();
        keyed.sort_unstable_by(|(a_key, a), (b_key, b)| {
            a_key.cmp(b_key).then_with(|| bytes(arena, a).cmp(bytes(arena, b)))
        });
        // A file system that lists a name twice while it is changed must not make two entries of it.
        keyed.dedup_by(|(a_key, a), (b_key, b)| a_key == b_key && bytes(arena, a) == bytes(arena, b));
        self.entries.clear();
        self.entries.extend(keyed.into_iter().map(|(_, entry)| entry));
    }

    fn common_prefix(&self) -> usize {
        let Some(first) = self.entries.first().map(|entry| bytes(&self.arena, entry)) else { return 0 };
        self.entries.iter().fold(first.len(), |common, entry| {
            first[..common].iter().zip(bytes(&self.arena, entry)).take_while(|(a, b)| a == b).count()
        })
    }
}

/// The first eight bytes as a number of the same order (names hold no NUL, so padding is below any byte).
fn key(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = name.len().min(8);
    bytes[..length].copy_from_slice(&name[..length]);
    u64::from_be_bytes(bytes)
}

fn bytes<'a>(arena: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.offset as usize;
    &arena[start..start + usize::from(entry.length)]
}

/// The names in a directory, from its beginning wherever the handle stood, `.` and `..` left out.
/// An error in the middle is an error for the whole: a part must not pass for everything.
pub fn names(dir: BorrowedFd<'_>) -> Result<Names> {
    rustix::fs::seek(dir, SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut listing = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut found = Names::default();
    while let Some(entry) = listing.next() {
        let entry = match entry {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push(name, stat::kind(entry.file_type()))?;
        }
    }
    found.arena.shrink_to_fit();
    found.sort();
    Ok(found)
}
