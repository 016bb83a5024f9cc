//! Guards that only matter in a moment which a seed would hardly find: the moment is made, and with the guard taken away something is
//! lost.

use super::found::twice;
use super::*;

/// Storage that lets others do something in the midst of one operation, and can hide a kind of objects.
struct Midst {
    inner: Arc<dyn Backend>,
    at: Kind,
    then: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
    hidden: Option<Kind>,
}

impl Midst {
    fn new(place: &Place, at: Kind, then: impl FnOnce() + Send + 'static, hidden: Option<Kind>) -> Midst {
        Midst::on(Arc::new(place.storage.clone()), at, then, hidden)
    }

    fn on(
        inner: Arc<dyn Backend>,
        at: Kind,
        then: impl FnOnce() + Send + 'static,
        hidden: Option<Kind>,
    ) -> Midst {
        let then: Box<dyn FnOnce() + Send> = Box::new(then);
        Midst { inner, at, then: std::sync::Mutex::new(Some(then)), hidden }
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
pub(super) fn is_whole(place: &Place, name: Id) -> bool {
    let repository = place.open();
    repository.sync().unwrap();
    let all = repository.snapshots().unwrap();
    let named = all.confirmed.iter().find(|named| named.name == name).unwrap();
    let root = named.snapshot.root;
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_whole(&repository, root))).is_ok()
}

/// The files of the first snapshot are back.
pub(super) fn as_at_first(place: &Place) {
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
    place.mark_while_somebody_is_at_work();
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

/// Seconds for which some listings are late.
pub(super) const LATE: i64 = 60;

/// Storage whose listings of a kind have what was put through this only a minute later. All who look share what was put when.
#[derive(Clone)]
pub(super) struct Late {
    pub inner: Timed,
    pub put: Arc<std::sync::Mutex<std::collections::HashMap<String, i64>>>,
    pub kind: Kind,
    /// It says that listings are never late: who prunes does not wait.
    pub hurried: bool,
}

impl Backend for Late {
    through! { location get get_range stat remove time create }

    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.put.lock().unwrap().insert(name.to_owned(), self.inner.now().seconds);
        self.inner.put(kind, name, bytes)
    }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        let (put, now) = (self.put.lock().unwrap().clone(), self.inner.now().seconds);
        self.inner.list(kind, &mut |entry| {
            if kind != self.kind || put.get(&entry.name).is_none_or(|put| put + LATE <= now) {
                each(entry);
            }
        })
    }

    fn listing_lag_seconds(&self) -> Option<u64> {
        Some(if self.hurried { 0 } else { LATE as u64 })
    }
}

/// A writer begins just after a mark, which it does not see listed yet; nor does the pruner see the writer's session.
fn begins_just_after_the_mark(hurried: bool) -> bool {
    let (place, ..) = one_forgotten();
    as_at_first(&place);
    let place = Arc::new(place);
    let late = |kind| Late { inner: place.storage.clone(), put: Default::default(), kind, hurried: true };
    let looks = late(Kind::Removals);
    let prunes = Late { kind: Kind::Sessions, ..looks.clone() };
    let elsewhere = place.open();
    let session =
        Session::begin(&elsewhere, &place.storage, Default::default(), b"elsewhere", Vec::new()).unwrap();
    assert!(place.prune_on(&place.open_on(prunes.clone()), &at_once()).unwrap().packs_waiting > 0);
    drop(session);
    let other = place.clone();
    let prune = move || {
        let pruner = other.open_on(Late { hurried, ..prunes });
        other.prune_on(&pruner, &at_once()).unwrap();
    };
    let writer = place.open_on(Midst::on(Arc::new(looks), Kind::Snapshots, prune, None));
    let name = place.back_up_in(&writer).unwrap();
    place.days(2);
    let pruned = place.prune_on(&place.open(), &at_once());
    let whole = is_whole(&place, name);
    assert_eq!(pruned.is_ok(), whole, "what is lost ends a prune");
    whole
}

#[test]
fn a_pruner_waits_until_everybody_is_listed() {
    assert!(begins_just_after_the_mark(false));
}

#[test]
fn a_pruner_that_does_not_wait_would_lose_something() {
    assert!(!begins_just_after_the_mark(true));
}

/// Storage that shows only those removal records that were put through it, and one more.
struct Selfish {
    inner: Timed,
    own: std::sync::Mutex<BTreeSet<String>>,
    sees_all: bool,
}

impl Backend for Selfish {
    through! { location get get_range stat remove time create }

    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.own.lock().unwrap().insert(name.to_owned());
        self.inner.put(kind, name, bytes)
    }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        let own = self.own.lock().unwrap().clone();
        self.inner.list(kind, &mut |entry| {
            if self.sees_all || kind != Kind::Removals || own.contains(&entry.name) {
                each(entry);
            }
        })
    }
}

