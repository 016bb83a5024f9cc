//! What the golden repository holds, and how it is written.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

use copal::backend::{Backend, Kind as ObjectKind, Local};
use copal::crypto::password::Cost;
use copal::crypto::{Keys, MasterKey, object_name};
use copal::format::limits::KDF_MEMORY_MIN;
use copal::format::record::Writer;
use copal::format::slot::{self, Description, Unlock};
use copal::format::small;
use copal::model::{Id, Time};
use rustix::fs::IFlags;

use super::common::{Content, Item, Kind, Sandbox, make, unprotect};
use super::manifest;

/// Where the source of the fixture lies while it is written: its path is part of the snapshots.
pub const SOURCE: &str = "/var/tmp/copal-golden";
pub const PASSWORD: &str = "golden";
/// The times of the snapshots are given: the first hours of that moment.
const TIMES: [&str; 4] =
    ["2023-11-14 22:13:20", "2023-11-14 23:13:20", "2023-11-15 00:13:20", "2023-11-15 01:13:20"];
const FIRST: i64 = 1_700_000_000;
/// What a repository with everything in it may take, bytes.
const MOST: u64 = 300_000;

/// Lines of text that are alike and never the same.
fn text(lines: usize) -> Vec<u8> {
    let mut text = String::new();
    for number in 0..lines {
        writeln!(text, "{number:06} copal is tree resin on its way to amber").unwrap();
    }
    text.into_bytes()
}

/// Names in order, one of which ends a page of the tree by its hash (docs/format.md, section 7).
fn names(count: usize) -> Vec<String> {
    let mut names: Vec<String> = (0..count).map(|number| format!("{number:05}")).collect();
    let at = count - 30;
    names[at] = (0u32..)
        .map(|extra| format!("{}-{extra}", names[at]))
        .find(|name| {
            let hash = *blake3::hash(name.as_bytes()).as_bytes();
            u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]).is_multiple_of(4096)
        })
        .unwrap();
    names
}

