//! A backup that looks only where something happened gives the same tree as one that reads everything, whatever happened.

mod made;

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use copal::backend::Memory;
use copal::backup::exclude::{Excludes, IfPresent};
use copal::backup::touched::{Hint, Touched};
use copal::backup::{self, Options, Outcome};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::format::note::Verb;
use copal::format::slot::Unlock;
use copal::model::clock::SystemClock;
use copal::model::{Id, Id16, Node};
use copal::patterns::PatternsBuilder;
use copal::progress::{Event, Listener, Silent};
use copal::repository::{self, Repository};
use copal::watch::{self, Watcher};
use made::{folder, make};
use rustix::fs::{CWD, RenameFlags, XattrFlags};

/// A watch that hears nothing for that long is deaf.
const DEAF: Duration = Duration::from_secs(60);
/// Where the end of each round is marked, in a folder of its own; nothing else happens there.
const BELL: &str = "bell";
/// Rounds that there are such folders for.
const ROUNDS: usize = 20;

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() { None } else { Some(&list[self.below(list.len())]) }
    }
}

/// A source that is watched, what lies outside it, and a repository.
struct World {
    place: tempfile::TempDir,
    repository: Repository,
    excludes: Excludes,
    watcher: Watcher,
    /// What the last backup said is to be looked at again.
    again: Touched,
    rounds: usize,
    made: usize,
    racy_seconds: i64,
}

impl World {
    fn new(excludes: Excludes) -> World {
        let place = folder();
        for round in 1..=ROUNDS {
            fs::create_dir_all(place.path().join(format!("source/{BELL}/{round}"))).unwrap();
        }
        for name in ["source/a/b/c", "source/d", "source/e/f", "outside"] {
            fs::create_dir_all(place.path().join(name)).unwrap();
        }
        for name in ["a/one", "a/b/two", "a/b/c/three", "d/four"] {
            fs::write(place.path().join("source").join(name), name).unwrap();
        }
        let memory = Memory::new();
        let key = MasterKey::from_bytes(make(&memory, &SystemClock, 64 << 10));
        let repository = repository::open(Box::new(memory), Unlock::KeyFile(&key), None).unwrap();
        let watcher = begin(place.path(), &excludes);
        // A watch that begins says that anything may have happened. Taken away here, since no bell could be told from that.
        assert!(watcher.take().is_everything());
        World {
            place,
            repository,
            excludes,
            watcher,
            again: Touched::default(),
            rounds: 0,
            made: 0,
            racy_seconds: 0,
        }
    }

    fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    fn options(&self) -> Options {
        Options {
            sources: vec![self.source().as_os_str().as_bytes().to_vec()],
            host: b"host".to_vec(),
            level: Level::FAST,
            workers: 2,
            racy_seconds: self.racy_seconds,
            excludes: self.excludes.clone(),
            ..Options::default()
        }
    }

    fn run(&self, options: &Options) -> Outcome {
        backup::backup(&self.repository, options, &SystemClock, &Silent, &AtomicBool::new(false)).unwrap()
    }

    /// What is told by the time that everything before this call is told.
    fn touched(&mut self) -> Touched {
        self.rounds += 1;
        let bell = self.source().join(BELL).join(self.rounds.to_string());
        fs::write(bell.join("file"), "rung").unwrap();
        let mut all = Touched::default();
        let began = std::time::Instant::now();
        loop {
            all.merge(&self.watcher.take());
            let names = bell.components().skip(1);
            let hint = names.fold(all.hint(), |hint, name| hint.below(name.as_os_str().as_bytes()));
            if !matches!(hint, Hint::Leave) {
                return all;
            }
            assert!(began.elapsed() < DEAF, "the watch is deaf");
            self.watcher.wait(Duration::from_millis(100));
        }
    }

    /// A backup by hints, and where its tree is not that which reading everything gives. The folders above the source belong to others.
    fn back_up(&mut self, touched: Touched) -> (Outcome, Vec<String>) {
        let mut hints = touched;
        hints.merge(&self.again);
        let outcome = self.run(&Options { touched: Some(hints), ..self.options() });
        self.again = outcome.again.clone();
        let truth = self.run(&Options { force: true, host: b"truth".to_vec(), ..self.options() });
        let source = self.source();
        let names: Vec<&[u8]> = source.components().skip(1).map(|name| name.as_os_str().as_bytes()).collect();
        let node = |outcome: &Outcome| {
            self.repository.find_node(outcome.snapshot.root, &names).unwrap().expect("the source")
        };
        let (found, true_one) = (node(&outcome), node(&truth));
        let mut differing = Vec::new();
        let (Some(one), Some(other)) = (found.tree, true_one.tree) else { panic!("the source is no folder") };
        let mut links = HashMap::new();
        self.names_of_links(other, &mut links);
        self.differing(one, other, "", &links, &mut differing);
        if (Node { tree: None, ..found }) != (Node { tree: None, ..true_one }) {
            differing.push("the source itself".to_owned());
        }
        if differing.is_empty() {
            let totals = |outcome: &Outcome| {
                let summary = &outcome.snapshot.summary;
                (summary.files, summary.directories, summary.others, summary.bytes)
            };
            assert_eq!(totals(&outcome), totals(&truth), "files, folders, others and bytes");
        }
        (outcome, differing)
    }

