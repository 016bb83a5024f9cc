//! Reading one file: its data runs, cut, hashed and stored; its holes kept as holes; and whether it held still meanwhile.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rayon::prelude::*;

use super::chunk::Chunker;
use super::encrypted::{HEAD, looks_encrypted};
use crate::files::{self, FileSystem, Stat};
use crate::model::{Content, Contents, Id, Segment, SegmentKind, Unread};
use crate::repository::{Error, build::ContentBuilder, store::Store};

/// Bytes read at once from a large file, at least.
const READ: usize = 4 << 20;
/// Bytes of chunks from which hashing is worth sharing among cores.
const SHARE_FROM: usize = 1 << 20;

/// What came of reading a file.
pub struct Read {
    pub content: Content,
    /// Bytes, holes included.
    pub size: u64,
    /// The stat after reading differs from the one before.
    pub changed: bool,
    /// It looks encrypted, and the repository did not have all of it.
    pub is_encrypted: bool,
}

/// Why a file was not read: its own fault, or the repository's.
pub enum Failure {
    Source(Unread),
    Storage(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Storage(error)
    }
}

/// A worker's tools for reading files.
pub struct Reader<'s> {
    store: &'s Store<'s>,
    worker: usize,
    chunker: Chunker,
    buffer: Vec<u8>,
    /// The file that is read looks encrypted.
    is_encrypted: bool,
    /// Something of it was not in the repository.
    is_new: bool,
    /// Told how many bytes were read.
    on_bytes: &'s (dyn Fn(u64) + Sync),
    stop: &'s std::sync::atomic::AtomicBool,
}

