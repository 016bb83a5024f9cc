//! Opening a repository: which one it is, the key slot that opens, and the copy of `config` that is in force. A damaged copy is passed
//! over as long as a sound one is there.

use std::path::Path;
use std::sync::Mutex;

use super::{Error, Repository, again, config_name, keys, reader};
use crate::backend::{Backend, Kind};
use crate::crypto::{Hasher, Keys};
use crate::format::config::{self, Config};
use crate::format::{self, header, slot, slot::Given, slot::Unlock};
use crate::index::{Index, Opened};
use crate::model::{Id, Id16};

/// Under which the highest generation of `config` is remembered that was seen here.
pub(crate) const GENERATION_FACT: &str = "config generation";

/// Under which the newest `config` object is kept that was seen here: should storage lose it, nobody is locked out.
const OBJECT_FACT: &str = "config object";

/// A copy of `config`: an object of that name, the one in a key slot, or the one that this client kept.
struct Candidate {
    object: String,
    /// The generation that its name says; none of a copy in a slot.
    generation: Option<u64>,
    /// Whether its bytes are known to be those that were stored.
    whole: bool,
    /// Whether it lies in storage, so that others find it too.
    is_stored: bool,
    bytes: Vec<u8>,
}

/// Every copy of `config` that can be fetched, the key slots, the repositories that those say they are of, and what could not be fetched.
#[derive(Default)]
pub struct Found {
    candidates: Vec<Candidate>,
    slots: Vec<keys::Fetched>,
    repositories: Vec<Id16>,
    problems: Vec<Error>,
}

impl Found {
    /// Whether there is nothing at all of a repository.
    fn is_empty(&self) -> bool {
        self.candidates.is_empty() && self.slots.is_empty() && self.problems.is_empty()
    }
}

/// Looks for a repository: what there is before anything is opened.
///
/// Errors: `NoRepository`.
pub fn find(backend: &dyn Backend) -> Result<Found, Error> {
    let found = match fetch(backend) {
        // Not even the bucket is there.
        Err(Error::Backend(error)) if error.is_not_found() => Found::default(),
        other => other?,
    };
    if found.is_empty() {
        return Err(Error::NoRepository { location: backend.location() });
    }
    Ok(found)
}

fn fetch(backend: &dyn Backend) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut names = Vec::new();
    let mut slots = Vec::new();
    backend.list_kinds(&[Kind::Config, Kind::Keys], &mut |kind, entry| match kind {
        Kind::Config => names.push((entry.name, entry.size)),
        _ => slots.extend(Id::parse(&entry.name)),
    })?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    for (name, size) in names {
        let object = format!("{}/{name}", Kind::Config.folder());
        if size > format::limits::SMALL_MAX as u64 {
            found.problems.push(Error::damaged(Kind::Config, &name, "it is far too long"));
            continue;
        }
        // That the keys open it can not be known yet; that it begins like one can.
        let begins = |bytes: &[u8]| header::decode(bytes, config::KIND).is_ok();
        match again::get(|| again::again(|| backend.get(Kind::Config, &name)), begins) {
            Ok(bytes) => {
                let generation = u64::from_str_radix(&name, 16).ok();
                found.candidates.push(Candidate { object, generation, whole: false, is_stored: true, bytes });
            }
            Err(error) => found.problems.push(error.into()),
        }
    }
    found.slots = keys::fetch(backend, slots);
    let mut is_told = false;
    for keys::Fetched { name, object } in &found.slots {
        let Some(bytes) = object else { continue };
        let whole = crate::crypto::object_name(bytes) == *name;
        if let Ok(repository) = header::decode(bytes, slot::KIND) {
            is_told |= whole;
            if !found.repositories.contains(&repository) {
                found.repositories.push(repository);
            }
        }
        if let Ok(slot) = slot::decode(bytes)
            && !slot.config.is_empty()
        {
            let object = format!("the copy of config in {}/{name}", Kind::Keys.folder());
            found.candidates.push(Candidate {
                object,
                generation: None,
                whole,
                is_stored: true,
                bytes: slot.config,
            });
        }
    }
    // The one that `config` names first, so that a slot put there by mistake asks for nothing.
    let named =
        found.candidates.iter().find_map(|candidate| header::decode(&candidate.bytes, config::KIND).ok());
    // Where no slot is whole, its header may be what was changed.
    let named_alone = named.filter(|named| !is_told && !found.repositories.contains(named));
    found.repositories.extend(named_alone);
    found.repositories.sort_by_key(|repository| Some(*repository) != named);
    Ok(found)
}

/// The index of a repository. A cache that can be opened and then not read is put aside: it is only a help.
fn open_index(repository: Id16, cache: Option<&Path>) -> Result<(Index, Opened), Error> {
    let Some(folder) = cache else { return Ok((Index::in_memory(repository)?, Opened::Fresh)) };
    let (index, opened) = Index::open(folder, repository)?;
    match index.fact("slot").and_then(|_| index.fact(GENERATION_FACT)) {
        Err(error) if !error.is_passing() => {
            drop(index);
            let reason = error.to_string();
            Index::put_aside(folder, &repository)?;
            let (index, _) = Index::open(folder, repository)?;
            Ok((index, Opened::Rebuilt { reason }))
        }
        _ => Ok((index, opened)),
    }
}

