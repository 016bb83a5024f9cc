//! Backing up as a library, on storage, clocks and listeners that go wrong on purpose.

mod common;
mod made;

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use copal::backend::{Backend, Entry, Fault, Faulty, Kind, Memory};
use copal::backup::{self, Options, Outcome, Stream};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::model::clock::{Clock, SystemClock};
use copal::model::{Id, Time};
use copal::progress::{Event, Listener, Silent};
use copal::repository::{self, Error, Repository};
use made::{folder, make};

/// A run that takes longer hangs.
const HANGS: std::time::Duration = std::time::Duration::from_secs(120);

/// A clock that is set by hand, to days after a day on which all files of these tests are old.
#[derive(Clone, Default)]
struct Days(Arc<AtomicI64>);

impl Clock for Days {
    fn now(&self) -> Time {
        Time::new(4_000_000_000 + 24 * 3600 * self.0.load(Ordering::SeqCst), 0)
    }
}

/// A repository in memory, its key, and a folder to back up.
struct Place {
    memory: Memory,
    key: [u8; 32],
    source: tempfile::TempDir,
    cache: Option<std::path::PathBuf>,
}

impl Place {
    fn new() -> Place {
        let memory = Memory::new();
        let bytes = make(&memory, &SystemClock, 64 << 10);
        let source = folder();
        Place { memory, key: bytes, source, cache: None }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.source.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn open(&self, backend: impl Backend + 'static) -> Result<Repository, Error> {
        let key = MasterKey::from_bytes(self.key);
        repository::open(Box::new(backend), Unlock::KeyFile(&key), self.cache.as_deref())
    }

    fn options(&self) -> Options {
        Options {
            sources: vec![self.source.path().as_os_str().as_bytes().to_vec()],
            host: b"host".to_vec(),
            user: b"user".to_vec(),
            level: Level::FAST,
            workers: 2,
            racy_seconds: 0,
            checkpoint_seconds: 0.0,
            tell_files: true,
            ..Options::default()
        }
    }

    fn back_up(
        &self,
        backend: impl Backend + 'static,
        clock: &dyn Clock,
        listener: &dyn Listener,
    ) -> Result<Outcome, Error> {
        let repository = self.open(backend)?;
        backup::backup(&repository, &self.options(), clock, listener, &AtomicBool::new(false))
    }

    /// The snapshots that count as saved, each of which must be whole.
    fn saved(&self) -> HashSet<Id> {
        let repository = self.open(self.memory.clone()).unwrap();
        assert!(repository.sync().unwrap().problems.is_empty());
        let all = repository.snapshots().unwrap();
        assert!(all.problems.is_empty(), "{:?}", all.problems);
        for named in &all.confirmed {
            assert_whole(&repository, named.snapshot.root);
        }
        all.confirmed.iter().map(|named| named.name).collect()
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
                    if let copal::model::SegmentKind::Data(id) = segment.kind {
                        repository.read_chunk(copal::model::Contents::Data, &id)?;
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
}

/// Does `work` in a thread of its own, and fails when it never ends.
fn ends<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(work()));
    receive.recv_timeout(HANGS).unwrap_or_else(|_| panic!("it hangs: {what}"))
}

// Panics --------------------------------------------------------------------------------------------------------------------------

/// Files enough for several blocks, packs and folders.
fn filled() -> Place {
    let place = Place::new();
    for folder in 0..6u64 {
        for file in 0..4u64 {
            place.write(&format!("{folder}/{file}"), common::noise(folder * 10 + file, 300_000));
        }
    }
    place
}

#[test]
fn a_panic_in_the_storage_ends_the_run_with_an_error_and_loses_nothing() {
    let place = Arc::new(filled());
    let first = place.back_up(place.memory.clone(), &SystemClock, &Silent).unwrap().name.unwrap();
    let begun = place.memory.copy();
    let mut number = 0;
    loop {
        number += 1;
        let storage = begun.copy();
        let here = Place {
            memory: storage.clone(),
            key: place.key,
            source: tempfile::tempdir_in("/var/tmp").unwrap(),
            cache: None,
        };
        for file in 0..5u64 {
            here.write(&format!("{file}/file"), common::noise(100 + file, 400_000));
        }
        let faulty = Arc::new(Faulty::new(storage));
        let wrapped = faulty;
        let (result, here, struck) = ends(&format!("panic at operation {number}"), move || {
            let repository = here.open(wrapped.clone()).unwrap();
            wrapped.set_fault(Some((wrapped.operations() + number, Fault::Panic)));
            let options = here.options();
            let stop = AtomicBool::new(false);
            let result = backup::backup(&repository, &options, &SystemClock, &Silent, &stop);
            (result.map(|outcome| outcome.name), here, wrapped.struck())
        });
        let saved = here.saved();
        assert!(saved.contains(&first), "panic at operation {number}: the first snapshot is gone");
        match result {
            Ok(name) => {
                assert!(
                    saved.contains(&name.unwrap()),
                    "panic at operation {number}: said to be saved, and is not"
                );
                assert_eq!(saved.len(), 2);
                assert!(!struck, "panic at operation {number}: it was passed over");
                assert!(number > 20, "the faults were never met");
                return;
            }
            Err(Error::Bug { what }) => assert!(what.contains("panic set for operation"), "{what}"),
            Err(other) => panic!("panic at operation {number}: {other}"),
        }
    }
}

/// Panics at a certain file.
struct Panics(AtomicU64);

impl Listener for Panics {
    fn event(&self, event: Event<'_>) {
        if let Event::File { .. } = event {
            assert!(self.0.fetch_sub(1, Ordering::SeqCst) != 1, "the listener panics");
        }
    }
}

#[test]
fn a_panic_in_a_worker_ends_the_run_with_an_error_and_loses_nothing() {
    for number in 1..=24 {
        let place = filled();
        let (result, place) = ends(&format!("panic at file {number}"), move || {
            let result = place.back_up(place.memory.clone(), &SystemClock, &Panics(AtomicU64::new(number)));
            (result.map(|outcome| outcome.name), place)
        });
        match result {
            Err(Error::Bug { what }) => assert_eq!(what, "the listener panics"),
            other => panic!("panic at file {number}: {other:?}"),
        }
        assert_eq!(place.saved().len(), 0);
        let name = place.back_up(place.memory.clone(), &SystemClock, &Silent).unwrap().name.unwrap();
        assert!(place.saved().contains(&name));
    }
}

// The change cache ----------------------------------------------------------------------------------------------------------------

#[test]
fn what_is_remembered_of_folders_that_are_gone_is_forgotten_after_a_while() {
    let mut place = Place::new();
    let cache = tempfile::tempdir_in("/var/tmp").unwrap();
    place.cache = Some(cache.path().to_path_buf());
    let days = Days::default();
    let remembered = |day: i64| -> u64 {
        days.0.store(day, Ordering::SeqCst);
        let outcome = place.back_up(place.memory.clone(), &days, &Silent).unwrap();
        outcome.snapshot.state.iter().map(|segment| segment.length).sum()
    };
    place.write("steady/file", "1");
    let few = remembered(0);
    for folder in 0..200 {
        place.write(&format!("build {folder}/deep/file"), "2");
        place.write(&format!("disk {folder}/file"), "3");
    }
    let many = remembered(1);
    assert!(many > few + 600 * 80, "{few} {many}");
    let (here, away) = (place.source.path(), tempfile::tempdir_in("/var/tmp").unwrap());
    for folder in 0..200 {
        std::fs::remove_dir_all(here.join(format!("build {folder}"))).unwrap();
        std::fs::rename(here.join(format!("disk {folder}")), away.path().join(format!("disk {folder}")))
            .unwrap();
    }
    // The entries of the folder above go at once, some 60 bytes each; rows have at least 90.
    assert!(remembered(2) >= many - 400 * 64, "what is away for a day is forgotten");
    for folder in 0..200 {
        std::fs::rename(away.path().join(format!("disk {folder}")), here.join(format!("disk {folder}")))
            .unwrap();
    }
    let back = remembered(5);
    assert!(back >= many - 200 * 64);
    let left = remembered(10);
    assert!(left <= back - 390 * 90, "what is gone is remembered: {few} {back} {left}");
    assert!(left >= few + 200 * 90, "what came back is forgotten: {few} {back} {left}");
    // The filter takes a few for others, and others each time.
    assert!(remembered(30) <= left);
}

#[test]
fn packs_whose_index_object_was_lost_are_named_again_by_the_next_backup() {
    let mut place = Place::new();
    let cache = tempfile::tempdir_in("/var/tmp").unwrap();
    place.cache = Some(cache.path().to_path_buf());
    place.write("folder/one", common::noise(1, 200_000));
    place.back_up(place.memory.clone(), &SystemClock, &Silent).unwrap();
    let first: Vec<String> = names(&place.memory, Kind::Index);
    place.write("folder/two", common::noise(2, 200_000));
    place.back_up(place.memory.clone(), &SystemClock, &Silent).unwrap();
    first.iter().for_each(|name| place.memory.remove(Kind::Index, name).unwrap());
    place.write("folder/three", common::noise(3, 200_000));
    let repository = place.open(place.memory.clone()).unwrap();
    // As the program does: it synchronises before it begins.
    repository.sync().unwrap();
    backup::backup(&repository, &place.options(), &SystemClock, &Silent, &AtomicBool::new(false)).unwrap();
    // For a machine that never saw the lost one.
    place.cache = None;
    assert_eq!(place.saved().len(), 3);
}

// Leases --------------------------------------------------------------------------------------------------------------------------

fn names(storage: &dyn Backend, kind: Kind) -> Vec<String> {
    let mut names = Vec::new();
    storage.list(kind, &mut |entry| names.push(entry.name)).unwrap();
    names
}

/// Two clocks that a test moves: the machine's, and the storage's.
#[derive(Clone, Default)]
struct Clocks {
    here: Arc<AtomicI64>,
    there: Arc<AtomicI64>,
}

impl Clocks {
    fn pass(&self, hours: i64) {
        self.here.fetch_add(hours * 3600, Ordering::SeqCst);
        self.there.fetch_add(hours * 3600, Ordering::SeqCst);
    }
}

impl Clock for Clocks {
    fn now(&self) -> Time {
        SystemClock.now().plus_seconds(self.here.load(Ordering::SeqCst))
    }
}

/// Storage whose clock goes as the test says.
struct Timed(Memory, Clocks, Syncs);

#[derive(Clone, Copy, PartialEq)]
enum Syncs {
    Always,
    Never,
}

impl Backend for Timed {
    fn location(&self) -> String {
        self.0.location()
    }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), copal::backend::Error> {
        self.0.put(kind, name, bytes)
    }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, copal::backend::Error> {
        self.0.get(kind, name)
    }
    fn get_range(
        &self,
        kind: Kind,
        name: &str,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, copal::backend::Error> {
        self.0.get_range(kind, name, offset, length)
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), copal::backend::Error> {
        self.0.list(kind, each)
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, copal::backend::Error> {
        self.0.stat(kind, name)
    }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), copal::backend::Error> {
        self.0.remove(kind, name)
    }
    fn time(&self) -> Result<Time, copal::backend::Error> {
        Ok(self.0.time()?.plus_seconds(self.1.there.load(Ordering::SeqCst)))
    }
    fn is_unsynced(&self) -> bool {
        self.2 == Syncs::Never
    }
    fn create(&self) -> Result<(), copal::backend::Error> {
        self.0.create()
    }
}

/// Lets hours pass at the first file, and counts what is said.
struct Sleeps {
    clocks: Clocks,
    hours: AtomicI64,
    notes: AtomicU64,
}

impl Listener for Sleeps {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::File { .. } => self.clocks.pass(self.hours.swap(0, Ordering::SeqCst)),
            Event::Note(_) => drop(self.notes.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
    }
}

#[test]
fn a_run_that_slept_past_its_lease_goes_over_everything_again() {
    for (hours, again) in [(17, 0), (19, 1), (100, 1)] {
        let place = filled();
        let clocks = Clocks::default();
        let listener =
            Sleeps { clocks: clocks.clone(), hours: AtomicI64::new(hours), notes: AtomicU64::new(0) };
        let storage = Timed(place.memory.clone(), clocks.clone(), Syncs::Always);
        let name = place.back_up(storage, &clocks, &listener).unwrap().name.unwrap();
        assert_eq!(listener.notes.into_inner(), again, "after {hours} hours");
        assert_eq!(place.saved(), HashSet::from([name]));
    }
}

#[test]
fn storage_that_does_not_sync_is_told() {
    for (syncs, told) in [(Syncs::Always, 0), (Syncs::Never, 1)] {
        let place = filled();
        let clocks = Clocks::default();
        let listener = Sleeps { clocks: clocks.clone(), hours: AtomicI64::new(0), notes: AtomicU64::new(0) };
        let storage = Timed(place.memory.clone(), clocks.clone(), syncs);
        place.back_up(storage, &clocks, &listener).unwrap();
        assert_eq!(listener.notes.into_inner(), told);
    }
}

/// Backs up a stream whose every read is `read`; gives how it ended.
fn back_up_stream(
    place: &Place,
    clocks: &Clocks,
    dry_run: bool,
    read: impl FnMut(&mut [u8]) -> usize,
) -> Result<Outcome, Error> {
    struct Input<R>(R);
    impl<R: FnMut(&mut [u8]) -> usize> std::io::Read for Input<R> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            Ok((self.0)(buffer))
        }
    }
    let repository = place.open(Timed(place.memory.clone(), clocks.clone(), Syncs::Always)).unwrap();
    let options = Options { dry_run, ..place.options() };
    let stream = Stream { path: vec![b"stream".to_vec()], input: &mut Input(read), verdict: &mut || Ok(()) };
    backup::backup_stream(&repository, &options, stream, clocks, &Silent, &AtomicBool::new(false))
}

