//! Index objects and tombstones in many pieces are put together; nobody misses anything meanwhile, and an old cache learns of it.

use copal::format::session::Removal;

use super::guards::{LATE, Late, as_at_first, is_whole};
use super::*;

/// From so many on pieces are put together.
const PIECES: usize = 16;

/// Puts so many tombstones of packs that never were.
fn tombstones(place: &Place, count: usize) {
    let repository = place.open();
    for number in 0..count {
        let pack = Id([number as u8; 32]);
        let tombstone =
            Removal { packs: vec![pack], time: place.storage.now(), done: true, ..Removal::default() };
        repository.put_removal(&tombstone).unwrap();
    }
}

/// As many backups as there must be, each with an index object of its own.
fn in_pieces() -> (Place, BTreeSet<Id>) {
    let place = Place::new();
    let saved = (0..PIECES as u64 + 2).map(|number| {
        place.write(&format!("{number}"), common::noise(number, 3000));
        place.back_up()
    });
    let saved = saved.collect();
    (place, saved)
}

/// Storage that says what is wrong when an index object goes: each pack that it names must be named by another one, and a tombstone
/// that says that it goes must have been there for as long as listings are late.
struct Watch {
    inner: Timed,
    keys: copal::crypto::Keys,
    put: std::sync::Mutex<Vec<(Removal, i64)>>,
    went: AtomicI64,
}

impl Watch {
    fn packs(&self, name: &str) -> BTreeSet<Id> {
        let object = self.inner.get(Kind::Index, name).unwrap();
        copal::format::index::decode(&self.keys, &object)
            .unwrap()
            .packs
            .iter()
            .map(|pack| pack.name)
            .collect()
    }
}

impl Backend for Watch {
    through! { location get get_range list stat time create }

    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        if kind == Kind::Removals {
            let removal = copal::format::session::decode_removal(&self.keys, bytes).unwrap();
            self.put.lock().unwrap().push((removal, self.inner.now().seconds));
        }
        self.inner.put(kind, name, bytes)
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<(), StorageError> {
        if kind == Kind::Index {
            self.went.fetch_add(1, Ordering::SeqCst);
            let mut named = BTreeSet::new();
            self.inner.list(kind, &mut |entry| {
                if entry.name != name {
                    named.extend(self.packs(&entry.name));
                }
            })?;
            assert!(self.packs(name).is_subset(&named), "packs are named by nothing");
            let id = Id::parse(name).unwrap();
            let put = self.put.lock().unwrap();
            let told =
                put.iter().find(|(removal, _)| removal.index_objects.contains(&id)).expect("no tombstone");
            assert!(self.inner.now().seconds - told.1 >= LATE, "its tombstone is perhaps not listed");
        }
        self.inner.remove(kind, name)
    }

    fn listing_lag_seconds(&self) -> Option<u64> {
        Some(LATE as u64)
    }
}

#[test]
fn many_small_index_objects_become_one_and_an_old_cache_learns_of_it() {
    let (place, saved) = in_pieces();
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let old = place.open_cached(place.storage.clone(), folder.path());
    old.sync().unwrap();
    let absence = old.absence().unwrap();
    drop(old);
    assert!(place.count(Kind::Index) > PIECES);
    let watch = Arc::new(Watch {
        inner: place.storage.clone(),
        keys: place.keys(),
        put: Default::default(),
        went: AtomicI64::new(0),
    });
    let outcome = place.prune_on(&place.open_on(watch.clone()), &at_once()).unwrap();
    assert_eq!((outcome.packs_removed, place.count(Kind::Index)), (0, 1));
    assert!(watch.went.load(Ordering::SeqCst) > PIECES as i64);
    assert_eq!(place.saved(), saved);
    let old = place.open_cached(place.storage.clone(), folder.path());
    assert!(old.sync().unwrap().problems.is_empty());
    assert!(!old.knows_of_losses().unwrap(), "what went is explained");
    assert_eq!(old.absence().unwrap(), absence, "nothing need be looked up again");
    assert_eq!(old.index.known_index_objects().unwrap().len(), 1);
    let known = old.snapshots().unwrap().confirmed;
    known.iter().for_each(|named| assert_whole(&old, named.snapshot.root));
    // A few more are left as they are, until they are many.
    place.write("more", common::noise(99, 3000));
    place.back_up_in(&old).unwrap();
    let before = place.count(Kind::Index);
    place.prune(&at_once());
    assert!(before > 1 && place.count(Kind::Index) >= before);
}