/// The first version. Folders are numbered as they come, the source itself is 0.
fn items() -> Vec<Item> {
    // cap_net_raw+ep, version 2.
    let capability = [0x0200_0001u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    let folder = |parent, name: &str| Item::new(parent, name, Kind::Folder);
    let time = |mut item: Item, seconds: i64, nanos: u32| {
        item.mtime = (seconds, nanos);
        item
    };
    let owner = |mut item: Item, uid: u32, gid: u32| {
        item.owner = (uid, gid);
        item
    };
    let sparse = |length, data| Kind::File(Content::Sparse { length, data });
    let mut acl = Item::file(4, "acl", "for one more user");
    acl.acl = true;
    let mut acl_folder = folder(4, "acl folder");
    acl_folder.acl = true;
    let mut all = vec![
        folder(0, "documents"),        // 1
        folder(0, "special"),          // 2
        folder(0, "many"),             // 3
        folder(0, "metadata"),         // 4
        folder(0, "root only"),        // 5
        folder(1, "empty folder"),     // 6
        folder(1, "folder to rename"), // 7
        Item::file(1, "letter", "Dear reader,\n"),
        Item::new(1, "second name of letter", Kind::Link(0)),
        Item::file(1, "empty", ""),
        Item::file(1, "long", text(16_000)),
        Item::file(1, "does not compress", super::common::noise(1, 12_000)),
        Item::file(7, "inside", "moved with its folder"),
        Item::new(2, "holes", sparse(1 << 26, vec![(0, 100), (1 << 25, 5000), ((1 << 26) - 1, 1)])),
        Item::new(2, "one hole", sparse(1 << 20, Vec::new())),
        // More than 1,024 segments: pages of contents.
        Item::new(2, "many holes", sparse(600 << 13, (0..600).map(|run| (run << 13, 1)).collect())),
        Item::new(2, "symlink", Kind::Symlink(b"../documents/letter".to_vec())),
        Item::new(2, "symlink to nowhere", Kind::Symlink(b"no\xff\xfewhere".to_vec())),
        Item::new(2, "fifo", Kind::Fifo),
        Item::new(2, "socket", Kind::Socket),
        Item::file(2, b"not UTF-8 \xff\xfe\x80", "bytes"),
        Item::file(2, "two\nlines", "and a line"),
        Item::file(2, "-rf", "looks like an option"),
        Item::file(2, "back\\slash*?[x]'\"", "looks like a pattern"),
        Item::file(2, vec![b'n'; 255], "the longest name"),
        time(Item::file(4, "before 1970", ""), -1, 500_000_000),
        time(Item::file(4, "long before 1970", ""), -2_000_000_000, 1),
        time(Item::file(4, "in 2400", ""), 13_569_465_600, 999_999_999),
        Item::file(4, "read only", "r").mode(0o400),
        folder(4, "sticky").mode(0o1777),
        Item::file(4, "attributes", "x")
            .xattr("user.comment", "grüße".as_bytes())
            .xattr("user.empty", b"")
            .xattr("user.bytes", &[0, 255, 10]),
        acl,
        acl_folder,
        Item::file(4, "not dumped", "d").flags(IFlags::NODUMP),
        owner(Item::file(5, "foreign", "f"), 4711, 4712),
        owner(Item::file(5, "capability", "c").mode(0o755).xattr("security.capability", &capability), 0, 0),
        Item::file(5, "trusted", "t").xattr("trusted.x", b"y"),
        // Who can not give the owner leaves the bit out.
        Item::file(5, "setuid", "s").mode(0o4755),
        Item::new(5, "zero", Kind::Character(1, 5)).mode(0o666),
        Item::new(5, "disk", Kind::Block(259, 1 << 19)).mode(0o660),
        Item::file(5, "immutable", "i").flags(IFlags::IMMUTABLE),
    ];
    all.extend(names(1100).into_iter().map(|name| Item::file(3, name, "")));
    for (number, item) in
        all.iter_mut().enumerate().filter(|(_, item)| item.mtime.0 == Item::new(0, "", Kind::Fifo).mtime.0)
    {
        item.mtime = (FIRST - 100_000 + number as i64, number as u32);
    }
    all
}

fn set_modified(path: &Path, seconds: u64, nanos: u32) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, nanos);
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// What is done to the first version.
fn change(source: &Path) {
    let documents = source.join("documents");
    std::fs::write(documents.join("letter"), "Dear reader,\n\nthis is the second version.\n").unwrap();
    std::fs::rename(documents.join("folder to rename"), documents.join("renamed folder")).unwrap();
    std::fs::remove_file(documents.join("does not compress")).unwrap();
    std::fs::write(documents.join("added"), text(300)).unwrap();
    let mut long = std::fs::read(documents.join("long")).unwrap();
    long.splice(40_000..40_000, *b"inserted\n");
    std::fs::write(documents.join("long"), long).unwrap();
    for path in ["documents/letter", "documents/added", "documents/long", "documents"] {
        set_modified(&source.join(path), FIRST as u64 + 3600, 7);
    }
}

/// A note on a snapshot: 0.1.0 writes none, later versions read them.
fn note(keys: &Keys, backend: &Local, snapshot: &Id, verb: u64, text: &[&str]) {
    let mut record = Writer::default();
    record
        .id(1, true, Some(snapshot))
        .int(2, true, verb)
        .list(3, true, text)
        .time(4, true, Some(Time::new(FIRST + 10_000, 0)))
        .field(5, true, &[9; 16])
        .int(6, true, verb);
    let object = small::encode(keys, ObjectKind::Notes.number(), &[], &record.finish()).unwrap();
    backend.put(ObjectKind::Notes, &object_name(&object).to_string(), &object).unwrap();
}

/// Files below a folder, and their bytes.
fn weigh(folder: &Path) -> (u64, u64) {
    let files = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().metadata().unwrap());
    files
        .filter(|about| about.is_file())
        .fold((0, 0), |(count, bytes), about| (count + 1, bytes + about.len()))
}

