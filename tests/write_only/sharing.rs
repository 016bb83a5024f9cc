//! Write-only keys that see which chunks full keys stored: what they leave out, and what a thief makes of it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use copal::backend::{Backend, Kind};
use copal::crypto::{Keys, object_name};
use copal::format::index::{IndexObject, PackEntry};
use copal::format::record::Writer;
use copal::format::session::{self, Removal};
use copal::format::slot::Unlock;
use copal::format::{header, index, small};
use copal::model::clock::{Clock, SystemClock};
use copal::model::{Contents, Id, Time};
use copal::progress::Silent;
use copal::repair;

use crate::common::{flip, noise};
use crate::{World, common, id, sealed};

fn sharing() -> World {
    World::with_key(&["--share-index"])
}

fn packs(world: &World) -> Vec<PathBuf> {
    world.names("packs").iter().flat_map(|folder| sealed::names(folder)).collect()
}

fn largest_pack(world: &World) -> PathBuf {
    packs(world).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

fn full_keys(world: &World) -> Keys {
    sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file())
}

/// What each index object names.
fn entries(world: &World) -> Vec<Vec<PackEntry>> {
    let full = full_keys(world);
    let objects = world.names("index").into_iter().map(|path| fs::read(path).unwrap());
    objects.map(|object| index::decode(&full, &object).unwrap().packs).collect()
}

fn of_data(entry: &PackEntry) -> bool {
    entry.directory.contents == Contents::Data
}

fn path_of(world: &World, entry: &PackEntry) -> PathBuf {
    let name = entry.name.to_string();
    world.sandbox.repository().join("packs").join(&name[..2]).join(&name)
}

fn damage_directory(world: &World, entry: &PackEntry) {
    let path = path_of(world, entry);
    let mut bytes = fs::read(&path).unwrap();
    bytes[entry.directory_offset as usize + 5] ^= 1;
    fs::write(&path, bytes).unwrap();
}

