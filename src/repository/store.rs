//! Storing chunks: workers fill blocks, compressors compress and seal them into open packs, uploaders put finished packs.
//! Every queue is bounded, so memory is too, whatever is stored.

mod healed;
mod held;
mod moved;
mod open;
mod threads;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, RwLock};

use crossbeam_channel::{Sender, bounded};

use super::index_objects::{PACKS_PER_INDEX, fitting};
use super::{Error, Repository, packs};
use crate::compress::{Level, looks_random};
use crate::format::index::{IndexObject, PackEntry};
use crate::format::limits::BLOCK_TARGET;
use crate::locks::lock;
use crate::model::{Contents, Id, Id16, clock::Clock};
use open::OpenPacks;

/// Blocks that wait for a compressor: two for each of a few keep them busy.
const BLOCKS_QUEUED: usize = 4;
/// Packs that wait for an uploader.
const PACKS_QUEUED: usize = 1;
/// Memory for which a run may have one worker more, and one compressor more: their buffers, and room for what they have in hand.
const MEMORY_PER_THREAD: u64 = 32 << 20;
/// Packs of the target's length that fit into the memory of a run: those under construction, those on their way, and as much again.
const PACKS_IN_MEMORY: u64 = 16;
/// Shortest packs that little memory leads to.
const PACK_LEAST: u64 = 1 << 20;
/// What a run may take when nothing is said, and the least that can be said.
pub const MEMORY: u64 = 256 << 20;
pub const MEMORY_LEAST: u64 = 64 << 20;
/// Threads that put packs when nothing is said: they mostly wait for the storage.
pub const UPLOADERS: usize = 2;
/// Locks over the ids in flight.
const SHARDS: usize = 16;

/// What is yet to be done with a block.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    /// Its bytes look random: not worth compressing.
    Random,
    /// It was in a pack before, and is as it was there: of that codec, and of that plain length.
    Moved {
        codec: u8,
        plain: u32,
    },
}

/// A block that a worker filled.
struct RawBlock {
    contents: Contents,
    form: Form,
    bytes: Vec<u8>,
    chunks: Vec<(Id, u32)>,
}

#[derive(Default)]
struct Builder {
    bytes: Vec<u8>,
    chunks: Vec<(Id, u32)>,
}

/// One worker's blocks under construction: compressible data, other data, trees.
type Builders = [Builder; 3];

/// What a run stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stored {
    /// Plain bytes of new data chunks.
    pub bytes_new: u64,
    /// Bytes of packs.
    pub bytes_stored: u64,
    pub chunks_new: u64,
    pub packs: u64,
    /// Chunks, and their plain bytes, that damage had hit: only packs held them that were found damaged or missing.
    pub chunks_healed: u64,
    pub bytes_healed: u64,
}

#[derive(Default)]
struct Flight {
    blocks: usize,
    packs: usize,
}

/// Takes chunks and stores those that the repository lacks. Shared by all workers of a run.
pub struct Store<'r> {
    repository: &'r Repository,
    claimed: [Mutex<HashSet<(Contents, Id)>>; SHARDS],
    /// Held for reading while chunks go into builders; a checkpoint holds it for writing.
    gate: RwLock<()>,
    builders: Vec<Mutex<Builders>>,
    blocks: Sender<RawBlock>,
    open: OpenPacks<'r>,
    flight: Mutex<Flight>,
    landed: Condvar,
    /// Packs that may be on their way while another one is filled.
    packs_most: usize,
    finished: Mutex<Vec<PackEntry>>,
    /// Buffers of blocks that went their way: touching new memory costs more than copying into old.
    used: Mutex<Vec<Vec<u8>>>,
    index_turn: Mutex<()>,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    bytes_new: AtomicU64,
    bytes_stored: AtomicU64,
    chunks_new: AtomicU64,
    packs: AtomicU64,
    /// Packs that were found damaged or missing.
    damaged: HashSet<Id>,
    chunks_healed: AtomicU64,
    bytes_healed: AtomicU64,
    discard: bool,
}

/// How a store works.
#[derive(Clone, Copy)]
pub struct Options {
    pub level: Level,
    /// Workers that will fill blocks.
    pub workers: usize,
    pub compressors: usize,
    /// Threads that put packs.
    pub uploaders: usize,
    /// Bytes that the run may take, about; `threads` says how many workers and compressors fit into it.
    pub memory: u64,
    /// Whose chunks these are.
    pub domain: Id16,
    /// Count what would be stored, and store nothing.
    pub discard: bool,
}

/// As many of `wanted` workers or compressors as fit into that memory.
pub fn threads(wanted: usize, memory: u64) -> usize {
    wanted.clamp(1, usize::try_from(memory / MEMORY_PER_THREAD).unwrap_or(usize::MAX).max(1))
}

