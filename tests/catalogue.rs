//! The catalogue of paths: it says what the snapshots say, whatever happened between them, and it can be lost at any time.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use common::{Sandbox, noise};
use copal::catalogue::{History, Timelines, fill, history, history_by_walking};
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::index::catalogue::Catalogue;
use copal::repository::{self, Repository};

/// Numbers that come again in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

fn open(sandbox: &Sandbox) -> Repository {
    let text = std::fs::read_to_string(sandbox.key_file()).unwrap();
    let key = MasterKey::from_key_file(&text).unwrap();
    let backend = copal::backend::open(sandbox.repository().to_str().unwrap(), &Default::default()).unwrap();
    let opened = repository::open(backend, Unlock::KeyFile(&key), Some(&sandbox.cache())).unwrap();
    opened.sync().unwrap();
    opened
}

/// All that a history says, as text.
fn told(histories: &[History<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    for History { host, versions } in histories {
        for version in versions {
            let gone = version.gone.map(|named| named.name.short());
            let (first, last) = (version.first.name.short(), version.last.name.short());
            let host = String::from_utf8_lossy(host);
            lines.push(format!(
                "{host} {:?} {first} to {last}, {} snapshots, gone {gone:?}",
                version.facts, version.snapshots
            ));
        }
    }
    lines
}

/// Every path that ever was, from all snapshots.
fn all_paths(
    repository: &Repository,
    snapshots: &[copal::repository::snapshots::Named],
) -> BTreeSet<Vec<Vec<u8>>> {
    let mut paths = BTreeSet::new();
    for named in snapshots {
        let mut stack = vec![(named.snapshot.root, Vec::<Vec<u8>>::new())];
        while let Some((tree, above)) = stack.pop() {
            for node in repository.nodes(tree) {
                let node = node.unwrap();
                let mut path = above.clone();
                path.push(node.name.clone());
                stack.extend(node.tree.map(|tree| (tree, path.clone())));
                paths.insert(path);
            }
        }
    }
    paths
}

/// Holds the catalogue to what walking says, of every path; how many there are.
fn hold_to_snapshots(repository: &Repository, catalogue: &Catalogue) -> usize {
    let all = repository.snapshots().unwrap();
    let stop = AtomicBool::new(false);
    fill(repository, catalogue, &all.confirmed, &stop, &mut |_| {}).unwrap();
    let timelines = Timelines::new(&all.confirmed, Some(catalogue)).unwrap();
    assert_eq!(timelines.unknown(), 0);
    let paths = all_paths(repository, &all.confirmed);
    for path in &paths {
        let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        let number = catalogue.number(&names).unwrap().unwrap_or_else(|| panic!("{path:?} is not there"));
        let text = path.iter().flat_map(|name| [b"/", name.as_slice()].concat()).collect::<Vec<u8>>();
        assert_eq!(catalogue.names().path(number).unwrap(), text);
        for all_changes in [false, true] {
            // A folder's versions are that it is there; what changes in it has rows of its own.
            let quick = history(catalogue, &timelines, number, all_changes).unwrap();
            let is_folder = quick
                .iter()
                .flat_map(|history| &history.versions)
                .any(|version| version.facts.kind == copal::model::NodeType::Directory);
            if is_folder && all_changes {
                continue;
            }
            let mut slow =
                history_by_walking(repository, &timelines, &names, all_changes, &stop, &mut Vec::new())
                    .unwrap();
            let mut quick = quick;
            if is_folder {
                for version in quick.iter_mut().chain(&mut slow).flat_map(|history| &mut history.versions) {
                    version.facts.node = 0;
                    version.facts.mtime = copal::model::Time::default();
                }
            }
            assert_eq!(told(&quick), told(&slow), "{}", String::from_utf8_lossy(&text));
        }
    }
    paths.len()
}

/// Changes something in a folder.
fn change(root: &Path, numbers: &mut Numbers) {
    let names = ["a", "b", "docs", "Report.odt", "x y", "line\nbreak"];
    let mut path = root.to_path_buf();
    for _ in 0..=numbers.below(3) {
        path.push(names[numbers.below(6) as usize]);
    }
    if numbers.below(8) == 0 {
        path.push(OsStr::from_bytes(b"caf\xe9"));
    }
    let remove = |path: &Path| match path.symlink_metadata() {
        Ok(about) if about.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => {}
    };
    let can_hold = |path: &Path| {
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).is_ok()
    };
    match numbers.below(10) {
        0..=3 if can_hold(&path) && !path.is_dir() => {
            remove(&path);
            std::fs::write(&path, noise(numbers.below(5), 1 + numbers.below(40) as usize)).unwrap();
        }
        4 => remove(&path),
        5 if can_hold(&path) => {
            remove(&path);
            std::os::unix::fs::symlink(names[numbers.below(6) as usize], &path).unwrap();
        }
        6 if path.is_file() && !path.is_symlink() => {
            let mode = 0o600 + numbers.below(64) as u32;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        7 if path.symlink_metadata().is_err() && can_hold(&path) => {
            std::fs::create_dir(&path).unwrap();
        }
        _ => {
            let to = root.join(names[numbers.below(6) as usize]).join("moved");
            if path.symlink_metadata().is_ok() && !to.starts_with(&path) && can_hold(&to) {
                remove(&to);
                let _ = std::fs::rename(&path, &to);
            }
        }
    }
}

#[test]
fn the_catalogue_says_what_the_snapshots_say() {
    for seed in [1u64, 2, 3] {
        let sandbox = Sandbox::new().trusting_fresh_files();
        let mut numbers = Numbers(seed * 0x9e37_79b9_7f4a + 1);
        let folder = tempfile::tempdir().unwrap();
        let mut catalogue = Catalogue::open(folder.path(), &open(&sandbox).id(), true).unwrap().unwrap();
        let mut ids: Vec<String> = Vec::new();
        for step in 0..40u64 {
            for _ in 0..1 + numbers.below(12) {
                change(&sandbox.source(), &mut numbers);
            }
            // Mostly one after the other; some with an older time, of another host, or of a part of the source.
            let hour = if numbers.below(8) == 0 { numbers.below(step + 1) } else { step };
            let time = format!("2026-03-{:02} {:02}:{:02}:00", 1 + hour / 24, hour % 24, step);
            let host = if numbers.below(4) == 0 { "other" } else { "this" };
            let part = sandbox.source().join("docs");
            let source: PathBuf =
                if numbers.below(5) == 0 && part.is_dir() { part } else { sandbox.source() };
            let source = source.to_str().unwrap();
            let made = sandbox.run(["backup", "--json", "--time", &time, "--host", host, source]).expect(0);
            ids.push(made.summary()["snapshot_id"].as_str().unwrap().to_owned());
            if numbers.below(6) == 0 {
                let id = ids.swap_remove(numbers.below(ids.len() as u64) as usize);
                sandbox.run(["forget", &id]);
                if numbers.below(2) == 0 {
                    sandbox.run(["undelete", &id]);
                }
            }
            if step % 7 == 6 {
                let repository = open(&sandbox);
                assert!(hold_to_snapshots(&repository, &catalogue) > 5);
            }
        }
        // Made anew it says the same.
        let repository = open(&sandbox);
        drop(catalogue);
        Catalogue::remove(folder.path(), &repository.id()).unwrap();
        catalogue = Catalogue::open(folder.path(), &repository.id(), true).unwrap().unwrap();
        hold_to_snapshots(&repository, &catalogue);
        hold_to_snapshots(&repository, &Catalogue::in_memory(&repository.id()).unwrap());
    }
}

fn versions(sandbox: &Sandbox, path: &Path) -> Vec<serde_json::Value> {
    let ended = sandbox.run([OsStr::new("versions"), OsStr::new("--json"), path.as_os_str()]).expect(0);
    ended
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// The file of the catalogue.
fn file(sandbox: &Sandbox) -> PathBuf {
    let is_catalogue = |path: &PathBuf| path.to_str().unwrap().ends_with(".catalogue.db");
    let mut files = std::fs::read_dir(sandbox.cache()).unwrap().map(|entry| entry.unwrap().path());
    files.find(is_catalogue).expect("a catalogue")
}

/// A file that was changed, moved and deleted, over four snapshots.
fn told_of() -> (Sandbox, [PathBuf; 2]) {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let first = sandbox.write("source/docs/report.odt", "one");
    sandbox.write("source/docs/other.txt", "other");
    sandbox.back_up_with(&["--time", "2026-03-01 10:00"]);
    sandbox.write("source/docs/report.odt", "two, longer");
    sandbox.back_up_with(&["--time", "2026-03-02 10:00"]);
    let moved = sandbox.path("source/moved.odt");
    std::fs::rename(&first, &moved).unwrap();
    sandbox.back_up_with(&["--time", "2026-03-03 10:00"]);
    std::fs::remove_file(&moved).unwrap();
    sandbox.back_up_with(&["--time", "2026-03-04 10:00"]);
    (sandbox, [first, moved])
}

#[test]
fn versions_tell_what_changed_where_it_went_and_when_it_was_gone() {
    let (sandbox, [first, moved]) = told_of();
    let lines = versions(&sandbox, &first);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["version"], &lines[0]["size"]), (&1.into(), &11.into()));
    assert!(lines[0]["deleted_time"].as_str().unwrap().starts_with("2026-03-03T10:00"), "{}", lines[0]);
    assert_eq!((&lines[1]["size"], &lines[1]["snapshots"]), (&3.into(), &1.into()));
    assert_eq!(lines[1].get("deleted_time"), None);
    let lines = versions(&sandbox, &moved);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["renamed_from"].as_str().unwrap(), first.to_str().unwrap());
    assert!(lines[0]["deleted_time"].as_str().unwrap().starts_with("2026-03-04T10:00"));
    // By the end of its path, and from the folder in which one stands.
    let shown = sandbox.run(["versions", "docs/report.odt"]).expect(0);
    assert!(shown.text().contains("deleted by 2026-03-03 10:00:00"), "{}", shown.text());
    sandbox.run(["versions", "source/moved.odt"]).expect(0);
    let missing = sandbox.run(["versions", "docs/nothing"]).expect(1);
    assert!(missing.text().contains("no snapshot holds docs/nothing"), "{}", missing.text());
    // The same without a catalogue.
    let walked = sandbox.run(["versions", "--no-catalogue", "docs/report.odt"]).expect(0);
    assert_eq!(walked.stdout, shown.stdout);
}

