//! Guards: a simulated mass encryption raises an alarm, what people do every day raises none, and what looks wrong before a backup is told.

mod common;
mod made;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Sandbox, noise};
use copal::backend::Memory;
use copal::backup::{self, Options, Outcome};
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::guards::{
    self, Alarm, Found, Limits, MASS_CHANGE, MASS_INCOMPRESSIBLE, MASS_REMOVAL, Numbers, Past, SOURCE_EMPTY,
    SOURCE_MISSING, SOURCE_NOT_MOUNTED, Seen, Shield, gather,
};
use copal::model::Time;
use copal::model::clock::{Clock, SystemClock};
use copal::progress::{Event, Listener, Silent};
use copal::repository::{self, Error, Repository};
use made::{folder, make};

/// A folder, a repository that it is backed up into, and the history that whoever runs backups keeps.
struct Profile {
    repository: Repository,
    source: tempfile::TempDir,
    _cache: tempfile::TempDir,
    history: Vec<Numbers>,
}

impl Profile {
    fn new() -> Profile {
        let memory = Memory::new();
        let key = MasterKey::from_bytes(make(&memory, &SystemClock, 64 << 10));
        let cache = folder();
        let repository =
            repository::open(Box::new(memory), Unlock::KeyFile(&key), Some(cache.path())).unwrap();
        Profile { repository, source: folder(), _cache: cache, history: Vec::new() }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.source.path().join(name)
    }

    fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn sources(&self) -> Vec<Vec<u8>> {
        vec![self.source.path().as_os_str().as_bytes().to_vec()]
    }

    fn back_up(&self) -> Outcome {
        self.try_back_up(&Silent, &AtomicBool::new(false)).unwrap()
    }

    fn try_back_up(&self, listener: &dyn Listener, stop: &AtomicBool) -> Result<Outcome, Error> {
        let options = Options {
            sources: self.sources(),
            host: b"host".to_vec(),
            workers: 2,
            racy_seconds: 0,
            tell_files: true,
            ..Options::default()
        };
        backup::backup(&self.repository, &options, &SystemClock, listener, stop)
    }

    /// Backs up and judges; a run that is not alarming goes into the history.
    fn run(&mut self) -> (Numbers, Vec<Alarm>) {
        let outcome = self.back_up();
        let numbers = Numbers::of(&outcome.snapshot, outcome.files_removed(), outcome.files_incompressible);
        let alarms = guards::judge(&self.history, &numbers, &Limits::default());
        if alarms.is_empty() {
            self.history.push(numbers);
        }
        (numbers, alarms)
    }

    #[track_caller]
    fn runs_quietly(&mut self) -> Numbers {
        let (numbers, alarms) = self.run();
        assert!(alarms.is_empty(), "{alarms:?}");
        numbers
    }
}

fn codes(alarms: &[Alarm]) -> Vec<&'static str> {
    alarms.iter().map(|alarm| alarm.code).collect()
}

/// The name of a document, and what is in it.
fn document(number: usize) -> (String, Vec<u8>) {
    let words = format!("letter {number}: what is written here compresses well, as letters do. ");
    (format!("{}/{number}.txt", number / 100), words.repeat(4 + number % 40).into_bytes())
}

/// Three thousand documents that were backed up several times with few changes.
fn profile_in_use() -> Profile {
    let mut profile = Profile::new();
    for number in 0..3000 {
        let (name, content) = document(number);
        profile.write(name, content);
    }
    let first = profile.runs_quietly();
    assert_eq!((first.files, first.files_new, first.files_incompressible), (3000, 3000, 0));
    for day in 0..4 {
        for number in 0..10 {
            profile.write(document(number * 7 + day).0, format!("changed on day {day}, number {number}"));
        }
        profile.write(format!("new on day {day}"), "new");
        let quiet = profile.runs_quietly();
        assert_eq!((quiet.files_changed, quiet.files_new, quiet.files_removed), (10, 1, 0));
    }
    profile
}

