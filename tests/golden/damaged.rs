//! Golden repositories that were damaged: what a program of today says of each and gives back is what is written down beside it.
//!
//! Each case is what differs from the golden repository: files in `changed` take the place of those of the same path or are added, and
//! those named in `removed` are gone. `about` says what was done; `expected` what must come of it.
//!
//! `COPAL_TEST_WRITE_DAMAGED=v1 cargo test --test golden damaged` makes `v1-damaged` anew from `v1`, and writes down what comes of it: to
//! be read with care before it is kept. What is kept is never written again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use copal::backend::{Backend, Kind, Local};
use copal::crypto::{Keys, MasterKey};
use copal::format::index::{self, IndexObject};
use copal::format::session::{self, Removal};
use copal::format::slot::{self, Unlock};
use copal::model::{Contents, Id16, Time};

use super::common::{Sandbox, below, is_root, noise, unprotect};
use super::{Golden, copy, manifest};

/// Entries of one folder from which they are counted instead of named.
const COUNTED: usize = 20;
/// What some cases back up besides.
const MORE: &str = "/var/tmp/copal-golden-more";
/// Of a snapshot that can not be restored at all.
const ALL: &str = "all of it";
/// Cases that are gone through at the same time: most of it is waiting for the disk.
const AT_ONCE: usize = 5;
/// Bytes that all damaged repositories take at most.
const MOST: u64 = 300_000;

fn all() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repositories")
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// A sandbox with the golden repository, damaged as the case says.
fn sandbox(golden: &Golden, case: &Path) -> Sandbox {
    let sandbox = golden.sandbox();
    if let Ok(removed) = std::fs::read_to_string(case.join("removed")) {
        for path in removed.lines() {
            std::fs::remove_file(sandbox.repository().join(path)).unwrap();
        }
    }
    if case.join("changed").is_dir() {
        copy(&case.join("changed"), &sandbox.repository());
    }
    sandbox
}

/// What `doctor` finds that does not hang on the day it is asked: everything bad, and what an interrupted run left.
fn doctor(sandbox: &Sandbox) -> String {
    let said = sandbox.run(["doctor", "--json"]);
    let mut codes = BTreeSet::new();
    for finding in said.messages("finding") {
        let code = finding["code"].as_str().unwrap().to_owned();
        let of_runs = ["unconfirmed", "packs_waiting", "prune_interrupted", "packs_unnamed", "damage_found"];
        if finding["severity"] == "bad" || of_runs.contains(&code.as_str()) {
            codes.insert(code);
        }
    }
    let codes: Vec<String> = codes.into_iter().collect();
    format!("{} {}", said.code, codes.join(" "))
}

/// Paths that did not come back as the manifest has them, those below a folder of many counted.
fn lost(golden: &Golden, told: &super::Told, target: &Path) -> Vec<String> {
    if told.word == "stream" {
        let came = std::fs::read(target.join("stream")).ok().map(|bytes| blake3::hash(&bytes).to_hex());
        let whole = came.is_some_and(|hash| told.lines == [format!("blake3={hash}")]);
        return if whole { Vec::new() } else { vec!["/stream".to_owned()] };
    }
    let place = below(target, &golden.source);
    if !place.exists() {
        return vec![ALL.to_owned()];
    }
    let found = manifest::lines(&place);
    let (expected, found) = match is_root() {
        true => (told.lines.clone(), found),
        false => (manifest::without_root(told.lines.clone()), manifest::without_root(found)),
    };
    let found: BTreeSet<String> = found.into_iter().collect();
    let missing = expected.into_iter().filter(|line| !found.contains(line));
    let mut by_folder: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in missing {
        let path = line.split('\t').next().unwrap().to_owned();
        let folder = path.rsplit_once('/').unwrap().0.to_owned();
        by_folder.entry(folder).or_default().push(path);
    }
    let mut lost = Vec::new();
    for (folder, paths) in by_folder {
        match paths.len() {
            count if count > COUNTED => lost.push(format!("{count} entries of {folder}/")),
            _ => lost.extend(paths),
        }
    }
    // What only root has back is only told to root.
    lost.retain(|path| is_root() || !path.contains("/root only"));
    lost
}

