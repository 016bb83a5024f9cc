//! A repository: storage, keys and index together, and what every verb needs of them. The verbs themselves are upstairs.

mod adopted;
mod again;
pub mod build;
mod chain;
pub mod contents;
mod copies;
pub mod doubt;
mod error;
pub mod folders;
pub mod healing;
pub mod index_objects;
mod kept;
pub mod keys;
pub mod lease;
mod listing;
pub mod notes;
mod open;
pub mod packs;
pub mod parity;
pub mod reader;
pub mod removals;
pub mod session;
pub mod sessions;
pub mod snapshots;
pub mod store;
mod sync;
pub mod trees;
mod unfinished;
pub mod writing;

use std::collections::HashSet;
use std::sync::Mutex;

use crate::backend::{self, Backend, Kind};
use crate::crypto::password::Cost;
use crate::crypto::{self, Hasher, Keys, MasterKey};
use crate::format::{self, config::Config, slot, slot::Description, slot::Unlock};
use crate::index::{self, Index, Opened};
use crate::model::{Cutter, Id, Id16, clock::Clock};
use crate::progress::{Event, Listener};
use again::again;

pub use error::{Error, caught};
pub(crate) use open::GENERATION_FACT;
pub use open::{Found, find, open, open_found};
pub use sync::Synced;
pub use unfinished::is_unfinished;

/// An opened repository.
pub struct Repository {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) keys: Keys,
    pub(crate) hasher: Hasher,
    pub config: Config,
    pub(crate) config_object: Vec<u8>,
    /// Storage does not have `config` any more as it should be.
    pub(crate) config_is_lost: bool,
    /// The slot that opened it.
    pub(crate) slot: Id,
    /// No object in `config/` has that name.
    config_is_missing: bool,
    /// What was wrong with copies of `config` that were passed over when the repository was opened.
    pub config_warnings: Vec<Error>,
    pub index: Index,
    pub(crate) blocks: reader::BlockCache,
    /// Pages of trees that are kept on this machine.
    pages: Option<index::pages::Pages>,
    pub(crate) mended: Mutex<parity::Mended>,
    /// What was said about the cache when it was opened.
    pub cache: Opened,
    /// What the last synchronisation saw.
    pub(crate) seen: Mutex<sync::Seen>,
    /// Whether the index was doubted in this run, and looked at again.
    pub(crate) looked_again: Mutex<bool>,
}

/// Under which it is remembered in the cache that a recovery sheet was made.
pub const EXPORTED_FACT: &str = "key exported";

/// What `create` needs to know.
pub struct Creation<'a> {
    pub unlock: Unlock<'a>,
    pub cost: Cost,
    pub cutter: Cutter,
    pub pack_target: usize,
    pub description: Description,
}

/// Makes an empty repository, or finishes what a run that was cut off began with the same secret. Errors: `Exists` when there is one
/// already; what no opening would take is refused before anything is written.
pub fn create(backend: &dyn Backend, creation: &Creation<'_>, clock: &dyn Clock) -> Result<Id16, Error> {
    if backend.exists_repository()? {
        let finished = if is_unfinished(backend)? { unfinished::finish(backend, creation)? } else { None };
        return finished.ok_or_else(|| Error::Exists { location: backend.location() });
    }
    let keys = Keys::new(MasterKey::generate()?, Id16(crypto::random()?));
    let config = Config {
        generation: 1,
        cutter: creation.cutter,
        pack_target: creation.pack_target,
        made: clock.now(),
        parity_per_mille: 0,
    };
    let object = format::config::encode(&keys, &config).map_err(|error| Error::format("config", error))?;
    backend.create()?;
    let slot = slot::encode(&keys, creation.unlock, creation.cost, &creation.description, &object)
        .map_err(|error| Error::format("the new key slot", error))?;
    // The slot first: a config without any key could never be opened.
    put_named(backend, Kind::Keys, &slot)?;
    again(|| backend.put(Kind::Config, &config_name(1), &object))?;
    let fetch = || again(|| backend.get(Kind::Config, &config_name(1)));
    if again::get(fetch, |stored| *stored == *object)? != object {
        // Somebody else made a repository here at the same moment.
        return Err(Error::Exists { location: backend.location() });
    }
    Ok(keys.repository)
}

