//! Contents: files and their segments come in, windows of bounded size go out. In a window every block is fetched and opened once,
//! and its chunks are written wherever they belong, by all cores.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use super::Run;
use super::output::{Job, Output};
use crate::files;
use crate::format::limits::BLOCK_TARGET;
use crate::index::Location;
use crate::locks::lock;
use crate::model::{Contents, Id, Segment, SegmentKind};
use crate::repository::Error;

/// Of the memory of a run, half is for what the threads have in hand: what was fetched, and the block that is opened, sealed and plain.
const THREADS_SHARE: u64 = 2;
/// What is known of pieces and files takes an eighth in each of two windows: one is filled while the other is written.
const WINDOW_SHARE: u64 = 8;
/// Plain bytes in a window, as a share of the memory: they pass through, and are what the system has to write at once.
const BYTES_SHARE: u64 = 2;
/// What a window holds open, as a share of the descriptors that a process may have: files of several pieces, from the first to the last,
/// and the folders of all. A file of one piece is open only while it is written. With two windows that is half of them.
const DESCRIPTOR_SHARE: u64 = 4;
const DESCRIPTORS_MOST: u64 = 16 << 10;
/// Bytes that are fetched at once, at most.
const FETCH: u64 = 4 << 20;
/// Bytes between two wanted blocks that are fetched along, rather than asking twice.
const GAP: u64 = 256 << 10;

/// A chunk that belongs into a file.
struct Piece {
    file: Arc<Output>,
    offset: u64,
    id: Id,
    location: Location,
}

/// What windows and threads may take of a run's memory.
pub struct Bounds {
    /// Plain bytes in a window.
    bytes: u64,
    /// Bytes that a window itself takes.
    held: u64,
    /// What it holds open.
    descriptors: u64,
    /// Bytes that one thread fetches at once.
    fetch: u64,
    /// As many threads as fit, when those are not as many as there are cores.
    pool: Option<rayon::ThreadPool>,
}

impl Bounds {
    /// The bounds for that memory, where chunks are at most `longest` bytes and so are most blocks, and storage is well asked for so many
    /// things at a time.
    pub fn new(memory: u64, longest: u64, requests: usize) -> Bounds {
        let cores = rayon::current_num_threads();
        let (threads, fetch) = threads(memory, longest, cores.max(requests));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        Bounds {
            bytes: memory / BYTES_SHARE,
            held: memory / WINDOW_SHARE,
            descriptors: (files::raise_file_limit() / DESCRIPTOR_SHARE).clamp(1, DESCRIPTORS_MOST),
            fetch,
            // Where no threads can be had, those that there are do it.
            pool: if threads != cores { pool.build().ok() } else { None },
        }
    }
}

/// How many threads fit into that memory, and how much each may fetch at once.
fn threads(memory: u64, longest: u64, cores: usize) -> (usize, u64) {
    let block = longest.max(BLOCK_TARGET as u64);
    let all = memory / THREADS_SHARE;
    let threads = (all / (3 * block)).clamp(1, cores as u64);
    let fetch = (all / threads).saturating_sub(2 * block).clamp(block.min(FETCH), FETCH);
    (threads as usize, fetch)
}

#[derive(Default)]
struct Window {
    pieces: Vec<Piece>,
    /// Files without any piece in it, which only need finishing.
    empty: Vec<Arc<Output>>,
    descriptors: u64,
    /// The folder of the last file: the next one is mostly in it too.
    folder: Option<Arc<OwnedFd>>,
    bytes: u64,
    held: u64,
}

impl Window {
    /// A file that is open until its last piece is written, and its folder.
    fn holds_open(&mut self, folder: &Arc<OwnedFd>) {
        self.descriptors += 1;
        self.holds_folder(folder);
    }

    fn holds_folder(&mut self, folder: &Arc<OwnedFd>) {
        if !self.folder.as_ref().is_some_and(|last| Arc::ptr_eq(last, folder)) {
            self.descriptors += 1;
            self.folder = Some(folder.clone());
        }
    }
}

/// Collects windows and sends them to the thread that writes them.
pub struct Windows<'w, 'r> {
    run: &'w Run<'r>,
    window: Window,
    out: Sender<Window>,
    failure: &'w Mutex<Option<Error>>,
}

