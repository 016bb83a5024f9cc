//! `copal diff`: what differs is told, what moved is told as moved, what can not be read is unknown, and damage costs what it hits.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use copal::crypto::MasterKey;
use copal::diff::{Change, Options, Side, Told, What, diff};
use copal::format::slot::Unlock;

use common::{Content, Item, Kind, Sandbox, make, noise};
use proptest::prelude::*;

/// A sandbox with a snapshot of a small source.
fn saved() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("source/docs/report.odt", "the report");
    sandbox.write("source/docs/notes.txt", "one\ntwo\nthree\n");
    sandbox.write("source/docs/old/letter.txt", "dear");
    sandbox.write("source/pictures/cat.png", noise(1, 100_000));
    sandbox.back_up();
    sandbox
}

/// The changes that a run told, as sign and path below the source.
fn told(sandbox: &Sandbox, ended: &common::Ended) -> Vec<(String, String)> {
    let source = sandbox.source().to_str().unwrap().to_owned();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let changes = ended.messages("change").into_iter();
    changes
        .map(|change| {
            let path = text(&change["path"]);
            (text(&change["modifier"]), path.strip_prefix(&source).unwrap_or(&path).to_owned())
        })
        .collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(sign, path)| ((*sign).to_owned(), (*path).to_owned())).collect()
}