/// Writes `repository`, `key`, `password` and `manifest` into a folder, which is made anew. As root alone. The source is made and removed.
///
/// With a rate, packs get recovery data.
pub fn write(folder: &Path, source: &Path, parity: Option<&str>) {
    let source = source.to_path_buf();
    if source.exists() {
        unprotect(&source);
        std::fs::remove_dir_all(&source).unwrap();
    }
    std::fs::create_dir(&source).unwrap();
    make(&[&source], &items(), None);
    set_modified(&source, FIRST as u64, 0);
    let sandbox = Sandbox::empty();
    sandbox.run(["init"]).expect(0);
    if let Some(rate) = parity {
        sandbox.run(["parity", "add", rate]).expect(0);
    }
    let mut manifest = format!("source {}\n", source.display());
    let mut snapshots = Vec::new();
    let mut back_up = |hour: usize, options: &[&str]| {
        let words = ["backup", "--json", "--host", "golden", "--time", TIMES[hour]];
        let words = words.iter().chain(options).map(OsStr::new);
        let ended = match options.contains(&"--stdin") {
            true => sandbox.run_with_input(words, &text(100)),
            false => sandbox.run(words.chain([source.as_os_str()])),
        };
        let summary = ended.expect(0).summary();
        let name = summary["snapshot_id"].as_str().unwrap().to_owned();
        snapshots.push(Id::parse(&name).unwrap());
        name
    };
    // Each entry once, with the snapshots that have it.
    let (mut entries, mut count) = (BTreeMap::<String, Vec<String>>::new(), 0);
    let mut tell = |word: &str, name: &str, lines: Vec<String>| {
        writeln!(manifest, "{word} {name}").unwrap();
        lines.into_iter().for_each(|line| entries.entry(line).or_default().push(count.to_string()));
        count += 1;
    };
    tell("forgotten", &back_up(0, &[]), manifest::lines(&source));
    change(&source);
    tell("snapshot", &back_up(1, &["--tag", "second,changed"]), manifest::lines(&source));
    tell(
        "stream",
        &back_up(2, &["--stdin", "--stdin-filename", "stream"]),
        vec![format!("blake3={}", blake3::hash(&text(100)).to_hex())],
    );
    std::fs::write(source.join("documents/unconfirmed"), "never reported as saved").unwrap();
    let unconfirmed = back_up(3, &["--compression", "off"]);
    tell("unconfirmed", &unconfirmed, Vec::new());
    std::fs::remove_file(sandbox.repository().join("confirmed").join(&unconfirmed)).unwrap();
    for (entry, numbers) in &entries {
        writeln!(manifest, "{}\t{entry}", numbers.join(",")).unwrap();
    }

    let key = MasterKey::from_key_file(&std::fs::read_to_string(sandbox.key_file()).unwrap()).unwrap();
    let backend = Local::new(sandbox.repository());
    let mut slots = Vec::new();
    backend.list(ObjectKind::Keys, &mut |entry| slots.push(entry.name)).unwrap();
    let object = backend.get(ObjectKind::Keys, &slots[0]).unwrap();
    let master = slot::open(&object, Unlock::KeyFile(&key)).unwrap().unwrap();
    let keys = master.keys(slot::decode(&object).unwrap().repository);
    note(&keys, &backend, &snapshots[0], 5, &[]);
    note(&keys, &backend, &snapshots[1], 1, &["noted"]);
    note(&keys, &backend, &snapshots[1], 7, &["a description that came later"]);
    let repository = copal::repository::open(Box::new(backend), Unlock::KeyFile(&key), None).unwrap();
    let about = Description {
        label: "password".to_owned(),
        made: Time::new(FIRST, 0),
        user: "golden".to_owned(),
        host: "golden".to_owned(),
        writer: 0,
        shares: false,
    };
    // The least that a reader takes: a test derives it many times.
    let cost = Cost { memory: KDF_MEMORY_MIN, passes: 1, lanes: 1 };
    repository.add_key(Unlock::Password(PASSWORD.as_bytes()), cost, &about).unwrap();

    for name in ["repository", "key", "password", "manifest"] {
        let path = folder.join(name);
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
    }
    std::fs::create_dir_all(folder).unwrap();
    super::copy(&sandbox.repository(), &folder.join("repository"));
    std::fs::copy(sandbox.key_file(), folder.join("key")).unwrap();
    std::fs::write(folder.join("password"), format!("{PASSWORD}\n")).unwrap();
    std::fs::write(folder.join("manifest"), manifest).unwrap();
    // As they are in a checkout: for everyone to read.
    for entry in walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap) {
        super::set_mode(entry.path(), if entry.file_type().is_dir() { 0o755 } else { 0o644 });
    }
    unprotect(&source);
    std::fs::remove_dir_all(&source).unwrap();
    let (files, bytes) = weigh(&folder.join("repository"));
    println!("{}: {files} objects, {bytes} bytes", folder.display());
    assert!(bytes <= MOST, "{bytes} bytes are more than a fixture should have");
}
