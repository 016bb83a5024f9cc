//! `copal doctor`: every finding made for real, and that looking changes nothing, neither of the repository nor of the cache.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{Ended, NOBODY, Sandbox, demand_root, end, flip, noise, without_terminal};
use copal::backend::{Backend, Kind, Local};
use copal::crypto::password::Cost;
use copal::crypto::{Keys, MasterKey, object_name};
use copal::format::limits::KDF_MEMORY_MIN;
use copal::format::note::Verb;
use copal::format::session::{self, Removal, Role, SessionObject, State};
use copal::format::slot::{self, Description, Unlock};
use copal::format::snapshot::{Confirmation, encode_confirmation};
use copal::index::Index;
use copal::model::clock::{Clock, SystemClock};
use copal::model::{Id, Id16, Time};
use copal::repository::{self, Repository, store};
use serde_json::Value;

const DAY: i64 = 24 * 3600;
const PASSWORD: &str = "sound";

/// Everything below a folder: kind, mode, length, times and bytes.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
        let about = fs::symlink_metadata(entry.path()).unwrap();
        let bytes = if about.is_file() { fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
        let path = entry.path().strip_prefix(folder).unwrap().to_path_buf();
        all.insert(path, (about.mode(), about.len(), about.mtime(), about.mtime_nsec(), bytes));
    }
    all
}

/// What a look said.
struct Said {
    code: i32,
    text: String,
    findings: Vec<Value>,
    ended: Ended,
}

impl Said {
    /// The finding of that code.
    #[track_caller]
    fn finds(&self, code: &str) -> &Value {
        let found = self.findings.iter().find(|finding| finding["code"] == code);
        found.unwrap_or_else(|| panic!("{code} is not found\n{}", self.ended))
    }

    #[track_caller]
    fn finds_nothing_of(&self, code: &str) -> &Said {
        assert!(
            self.findings.iter().all(|finding| finding["code"] != code),
            "{code} is found\n{}",
            self.ended
        );
        self
    }

    #[track_caller]
    fn ends_with(&self, code: i32) -> &Said {
        assert_eq!(self.code, code, "{}", self.ended);
        self
    }

    /// The finding of that code says that and leads to that command, which is the last line when it is the first finding with one.
    #[track_caller]
    fn says(&self, code: &str, severity: &str, words: &str, next: &str) -> &Said {
        let finding = self.finds(code);
        assert_eq!(finding["severity"], severity, "{finding}");
        let all = format!("{} {}", finding["message"].as_str().unwrap(), finding["objects"]);
        assert!(all.contains(words), "{words:?} is not in {all}");
        let found = finding["next"].as_str().unwrap_or_default();
        assert!(
            if next.is_empty() { found.is_empty() } else { found.starts_with(next) },
            "{found:?} is not {next:?}"
        );
        self
    }

    fn codes(&self) -> Vec<&str> {
        self.findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
    }
}

/// Looks, as text and as JSON, and demands that nothing was changed by it.
#[track_caller]
fn look(sandbox: &Sandbox) -> Said {
    look_with(sandbox, &[])
}

#[track_caller]
fn look_with(sandbox: &Sandbox, options: &[&str]) -> Said {
    let run = |more: &[&str]| {
        let repository = sandbox.repository();
        let words = [&["doctor", "-r", repository.to_str().unwrap()][..], options, more].concat();
        end(without_terminal(sandbox.command(words)))
    };
    let before = (everything(&sandbox.repository()), everything(&sandbox.path("home")));
    let (text, json) = (run(&[]), run(&["--json"]));
    let after = (everything(&sandbox.repository()), everything(&sandbox.path("home")));
    assert!(before.0 == after.0, "looking changed the repository\n{text}");
    assert!(before.1 == after.1, "looking changed the cache\n{text}");
    assert_eq!(text.code, json.code, "{text}\n{json}");
    assert!(text.err().is_empty(), "{text}");
    let findings = json.messages("finding");
    let summary = json.summary();
    assert_eq!(summary["exit_code"], text.code);
    // First things first: the command of the first finding that has one is the last line.
    let first = findings.iter().find_map(|finding| finding["next"].as_str());
    assert_eq!(summary["next"].as_str(), first, "{json}");
    if let Some(first) = first {
        assert_eq!(text.out().lines().last(), Some(first), "{text}");
    }
    let severities: Vec<usize> = findings
        .iter()
        .map(|finding| {
            ["bad", "warning", "note"].iter().position(|word| finding["severity"] == *word).unwrap()
        })
        .collect();
    assert!(severities.is_sorted(), "{text}");
    Said { code: text.code, text: text.out(), findings, ended: text }
}

/// A repository with two snapshots, read once, that a password opens: nothing is to be said of it.
fn sound() -> Sandbox {
    sound_in(Path::new("/var/tmp"))
}

/// The same where there is room: for tests that name all that is found, on a machine whose disk may be almost full.
fn sound_with_room() -> Sandbox {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { sound_in(memory) } else { sound() }
}

