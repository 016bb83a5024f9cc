//! What benches read, and how they measure: files of a folder in order of their paths, bytes that do not compress, CPU time.
#![allow(dead_code)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use copal::crypto::{Keys, MasterKey};
use copal::model::Id16;
use rustix::time::{ClockId, clock_gettime};

/// Keys that are the same in every run, so that cuts and ids are too.
pub fn keys() -> Keys {
    Keys::new(MasterKey::from_bytes([3; 32]), Id16([4; 16]))
}

/// Calls `each` with the regular files below a path (or the path itself), in order of name, each inode once.
pub fn each_file(path: &Path, mut each: impl FnMut(&Path, u64)) {
    let mut seen = std::collections::HashSet::new();
    let walk = walkdir::WalkDir::new(path).sort_by_file_name().into_iter();
    for entry in walk.filter_map(Result::ok).filter(|entry| entry.file_type().is_file()) {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
            each(entry.path(), metadata.len());
        }
    }
}

/// The contents of files below a path, in order, until they are `most` bytes.
pub fn read(path: &Path, most: usize) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    each_file(path, |path, _| paths.push(path.to_path_buf()));
    let (mut files, mut total) = (Vec::new(), 0);
    for path in paths {
        if total >= most {
            break;
        }
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        bytes.truncate(most - total);
        total += bytes.len();
        if !bytes.is_empty() {
            files.push(bytes);
        }
    }
    files
}

/// Bytes that do not compress, the same in every run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

/// Pieces of at most `most` bytes, in order, as a worker fills blocks with files that are chunks by themselves.
pub fn blocks(files: &[Vec<u8>], most: usize) -> Vec<Vec<u8>> {
    let mut blocks = vec![Vec::new()];
    for piece in files.iter().flat_map(|file| file.chunks(most)) {
        if blocks[blocks.len() - 1].len() + piece.len() > most {
            blocks.push(Vec::with_capacity(most));
        }
        if let Some(block) = blocks.last_mut() {
            block.extend_from_slice(piece);
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// Seconds of work: on the clock, and of the processor.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall: f64,
    pub cpu: f64,
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn spent<T>(clock: ClockId, work: impl FnOnce() -> T) -> (T, Spent) {
    let (start, cpu) = (Instant::now(), seconds(clock));
    let result = work();
    let cpu = seconds(clock) - cpu;
    (result, Spent { wall: start.elapsed().as_secs_f64(), cpu })
}

/// Runs work of this thread.
pub fn thread<T>(work: impl FnOnce() -> T) -> (T, Spent) {
    spent(ClockId::ThreadCPUTime, work)
}

/// Runs work of all threads.
pub fn process<T>(work: impl FnOnce() -> T) -> (T, Spent) {
    spent(ClockId::ProcessCPUTime, work)
}

/// Arguments of the bench, without what cargo adds: paths that are there, and the other words.
pub fn arguments() -> (Vec<PathBuf>, Vec<String>) {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let (mut paths, mut others) = (Vec::new(), Vec::new());
    for word in words {
        match Path::new(&word) {
            path if path.exists() => paths.push(path.to_path_buf()),
            _ => others.push(word),
        }
    }
    (paths, others)
}
