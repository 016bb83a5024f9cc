//! Whether what snapshots need is there. A look-up for each chunk of each file costs many times what the walk does, and nearly always all
//! are there: so a first walk only gathers them, and all go side by side with the rows of the index. Only when that leaves a doubt about
//! any, each is looked up where it is met, in a second walk that tells what is hit.

use std::collections::{HashMap, HashSet};

use super::Check;
use super::walk::Walked;
use crate::backend::Kind;
use crate::index::{self, Gather, Location, Place};
use crate::locks::lock;
use crate::model::{Contents, Id};
use crate::repository::snapshots::Named;
use crate::repository::{Error, list_names};
use crate::terminal::size::{agree, show_count};

/// Chunks between two looks at whether to stop.
const STOP_EVERY: u64 = 1 << 16;

/// The packs that nothing is wrong with, and that an index object names.
struct GoodPacks {
    /// Plain lengths of their blocks, by their rows.
    blocks: HashMap<u64, Vec<u32>>,
}

impl GoodPacks {
    /// Whether one of them holds a chunk of that length at this place.
    fn hold(&self, place: &Place, length: u32) -> bool {
        let block = self.blocks.get(&place.pack).and_then(|blocks| blocks.get(place.block as usize));
        let end = u64::from(place.offset) + u64::from(place.length);
        place.length == length && block.is_some_and(|plain| end <= u64::from(*plain))
    }
}

impl Check<'_> {
    /// Walks all snapshots. None when not every chunk of data is for certain in a good pack: then what was seen counts for nothing.
    pub(super) fn walk_when_sound(&self, snapshots: &[&Named]) -> Result<Option<Walked>, Error> {
        let gather = Gather::sized(self.repository.index.folder().as_deref()).ok();
        let gathers = gather.is_some();
        *lock(&self.met) = gather;
        let walked = self.walk_all(snapshots);
        let met = lock(&self.met).take();
        let walked = walked?;
        let sound = match met {
            Some(met) => self.all_there(met)?,
            // With no room for them from the beginning, each was looked up.
            None => !gathers,
        };
        Ok(sound.then_some(walked))
    }

    /// Whether good packs hold all of these chunks. Where the index can not tell, it is not known.
    fn all_there(&self, met: Gather) -> Result<bool, Error> {
        match self.look_up(met) {
            // Single look-ups need no room and change nothing; they tell what is wrong.
            Err(Error::Index(_)) => Ok(false),
            other => other,
        }
    }

    fn look_up(&self, met: Gather) -> Result<bool, Error> {
        let index = &self.repository.index;
        let met = met.finish()?;
        // What waits in memory has no row yet.
        index.flush()?;
        let good = self.good_packs()?;
        let (mut all, mut count) = (true, 0u64);
        index.each_used(&met, &mut |chunk, places| {
            count += 1;
            if count.is_multiple_of(STOP_EVERY) {
                self.check_stop()?;
            }
            all = all && places.iter().any(|place| good.hold(place, chunk.rank));
            Ok::<(), Error>(())
        })?;
        Ok(all)
    }

    fn good_packs(&self) -> Result<GoodPacks, index::Error> {
        let bad = lock(&self.bad_packs).clone();
        let mut blocks = HashMap::new();
        self.repository.index.packs(&mut |pack| {
            if pack.listed && !bad.contains(&pack.name) {
                blocks.insert(pack.row, pack.blocks.iter().map(|block| block.plain).collect());
            }
        })?;
        Ok(GoodPacks { blocks })
    }

    /// Gathers a chunk when this walk does; false when it is to be looked up.
    fn is_met_later(&self, contents: Contents, id: &Id, length: u64) -> bool {
        let mut met = lock(&self.met);
        let Some(gather) = met.as_mut() else { return false };
        let length = u32::try_from(length).ok().filter(|length| *length <= i32::MAX as u32);
        let added = length.map(|length| gather.add_sized(contents, id, length));
        if !matches!(added, Some(Ok(()))) {
            // No chunk is that long, or there is no room: the rest of this walk and the next one look up each.
            *met = None;
            return false;
        }
        true
    }

    /// Whether some pack still gives this chunk in that length, as far as this check knows. One that none gives is remembered. A walk that
    /// gathers what it meets takes it as there.
    pub(super) fn is_there(&self, contents: Contents, id: &Id, length: u64) -> Result<bool, Error> {
        if self.is_met_later(contents, id, length) {
            return Ok(true);
        }
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