fn sound_in(above: &Path) -> Sandbox {
    let mut sandbox = Sandbox::empty_in(above);
    sandbox.run(["init"]).expect(0);
    sandbox.write("source/letter", "Dear reader,");
    sandbox.write("source/folder/noise", noise(1, 90_000));
    sandbox.back_up();
    sandbox.write("source/letter", "Dear reader,\nonce more");
    sandbox.back_up();
    let cost = Cost { memory: KDF_MEMORY_MIN, passes: 1, lanes: 1 };
    open(&sandbox).add_key(Unlock::Password(PASSWORD.as_bytes()), cost, &Description::default()).unwrap();
    sandbox.run(["check", "--read-data"]).expect(0);
    sandbox.unset("COPAL_KEY_FILE");
    sandbox.unset("COPAL_REPOSITORY");
    sandbox.set("COPAL_PASSWORD", PASSWORD);
    sandbox
}

/// Runs copal with the key file.
fn run(sandbox: &Sandbox, words: &[&str]) -> Ended {
    let (repository, key) = (sandbox.repository(), sandbox.key_file());
    let options = ["-r", repository.to_str().unwrap(), "--key-file", key.to_str().unwrap()];
    sandbox.run([words, &options].concat())
}

fn back_up(sandbox: &Sandbox) -> Ended {
    run(sandbox, &["backup", sandbox.source().to_str().unwrap()])
}

fn key(sandbox: &Sandbox) -> MasterKey {
    MasterKey::from_key_file(&fs::read_to_string(sandbox.key_file()).unwrap()).unwrap()
}

fn backend(sandbox: &Sandbox) -> Local {
    Local::new(sandbox.repository())
}

fn open(sandbox: &Sandbox) -> Repository {
    repository::open(Box::new(backend(sandbox)), Unlock::KeyFile(&key(sandbox)), None).unwrap()
}

fn keys(sandbox: &Sandbox) -> Keys {
    let opened = names(sandbox, Kind::Keys).into_iter().find_map(|name| {
        let object = backend(sandbox).get(Kind::Keys, &name).unwrap();
        let master = slot::open(&object, Unlock::KeyFile(&key(sandbox))).unwrap()?;
        Some(master.keys(slot::decode(&object).unwrap().repository))
    });
    opened.unwrap()
}

fn names(sandbox: &Sandbox, kind: Kind) -> Vec<String> {
    let mut names = Vec::new();
    backend(sandbox).list(kind, &mut |entry| names.push(entry.name)).unwrap();
    names.sort();
    names
}

/// The snapshots' names, oldest first.
fn snapshots(sandbox: &Sandbox) -> Vec<String> {
    open(sandbox).snapshots().unwrap().confirmed.iter().map(|named| named.name.to_string()).collect()
}

fn path_of(sandbox: &Sandbox, kind: Kind, name: &str) -> PathBuf {
    sandbox.repository().join(kind.path_of(name))
}

/// The pack that holds the first page of a snapshot.
fn pack_of_root(sandbox: &Sandbox, number: usize) -> String {
    let repository = open(sandbox);
    repository.sync().unwrap();
    let root = repository.snapshots().unwrap().confirmed[number].snapshot.root;
    let places = repository.index.lookup_for_reading(copal::model::Contents::Trees, &root).unwrap();
    places[0].pack.name.to_string()
}

fn put(sandbox: &Sandbox, kind: Kind, object: &[u8]) -> String {
    let name = object_name(object).to_string();
    backend(sandbox).put(kind, &name, object).unwrap();
    name
}

/// The file of the cache.
fn cache_file(sandbox: &Sandbox) -> PathBuf {
    Index::path(&sandbox.cache(), &open(sandbox).id())
}

/// Says of a snapshot that it was stored at another time.
fn confirm_at(sandbox: &Sandbox, name: &str, time: Time) {
    let confirmation = Confirmation { snapshot: Id::parse(name).unwrap(), session: Id16([7; 16]), time };
    let object = encode_confirmation(&keys(sandbox), &confirmation).unwrap();
    fs::write(path_of(sandbox, Kind::Confirmed, name), object).unwrap();
}

fn ago(seconds: i64) -> Time {
    SystemClock.now().plus_seconds(-seconds)
}

/// Says of a session that it began.
fn begin(sandbox: &Sandbox, host: &[u8], process: u64, seconds_ago: i64) -> Id16 {
    let id = Id16(*noise(process, 16).first_chunk().unwrap());
    let object = SessionObject {
        session: id,
        state: State::Begin,
        role: Role::Writer,
        lease_seconds: DAY as u64,
        parents: Vec::new(),
        host: host.to_vec(),
        process,
        client: Id16([3; 16]),
        time: ago(seconds_ago),
        storage_time: Some(ago(seconds_ago)),
    };
    put(sandbox, Kind::Sessions, &session::encode(&keys(sandbox), &object).unwrap());
    id
}

fn this_host() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

#[test]
fn a_sound_repository_is_told_so_in_one_line() {
    let sandbox = sound_with_room();
    let said = look(&sandbox);
    assert_eq!(said.text.lines().count(), 1, "{}", said.ended);
    assert!(said.ends_with(0).text.contains("nothing is wrong: 2 snapshots"), "{}", said.ended);
}

