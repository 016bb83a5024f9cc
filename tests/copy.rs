//! Snapshots copied into a repository with another key and other chunks come back exactly, once, and without reading again what is there.

mod common;

use std::ffi::OsString;
use std::path::PathBuf;

use common::{Content, Ended, Item, Kind, Sandbox, assert_same, below, flip, longest, make, packs};

/// A sandbox with a second repository, which has a key of its own and shorter chunks.
struct Two {
    sandbox: Sandbox,
}

impl Two {
    fn new() -> Two {
        let two = Two { sandbox: Sandbox::new().trusting_fresh_files() };
        two.on(["init", "--average-chunk", "16K"]).expect(0);
        two
    }

    fn second(&self) -> PathBuf {
        self.sandbox.path("second")
    }

    /// Runs on the second repository.
    fn on<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Ended {
        let mut all: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        all.extend(["-r".into(), self.second().into(), "--key-file".into()]);
        all.push(self.sandbox.path("second key").into());
        self.sandbox.run(all)
    }

    fn copy(&self, words: &[&str]) -> Ended {
        let (from, key) = (self.sandbox.repository(), self.sandbox.key_file());
        let from = ["--from-repo", from.to_str().unwrap(), "--from-key-file", key.to_str().unwrap()];
        self.on(["copy"].into_iter().chain(from).chain(words.iter().copied()))
    }

    fn restored(&self, snapshot: &str, target: &str) -> PathBuf {
        let target = self.sandbox.path(target);
        self.on(["restore", snapshot, "-t", target.to_str().unwrap()]).expect(0);
        below(&target, &self.sandbox.source())
    }

    fn snapshots(&self) -> Vec<serde_json::Value> {
        let mut all = self.on(["snapshots", "--json"]).expect(0).json();
        all.retain(|line| line["message_type"] == "snapshot");
        all
    }
}

fn odd_tree(sandbox: &Sandbox) {
    let sparse =
        Content::Sparse { length: 300 << 20, data: vec![(0, 70_000), (5 << 20, 10), (299 << 20, 5000)] };
    let items = [
        Item::new(0, "folder", Kind::Folder).xattr("user.folder", b"of it"),
        Item::new(1, b"two\nlines \xff", Kind::Folder).mode(0o700),
        Item::file(2, "deep", "content").xattr("user.empty", b"").xattr("user.long", &[7; 3000]),
        Item::new(1, "large", Kind::File(Content::Noise { seed: 1, length: 9 << 20 })),
        Item::new(1, "holes", Kind::File(sparse)),
        Item::new(1, "link", Kind::Symlink(b"../nowhere".to_vec())),
        Item::new(2, "second name", Kind::Link(4)),
        Item::new(1, "pipe", Kind::Fifo),
        Item::file(1, "nothing", ""),
    ];
    make(&[&sandbox.source()], &items, sandbox.owner());
}

#[test]
fn copies_come_back_exactly_and_only_what_is_new_is_stored() {
    let two = Two::new();
    odd_tree(&two.sandbox);
    let first = two.sandbox.back_up_with(&["--tag", "weekly"]);
    let first = first["snapshot_id"].as_str().unwrap().to_owned();
    two.copy(&["--dry-run"]).expect(0).says("1 snapshot would be copied");
    assert_eq!(two.snapshots().len(), 0);

    let summary = two.copy(&["--json"]).expect(0).summary();
    assert_eq!((&summary["copied"], &summary["present"]), (&1.into(), &0.into()), "{summary}");
    assert_same(&two.sandbox.source(), &two.restored("latest", "first"));
    two.on(["check", "--read-data"]).expect(0);
    let copy = &two.snapshots()[0];
    assert_eq!(copy["tags"], serde_json::json!(["weekly"]), "{copy}");
    assert_eq!(copy["copied_from"], serde_json::json!(first), "{copy}");

    // Once more: it is there.
    two.copy(&[]).expect(0).says("0 snapshots copied").says("1 there already");
    assert_eq!(two.snapshots().len(), 1);

    // The next night: little is new, and little is read.
    two.sandbox.write("source/folder/new", vec![b'n'; 1000]);
    two.sandbox.back_up();
    let lines = two.copy(&["--json"]).expect(0).json();
    let line = lines.iter().find(|line| line["message_type"] == "copied").unwrap();
    assert!(line["bytes_new"].as_u64().unwrap() <= 1000, "{line}");
    assert_same(&two.sandbox.source(), &two.restored("latest", "second night"));
    let copies = two.snapshots();
    assert_eq!(copies.len(), 2);

    // A backup into the copy finds what was copied.
    let source = two.sandbox.source();
    let summary = two.on(["backup", "--json", source.to_str().unwrap()]).expect(0).summary();
    assert_eq!(summary["data_added"], 0, "{summary}");
    // Of the copy nothing was known here, so all is new; nothing is gone.
    assert_eq!(summary["files_removed"], 0, "{summary}");
}

