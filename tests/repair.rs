//! `copal repair`: as it is typed, as a library, and cut off anywhere.

mod common;
#[macro_use]
#[path = "pruning/through.rs"]
mod through;
#[path = "repair/cut_off.rs"]
mod cut_off;
#[path = "repair/kept.rs"]
mod kept;
mod made;
#[path = "repair/marks.rs"]
mod marks;
#[path = "repair/place.rs"]
mod place;
#[path = "made/timed.rs"]
mod timed;
#[path = "repair/unsteady.rs"]
mod unsteady;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{Ended, Sandbox};
use copal::backend::{Kind, Local};
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::model::Contents;
use copal::repository::{self, Repository};

fn open(sandbox: &Sandbox) -> Repository {
    let key = MasterKey::from_key_file(&std::fs::read_to_string(sandbox.key_file()).unwrap()).unwrap();
    let backend = Box::new(Local::new(sandbox.repository()));
    let repository = repository::open(backend, Unlock::KeyFile(&key), None).unwrap();
    repository.sync().unwrap();
    repository
}

/// The files of a kind of object, sorted.
fn files(sandbox: &Sandbox, kind: Kind) -> Vec<PathBuf> {
    let mut open = vec![sandbox.repository().join(kind.folder())];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn flip(path: &Path, place: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[place] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// The path of the longest pack of that kind, since the others may hold no more than a change cache, and the middle of its first block.
fn pack(sandbox: &Sandbox, contents: Contents) -> (PathBuf, usize) {
    packs(sandbox, contents).remove(0)
}

/// All packs of that kind like this, the longest first.
fn packs(sandbox: &Sandbox, contents: Contents) -> Vec<(PathBuf, usize)> {
    let repository = open(sandbox);
    let mut found = Vec::new();
    repository.index.packs(&mut |pack| found.push(pack)).unwrap();
    found.retain(|pack| pack.contents == contents);
    found.sort_by_key(|pack| std::cmp::Reverse(pack.length));
    let place = |pack: &std::sync::Arc<copal::index::PackInfo>| {
        let block = &pack.blocks[0];
        let path = sandbox.repository().join(Kind::Packs.path_of(&pack.name.to_string()));
        (path, block.offset as usize + block.stored as usize / 2)
    };
    found.iter().map(place).collect()
}

/// Two snapshots, and what each must give back: bytes by path.
struct World {
    sandbox: Sandbox,
    snapshots: Vec<(String, BTreeMap<PathBuf, Vec<u8>>)>,
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_path_buf(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn world() -> World {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let mut snapshots = Vec::new();
    for round in 0..2u64 {
        sandbox.write(format!("source/of-{round}/file"), common::noise(10 + round, 400_000));
        for number in 0..4u64 {
            sandbox.write(format!("source/folder-{number}/file"), common::noise(number, 150_000));
        }
        let summary = sandbox.back_up();
        snapshots.push((summary["snapshot_id"].as_str().unwrap().to_owned(), contents(&sandbox.source())));
        std::fs::remove_dir_all(sandbox.path(format!("source/of-{round}"))).unwrap();
    }
    World { sandbox, snapshots }
}

/// Runs a repair: it says with a dry run what it then does, and a second run has nothing to do.
fn repair(sandbox: &Sandbox, words: &[&str], codes: &[i32]) -> Ended {
    let with = |more: &[&'static str]| -> Vec<String> {
        ["repair"].iter().chain(words).chain(more).map(|word| (*word).to_owned()).collect()
    };
    let state = || -> Vec<(PathBuf, Vec<u8>)> {
        [Kind::Packs, Kind::Index, Kind::Snapshots, Kind::Confirmed, Kind::Notes, Kind::Damage]
            .into_iter()
            .flat_map(|kind| files(sandbox, kind))
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    };
    let before = state();
    let planned = sandbox.run(with(&["--dry-run", "--json"]));
    assert!(codes.contains(&planned.code), "{planned}");
    assert!(before == state(), "a dry run changes nothing\n{planned}");
    let done = sandbox.run(with(&["--yes", "--json"]));
    assert!(codes.contains(&done.code), "{done}");
    let plan = |ended: &Ended| {
        let mut plan = ended.messages("plan").remove(0);
        plan["dry_run"] = false.into();
        plan
    };
    assert_eq!(plan(&planned), plan(&done), "what is said beforehand is what is done");
    let before = state();
    let again = sandbox.run(with(&["--yes"]));
    assert!(again.text().contains("nothing to do"), "{again}");
    assert!(before == state(), "a second run changes nothing\n{again}");
    done
}

/// Restores every snapshot that is listed; each must give what the one that it is or stands for must, but for what is hit, which may be
/// zeros where it differs, or not be there. How many files were not whole.
fn restored(world: &World, whole: bool) -> usize {
    let sandbox = &world.sandbox;
    let listed = sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot");
    let mut hit = 0;
    for (number, line) in listed.iter().enumerate() {
        let id = line["id"].as_str().unwrap();
        let original = line["stands_for"].as_str().unwrap_or(id);
        let wanted = &world.snapshots.iter().find(|(name, _)| name == original).unwrap().1;
        let target = sandbox.path(format!("out-{number}-{}", files(sandbox, Kind::Sessions).len()));
        let ended = sandbox.run(["restore", id, "-t", target.to_str().unwrap()]);
        let found = contents(&common::below(&target, &sandbox.source()));
        let mut lost = 0;
        for (path, bytes) in wanted {
            match found.get(path) {
                Some(there) if there == bytes => {}
                Some(there) => {
                    assert_eq!(there.len(), bytes.len());
                    let differ = there.iter().zip(bytes).filter(|(one, other)| one != other);
                    assert!(
                        differ.clone().all(|(one, _)| *one == 0),
                        "{} holds something else",
                        path.display()
                    );
                    lost += 1;
                }
                None => lost += 1,
            }
        }
        assert!(found.keys().all(|path| wanted.contains_key(path)));
        ended.expect(if lost > 0 { 3 } else { 0 });
        hit += lost;
    }
    assert!(!whole || hit == 0 && listed.len() == world.snapshots.len(), "{hit} files are not whole");
    hit
}

/// What is damaged, done to a world; what a check of everything must end with; whether something is lost for good.
struct Case {
    name: &'static str,
    damage: fn(&World),
    check: i32,
    loses: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "a flipped bit in a pack of data",
        damage: |world| {
            let (path, place) = pack(&world.sandbox, Contents::Data);
            flip(&path, place);
        },
        check: 5,
        loses: true,
    },
    Case {
        name: "a flipped bit in a pack of trees",
        damage: |world| {
            let (path, place) = pack(&world.sandbox, Contents::Trees);
            flip(&path, place);
        },
        check: 5,
        loses: true,
    },
    Case {
        name: "a flipped bit in the footer of a pack",
        damage: |world| {
            let (path, _) = pack(&world.sandbox, Contents::Data);
            let length = std::fs::metadata(&path).unwrap().len() as usize;
            flip(&path, length - 20);
        },
        check: 5,
        loses: false,
    },
    Case {
        name: "a deleted pack of data",
        damage: |world| std::fs::remove_file(pack(&world.sandbox, Contents::Data).0).unwrap(),
        check: 5,
        loses: true,
    },
    Case {
        name: "a deleted pack of trees",
        damage: |world| std::fs::remove_file(pack(&world.sandbox, Contents::Trees).0).unwrap(),
        check: 5,
        loses: true,
    },
    Case {
        name: "all index objects deleted",
        damage: |world| {
            files(&world.sandbox, Kind::Index).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        },
        check: 5,
        loses: false,
    },
    Case {
        name: "a damaged index object",
        damage: |world| flip(&files(&world.sandbox, Kind::Index)[0], 200),
        check: 5,
        loses: false,
    },
];

/// Damages a world, repairs all of it in order, and holds it to what must be so afterwards.
fn run_case(case: &Case, cached: bool) {
    let mut world = world();
    if !cached {
        std::fs::remove_dir_all(world.sandbox.cache()).unwrap();
        world.sandbox.set("XDG_CACHE_HOME", "/nonexistent/copal");
    }
    (case.damage)(&world);
    let what = format!("{}, {}", case.name, if cached { "with a cache" } else { "without" });
    println!("{what}");
    let sandbox = &world.sandbox;
    sandbox.run(["check", "--read-data"]).expect(case.check);
    repair(sandbox, &["index"], &[0]);
    repair(sandbox, &["packs"], &[0, 3]);
    let ended = repair(sandbox, &["snapshots", "--forget"], &[if case.loses { 3 } else { 0 }]);
    assert_eq!(ended.messages("written").is_empty(), !case.loses, "{ended}");
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    let checked = sandbox.run(["check", "--read-data"]).expect(0);
    assert_eq!(checked.text().contains("marked as lost"), case.loses, "{checked}");
    assert!(!checked.text().contains("nothing is needed"), "{checked}");
    let lost = restored(&world, !case.loses);
    assert_eq!(lost > 0, case.loses, "{what}: {lost} files lost");
    // What is still there heals what comes after.
    sandbox.back_up();
    let target = sandbox.restore("latest");
    common::assert_same(&sandbox.source(), &target);
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn after_repairs_and_a_prune_a_check_is_clean_and_what_was_not_hit_comes_back() {
    CASES.iter().for_each(|case| run_case(case, true));
}

#[test]
fn the_same_without_a_cache() {
    CASES.iter().for_each(|case| run_case(case, false));
}

#[test]
fn a_damaged_snapshot_is_put_back_from_the_cache_and_given_up_without_one() {
    let world = world();
    let sandbox = &world.sandbox;
    let path = sandbox.repository().join(Kind::Snapshots.path_of(&world.snapshots[0].0));
    let before = std::fs::read(&path).unwrap();
    flip(&path, 100);
    sandbox.run(["check"]).expect(5);
    sandbox.run(["prune"]).expect(5);
    repair(sandbox, &["snapshots"], &[0]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    sandbox.run(["check"]).expect(0);
    restored(&world, true);

    flip(&path, 100);
    let refused = sandbox.run(["repair", "snapshots", "--no-cache"]).expect(6);
    assert!(refused.err().contains("--yes"), "{refused}");
    assert!(path.exists());
    let dry = sandbox.run(["repair", "snapshots", "--no-cache", "-n"]).expect(3);
    assert!(dry.out().contains("would remove what is left of it"), "{dry}");
    let gone = sandbox.run(["repair", "snapshots", "--no-cache", "--yes"]).expect(3);
    assert!(gone.out().contains(&format!("lost: snapshot {}", &world.snapshots[0].0[..8])), "{gone}");
    sandbox.run(["repair", "snapshots", "--yes"]).expect(0).says("nothing to do");
    sandbox.run(["prune", "--grace", "0"]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_eq!(
        restored(&World { sandbox: world.sandbox, snapshots: world.snapshots[1..].to_vec() }, true),
        0
    );
}

#[test]
fn a_damaged_note_is_put_back_from_the_cache_and_removed_without_one() {
    let world = world();
    let sandbox = &world.sandbox;
    sandbox.run(["protect", &world.snapshots[0].0]).expect(0);
    let path = files(sandbox, Kind::Notes).remove(0);
    let before = std::fs::read(&path).unwrap();
    flip(&path, 100);
    sandbox.run(["prune"]).expect(5);
    repair(sandbox, &["snapshots"], &[0]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    sandbox.run(["forget", &world.snapshots[0].0]).expect(6);

    flip(&path, 100);
    sandbox.run(["repair", "snapshots", "--no-cache"]).expect(6);
    let removed = sandbox.run(["repair", "snapshots", "--no-cache", "--yes"]).expect(3);
    assert!(removed.out().contains("may have protected"), "{removed}");
    assert!(!path.exists());
    sandbox.run(["prune", "--grace", "0", "--no-cache"]).expect(0);
    sandbox.run(["check", "--read-data", "--no-cache"]).expect(0);
    restored(&world, true);
}

#[test]
fn a_backup_heals_what_damage_hit_and_says_so() {
    type Damage = fn(&Path, usize);
    let ways: [(&str, Damage); 2] =
        [("deleted", |path, _| std::fs::remove_file(path).unwrap()), ("flipped", flip)];
    for contents_of in [Contents::Data, Contents::Trees] {
        for (way, damage) in ways {
            let world = world();
            let sandbox = &world.sandbox;
            if contents_of == Contents::Data {
                // What the first snapshot has is on the machine again.
                for (path, bytes) in &world.snapshots[0].1 {
                    sandbox.write(Path::new("source").join(path), bytes);
                }
                let (path, place) = pack(sandbox, contents_of);
                damage(&path, place);
            } else {
                // Folders that have not changed since the last snapshot.
                packs(sandbox, contents_of).iter().for_each(|(path, place)| damage(path, *place));
            }
            sandbox.run(["check", "--read-data"]).expect(5);
            let source = sandbox.source();
            // What was found once is not forgotten by a check that reads less.
            sandbox.run(["check"]).expect(5);
            let healed = sandbox.run(["backup", source.to_str().unwrap()]).expect(0);
            assert!(healed.out().contains("that damage had hit"), "{way} {contents_of:?}: {healed}");
            let checked = sandbox.run(["check", "--read-data"]);
            if contents_of == Contents::Data {
                let checked = checked.expect(0);
                assert!(checked.out().contains("nothing is needed of it any more"), "{way}: {checked}");
                for (id, wanted) in &world.snapshots[..1] {
                    let target = sandbox.path(format!("healed-{way}"));
                    sandbox.run(["restore", id, "-t", target.to_str().unwrap()]).expect(0);
                    assert!(contents(&common::below(&target, &source)) == *wanted, "{way}");
                }
                sandbox.run(["prune"]).expect(0);
                let again = sandbox.run(["check", "--read-data"]).expect(0);
                assert!(!again.out().contains("nothing is needed"), "{way}: {again}");
            }
            let summary = sandbox.back_up_with(&["--force"]);
            assert_eq!(summary["chunks_healed"], 0, "{way} {contents_of:?}");
        }
    }
}

#[test]
fn nothing_is_asked_where_nothing_goes_and_a_repaired_snapshot_is_no_parent() {
    let world = world();
    let sandbox = &world.sandbox;
    std::fs::remove_file(pack(sandbox, Contents::Data).0).unwrap();
    // Without --yes: it only adds.
    let text = sandbox.run(["repair", "snapshots"]).expect(3);
    assert!(text.out().contains("stands for") && text.err().contains("the originals stay"), "{text}");
    let listed = sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot");
    let written = listed.iter().find(|line| line["stands_for"].is_string()).unwrap();
    let id = written["id"].as_str().unwrap();
    let source = sandbox.source();
    sandbox.run(["backup", "--parent", id, source.to_str().unwrap()]).expect(1).warns("can be no parent");
    let listing = sandbox.run(["ls", "-R", id]).expect(0);
    assert!(listing.out().contains("bytes are lost, as a repair marked it"), "{listing}");
    // The originals go only when that is said, and come back.
    let forgot = sandbox.run(["repair", "snapshots", "--forget"]).expect(0);
    assert!(forgot.out().contains("forgot"), "{forgot}");
    let original = written["stands_for"].as_str().unwrap();
    // While they can still be brought back, a prune goes on all the same.
    sandbox.run(["prune"]).expect(0);
    sandbox.run(["undelete", original]).expect(0).warns("stands for it, with the gaps marked");
    sandbox.run(["prune"]).expect(5);
    let empty = Sandbox::empty();
    empty.run(["repair", "index"]).expect(10);
    sandbox.run(["repair", "packs", "123"]).expect(2);
    sandbox.run(["repair"]).expect(2);
    sandbox.run(["repair", "packs", &"0".repeat(64)]).expect(1).warns("there is no pack");
}

#[test]
fn a_restore_that_deletes_leaves_what_a_repair_marked_as_lost() {
    let world = world();
    let sandbox = &world.sandbox;
    std::fs::remove_file(pack(sandbox, Contents::Trees).0).unwrap();
    sandbox.run(["repair", "snapshots", "--forget"]).expect(3);
    let (target, source) = (sandbox.path("target"), sandbox.source());
    let there = common::below(&target, &source);
    for (path, bytes) in &world.snapshots[0].1 {
        sandbox.write(there.join(path), bytes);
    }
    let before = contents(&there);
    let target = target.to_str().unwrap();
    for line in sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot") {
        let id = line["id"].as_str().unwrap();
        if line["stands_for"].is_string() {
            let ended =
                sandbox.run(["restore", id, "-t", target, "--delete", "--overwrite", "if-changed", "-n"]);
            assert!(ended.text().contains("marked it"), "{ended}");
            sandbox.run(["restore", id, "-t", target, "--delete", "--overwrite", "if-changed"]).expect(3);
        }
    }
    assert!(before == contents(&there), "something was removed that was only lost");
}

#[test]
fn a_forgotten_snapshot_that_damage_may_hit_is_told_so_when_it_comes_back_and_repaired_from_then_on() {
    let world = world();
    let sandbox = &world.sandbox;
    let first = &world.snapshots[0].0;
    sandbox.run(["forget", first]).expect(0);
    let text = sandbox.run(["undelete", first]).expect(0);
    assert!(!text.text().contains("damage"), "{text}");
    sandbox.run(["forget", first]).expect(0);
    std::fs::remove_file(pack(sandbox, Contents::Data).0).unwrap();
    sandbox.run(["check"]).expect(5);
    let repaired = repair(sandbox, &["snapshots"], &[3]).messages("written");
    assert!(repaired.iter().all(|line| line["stands_for"] != first.as_str()), "{repaired:?}");
    sandbox.run(["undelete", first]).expect(0).warns("forgotten snapshots are not repaired");
    let repaired = repair(sandbox, &["snapshots"], &[3]).messages("written");
    assert!(repaired.iter().any(|line| line["stands_for"] == first.as_str()), "{repaired:?}");
}
