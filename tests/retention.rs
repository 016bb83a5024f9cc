//! What stays: forgetting by policies and by name, undelete, protection, tags; two clients at once, damage, clocks, and what is refused.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use common::{Sandbox, end};
use copal::backend::{Backend, Fault, Faulty, Kind, Local, Memory};
use copal::crypto::password::Cost;
use copal::crypto::{Keys, MasterKey, object_name};
use copal::format::note::Verb;
use copal::format::record::Writer;
use copal::format::slot::{self, Description, Unlock};
use copal::format::snapshot::{self, Confirmation};
use copal::format::{limits, note, small};
use copal::model::clock::SystemClock;
use copal::model::{Cutter, Id, Id16, Snapshot, Time};
use copal::repository::notes::{Notes, Standing};
use copal::repository::snapshots::{Named, Origin};
use copal::repository::{self, Creation, Repository};
use copal::retention::{self, Grouping};

/// A sandbox with a snapshot of each of these times.
fn saved(times: &[&str]) -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "content");
    let ids = times.iter().map(|time| back_up(&sandbox, &["--time", time])).collect();
    (sandbox, ids)
}

fn days(count: usize) -> (Sandbox, Vec<String>) {
    let times: Vec<String> = (1..=count).map(|day| format!("2026-01-{day:02} 10:00")).collect();
    saved(&times.iter().map(String::as_str).collect::<Vec<_>>())
}

fn back_up(sandbox: &Sandbox, options: &[&str]) -> String {
    sandbox.back_up_with(options)["snapshot_id"].as_str().unwrap().to_owned()
}