#[test]
fn tombstones_are_put_together_and_say_the_same() {
    let place = Place::new();
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let (mut known, mut last) = (BTreeSet::new(), None);
    for round in 0..PIECES as u64 + 4 {
        place.write("changes", common::noise(round, 20_000));
        let saved = place.back_up();
        if round == 2 {
            place.open_cached(place.storage.clone(), folder.path()).sync().unwrap();
        }
        known.extend(place.packs());
        if let Some(last) = last.replace(saved) {
            place.note(&last, Verb::Forget);
        }
        place.prune(&at_once());
    }
    let removals = place.open().removals().unwrap();
    assert!(removals.names.len() < PIECES, "{} records", removals.names.len());
    assert!(removals.replaced.is_empty());
    let removed: BTreeSet<String> = removals.removed().iter().map(Id::to_string).collect();
    assert_eq!(removed, &known - &place.packs());
    assert_eq!(place.saved(), last.into_iter().collect());
    let old = place.open_cached(place.storage.clone(), folder.path());
    old.sync().unwrap();
    assert!(!old.knows_of_losses().unwrap());
    let mut packs = BTreeSet::new();
    old.index.packs(&mut |pack| _ = packs.insert(pack.name.to_string())).unwrap();
    assert_eq!(packs, place.packs(), "an old cache has nothing of what went");
}

#[test]
fn a_tombstone_stays_as_long_as_the_mark_that_it_answers() {
    let (place, ..) = one_forgotten();
    let repository = place.open();
    tombstones(&place, PIECES);
    // Cut off before the mark went, and not swept yet: as another pruner sees it in the midst of its run.
    struct Slow {
        inner: Timed,
        mark: std::sync::Mutex<Option<(Vec<u8>, Vec<u8>)>>,
    }
    impl Backend for Slow {
        through! { location put get get_range stat remove time create }
        fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
            // After what was left by others was swept.
            if kind == Kind::Fences
                && let Some((mark, tombstone)) = self.mark.lock().unwrap().take()
            {
                for bytes in [mark, tombstone] {
                    let name = copal::crypto::object_name(&bytes).to_string();
                    self.inner.put(Kind::Removals, &name, &bytes)?;
                }
            }
            self.inner.list(kind, each)
        }
    }
    let encode = |removal: &Removal| copal::format::session::encode_removal(&place.keys(), removal).unwrap();
    let mark = Removal { packs: vec![Id([99; 32])], time: place.storage.now(), ..Removal::default() };
    let bytes = encode(&mark);
    let name = copal::crypto::object_name(&bytes);
    let tombstone = encode(&Removal { done: true, answers: Some(name), ..mark });
    let told = copal::crypto::object_name(&tombstone);
    let slow = Slow { inner: place.storage.clone(), mark: std::sync::Mutex::new(Some((bytes, tombstone))) };
    place.prune_on(&place.open_on(slow), &at_once()).unwrap();
    let names = repository.removals().unwrap().names;
    assert!(names.contains(&told) && names.contains(&name));
    assert!(names.len() < PIECES, "the others are put together");
    place.prune(&at_once());
    assert!(!repository.removals().unwrap().names.contains(&name));
}

