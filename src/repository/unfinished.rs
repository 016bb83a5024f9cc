//! A creation that was cut off: there is a key slot and no `config` yet. Whoever comes with the same secret finishes it.

use super::again::again;
use super::{Creation, Error, config_name, get_slot, list_names};
use crate::backend::{Backend, Kind};
use crate::format::{config, slot};
use crate::model::Id16;

fn is_empty(backend: &dyn Backend, kind: Kind) -> Result<bool, Error> {
    let mut empty = true;
    backend.list(kind, &mut |_| empty = false)?;
    Ok(empty)
}

/// Whether a creation was cut off here: a key slot alone, or a folder without anything in it.
pub fn is_unfinished(backend: &dyn Backend) -> Result<bool, Error> {
    for kind in [Kind::Config, Kind::Index, Kind::Snapshots, Kind::Packs] {
        if !is_empty(backend, kind)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts the `config` that a slot has a copy of, and gives the repository's id; none when no slot opens with the secret.
pub(super) fn finish(backend: &dyn Backend, creation: &Creation<'_>) -> Result<Option<Id16>, Error> {
    for name in list_names(backend, Kind::Keys)? {
        let object = get_slot(backend, &name)?;
        let (Ok(slot), Ok(Some(given))) = (slot::decode(&object), slot::open(&object, creation.unlock))
        else {
            continue;
        };
        let keys = given.keys(slot.repository);
        if let Ok(config) = config::decode(&keys, &slot.config) {
            again(|| backend.put(Kind::Config, &config_name(config.generation), &slot.config))?;
            return Ok(Some(keys.repository));
        }
    }
    Ok(None)
}
