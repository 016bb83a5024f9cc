//! Sorted runs of chunks in a temporary file without a name, and their merging: a list that memory need not hold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::{File, OpenOptions, remove_file};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Error;
use super::usage::UsedChunk;
use crate::model::{Contents, Id16};

/// Bytes of a chunk in the file.
pub(super) const ENTRY: usize = 20;
/// Chunks fetched at a time from each run: 160 KiB.
const READ_ENTRIES: usize = 8192;
/// Chunks written at a time: 1.25 MiB.
pub(super) const WRITE_ENTRIES: usize = 65_536;
/// Spreads what a sum is made of.
const SUM_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Chunks in order, each once (or once with each rank), one after the other in the file.
struct Run {
    start: u64,
    count: u64,
    sum: u64,
}

/// A temporary file of runs. Nobody else can open it, and it goes with its handle.
pub(super) struct Runs {
    file: File,
    folder: PathBuf,
    end: u64,
    runs: Vec<Run>,
    /// A chunk with several ranks stands there with each of them.
    every_rank: bool,
}

/// Goes on with a sum over the chunks of a run, in which no single changed chunk goes unnoticed.
pub(super) fn sum_on(sum: u64, chunk: &UsedChunk) -> u64 {
    let rest = u64::from(kind_and_rank(chunk));
    let chunk = chunk.key as u64 ^ (chunk.confirm as u64).rotate_left(32) ^ rest;
    sum.wrapping_mul(SUM_FACTOR).wrapping_add(chunk)
}

fn kind_and_rank(chunk: &UsedChunk) -> u32 {
    (chunk.rank << 1) | chunk.contents as u32
}

pub(super) fn encode(chunk: &UsedChunk, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&chunk.key.to_le_bytes());
    bytes.extend_from_slice(&chunk.confirm.to_le_bytes());
    bytes.extend_from_slice(&kind_and_rank(chunk).to_le_bytes());
}

pub(super) fn decode(bytes: &[u8; ENTRY]) -> Option<UsedChunk> {
    let (halves, rest) = bytes.as_chunks::<8>();
    let [key, confirm] = halves else { return None };
    let rest = u32::from_le_bytes(rest.try_into().ok()?);
    let contents = Contents::from_number(u64::from(rest & 1))?;
    let (key, confirm) = (i64::from_le_bytes(*key), i64::from_le_bytes(*confirm));
    Some(UsedChunk { key, confirm, contents, rank: rest >> 1 })
}

/// What went wrong with the file, in words.
pub(super) fn trouble(folder: &Path, error: &std::io::Error) -> Error {
    Error::Io(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("no room for the list of used chunks in {}", folder.display())
        }
        _ => format!("the list of used chunks in {}: {error}", folder.display()),
    })
}

/// What was written is not what comes back.
pub(super) fn changed(folder: &Path) -> Error {
    let folder = folder.display();
    Error::Io(format!("the list of used chunks in {folder} does not read back as it was written"))
}

/// A new file without a name, for nobody but us.
pub(super) fn nameless(folder: &Path) -> Result<File, std::io::Error> {
    let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // Not every file system can.
        Err(_) => unlinked(folder),
    }
}

/// The same where a file must have a name first.
pub(super) fn unlinked(folder: &Path) -> Result<File, std::io::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let path = folder.join(format!("copal-used-{}", Id16(random)));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    remove_file(&path)?;
    Ok(file)
}

impl Runs {
    /// An empty file in that folder.
    pub(super) fn new(folder: &Path, every_rank: bool) -> Result<Runs, Error> {
        let file = nameless(folder).map_err(|error| trouble(folder, &error))?;
        Ok(Runs { file, folder: folder.to_path_buf(), end: 0, runs: Vec::new(), every_rank })
    }

