//! Damage to the local cache: it costs nothing but time, and is never believed.

use std::fs;
use std::path::PathBuf;

use copal::backend::Kind;

use crate::cases::{ALL, Failures, damage, foreign_repository, heal, restore_all};
use crate::program::{copal, temporary};
use crate::world::{Compared, Place, compare, random_bytes, trees_of, world};

/// The file of the cache.
fn cache_file(place: &Place) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(place.cache())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sqlite"))
        .collect();
    assert_eq!(files.len(), 1);
    files.pop().unwrap()
}

#[test]
fn a_damaged_cache_costs_nothing() {
    let mut failures = Failures::default();
    // A cache of another repository: made by a backup there.
    let (home, foreign) = foreign_repository();
    let (cache, key) = (home.path().join("cache"), home.path().join("key"));
    let ran = copal(
        home.path(),
        &[
            "snapshots",
            "-r",
            foreign.to_str().unwrap(),
            "--key-file",
            key.to_str().unwrap(),
            "--cache-dir",
            cache.to_str().unwrap(),
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.text());
    for form in ALL {
        failures.case(format!("cache: {form:?}"), |what| {
            let place = world().copy(true);
            let file = cache_file(&place);
            let sibling = place.home.join("foreign cache");
            let foreign_cache = fs::read_dir(&cache)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.extension().is_some_and(|e| e == "sqlite"));
            fs::copy(foreign_cache.unwrap(), &sibling).unwrap();
            damage(&file, form, &sibling, &place.path_of(Kind::Packs, &world().data_packs[0]));
            let ran = place.run(&["check", "--read-data"]);
            assert_eq!(ran.code, 0, "{what}: check:\n{}", ran.text());
            restore_all(&place, what, &[], &|_| false);
            heal(&place, what);
        });
    }
    failures.end();
}

#[test]
fn a_flipped_bit_anywhere_in_the_cache_never_costs_a_file() {
    let mut failures = Failures::default();
    let length = fs::metadata(cache_file(&world().copy(true))).unwrap().len();
    // Sixty places, spread; the seed is fixed, so that a failure comes again.
    for (number, chunk) in random_bytes(77, 60 * 8).chunks(8).enumerate() {
        let offset = u64::from_le_bytes(chunk.try_into().unwrap()) % length;
        failures.case(format!("cache: flip {number} at {offset}"), |what| {
            let place = world().copy(true);
            let file = cache_file(&place);
            let mut bytes = fs::read(&file).unwrap();
            bytes[offset as usize] ^= 1 << (number % 8);
            fs::write(&file, bytes).unwrap();
            let latest = &world().snapshots[1];
            let target = temporary();
            let ran = place.run(&["restore", &latest.name, "-t", target.path().to_str().unwrap()]);
            assert_eq!(ran.code, 0, "{what}: restore:\n{}", ran.text());
            let mut found = Compared::default();
            compare(&latest.root, target.path(), "", &|_| false, &mut found);
            assert!(found.wrong.is_empty(), "{what}: {:?}", found.wrong);
            heal(&place, what);
        });
    }
    failures.end();
}

/// Where the keys stand by which a table's inner page at the top tells which of its pages holds a row (SQLite's file format, 1.6).
fn dividing_keys(file: &[u8], root: usize) -> Vec<usize> {
    let number = |at: usize| usize::from(u16::from_be_bytes([file[at], file[at + 1]]));
    let size = number(16);
    let page = (root - 1) * size;
    assert_eq!(file[page], 5, "an inner page of a table");
    // The places of its cells follow the header; in each a page number comes before the key.
    (0..number(page + 3)).map(|cell| page + number(page + 12 + 2 * cell) + 4).collect()
}

#[test]
fn a_flipped_bit_in_the_keys_that_lead_to_the_rows_of_the_cache_never_costs_a_file() {
    let place = world().copy(true);
    let cache = rusqlite::Connection::open(cache_file(&place)).unwrap();
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = 'chunks'";
    let root: usize = cache.query_row(query, [], |row| row.get(0)).unwrap();
    drop(cache);
    let sound = fs::read(cache_file(&place)).unwrap();
    let keys = dividing_keys(&sound, root);
    assert!(!keys.is_empty(), "the chunks of the cache fill more than one page");
    let mut failures = Failures::default();
    for key in keys {
        for bit in [6, 5, 4, 3, 2, 1, 0] {
            failures.case(format!("cache: key at {key}, bit {bit}"), |what| {
                let place = world().copy(true);
                let mut bytes = sound.clone();
                bytes[key] ^= 1 << bit;
                fs::write(cache_file(&place), bytes).unwrap();
                assert_eq!(restore_all(&place, what, &[], &|_| false), 0);
                heal(&place, what);
            });
        }
    }
    failures.end();
}