/// Files of the repository below a folder of it.
fn objects(sandbox: &Sandbox, folder: &str) -> BTreeSet<PathBuf> {
    let all =
        walkdir::WalkDir::new(sandbox.repository().join(folder)).into_iter().map(|entry| entry.unwrap());
    all.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

#[test]
fn two_snapshots_are_compared_for_people_and_for_programs() {
    let sandbox = saved();
    sandbox.write("source/docs/notes.txt", "one\n2\nthree\n");
    sandbox.write("source/docs/new/plan.txt", "plan");
    std::fs::remove_file(sandbox.path("source/docs/report.odt")).unwrap();
    std::fs::set_permissions(sandbox.path("source/pictures/cat.png"), PermissionsExt::from_mode(0o600))
        .unwrap();
    std::fs::rename(sandbox.path("source/docs/old"), sandbox.path("source/archive")).unwrap();
    sandbox.back_up();
    let ended = sandbox.run(["diff", "--json", "latest~1", "latest"]).expect(0);
    assert_eq!(
        told(&sandbox, &ended),
        pairs(&[
            ("R", "/archive/"),
            ("+", "/docs/new/"),
            ("+", "/docs/new/plan.txt"),
            ("M", "/docs/notes.txt"),
            ("-", "/docs/report.odt"),
            ("U", "/pictures/cat.png"),
        ])
    );
    let changes = ended.messages("change");
    assert!(changes[0]["from"].as_str().unwrap().ends_with("/source/docs/old"), "{ended}");
    assert_eq!(changes[5]["differences"], serde_json::json!(["mode"]));
    assert_eq!((&changes[3]["size_before"], &changes[3]["size"]), (&14.into(), &12.into()));
    let statistics = &ended.messages("statistics")[0];
    assert_eq!(statistics["changed_files"], 1);
    assert_eq!(statistics["added"], serde_json::json!({"files": 1, "dirs": 1, "others": 0, "bytes": 4}));
    assert_eq!(statistics["removed"], serde_json::json!({"files": 1, "dirs": 0, "others": 0, "bytes": 10}));
    assert_eq!((&statistics["renamed"], &statistics["changed_metadata"]), (&1.into(), &1.into()));
    assert_eq!(statistics["source_snapshot"].as_str().unwrap().len(), 64);

    let source = sandbox.source().display().to_string();
    let ended = sandbox.run(["diff", "latest~1", "latest"]).expect(0);
    ended
        .says(&format!("R    {source}/archive/  (was {source}/docs/old)\n"))
        .says(&format!("+    {source}/docs/new/plan.txt  (4 B)\n"))
        .says(&format!("M    {source}/docs/notes.txt  (14 B, now 12 B)\n"))
        .says(&format!("U    {source}/pictures/cat.png  (mode)\n"))
        .says("added     1 file, 1 folder, 4 B\nremoved   1 file, 10 B\nchanged   1 file\nmetadata  of 1 entry\n")
        .warns("comparing snapshot");
    // The times of folders are moved by what is in them: told when asked for.
    sandbox
        .run(["diff", "--metadata", "latest~1", "latest"])
        .expect(0)
        .says(&format!("U    {source}/docs/  (times)\n"));
    let ended =
        sandbox.run(["diff", "--stat", "latest~1", "latest"]).expect(0).says(&format!("{source}/docs "));
    assert!(!ended.out().contains("notes.txt"), "{ended}");
    let folders =
        sandbox.run(["diff", "--stat", "--json", "latest~1", "latest"]).expect(0).messages("folder");
    let folder = |name: &str| {
        let path = format!("{source}/{name}");
        folders
            .iter()
            .find(|folder| folder["path"] == path.as_str())
            .unwrap_or_else(|| panic!("{path}: {folders:?}"))
    };
    assert_eq!(folder("docs")["changed_files"], 1);
    assert_eq!(
        (&folder("archive")["renamed"], &folder("pictures")["changed_metadata"]),
        (&1.into(), &1.into())
    );
    sandbox.run(["diff", "latest", "latest"]).expect(0).says("no differences\n");
    // A path for one side is meant for the other too.
    for words in [["latest~1:docs", "latest"], ["latest~1", "latest:docs"], ["latest~1:docs", "latest:docs"]]
    {
        let ended = sandbox.run(["diff", "--json", words[0], words[1]]).expect(0);
        let shown = told(&sandbox, &ended);
        assert!(
            shown.contains(&("M".into(), "/docs/notes.txt".into()))
                && shown.contains(&("-".into(), "/docs/old/".into())),
            "{ended}"
        );
        assert!(!shown.iter().any(|(_, path)| path.starts_with("/pictures")), "{ended}");
    }
}

#[test]
fn what_moved_is_told_as_moved_also_into_new_folders_and_out_of_gone_ones() {
    let sandbox = Sandbox::new();
    sandbox.write("source/a/deep/one", "one of them");
    sandbox.write("source/a/deep/two", "two of them");
    sandbox.write("source/a/keep", "kept");
    sandbox.write("source/gone/inner/three", "three of them");
    sandbox.write("source/gone/four", "four of them");
    sandbox.write("source/empty-file", "");
    std::fs::create_dir(sandbox.path("source/empty")).unwrap();
    sandbox.back_up();
    std::fs::create_dir_all(sandbox.path("source/new/folder")).unwrap();
    let rename = |from: &str, to: &str| {
        std::fs::rename(sandbox.source().join(from), sandbox.source().join(to)).unwrap();
    };
    rename("a/deep", "new/folder/deep");
    rename("gone/inner", "inner");
    rename("gone/four", "4");
    rename("empty", "void");
    rename("empty-file", "void-file");
    std::fs::remove_dir(sandbox.path("source/gone")).unwrap();
    sandbox.back_up();
    let ended = sandbox.run(["diff", "--json", "latest~1", "latest"]).expect(0);
    assert_eq!(
        told(&sandbox, &ended),
        pairs(&[
            ("R", "/4"),
            ("-", "/empty/"),
            ("-", "/empty-file"),
            ("-", "/gone/"),
            ("R", "/inner/"),
            ("+", "/new/"),
            ("+", "/new/folder/"),
            ("R", "/new/folder/deep/"),
            ("+", "/void/"),
            ("+", "/void-file"),
        ])
    );
    // Of a folder that is there nothing is known as a whole: its files are told one by one.
    let ended = sandbox
        .run([OsStr::new("diff"), OsStr::new("--json"), OsStr::new("latest~1"), sandbox.source().as_os_str()])
        .expect(0);
    let moved: Vec<String> =
        told(&sandbox, &ended).into_iter().filter(|(sign, _)| sign == "R").map(|(_, path)| path).collect();
    assert_eq!(moved, ["/4", "/inner/three", "/new/folder/deep/one", "/new/folder/deep/two"]);
}

#[test]
fn a_snapshot_is_compared_with_what_is_there_now() {
    let sandbox = saved();
    let source = sandbox.source();
    let diff = |options: &[&str]| {
        let words = ["diff", "--json", "latest"].iter().chain(options).map(OsStr::new);
        sandbox.run(words.chain([source.as_os_str()]))
    };
    assert!(diff(&[]).expect(0).messages("change").is_empty());
    assert!(diff(&["--content"]).expect(0).messages("change").is_empty());
    let cat = sandbox.path("source/pictures/cat.png");
    let times = std::fs::metadata(&cat).unwrap().modified().unwrap();
    let mut bytes = noise(1, 100_000);
    bytes[70_000] ^= 1;
    std::fs::write(&cat, bytes).unwrap();
    std::fs::File::options().write(true).open(&cat).unwrap().set_modified(times).unwrap();
    // A new time alone is no other content.
    let notes = sandbox.path("source/docs/notes.txt");
    std::fs::File::options().write(true).open(&notes).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    std::fs::remove_file(sandbox.path("source/docs/report.odt")).unwrap();
    std::fs::create_dir(sandbox.path("source/docs/report.odt")).unwrap();
    sandbox.write("source/docs/report.odt/inside", "x");
    let expected = [("U", "/docs/notes.txt"), ("T", "/docs/report.odt/"), ("+", "/docs/report.odt/inside")];
    assert_eq!(told(&sandbox, &diff(&[]).expect(0)), pairs(&expected));
    let with_content = [&expected[..], &[("M", "/pictures/cat.png")]].concat();
    let ended = diff(&["--content"]).expect(0);
    assert_eq!(told(&sandbox, &ended), pairs(&with_content));
    let statistics = &ended.messages("statistics")[0];
    assert_eq!(statistics["target_path"], source.to_str().unwrap());
    assert!(statistics["target_snapshot"].is_null());
    // One file, from where one stands.
    let mut command = sandbox.command(["diff", "latest", "./notes.txt"]);
    command.current_dir(sandbox.path("source/docs"));
    common::end(command).expect(0).says("notes.txt  (times)");
    sandbox.run(["diff", "./source", "latest"]).expect(2).warns("the snapshot comes first");
    sandbox.run(["diff", "latest", "./nowhere"]).expect(1);
    sandbox.run(["diff", "latest:docs", "./nowhere"]).expect(1).warns("nowhere");
    sandbox.run(["diff", "--content", "latest", "latest"]).expect(2);
    sandbox.run(["diff", "latest"]).expect(2);
    sandbox.run(["diff", "latest", "nonsense"]).expect(2);
}

#[test]
fn copals_own_files_are_not_told_as_added() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    let whole = sandbox.path("");
    sandbox.run([OsStr::new("backup"), whole.as_os_str()]).expect(0);
    let ended = sandbox
        .run([OsStr::new("diff"), OsStr::new("--json"), OsStr::new("latest"), whole.as_os_str()])
        .expect(0);
    assert!(!ended.out().contains("repository") && !ended.out().contains("/key\""), "{ended}");
}

