//! Keys that add and do not read: what their backups are worth, what is refused, and what somebody can do who stole one, with all that such a
//! client has and with storage that takes additions.

mod common;
mod sealed;
#[path = "write_only/sharing.rs"]
mod sharing;
#[path = "write_only/thief.rs"]
mod thief;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Ended, Sandbox, assert_same, noise};
use copal::backend::{Backend, Kind, Local};
use copal::crypto::object_name;
use copal::format::session::{self, Removal, Role, SessionObject, State};
use copal::format::snapshot::{self, Confirmation};
use copal::format::{config, header, index, note, pack, small};
use copal::model::clock::{Clock, SystemClock};
use copal::model::{Id, Id16, Segment, SegmentKind, Snapshot, Time};
use thief::Thief;

/// A repository with a full key (`sandbox`'s) and a write-only one, each with a cache of its own.
struct World {
    sandbox: Sandbox,
}

impl World {
    fn new() -> World {
        World::with_key(&[])
    }

    /// With a write-only key made with these options.
    fn with_key(options: &[&str]) -> World {
        let sandbox = Sandbox::new().trusting_fresh_files();
        for number in 0..5 {
            sandbox.write(format!("source/{number}"), noise(number, 120_000));
        }
        let words = ["key", "add", "--write-only", "--label", "web", "--new-key-file", "writer"];
        sandbox.run([&words, options].concat()).expect(0);
        World { sandbox }
    }

    /// Runs with the write-only key.
    fn writer(&self, arguments: &[&str]) -> Ended {
        let mut command = self.sandbox.command(arguments);
        command.env("COPAL_KEY_FILE", self.sandbox.path("writer"));
        command.env("XDG_CACHE_HOME", self.sandbox.path("home/writer"));
        common::end(command)
    }

    /// Backs up the source with the write-only key.
    fn add(&self, options: &[&str]) -> serde_json::Value {
        let source = self.sandbox.source();
        let words = ["backup", "--json", source.to_str().unwrap()];
        self.writer(&[&words, options].concat()).expect(0).summary()
    }

    /// Runs with the full key.
    fn full(&self, arguments: &[&str]) -> Ended {
        self.sandbox.run(arguments)
    }

    fn backend(&self) -> Local {
        Local::new(self.sandbox.repository())
    }

    fn thief(&self) -> Thief {
        Thief::new(&self.sandbox.repository(), &self.sandbox.path("writer"))
    }

    /// Restores a snapshot and compares it with the source.
    #[track_caller]
    fn assert_restores(&self, snapshot: &str, target: &str) {
        let out = self.sandbox.path(target);
        self.full(&["restore", "-q", snapshot, "-t", target]).expect(0);
        assert_same(&self.sandbox.source(), &common::below(&out, &self.sandbox.source()));
        fs::remove_dir_all(out).unwrap();
    }

    #[track_caller]
    fn assert_sound(&self) {
        self.full(&["check", "--read-data"]).expect(0);
    }