    fn nodes(&self, tree: Id) -> Vec<Node> {
        self.repository.nodes(tree).map(Result::unwrap).collect()
    }

    /// How many names each file with several has in a tree.
    fn names_of_links(&self, tree: Id, found: &mut HashMap<Id16, usize>) {
        for node in self.nodes(tree) {
            if let Some(link) = node.link {
                *found.entry(link).or_default() += 1;
            }
            node.tree.iter().for_each(|tree| self.names_of_links(*tree, found));
        }
    }

    /// Which paths differ below two trees. That a file has another name where nothing is saved is told by nobody, and means nothing there.
    fn differing(
        &self,
        one: Id,
        other: Id,
        path: &str,
        links: &HashMap<Id16, usize>,
        found: &mut Vec<String>,
    ) {
        let alone = |node: &Node| {
            let link = node.link.filter(|link| links.get(link).is_some_and(|names| *names > 1));
            Node { tree: None, link, ..node.clone() }
        };
        let (ones, others) = (self.nodes(one), self.nodes(other));
        for node in &ones {
            let path = format!("{path}/{}", node.name.escape_ascii());
            let Some(same) = others.iter().find(|other| other.name == node.name) else {
                found.push(format!("{path}: only in the first"));
                continue;
            };
            if let (Some(one), Some(other)) = (node.tree, same.tree) {
                self.differing(one, other, &path, links, found);
            }
            if alone(node) != alone(same) {
                found.push(format!("{path}: {node:?} and {same:?}"));
            }
        }
        let added = others.iter().filter(|node| !ones.iter().any(|one| one.name == node.name));
        found.extend(added.map(|node| format!("{path}/{}: only in the second", node.name.escape_ascii())));
    }

    /// A round after edits; how many folders were left unseen.
    #[track_caller]
    fn check(&mut self, what: &str) -> u64 {
        let touched = self.touched();
        let (outcome, differing) = self.back_up(touched);
        assert!(differing.is_empty(), "{what}: a walk finds another tree\n{}", differing.join("\n"));
        outcome.left
    }

    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("n{}", self.made)
    }
}

fn begin(place: &Path, excludes: &Excludes) -> Watcher {
    let (waker, other) = std::os::unix::net::UnixStream::pair().unwrap();
    // The other end must stay open, or the watch takes it for a signal; it is needed as long as the process.
    std::mem::forget(other);
    let options = watch::Options {
        sources: vec![place.join("source").as_os_str().as_bytes().to_vec()],
        excludes: excludes.clone(),
        one_file_system: false,
        own: Default::default(),
        own_paths: Vec::new(),
        written: Vec::new(),
        watches_most: None,
        nap: Duration::ZERO,
    };
    Watcher::begin(options, waker.into()).unwrap()
}

/// All folders and all other entries of the source, without the bell.
fn listed(source: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in walkdir::WalkDir::new(source).sort_by_file_name() {
        let Ok(entry) = entry else { continue };
        if entry.path().starts_with(source.join(BELL)) {
            continue;
        }
        match entry.file_type().is_dir() {
            true => folders.push(entry.into_path()),
            false => files.push(entry.into_path()),
        }
    }
    (folders, files)
}

/// A folder with folders and files in it, made in one go.
fn make_folder(at: &Path, numbers: &mut Numbers) {
    let mut path = at.to_path_buf();
    for depth in 0..1 + numbers.below(3) {
        path.push(format!("deep{depth}"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), format!("{}", numbers.below(1000))).unwrap();
    }
}

