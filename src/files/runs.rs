//! Where a file holds data and where holes, without reading it.

use rustix::fd::BorrowedFd;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// A stretch of a file, data or hole; its length is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub offset: u64,
    pub length: u64,
    pub is_hole: bool,
}

/// The runs of a file's first `size` bytes, in order and without gaps between them.
///
/// One call for a file without holes. Moves the handle's position: read with `pread`. Where the file system knows no holes,
/// everything is data. The file may change meanwhile: one that grew is described up to `size`; of one that shrank the runs
/// end before `size`, or reading one comes to the file's end.
pub fn data_runs(fd: BorrowedFd<'_>, size: u64) -> Runs<'_> {
    Runs { fd, size, offset: 0 }
}

/// See [`data_runs`].
#[derive(Debug)]
pub struct Runs<'a> {
    fd: BorrowedFd<'a>,
    size: u64,
    offset: u64,
}

impl Runs<'_> {
    fn run(&mut self, end: u64, is_hole: bool) -> Option<Run> {
        let run = Run { offset: self.offset, length: end - self.offset, is_hole };
        self.offset = end;
        Some(run)
    }

    /// The end of the data at `offset`: `offset` itself when a hole begins there or the file ends before, `size` when the
    /// system can not say.
    fn data_end(&self) -> u64 {
        match rustix::fs::seek(self.fd, SeekFrom::Hole(self.offset)) {
            Ok(end) => end.clamp(self.offset, self.size),
            Err(Errno::NXIO) => self.offset,
            Err(_) => self.size,
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        if self.offset >= self.size {
            return None;
        }
        let end = self.data_end();
        if end > self.offset {
            return self.run(end, false);
        }
        // A hole begins here, or the file ends.
        match rustix::fs::seek(self.fd, SeekFrom::Data(self.offset)) {
            Ok(start) if start > self.offset => {
                let start = start.min(self.size);
                self.run(start, true)
            }
            // Data after all: the file changed between the two calls. Ask once more for its end, and move on in any case.
            Ok(_) => match self.data_end() {
                end if end > self.offset => self.run(end, false),
                _ => self.run(self.size, false),
            },
            // No data from here to the end, which may have come nearer.
            Err(Errno::NXIO) => match rustix::fs::seek(self.fd, SeekFrom::End(0)) {
                Ok(end) if end > self.offset => {
                    let end = end.min(self.size);
                    self.run(end, true)
                }
                Ok(_) => {
                    self.offset = self.size;
                    None
                }
                Err(_) => self.run(self.size, false),
            },
            Err(_) => self.run(self.size, false),
        }
    }
}