#[test]
fn without_a_repository_it_ends_with_10() {
    let sandbox = Sandbox::empty();
    let said = look(&sandbox);
    said.ends_with(10).says("no_repository", "bad", "no such folder", "copal init -r ");
    fs::create_dir(sandbox.repository()).unwrap();
    let said = look(&sandbox);
    said.ends_with(10).says("no_repository", "bad", "no repository in this folder", "copal init -r ");
    // Config and keys lost, packs still there: making a new one would be the wrong advice.
    let sandbox = sound();
    fs::remove_dir_all(sandbox.repository().join("config")).unwrap();
    fs::remove_dir_all(sandbox.repository().join("keys")).unwrap();
    look(&sandbox).ends_with(10).says("no_repository", "bad", "key slots are gone", "ls -la ");
}

#[test]
fn without_a_key_it_ends_with_12_and_names_what_is_damaged_all_the_same() {
    let mut sandbox = sound();
    let index = names(&sandbox, Kind::Index).remove(0);
    flip(&path_of(&sandbox, Kind::Index, &index));
    sandbox.set("COPAL_PASSWORD", "another");
    let said = look(&sandbox);
    said.ends_with(12).says("key_wrong", "bad", "does not open", "copal doctor -r ");
    said.says("index_damaged", "bad", &index, "copal repair index -r ");
    sandbox.unset("COPAL_PASSWORD");
    let said = look(&sandbox);
    said.ends_with(12).says("key_wrong", "bad", "no terminal", "copal doctor -r ");
    said.says("index_damaged", "bad", &index, "copal repair index -r ");
}

#[test]
fn a_damaged_slot_and_a_damaged_config_are_named() {
    let sandbox = sound();
    let config = path_of(&sandbox, Kind::Config, "0000000000000001");
    let sound_config = fs::read(&config).unwrap();
    flip(&config);
    look(&sandbox).ends_with(5).says("config_damaged", "bad", "config/0000000000000001", "rm -i /");
    fs::remove_file(&config).unwrap();
    look(&sandbox).ends_with(5).says(
        "config_damaged",
        "bad",
        "config/0000000000000001: it is missing",
        "copal ",
    );
    fs::write(&config, sound_config).unwrap();
    // The slot of the key file; the one of the password opens still.
    let slots = names(&sandbox, Kind::Keys);
    let of_key = slots.iter().find(|name| {
        let object = backend(&sandbox).get(Kind::Keys, name).unwrap();
        matches!(slot::open(&object, Unlock::KeyFile(&key(&sandbox))), Ok(Some(_)))
    });
    let of_key = of_key.unwrap();
    flip(&path_of(&sandbox, Kind::Keys, of_key));
    look(&sandbox).ends_with(5).says("key_damaged", "bad", of_key, "copal key add -r ");
    // All of them: the password may be right all the same.
    slots.iter().filter(|name| *name != of_key).for_each(|name| flip(&path_of(&sandbox, Kind::Keys, name)));
    let said = look(&sandbox);
    said.ends_with(5).says("key_damaged", "bad", "try every other password", "copal doctor -r ");
}

#[test]
fn a_repository_of_a_later_version_ends_with_13_and_objects_of_one_with_3() {
    let sandbox = sound();
    let mut later = fs::read(path_of(&sandbox, Kind::Config, "0000000000000001")).unwrap();
    later[9] = 2;
    let path = path_of(&sandbox, Kind::Config, "0000000000000002");
    fs::write(&path, &later).unwrap();
    look(&sandbox).ends_with(13).says("unknown_format", "bad", "0000000000000002", "copal version");
    fs::remove_file(path).unwrap();
    let first = snapshots(&sandbox).remove(0);
    let mut later = fs::read(path_of(&sandbox, Kind::Snapshots, &first)).unwrap();
    later[9] = 2;
    // As one that is sealed under its own header: under this version's it does not open.
    let end = later.len() - 1;
    later[end] ^= 1;
    let name = put(&sandbox, Kind::Snapshots, &later);
    look(&sandbox).ends_with(3).says("later_version", "bad", &name, "copal version");
}

#[test]
fn a_config_of_before_is_noticed() {
    let sandbox = sound();
    let (index, _) = Index::open(&sandbox.cache(), open(&sandbox).id()).unwrap();
    index.set_fact("config generation", &3u64.to_le_bytes()).unwrap();
    drop(index);
    look(&sandbox).ends_with(5).says("rolled_back", "bad", "has seen 3", "copal snapshots -r ");
}

#[test]
fn index_objects_that_are_damaged_or_missing_are_named() {
    let sandbox = sound();
    let all = names(&sandbox, Kind::Index);
    let path = path_of(&sandbox, Kind::Index, &all[0]);
    let bytes = fs::read(&path).unwrap();
    flip(&path);
    let said = look(&sandbox);
    said.ends_with(5).says("index_damaged", "bad", &all[0], "copal repair index -r ");
    said.finds_nothing_of("packs_unnamed").finds_nothing_of("index_lost");
    // One that this machine knew.
    fs::remove_file(&path).unwrap();
    look(&sandbox).ends_with(5).says("index_lost", "bad", &all[0], "copal repair index -r ");
    // All of them, on a machine that never saw them.
    for name in &all[1..] {
        fs::remove_file(path_of(&sandbox, Kind::Index, name)).unwrap();
    }
    let said = look_with(&sandbox, &["--no-cache"]);
    said.ends_with(5).says("index_lost", "bad", "packs are named by none", "copal repair index -r ");
    assert!(said.finds("index_lost")["next"].as_str().unwrap().contains("--no-cache"));
    drop(bytes);
}

