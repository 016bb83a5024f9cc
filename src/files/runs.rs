//! Where a file has data and where it has holes: SEEK_DATA and SEEK_HOLE.

use std::os::fd::BorrowedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Result;

/// A piece of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub offset: u64,
    pub length: u64,
    pub is_hole: bool,
}

/// The runs of an open file of `size` bytes, in order, without gaps. Where the file system does not tell, all is data.
pub fn data_runs(file: BorrowedFd<'_>, size: u64) -> impl Iterator<Item = Result<Run>> {
    let mut offset = 0;
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended || offset >= size {
            return None;
        }
        let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(start) => start.min(size),
            // No data from here on.
            Err(Errno::NXIO) => size,
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY) => {
                ended = true;
                return Some(Ok(Run { offset, length: size - offset, is_hole: false }));
            }
            Err(error) => {
                ended = true;
                return Some(Err(error));
            }
        };
        if start > offset {
            let run = Run { offset, length: start - offset, is_hole: true };
            offset = start;
            return Some(Ok(run));
        }
        let end = match rustix::fs::seek(file, SeekFrom::Hole(offset)) {
            Ok(end) if end > offset => end.min(size),
            _ => size,
        };
        let run = Run { offset, length: end - offset, is_hole: false };
        offset = end;
        Some(Ok(run))
    })
}
