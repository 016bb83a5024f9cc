//! Damage in every kind of object, of every form: `check` names it, `restore` gives back everything that it does not touch, and the next
//! backup of the same source makes the latest snapshot whole again.

#[path = "damage/cache.rs"]
mod cache;
mod program;
#[path = "damage/world.rs"]
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use copal::backend::Kind;
use program::{copal, temporary};
use world::{Compared, Piece, Place, compare, names, random_bytes, world};

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Missing,
    Empty,
    /// One bit flipped in the first byte.
    FlipStart,
    /// In the first quarter: of a pack, in its first block.
    FlipQuarter,
    FlipMiddle,
    FlipEnd,
    CutOne,
    CutHalf,
    Garbage,
    /// Exchanged with another object of the same kind.
    Sibling,
    /// Replaced by an object of another kind.
    OtherKind,
}

use Damage::{
    CutHalf, CutOne, Empty, FlipEnd, FlipMiddle, FlipQuarter, FlipStart, Garbage, Missing, OtherKind, Sibling,
};

const ALL: [Damage; 11] = [
    Missing,
    Empty,
    FlipStart,
    FlipQuarter,
    FlipMiddle,
    FlipEnd,
    CutOne,
    CutHalf,
    Garbage,
    Sibling,
    OtherKind,
];

