//! When the local index may be wrong: every index object is read again and compared, and packs are asked themselves. A flipped bit in a
//! cache, or a lost index object, must not cost a file that the packs still hold.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Error, Repository, list_names, packs, sync::Synced};
use crate::backend::Kind;
use crate::format::index::IndexObject;
use crate::index::{Location, Opened, PackRecord};
use crate::locks::lock;
use crate::model::{Contents, Id};

/// What a comparison of the local index with the repository found.
#[derive(Debug, Default)]
pub struct Compared {
    /// Index objects that can not be read.
    pub problems: Vec<Error>,
    /// Packs of which the local index said something else; it is mended.
    pub mended: u64,
}

impl Repository {
    /// Whether the local index may hold what was not read from the repository in this run.
    pub fn may_doubt_cache(&self) -> bool {
        self.cache == Opened::Existing
    }

    /// Compares the local index with every index object in storage, and mends it.
    ///
    /// Errors: `Index` with `Damaged` when the cache is beyond mending; those of the storage.
    pub fn compare_index(&self, stop: &AtomicBool) -> Result<Compared, Error> {
        let mut compared = Compared::default();
        let last_row = self.index.last_pack_row()?;
        let known: HashSet<Id> = self.index.known_index_objects()?.into_iter().collect();
        let (mut named, mut unreadable) = (HashSet::new(), Vec::new());
        let mut has_forgotten = false;
        // What sums say of rows holds for single look-ups only while each row is where it is looked for.
        self.index.check_order()?;
        let sums = self.index.sums(stop)?;
        let gone_meanwhile = self.each_index_object(stop, &mut |name, object| {
            let object = match object {
                Ok(object) => object,
                Err(error) => {
                    unreadable.push(name);
                    compared.problems.push(error);
                    return Ok(());
                }
            };
            let is_known = known.contains(&name);
            if let Some(error) = self.unseen(&name, &object) {
                compared.problems.push(error);
                // A synchronisation takes it in, and remembers that.
                if !is_known {
                    named.extend(object.packs.iter().map(|entry| entry.name));
                    return Ok(());
                }
            }
            let (mut wrong, mut new) = (Vec::new(), Vec::new());
            for entry in object.packs.iter().filter(|entry| !self.is_removed(&entry.name)) {
                named.insert(entry.name);
                let record = packs::record(entry);
                if self.index.holds(&name, &record, Some(&sums))? {
                    continue;
                }
                // One that came meanwhile is only taken in: nothing is wrong.
                match is_known || !self.index.agrees(&record)? {
                    true => wrong.push(record),
                    false => new.push(record),
                }
            }
            if !new.is_empty() {
                self.index.add_packs(Some(name), &new)?;
            }
            if wrong.is_empty() {
                return Ok(());
            }
            // One that was not known is new, and nothing was wrong about it.
            if is_known {
                if compared.mended == 0 {
                    self.index.check_structure()?;
                }
                compared.mended += wrong.len() as u64;
            }
            has_forgotten = true;
            self.index.forget_places(&wrong)?;
            self.replace(name, &wrong)
        })?;
        if has_forgotten {
            // Of their chunks, the places in other packs were forgotten too, of which many are right.
            self.give_places_back(stop)?;
        }
        if !unreadable.is_empty() {
            self.drop_unreadable(&unreadable)?;
        }
        let mut strange = Vec::new();
        self.index.packs(&mut |pack| {
            if pack.listed && pack.row <= last_row && !named.contains(&pack.name) {
                strange.push(pack.name);
            }
        })?;
        if gone_meanwhile {
            // What it named is perhaps named by one that came after the listing: that is for a synchronisation to say.
            strange.clear();
        }
        if compared.mended == 0 && !strange.is_empty() {
            self.index.check_structure()?;
        }
        compared.mended += strange.len() as u64;
        self.index.drop_packs(&strange)?;
        Ok(compared)
    }

