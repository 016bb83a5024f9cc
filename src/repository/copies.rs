//! Many small objects fetched in few requests: copies of them, many in one object, for who comes with an empty cache, and several at a
//! time. Copies are only a help: what is listed decides what there is, and each copy is held to its name like the object itself.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::listing::{Listing, SNAPSHOTS};
use super::snapshots::Origin;
use super::{Error, Repository, get_named, put_named};
use crate::backend::Kind;
use crate::format::copies::{self, Copied};
use crate::format::limits::LIST_MAX;
use crate::locks::lock;
use crate::model::Id;

/// Kinds of which copies are made.
const COPIED: [Kind; 3] = [Kind::Snapshots, Kind::Confirmed, Kind::Notes];
/// Objects that the cache lacks from which on copies are looked for, and objects without copy from which on they are made.
const MANY: usize = 64;
/// Bytes of copies in one object.
const BYTES_MOST: usize = 16 << 20;
/// Under which it is remembered how many objects have a copy, and in which objects.
const COVERED_FACT: &str = "objects with copies";

impl Repository {
    /// How many requests at a time storage is well asked.
    pub fn requests_at_once(&self) -> usize {
        self.backend.requests_at_once()
    }

    /// Whether storage takes its time to answer, so that it is asked for many things at once.
    pub fn is_far(&self) -> bool {
        self.requests_at_once() > 1
    }

    /// Brings into the cache what it lacks of these, many at a time. Whatever fails is told when the object itself is read.
    pub(super) fn fetch_ahead(&self, listing: &Listing) {
        if !self.is_far() {
            return;
        }
        let mut missing = self.missing(listing);
        if missing.len() >= MANY && !listing.of(Kind::Copies).is_empty() {
            listing.of(Kind::Copies).iter().for_each(|name| {
                let _ = self.take_copies(name);
            });
            missing = self.missing(listing);
        }
        if missing.len() >= MANY {
            self.seen().lacks_copies = true;
        }
        self.at_once(&missing, &|(kind, name)| {
            let _ = match kind {
                Kind::Confirmed => self.confirmed_at(name, Origin::Cache).map(drop),
                _ => self.small_object(*kind, name, Origin::Cache).map(drop),
            };
        });
    }

