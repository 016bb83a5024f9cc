//! The names in a directory, sorted, held compactly: a million of them take some 40 MB.

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::RawDir;

use super::Result;

/// Buffer for reading directory entries, bytes.
const BUFFER: usize = 64 << 10;

/// Names in ascending byte order.
#[derive(Clone, Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    /// Start of each name in `bytes`, and its length.
    places: Vec<(u32, u8)>,
}

impl Names {
    /// Names that are in order already.
    pub fn from_sorted<'a>(names: impl IntoIterator<Item = &'a Vec<u8>>) -> Names {
        let mut all = Names::default();
        for name in names {
            all.push(name);
        }
        all
    }

    fn push(&mut self, name: &[u8]) {
        self.places.push((self.bytes.len() as u32, name.len() as u8));
        self.bytes.extend_from_slice(name);
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The name at that place.
    pub fn get(&self, place: usize) -> &[u8] {
        let (start, length) = self.places[place];
        &self.bytes[start as usize..start as usize + usize::from(length)]
    }

    /// Whether a name is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.places
            .binary_search_by(|(start, length)| {
                self.bytes[*start as usize..*start as usize + usize::from(*length)].cmp(name)
            })
            .is_ok()
    }
}

/// Lists an open directory; `.` and `..` are left out. Errors: `OVERFLOW` past 4 GiB of names.
pub fn names(handle: BorrowedFd<'_>) -> Result<Names> {
    let mut all = Names::default();
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(handle, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || name.is_empty() || name.len() > 255 {
            continue;
        }
        if all.bytes.len() + name.len() > u32::MAX as usize {
            return Err(rustix::io::Errno::OVERFLOW);
        }
        all.push(name);
    }
    let Names { bytes, places } = &mut all;
    let name = |(start, length): &(u32, u8)| &bytes[*start as usize..*start as usize + usize::from(*length)];
    places.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    // A directory changed while it is listed may give a name twice.
    places.dedup_by(|a, b| name(a) == name(b));
    Ok(all)
}
