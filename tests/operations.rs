//! `docs/operations.md`, run: the commands of each recipe, as they stand there, against a repository in the state that the recipe is for,
//! with the exit codes that it states.

mod common;
mod recipes;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::{Sandbox, demand_root, differences, end, flip, is_root, noise};
use copal::backend::{Backend, Kind, Local};
use copal::crypto::{Keys, MasterKey, object_name};
use copal::format::session::{self, Role, SessionObject, State};
use copal::format::slot::{self, Unlock};
use copal::format::snapshot::{Confirmation, encode_confirmation};
use copal::model::clock::{Clock, SystemClock};
use copal::model::{Id, Id16, Time};

const DOCUMENT: &str = include_str!("../docs/operations.md");

/// All recipes of the document, by name; whether root alone can run one.
fn recipes() -> BTreeMap<String, (Vec<recipes::Step>, bool)> {
    let all = recipes::recipes(DOCUMENT).into_iter();
    all.map(|recipe| (recipe.name, (recipe.steps, recipe.more == "root"))).collect()
}

/// A repository with a history, and what the words of the document mean in it.
struct World {
    sandbox: Sandbox,
    words: Vec<(&'static str, String)>,
    /// Shell commands before the recipe.
    before: String,
}

impl World {
    fn of(sandbox: Sandbox) -> World {
        let path = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
        let words = vec![
            ("/srv/backup", path("repository")),
            ("/home/ann", path("source")),
            ("/root/backup.key", path("key")),
            ("~/.cache/copal", path("home/cache/copal")),
            ("/tmp/", path("tmp/")),
            ("/mnt/", path("mnt/")),
            ("latest:/home/ann", format!("latest:{}", path("source"))),
            ("latest~1:/home/ann", format!("latest~1:{}", path("source"))),
        ];
        for name in ["tmp", "mnt"] {
            fs::create_dir(sandbox.path(name)).unwrap();
            if let Some((uid, gid)) = sandbox.owner() {
                std::os::unix::fs::chown(sandbox.path(name), Some(uid), Some(gid)).unwrap();
            }
        }
        World { sandbox, words, before: String::new() }
    }

    /// Two snapshots of a changing folder.
    fn new() -> World {
        World::filled(Sandbox::new())
    }

    fn filled(sandbox: Sandbox) -> World {
        sandbox.write("source/letter", "Dear reader,");
        sandbox.write("source/folder/noise", noise(1, 90_000));
        sandbox.back_up();
        sandbox.write("source/letter", "Dear reader,\nonce more");
        sandbox.write("source/folder/more", noise(2, 50_000));
        sandbox.back_up();
        World::of(sandbox)
    }

    fn says(mut self, word: &'static str, means: impl Into<String>) -> World {
        self.words.insert(0, (word, means.into()));
        self
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        let mut names = Vec::new();
        Local::new(self.sandbox.repository()).list(kind, &mut |entry| names.push(entry.name)).unwrap();
        names.sort();
        names
    }

    fn path_of(&self, kind: Kind, name: &str) -> PathBuf {
        self.sandbox.repository().join(kind.path_of(name))
    }

    fn keys(&self) -> Keys {
        let text = fs::read_to_string(self.sandbox.key_file()).unwrap();
        let key = MasterKey::from_key_file(&text).unwrap();
        let opened = self.names(Kind::Keys).into_iter().find_map(|name| {
            let object = fs::read(self.path_of(Kind::Keys, &name)).unwrap();
            let master = slot::open(&object, Unlock::KeyFile(&key)).unwrap()?;
            Some(master.keys(slot::decode(&object).unwrap().repository))
        });
        opened.unwrap()
    }

