//! Write-only keys that see which chunks full keys stored, or read and vouch for: what they leave out, and what a thief makes of it.

use std::fs;
use std::path::PathBuf;

use copal::backend::{Backend, Kind};
use copal::crypto::{FULL, object_name};
use copal::format::index::{IndexObject, PackEntry};
use copal::format::pack::{Block, CODEC_ZSTD};
use copal::format::record::Writer;
use copal::format::{header, index, small};
use copal::model::{Contents, Time};

use crate::common::{flip, noise};
use crate::{World, id, sealed};

fn sharing() -> World {
    World::with_key(&["--share-index"])
}

/// A second one, `other`.
fn with_another() -> World {
    let world = sharing();
    world.full(&["key", "add", "--write-only", "--share-index", "--new-key-file", "other"]).expect(0);
    world
}

fn add_with(world: &World, key: &str) -> serde_json::Value {
    world.with(key, &["backup", "--json", world.sandbox.source().to_str().unwrap()]).expect(0).summary()
}

fn packs(world: &World) -> Vec<PathBuf> {
    world.names("packs").iter().flat_map(|folder| sealed::names(folder)).collect()
}

#[track_caller]
fn stores_nothing(added: &serde_json::Value) {
    assert_eq!(added["data_added"], 0, "{added}");
}

#[track_caller]
fn stores_all(added: &serde_json::Value) {
    assert!(added["data_added"].as_u64().unwrap() >= 600_000, "{added}");
}

#[test]
fn what_full_keys_stored_is_not_stored_again() {
    let world = sharing();
    world.sandbox.back_up();
    let stored =
        |world: &World| packs(world).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    let before = stored(&world);
    stores_nothing(&world.add(&[]));
    // But for what it keeps of its own for the next time.
    assert!(stored(&world) < before + 10_000);
    // It sees them without having seen them before, and goes on from its own.
    fs::remove_dir_all(world.sandbox.path("home/writer")).unwrap();
    stores_nothing(&world.add(&[]));
    world.sandbox.write("source/more", noise(9, 40_000));
    let more = world.add(&[]);
    assert!((40_000..60_000).contains(&more["data_added"].as_u64().unwrap()), "{more}");
    world.assert_sound();
    world.assert_restores("latest", "out");
    // Which keys do so is shown.
    let listed = world.full(&["key", "list"]).expect(0);
    assert!(listed.out().contains("key file, write-only, shares the index"), "{listed}");
    let listed = world.full(&["key", "list", "--json"]).expect(0).messages("key");
    assert_eq!(listed.iter().filter(|key| key["shares_index"] == true).count(), 1, "{listed:?}");
    // Only a write-only key is in need of it.
    world.full(&["key", "add", "--share-index", "--new-key-file", "third"]).expect(2);
}

#[test]
fn what_it_relies_on_stays_when_those_who_stored_it_forget_it() {
    let world = sharing();
    let full = id(&world.sandbox.back_up());
    stores_nothing(&world.add(&[]));
    world.full(&["forget", "-q", &full, "--unsafe-allow-remove-all"]).expect(0);
    world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    world.assert_sound();
    world.assert_restores("latest", "out");
    stores_nothing(&world.add(&[]));
    // Written anew it is found again: some of a pack goes, the rest is in another one.
    fs::remove_file(world.sandbox.path("source/0")).unwrap();
    let rest = id(&world.add(&[]));
    for snapshot in world.full(&["snapshots", "--json"]).expect(0).messages("snapshot") {
        let snapshot = snapshot["id"].as_str().unwrap();
        if snapshot != rest {
            world.full(&["forget", "-q", snapshot]).expect(0);
        }
    }
    let before = packs(&world);
    world.full(&["prune", "--grace", "0", "--max-unused", "0", "--repack-small"]).expect(0);
    assert!(packs(&world).iter().any(|pack| !before.contains(pack)), "nothing was written anew");
    stores_nothing(&world.add(&["--force"]));
    // All goes: it is stored again, though its cache knew of it.
    world.full(&["forget", "-q", "--all", "--unsafe-allow-remove-all"]).expect(0);
    world.full(&["prune", "--grace", "0"]).expect(0);
    assert_eq!(packs(&world), Vec::<PathBuf>::new());
    assert!(world.add(&[])["data_added"].as_u64().unwrap() >= 480_000);
    world.assert_sound();
    world.assert_restores("latest", "out");
}