#[test]
fn a_mass_encryption_is_told_and_photos_upgrades_and_restores_are_not() {
    let mut profile = profile_in_use();
    // Photos, as cameras write them.
    for number in 0..500u64 {
        profile.write(
            format!("photos/{number}.jpg"),
            [&b"\xff\xd8\xff\xe0\x00\x10JFIF"[..], &noise(number, 9000)].concat(),
        );
    }
    let photos = profile.runs_quietly();
    assert_eq!((photos.files_new, photos.files_incompressible), (500, 0));
    // An upgrade.
    for number in 1000..1800 {
        profile.write(document(number).0, document(number + 1).1);
    }
    assert_eq!(profile.runs_quietly().files_changed, 800);
    // All put back as they were before, and all given another mode: nothing is new in the repository.
    for number in 1000..1800 {
        let (name, content) = document(number);
        std::fs::remove_file(profile.path(&name)).unwrap();
        profile.write(&name, content);
    }
    for number in 0..3000 {
        let path = profile.path(document(number).0);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let put_back = profile.runs_quietly();
    assert_eq!((put_back.files_changed, put_back.files_incompressible), (3000, 0));

    for number in 0..3000 {
        let (name, content) = document(number);
        let path = profile.path(name);
        std::fs::write(&path, noise(number as u64 + 1, content.len())).unwrap();
        std::fs::rename(&path, path.with_extension("txt.locked")).unwrap();
    }
    let (numbers, alarms) = profile.run();
    assert_eq!((numbers.files_new, numbers.files_removed), (3000, 3000));
    let long = (0..3000).filter(|number| document(*number).1.len() >= 256).count() as u64;
    // One in a thousand or so looks a little uneven by chance.
    assert!((long - 15..=long).contains(&numbers.files_incompressible), "{numbers:?}, {long} long ones");
    assert_eq!(codes(&alarms), [MASS_INCOMPRESSIBLE, MASS_CHANGE]);
    assert!(alarms[0].what.ends_with("files have new contents that look encrypted, where 0 are usual"));
    assert!(alarms[0].next.ends_with("If it was meant: copal run --accept mass-incompressible"));
    assert!(
        alarms[1].what.starts_with("3000 files were changed or replaced, where 10 are usual; "),
        "{alarms:?}"
    );

    // It is not usual by that: the run after it is judged by the same history.
    for number in 0..3000 {
        std::fs::remove_file(profile.path(document(number).0).with_extension("txt.locked")).unwrap();
    }
    assert_eq!(codes(&profile.run().1), [MASS_REMOVAL]);
}

#[test]
fn files_overwritten_in_place_are_told_too_also_where_there_are_few() {
    let mut profile = Profile::new();
    for number in 0..200 {
        let (name, content) = document(number);
        profile.write(name, [content, vec![b' '; 300]].concat());
    }
    profile.runs_quietly();
    for number in 0..200 {
        profile.write(document(number).0, noise(number as u64, 5000));
    }
    let (numbers, alarms) = profile.run();
    assert_eq!((numbers.files_changed, numbers.files_new, numbers.files_removed), (200, 0, 0));
    assert_eq!(codes(&alarms), [MASS_INCOMPRESSIBLE]);
}

#[test]
fn what_looks_encrypted_is_counted_exactly_once_when_its_contents_are_new() {
    let profile = Profile::new();
    let count = |profile: &Profile| profile.back_up().files_incompressible;
    profile.write("encrypted", noise(1, 100_000));
    profile.write("short and encrypted", noise(2, 300));
    profile.write("large and encrypted", noise(3, 9 << 20));
    profile.write("too short to tell", noise(4, 200));
    profile.write("text", "text ".repeat(1000));
    profile.write("archive.gz", [&b"\x1f\x8b\x08"[..], &noise(5, 50_000)].concat());
    profile.write("text first", ["text ".repeat(1000).as_bytes(), &noise(6, 50_000)].concat());
    let hole = profile.path("hole first");
    std::fs::write(&hole, "").unwrap();
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::File::options().write(true).open(&hole).unwrap(),
        &noise(7, 50_000),
        1 << 20,
    )
    .unwrap();
    std::fs::hard_link(profile.path("encrypted"), profile.path("the same")).unwrap();
    assert_eq!(count(&profile), 3);
    assert_eq!(count(&profile), 0);
    // Another mode is no new content; other bytes are.
    std::fs::set_permissions(profile.path("encrypted"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(count(&profile), 0);
    // Nor is what was stored before, wherever it is now.
    std::fs::rename(profile.path("large and encrypted"), profile.path("moved")).unwrap();
    profile.write("copied", noise(1, 100_000));
    assert_eq!(count(&profile), 0);
    profile.write("short and encrypted", noise(8, 300));
    profile.write("text", noise(9, 5000));
    assert_eq!(count(&profile), 2);
}

/// Stops a run after so many files.
struct StopAfter<'s> {
    left: AtomicU64,
    stop: &'s AtomicBool,
}

impl Listener for StopAfter<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::File { .. } = event
            && self.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_run_after_one_that_was_cut_off_counts_what_that_one_had_met() {
    let profile = Profile::new();
    let encrypt = |round: u64| {
        for number in 0..300 {
            profile.write(format!("{}/{number}", number / 10), noise(round + number as u64, 3000));
        }
    };
    encrypt(1);
    let whole = profile.back_up().files_incompressible;
    assert!(whole > 295);
    encrypt(1000);
    for left in [70, 150] {
        let stop = AtomicBool::new(false);
        let stopped = profile.try_back_up(&StopAfter { left: AtomicU64::new(left), stop: &stop }, &stop);
        assert!(matches!(stopped, Err(Error::Stopped)));
    }
    let outcome = profile.back_up();
    assert!(outcome.snapshot.summary.files_changed < 300, "nothing was taken over");
    assert!((295..=300).contains(&outcome.files_incompressible), "{}", outcome.files_incompressible);
    assert_eq!(profile.back_up().files_incompressible, 0);
}

#[test]
fn the_summary_of_a_backup_says_how_many_look_encrypted_and_how_many_are_gone() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/text", "text");
    sandbox.write("source/other", "other");
    let first = sandbox.back_up();
    assert_eq!((&first["files_incompressible"], &first["files_removed"]), (&0.into(), &0.into()));
    std::fs::rename(sandbox.path("source/text"), sandbox.path("source/text.locked")).unwrap();
    sandbox.write("source/text.locked", noise(1, 3000));
    std::fs::remove_file(sandbox.path("source/other")).unwrap();
    let second = sandbox.back_up();
    assert_eq!((&second["files_incompressible"], &second["files_removed"]), (&1.into(), &2.into()));
}