/// Tombstones are put together. An index object of a pruner that slept names a pack that is gone, and a writer comes just then.
fn comes_while_tombstones_are_put_together(hurried: bool) -> bool {
    let (place, ..) = one_forgotten();
    as_at_first(&place);
    let mut slept = Vec::new();
    place.storage.list(Kind::Index, &mut |entry| slept.push(entry.name)).unwrap();
    let slept: Vec<Vec<u8>> =
        slept.iter().map(|name| place.storage.get(Kind::Index, name).unwrap()).collect();
    assert!(place.prune(&at_once()).packs_removed > 0);
    for bytes in slept {
        let object = copal::format::index::decode(&place.keys(), &bytes).unwrap();
        let bytes = copal::format::index::encode(&place.keys(), &object).unwrap();
        place.storage.put(Kind::Index, &copal::crypto::object_name(&bytes).to_string(), &bytes).unwrap();
    }
    tombstones(&place, PIECES);
    let prunes =
        Late { inner: place.storage.clone(), put: Default::default(), kind: Kind::Removals, hurried };
    let writes = Late { hurried: true, ..prunes.clone() };
    place.prune_on(&place.open_on(prunes), &at_once()).unwrap();
    assert_eq!(place.open().removals().unwrap().names.len(), 1);
    let saved = place.back_up_in(&place.open_on(writes)).unwrap();
    is_whole(&place, saved)
}

#[test]
fn tombstones_go_when_everybody_sees_the_one_in_their_place() {
    assert!(comes_while_tombstones_are_put_together(false));
}

#[test]
fn tombstones_that_go_sooner_would_lose_something() {
    assert!(!comes_while_tombstones_are_put_together(true));
}

#[test]
fn being_cut_off_while_pieces_are_put_together_loses_nothing() {
    let (place, saved) = in_pieces();
    tombstones(&place, PIECES);
    for fault in [Fault::Crash, Fault::FailAfter] {
        for number in 1.. {
            let here = place.copy();
            let faulty = Arc::new(Faulty::new(here.storage.clone()));
            let repository = here.open_on(faulty.clone());
            faulty.set_fault(Some((faulty.operations() + number, fault)));
            let _ = here.prune_on(&repository, &at_once());
            drop(repository);
            if !faulty.struck() {
                assert!(number > 30, "the faults were never met");
                break;
            }
            // Most of a run is reading.
            let changed = here.count(Kind::Index) != place.count(Kind::Index)
                || here.count(Kind::Removals) != place.count(Kind::Removals);
            if !changed {
                continue;
            }
            let removed = here.open().removals().unwrap().removed();
            assert!(
                (0..PIECES).all(|number| removed.contains(&Id([number as u8; 32]))),
                "{fault:?} at {number}"
            );
            here.days(2);
            here.prune(&at_once());
            let left = (here.count(Kind::Index), here.count(Kind::Removals));
            assert!(left.0 <= 2 && left.1 <= 3, "{fault:?} at operation {number}: {left:?}");
            assert_eq!(here.saved(), saved, "{fault:?} at operation {number}");
        }
    }
}

#[test]
fn what_is_known_of_removals_is_not_read_again() {
    struct Counts {
        inner: Timed,
        read: AtomicI64,
    }
    impl Backend for Counts {
        through! { location put get_range list stat remove time create }
        fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, StorageError> {
            if kind == Kind::Removals {
                self.read.fetch_add(1, Ordering::SeqCst);
            }
            self.inner.get(kind, name)
        }
    }
    let place = Place::new();
    tombstones(&place, 3);
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let counts = Arc::new(Counts { inner: place.storage.clone(), read: AtomicI64::new(0) });
    let read = || {
        let before = counts.read.load(Ordering::SeqCst);
        let repository = place.open_cached(counts.clone(), folder.path());
        repository.sync().unwrap();
        assert!(repository.removals().unwrap().removed().len() >= 3);
        counts.read.load(Ordering::SeqCst) - before
    };
    assert_eq!((read(), read()), (3, 0));
    let tombstone = Removal { packs: vec![Id([77; 32])], done: true, ..Removal::default() };
    place.open().put_removal(&tombstone).unwrap();
    assert_eq!((read(), read()), (1, 0));
}