#[test]
fn a_stream_that_takes_long_renews_its_lease() {
    let place = Place::new();
    ends("a stream that waits for a renewal", move || {
        let clocks = Clocks::default();
        let mut hours = 0;
        let outcome = back_up_stream(&place, &clocks, false, |_| {
            // For each hour that passes without a byte a renewal comes; the beginning is an object too.
            while hours < 20 {
                hours += 1;
                clocks.pass(1);
                while names(&place.memory, Kind::Sessions).len() < hours + 1 {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            0
        });
        let name = outcome.unwrap().name.unwrap();
        assert_eq!(place.saved(), HashSet::from([name]));
    });
}

#[test]
fn a_stream_that_slept_past_its_lease_ends_and_nothing_is_said_to_be_saved() {
    let place = Place::new();
    ends("a stream past its lease", move || {
        let clocks = Clocks::default();
        let mut slept = false;
        let result = back_up_stream(&place, &clocks, false, |buffer| {
            if !std::mem::replace(&mut slept, true) {
                clocks.pass(20);
            }
            // Without end: the run must end it.
            buffer.fill(7);
            buffer.len()
        });
        assert!(matches!(result, Err(Error::Overtaken)), "{:?}", result.map(|outcome| outcome.name));
        assert!(place.saved().is_empty());
    });
}

#[test]
fn a_dry_run_leaves_nothing_in_the_repository() {
    let place = Place::new();
    place.write("file", "content");
    let count = |place: &Place| Kind::ALL.map(|kind| names(&place.memory, kind).len());
    let before = count(&place);
    let mut ended = false;
    let outcome = back_up_stream(&place, &Clocks::default(), true, |buffer| {
        if std::mem::replace(&mut ended, true) { 0 } else { buffer.len().min(100) }
    });
    assert_eq!(outcome.unwrap().snapshot.summary.bytes_new, 100);
    let repository = place.open(place.memory.clone()).unwrap();
    let options = Options { dry_run: true, ..place.options() };
    backup::backup(&repository, &options, &SystemClock, &Silent, &AtomicBool::new(false)).unwrap();
    assert_eq!(count(&place), before);
}

// Sources that change -------------------------------------------------------------------------------------------------------------

/// Does something at each event of files and bytes, and remembers the problems.
struct Reacts<F> {
    react: F,
    problems: std::sync::Mutex<Vec<(String, String)>>,
}

fn reacting<F: Fn(&Event<'_>)>(react: F) -> Reacts<F> {
    Reacts { react, problems: Default::default() }
}

impl<F: Fn(&Event<'_>) + Send + Sync> Listener for Reacts<F> {
    fn event(&self, event: Event<'_>) {
        if let Event::Problem { path, code, .. } = &event {
            let path = String::from_utf8(path.unwrap().to_vec()).unwrap();
            self.problems.lock().unwrap().push((path, (*code).to_owned()));
        }
        (self.react)(&event);
    }
}

/// Backs up a file to which bytes are appended when it is read, the first `times` times; gives how long it is stored, and the problems.
fn growing(length: u64, times: u64) -> (u64, Vec<(String, String)>, bool) {
    let place = Place::new();
    place.write("log", common::noise(1, 100_000));
    let path = place.source.path().join("log");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    let left = AtomicU64::new(times);
    let listener = reacting(|event: &Event<'_>| {
        let Event::Bytes(_) = event else { return };
        if left.load(Ordering::SeqCst) > 0 {
            left.fetch_sub(1, Ordering::SeqCst);
            let mut file = std::fs::File::options().append(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, b"more").unwrap();
        }
    });
    let outcome = place.back_up(place.memory.clone(), &SystemClock, &listener).unwrap();
    assert_eq!(place.saved().len(), 1);
    let repository = place.open(place.memory.clone()).unwrap();
    repository.sync().unwrap();
    let names: Vec<&[u8]> =
        path.as_os_str().as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let node = repository.find_node(outcome.snapshot.root, &names).unwrap().unwrap();
    let problems = listener.problems.into_inner().unwrap();
    let expected = path.to_str().unwrap();
    assert!(problems.iter().all(|(path, code)| path == expected && code == "changed_while_read"));
    assert_eq!(outcome.snapshot.summary.changed_while_read, problems.len() as u64);
    (node.size, problems, outcome.snapshot.incomplete)
}

#[test]
fn a_file_that_grew_once_while_it_was_read_is_read_again_whole() {
    assert_eq!(growing(100_000, 1), (100_004, Vec::new(), false));
}

#[test]
fn a_file_that_grows_on_is_stored_as_long_as_it_was_when_it_was_opened_last_and_named() {
    let (length, problems, incomplete) = growing(100_000, u64::MAX);
    assert!(length > 100_000 && length % 4 == 0, "{length}");
    assert_eq!((problems.len(), incomplete), (1, true));
}

#[test]
fn a_large_file_that_grew_is_stored_as_long_as_it_was_and_named() {
    // Read again it would only have grown again.
    let (length, problems, incomplete) = growing(300 << 20, 1);
    assert_eq!((length, problems.len(), incomplete), (300 << 20, 1, true));
}

#[test]
fn a_source_that_vanishes_before_it_is_read_is_named_and_counted() {
    let place = Place::new();
    place.write("a/first", "1");
    for gone in ["folder", "other/folder"] {
        place.write(&format!("{gone}/inside"), "2");
    }
    place.write("z file", "3");
    let root = place.source.path().to_path_buf();
    let listener = reacting(|event: &Event<'_>| {
        let Event::File { path, .. } = event else { return };
        if path.ends_with(b"first") {
            std::fs::remove_dir_all(root.join("folder")).unwrap();
            std::fs::remove_dir_all(root.join("other")).unwrap();
            std::fs::remove_file(root.join("z file")).unwrap();
        }
    });
    let sources = ["a", "folder", "never there", "other/folder", "z file"];
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let options = Options {
        sources: sources.iter().map(|name| path(name).into_bytes()).collect(),
        workers: 1,
        ..place.options()
    };
    let repository = place.open(place.memory.clone()).unwrap();
    let stop = AtomicBool::new(false);
    let outcome = backup::backup(&repository, &options, &SystemClock, &listener, &stop).unwrap();
    let mut problems = listener.problems.into_inner().unwrap();
    problems.sort();
    // What led to a source is named in its place.
    let expected = ["folder", "never there", "other", "z file"];
    let expected: Vec<_> = expected.iter().map(|name| (path(name), "unreadable".to_owned())).collect();
    assert_eq!(problems, expected);
    assert_eq!((outcome.snapshot.summary.unreadable, outcome.snapshot.incomplete), (4, true));
}
