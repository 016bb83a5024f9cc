//! One file on its way to its place: written under a temporary name and renamed when it is whole, or rewritten where it is.
//! What is there already gives way only to something that is whole.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::Run;
use super::compare::{Comparison, write_all};
use super::existing::{beside, mark_broken, time_of_broken};
use crate::files::{self, Target};
use crate::locks::lock;
use crate::model::{Content, Contents, Node, Segment, SegmentKind, XattrValue};
use crate::progress::{Event, FileStatus};
use crate::repository::Error;
use crate::terminal::escape::escape;
use crate::terminal::size::{agree, show_count};

/// Zeros that are left out by `--sparse` come in such blocks.
const HOLE_BLOCK: usize = 4096;

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// How a file comes to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing is there.
    New,
    /// Something is there that goes when the new file is whole.
    Replacing,
    /// Written into the file that is there, where that differs.
    Existing,
}

/// A file to restore.
pub struct Job {
    pub handle: Arc<OwnedFd>,
    pub node: Node,
    pub path: Vec<u8>,
    pub place: Place,
    /// The folder hands no attributes down to what is made in it.
    pub is_bare: bool,
}

impl Job {
    /// About the bytes that the file takes until it is at its place.
    pub fn weight(&self) -> u64 {
        let node = &self.node;
        let segments = match &node.content {
            Content::Inline(segments) => segments.capacity() * size_of::<Segment>(),
            Content::Page(_) => 0,
        };
        let attributes = node.xattrs.iter().map(|xattr| {
            let value = if let XattrValue::Inline(value) = &xattr.value { value.len() } else { 0 };
            size_of_val(xattr) + xattr.name.len() + value
        });
        let unknown = node.unknown.iter().map(|field| size_of_val(field) + field.1.len());
        let texts = [&self.path, &node.name, &node.user, &node.group, &node.target, &node.previous];
        let texts = texts.iter().map(|text| text.len());
        (size_of::<Output>() + segments) as u64 + attributes.chain(unknown).chain(texts).sum::<usize>() as u64
    }
}

/// A file at work.
pub struct Output {
    pub job: Job,
    /// The open file, once somebody wrote to it.
    file: Mutex<Option<Arc<OwnedFd>>>,
    temporary: Vec<u8>,
    /// The temporary name stands for the file.
    has_temporary: AtomicBool,
    /// Where the bytes written so far end.
    end: AtomicU64,
    /// Pieces to come, and one while segments are still being read.
    left: AtomicUsize,
    failed: AtomicBool,
    damaged: AtomicBool,
}

impl Output {
    /// `temporary` is a name that nothing else has.
    pub fn new(job: Job, temporary: Vec<u8>) -> Output {
        Output {
            job,
            file: Mutex::new(None),
            temporary,
            has_temporary: AtomicBool::new(false),
            end: AtomicU64::new(0),
            left: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
        }
    }

    /// One piece more to wait for.
    pub fn expect_piece(&self) {
        self.left.fetch_add(1, Ordering::AcqRel);
    }

    /// The file that is there, to be compared and rewritten; none when it is written anew.
    pub fn existing(&self, run: &Run<'_>) -> Result<Option<Comparison>, Error> {
        match self.job.place {
            Place::Existing => Ok(self.open(run)?.map(Comparison::new)),
            Place::New | Place::Replacing => Ok(None),
        }
    }

    /// The open output, made when it is needed first; none when it can not be made, which was told.
    fn open(&self, run: &Run<'_>) -> Result<Option<Arc<OwnedFd>>, Error> {
        let mut file = lock(&self.file);
        if let Some(file) = &*file {
            return Ok(Some(file.clone()));
        }
        if self.failed.load(Ordering::Acquire) {
            return Ok(None);
        }
        let handle = self.job.handle.as_fd();
        let opened = match self.job.place {
            Place::Existing => files::open_existing(handle, &self.job.node.name),
            Place::New | Place::Replacing => files::create_file(handle, &self.temporary)
                .inspect(|_| self.has_temporary.store(true, Ordering::Release)),
        };
        match opened {
            Ok(opened) => {
                if self.job.node.flags != 0 && self.job.place != Place::Existing {
                    files::apply_early_flags(opened.as_fd(), &self.job.node);
                }
                Ok(Some(file.insert(Arc::new(opened)).clone()))
            }
            Err(error) => {
                drop(file);
                self.fail(run, error)?;
                Ok(None)
            }
        }
    }

