//! How often storage is asked: far away each request takes its time, and in an object store each has its price.

#[macro_use]
#[path = "pruning/through.rs"]
mod through;
mod made;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use copal::backend::{Backend, Entry, Error as StorageError, Kind, Memory, listed_together};
use copal::backup::{self, Options};
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::index::pages::Pages;
use copal::model::clock::SystemClock;
use copal::model::{Snapshot, Time};
use copal::progress::Silent;
use copal::repository::session::Session;
use copal::repository::{self, Repository};
use made::{folder, make};

/// Storage in memory that writes down what an object store would be asked.
#[derive(Clone, Default)]
struct Asked {
    inner: Memory,
    requests: Arc<Mutex<Vec<String>>>,
    /// Index objects that are being read, and the most at a time.
    reading: Arc<(Mutex<(usize, usize)>, Condvar)>,
}

impl Asked {
    fn note(&self, what: &str, kind: Kind) {
        self.requests.lock().unwrap().push(format!("{what} {}", kind.folder()));
    }

    /// What was asked since the last time.
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

impl Backend for Asked {
    through! { location create }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.note("put", kind);
        self.inner.put(kind, name, bytes)
    }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, StorageError> {
        self.note("get", kind);
        if kind == Kind::Index {
            let (count, changed) = &*self.reading;
            let mut reading = count.lock().unwrap();
            reading.0 += 1;
            reading.1 = reading.1.max(reading.0);
            changed.notify_all();
            // Who is asked for one after the other waits for nothing, and not long.
            let alone = |(_, most): &mut (usize, usize)| *most < 4;
            reading = changed.wait_timeout_while(reading, Duration::from_secs(2), alone).unwrap().0;
            reading.0 -= 1;
        }
        self.inner.get(kind, name)
    }
    // Whose answer says the length before the bytes come.
    fn get_at_most(&self, kind: Kind, name: &str, _: u64) -> Result<Vec<u8>, StorageError> {
        self.get(kind, name)
    }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        self.note("get a range of", kind);
        self.inner.get_range(kind, name, offset, length)
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        self.note("list", kind);
        self.inner.list(kind, each)
    }
    fn list_kinds(&self, kinds: &[Kind], each: &mut dyn FnMut(Kind, Entry)) -> Result<(), StorageError> {
        for run in listed_together(kinds) {
            self.note("list from", run[0]);
            for kind in run {
                self.inner.list(*kind, &mut |entry| each(*kind, entry))?;
            }
        }
        Ok(())
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, StorageError> {
        self.note("stat", kind);
        self.inner.stat(kind, name)
    }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), StorageError> {
        self.note("remove", kind);
        self.inner.remove(kind, name)
    }
    /// As in an object store.
    fn puts_over(&self) -> bool {
        true
    }
    fn requests_at_once(&self) -> usize {
        4
    }
    // Every answer tells it.
    fn time(&self) -> Result<Time, StorageError> {
        self.inner.time()
    }
}

fn open(asked: &Asked, key: [u8; 32], cache: &Path) -> Repository {
    let key = MasterKey::from_bytes(key);
    let mut repository =
        repository::open(Box::new(asked.clone()), Unlock::KeyFile(&key), Some(cache)).unwrap();
    repository.keep_pages(Pages::open(cache, &repository.id(), 1 << 30).unwrap());
    repository
}

fn save(repository: &Repository, source: &Path) -> Snapshot {
    let options = Options {
        sources: vec![source.as_os_str().as_bytes().to_vec()],
        host: b"host".to_vec(),
        user: b"user".to_vec(),
        racy_seconds: 0,
        ..Options::default()
    };
    backup::backup(repository, &options, &SystemClock, &Silent, &AtomicBool::new(false)).unwrap().snapshot
}

fn back_up(asked: &Asked, key: [u8; 32], cache: &Path, source: &Path) -> Vec<String> {
    save(&open(asked, key, cache), source);
    asked.taken()
}

/// What loading all snapshots with an empty cache asks for, and how many there are.
fn list(asked: &Asked, key: [u8; 32]) -> (Vec<String>, usize) {
    asked.taken();
    let cache = tempfile::tempdir().unwrap();
    let repository = open(asked, key, cache.path());
    let all = repository.snapshots().unwrap();
    assert!(all.problems.is_empty() && all.unconfirmed.is_empty(), "{:?}", all.problems);
    (asked.taken(), all.confirmed.len())
}

#[test]
fn index_objects_that_are_new_are_read_several_at_a_time() {
    let asked = Asked::default();
    let key = make(&asked.inner, &SystemClock, 64 << 10);
    let (source, cache) = (folder(), tempfile::tempdir().unwrap());
    for number in 0..6 {
        std::fs::write(source.path().join("file"), format!("content {number}")).unwrap();
        back_up(&asked, key, cache.path(), source.path());
    }
    let empty = tempfile::tempdir().unwrap();
    let repository = open(&asked, key, empty.path());
    assert_eq!(asked.reading.0.lock().unwrap().1, 0, "what this client wrote it need not read");
    repository.sync().unwrap();
    assert_eq!(asked.reading.0.lock().unwrap().1, 4);
    assert_eq!(repository.index.pack_count().unwrap(), 18);
}