#[test]
fn a_tree_id_flipped_in_the_cache_does_not_get_into_a_snapshot() {
    let mut failures = Failures::default();
    let mut ids = Vec::new();
    trees_of(&world().snapshots[1].root, &mut ids);
    let sound = fs::read(cache_file(&world().copy(true))).unwrap();
    let places: Vec<usize> = (0..sound.len() - 32)
        .filter(|place| ids.iter().any(|id| sound[*place..*place + 32] == id.0))
        .collect();
    assert!(!places.is_empty(), "the cache remembers trees");
    for place_in_file in places {
        failures.case(format!("cache: tree id at {place_in_file}"), |what| {
            let place = world().copy(true);
            let mut bytes = sound.clone();
            bytes[place_in_file + 9] ^= 4;
            fs::write(cache_file(&place), bytes).unwrap();
            heal(&place, what);
        });
    }
    failures.end();
}

/// Changes that turn sound rows of the cache into wrong ones: as a flipped bit does, but all at once.
const WRONG: [&str; 12] = [
    "DELETE FROM chunks",
    "UPDATE chunks SET confirm = confirm + 1",
    "UPDATE chunks SET offset = offset + 1",
    "UPDATE chunks SET length = length - 1",
    "UPDATE chunks SET block = block + 1",
    "UPDATE chunks SET pack = (SELECT max(id) FROM packs) WHERE pack <> (SELECT max(id) FROM packs)",
    "UPDATE packs SET salt = zeroblob(32)",
    "UPDATE packs SET blocks = zeroblob(17)",
    "UPDATE packs SET blocks = zeroblob(3)",
    "UPDATE packs SET name = randomblob(32)",
    "DELETE FROM pack_sources",
    "UPDATE index_objects SET name = randomblob(32)",
];

#[test]
fn wrong_rows_of_the_cache_are_found_and_mended() {
    let mut failures = Failures::default();
    for change in WRONG {
        for command in ["restore", "check", "backup"] {
            failures.case(format!("{command} after {change}"), |what| {
                let place = world().copy(true);
                let cache = rusqlite::Connection::open(cache_file(&place)).unwrap();
                assert!(cache.execute(change, []).unwrap() > 0, "{what}: nothing was changed");
                drop(cache);
                match command {
                    "restore" => assert_eq!(restore_all(&place, what, &[], &|_| false), 0),
                    "check" => {
                        let ran = place.run(&["check", "--read-data"]);
                        assert_eq!(ran.code, 0, "{what}:\n{}", ran.text());
                        assert!(place.names(Kind::Damage).is_empty(), "{what}: damage is written down");
                    }
                    _ => {
                        heal(&place, what);
                        // What was saved is there for everyone.
                        let elsewhere = Place { cached: false, ..place };
                        let ran = elsewhere.run(&["check", "--read-data"]);
                        assert_eq!(ran.code, 0, "{what}: check without a cache:\n{}", ran.text());
                    }
                }
            });
        }
    }
    failures.end();
}

#[test]
fn a_block_that_seems_to_end_behind_the_next_one_costs_nothing() {
    let place = world().copy(true);
    let cache = rusqlite::Connection::open(cache_file(&place)).unwrap();
    let mut query = cache.prepare("SELECT id, blocks FROM packs").unwrap();
    let packs: Vec<(i64, Vec<u8>)> =
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let mut changed = 0;
    for (pack, mut blocks) in packs {
        // As src/index/records.rs has them: 17 bytes a block, its stored bytes at 9.
        let stored = |block: &[u8]| u32::from_le_bytes(block[9..13].try_into().unwrap());
        if blocks.len() > 17 {
            let longer = blocks.chunks(17).map(stored).sum::<u32>() + 100;
            blocks[9..13].copy_from_slice(&longer.to_le_bytes());
            changed += cache.execute("UPDATE packs SET blocks = ?2 WHERE id = ?1", (pack, blocks)).unwrap();
        }
    }
    assert!(changed > 0, "no pack has two blocks");
    drop(query);
    drop(cache);
    assert_eq!(restore_all(&place, "a longer block", &[], &|_| false), 0);
    heal(&place, "a longer block");
}

#[test]
fn what_a_wrong_row_says_of_a_folder_or_of_the_repository_is_not_believed() {
    for change in [
        "UPDATE facts SET value = x'ffffffffffffffff0011223344556677'",
        "UPDATE directories SET tree = randomblob(32)",
        "UPDATE directories SET side = zeroblob(length(side))",
        "UPDATE cached_objects SET bytes = zeroblob(length(bytes))",
    ] {
        let place = world().copy(true);
        let cache = rusqlite::Connection::open(cache_file(&place)).unwrap();
        assert!(cache.execute(change, []).unwrap() > 0, "{change}: nothing was changed");
        drop(cache);
        heal(&place, change);
    }
}
