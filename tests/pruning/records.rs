//! Records that can not be read, of who is at work and of what is taken away: they are mended without anybody being misled.

use copal::format::session::Role;
use copal::repair::{self, RecordsOutcome, Tools};

use super::guards::{as_at_first, is_whole};
use super::*;

/// Repairs records as a client that never was here, or as this one.
fn try_repair(place: &Place, repository: &Repository, nobody_at_work: bool) -> Result<RecordsOutcome, Error> {
    let (options, stop) = (repair::Options::default(), AtomicBool::new(false));
    let (clock, listener) = (&place.storage, &Silent);
    let tools = Tools { repository, options: &options, clock, listener, stop: &stop };
    repair::records(tools, nobody_at_work, &mut |_| true)
}

fn repair_in(place: &Place, repository: &Repository, nobody_at_work: bool) -> RecordsOutcome {
    try_repair(place, repository, nobody_at_work).unwrap()
}

fn repair(place: &Place) -> RecordsOutcome {
    repair_in(place, &place.open(), false)
}

fn names(place: &Place, kind: Kind) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    place.storage.list(kind, &mut |entry| _ = names.insert(entry.name)).unwrap();
    names
}

fn damage(place: &Place, kind: Kind, name: &str) {
    let mut bytes = place.storage.get(kind, name).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.storage.inner.overwrite(kind, name, &bytes);
}

/// Damages every object of that kind, and gives their names.
fn damage_all(place: &Place, kind: Kind) -> BTreeSet<String> {
    let names = names(place, kind);
    assert!(!names.is_empty());
    names.iter().for_each(|name| damage(place, kind, name));
    names
}