/// A world whose write-only client has added so much that an index object names several packs of data, and those.
fn with_several_packs() -> (World, String, Vec<PackEntry>) {
    let world = World::new();
    for number in 0..11 {
        world.sandbox.write(format!("source/large/{number}"), noise(50 + number, 4_000_000));
    }
    let saved = id(&world.add(&[]));
    let data = entries(&world).into_iter().map(|packs| packs.into_iter().filter(of_data).collect::<Vec<_>>());
    let together = data.max_by_key(Vec::len).unwrap();
    assert!(together.len() >= 2, "they are in several index objects");
    (world, saved, together)
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
fn damage_of_what_others_stored_is_healed_by_its_next_backup() {
    let world = sharing();
    world.sandbox.back_up();
    stores_nothing(&world.add(&[]));
    let largest = largest_pack(&world);
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
    let (full, thief) = (full_keys(&world), world.thief());
    let object = fs::read(&world.names("index")[0]).unwrap();
    let seen = index::decode(&thief.keys, &object).unwrap();
    assert_eq!(seen.packs, index::decode(&full, &object).unwrap().packs);
    assert!(header::is_signed(&object));
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
    // A key that was not made so reads nothing of it.
    world.full(&["key", "add", "--write-only", "--new-key-file", "alone"]).expect(0);
    let alone = crate::thief::Thief::new(&world.sandbox.repository(), &world.sandbox.path("alone"));
    assert!(alone.keys.shared_index().is_none());
    assert!(index::decode(&alone.keys, &object).is_err());
}

/// The directory of a writer's pack is damaged, and the index has it too: how the pack begins is enough for who comes without a cache.
#[test]
fn a_damaged_directory_of_a_writers_pack_costs_nothing_while_the_index_has_it() {
    let world = World::new();
    let saved = id(&world.add(&[]));
    entries(&world).iter().flatten().for_each(|entry| damage_directory(&world, entry));
    world.assert_restores(&saved, "out");
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.assert_restores(&saved, "out");
}

/// What the write-only client stored is out of reach for a while, and somebody with its key says that he holds the same: for who comes without a
/// cache nothing must seem to be there twice, and nothing superfluous when it comes back.
#[test]
fn what_is_out_of_reach_for_a_while_is_not_forgotten() {
    for (is_listed, is_repaired) in [(true, false), (false, false), (true, true), (false, true)] {
        let world = World::new();
        let saved = id(&world.add(&[]));
        let data: Vec<PackEntry> = entries(&world).into_iter().flatten().filter(of_data).collect();
        for block in data.iter().flat_map(|entry| &entry.directory.blocks) {
            world.thief().rubbish_called(&world.backend(), block.chunks.clone());
        }
        let moved: Vec<(PathBuf, Vec<u8>)> = data
            .iter()
            .map(|entry| {
                let path = path_of(&world, entry);
                let bytes = fs::read(&path).unwrap();
                match is_listed {
                    // As long as it was, and nothing of it to be seen.
                    true => fs::write(&path, vec![0; bytes.len()]).unwrap(),
                    false => fs::remove_file(&path).unwrap(),
                }
                (path, bytes)
            })
            .collect();
        for _ in 0..2 {
            fs::remove_dir_all(world.sandbox.cache()).unwrap();
            let refused = world.full(&["prune", "--grace", "0"]);
            assert_eq!(refused.code, 5, "{refused}");
        }
        if is_repaired {
            // Too soon: it was not gone for good.
            let told = world.full(&["repair", "index", "--yes"]);
            assert!(told.expect(0).text().contains("and that only write-only keys named"));
            world.full(&["prune", "--grace", "0"]).expect(0);
        }
        for (path, bytes) in moved {
            fs::write(path, bytes).unwrap();
        }
        // With what it learnt meanwhile, and with nothing.
        for is_new in [false, true] {
            if is_new {
                fs::remove_dir_all(world.sandbox.cache()).unwrap();
            }
            world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
            world.assert_restores(&saved, "out");
        }
    }
}

/// One pack out of reach takes nothing away of what the same index object says of others, whose own directories may be damaged.
#[test]
fn what_an_index_object_says_of_other_packs_stays_when_one_is_out_of_reach() {
    let (world, saved, together) = with_several_packs();
    fs::remove_file(path_of(&world, &together[0])).unwrap();
    damage_directory(&world, &together[1]);
    let lost = |target: &str| {
        let out = world.full(&["restore", "--json", &saved, "-t", target]);
        assert_eq!(out.code, 5, "{out}");
        let restored = common::below(&world.sandbox.path(target), &world.sandbox.source());
        let files = walkdir::WalkDir::new(&restored).into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file());
        files
            .filter(|entry| {
                let original = world.sandbox.source().join(entry.path().strip_prefix(&restored).unwrap());
                fs::read(entry.path()).unwrap() != fs::read(original).unwrap()
            })
            .count()
    };
    let with_cache = lost("one");
    for step in ["other", "repaired"] {
        fs::remove_dir_all(world.sandbox.cache()).unwrap();
        assert!(lost(step) <= with_cache, "{step}: more than {with_cache} are lost");
        if step == "other" {
            world.full(&["repair", "index", "--yes"]).expect(0);
        }
    }
}

