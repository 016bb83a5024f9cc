//! What an attack on the protocol found: each lost something once, or waited for ever.

use super::*;

/// Two storages with one key merged: what was backed up in each at the same time.
pub(super) fn merge(into: &Place, from: &Place) {
    for kind in [Kind::Packs, Kind::Index, Kind::Snapshots, Kind::Confirmed, Kind::Notes, Kind::Sessions] {
        let mut names = Vec::new();
        from.storage.list(kind, &mut |entry| names.push(entry.name)).unwrap();
        for name in names {
            let bytes = from.storage.get(kind, &name).unwrap();
            into.storage.put(kind, &name, &bytes).unwrap();
        }
    }
}

/// c lies in two packs: X of snapshot one, and P, of snapshot two, with junk beside. Gives place, one, two, X, P.
pub(super) fn twice() -> (Place, Id, Id, Id, Id) {
    loop {
        let place = Place::new();
        let other = place.copy();
        place.write("c", common::noise(1, 200_000));
        let one = place.back_up();
        let x = data_pack(&place);
        std::fs::write(other.source.path().join("c"), common::noise(1, 200_000)).unwrap();
        other.write("junk", common::noise(2, 200_000));
        let two = other.back_up();
        let p = data_pack(&other);
        if x.0 < p.0 {
            merge(&place, &other);
            return (place, one, two, x, p);
        }
    }
}

pub(super) fn data_pack(place: &Place) -> Id {
    let repository = place.open();
    repository.sync().unwrap();
    let (mut name, mut most) = (None, 0);
    repository
        .index
        .packs(&mut |pack| {
            if pack.contents == Contents::Data && pack.length > most {
                most = pack.length;
                name = Some(pack.name)
            }
        })
        .unwrap();
    name.unwrap()
}

pub(super) fn whole(place: &Place, name: &Id) {
    let repository = place.open();
    repository.sync().unwrap();
    let all = repository.snapshots().unwrap();
    let named = all.confirmed.iter().find(|named| named.name == *name).unwrap();
    assert_whole(&repository, named.snapshot.root);
}

#[test]
fn a_missing_pack_is_no_copy() {
    let (place, one, two, x, _) = twice();
    place.storage.remove(Kind::Packs, &x.to_string()).unwrap();
    whole(&place, &one);
    place.note(&two, Verb::Forget);
    let _ = place.prune_on(&place.open(), &at_once());
    whole(&place, &one);
}

#[test]
fn a_damaged_pack_is_no_copy_that_lets_another_go() {
    let (place, one, two, x, p) = twice();
    place.note(&two, Verb::Forget);
    place.days(2);
    let other = place.open();
    let session =
        Session::begin(&other, &place.storage, Default::default(), b"elsewhere", Vec::new()).unwrap();
    place.prune(&at_once());
    assert!(place.open().removals().unwrap().marked().contains(&p));
    assert!(!place.open().removals().unwrap().marked().contains(&x));
    // X rots, and a check finds it.
    let mut bytes = place.storage.get(Kind::Packs, &x.to_string()).unwrap();
    for byte in &mut bytes[200..150_000] {
        *byte ^= 1
    }
    place.storage.inner.overwrite(Kind::Packs, &x.to_string(), &bytes);
    let repository = place.open();
    let synced = repository.sync().unwrap();
    check::check(&repository, &synced, Reading::Everything, &place.storage, &Silent, &AtomicBool::new(false))
        .unwrap();
    assert!(place.open().damaged_packs().unwrap().contains(&x));
    whole(&place, &one);
    drop(session);
    let _ = place.prune_on(&place.open(), &at_once());
    whole(&place, &one);
}

#[test]
fn a_marked_pack_that_is_damaged_is_passed_by() {
    // both marked, the first by name damaged, the other good: prune must go on
    let (place, one, two, x, p) = twice();
    place.note(&two, Verb::Forget);
    let mut bytes = place.storage.get(Kind::Packs, &x.to_string()).unwrap();
    for byte in &mut bytes[200..150_000] {
        *byte ^= 1
    }
    place.storage.inner.overwrite(Kind::Packs, &x.to_string(), &bytes);
    let repository = place.open();
    let session = copal::model::Id16([7; 16]);
    let removal = copal::format::session::Removal {
        packs: vec![x, p],
        time: place.storage.now(),
        session,
        ..Default::default()
    };
    repository.put_removal(&removal).unwrap();
    let synced = repository.sync().unwrap();
    check::check(&repository, &synced, Reading::Everything, &place.storage, &Silent, &AtomicBool::new(false))
        .unwrap();
    whole(&place, &one);
    place.days(3);
    place.prune(&at_once());
    whole(&place, &one);
}