#[test]
fn what_another_one_stored_is_relied_on_once_a_full_key_read_it() {
    let world = with_another();
    stores_all(&world.add(&[]));
    stores_all(&add_with(&world, "other"));
    let stored = packs(&world).len();
    // A third one, of which nobody spoke yet, does so too; a check that reads ends that.
    world.sandbox.write("source/more", noise(9, 300_000));
    let more = world.add(&[]);
    assert!(more["data_added"].as_u64().unwrap() >= 300_000, "{more}");
    let said = world.names("index").len();
    world.full(&["check"]).expect(0);
    assert_eq!(world.names("index").len(), said, "what was not read is vouched for");
    world.full(&["check", "--read-data"]).expect(0);
    assert_eq!(world.names("index").len(), said + 1);
    // Once.
    world.full(&["check", "--read-data"]).expect(0);
    assert_eq!(world.names("index").len(), said + 1);
    stores_nothing(&add_with(&world, "other"));
    stores_nothing(&world.sandbox.back_up());
    assert!(packs(&world).len() > stored);
    // What is relied on outlives those who stored it, also when index objects are put together.
    for snapshot in world.writer(&["snapshots", "--json"]).expect(0).messages("snapshot") {
        world.full(&["forget", "-q", snapshot["id"].as_str().unwrap()]).expect(0);
    }
    for _ in 0..8 {
        world.sandbox.write("source/changes", noise(packs(&world).len() as u64, 20_000));
        world.sandbox.back_up();
        add_with(&world, "other");
    }
    let before = world.names("index").len();
    world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    assert!(world.names("index").len() < before, "nothing was put together");
    world.assert_sound();
    world.assert_restores("latest", "out");
    stores_nothing(&add_with(&world, "other"));
    // Of a repair nothing is left of it but what is there.
    world.full(&["repair", "index", "--yes"]).expect(0);
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.assert_sound();
    world.assert_restores("latest", "out");
    world.sandbox.back_up();
    world.assert_sound();
    world.assert_restores("latest", "out");
}

#[test]
fn nobody_vouches_where_no_key_shares_and_for_what_is_damaged() {
    let world = World::new();
    stores_all(&world.add(&[]));
    let said = world.names("index").len();
    world.assert_sound();
    assert_eq!(world.names("index").len(), said);
    stores_all(&world.sandbox.back_up());
    let world = with_another();
    stores_all(&world.add(&[]));
    let largest = packs(&world).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    flip(&largest);
    // So says a thief of another one, which was never anything else.
    world.thief().rubbish(&world.backend(), &[&noise(77, 9_000)]);
    world.full(&["check", "--read-data"]).expect(5);
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    let objects = world.names("index").into_iter().map(|path| fs::read(path).unwrap());
    let said = objects.map(|object| index::decode(&full, &object).unwrap());
    let (of_full, of_writer): (Vec<_>, Vec<_>) = said.partition(|said| said.made_by == FULL);
    let count = |said: &[IndexObject]| said.iter().map(|said| said.packs.len()).sum::<usize>();
    assert_eq!(count(&of_full) + 2, count(&of_writer), "{of_full:?}");
    let damaged = largest.file_name().unwrap().to_str().unwrap();
    assert!(of_full.iter().flat_map(|said| &said.packs).all(|entry| entry.name.to_string() != damaged));
    world.sandbox.write("source/victim", noise(77, 9_000));
    let added = add_with(&world, "other");
    assert!(added["data_added"].as_u64().unwrap() > 100_000, "{added}");
    let other = id(&added);
    // The others' trees were sound, and are shared; what was damaged is whole again by it.
    world.assert_restores(&other, "out");
    world.assert_restores("latest", "out");
}

#[test]
fn damage_of_what_others_stored_is_healed_by_its_next_backup() {
    let world = sharing();
    world.sandbox.back_up();
    stores_nothing(&world.add(&[]));
    let largest = packs(&world).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    flip(&largest);
    world.full(&["check", "--read-data"]).expect(5);
    let healed = world.add(&[]);
    assert!(healed["data_added"].as_u64().unwrap() > 100_000, "{healed}");
    world.assert_restores("latest", "out");
    // A pack that is gone, too.
    fs::remove_file(&largest).unwrap();
    world.full(&["check"]).expect(0);
    world.assert_restores("latest", "out");
}

