//! Any tree comes back equal: names, contents, holes, links, times, modes, attributes; as root and as nobody.

mod common;

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

use common::{Compare, Content, Item, Kind, Sandbox, assert_same, below, demand_root, differences_of, make};
use proptest::prelude::*;
use rustix::fs::{IFlags, Mode};

/// First and last second that ext4 keeps.
const TIMES: std::ops::Range<i64> = -0x8000_0000..0x3_8000_0000 - 1;

fn names() -> impl Strategy<Value = Vec<u8>> {
    let sound = |name: &Vec<u8>| !name.is_empty() && name != b"." && name != b"..";
    let bytes = prop::collection::vec(
        any::<u8>().prop_map(|byte| if byte == 0 || byte == b'/' { b'_' } else { byte }),
        1..40,
    );
    prop_oneof![
        4 => "[a-z]{1,6}(\\.[a-z]{2})?".prop_map(String::into_bytes),
        3 => bytes,
        1 => Just(b"-rf".to_vec()),
        1 => Just(b"two\nlines".to_vec()),
        1 => Just(b"\xff\xfe\x80".to_vec()),
        1 => Just(b" ".to_vec()),
        1 => Just(b"back\\slash*?[x]".to_vec()),
        1 => Just("grüße\u{301}".as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![b'a' + byte % 26; 255]),
        1 => any::<u8>().prop_map(|byte| vec![0x80 | byte; 255]),
    ]
    .prop_filter("no name", sound)
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        2 => Just(Content::Bytes(Vec::new())),
        4 => prop::collection::vec(any::<u8>(), 1..3000).prop_map(Content::Bytes),
        1 => (1usize..200_000).prop_map(|length| Content::Bytes(vec![0; length])),
        2 => (any::<u64>(), 1usize..5 << 20).prop_map(|(seed, length)| Content::Noise { seed, length }),
        3 => (1u64..1 << 33, prop::collection::vec((any::<u64>(), 1usize..300_000), 0..4)).prop_map(|(length, data)| {
            Content::Sparse { length, data: data.into_iter().map(|(start, bytes)| (start % length, bytes)).collect() }
        }),
    ]
}

fn kinds(is_root: bool) -> impl Strategy<Value = Kind> {
    let devices = if is_root { 1 } else { 0 };
    prop_oneof![
        6 => contents().prop_map(Kind::File),
        5 => Just(Kind::Folder),
        2 => prop::collection::vec(1u8..=255, 1..200).prop_map(Kind::Symlink),
        1 => prop::collection::vec(1u8..=255, 4000..4095).prop_map(Kind::Symlink),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
        3 => any::<usize>().prop_map(Kind::Link),
        devices => (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| Kind::Character(major, minor)),
        devices => (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| Kind::Block(major, minor)),
    ]
}

fn times() -> impl Strategy<Value = (i64, u32)> {
    let nanos = prop_oneof![Just(0), Just(1), Just(999_999_999), 0u32..1_000_000_000];
    let seconds = prop_oneof![
        TIMES,
        1_600_000_000i64..1_800_000_000,
        Just(-1),
        Just(0),
        Just(TIMES.start),
        Just(TIMES.end - 1),
        // The first second of 2400.
        Just(13_569_465_600),
    ];
    (seconds, nanos)
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Attributes that any file or folder may have: empty ones, and one that takes most of what ext4 gives (4 KiB in all).
fn xattrs() -> impl Strategy<Value = Xattrs> {
    let value = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 1..100)];
    let name = "user\\.[a-z]{1,20}".prop_map(String::into_bytes);
    let few =
        prop::collection::btree_map(name, value, 0..4).prop_map(|map| map.into_iter().collect::<Xattrs>());
    let large = (1500usize..3000, any::<u64>())
        .prop_map(|(length, seed)| vec![(b"user.large".to_vec(), common::noise(seed, length))]);
    prop_oneof![3 => Just(Vec::new()), 2 => few, 1 => large]
}