#[test]
fn the_index_object_of_a_snapshots_first_page_is_missed_without_a_cache() {
    let sandbox = sound();
    let repository = open(&sandbox);
    let root = repository.snapshots().unwrap().confirmed[1].snapshot.root;
    let of_root = names(&sandbox, Kind::Index).into_iter().find(|name| {
        let object = fs::read(path_of(&sandbox, Kind::Index, name)).unwrap();
        let object = copal::format::index::decode(&keys(&sandbox), &object).unwrap();
        let chunks =
            object.packs.iter().flat_map(|pack| &pack.directory.blocks).flat_map(|block| &block.chunks);
        chunks.into_iter().any(|(id, _)| *id == root)
    });
    fs::remove_file(path_of(&sandbox, Kind::Index, &of_root.unwrap())).unwrap();
    look_with(&sandbox, &["--no-cache"]).ends_with(5).says(
        "index_lost",
        "bad",
        "packs/",
        "copal repair index -r ",
    );
}

#[test]
fn packs_that_are_missing_or_of_another_length_lead_to_check_then_backup_then_repair() {
    let sandbox = sound();
    let mut packs = names(&sandbox, Kind::Packs);
    // First the one that holds what no later backup stores again.
    let first = pack_of_root(&sandbox, 0);
    packs.sort_by_key(|name| *name != first);
    fs::remove_file(path_of(&sandbox, Kind::Packs, &packs[0])).unwrap();
    look(&sandbox).ends_with(5).says("pack_missing", "bad", &packs[0], "copal check -r ");
    let path = path_of(&sandbox, Kind::Packs, &packs[1]);
    let length = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    let short = format!("packs/{}: {} bytes long instead of {length}", packs[1], length - 1);
    look(&sandbox).ends_with(5).says("pack_missing", "bad", &short, "copal check -r ");
    run(&sandbox, &["check"]).expect(5);
    // It is written down: now a backup stores again what is still here.
    let next = format!("copal backup -r {} {}", sandbox.repository().display(), sandbox.source().display());
    look(&sandbox).ends_with(5).says("pack_missing", "bad", &short, &next);
    // Only what the packs alone held of the first snapshot is left.
    back_up(&sandbox).expect(0);
    look(&sandbox).ends_with(5).says("pack_missing", "bad", &short, "copal repair ");
}

/// The same repository in another folder, in which a folder was backed up; names of the packs that are only there.
fn backed_up_elsewhere(sandbox: &Sandbox, folder: &Path) -> (PathBuf, Vec<String>) {
    let elsewhere = sandbox.path("elsewhere");
    let copied =
        std::process::Command::new("cp").arg("-a").arg(sandbox.repository()).arg(&elsewhere).status();
    assert!(copied.unwrap().success());
    let (there, key) = (elsewhere.to_str().unwrap(), sandbox.key_file());
    let words =
        ["backup", "-r", there, "--key-file", key.to_str().unwrap(), "--no-cache", folder.to_str().unwrap()];
    sandbox.run(words).expect(0);
    let before = names(sandbox, Kind::Packs);
    let mut new = Vec::new();
    Local::new(&elsewhere).list(Kind::Packs, &mut |entry| new.push(entry.name)).unwrap();
    new.retain(|name| !before.contains(name));
    assert!(!new.is_empty());
    (elsewhere, new)
}

/// Stores again all that a pack holds, in a pack of its own.
fn store_again(sandbox: &Sandbox, pack: &str) {
    let (from, to) = (open(sandbox), open(sandbox));
    from.sync().unwrap();
    let entry = from
        .read_pack_entry(
            &Id::parse(pack).unwrap(),
            fs::metadata(path_of(sandbox, Kind::Packs, pack)).unwrap().len(),
        )
        .unwrap();
    let options = store::Options {
        level: copal::compress::Level::FAST,
        workers: 1,
        compressors: 1,
        uploaders: 1,
        memory: store::MEMORY,
        domain: Id16::default(),
        discard: false,
    };
    // One that was never synchronised knows of no copy.
    store::with(&to, options, &SystemClock, |store| {
        for (id, _) in entry.directory.blocks.iter().flat_map(|block| &block.chunks) {
            let contents = entry.directory.contents;
            assert!(store.save(0, contents, &from.read_chunk(contents, id).unwrap())?.1);
        }
        store.checkpoint(|| {})
    })
    .unwrap();
}

#[test]
fn a_missing_pack_of_which_everything_lies_elsewhere_too_only_waits_for_a_prune() {
    let sandbox = sound();
    let pack = names(&sandbox, Kind::Packs).remove(0);
    store_again(&sandbox, &pack);
    look(&sandbox).ends_with(0);
    fs::remove_file(path_of(&sandbox, Kind::Packs, &pack)).unwrap();
    let said = look(&sandbox);
    said.ends_with(0).says("pack_missing", "warning", "nothing is lost", "copal prune -r ");
}

#[test]
fn a_snapshot_of_which_not_even_the_first_page_is_there_is_told() {
    let sandbox = sound();
    let root = open(&sandbox).snapshots().unwrap().confirmed[1].snapshot.root;
    fs::remove_file(path_of(&sandbox, Kind::Packs, &pack_of_root(&sandbox, 1))).unwrap();
    look(&sandbox).ends_with(5).says("tree_lost", "bad", &root.to_string(), "copal check -r ");
}

