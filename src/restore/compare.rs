//! A file that is there, compared piece by piece with what it should be, and cleared where it should be a hole.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::Run;
use crate::files;
use crate::model::{Contents, Id};

/// Bytes read or cleared at a time, where no chunk says how many.
const STEP: usize = 64 << 10;

/// An open file, read and written at offsets.
pub struct Comparison {
    file: Arc<OwnedFd>,
    buffer: Vec<u8>,
}

impl Comparison {
    pub fn new(file: Arc<OwnedFd>) -> Comparison {
        Comparison { file, buffer: Vec::new() }
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Fills the buffer with the bytes from `offset` on; false when there are not as many.
    fn read(&mut self, offset: u64, length: usize) -> bool {
        self.buffer.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            match rustix::io::pread(&*self.file, &mut self.buffer[filled..], offset + filled as u64) {
                Ok(read) if read > 0 => filled += read,
                Err(Errno::INTR) => {}
                _ => return false,
            }
        }
        true
    }

    /// Whether the file's bytes there are that chunk.
    pub fn holds(&mut self, run: &Run<'_>, offset: u64, length: u64, id: &Id) -> bool {
        length <= crate::format::limits::CHUNK_MAX as u64
            && self.read(offset, length as usize)
            && run.repository.hasher().id(Contents::Data, &self.buffer) == *id
    }

    /// Whether the file is all zeros there; what lies behind its end is.
    pub fn is_zero(&mut self, offset: u64, length: u64) -> bool {
        let end = offset + length;
        let mut at = offset;
        while at < end {
            at = match rustix::fs::seek(&*self.file, SeekFrom::Data(at)) {
                Ok(data) => data,
                // Nothing but a hole from here on.
                Err(Errno::NXIO) => return true,
                // No holes on this file system.
                Err(_) => at,
            };
            if at >= end {
                return true;
            }
            let Ok(size) = files::stat_fd(self.file()).map(|stat| stat.size) else {
                return false;
            };
            let part = (end.min(size) - at.min(size)).min(STEP as u64) as usize;
            if part == 0 {
                return true;
            }
            if !self.read(at, part) || self.buffer.iter().any(|byte| *byte != 0) {
                return false;
            }
            at += part as u64;
        }
        true
    }

    /// Makes a hole where one should be, or writes zeros where the file system has none.
    pub fn clear(&mut self, offset: u64, length: u64) -> files::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&*self.file, flags, offset, length).is_ok() {
            return Ok(());
        }
        let zeros = [0; STEP];
        let mut done = 0;
        while done < length {
            let part = (length - done).min(STEP as u64) as usize;
            write_all(&self.file, offset + done, &zeros[..part])?;
            done += part as u64;
        }
        Ok(())
    }
}

/// Writes all bytes at an offset.
pub fn write_all(file: &OwnedFd, offset: u64, bytes: &[u8]) -> files::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(file, &bytes[done..], offset + done as u64) {
            // No system says so for a regular file; going on would leave a hole that nobody knows of.
            Ok(0) => return Err(Errno::IO),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
