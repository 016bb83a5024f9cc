//! Golden repositories: what any release wrote, this one reads. Each folder below `fixtures/repositories` holds a repository, the key file
//! and the password that open it, and a manifest of what its snapshots hold.
//!
//! `COPAL_TEST_WRITE_GOLDEN=v1 cargo test --test golden`, as root, writes `fixtures/repositories/v1` anew before it is read.
//! Once a release wrote a repository of that format, its fixture is never written again.

mod common;
#[path = "golden/damaged.rs"]
mod damaged;
#[path = "golden/manifest.rs"]
mod manifest;
#[path = "golden/tree.rs"]
mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Ended, Sandbox, below, demand_root, is_root, unprotect};

/// One snapshot of a manifest.
#[derive(Clone, Debug)]
struct Told {
    /// `snapshot`, `forgotten`, `stream`, `unconfirmed`.
    word: String,
    name: String,
    lines: Vec<String>,
}

/// A folder of fixtures: where it is and what it tells.
struct Golden {
    folder: PathBuf,
    /// The path that was backed up.
    source: PathBuf,
    told: Vec<Told>,
}

impl Golden {
    fn read(folder: &Path) -> Golden {
        let (mut told, mut source): (Vec<Told>, _) = (Vec::new(), None);
        for line in std::fs::read_to_string(folder.join("manifest")).unwrap().lines() {
            // Above the entries: what there is. Then the entries, each behind the numbers of the snapshots that have it.
            if let Some((numbers, entry)) = line.split_once('\t') {
                for number in numbers.split(',') {
                    told[number.parse::<usize>().unwrap()].lines.push(entry.to_owned());
                }
            } else if let Some((word, name)) = line.split_once(' ') {
                match word {
                    "source" => source = Some(PathBuf::from(name)),
                    word => {
                        told.push(Told { word: word.to_owned(), name: name.to_owned(), lines: Vec::new() })
                    }
                }
            }
        }
        assert!(told.len() >= 4, "the manifest tells of {} snapshots", told.len());
        Golden { folder: folder.to_path_buf(), source: source.unwrap(), told }
    }

    /// A sandbox with a copy of the repository: a fixture itself is never touched.
    fn sandbox(&self) -> Sandbox {
        let sandbox = Sandbox::empty();
        copy(&self.folder.join("repository"), &sandbox.repository());
        std::fs::copy(self.folder.join("key"), sandbox.key_file()).unwrap();
        set_mode(&sandbox.key_file(), 0o600);
        sandbox
    }

    fn of(&self, words: &[&str]) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(move |told| words.contains(&told.word.as_str()))
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Copies files and the folders above them, nothing else: empty folders do not come with a checkout either.
pub fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().map(Result::unwrap) {
        // What is on its way, or kept aside for a full disk, is no part of a repository.
        if entry.file_type().is_file() && !entry.path().starts_with(from.join("tmp")) {
            let target = to.join(entry.path().strip_prefix(from).unwrap());
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(entry.path(), &target).unwrap();
            set_mode(&target, 0o600);
        }
    }
}

/// All fixtures; written anew first where that is asked for.
fn fixtures() -> &'static [Golden] {
    static FIXTURES: OnceLock<Vec<Golden>> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repositories");
        if let Some(version) = std::env::var_os("COPAL_TEST_WRITE_GOLDEN") {
            demand_root();
            let parity = version.to_string_lossy().ends_with("-parity").then_some("12.5%");
            tree::write(&all.join(version), Path::new(tree::SOURCE), parity);
        }
        let mut folders: Vec<PathBuf> =
            std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
        // Damaged ones have no manifest of their own.
        folders.retain(|path| path.join("manifest").is_file());
        folders.sort();
        assert!(!folders.is_empty());
        folders.iter().map(|folder| Golden::read(folder)).collect()
    })
}