#[test]
fn a_pack_that_a_check_found_damaged_leads_to_backup_then_repair() {
    let sandbox = sound();
    let packs = names(&sandbox, Kind::Packs);
    packs.iter().for_each(|name| flip(&path_of(&sandbox, Kind::Packs, name)));
    // Nobody has read them yet.
    look(&sandbox).ends_with(0);
    run(&sandbox, &["check", "--read-data"]).expect(5);
    let said = look(&sandbox);
    said.ends_with(5).says("pack_damaged", "bad", &packs[0], "copal backup -r ");
    // Where there is recovery data, that comes first.
    let parity = path_of(&sandbox, Kind::Parity, &packs[0]);
    fs::write(&parity, "recovery data").unwrap();
    look(&sandbox).ends_with(5).says("pack_damaged", "bad", &packs[0], "copal parity repair -r ");
    fs::remove_file(parity).unwrap();
    back_up(&sandbox).expect(0);
    look(&sandbox).ends_with(5).says("pack_damaged", "bad", &packs[0], "copal repair ");
}

#[test]
fn what_was_found_lost_and_is_no_more_is_told_until_a_check_says_so() {
    let sandbox = sound();
    let damage = session::Damage { packs: Vec::new(), lost: Some(Id([9; 32])), time: SystemClock.now() };
    put(&sandbox, Kind::Damage, &session::encode_damage(&keys(&sandbox), &damage).unwrap());
    look(&sandbox).ends_with(0).says("damage_found", "warning", "damage/", "copal check -r ");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    run(&sandbox, &["check"]).expect(0);
    look(&sandbox).ends_with(0).finds_nothing_of("damage_found");
}

#[test]
fn packs_that_no_index_object_names_are_told_from_a_lost_index() {
    let sandbox = sound();
    // A pack of the same repository, as a backup leaves it that was cut off.
    sandbox.write("other/file", noise(5, 40_000));
    let (elsewhere, new) = backed_up_elsewhere(&sandbox, &sandbox.path("other"));
    for name in &new {
        let bytes = fs::read(elsewhere.join(Kind::Packs.path_of(name))).unwrap();
        backend(&sandbox).put(Kind::Packs, name, &bytes).unwrap();
    }
    let said = look(&sandbox);
    said.ends_with(0).says("packs_unnamed", "note", &new[0], "copal check -r ");
    said.finds_nothing_of("index_lost");
}

#[test]
fn damaged_snapshots_confirmations_and_notes_are_named() {
    let sandbox = sound();
    let all = snapshots(&sandbox);
    run(&sandbox, &["protect", &all[0]]).expect(0);
    let note = names(&sandbox, Kind::Notes).remove(0);
    flip(&path_of(&sandbox, Kind::Notes, &note));
    look(&sandbox).ends_with(5).says("note_damaged", "bad", &note, "copal repair ");
    fs::remove_file(path_of(&sandbox, Kind::Notes, &note)).unwrap();
    flip(&path_of(&sandbox, Kind::Confirmed, &all[0]));
    let said = look(&sandbox);
    said.ends_with(5).says(
        "snapshot_damaged",
        "bad",
        &format!("confirmed/{}", all[0]),
        "copal repair snapshots -r ",
    );
    said.finds_nothing_of("unconfirmed");
    flip(&path_of(&sandbox, Kind::Snapshots, &all[1]));
    let said = look(&sandbox);
    said.ends_with(5).says(
        "snapshot_damaged",
        "bad",
        &format!("snapshots/{}", all[1]),
        "copal repair snapshots -r ",
    );
    fs::remove_file(path_of(&sandbox, Kind::Snapshots, &all[1])).unwrap();
    look(&sandbox).ends_with(5).says(
        "snapshot_damaged",
        "bad",
        "confirmed as saved, and is missing",
        "copal repair",
    );
}

#[test]
fn a_chain_that_names_a_snapshot_that_is_gone_is_told() {
    let sandbox = sound();
    let first = snapshots(&sandbox).remove(0);
    fs::remove_file(path_of(&sandbox, Kind::Confirmed, &first)).unwrap();
    fs::remove_file(path_of(&sandbox, Kind::Snapshots, &first)).unwrap();
    let said = look(&sandbox);
    said.ends_with(5).says("snapshot_missing", "bad", &first, "copal repair snapshots -r ");
    run(&sandbox, &["prune"]).expect(5);
}

#[test]
fn a_snapshot_that_was_never_completed_is_a_note() {
    let sandbox = sound();
    let last = snapshots(&sandbox).remove(1);
    fs::remove_file(path_of(&sandbox, Kind::Confirmed, &last)).unwrap();
    look(&sandbox).ends_with(0).says("unconfirmed", "note", &last, "copal backup -r ");
}

#[test]
fn damaged_records_of_sessions_removals_and_damage_are_named() {
    let sandbox = sound();
    let strange = "ab".repeat(32);
    for (kind, code, next) in [
        (Kind::Sessions, "session_damaged", "copal repair records -r "),
        (Kind::Removals, "removal_damaged", "copal repair records -r "),
        (Kind::Damage, "damage_record_damaged", "copal repair packs -r "),
    ] {
        let path = path_of(&sandbox, kind, &strange);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "whatever it said").unwrap();
        look(&sandbox).ends_with(5).says(code, "bad", &format!("{}/abab", kind.folder()), next);
        fs::remove_file(path).unwrap();
    }
    look(&sandbox).ends_with(0);
}