/// Runs `work` with windows, and gives its result when everything is written.
pub fn with<'r>(
    run: &Run<'r>,
    work: impl FnOnce(&mut Windows<'_, 'r>) -> Result<(), Error>,
) -> Result<(), Error> {
    let failure = Mutex::new(None);
    let (out, windows_in) = bounded(0);
    let (written, to_sync) = bounded(1);
    let result = std::thread::scope(|scope| {
        let failure = &failure;
        scope.spawn(move || write_windows(run, &windows_in, &written, failure));
        scope.spawn(move || sync_windows(run, &to_sync, failure));
        let mut windows = Windows { run, window: Window::default(), out, failure };
        work(&mut windows)?;
        windows.send()
    });
    match failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(error) => Err(error),
        None => result,
    }
}

fn write_windows(
    run: &Run<'_>,
    windows: &Receiver<Window>,
    written: &Sender<()>,
    failure: &Mutex<Option<Error>>,
) {
    for window in windows {
        if let Err(error) = write_window(run, window) {
            lock(failure).get_or_insert(error);
            return;
        }
        let _ = written.try_send(());
    }
}

/// Brings to the disks what windows wrote while the next ones are written: all of it has to be there in the end, and the disk would be idle
/// until then.
fn sync_windows(run: &Run<'_>, written: &Receiver<()>, failure: &Mutex<Option<Error>>) {
    for () in written {
        // Once: the system tells a failed write to who asks first.
        if let Err(error) = run.sync() {
            lock(failure).get_or_insert(error);
            return;
        }
    }
}

impl<'r> Windows<'_, 'r> {
    fn send(&mut self) -> Result<(), Error> {
        let window = std::mem::take(&mut self.window);
        // The writer is gone when it met an error; that error is told in the end.
        self.out.send(window).map_err(|_| Error::Stopped)
    }

    /// Whether it was sent.
    fn send_when_full(&mut self) -> Result<bool, Error> {
        let (window, bounds) = (&self.window, &self.run.bounds);
        let is_full = window.held >= bounds.held
            || window.bytes >= bounds.bytes
            || window.descriptors >= bounds.descriptors;
        if is_full {
            self.send()?;
        }
        Ok(is_full)
    }

    /// Takes a file in.
    pub fn add(&mut self, job: Job) -> Result<(), Error> {
        if self.failure.lock().is_ok_and(|failure| failure.is_some()) {
            return Err(Error::Stopped);
        }
        let run = self.run;
        self.window.held += job.weight();
        let file = Arc::new(Output::new(job, run.temporary()));
        let mut existing = file.existing(run)?;
        let folder = &file.job.handle;
        self.window.holds_folder(folder);
        if existing.is_some() {
            self.window.holds_open(folder);
        }
        let (mut offset, mut pieces) = (0u64, 0u64);
        let node = &file.job.node;
        let mut each = |segment: Segment| {
            run.check_stop()?;
            if file.has_failed() {
                // Told already: the rest need not be read.
                return Err(Error::Stopped);
            }
            let start = offset;
            offset += segment.length;
            match segment.kind {
                SegmentKind::Data(id) => {
                    if let Some(existing) = &mut existing
                        && existing.holds(run, start, segment.length, &id)
                    {
                        return Ok(());
                    }
                    match run.repository.place(Contents::Data, &id, segment.length)? {
                        Some(location) => {
                            file.expect_piece();
                            pieces += 1;
                            if pieces == 2 && existing.is_none() {
                                self.window.holds_open(folder);
                            }
                            self.window.pieces.push(Piece {
                                file: file.clone(),
                                offset: start,
                                id,
                                location,
                            });
                            self.window.bytes += segment.length;
                            self.window.held += size_of::<Piece>() as u64;
                        }
                        None => file.lost(run, start, segment.length, &format!("no pack holds chunk {id}")),
                    }
                }
                SegmentKind::Hole => {
                    if let Some(existing) = &mut existing {
                        file.cleared(run, existing.clear(start, segment.length))?;
                    }
                }
                SegmentKind::Gap => file.marked(run, start, segment.length),
            }
            if self.send_when_full()? && (pieces > 0 || existing.is_some()) {
                // It stays open, also in the next one.
                self.window.holds_open(folder);
            }
            Ok(())
        };
        match run.repository.segments(&node.content, node.size, &mut each) {
            Ok(()) => {}
            Err(Error::Stopped) if file.has_failed() => {}
            Err(error) if error.is_damage() => {
                file.not_read(run, offset, node.size.saturating_sub(offset), &error);
            }
            Err(error) => return Err(error),
        }
        if pieces > 0 {
            file.release(run)?;
        } else {
            self.window.empty.push(file);
        }
        self.send_when_full()?;
        Ok(())
    }
}