    /// Whether it could not be written, which was told.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Tells once that the file can not be written. A full disk ends the run: every other file would meet it too.
    fn fail(&self, run: &Run<'_>, error: Errno) -> Result<(), Error> {
        if self.failed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.spoil(run);
        run.not_written(&self.job.path, error)
    }

    /// It does not come back whole: its other names do not either.
    fn spoil(&self, run: &Run<'_>) {
        self.job.node.link.inspect(|group| {
            run.broken().insert(*group);
        });
    }

    /// Part of the content is lost.
    pub fn lost(&self, run: &Run<'_>, offset: u64, length: u64, why: &str) {
        let tell = |what: &str| run.damaged(&self.job.path, what);
        self.without(run, offset, length, why, &tell);
    }

    /// Part of the content was lost before, and a repair marked it: nothing is wrong with the repository.
    pub fn marked(&self, run: &Run<'_>, offset: u64, length: u64) {
        let tell = |what: &str| run.problem(&self.job.path, what, "lost_in_snapshot");
        self.without(run, offset, length, "a repair marked it", &tell);
    }

    /// Part of the content can not be read.
    pub fn not_read(&self, run: &Run<'_>, offset: u64, length: u64, error: &Error) {
        let tell = |what: &str| run.not_read(&self.job.path, what, error);
        self.without(run, offset, length, &error.to_string(), &tell);
    }

    fn without(&self, run: &Run<'_>, offset: u64, length: u64, why: &str, tell: &dyn Fn(&str)) {
        if self.damaged.swap(true, Ordering::AcqRel) {
            return;
        }
        self.spoil(run);
        let instead = match self.job.place {
            Place::Existing => "what was there before stays there",
            Place::New | Place::Replacing => "zeros stand there",
        };
        let what = format!(
            "{} from byte {offset} on {} lost, {instead}: {why}",
            show_count(length, "byte"),
            agree(length, "is", "are")
        );
        tell(&what);
    }

    /// What came of clearing a part of the file that is there.
    pub fn cleared(&self, run: &Run<'_>, result: files::Result<()>) -> Result<(), Error> {
        result.or_else(|error| self.fail(run, error))
    }

    /// Writes a chunk, or with `--sparse` its blocks that are not all zeros.
    pub fn write(&self, run: &Run<'_>, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let Some(file) = self.open(run)? else { return Ok(()) };
        let written = if run.options.sparse && self.job.place != Place::Existing {
            write_sparse(&file, offset, bytes)
        } else {
            write_all(&file, offset, bytes).map(|()| offset + bytes.len() as u64)
        };
        match written {
            Ok(end) => self.end.fetch_max(end, Ordering::AcqRel),
            Err(error) => return self.fail(run, error),
        };
        run.listener.event(Event::Bytes(bytes.len() as u64));
        Ok(())
    }

    /// One piece less; the last one gives the file its metadata and its name.
    pub fn release(&self, run: &Run<'_>) -> Result<(), Error> {
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        let Some(file) = self.open(run)? else { return Ok(()) };
        if self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.finish(run, &file) {
            Ok(()) => {}
            Err(error) => return self.fail(run, error),
        }
        if run.options.verify {
            self.verify(run, file);
        }
        let node = &self.job.node;
        run.counts.files.fetch_add(1, Ordering::Relaxed);
        run.counts.bytes.fetch_add(node.size, Ordering::Relaxed);
        let status = if self.job.place == Place::New { FileStatus::Restored } else { FileStatus::Updated };
        run.tell(&self.job.path, node, status);
        *lock(&self.file) = None;
        Ok(())
    }