/// Compares a restored tree with what the manifest tells of it, as far as this user can have it.
#[track_caller]
fn assert_told(golden: &Golden, told: &Told, target: &Path) {
    if told.word == "stream" {
        let bytes = std::fs::read(target.join("stream")).unwrap();
        return assert_eq!(told.lines, [format!("blake3={}", blake3::hash(&bytes).to_hex())]);
    }
    let (mut expected, mut found) = (told.lines.clone(), manifest::lines(&below(target, &golden.source)));
    if !is_root() {
        (expected, found) = (manifest::without_root(expected), manifest::without_root(found));
    }
    let (all, there): (BTreeSet<_>, BTreeSet<_>) = (expected.iter().collect(), found.iter().collect());
    let missing: Vec<_> = all.difference(&there).collect();
    let other: Vec<_> = there.difference(&all).collect();
    assert!(missing.is_empty() && other.is_empty(), "{}: not {other:#?} but {missing:#?}", told.name);
    assert_eq!(expected.len(), found.len());
}

/// All is given back to root; to others all but owners and devices, and that is said.
#[track_caller]
fn assert_ended(ended: &Ended) {
    assert!(ended.code == 0 || !is_root() && ended.code == 3, "{ended}");
}

fn check_and_restore(golden: &Golden) {
    let sandbox = golden.sandbox();
    sandbox.run(["check", "--read-data"]).expect(0);
    let listed: Vec<String> = sandbox
        .run(["snapshots", "--json"])
        .expect(0)
        .messages("snapshot")
        .iter()
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect();
    for told in golden.of(&["snapshot", "stream"]) {
        assert!(listed.contains(&told.name), "{} is not listed", told.name);
    }
    for told in golden.of(&["unconfirmed"]) {
        assert!(!listed.contains(&told.name), "{} is listed, and was never confirmed", told.name);
    }
    for (number, told) in golden.of(&["snapshot", "stream", "forgotten"]).enumerate() {
        let target = sandbox.path(format!("target {number}"));
        assert_ended(&sandbox.run(["restore", &told.name, "-t", target.to_str().unwrap()]));
        assert_told(golden, told, &target);
        unprotect(&target);
    }
}

#[test]
fn every_golden_repository_is_sound_and_gives_back_what_its_manifest_tells() {
    fixtures().iter().for_each(check_and_restore);
}

#[test]
fn every_golden_repository_opens_with_its_password() {
    for golden in fixtures() {
        let mut sandbox = golden.sandbox();
        sandbox.unset("COPAL_KEY_FILE");
        let file = golden.folder.join("password");
        sandbox.run(["snapshots", "-p", file.to_str().unwrap()]).expect(0);
        sandbox.set("COPAL_PASSWORD", "another");
        sandbox.run(["snapshots"]).expect(12);
    }
}

#[test]
fn what_a_golden_repository_holds_is_known_to_it_when_it_is_backed_up_again() {
    for golden in fixtures() {
        let sandbox = golden.sandbox();
        let told = golden.of(&["snapshot"]).last().unwrap();
        let target = sandbox.path("target");
        assert_ended(&sandbox.run(["restore", &told.name, "-t", target.to_str().unwrap()]));
        let source = below(&target, &golden.source);
        let summary =
            sandbox.run(["backup", "--json", "--force", source.to_str().unwrap()]).expect(0).summary();
        unprotect(&target);
        // Cut points, ids and keys are still the same: else every repository would store everything again.
        assert_eq!(summary["data_added"], 0);
    }
}