fn items(is_root: bool) -> impl Strategy<Value = Item> {
    let modes = prop_oneof![3 => Just(0o644), 1 => Just(0o755), 3 => 0u32..0o10000];
    let owners = prop_oneof![
        Just((0, 0)),
        Just((65534, 65534)),
        Just((1, 4)),
        (2000u32..4_000_000_000, 2000u32..4_000_000_000)
    ];
    (
        any::<prop::sample::Index>(),
        names(),
        kinds(is_root),
        modes,
        owners,
        times(),
        xattrs(),
        prop::bool::weighted(0.2),
    )
        .prop_map(move |(parent, name, kind, mut mode, owner, mtime, mut xattrs, acl)| {
            if !is_root {
                // What nobody can not read is another test's.
                mode |= if matches!(kind, Kind::Folder) { 0o500 } else { 0o400 };
            }
            if !matches!(kind, Kind::File(_) | Kind::Folder) {
                // Others may hold only the attributes that root gives.
                xattrs.iter_mut().for_each(|(name, _)| {
                    name.splice(..4, *b"trusted");
                });
                if !is_root || matches!(kind, Kind::Link(_)) {
                    xattrs.clear();
                }
            }
            Item { parent: parent.index(12), name, kind, mode, owner, mtime, xattrs, acl, flags: 0 }
        })
}

fn trees(is_root: bool) -> impl Strategy<Value = Vec<Item>> {
    prop::collection::vec(items(is_root), 0..40)
}

/// Backs up two sources, restores them twice (with and without a cache), and compares.
fn round_trip(sandbox: &Sandbox, items: &[Item]) -> Result<(), TestCaseError> {
    let sources = [sandbox.path("source"), sandbox.path("second")];
    std::fs::create_dir(&sources[1]).unwrap();
    if let Some((uid, gid)) = sandbox.owner() {
        std::os::unix::fs::chown(&sources[1], Some(uid), Some(gid)).unwrap();
    }
    make(&[&sources[0], &sources[1]], items, sandbox.owner());
    let words = [OsStr::new("backup"), sources[0].as_os_str(), sources[1].as_os_str()];
    let ended = sandbox.run(words);
    prop_assert_eq!(ended.code, 0, "{}", ended);
    for (target, options) in [("out", &[][..]), ("again", &["--no-cache", "--verify", "--numeric-ids"][..])] {
        let target = sandbox.path(target);
        let words = ["restore", "latest", "-t"].map(OsStr::new).into_iter().chain([target.as_os_str()]);
        // Nobody can not give / and /var their owners back: only what was asked for is restored (another test is about that).
        let includes = sources.iter().flat_map(|source| [OsStr::new("--include"), source.as_os_str()]);
        let includes = includes.filter(|_| sandbox.owner().is_some());
        let ended = sandbox.run(words.chain(options.iter().map(OsStr::new)).chain(includes));
        prop_assert_eq!(ended.code, 0, "{}", ended);
        let restored = [below(&target, &sources[0]), below(&target, &sources[1])];
        let pairs = [(&*sources[0], &*restored[0]), (&*sources[1], &*restored[1])];
        let differences = differences_of(&pairs, Compare { owners: true });
        prop_assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
    let ended = sandbox.run(["check", "--read-data"]);
    prop_assert_eq!(ended.code, 0, "{}", ended);
    Ok(())
}

fn few(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(few(14))]

    #[test]
    fn root_gets_any_tree_back_exactly(tree in trees(true)) {
        demand_root();
        round_trip(&Sandbox::new(), &tree)?;
    }

    #[test]
    fn nobody_gets_any_tree_back_exactly(tree in trees(false)) {
        round_trip(&Sandbox::of_nobody(), &tree)?;
    }
}