fn config_name(generation: u64) -> String {
    format!("{generation:016x}")
}

/// Stores bytes under their own hash.
pub(crate) fn put_named(backend: &dyn Backend, kind: Kind, bytes: &[u8]) -> Result<Id, Error> {
    let name = crypto::object_name(bytes);
    let text = name.to_string();
    again(|| backend.put(kind, &text, bytes))?;
    Ok(name)
}

/// Fetches an object that is named by its hash, and checks that it is what its name says.
pub(crate) fn get_named(backend: &dyn Backend, kind: Kind, name: &Id) -> Result<Vec<u8>, Error> {
    let text = name.to_string();
    let wrong = |error| Error::reading(backend, kind, &text, error);
    let is_whole = |bytes: &[u8]| crypto::object_name(bytes) == *name;
    let most = if kind == Kind::Packs { format::limits::PACK_MAX } else { format::limits::SMALL_MAX as u64 };
    let fetch = || again(|| backend.get_at_most(kind, &text, most));
    let bytes = again::get(fetch, is_whole).map_err(wrong)?;
    if is_whole(&bytes) {
        return Ok(bytes);
    }
    Err(Error::damaged(kind, &text, "its bytes are not those that were stored"))
}

/// Fetches a key slot whatever it hashes to: one flipped bit beside what opens it must not lock anybody out. `check` and the list of
/// keys name it as damaged.
pub(crate) fn get_slot(backend: &dyn Backend, name: &Id) -> Result<Vec<u8>, Error> {
    let text = name.to_string();
    let is_whole = |bytes: &[u8]| crypto::object_name(bytes) == *name;
    let fetch = || again(|| backend.get_at_most(Kind::Keys, &text, format::limits::SLOT_MAX as u64));
    match again::get(fetch, is_whole) {
        Err(backend::Error::TooLong { .. }) => Err(Error::damaged(Kind::Keys, &text, "it is far too long")),
        other => Ok(other?),
    }
}

/// Names of all objects of a kind that are named by hash, in the order in which the storage lists them.
pub(crate) fn list_names(backend: &dyn Backend, kind: Kind) -> Result<Vec<Id>, Error> {
    let mut names = Vec::new();
    backend.list(kind, &mut |entry| names.extend(Id::parse(&entry.name)))?;
    Ok(names)
}

impl Repository {
    /// The same repository with another index, which `make` opens after this one is closed. It is empty until `sync`.
    pub fn with_index(
        self,
        make: impl FnOnce(Id16) -> Result<(Index, Opened), index::Error>,
    ) -> Result<Repository, Error> {
        drop(self.index);
        let (index, cache) = make(self.keys.cache_id())?;
        let blocks = reader::BlockCache::default();
        let (looked_again, seen, mended) = (Mutex::default(), Mutex::default(), Mutex::default());
        let repository = Repository { index, cache, blocks, looked_again, seen, mended, ..self };
        repository.rely(true);
        Ok(repository)
    }

    /// The repository's id.
    pub fn id(&self) -> Id16 {
        self.keys.repository
    }

    /// Under which what is known of it with this key is kept on this machine.
    pub fn cache_id(&self) -> Id16 {
        self.keys.cache_id()
    }

    /// Where it is, for messages.
    pub fn location(&self) -> String {
        self.backend.location()
    }

    /// What is wrong with the `config` objects themselves; copies elsewhere may have opened the repository all the same.
    pub fn config_problems(&self) -> Result<Vec<Error>, Error> {
        let (mut problems, mut sound) = (Vec::new(), Vec::new());
        let mut names = Vec::new();
        self.backend.list(Kind::Config, &mut |entry| names.push(entry.name))?;
        for name in names {
            let opens = |object: &[u8]| format::config::decode(&self.keys, object).is_ok();
            let object = match again::get(|| again(|| self.backend.get(Kind::Config, &name)), opens) {
                Ok(object) => object,
                Err(error) => {
                    problems.push(error.into());
                    continue;
                }
            };
            match format::config::decode(&self.keys, &object) {
                Ok(_) => sound.push(name),
                Err(error) => problems.push(Error::decode(Kind::Config, &name, error)),
            }
        }
        let own = config_name(self.config.generation);
        if !sound.contains(&own) && problems.is_empty() {
            let place = if self.config_is_lost { "the local cache" } else { "a key slot" };
            let what = format!("it is missing; a copy in {place} is in use");
            problems.push(Error::damaged(Kind::Config, &own, &what));
        }
        Ok(problems)
    }