#[test]
fn a_thousand_snapshots_are_listed_in_ten_requests_with_an_empty_cache_once_there_are_copies() {
    let asked = Asked::default();
    let key = make(&asked.inner, &SystemClock, 64 << 10);
    let (source, cache) = (folder(), tempfile::tempdir().unwrap());
    std::fs::write(source.path().join("file"), "content").unwrap();
    let repository = open(&asked, key, cache.path());
    let mut snapshot = save(&repository, source.path());
    let session = Session::begin(&repository, &SystemClock, snapshot.client, b"host", Vec::new()).unwrap();
    for sequence in 2..=1000 {
        snapshot.sequence = sequence;
        session.commit(&snapshot).unwrap();
    }
    drop(session);
    let (requests, count) = list(&asked, key);
    assert!(count == 1000 && requests.len() > 2000, "{count}, {}", requests.len());

    // Who has an empty cache and may write leaves copies to the next one.
    let empty = tempfile::tempdir().unwrap();
    back_up(&asked, key, empty.path(), source.path());
    let copies = || {
        let mut names = Vec::new();
        asked.inner.list(Kind::Copies, &mut |entry| names.push(entry.name)).unwrap();
        names
    };
    let first = copies();
    assert_eq!(first.len(), 1);
    let (requests, count) = list(&asked, key);
    assert!(count == 1001 && requests.len() <= 10, "{count}: {requests:#?}");

    // A few that came since are fetched one by one; many are copied again, in the place of those before.
    for sequence in 1001..=1040 {
        snapshot.sequence = sequence;
        let session =
            Session::begin(&repository, &SystemClock, snapshot.client, b"host", Vec::new()).unwrap();
        session.commit(&snapshot).unwrap();
    }
    repository.renew_copies(false);
    assert!(copies().len() == 1 && copies() != first);
    let (requests, count) = list(&asked, key);
    assert!(count == 1041 && requests.len() <= 10, "{count}: {requests:#?}");

    // They are only a help: damaged or of another repository, they change nothing.
    let name = &copies()[0];
    asked.inner.overwrite(Kind::Copies, name, b"rubbish");
    assert_eq!(list(&asked, key).1, 1041);
    // And nobody rests on them: what is removed is gone.
    let gone = repository.snapshots().unwrap().confirmed[0].name;
    asked.inner.remove(Kind::Confirmed, &gone.to_string()).unwrap();
    asked.inner.remove(Kind::Snapshots, &gone.to_string()).unwrap();
    assert_eq!(list(&asked, key).1, 1040);
    // Nor is it left in them by who removed it.
    let before = copies();
    repository.renew_copies(false);
    assert_eq!(copies(), before);
    repository.renew_copies(true);
    assert!(copies().len() == 1 && copies() != before);
    let (requests, count) = list(&asked, key);
    assert!(count == 1040 && requests.len() <= 10, "{count}: {requests:#?}");
}

#[test]
fn a_backup_of_what_is_unchanged_asks_twelve_times_at_most() {
    let asked = Asked::default();
    let key = make(&asked.inner, &SystemClock, 64 << 10);
    let (source, cache) = (folder(), tempfile::tempdir().unwrap());
    for number in 0..20 {
        std::fs::create_dir_all(source.path().join(format!("folder {number}/inner"))).unwrap();
        std::fs::write(source.path().join(format!("folder {number}/inner/file")), [number; 5000]).unwrap();
    }
    back_up(&asked, key, cache.path(), source.path());
    // The second one may look up what the first one made.
    back_up(&asked, key, cache.path(), source.path());
    let requests = back_up(&asked, key, cache.path(), source.path());
    assert!(requests.len() <= 12, "{}: {requests:#?}", requests.len());
}

#[test]
fn what_others_stored_costs_four_requests_each_and_is_asked_for_once() {
    const OTHERS: usize = 10;
    let asked = Asked::default();
    let key = make(&asked.inner, &SystemClock, 64 << 10);
    let (source, cache) = (folder(), tempfile::tempdir().unwrap());
    std::fs::write(source.path().join("file"), "content").unwrap();
    back_up(&asked, key, cache.path(), source.path());
    back_up(&asked, key, cache.path(), source.path());
    for number in 0..OTHERS {
        let (place, own) = (folder(), tempfile::tempdir().unwrap());
        std::fs::write(place.path().join("file"), format!("of {number}")).unwrap();
        back_up(&asked, key, own.path(), place.path());
    }
    // Two index objects (of what was saved, and of the writer's own rows), a snapshot, a confirmation. And this one's, since the folder above
    // changed meanwhile.
    let requests = back_up(&asked, key, cache.path(), source.path());
    assert!(requests.len() <= 12 + 4 + 4 * OTHERS, "{}: {requests:#?}", requests.len());
    let requests = back_up(&asked, key, cache.path(), source.path());
    assert!(requests.len() <= 12, "{}: {requests:#?}", requests.len());
}