#[test]
fn who_is_at_work_was_cut_off_or_may_wake_up_is_told() {
    let sandbox = sound();
    begin(&sandbox, b"elsewhere", 12, 60);
    look(&sandbox).ends_with(0).says("at_work", "note", "a backup on elsewhere", "");
    // A process that is no more on this machine.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    begin(&sandbox, &this_host(), child.id().into(), 60);
    look(&sandbox).ends_with(0).says("cut_off", "note", "cut off on this machine", "");
    begin(&sandbox, b"asleep", 13, 3 * DAY);
    let said = look(&sandbox);
    let asleep = said.findings.iter().find(|finding| finding["objects"].to_string().contains("on asleep"));
    assert!(asleep.unwrap()["next"].as_str().unwrap().starts_with("copal prune -r "));
    // A fence settles it.
    open(&sandbox).put_fence(&Id16(*noise(13, 16).first_chunk().unwrap()), SystemClock.now()).unwrap();
    assert!(!look(&sandbox).text.contains("on asleep"));
}

#[test]
fn marks_that_wait_and_prunes_that_were_cut_off_are_told() {
    let sandbox = sound();
    let pack = Id::parse(&put(&sandbox, Kind::Packs, &noise(8, 1000))).unwrap();
    begin(&sandbox, b"elsewhere", 12, 60);
    let mark = Removal { packs: vec![pack], time: ago(3600), session: Id16([1; 16]), ..Removal::default() };
    let mark = open(&sandbox).put_removal(&mark).unwrap();
    let said = look(&sandbox);
    said.ends_with(0).says("packs_waiting", "note", "1 pack waits", "copal prune -r ");
    said.says("packs_waiting", "note", "in the way: a backup on elsewhere", "copal prune -r ");
    let tombstone = Removal {
        packs: vec![pack],
        time: ago(60),
        session: Id16([1; 16]),
        done: true,
        answers: Some(mark),
        ..Removal::default()
    };
    open(&sandbox).put_removal(&tombstone).unwrap();
    let said = look(&sandbox);
    said.ends_with(0).says("prune_interrupted", "warning", &format!("packs/{pack}"), "copal prune -r ");
    said.finds_nothing_of("packs_waiting").finds_nothing_of("pack_missing");
}

#[test]
fn forgotten_snapshots_whose_time_is_over_are_told() {
    let sandbox = sound();
    let first = snapshots(&sandbox).remove(0);
    let forget = |seconds| {
        let repository = open(&sandbox);
        let mut all = repository.snapshots().unwrap();
        let name = Id::parse(&first).unwrap();
        repository.put_note(&mut all.notes, &name, Verb::Forget, &[], ago(seconds)).unwrap();
        let path = names(&sandbox, Kind::Notes);
        path_of(&sandbox, Kind::Notes, &path[0])
    };
    let note = forget(6 * DAY);
    look(&sandbox).ends_with(0).finds_nothing_of("forgotten");
    fs::remove_file(note).unwrap();
    forget(8 * DAY);
    look(&sandbox).ends_with(0).says("forgotten", "note", &first, "copal prune -r ");
    // The note of a removal, and the snapshot is still there.
    let repository = open(&sandbox);
    let mut all = repository.snapshots().unwrap();
    let name = Id::parse(&first).unwrap();
    repository.put_removed(&mut all.notes, &name, Default::default(), ago(60)).unwrap();
    look(&sandbox).ends_with(0).says("prune_interrupted", "warning", &first, "copal prune -r ");
}

#[test]
fn what_does_not_belong_into_the_folder_is_told() {
    let sandbox = sound();
    let repository = sandbox.repository();
    fs::write(repository.join("notes of mine"), "x").unwrap();
    fs::write(repository.join("snapshots/conflicted copy"), "x").unwrap();
    let pack = names(&sandbox, Kind::Packs).remove(0);
    let strange = repository.join(format!("packs/zz{}", &pack[2..4]));
    fs::create_dir(strange).unwrap();
    let old = repository.join("tmp/tmp-00112233445566778899aabbccddeeff");
    fs::write(&old, noise(1, 100)).unwrap();
    let said = look(&sandbox);
    said.ends_with(0).says("foreign_files", "note", "3 files or folders", "");
    said.says("foreign_files", "note", "conflicted copy", "").finds_nothing_of("leftovers");
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 24 * 3600);
    fs::File::options().write(true).open(&old).unwrap().set_modified(before).unwrap();
    look(&sandbox).ends_with(0).says("leftovers", "note", "1 file of 100 B", "");
}

#[test]
fn a_folder_that_everybody_may_write_is_told() {
    let sandbox = sound();
    fs::set_permissions(sandbox.repository(), fs::Permissions::from_mode(0o777)).unwrap();
    look(&sandbox).ends_with(0).says("open_to_others", "warning", "may destroy it", "chmod -R go-w ");
}