/// Storage that answers for sessions that were taken away.
struct Believes {
    inner: Arc<dyn Backend>,
    believes: bool,
    then: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Backend for Believes {
    through! { location get get_range list remove time create }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        if kind == Kind::Snapshots
            && let Some(then) = self.then.lock().unwrap().take()
        {
            then();
        }
        self.inner.put(kind, name, bytes)
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, StorageError> {
        if self.believes && kind == Kind::Sessions { Ok(1) } else { self.inner.stat(kind, name) }
    }
}

/// A writer relies on packs of a forgotten snapshot, and sleeps just before it puts its own. Its session rots, is removed without anybody
/// knowing whose it was, and the packs go.
fn sleeps_while_its_session_rots(believes: bool) -> bool {
    let (place, ..) = one_forgotten();
    as_at_first(&place);
    let place = Arc::new(place);
    let other = place.clone();
    let then = move || {
        for peer in other.open().sessions().unwrap().iter().filter(|peer| !peer.is_ended) {
            peer.objects.iter().for_each(|name| damage(&other, Kind::Sessions, &name.to_string()));
        }
        other.days(3);
        assert!(other.prune_on(&other.open(), &at_once()).is_err());
        assert_eq!(repair(&other).removed, 1);
        assert!(other.prune(&at_once()).packs_removed > 0);
    };
    let inner = Arc::new(place.storage.clone());
    let writer =
        place.open_on(Believes { inner, believes, then: std::sync::Mutex::new(Some(Box::new(then))) });
    let name = place.back_up_in(&writer).unwrap();
    is_whole(&place, name)
}

#[test]
fn a_writer_whose_session_was_taken_away_begins_again() {
    assert!(sleeps_while_its_session_rots(false));
}

#[test]
fn would_it_not_see_that_something_would_be_lost() {
    assert!(!sleeps_while_its_session_rots(true));
}

/// A prune that was cut off when its tombstone was there and the packs were gone, but not the old index objects; the tombstone is damaged.
fn damaged_tombstone() -> (Place, Id) {
    let (place, _, second) = one_forgotten();
    damage_tombstone(&place);
    (place, second)
}

fn damage_tombstone(place: &Place) {
    let index: Vec<_> = names(place, Kind::Index)
        .into_iter()
        .map(|name| (place.storage.get(Kind::Index, &name).unwrap(), name))
        .collect();
    assert!(place.prune(&at_once()).packs_removed > 0);
    index.iter().for_each(|(bytes, name)| place.storage.put(Kind::Index, name, bytes).unwrap());
    damage_all(place, Kind::Removals);
}

#[test]
fn a_damaged_tombstone_goes_when_what_it_said_is_known_again() {
    let (place, second) = damaged_tombstone();
    as_at_first(&place);
    let error = place.back_up_in(&place.open()).unwrap_err();
    assert!(error.to_string().contains("removals/"), "{error}");
    assert!(place.prune_on(&place.open(), &at_once()).is_err());

    let outcome = repair(&place);
    assert!(!outcome.plan.missing.is_empty() && !outcome.plan.waits, "{:?}", outcome.plan);
    assert_eq!(outcome.removed as usize, outcome.plan.removals.len());
    let name = place.back_up();
    assert!(is_whole(&place, name), "it relied on packs that are gone");
    place.days(1);
    place.prune(&at_once());
    assert_eq!(place.saved(), BTreeSet::from([second, name]));
    assert!(repair(&place).plan.is_empty());
}

#[test]
fn taken_away_by_hand_it_makes_packs_look_present_that_are_gone() {
    let (place, _) = damaged_tombstone();
    as_at_first(&place);
    for name in names(&place, Kind::Removals) {
        place.storage.remove(Kind::Removals, &name).unwrap();
    }
    let name = place.back_up();
    assert!(!is_whole(&place, name), "then nothing would have to be written down");
}

#[test]
fn a_removal_record_waits_for_who_may_act_on_it() {
    let (place, _) = damaged_tombstone();
    let asleep = place.open();
    for (role, host) in [(Role::Writer, "writer"), (Role::Pruner, "asleep")] {
        let (clock, client) = (&place.storage, Default::default());
        let session = Session::begin_as(role, &asleep, clock, client, host.as_bytes(), Vec::new()).unwrap();
        std::mem::forget(session);
    }
    let before = names(&place, Kind::Removals);
    // Its lease is a day, and who sleeps does so for three at most.
    for days in [0, 1, 3] {
        place.days(days);
        let outcome = repair(&place);
        assert!(outcome.plan.waits && !outcome.done, "{:?}", outcome.plan);
        assert_eq!(outcome.plan.in_the_way.len(), 1);
        assert_eq!(outcome.plan.in_the_way[0].host, b"asleep");
        assert_eq!(names(&place, Kind::Removals), before);
    }
    let copy = place.copy();
    assert!(repair_in(&copy, &copy.open(), true).removed > 0, "somebody said that nobody is at work");
    place.days(1);
    assert!(repair(&place).removed > 0);
    assert!(names(&place, Kind::Removals).is_empty());
}

#[test]
fn a_session_that_can_not_be_read_may_be_of_who_acts_on_a_damaged_removal_record() {
    let (place, _) = damaged_tombstone();
    let sessions = damage_all(&place, Kind::Sessions);
    let outcome = repair(&place);
    assert!(outcome.plan.waits && !outcome.done);
    assert!(names(&place, Kind::Sessions).is_superset(&sessions), "then nobody would know any more");
    assert!(repair_in(&place, &place.open(), true).removed as usize > sessions.len());
    assert!(place.prune_on(&place.open(), &at_once()).is_ok());
}

#[test]
fn who_a_removed_session_was_of_is_reckoned_with_for_a_while() {
    let (place, ..) = one_forgotten();
    damage_all(&place, Kind::Sessions);
    assert!(repair(&place).removed > 0);
    assert!(place.prune(&at_once()).packs_removed > 0, "nothing else waits");
    damage_all(&place, Kind::Removals);
    assert!(repair(&place).plan.waits);
    place.days(4);
    assert!(!repair(&place).plan.waits);
}

#[test]
fn a_cache_that_knows_a_removal_record_puts_it_back() {
    let (place, ..) = one_forgotten();
    let cache = folder();
    assert!(place.prune(&at_once()).packs_removed > 0);
    place.open_cached(place.storage.clone(), cache.path()).sync().unwrap();
    let before: Vec<_> = names(&place, Kind::Removals)
        .iter()
        .map(|name| place.storage.get(Kind::Removals, name).unwrap())
        .collect();
    damage_all(&place, Kind::Removals);
    let known = place.open_cached(place.storage.clone(), cache.path());
    // What it remembers is not acted on while storage does not have it.
    let error = place.prune_on(&known, &at_once()).unwrap_err();
    assert!(error.to_string().contains("removals/"), "{error}");
    // Somebody at work is no hindrance: nothing goes.
    let (clock, client) = (&place.storage, Default::default());
    let session = Session::begin_as(Role::Pruner, &known, clock, client, b"other", Vec::new()).unwrap();
    let outcome = repair_in(&place, &known, false);
    assert_eq!((outcome.put_back as usize, outcome.removed), (before.len(), 0));
    drop(session);
    let after: Vec<_> = names(&place, Kind::Removals)
        .iter()
        .map(|name| place.storage.get(Kind::Removals, name).unwrap())
        .collect();
    assert_eq!(before, after);
    place.prune(&at_once());
}

#[test]
fn a_dry_run_and_a_no_change_nothing() {
    let (place, _) = damaged_tombstone();
    damage_all(&place, Kind::Sessions);
    let kinds = [Kind::Sessions, Kind::Removals, Kind::Damage, Kind::Index];
    let before = kinds.map(|kind| names(&place, kind));
    let (options, stop) = (repair::Options { dry_run: true, ..Default::default() }, AtomicBool::new(false));
    let repository = place.open();
    let (clock, listener) = (&place.storage, &Silent);
    let tools = Tools { repository: &repository, options: &options, clock, listener, stop: &stop };
    let outcome = repair::records(tools, true, &mut |_| true).unwrap();
    assert!(!outcome.done && !outcome.plan.is_empty());
    assert_eq!(before, kinds.map(|kind| names(&place, kind)));
    let asked = repair::Options::default();
    let outcome = repair::records(Tools { options: &asked, ..tools }, true, &mut |_| false).unwrap();
    assert!(!outcome.done);
    assert_eq!(before[1..], kinds.map(|kind| names(&place, kind))[1..]);
}

#[test]
fn the_index_can_be_repaired_before_a_removal_record() {
    let (place, _) = damaged_tombstone();
    let first = names(&place, Kind::Index).pop_first().unwrap();
    damage(&place, Kind::Index, &first);
    let repository = place.open();
    let (options, stop) = (repair::Options::default(), AtomicBool::new(false));
    let (clock, listener) = (&place.storage, &Silent);
    let tools = Tools { repository: &repository, options: &options, clock, listener, stop: &stop };
    // What it names is not known.
    assert!(repair::records(tools, true, &mut |_| true).unwrap_err().to_string().contains("index/"));
    repair::index(tools, false, &mut |_| true).unwrap();
    repair::records(tools, true, &mut |_| true).unwrap();
    as_at_first(&place);
    let name = place.back_up();
    assert!(is_whole(&place, name));
}

/// For every operation: the repair fails there. Either nobody writes before it is run again, or what is written is whole.
fn cut_off(fault: Fault) {
    // Small, since it is done so often.
    let place = Place::new();
    place.write("first", common::noise(1, 5000));
    let first = place.back_up();
    place.remove("first");
    place.write("second", common::noise(2, 5000));
    place.back_up();
    place.note(&first, Verb::Forget);
    damage_tombstone(&place);
    let session = names(&place, Kind::Sessions).pop_first().unwrap();
    damage(&place, Kind::Sessions, &session);
    let mut number = 0;
    loop {
        number += 1;
        let here = place.copy();
        here.write("first", common::noise(1, 5000));
        let faulty = Arc::new(Faulty::new(here.storage.clone()));
        let repository = here.open_on(faulty.clone());
        faulty.set_fault(Some((faulty.operations() + number, fault)));
        let result = try_repair(&here, &repository, true);
        drop(repository);
        let early = here.back_up_in(&here.open());
        if let Ok(name) = &early {
            assert!(is_whole(&here, *name), "{fault:?} at operation {number}");
        }
        if !faulty.struck() {
            assert!(result.unwrap().removed >= 2 && early.is_ok());
            assert!(number > 10, "the faults were never met");
            return;
        }
        repair_in(&here, &here.open(), true);
        let name = here.back_up();
        assert!(is_whole(&here, name), "{fault:?} at operation {number}, and again");
    }
}

#[test]
fn a_repair_of_records_is_cut_off_anywhere() {
    [Fault::Crash, Fault::FailBefore, Fault::FailAfter].into_iter().for_each(cut_off);
}
