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