#[test]
fn odd_names_are_shown_whole_and_can_not_mislead() {
    let sandbox = Sandbox::new();
    let names = [&b"two\nlines"[..], b"\xff\xfe", b"\x1b[2J", "\u{202e}txt".as_bytes()];
    for name in names {
        std::fs::write(sandbox.source().join(OsStr::from_bytes(name)), name).unwrap();
    }
    sandbox.back_up();
    let folder = sandbox.source().join(OsStr::from_bytes(b"in\n\xff"));
    std::fs::create_dir(&folder).unwrap();
    for name in names {
        let name = OsStr::from_bytes(name);
        std::fs::rename(sandbox.source().join(name), folder.join(name)).unwrap();
    }
    sandbox.back_up();
    let ended = sandbox.run(["diff", "latest~1", "latest"]).expect(0);
    for shown in ["in\\n\\xff/two\\nlines", "in\\n\\xff/\\xff\\xfe", "\\x1b[2J", "\\u{202e}txt"] {
        assert!(ended.out().contains(shown), "{shown}: {ended}");
    }
    assert!(!ended.out().contains('\x1b') && !ended.out().contains('\u{202e}'));
    let changes = sandbox.run(["diff", "--json", "latest~1", "latest"]).expect(0).messages("change");
    assert_eq!(changes.len(), 5);
    assert!(
        changes.iter().all(|change| change["path_hex"].as_str().unwrap().contains("696e0aff")),
        "{changes:?}"
    );
    assert!(
        changes.iter().any(|change| change["from_hex"].as_str().is_some_and(|from| from.ends_with("2ffffe")))
    );
    sandbox.run(["diff", "--stat", "latest~1", "latest"]).expect(0).says("in\\n\\xff");
}

