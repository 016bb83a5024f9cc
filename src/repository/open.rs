//! Opening a repository: which one it is, the key slot that opens, and the copy of `config` that is in force. A damaged copy is passed
//! over as long as a sound one is there.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use super::{Error, Repository, config_name, get_slot, keys, list_names, reader};
use crate::backend::{Backend, Kind};
use crate::crypto::{Hasher, Keys};
use crate::format::config::{self, Config};
use crate::format::{self, header, slot, slot::Unlock};
use crate::index::{Index, Opened};
use crate::model::{Id, Id16};

/// Under which the highest generation of `config` is remembered that was seen here.
const GENERATION_FACT: &str = "config generation";

/// A copy of `config`: an object of that name, or the one in a key slot.
struct Candidate {
    object: String,
    /// The generation that its name says; none of a copy in a slot.
    generation: Option<u64>,
    /// Whether its bytes are known to be those that were stored.
    whole: bool,
    bytes: Vec<u8>,
}

/// Every copy of `config` that can be fetched, the repositories that key slots say they are of, and what could not be fetched.
#[derive(Default)]
struct Found {
    candidates: Vec<Candidate>,
    repositories: Vec<Id16>,
    problems: Vec<Error>,
}

fn find(backend: &dyn Backend) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut names = Vec::new();
    backend.list(Kind::Config, &mut |entry| names.push((entry.name, entry.size)))?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    for (name, size) in names {
        let object = format!("{}/{name}", Kind::Config.folder());
        if size > format::limits::SMALL_MAX as u64 {
            found.problems.push(Error::damaged(Kind::Config, &name, "it is far too long"));
            continue;
        }
        match backend.get(Kind::Config, &name) {
            Ok(bytes) => {
                let generation = u64::from_str_radix(&name, 16).ok();
                found.candidates.push(Candidate { object, generation, whole: false, bytes });
            }
            Err(error) => found.problems.push(error.into()),
        }
    }
    for name in list_names(backend, Kind::Keys)? {
        let Ok(bytes) = get_slot(backend, &name) else { continue };
        if let Ok(repository) = header::decode(&bytes, slot::KIND)
            && !found.repositories.contains(&repository)
        {
            found.repositories.push(repository);
        }
        if let Ok(slot) = slot::decode(&bytes)
            && !slot.config.is_empty()
        {
            let object = format!("the copy of config in {}/{name}", Kind::Keys.folder());
            let whole = crate::crypto::object_name(&bytes) == name;
            found.candidates.push(Candidate { object, generation: None, whole, bytes: slot.config });
        }
    }
    // The one that `config` names first, so that a slot put there by mistake asks for nothing.
    let named =
        found.candidates.iter().find_map(|candidate| header::decode(&candidate.bytes, config::KIND).ok());
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
    repository: Id16,
    unlock: Unlock<'_>,
    cache: Option<&Path>,
) -> Result<(Keys, Id, Index, Opened), Error> {
    let (index, opened) = open_index(repository, cache)?;
    let (keys, slot) = keys::unlock(backend, repository, unlock, index.fact("slot").ok().flatten())?;
    Ok((keys, slot, index, opened))
}

/// The `config` in force.
struct Chosen {
    config: Config,
    object: Vec<u8>,
    /// There is none of that name: this is the copy in a key slot.
    is_missing: bool,
    warnings: Vec<Error>,
}

/// The copy of the highest generation that verifies, and what is wrong with those that do not.
fn choose(keys: &Keys, found: Found) -> Result<Chosen, Error> {
    let mut warnings = found.problems;
    let mut best: Option<(Config, Vec<u8>)> = None;
    let stored: HashSet<u64> = found.candidates.iter().filter_map(|candidate| candidate.generation).collect();
    let mut unsupported = Vec::new();
    for Candidate { object, generation, whole, bytes } in found.candidates {
        match config::decode(keys, &bytes) {
            Ok(config) if generation.is_some_and(|generation| generation != config.generation) => {
                warnings.push(Error::Damaged { object, what: "it is of another generation".to_owned() });
            }
            Ok(config) => {
                if best.as_ref().is_none_or(|(known, _)| known.generation < config.generation) {
                    best = Some((config, bytes));
                }
            }
            Err(error) if error.is_unsupported() => {
                unsupported.push((generation, whole, Error::format(&object, error)));
            }
            Err(error) => warnings.push(Error::format(&object, error)),
        }
    }
    for (generation, whole, error) in unsupported {
        // A later version's, unless another copy of that very generation, or of a later one, is sound: then it is a flipped bit.
        match &best {
            Some((config, _)) if generation.map_or(!whole, |generation| generation <= config.generation) => {
                warnings.push(error);
            }
            _ => return Err(error),
        }
    }
    match best {
        Some((config, object)) => {
            let is_missing = !stored.contains(&config.generation);
            Ok(Chosen { config, object, is_missing, warnings })
        }
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
    if !backend.exists_repository()? {
        return Err(Error::NoRepository { location: backend.location() });
    }
    let found = find(&*backend)?;
    let mut failure = None;
    let mut unlocked = None;
    for repository in &found.repositories {
        match unlock(&*backend, *repository, secret, cache) {
            Ok(opened) => {
                unlocked = Some(opened);
                break;
            }
            Err(error @ Error::WrongKey { .. }) => failure = Some(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let Some((keys, slot_name, index, cache)) = unlocked else {
        // No slot says of which repository it is: what is wrong with them is the answer.
        return Err(match failure {
            Some(error) => error,
            None => keys::unlock(&*backend, Id16::default(), secret, None)
                .err()
                .unwrap_or_else(|| Error::damaged(Kind::Keys, "", "no key slot can be read")),
        });
    };
    let _ = index.set_fact("slot", &slot_name.0);
    let Chosen { config, object: config_object, is_missing, warnings: config_warnings } =
        choose(&keys, found)?;
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
    let _ = index.set_fact(GENERATION_FACT, &config.generation.to_le_bytes());
    Ok(Repository {
        backend,
        hasher: Hasher::new(&keys),
        keys,
        config,
        config_object,
        is_config_missing: is_missing,
        config_warnings,
        index,
        blocks: reader::BlockCache::default(),
        cache,
        seen: Mutex::default(),
        looked_again: Mutex::default(),
    })
}