fn ids(lines: &[serde_json::Value]) -> Vec<String> {
    lines.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

fn listed(sandbox: &Sandbox, options: &[&str]) -> Vec<String> {
    ids(&sandbox.run(["snapshots", "--json"].iter().chain(options)).expect(0).messages("snapshot"))
}

/// Every file of the repository but those in `tmp`, by folder.
fn objects(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(sandbox.repository()).into_iter().map(Result::unwrap) {
        let below = entry.path().strip_prefix(sandbox.repository()).unwrap();
        if entry.file_type().is_file() {
            *found.entry(below.iter().next().unwrap().to_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    found.remove("tmp");
    found
}

/// The words for why each snapshot is kept, and which are not.
fn plan(sandbox: &Sandbox, options: &[&str]) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let ended = sandbox.run(["forget", "--json", "--dry-run"].iter().chain(options)).expect(0);
    let (mut kept, mut gone) = (BTreeMap::new(), Vec::new());
    for group in ended.messages("group") {
        for reason in group["reasons"].as_array().unwrap() {
            let words =
                reason["matches"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
            kept.insert(reason["snapshot"]["id"].as_str().unwrap().to_owned(), words.collect());
        }
        gone.extend(ids(group["remove"].as_array().unwrap()));
        assert_eq!(group["keep"].as_array().unwrap().len(), group["reasons"].as_array().unwrap().len());
    }
    (kept, gone)
}

#[track_caller]
fn kept(sandbox: &Sandbox, options: &[&str], expected: &[&String]) {
    let mut expected: Vec<String> = expected.iter().map(|id| (*id).clone()).collect();
    expected.sort();
    assert_eq!(plan(sandbox, options).0.into_keys().collect::<Vec<_>>(), expected, "{options:?}");
}

fn keys(sandbox: &Sandbox) -> Keys {
    let key = MasterKey::from_key_file(&std::fs::read_to_string(sandbox.key_file()).unwrap()).unwrap();
    let backend = Local::new(sandbox.repository());
    let mut slots = Vec::new();
    backend.list(Kind::Keys, &mut |entry| slots.push(entry.name)).unwrap();
    let object = backend.get(Kind::Keys, &slots[0]).unwrap();
    let master = slot::open(&object, Unlock::KeyFile(&key)).unwrap().unwrap();
    master.keys(slot::decode(&object).unwrap().repository)
}

fn open(sandbox: &Sandbox) -> Repository {
    let key = MasterKey::from_key_file(&std::fs::read_to_string(sandbox.key_file()).unwrap()).unwrap();
    repository::open(Box::new(Local::new(sandbox.repository())), Unlock::KeyFile(&key), None).unwrap()
}

// forget --------------------------------------------------------------------------------------------------------------------------

#[test]
fn a_policy_forgets_says_why_and_removes_nothing() {
    let (sandbox, all) = days(5);
    let evening = back_up(&sandbox, &["--time", "2026-01-05 18:00"]);
    let before = objects(&sandbox);
    let policy = ["--keep-daily", "2", "--keep-last", "1"];
    let ended = sandbox.run(["forget", "-n"].iter().chain(&policy)).expect(0);
    ended
        .says("would forget 4 snapshots, 2 kept")
        .says("last snapshot, daily snapshot")
        .says("snapshots of host ")
        .says(sandbox.source().to_str().unwrap());
    assert_eq!(objects(&sandbox), before);
    assert_eq!(listed(&sandbox, &[]).len(), 6);

    let ended = sandbox.run(["forget", "--json"].iter().chain(&policy)).expect(0);
    let group = &ended.messages("group")[0];
    assert_eq!(ids(group["keep"].as_array().unwrap()), [evening.clone(), all[3].clone()]);
    assert_eq!(group["reasons"][0]["matches"], serde_json::json!(["last snapshot", "daily snapshot"]));
    assert_eq!(group["remove"].as_array().unwrap().len(), 4);
    assert_eq!(group["paths"], serde_json::json!([sandbox.source().to_str().unwrap()]));
    let summary = ended.summary();
    assert_eq!(
        (&summary["snapshots_forgotten"], &summary["snapshots_kept"], &summary["dry_run"]),
        (&4.into(), &2.into(), &false.into())
    );

    let after = objects(&sandbox);
    assert_eq!(after["notes"], 4);
    assert!(before.iter().all(|(folder, count)| after[folder] == *count), "{before:?} {after:?}");
    assert_eq!(listed(&sandbox, &[]), [all[3].clone(), evening.clone()]);
    assert_eq!(listed(&sandbox, &["--forgotten"]).len(), 4);
    sandbox.run(["snapshots", "--forgotten"]).expect(0).says("4 snapshots").says("Forgotten");
    sandbox.run(["forget"].iter().chain(&policy)).expect(0).says("forgot 0 snapshots, 2 kept");
    assert_eq!(objects(&sandbox), after);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_eq!(sandbox.run(["forget", "-q"].iter().chain(&policy)).expect(0).out(), "");
}

#[test]
fn rules_keep_what_they_keep_in_restic() {
    let (sandbox, all) = saved(&[
        "2024-02-29 12:00",
        "2024-12-30 12:00",
        "2025-01-01 12:00",
        "2025-01-31 23:30",
        "2025-02-01 00:30",
        "2025-02-01 00:40",
    ]);
    let id = |numbers: &[usize]| numbers.iter().map(|number| &all[*number]).collect::<Vec<_>>();
    kept(&sandbox, &["--keep-last", "2"], &id(&[5, 4]));
    kept(&sandbox, &["-H", "2"], &id(&[5, 3]));
    kept(&sandbox, &["-d", "3"], &id(&[5, 3, 2]));
    // The 30th of December 2024 and the 1st of January 2025 are in one week; the oldest fills what is left.
    kept(&sandbox, &["-w", "3"], &id(&[5, 2, 0]));
    kept(&sandbox, &["-w", "2"], &id(&[5, 2]));
    kept(&sandbox, &["-m", "3"], &id(&[5, 3, 1]));
    kept(&sandbox, &["-y", "1"], &id(&[5]));
    kept(&sandbox, &["-y", "unlimited"], &id(&[5, 1, 0]));
    kept(&sandbox, &["-y", "-1"], &id(&[5, 1, 0]));
    // The 31st of a month that has none is a day of the next: 2025-02-01 less a month is 2025-01-01, and noon is later.
    kept(&sandbox, &["--keep-within", "1m"], &id(&[5, 4, 3, 2]));
    kept(&sandbox, &["--keep-within", "1d"], &id(&[5, 4, 3]));
    kept(&sandbox, &["--keep-within-daily", "1m"], &id(&[5, 3, 2]));
    kept(&sandbox, &["--keep-within-yearly", "1y"], &id(&[5, 1, 0]));
    // In Tokyo it was the 1st of February for all three.
    kept(&sandbox, &["-d", "3", "--timezone", "Asia/Tokyo"], &id(&[5, 2, 1]));
    let (kept, _) = plan(&sandbox, &["-m", "9", "-y", "2", "--keep-within", "1h"]);
    assert_eq!(kept[&all[5]], ["monthly snapshot", "yearly snapshot", "within 1h"]);
    let (kept, _) = plan(&sandbox, &["--group-by", "", "-y", "9", "--keep-tag", ""]);
    assert_eq!(kept[&all[0]], ["has tags []", "oldest yearly snapshot"]);
}

#[test]
fn groups_and_filters_hold_a_policy_to_their_snapshots() {
    let (sandbox, mut all) = days(2);
    for (time, host, tag) in [("2026-01-03", "other", "red"), ("2026-01-04", "other", "red,blue")] {
        all.push(back_up(&sandbox, &["--time", time, "--host", host, "--tag", tag]));
    }
    let id = |numbers: &[usize]| numbers.iter().map(|number| &all[*number]).collect::<Vec<_>>();
    kept(&sandbox, &["-l", "1"], &id(&[1, 3]));
    kept(&sandbox, &["-l", "1", "-g", "tags"], &id(&[1, 2, 3]));
    kept(&sandbox, &["-l", "1", "--group-by", ""], &id(&[3]));
    kept(&sandbox, &["-l", "1", "--host", "other"], &id(&[3]));
    kept(&sandbox, &["-l", "1", "--tag", "red"], &id(&[3]));
    kept(&sandbox, &["-l", "1", "--tag", "red,blue", "--tag", ""], &id(&[1, 3]));
    kept(&sandbox, &["-l", "1", "--path", "/nowhere"], &[]);
    kept(&sandbox, &["-l", "1", "--path", "source"], &id(&[1, 3]));
    kept(&sandbox, &["-l", "1", "--keep-tag", "red", "--keep-tag", "x,y"], &id(&[1, 2, 3]));
    sandbox.run(["forget", "-l", "1", "--path", "/nowhere"]).expect(0).says("forgot 0 snapshots");
}

#[test]
fn what_would_leave_nothing_of_a_group_is_refused() {
    let (sandbox, all) = days(3);
    back_up(&sandbox, &["--time", "2026-01-04", "--host", "other", "--tag", "release"]);
    let before = objects(&sandbox);
    let refused = |words: &[&str]| {
        let ended = sandbox.run(["forget"].iter().chain(words)).expect(6).warns("--unsafe-allow-remove-all");
        assert_eq!(objects(&sandbox), before);
        ended
    };
    refused(&["--keep-tag", "release"]).warns("nothing would be kept of: snapshots of host ");
    refused(&["--keep-tag", "release", "--json"]).warns("\"code\":6");
    assert!(refused(&["--keep-tag", "typo", "-n"]).out().contains("forget"));
    refused(&["--all"]).warns("would forget all 4 snapshots");
    refused(&["--all", "--host", "other"]);
    sandbox.run(["forget"]).expect(2);
    sandbox.run(["forget", "--keep-last", "0"]).expect(2).warns("keep nothing");
    sandbox.run(["forget", "--keep-last", "1", &all[0]]).expect(2);
    assert_eq!(objects(&sandbox), before);

    sandbox.run(["protect", &all[1]]).expect(0);
    let flag = "--unsafe-allow-remove-all";
    sandbox.run(["forget", "--keep-tag", "release", flag]).expect(0).says("forgot 2 snapshots, 2 kept");
    sandbox.run(["forget", "--all", flag]).expect(0).says("forgot 1 snapshot, 1 kept");
    assert_eq!(listed(&sandbox, &[]), [all[1].clone()]);
}

#[test]
fn snapshots_are_forgotten_by_name_and_had_back() {
    let (sandbox, all) = days(4);
    sandbox.run(["forget", "-n", "latest", &all[0][..10]]).expect(0).says("would forget 2 snapshots");
    sandbox.run(["forget", "latest", &all[0][..10], &all[0]]).expect(0).says("forgot 2 snapshots");
    assert_eq!(listed(&sandbox, &[]), all[1..3]);
    assert_eq!(listed(&sandbox, &["latest"]), [all[2].clone()]);
    assert_eq!(listed(&sandbox, &["latest~1"]), [all[1].clone()]);
    // By the whole id it is still there.
    sandbox.run(["ls", &all[3]]).expect(0).warns("is forgotten").says("file");
    sandbox.run(["restore", &all[3], "-t", "out"]).expect(0).warns("is forgotten");
    sandbox.run(["ls", &all[3][..12]]).expect(1).warns("copal undelete");
    sandbox.run(["backup", "source", "--parent", &all[3]]).expect(1).warns("can be no parent");
    sandbox.run(["forget", &all[3]]).expect(0).says("forgot 0 snapshots");
    sandbox.run(["forget", "ffffffff"]).expect(1);

    sandbox.run(["undelete", "ffffffff"]).expect(1).warns("copal snapshots --forgotten");
    sandbox.run(["undelete", "latest"]).expect(2);
    sandbox.run(["undelete", &all[1][..8]]).expect(0).warns("is not forgotten");
    let ended = sandbox.run(["undelete", "--json", &all[3][..8]]).expect(0);
    assert_eq!(ids(&ended.messages("snapshot")), [all[3].clone()]);
    sandbox.run(["undelete", &all[0]]).expect(0).says("is back");
    assert_eq!(listed(&sandbox, &[]), all);
    assert_eq!(listed(&sandbox, &["--forgotten"]), [""; 0]);
    // And forgotten again: the last word counts, whatever the time.
    sandbox.run(["forget", &all[0]]).expect(0);
    assert_eq!(listed(&sandbox, &["--forgotten"]), all[..1]);

    sandbox.run(["forget", "--all", "--unsafe-allow-remove-all"]).expect(0);
    sandbox.run(["ls"]).expect(1).warns("all snapshots are forgotten");
    sandbox.run(["snapshots"]).expect(0).says("0 snapshots");
    sandbox.back_up();
}

#[test]
fn a_forgotten_snapshot_is_no_parent_and_stays_in_the_chain_of_its_client() {
    let (sandbox, all) = days(3);
    sandbox.run(["forget", "latest"]).expect(0);
    let next = back_up(&sandbox, &["--time", "2026-01-09"]);
    let snapshots = open(&sandbox).snapshots().unwrap();
    let next = snapshots.confirmed.iter().find(|named| named.name.to_string() == next).unwrap();
    assert_eq!(next.snapshot.parent.unwrap().to_string(), all[1]);
    assert_eq!(next.snapshot.previous.unwrap().to_string(), all[2]);
    assert_eq!(next.snapshot.sequence, 4);
    assert_eq!(snapshots.saved().count(), 4);
}

// protect, tag --------------------------------------------------------------------------------------------------------------------

#[test]
fn what_is_protected_is_never_forgotten() {
    let (sandbox, all) = days(3);
    sandbox.run(["protect", &all[0][..8], "latest~1"]).expect(0).says("protected 2 snapshots");
    sandbox.run(["protect", &all[0]]).expect(0).says("protected 0 snapshots").warns("already protected");
    assert_eq!(objects(&sandbox)["notes"], 2);
    sandbox.run(["snapshots"]).expect(0).says(&format!("{} P", &all[0][..8])).says("P protected");
    let (kept, gone) = plan(&sandbox, &["-l", "1"]);
    assert_eq!((kept[&all[0]].clone(), kept.len(), gone.len()), (vec!["protected".to_owned()], 3, 0));
    sandbox.run(["forget", "latest", &all[0]]).expect(6).warns("is protected").warns("copal unprotect");
    assert_eq!(listed(&sandbox, &[]).len(), 3);
    let ended = sandbox.run(["unprotect", "--json", &all[0]]).expect(0);
    assert_eq!(ended.messages("changed")[0]["protected"], false);
    assert_eq!(ended.summary()["changed_snapshots"], 1);
    sandbox.run(["forget", "-l", "1"]).expect(0).says("forgot 1 snapshot, 2 kept");
    sandbox.run(["protect", &all[0]]).expect(1).warns("copal undelete");
    sandbox.run(["protect", "ffffffff"]).expect(1);
}

#[test]
fn tags_are_added_removed_and_set() {
    let (sandbox, all) = days(2);
    let other = back_up(&sandbox, &["--time", "2026-01-03", "--host", "other", "--tag", "red"]);
    let tags = |id: &str| {
        let line = sandbox.run(["snapshots", "--json", id]).expect(0).messages("snapshot").remove(0);
        line["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| tag.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    sandbox.run(["tag", "--add", "red,blue", &all[0][..8]]).expect(0).says("changed the tags of 1 snapshot");
    assert_eq!(tags(&all[0]), ["blue", "red"]);
    assert_eq!(listed(&sandbox, &["--tag", "red"]), [all[0].clone(), other.clone()]);
    let notes = objects(&sandbox)["notes"];
    sandbox.run(["tag", "--add", "red", &all[0]]).expect(0).says("changed the tags of 0 snapshots");
    sandbox.run(["tag", "--remove", "green"]).expect(0).says("changed the tags of 0 snapshots");
    assert_eq!(objects(&sandbox)["notes"], notes);
    // One of two tags that were added together.
    sandbox.run(["tag", "--remove", "red", &all[0]]).expect(0);
    assert_eq!(tags(&all[0]), ["blue"]);
    let ended = sandbox.run(["tag", "--json", "--set", "x,y", "--tag", "red", "--host", "other"]).expect(0);
    assert_eq!(ended.messages("changed")[0]["tags"], serde_json::json!(["x", "y"]));
    assert_eq!(ended.summary()["changed_snapshots"], 1);
    assert_eq!(tags(&other), ["x", "y"]);
    sandbox.run(["tag", "--add", "all"]).expect(0).says("changed the tags of 3 snapshots");
    sandbox.run(["tag", "--set", "", &all[0]]).expect(0);
    assert_eq!(tags(&all[0]), [""; 0]);
    assert_eq!(tags(&all[1]), ["all"]);
    sandbox.run(["tag", "--add", "red", "--remove", "y", &other]).expect(0);
    assert_eq!(tags(&other), ["red", "all", "x"], "its own tag is back, in its place");
    sandbox.run(["snapshots"]).expect(0).says("red");
    sandbox.run(["tag"]).expect(2);
    sandbox.run(["tag", "--set", "a", "--add", "b"]).expect(2);
}

// two at once, damage, clocks -----------------------------------------------------------------------------------------------------

/// Does things on a copy of the repository, with a cache of its own, and then brings the notes over: neither side saw the other's.
fn at_the_same_time(sandbox: &Sandbox, here: &[&[&str]], there: &[&[&str]]) {
    let copy = sandbox.path("copy");
    let _ = std::fs::remove_dir_all(&copy);
    let (from, to) = (sandbox.repository(), copy.to_str().unwrap());
    assert!(Command::new("cp").arg("-a").arg(&from).arg(to).status().unwrap().success());
    for words in here {
        sandbox.run(*words).expect(0);
    }
    for words in there {
        sandbox.run(["-r", to, "--cache-dir", "other cache"].iter().chain(*words)).expect(0);
    }
    for entry in std::fs::read_dir(copy.join("notes")).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), from.join("notes").join(entry.file_name())).unwrap();
    }
}

#[test]
fn of_two_at_once_the_safe_one_counts() {
    let (sandbox, all) = days(3);
    let id = all[0].as_str();
    at_the_same_time(&sandbox, &[&["forget", id]], &[&["protect", id]]);
    assert_eq!(listed(&sandbox, &[]), all, "protected and not forgotten");
    sandbox.run(["forget", id]).expect(6);
    // It does not vanish with its protection, which somebody may have long forgotten.
    sandbox.run(["unprotect", id]).expect(0);
    assert_eq!(listed(&sandbox, &[]), all);

    sandbox.run(["forget", id]).expect(0);
    at_the_same_time(&sandbox, &[&["undelete", id], &["forget", id]], &[&["undelete", id]]);
    assert_eq!(listed(&sandbox, &[]), all, "undelete over forget");
    at_the_same_time(&sandbox, &[&["protect", id], &["unprotect", id]], &[&["protect", id]]);
    sandbox.run(["forget", id]).expect(6);
    sandbox.run(["unprotect", id]).expect(0);
    sandbox.run(["forget", id]).expect(0);
    assert_eq!(listed(&sandbox, &[]), all[1..]);

    let id = all[1].as_str();
    sandbox.run(["tag", "--add", "red,blue", id]).expect(0);
    at_the_same_time(
        &sandbox,
        &[&["tag", "--remove", "red,blue", id]],
        &[&["tag", "--remove", "red", id], &["tag", "--add", "red", id]],
    );
    assert_eq!(listed(&sandbox, &["--tag", "red"]), [all[1].clone()], "add over remove");
    assert_eq!(listed(&sandbox, &["--tag", "blue"]), [""; 0]);
}

#[test]
fn the_second_restorer_reads_notes_in_the_same_way() {
    let python = std::env::var("COPAL_TEST_PYTHON").expect("COPAL_TEST_PYTHON: run tests/run, which sets it");
    let restorer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restorer/restore.py");
    let (sandbox, all) = days(4);
    let (first, second) = (all[0].as_str(), all[1].as_str());
    sandbox.run(["tag", "--add", "red,blue,green", first]).expect(0);
    sandbox.run(["tag", "--remove", "red", first]).expect(0);
    at_the_same_time(&sandbox, &[&["tag", "--set", "x", first]], &[&["tag", "--add", "blue,y", first]]);
    at_the_same_time(&sandbox, &[&["forget", second, &all[2]]], &[&["protect", second]]);
    let mut command = Command::new(python);
    command
        .arg(restorer)
        .arg(sandbox.repository())
        .args([OsStr::new("--key-file"), sandbox.key_file().as_os_str()]);
    command.arg("--list");
    let told: serde_json::Value = serde_json::from_str(&end(command).expect(0).out()).unwrap();
    let told: BTreeMap<String, &serde_json::Value> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["name"].as_str().unwrap().to_owned(), line))
        .collect();
    let ours = ["", "--forgotten"].map(|option| {
        let words = ["snapshots", "--json"].into_iter().chain((!option.is_empty()).then_some(option));
        sandbox.run(words).expect(0).messages("snapshot")
    });
    let mut forgotten = Vec::new();
    for line in ours.iter().flatten() {
        let theirs = told[line["id"].as_str().unwrap()];
        assert_eq!(theirs["tags"], line["tags"]);
        assert_eq!(theirs["forgotten"], line["forgotten"].is_string());
        forgotten.extend(line["forgotten"].is_string().then(|| line["id"].clone()));
    }
    assert_eq!(forgotten, [all[2].as_str()]);
}

fn only_note(sandbox: &Sandbox) -> std::path::PathBuf {
    let mut notes = std::fs::read_dir(sandbox.repository().join("notes")).unwrap();
    notes.next().unwrap().unwrap().path()
}

#[test]
fn a_note_that_can_not_be_read_stops_forgetting_and_nothing_else() {
    let (sandbox, all) = days(3);
    sandbox.run(["protect", &all[0]]).expect(0);
    let note = only_note(&sandbox);
    let whole = std::fs::read(&note).unwrap();
    let mut broken = whole.clone();
    broken[90] ^= 1;
    std::fs::write(&note, broken).unwrap();
    let damaged =
        |words: &[&str], code| sandbox.run(["--no-cache"].iter().chain(words)).expect(code).warns("notes/");
    for words in [&["forget", "-l", "1"][..], &["forget", "latest"], &["forget", "-n", "-l", "1"]] {
        damaged(words, 5).warns("nothing is forgotten");
    }
    damaged(&["snapshots"], 5);
    damaged(&["check"], 5).out();
    damaged(&["ls", "latest"], 0);
    damaged(&["restore", "latest", "-t", "out"], 0);
    damaged(&["tag", "--add", "x", "latest"], 0);
    damaged(&["protect", &all[1]], 0);
    assert_eq!(objects(&sandbox)["notes"], 3);
    std::fs::write(&note, whole).unwrap();

    // The newest is forgotten, and a note that says otherwise may be the one that is lost.
    sandbox.run(["forget", "latest"]).expect(0);
    let mut record = Writer::default();
    record.id(1, true, Some(&Id::parse(&all[2]).unwrap())).int(2, true, 99);
    let object = small::encode(&keys(&sandbox), note::KIND, &[], &record.finish()).unwrap();
    let later = sandbox.repository().join("notes").join(object_name(&object).to_string());
    std::fs::write(&later, object).unwrap();
    sandbox.run(["ls", "latest"]).expect(5).warns("a newer one can not be read");
    sandbox.run(["ls", &all[1]]).expect(0);
    sandbox.run(["forget", "-l", "1"]).expect(13).warns("notes/");
    sandbox.run(["undelete", &all[2]]).expect(0);
    sandbox.run(["ls", "latest"]).expect(0);
    sandbox.back_up();
    std::fs::remove_file(later).unwrap();
    sandbox.run(["forget", "-l", "1"]).expect(0);
}

#[test]
fn a_note_that_can_not_be_written_is_told_and_the_others_are() {
    let (sandbox, _) = days(4);
    let log = sandbox.path("strace");
    let through = |fault: &str| {
        let inject = format!("inject=renameat2:error=EIO:{fault}");
        let through =
            ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", "trace=renameat2", "-e", &inject];
        end(sandbox.command_through(&through, ["forget", "-l", "1"]))
    };
    through("when=1+").expect(1);
    assert_eq!(listed(&sandbox, &[]).len(), 4);
    through("when=2..3").expect(3).says("forgot 2 snapshots, 1 kept").warns("Input/output error");
    assert_eq!(listed(&sandbox, &[]).len(), 2);
    // What fails once is tried once more.
    through("when=1").expect(0).says("forgot 1 snapshot, 1 kept");
}

#[test]
fn snapshots_of_the_future_are_kept_and_take_no_others_place() {
    let (sandbox, all) = days(3);
    let future = back_up(&sandbox, &["--time", "2099-01-01 10:00"]);
    let (kept, gone) = plan(&sandbox, &["-l", "1"]);
    assert_eq!(kept[&future], ["time lies ahead"]);
    assert_eq!((kept.len(), gone.len()), (2, 2));
    assert_eq!(kept[&all[2]], ["last snapshot"]);
    sandbox.run(["forget", "--keep-within", "1d"]).expect(0).warns(&future[..8]).warns("lies ahead");
    assert_eq!(listed(&sandbox, &[]), [all[2].clone(), future.clone()]);
    sandbox.run(["forget", &future]).expect(0);
    assert_eq!(listed(&sandbox, &["latest"]), [all[2].clone()]);
}

#[test]
fn a_clock_that_stands_before_the_newest_snapshot_is_not_believed() {
    let (sandbox, all) = days(3);
    let confirmed = sandbox.repository().join("confirmed").join(&all[1]);
    let confirmation = Confirmation {
        snapshot: Id::parse(&all[1]).unwrap(),
        session: Id16([1; 16]),
        time: Time::new(4_000_000_000, 0),
    };
    let object = snapshot::encode_confirmation(&keys(&sandbox), &confirmation).unwrap();
    std::fs::write(confirmed, object).unwrap();
    let before = objects(&sandbox);
    for words in [&["-l", "1"][..], &["--keep-within", "1d", "-n"], &["-d", "1", "--json"]] {
        let ended = sandbox.run(["--no-cache", "forget"].iter().chain(words)).expect(6);
        ended.warns(&all[1][..8]).warns("by the clock of the storage");
    }
    assert_eq!(objects(&sandbox), before);
    // Others are not held up by it, and by name everything can be forgotten.
    sandbox.run(["--no-cache", "forget", "-l", "1", "--host", "other"]).expect(0);
    sandbox.run(["--no-cache", "forget", &all[1]]).expect(0);
    sandbox.run(["--no-cache", "forget", "-l", "1"]).expect(0).says("forgot 1 snapshot, 1 kept");
}

#[test]
fn forgetting_goes_on_behind_a_note_that_could_not_be_written() {
    let key = MasterKey::from_bytes([3; 32]);
    let creation = Creation {
        unlock: Unlock::KeyFile(&key),
        cost: Cost::default(),
        cutter: Cutter::default(),
        pack_target: limits::PACK_TARGET,
        description: Description::default(),
    };
    let memory = Memory::new();
    repository::create(&memory, &creation, &SystemClock).unwrap();
    let all: Vec<Named> = (1..5)
        .map(|number| Named {
            name: Id([number; 32]),
            snapshot: Snapshot::default(),
            confirmed: Some(Time::default()),
            standing: Standing::default(),
        })
        .collect();
    let plan = retention::plan_all(&all, Grouping::default());
    for fault in [Fault::FailBefore, Fault::FailAfter] {
        let faulty = Faulty::new(memory.clone());
        faulty.set_fault(None);
        let opened = repository::open(Box::new(faulty), Unlock::KeyFile(&key), None).unwrap();
        drop(opened);
        // As many operations as opening takes, and the second note.
        for number in 1..40 {
            let faulty = Faulty::with_fault(memory.clone(), number, fault);
            let Ok(repository) = repository::open(Box::new(faulty), Unlock::KeyFile(&key), None) else {
                continue;
            };
            let mut notes = Notes::default();
            let done = retention::execute(&repository, &mut notes, &plan, Time::new(1, 0)).unwrap();
            assert_eq!(done.forgotten.len() + done.failed.len(), 4);
            assert!(done.failed.len() <= 1);
            let mut problems = Vec::new();
            let read = repository.notes(Origin::Storage, &mut problems);
            if let Ok(read) = read {
                let said = |id: &Id| read.of(id).iter().any(|(_, note)| note.verb == Verb::Forget);
                assert!(done.forgotten.iter().all(said), "operation {number}");
            }
        }
    }
}
