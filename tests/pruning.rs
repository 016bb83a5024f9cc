//! Pruning as a library: what goes, what stays, and that being cut off anywhere loses nothing.

mod common;
#[macro_use]
#[path = "pruning/through.rs"]
mod through;
#[path = "pruning/found.rs"]
mod found;
#[path = "pruning/guards.rs"]
mod guards;
#[path = "pruning/links.rs"]
mod links;
mod made;
#[path = "pruning/outlook.rs"]
mod outlook;
#[path = "pruning/pieces.rs"]
mod pieces;
#[path = "pruning/records.rs"]
mod records;
#[path = "pruning/rotten.rs"]
mod rotten;
#[path = "made/timed.rs"]
mod timed;
#[path = "pruning/unnamed.rs"]
mod unnamed;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use copal::backend::{Backend, Entry, Error as StorageError, Fault, Faulty, Kind};
use copal::backup;
use copal::check::{self, Reading};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::format::note::Verb;
use copal::format::slot::Unlock;
use copal::index::Index;
use copal::model::clock::Clock;
use copal::model::{Contents, Id, SegmentKind, Time};
use copal::progress::Silent;
use copal::prune::{self, Options, Outcome, Unused};
use copal::repository::session::Session;
use copal::repository::{self, Error, Repository};
use made::{folder, make};
use timed::Timed;

/// A repository in memory, its key, its clock, and a folder to back up.
struct Place {
    storage: Timed,
    key: [u8; 32],
    source: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let storage = Timed::new();
        let bytes = make(&storage, &storage, 64 << 10);
        let source = folder();
        Place { storage, key: bytes, source }
    }

    /// The same, as it is at this moment, to go another way from here.
    fn copy(&self) -> Place {
        let seconds = Arc::new(AtomicI64::new(self.storage.seconds.load(Ordering::SeqCst)));
        let storage = Timed { inner: self.storage.inner.copy(), seconds };
        let source = tempfile::Builder::new().prefix("copal-test-").tempdir_in("/var/tmp").unwrap();
        Place { storage, key: self.key, source }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.source.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.source.path().join(name)).unwrap();
    }

    fn hours(&self, hours: i64) {
        self.storage.seconds.fetch_add(hours * 3600, Ordering::SeqCst);
    }

    fn days(&self, days: i64) {
        self.hours(24 * days);
    }

    /// A prune that has to wait for somebody, and so only marks; who that was is gone then.
    fn mark_while_somebody_is_at_work(&self) {
        let elsewhere = self.open();
        let session =
            Session::begin(&elsewhere, &self.storage, Default::default(), b"elsewhere", Vec::new()).unwrap();
        assert!(self.prune(&at_once()).packs_waiting > 0);
        drop(session);
    }

    fn open_on(&self, backend: impl Backend + 'static) -> Repository {
        let key = MasterKey::from_bytes(self.key);
        repository::open(Box::new(backend), Unlock::KeyFile(&key), None).unwrap()
    }

    fn open(&self) -> Repository {
        self.open_on(self.storage.clone())
    }

    /// With a cache that stays.
    fn open_cached(&self, backend: impl Backend + 'static, folder: &std::path::Path) -> Repository {
        let key = MasterKey::from_bytes(self.key);
        repository::open(Box::new(backend), Unlock::KeyFile(&key), Some(folder)).unwrap()
    }

    fn count(&self, kind: Kind) -> usize {
        let mut count = 0;
        self.storage.list(kind, &mut |_| count += 1).unwrap();
        count
    }

    fn back_up_in(&self, repository: &Repository) -> Result<Id, Error> {
        let options = backup::Options {
            sources: vec![self.source.path().as_os_str().as_bytes().to_vec()],
            host: b"host".to_vec(),
            user: b"user".to_vec(),
            level: Level::FAST,
            workers: 2,
            racy_seconds: 0,
            ..backup::Options::default()
        };
        let stop = AtomicBool::new(false);
        let outcome = backup::backup(repository, &options, &self.storage, &Silent, &stop)?;
        Ok(outcome.name.unwrap())
    }

    fn back_up(&self) -> Id {
        self.back_up_in(&self.open()).unwrap()
    }

    fn note(&self, name: &Id, verb: Verb) {
        let repository = self.open();
        repository.sync().unwrap();
        let mut all = repository.snapshots().unwrap();
        repository.put_note(&mut all.notes, name, verb, &[], self.storage.now()).unwrap();
    }

    fn prune_on(&self, repository: &Repository, options: &Options) -> Result<Outcome, Error> {
        prune::prune(repository, options, &self.storage, &Silent, &AtomicBool::new(false))
    }

    fn prune(&self, options: &Options) -> Outcome {
        self.prune_on(&self.open(), options).unwrap()
    }

    /// The snapshots that are saved and not forgotten; each is whole, and a check of every byte finds nothing.
    fn saved(&self) -> BTreeSet<Id> {
        let repository = self.open();
        let synced = repository.sync().unwrap();
        assert!(synced.problems.is_empty(), "{:?}", synced.problems);
        let all = repository.snapshots().unwrap();
        assert!(all.problems.is_empty(), "{:?}", all.problems);
        for named in &all.confirmed {
            assert_whole(&repository, named.snapshot.root);
        }
        let stop = AtomicBool::new(false);
        let report =
            check::check(&repository, &synced, Reading::Everything, &self.storage, &Silent, &stop).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        all.confirmed.iter().map(|named| named.name).collect()
    }

    fn packs(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.storage.list(Kind::Packs, &mut |entry| _ = names.insert(entry.name)).unwrap();
        names
    }

    fn bytes(&self) -> u64 {
        let mut bytes = 0;
        self.storage.list(Kind::Packs, &mut |entry| bytes += entry.size).unwrap();
        bytes
    }
}