#[test]
fn a_version_is_given_back_by_its_number() {
    let (sandbox, [first, _]) = told_of();
    let out = sandbox.path("out");
    sandbox.run(["restore", "docs/report.odt@2", "-t", out.to_str().unwrap()]).expect(0);
    assert_eq!(std::fs::read_to_string(out.join("report.odt")).unwrap(), "one");
    assert_eq!(sandbox.run(["dump", "docs/report.odt@1"]).expect(0).stdout, b"two, longer");
    let words = ["dump", "--no-catalogue", "docs/report.odt@2"];
    assert_eq!(sandbox.run(words).expect(0).stdout, b"one");
    let back = format!("{}@1", first.display());
    sandbox.run(["restore", &back, "--in-place"]).expect(0);
    assert_eq!(std::fs::read_to_string(&first).unwrap(), "two, longer");
    for wrong in ["docs/report.odt@3", "docs/report.odt@0"] {
        let ended = sandbox.run(["dump", wrong]).expect(2);
        assert!(ended.text().contains("but 2 versions, @1 being the newest"), "{}", ended.text());
    }
    sandbox.run(["dump", "docs/nothing@1"]).expect(1);
    // A catalogue that is wrong gives back nothing else than what was asked for.
    let cache = rusqlite::Connection::open(file(&sandbox)).unwrap();
    assert!(cache.execute("UPDATE versions SET content = content + 1", []).unwrap() > 0);
    drop(cache);
    let ended = sandbox.run(["dump", "docs/report.odt@2"]).expect(1);
    assert!(ended.text().contains("the catalogue of paths is wrong"), "{}", ended.text());
    assert_eq!(sandbox.run(words).expect(0).stdout, b"one");
}

