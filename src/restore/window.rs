//! Contents: files and their segments come in, windows of bounded size go out. In a window every block is fetched and opened once,
//! and its chunks are written wherever they belong, by all cores.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use super::Run;
use crate::files::{self, Target};
use crate::index::Location;
use crate::model::{Contents, Id, Node, SegmentKind};
use crate::progress::{Event, FileStatus};
use crate::repository::Error;

/// Pieces in a window.
const WINDOW_PIECES: usize = 16 << 10;
/// Plain bytes in a window.
const WINDOW_BYTES: u64 = 128 << 20;
/// Files in a window.
const WINDOW_FILES: usize = 8 << 10;
/// Bytes that are fetched at once, at most.
const FETCH: u64 = 4 << 20;
/// Bytes between two wanted blocks that are fetched along, rather than asking twice.
const GAP: u64 = 256 << 10;

/// Zeros that are left out by `--sparse` come in such blocks.
const HOLE_BLOCK: usize = 4096;

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// How a file comes to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Written under a temporary name and renamed when it is whole.
    New,
    /// Written into the file that is there, where that differs.
    Existing,
}

/// A file to restore.
pub struct Job {
    pub handle: Arc<OwnedFd>,
    pub node: Node,
    pub path: Vec<u8>,
    pub place: Place,
}

/// A file at work.
struct File {
    job: Job,
    /// The open file, once somebody wrote to it.
    output: Mutex<Option<Arc<OwnedFd>>>,
    temporary: Vec<u8>,
    /// Pieces to come, and one while segments are still being read.
    left: AtomicUsize,
    failed: AtomicBool,
    damaged: AtomicBool,
}

/// A chunk that belongs into a file.
struct Piece {
    file: Arc<File>,
    offset: u64,
    id: Id,
    location: Location,
}

#[derive(Default)]
struct Window {
    pieces: Vec<Piece>,
    /// Files all of whose segments were seen, which need finishing even without pieces.
    files: Vec<Arc<File>>,
    bytes: u64,
}

/// Collects windows and sends them to the thread that writes them.
pub struct Windows<'w, 'r> {
    run: &'w Run<'r>,
    window: Window,
    out: Sender<Window>,
    failure: &'w Mutex<Option<Error>>,
    number: u64,
}

/// Runs `work` with windows, and gives its result when everything is written.
pub fn with<'r>(
    run: &Run<'r>,
    work: impl FnOnce(&mut Windows<'_, 'r>) -> Result<(), Error>,
) -> Result<(), Error> {
    let failure = Mutex::new(None);
    let (out, windows_in) = bounded(0);
    let result = std::thread::scope(|scope| {
        let failure = &failure;
        scope.spawn(move || write_windows(run, &windows_in, failure));
        let mut windows = Windows { run, window: Window::default(), out, failure, number: 0 };
        work(&mut windows)?;
        windows.send()
    });
    match failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(error) => Err(error),
        None => result,
    }
}