    /// The snapshots' names, oldest first.
    fn snapshots(&self) -> Vec<String> {
        let listed = self.sandbox.run(["snapshots", "--json"]).expect(0);
        listed.messages("snapshot").iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Somebody who began so many seconds ago and never said that he ended.
    fn begin(&self, host: &[u8], seconds_ago: i64) {
        self.begin_as(Role::Writer, host, seconds_ago);
    }

    fn begin_as(&self, role: Role, host: &[u8], seconds_ago: i64) {
        let at = SystemClock.now().plus_seconds(-seconds_ago);
        let object = SessionObject {
            session: Id16([9; 16]),
            state: State::Begin,
            role,
            lease_seconds: 24 * 3600,
            parents: Vec::new(),
            host: host.to_vec(),
            process: 1,
            client: Id16([3; 16]),
            time: at,
            storage_time: Some(at),
        };
        let object = session::encode(&self.keys(), &object).unwrap();
        let backend = Local::new(self.sandbox.repository());
        backend.put(Kind::Sessions, &object_name(&object).to_string(), &object).unwrap();
    }

    fn confirm_at(&self, name: &str, time: Time) {
        let confirmation = Confirmation { snapshot: Id::parse(name).unwrap(), session: Id16([7; 16]), time };
        let object = encode_confirmation(&self.keys(), &confirmation).unwrap();
        fs::write(self.path_of(Kind::Confirmed, name), object).unwrap();
    }

    /// The id of the slot with that label.
    fn slot(&self, label: &str) -> String {
        let listed = self.sandbox.run(["key", "list", "--json"]).expect(0);
        let keys = listed.messages("key");
        let slot = keys.iter().find(|key| key["label"] == label).unwrap();
        slot["id"].as_str().unwrap()[..8].to_owned()
    }

    /// A line of the document in this world.
    fn meant(&self, line: &str) -> String {
        let (mut out, mut rest) = (String::new(), line);
        while let Some(character) = rest.chars().next() {
            let begins = out.is_empty() || out.ends_with([' ', '=', '"', '\'']);
            match self.words.iter().find(|(word, _)| begins && rest.starts_with(word)) {
                Some((word, means)) => {
                    out += means;
                    rest = &rest[word.len()..];
                    // What follows belongs to this path.
                    let end = rest.find(' ').unwrap_or(rest.len());
                    out += &rest[..end];
                    rest = &rest[end..];
                }
                None => {
                    out.push(character);
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
        out
    }

    /// Runs the recipe, and demands its exit codes.
    fn run(&self, name: &str) {
        let recipes = recipes();
        let (steps, for_root) = recipes.get(name).unwrap_or_else(|| panic!("no recipe {name}"));
        let mut script = format!("copal() {{ \"$0\" \"$@\"; }}\n{}\n", self.before);
        for (number, (command, _)) in steps.iter().enumerate() {
            let command = self.meant(command);
            script += &format!("({command}); echo \"step {number} $?\"; echo \"step {number}\" >&2\n");
        }
        let through: &[&str] =
            if *for_root { &["unshare", "-m", "sh", "-c", &script] } else { &["sh", "-c", &script] };
        let ended = end(self.sandbox.command_through(through, [""; 0]));
        let out = ended.out();
        let codes: Vec<i32> = out
            .lines()
            .filter_map(|line| line.split_once("step ")?.1.split_once(' ')?.1.parse().ok())
            .collect();
        let stated: Vec<i32> = steps.iter().map(|(_, code)| *code).collect();
        assert_eq!(
            codes,
            stated,
            "{name}:\n{}\n{ended}",
            steps.iter().map(|step| step.0.as_str()).collect::<Vec<_>>().join("\n")
        );
    }

    /// What the recipe restored is the source, whole.
    fn restored(&self, target: &str) {
        let found = common::below(&self.sandbox.path(target), &self.sandbox.source());
        let differences = differences(&self.sandbox.source(), &found, common::Compare { owners: is_root() });
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

#[test]
fn every_recipe_is_run_here() {
    let own = include_str!("operations.rs");
    for name in recipes().keys() {
        assert!(own.contains(&format!(".run(\"{name}\")")), "{name} is run by no test");
    }
}

#[test]
fn every_night() {
    let world = World::new();
    world.run("every-night");
    world.sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn check_on_a_budget() {
    World::new().run("check-on-a-budget");
}

#[test]
fn one_file_back_or_all_of_it() {
    let world = World::new();
    world.run("one-file-back");
    world.restored("tmp/all");
    assert_eq!(fs::read(world.sandbox.path("tmp/out/letter")).unwrap(), b"Dear reader,\nonce more");
}

#[test]
fn a_repository_is_moved() {
    World::new().run("moving");
}

#[test]
fn bits_are_flipped() {
    let world = World::new();
    // Each pack: whatever they hold.
    world.names(Kind::Packs).iter().for_each(|name| flip(&world.path_of(Kind::Packs, name)));
    world.run("flipped-bits");
    world.restored("tmp/out");
}

#[test]
fn a_pack_is_lost() {
    let world = World::new();
    let packs = world.names(Kind::Packs);
    let length = |name: &String| fs::metadata(world.path_of(Kind::Packs, name)).unwrap().len();
    let longest = packs.iter().max_by_key(|name| length(name)).unwrap();
    fs::remove_file(world.path_of(Kind::Packs, longest)).unwrap();
    world.run("pack-lost");
    world.restored("tmp/out");
}

#[test]
fn the_index_is_lost() {
    let world = World::new();
    world
        .names(Kind::Index)
        .iter()
        .for_each(|name| fs::remove_file(world.path_of(Kind::Index, name)).unwrap());
    world.run("index-lost");
    world.restored("tmp/out");
}

#[test]
fn the_header_of_a_confirmation_is_damaged() {
    let world = World::new();
    let path = world.path_of(Kind::Confirmed, &world.snapshots()[0]);
    let mut bytes = fs::read(&path).unwrap();
    // The epoch of its key.
    bytes[12] ^= 1;
    fs::write(&path, bytes).unwrap();
    world.run("confirmation-damaged");
}

#[test]
fn a_session_is_damaged() {
    let world = World::new();
    flip(&world.path_of(Kind::Sessions, &world.names(Kind::Sessions)[0]));
    world.run("session-damaged");
}

/// A repository in which a prune took something away, and its record is damaged.
fn pruned() -> World {
    let world = World::new();
    let first = world.snapshots().remove(0);
    world.sandbox.run(["forget", &first]).expect(0);
    world.sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    // Its cache learns what the record says.
    world.sandbox.back_up();
    world.names(Kind::Removals).iter().for_each(|name| flip(&world.path_of(Kind::Removals, name)));
    assert!(!world.names(Kind::Removals).is_empty());
    world
}

#[test]
fn a_removal_record_is_damaged_and_known() {
    let world = pruned();
    world.run("removal-known");
    world.sandbox.run(["doctor"]).expect(0);
}

#[test]
fn a_removal_record_is_damaged_and_nobody_knows_it() {
    let world = pruned();
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.run("removal-damaged");
    assert!(world.names(Kind::Removals).is_empty());
}

#[test]
fn a_removal_record_waits_for_a_run_that_was_cut_off() {
    let world = pruned();
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.begin_as(Role::Pruner, b"laptop", 2 * 24 * 3600);
    let waits = world.sandbox.run(["repair", "records", "--yes"]).expect(6);
    assert!(waits.err().contains("wait for laptop,") && waits.err().contains("--nobody-at-work"), "{waits}");
    let plan = world.sandbox.run(["repair", "records", "--json", "-n"]).expect(6).messages("plan").remove(0);
    assert_eq!(plan["waits"], true);
    // Whoever is asked says yes or no to what goes: that is another matter.
    world.sandbox.run(["repair", "records", "--nobody-at-work"]).expect(6);
    assert!(!world.names(Kind::Removals).is_empty());
    world.sandbox.run(["repair", "records", "--nobody-at-work", "--yes"]).expect(0);
    assert!(world.names(Kind::Removals).is_empty());
    world.sandbox.back_up();
}

#[test]
fn a_key_slot_is_damaged() {
    let world = World::new();
    let password = world.sandbox.write("password", "old\n");
    let words = ["key", "add", "--label", "old", "--new-password-file", password.to_str().unwrap()];
    world.sandbox.run(words).expect(0);
    let slot = world.slot("old");
    let name = world.names(Kind::Keys).into_iter().find(|name| name.starts_with(&slot)).unwrap();
    flip(&world.path_of(Kind::Keys, &name));
    world.sandbox.write("tmp/new-password", "new\n");
    let world = world.says("SLOT", slot);
    world.run("key-damaged");
}

#[test]
fn a_snapshot_is_lost() {
    let world = World::new();
    let last = world.snapshots().pop().unwrap();
    flip(&world.path_of(Kind::Snapshots, &last));
    world.run("snapshot-lost");
    world.restored("tmp/out");
}

#[test]
fn something_is_lost_for_good() {
    let world = World::new();
    // A file that is no more on the machine, and the packs of the first snapshot and of that file.
    world.sandbox.write("source/gone", noise(7, 40_000));
    world.sandbox.back_up();
    fs::remove_file(world.sandbox.path("source/gone")).unwrap();
    world.names(Kind::Packs).iter().for_each(|name| flip(&world.path_of(Kind::Packs, name)));
    world.run("lost-for-good");
    world.sandbox.run(["doctor"]).expect(0);
    world.sandbox.restore("whole");
    world.restored("whole");
}

#[test]
fn config_is_lost() {
    let world = World::new();
    flip(&world.path_of(Kind::Config, "0000000000000001"));
    world.run("config-lost");
    world.restored("tmp/out");
}

#[test]
fn recovery_data_is_added() {
    World::new().run("parity");
}

#[test]
fn recovery_data_brings_packs_back() {
    let world = World::new();
    world.sandbox.run(["parity", "add", "5%"]).expect(0);
    world.names(Kind::Packs).iter().for_each(|name| flip(&world.path_of(Kind::Packs, name)));
    world.run("parity-repair");
    world.restored("tmp/out");
}

#[test]
fn a_key_is_lost() {
    let world = World::new();
    world.sandbox.write("tmp/old", "old password\n");
    world.sandbox.write("tmp/forgotten", "perhaps this one\n");
    world.sandbox.write("tmp/new-password", "new password\n");
    let old = world.sandbox.path("tmp/old");
    let words = ["key", "add", "--label", "old", "--new-password-file", old.to_str().unwrap()];
    world.sandbox.run(words).expect(0);
    let slot = world.slot("old");
    let world = world.says("SLOT", slot);
    world.run("key-lost");
    world.sandbox.run(["snapshots", "-p", old.to_str().unwrap()]).expect(12);
}

#[test]
fn a_laptop_is_stolen() {
    let world = World::new();
    let laptop = world.sandbox.path("laptop.key");
    let words = ["key", "add", "--label", "laptop", "--new-key-file", laptop.to_str().unwrap()];
    world.sandbox.run(words).expect(0);
    world.sandbox.run(["snapshots", "--key-file", laptop.to_str().unwrap()]).expect(0);
    let slot = world.slot("laptop");
    let world = world.says("SLOT", slot);
    world.run("stolen-laptop");
    world.sandbox.run(["snapshots", "--key-file", laptop.to_str().unwrap()]).expect(12);
    world.sandbox.run(["snapshots"]).expect(12);
    let new = world.sandbox.path("tmp/new.key");
    world.sandbox.run(["snapshots", "--key-file", new.to_str().unwrap()]).expect(0);
}

#[test]
fn the_cache_is_lost() {
    World::new().run("cache-lost");
}

#[test]
fn root_the_disk_is_full() {
    demand_root();
    let mut world = World::new();
    let srv = world.sandbox.path("srv");
    fs::create_dir(&srv).unwrap();
    // Something that a prune frees.
    world.sandbox.write("source/large", noise(3, 6 << 20));
    world.sandbox.back_up();
    fs::remove_file(world.sandbox.path("source/large")).unwrap();
    world.sandbox.back_up();
    world.sandbox.write("source/new", noise(4, 2 << 20));
    world.sandbox.write("tmp/too-much", noise(5, 64 << 20));
    let srv = srv.to_str().unwrap().to_owned();
    let repository = world.sandbox.repository();
    world.before = format!(
        "mount -t tmpfs -o size=24m none {srv}; cp -a {} {srv}/backup; export COPAL_REPOSITORY={srv}/backup",
        repository.display()
    );
    let world = world.says("/srv/", format!("{srv}/"));
    world.run("full-disk");
}

#[test]
fn the_storage_is_read_only() {
    let world = World::filled(Sandbox::of_nobody());
    let chmod = |mode: &str| {
        let done =
            std::process::Command::new("chmod").args(["-R", mode]).arg(world.sandbox.repository()).status();
        assert!(done.unwrap().success());
    };
    chmod("a-w");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run("read-only")));
    chmod("u+w");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
    world.restored("tmp/out");
}

#[test]
fn root_the_disk_is_dying() {
    demand_root();
    let mut world = World::new();
    let image = world.sandbox.path("disk");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(world.sandbox.path("mnt/copy")).unwrap();
    // A block of the longest pack is lost.
    let packs = world.names(Kind::Packs);
    let length = |name: &String| fs::metadata(world.path_of(Kind::Packs, name)).unwrap().len();
    let longest = world.path_of(Kind::Packs, packs.iter().max_by_key(|name| length(name)).unwrap());
    let mut bytes = fs::read(&longest).unwrap();
    bytes[8192..12288].fill(0);
    fs::write(&longest, bytes).unwrap();
    let (shown, mounted) =
        (image.display().to_string(), world.sandbox.path("mnt/copy").display().to_string());
    world.before = format!(
        "mkfs.ext4 -q {shown} >/dev/null; mount -o loop {shown} {mounted}; cp -a {} {mounted}/backup; umount {mounted}",
        world.sandbox.repository().display()
    );
    let world = world.says("/dev/sdx1", shown);
    world.run("dying-disk");
}

#[test]
fn a_clock_is_wrong() {
    let world = World::new();
    let last = world.snapshots().pop().unwrap();
    world.confirm_at(&last, SystemClock.now().plus_seconds(10 * 24 * 3600));
    fs::remove_dir_all(world.sandbox.cache()).unwrap();
    world.run("clock-wrong");
}

#[test]
fn something_was_interrupted() {
    let world = World::new();
    let last = world.snapshots().pop().unwrap();
    fs::remove_file(world.path_of(Kind::Confirmed, &last)).unwrap();
    world.begin(b"elsewhere", 600);
    fs::write(world.sandbox.repository().join("tmp/tmp-0123456789abcdef0123456789abcdef"), "half").unwrap();
    world.run("interrupted");
    world.sandbox.restore("whole");
}

#[test]
fn somebody_is_at_work() {
    let world = World::new();
    world.sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    world.sandbox.run(["prune", "--grace", "0"]).expect(0);
    world.begin(b"elsewhere", 60);
    world.run("somebody-at-work");
}

#[test]
fn something_was_forgotten_by_mistake() {
    let world = World::new();
    let last = world.snapshots().pop().unwrap();
    world.sandbox.run(["forget", &last]).expect(0);
    let world = world.says("SNAP", last);
    world.run("forgotten-by-mistake");
    world.restored("tmp/out");
}

#[test]
fn the_repository_is_not_there() {
    let world = World::new();
    world.run("not-there");
    assert!(!world.sandbox.path("mnt/elsewhere").exists());
}