#[test]
fn what_lies_in_a_folder_that_could_not_be_read_is_not_deleted() {
    let sandbox = Sandbox::of_nobody();
    let report = sandbox.write("source/docs/report", "one");
    sandbox.write("more/other", "other");
    sandbox.back_up_with(&["--time", "2026-03-01 10:00"]);
    let docs = report.parent().unwrap();
    std::fs::set_permissions(docs, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
    // Of other sources, so nothing in the catalogue is its predecessor.
    let (source, more) = (sandbox.source(), sandbox.path("more"));
    let words = ["backup", "--time", "2026-03-02 10:00", source.to_str().unwrap(), more.to_str().unwrap()];
    sandbox.run(words).expect(3);
    std::fs::set_permissions(docs, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ended = sandbox.run(["find", "report"]).expect(0).says("docs/report");
    assert!(!ended.text().contains("deleted"), "{ended}");
    assert!(!sandbox.run(["find", "report", "--deleted"]).expect(0).out().contains("docs/report"));
    std::fs::remove_file(&report).unwrap();
    let words = ["backup", "--time", "2026-03-03 10:00", source.to_str().unwrap(), more.to_str().unwrap()];
    sandbox.run(words).expect(0);
    sandbox.run(["find", "report"]).expect(0).says("(deleted)");
}

#[test]
fn what_a_damaged_snapshot_holds_is_unknown_and_told() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let report = sandbox.write("source/docs/report", "one");
    sandbox.write("source/other", "other");
    sandbox.back_up_with(&["--time", "2026-03-01 10:00"]);
    let packs = || -> BTreeSet<PathBuf> {
        let all = walkdir::WalkDir::new(sandbox.repository().join("packs")).into_iter();
        let files = all.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().is_file());
        files.map(|entry| entry.into_path()).collect()
    };
    let before = packs();
    sandbox.write("source/docs/report", "two, longer");
    let docs = sandbox.path("source/docs");
    sandbox
        .run([OsStr::new("backup"), OsStr::new("--host"), OsStr::new("other"), docs.as_os_str()])
        .expect(0);
    let lost: Vec<PathBuf> = packs().difference(&before).cloned().collect();
    let kept: Vec<Vec<u8>> = lost.iter().map(|pack| std::fs::read(pack).unwrap()).collect();
    let damaged = sandbox.back_up_with(&["--time", "2026-03-02 10:00"])["snapshot_id"].clone();
    lost.iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    let wanted = format!("{}@1", report.display());
    for words in [&[][..], &[], &["--no-catalogue"]] {
        let ended =
            sandbox.run([&["versions", "--json", report.to_str().unwrap()][..], words].concat()).expect(0);
        let line: serde_json::Value = serde_json::from_slice(ended.stdout.trim_ascii()).unwrap();
        assert_eq!((line["snapshots"].as_u64(), line.get("deleted_by")), (Some(1), None), "{ended}");
        assert_ne!(line["last_snapshot"], damaged, "{ended}");
        ended.warns("could not be read wholly");
        sandbox.run([&["find", "report"][..], words].concat()).expect(0).warns("could not be read wholly");
        let ended = sandbox.run([&["dump", &wanted][..], words].concat()).expect(5);
        assert_eq!(ended.stdout, b"one");
    }
    // A snapshot behind it, in which that folder is another one.
    sandbox.write("source/docs/report", "three, and longer");
    sandbox.back_up_with(&["--time", "2026-03-03 10:00"]);
    sandbox.run(["versions", report.to_str().unwrap()]).expect(0).warns("could not be read wholly");
    // Healed, it says all that the snapshots say, from the catalogue as without.
    lost.iter().zip(kept).for_each(|(pack, bytes)| std::fs::write(pack, bytes).unwrap());
    for words in [&[][..], &["--no-catalogue"]] {
        let ended = sandbox.run([&["versions", report.to_str().unwrap()][..], words].concat()).expect(0);
        assert!(!ended.text().contains("could not be read"), "{ended}");
        assert_eq!(
            sandbox.run([&["dump", &wanted][..], words].concat()).expect(0).stdout,
            b"three, and longer"
        );
    }
    let repository = open(&sandbox);
    let catalogue = Catalogue::open(&sandbox.cache(), &repository.id(), false).unwrap().unwrap();
    assert!(catalogue.unread().unwrap().is_empty());
    hold_to_snapshots(&repository, &catalogue);
}