impl<'s> Reader<'s> {
    pub fn new(
        store: &'s Store<'s>,
        worker: usize,
        chunker: Chunker,
        on_bytes: &'s (dyn Fn(u64) + Sync),
        stop: &'s std::sync::atomic::AtomicBool,
    ) -> Reader<'s> {
        Reader {
            store,
            worker,
            chunker,
            buffer: Vec::new(),
            is_encrypted: false,
            is_new: false,
            on_bytes,
            stop,
        }
    }

    /// Before a file is read, perhaps several times.
    pub fn begin(&mut self) {
        self.is_new = false;
    }

    /// Reads an open regular file that looked like `stat`.
    pub fn read(
        &mut self,
        file: BorrowedFd<'_>,
        stat: &Stat,
        file_system: &FileSystem,
    ) -> Result<Read, Failure> {
        let mut content = ContentBuilder::new(self.store, self.worker);
        let mut size = 0;
        self.is_encrypted = false;
        if stat.size > 0 {
            // Fewer blocks than bytes: there are holes (or the file system compresses, which SEEK_DATA then tells).
            if file_system.trust_holes && stat.blocks.saturating_mul(512) < stat.size {
                for run in files::data_runs(file, stat.size) {
                    if run.is_hole {
                        content.push(Segment { kind: SegmentKind::Hole, length: run.length })?;
                        size = run.offset + run.length;
                        (self.on_bytes)(run.length);
                        continue;
                    }
                    let read = self.run(file, run.offset, run.length, &mut content)?;
                    size = run.offset + read;
                    if read < run.length {
                        break;
                    }
                }
            } else {
                size = self.run(file, 0, stat.size, &mut content)?;
            }
        } else if !file_system.is_made_up() {
            // Where a length is not known before, it is said to be nothing (some remote and FUSE file systems).
            size = self.run(file, 0, u64::MAX, &mut content)?;
        }
        let after = files::stat_fd(file).map_err(|error| Failure::Source(files::unread(error)))?;
        let changed = after.size != stat.size
            || after.mtime != stat.mtime
            || after.ctime != stat.ctime
            || (size != stat.size && stat.size > 0);
        Ok(Read { content: content.finish()?, size, changed, is_encrypted: self.is_encrypted && self.is_new })
    }

    /// Reads, cuts and stores `length` bytes from `offset` on, or fewer when the file ends before; gives the bytes read.
    fn run(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
        content: &mut ContentBuilder<'_>,
    ) -> Result<u64, Failure> {
        let most = READ.max(2 * self.chunker.maximum());
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(most);
        if self.buffer.len() < wanted {
            self.buffer.resize(if wanted > READ / 4 { most } else { wanted.next_power_of_two() }, 0);
        }
        let (mut filled, mut done) = (0usize, 0u64);
        loop {
            let room = self.buffer.len() - filled;
            let left = length - done - filled as u64;
            let ask = usize::try_from(left).unwrap_or(usize::MAX).min(room);
            let read = read_full(file, &mut self.buffer[filled..filled + ask], offset + done + filled as u64)
                .map_err(|error| Failure::Source(files::unread(error)))?;
            (self.on_bytes)(read as u64);
            if offset + done + filled as u64 == 0 {
                self.is_encrypted = looks_encrypted(&self.buffer[..read.min(HEAD)]);
            }
            filled += read;
            let ended = read < ask || done + filled as u64 == length;
            let stored = self.store_front(filled, ended, content)?;
            done += stored as u64;
            filled -= stored;
            if ended {
                return Ok(done);
            }
        }
    }

    /// Cuts and stores what can be cut of the buffer's first `filled` bytes (all, when the data has ended), moves the rest to the front,
    /// and gives the bytes stored.
    fn store_front(
        &mut self,
        filled: usize,
        ended: bool,
        content: &mut ContentBuilder<'_>,
    ) -> Result<usize, Error> {
        if self.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let data = &self.buffer[..filled];
        let (stored, is_new) = store_front(self.store, self.worker, &self.chunker, data, ended, content)?;
        self.is_new |= is_new;
        self.buffer.copy_within(stored..filled, 0);
        Ok(stored)
    }

    /// Stores everything that comes out of a stream until its end; gives content and bytes.
    pub fn read_stream(&mut self, stream: &mut dyn std::io::Read) -> Result<(Content, u64), Failure> {
        let most = READ.max(2 * self.chunker.maximum());
        self.buffer.resize(most, 0);
        let mut content = ContentBuilder::new(self.store, self.worker);
        let (mut filled, mut size, mut ended) = (0, 0, false);
        while !ended {
            while filled < most {
                match stream.read(&mut self.buffer[filled..]) {
                    Ok(0) => {
                        ended = true;
                        break;
                    }
                    Ok(read) => {
                        filled += read;
                        (self.on_bytes)(read as u64);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return Err(Failure::Source(Unread::InputOutput)),
                }
            }
            let stored = self.store_front(filled, ended, &mut content)?;
            size += stored as u64;
            filled -= stored;
        }
        Ok((content.finish()?, size))
    }
}

/// Cuts and stores what can be cut of a file's next bytes: all of them when it has ended, else what no later byte changes. Gives the bytes
/// stored, and whether the repository lacked any.
pub fn store_front(
    store: &Store<'_>,
    worker: usize,
    chunker: &Chunker,
    data: &[u8],
    ended: bool,
    content: &mut ContentBuilder<'_>,
) -> Result<(usize, bool), Error> {
    let mut cuts = Vec::new();
    let mut start = 0;
    while start < data.len() && (ended || data.len() - start >= chunker.maximum()) {
        let cut = chunker.cut(&data[start..]);
        cuts.push(start..start + cut);
        start += cut;
    }
    let hash = |cut: &Range<usize>| store.id(Contents::Data, &data[cut.clone()]);
    let ids: Vec<Id> = if start >= SHARE_FROM && cuts.len() > 1 {
        cuts.par_iter().map(hash).collect()
    } else {
        cuts.iter().map(hash).collect()
    };
    let mut is_new = false;
    for (cut, id) in cuts.into_iter().zip(ids) {
        is_new |= store.save_hashed(worker, Contents::Data, id, &data[cut.clone()])?;
        content.push(Segment { kind: SegmentKind::Data(id), length: cut.len() as u64 })?;
    }
    Ok((start, is_new))
}

/// Fills `buffer` from `offset` on; fewer bytes mean that the file ended.
fn read_full(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, rustix::io::Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file.as_fd(), &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