/// Damages a file; `sibling` is exchanged with it, `other` copied over it.
fn damage(path: &Path, damage: Damage, sibling: &Path, other: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len();
    assert!(length >= 8, "{} is too short to be damaged", path.display());
    let flip = |mut bytes: Vec<u8>, place: usize| {
        bytes[place] ^= 0x10;
        bytes
    };
    match damage {
        Missing => return fs::remove_file(path).unwrap(),
        Empty => bytes.clear(),
        FlipStart => bytes = flip(bytes, 0),
        FlipQuarter => bytes = flip(bytes, length / 4),
        FlipMiddle => bytes = flip(bytes, length / 2),
        FlipEnd => bytes = flip(bytes, length - 1),
        CutOne => bytes.truncate(length - 1),
        CutHalf => bytes.truncate(length / 2),
        Garbage => bytes.extend_from_slice(&random_bytes(9, 100)),
        Sibling => {
            let before = std::mem::replace(&mut bytes, fs::read(sibling).unwrap());
            assert!(before != bytes, "siblings differ");
            fs::write(sibling, before).unwrap();
        }
        OtherKind => bytes = fs::read(other).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

/// The bytes of a file of `length` that the damage makes unreadable, as a question about stored blocks of it.
fn is_hit(damage: Damage, length: u64, piece: &Piece) -> bool {
    let flipped = |place: u64| (piece.start..piece.end).contains(&place);
    match damage {
        Missing | Empty | Sibling | OtherKind => true,
        FlipStart => flipped(0),
        FlipQuarter => flipped(length / 4),
        FlipMiddle => flipped(length / 2),
        FlipEnd => flipped(length - 1),
        CutOne => piece.end > length - 1,
        CutHalf => piece.end > length / 2,
        Garbage => false,
    }
}

/// Restores every snapshot into a new folder; all that is not hit must be there and equal, and the exit code must tell whether all is.
fn restore_all(place: &Place, what: &str, but: &[&str], hit: &dyn Fn(&Piece) -> bool) -> usize {
    let mut lost_in_all = 0;
    for (number, snapshot) in world().snapshots.iter().enumerate() {
        if but.contains(&snapshot.name.as_str()) {
            continue;
        }
        let target = temporary();
        let ran = place.run(&["restore", &snapshot.name, "-v", "-t", target.path().to_str().unwrap()]);
        let mut found = Compared::default();
        compare(&snapshot.root, target.path(), "", hit, &mut found);
        let Compared { lost, wrong } = found;
        assert!(
            wrong.is_empty(),
            "{what}: restoring snapshot {number} ended with {}; {wrong:?}:\n{}",
            ran.code,
            ran.text
        );
        let wanted = if lost.is_empty() { 0 } else { 5 };
        assert_eq!(ran.code, wanted, "{what}: restoring snapshot {number}, lost {lost:?}:\n{}", ran.text);
        for path in &lost {
            assert!(ran.text.contains(path.as_str()), "{what}: restore does not name {path}:\n{}", ran.text);
        }
        lost_in_all += lost.len();
    }
    lost_in_all
}

/// Backs the source up again, and restores the latest snapshot, which must then be whole.
fn heal(place: &Place, what: &str) {
    let source = world().source();
    let ran = place.run(&["backup", source.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{what}: the next backup:\n{}", ran.text);
    let target = temporary();
    let ran = place.run(&["restore", "latest", "-t", target.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{what}: restoring the latest after the next backup:\n{}", ran.text);
    // The source is what the second snapshot holds; its folders above may have changed.
    let below = |root: &Path| root.join(source.strip_prefix("/").unwrap());
    let differs = std::process::Command::new("diff")
        .arg("-r")
        .arg("--no-dereference")
        .arg(&source)
        .arg(below(target.path()))
        .output()
        .unwrap();
    assert!(differs.status.success(), "{what}: after healing: {}", String::from_utf8_lossy(&differs.stdout));
}

/// Reads everything; must find errors, and name each of these objects.
fn check_names(place: &Place, what: &str, objects: &[&str]) {
    let ran = place.run(&["check", "--read-data"]);
    assert_eq!(ran.code, 5, "{what}: check:\n{}", ran.text);
    for object in objects {
        assert!(ran.text.contains(object), "{what}: check does not name {object}:\n{}", ran.text);
    }
}

/// Collects failures of the single cases, so that one of them does not hide the others.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn case(&mut self, name: String, run: impl FnOnce(&str)) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&name)));
        if let Err(panic) = result {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            self.0.push(format!("[{name}] {}", said.unwrap_or("panicked")));
        }
    }

    fn end(self) {
        let count = self.0.len();
        assert!(count == 0, "{count} cases failed:\n\n{}", self.0.join("\n\n"));
    }
}

fn modes(cached: bool) -> &'static str {
    if cached { "with the cache" } else { "without a cache" }
}

/// All forms of damage to one object of a kind, with and without a cache; `each` looks at the outcome.
fn matrix(
    kind: Kind,
    name: &str,
    sibling: &str,
    other: (Kind, &str),
    each: impl Fn(&Place, Damage, u64, &str),
) {
    let mut failures = Failures::default();
    for form in ALL {
        for cached in [true, false] {
            failures.case(format!("{}: {form:?} {}", kind.folder(), modes(cached)), |what| {
                let place = world().copy(cached);
                let path = place.path_of(kind, name);
                let length = fs::metadata(&path).unwrap().len();
                damage(&path, form, &place.path_of(kind, sibling), &place.path_of(other.0, other.1));
                each(&place, form, length, what);
            });
        }
    }
    failures.end();
}

fn first_other<'n>(names: &'n [String], but: &str) -> &'n str {
    names.iter().find(|name| *name != but).unwrap()
}

fn prepared(kind: Kind) -> Vec<String> {
    names(&world().folder.join("prepared/repository"), kind)
}

#[test]
fn the_prepared_repository_is_sound_and_heals_nothing() {
    for cached in [true, false] {
        let place = world().copy(cached);
        let ran = place.run(&["check", "--read-data"]);
        assert_eq!(ran.code, 0, "{}", ran.text);
        assert_eq!(restore_all(&place, modes(cached), &[], &|_| false), 0);
        heal(&place, modes(cached));
        assert!(prepared(Kind::Damage).is_empty() && place.names(Kind::Damage).is_empty());
    }
}

fn pack_matrix(name: &str, sibling: &str) {
    let index = prepared(Kind::Index);
    matrix(Kind::Packs, name, sibling, (Kind::Index, &index[0]), |place, form, length, what| {
        let hit = |piece: &Piece| {
            let pack = piece.pack.to_string();
            pack == name && is_hit(form, length, piece) || form == Sibling && pack == sibling
        };
        let lost = restore_all(place, what, &[], &hit);
        assert!(
            lost > 0 || !matches!(form, Missing | Empty | FlipQuarter | CutHalf | Sibling | OtherKind),
            "{what}: the test hits nothing"
        );
        let objects = if form == Sibling { vec![name, sibling] } else { vec![name] };
        check_names(place, what, &objects);
        heal(place, what);
    });
}

#[test]
fn a_damaged_pack_of_data_costs_only_the_files_in_it() {
    pack_matrix(&world().data_packs[0], &prepared_sibling(&world().data_packs[0], &world().tree_packs));
}

#[test]
fn a_damaged_pack_of_trees_costs_only_the_folders_in_it() {
    let trees = &world().tree_packs[0];
    let second = &world().snapshots[1].root.tree.pack.to_string();
    assert_ne!(trees, second);
    pack_matrix(trees, second);
}

/// A pack of data that is not this one.
fn prepared_sibling(name: &str, trees: &[String]) -> String {
    let all_trees: Vec<String> = world()
        .snapshots
        .iter()
        .map(|snapshot| snapshot.root.tree.pack.to_string())
        .chain(trees.iter().cloned())
        .collect();
    prepared(Kind::Packs).into_iter().find(|pack| pack != name && !all_trees.contains(pack)).unwrap()
}

#[test]
fn a_pack_of_data_in_place_of_a_pack_of_trees_is_noticed() {
    pack_matrix(&world().tree_packs[0], &world().data_packs[0]);
}

#[test]
fn a_damaged_index_object_costs_nothing_since_packs_say_it_too() {
    let index = prepared(Kind::Index);
    assert!(index.len() >= 3 && !world().indexes.is_empty());
    for victim in &world().indexes {
        let sibling = first_other(&index, victim);
        matrix(
            Kind::Index,
            victim,
            sibling,
            (Kind::Packs, &world().data_packs[0]),
            |place, form, _, what| {
                restore_all(place, what, &[], &|_| false);
                match form {
                    // That one is missing can not be known; what it said must be had all the same.
                    Missing => assert_eq!(place.run(&["check", "--read-data"]).code, 0, "{what}: check"),
                    Sibling => check_names(place, what, &[victim, sibling]),
                    _ => check_names(place, what, &[victim]),
                }
                heal(place, what);
            },
        );
    }
}

#[test]
fn without_any_index_object_everything_comes_back() {
    for cached in [true, false] {
        let place = world().copy(cached);
        for name in place.names(Kind::Index) {
            fs::remove_file(place.path_of(Kind::Index, &name)).unwrap();
        }
        restore_all(&place, modes(cached), &[], &|_| false);
        heal(&place, modes(cached));
    }
}

#[test]
fn a_backup_made_while_index_objects_are_missing_can_be_restored_by_every_machine() {
    let mut failures = Failures::default();
    for (gone, cached) in [("one", true), ("one", false), ("all", true), ("all", false)] {
        failures.case(format!("{gone} missing {}", modes(cached)), |what| {
            let place = world().copy(cached);
            let victims =
                if gone == "all" { place.names(Kind::Index) } else { world().indexes[..1].to_vec() };
            for name in victims {
                fs::remove_file(place.path_of(Kind::Index, &name)).unwrap();
            }
            // Something new, so that the backup writes an index object of its own.
            let new = place.home.join("new");
            fs::create_dir(&new).unwrap();
            fs::write(new.join("file"), random_bytes(5, 50_000)).unwrap();
            let ran = place.run(&["backup", world().source().to_str().unwrap(), new.to_str().unwrap()]);
            assert_eq!(ran.code, 0, "{what}: backup:\n{}", ran.text);
            let elsewhere = Place { cached: false, ..place };
            let target = temporary();
            let ran = elsewhere.run(&["restore", "latest", "-t", target.path().to_str().unwrap()]);
            assert_eq!(ran.code, 0, "{what}: restoring it:\n{}", ran.text);
        });
    }
    failures.end();
}

#[test]
fn a_damaged_snapshot_costs_only_itself() {
    let victim = world().snapshots[0].name.as_str();
    let sibling = world().snapshots[2].name.as_str();
    let index = prepared(Kind::Index);
    matrix(Kind::Snapshots, victim, sibling, (Kind::Index, &index[0]), |place, form, _, what| {
        let lost: &[&str] = if form == Sibling { &[victim, sibling] } else { &[victim] };
        restore_all(place, what, lost, &|_| false);
        check_names(place, what, lost);
        heal(place, what);
    });
}

#[test]
fn a_damaged_snapshot_that_is_asked_for_by_name_comes_from_the_cache_or_ends_with_code_5() {
    let victim = world().snapshots[0].name.as_str();
    let sibling = world().snapshots[2].name.as_str();
    let index = prepared(Kind::Index);
    matrix(Kind::Snapshots, victim, sibling, (Kind::Index, &index[0]), |place, _, _, what| {
        let target = temporary();
        let ran = place.run(&["restore", victim, "-t", target.path().to_str().unwrap()]);
        if place.cached && ran.code == 0 {
            let mut found = Compared::default();
            compare(&world().snapshots[0].root, target.path(), "", &|_| false, &mut found);
            return assert!(found.wrong.is_empty(), "{what}: {:?}", found.wrong);
        }
        assert!(
            ran.code == 5 && ran.text.contains(victim),
            "{what}: restore of it ends with {}:\n{}",
            ran.code,
            ran.text
        );
    });
}

#[test]
fn when_the_newest_snapshot_is_damaged_latest_is_not_quietly_an_older_one() {
    let mut failures = Failures::default();
    let victim = world().snapshots[2].name.as_str();
    for form in [Missing, FlipMiddle] {
        for cached in [true, false] {
            failures.case(format!("latest: {form:?} {}", modes(cached)), |what| {
                let place = world().copy(cached);
                damage(&place.path_of(Kind::Snapshots, victim), form, Path::new("/"), Path::new("/"));
                let target = temporary();
                let ran = place.run(&["restore", "latest", "-t", target.path().to_str().unwrap()]);
                let mut found = Compared::default();
                compare(&world().snapshots[2].root, target.path(), "", &|_| false, &mut found);
                let whole = found.wrong.is_empty() && ran.code == 0;
                assert!(whole || ran.code == 5, "{what}: ended with {}:\n{}", ran.code, ran.text);
            });
        }
    }
    failures.end();
}

#[test]
fn a_damaged_confirmation_is_named_and_the_snapshot_still_restores() {
    let victim = world().snapshots[0].name.as_str();
    let sibling = world().snapshots[1].name.as_str();
    let index = prepared(Kind::Index);
    matrix(Kind::Confirmed, victim, sibling, (Kind::Index, &index[0]), |place, form, _, what| {
        if form == Missing {
            // As if its backup had been killed before its last step: not listed, not lost.
            let ran = place.run(&["check", "--read-data"]);
            assert!(ran.code == 0 && ran.text.contains("never completed"), "{what}: check:\n{}", ran.text);
        } else {
            check_names(place, what, &[&format!("confirmed/{victim}")]);
        }
        let but: &[&str] = if form == Missing { &[victim] } else { &[] };
        restore_all(place, what, but, &|_| false);
        heal(place, what);
    });
}

#[test]
fn a_snapshot_without_its_confirmation_can_still_be_restored_by_its_name() {
    let victim = world().snapshots[0].name.as_str();
    let place = world().copy(false);
    fs::remove_file(place.path_of(Kind::Confirmed, victim)).unwrap();
    restore_all(&place, "unconfirmed", &[], &|_| false);
}

/// The `config` of another repository.
fn foreign_repository() -> (tempfile::TempDir, PathBuf) {
    let home = temporary();
    let (repository, key) = (home.path().join("repository"), home.path().join("key"));
    let ran = copal(
        home.path(),
        &["init", "-r", repository.to_str().unwrap(), "--key-file", key.to_str().unwrap()],
    );
    assert_eq!(ran.code, 0, "{}", ran.text);
    (home, repository)
}

#[test]
fn a_damaged_config_is_named_and_its_copy_in_a_key_slot_takes_its_place() {
    let mut failures = Failures::default();
    let (_home, foreign) = foreign_repository();
    let name = &prepared(Kind::Config)[0];
    for form in ALL {
        for cached in [true, false] {
            failures.case(format!("config: {form:?} {}", modes(cached)), |what| {
                let place = world().copy(cached);
                let path = place.path_of(Kind::Config, name);
                let sibling = place.home.join("foreign config");
                fs::copy(foreign.join(Kind::Config.path_of(name)), &sibling).unwrap();
                damage(&path, form, &sibling, &place.path_of(Kind::Keys, &world().second_slot));
                restore_all(&place, what, &[], &|_| false);
                check_names(&place, what, &[&format!("config/{name}")]);
                heal(&place, what);
            });
        }
    }
    failures.end();
}

#[test]
fn a_flipped_bit_anywhere_in_the_head_of_config_does_not_lock_anyone_out() {
    let mut failures = Failures::default();
    let name = &prepared(Kind::Config)[0];
    let place = world().copy(false);
    let path = place.path_of(Kind::Config, name);
    let sound = fs::read(&path).unwrap();
    for offset in 0..60 {
        failures.case(format!("config: bit at {offset}"), |what| {
            let mut bytes = sound.clone();
            bytes[offset] ^= 2;
            fs::write(&path, bytes).unwrap();
            let ran = place.run(&["snapshots"]);
            assert_eq!(ran.code, 0, "{what}: {}", ran.text);
        });
    }
    failures.end();
}

#[test]
fn a_damaged_key_slot_is_named_and_the_other_key_still_opens() {
    let victim = world().second_slot.as_str();
    let slots = prepared(Kind::Keys);
    let sibling = first_other(&slots, victim);
    let index = prepared(Kind::Index);
    matrix(Kind::Keys, victim, sibling, (Kind::Index, &index[0]), |place, form, _, what| {
        if form == Sibling {
            // Two slots under each other's names: both are damaged, and that is said, not "wrong key".
            for key in ["key", "second"] {
                let ran = place.run_with(key, &["snapshots"]);
                assert!(ran.code == 5 || ran.code == 0, "{what}: {key}: {}:\n{}", ran.code, ran.text);
            }
            return;
        }
        let ran = place.run_with("second", &["snapshots"]);
        // Damage beside what opens (its description) locks nobody out.
        let wanted: &[i32] = if form == Missing { &[12] } else { &[0, 5] };
        assert!(
            wanted.contains(&ran.code),
            "{what}: opening with the key of that slot: {}:\n{}",
            ran.code,
            ran.text
        );
        restore_all(place, what, &[], &|_| false);
        match form {
            Missing => assert_eq!(
                place.run(&["check", "--read-data"]).code,
                0,
                "{what}: a slot that is gone is a key that was removed"
            ),
            _ => check_names(place, what, &[victim]),
        }
        heal(place, what);
    });
}

#[test]
fn damage_to_a_damage_record_or_a_removal_record_does_not_stop_a_restore() {
    let mut failures = Failures::default();
    for form in [Empty, FlipMiddle, CutHalf, Garbage, OtherKind] {
        for kind in [Kind::Damage, Kind::Removals, Kind::Sessions] {
            failures.case(format!("{}: {form:?}", kind.folder()), |what| {
                let place = world().copy(false);
                let index = place.names(Kind::Index);
                // Whatever it says: a name of the right form with bytes that are not such an object.
                let path = place.path_of(kind, &"ab".repeat(32));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::copy(place.path_of(Kind::Index, &index[0]), &path).unwrap();
                damage(&path, form, Path::new("/"), &place.path_of(Kind::Index, &index[1]));
                restore_all(&place, what, &[], &|_| false);
            });
        }
    }
    failures.end();
}

#[test]
fn nothing_is_saved_while_a_removal_record_can_not_be_read() {
    let place = world().copy(false);
    let path = place.path_of(Kind::Removals, &"ab".repeat(32));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "whatever it said").unwrap();
    let before = place.names(Kind::Snapshots);
    let ran = place.run(&["backup", world().source().to_str().unwrap()]);
    assert!(ran.code == 5 && ran.text.contains("removals/abab"), "{}:\n{}", ran.code, ran.text);
    assert_eq!(place.names(Kind::Snapshots), before);
    check_names(&place, "removal", &["removals/abab"]);
}