/// What is told before a run, when the sources were like that the last time.
fn before(sources: &[Vec<u8>], mounts: &[Vec<u8>], last: &[guards::Place]) -> Vec<&'static str> {
    let seen = Seen {
        places: gather::places(sources),
        mounts: gather::mounts(mounts),
        space: None,
        now: SystemClock.now(),
    };
    codes(&guards::before(&seen, &Past { places: last, ..Past::default() }, &Limits::default()))
}

#[test]
fn sources_that_are_missing_or_empty_are_told_by_what_the_last_run_or_the_last_snapshot_saw() {
    let profile = Profile::new();
    profile.write("folder/file", "content");
    let [whole, single] = [profile.path("folder"), profile.path("folder/file")];
    let sources: Vec<Vec<u8>> = [&whole, &single].map(|path| path.as_os_str().as_bytes().to_vec()).to_vec();
    let last = gather::places(&sources);
    assert_eq!(last.iter().map(|place| place.found).collect::<Vec<_>>(), [Found::Something; 2]);
    // On a disk it is told apart from others, and a file is where its folder is.
    assert!(last[0].file_system.is_some() && last[0].file_system == last[1].file_system);
    assert!(before(&sources, &[], &last).is_empty());
    let outcome = profile.back_up();
    let saved = gather::places_of(&profile.repository, &outcome.snapshot).unwrap();
    assert_eq!((saved.len(), saved[0].found), (1, Found::Something));

    std::fs::remove_file(&single).unwrap();
    assert_eq!(before(&sources, &[], &last), [SOURCE_EMPTY, SOURCE_MISSING]);
    assert!(before(&sources[..1], &[], &[]).is_empty());
    std::fs::remove_dir(&whole).unwrap();
    assert_eq!(before(&profile.sources(), &[], &saved), [SOURCE_EMPTY]);
    assert_eq!(before(&sources[..1], &[], &last), [SOURCE_MISSING]);
    let empty = profile.back_up();
    assert_eq!(gather::places_of(&profile.repository, &empty.snapshot).unwrap()[0].found, Found::Empty);

    // The history is kept as text.
    let text = serde_json::to_string(&last).unwrap();
    assert_eq!(serde_json::from_str::<Vec<guards::Place>>(&text).unwrap(), last);
    let numbers = Numbers { time: 7, files: 3, ..Numbers::default() };
    assert_eq!(serde_json::from_str::<Numbers>(&serde_json::to_string(&numbers).unwrap()).unwrap(), numbers);
    assert_eq!(serde_json::from_str::<Numbers>("{\"time\":7,\"files\":3}").unwrap(), numbers);
}