/// A tree with one of everything that an ordinary user can make.
fn plain_tree() -> Vec<Item> {
    let mut items = vec![
        Item::new(0, "folder", Kind::Folder).mode(0o750),
        Item::file(1, "empty", ""),
        Item::file(1, "small", "some bytes")
            .mode(0o600)
            .xattr("user.empty", b"")
            .xattr("user.name", b"value"),
        Item::new(1, "large", Kind::File(Content::Noise { seed: 1, length: 9 << 20 })),
        Item::new(
            0,
            "hole",
            Kind::File(Content::Sparse { length: 3 << 30, data: vec![(1 << 20, 5000), (2 << 30, 70_000)] }),
        ),
        Item::new(0, "only a hole", Kind::File(Content::Sparse { length: 12345, data: vec![] })),
        Item::new(0, "link", Kind::Symlink(b"folder/small".to_vec())),
        Item::new(0, b"dangling\n\xff", Kind::Symlink(b"/no\nwhere/\xfe".to_vec())),
        Item::new(0, "fifo", Kind::Fifo).mode(0o640),
        Item::new(0, "socket", Kind::Socket).mode(0o700),
        Item::new(0, "sticky", Kind::Folder).mode(0o1777),
        Item::new(0, "setgid", Kind::Folder).mode(0o2755),
        Item::file(0, "setuid", "program").mode(0o6755),
        Item::file(0, "-leading dash", ""),
        Item::file(0, vec![b'n'; 255], "long name"),
    ];
    for (number, time) in
        [(-1, 999_999_999), (-0x8000_0000, 0), (13_569_465_600, 1), (0, 0), (0x1_0000_0000, 5)]
            .into_iter()
            .enumerate()
    {
        let mut item = Item::new(
            0,
            format!("time {number}"),
            if number == 2 { Kind::Folder } else { Kind::Symlink(b"x".to_vec()) },
        );
        item.mtime = time;
        items.push(item);
    }
    items.push(Item { acl: true, ..Item::file(0, "acl", "of a file") });
    items.push(Item { acl: true, ..Item::new(0, "acl folder", Kind::Folder) });
    items
}

#[test]
fn one_of_everything_comes_back_to_nobody() {
    let sandbox = Sandbox::of_nobody();
    make(&[&sandbox.source()], &plain_tree(), sandbox.owner());
    sandbox.back_up();
    let (source, out) = (sandbox.source(), sandbox.path("out"));
    let words = [
        "restore".as_ref(),
        "latest".as_ref(),
        "--include".as_ref(),
        source.as_os_str(),
        "-t".as_ref(),
        out.as_os_str(),
    ];
    sandbox.run(words).expect(0);
    assert_same(&source, &below(&out, &source));
}