/// Does `work` as somebody for whom permissions count.
fn unprivileged<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if common::is_root() {
                // SAFETY: of this thread alone, which ends with the work, and of the threads that it makes.
                assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
            }
            work()
        });
        worker.join().unwrap()
    })
}

#[test]
fn what_an_unreadable_file_was_is_only_named_while_it_is_stored() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("d/f", common::noise(1, 4_000_000));
    place.write("e/g", common::noise(2, 50_000));
    for folder in ["", "d", "e"] {
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.source.path().join(folder), open).unwrap();
    }
    let client = place.open();
    let first = place.back_up_in(&client).unwrap();
    // Another set keeps e, and with it the pack of trees.
    let options = backup::Options {
        sources: vec![place.source.path().join("e").as_os_str().as_bytes().to_vec()],
        host: b"host".to_vec(),
        level: Level::FAST,
        workers: 2,
        racy_seconds: 0,
        ..backup::Options::default()
    };
    backup::backup(&place.open(), &options, &place.storage, &Silent, &AtomicBool::new(false)).unwrap();
    place.note(&first, Verb::Forget);
    let some = Options { grace_seconds: 0, max_unused: Unused::Unlimited, ..Options::default() };
    let outcome = place.prune(&some);
    assert!(outcome.packs_removed > 0 && outcome.snapshots_removed == 1);
    let f = place.source.path().join("d/f");
    std::fs::set_permissions(&f, std::fs::Permissions::from_mode(0o000)).unwrap();
    let third = unprivileged(|| place.back_up_in(&client).unwrap());
    let repository = place.open();
    repository.sync().unwrap();
    let all = repository.snapshots().unwrap();
    let third = all.confirmed.iter().find(|named| named.name == third).unwrap();
    assert_eq!(third.snapshot.summary.unreadable, 1);
    place.days(30);
    place.prune(&at_once());
}

#[test]
fn a_snapshot_that_was_never_completed_blocks_nobody() {
    let (place, _, second) = one_forgotten();
    let other = place.open();
    other.sync().unwrap();
    let mut snapshot = other.snapshots().unwrap().forgotten[0].snapshot.clone();
    snapshot.session = copal::model::Id16([9; 16]);
    place.prune(&at_once());
    // The writer that was fenced wakes between 5 and 6: puts the snapshot, finds its fence, and begins again.
    let bytes = copal::format::snapshot::encode(&place.keys(), &snapshot).unwrap();
    place.storage.put(Kind::Snapshots, &copal::crypto::object_name(&bytes).to_string(), &bytes).unwrap();
    assert_eq!(place.saved(), BTreeSet::from([second]));
    place.note(&second, Verb::Protect);
    place.days(100);
    place.prune(&at_once());
}

#[test]
fn a_dead_session_keeps_nothing_for_ever() {
    let (place, first, _) = one_forgotten();
    let other = place.open();
    let session = Session::begin(&other, &place.storage, Default::default(), b"dead", vec![first]).unwrap();
    std::mem::forget(session);
    let mut removed = 0;
    for _ in 0..5 {
        place.days(100);
        removed += place.prune(&at_once()).snapshots_removed;
    }
    assert_eq!(removed, 1);
}

/// Puts a tombstone when the index is listed after fences were: as a pruner that slept just before it.
struct Wakes {
    inner: Timed,
    armed: AtomicI64,
    tombstone: std::sync::Mutex<Option<Vec<u8>>>,
}
impl Backend for Wakes {
    through! { location put get get_range stat remove time create }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        if kind == Kind::Fences {
            self.armed.fetch_add(1, Ordering::SeqCst);
        }
        if kind == Kind::Index
            && self.armed.load(Ordering::SeqCst) > 0
            && let Some(bytes) = self.tombstone.lock().unwrap().take()
        {
            self.inner.put(Kind::Removals, &copal::crypto::object_name(&bytes).to_string(), &bytes).unwrap();
        }
        self.inner.list(kind, each)
    }
}