    /// Does `work` of each, as many at a time as are worth while.
    pub(super) fn at_once<T: Sync>(&self, all: &[T], work: &(dyn Fn(&T) + Sync)) {
        let next = AtomicUsize::new(0);
        let some = || {
            while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(one);
            }
        };
        // This thread is one of them, and the only one where storage is near.
        std::thread::scope(|scope| {
            let others: Vec<_> =
                (1..self.requests_at_once().min(all.len())).map(|_| scope.spawn(some)).collect();
            some();
            for other in others {
                if let Err(panic) = other.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }

    /// What `work` gives of each, in their order, as many at a time as are worth while.
    pub(super) fn gathered<T: Sync, R: Send>(
        &self,
        all: Vec<T>,
        work: &(dyn Fn(&T) -> R + Sync),
    ) -> Vec<(T, R)> {
        let slots: Vec<_> = all.into_iter().map(|one| (one, Mutex::new(None))).collect();
        self.at_once(&slots, &|(one, slot)| *lock(slot) = Some(work(one)));
        let given = slots.into_iter().map(|(one, slot)| {
            let result = slot.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            let result = result.unwrap_or_else(|| work(&one));
            (one, result)
        });
        given.collect()
    }

    /// What is listed of the kinds of which there are copies, and not in the cache.
    fn missing(&self, listing: &Listing) -> Vec<(Kind, Id)> {
        let mut missing = Vec::new();
        for kind in COPIED {
            let cached = self.index.cached_names(kind.number()).unwrap_or_default();
            let cached: HashSet<Id> = cached.into_iter().collect();
            let lacking = listing.of(kind).iter().filter(|name| !cached.contains(name));
            missing.extend(lacking.map(|name| (kind, *name)));
        }
        missing
    }

    fn load_copies(&self, name: &Id) -> Result<Vec<Copied>, Error> {
        let object = get_named(&*self.backend, Kind::Copies, name)?;
        copies::decode(&self.keys, &object)
            .map_err(|error| Error::decode(Kind::Copies, &name.to_string(), error))
    }

    fn take_copies(&self, name: &Id) -> Result<(), Error> {
        let copies = self.load_copies(name)?;
        for kind in COPIED {
            let own = copies.iter().filter(|copied| copied.kind == kind.number());
            let objects: Vec<(Id, &[u8])> = own.map(|copied| (copied.name, &copied.bytes[..])).collect();
            self.index.cache_objects(kind.number(), &objects)?;
        }
        Ok(())
    }

    /// Makes copies of all snapshots, confirmations and notes, in the place of earlier ones, once there are many that have none and storage
    /// is far. Those that hold what is `gone` are renewed in any case: what was removed is not to lie there under another name. Nothing
    /// depends on it: whatever fails is passed over.
    pub fn renew_copies(&self, gone: bool) {
        if self.is_far() {
            let _ = self.try_renew_copies(gone);
        }
    }

    /// The same for who found in this run that they are wanted: no request else.
    pub fn renew_wanted_copies(&self) {
        if std::mem::take(&mut self.seen().lacks_copies) && !self.is_write_only() {
            self.renew_copies(false);
        }
    }

    fn try_renew_copies(&self, gone: bool) -> Result<(), Error> {
        let listing = self.listing(&SNAPSHOTS)?;
        let listed: usize = COPIED.iter().map(|kind| listing.of(*kind).len()).sum();
        let old = listing.of(Kind::Copies);
        let is_wanted = match gone {
            true => !old.is_empty(),
            false => listed >= MANY + self.covered(&listing)?,
        };
        if !is_wanted {
            return Ok(());
        }
        let mut all = Vec::new();
        for kind in COPIED {
            for name in listing.of(kind) {
                let object = match kind {
                    Kind::Confirmed => {
                        self.confirmed_at(name, Origin::Cache)?;
                        self.index.cached_object(kind.number(), name)?
                    }
                    _ => self.small_object(kind, name, Origin::Cache).ok(),
                };
                all.extend(object.map(|bytes| Copied { kind: kind.number(), name: *name, bytes }));
            }
        }
        let mut new = Vec::new();
        let mut rest = &all[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |copied: &&Copied| {
                bytes += copied.bytes.len() + 64;
                bytes <= BYTES_MOST
            };
            let count = rest.iter().take(LIST_MAX).take_while(fits).count().max(1);
            let object = copies::encode(&self.keys, &rest[..count])
                .map_err(|error| Error::format("copies of small objects", error))?;
            new.push(put_named(&*self.backend, Kind::Copies, &object)?);
            rest = &rest[count..];
        }
        self.remember_covered(&new, all.len())?;
        old.iter().try_for_each(|name| self.remove_object(Kind::Copies, name))
    }

    /// How many of the objects that are listed have a copy.
    fn covered(&self, listing: &Listing) -> Result<usize, Error> {
        let names = listing.of(Kind::Copies);
        if names.is_empty() {
            return Ok(0);
        }
        if let Some(fact) = self.index.fact(COVERED_FACT)?
            && let Some((count, known)) = fact.split_first_chunk::<8>()
            && known == joined(names)
        {
            return Ok(usize::try_from(u64::from_le_bytes(*count)).unwrap_or(usize::MAX));
        }
        let mut covered = HashSet::new();
        for name in names {
            // One that can not be read covers nothing, and goes with the others when there are new ones.
            for copied in self.load_copies(name).unwrap_or_default() {
                covered.insert((copied.kind, copied.name));
            }
        }
        let of = |kind: Kind| {
            listing.of(kind).iter().filter(|name| covered.contains(&(kind.number(), **name))).count()
        };
        let count = COPIED.into_iter().map(of).sum();
        self.remember_covered(names, count)?;
        Ok(count)
    }

    fn remember_covered(&self, names: &[Id], count: usize) -> Result<(), Error> {
        let fact = [&(count as u64).to_le_bytes()[..], &joined(names)].concat();
        Ok(self.index.set_fact(COVERED_FACT, &fact)?)
    }
}

fn joined(names: &[Id]) -> Vec<u8> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.iter().flat_map(|name| name.0).collect()
}