/// An index object that names what is no more, kept and put back by whoever has the storage.
#[test]
fn an_index_object_of_before_makes_nobody_rely_on_what_is_gone() {
    let world = sharing();
    let first = id(&world.sandbox.back_up());
    let kept: Vec<(PathBuf, Vec<u8>)> =
        world.names("index").into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    world.full(&["forget", "-q", &first, "--unsafe-allow-remove-all"]).expect(0);
    world.full(&["prune", "--grace", "0"]).expect(0);
    assert_eq!(packs(&world), Vec::<PathBuf>::new());
    for (path, bytes) in kept {
        fs::write(path, bytes).unwrap();
    }
    stores_all(&world.add(&[]));
    world.assert_sound();
    world.assert_restores("latest", "out");
}

#[test]
fn a_thief_sees_what_is_stored_and_makes_nothing_that_passes_for_it() {
    let world = sharing();
    let saved = id(&world.sandbox.back_up());
    let (full, thief) = (sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file()), world.thief());
    let object = fs::read(&world.names("index")[0]).unwrap();
    let seen = index::decode(&thief.keys, &object).unwrap();
    assert_eq!(seen.packs, index::decode(&full, &object).unwrap().packs);
    assert_eq!(seen.made_by, FULL);
    // That is all: it opens no pack, and of the rest nothing.
    for (folder, kind) in [("snapshots", 5), ("confirmed", 6), ("sessions", 7), ("config", 1)] {
        for path in world.names(folder) {
            assert!(
                small::decode(&thief.keys, kind, &fs::read(&path).unwrap()).is_err(),
                "{}",
                path.display()
            );
        }
    }
    // What it says in the name of full keys: that their packs hold nothing, and that one of rubbish holds what will be saved.
    let lies: Vec<PackEntry> = seen
        .packs
        .iter()
        .map(|entry| {
            let mut lie = entry.clone();
            lie.directory.blocks.clear();
            lie
        })
        .collect();
    let lie = IndexObject { packs: lies, ..IndexObject::default() };
    let mut of_thief = index::encode(&thief.keys, &lie).unwrap();
    assert!(!header::is_signed(&of_thief));
    let record = small::decode(&thief.keys, index::KIND, &of_thief).unwrap();
    let head = header::encode(index::KIND, full.repository);
    let sealed = |head: &[u8; 32]| {
        let mut object = [&head[..], &[7; 16], &[0; 4]].concat();
        let payload = [&[0][..], &varint(record.len()), &record].concat();
        let (nonce, sealed) =
            copal::crypto::seal::seal_small(thief.keys.shared_index().unwrap(), &object, &payload).unwrap();
        object.extend_from_slice(&nonce);
        object.extend_from_slice(&sealed);
        object
    };
    let mut unsigned = head;
    unsigned[11] = 0;
    let signed = |seed: [u8; 32]| {
        let object = sealed(&head);
        let signature = copal::crypto::sign::sign(&seed, &object);
        [&object[..], &signature, &64u32.to_le_bytes()].concat()
    };
    // A signature of a true object behind other bytes.
    let (_, end) = object.split_at(object.len() - 68);
    let moved = [&sealed(&head)[..], end].concat();
    let mut as_full = of_thief.clone();
    as_full[..32].copy_from_slice(&head);
    of_thief[11] = 1;
    for forged in [sealed(&unsigned), sealed(&head), signed([1; 32]), moved, as_full, of_thief] {
        assert!(index::decode(&full, &forged).is_err());
        assert!(index::decode(&thief.keys, &forged).is_err());
        world.backend().put(Kind::Index, &object_name(&forged).to_string(), &forged).unwrap();
    }
    // Nobody goes by them, and a repair takes them away.
    let refused = world.full(&["prune", "--grace", "0"]);
    assert_eq!(refused.code, 5, "{refused}");
    world.assert_restores(&saved, "out");
    world.full(&["repair", "index", "--yes"]).expect(0);
    world.full(&["prune", "--grace", "0"]).expect(0);
    world.assert_sound();
    world.assert_restores(&saved, "out");
    stores_nothing(&world.add(&[]));
    // Nor does one that sees, of the others that do not: of their packs it is told nothing.
    world.full(&["key", "add", "--write-only", "--new-key-file", "alone"]).expect(0);
    let alone = crate::thief::Thief::new(&world.sandbox.repository(), &world.sandbox.path("alone"));
    assert!(alone.keys.shared_index().is_none());
    assert!(index::decode(&alone.keys, &object).is_err());
}