/// Reads every tree and every byte of a snapshot.
fn assert_whole(repository: &Repository, root: Id) {
    let mut trees = vec![root];
    while let Some(tree) = trees.pop() {
        for node in repository.nodes(tree) {
            let node = node.unwrap();
            trees.extend(node.tree);
            repository
                .segments(&node.content, node.size, &mut |segment| {
                    if let SegmentKind::Data(id) = segment.kind {
                        repository.read_chunk(Contents::Data, &id)?;
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
}

/// No grace, and nothing unused may stay.
fn at_once() -> Options {
    Options { grace_seconds: 0, max_unused: Unused::Bytes(0), level: Level::FAST, ..Options::default() }
}

/// Two snapshots that share some, and the first of them forgotten.
fn one_forgotten() -> (Place, Id, Id) {
    let place = Place::new();
    for file in 0..12u64 {
        place.write(&format!("{}/{file}", file % 3), common::noise(file, 60_000));
    }
    let first = place.back_up();
    for file in 0..12u64 {
        if file % 2 == 0 {
            place.remove(&format!("{}/{file}", file % 3));
        }
    }
    place.write("new", common::noise(100, 50_000));
    let second = place.back_up();
    place.note(&first, Verb::Forget);
    (place, first, second)
}

#[test]
fn what_only_forgotten_snapshots_need_goes_and_the_rest_stays() {
    let (place, _, second) = one_forgotten();
    let before = place.bytes();
    let planned = place.prune(&Options { dry_run: true, ..at_once() }).plan;
    assert_eq!(before, place.bytes(), "a dry run changes nothing");
    let outcome = place.prune(&at_once());
    assert_eq!(outcome.plan, planned, "what is said beforehand is what is done");
    assert_eq!((outcome.snapshots_removed, outcome.packs_waiting), (1, 0));
    assert!(outcome.at_work.is_empty());
    // Six files of 60,000 bytes that do not compress went, each wholly: what stays is what the second snapshot needs.
    assert!(place.bytes() < before - 350_000, "{before} {}", place.bytes());
    assert!(place.bytes() < 450_000);
    assert_eq!(place.saved(), BTreeSet::from([second]));
    let repository = place.open();
    repository.sync().unwrap();
    assert!(repository.snapshots().unwrap().forgotten.is_empty());

    let packs = place.packs();
    let again = place.prune(&at_once());
    assert_eq!((again.packs_removed, again.bytes_rewritten), (0, 0), "nothing is left to do");
    assert_eq!(packs, place.packs());
}

#[test]
fn a_forgotten_snapshot_can_be_brought_back_for_seven_days() {
    let (place, first, second) = one_forgotten();
    let packs = place.packs();
    place.days(6);
    let default = Options { max_unused: Unused::Bytes(0), ..Options::default() };
    assert_eq!(place.prune(&default).packs_removed, 0);
    assert_eq!(packs, place.packs());
    place.note(&first, Verb::Undelete);
    assert_eq!(place.saved(), BTreeSet::from([first, second]));
    place.note(&first, Verb::Forget);
    place.days(6);
    assert_eq!(place.prune(&default).packs_removed, 0, "the days count from when it was forgotten last");
    place.days(2);
    assert!(place.prune(&default).packs_removed > 0);
    assert_eq!(place.saved(), BTreeSet::from([second]));
}

/// Text that compresses to half, other for each seed.
fn hex(seed: u64, length: usize) -> String {
    common::noise(seed, length / 2).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Prunes with some blocks of packs in use and others not; how many moved as they are.
fn blocks_moved() -> usize {
    let place = Place::new();
    for number in 0..4 {
        place.write(&format!("{number}-stays"), hex(number, 2 << 20));
        place.write(&format!("{number}-then-goes"), hex(10 + number, 1 << 20));
    }
    let first = place.back_up();
    (0..4).for_each(|number| place.remove(&format!("{number}-then-goes")));
    let second = place.back_up();
    place.note(&first, Verb::Forget);
    let blocks = || {
        let repository = place.open();
        repository.sync().unwrap();
        let mut blocks = Vec::new();
        let mut add = |pack: &copal::index::PackInfo| {
            blocks.extend(
                pack.blocks.iter().map(|block| (pack.name, (block.codec, block.stored, block.plain))),
            );
        };
        repository.index.packs(&mut |pack| add(&pack)).unwrap();
        blocks
    };
    let before = blocks();
    // Were they compressed again, it would be to another length.
    assert!(place.prune(&Options { level: Level::MAX, ..at_once() }).packs_removed > 0);
    assert_eq!(place.saved(), BTreeSet::from([second]));
    let is_moved = |(pack, block): &&(Id, (u8, u32, u32))| {
        block.2 > 512 << 10
            && before.iter().all(|(old, _)| old != pack)
            && before.iter().any(|(_, old)| old == block)
    };
    blocks().iter().filter(is_moved).count()
}

#[test]
fn blocks_of_which_all_is_needed_move_as_they_are() {
    // Which blocks lie in one pack is left to chance.
    assert!((0..8).any(|_| blocks_moved() > 0));
}

#[test]
fn a_little_unused_room_may_stay() {
    let (place, _, second) = one_forgotten();
    let options = Options { max_unused: Unused::Unlimited, ..at_once() };
    let outcome = place.prune(&options);
    assert_eq!(outcome.bytes_rewritten, 0);
    assert!(outcome.plan.bytes_unused_left > 0 || outcome.packs_removed > 0);
    let most = Options { max_repack_bytes: Some(1), ..at_once() };
    assert_eq!(place.prune(&most).bytes_rewritten, 0);
    place.prune(&at_once());
    assert_eq!(place.saved(), BTreeSet::from([second]));
}

#[test]
fn while_somebody_is_at_work_packs_are_only_marked() {
    let (place, _, second) = one_forgotten();
    let before = place.packs();
    let other = place.open();
    let session =
        Session::begin(&other, &place.storage, Default::default(), b"elsewhere", Vec::new()).unwrap();
    let outcome = place.prune(&at_once());
    assert_eq!(outcome.at_work, [b"elsewhere".to_vec()]);
    assert_eq!(outcome.packs_removed, 0);
    assert!(outcome.packs_waiting > 0);
    assert!(before.is_subset(&place.packs()), "nothing was removed");
    // Who comes now stores again what is to go, and keeps nobody from removing it.
    for file in 0..12u64 {
        place.write(&format!("{}/{file}", file % 3), common::noise(file, 60_000));
    }
    let third = place.back_up();
    drop(session);
    let outcome = place.prune(&at_once());
    assert!(outcome.packs_removed > 0);
    assert_eq!(outcome.packs_waiting, 0);
    assert_eq!(place.saved(), BTreeSet::from([second, third]));
}

#[test]
fn what_comes_while_a_cache_is_compared_takes_no_places_from_packs_that_hold_the_same() {
    // The order in which index objects are gone through goes by their names: one of several times the new one is not the first.
    for _ in 0..6 {
        let (place, ..) = one_forgotten();
        let folder = tempfile::tempdir().unwrap();
        let reader = place.open_cached(place.storage.clone(), folder.path());
        reader.sync().unwrap();
        // What is needed of packs that wait is there twice from here on, and this reader has not heard of it.
        place.mark_while_somebody_is_at_work();
        reader.compare_index(&AtomicBool::new(false)).unwrap();
        let mut all = 0;
        place
            .storage
            .list(Kind::Packs, &mut |entry| {
                let name = Id::parse(&entry.name).unwrap();
                let record = repository::packs::record(&reader.read_pack_entry(&name, entry.size).unwrap());
                assert!(reader.index.agrees(&record).unwrap(), "places in {name} were forgotten");
                all += 1;
            })
            .unwrap();
        assert!(all > 2, "{all}");
    }
}

#[test]
fn a_pack_whose_rows_in_a_cache_are_wrong_takes_no_places_from_packs_that_hold_the_same() {
    let (place, ..) = one_forgotten();
    // What is needed of packs that wait is there twice from here on.
    place.mark_while_somebody_is_at_work();
    let mut packs = Vec::new();
    place
        .storage
        .list(Kind::Packs, &mut |entry| packs.push((Id::parse(&entry.name).unwrap(), entry.size)))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let reader = place.open_cached(place.storage.clone(), folder.path());
    reader.sync().unwrap();
    let file = Index::path(folder.path(), &reader.id());
    drop(reader);
    for change in [
        "UPDATE packs SET salt = zeroblob(32) WHERE name = ?1",
        "UPDATE packs SET name = zeroblob(32) WHERE name = ?1",
        "UPDATE chunks SET offset = offset + 1 WHERE pack = (SELECT id FROM packs WHERE name = ?1)",
        "DELETE FROM pack_sources WHERE pack = (SELECT id FROM packs WHERE name = ?1)",
    ] {
        // Index objects are gone through in the order of their names: each pack in turn is also the last one that is mended.
        let mut changed = 0;
        for (wrong, _) in &packs {
            let cache = rusqlite::Connection::open(&file).unwrap();
            changed += cache.execute(change, [&wrong.0[..]]).unwrap();
            drop(cache);
            let reader = place.open_cached(place.storage.clone(), folder.path());
            reader.compare_index(&AtomicBool::new(false)).unwrap();
            for (name, length) in &packs {
                let record = repository::packs::record(&reader.read_pack_entry(name, *length).unwrap());
                assert!(reader.index.agrees(&record).unwrap(), "{change}: places in {name} were forgotten");
            }
            let compared = reader.compare_index(&AtomicBool::new(false)).unwrap();
            assert_eq!(compared.mended, 0, "{change}: not all of it was mended");
        }
        assert!(changed >= 2, "{change}: changed {changed}");
    }
}

#[test]
fn a_writer_that_slept_past_its_lease_must_not_commit() {
    let (place, _, second) = one_forgotten();
    let other = place.open();
    let session = Session::begin(&other, &place.storage, Default::default(), b"laptop", Vec::new()).unwrap();
    other.sync().unwrap();
    let snapshot = other.snapshots().unwrap().confirmed[0].snapshot.clone();
    place.days(3);
    assert!(place.prune(&at_once()).packs_removed > 0);
    assert!(session.is_fenced().unwrap());
    assert!(matches!(session.commit(&snapshot), Err(Error::Overtaken)));
    drop(session);
    assert_eq!(place.saved(), BTreeSet::from([second]));
}

#[test]
fn what_a_snapshot_needs_that_was_committed_after_the_mark_is_written_anew() {
    let (place, first, second) = one_forgotten();
    let other = place.open();
    let session = Session::begin(&other, &place.storage, Default::default(), b"slow", Vec::new()).unwrap();
    other.sync().unwrap();
    // It needs all of the first one, found before the mark.
    let mut snapshot = other.snapshots().unwrap().forgotten[0].snapshot.clone();
    snapshot.session = session.id;
    let outcome = place.prune(&at_once());
    assert!(outcome.packs_waiting > 0);
    assert!(matches!(session.commit(&snapshot), Err(Error::Overtaken)), "it must look again");
    // As if it had not looked: the second phase must save it all the same.
    let bytes = copal::format::snapshot::encode(&place.keys(), &snapshot).unwrap();
    let name = copal::crypto::object_name(&bytes);
    place.storage.put(Kind::Snapshots, &name.to_string(), &bytes).unwrap();
    let confirmation = copal::format::snapshot::Confirmation {
        snapshot: name,
        session: session.id,
        time: place.storage.now(),
    };
    let confirmation = copal::format::snapshot::encode_confirmation(&place.keys(), &confirmation).unwrap();
    place.storage.put(Kind::Confirmed, &name.to_string(), &confirmation).unwrap();
    drop(session);
    let outcome = place.prune(&at_once());
    assert!(outcome.bytes_rewritten > 0);
    assert_eq!(outcome.packs_waiting, 0);
    assert_eq!(place.saved(), BTreeSet::from([second, name]));
    assert_ne!(first, name);
}

impl Place {
    fn keys(&self) -> copal::crypto::Keys {
        let mut name = String::new();
        self.storage.list(Kind::Keys, &mut |entry| name = entry.name).unwrap();
        let slot = self.storage.get(Kind::Keys, &name).unwrap();
        let key = MasterKey::from_bytes(self.key);
        let master = copal::format::slot::open(&slot, Unlock::KeyFile(&key)).unwrap().unwrap();
        master.keys(self.open().id())
    }
}

#[test]
fn storage_that_does_not_say_how_long_its_listings_take_is_not_pruned() {
    struct Unknown {
        inner: Timed,
    }
    impl Backend for Unknown {
        through! { location put get list stat remove time create }
        fn get_range(
            &self,
            k: Kind,
            name: &str,
            offset: u64,
            length: usize,
        ) -> Result<Vec<u8>, StorageError> {
            self.inner.get_range(k, name, offset, length)
        }
        fn listing_lag_seconds(&self) -> Option<u64> {
            None
        }
    }
    let (place, ..) = one_forgotten();
    let before = place.packs();
    let repository = place.open_on(Unknown { inner: place.storage.clone() });
    assert!(matches!(place.prune_on(&repository, &at_once()), Err(Error::Unsettled { .. })));
    assert!(before.is_subset(&place.packs()));
}

#[test]
fn nothing_goes_while_something_is_missing() {
    let (place, first, second) = one_forgotten();
    place.note(&first, Verb::Undelete);
    place.note(&second, Verb::Forget);
    let repository = place.open();
    repository.sync().unwrap();
    let root = repository.snapshots().unwrap().confirmed[0].snapshot.root;
    let location = repository.index.lookup(Contents::Trees, &root).unwrap().unwrap();
    place.storage.remove(Kind::Packs, &location.pack.name.to_string()).unwrap();
    let before = place.packs();
    let error = place.prune_on(&place.open(), &at_once()).unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert_eq!(before, place.packs());
}

/// For every operation: prune fails there; what was saved stays, and the next prune does the rest.
fn cut_off(fault: Fault) {
    let (place, _, second) = one_forgotten();
    let whole = place.copy();
    whole.prune(&at_once());
    let aim = whole.bytes();
    let mut number = 0;
    loop {
        number += 1;
        let here = place.copy();
        let faulty = Arc::new(Faulty::new(here.storage.clone()));
        let repository = here.open_on(faulty.clone());
        faulty.set_fault(Some((faulty.operations() + number, fault)));
        let result = here.prune_on(&repository, &at_once());
        drop(repository);
        assert_eq!(here.saved(), BTreeSet::from([second]), "{fault:?} at operation {number}");
        if !faulty.struck() {
            result.unwrap();
            assert!(number > 30, "the faults were never met");
            return;
        }
        // A session that did not end counts for a day.
        here.days(2);
        here.prune(&at_once());
        assert_eq!(here.saved(), BTreeSet::from([second]), "{fault:?} at operation {number}, and again");
        let left = here.bytes();
        assert!(left < aim + aim / 20, "{fault:?} at operation {number}: {left} bytes stay, not {aim}");
    }
}

#[test]
fn a_crash_at_every_operation_loses_nothing() {
    cut_off(Fault::Crash);
}

#[test]
fn a_failure_at_every_operation_loses_nothing() {
    cut_off(Fault::FailBefore);
}

#[test]
fn a_lost_reply_at_every_operation_loses_nothing() {
    cut_off(Fault::FailAfter);
}