/// A sandbox whose runs are an ordinary user's.
fn ordinary() -> Sandbox {
    let mut sandbox = Sandbox::of_nobody();
    sandbox.write("source/letter", "Dear reader,");
    sandbox.back_up();
    sandbox.set("COPAL_KEY_FILE", sandbox.key_file());
    sandbox
}

fn chmod(path: &Path, mode: &str) {
    let done = std::process::Command::new("chmod").args(["-R", mode]).arg(path).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_read_only_folder_is_looked_at_and_told() {
    let sandbox = ordinary();
    chmod(&sandbox.repository(), "a-w");
    let said = look(&sandbox);
    chmod(&sandbox.repository(), "u+w");
    said.ends_with(0).says("folder_read_only", "warning", "nothing can be saved", "chmod -R u+rwX ");
}

#[test]
fn a_folder_that_may_not_be_read_is_told() {
    let sandbox = ordinary();
    let (config, repository) = (sandbox.repository().join("config"), sandbox.repository());
    for path in [&sandbox.repository().join("packs"), &config, &repository] {
        let mode = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
        let said = end(sandbox.command(["doctor", "--json"]));
        fs::set_permissions(path, mode).unwrap();
        let found = said.messages("finding");
        let denied = found.iter().find(|finding| finding["code"] == "folder_denied");
        assert_eq!(said.code, 3, "{}: {said}", path.display());
        let next = denied.unwrap_or_else(|| panic!("{said}"))["next"].as_str().unwrap();
        assert!(next.starts_with("chmod -R u+rwX "), "{next}");
    }
}

#[test]
fn root_the_repository_of_another_user_is_told() {
    demand_root();
    let sandbox = ordinary();
    for entry in walkdir::WalkDir::new(sandbox.repository()).into_iter().flatten() {
        std::os::unix::fs::lchown(entry.path(), Some(0), Some(0)).unwrap();
    }
    look(&sandbox).ends_with(3).says("folder_denied", "bad", "belongs to root", "sudo -u root copal doctor ");
    let sandbox = ordinary();
    let pack = names(&sandbox, Kind::Packs).remove(0);
    let path = path_of(&sandbox, Kind::Packs, &pack);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::lchown(&path, Some(0), Some(0)).unwrap();
    let next = format!("sudo chown -R {} ", NOBODY.0);
    look(&sandbox).ends_with(0).says("owners_mixed", "warning", "1 file of the repository belongs", &next);
}

#[test]
fn a_cache_that_is_missing_foreign_damaged_or_of_another_layout_is_told() {
    let sandbox = sound();
    let file = cache_file(&sandbox);
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    look(&sandbox).ends_with(0).says("cache_missing", "note", "no local cache", "copal snapshots -r ");
    look_with(&sandbox, &["--no-cache"]).ends_with(0).finds_nothing_of("cache_missing");
    fs::write(&file, "no database at all, and long enough to be looked at as one").unwrap();
    look(&sandbox).ends_with(0).says("cache_unusable", "warning", "not a database", "copal snapshots -r ");
    let changed = |change: &str| {
        fs::write(&file, &bytes).unwrap();
        let cache = rusqlite::Connection::open(&file).unwrap();
        cache.execute_batch(change).unwrap();
        cache.pragma_update(None, "wal_checkpoint", "TRUNCATE").ok();
        drop(cache);
        look(&sandbox)
    };
    let said = changed("PRAGMA user_version = 99");
    said.ends_with(0).says("cache_unusable", "warning", "layout 99", "copal snapshots -r ");
    let said = changed("UPDATE meta SET value = x'00' WHERE key = 'repository'");
    said.ends_with(0).says("cache_unusable", "warning", "another repository", "copal snapshots -r ");
    // A page of a table overwritten.
    let mut damaged = bytes.clone();
    let length = damaged.len();
    for page in 2..length / 4096 {
        damaged[page * 4096..page * 4096 + 64].fill(0xa5);
    }
    fs::write(&file, damaged).unwrap();
    look(&sandbox).ends_with(0).says(
        "cache_unusable",
        "warning",
        "local cache is of no use",
        "copal snapshots -r ",
    );
    fs::write(&file, bytes).unwrap();
    look(&sandbox).ends_with(0);
}

#[test]
fn a_cache_that_may_not_be_written_is_told() {
    let sandbox = ordinary();
    chmod(&sandbox.cache(), "a-w");
    let said = look(&sandbox);
    chmod(&sandbox.cache(), "u+w");
    said.ends_with(0).says("cache_denied", "warning", "without it", "ls -lad ");
}

#[test]
fn the_only_key_on_the_repositorys_disk_is_told_until_there_is_a_copy() {
    let mut sandbox = Sandbox::new();
    sandbox.write("source/letter", "Dear reader,");
    sandbox.back_up();
    let said = look(&sandbox);
    said.ends_with(0).says("key_single", "warning", "with that disk both are lost", "copal key export -r ");
    // What the environment says is left to it; what was typed is in the command.
    assert!(!said.text.contains("--key-file"));
    sandbox.unset("COPAL_KEY_FILE");
    let key = sandbox.key_file();
    let said = look_with(&sandbox, &["--key-file", key.to_str().unwrap()]);
    assert!(said.text.contains(&format!("--key-file {}", key.display())), "{}", said.ended);
    run(&sandbox, &["key", "export"]).expect(0);
    let said = look_with(&sandbox, &["--key-file", key.to_str().unwrap()]);
    said.ends_with(0).finds_nothing_of("key_single");
    said.says("key_same_disk", "note", "whoever gets that disk", "");
}

#[test]
fn a_clock_that_is_behind_is_told() {
    let sandbox = sound();
    let last = snapshots(&sandbox).remove(1);
    confirm_at(&sandbox, &last, ago(-2 * 3600));
    let said = look(&sandbox);
    said.ends_with(0).says("clock_wrong", "warning", "the newest snapshot was stored at", "timedatectl ");
    confirm_at(&sandbox, &last, ago(-10 * DAY));
    look(&sandbox).ends_with(3).says("clock_wrong", "bad", &last, "timedatectl ");
}

#[test]
fn what_was_never_read_or_not_for_long_is_told() {
    let sandbox = sound();
    let all = snapshots(&sandbox);
    all.iter().for_each(|name| confirm_at(&sandbox, name, ago(100 * DAY)));
    look(&sandbox).ends_with(0).finds_nothing_of("never_read");
    let set = |seconds: i64| {
        let (index, _) = Index::open(&sandbox.cache(), open(&sandbox).id()).unwrap();
        for name in names(&sandbox, Kind::Packs) {
            index.set_fact(&format!("read {name}"), &ago(seconds).seconds.to_le_bytes()).unwrap();
        }
    };
    set(50 * DAY);
    let said = look(&sandbox);
    said.ends_with(0).says("never_read", "warning", "not for long", "copal check -r ");
    let next = said.finds("never_read")["next"].as_str().unwrap();
    assert!(next.ends_with("--read-data"), "{next}");
    let (index, _) = Index::open(&sandbox.cache(), open(&sandbox).id()).unwrap();
    for name in names(&sandbox, Kind::Packs) {
        index.remove_fact(&format!("read {name}")).unwrap();
    }
    drop(index);
    look(&sandbox).ends_with(0).says(
        "never_read",
        "warning",
        "nothing in the repository was ever read",
        "copal check",
    );
}

#[test]
fn a_backup_that_did_not_come_is_told_with_its_command() {
    let sandbox = Sandbox::new();
    sandbox.write("source/letter", "Dear reader,");
    for day in 1..4 {
        sandbox.back_up_with(&["--time", &format!("2026-01-0{day} 12:00")]);
    }
    sandbox.back_up_with(&["--host", "elsewhere", "--time", "2026-01-01 12:00"]);
    let said = look(&sandbox);
    let next = format!("copal backup -r {} {}", sandbox.repository().display(), sandbox.source().display());
    said.ends_with(0).says("backup_long_ago", "warning", "about every 1d", &next);
    let elsewhere = said.findings.iter().find(|finding| finding["message"].to_string().contains("elsewhere"));
    assert!(elsewhere.unwrap()["next"].as_str().unwrap().ends_with("--host elsewhere"));
    sandbox.back_up();
    assert!(!look(&sandbox).text.contains("about every 1d"));
}

#[test]
fn root_a_full_disk_of_the_repository_or_the_cache_is_told() {
    demand_root();
    let sandbox = sound();
    let script = "mkdir full; mount -t tmpfs -o size=8m none full; cp -a repository/. full; $copal doctor -r full --no-cache";
    let shell = |script: &str| sandbox.with_mounts(script);
    let ended = shell(script).expect(3);
    ended.says("the repository's disk is full").says("copal prune -r full --no-cache");
    let script =
        "mkdir small; mount -t tmpfs -o size=8m none small; $copal doctor -r repository --cache-dir small";
    shell(script).expect(0).says("the disk of the local cache is almost full").says("du -sh small");
    let script = "mount --bind repository repository; mount -o remount,bind,ro repository; $copal doctor -r repository";
    shell(script).expect(0).says("mounted read-only").says("findmnt -T repository");
}

#[test]
fn several_things_come_in_the_order_in_which_to_act() {
    let sandbox = sound_with_room();
    let pack = names(&sandbox, Kind::Packs).remove(0);
    fs::remove_file(path_of(&sandbox, Kind::Packs, &pack)).unwrap();
    flip(&path_of(&sandbox, Kind::Config, "0000000000000001"));
    fs::write(sandbox.repository().join("foreign"), "x").unwrap();
    begin(&sandbox, b"elsewhere", 12, 60);
    let said = look(&sandbox);
    said.ends_with(5);
    // Whether the pack held the first page of a snapshot hangs on its name.
    let mut codes = said.codes();
    codes.retain(|code| *code != "tree_lost");
    assert_eq!(codes, ["config_damaged", "pack_missing", "foreign_files", "at_work"]);
}

#[test]
fn every_command_that_is_named_exists() {
    let sandbox = Sandbox::empty();
    let source = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doctor")).unwrap();
    let mut verbs = Vec::new();
    for file in source {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for mark in ["Next::copal(\"", "Next::Copal(\"", "Next::WithoutKey(\"", "Some(\""] {
            verbs.extend(text.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    verbs.retain(|verb| !verb.starts_with('/'));
    assert!(verbs.len() > 10);
    for verb in &verbs {
        sandbox.run(verb.split(' ').chain(["--help"]).map(OsStr::new)).expect(0);
    }
}
