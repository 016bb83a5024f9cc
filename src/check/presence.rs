//! Whether what snapshots need is there.

use std::collections::HashSet;

use super::Check;
use crate::backend::Kind;
use crate::index::Location;
use crate::locks::lock;
use crate::model::{Contents, Id};
use crate::repository::{Error, list_names};
use crate::terminal::size::{agree, show_count};

impl Check<'_> {
    /// Whether some pack still gives this chunk in that length, as far as this check knows. One that none gives is remembered.
    pub(super) fn is_there(&self, contents: Contents, id: &Id, length: u64) -> Result<bool, Error> {
        let mut locations = self.repository.places(contents, id)?;
        locations.retain(|location| u64::from(location.length) == length);
        let good = |location: &&Location| !lock(&self.bad_packs).contains(&location.pack.name);
        if locations.iter().any(|location| good(&location)) {
            self.note_unnamed(locations.iter().filter(good));
            return Ok(true);
        }
        for location in &locations {
            if lock(&self.mendable).get(&location.pack.name) == Some(&true) {
                lock(&self.needed_packs).insert(location.pack.name);
                return Ok(true);
            }
        }
        for location in &locations {
            // In a damaged pack, but perhaps in a good part of it: look.
            let bad = lock(&self.bad_chunks).contains(&(contents, *id, location.pack.name));
            if !bad && self.repository.try_chunk_at(contents, id, location).is_ok() {
                lock(&self.needed_packs).insert(location.pack.name);
                return Ok(true);
            }
        }
        lock(&self.needed_packs).extend(locations.iter().map(|location| location.pack.name));
        for location in &locations {
            if self.is_mendable(&location.pack.name)? {
                return Ok(true);
            }
        }
        // Where storage did not give it, nothing is known of it.
        let unread = lock(&self.unread);
        if !locations.iter().any(|location| unread.contains_key(&location.pack.name)) {
            lock(&self.lost).insert((contents, *id));
        }
        Ok(false)
    }

    /// Remembers packs that are needed and that no index object names, when no other of these is named.
    fn note_unnamed<'l>(&self, places: impl Iterator<Item = &'l Location> + Clone) {
        if places.clone().all(|place| !place.pack.listed) {
            lock(&self.unnamed_packs).extend(places.map(|place| place.pack.name));
        }
    }

    /// Tells that index objects are missing, when packs that snapshots need are named by none. Where some can not be read, that is told.
    pub(super) fn tell_unnamed(&self) -> Result<(), Error> {
        let mut unnamed = std::mem::take(&mut *lock(&self.unnamed_packs));
        if unnamed.is_empty() || lock(&self.findings).iter().any(|finding| finding.kind == "index") {
            return Ok(());
        }
        // Those that came since this check began may name them.
        let known: HashSet<Id> = self.repository.index.known_index_objects()?.into_iter().collect();
        for name in list_names(&*self.repository.backend, Kind::Index)? {
            if !known.contains(&name) {
                match self.repository.load_index_object(&name) {
                    Ok(object) => object.packs.iter().for_each(|entry| _ = unnamed.remove(&entry.name)),
                    Err(error) if error.is_damage() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if !unnamed.is_empty() {
            let count = unnamed.len() as u64;
            let what = format!(
                "index objects are missing: {} that snapshots need {} named by none, and {} what {}",
                show_count(count, "pack"),
                agree(count, "is", "are"),
                agree(count, "says itself", "say themselves"),
                agree(count, "it holds", "they hold")
            );
            self.find("index", self.repository.location(), what);
        }
        Ok(())
    }

    /// After a tree or page could not be read: the packs that do not give it are damaged.
    pub(super) fn not_read(&self, id: &Id) -> Result<(), Error> {
        let places = self.repository.places(Contents::Trees, id)?;
        let mut unread = Vec::new();
        for place in &places {
            match self.repository.try_chunk_at(Contents::Trees, id, place) {
                // Its bytes are as they were stored: it is what they say that is wrong.
                Ok(()) => return Ok(()),
                Err(Error::Unread { forbidden, .. }) => unread.push((place.pack.name, forbidden)),
                Err(_) => {}
            }
        }
        if unread.is_empty() {
            lock(&self.lost).insert((Contents::Trees, *id));
        }
        places.iter().for_each(|place| self.bad_pack(place.pack.name));
        unread.into_iter().for_each(|(pack, forbidden)| self.unread_pack(pack, forbidden));
        Ok(())
    }

    /// A tree or page that was read: where no good pack holds it, the damaged ones that do are needed.
    pub(super) fn was_read(&self, id: &Id) -> Result<(), Error> {
        let bad = lock(&self.bad_packs);
        if bad.is_empty() && !self.repository.has_adopted() {
            return Ok(());
        }
        let places = self.repository.index.lookup_for_reading(Contents::Trees, id)?;
        self.note_unnamed(places.iter().filter(|place| !bad.contains(&place.pack.name)));
        if places.iter().all(|place| bad.contains(&place.pack.name)) {
            lock(&self.needed_packs).extend(places.iter().map(|place| place.pack.name));
        }
        Ok(())
    }
}
