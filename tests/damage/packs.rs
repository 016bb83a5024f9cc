//! Damage to packs and index objects: it costs only what lies in the packs.

use std::fs;
use std::process::Command;

use copal::backend::Kind;

use crate::cases::{
    Damage, Failures, check_names, first_other, heal, is_hit, matrix, modes, prepared, restore_all,
};
use crate::program::{end, temporary};
use crate::world::{Piece, Place, random_bytes, world};

use Damage::{CutHalf, Empty, FlipQuarter, Missing, OtherKind, Sibling};

#[test]
fn the_prepared_repository_is_sound_and_heals_nothing() {
    for cached in [true, false] {
        let place = world().copy(cached);
        let ran = place.run(&["check", "--read-data"]);
        assert_eq!(ran.code, 0, "{}", ran.text());
        assert_eq!(restore_all(&place, modes(cached), &[], &|_| false), 0);
        heal(&place, modes(cached));
        assert!(prepared(Kind::Damage).is_empty() && place.names(Kind::Damage).is_empty());
    }
}

/// Where there is no room to gather what a check meets, each chunk is looked up.
#[test]
fn a_check_without_a_temporary_folder_tells_the_same() {
    for is_missing in [false, true] {
        let said = ["/dev/shm", "/nowhere"].map(|temporary| {
            let place = world().copy(false);
            if is_missing {
                fs::remove_file(place.path_of(Kind::Packs, &world().data_packs[0])).unwrap();
            }
            let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
            command
                .arg("check")
                .arg("-r")
                .arg(place.repository())
                .arg("--key-file")
                .arg(place.home.join("key"));
            command.arg("--no-cache").env_clear().env("HOME", &place.home).env("TMPDIR", temporary);
            let ran = end(command).expect(if is_missing { 5 } else { 0 });
            ran.text().replace(place.home.to_str().unwrap(), "HOME")
        });
        assert_eq!(said[0], said[1]);
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
                    // Which one it was can not be known, but that snapshots need what none names any more.
                    Missing => {
                        let ran = place.run(&["check", "--read-data"]);
                        let told = ran.text().contains("index objects are missing");
                        assert!(ran.code == 5 && told, "{what}: check:\n{}", ran.text());
                    }
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
            assert_eq!(ran.code, 0, "{what}: backup:\n{}", ran.text());
            let elsewhere = Place { cached: false, ..place };
            let target = temporary();
            let ran = elsewhere.run(&["restore", "latest", "-t", target.path().to_str().unwrap()]);
            assert_eq!(ran.code, 0, "{what}: restoring it:\n{}", ran.text());
        });
    }
    failures.end();
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
    assert_eq!(ran.code, 0, "{}", ran.text());
}

#[test]
fn each_index_object_that_is_missing_is_damage_to_a_check_and_a_repair_mends_it() {
    for cached in [true, false] {
        let names = world().copy(false).names(Kind::Index);
        for name in &names {
            let place = world().copy(cached);
            fs::remove_file(place.path_of(Kind::Index, name)).unwrap();
            // Once more: a cache that has learnt of it tells it all the same.
            for _ in 0..2 {
                let ran = place.run(&["check"]);
                assert!(
                    ran.code == 5 && ran.text().contains("index objects are missing"),
                    "{name}, {}: {}:\n{}",
                    crate::cases::modes(cached),
                    ran.code,
                    ran.text()
                );
            }
            assert_eq!(place.run(&["repair", "index"]).code, 0);
            let ran = place.run(&["check", "--read-data"]);
            assert_eq!(ran.code, 0, "{}", ran.text());
        }
    }
}

#[test]
fn packs_that_no_index_object_names_are_named_again_and_nothing_is_stored_twice() {
    let place = world().copy(false);
    let packs = place.names(Kind::Packs).len();
    for name in place.names(Kind::Index) {
        fs::remove_file(place.path_of(Kind::Index, &name)).unwrap();
    }
    let ran = place.run(&["check"]);
    assert!(
        ran.code == 5
            && ran.text().contains("named by no index object")
            && ran.text().contains("copal repair index"),
        "{}:\n{}",
        ran.code,
        ran.text()
    );
    heal(&place, "named again");
    let ran = place.run(&["check"]);
    assert!(
        ran.code == 0 && !ran.text().contains("named by no index object"),
        "{}:\n{}",
        ran.code,
        ran.text()
    );
    // The folders above the source may have changed, and the state with them; its data has not.
    assert!(place.names(Kind::Packs).len() <= packs + 2, "stored again");
}