    fn finish(&self, run: &Run<'_>, file: &Arc<OwnedFd>) -> files::Result<()> {
        let (node, handle) = (&self.job.node, self.job.handle.as_fd());
        let damaged = self.damaged.load(Ordering::Acquire);
        if self.job.place == Place::Existing && damaged {
            mark_broken(file.as_fd(), node.mtime);
            return Ok(());
        }
        // Ends in a hole, or may have been longer before.
        if self.job.place == Place::Existing || self.end.load(Ordering::Acquire) != node.size {
            rustix::fs::ftruncate(&**file, node.size)?;
            // Size and time must not be on the disk before the bytes: after a power cut they would say that all is well.
            rustix::fs::fdatasync(&**file)?;
        }
        let is_bare = self.job.is_bare && self.job.place != Place::Existing;
        let is_whole = run.metadata(Target::Open(file.as_fd()), node, &self.job.path, is_bare);
        if !is_whole || damaged {
            self.spoil(run);
            mark_broken(file.as_fd(), node.mtime);
        }
        match self.job.place {
            Place::Existing => return Ok(()),
            Place::New => files::rename_new(handle, &self.temporary, &node.name)?,
            Place::Replacing if damaged => {
                let rest = Node { mtime: time_of_broken(node.mtime), ..node.clone() };
                let name = beside(handle, &rest, "damaged")?;
                files::rename(handle, &self.temporary, &name)?;
                run.listener.event(Event::Note(&format!(
                    "{}: what was there was kept; what is left of the snapshot's file is beside it as {}",
                    escape(&self.job.path),
                    escape(&name)
                )));
            }
            Place::Replacing => {
                // The old one must not go before the new one is on the disk.
                rustix::fs::fsync(&**file)?;
                files::rename(handle, &self.temporary, &node.name)?;
            }
        }
        self.has_temporary.store(false, Ordering::Release);
        Ok(())
    }

    /// Reads back what was written.
    fn verify(&self, run: &Run<'_>, file: Arc<OwnedFd>) {
        if self.damaged.load(Ordering::Acquire) {
            return;
        }
        let mut there = Comparison::new(file);
        let (mut offset, mut wrong) = (0, 0u64);
        let node = &self.job.node;
        let result = run.repository.segments(&node.content, node.size, &mut |segment| {
            let start = offset;
            offset += segment.length;
            let is_right = match segment.kind {
                SegmentKind::Data(id) => there.holds(run, start, segment.length, &id),
                SegmentKind::Hole | SegmentKind::Gap => there.is_zero(start, segment.length),
            };
            wrong += if is_right { 0 } else { segment.length };
            Ok(())
        });
        if wrong > 0 || result.is_err() {
            self.spoil(run);
            mark_broken(there.file(), node.mtime);
            let what = format!(
                "reading back gave {wrong} other {} than {} written",
                agree(wrong, "byte", "bytes"),
                agree(wrong, "was", "were")
            );
            run.problem(&self.job.path, &what, "verify_failed");
        }
    }
}

impl Drop for Output {
    /// A run that ends early leaves no half-written file behind.
    fn drop(&mut self) {
        if self.has_temporary.load(Ordering::Acquire) {
            let _ = files::remove(self.job.handle.as_fd(), &self.temporary);
        }
    }
}

/// Whether every part that would be rewritten in the file that is there can be had. A file is changed in place only then: half of one
/// version and half of another would be neither.
pub fn is_whole(run: &Run<'_>, file: OwnedFd, node: &Node) -> Result<bool, Error> {
    let mut there = Comparison::new(Arc::new(file));
    let (mut offset, mut whole) = (0, true);
    let result = run.repository.segments(&node.content, node.size, &mut |segment| {
        run.check_stop()?;
        let start = offset;
        offset += segment.length;
        whole &= match segment.kind {
            SegmentKind::Data(id) if whole && !there.holds(run, start, segment.length, &id) => {
                match run.repository.read_chunk(Contents::Data, &id) {
                    Ok(chunk) => chunk.len() as u64 == segment.length,
                    Err(error) if error.is_damage() => false,
                    Err(error) => return Err(error),
                }
            }
            SegmentKind::Data(_) | SegmentKind::Hole => true,
            SegmentKind::Gap => false,
        };
        Ok(())
    });
    match result {
        Ok(()) => Ok(whole),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes what is not zeros; gives where that ends.
fn write_sparse(file: &OwnedFd, offset: u64, bytes: &[u8]) -> files::Result<u64> {
    let first = (HOLE_BLOCK - offset as usize % HOLE_BLOCK).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let blocks: Vec<&[u8]> = std::iter::once(head).chain(rest.chunks(HOLE_BLOCK)).collect();
    let (mut at, mut end) = (0, 0);
    for alike in blocks.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let length: usize = alike.iter().map(|block| block.len()).sum();
        if !is_zero(alike[0]) {
            write_all(file, offset + at as u64, &bytes[at..at + length])?;
            end = offset + (at + length) as u64;
        }
        at += length;
    }
    Ok(end)
}