#[test]
fn the_second_restorer_reads_every_golden_repository() {
    let python = std::env::var("COPAL_TEST_PYTHON").expect("COPAL_TEST_PYTHON: run tests/run, which sets it");
    let restorer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restorer/restore.py");
    for golden in fixtures() {
        let sandbox = golden.sandbox();
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&python);
            command.arg(&restorer).arg(sandbox.repository()).args(arguments);
            common::end(command)
        };
        let (key, password) = (sandbox.key_file(), golden.folder.join("password"));
        let key = ["--key-file", key.to_str().unwrap()];
        let listed = run(&[&key[..], &["--list"]].concat()).expect(0);
        let listed: serde_json::Value = serde_json::from_str(&listed.out()).unwrap();
        for told in &golden.told {
            let line = listed.as_array().unwrap().iter().find(|line| line["name"] == told.name.as_str());
            let line = line.unwrap_or_else(|| panic!("{} is not listed", told.name));
            assert_eq!(line["confirmed"], told.word != "unconfirmed");
            assert_eq!(line["forgotten"], told.word == "forgotten");
            if told.word == "snapshot" {
                assert_eq!(line["tags"], serde_json::json!(["second", "changed", "noted"]));
                assert_eq!(line["description"], "a description that came later");
            }
        }
        let ways =
            [vec!["--password-file", password.to_str().unwrap()], [&key[..], &["--packs-only"]].concat()];
        for (number, way) in ways.iter().enumerate() {
            for told in golden.of(&["snapshot", "stream", "forgotten"]) {
                let target = sandbox.path(format!("{} {number}", told.name));
                let words = [&way[..], &["--snapshot", &told.name, target.to_str().unwrap()]].concat();
                let ended = run(&words);
                assert!(ended.code == 0 || !is_root() && ended.code == 1, "{ended}");
                assert_told(golden, told, &target);
                unprotect(&target);
            }
        }
    }
}

/// Recovery data that an earlier release wrote brings back what is damaged now, bit for bit.
#[test]
fn the_recovery_data_of_golden_repositories_brings_back_every_pack() {
    let with_parity: Vec<&Golden> =
        fixtures().iter().filter(|golden| golden.folder.join("repository/parity").is_dir()).collect();
    assert!(!with_parity.is_empty());
    for golden in with_parity {
        let sandbox = golden.sandbox();
        let packs: Vec<PathBuf> = walkdir::WalkDir::new(sandbox.repository().join("packs"))
            .into_iter()
            .map(|entry| entry.unwrap().into_path())
            .filter(|path| path.is_file())
            .collect();
        let whole: Vec<Vec<u8>> = packs.iter().map(|path| std::fs::read(path).unwrap()).collect();
        for (path, bytes) in packs.iter().zip(&whole) {
            let mut spoiled = bytes.clone();
            // One sector in the middle, wherever it begins.
            let from = spoiled.len() / 2 / 4096 * 4096;
            let to = (from + 4096).min(spoiled.len());
            spoiled[from..to].fill(0);
            assert!(spoiled != *bytes);
            std::fs::write(path, spoiled).unwrap();
        }
        for (number, told) in golden.of(&["snapshot", "stream", "forgotten"]).enumerate() {
            let target = sandbox.path(format!("target {number}"));
            assert_ended(&sandbox.run(["restore", &told.name, "-t", target.to_str().unwrap()]));
            assert_told(golden, told, &target);
            unprotect(&target);
        }
        sandbox.run(["check", "--read-data"]).expect(5);
        sandbox.run(["parity", "repair"]).expect(0);
        for (path, bytes) in packs.iter().zip(&whole) {
            assert!(std::fs::read(path).unwrap() == *bytes, "{}", path.display());
        }
        sandbox.run(["check", "--read-data"]).expect(0);
        assert_eq!(
            sandbox.run(["parity", "status", "--json"]).expect(0).messages("parity")[0]["rate_percent"],
            12.5
        );
    }
}

#[test]
fn root_writes_a_golden_repository_that_is_read_as_it_was_written() {
    demand_root();
    let folder = tempfile::Builder::new().prefix("copal-test-").tempdir_in("/var/tmp").unwrap();
    let source = PathBuf::from(format!("{}-{}", tree::SOURCE, std::process::id()));
    tree::write(folder.path(), &source, None);
    check_and_restore(&Golden::read(folder.path()));
}