/// The index of a repository, and its keys, by the slot that opens.
fn unlock(
    backend: &dyn Backend,
    slots: &[keys::Fetched],
    repository: Id16,
    unlock: Unlock<'_>,
    cache: Option<&Path>,
) -> Result<(Given, Id, Index, Opened), Error> {
    let (index, opened) = open_index(repository, cache)?;
    let (given, slot) = keys::unlock(backend, slots, repository, unlock, index.fact("slot").ok().flatten())?;
    Ok((given, slot, index, opened))
}

/// The copy of `config` that is in force.
struct Chosen {
    config: Config,
    object: Vec<u8>,
    /// Storage does not have it as it should be.
    is_lost: bool,
    /// What is wrong with others.
    warnings: Vec<Error>,
}

/// The copy of the highest generation that verifies, and what is wrong with those that do not.
fn choose(keys: &Keys, found: Found) -> Result<Chosen, Error> {
    let mut warnings = found.problems;
    let mut best: Option<(Config, Vec<u8>, bool)> = None;
    let mut unsupported = Vec::new();
    for Candidate { object, generation, whole, is_stored, bytes } in found.candidates {
        let is_own = |config: &Config| generation.is_none_or(|generation| generation == config.generation);
        match config::decode(keys, &bytes) {
            Ok(config) if !is_own(&config) => {
                warnings.push(Error::Damaged { object, what: "it is of another generation".to_owned() });
            }
            Ok(config) => {
                if best.as_ref().is_none_or(|(known, ..)| known.generation < config.generation) {
                    best = Some((config, bytes, !is_stored));
                }
            }
            Err(error) => {
                // A changed byte in the header, which must not look like a later program's word: what opens is whole but for that.
                let mended = header::with_own(&bytes, config::KIND, keys.repository);
                match config::decode(keys, &mended) {
                    Ok(config) if is_own(&config) => {
                        warnings.push(Error::Damaged { object, what: "its header was changed".to_owned() });
                        if best.as_ref().is_none_or(|(known, ..)| known.generation < config.generation) {
                            best = Some((config, mended, true));
                        }
                    }
                    _ if error.is_unsupported() => {
                        unsupported.push((generation, whole, Error::format(&object, error)));
                    }
                    _ => warnings.push(Error::format(&object, error)),
                }
            }
        }
    }
    for (generation, whole, error) in unsupported {
        // A later version's, unless another copy of that very generation, or of a later one, is sound: then it is a flipped bit.
        match &best {
            Some((config, ..)) if generation.map_or(!whole, |generation| generation <= config.generation) => {
                warnings.push(error);
            }
            _ => return Err(error),
        }
    }
    match best {
        Some((config, object, is_lost)) => Ok(Chosen { config, object, is_lost, warnings }),
        None => Err(warnings.into_iter().next().unwrap_or_else(|| {
            Error::damaged(Kind::Config, "", "there is none, and no key slot has a copy")
        })),
    }
}

/// Opens a repository. `cache` is the folder for the index; without one, the index lives in memory for this run.
///
/// Errors: `NoRepository`, `WrongKey`, `Unsupported` for a later format, `Damaged`.
pub fn open(
    backend: Box<dyn Backend>,
    secret: Unlock<'_>,
    cache: Option<&Path>,
) -> Result<Repository, Error> {
    let found = find(&*backend)?;
    open_found(backend, found, secret, cache)
}