/// Does one thing to the source; what it was.
fn edit(world: &mut World, numbers: &mut Numbers) -> String {
    let source = world.source();
    let outside = world.place.path().join("outside");
    let (folders, files) = listed(&source);
    let new = world.fresh();
    let folder = numbers.of(&folders).unwrap().clone();
    let inner: Vec<PathBuf> = folders[1..].to_vec();
    let kind = numbers.below(24);
    // Most of what is done can meet an entry of another kind, or itself: then nothing is done.
    let _: Option<()> = (|| {
        let file = numbers.of(&files).cloned();
        let moved = numbers.of(&inner).cloned();
        match kind {
            0 | 1 => fs::write(folder.join(&new), numbers.below(99).to_string()).ok()?,
            // In its place, of the same length.
            2 | 3 => {
                let file = fs::File::options().write(true).open(file?).ok()?;
                file.write_all_at(&[b'0' + numbers.below(10) as u8], 0).ok()?;
            }
            4 => fs::remove_file(file?).ok()?,
            5 => fs::rename(file?, folder.join(&new)).ok()?,
            6 | 7 => fs::rename(moved?, folder.join(&new)).ok()?,
            8 => {
                make_folder(&outside.join(&new), numbers);
                fs::rename(outside.join(&new), folder.join(&new)).ok()?;
            }
            9 => fs::rename(moved?, outside.join(&new)).ok()?,
            10 | 11 => make_folder(&folder.join(&new), numbers),
            12 | 13 => fs::hard_link(file?, folder.join(&new)).ok()?,
            14 => {
                let mode = [0o600, 0o640, 0o755][numbers.below(3)];
                fs::set_permissions(file?, fs::Permissions::from_mode(mode)).ok()?;
            }
            15 => {
                let mode = [0o700, 0o750, 0o711][numbers.below(3)];
                fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).ok()?;
            }
            16 => {
                let value = numbers.below(100).to_string();
                rustix::fs::setxattr(file?, "user.test", value.as_bytes(), XattrFlags::empty()).ok()?;
            }
            17 => std::os::unix::fs::symlink("nowhere", folder.join(&new)).ok()?,
            // Another folder in its place.
            18 => {
                let moved = moved?;
                fs::rename(&moved, outside.join(&new)).ok()?;
                make_folder(&moved, numbers);
            }
            19 => {
                let other = numbers.of(&inner)?.clone();
                rustix::fs::renameat_with(CWD, moved?, CWD, other, RenameFlags::EXCHANGE).ok()?;
            }
            20 => {
                let file = fs::File::options().write(true).open(file?).ok()?;
                file.set_len(numbers.below(5) as u64).ok()?;
            }
            21 => fs::remove_dir_all(moved?).ok()?,
            22 => {
                let text = ["file\n", "deep0/\n", ".gitignore\n", "\n"][numbers.below(4)];
                match numbers.below(3) {
                    0 => fs::remove_file(folder.join(".gitignore")).ok()?,
                    _ => fs::write(folder.join(".gitignore"), text).ok()?,
                }
            }
            // The source itself so marked would hide the bell.
            _ if folder == source => {}
            _ => {
                let name = ["CACHEDIR.TAG", ".nobackup", "x.tmp"][numbers.below(3)];
                match numbers.below(2) {
                    0 => fs::remove_file(folder.join(name)).ok()?,
                    _ => fs::write(folder.join(name), "Signature: 8a477f597d28d172789f06886806bc55").ok()?,
                }
            }
        }
        Some(())
    })();
    format!("{kind} in {}", folder.display())
}

fn some_excludes() -> Excludes {
    let mut patterns = PatternsBuilder::new(None);
    patterns.add(b"*.tmp", false).unwrap();
    Excludes {
        patterns: patterns.build().unwrap(),
        caches: true,
        git_ignore: true,
        if_present: vec![IfPresent::parse(b".nobackup").unwrap()],
        ..Excludes::default()
    }
}

#[test]
fn after_any_edits_hints_give_the_tree_that_a_walk_gives() {
    let mut left = 0;
    for seed in 0..12 {
        let excludes = if seed % 2 == 0 { Excludes::default() } else { some_excludes() };
        let mut world = World::new(excludes);
        let mut numbers = Numbers(seed);
        world.check("at the start");
        for round in 0..12 {
            let edits = 1 + numbers.below(4);
            let done: Vec<String> = (0..edits).map(|_| edit(&mut world, &mut numbers)).collect();
            left += world.check(&format!("seed {seed}, round {round}, {done:?}"));
        }
    }
    assert!(left > 100, "almost nothing was left unseen ({left}): this test shows nothing");
}

#[test]
fn only_folders_in_which_something_happened_are_looked_at() {
    let mut world = World::new(Excludes::default());
    for number in 0..50 {
        fs::create_dir_all(world.source().join(format!("many/{number}/below"))).unwrap();
    }
    world.check("at the start");
    fs::write(world.source().join("many/7/below/new"), "new").unwrap();
    let left = world.check("one new file");
    // All in `many` but one, `a`, `d` and `e`, and the bells but that of this round and perhaps the one before.
    let expected = 49 + 3 + ROUNDS as u64 - 1;
    assert!(left == expected || left == expected - 1, "{left} were left, not {expected}");
}