#[test]
fn snapshots_are_chosen_and_a_wrong_word_is_told() {
    let two = Two::new();
    two.sandbox.write("source/file", "one");
    two.sandbox.back_up_with(&["--tag", "a"]);
    two.sandbox.write("source/file", "two");
    two.sandbox.back_up_with(&["--tag", "b"]);
    two.copy(&["--tag", "a"]).expect(0).says("1 snapshot copied");
    assert_eq!(std::fs::read(two.restored("latest", "a").join("file")).unwrap(), b"one");
    two.copy(&["latest"]).expect(0).says("1 snapshot copied");
    assert_eq!(std::fs::read(two.restored("latest", "b").join("file")).unwrap(), b"two");
    two.copy(&["--tag", "c"]).expect(1).warns("no snapshot is like that");

    two.on(["copy"]).expect(2).warns("--from-repo");
    let own = two.second();
    let own = ["--from-repo", own.to_str().unwrap()];
    two.on(["copy"].into_iter().chain(own)).expect(1).warns("nothing to copy");
    two.on(["copy", "--from-repo", "/nowhere/at/all"]).expect(10).warns("/nowhere/at/all");
    // Its own key does not open the other one.
    let from = two.sandbox.repository();
    two.on(["copy", "--from-repo", from.to_str().unwrap()]).expect(12);
}

#[test]
fn what_can_not_be_read_is_not_copied_and_the_rest_is() {
    let two = Two::new();
    two.sandbox.write("source/file", common::noise(1, 3 << 20));
    two.sandbox.back_up();
    let before = packs(&two.sandbox);
    two.sandbox.write("source/file", common::noise(2, 3 << 20));
    two.sandbox.back_up();
    let new: Vec<PathBuf> = packs(&two.sandbox).difference(&before).cloned().collect();
    flip(&longest(new));
    two.copy(&[]).expect(5).says("1 snapshot copied").warns("was not copied");
    assert_eq!(
        std::fs::read(two.restored("latest", "sound").join("file")).unwrap(),
        common::noise(1, 3 << 20)
    );
    two.on(["check", "--read-data"]).expect(0);
}

#[test]
fn damage_of_the_copy_is_told_by_who_writes_to_it() {
    let two = Two::new();
    two.sandbox.write("source/file", common::noise(1, 100_000));
    two.sandbox.back_up();
    two.copy(&[]).expect(0);
    let index = std::fs::read_dir(two.second().join("index")).unwrap();
    let index = longest(index.map(|entry| entry.unwrap().path()));
    flip(&index);
    // Who has a cache need not read it.
    std::fs::remove_dir_all(two.sandbox.cache()).unwrap();
    two.copy(&[]).expect(0).warns(&index.file_name().unwrap().to_string_lossy()[..8]);
    assert_same(&two.sandbox.source(), &two.restored("latest", "target"));
}

#[test]
fn what_was_taken_away_from_the_copy_is_copied_again() {
    let two = Two::new();
    two.sandbox.write("source/file", common::noise(1, 3 << 20));
    two.sandbox.back_up();
    two.copy(&[]).expect(0);
    // Its data is gone, and the next one may not take it over unseen.
    two.on(["forget", "--all", "--unsafe-allow-remove-all"]).expect(0);
    two.on(["prune", "--grace", "0"]).expect(0);
    two.sandbox.write("source/second", "more");
    two.sandbox.back_up();
    two.copy(&["latest"]).expect(0);
    assert_same(&two.sandbox.source(), &two.restored("latest", "again"));
    two.on(["check", "--read-data"]).expect(0);
}