#[test]
fn a_catalogue_that_is_lost_damaged_or_of_another_repository_is_made_anew() {
    let (sandbox, [first, _]) = told_of();
    let wanted = versions(&sandbox, &first);
    let path = file(&sandbox);
    let sound = std::fs::read(&path).unwrap();
    let (other, [elsewhere, _]) = told_of();
    versions(&other, &elsewhere);
    let foreign = std::fs::read(file(&other)).unwrap();
    let half = sound[..sound.len() / 2].to_vec();
    let mut noisy = sound.clone();
    noisy[4096..8192].copy_from_slice(&noise(3, 4096));
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("half", half),
        ("noise", noise(1, 20_000)),
        ("foreign", foreign),
        ("a page of noise", noisy),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(versions(&sandbox, &first), wanted, "{what}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(versions(&sandbox, &first), wanted);
    // Nowhere to put it: nothing depends on it.
    let walked = sandbox.run([
        OsStr::new("versions"),
        OsStr::new("--no-cache"),
        OsStr::new("--json"),
        first.as_os_str(),
    ]);
    assert_eq!(
        walked.expect(0).stdout,
        sandbox.run([OsStr::new("versions"), OsStr::new("--json"), first.as_os_str()]).stdout
    );
}

#[test]
fn backups_keep_a_catalogue_up_that_is_in_use() {
    let (sandbox, [first, _]) = told_of();
    assert!(
        !std::fs::read_dir(sandbox.cache()).unwrap().any(|entry| entry
            .unwrap()
            .path()
            .to_str()
            .unwrap()
            .contains("catalogue"))
    );
    versions(&sandbox, &first);
    sandbox.write("source/docs/report.odt", "three");
    sandbox.back_up_with(&["--time", "2026-03-05 10:00"]);
    let shown = sandbox.run(["versions", "docs/report.odt"]).expect(0);
    assert!(!shown.text().contains("into the catalogue"), "{}", shown.text());
    let id = open(&sandbox).id();
    let catalogue = Catalogue::open(&sandbox.cache(), &id, false).unwrap().unwrap();
    let all = open(&sandbox).snapshots().unwrap();
    let known = catalogue.known().unwrap().len();
    assert_eq!((known, all.confirmed.len()), (5, 5));
    assert_eq!(versions(&sandbox, &first).len(), 3);
}

#[test]
fn a_catalogue_that_is_full_gives_up_what_is_oldest_and_says_so() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let path = sandbox.source().join("file");
    for number in 0..24 {
        sandbox.write("source/file", noise(number, 100));
        sandbox.back_up_with(&["--time", &format!("2026-03-{:02} 10:00", number + 1)]);
    }
    assert_eq!(versions(&sandbox, &path).len(), 24);
    let repository = open(&sandbox);
    let catalogue = Catalogue::open(&sandbox.cache(), &repository.id(), false).unwrap().unwrap();
    // There is always more than nothing: all goes that may, and the newest stay.
    let given_up = catalogue.change(|writing| writing.shrink(0)).unwrap();
    assert_eq!(given_up, 16);
    let all = repository.snapshots().unwrap();
    let filled = fill(&repository, &catalogue, &all.confirmed, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!(filled.added, 0, "what was given up is not taken in again");
    assert_eq!(Timelines::new(&all.confirmed, Some(&catalogue)).unwrap().unknown(), given_up);
    drop(catalogue);
    assert_eq!(versions(&sandbox, &path).len(), 8);
    for words in [["versions", "source/file"], ["find", "file"]] {
        let shown = sandbox.run(words).expect(0);
        assert!(
            shown.text().contains("16 of the oldest snapshots are not in the catalogue"),
            "{}",
            shown.text()
        );
    }
    let walked = sandbox.run(["versions", "--no-catalogue", "source/file"]).expect(0);
    assert!(
        walked.text().contains("@24") && !walked.text().contains("oldest snapshots"),
        "{}",
        walked.text()
    );
    // The next backup goes on where the newest rows are.
    sandbox.write("source/file", "new");
    sandbox.back_up_with(&["--time", "2026-03-25 10:00"]);
    assert_eq!(versions(&sandbox, &path).len(), 9);
}

#[test]
fn find_finds_by_name_path_size_time_and_what_is_gone() {
    let (sandbox, [_, moved]) = told_of();
    sandbox.write("source/docs/caf\u{e9} big.bin", noise(5, 100_000));
    let odd = sandbox.source().join(OsStr::from_bytes(b"docs/odd\n\xff.txt"));
    std::fs::write(&odd, "odd").unwrap();
    sandbox.back_up_with(&["--time", "2026-03-06 10:00"]);
    let found = |words: &[&str]| -> Vec<String> {
        let ended = sandbox.run(["find", "--json"].iter().chain(words)).expect(0);
        let lines = ended.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let names = lines.map(|line| {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            let path = line["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            if line["deleted"] == true { format!("-{path}") } else { path }
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    assert_eq!(found(&["odt"]), ["-moved.odt", "-report.odt"]);
    assert_eq!(found(&["*.odt", "other*"]), ["-moved.odt", "-report.odt", "other.txt"]);
    assert_eq!(found(&["REPORT"]), [""; 0]);
    assert_eq!(found(&["-i", "REPORT"]), ["-report.odt"]);
    assert_eq!(found(&["docs/rep"]), ["-report.odt"]);
    assert_eq!(found(&["source/*.odt"]), ["-moved.odt"]);
    assert_eq!(found(&["t", "--deleted"]), ["-moved.odt", "-report.odt"]);
    assert_eq!(found(&["source/", "--larger", "50k"]), [""; 0]);
    assert_eq!(found(&["*", "--larger", "50k"]), ["caf\u{e9} big.bin"]);
    assert_eq!(found(&["*.odt", "--smaller", "5"]), ["-report.odt"]);
    assert_eq!(found(&["docs", "--type", "dir"]), ["docs"]);
    assert_eq!(
        found(&[
            "*",
            "--type",
            "file",
            "--path",
            sandbox.path("source/docs").to_str().unwrap(),
            "--newer",
            "1970-01-02"
        ])
        .len(),
        4
    );
    assert_eq!(found(&["odt", "--older", "1970-01-02"]), [""; 0]);
    let shown = sandbox.run(["find", "odd"]).expect(0);
    assert!(shown.text().contains("odd\\n\\xff.txt"), "{}", shown.text());
    let shown = sandbox.run(["find", "moved"]).expect(0);
    assert!(
        shown.text().starts_with("2026-03-03 10:00:00  2026-03-03 10:00:00        11 B"),
        "{}",
        shown.text()
    );
    assert!(shown.text().contains(&format!("{}  (deleted)", moved.display())));
    sandbox.run(["find", "[a"]).expect(2);
    sandbox.run(["find", "a", "--newer", "not a time"]).expect(2);
    sandbox.run(["find", "a", "--host", "x"]).expect(1);
}
