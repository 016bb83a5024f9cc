//! Packs written in this run and not yet in the database: visible to look-ups at once, written as one sorted transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::load::{Load, NewPack};
use super::records::{Location, PackInfo, PackRecord};
use super::{Error, Index, lock, read, write};
use crate::model::{Contents, Id};

/// Chunks kept in memory before they are written: about 100 bytes each, and a transaction of so many is worth its cost.
pub const PENDING_MAX: usize = 131_072;
/// Chunks kept in memory when another process keeps the database busy; past this, packs are refused.
pub(super) const PENDING_BUSY_MAX: usize = 4 * PENDING_MAX;

/// A chunk's place in a pack of a batch.
#[derive(Clone, Copy)]
struct Place {
    pack: u32,
    block: u32,
    offset: u32,
    length: u32,
}

/// Packs and their chunks in memory.
#[derive(Default)]
pub(super) struct Batch {
    packs: Vec<(Arc<PackInfo>, Vec<u8>)>,
    chunks: HashMap<(Contents, Id), Place>,
    /// Second copies.
    more: Vec<((Contents, Id), Place)>,
}

/// The batch that fills, and the one that is being written (or could not be, and will be next time).
#[derive(Default)]
pub(super) struct Pending {
    filling: Batch,
    flushing: Option<Arc<Batch>>,
}

impl Batch {
    fn add(&mut self, record: &PackRecord) {
        let number = self.packs.len() as u32;
        self.packs.push((Arc::new(PackInfo::of(record)), record.directory.clone()));
        for (id, block, offset, length) in record.places() {
            let (chunk, place) = ((record.contents, *id), Place { pack: number, block, offset, length });
            match self.chunks.entry(chunk) {
                Entry::Vacant(free) => {
                    free.insert(place);
                }
                Entry::Occupied(_) => self.more.push((chunk, place)),
            }
        }
    }

    fn len(&self) -> usize {
        self.chunks.len() + self.more.len()
    }

    /// Every place of a chunk.
    fn places(&self, chunk: &(Contents, Id), found: &mut Vec<Location>) {
        if let Some(first) = self.chunks.get(chunk) {
            let more = self.more.iter().filter(|(other, _)| other == chunk).map(|(_, place)| place);
            for place in std::iter::once(first).chain(more) {
                let location = self
                    .packs
                    .get(place.pack as usize)
                    .and_then(|(pack, _)| Location::at(pack, place.block, place.offset, place.length));
                found.extend(location);
            }
        }
    }

    /// What is to be written.
    fn load(&self) -> Load {
        let mut load = Load::default();
        for (pack, directory) in &self.packs {
            load.packs.push(NewPack {
                info: PackInfo::clone(pack),
                directory: directory.clone(),
                source: None,
            });
        }
        let more = self.more.iter().map(|(chunk, place)| (chunk, place));
        for ((contents, id), place) in self.chunks.iter().chain(more) {
            load.add_row(*contents, id, place.pack, (place.block, place.offset, place.length));
        }
        load
    }
}

impl Pending {
    fn batches(&self) -> impl Iterator<Item = &Batch> {
        std::iter::once(&self.filling).chain(self.flushing.as_deref())
    }

    /// Number of chunks in memory.
    pub(super) fn len(&self) -> usize {
        self.batches().map(Batch::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches().all(|batch| batch.packs.is_empty())
    }

    /// A pack in memory.
    pub(super) fn pack(&self, name: &Id) -> Option<Arc<PackInfo>> {
        let mut packs = self.batches().flat_map(|batch| &batch.packs);
        packs.find(|(pack, _)| pack.name == *name).map(|(pack, _)| Arc::clone(pack))
    }

    /// Every place of a chunk.
    pub(super) fn places(&self, contents: Contents, id: &Id) -> Vec<Location> {
        let mut found = Vec::new();
        if !self.is_empty() {
            self.batches().for_each(|batch| batch.places(&(contents, *id), &mut found));
        }
        found
    }

    /// The packs in memory.
    pub(super) fn packs(&self) -> Vec<Arc<PackInfo>> {
        self.batches().flat_map(|batch| batch.packs.iter().map(|(pack, _)| Arc::clone(pack))).collect()
    }

    /// The plain directory of a pack in memory.
    pub(super) fn directory(&self, name: &Id) -> Option<Vec<u8>> {
        let mut packs = self.batches().flat_map(|batch| &batch.packs);
        packs.find(|(pack, _)| pack.name == *name).map(|(_, directory)| directory.clone())
    }
}

impl Index {
    /// Takes packs that this process wrote and that no index object lists yet.
    pub(super) fn add_own(&self, packs: &[PackRecord]) -> Result<(), Error> {
        if read(&self.pending).len() >= PENDING_BUSY_MAX {
            self.flush()?;
        }
        let full = {
            let mut pending = write(&self.pending);
            packs.iter().for_each(|record| pending.filling.add(record));
            pending.len() >= PENDING_MAX
        };
        if read(&self.hidden).has_chunks() {
            let mut hidden = write(&self.hidden);
            for record in packs {
                record.places().for_each(|(id, ..)| hidden.heal(record.contents, id, &record.name));
            }
        }
        match if full { self.flush() } else { Ok(()) } {
            Err(error) if error.is_passing() => Ok(()),
            other => other,
        }
    }

    /// Writes the packs in memory to the database. On an error they stay in memory, still visible.
    pub fn flush(&self) -> Result<(), Error> {
        if read(&self.pending).is_empty() {
            return Ok(());
        }
        let mut writer = lock(&self.writer);
        loop {
            let batch = {
                let mut pending = write(&self.pending);
                if pending.flushing.is_none() {
                    if pending.filling.packs.is_empty() {
                        return Ok(());
                    }
                    pending.flushing = Some(Arc::new(std::mem::take(&mut pending.filling)));
                }
                pending.flushing.clone()
            };
            if let Some(batch) = batch {
                let rows = self.change_on(&mut writer, |transaction| batch.load().write(transaction))?;
                write(&self.own).extend(rows);
                write(&self.pending).flushing = None;
            }
        }
    }
}