/// The same of what was found.
pub fn open_found(
    backend: Box<dyn Backend>,
    mut found: Found,
    secret: Unlock<'_>,
    cache: Option<&Path>,
) -> Result<Repository, Error> {
    let mut failure = None;
    let mut unlocked = None;
    for repository in &found.repositories {
        match unlock(&*backend, &found.slots, *repository, secret, cache) {
            Ok(opened) => {
                unlocked = Some((*repository, opened));
                break;
            }
            Err(error @ Error::WrongKey { .. }) => failure = Some(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let Some((repository, (given, slot_name, index, opened))) = unlocked else {
        // No slot says of which repository it is: what is wrong with them is the answer.
        return Err(match failure {
            Some(error) => error,
            None => keys::unlock(&*backend, &found.slots, Id16::default(), secret, None)
                .err()
                .unwrap_or_else(|| Error::damaged(Kind::Keys, "", "no key slot can be read")),
        });
    };
    let _ = index.set_fact("slot", &slot_name.0);
    if let Given::Writer(_, config) = &given {
        return open_for_writer(backend, found, config.clone(), given.keys(repository), slot_name, cache);
    }
    let (keys, cache) = (given.keys(repository), opened);
    // Last, so that of equal ones the one in storage counts.
    if let Some(bytes) = index.fact(OBJECT_FACT)? {
        let object = "the copy of config in the local cache".to_owned();
        found.candidates.push(Candidate { object, generation: None, whole: true, is_stored: false, bytes });
    }
    let stored: Vec<u64> = found.candidates.iter().filter_map(|candidate| candidate.generation).collect();
    let Chosen { config, object: config_object, is_lost: config_is_lost, warnings: mut config_warnings } =
        choose(&keys, found)?;
    let config_is_missing = !stored.contains(&config.generation);
    // Storage may take its time to list what was just put, and gives it all the same.
    let name = config_name(config.generation);
    let config_is_lost =
        config_is_lost && !backend.get(Kind::Config, &name).is_ok_and(|stored| stored == config_object);
    if config_is_lost && config_warnings.is_empty() {
        config_warnings.push(Error::damaged(
            Kind::Config,
            &name,
            "it is missing: lost, or the repository was rolled back",
        ));
    }
    // A rolled-back config must not go unnoticed.
    if let Some(seen) =
        index.fact(GENERATION_FACT)?.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
        && config.generation < seen
    {
        return Err(Error::damaged(
            Kind::Config,
            &config_name(seen),
            "a newer one was here before: the repository was rolled back",
        ));
    }
    remember(&index, &config, &config_object);
    let chosen = Chosen { config, object: config_object, is_lost: config_is_lost, warnings: config_warnings };
    Ok(Repository { config_is_missing, ..assembled(backend, keys, chosen, slot_name, (index, cache)) })
}

/// A repository of these parts.
fn assembled(
    backend: Box<dyn Backend>,
    keys: Keys,
    chosen: Chosen,
    slot: Id,
    (index, cache): (Index, Opened),
) -> Repository {
    let repository = Repository {
        backend,
        hasher: Hasher::new(&keys),
        keys,
        config: chosen.config,
        config_object: chosen.object,
        config_is_lost: chosen.is_lost,
        config_is_missing: false,
        config_warnings: chosen.warnings,
        slot,
        index,
        blocks: reader::BlockCache::default(),
        pages: None,
        mended: Mutex::default(),
        cache,
        seen: Mutex::default(),
        looked_again: Mutex::default(),
    };
    repository.rely(true);
    repository
}

/// Opens a repository for who adds only. It goes by the `config` in its slot, since it can not open another; of a later format it sees so
/// much.
fn open_for_writer(
    backend: Box<dyn Backend>,
    found: Found,
    config: Config,
    keys: Keys,
    slot: Id,
    cache: Option<&Path>,
) -> Result<Repository, Error> {
    for Candidate { object, bytes, generation, .. } in &found.candidates {
        if let (Some(_), Err(error)) = (generation, config::peek(bytes))
            && error.is_unsupported()
        {
            return Err(Error::format(object, error));
        }
    }
    let index = open_index(keys.cache_id(), cache)?;
    let chosen = Chosen { config, object: Vec::new(), is_lost: false, warnings: Vec::new() };
    Ok(assembled(backend, keys, chosen, slot, index))
}

/// Remembers the newest `config` that was seen.
fn remember(index: &Index, config: &Config, object: &[u8]) {
    let _ = index.set_fact(GENERATION_FACT, &config.generation.to_le_bytes());
    // The first one is in every key slot.
    if config.generation > 1 && index.fact(OBJECT_FACT).ok().flatten().as_deref() != Some(object) {
        let _ = index.set_fact(OBJECT_FACT, object);
    }
}

impl Repository {
    /// Puts `config` back where storage lost or spoiled it, and this client still has it; or where a creation was cut off before it came to
    /// that, as the key slots have it.
    pub fn put_back_config(&self) -> Result<(), Error> {
        let name = config_name(self.config.generation);
        match () {
            () if self.config_is_lost => {
                Ok(self.backend.replace(Kind::Config, &name, &self.config_object)?)
            }
            () if self.config_is_missing => Ok(self.backend.put(Kind::Config, &name, &self.config_object)?),
            () => Ok(()),
        }
    }

    /// Makes a new generation of `config`, which `change` makes of the one in force, until it says that nothing is to be changed. What
    /// another client said meanwhile stays.
    pub fn change_config(&mut self, change: impl Fn(&mut Config)) -> Result<(), Error> {
        self.put_back_config()?;
        self.config_is_lost = false;
        loop {
            let mut config = self.config.clone();
            change(&mut config);
            if config == self.config {
                return Ok(());
            }
            config.generation += 1;
            let object = config::encode(&self.keys, &config)
                .map_err(|error| Error::format("the new config", error))?;
            let name = config_name(config.generation);
            match self.backend.put(Kind::Config, &name, &object) {
                Err(crate::backend::Error::Exists { .. }) => {}
                other => other?,
            }
            // Two clients at the same moment: the first one's is there, and the other goes on from it.
            let stored = self.backend.get(Kind::Config, &name)?;
            self.config = config::decode(&self.keys, &stored)
                .map_err(|error| Error::decode(Kind::Config, &name, error))?;
            self.config_object = stored;
            remember(&self.index, &self.config, &self.config_object);
        }
    }
}