#[test]
fn nobody_restores_his_own_folder_without_complaints_about_the_folders_above_it() {
    let sandbox = Sandbox::of_nobody();
    make(&[&sandbox.source()], &plain_tree(), sandbox.owner());
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn a_restored_tree_can_be_backed_up_and_restored_again() {
    let sandbox = Sandbox::new();
    make(&[&sandbox.source()], &plain_tree(), None);
    sandbox.back_up();
    let first = sandbox.restore("out");
    sandbox.run([OsStr::new("backup"), first.as_os_str()]).expect(0);
    sandbox.run(["restore", "latest", "-t", "twice"]).expect(0);
    assert_same(&sandbox.source(), &below(&sandbox.path("twice"), &first));
}

#[test]
fn root_gets_devices_capabilities_and_foreign_owners_back() {
    demand_root();
    let sandbox = Sandbox::new();
    // cap_net_raw+ep, version 2.
    let capability = [0x0200_0001u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    let mut program = Item::file(0, "ping", "program").mode(0o755).xattr("security.capability", &capability);
    program.owner = (2000, 3000);
    let mut setuid = Item::file(0, "su", "program").mode(0o4755).xattr("trusted.x", b"");
    setuid.owner = (65534, 65534);
    let mut symlink = Item::new(0, "link", Kind::Symlink(b"ping".to_vec())).xattr("trusted.on-a-link", b"1");
    symlink.owner = (4_000_000_000, 4_000_000_001);
    let items = [
        program,
        setuid,
        symlink,
        Item::new(0, "zero", Kind::Character(1, 5)).mode(0o666).xattr("trusted.device", b"2"),
        Item::new(0, "disk", Kind::Block(259, 1 << 19)).mode(0o660),
        Item::new(0, "fifo", Kind::Fifo).xattr("trusted.fifo", b""),
    ];
    make(&[&sandbox.source()], &items, None);
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

/// Backs up and restores what flags protect; the flags go before anything can fail, or nobody could remove the sandbox.
fn assert_protected_comes_back(sandbox: &Sandbox) {
    sandbox.back_up();
    let target = sandbox.path("out");
    let ended =
        sandbox.run([OsStr::new("restore"), OsStr::new("latest"), OsStr::new("-t"), target.as_os_str()]);
    let restored = below(&target, &sandbox.source());
    let differences = common::differences(&sandbox.source(), &restored, Compare { owners: true });
    common::unprotect(&sandbox.source());
    common::unprotect(&restored);
    assert_eq!(differences, Vec::<String>::new(), "{ended}");
    ended.expect(0);
}

#[test]
fn root_gets_inode_flags_back_last_of_all() {
    demand_root();
    let sandbox = Sandbox::new();
    let items = [
        Item::new(0, "protected", Kind::Folder).flags(IFlags::IMMUTABLE),
        Item::file(1, "inside", "content"),
        Item::file(0, "immutable", "content").flags(IFlags::IMMUTABLE | IFlags::NODUMP),
        Item::file(0, "append", "content").flags(IFlags::APPEND),
        Item::new(0, "nodump", Kind::Folder).flags(IFlags::NODUMP),
        Item::file(0, "noatime", "").flags(IFlags::NOATIME),
    ];
    make(&[&sandbox.source()], &items, None);
    assert_protected_comes_back(&sandbox);
}

#[test]
fn root_gets_hard_links_of_immutable_files_back() {
    demand_root();
    let sandbox = Sandbox::new();
    let items = [
        Item::new(0, "a", Kind::Folder),
        Item::new(0, "b", Kind::Folder),
        Item::file(1, "file", "content").flags(IFlags::IMMUTABLE),
        Item::new(2, "same file", Kind::Link(0)),
        Item::new(1, "and in one folder", Kind::Link(0)),
    ];
    make(&[&sandbox.source()], &items, None);
    assert_protected_comes_back(&sandbox);
}

#[test]
fn hard_links_come_back_across_folders_and_sources_also_of_symlinks_and_fifos() {
    let sandbox = Sandbox::new();
    let second = sandbox.path("second");
    std::fs::create_dir(&second).unwrap();
    let items = [
        Item::new(0, "folder", Kind::Folder).mode(0o500),
        Item::file(2, "file", "content"),
        Item::new(0, "symlink", Kind::Symlink(b"folder/file".to_vec())),
        Item::new(0, "fifo", Kind::Fifo),
        Item::new(0, "large", Kind::File(Content::Noise { seed: 2, length: 3 << 20 })),
        Item::file(0, "empty", ""),
        Item::new(0, "a name before all others", Kind::Link(0)),
        Item::new(1, "file", Kind::Link(0)),
        Item::new(1, "symlink", Kind::Link(1)),
        Item::new(0, "fifo too", Kind::Link(2)),
        Item::new(1, "fifo", Kind::Link(2)),
        Item::new(1, "large", Kind::Link(3)),
        Item::new(1, "empty", Kind::Link(4)),
        Item::file(1, "lonely", "content"),
    ];
    make(&[&sandbox.source(), &second], &items, None);
    sandbox.run([OsStr::new("backup"), second.as_os_str(), sandbox.source().as_os_str()]).expect(0);
    sandbox.run(["restore", "latest", "-t", "out"]).expect(0);
    let out = sandbox.path("out");
    let restored = [below(&out, &sandbox.source()), below(&out, &second)];
    let pairs = [(&*sandbox.source(), &*restored[0]), (&*second, &*restored[1])];
    assert_eq!(differences_of(&pairs, Compare { owners: true }), Vec::<String>::new());
}

#[test]
fn hard_links_stay_together_when_a_later_backup_reads_only_one_of_their_names() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let items = [
        Item::new(0, "a", Kind::Folder),
        Item::new(0, "b", Kind::Folder),
        Item::file(1, "file", "content"),
        Item::new(2, "file", Kind::Link(0)),
    ];
    make(&[&sandbox.source()], &items, None);
    sandbox.back_up();
    sandbox.write("source/b/new", "beside it");
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("out"));
    // A third name, made later, moves the ctime of all.
    std::fs::hard_link(sandbox.path("source/a/file"), sandbox.path("source/third")).unwrap();
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("third"));
    std::fs::remove_file(sandbox.path("source/a/file")).unwrap();
    std::fs::remove_file(sandbox.path("source/b/file")).unwrap();
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("single again"));
}