#[test]
fn what_can_not_be_read_is_unknown_and_never_removed() {
    let sandbox = Sandbox::of_nobody();
    let secret = sandbox.write("source/secret", "content");
    sandbox.write("source/closed/inside", "content");
    sandbox.write("source/open", "content");
    sandbox.back_up();
    let close = |mode| {
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(mode)).unwrap();
        std::fs::set_permissions(sandbox.path("source/closed"), PermissionsExt::from_mode(mode)).unwrap();
    };
    close(0);
    sandbox.write("source/open", "other");
    sandbox.write("source/secret-too", "new");
    let source = sandbox.source();
    let live = [
        OsStr::new("diff"),
        OsStr::new("--json"),
        OsStr::new("latest"),
        OsStr::new("--content"),
        source.as_os_str(),
    ];
    let ended = sandbox.run(live).expect(3);
    let shown = told(&sandbox, &ended);
    assert!(!shown.iter().any(|(sign, _)| sign == "-"), "{ended}");
    for (sign, path) in [("?", "/closed/"), ("?", "/secret"), ("M", "/open"), ("+", "/secret-too")] {
        assert!(shown.contains(&(sign.to_owned(), path.to_owned())), "{path}: {ended}");
    }
    sandbox.run([OsStr::new("backup"), source.as_os_str()]).expect(3);
    close(0o700);
    let ended = sandbox.run(["diff", "--json", "latest~1", "latest"]).expect(0);
    let shown = told(&sandbox, &ended);
    assert!(!shown.iter().any(|(sign, _)| sign == "-"), "{ended}");
    for (sign, path) in [("?", "/closed"), ("?", "/secret"), ("M", "/open")] {
        assert!(shown.contains(&(sign.to_owned(), path.to_owned())), "{path}: {ended}");
    }
    assert_eq!(ended.messages("statistics")[0]["unknown"], 2);
    assert!(ended.messages("change").iter().any(|change| change["reason"] == "permission denied"), "{ended}");
    sandbox.run([OsStr::new("backup"), source.as_os_str()]).expect(0);
    let shown = told(&sandbox, &sandbox.run(["diff", "--json", "latest~1", "latest"]).expect(0));
    assert!(shown.iter().all(|(sign, _)| sign == "?"), "it was there all the time: {shown:?}");
}

#[test]
fn damage_costs_what_it_hits_and_equal_folders_are_not_read() {
    let sandbox = Sandbox::new();
    sandbox.write("source/one/first", "first");
    sandbox.write("source/one/second", "second");
    sandbox.write("source/two/third", "third");
    let before = objects(&sandbox, "packs");
    let one = sandbox.path("source/one");
    sandbox.run([OsStr::new("backup"), one.as_os_str()]).expect(0);
    let of_one: Vec<PathBuf> = objects(&sandbox, "packs").difference(&before).cloned().collect();
    sandbox.back_up();
    sandbox.write("source/two/third", "third, changed");
    sandbox.back_up();
    std::fs::remove_file(sandbox.path("source/one/second")).unwrap();
    sandbox.write("source/one/new", "new");
    sandbox.back_up();
    assert!(!of_one.is_empty());
    of_one.iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    // The folder that is equal on both sides is lost, and nobody asks for it.
    let ended = sandbox.run(["diff", "--json", "latest~2", "latest~1"]).expect(0);
    assert_eq!(told(&sandbox, &ended), pairs(&[("M", "/two/third")]));
    // What the lost folder held is unknown: nothing in it was added, nor removed.
    let ended = sandbox.run(["diff", "--json", "latest~2", "latest"]).expect(5);
    assert_eq!(told(&sandbox, &ended), pairs(&[("?", "/one/first"), ("?", "/one/new"), ("M", "/two/third")]));
    ended.warns("source/one/: ").warns("Everything else is shown.");
    let ended = sandbox
        .run([OsStr::new("diff"), OsStr::new("--json"), OsStr::new("latest~2"), sandbox.source().as_os_str()])
        .expect(5);
    assert_eq!(told(&sandbox, &ended), pairs(&[("?", "/one/first"), ("?", "/one/new"), ("M", "/two/third")]));
}

