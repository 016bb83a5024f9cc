//! A snapshot that a later one names and that is not there: removed by another pruner at this moment, or lost.

use std::sync::Mutex;

use super::guards::Late;
use super::*;

/// When others do something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before snapshots are listed, after they were that often.
    Listed(usize),
    /// After a snapshot was removed.
    Removed,
}

/// Storage that lets others do something at one moment.
struct Beside<B> {
    inner: B,
    at: Mutex<Moment>,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl<B: Backend> Beside<B> {
    fn new(inner: B, at: Moment, then: impl FnOnce() + Send + 'static) -> Beside<B> {
        Beside { inner, at: Mutex::new(at), then: Mutex::new(Some(Box::new(then))) }
    }

    fn meet(&self) {
        if let Some(then) = self.then.lock().unwrap().take() {
            then();
        }
    }
}

impl<B: Backend> Backend for Beside<B> {
    through! { location put get get_range stat time create }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        if kind == Kind::Snapshots {
            let mut at = self.at.lock().unwrap();
            match &mut *at {
                Moment::Listed(0) => self.meet(),
                Moment::Listed(times) => *times -= 1,
                Moment::Removed => {}
            }
        }
        self.inner.list(kind, each)
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<(), StorageError> {
        let removed = self.inner.remove(kind, name);
        if kind == Kind::Snapshots && *self.at.lock().unwrap() == Moment::Removed {
            self.meet();
        }
        removed
    }

    fn listing_lag_seconds(&self) -> Option<u64> {
        self.inner.listing_lag_seconds()
    }
}

/// Two snapshots of one client, of which the first is forgotten; gives the second, which names the first.
fn chain() -> (Place, Id) {
    let place = Place::new();
    let client = place.open();
    place.write("a", common::noise(1, 200_000));
    let first = place.back_up_in(&client).unwrap();
    place.remove("a");
    place.write("b", common::noise(2, 200_000));
    let second = place.back_up_in(&client).unwrap();
    place.note(&first, Verb::Forget);
    (place, second)
}

#[test]
fn what_another_pruner_removes_while_a_dry_run_looks_is_not_called_missing() {
    let (place, second) = chain();
    let place = Arc::new(place);
    let other = place.clone();
    let prune = move || assert_eq!(other.prune(&at_once()).snapshots_removed, 1);
    let looks = place.open_on(Beside::new(place.storage.clone(), Moment::Listed(0), prune));
    let plan = place.prune_on(&looks, &Options { dry_run: true, ..at_once() }).unwrap().plan;
    assert_eq!(plan.snapshots, 0, "it has gone");
    assert_eq!(place.saved(), BTreeSet::from([second]));
}

#[test]
fn what_another_pruner_removes_while_this_one_looks_is_not_called_missing() {
    let (place, second) = chain();
    place.days(1);
    place.mark_while_somebody_is_at_work();
    // Pruners that come so late after the mark are in nobody's way: each acts on it.
    place.days(2);
    let mut moments = 0;
    loop {
        let place = Arc::new(place.copy());
        let (other, met) = (place.clone(), Arc::new(AtomicBool::new(false)));
        let tells = met.clone();
        let prune = move || {
            tells.store(true, Ordering::SeqCst);
            other.prune(&at_once());
        };
        let beside = Beside::new(place.storage.clone(), Moment::Listed(moments), prune);
        place.prune_on(&place.open_on(beside), &at_once()).unwrap();
        assert_eq!(place.saved(), BTreeSet::from([second]));
        if !met.load(Ordering::SeqCst) {
            break;
        }
        moments += 1;
    }
    assert!(moments > 2, "{moments}");
}

/// A pruner looks just after another has removed a snapshot, when the note that says so is not listed yet; whether it goes on.
fn looks_before_the_note_is_listed(hurried: bool) -> bool {
    let (place, second) = chain();
    let place = Arc::new(place);
    let late =
        |hurried| Late { inner: place.storage.clone(), put: Default::default(), kind: Kind::Notes, hurried };
    let removes = late(false);
    let looks = Late { hurried, ..removes.clone() };
    let (put, taken) = std::sync::mpsc::channel();
    let other = place.clone();
    let look = move || {
        let done = other.prune_on(&other.open_on(looks), &Options { dry_run: true, ..at_once() });
        put.send(done.is_ok()).unwrap();
    };
    let removes = place.open_on(Beside::new(removes, Moment::Removed, look));
    assert_eq!(place.prune_on(&removes, &at_once()).unwrap().snapshots_removed, 1);
    assert_eq!(place.saved(), BTreeSet::from([second]));
    taken.recv().unwrap()
}

#[test]
fn a_snapshot_is_called_missing_only_when_a_note_had_the_time_to_be_listed() {
    assert!(looks_before_the_note_is_listed(false));
}

#[test]
fn without_waiting_it_would_be_called_missing() {
    assert!(!looks_before_the_note_is_listed(true));
}

#[test]
fn a_snapshot_that_is_lost_ends_the_run_and_is_named() {
    let (place, _) = chain();
    let repository = place.open();
    repository.sync().unwrap();
    let lost = repository.snapshots().unwrap().forgotten[0].name;
    place.storage.remove(Kind::Snapshots, &lost.to_string()).unwrap();
    place.storage.remove(Kind::Confirmed, &lost.to_string()).unwrap();
    let before = place.packs();
    let error = place.prune_on(&place.open(), &at_once()).unwrap_err();
    assert!(
        matches!(&error, Error::Damaged { object, what }
        if object.contains(&lost.short()) && what.contains("is missing")),
        "{error}"
    );
    assert_eq!(before, place.packs());
}