/// Says of a pack that a full key read and vouched for something else than it holds: that all that full keys stored is in it, what will be
/// saved, or nothing. The key of that pack the thief has kept, so both can be proved; what the pack itself says can not be changed.
#[test]
fn what_a_thief_says_anew_of_a_pack_that_is_vouched_for_makes_nobody_lose_anything() {
    let (coming, held) = (noise(78, 9_000), noise(79, 9_000));
    for (lie, is_low, is_new) in (0..12).map(|case| (case % 3, case / 3 % 2 == 0, case / 6 == 0)) {
        let what = format!("lie {lie}, a low name: {is_low}, a new cache: {is_new}");
        let world = sharing();
        let backend = world.backend();
        world.sandbox.back_up();
        let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
        let thief = world.thief();
        let of_full: Vec<PackEntry> = world
            .names("index")
            .iter()
            .flat_map(|path| index::decode(&full, &fs::read(path).unwrap()).unwrap().packs)
            .collect();
        let lowest = of_full.iter().map(|entry| entry.name).min().unwrap();
        // The first by its name among the copies that count.
        let made = thief.plant(&backend, &[&held], &|name| *name < lowest);
        world.full(&["check", "--read-data"]).expect(0);
        let saved = match lie {
            // Somebody relies on it, as it should be.
            2 => {
                world.sandbox.write("source/held", &held);
                let summary = world.sandbox.back_up();
                assert!(summary["data_added"].as_u64().unwrap() < 5_000, "{what}: {summary}");
                // And of what it holds another one, of rubbish, says that it holds it too.
                thief.rubbish(&backend, &[&held]);
                id(&summary)
            }
            _ => id(&world.sandbox.back_up()),
        };
        let vouching = world.names("index").into_iter().map(|path| {
            let object = fs::read(&path).unwrap();
            let is_meant = index::decode(&full, &object).unwrap();
            let is_meant =
                is_meant.made_by == FULL && is_meant.packs.iter().any(|entry| entry.name == made.entry.name);
            (is_meant, object_name(&object))
        });
        let (_, vouching) = vouching.into_iter().find(|(is_meant, _)| *is_meant).unwrap();
        let mut blocks = made.entry.directory.blocks.clone();
        match lie {
            0 => {
                let data = of_full.iter().filter(|entry| entry.directory.contents == Contents::Data);
                blocks[0].codec = CODEC_ZSTD;
                blocks[0].chunks = data
                    .flat_map(|entry| &entry.directory.blocks)
                    .flat_map(|block| block.chunks.clone())
                    .collect();
                blocks[0].plain = blocks[0].chunks.iter().map(|(_, length)| length).sum();
            }
            1 => {
                let id = copal::crypto::Hasher::new(&full).id(Contents::Data, &coming);
                blocks[0].chunks = vec![(id, coming.len() as u32)];
            }
            _ => blocks.clear(),
        }
        thief.say_again(&backend, &made, blocks, &|name| (*name < vouching) == is_low);
        if is_new {
            fs::remove_dir_all(world.sandbox.cache()).unwrap();
        }
        let mut saved = vec![saved];
        if lie == 1 {
            world.sandbox.write("source/coming", &coming);
            let summary = world.sandbox.back_up();
            assert!(summary["data_added"].as_u64().unwrap() >= 9_000, "{what}: {summary}");
            saved.push(id(&summary));
        }
        // It is seen, and nothing is taken away by it, before or after a repair.
        let refused = world.full(&["prune", "--grace", "0"]);
        assert_eq!(refused.code, 5, "{what}: {refused}");
        world.full(&["repair", "index", "--yes"]).expect(0);
        world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
        for snapshot in &saved {
            let words = ["restore", "-q", snapshot, "-t", "out", "--verify"];
            let restored = world.full(&words);
            assert_eq!(restored.code, 0, "{what}: {restored}");
            fs::remove_dir_all(world.sandbox.path("out")).unwrap();
        }
        fs::remove_dir_all(world.sandbox.cache()).unwrap();
        world.assert_sound();
    }
}

