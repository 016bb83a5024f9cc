//! Damage to small objects: snapshots, confirmations, config, key slots, records of damage and removal. It costs only what they say.

use std::fs;
use std::path::Path;

use copal::backend::Kind;

use crate::cases::{
    ALL, Damage, Failures, check_names, damage, first_other, foreign_repository, heal, matrix, modes,
    prepared, restore_all,
};
use crate::program::temporary;
use crate::world::{Compared, compare, world};

use Damage::{CutHalf, Empty, FlipMiddle, Garbage, Missing, OtherKind, Sibling};

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
            ran.code == 5 && ran.text().contains(victim),
            "{what}: restore of it ends with {}:\n{}",
            ran.code,
            ran.text()
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
                assert!(whole || ran.code == 5, "{what}: ended with {}:\n{}", ran.code, ran.text());
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
            assert!(
                ran.code == 0 && ran.text().contains("never completed"),
                "{what}: check:\n{}",
                ran.text()
            );
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
            assert_eq!(ran.code, 0, "{what}: {}", ran.text());
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
                assert!(ran.code == 5 || ran.code == 0, "{what}: {key}: {}:\n{}", ran.code, ran.text());
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
            ran.text()
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
    assert!(ran.code == 5 && ran.text().contains("removals/abab"), "{}:\n{}", ran.code, ran.text());
    assert_eq!(place.names(Kind::Snapshots), before);
    check_names(&place, "removal", &["removals/abab"]);
}

#[test]
fn a_config_of_a_later_format_is_not_passed_over_for_an_older_copy() {
    let place = world().copy(true);
    let mut later = fs::read(place.path_of(Kind::Config, &prepared(Kind::Config)[0])).unwrap();
    later[9] = 2;
    fs::write(place.path_of(Kind::Config, "0000000000000002"), later).unwrap();
    let ran = place.run(&["snapshots"]);
    assert!(ran.code == 13 && ran.text().contains("0000000000000002"), "{}:\n{}", ran.code, ran.text());
}

/// Where in a header a changed byte makes an object look like a later program's: version, wrap kind, signature kind, epoch.
const LATER: [usize; 7] = [9, 10, 11, 12, 13, 14, 15];

#[test]
fn a_changed_byte_in_the_header_of_a_confirmation_is_damage_and_mended() {
    let mut failures = Failures::default();
    let victim = world().snapshots[0].name.as_str();
    for cached in [true, false] {
        for offset in LATER {
            failures.case(format!("confirmed: byte {offset} {}", modes(cached)), |what| {
                let place = world().copy(cached);
                let path = place.path_of(Kind::Confirmed, victim);
                let mut bytes = fs::read(&path).unwrap();
                bytes[offset] ^= 4;
                fs::write(&path, bytes).unwrap();
                check_names(&place, what, &[&format!("confirmed/{victim}")]);
                let ran = place.run(&["prune"]);
                assert!(
                    ran.code == 5 && ran.text().contains("its header was changed"),
                    "{what}: {}",
                    ran.text()
                );
                let ran = place.run(&["repair", "snapshots", "--yes"]);
                assert_eq!(ran.code, 0, "{what}: repair:\n{}", ran.text());
                let ran = place.run(&["prune"]);
                assert_eq!(ran.code, 0, "{what}: prune:\n{}", ran.text());
            });
        }
    }
    failures.end();
}

#[test]
fn a_changed_byte_anywhere_in_the_header_of_a_key_slot_locks_nobody_out() {
    let mut failures = Failures::default();
    let slots = prepared(Kind::Keys);
    for alone in [false, true] {
        for offset in 0..32 {
            failures.case(format!("keys: byte {offset}, alone: {alone}"), |what| {
                let place = world().copy(false);
                let path = place.path_of(Kind::Keys, &world().second_slot);
                let mut bytes = fs::read(&path).unwrap();
                bytes[offset] ^= 4;
                fs::write(&path, bytes).unwrap();
                for other in slots.iter().filter(|name| alone && **name != world().second_slot) {
                    fs::remove_file(place.path_of(Kind::Keys, other)).unwrap();
                }
                let ran = place.run_with("second", &["snapshots"]);
                assert_eq!(ran.code, 0, "{what}: {}", ran.text());
                let ran = place.run_with("second", &["check"]);
                assert!(ran.code == 5 && ran.text().contains(&world().second_slot), "{what}: {}", ran.text());
            });
        }
    }
    failures.end();
}

#[test]
fn a_changed_byte_in_the_header_of_a_footer_is_damage_of_the_pack() {
    let mut failures = Failures::default();
    for offset in LATER {
        failures.case(format!("footer: byte {offset}"), |what| {
            let place = world().copy(true);
            let packs = place.names(Kind::Packs);
            for name in &packs {
                let path = place.path_of(Kind::Packs, name);
                let mut bytes = fs::read(&path).unwrap();
                // The footer is 144 bytes long.
                let at = bytes.len() - 144 + offset;
                bytes[at] ^= 4;
                fs::write(&path, bytes).unwrap();
            }
            let ran = place.run(&["check", "--read-data"]);
            assert!(
                ran.code == 5 && !ran.text().contains("newer copal"),
                "{what}: {}:\n{}",
                ran.code,
                ran.text()
            );
            restore_all(&place, what, &[], &|_| false);
            // Their blocks are whole, and the index says where they lie.
            for words in
                [&["forget", "--keep-last", "1"][..], &["prune", "--grace", "0", "--max-unused", "0"]]
            {
                let ran = place.run(words);
                assert!(ran.code == 0 || ran.code == 5, "{what}: {words:?}: {}:\n{}", ran.code, ran.text());
                assert!(!ran.text().contains("newer copal"), "{what}: {words:?}:\n{}", ran.text());
            }
            let lost: Vec<&str> = world().snapshots.iter().map(|one| one.name.as_str()).collect();
            restore_all(&place, what, &lost[..lost.len() - 1], &|_| false);
        });
    }
    failures.end();
}