/// Runs `work` with a store, ends the store's threads, and gives what `work` gave, or the storage's first error.
pub fn with<T>(
    repository: &Repository,
    options: Options,
    clock: &dyn Clock,
    work: impl FnOnce(&Store<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let compressors = threads(options.compressors, options.memory);
    // More memory, longer queues, for storage that comes and goes.
    let more = usize::try_from(options.memory / MEMORY).unwrap_or(1).clamp(1, 64);
    let (blocks, blocks_in) = bounded(BLOCKS_QUEUED * more);
    let (packs, packs_in) = bounded(PACKS_QUEUED * more);
    let target = (options.memory / PACKS_IN_MEMORY).max(PACK_LEAST);
    let target = repository.config.pack_target.min(usize::try_from(target).unwrap_or(usize::MAX));
    let store = Store {
        repository,
        claimed: Default::default(),
        gate: RwLock::default(),
        builders: (0..options.workers).map(|_| Mutex::default()).collect(),
        blocks,
        open: OpenPacks::new(&repository.keys, target, options.domain, packs),
        packs_most: PACKS_QUEUED * more + options.uploaders.max(1),
        flight: Mutex::default(),
        landed: Condvar::new(),
        finished: Mutex::default(),
        used: Mutex::default(),
        index_turn: Mutex::default(),
        failed: AtomicBool::new(false),
        failure: Mutex::new(None),
        bytes_new: AtomicU64::new(0),
        bytes_stored: AtomicU64::new(0),
        chunks_new: AtomicU64::new(0),
        packs: AtomicU64::new(0),
        damaged: repository.known_damaged(),
        chunks_healed: AtomicU64::new(0),
        bytes_healed: AtomicU64::new(0),
        discard: options.discard,
    };
    let store = &store;
    // Dropped when `work` is over, whatever happened in it: that tells the threads to end.
    let (end, ended) = bounded::<()>(0);
    let result = std::thread::scope(|scope| {
        let end = end;
        for _ in 0..compressors {
            let (blocks_in, ended) = (blocks_in.clone(), ended.clone());
            scope.spawn(move || store.compressor(&blocks_in, &ended, options.level, clock));
        }
        for _ in 0..options.uploaders.max(1) {
            let (packs_in, ended) = (packs_in.clone(), ended.clone());
            scope.spawn(move || store.uploader(&packs_in, &ended));
        }
        // Only the threads hold the receiving ends: should all of them be gone, sending fails instead of waiting.
        drop((blocks_in, packs_in));
        let result = work(store);
        drop(end);
        result
    });
    match lock(&store.failure).take() {
        Some(error) => Err(error),
        None => result,
    }
}

/// How often a waiting checkpoint looks whether storing failed.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

impl<'r> Store<'r> {
    /// Ends the run with this error: nothing more is stored, and nobody waits for what is on its way.
    pub fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
        self.landed.notify_all();
    }

    fn check(&self) -> Result<(), Error> {
        if self.failed.load(Ordering::Acquire) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Whether storing failed, so that going on is useless.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Counts so far.
    pub fn stored(&self) -> Stored {
        Stored {
            bytes_new: self.bytes_new.load(Ordering::Relaxed),
            bytes_stored: self.bytes_stored.load(Ordering::Relaxed),
            chunks_new: self.chunks_new.load(Ordering::Relaxed),
            packs: self.packs.load(Ordering::Relaxed),
            chunks_healed: self.chunks_healed.load(Ordering::Relaxed),
            bytes_healed: self.bytes_healed.load(Ordering::Relaxed),
        }
    }

    fn shard(&self, id: &Id) -> &Mutex<HashSet<(Contents, Id)>> {
        &self.claimed[usize::from(id.0[31]) % SHARDS]
    }

    /// Whether the chunk is stored or about to be.
    pub fn contains(&self, contents: Contents, id: &Id) -> Result<bool, Error> {
        if lock(self.shard(id)).contains(&(contents, *id)) {
            return Ok(true);
        }
        Ok(self.repository.index.contains(contents, id)?)
    }

    fn claim(&self, contents: Contents, id: &Id) -> Result<bool, Error> {
        if lock(self.shard(id)).contains(&(contents, *id)) || self.repository.index.contains(contents, id)? {
            return Ok(false);
        }
        Ok(lock(self.shard(id)).insert((contents, *id)))
    }

    /// The id of plain bytes.
    pub fn id(&self, contents: Contents, plain: &[u8]) -> Id {
        self.repository.hasher.id(contents, plain)
    }

    /// Stores a chunk unless it is there, and gives its id and whether it was new. `worker` says whose block it goes into.
    pub fn save(&self, worker: usize, contents: Contents, plain: &[u8]) -> Result<(Id, bool), Error> {
        let id = self.repository.hasher.id(contents, plain);
        Ok((id, self.save_hashed(worker, contents, id, plain)?))
    }

    /// Like `save`, with the id already computed.
    pub fn save_hashed(
        &self,
        worker: usize,
        contents: Contents,
        id: Id,
        plain: &[u8],
    ) -> Result<bool, Error> {
        self.check()?;
        let _gate = self.gate.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !self.claim(contents, &id)? {
            return Ok(false);
        }
        self.count_healed(contents, &id, plain.len())?;
        if contents == Contents::Trees {
            self.repository.keep_page(&id, plain);
        }
        self.add(worker, contents, id, plain)?;
        Ok(true)
    }

    fn count_new(&self, contents: Contents, chunks: usize, bytes: usize) {
        self.chunks_new.fetch_add(chunks as u64, Ordering::Relaxed);
        if contents == Contents::Data {
            self.bytes_new.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Puts a chunk that was claimed into a block.
    fn add(&self, worker: usize, contents: Contents, id: Id, plain: &[u8]) -> Result<(), Error> {
        self.count_new(contents, 1, plain.len());
        if self.discard {
            return Ok(());
        }
        let random = contents == Contents::Data && looks_random(plain);
        let mut builders = lock(&self.builders[worker]);
        let slot = match (contents, random) {
            (Contents::Data, false) => 0,
            (Contents::Data, true) => 1,
            (Contents::Trees, _) => 2,
        };
        if !builders[slot].bytes.is_empty() && builders[slot].bytes.len() + plain.len() > BLOCK_TARGET {
            self.send(&mut builders, slot)?;
        }
        let builder = &mut builders[slot];
        if builder.bytes.capacity() == 0 {
            builder.bytes = lock(&self.used).pop().unwrap_or_default();
            builder.bytes.reserve(BLOCK_TARGET.max(plain.len()));
        }
        builder.bytes.extend_from_slice(plain);
        builder.chunks.push((id, plain.len() as u32));
        Ok(())
    }

    fn send(&self, builders: &mut Builders, slot: usize) -> Result<(), Error> {
        let Builder { bytes, chunks } = std::mem::take(&mut builders[slot]);
        if chunks.is_empty() {
            return Ok(());
        }
        let contents = if slot == 2 { Contents::Trees } else { Contents::Data };
        let form = if slot == 1 { Form::Random } else { Form::Plain };
        self.send_block(RawBlock { contents, form, bytes, chunks })
    }

    fn send_block(&self, block: RawBlock) -> Result<(), Error> {
        lock(&self.flight).blocks += 1;
        self.blocks.send(block).map_err(|_| Error::Stopped)
    }

    /// Makes everything stored so far durable and indexed, then calls `then` while nothing is being added.
    pub fn checkpoint(&self, then: impl FnOnce()) -> Result<(), Error> {
        let _gate = self.gate.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        for builders in &self.builders {
            let mut builders = lock(builders);
            for slot in 0..builders.len() {
                self.send(&mut builders, slot)?;
            }
        }
        self.wait(|flight| flight.blocks == 0)?;
        let closed = self.open.close()?;
        lock(&self.flight).packs += closed.len();
        for pack in closed {
            self.open.hand_over(pack)?;
        }
        self.wait(|flight| flight.packs == 0)?;
        while self.put_index(1)? {}
        then();
        Ok(())
    }

    fn wait(&self, done: impl Fn(&Flight) -> bool) -> Result<(), Error> {
        let mut flight = lock(&self.flight);
        while !done(&flight) {
            self.check()?;
            flight =
                self.landed.wait_timeout(flight, LOOK).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        self.check()
    }

    /// Writes an index object when at least `least` packs wait for one; whether it did.
    fn put_index(&self, least: usize) -> Result<bool, Error> {
        let _turn = lock(&self.index_turn);
        let packs: Vec<PackEntry> = {
            let mut finished = lock(&self.finished);
            if finished.len() < least.max(1) {
                return Ok(false);
            }
            let count = fitting(&finished, PACKS_PER_INDEX);
            finished.drain(..count).collect()
        };
        let mut object = IndexObject { packs, ..Default::default() };
        let name = self.repository.put_index_object(&mut object)?;
        let records: Vec<_> = object.packs.iter().map(packs::record).collect();
        match self.repository.index.add_packs(Some(name), &records) {
            Ok(()) => {
                for (contents, id) in records.iter().flat_map(|pack| {
                    pack.blocks.iter().flat_map(|block| &block.chunks).map(|(id, _)| (pack.contents, *id))
                }) {
                    lock(self.shard(&id)).remove(&(contents, id));
                }
            }
            // Another process writes the cache: these packs come with the next synchronisation, and stay claimed until the end.
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}