#[test]
fn what_a_repair_marked_as_lost_is_unknown() {
    let sandbox = Sandbox::new();
    sandbox.write("source/one/first", "first");
    let before = objects(&sandbox, "packs");
    let one = sandbox.path("source/one");
    sandbox.run([OsStr::new("backup"), one.as_os_str()]).expect(0);
    let of_one: Vec<PathBuf> = objects(&sandbox, "packs").difference(&before).cloned().collect();
    let small = sandbox.write("source/small", "small");
    sandbox.run([OsStr::new("backup"), small.as_os_str()]).expect(0);
    let others = objects(&sandbox, "packs");
    let large = sandbox.write("source/large", noise(1, 3 << 20));
    sandbox.back_up();
    // All of its content, over whichever packs that was spread; the others that are new are of trees.
    let is_long = |path: &&PathBuf| std::fs::metadata(path).unwrap().len() > 500_000;
    let now = objects(&sandbox, "packs");
    let of_large = now.difference(&others).filter(is_long);
    of_one.iter().chain(of_large).for_each(|pack| std::fs::remove_file(pack).unwrap());
    sandbox.run(["check", "--read-data"]).expect(5);
    let ended = sandbox.run(["repair", "index", "--yes"]);
    assert!([0, 3].contains(&ended.code), "{ended}");
    sandbox.run(["repair", "snapshots", "--forget"]).expect(3);
    // Of the same size, and not what it was.
    std::fs::write(&large, noise(2, 3 << 20)).unwrap();
    sandbox.write("source/small", "larger");
    let expected = pairs(&[("?", "/large"), ("?", "/one/"), ("M", "/small")]);
    let live = [OsStr::new("diff"), OsStr::new("--json"), OsStr::new("latest"), sandbox.source().as_os_str()]
        .map(OsStr::to_owned);
    let ended = sandbox.run(&live).expect(0);
    assert_eq!(told(&sandbox, &ended), expected, "{ended}");
    assert!(
        ended.messages("change").iter().all(|change| change["modifier"] == "M"
            || change["reason"].as_str().unwrap().contains("as a repair marked it")),
        "{ended}"
    );
    sandbox.back_up();
    for words in [["latest~1", "latest"], ["latest", "latest~1"]] {
        let ended = sandbox.run([&["diff", "--json"][..], &words].concat()).expect(0);
        let shown: BTreeSet<_> = told(&sandbox, &ended)
            .into_iter()
            .map(|(sign, path)| (sign, path.trim_end_matches('/').to_owned()))
            .collect();
        let expected: BTreeSet<_> = expected
            .iter()
            .map(|(sign, path)| (sign.clone(), path.trim_end_matches('/').to_owned()))
            .collect();
        assert_eq!(shown, expected, "{ended}");
    }
}

