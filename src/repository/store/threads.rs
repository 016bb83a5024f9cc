//! The threads of a store: compressors take blocks to open packs, uploaders take full packs to the storage.

use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, select};

use super::open::Finished;
use super::{BLOCKS_QUEUED, Form, RawBlock, Store};
use crate::backend::Kind;
use crate::compress::{Blocks, Level};
use crate::format::pack::{CODEC_PLAIN, CODEC_ZSTD};
use crate::locks::lock;
use crate::model::clock::Clock;
use crate::repository::again::again;
use crate::repository::index_objects::{CHUNKS_PER_INDEX, PACKS_PER_INDEX, chunks_of};
use crate::repository::{Error, caught};

impl Store<'_> {
    pub(super) fn compressor(
        &self,
        blocks: &Receiver<RawBlock>,
        ended: &Receiver<()>,
        level: Level,
        clock: &dyn Clock,
    ) {
        let mut context = Blocks::new(level);
        let (mut check, mut stored) = (Vec::new(), Vec::new());
        loop {
            let block = select! {
                recv(blocks) -> block => block,
                recv(ended) -> _ => return,
            };
            let Ok(block) = block else { return };
            if !self.has_failed() {
                let placed = caught(|| match &mut context {
                    // With many compressors and slow storage each would else have a full pack in hand.
                    Ok(context) => self
                        .wait(|flight| flight.packs < self.packs_most)
                        .and_then(|()| self.place(block, context, &mut check, &mut stored, clock)),
                    Err(error) => Err(Error::Compress(std::io::Error::other(error.to_string()))),
                });
                if let Err(error) = placed {
                    self.fail(error);
                }
            }
            lock(&self.flight).blocks -= 1;
            self.landed.notify_all();
        }
    }

    /// Compresses a block, seals it into an open pack, and proves that it opens to the same bytes.
    fn place(
        &self,
        block: RawBlock,
        context: &mut Blocks,
        check: &mut Vec<u8>,
        stored: &mut Vec<u8>,
        clock: &dyn Clock,
    ) -> Result<(), Error> {
        let RawBlock { contents, form, bytes, chunks } = block;
        stored.clear();
        let compressed = match form {
            Form::Plain => context.compress(&bytes, stored).map_err(Error::Compress)?,
            Form::Random | Form::Moved { .. } => false,
        };
        if !compressed {
            stored.extend_from_slice(&bytes);
        }
        let (codec, plain) = match form {
            Form::Moved { codec, plain } => (codec, plain),
            _ => (if compressed { CODEC_ZSTD } else { CODEC_PLAIN }, bytes.len() as u32),
        };
        let placed = self.open.place(contents, codec, plain, chunks, stored, clock)?;
        placed
            .key
            .open_block(placed.number, stored)
            .map_err(|error| Error::format("a block just sealed", error))?;
        let same = if compressed {
            context.decompress(stored, bytes.len(), check).map_err(Error::Compress)?;
            *check == bytes
        } else {
            *stored == bytes
        };
        if !same {
            return Err(Error::Compress(std::io::Error::other(
                "a block does not come back as it was; nothing was saved",
            )));
        }
        let mut bytes = bytes;
        bytes.clear();
        let mut used = lock(&self.used);
        if used.len() < 2 * BLOCKS_QUEUED {
            used.push(bytes);
        }
        drop(used);
        if let Some(pack) = placed.full {
            lock(&self.flight).packs += 1;
            self.open.hand_over(pack)?;
        }
        Ok(())
    }

    pub(super) fn uploader(&self, packs: &Receiver<Finished>, ended: &Receiver<()>) {
        loop {
            let pack = select! {
                recv(packs) -> pack => pack,
                recv(ended) -> _ => return,
            };
            let Ok(pack) = pack else { return };
            if !self.has_failed()
                && let Err(error) = caught(|| self.upload(pack))
            {
                self.fail(error);
            }
            lock(&self.flight).packs -= 1;
            self.landed.notify_all();
        }
    }

    fn upload(&self, pack: Finished) -> Result<(), Error> {
        let (entry, bytes) = pack.finish()?;
        let name = entry.name.to_string();
        again(|| self.repository.backend.put(Kind::Packs, &name, &bytes))?;
        // A storage that keeps less than it was given must be noticed before anything refers to the pack.
        let kept = match again(|| self.repository.backend.stat(Kind::Packs, &name)) {
            // This run slept, and a pruner took the pack for one that was left.
            Err(error) if error.is_not_found() => return Err(Error::Overtaken),
            other => other?,
        };
        if kept != bytes.len() as u64 {
            return Err(Error::damaged(
                Kind::Packs,
                &name,
                "the storage kept another length than it was given",
            ));
        }
        let rate = self.repository.config.parity_per_mille;
        if rate > 0 {
            self.repository.put_parity(&entry.name, &bytes, rate)?;
        }
        self.bytes_stored.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.packs.fetch_add(1, Ordering::Relaxed);
        self.open.recycle(bytes);
        let chunks: usize = {
            let mut finished = lock(&self.finished);
            finished.push(entry);
            finished.iter().map(chunks_of).sum()
        };
        self.put_index(if chunks > CHUNKS_PER_INDEX { 1 } else { PACKS_PER_INDEX }).map(|_| ())
    }
}