/// The same when chance has damaged that pack's own directory: then what the full key said goes before what the thief says, whichever is read
/// first.
#[test]
fn what_a_thief_says_of_a_pack_that_is_vouched_for_and_damaged_is_not_believed() {
    let coming = noise(78, 9_000);
    for (is_low, is_new) in [(true, true), (false, true), (true, false), (false, false)] {
        let what = format!("a low name: {is_low}, a new cache: {is_new}");
        let world = sharing();
        let backend = world.backend();
        world.sandbox.back_up();
        let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
        let thief = world.thief();
        // With room between the last block and the directory.
        let room = |entry: &PackEntry| {
            entry.directory_offset
                - entry.directory.blocks.last().map_or(0, |b| b.offset + u64::from(b.stored))
        };
        let plants = (0..).map(|more| thief.plant(&backend, &[&noise(79, 9_000 + 16 * more)], &|_| true));
        let made = plants.into_iter().find(|made| room(&made.entry) >= 32).unwrap();
        world.full(&["check", "--read-data"]).expect(0);
        let vouching =
            sealed::names(&world.sandbox.repository().join("index")).into_iter().find_map(|path| {
                let object = fs::read(&path).unwrap();
                let said = index::decode(&full, &object).unwrap();
                let is_meant =
                    said.made_by == FULL && said.packs.iter().any(|entry| entry.name == made.entry.name);
                is_meant.then(|| object_name(&object))
            });
        let name = made.entry.name.to_string();
        let path = world.sandbox.repository().join("packs").join(&name[..2]).join(&name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[made.entry.directory_offset as usize + 5] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut blocks = made.entry.directory.blocks.clone();
        let id = copal::crypto::Hasher::new(&full).id(Contents::Data, &coming);
        let (offset, plain) = (blocks[0].offset + u64::from(blocks[0].stored), coming.len() as u32);
        blocks.push(Block { codec: CODEC_ZSTD, offset, stored: 30, plain, chunks: vec![(id, plain)] });
        thief.say_again(&backend, &made, blocks, &|name| (*name < vouching.unwrap()) == is_low);
        if is_new {
            fs::remove_dir_all(world.sandbox.cache()).unwrap();
        }
        world.sandbox.write("source/coming", &coming);
        let summary = world.sandbox.back_up();
        assert!(summary["data_added"].as_u64().unwrap() >= 9_000, "{what}: {summary}");
        world.assert_restores(&crate::id(&summary), "out");
    }
}

/// The directory of a writer's pack is damaged, and the index has it too: who comes without a cache reads the blocks instead.
#[test]
fn a_damaged_directory_of_a_writers_pack_costs_nothing_while_the_index_has_it() {
    let world = World::new();
    let saved = id(&world.add(&[]));
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    for path in world.names("index") {
        for entry in index::decode(&full, &fs::read(path).unwrap()).unwrap().packs {
            let name = entry.name.to_string();
            let path = world.sandbox.repository().join("packs").join(&name[..2]).join(&name);
            let mut bytes = fs::read(&path).unwrap();
            bytes[entry.directory_offset as usize + 5] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    world.assert_restores(&saved, "out");
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.assert_restores(&saved, "out");
}

/// Older programs wrote what they found damaged where a write-only key can not read it.
#[test]
fn what_an_older_program_found_damaged_is_not_relied_on_unknowingly() {
    let world = sharing();
    world.sandbox.back_up();
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    let named = sealed::packs_of_index(&full, &fs::read(&world.names("index")[0]).unwrap());
    let mut record = Writer::default();
    record.list(1, true, named.iter().map(|name| name.0)).time(3, true, Some(Time::new(1_790_000_000, 0)));
    let object = small::encode(&full, 11, &[], &record.finish()).unwrap();
    let name = object_name(&object).to_string();
    world.backend().put(Kind::Damage, &name, &object).unwrap();
    stores_all(&world.add(&[]));
    // Once that is gone, what is there is relied on again.
    fs::remove_file(world.sandbox.repository().join("damage").join(name)).unwrap();
    world.sandbox.write("source/more", noise(9, 40_000));
    world.sandbox.back_up();
    stores_nothing(&world.add(&[]));
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Every byte of a signed index object, and its end: never a later program's word, and never believed.
#[test]
fn a_changed_byte_of_a_signed_index_object_is_damage() {
    let world = World::new();
    world.sandbox.back_up();
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    let object = fs::read(&world.names("index")[0]).unwrap();
    assert!(header::is_signed(&object));
    let places = (0..200).chain(object.len() - 200..object.len());
    for at in places {
        for bit in [1, 2, 0x80] {
            let mut changed = object.clone();
            changed[at] ^= bit;
            let error = index::decode(&full, &changed).unwrap_err();
            assert!(!matches!(error, copal::format::Error::Unsupported(_)), "byte {at}: {error:?}");
        }
    }
    for length in [0, 31, 32, 75, 76, 100, object.len() - 69, object.len() - 68, object.len() - 1] {
        assert!(index::decode(&full, &object[..length]).is_err(), "{length}");
    }
    assert!(index::decode(&full, &[&object[..], &[0]].concat()).is_err());
}