#[test]
fn a_patch_shows_the_lines_of_one_file() {
    let sandbox = saved();
    sandbox.write("source/docs/notes.txt", "one\n2\nthree\n");
    sandbox.write("source/pictures/cat.png", noise(2, 100_000));
    sandbox.back_up();
    let lines = "@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
    let ended = sandbox.run(["diff", "--patch", "latest~1:docs/notes.txt", "latest"]).expect(0).says(lines);
    let path = sandbox.path("source/docs/notes.txt").display().to_string();
    assert_eq!(ended.out(), format!("--- a{path}\n+++ b{path}\n{lines}"));
    sandbox.run(["diff", "--patch", "latest~1", "source/docs/notes.txt"]).expect(0).says(lines);
    let line = &sandbox
        .run(["diff", "--json", "--patch", "latest~1:docs/notes.txt", "latest"])
        .expect(0)
        .messages("patch")[0];
    assert!(line["patch"].as_str().unwrap().ends_with(lines) && line["differs"] == true);
    sandbox
        .run(["diff", "--patch", "latest~1:cat.png", "latest:cat.png"])
        .expect(0)
        .says("is no text, and differs");
    let same = sandbox
        .run(["diff", "--patch", "latest:cat.png", "latest:cat.png"])
        .expect(0)
        .warns("no differences");
    assert!(same.stdout.is_empty());
    sandbox.run(["diff", "--patch", "latest~1:docs", "latest"]).expect(2).warns("is no file");
    sandbox.run(["diff", "--patch", "latest~1", "latest"]).expect(2).warns("is no file");
    sandbox.write("source/large", vec![b'\n'; (8 << 20) + 1]);
    sandbox.back_up();
    sandbox
        .run(["diff", "--patch", "latest:large", "latest:docs/notes.txt"])
        .expect(1)
        .warns("patches are made of files up to 8.00 MiB");
}

// Compared with what a plain walk over two folders finds ------------------------------------------------------------------------

/// What a plain look at an entry gives.
#[derive(Debug, PartialEq)]
struct Seen {
    kind: &'static str,
    content: Vec<u8>,
    mode: u32,
    mtime: (i64, i64),
    xattrs: Vec<(String, Vec<u8>)>,
    links: bool,
}

fn look(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let path = entry.unwrap().into_path();
        let metadata = path.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        let (kind, content) = match () {
            () if kind.is_dir() => ("dir", Vec::new()),
            () if kind.is_symlink() => {
                ("symlink", std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            }
            () if kind.is_file() => ("file", std::fs::read(&path).unwrap()),
            () if kind.is_fifo() => ("fifo", Vec::new()),
            () => panic!("{}", path.display()),
        };
        let name = [b"/", path.strip_prefix(root).unwrap().as_os_str().as_bytes()].concat();
        let xattrs = if matches!(kind, "file" | "dir") { attributes(&path) } else { Vec::new() };
        let seen = Seen {
            kind,
            content,
            mode: if kind == "symlink" { 0 } else { metadata.mode() & 0o7777 },
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            xattrs,
            links: kind != "dir" && metadata.nlink() > 1,
        };
        all.insert(name, seen);
    }
    all
}

fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let file = std::fs::File::open(path).unwrap();
    let mut found = copal::files::xattrs_fd(std::os::fd::AsFd::as_fd(&file)).unwrap().values;
    found.sort();
    found.into_iter().map(|(name, value)| (String::from_utf8(name).unwrap(), value)).collect()
}

fn words(before: &Seen, after: &Seen) -> BTreeSet<&'static str> {
    let type_differs = before.kind != after.kind;
    let all = [
        ("type", type_differs),
        ("content", !type_differs && before.content != after.content),
        ("mode", before.mode != after.mode),
        ("times", before.mtime != after.mtime),
        ("xattrs", before.xattrs != after.xattrs),
        ("links", !type_differs && before.links != after.links),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(word, _)| word).collect()
}