#[test]
fn what_must_be_mounted_and_is_not_is_told_and_so_is_another_file_system() {
    let bytes = |path: &str| path.as_bytes().to_vec();
    assert!(before(&[], &[bytes("/proc"), bytes("/")], &[]).is_empty());
    for other in ["/proc/self", "/usr/share", "/nothing/here"] {
        assert_eq!(before(&[], &[bytes("/proc"), bytes(other)], &[]), [SOURCE_NOT_MOUNTED], "{other}");
    }
    let source = folder();
    std::fs::write(source.path().join("file"), "content").unwrap();
    let sources = vec![source.path().as_os_str().as_bytes().to_vec()];
    let mut last = gather::places(&sources);
    last[0].file_system = Some("of another disk".to_owned());
    assert_eq!(before(&sources, &[], &last), [SOURCE_NOT_MOUNTED]);
}

#[test]
fn the_newest_snapshot_before_an_alarming_one_is_protected() {
    let profile = Profile::new();
    let sources = profile.sources();
    let shield = |alarming: Option<&Outcome>, sources: &[Vec<u8>]| {
        let mut all = profile.repository.snapshots().unwrap();
        let alarming = alarming.and_then(|outcome| outcome.name);
        guards::protect_before(&profile.repository, &mut all, alarming.as_ref(), b"host", sources).unwrap()
    };
    assert!(matches!(shield(None, &sources), Shield::None));
    let runs: Vec<Outcome> = (0..3)
        .map(|number| {
            profile.write("file", format!("state {number}"));
            profile.back_up()
        })
        .collect();
    assert!(matches!(shield(Some(&runs[0]), &sources), Shield::None));
    assert!(matches!(shield(Some(&runs[2]), &[b"/elsewhere".to_vec()]), Shield::None));
    let protected = || -> Vec<_> {
        let all = profile.repository.snapshots().unwrap();
        all.confirmed.iter().filter(|named| named.standing.protected).map(|named| named.name).collect()
    };
    assert!(protected().is_empty());
    let done = shield(Some(&runs[2]), &sources);
    assert!(matches!(done, Shield::Protected(_)));
    let short = runs[1].name.unwrap().short().to_string();
    assert!(done.words().contains(&format!("copal unprotect {short}")), "{}", done.words());
    assert_eq!(protected(), [runs[1].name.unwrap()]);
    assert!(matches!(shield(Some(&runs[2]), &sources), Shield::Already(_)));
    assert_eq!(protected().len(), 1);
    // A run that was refused made none: the newest there is.
    assert!(matches!(shield(None, &sources), Shield::Protected(_)));
    assert_eq!(protected().len(), 2);
}

#[test]
fn the_newest_snapshot_of_a_host_is_found_and_times_given_by_hand_do_not_count() {
    let profile = Profile::new();
    profile.write("file", "content");
    let first = profile.back_up();
    let options = Options {
        sources: profile.sources(),
        host: b"host".to_vec(),
        time: Some(Time::new(4_000_000_000, 0)),
        ..Options::default()
    };
    backup::backup(&profile.repository, &options, &SystemClock, &Silent, &AtomicBool::new(false)).unwrap();
    let all = profile.repository.snapshots().unwrap();
    assert_eq!(gather::newest(&all, b"host", 0), Some(first.snapshot.time));
    assert_eq!(gather::newest(&all, b"another", 0), None);
}