/// What a program of today says of a case and gives back, a line each.
fn observed(golden: &Golden, case: &Path) -> String {
    let sandbox = sandbox(golden, case);
    let mut text = String::new();
    writeln!(text, "doctor {}", doctor(&sandbox)).unwrap();
    for told in golden.of(&["snapshot", "stream", "forgotten"]) {
        let short = &told.name[..8];
        let target = sandbox.path(format!("target {short}"));
        let ended = sandbox.run(["restore", "-v", &told.name, "-t", target.to_str().unwrap()]);
        let code = if ended.code == 3 && !is_root() { 0 } else { ended.code };
        writeln!(text, "restore {short} {code}").unwrap();
        for path in lost(golden, told, &target) {
            // What is lost is named, or a folder above it that can not be read.
            let names = path.rsplit('/').filter(|name| !name.is_empty());
            let is_named = path == ALL || names.into_iter().any(|name| ended.text().contains(name));
            writeln!(text, "lost {short} {path}{}", if is_named { "" } else { " (not named)" }).unwrap();
        }
        if target.exists() {
            unprotect(&target);
        }
    }
    // A snapshot that came with the case: of one folder with one file.
    for entry in std::fs::read_dir(case.join("changed/snapshots")).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if golden.told.iter().all(|told| told.name != name) {
            let target = sandbox.path("target more");
            let ended = sandbox.run(["restore", "-v", &name, "-t", target.to_str().unwrap()]);
            let file = below(&target, Path::new(MORE)).join("more");
            let whole = std::fs::read(file).is_ok_and(|bytes| bytes == noise(11, 5000));
            writeln!(text, "restore {} {}", &name[..8], ended.code).unwrap();
            if !whole {
                let named = if ended.text().contains("more/more") { "" } else { " (not named)" };
                writeln!(text, "lost {} more{named}", &name[..8]).unwrap();
            }
        }
    }
    let checked = sandbox.run(["check", "--read-data", "--json"]);
    let summary = checked.messages("summary");
    let errors = summary.first().map_or(0, |summary| summary["num_errors"].as_u64().unwrap());
    writeln!(text, "check {} {}", checked.code, if errors > 0 { "errors" } else { "no errors" }).unwrap();
    writeln!(text, "doctor after check {}", doctor(&sandbox)).unwrap();
    if case.file_name().unwrap().to_str().unwrap().starts_with("prune") {
        writeln!(text, "prune {}", sandbox.run(["prune"]).code).unwrap();
        writeln!(text, "doctor after prune {}", doctor(&sandbox)).unwrap();
        let left = sandbox.run(["check", "--read-data"]);
        writeln!(text, "check after prune {}", left.code).unwrap();
    }
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// What is otherwise than it was written down.
fn compare(golden: &Golden, case: &Path) -> Option<String> {
    let expected = std::fs::read_to_string(case.join("expected")).unwrap();
    let for_user = |line: &&str| is_root() || !line.contains("/root only");
    let expected: Vec<&str> = expected.lines().filter(for_user).collect();
    assert!(std::fs::read_to_string(case.join("about")).unwrap().len() > 40);
    let observed = observed(golden, case);
    let name = case.file_name().unwrap().to_str().unwrap();
    (expected != observed.lines().collect::<Vec<_>>())
        .then(|| format!("[{name}] instead of\n{}\nit is\n{observed}", expected.join("\n")))
}

