//! Writing anew what is needed of packs that are to go. Chunks keep their owner: those of different clients never share a pack.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::usage::{Standing, Usage};
use super::{New, Run};
use crate::backend::Kind;
use crate::format::index::PackEntry;
use crate::format::limits::BLOCK_TARGET;
use crate::format::session::Damage;
use crate::index::Location;
use crate::model::{Id, Id16};
use crate::progress::Event;
use crate::repository::{Error, store};

/// Chunks of which it is known at a time where they lie: some 100 MB.
const CHUNKS_AT_A_TIME: u64 = 2 << 20;

/// Chunks of a block that stays as it is: as many as fit into one of our own, for which a pack always has room.
const CHUNKS_MOVED: usize = BLOCK_TARGET / 64;

/// What was written anew.
#[derive(Default)]
pub(super) struct Copied {
    pub bytes: u64,
    /// Packs of which all that is needed now lies elsewhere.
    pub packs: Vec<Id>,
    /// Packs that turned out to be damaged, and in what. It is written down.
    pub damaged: BTreeMap<Id, String>,
    /// Packs with a copy of what can be read nowhere: they must stay.
    pub stuck: HashSet<Id>,
}

/// Chunks to copy, by pack: number of the block, and offset in it.
pub(super) type Needed = HashMap<u64, HashSet<(u32, u32)>>;

/// Writes anew what is used of the packs that the plan names.
pub(super) fn repack(run: &Run<'_>, new: &New) -> Result<Copied, Error> {
    let names: HashSet<Id> = new.plan.repack.iter().copied().collect();
    let packs: Vec<_> = new.usage.packs.iter().filter(|pack| names.contains(&pack.name)).collect();
    let mut copied = Copied::default();
    let mut rest = packs.as_slice();
    while !rest.is_empty() {
        let (mut count, mut chunks) = (0, 0);
        while count < rest.len() && (count == 0 || chunks < CHUNKS_AT_A_TIME) {
            // At least so many: a chunk that is no file's end is not shorter than a kilobyte on the whole.
            chunks += rest[count].live / 1024 + 1;
            count += 1;
        }
        let (some, more) = rest.split_at(count);
        let rows: HashSet<u64> = some.iter().map(|pack| pack.row).collect();
        let mut needed = Needed::new();
        new.usage.each(run, &mut |_, counting| {
            for (_, place) in counting.iter().filter(|(_, place)| rows.contains(&place.pack)) {
                needed.entry(place.pack).or_default().insert((place.block, place.offset));
            }
        })?;
        let part = copy(run, &new.usage, &needed)?;
        copied.bytes += part.bytes;
        copied.packs.extend(some.iter().map(|pack| pack.name));
        copied.damaged.extend(part.damaged);
        copied.stuck.extend(part.stuck);
        rest = more;
    }
    copied.packs.retain(|pack| !copied.stuck.contains(pack));
    Ok(copied)
}

/// Copies chunks into new packs, and names those in the index. They are stored wholly when this returns, but for those that can be read
/// nowhere: the packs that should have them are in what is given, and written down as damaged.
///
/// Errors: `Overtaken` when another pruner removed one of the packs meanwhile: it copied what was needed.
pub(super) fn copy(run: &Run<'_>, usage: &Usage, needed: &Needed) -> Result<Copied, Error> {
    let copied = copy_all(run, usage, needed);
    if !copied.as_ref().map_or_else(Error::is_damage, |copied| !copied.damaged.is_empty()) {
        return copied;
    }
    let removed = run.repository.removals()?.removed();
    let is_gone = |row: &u64| usage.pack(*row).is_some_and(|pack| removed.contains(&pack.name));
    if needed.keys().any(is_gone) {
        return Err(moved());
    }
    let copied = copied?;
    let packs = copied.damaged.keys().copied().collect();
    run.repository.put_damage(&Damage { packs, lost: None, time: run.clock.now() })?;
    Ok(copied)
}

fn copy_all(run: &Run<'_>, usage: &Usage, needed: &Needed) -> Result<Copied, Error> {
    let repository = run.repository;
    let mut copied = Copied::default();
    // What is to go counts as absent from here on, so that it is stored again.
    let mut hidden: Vec<Id> = repository.damaged_packs()?.into_iter().collect();
    let removals = repository.removals()?;
    hidden.extend(removals.marked());
    hidden.extend(removals.removed());
    // Nor is a copy what is not there, whatever the index says.
    hidden.extend(usage.packs.iter().filter(|pack| pack.standing != Standing::Good).map(|pack| pack.name));
    hidden.extend(needed.keys().filter_map(|row| usage.pack(*row)).map(|pack| pack.name));
    repository.index.set_hidden(&hidden, &[])?;
    let mut by_owner: BTreeMap<[u8; 16], Vec<(u64, PackEntry)>> = BTreeMap::new();
    for row in needed.keys() {
        run.check_stop()?;
        let pack = usage.pack(*row).ok_or_else(moved)?;
        let (entry, problem) = repository.pack_entry(&pack.name, pack.length)?;
        copied.damaged.extend(problem.map(|problem| (pack.name, problem.to_string())));
        by_owner.entry(entry.directory.domain.0).or_default().push((*row, entry));
    }
    for (owner, mut packs) in by_owner {
        packs.sort_by_key(|(row, _)| *row);
        let options = store::Options {
            level: run.options.level,
            workers: 1,
            compressors: run.options.compressors,
            uploaders: run.options.uploaders,
            memory: run.options.memory,
            domain: Id16(owner),
            discard: false,
        };
        store::with(repository, options, run.clock, |store| {
            for (row, entry) in &packs {
                one(run, store, entry, &needed[row], &mut copied)?;
            }
            store.checkpoint(|| {})?;
            copied.bytes += store.stored().bytes_stored;
            Ok(())
        })?;
    }
    Ok(copied)
}