#[test]
fn a_tombstone_that_comes_while_a_pruner_looks_counts() {
    let (place, one, two, x, p) = twice();
    place.note(&two, Verb::Forget);
    let repository = place.open();
    let mark = |pack: Id| copal::format::session::Removal {
        packs: vec![pack],
        time: place.storage.now(),
        session: copal::model::Id16([7; 16]),
        ..Default::default()
    };
    let m = repository.put_removal(&mark(x)).unwrap();
    repository.put_removal(&mark(p)).unwrap();
    place.days(3);
    let tombstone = copal::format::session::Removal { done: true, answers: Some(m), ..mark(x) };
    let bytes = copal::format::session::encode_removal(&place.keys(), &tombstone).unwrap();
    let wakes = Wakes {
        inner: place.storage.clone(),
        armed: AtomicI64::new(0),
        tombstone: std::sync::Mutex::new(Some(bytes)),
    };
    let _ = place.prune_on(&place.open_on(wakes), &at_once());
    // B goes on.
    let _ = place.storage.remove(Kind::Packs, &x.to_string());
    whole(&place, &one);
}

#[test]
fn a_flipped_bit_in_the_cache_removes_nothing() {
    let place = Place::new();
    place.write("c", common::noise(1, 200_000));
    place.write("junk", common::noise(2, 200_000));
    let zero = place.back_up();
    place.remove("junk");
    let one = place.back_up();
    place.write("z", common::noise(5, 400_000));
    place.remove("c");
    let three = place.back_up();
    place.note(&zero, Verb::Forget);
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let open = || {
        let key = MasterKey::from_bytes(place.key);
        repository::open(Box::new(place.storage.clone()), Unlock::KeyFile(&key), Some(folder.path())).unwrap()
    };
    let repository = open();
    repository.sync().unwrap();
    let root = repository
        .snapshots()
        .unwrap()
        .confirmed
        .iter()
        .find(|named| named.name == one)
        .unwrap()
        .snapshot
        .root;
    let mut chunks = Vec::new();
    let mut trees = vec![root];
    while let Some(tree) = trees.pop() {
        for node in repository.nodes(tree) {
            let node = node.unwrap();
            trees.extend(node.tree);
            repository
                .segments(&node.content, node.size, &mut |segment| {
                    if let SegmentKind::Data(id) = segment.kind {
                        chunks.push(id)
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
    let (mut packs, mut all) = (Vec::new(), Vec::new());
    repository
        .index
        .packs(&mut |pack| {
            packs.push(pack.row);
            all.push(pack)
        })
        .unwrap();
    let at = repository.index.lookup(Contents::Data, &chunks[0]).unwrap().unwrap();
    let z = all
        .iter()
        .find(|pack| pack.contents == Contents::Data && pack.row != at.pack.row && pack.length > 350_000)
        .unwrap();
    let to = z.row;
    drop(repository);
    let path = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "sqlite"))
        .unwrap();
    let database = rusqlite::Connection::open(path).unwrap();
    let key = i64::from_be_bytes(chunks[0].0[..8].try_into().unwrap());
    assert_eq!(database.execute("UPDATE chunks SET pack = ?1 WHERE key = ?2", (to as i64, key)).unwrap(), 1);
    drop(database);
    whole(&place, &one);
    let _ = place.prune_on(&open(), &at_once());
    whole(&place, &three);
    whole(&place, &one);
}

#[test]
fn nothing_goes_while_a_snapshot_is_missing_that_a_later_one_names() {
    let place = Place::new();
    place.write("a", common::noise(1, 200_000));
    let client = place.open();
    let first = place.back_up_in(&client).unwrap();
    place.remove("a");
    place.write("b", common::noise(2, 200_000));
    place.back_up_in(&client).unwrap();
    place.storage.remove(Kind::Snapshots, &first.to_string()).unwrap();
    place.storage.remove(Kind::Confirmed, &first.to_string()).unwrap();
    let before = place.packs();
    let _ = place.prune_on(&place.open(), &at_once());
    assert!(before.is_subset(&place.packs()));
}

/// Tells and waits at one kind of operation.
struct Stops {
    inner: Timed,
    at: (&'static str, Kind),
    once: AtomicBool,
    tell: std::sync::mpsc::SyncSender<()>,
    go: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}
impl Stops {
    fn stop(&self, what: &'static str, kind: Kind) {
        if self.at == (what, kind) && !self.once.swap(true, Ordering::SeqCst) {
            self.tell.send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
        }
    }
}
impl Backend for Stops {
    through! { location put get_range stat remove time create }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, StorageError> {
        let bytes = self.inner.get(kind, name);
        self.stop("get", kind);
        bytes
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        self.stop("list", kind);
        self.inner.list(kind, each)
    }
}

#[test]
fn two_processes_with_one_cache_rely_on_nothing_that_is_gone() {
    for _ in 0..8 {
        t11();
    }
}
fn t11() {
    let place = Place::new();
    place.write("keep", common::noise(1, 50_000));
    place.write("j", common::noise(2, 300_000));
    let first = place.back_up();
    place.remove("j");
    place.back_up();
    place.note(&first, Verb::Forget);
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let stops = |at| {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (go, going) = std::sync::mpsc::sync_channel(1);
        (
            Stops {
                inner: place.storage.clone(),
                at,
                once: AtomicBool::new(false),
                tell,
                go: std::sync::Mutex::new(going),
            },
            told,
            go,
        )
    };
    let open = |backend: Stops| {
        let key = MasterKey::from_bytes(place.key);
        repository::open(Box::new(backend), Unlock::KeyFile(&key), Some(folder.path())).unwrap()
    };
    let (two, told2, go2) = stops(("get", Kind::Index));
    let (one, told1, go1) = stops(("list", Kind::Snapshots));
    let two = open(two);
    let saved = std::thread::scope(|scope| {
        // copal snapshots
        let second = scope.spawn(move || {
            let _ = two.sync();
        });
        told2.recv().unwrap();
        assert!(place.prune(&at_once()).packs_removed > 0);
        place.write("j", common::noise(2, 300_000));
        // copal backup
        let place = &place;
        let one = open(one);
        let first = scope.spawn(move || place.back_up_in(&one).unwrap());
        told1.recv().unwrap();
        go2.send(()).unwrap();
        second.join().unwrap();
        go1.send(()).unwrap();
        first.join().unwrap()
    });
    whole(&place, &saved);
}

#[test]
fn a_check_beside_a_prune_finds_nothing() {
    let (place, _, _) = one_forgotten();
    let other = place.open();
    let session =
        Session::begin(&other, &place.storage, Default::default(), b"elsewhere", Vec::new()).unwrap();
    place.prune(&at_once());
    drop(session);
    place.days(3);
    let repository = place.open();
    let synced = repository.sync().unwrap();
    let session = Session::begin_as(
        copal::format::session::Role::Reader,
        &repository,
        &place.storage,
        Default::default(),
        b"elsewhere",
        Vec::new(),
    )
    .unwrap();
    assert!(place.prune(&at_once()).packs_removed > 0);
    let report = check::check(
        &repository,
        &synced,
        Reading::Everything,
        &place.storage,
        &Silent,
        &AtomicBool::new(false),
    )
    .unwrap();
    drop(session);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

struct Hiccup {
    inner: Timed,
    pack: String,
    left: AtomicI64,
}
impl Backend for Hiccup {
    through! { location put get list stat remove time create }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        if name == self.pack && self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Err(StorageError::Io {
                object: name.to_owned(),
                operation: "read",
                source: std::io::Error::from_raw_os_error(5),
            });
        }
        self.inner.get_range(kind, name, offset, length)
    }
}

#[test]
fn what_could_not_be_read_once_is_looked_at_again() {
    let (place, first, _) = one_forgotten();
    let other = place.open();
    other.sync().unwrap();
    let mut snapshot = other.snapshots().unwrap().forgotten[0].snapshot.clone();
    let pack = other.index.lookup(Contents::Trees, &snapshot.root).unwrap().unwrap().pack.name.to_string();
    snapshot.session = copal::model::Id16([9; 16]);
    let bytes = copal::format::snapshot::encode(&place.keys(), &snapshot).unwrap();
    place.storage.put(Kind::Snapshots, &copal::crypto::object_name(&bytes).to_string(), &bytes).unwrap();
    let hiccup = Hiccup { inner: place.storage.clone(), pack, left: AtomicI64::new(1) };
    // Seven days of grace.
    let options = Options { max_unused: Unused::Bytes(0), ..Options::default() };
    let _ = place.prune_on(&place.open_on(hiccup), &options);
    place.note(&first, Verb::Undelete);
    whole(&place, &first);
}

#[test]
fn what_came_back_once_can_come_back_again() {
    let (place, first, _) = one_forgotten();
    let repository = place.open();
    // A pruner marks; an undelete that began before has not seen the mark, and brings the snapshot back.
    let mark = copal::format::session::Removal {
        snapshots: vec![first],
        time: place.storage.now(),
        session: copal::model::Id16([7; 16]),
        ..Default::default()
    };
    repository.put_removal(&mark).unwrap();
    place.note(&first, Verb::Undelete);
    place.days(3);
    place.prune(&at_once());
    whole(&place, &first);
    // A year later it is forgotten by mistake, and missed the next day.
    place.days(365);
    place.note(&first, Verb::Forget);
    place.days(1);
    let repository = place.open();
    repository.sync().unwrap();
    let mut all = repository.snapshots().unwrap();
    let results = copal::retention::undelete::undelete(
        &repository,
        &place.storage,
        Default::default(),
        b"host",
        &mut all.notes,
        &[first],
    )
    .unwrap();
    assert!(results[0].is_ok(), "{:?}", results[0]);
}

#[test]
fn no_index_object_names_what_is_gone() {
    let (place, _, _) = one_forgotten();
    place.days(2);
    let repository = place.open();
    repository.sync().unwrap();
    let mut packs = Vec::new();
    repository.index.packs(&mut |pack| packs.push(pack.name)).unwrap();
    let mut index = 0;
    // Two marks of which one index object speaks.
    for pack in &packs {
        let mark = copal::format::session::Removal {
            packs: vec![*pack],
            time: place.storage.now(),
            session: copal::model::Id16([7; 16]),
            ..Default::default()
        };
        repository.put_removal(&mark).unwrap();
    }
    place.days(3);
    place.prune(&at_once());
    let removed = place.open().removals().unwrap().removed();
    let mut names = Vec::new();
    place.storage.list(Kind::Index, &mut |entry| names.push(entry.name)).unwrap();
    for name in names {
        let object =
            copal::format::index::decode(&place.keys(), &place.storage.get(Kind::Index, &name).unwrap())
                .unwrap();
        index += object.packs.iter().filter(|pack| removed.contains(&pack.name)).count();
    }
    assert_eq!(index, 0);
}

/// Storage whose listings take a minute, and that looks when marks go.
struct Late {
    inner: Timed,
    last: AtomicI64,
    went: AtomicBool,
}

impl Backend for Late {
    through! { location get get_range list stat time create }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        if kind == Kind::Removals {
            self.last.store(self.inner.now().seconds, Ordering::SeqCst);
        }
        self.inner.put(kind, name, bytes)
    }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), StorageError> {
        if kind == Kind::Removals {
            let waited = self.inner.now().seconds - self.last.load(Ordering::SeqCst);
            assert!(waited >= 60, "its tombstone is perhaps not listed after {waited} s");
            self.went.store(true, Ordering::SeqCst);
        }
        self.inner.remove(kind, name)
    }
    fn listing_lag_seconds(&self) -> Option<u64> {
        Some(60)
    }
}

#[test]
fn a_mark_stays_until_its_tombstone_is_listed() {
    let (place, ..) = one_forgotten();
    let late = Late { inner: place.storage.clone(), last: AtomicI64::new(0), went: AtomicBool::new(false) };
    let late = Arc::new(late);
    assert!(place.prune_on(&place.open_on(late.clone()), &at_once()).unwrap().packs_removed > 0);
    assert!(late.went.load(Ordering::SeqCst));
    // The same for one that was cut off between the two.
    let (place, ..) = one_forgotten();
    let repository = place.open();
    let mark = copal::format::session::Removal { time: place.storage.now(), ..Default::default() };
    let name = repository.put_removal(&mark).unwrap();
    let late = Late { inner: place.storage.clone(), last: AtomicI64::new(0), went: AtomicBool::new(false) };
    let late = Arc::new(late);
    let tombstone = copal::format::session::Removal { done: true, answers: Some(name), ..mark };
    place.open_on(late.clone()).put_removal(&tombstone).unwrap();
    place.prune_on(&place.open_on(late.clone()), &at_once()).unwrap();
    assert!(late.went.load(Ordering::SeqCst));
}

/// Storage on which who looks at a pack for the first time sleeps for three days just before, while somebody prunes.
struct Naps {
    inner: Timed,
    place: Arc<Place>,
    slept: AtomicBool,
}

impl Backend for Naps {
    through! { location put get get_range list remove time create }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, StorageError> {
        if kind == Kind::Packs && !self.slept.swap(true, Ordering::SeqCst) {
            self.place.days(3);
            assert!(self.place.prune(&at_once()).packs_removed > 0);
        }
        self.inner.stat(kind, name)
    }
}

#[test]
fn a_writer_that_slept_just_after_it_put_a_pack_begins_again() {
    let place = Arc::new(Place::new());
    place.write("file", common::noise(1, 50_000));
    let naps = Naps { inner: place.storage.clone(), place: place.clone(), slept: AtomicBool::new(false) };
    let name = place.back_up_in(&place.open_on(naps)).unwrap();
    whole(&place, &name);
}