#[test]
fn paths_longer_than_the_system_takes_come_back() {
    let sandbox = Sandbox::new();
    // 40 folders with names of 200 bytes, and 600 with short ones below the last: 9 KiB of path.
    let mut items = Vec::new();
    for depth in 0..640 {
        let name = if depth < 40 { vec![b'a' + (depth % 26) as u8; 200] } else { b"d".to_vec() };
        items.push(Item { mtime: (1_000_000_000 + depth as i64, 5), ..Item::new(depth, name, Kind::Folder) });
    }
    items.push(Item::file(640, "deepest", "content").xattr("user.deep", b"1"));
    items.push(Item::new(640, "link", Kind::Symlink(b"deepest".to_vec())));
    items.push(Item::new(640, "fifo", Kind::Fifo));
    items.push(Item::new(0, "same as the deepest", Kind::Link(0)));
    make(&[&sandbox.source()], &items, None);
    sandbox.back_up();
    let restored = sandbox.restore("out");
    assert_same(&sandbox.source(), &restored);
    let second = sandbox.back_up();
    assert_eq!(second["files_new"], 0, "{second}");
}

#[test]
fn folders_keep_their_times_whatever_is_restored_into_them() {
    let sandbox = Sandbox::new();
    let mut items = Vec::new();
    for depth in 0..20 {
        let mut folder = Item::new(depth, "below", Kind::Folder);
        folder.mtime = (depth as i64 * 1_000_003, depth as u32 + 1);
        items.push(folder);
        items.push(Item::file(depth + 1, "file", depth.to_string()));
    }
    items.push(Item::new(20, "link", Kind::Link(3)));
    make(&[&sandbox.source()], &items, None);
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn a_terabyte_that_is_one_hole_costs_nothing() {
    let sandbox = Sandbox::new();
    let content =
        Content::Sparse { length: 1 << 40, data: vec![(0, 10), (1 << 39, 4096), ((1 << 40) - 4096, 4096)] };
    make(&[&sandbox.source()], &[Item::new(0, "terabyte", Kind::File(content))], None);
    let summary = sandbox.back_up();
    assert_eq!(summary["total_bytes_processed"], 1u64 << 40);
    assert!(summary["data_added"].as_u64().unwrap() < 1 << 20, "{summary}");
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn a_folder_of_thousands_of_entries_comes_back() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let mut items = vec![Item::new(0, "many", Kind::Folder)];
    for number in 0..9000 {
        items.push(match number % 500 {
            7 => Item::new(1, format!("folder {number}"), Kind::Folder),
            8 => Item::new(1, format!("link {number}"), Kind::Link(number / 2)),
            9 => Item::new(1, format!("symlink {number}"), Kind::Symlink(number.to_string().into_bytes())),
            _ => Item::file(1, format!("file {number}"), number.to_string()),
        });
    }
    make(&[&sandbox.source()], &items, None);
    let first = sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("out"));
    let second = sandbox.back_up();
    assert_eq!(second["files_unmodified"], first["total_files_processed"], "{second}");
    sandbox.write("source/many/one more", "x");
    let third = sandbox.back_up();
    assert_eq!(
        (&third["files_new"], &third["files_unmodified"]),
        (&1.into(), &first["total_files_processed"]),
        "{third}"
    );
    assert_same(&sandbox.source(), &sandbox.restore("third"));
}

#[test]
fn root_saves_what_nobody_gets_back_as_far_as_allowed_and_is_told_the_rest() {
    demand_root();
    let mut sandbox = Sandbox::new();
    let mut foreign = Item::file(0, "foreign", "content").mode(0o4755);
    foreign.owner = (2000, 2000);
    let items =
        [foreign, Item::new(0, "null", Kind::Character(1, 3)), Item::file(0, "own", "mine").mode(0o644)];
    make(&[&sandbox.source()], &items, None);
    sandbox.back_up();
    // The same repository for nobody, in a folder that nobody may use.
    let nobody = Sandbox::of_nobody();
    let copy = nobody.path("copy");
    let status =
        std::process::Command::new("cp").arg("-a").arg(sandbox.repository()).arg(&copy).status().unwrap();
    assert!(status.success());
    std::fs::copy(sandbox.key_file(), nobody.path("key of root")).unwrap();
    let status = std::process::Command::new("chown")
        .args(["-R", "nobody:nogroup"])
        .arg(nobody.path(""))
        .status()
        .unwrap();
    assert!(status.success());
    sandbox.unset("COPAL_REPOSITORY");
    let out = nobody.path("out");
    let words =
        ["restore", "-r", copy.to_str().unwrap(), "--key-file", nobody.path("key of root").to_str().unwrap()]
            .map(str::to_owned);
    let ended = nobody
        .run(words.into_iter().chain(["latest", "-t", out.to_str().unwrap()].map(str::to_owned)))
        .expect(3);
    let restored = below(&out, &sandbox.source());
    assert_eq!(std::fs::read(restored.join("foreign")).unwrap(), b"content");
    assert_eq!(std::fs::read(restored.join("own")).unwrap(), b"mine");
    assert!(!restored.join("null").exists());
    // A program must not run as somebody else than it was meant to.
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(restored.join("foreign")).unwrap().permissions().mode() & 0o7777, 0o755);
    ended.warns("devices can be made by root alone").warns("owner");
}

