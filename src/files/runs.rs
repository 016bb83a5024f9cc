//! Where a file holds data and where holes, without reading it.

use rustix::fd::BorrowedFd;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::format::limits::SEGMENT_MIN;

/// A stretch of a file, data or hole; its length is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub offset: u64,
    pub length: u64,
    pub is_hole: bool,
}

/// The runs of a file's first `size` bytes, in order and without gaps between them: data and holes in turn, and a hole amid data of at
/// least SEGMENT_MIN bytes (no disk has shorter ones, but a file system that a program makes up may say so; they are data like any zeros).
///
/// One call for a file without holes. Moves the handle's position: read with `pread`. Where the file system knows no holes,
/// everything is data. The file may change meanwhile: one that grew is described up to `size`; of one that shrank the runs
/// end before `size`, or reading one comes to the file's end.
pub fn data_runs(fd: BorrowedFd<'_>, size: u64) -> Runs<'_> {
    Runs { seen: Seen { fd, size, offset: 0 }, next: None }
}

/// See [`data_runs`].
#[derive(Debug)]
pub struct Runs<'a> {
    seen: Seen<'a>,
    /// The run that comes after the one given last, when it is known.
    next: Option<Run>,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let size = self.seen.size;
        in_turn(&mut self.seen, &mut self.next, size)
    }
}

/// The next of `runs` as one with those that belong to it; `held` is the first that does not.
fn in_turn(runs: &mut dyn Iterator<Item = Run>, held: &mut Option<Run>, size: u64) -> Option<Run> {
    let is_hole = |run: &Run| {
        run.is_hole && (run.length >= SEGMENT_MIN || run.offset.saturating_add(run.length) >= size)
    };
    let mut run = held.take().or_else(|| runs.next())?;
    run.is_hole = is_hole(&run);
    for mut next in runs {
        next.is_hole = is_hole(&next);
        if next.is_hole != run.is_hole {
            *held = Some(next);
            break;
        }
        run.length += next.length;
    }
    Some(run)
}

/// The runs as the system tells them.
#[derive(Debug)]
struct Seen<'a> {
    fd: BorrowedFd<'a>,
    size: u64,
    offset: u64,
}

impl Seen<'_> {
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

impl Iterator for Seen<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(lengths: &[(u64, bool)]) -> Vec<(u64, bool)> {
        let mut offset = 0;
        let mut runs: Vec<Run> = Vec::new();
        for &(length, is_hole) in lengths {
            runs.push(Run { offset, length, is_hole });
            offset += length;
        }
        let (mut runs, mut held, mut out, mut at) = (runs.into_iter(), None, Vec::new(), 0);
        while let Some(run) = in_turn(&mut runs, &mut held, offset) {
            assert_eq!(run.offset, at);
            at += run.length;
            out.push((run.length, run.is_hole));
        }
        assert_eq!(at, offset);
        out
    }

    #[test]
    fn runs_come_in_turn_and_short_holes_are_data_but_at_the_end() {
        let (data, hole) = (false, true);
        assert_eq!(turned(&[(5, data), (64, hole), (7, data)]), [(5, data), (64, hole), (7, data)]);
        assert_eq!(turned(&[(5, data), (63, hole), (7, data)]), [(75, data)]);
        assert_eq!(turned(&[(1, hole), (5, data), (1, hole), (5, data), (1, hole)]), [(12, data), (1, hole)]);
        assert_eq!(turned(&[(100, hole), (100, hole), (5, data), (5, data)]), [(200, hole), (10, data)]);
        assert_eq!(turned(&[(1, hole)]), [(1, hole)]);
        assert_eq!(turned(&[]), []);
    }
}