fn write_window(run: &Run<'_>, mut window: Window) -> Result<(), Error> {
    window.pieces.sort_by(|a, b| {
        let key = |piece: &Piece| {
            let Location { pack, block_offset, offset, .. } = &piece.location;
            (pack.row, pack.name, *block_offset, *offset)
        };
        key(a).cmp(&key(b))
    });
    // Runs of pieces whose blocks lie close to each other in one pack.
    let mut groups: Vec<&[Piece]> = Vec::new();
    let mut start = 0;
    for place in 1..=window.pieces.len() {
        let ends = match (window.pieces.get(place), &window.pieces[place - 1], window.pieces.get(start)) {
            (Some(next), last, Some(first)) => {
                let (next, last, first) = (&next.location, &last.location, &first.location);
                // A pack may stand under two rows, when the index was mended meanwhile.
                (next.pack.row, next.pack.name) != (first.pack.row, first.pack.name)
                    || next.block_offset + u64::from(next.block_stored) - first.block_offset
                        > run.bounds.fetch
                    || next.block_offset > last.block_offset + u64::from(last.block_stored) + GAP
            }
            _ => true,
        };
        if ends {
            groups.push(&window.pieces[start..place]);
            start = place;
        }
    }
    let write = || {
        groups.into_par_iter().try_for_each(|pieces| write_group(run, pieces))?;
        window.empty.into_par_iter().try_for_each(|file| file.release(run))
    };
    match &run.bounds.pool {
        Some(pool) => pool.install(write),
        None => write(),
    }
}

fn write_group(run: &Run<'_>, pieces: &[Piece]) -> Result<(), Error> {
    run.check_stop()?;
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
    let (first, last) = (&first.location, &last.location);
    let length = last.block_offset + u64::from(last.block_stored) - first.block_offset;
    let fetched = run.repository.read_pack_range(&first.pack.name, first.block_offset, length as usize);
    for block in pieces.chunk_by(|a, b| a.location.block == b.location.block) {
        let location = &block[0].location;
        let start = (location.block_offset - first.block_offset) as usize;
        let sealed =
            fetched.as_ref().ok().and_then(|bytes| bytes.get(start..)?.get(..location.block_stored as usize));
        let plain = match sealed {
            Some(sealed) => run.repository.open_block(location, sealed.to_vec()),
            // Perhaps only one of several blocks is out of reach, or the index is wrong about where it ends.
            None => run.repository.read_block(location),
        };
        for piece in block {
            write_piece(run, piece, plain.as_ref())?;
            piece.file.release(run)?;
        }
    }
    Ok(())
}

fn write_piece(run: &Run<'_>, piece: &Piece, block: Result<&Vec<u8>, &Error>) -> Result<(), Error> {
    let (start, length) = (piece.location.offset as usize, piece.location.length as usize);
    let plain = block.ok().and_then(|block| block.get(start..start + length));
    if let Some(plain) = plain
        && run.repository.hasher().id(Contents::Data, plain) == piece.id
    {
        return piece.file.write(run, piece.offset, plain);
    }
    // Damaged there; another pack may hold a copy.
    match run.repository.read_chunk(Contents::Data, &piece.id) {
        Ok(chunk) => piece.file.write(run, piece.offset, &chunk),
        Err(error) if error.is_damage() => {
            piece.file.not_read(run, piece.offset, length as u64, &error);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_threads_have_in_hand_fits_into_half_of_the_memory() {
        const MIB: u64 = 1 << 20;
        assert_eq!(threads(256 * MIB, MIB, 2), (2, FETCH));
        assert_eq!(threads(256 * MIB, MIB, 64), (42, MIB + 49_932));
        assert_eq!(threads(64 * MIB, MIB, 64), (10, MIB + MIB / 5));
        assert_eq!(threads(64 * MIB, 4 * MIB, 64), (2, FETCH));
        for memory in [64, 100, 256, 1000, 1 << 14] {
            for longest in [1 << 16, MIB, 4 * MIB, 10 * MIB] {
                for cores in [1, 2, 7, 16, 256] {
                    let (threads, fetch) = threads(memory * MIB, longest, cores);
                    let block = longest.max(MIB);
                    assert!((1..=cores).contains(&threads) && (MIB..=FETCH).contains(&fetch));
                    let taken = threads as u64 * (fetch.max(block) + 2 * block);
                    assert!(taken <= memory * MIB / 2, "{memory} MiB, {longest}, {cores}: {taken}");
                }
            }
        }
    }
}
