//! A file's content out of a stream: cut and stored as a backup would, and long stretches of zeros as holes.
//!
//! An archive has no holes, and a file that was sparse would come back with all its zeros on the disk. Where the zeros of a file were holes
//! can not be known; that many in a row, at the bounds of a file system's blocks, mostly were.

use super::Error;
use super::pour::Pour;
use crate::backup::store_front;
use crate::model::{Content, Segment, SegmentKind};
use crate::progress::Event;
use crate::repository::build::ContentBuilder;

/// Bytes that are read at once.
const READ: usize = 1 << 20;
/// Bytes of a file that are gathered before they are cut, at least.
const GATHER: usize = 4 << 20;
/// Bytes of a block of common file systems.
const BLOCK: usize = 4096;
/// Fewest zeros that become a hole, bytes.
const HOLE_LEAST: u64 = 64 << 10;

/// Bytes of a file that wait to be cut, and zeros after them of which is not known yet what they become.
#[derive(Default)]
pub struct Buffers {
    data: Vec<u8>,
    read: Vec<u8>,
    zeros: u64,
}

impl Pour<'_> {
    /// Stores the content that `read` gives until it gives nothing more; its bytes and what they became.
    pub fn content(
        &self,
        buffers: &mut Buffers,
        read: &mut dyn FnMut(&mut [u8]) -> Result<usize, Error>,
    ) -> Result<(Content, u64), Error> {
        let mut builder = ContentBuilder::new(self.store, 0);
        let mut size = 0;
        buffers.data.clear();
        buffers.read.resize(READ, 0);
        buffers.zeros = 0;
        let mut piece = std::mem::take(&mut buffers.read);
        loop {
            // As many as there are, so that blocks begin where they begin in the file.
            let mut filled = 0;
            while filled < piece.len() {
                match read(&mut piece[filled..])? {
                    0 => break,
                    count => filled += count,
                }
            }
            size += filled as u64;
            self.listener.event(Event::Bytes(filled as u64));
            for block in piece[..filled].chunks(BLOCK) {
                self.block(buffers, block, &mut builder)?;
            }
            if filled < piece.len() {
                break;
            }
        }
        self.end_zeros(buffers, &mut builder)?;
        self.cut(buffers, true, &mut builder)?;
        buffers.read = piece;
        Ok((builder.finish()?, size))
    }

    fn block(
        &self,
        buffers: &mut Buffers,
        block: &[u8],
        builder: &mut ContentBuilder<'_>,
    ) -> Result<(), Error> {
        if block.iter().all(|byte| *byte == 0) {
            buffers.zeros += block.len() as u64;
            return Ok(());
        }
        self.end_zeros(buffers, builder)?;
        buffers.data.extend_from_slice(block);
        match buffers.data.len() >= GATHER.max(2 * self.chunker.maximum()) {
            true => self.cut(buffers, false, builder),
            false => Ok(()),
        }
    }

    /// Something else follows, or nothing more.
    fn end_zeros(&self, buffers: &mut Buffers, builder: &mut ContentBuilder<'_>) -> Result<(), Error> {
        let zeros = std::mem::take(&mut buffers.zeros);
        if zeros < HOLE_LEAST {
            buffers.data.resize(buffers.data.len() + zeros as usize, 0);
            return Ok(());
        }
        self.cut(buffers, true, builder)?;
        Ok(builder.push(Segment { kind: SegmentKind::Hole, length: zeros })?)
    }

    /// Cuts and stores what can be cut of the data, all when it has ended.
    fn cut(&self, buffers: &mut Buffers, ended: bool, builder: &mut ContentBuilder<'_>) -> Result<(), Error> {
        self.check_stop()?;
        let (stored, _) = store_front(self.store, 0, &self.chunker, &buffers.data, ended, builder)?;
        buffers.data.drain(..stored);
        self.checkpoint_when_due()
    }
}