/// The index is not what it was a moment ago: nothing may go then.
fn moved() -> Error {
    Error::Overtaken
}

/// Copies what is needed of one pack.
fn one(
    run: &Run<'_>,
    store: &store::Store<'_>,
    entry: &PackEntry,
    needed: &HashSet<(u32, u32)>,
    copied: &mut Copied,
) -> Result<(), Error> {
    let pack = run.repository.index.pack(&entry.name)?.ok_or_else(moved)?;
    let mut found = 0;
    for (number, block) in entry.directory.blocks.iter().enumerate() {
        run.check_stop()?;
        let mut wanted = Vec::new();
        let mut offset = 0u32;
        for (id, length) in &block.chunks {
            if needed.contains(&(number as u32, offset)) {
                let location = Location::at(&pack, number as u32, offset, *length).ok_or_else(|| {
                    let what = "the index says another length";
                    Error::damaged(Kind::Packs, &entry.name.to_string(), what)
                })?;
                wanted.push((*id, location));
            }
            offset += length;
        }
        if let Some((_, first)) = wanted.first() {
            block_of(run, store, first, &wanted, copied, wanted.len() == block.chunks.len())?;
        }
        found += wanted.len();
        run.listener.event(Event::Bytes(u64::from(block.stored)));
    }
    if found == needed.len() { Ok(()) } else { Err(moved()) }
}

/// Copies chunks of one block; of those that it does not give, a copy from elsewhere. A block of which all is wanted (`is_whole`) stays as
/// it was compressed.
fn block_of(
    run: &Run<'_>,
    store: &store::Store<'_>,
    block: &Location,
    wanted: &[(Id, Location)],
    copied: &mut Copied,
    is_whole: bool,
) -> Result<(), Error> {
    let (repository, contents) = (run.repository, block.pack.contents);
    let (stored, bytes) = match repository.read_block_as_stored(block) {
        // What storage does not give may come another time: nothing is known to be wrong with it.
        Err(error) if error.is_damage() && !error.is_unread() => {
            copied.damaged.entry(block.pack.name).or_insert_with(|| error.to_string());
            Default::default()
        }
        other => other?,
    };
    let chunk_at = |place: &Location| {
        let start = place.offset as usize;
        bytes.get(start..start + place.length as usize)
    };
    let holds = |(id, place): &(Id, Location)| {
        chunk_at(place).is_some_and(|chunk| repository.hasher().id(contents, chunk) == *id)
    };
    let held: Vec<bool> = wanted.iter().map(holds).collect();
    // Small ones grow together instead, and compress better then.
    let is_full =
        (BLOCK_TARGET / 2..=2 * BLOCK_TARGET).contains(&bytes.len()) && wanted.len() <= CHUNKS_MOVED;
    if is_whole && is_full && held.iter().all(|is_held| *is_held) {
        let chunks: Vec<(Id, u32)> = wanted.iter().map(|(id, place)| (*id, place.length)).collect();
        return store.save_block(0, contents, (block.codec, stored), &bytes, &chunks);
    }
    for ((id, place), is_held) in wanted.iter().zip(held) {
        match chunk_at(place) {
            Some(chunk) if is_held => {
                store.save_hashed(0, contents, *id, chunk)?;
                continue;
            }
            Some(_) => {
                let what = format!("block {} holds other bytes than chunk {id}", block.block);
                let error = Error::damaged(Kind::Packs, &block.pack.name.to_string(), &what);
                copied.damaged.entry(block.pack.name).or_insert_with(|| error.to_string());
            }
            None => {}
        }
        let places = repository.index.lookup_for_reading(contents, id)?;
        let mut whole = None;
        for other in places.iter().filter(|other| other.pack.name != block.pack.name) {
            match repository.read_chunk_at(contents, id, other) {
                Err(error) if error.is_damage() => {}
                other => whole = Some(other?),
            }
            if whole.is_some() {
                break;
            }
        }
        match whole {
            Some(chunk) => drop(store.save_hashed(0, contents, *id, &chunk)?),
            None => copied.stuck.extend(places.iter().map(|place| place.pack.name)),
        }
    }
    Ok(())
}