    /// Writes down what a check found damaged.
    pub fn put_damage(&self, damage: &format::session::Damage) -> Result<(), Error> {
        // What is written down already need not be so again at every check.
        let (mut packs, mut lost) = (HashSet::new(), damage.lost.is_none());
        for name in list_names(&*self.backend, Kind::Damage)? {
            if let Ok(known) = self.damage(&name) {
                lost |= known.lost == damage.lost;
                packs.extend(known.packs);
            }
        }
        if lost && damage.packs.iter().all(|pack| packs.contains(pack)) {
            return Ok(());
        }
        let object = format::session::encode_damage(&self.keys, damage)
            .map_err(|error| Error::format("the damage record", error))?;
        put_named(&*self.backend, Kind::Damage, &object)?;
        Ok(())
    }

    /// Computes ids under this repository's keys.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The secret table of its cutter.
    pub fn gear_table(&self) -> Box<[u64; 256]> {
        self.keys.gear_table()
    }

    /// Waits until what was put is sure to be listed, where the storage takes its time.
    ///
    /// Errors: `Unsettled` when it does not say how long: then nothing can be removed safely.
    pub fn settle(&self, clock: &dyn Clock) -> Result<(), Error> {
        match self.backend.listing_lag_seconds() {
            Some(0) => Ok(()),
            // Who lists just before sees what was put as long ago as it takes; who lists just after must see this.
            Some(seconds) => {
                clock.pause(2 * seconds);
                Ok(())
            }
            None => Err(Error::Unsettled { location: self.backend.location() }),
        }
    }

    /// One damage record.
    pub(crate) fn damage(&self, name: &Id) -> Result<format::session::Damage, Error> {
        let object = get_named(&*self.backend, Kind::Damage, name)?;
        format::session::decode_damage(&self.keys, &object)
            .map_err(|error| Error::decode(Kind::Damage, &name.to_string(), error))
    }

    /// Packs that were found damaged.
    pub fn damaged_packs(&self) -> Result<HashSet<Id>, Error> {
        let mut packs = HashSet::new();
        for name in list_names(&*self.backend, Kind::Damage)? {
            packs.extend(self.damage(&name)?.packs);
        }
        Ok(packs)
    }

    /// The storage's clock.
    pub fn storage_time(&self) -> Result<crate::model::Time, Error> {
        Ok(self.backend.time()?)
    }

    /// Says so when what was stored in this run may not be on the storage's disk yet.
    pub fn tell_unsynced(&self, listener: &dyn Listener) {
        if self.backend.is_unsynced() {
            listener.event(Event::Note(
                "the repository's file system or server does not sync: a power failure there may lose what was just stored",
            ));
        }
    }

    /// How much room there is where it lies; none where that is not known.
    pub fn space(&self) -> Result<Option<backend::Space>, Error> {
        Ok(self.backend.space()?)
    }

    /// Stored bytes and number of objects of a kind.
    pub fn usage(&self, kind: Kind) -> Result<(u64, u64), Error> {
        let (mut bytes, mut count) = (0, 0);
        self.backend.list(kind, &mut |entry: backend::Entry| {
            bytes += entry.size;
            count += 1;
        })?;
        Ok((bytes, count))
    }

    /// The client id of this machine and cache: random, remembered in the cache, and made anew when the cache moved to another machine.
    pub fn client(&self) -> Result<Id16, Error> {
        let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
        let machine = self.hasher.local(&machine);
        if let Some(fact) = self.index.fact("client")?
            && let Ok(bytes) = <[u8; 32]>::try_from(fact)
            && bytes[16..] == machine.0
            && let Some(id) = bytes.first_chunk()
        {
            return Ok(Id16(*id));
        }
        let id: [u8; 16] = crypto::random()?;
        // A cache that can not be written gives a new id at every run, which costs nothing but a name.
        let _ = self.index.set_fact("client", &[id, machine.0].concat());
        Ok(Id16(id))
    }
}
