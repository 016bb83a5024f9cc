//! Guards that only matter in a moment which a seed would hardly find: the moment is made, and with the guard taken away something is
//! lost.

use super::*;

/// Storage that lets others do something in the midst of one operation, and can hide a kind of objects.
struct Midst {
    inner: Timed,
    at: Kind,
    then: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
    hidden: Option<Kind>,
}

impl Midst {
    fn new(place: &Place, at: Kind, then: impl FnOnce() + Send + 'static, hidden: Option<Kind>) -> Midst {
        let then: Box<dyn FnOnce() + Send> = Box::new(then);
        Midst { inner: place.storage.clone(), at, then: std::sync::Mutex::new(Some(then)), hidden }
    }
}

impl Backend for Midst {
    through! { location get get_range remove time create }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        if kind == self.at
            && let Some(then) = self.then.lock().unwrap().take()
        {
            then();
        }
        self.inner.put(kind, name, bytes)
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        if self.hidden == Some(kind) { Ok(()) } else { self.inner.list(kind, each) }
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, StorageError> {
        match self.hidden == Some(kind) {
            true => Err(StorageError::NotFound { object: name.to_owned() }),
            false => self.inner.stat(kind, name),
        }
    }
}

/// Whether a snapshot can be read wholly.
fn is_whole(place: &Place, name: Id) -> bool {
    let repository = place.open();
    repository.sync().unwrap();
    let all = repository.snapshots().unwrap();
    let named = all.confirmed.iter().find(|named| named.name == name).unwrap();
    let root = named.snapshot.root;
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_whole(&repository, root))).is_ok()
}

/// The files of the first snapshot are back.
fn as_at_first(place: &Place) {
    place.remove("new");
    for file in 0..12u64 {
        place.write(&format!("{}/{file}", file % 3), common::noise(file, 60_000));
    }
}

/// A writer finds all that it needs in packs of a forgotten snapshot, and sleeps for three days just before it puts its own.
fn sleeps_before_its_snapshot(hidden: Option<Kind>) -> bool {
    let (place, ..) = one_forgotten();
    as_at_first(&place);
    let place = Arc::new(place);
    let other = place.clone();
    let sleep = move || {
        other.days(3);
        assert!(other.prune(&at_once()).packs_removed > 0);
    };
    let writer = place.open_on(Midst::new(&place, Kind::Snapshots, sleep, hidden));
    let name = place.back_up_in(&writer).unwrap();
    is_whole(&place, name)
}

#[test]
fn a_writer_that_slept_before_it_put_its_snapshot_finds_its_fence() {
    assert!(sleeps_before_its_snapshot(None));
}

#[test]
fn without_fences_it_would_lose_something() {
    assert!(!sleeps_before_its_snapshot(Some(Kind::Fences)));
}

/// A writer begins when a pruner has looked at all sessions for the last time, and would take over the snapshot that is about to go. That
/// marks came since is kept from it.
fn begins_at_the_last_moment(hidden: Option<Kind>) -> bool {
    let (place, ..) = one_forgotten();
    as_at_first(&place);
    let place = Arc::new(place);
    place.days(1);
    // Its rows are those of a snapshot that somebody else forgets.
    let writer = place.open_on(Midst::new(&place, Kind::Parity, || {}, hidden));
    let mine = place.back_up_in(&writer).unwrap();
    let again = place.back_up_in(&writer).unwrap();
    place.note(&mine, Verb::Forget);
    place.note(&again, Verb::Forget);
    let (put, taken) = std::sync::mpsc::channel();
    let other = place.clone();
    let begin = move || {
        writer.sync().unwrap();
        let absence = writer.absence().unwrap();
        for (name, known) in writer.index.facts_with_prefix("absence ").unwrap() {
            writer.index.set_fact(&name, &[&absence[..], &known[32..]].concat()).unwrap();
        }
        put.send(other.back_up_in(&writer).unwrap()).unwrap();
    };
    let pruner = place.open_on(Midst::new(&place, Kind::Notes, begin, None));
    assert!(place.prune_on(&pruner, &at_once()).unwrap().packs_removed > 0);
    is_whole(&place, taken.recv().unwrap())
}

#[test]
fn a_writer_takes_over_nothing_of_a_snapshot_that_was_forgotten() {
    assert!(begins_at_the_last_moment(None));
}

#[test]
fn taking_over_what_was_forgotten_would_lose_something() {
    assert!(!begins_at_the_last_moment(Some(Kind::Notes)));
}

/// A writer begins long after a mark, which so does not wait for it, and finds all that it needs in marked packs.
fn begins_after_the_mark(hidden: Option<Kind>) -> bool {
    let (place, ..) = one_forgotten();
    as_at_first(&place);
    let place = Arc::new(place);
    let elsewhere = place.open();
    let session =
        Session::begin(&elsewhere, &place.storage, Default::default(), b"elsewhere", Vec::new()).unwrap();
    assert!(place.prune(&at_once()).packs_waiting > 0);
    drop(session);
    place.days(2);
    let other = place.clone();
    let prune = move || assert!(other.prune(&at_once()).packs_removed > 0);
    let writer = place.open_on(Midst::new(&place, Kind::Snapshots, prune, hidden));
    let name = place.back_up_in(&writer).unwrap();
    is_whole(&place, name)
}

#[test]
fn a_writer_relies_on_nothing_that_is_marked() {
    assert!(begins_after_the_mark(None));
}

#[test]
fn without_marks_it_would_lose_something() {
    assert!(!begins_after_the_mark(Some(Kind::Removals)));
}