#[test]
fn a_file_that_gets_another_name_elsewhere_is_found_under_both() {
    let mut world = World::new(Excludes::default());
    world.check("at the start");
    fs::hard_link(world.source().join("a/b/c/three"), world.source().join("d/other")).unwrap();
    assert_eq!(world.check("a second name"), 0, "everything is walked: nobody tells where its first name is");
    fs::write(world.source().join("d/other"), "changed").unwrap();
    assert!(world.check("a write through one of its names") > 0);
    fs::remove_file(world.source().join("a/b/c/three")).unwrap();
    world.check("one name less");
}

#[test]
fn hints_that_say_nothing_are_believed_and_what_the_backup_before_asked_for_is_looked_at() {
    let mut world = World::new(Excludes::default());
    world.check("at the start");
    // What nobody tells is not seen: this is what makes the other tests mean something.
    fs::write(world.source().join("d/four"), "4").unwrap();
    assert_eq!(world.back_up(Touched::default()).1.len(), 1);
    let mut hint = Touched::default();
    hint.add(world.source().join("d").as_os_str().as_bytes());
    assert_eq!(world.back_up(hint).1, [""; 0]);
}

#[test]
fn what_was_too_fresh_is_looked_at_again_without_being_told() {
    let mut world = World::new(Excludes::default());
    world.racy_seconds = 60;
    world.check("at the start");
    fs::write(world.source().join("d/four"), "5").unwrap();
    assert_eq!(world.back_up(Touched::default()).1, [""; 0]);
}

/// Ends a backup after so many of its events.
struct Cutter<'s> {
    left: AtomicUsize,
    stop: &'s AtomicBool,
}

impl Listener for Cutter<'_> {
    fn event(&self, _: Event<'_>) {
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl World {
    /// A backup that is cut off somewhere, or is not; how it ended.
    fn cut_off(&self, hints: Option<Touched>, events: usize) -> Option<Outcome> {
        let stop = AtomicBool::new(false);
        let cutter = Cutter { left: AtomicUsize::new(events), stop: &stop };
        let options = Options { touched: hints, checkpoint_seconds: 0.0, ..self.options() };
        backup::backup(&self.repository, &options, &SystemClock, &cutter, &stop).ok()
    }

    /// Forgets the newest snapshot.
    fn forget_newest(&self) {
        let mut all = self.repository.snapshots().unwrap();
        let named = all.confirmed.iter().rev().find(|named| named.snapshot.host == b"host").cloned();
        let time = self.repository.storage_time().unwrap();
        if let Some(named) = named {
            self.repository.put_note(&mut all.notes, &named.name, Verb::Forget, &[], time).unwrap();
        }
    }
}

#[test]
fn backups_beside_cut_off_ones_and_forgotten_parents_make_hints_miss_nothing() {
    let (mut left, mut cut) = (0, 0);
    for seed in 100..116 {
        let excludes = if seed % 2 == 0 { Excludes::default() } else { some_excludes() };
        let mut world = World::new(excludes);
        let mut numbers = Numbers(seed);
        world.check("at the start");
        for round in 0..12 {
            let mut done = Vec::new();
            let mut pending = Touched::default();
            for _ in 0..1 + numbers.below(3) {
                done.push(edit(&mut world, &mut numbers));
                match numbers.below(6) {
                    // By somebody else, who reads everything.
                    0 => {
                        world.cut_off(None, usize::MAX).expect("a backup");
                        done.push("a backup beside".to_owned());
                    }
                    1 => {
                        let events = numbers.below(30);
                        let whole = world.cut_off(None, events).is_some();
                        cut += u64::from(!whole);
                        done.push(format!("a backup beside, whole: {whole}"));
                    }
                    // The watch's own, whose hints are given back.
                    2 => {
                        let mut hints = world.watcher.take();
                        hints.merge(&world.again);
                        hints.merge(&pending);
                        match world.cut_off(Some(hints.clone()), numbers.below(30)) {
                            Some(outcome) => {
                                world.again = outcome.again;
                                pending = Touched::default();
                            }
                            None => {
                                pending.merge(&hints);
                                cut += 1;
                            }
                        }
                        done.push("one by hints, perhaps cut off".to_owned());
                    }
                    3 => {
                        world.forget_newest();
                        done.push("the newest snapshot forgotten".to_owned());
                    }
                    _ => {}
                }
            }
            let mut touched = world.touched();
            touched.merge(&pending);
            let (outcome, differing) = world.back_up(touched);
            left += outcome.left;
            assert!(differing.is_empty(), "seed {seed}, round {round}, {done:?}\n{}", differing.join("\n"));
        }
    }
    assert!(cut > 20, "almost none was cut off ({cut})");
    assert!(left > 100, "almost nothing was left unseen ({left}): this test shows nothing");
}