    /// Enters anew every pack that is not here as index objects list it, and forgets nothing of others. A cache that was wrong is read
    /// anew in its place and not put aside: others may be using it, and what it knows of unchanged files stays.
    fn give_places_back(&self, stop: &AtomicBool) -> Result<(), Error> {
        let known: HashSet<Id> = self.index.known_index_objects()?.into_iter().collect();
        let sums = self.index.sums(stop)?;
        self.each_index_object(stop, &mut |name, object| {
            let is_known = |object: &IndexObject| object.unseen.is_empty() || known.contains(&name);
            let Some(object) = object.ok().filter(is_known) else { return Ok(()) };
            let (mut lacking, mut unlinked) = (Vec::new(), Vec::new());
            for entry in object.packs.iter().filter(|entry| !self.is_removed(&entry.name)) {
                let record = packs::record(entry);
                if self.index.holds(&name, &record, Some(&sums))? {
                    continue;
                }
                match self.index.agrees(&record)? {
                    true => unlinked.push(record),
                    false => lacking.push(record),
                }
            }
            if !unlinked.is_empty() {
                self.index.add_packs(Some(name), &unlinked)?;
            }
            self.replace(name, &lacking)
        })?;
        Ok(())
    }

    /// Reads every index object in storage, one after the other; whether one went away meanwhile. `each` is given what is wrong with one
    /// that is damaged.
    fn each_index_object(
        &self,
        stop: &AtomicBool,
        each: &mut dyn FnMut(Id, Result<IndexObject, Error>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut gone_meanwhile = false;
        for name in list_names(&*self.backend, Kind::Index)? {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            match self.load_index_object(&name) {
                Err(error) if !error.is_damage() => return Err(error),
                // A pruner removed it meanwhile.
                Err(_) if !self.backend_has(Kind::Index, &name)? => gone_meanwhile = true,
                object => each(name, object)?,
            }
        }
        Ok(gone_meanwhile)
    }

    /// Says of these packs what this index object says, where the local index says otherwise: a repair put it in the place of one that was
    /// wrong, and the local index keeps what it heard first.
    pub(super) fn put_right(&self, object: Id, records: Vec<PackRecord>) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for record in records {
            if !self.index.agrees(&record)? {
                wrong.push(record);
            }
        }
        self.replace(object, &wrong)
    }

    /// Enters packs anew; what was said of their own chunks before answers nothing any more.
    fn replace(&self, object: Id, records: &[PackRecord]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let names: Vec<Id> = records.iter().map(|record| record.name).collect();
        self.index.drop_packs(&names)?;
        Ok(self.index.add_packs(Some(object), records)?)
    }

    /// Looks again, once in a run, when something was not found: in the index objects, then in the packs that none of them names.
    pub fn look_again(&self) -> Result<(), Error> {
        let mut looked = lock(&self.looked_again);
        if std::mem::replace(&mut *looked, true) {
            return Ok(());
        }
        let look = || {
            if self.may_doubt_cache() {
                self.compare_index(&AtomicBool::new(false))?;
            }
            self.adopt_packs(&mut Synced::default())
        };
        match look() {
            // The cache is beyond mending: whoever opened the repository makes it anew.
            Err(error @ Error::Index(_)) => Err(error),
            // Nothing more could be learnt; what was not found is told where it was looked for.
            _ => Ok(()),
        }
    }

    /// Every place of a chunk, those that may be relied on first.
    pub fn places(&self, contents: Contents, id: &Id) -> Result<Vec<Location>, Error> {
        let places = self.index.lookup_for_reading(contents, id)?;
        if !places.is_empty() {
            return Ok(places);
        }
        self.look_again()?;
        Ok(self.index.lookup_for_reading(contents, id)?)
    }

    /// A place where a chunk of that length lies.
    pub fn place(&self, contents: Contents, id: &Id, length: u64) -> Result<Option<Location>, Error> {
        let find = |places: Vec<Location>| places.into_iter().find(|place| u64::from(place.length) == length);
        if let Some(place) = find(self.places(contents, id)?) {
            return Ok(Some(place));
        }
        self.look_again()?;
        Ok(find(self.index.lookup_for_reading(contents, id)?))
    }
}