#[test]
fn what_no_pack_holds_is_written_down_once_and_stored_again_by_who_trusted_it() {
    let place = world().copy(true);
    let victim = &world().data_packs[0];
    // The pack and every index object: nothing says that it was ever there, but the cache of this machine.
    fs::remove_file(place.path_of(Kind::Packs, victim)).unwrap();
    for name in place.names(Kind::Index) {
        fs::remove_file(place.path_of(Kind::Index, &name)).unwrap();
    }
    let elsewhere = Place { cached: false, home: place.home.clone(), _owned: None };
    for _ in 0..2 {
        check_names(&elsewhere, "lost", &["bytes are lost"]);
        assert_eq!(place.names(Kind::Damage).len(), 1);
    }
    heal(&place, "lost");
    let target = temporary();
    let ran = elsewhere.run(&["restore", "latest", "-t", target.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.text);
}

#[test]
fn packs_that_no_index_object_names_are_named_again_and_nothing_is_stored_twice() {
    let place = world().copy(false);
    let packs = place.names(Kind::Packs).len();
    for name in place.names(Kind::Index) {
        fs::remove_file(place.path_of(Kind::Index, &name)).unwrap();
    }
    let ran = place.run(&["check"]);
    assert!(ran.code == 0 && ran.text.contains("named by no index object"), "{}:\n{}", ran.code, ran.text);
    heal(&place, "named again");
    let ran = place.run(&["check"]);
    assert!(ran.code == 0 && !ran.text.contains("named by no index object"), "{}:\n{}", ran.code, ran.text);
    // The folders above the source may have changed, and the state with them; its data has not.
    assert!(place.names(Kind::Packs).len() <= packs + 2, "stored again");
}

#[test]
fn a_config_of_a_later_format_is_not_passed_over_for_an_older_copy() {
    let place = world().copy(true);
    let mut later = fs::read(place.path_of(Kind::Config, &prepared(Kind::Config)[0])).unwrap();
    later[9] = 2;
    fs::write(place.path_of(Kind::Config, "0000000000000002"), later).unwrap();
    let ran = place.run(&["snapshots"]);
    assert!(ran.code == 13 && ran.text.contains("0000000000000002"), "{}:\n{}", ran.code, ran.text);
}