    fn objects(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = walkdir::WalkDir::new(self.sandbox.repository()).into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn names(&self, folder: &str) -> Vec<PathBuf> {
        sealed::names(&self.sandbox.repository().join(folder))
    }
}

fn id(summary: &serde_json::Value) -> String {
    summary["snapshot_id"].as_str().unwrap().to_owned()
}

#[test]
fn what_it_adds_comes_back_with_a_full_key_and_is_stored_once() {
    let world = World::new();
    let first = world.add(&[]);
    assert!(first["data_added"].as_u64().unwrap() >= 600_000, "{first}");
    let again = world.add(&[]);
    assert_eq!((&again["data_added"], &again["files_unmodified"]), (&0.into(), &5.into()), "{again}");
    world.sandbox.write("source/more/file", noise(9, 40_000));
    let third = world.add(&[]);
    assert_eq!((&third["files_new"], &third["files_unmodified"]), (&1.into(), &5.into()), "{third}");
    assert!(third["data_added"].as_u64().unwrap() < 60_000, "{third}");
    world.assert_sound();
    world.assert_restores("latest", "out");
    // It sees its own, and full keys see all.
    assert_eq!(world.writer(&["snapshots", "--json"]).expect(0).messages("snapshot").len(), 3);
    world.sandbox.back_up();
    assert_eq!(world.writer(&["snapshots", "--json"]).expect(0).messages("snapshot").len(), 3);
    assert_eq!(world.full(&["snapshots", "--json"]).expect(0).messages("snapshot").len(), 4);
    let streamed = world.writer(&["backup", "--json", "--stdin-from-command", "--", "echo", "streamed"]);
    let streamed = id(&streamed.expect(0).summary());
    assert_eq!(world.full(&["dump", &format!("{streamed}:/stdin")]).expect(0).stdout, b"streamed\n");
}

/// `fixtures/write-only/v1`: what the first version that had such keys stored with a full key, and with a write-only one after that; and
/// `v1-shared`: the same when index objects began to be signed, and added to with a key that shares the index. Once a
/// release wrote such repositories they are never made anew.
#[test]
fn what_was_stored_by_the_first_versions_that_had_such_keys_is_read_and_added_to() {
    let numbers = |most: u32| (1..=most).map(|number| format!("{number}\n")).collect::<String>();
    let all = [("v1", "gw", &["writer"][..]), ("v1-shared", "gs", &["writer", "sharer"])];
    for (fixture, folder, writers) in all {
        let sandbox = Sandbox::empty();
        let fixture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/write-only").join(fixture).join(".");
        let copied = std::process::Command::new("cp").arg("-r").arg(fixture).arg(sandbox.path("")).status();
        assert!(copied.unwrap().success());
        let run = |key: &str, words: &[&str]| {
            let mut command = sandbox.command(words);
            command
                .env("COPAL_KEY_FILE", sandbox.path(format!("{key}.key")))
                .env("XDG_CACHE_HOME", sandbox.path(format!("cache {key}")));
            common::end(command)
        };
        run("full", &["check", "--read-data"]).expect(0);
        let full = if writers.len() > 1 { 9000 } else { 5000 };
        let hosts = [("full", full), ("web", 9000), ("mail", 9000)];
        for (host, most) in &hosts[..1 + writers.len()] {
            // They belong to root.
            let code = if common::is_root() { 0 } else { 3 };
            run("full", &["restore", "-q", "latest", "-H", host, "-t", host]).expect(code);
            let folder = sandbox.path(host).join("tmp").join(folder).join("source");
            assert_eq!(fs::read_to_string(folder.join("note")).unwrap(), "kept exactly as it was\n");
            assert_eq!(fs::read_to_string(folder.join("folder/numbers")).unwrap(), numbers(*most));
        }
        // The same bytes elsewhere: what the writer stored then is found.
        sandbox.write("source/numbers", numbers(9000));
        for writer in writers {
            let added = run(writer, &["backup", "--json", "-H", "elsewhere", "source"]).expect(0).summary();
            assert_eq!(added["data_added"], 0, "{writer}: {added}");
        }
        run("full", &["check", "--read-data"]).expect(0);
    }
}

#[test]
fn without_its_cache_it_reads_everything_and_stores_nothing_anew() {
    let world = World::new();
    world.add(&[]);
    fs::remove_dir_all(world.sandbox.path("home/writer")).unwrap();
    let again = world.add(&[]);
    assert_eq!(again["data_added"], 0, "{again}");
    // What it can not see is not gone; what is fewer is.
    assert_eq!((&again["files_new"], &again["files_removed"]), (&5.into(), &0.into()), "{again}");
    world.assert_sound();
    world.assert_restores("latest", "out");
    for (options, removed) in [(&["--cache-size", "0"][..], 2), (&["--force"], 0)] {
        fs::remove_dir_all(world.sandbox.path("home/writer")).unwrap();
        (0..removed)
            .for_each(|number| fs::remove_file(world.sandbox.source().join(number.to_string())).unwrap());
        assert_eq!(world.add(options)["files_removed"], removed, "{options:?}");
    }
}

#[test]
fn whatever_reads_or_removes_is_refused_and_changes_nothing() {
    let world = World::new();
    let first = id(&world.add(&[]));
    world.sandbox.back_up();
    let before = world.objects();
    for words in [
        "restore latest -t out",
        "ls latest",
        "dump latest:/x",
        "find x",
        "versions source/1",
        "diff latest latest",
        "check",
        "check --read-data",
        "forget --keep-last 1",
        "forget --dry-run --keep-last 1",
        "prune",
        "prune --dry-run",
        "undelete latest",
        "tag --add x latest",
        "protect latest",
        "stats",
        "repair index",
        "repair packs",
        "repair snapshots",
        "repair records",
        "parity add 5%",
        "drill",
        "key list",
        "key add --new-key-file other",
        "key add --write-only --new-key-file other",
        "key passwd --new-key-file other",
        "key export",
    ] {
        let ended = world.writer(&words.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8(ended.stderr.clone()).unwrap();
        assert_eq!(ended.code, 6, "{words}: {said}");
        assert!(said.contains("only adds backups"), "{words}: {said}");
        assert!(ended.stdout.is_empty(), "{words}");
    }
    // It looks from outside, and recommends nothing that hurts.
    let doctor = world.writer(&["doctor"]);
    assert_eq!(doctor.code, 12, "{doctor:?}");
    assert!(!String::from_utf8(doctor.stdout).unwrap().contains("rm "));
    assert!(world.objects() == before, "something was written");
    let listed = String::from_utf8(world.full(&["key", "list"]).expect(0).stdout).unwrap();
    assert!(listed.contains("key file, write-only") && listed.contains("web"), "{listed}");
    assert_eq!(world.full(&["snapshots", "--json", &first]).expect(0).messages("snapshot").len(), 1);
}

#[test]
fn nothing_that_it_has_opens_what_is_stored() {
    let world = World::new();
    world.sandbox.back_up();
    world.add(&[]);
    let thief = world.thief();
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    let (mut own, mut others) = (0, 0);
    for path in world.names("packs").iter().flat_map(|folder| sealed::names(folder)) {
        let bytes = fs::read(path).unwrap();
        let footer = bytes.last_chunk().unwrap();
        let footer = pack::decode_footer(footer, bytes.len() as u64, thief.keys.repository).unwrap();
        assert!(pack::find_key(&thief.keys, &footer).is_none());
        assert!(pack::find_key(&full, &footer).is_some());
        match footer.writer == thief.keys.writer() {
            true => own += 1,
            false => others += 1,
        }
    }
    assert!(own > 1 && others > 1, "{own} {others}");
    for (folder, kind) in [("snapshots", 5), ("confirmed", 6), ("index", 4), ("sessions", 7), ("config", 1)] {
        for path in world.names(folder) {
            let object = fs::read(&path).unwrap();
            let is_own = header::writer(&object) == thief.keys.writer();
            assert_eq!(small::decode(&thief.keys, kind, &object).is_ok(), is_own, "{}", path.display());
            assert!(small::decode(&full, kind, &object).is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn two_of_them_know_nothing_of_each_other() {
    let world = World::new();
    world.add(&[]);
    world.full(&["key", "add", "--write-only", "--new-key-file", "other"]).expect(0);
    let other = Thief::new(&world.sandbox.repository(), &world.sandbox.path("other"));
    assert_ne!(other.keys.writer(), world.thief().keys.writer());
    for path in world.names("snapshots").iter().chain(&world.names("index")) {
        let object = fs::read(path).unwrap();
        assert_eq!(
            small::decode(&other.keys, object[8], &object),
            Err(copal::format::Error::NotGiven),
            "{}",
            path.display()
        );
    }
    let mut command = world.sandbox.command(["backup", "--json", world.sandbox.source().to_str().unwrap()]);
    command.env("COPAL_KEY_FILE", world.sandbox.path("other"));
    let second = common::end(command).expect(0).summary();
    // The same files: it can not know that they are there.
    assert!(second["data_added"].as_u64().unwrap() >= 600_000 && second["files_unmodified"] == 0, "{second}");
    world.assert_sound();
    world.assert_restores("latest", "out");
}

#[test]
fn what_others_remove_of_it_is_stored_again_and_what_they_put_together_is_found() {
    let world = World::new();
    let first = id(&world.add(&[]));
    for number in 10..20 {
        world.sandbox.write("source/changes", noise(number, 30_000));
        world.sandbox.write(format!("source/stays {number}"), noise(100 + number, 10_000));
        world.add(&[]);
    }
    let before = world.names("index").len();
    // Small index objects are put together, and the writer still finds what they say.
    world.full(&["prune", "--grace", "0"]).expect(0);
    assert!(world.names("index").len() < before, "nothing was put together");
    let after = world.add(&[]);
    assert_eq!(after["data_added"], 0, "{after}");
    let without_cache = {
        fs::remove_dir_all(world.sandbox.path("home/writer")).unwrap();
        world.add(&[])
    };
    assert_eq!(without_cache["data_added"], 0, "{without_cache}");
    world.assert_sound();
    // Versions that go take their packs along.
    let packs =
        |world: &World| world.names("packs").iter().map(|folder| sealed::names(folder).len()).sum::<usize>();
    let many = packs(&world);
    world.full(&["forget", "-q", "--keep-last", "1"]).expect(0);
    world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    assert!(packs(&world) < many);
    // Those that are partly in use are not written anew: it would have to store all of that again.
    assert_eq!(world.add(&[])["data_added"], 0);
    world.assert_sound();
    world.assert_restores("latest", "out");
    // All of it, its parent too.
    world.full(&["forget", "-q", "--all", "--unsafe-allow-remove-all"]).expect(0);
    world.full(&["prune", "--grace", "0"]).expect(0);
    assert_eq!(packs(&world), 0, "{first}");
    let anew = world.add(&[]);
    assert!(anew["data_added"].as_u64().unwrap() >= 600_000, "{anew}");
    world.assert_sound();
    world.assert_restores("latest", "out");
}

#[test]
fn a_full_key_and_a_write_only_one_each_keep_copies_of_their_own() {
    let world = World::new();
    world.sandbox.back_up();
    let added = world.add(&[]);
    assert!(added["data_added"].as_u64().unwrap() >= 600_000, "{added}");
    world.full(&["prune", "--grace", "0"]).expect(0);
    assert_eq!(world.add(&[])["data_added"], 0);
    assert_eq!(world.sandbox.back_up()["data_added"], 0);
    // The full key's snapshots go. What the writer's need stays in both: nobody relies on the writer's copies but the writer.
    world.full(&["forget", "-q", "--keep-last", "1"]).expect(0);
    world.full(&["forget", "-q", &id(&world.sandbox.back_up())]).expect(0);
    world.full(&["prune", "--grace", "0"]).expect(0);
    world.assert_sound();
    assert_eq!(world.add(&[])["data_added"], 0);
    assert_eq!(world.sandbox.back_up_with(&["--force"])["data_added"], 0);
    world.assert_restores("latest", "out");
    // The writer's go: its packs with them, and nothing of the others'.
    for snapshot in world.writer(&["snapshots", "--json"]).expect(0).messages("snapshot") {
        world.full(&["forget", "-q", snapshot["id"].as_str().unwrap()]).expect(0);
    }
    let stored =
        |world: &World| world.names("packs").iter().map(|folder| sealed::names(folder).len()).sum::<usize>();
    let both = stored(&world);
    world.full(&["prune", "--grace", "0"]).expect(0);
    assert!(stored(&world) < both);
    world.assert_sound();
    world.assert_restores("latest", "out");
    assert!(world.add(&[])["data_added"].as_u64().unwrap() >= 600_000);
}

#[test]
fn damage_that_a_check_found_is_healed_by_its_next_backup() {
    let world = World::new();
    world.add(&[]);
    let packs: Vec<PathBuf> = world.names("packs").iter().flat_map(|folder| sealed::names(folder)).collect();
    let largest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(largest).unwrap();
    for byte in &mut bytes[200..4000] {
        *byte ^= 0x55;
    }
    fs::write(largest, bytes).unwrap();
    world.full(&["check", "--read-data"]).expect(5);
    let healed = world.add(&[]);
    assert!(healed["data_added"].as_u64().unwrap() > 100_000, "{healed}");
    world.assert_restores("latest", "out");
}

#[test]
fn the_last_full_key_stays_whatever_write_only_ones_there_are() {
    let world = World::new();
    let slots: Vec<serde_json::Value> = world.full(&["key", "list", "--json"]).expect(0).messages("key");
    let of = |write_only: bool| {
        slots.iter().find(|slot| slot["write_only"] == write_only).unwrap()["id"].as_str().unwrap().to_owned()
    };
    world.full(&["key", "add", "--new-key-file", "second"]).expect(0);
    let mut command = world.sandbox.command(["key", "remove", &of(false)]);
    command.env("COPAL_KEY_FILE", world.sandbox.path("second"));
    common::end(command).expect(0);
    // By the library: the command refuses the one in use anyway.
    let second = fs::read_to_string(world.sandbox.path("second")).unwrap();
    let second = copal::crypto::MasterKey::from_key_file(&second).unwrap();
    let repository = copal::repository::open(
        Box::new(world.backend()),
        copal::format::slot::Unlock::KeyFile(&second),
        None,
    )
    .unwrap();
    let (slots, _) = repository.key_slots().unwrap();
    let last = slots.iter().find(|slot| slot.current).unwrap().name;
    let refused = repository.remove_key(&last, &SystemClock, b"host");
    assert!(refused.is_err_and(|error| error.to_string().starts_with("this is the last key")));
    // The other one can go, and opens nothing then.
    let writer = slots.iter().find(|slot| !slot.current).unwrap().name;
    repository.remove_key(&writer, &SystemClock, b"host").unwrap();
    world.writer(&["backup", world.sandbox.source().to_str().unwrap()]).expect(12);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// The thief

#[test]
fn a_thief_can_not_say_what_a_pack_of_others_holds() {
    let world = World::new();
    let saved = id(&world.sandbox.back_up());
    let (full, thief) = (sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file()), world.thief());
    let object = fs::read(&world.names("index")[0]).unwrap();
    let victims = index::decode(&full, &object).unwrap().packs;
    for victim in &victims {
        // With a key of its own, and a proof that fits that: an empty pack, that nobody needs.
        thief.claim(&world.backend(), victim);
    }
    assert_refused_until_repaired(&world, &saved);
    for victim in &victims {
        thief.repeat(&world.backend(), victim);
    }
    assert_refused_until_repaired(&world, &saved);
}

/// What takes away refuses to go by a lie, what gives back does not need it, and a repair removes it.
#[track_caller]
fn assert_refused_until_repaired(world: &World, saved: &str) {
    let refused = world.full(&["prune", "--grace", "0"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("somebody else"));
    world.assert_restores(saved, "out");
    // Neither does who comes without a cache.
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.assert_restores(saved, "out");
    assert_eq!(world.full(&["prune", "--grace", "0"]).code, 5);
    world.full(&["repair", "index", "--yes"]).expect(0);
    world.full(&["prune", "--grace", "0"]).expect(0);
    world.assert_sound();
    world.assert_restores(saved, "out");
}

#[test]
fn a_thief_can_not_make_others_leave_out_what_they_save() {
    let world = World::new();
    let thief = world.thief();
    let content = noise(77, 9_000);
    thief.rubbish(&world.backend(), &[&content]);
    world.sandbox.write("source/victim", &content);
    let saved = id(&world.sandbox.back_up());
    world.assert_restores(&saved, "out");
    // Nor that what they saved looks superfluous beside it, or lies in it.
    world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    world.assert_restores(&saved, "out");
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    world.assert_restores(&saved, "out");
    let again = id(&world.sandbox.back_up_with(&["--force"]));
    world.assert_restores(&again, "out");
}

#[test]
fn a_thief_can_not_change_what_was_said_of_the_packs_of_the_client_it_robbed() {
    let world = World::new();
    let saved = id(&world.add(&[]));
    let thief = world.thief();
    let object = fs::read(&world.names("index")[0]).unwrap();
    let mut own = index::decode(&thief.keys, &object).unwrap();
    // Its key was forgotten when it was made: nothing of it can be proved anew.
    for change in 0..3 {
        let mut entry = own.packs[0].clone();
        match change {
            0 => entry.directory.blocks.clear(),
            1 => entry.length += 512,
            _ => entry.name = Id([9; 32]),
        }
        if change == 1 {
            entry.directory_offset += 512;
        }
        let object = index::IndexObject { packs: vec![entry], ..Default::default() };
        thief.put(&world.backend(), Kind::Index, &index::encode(&thief.keys, &object).unwrap());
    }
    own.packs.clear();
    let refused = world.full(&["prune", "--grace", "0"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    world.assert_restores(&saved, "out");
    world.full(&["repair", "index", "--yes"]).expect(0);
    world.full(&["prune", "--grace", "0"]).expect(0);
    world.assert_sound();
    world.assert_restores(&saved, "out");
}

#[test]
fn a_thief_can_not_forget_remove_or_change_the_config() {
    let world = World::new();
    let saved = id(&world.sandbox.back_up());
    let thief = world.thief();
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    let snapshot = Id::parse(&saved).unwrap();
    let packs = index::decode(&full, &fs::read(&world.names("index")[0]).unwrap()).unwrap().packs;
    let removal = Removal {
        packs: packs.iter().map(|entry| entry.name).collect(),
        snapshots: vec![snapshot],
        done: true,
        ..Removal::default()
    };
    let forget = note::Note { verb: note::Verb::Forget, snapshot, ..thief::a_note() };
    let newer = config::Config {
        generation: u64::MAX,
        cutter: Default::default(),
        pack_target: 16 << 20,
        made: Time::default(),
        parity_per_mille: 0,
    };
    for (kind, object, name) in [
        (Kind::Notes, note::encode(&thief.keys, &forget).unwrap(), None),
        (Kind::Removals, session::encode_removal(&thief.keys, &removal).unwrap(), None),
        (Kind::Config, config::encode(&thief.keys, &newer).unwrap(), Some("ffffffffffffffff")),
    ] {
        let name = name.map_or_else(|| object_name(&object).to_string(), str::to_owned);
        for object in [object.clone(), header::with_own(&object, kind.number(), thief.keys.repository)] {
            // As its own, and as if a full key had made it.
            let name = match kind {
                Kind::Config => name.clone(),
                _ => object_name(&object).to_string(),
            };
            world.backend().put(kind, &name, &object).unwrap();
            let pruned = world.full(&["prune", "--grace", "0"]);
            // Another config is in force, and that is told; of the others it is not known what they say.
            let code = if kind == Kind::Config { 0 } else { 5 };
            assert_eq!(pruned.code, code, "{kind:?}: {pruned:?}");
            assert!(String::from_utf8(pruned.stderr).unwrap().contains("damaged"), "{kind:?}");
            world.assert_restores(&saved, "out");
            fs::remove_file(world.sandbox.repository().join(kind.folder()).join(&name)).unwrap();
        }
    }
    assert_eq!(world.full(&["snapshots", "--json"]).expect(0).messages("snapshot").len(), 1);
    world.full(&["prune", "--grace", "0"]).expect(0);
    world.assert_sound();
    world.assert_restores(&saved, "out");
}

#[test]
fn a_thief_speaks_for_nobody_else() {
    let world = World::new();
    let saved = id(&world.sandbox.back_up());
    let thief = world.thief();
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    let victim = fs::read(&world.names("snapshots")[0]).unwrap();
    let victim = snapshot::decode(&full, &victim).unwrap();
    // Newer ones of that host and those sources, which would be the parent, and push it out; each says that it stands for it, that
    // it is a copy of it, and that it is the next of that client's.
    for number in 0..20u64 {
        let forged = Snapshot {
            // Of the same moment it is the later one by its number.
            time: victim.time,
            sequence: u64::MAX - 30 + number,
            stands_for: Some(Id::parse(&saved).unwrap()),
            copied_from: Some((full.repository, Id::parse(&saved).unwrap())),
            imported_from: "restic:x:y".to_owned(),
            options_digest: victim.options_digest.clone(),
            previous: None,
            ..victim.clone()
        };
        thief.commit(&world.backend(), &forged);
    }
    let listed = world.full(&["snapshots", "--json"]).expect(0).messages("snapshot");
    assert_eq!(listed.len(), 21);
    for forged in listed.iter().filter(|line| line["write_only"] == true) {
        let claims = ["stands_for", "copied_from", "imported_from"];
        assert!(claims.iter().all(|claim| forged.get(claim).is_none()), "{forged}");
    }
    // The next backup goes on from its own.
    world.sandbox.write("source/new", noise(99, 5_000));
    let next = world.sandbox.back_up();
    assert_eq!(next["files_unmodified"], 5, "{next}");
    let next = id(&next);
    let object = fs::read(world.sandbox.repository().join("snapshots").join(&next)).unwrap();
    let decoded = snapshot::decode(&full, &object).unwrap();
    assert_eq!(decoded.parent.map(|parent| parent.to_string()), Some(saved.clone()));
    assert_eq!((decoded.sequence, decoded.previous), (2, Some(Id::parse(&saved).unwrap())));
    // Nor is anything pushed out.
    world.full(&["forget", "-q", "--keep-last", "1"]).expect(0);
    let left = world.full(&["snapshots", "--json"]).expect(0).messages("snapshot");
    let left: Vec<&str> = left.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert!(left.contains(&next.as_str()) && left.len() == 2, "{left:?}");
    world.assert_restores(&next, "out");
}

#[test]
fn copies_of_what_a_thief_made_push_nobody_elses_out() {
    let world = World::new();
    let saved = id(&world.sandbox.back_up());
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    let victim = snapshot::decode(&full, &fs::read(&world.names("snapshots")[0]).unwrap()).unwrap();
    let forged = Snapshot { time: victim.time.plus_seconds(1), ..victim };
    world.thief().commit(&world.backend(), &forged);
    let second = |words: &[&str]| {
        let mut command = world.sandbox.command(words);
        command.env("COPAL_REPOSITORY", world.sandbox.path("second"));
        common::end(command).expect(0)
    };
    second(&["init"]);
    second(&["copy", "-q", "--from-repo", world.sandbox.repository().to_str().unwrap()]);
    second(&["forget", "-q", "--keep-last", "1"]);
    let left = second(&["snapshots", "--json"]).messages("snapshot");
    assert_eq!(left.len(), 2, "{left:?}");
    let true_one = left.iter().find(|line| line["write_only"] == false).unwrap();
    assert_eq!(true_one["copied_from"], saved, "{left:?}");
    // And a copy of the copy.
    world.sandbox.run(["init", "-r", "third"]).expect(0);
    world.sandbox.run(["copy", "-q", "-r", "third", "--from-repo", "second"]).expect(0);
    let third = world.sandbox.run(["snapshots", "--json", "-r", "third"]).expect(0).messages("snapshot");
    assert_eq!(third.iter().filter(|line| line["write_only"] == true).count(), 1, "{third:?}");
    let next = second(&["backup", "--json", world.sandbox.source().to_str().unwrap()]).summary();
    assert_eq!(next["files_removed"], 0, "{next}");
}

#[test]
fn a_pack_that_begins_and_ends_like_another_one_and_holds_nothing_is_no_copy_of_it() {
    let world = World::new();
    let thief = world.thief();
    let saved = id(&world.sandbox.back_up());
    // Other files, or their copies would take the place of what is lost.
    let full = (0..5).map(|number| world.sandbox.source().join(number.to_string()));
    let kept: Vec<_> = full.map(|path| (fs::read(&path).unwrap(), path)).collect();
    kept.iter().zip(60..).for_each(|((_, path), seed)| fs::write(path, noise(seed, 90_000)).unwrap());
    let own = id(&world.add(&[]));
    kept.iter().for_each(|(content, path)| fs::write(path, content).unwrap());
    let packs = || -> Vec<Vec<u8>> {
        let files = world.names("packs").into_iter().flat_map(|folder| sealed::names(&folder));
        files.map(|path| fs::read(path).unwrap()).collect()
    };
    let victims = packs();
    thief.clones(&world.backend(), &victims);
    thief.riddle(&world.backend());
    let after = id(&world.sandbox.back_up_with(&["--force"]));
    world.full(&["repair", "index", "--yes"]).expect(0);
    world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    let restored = |id: &str, target: &str| {
        world.full(&["restore", "-q", id, "-t", target]).expect(0);
        let folder = common::below(&world.sandbox.path(target), &world.sandbox.source());
        sealed::names(&folder).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let contents: Vec<Vec<u8>> = kept.iter().map(|(content, _)| content.clone()).collect();
    assert!(restored(&saved, "saved") == contents && restored(&after, "after") == contents);
    let of_writer: Vec<Vec<u8>> = (60..65).map(|seed| noise(seed, 90_000)).collect();
    assert!(restored(&own, "own") == of_writer);
    // Where what they were taken from is gone already, they are nothing to rely on either.
    world.full(&["forget", "-q", "--all", "--unsafe-allow-remove-all"]).expect(0);
    world.full(&["prune", "--grace", "0"]).expect(0);
    thief.clones(&world.backend(), &victims);
    thief.riddle(&world.backend());
    let anew = id(&world.sandbox.back_up_with(&["--force"]));
    world.assert_restores(&anew, "out");
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.full(&["repair", "index", "--yes"]).expect(0);
    let again = id(&world.sandbox.back_up_with(&["--force"]));
    world.full(&["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    world.assert_restores(&anew, "out");
    world.assert_restores(&again, "out");
}

#[test]
fn what_a_repair_makes_of_a_thiefs_snapshots_pushes_nobody_elses_out() {
    let world = World::new();
    let saved = id(&world.sandbox.back_up());
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    let victim = snapshot::decode(&full, &fs::read(&world.names("snapshots")[0]).unwrap()).unwrap();
    let lacking = Segment { kind: SegmentKind::Data(Id([8; 32])), length: 1000 };
    let forged =
        Snapshot { time: victim.time.plus_seconds(1), root: Id([7; 32]), state: vec![lacking], ..victim };
    world.thief().commit(&world.backend(), &forged);
    world.full(&["repair", "snapshots", "--yes"]);
    let listed = world.full(&["snapshots", "--json"]).expect(0).messages("snapshot");
    assert!(listed.iter().any(|line| line.get("stands_for").is_some()), "nothing was repaired: {listed:?}");
    world.full(&["forget", "-q", "--keep-last", "1"]).expect(0);
    let left = world.full(&["snapshots", "--json"]).expect(0).messages("snapshot");
    assert!(left.iter().any(|line| line["id"] == saved), "{left:?}");
}

#[test]
fn directories_that_copal_does_not_write_are_refused_and_stop_no_repair() {
    let world = World::new();
    let saved = id(&world.add(&[]));
    let thief = world.thief();
    let block = |chunks: Vec<(Id, u32)>| pack::Block {
        codec: pack::CODEC_PLAIN,
        offset: 96,
        stored: 16 + chunks.len() as u32 * 10,
        plain: chunks.len() as u32 * 10,
        chunks,
    };
    let directory = |blocks| pack::Directory {
        contents: copal::model::Contents::Data,
        blocks,
        domain: Id16([1; 16]),
        written: Time::default(),
    };
    // The same chunk many times, by which looking for it takes ever longer; and what is not the same when it is written again.
    let twice = pack::encode_directory(&directory(vec![block(vec![(Id([4; 32]), 10); 3])]));
    let more = [pack::encode_directory(&directory(Vec::new())), vec![9 << 1, 1, 0]].concat();
    for plain in [twice, more] {
        thief.entry_of(&world.backend(), &plain);
        assert_eq!(world.full(&["prune", "--grace", "0"]).code, 5);
        world.full(&["repair", "index", "--yes"]);
        world.full(&["prune", "--grace", "0"]).expect(0);
        world.assert_restores(&saved, "out");
    }
}

#[test]
fn small_objects_of_who_adds_only_do_not_grow_out_of_next_to_nothing() {
    let world = World::new();
    let thief = world.thief();
    let now = SystemClock.now();
    let session = SessionObject {
        session: Id16([3; 16]),
        state: State::Begin,
        role: Role::Reader,
        lease_seconds: 60,
        parents: vec![Id([1; 32]); 200_000],
        host: b"thief".to_vec(),
        process: 1,
        client: Id16([4; 16]),
        time: now,
        storage_time: Some(now),
    };
    // Its own program stores it as it is; the thief compresses it.
    let stored = session::encode(&thief.keys, &session).unwrap();
    let record = small::decode(&thief.keys, session::SESSION, &stored).unwrap();
    let mut payload = vec![1];
    copal::format::record::put_varint(&mut payload, record.len() as u64);
    payload.extend(copal::compress::zstd_small(&record).unwrap());
    let mut object = header::encode_by(thief.keys.writer(), session::SESSION, thief.keys.repository).to_vec();
    object.extend([0; 16 + 4]);
    let key = thief.keys.small(session::SESSION);
    let (nonce, bytes) = copal::crypto::seal::seal_small(&key, &object, &payload).unwrap();
    object.extend(nonce);
    object.extend(bytes);
    assert!(object.len() < 20_000);
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    assert!(session::decode(&full, &stored).is_ok());
    let refused = session::decode(&full, &object);
    assert_eq!(refused, Err(copal::format::Error::Malformed("far too long for what is stored of it")));
}

#[test]
fn a_session_from_the_future_keeps_nothing_for_ever() {
    let world = World::new();
    let first = id(&world.sandbox.back_up());
    fs::write(world.sandbox.source().join("0"), noise(55, 100_000)).unwrap();
    let second = id(&world.sandbox.back_up());
    let thief = world.thief();
    let then = SystemClock.now().plus_seconds(400 * 24 * 3600);
    let session = SessionObject {
        session: Id16([3; 16]),
        state: State::Begin,
        role: Role::Writer,
        lease_seconds: 7 * 24 * 3600,
        parents: Vec::new(),
        host: b"thief".to_vec(),
        process: 1,
        client: Id16([4; 16]),
        time: then,
        storage_time: Some(then),
    };
    thief.put(&world.backend(), Kind::Sessions, &session::encode(&thief.keys, &session).unwrap());
    world.full(&["forget", "-q", &first]).expect(0);
    let pruned = world.full(&["prune", "--json", "--grace", "0"]).expect(0).summary();
    assert!(pruned["packs_waiting"] == 0, "{pruned}");
    world.assert_restores(&second, "out");
}

#[test]
fn a_thief_can_not_confirm_what_others_never_finished() {
    let world = World::new();
    let saved = id(&world.sandbox.back_up());
    let thief = world.thief();
    fs::remove_file(world.sandbox.repository().join("confirmed").join(&saved)).unwrap();
    let confirmation = Confirmation {
        snapshot: Id::parse(&saved).unwrap(),
        session: Id16([1; 16]),
        time: SystemClock.now(),
    };
    let object = snapshot::encode_confirmation(&thief.keys, &confirmation).unwrap();
    world.backend().put(Kind::Confirmed, &saved, &object).unwrap();
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    let listed = world.full(&["snapshots", "--json"]);
    assert_eq!(listed.messages("snapshot").len(), 0, "{listed:?}");
    assert_eq!(world.full(&["check"]).code, 5);
    assert_eq!(world.full(&["prune", "--grace", "0"]).code, 5);
    // It can be taken away, and then nobody said that it was saved.
    world.full(&["repair", "snapshots", "--yes"]);
    world.full(&["prune", "--grace", "0"]).expect(0);
    assert_eq!(world.full(&["check"]).code, 0);
}

#[test]
fn a_thief_that_says_it_is_at_work_for_ever_holds_up_what_is_removed_and_no_key() {
    let world = World::new();
    world.full(&["key", "add", "--new-key-file", "second"]).expect(0);
    let thief = world.thief();
    let slots = world.full(&["key", "list", "--json"]).expect(0).messages("key");
    let others: Vec<Id> = slots.iter().map(|slot| Id::parse(slot["id"].as_str().unwrap()).unwrap()).collect();
    let now = SystemClock.now();
    let session = SessionObject {
        session: Id16([3; 16]),
        state: State::Begin,
        role: Role::Reader,
        lease_seconds: 24 * 3600,
        parents: others,
        host: b"thief".to_vec(),
        process: 1,
        client: Id16([4; 16]),
        time: now,
        storage_time: Some(now),
    };
    thief.put(&world.backend(), Kind::Sessions, &session::encode(&thief.keys, &session).unwrap());
    // A stolen key can go.
    let writer = slots.iter().find(|slot| slot["write_only"] == true).unwrap()["id"].as_str().unwrap();
    world.full(&["key", "remove", writer]).expect(0);
    let second = slots.iter().find(|slot| slot["write_only"] == false && slot["current"] == false).unwrap();
    world.full(&["key", "remove", second["id"].as_str().unwrap()]).expect(0);
}

#[test]
fn a_changed_bit_in_what_it_added_is_damage_like_any_other() {
    let world = World::new();
    world.add(&[]);
    let path = world.names("snapshots")[0].clone();
    let object = fs::read(&path).unwrap();
    let full = sealed::keys(&world.sandbox.repository(), &world.sandbox.key_file());
    for byte in 0..object.len() {
        let mut changed = object.clone();
        changed[byte] ^= 1;
        assert!(snapshot::decode(&full, &changed).is_err(), "byte {byte}");
        let is_later = snapshot::decode(&full, &changed).is_err_and(|error| error.is_unsupported());
        assert!(!is_later, "byte {byte} looks like a later version's");
    }
    let packs: Vec<PathBuf> = world.names("packs").iter().flat_map(|folder| sealed::names(folder)).collect();
    for pack in packs {
        let bytes = fs::read(&pack).unwrap();
        for place in [10, 12, 20, 40, 70] {
            let mut changed = bytes.clone();
            let footer = changed.len() - pack::FOOTER_LEN;
            changed[footer + place] ^= 1;
            fs::write(&pack, &changed).unwrap();
            let checked = world.full(&["check", "--read-data"]);
            assert_eq!(checked.code, 5, "byte {place} of the footer: {checked:?}");
        }
        fs::write(&pack, bytes).unwrap();
    }
}
