//! Chunks with the numbers of those who name them, kept until it is known what rank each of these has.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::runs::{ENTRY, WRITE_ENTRIES, changed, decode, encode, nameless, sum_on, trouble};
use super::usage::{Gather, Used, UsedChunk};
use crate::model::{Contents, Id};

/// Chunks as they came, in a temporary file without a name: 20 bytes each.
pub struct References {
    folder: PathBuf,
    file: File,
    buffer: Vec<u8>,
    end: u64,
    sum: u64,
}

impl References {
    /// Begins; the temporary file lies in `folder`, without one in the system's folder for these.
    pub fn new(folder: Option<&Path>) -> Result<References, Error> {
        let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
        let file = nameless(&folder).map_err(|error| trouble(&folder, &error))?;
        Ok(References { folder, file, buffer: Vec::new(), end: 0, sum: 0 })
    }

    /// Adds a chunk that the one of that number names; numbers are below 2^31.
    pub fn add(&mut self, contents: Contents, id: &Id, by: u32) -> Result<(), Error> {
        let chunk = UsedChunk { rank: by, ..UsedChunk::of(contents, id) };
        encode(&chunk, &mut self.buffer);
        self.sum = sum_on(self.sum, &chunk);
        if self.buffer.len() >= WRITE_ENTRIES * ENTRY { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Error> {
        let written = self.file.write_all_at(&self.buffer, self.end);
        written.map_err(|error| trouble(&self.folder, &error))?;
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// All chunks, each with the lowest rank of those who name it: `ranks` has them by number. None that has none.
    pub fn used(mut self, ranks: &[u32]) -> Result<Used, Error> {
        self.write()?;
        let mut gather = Gather::new(Some(&self.folder))?;
        let (mut at, mut sum) = (0, 0);
        while at < self.end {
            let length = (self.end - at).min((WRITE_ENTRIES * ENTRY) as u64);
            self.buffer.resize(length as usize, 0);
            let read = self.file.read_exact_at(&mut self.buffer, at);
            read.map_err(|error| trouble(&self.folder, &error))?;
            for entry in self.buffer.as_chunks::<ENTRY>().0 {
                let chunk = decode(entry).ok_or_else(|| changed(&self.folder))?;
                sum = sum_on(sum, &chunk);
                let rank = *ranks.get(chunk.rank as usize).ok_or_else(|| changed(&self.folder))?;
                gather.add_ranked(UsedChunk { rank, ..chunk })?;
            }
            at += length;
        }
        if sum != self.sum {
            return Err(changed(&self.folder));
        }
        gather.finish()
    }
}