/// Holds what copal told to what the two folders are.
fn hold(
    root: &str,
    before: &BTreeMap<Vec<u8>, Seen>,
    after: &BTreeMap<Vec<u8>, Seen>,
    told: &[serde_json::Value],
) {
    let bytes = |change: &serde_json::Value, key: &str| -> Vec<u8> {
        let path = change[key].as_str().unwrap();
        path.strip_prefix(root)
            .unwrap_or_else(|| panic!("{path} is not below {root}"))
            .trim_end_matches('/')
            .into()
    };
    let below = |all: &BTreeMap<Vec<u8>, Seen>, path: &[u8]| -> BTreeSet<Vec<u8>> {
        let inside = [path, b"/"].concat();
        all.keys().filter(|name| *name == path || name.starts_with(&inside)).cloned().collect()
    };
    let (mut removed, mut added, mut changed) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for change in told {
        let path = bytes(change, "path");
        let differences: BTreeSet<&str> = change["differences"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|word| word.as_str().unwrap())
            .collect();
        let once = match change["modifier"].as_str().unwrap() {
            "+" => added.insert(path),
            "-" => removed.insert(path),
            "R" => {
                let from = bytes(change, "from");
                let (old, new) = (below(before, &from), below(after, &path));
                let rest = |all: &BTreeSet<Vec<u8>>, top: &[u8]| -> Vec<Vec<u8>> {
                    all.iter().map(|name| name[top.len()..].to_vec()).collect()
                };
                assert_eq!(rest(&old, &from), rest(&new, &path), "it moved with all in it: {change}");
                for (was, is) in old.iter().zip(&new) {
                    let (was, is) = (&before[was], &after[is]);
                    assert_eq!((was.kind, &was.content), (is.kind, &is.content), "{change}");
                    assert!(was.kind == "dir" || !was.content.is_empty() || old.len() > 1, "{change}");
                }
                let mut expected = words(&before[&from], &after[&path]);
                expected.remove("links");
                assert_eq!(differences, expected, "{change}");
                old.into_iter()
                    .map(|path| removed.insert(path))
                    .chain(new.into_iter().map(|path| added.insert(path)))
                    .all(|new| new)
            }
            "M" | "U" | "T" => changed.insert(path, differences).is_none(),
            other => panic!("{other}: {change}"),
        };
        assert!(once, "told twice: {change}");
    }
    let missing = |one: &BTreeMap<Vec<u8>, Seen>, other: &BTreeMap<Vec<u8>, Seen>| -> BTreeSet<Vec<u8>> {
        one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    assert_eq!(removed, missing(before, after));
    assert_eq!(added, missing(after, before));
    let mut expected = BTreeMap::new();
    for (path, was) in before {
        let Some(is) = after.get(path) else { continue };
        let words = words(was, is);
        if !words.is_empty() {
            expected.insert(path.clone(), words);
        }
    }
    assert_eq!(changed, expected);
}

#[test]
fn more_changes_than_are_kept_are_all_told_without_renames() {
    let sandbox = Sandbox::new();
    for number in 0..20 {
        sandbox.write(format!("source/from/{number}/file"), format!("content {number}"));
    }
    sandbox.back_up();
    std::fs::rename(sandbox.path("source/from"), sandbox.path("source/to")).unwrap();
    sandbox.write("source/to/3/file", "changed");
    sandbox.back_up();
    let signs = |kept: usize| {
        let (told, without) = told_keeping(&sandbox, kept);
        let count = |sign: &str| told.iter().filter(|change| change["modifier"] == sign).count();
        (count("+"), count("-"), count("R"), without)
    };
    // The folders `to` and `3` and the changed file, against 19 that moved.
    assert_eq!(signs(1000), (3, 3, 19, false));
    for kept in [0, 1, 10, 30] {
        assert_eq!(signs(kept), (41, 41, 0, true), "{kept}");
    }
}

/// Keeps what is told, as the lines that programs get.
#[derive(Default)]
struct Kept(Vec<serde_json::Value>);

impl Told for Kept {
    fn change(&mut self, change: &Change) -> ControlFlow<()> {
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        let (modifier, from, differences) = match &change.what {
            What::Added => ("+", None, Vec::new()),
            What::Removed => ("-", None, Vec::new()),
            What::Changed(differences) => ("M", None, differences.words()),
            What::Renamed(from, differences) => ("R", Some(text(from)), differences.words()),
            What::Unknown(why) => panic!("{}: {why}", text(&change.path)),
        };
        self.0.push(serde_json::json!({
            "modifier": modifier, "path": text(&change.path), "from": from, "differences": differences
        }));
        ControlFlow::Continue(())
    }

    fn damage(&mut self, path: &[u8], error: &copal::repository::Error) {
        panic!("{}: {error}", path.escape_ascii());
    }
}

/// What the library tells of the last two snapshots when it keeps so many changes at most.
fn told_keeping(sandbox: &Sandbox, kept: usize) -> (Vec<serde_json::Value>, bool) {
    let storage = copal::backend::open(sandbox.repository().to_str().unwrap(), &Default::default()).unwrap();
    let key = std::fs::read_to_string(sandbox.key_file()).unwrap();
    let key = MasterKey::from_key_file(&key).unwrap();
    let repository = copal::repository::open(storage, Unlock::KeyFile(&key), None).unwrap();
    repository.sync().unwrap();
    let all = repository.snapshots().unwrap().confirmed;
    let side = |back: usize| Side::Whole { tree: all[all.len() - back].snapshot.root, repaired: false };
    let (mut told, options) = (Kept::default(), Options { kept, ..Options::default() });
    let met = diff(&repository, &side(2), &side(1), &options, &mut told, &AtomicBool::new(false)).unwrap();
    (told.0, met.without_renames)
}

fn item() -> impl Strategy<Value = Item> {
    let kind = prop_oneof![
        6 => (0u64..6, 0usize..4).prop_map(|(seed, length)| Kind::File(Content::Noise { seed, length: length * 40_000 })),
        6 => Just(Kind::Folder),
        1 => "[xy]".prop_map(|target| Kind::Symlink(target.into_bytes())),
        1 => Just(Kind::Fifo),
        1 => any::<usize>().prop_map(Kind::Link),
    ];
    let xattrs = prop::collection::btree_map("user\\.[ab]", "[xy]?", 0..2);
    (any::<prop::sample::Index>(), "[a-d]", kind, prop::bool::ANY, 0i64..3, xattrs).prop_map(
        |(parent, name, kind, is_open, seconds, xattrs)| {
            let mut item = Item::new(parent.index(8), name, kind);
            item.mode |= if is_open { 0o6 } else { 0 };
            item.mtime = (1_700_000_000 + seconds, 5);
            if matches!(item.kind, Kind::File(_) | Kind::Folder) {
                item.xattrs =
                    xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            }
            item
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_comparison_finds_what_a_plain_walk_over_both_finds(
        first in prop::collection::vec(item(), 0..30), second in prop::collection::vec(item(), 0..30), keep in 0usize..30
    ) {
        let sandbox = Sandbox::new();
        let (source, old) = (sandbox.source(), sandbox.path("old"));
        make(&[&source], &first, None);
        sandbox.back_up();
        std::fs::rename(&source, &old).unwrap();
        std::fs::create_dir(&source).unwrap();
        // Part of the first tree is there again, so that much is equal, and things move.
        let second: Vec<Item> = second.into_iter().chain(first.iter().take(keep).cloned()).collect();
        make(&[&source], &second, None);
        sandbox.back_up();
        let (before, after) = (look(&old), look(&source));
        let root = source.to_str().unwrap();
        let both = |words: &[&str]| {
            let words = ["diff", "--json", "--metadata"].iter().chain(words);
            let mut told = sandbox.run(words).expect(0).messages("change");
            // The source itself and the folders above it are the sandbox's.
            told.retain(|change| {
                let below = change["path"].as_str().unwrap().strip_prefix(root).and_then(|path| path.strip_prefix('/'));
                below.is_some_and(|path| !path.is_empty())
            });
            told
        };
        hold(root, &before, &after, &both(&["latest~1", "latest"]));
        hold(root, &after, &before, &both(&["latest", "latest~1"]));
        hold(root, &before, &after, &both(&["latest~1", "--content", root]));
        prop_assert!(both(&["latest", "--content", root]).is_empty());
        for kept in [0, 1, 4, 16] {
            let (mut told, _) = told_keeping(&sandbox, kept);
            told.retain(|change| change["path"].as_str().unwrap().starts_with(&format!("{root}/")));
            hold(root, &before, &after, &told);
        }
    }
}