#[test]
fn reading_leaves_access_times_alone() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("source/file", "content");
    let old = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 5, tv_nsec: 6 },
        last_modification: rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 },
    };
    for path in [&path, &sandbox.source()] {
        rustix::fs::utimensat(rustix::fs::CWD, path, &old, rustix::fs::AtFlags::empty()).unwrap();
    }
    sandbox.back_up();
    use std::os::unix::fs::MetadataExt;
    for path in [&path, &sandbox.source()] {
        let now = std::fs::metadata(path).unwrap();
        assert_eq!((now.atime(), now.atime_nsec()), (5, 6), "{}", path.display());
    }
}

#[test]
fn the_comparison_itself_sees_every_kind_of_difference() {
    let sandbox = Sandbox::empty();
    let (a, b) = (sandbox.path("source"), sandbox.path("other"));
    std::fs::create_dir(&b).unwrap();
    let both = |name: &str, one: Item, other: Item| {
        make(&[&a], &[Item { name: name.into(), ..one }], None);
        make(&[&b], &[Item { name: name.into(), ..other }], None);
    };
    let file = || Item::file(0, "", "content");
    both("content", file(), Item::file(0, "", "CONTENT"));
    both("size", file(), Item::file(0, "", "content!"));
    both("mode", file(), file().mode(0o4644));
    both("mtime", file(), Item { mtime: (1_700_000_000, 123_456_788), ..file() });
    both("type", file(), Item::new(0, "", Kind::Fifo));
    both(
        "target",
        Item::new(0, "", Kind::Symlink(b"a".to_vec())),
        Item::new(0, "", Kind::Symlink(b"b".to_vec())),
    );
    both("attributes", file(), file().xattr("user.x", b""));
    let hole =
        |start| Item::new(0, "", Kind::File(Content::Sparse { length: 1 << 20, data: vec![(start, 4096)] }));
    both("data between holes", hole(0), hole(8192));
    both("link count", file(), file());
    std::fs::hard_link(b.join("link count"), sandbox.path("elsewhere")).unwrap();
    make(&[&a], &[Item::file(0, "missing", "")], None);
    make(&[&b], &[Item::file(0, "should not be", "")], None);
    let differences = common::differences(&a, &b, Compare { owners: true });
    for word in [
        "content",
        "size",
        "mode",
        "mtime",
        "type",
        "target",
        "attributes",
        "data between holes",
        "link count",
    ] {
        let line = format!("source/{word}: {word} is");
        assert!(
            differences.iter().any(|difference| difference.starts_with(&line)),
            "{line}: {differences:#?}"
        );
    }
    for word in ["missing is missing", "should not be is there"] {
        assert!(differences.iter().any(|difference| difference.contains(word)), "{word}: {differences:#?}");
    }
    let handle = common::root_handle(Path::new(&a));
    assert!(rustix::fs::mkdirat(handle.as_fd(), "x", Mode::RWXU).is_ok());
}

#[test]
fn an_empty_folder_comes_back_when_the_cache_is_lost() {
    let sandbox = Sandbox::new();
    make(
        &[&sandbox.source()],
        &[Item::new(0, "empty", Kind::Folder), Item::file(0, "file", "content")],
        None,
    );
    sandbox.back_up();
    std::fs::remove_dir_all(sandbox.cache()).unwrap();
    assert_same(&sandbox.source(), &sandbox.restore("out"));
    sandbox.run(["check", "--read-data"]).expect(0);
}