/// A chunk lies in two packs, each marked by another pruner. One acts on its mark while the other is about to put its tombstone.
fn each_acts_on_its_mark(sees_all: bool) -> bool {
    let (place, one, two, x, p) = twice();
    place.note(&two, Verb::Forget);
    let place = Arc::new(place);
    let repository = place.open();
    let pruner = copal::format::session::Role::Pruner;
    let mark = |pack| {
        let (client, time) = (Default::default(), place.storage.now());
        let session =
            Session::begin_as(pruner, &repository, &place.storage, client, b"marks", Vec::new()).unwrap();
        let removal = copal::format::session::Removal {
            packs: vec![pack],
            time,
            session: session.id,
            ..Default::default()
        };
        let name = repository.put_removal(&removal).unwrap().to_string();
        let own = std::sync::Mutex::new(BTreeSet::from([name]));
        Selfish { inner: place.storage.clone(), own, sees_all }
    };
    let (of_x, of_p) = (mark(x), mark(p));
    place.days(3);
    let other = place.clone();
    let second = move || {
        let pruner = other.open_on(of_p);
        assert!(other.prune_on(&pruner, &at_once()).unwrap().packs_removed > 0);
    };
    let first = place.open_on(Midst::on(Arc::new(of_x), Kind::Removals, second, None));
    let pruned = place.prune_on(&first, &at_once());
    let whole = is_whole(&place, one);
    assert_eq!(pruned.is_ok(), whole, "what is lost ends a prune");
    whole
}

#[test]
fn a_copy_in_a_pack_that_another_pruner_marked_is_none() {
    assert!(each_acts_on_its_mark(true));
}

#[test]
fn pruners_that_see_only_their_own_marks_would_lose_something() {
    assert!(!each_acts_on_its_mark(false));
}

/// Storage on which who puts a mark does nothing more after that.
struct Dies {
    inner: Timed,
    dead: AtomicBool,
}

impl Backend for Dies {
    through! { location get get_range list stat remove time create }

    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        if self.dead.load(Ordering::SeqCst) {
            let source = std::io::Error::from_raw_os_error(5);
            return Err(StorageError::Io { object: name.to_owned(), operation: "write", source });
        }
        self.dead.store(kind == Kind::Removals, Ordering::SeqCst);
        self.inner.put(kind, name, bytes)
    }
}

/// A pruner puts its mark, which has to wait, and is never heard of again.
fn dies_after_its_mark(place: &Place) {
    let elsewhere = place.open();
    let _session =
        Session::begin(&elsewhere, &place.storage, Default::default(), b"elsewhere", Vec::new()).unwrap();
    let dies = Dies { inner: place.storage.clone(), dead: AtomicBool::new(false) };
    assert!(place.prune_on(&place.open_on(dies), &at_once()).unwrap().packs_waiting > 0);
    assert_eq!(place.open().removals().unwrap().marks.len(), 1);
}

#[test]
fn a_mark_whose_pruner_died_waits_for_nobody_who_came_later() {
    let (place, _, second) = one_forgotten();
    dies_after_its_mark(&place);
    let repository = place.open();
    let begin = || Session::begin(&repository, &place.storage, Default::default(), b"always", Vec::new());
    let (mut removed, mut at_work) = (0, Vec::new());
    for _ in 0..10 {
        // The next one comes before the last one goes.
        at_work.push(begin().unwrap());
        at_work.drain(..at_work.len() - 1);
        place.hours(12);
        removed += place.prune(&at_once()).packs_removed;
    }
    drop(at_work);
    assert!(removed > 0);
    assert_eq!(place.open().removals().unwrap().marks.len(), 0);
    assert_eq!(place.saved(), BTreeSet::from([second]));
}

/// One pruner is about to act on the mark of one that died, while another puts it anew and takes it away; a writer that comes just then
/// sees the old one no more, and the new one not yet when that was not waited for.
fn comes_while_a_mark_is_put_anew(hurried: bool) -> bool {
    let (place, ..) = one_forgotten();
    as_at_first(&place);
    dies_after_its_mark(&place);
    place.days(3);
    let place = Arc::new(place);
    let late = |hurried| Late {
        inner: place.storage.clone(),
        put: Default::default(),
        kind: Kind::Removals,
        hurried,
    };
    let puts_anew = late(hurried);
    let writes = Late { hurried: true, ..puts_anew.clone() };
    let (put, taken) = std::sync::mpsc::channel();
    let other = place.clone();
    let meanwhile = move || {
        let elsewhere = other.open();
        let session =
            Session::begin(&elsewhere, &other.storage, Default::default(), b"elsewhere", Vec::new());
        let outcome = other.prune_on(&other.open_on(puts_anew), &at_once()).unwrap();
        assert_eq!(outcome.packs_removed, 0, "somebody is at work");
        drop(session);
        put.send(other.back_up_in(&other.open_on(writes)).unwrap()).unwrap();
    };
    let acts = place.open_on(Midst::new(&place, Kind::Notes, meanwhile, None));
    let pruned = place.prune_on(&acts, &at_once());
    let whole = is_whole(&place, taken.recv().unwrap());
    assert_eq!(pruned.is_ok_and(|outcome| outcome.packs_removed > 0), whole, "what is lost ends a prune");
    whole
}

#[test]
fn a_mark_is_taken_away_when_everybody_sees_the_one_in_its_place() {
    assert!(comes_while_a_mark_is_put_anew(false));
}

#[test]
fn a_mark_that_is_taken_away_sooner_would_lose_something() {
    assert!(!comes_while_a_mark_is_put_anew(true));
}