#[test]
fn every_damaged_golden_repository_is_told_and_given_back_as_it_was_written_down() {
    if let Some(version) = std::env::var_os("COPAL_TEST_WRITE_DAMAGED") {
        super::demand_root();
        write(&version.into_string().unwrap());
    }
    let mut failures = Vec::new();
    let mut cases = 0;
    for folder in folders(&all()).iter().filter(|folder| folder.to_str().unwrap().ends_with("-damaged")) {
        let sound = folder.to_str().unwrap().strip_suffix("-damaged").unwrap();
        let golden = Golden::read(Path::new(sound));
        let all = folders(folder);
        cases += all.len();
        for some in all.chunks(AT_ONCE) {
            let compared = std::thread::scope(|scope| {
                let running: Vec<_> =
                    some.iter().map(|case| scope.spawn(|| compare(&golden, case))).collect();
                running.into_iter().map(|case| case.join().unwrap()).collect::<Vec<_>>()
            });
            failures.extend(compared.into_iter().flatten());
        }
    }
    assert!(cases >= 14, "{cases} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// A golden repository in a sandbox, to be damaged.
struct Victim {
    sandbox: Sandbox,
    keys: Keys,
    case: PathBuf,
}

impl Victim {
    fn new(golden: &Golden, case: PathBuf) -> Victim {
        let sandbox = golden.sandbox();
        let keys = keys(&sandbox);
        Victim { sandbox, keys, case }
    }

    fn backend(&self) -> Local {
        Local::new(self.sandbox.repository())
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        let mut names = Vec::new();
        self.backend().list(kind, &mut |entry| names.push(entry.name)).unwrap();
        names.sort();
        names
    }

    fn bytes(&self, kind: Kind, name: &str) -> Vec<u8> {
        std::fs::read(self.sandbox.repository().join(kind.path_of(name))).unwrap()
    }

    /// Every pack that index objects name, longest first: name, contents, and where its first block begins and ends.
    fn packs(&self) -> Vec<(String, Contents, (usize, usize))> {
        let mut packs = Vec::new();
        for name in self.names(Kind::Index) {
            let object: IndexObject = index::decode(&self.keys, &self.bytes(Kind::Index, &name)).unwrap();
            for pack in object.packs {
                let block = &pack.directory.blocks[0];
                let place = (block.offset as usize, block.offset as usize + block.stored as usize);
                packs.push((pack.length, pack.name.to_string(), pack.directory.contents, place));
            }
        }
        packs.sort();
        packs.reverse();
        packs.dedup();
        packs.into_iter().map(|(_, name, contents, place)| (name, contents, place)).collect()
    }

    /// The longest pack of trees, and its first block.
    fn pack_of_trees(&self) -> (String, (usize, usize)) {
        let packs = self.packs();
        let pack = packs.iter().find(|(_, of, _)| *of == Contents::Trees).unwrap();
        (pack.0.clone(), pack.2)
    }

    /// The pack and block that hold the beginning of a file of the second snapshot.
    fn pack_of_file(&self, golden: &Golden, path: &str) -> (String, (usize, usize)) {
        let key =
            MasterKey::from_key_file(&std::fs::read_to_string(self.sandbox.key_file()).unwrap()).unwrap();
        let repository =
            copal::repository::open(Box::new(self.backend()), Unlock::KeyFile(&key), None).unwrap();
        repository.sync().unwrap();
        let all = repository.snapshots().unwrap();
        let wanted = told(golden, "snapshot");
        let named = all.saved().find(|named| named.name.to_string() == wanted).unwrap();
        let whole = format!("{}/{path}", golden.source.display());
        let names: Vec<&[u8]> = whole.split('/').skip(1).map(str::as_bytes).collect();
        let node = repository.find_node(named.snapshot.root, &names).unwrap().unwrap();
        let mut first = None;
        let mut each = |segment: copal::model::Segment| {
            if let copal::model::SegmentKind::Data(id) = segment.kind {
                first.get_or_insert(id);
            }
            Ok(())
        };
        repository.segments(&node.content, node.size, &mut each).unwrap();
        let places = repository.index.lookup_for_reading(Contents::Data, &first.unwrap()).unwrap();
        let (start, length) = (places[0].block_offset as usize, places[0].block_stored as usize);
        (places[0].pack.name.to_string(), (start, start + length))
    }

    /// Puts a file of the case.
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) {
        let path = self.case.join("changed").join(kind.path_of(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn flip(&self, kind: Kind, name: &str, place: usize) {
        let mut bytes = self.bytes(kind, name);
        bytes[place] ^= 0x10;
        self.put(kind, name, &bytes);
    }

    fn flip_middle(&self, kind: Kind, name: &str) {
        self.flip(kind, name, self.bytes(kind, name).len() / 2);
    }

    fn remove(&self, kind: Kind, names: &[String]) {
        let lines: String = names.iter().map(|name| kind.path_of(name) + "\n").collect();
        std::fs::write(self.case.join("removed"), lines).unwrap();
    }

    /// Backs up a new folder in the sandbox, from a cache of its own each time.
    fn back_up_more(&self) {
        let more = Path::new(MORE);
        std::fs::create_dir_all(more).unwrap();
        std::fs::write(more.join("more"), noise(11, 5000)).unwrap();
        let words = ["backup", "--no-cache", "--host", "golden", "--time", "2023-11-16 00:00:00"];
        self.sandbox.run(words.iter().copied().chain([more.to_str().unwrap()])).expect(0);
        std::fs::remove_dir_all(more).unwrap();
    }

    /// What is in the sandbox and was not before, of these kinds, becomes part of the case.
    fn keep_new(&self, before: &BTreeMap<Kind, Vec<String>>, kinds: &[Kind]) -> BTreeMap<Kind, Vec<String>> {
        let mut new = BTreeMap::new();
        for kind in kinds {
            let mut names = self.names(*kind);
            names.retain(|name| !before[kind].contains(name));
            names.iter().for_each(|name| self.put(*kind, name, &self.bytes(*kind, name)));
            new.insert(*kind, names);
        }
        new
    }

    fn known(&self) -> BTreeMap<Kind, Vec<String>> {
        Kind::ALL.into_iter().map(|kind| (kind, self.names(kind))).collect()
    }
}

fn keys(sandbox: &Sandbox) -> Keys {
    let key = MasterKey::from_key_file(&std::fs::read_to_string(sandbox.key_file()).unwrap()).unwrap();
    let mut opened = None;
    let backend = Local::new(sandbox.repository());
    let mut names = Vec::new();
    backend.list(Kind::Keys, &mut |entry| names.push(entry.name)).unwrap();
    for name in names {
        let object = backend.get(Kind::Keys, &name).unwrap();
        if let Ok(Some(master)) = slot::open(&object, Unlock::KeyFile(&key)) {
            opened = Some(master.keys(slot::decode(&object).unwrap().repository));
        }
    }
    opened.unwrap()
}

/// What is done to a repository.
type Deed = (&'static str, &'static str, fn(&Victim, &Golden));

fn told(golden: &Golden, word: &str) -> String {
    golden.of(&[word]).next().unwrap().name.clone()
}

const DEEDS: &[Deed] = &[
    (
        "data-pack-bit",
        "One bit in the block of a data pack in which the file documents/long begins is flipped.",
        |victim, golden| {
            let (name, (start, end)) = victim.pack_of_file(golden, "documents/long");
            victim.flip(Kind::Packs, &name, usize::midpoint(start, end));
        },
    ),
    ("tree-pack-bit", "One bit in the first block of the longest pack of trees is flipped.", |victim, _| {
        let (name, (start, end)) = victim.pack_of_trees();
        victim.flip(Kind::Packs, &name, usize::midpoint(start, end));
    }),
    (
        "pack-missing",
        "The data pack in which the file documents/long begins is gone; an index object still names it.",
        |victim, golden| {
            victim.remove(Kind::Packs, &[victim.pack_of_file(golden, "documents/long").0]);
        },
    ),
    (
        "pack-truncated",
        "The data pack in which the file documents/long begins is cut to its first half.",
        |victim, golden| {
            let (name, _) = victim.pack_of_file(golden, "documents/long");
            let bytes = victim.bytes(Kind::Packs, &name);
            victim.put(Kind::Packs, &name, &bytes[..bytes.len() / 2]);
        },
    ),
    ("index-missing", "All index objects are gone; the packs say themselves what they hold.", |victim, _| {
        victim.remove(Kind::Index, &victim.names(Kind::Index));
    }),
    ("index-bit", "One bit in the longest index object is flipped.", |victim, _| {
        let names = victim.names(Kind::Index);
        let longest = names.iter().max_by_key(|name| victim.bytes(Kind::Index, name).len()).unwrap();
        victim.flip_middle(Kind::Index, longest);
    }),
    ("snapshot-bit", "One bit in the object of the second snapshot is flipped.", |victim, golden| {
        victim.flip_middle(Kind::Snapshots, &told(golden, "snapshot"));
    }),
    (
        "confirmation-bit",
        "One bit in the confirmation of the second snapshot is flipped.",
        |victim, golden| {
            victim.flip_middle(Kind::Confirmed, &told(golden, "snapshot"));
        },
    ),
    ("note-bit", "One bit in the first of the notes is flipped.", |victim, _| {
        victim.flip_middle(Kind::Notes, &victim.names(Kind::Notes)[0]);
    }),
    ("config-bit", "One bit in config is flipped; the copies in the key slots are sound.", |victim, _| {
        victim.flip_middle(Kind::Config, &victim.names(Kind::Config)[0]);
    }),
    (
        "slot-bit",
        "One bit in the key slot of the password is flipped; the key file still opens the other slot.",
        |victim, _| {
            let key = MasterKey::from_key_file(&std::fs::read_to_string(victim.sandbox.key_file()).unwrap())
                .unwrap();
            let opens = |name: &&String| {
                slot::open(&victim.bytes(Kind::Keys, name), Unlock::KeyFile(&key)).unwrap().is_some()
            };
            let names = victim.names(Kind::Keys);
            victim.flip_middle(Kind::Keys, names.iter().find(|name| !opens(name)).unwrap());
        },
    ),
    (
        "two-copies",
        "A folder was backed up twice by machines that did not see each other, so that all of it lies in two packs each, with the later \
         snapshot confirmed; one bit is flipped in the first block of each of the new data packs.",
        |victim, golden| {
            let kinds = [Kind::Packs, Kind::Index, Kind::Snapshots, Kind::Confirmed];
            let other = Victim::new(golden, victim.case.clone());
            let before = other.known();
            other.back_up_more();
            other.keep_new(&before, &[Kind::Packs, Kind::Index]);
            victim.back_up_more();
            victim.keep_new(&before, &kinds);
            for one in [&other, victim] {
                for (name, contents, (start, end)) in one.packs() {
                    if contents == Contents::Data && !before[&Kind::Packs].contains(&name) {
                        one.flip(Kind::Packs, &name, usize::midpoint(start, end));
                    }
                }
            }
        },
    ),
    (
        "unconfirmed",
        "The confirmation of the second snapshot is gone: as if its backup had been cut off before its last step.",
        |victim, golden| {
            victim.remove(Kind::Confirmed, &[told(golden, "snapshot")]);
        },
    ),
    (
        "prune-marked",
        "A prune was cut off right after its mark, which names packs that nothing needs; nobody is at work.",
        |victim, _| {
            let before = victim.known();
            victim.back_up_more();
            // The packs of a backup whose index object and snapshot never came.
            let new = victim.keep_new(&before, &[Kind::Packs]);
            let packs = new[&Kind::Packs].iter().map(|name| copal::model::Id::parse(name).unwrap()).collect();
            let time = Time::new(1_700_300_000, 0);
            let mark = Removal { packs, time, session: Id16([7; 16]), ..Removal::default() };
            let object = session::encode_removal(&victim.keys, &mark).unwrap();
            victim.put(Kind::Removals, &copal::crypto::object_name(&object).to_string(), &object);
        },
    ),
    (
        "prune-cut-off",
        "A prune was cut off between its tombstone and the removal of the packs and of the index objects that it names.",
        |victim, _| {
            let before = victim.known();
            victim.back_up_more();
            let new = victim.keep_new(&before, &[Kind::Packs, Kind::Index]);
            let ids =
                |kind: Kind| new[&kind].iter().map(|name| copal::model::Id::parse(name).unwrap()).collect();
            let time = Time::new(1_700_300_000, 0);
            let mark =
                Removal { packs: ids(Kind::Packs), time, session: Id16([7; 16]), ..Removal::default() };
            let object = session::encode_removal(&victim.keys, &mark).unwrap();
            let name = copal::crypto::object_name(&object);
            victim.put(Kind::Removals, &name.to_string(), &object);
            let index_objects = ids(Kind::Index);
            let tombstone = Removal { done: true, answers: Some(name), index_objects, ..mark };
            let object = session::encode_removal(&victim.keys, &tombstone).unwrap();
            victim.put(Kind::Removals, &copal::crypto::object_name(&object).to_string(), &object);
        },
    ),
];

/// Makes all cases anew, and writes down what comes of them.
fn write(version: &str) {
    let golden = Golden::read(&all().join(version));
    let folder = all().join(format!("{version}-damaged"));
    let _ = std::fs::remove_dir_all(&folder);
    for (name, about, deed) in DEEDS {
        let case = folder.join(name);
        std::fs::create_dir_all(&case).unwrap();
        std::fs::write(case.join("about"), format!("{about}\n")).unwrap();
        deed(&Victim::new(&golden, case.clone()), &golden);
        std::fs::write(case.join("expected"), observed(&golden, &case)).unwrap();
    }
    let mut bytes = 0;
    for entry in walkdir::WalkDir::new(&folder).into_iter().map(Result::unwrap) {
        super::set_mode(entry.path(), if entry.file_type().is_dir() { 0o755 } else { 0o644 });
        bytes += if entry.file_type().is_file() { entry.metadata().unwrap().len() } else { 0 };
    }
    println!("{}: {bytes} bytes", folder.display());
    assert!(bytes <= MOST, "{bytes} bytes are more than these fixtures should have");
}