fn write_windows(run: &Run<'_>, windows: &Receiver<Window>, failure: &Mutex<Option<Error>>) {
    for window in windows {
        if let Err(error) = write_window(run, window) {
            failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
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

    /// Takes a file in.
    pub fn add(&mut self, job: Job) -> Result<(), Error> {
        if self.failure.lock().is_ok_and(|failure| failure.is_some()) {
            return Err(Error::Stopped);
        }
        self.number += 1;
        let temporary = format!(".copal-{:x}-{:x}.tmp", std::process::id(), self.number).into_bytes();
        let file = Arc::new(File {
            job,
            output: Mutex::new(None),
            temporary,
            left: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
        });
        let run = self.run;
        let mut offset = 0u64;
        let node = &file.job.node;
        let mut existing = match file.job.place {
            Place::Existing => file.output(run).map(|output| super::window::Existing::new(output, node.size)),
            Place::New => None,
        };
        let mut each = |segment: crate::model::Segment| {
            let start = offset;
            offset += segment.length;
            match segment.kind {
                SegmentKind::Data(id) => {
                    if existing
                        .as_mut()
                        .is_some_and(|existing| existing.holds(run, start, segment.length, &id))
                    {
                        return Ok(());
                    }
                    match run.repository.index.lookup_for_reading(Contents::Data, &id)?.into_iter().next() {
                        Some(location) if u64::from(location.length) == segment.length => {
                            file.left.fetch_add(1, Ordering::AcqRel);
                            self.window.pieces.push(Piece {
                                file: file.clone(),
                                offset: start,
                                id,
                                location,
                            });
                            self.window.bytes += segment.length;
                        }
                        _ => file.lost(run, start, segment.length, &format!("no pack holds chunk {id}")),
                    }
                }
                SegmentKind::Hole => {
                    if let Some(existing) = &mut existing {
                        existing.clear(start, segment.length);
                    }
                }
                SegmentKind::Gap => {
                    file.lost(run, start, segment.length, "this part was lost before, and a repair marked it")
                }
            }
            if self.window.pieces.len() >= WINDOW_PIECES || self.window.bytes >= WINDOW_BYTES {
                let window = std::mem::take(&mut self.window);
                self.out.send(window).map_err(|_| Error::Stopped)?;
            }
            Ok(())
        };
        match run.repository.segments(&node.content, node.size, &mut each) {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                file.lost(run, offset, node.size.saturating_sub(offset), &error.to_string());
            }
            Err(error) => return Err(error),
        }
        self.window.files.push(file);
        if self.window.files.len() >= WINDOW_FILES { self.send() } else { Ok(()) }
    }
}

impl File {
    /// The open output, made when it is needed first; none when it can not be made, which was told.
    fn output(&self, run: &Run<'_>) -> Option<Arc<OwnedFd>> {
        let mut output = self.output.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(output) = &*output {
            return Some(output.clone());
        }
        if self.failed.load(Ordering::Acquire) {
            return None;
        }
        let handle = self.job.handle.as_fd();
        let opened = match self.job.place {
            Place::Existing => files::open_existing(handle, &self.job.node.name),
            Place::New => match files::create_file(handle, &self.temporary) {
                // Left by a run of the same number that was killed.
                Err(rustix::io::Errno::EXIST) => files::remove(handle, &self.temporary)
                    .and_then(|()| files::create_file(handle, &self.temporary)),
                other => other,
            },
        };
        match opened {
            Ok(file) => {
                let file = Arc::new(file);
                *output = Some(file.clone());
                Some(file)
            }
            Err(error) => {
                self.failed.store(true, Ordering::Release);
                drop(output);
                self.problem(run, error);
                None
            }
        }
    }

    fn problem(&self, run: &Run<'_>, error: rustix::io::Errno) {
        run.problem(&self.job.path, &error.to_string(), "not_restored");
    }

    fn lost(&self, run: &Run<'_>, offset: u64, length: u64, why: &str) {
        if !self.damaged.swap(true, Ordering::AcqRel) {
            run.damaged(
                &self.job.path,
                &format!("{length} bytes from byte {offset} on are lost, zeros stand there: {why}"),
            );
        }
    }

    /// Writes a chunk, or with `--sparse` its blocks that are not all zeros.
    fn write(&self, run: &Run<'_>, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        if run.options.sparse && self.job.place == Place::New {
            let first = (HOLE_BLOCK - offset as usize % HOLE_BLOCK).min(bytes.len());
            let (head, rest) = bytes.split_at(first);
            let blocks: Vec<&[u8]> = std::iter::once(head).chain(rest.chunks(HOLE_BLOCK)).collect();
            let mut at = 0;
            for alike in blocks.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
                let length: usize = alike.iter().map(|block| block.len()).sum();
                if !is_zero(alike[0]) {
                    self.write_all(run, offset + at as u64, &bytes[at..at + length])?;
                }
                at += length;
            }
        } else {
            self.write_all(run, offset, bytes)?;
        }
        run.listener.event(Event::Bytes(bytes.len() as u64));
        Ok(())
    }

    fn write_all(&self, run: &Run<'_>, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let Some(output) = self.output(run) else { return Ok(()) };
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pwrite(&*output, &bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(written) => done += written,
                Err(rustix::io::Errno::INTR) => {}
                Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => {
                    self.abandon();
                    return Err(Error::Target {
                        path: run.options.target.display().to_string(),
                        what: error.to_string(),
                    });
                }
                Err(error) => {
                    if !self.failed.swap(true, Ordering::AcqRel) {
                        self.problem(run, error);
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn abandon(&self) {
        self.failed.store(true, Ordering::Release);
        if self.job.place == Place::New {
            let _ = files::remove(self.job.handle.as_fd(), &self.temporary);
        }
    }

    /// One piece less; the last one gives the file its metadata and its name.
    fn release(&self, run: &Run<'_>) {
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let Some(output) = self.output(run) else { return self.abandon() };
        if self.failed.load(Ordering::Acquire) {
            return self.abandon();
        }
        let (node, handle) = (&self.job.node, self.job.handle.as_fd());
        // Ends in a hole, or was longer before.
        let size = files::stat_fd(output.as_fd()).map_or(0, |stat| stat.size);
        if size != node.size
            && let Err(error) = rustix::fs::ftruncate(&*output, node.size)
        {
            self.problem(run, error);
            return self.abandon();
        }
        run.metadata(Target::Open(output.as_fd()), node, &self.job.path);
        if self.job.place == Place::New
            && let Err(error) = files::rename(handle, &self.temporary, &node.name)
        {
            self.problem(run, error);
            return self.abandon();
        }
        if run.options.verify {
            self.verify(run);
        }
        run.counts.files.fetch_add(1, Ordering::Relaxed);
        run.counts.bytes.fetch_add(node.size, Ordering::Relaxed);
        run.tell(&self.job.path, node, FileStatus::New);
        *self.output.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    /// Reads back what was written.
    fn verify(&self, run: &Run<'_>) {
        if self.damaged.load(Ordering::Acquire) {
            return;
        }
        let Some(output) = self.output(run) else { return };
        let mut existing = Existing::new(output, self.job.node.size);
        let mut offset = 0;
        let mut wrong = 0u64;
        let result = run.repository.segments(&self.job.node.content, self.job.node.size, &mut |segment| {
            let start = offset;
            offset += segment.length;
            if let SegmentKind::Data(id) = segment.kind
                && !existing.holds(run, start, segment.length, &id)
            {
                wrong += segment.length;
            }
            Ok(())
        });
        if wrong > 0 || result.is_err() {
            run.problem(
                &self.job.path,
                &format!("reading back gave {wrong} other bytes than were written"),
                "verify_failed",
            );
        }
    }
}

/// A file that is there, compared piece by piece with what it should be.
pub struct Existing {
    file: Arc<OwnedFd>,
    buffer: Vec<u8>,
    size: u64,
}

impl Existing {
    fn new(file: Arc<OwnedFd>, size: u64) -> Existing {
        Existing { file, buffer: Vec::new(), size }
    }

    /// Whether the file's bytes there are that chunk already.
    fn holds(&mut self, run: &Run<'_>, offset: u64, length: u64, id: &Id) -> bool {
        if length > crate::format::limits::CHUNK_MAX as u64 || offset + length > self.size {
            return false;
        }
        self.buffer.resize(length as usize, 0);
        let mut filled = 0;
        while filled < self.buffer.len() {
            match rustix::io::pread(&*self.file, &mut self.buffer[filled..], offset + filled as u64) {
                Ok(read) if read > 0 => filled += read,
                Err(rustix::io::Errno::INTR) => {}
                _ => return false,
            }
        }
        run.repository.hasher().id(Contents::Data, &self.buffer) == *id
    }

    /// Makes a hole where one should be.
    fn clear(&mut self, offset: u64, length: u64) {
        use rustix::fs::FallocateFlags;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&*self.file, flags, offset, length).is_ok() {
            return;
        }
        let zeros = [0; 64 << 10];
        let mut done = 0;
        while done < length {
            let part = (length - done).min(zeros.len() as u64) as usize;
            match rustix::io::pwrite(&*self.file, &zeros[..part], offset + done) {
                Ok(written) if written > 0 => done += written as u64,
                Err(rustix::io::Errno::INTR) => {}
                _ => return,
            }
        }
    }
}

fn write_window(run: &Run<'_>, mut window: Window) -> Result<(), Error> {
    window.pieces.sort_by(|a, b| {
        let key =
            |piece: &Piece| (piece.location.pack.name, piece.location.block_offset, piece.location.offset);
        key(a).cmp(&key(b))
    });
    // Runs of pieces whose blocks lie close to each other in one pack.
    let mut groups: Vec<&[Piece]> = Vec::new();
    let mut start = 0;
    for place in 1..=window.pieces.len() {
        let ends = match (window.pieces.get(place), &window.pieces[place - 1], window.pieces.get(start)) {
            (Some(next), last, Some(first)) => {
                let (next, last, first) = (&next.location, &last.location, &first.location);
                next.pack.name != first.pack.name
                    || next.block_offset + u64::from(next.block_stored) - first.block_offset > FETCH
                    || next.block_offset > last.block_offset + u64::from(last.block_stored) + GAP
            }
            _ => true,
        };
        if ends {
            groups.push(&window.pieces[start..place]);
            start = place;
        }
    }
    groups.into_par_iter().try_for_each(|pieces| write_group(run, pieces))?;
    window.files.into_par_iter().for_each(|file| file.release(run));
    Ok(())
}

fn write_group(run: &Run<'_>, pieces: &[Piece]) -> Result<(), Error> {
    run.check_stop()?;
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
    let (first, last) = (&first.location, &last.location);
    let length = last.block_offset + u64::from(last.block_stored) - first.block_offset;
    let fetched = run.repository.read_pack_range(&first.pack.name, first.block_offset, length as usize);
    for block in pieces.chunk_by(|a, b| a.location.block == b.location.block) {
        let location = &block[0].location;
        let plain = match &fetched {
            Ok(bytes) => {
                let start = (location.block_offset - first.block_offset) as usize;
                let sealed = bytes[start..start + location.block_stored as usize].to_vec();
                run.repository.open_block(location, sealed)
            }
            // Perhaps only one of several blocks is out of reach.
            Err(_) => run.repository.read_block(location),
        };
        for piece in block {
            write_piece(run, piece, plain.as_ref())?;
            piece.file.release(run);
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
            piece.file.lost(run, piece.offset, length as u64, &error.to_string());
            Ok(())
        }
        Err(error) => Err(error),
    }
}