    /// Number of runs.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Number of chunks in the first run.
    pub(super) fn first_count(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.count)
    }

    /// Writes chunks that come in order as a run; of equal ones only the first.
    pub(super) fn write(
        &mut self,
        chunks: impl IntoIterator<Item = Result<UsedChunk, Error>>,
    ) -> Result<(), Error> {
        let mut run = Run { start: self.end, count: 0, sum: 0 };
        let mut bytes = Vec::with_capacity(WRITE_ENTRIES * ENTRY);
        let mut last: Option<UsedChunk> = None;
        for chunk in chunks {
            let chunk = chunk?;
            if last.replace(chunk).is_some_and(|last| chunk.is_same(&last, self.every_rank)) {
                continue;
            }
            encode(&chunk, &mut bytes);
            (run.count, run.sum) = (run.count + 1, sum_on(run.sum, &chunk));
            if bytes.len() >= WRITE_ENTRIES * ENTRY {
                self.append(&mut bytes)?;
            }
        }
        self.append(&mut bytes)?;
        self.runs.push(run);
        Ok(())
    }

    fn append(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        self.file.write_all_at(bytes, self.end).map_err(|error| trouble(&self.folder, &error))?;
        self.end += bytes.len() as u64;
        bytes.clear();
        Ok(())
    }

    /// The chunks of the first run.
    pub(super) fn first(&self) -> Reading<'_> {
        match self.runs.first() {
            Some(run) => self.read(run),
            None => self.read(&Run { start: 0, count: 0, sum: 0 }),
        }
    }

    fn read(&self, run: &Run) -> Reading<'_> {
        Reading {
            runs: self,
            at: run.start,
            left: run.count,
            wanted: run.sum,
            sum: 0,
            last: None,
            buffer: Vec::new(),
            next: 0,
        }
    }

    /// A new file whose only run has the chunks of all of these.
    pub(super) fn merged(&self) -> Result<Runs, Error> {
        let mut into = Runs::new(&self.folder, self.every_rank)?;
        let mut runs: Vec<Reading<'_>> = self.runs.iter().map(|run| self.read(run)).collect();
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            if let Some(first) = run.next().transpose()? {
                heads.push(Reverse((first, number)));
            }
        }
        into.write(std::iter::from_fn(|| {
            let mut head = heads.peek_mut()?;
            let Reverse((chunk, number)) = *head;
            match runs[number].next() {
                Some(Ok(next)) => *head = Reverse((next, number)),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    PeekMut::pop(head);
                }
            }
            Some(Ok(chunk))
        }))?;
        Ok(into)
    }

    /// The handle, for tests.
    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// The chunks of a run, in order. What does not come back as it was written is an error, told with the last chunk at the latest.
pub(super) struct Reading<'r> {
    runs: &'r Runs,
    at: u64,
    /// Chunks that are not told yet.
    left: u64,
    wanted: u64,
    sum: u64,
    last: Option<UsedChunk>,
    buffer: Vec<u8>,
    next: usize,
}

impl Reading<'_> {
    fn fill(&mut self) -> Result<(), Error> {
        let count = self.left.min(READ_ENTRIES as u64) as usize;
        self.buffer.resize(count * ENTRY, 0);
        let read = self.runs.file.read_exact_at(&mut self.buffer, self.at);
        read.map_err(|error| trouble(&self.runs.folder, &error))?;
        self.at += self.buffer.len() as u64;
        self.next = 0;
        Ok(())
    }

    fn chunk(&mut self) -> Result<UsedChunk, Error> {
        if self.next == self.buffer.len() {
            self.fill()?;
        }
        let chunk = self.buffer[self.next..].first_chunk().and_then(decode);
        let chunk = chunk.filter(|chunk| {
            self.last.is_none_or(|last| last < *chunk && !last.is_same(chunk, self.runs.every_rank))
        });
        let chunk = chunk.ok_or_else(|| self.changed())?;
        self.next += ENTRY;
        self.left -= 1;
        self.last = Some(chunk);
        self.sum = sum_on(self.sum, &chunk);
        if self.left == 0 && self.sum != self.wanted {
            return Err(self.changed());
        }
        Ok(chunk)
    }

    fn changed(&self) -> Error {
        changed(&self.runs.folder)
    }
}

impl Iterator for Reading<'_> {
    type Item = Result<UsedChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let chunk = self.chunk();
        if chunk.is_err() {
            self.left = 0;
        }
        Some(chunk)
    }
}