/// Between the question and the answer more goes out of reach: that was not agreed to.
#[test]
fn a_repair_gives_up_only_what_it_asked_about() {
    let (world, saved, together) = with_several_packs();
    let full = full_keys(&world);
    let all: Vec<PathBuf> = together.iter().map(|entry| path_of(&world, entry)).collect();
    let kept: Vec<Vec<u8>> = all.iter().map(|path| fs::read(path).unwrap()).collect();
    fs::remove_file(&all[0]).unwrap();
    let key = fs::read_to_string(world.sandbox.key_file()).unwrap();
    let key = copal::crypto::MasterKey::from_key_file(&key).unwrap();
    let repository = copal::repository::open(Box::new(world.backend()), Unlock::KeyFile(&key), None).unwrap();
    let (options, stop) = (repair::Options::default(), AtomicBool::new(false));
    let tools = repair::Tools {
        repository: &repository,
        options: &options,
        clock: &SystemClock,
        listener: &Silent,
        stop: &stop,
    };
    let before = world.names("index");
    let refused = repair::index(tools, false, &mut |plan| {
        assert_eq!(plan.unseen, [together[0].name]);
        // In their place: who has them open must not see them any more either.
        all[1..]
            .iter()
            .zip(&kept[1..])
            .for_each(|(path, bytes)| fs::write(path, vec![0; bytes.len()]).unwrap());
        true
    });
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("which it names, can not be read"), "{told}");
    assert_eq!(world.names("index"), before);
    let given_up = sealed::names(&world.sandbox.repository().join("damage"));
    let given_up =
        given_up.iter().map(|path| session::decode_damage(&full, &fs::read(path).unwrap()).unwrap());
    assert_eq!(given_up.map(|damage| damage.packs.len()).sum::<usize>(), 1);
    for block in together.iter().flat_map(|entry| &entry.directory.blocks) {
        if block.chunks.len() < 30 {
            world.thief().rubbish_called(&world.backend(), block.chunks.clone());
        }
    }
    for (path, bytes) in all.iter().zip(kept) {
        fs::write(path, bytes).unwrap();
    }
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.full(&["prune", "--grace", "0"]).expect(0);
    world.assert_restores(&saved, "out");
}

/// Storage says to a write-only key, which can not tell who wrote it, that what is about to go has gone already, and names nothing of it.
#[test]
fn what_is_about_to_go_is_not_relied_on_whatever_storage_says_of_it() {
    let world = sharing();
    world.sandbox.back_up();
    let full = full_keys(&world);
    let names =
        packs(&world).into_iter().map(|path| Id::parse(path.file_name().unwrap().to_str().unwrap()).unwrap());
    let mark = Removal { packs: names.collect(), time: SystemClock.now(), ..Removal::default() };
    let mark = session::encode_removal(&full, &mark).unwrap();
    let mark_name = object_name(&mark);
    world.backend().put(Kind::Removals, &mark_name.to_string(), &mark).unwrap();
    let mut record = Writer::default();
    record.time(2, true, Some(SystemClock.now())).int(5, true, 2).id(6, true, Some(&mark_name));
    let record = record.finish();
    let mut forged = header::encode(session::REMOVAL, full.repository).to_vec();
    forged.extend_from_slice(&[7; 16]);
    forged.extend_from_slice(&(record.len() as u32).to_le_bytes());
    forged.extend_from_slice(&record);
    forged.extend_from_slice(&[9; 60]);
    world.backend().put(Kind::Removals, &object_name(&forged).to_string(), &forged).unwrap();
    stores_all(&world.add(&[]));
}

/// It is gone for good: a repair says so, and all goes on.
#[test]
fn what_is_gone_for_good_is_named_until_a_repair() {
    let world = World::new();
    world.add(&[]);
    let largest = largest_pack(&world);
    fs::remove_file(largest).unwrap();
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    let told = world.full(&["check"]);
    assert_eq!(told.code, 5, "{told}");
    assert!(told.text().contains("which it names, can not be read"), "{told}");
    assert_eq!(world.full(&["prune"]).code, 5);
    world.full(&["repair", "index", "--yes"]).expect(0);
    let healed = world.add(&["--force"]);
    assert!(healed["data_added"].as_u64().unwrap() > 100_000, "{healed}");
    world.full(&["prune", "--grace", "0"]).expect(0);
    world.assert_sound();
    world.assert_restores("latest", "out");
}

/// Older programs wrote what they found damaged where a write-only key can not read it.
#[test]
fn what_an_older_program_found_damaged_is_not_relied_on_unknowingly() {
    let world = sharing();
    world.sandbox.back_up();
    let full = full_keys(&world);
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
    let full = full_keys(&world);
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
