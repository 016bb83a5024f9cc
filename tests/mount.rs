//! Snapshots mounted by the real program on the real kernel, and looked at as people do.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{
    Content, Ended, Item, Kind, Sandbox, assert_same, below, demand_root, end, end_child, flip, longest,
    make, noise, packs, signal,
};
use rustix::process::Signal;

/// Longer than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mount, as long as it is not ended.
struct Mounted<'s> {
    sandbox: &'s Sandbox,
    child: Option<Child>,
    place: PathBuf,
    /// What was said first.
    line: String,
}

impl<'s> Mounted<'s> {
    fn new(sandbox: &'s Sandbox) -> Mounted<'s> {
        Mounted::with(sandbox, &[])
    }

    fn with(sandbox: &'s Sandbox, options: &[&str]) -> Mounted<'s> {
        let place = sandbox.path("mounted here");
        if !place.exists() {
            std::fs::create_dir(&place).unwrap();
        }
        let words = [OsStr::new("mount"), place.as_os_str()];
        let mut command = sandbox.command(words.into_iter().chain(options.iter().map(OsStr::new)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let line = first_line(&mut child);
        if line.is_empty() {
            panic!("it was not mounted: {}", end_child(child, "mount".to_owned()));
        }
        Mounted { sandbox, child: Some(child), place, line }
    }

    /// The one snapshot, or the newest: where the source is in it.
    fn source(&self) -> PathBuf {
        below(&self.place.join("latest"), &self.sandbox.source())
    }

    fn names(&self, folder: &str) -> BTreeSet<String> {
        names(&self.place.join(folder))
    }

    fn end(mut self, how: Signal) -> Ended {
        let child = self.child.take().unwrap();
        signal(&child, how);
        end_child(child, "mount".to_owned())
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = Command::new("fusermount3").args(["-u", "-q", "-z"]).arg(&self.place).status();
        }
    }
}

/// One line of what a child says, byte by byte, so that nothing of the rest is taken.
fn first_line(child: &mut Child) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    let out = child.stdout.as_mut().unwrap();
    while out.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Waits until something is so.
fn wait_until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_mounted(place: &Path) -> bool {
    let text = std::fs::read_to_string("/proc/self/mounts").unwrap();
    // Blanks are written as octal digits there.
    let shown = place.to_str().unwrap().replace(' ', "\\040");
    text.lines().any(|line| line.split(' ').nth(1) == Some(&shown))
}

fn is_input_output_error<T: std::fmt::Debug>(result: std::io::Result<T>) -> bool {
    let error = result.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    true
}

// What is shown ----------------------------------------------------------------------------------------------------------------

fn odd_items() -> Vec<Item> {
    let mut items = vec![
        Item::new(0, "folder", Kind::Folder).mode(0o750),
        Item::new(1, b"\xff\xfe not UTF-8 \n", Kind::Folder),
        Item::file(2, b" blank in front", "x").mode(0o4711),
        Item::file(2, "\u{1b}[31m", "y").mode(0),
        Item::file(0, "x".repeat(255), "long name"),
        Item::file(0, "empty", ""),
        Item::new(0, "link", Kind::Symlink(b"nowhere/\xff".to_vec())),
        Item::new(1, "fifo", Kind::Fifo),
        Item::new(0, "socket", Kind::Socket),
        Item::file(0, "one name", "of three"),
        Item::new(0, "noise", Kind::File(Content::Noise { seed: 5, length: 3_000_000 })),
        Item::new(
            0,
            "sparse",
            Kind::File(Content::Sparse { length: 64 << 20, data: vec![(0, 4096), (40 << 20, 300_000)] }),
        ),
        Item::new(0, "hole", Kind::File(Content::Sparse { length: 3 << 20, data: vec![] })),
        Item::file(1, "attributes", "z")
            .xattr("user.empty", b"")
            .xattr("user.long", &noise(9, 3500))
            .xattr("user.name", b"value"),
    ];
    let mut acl = Item::file(0, "access control list", "a");
    acl.acl = true;
    items.push(acl);
    let mut acl = Item::new(0, "folder with a list", Kind::Folder);
    acl.acl = true;
    items.push(acl);
    let mut old = Item::file(0, "before 1970", "o");
    old.mtime = (-86_401, 999_999_999);
    items.push(old);
    // Number 6 of those that are no folders: "one name".
    let first = items.iter().filter(|item| !matches!(item.kind, Kind::Folder));
    let place = first.into_iter().position(|item| item.name == b"one name").unwrap();
    items.push(Item::new(1, "second name", Kind::Link(place)));
    items.push(Item::new(2, "third name", Kind::Link(place)));
    items
}

#[test]
fn a_mounted_snapshot_is_what_was_saved() {
    let sandbox = Sandbox::new();
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut items = odd_items();
    if !common::is_root() {
        // What its owner may not read is not saved either.
        items.retain(|item| item.mode != 0);
    }
    make(&[&sandbox.source()], &items, Some(own));
    sandbox.back_up();
    let mounted = Mounted::new(&sandbox);
    assert_same(&sandbox.source(), &mounted.source());
    // A second time, from what the kernel kept; and in another way.
    assert_same(&sandbox.source(), &mounted.source());
    let host = names(&mounted.place.join("hosts")).pop_first().unwrap();
    assert_same(
        &sandbox.source(),
        &below(&mounted.place.join("hosts").join(host).join("latest"), &sandbox.source()),
    );
    // Holes take no room.
    let room = std::fs::metadata(mounted.source().join("sparse")).unwrap().blocks() * 512;
    assert!((304_096..600_000).contains(&room), "{room}");
    assert_eq!(std::fs::metadata(mounted.source().join("hole")).unwrap().blocks(), 0);
    mounted.end(Signal::INT).expect(0);
}

#[test]
fn root_owners_devices_and_attributes_of_the_system_are_shown() {
    demand_root();
    let sandbox = Sandbox::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut other = Item::file(0, "of another", "x").xattr("trusted.x", b"t");
    other.owner = (12_345, 54_321);
    let items = [
        other,
        Item::new(0, "null", Kind::Character(1, 3)),
        Item::new(0, "far", Kind::Character(0xabc, 0x12_345)),
        Item::new(0, "disk", Kind::Block(8, 17)),
        Item::file(0, "ping", "program").mode(0o755).xattr("security.capability", &capability),
    ];
    make(&[&sandbox.source()], &items, None);
    sandbox.back_up();
    let mounted = Mounted::new(&sandbox);
    assert_same(&sandbox.source(), &mounted.source());
    // Devices can be seen, and not used.
    std::fs::File::open(mounted.source().join("null")).unwrap_err();
}

#[test]
fn diff_finds_no_difference() {
    let sandbox = Sandbox::new();
    for number in 0..300u64 {
        sandbox
            .write(format!("source/{}/{number}", number % 17), noise(number, (number * 97 % 5000) as usize));
    }
    std::os::unix::fs::symlink("../0", sandbox.path("source/1/link")).unwrap();
    sandbox.back_up();
    let mounted = Mounted::new(&sandbox);
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let mut command = Command::new("diff");
            command.args(["-r", "--no-dereference"]).arg(sandbox.source()).arg(mounted.source());
            std::thread::spawn(move || end(command))
        })
        .collect();
    for run in runs {
        let ended = run.join().unwrap().expect(0);
        assert_eq!(ended.text(), "");
    }
    std::fs::write(sandbox.path("source/3/3"), "changed").unwrap();
    let mut command = Command::new("diff");
    command.args(["-rq", "--no-dereference"]).arg(sandbox.source()).arg(mounted.source());
    end(command).expect(1).says("source/3/3");
}

#[test]
fn any_part_of_a_long_file_can_be_read() {
    let sandbox = Sandbox::empty();
    // Small chunks: more than stand in one page of the list of contents.
    sandbox.run(["init", "--average-chunk", "4K"]).expect(0);
    let data = vec![(0, 9_000_000), (30 << 20, 1), (40 << 20, 700_001)];
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let items = [Item::new(0, "long", Kind::File(Content::Sparse { length: 50 << 20, data }))];
    make(&[&sandbox.source()], &items, Some(own));
    sandbox.back_up();
    let mounted = Mounted::new(&sandbox);
    let saved = std::fs::File::open(sandbox.path("source/long")).unwrap();
    let shown = std::fs::File::open(mounted.source().join("long")).unwrap();
    let size = shown.metadata().unwrap().len();
    assert_eq!(size, 50 << 20);
    let read = |file: &std::fs::File, offset: u64, length: usize| {
        let mut bytes = vec![7; length];
        let mut filled = 0;
        while filled < length {
            match file.read_at(&mut bytes[filled..], offset + filled as u64).unwrap() {
                0 => break,
                more => filled += more,
            }
        }
        bytes.truncate(filled);
        bytes
    };
    let mut state = 1u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..400 {
        let length = random(200_000) as usize;
        let offset = random(size + 10_000);
        assert!(read(&saved, offset, length) == read(&shown, offset, length), "{length} bytes from {offset}");
    }
    let ends =
        [0, 8_999_990, 9_000_000, (30 << 20) - 1, 30 << 20, (40 << 20) + 700_000, size - 1, size, size + 1];
    for offset in ends {
        assert!(read(&saved, offset, 20) == read(&shown, offset, 20), "from {offset}");
    }
    assert_same(&sandbox.source(), &mounted.source());
}

#[test]
fn a_small_part_of_a_long_file_costs_a_few_blocks() {
    let sandbox = Sandbox::new();
    let content = noise(8, 40_000_000);
    sandbox.write("source/long", &content);
    sandbox.back_up();
    let mounted = Mounted::new(&sandbox);
    let file = std::fs::File::open(mounted.source().join("long")).unwrap();
    // All bytes that the program has read, from wherever.
    let read = || {
        let text =
            std::fs::read_to_string(format!("/proc/{}/io", mounted.child.as_ref().unwrap().id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = read();
    let mut bytes = [0; 100];
    file.read_exact_at(&mut bytes, 23_456_789).unwrap();
    assert!(bytes[..] == content[23_456_789..][..100]);
    let some = read() - before;
    assert!((1..5_000_000).contains(&some), "{some}");
    let mut all = vec![0; content.len()];
    file.read_exact_at(&mut all, 0).unwrap();
    assert!(all == content && read() - before > 38_000_000, "else what was counted says nothing");
}

#[test]
fn a_folder_with_very_many_entries_is_shown_whole() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("source/many")).unwrap();
    for number in 0..12_000 {
        std::fs::File::create(sandbox.path(format!("source/many/file {number:05}"))).unwrap();
    }
    sandbox.back_up();
    let mounted = Mounted::new(&sandbox);
    let expected: Vec<String> = (0..12_000).map(|number| format!("file {number:05}")).collect();
    let listed = || {
        let entries = std::fs::read_dir(mounted.source().join("many")).unwrap();
        let entries = entries.map(|entry| entry.unwrap());
        entries.map(|entry| (entry.ino(), entry.file_name().into_string().unwrap())).collect::<Vec<_>>()
    };
    let first = listed();
    assert!(first.iter().map(|(_, name)| name).eq(&expected), "they come in order, each once");
    let numbers: BTreeSet<u64> = first.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers.len(), expected.len());
    assert_eq!(listed(), first);
    for (number, name) in first.iter().rev().step_by(700) {
        let path = mounted.source().join("many").join(name);
        assert_eq!(std::fs::metadata(path).unwrap().ino(), *number);
    }
    assert!(!mounted.source().join("many/file 12000").exists());
}

#[test]
fn inode_numbers_stay_and_no_two_snapshots_share_any() {
    let sandbox = Sandbox::new();
    sandbox.write("source/folder/file", "x");
    std::fs::hard_link(sandbox.path("source/folder/file"), sandbox.path("source/other name")).unwrap();
    sandbox.back_up();
    std::thread::sleep(Duration::from_millis(1100));
    sandbox.back_up_with(&["--force"]);
    let numbers = || {
        let mounted = Mounted::new(&sandbox);
        let mut numbers = Vec::new();
        for label in mounted.names("snapshots") {
            let source = below(&mounted.place.join("snapshots").join(label), &sandbox.source());
            let number = |name: &str| std::fs::metadata(source.join(name)).unwrap().ino();
            assert_eq!(number("folder/file"), number("other name"));
            numbers.extend([number(""), number("folder"), number("other name")]);
        }
        mounted.end(Signal::TERM).expect(0);
        numbers
    };
    let first = numbers();
    assert_eq!(first.len(), 6, "two snapshots");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 6);
    assert_eq!(numbers(), first, "the same at the next mount");
}

#[test]
fn snapshots_are_found_by_time_by_host_and_by_tag() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "1");
    let back_up = |time: &str, options: &[&str], content: &str| {
        sandbox.write("source/file", content);
        sandbox.back_up_with(&[&["--time", time], options].concat())
    };
    back_up("2026-01-01 10:00:00", &[], "first");
    back_up("2026-01-02 10:00:00", &["--tag", "a,b/c"], "second");
    let twins = [
        back_up("2026-01-03 10:00:00", &["-H", "other", "--tag", "a"], "third"),
        back_up("2026-01-03 10:00:00", &["-H", "other"], "fourth"),
    ];
    let mounted = Mounted::new(&sandbox);
    let label = |summary: &serde_json::Value| {
        format!("2026-01-03T10-00-00-{}", &summary["snapshot_id"].as_str().unwrap()[..8])
    };
    let twins = twins.each_ref().map(label);
    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(mounted.names(""), text(&["hosts", "latest", "snapshots", "tags", "versions"]));
    let (one, two) = ("2026-01-01T10-00-00", "2026-01-02T10-00-00");
    assert_eq!(mounted.names("snapshots"), text(&[one, two, &twins[0], &twins[1]]));
    let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    assert_eq!(mounted.names("hosts"), text(&[&own, "other"]));
    assert_eq!(mounted.names(&format!("hosts/{own}")), text(&[one, two, "latest"]));
    assert_eq!(mounted.names("hosts/other"), text(&[&twins[0], &twins[1], "latest"]));
    assert_eq!(mounted.names("tags"), text(&["a", "b%2Fc"]));
    assert_eq!(mounted.names("tags/a"), text(&[two, &twins[0], "latest"]));
    let read = |way: &str| {
        std::fs::read_to_string(below(&mounted.place.join(way), &sandbox.source()).join("file")).unwrap()
    };
    assert_eq!(read("latest"), "second", "of this host");
    assert_eq!(read(&format!("snapshots/{one}")), "first");
    assert_eq!(read("tags/a/latest"), "third");
    assert_eq!(read(&format!("hosts/other/{}", twins[1])), "fourth");
    mounted.end(Signal::INT).expect(0);
    let mounted = Mounted::with(&sandbox, &["-H", "other"]);
    let target = std::fs::read_link(mounted.place.join("latest")).unwrap();
    assert!(twins.iter().any(|twin| target == Path::new("snapshots").join(twin)), "{target:?}");
}

/// The folder of a path among the versions of this host.
fn versions(mounted: &Mounted<'_>, path: &str) -> PathBuf {
    let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    below(&mounted.place.join("versions").join(own), &mounted.sandbox.path(path))
}

#[test]
fn every_path_is_a_folder_of_its_versions() {
    let sandbox = Sandbox::new();
    let days = ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"];
    let back_up = |day: usize, options: &[&str]| {
        sandbox.back_up_with(&[&["--time", &format!("{} 10:00:00", days[day])], options].concat());
    };
    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    sandbox.write("source/deep/report.odt", "first");
    sandbox.write("source/both", "a file");
    sandbox.write("source/.plain", "no extension");
    std::os::unix::fs::symlink("nowhere", sandbox.path("source/link")).unwrap();
    back_up(0, &[]);
    let report = sandbox.write("source/deep/report.odt", "second, longer");
    std::fs::remove_file(sandbox.path("source/both")).unwrap();
    // As a version of the file would be called.
    sandbox.write("source/both/2026-01-01T10-00-00", "in a folder");
    back_up(1, &[]);
    // Another mode is no version of the contents: the newest snapshot's is shown.
    std::fs::set_permissions(&report, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let saved = std::fs::metadata(&report).unwrap();
    back_up(2, &[]);
    std::fs::remove_dir_all(sandbox.path("source/deep")).unwrap();
    sandbox.write("source/theirs", "of another host");
    back_up(3, &["-H", "other"]);
    std::fs::remove_file(sandbox.path("source/theirs")).unwrap();
    back_up(4, &[]);
    let mounted = Mounted::new(&sandbox);
    let of = |path: &str| names(&versions(&mounted, path));
    let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    assert_eq!(mounted.names("versions"), text(&[&own, "other"]));
    assert_eq!(
        of("source"),
        text(&[".plain", "both", "deep", "link"]),
        "what was deleted, and not what is another's"
    );
    assert_eq!(of("source/deep"), text(&["report.odt"]));
    // Once with what listing told of them, and once without.
    for _ in 0..2 {
        let found = of("source/deep/report.odt");
        assert_eq!(found, text(&["2026-01-01T10-00-00.odt", "2026-01-02T10-00-00.odt"]));
        let folder = versions(&mounted, "source/deep/report.odt");
        assert_eq!(read(folder.join("2026-01-01T10-00-00.odt")), "first");
        let second = folder.join("2026-01-02T10-00-00.odt");
        assert_eq!(read(second.clone()), "second, longer");
        let shown = std::fs::metadata(second).unwrap();
        assert_eq!((shown.mode(), shown.size()), (saved.mode(), 14));
        assert_eq!((shown.mtime(), shown.mtime_nsec()), (saved.mtime(), saved.mtime_nsec()));
    }
    assert_eq!(of("source/.plain"), text(&["2026-01-01T10-00-00"]));
    assert_eq!(of("source/link"), text(&[]));
    assert_eq!(of("source/both"), text(&["2026-01-01T10-00-00", "2026-01-01T10-00-00~"]));
    let both = versions(&mounted, "source/both");
    assert_eq!(read(both.join("2026-01-01T10-00-00~")), "a file");
    assert_eq!(read(both.join("2026-01-01T10-00-00/2026-01-02T10-00-00")), "in a folder");
    let theirs = below(&mounted.place.join("versions/other"), &sandbox.path("source/theirs"));
    assert_eq!(read(theirs.join("2026-01-04T10-00-00")), "of another host");
    for nothing in ["source/theirs", "source/never", "source/deep/report.odt/2026-01-03T10-00-00.odt"] {
        let error = std::fs::symlink_metadata(versions(&mounted, nothing)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{nothing}");
    }
    let error =
        std::fs::write(versions(&mounted, "source/.plain").join("2026-01-01T10-00-00"), "x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()));
    sandbox.write("source/.plain", "changed");
    sandbox.back_up_with(&["--time", "2026-01-06 10:00:00"]);
    wait_until("the new version is there", || {
        of("source/.plain") == text(&["2026-01-01T10-00-00", "2026-01-06T10-00-00"])
    });
    mounted.end(Signal::INT).expect(0);
}

#[test]
fn versions_are_shown_only_with_a_catalogue_and_known_when_they_are_looked_at() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    sandbox.back_up();
    for without in ["--no-catalogue", "--no-cache"] {
        let mounted = Mounted::with(&sandbox, &[without]);
        assert!(!mounted.names("").contains("versions"), "{without}");
        assert!(!mounted.place.join("versions").exists(), "{without}");
        mounted.end(Signal::INT).expect(0);
    }
    let count = || {
        let mut files = std::fs::read_dir(sandbox.cache()).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|path| path.to_str().unwrap().ends_with(".catalogue.db")).unwrap();
        let catalogue = rusqlite::Connection::open(file).unwrap();
        catalogue.query_row("SELECT count(*) FROM snapshots", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let mounted = Mounted::new(&sandbox);
    assert_eq!(std::fs::read(mounted.source().join("file")).unwrap(), b"x");
    assert_eq!(count(), 0, "nobody asked for versions");
    assert_eq!(names(&versions(&mounted, "source")), BTreeSet::from(["file".to_owned()]));
    assert_eq!(count(), 1);
    mounted.end(Signal::INT).expect(0);
}

#[test]
fn a_version_that_is_not_what_the_catalogue_has_is_an_error_and_one_line() {
    let sandbox = Sandbox::new();
    sandbox.write("source/wrong", "wrong");
    sandbox.write("source/right", "right");
    sandbox.back_up_with(&["--time", "2026-01-01 10:00:00"]);
    sandbox.run(["find", "wrong"]).expect(0);
    let mut files = std::fs::read_dir(sandbox.cache()).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.to_str().unwrap().ends_with(".catalogue.db")).unwrap();
    let catalogue = rusqlite::Connection::open(file).unwrap();
    let update = "UPDATE versions SET content = content + 1 WHERE path = (SELECT id FROM paths WHERE name = CAST('wrong' AS BLOB))";
    assert_eq!(catalogue.execute(update, []).unwrap(), 1);
    drop(catalogue);
    let mounted = Mounted::new(&sandbox);
    let name = "2026-01-01T10-00-00";
    for _ in 0..2 {
        assert_eq!(names(&versions(&mounted, "source/wrong")), BTreeSet::from([name.to_owned()]));
        is_input_output_error(std::fs::read(versions(&mounted, "source/wrong").join(name)));
    }
    assert_eq!(std::fs::read(versions(&mounted, "source/right").join(name)).unwrap(), b"right");
    let told = mounted.end(Signal::INT).expect(3).err();
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("catalogue")).collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert!(lines[0].contains("/source/wrong: the catalogue of paths is wrong"), "{told}");
}

#[test]
fn very_many_paths_are_shown_whole_among_versions() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = (0..3_500).map(|number| format!("file {number:05}")).collect();
    for name in &names {
        sandbox.write(format!("source/many/{name}"), "");
    }
    sandbox.back_up();
    // A whole page of what only another host has.
    for name in &names[..1_500] {
        std::fs::remove_file(sandbox.path(format!("source/many/{name}"))).unwrap();
    }
    sandbox.back_up_with(&["-H", "other"]);
    let mounted = Mounted::new(&sandbox);
    let listed = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(listed(versions(&mounted, "source/many")), names, "in order, each once");
    let other = below(&mounted.place.join("versions/other"), &sandbox.path("source/many"));
    assert_eq!(listed(other), names[1_500..]);
}

#[test]
fn nothing_can_be_changed() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    sandbox.back_up();
    let mounted = Mounted::new(&sandbox);
    let refused = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()));
    };
    let file = mounted.source().join("file");
    refused(std::fs::write(&file, "y"));
    refused(std::fs::remove_file(&file));
    refused(std::fs::create_dir(mounted.place.join("new")));
    refused(std::fs::rename(&file, mounted.source().join("other")));
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

// Beside others ----------------------------------------------------------------------------------------------------------------

#[test]
fn new_snapshots_appear_and_forgotten_ones_vanish() {
    let sandbox = Sandbox::new();
    let first = sandbox.write("source/file", "first");
    sandbox.back_up_with(&["--time", "2026-01-01 10:00:00"]);
    let mounted = Mounted::new(&sandbox);
    assert_eq!(mounted.names("snapshots").len(), 1);
    let held = std::fs::File::open(mounted.source().join("file")).unwrap();
    std::fs::write(first, "second").unwrap();
    sandbox.back_up_with(&["--time", "2026-01-02 10:00:00"]);
    wait_until("the new one is there", || mounted.names("snapshots").len() == 2);
    wait_until("latest leads to it", || {
        std::fs::read(mounted.source().join("file")).is_ok_and(|bytes| bytes == b"second")
    });
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    wait_until("the forgotten one is gone", || mounted.names("snapshots").len() == 1);
    let gone = below(&mounted.place.join("snapshots/2026-01-01T10-00-00"), &sandbox.source());
    wait_until("its files too", || std::fs::symlink_metadata(gone.join("file")).is_err());
    // Whoever has it open reads on.
    let mut bytes = [0; 5];
    held.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"first");
    mounted.end(Signal::INT).expect(0);
}

/// Two files, of two snapshots, that share packs; the first one is forgotten.
fn forgotten(sandbox: &Sandbox) {
    for number in 0..20 {
        sandbox.write(format!("source/{number}"), noise(number, 300_000));
    }
    sandbox.back_up_with(&["--time", "2026-01-01 10:00:00"]);
    for number in (0..20).filter(|number| number % 2 == 0) {
        std::fs::remove_file(sandbox.path(format!("source/{number}"))).unwrap();
    }
    sandbox.back_up_with(&["--time", "2026-01-02 10:00:00"]);
}

#[test]
fn a_prune_waits_while_somebody_looks() {
    let sandbox = Sandbox::new();
    forgotten(&sandbox);
    let mounted = Mounted::new(&sandbox);
    let old = below(&mounted.place.join("snapshots/2026-01-01T10-00-00"), &sandbox.source());
    let held = std::fs::File::open(old.join("4")).unwrap();
    wait_until("it is said that somebody reads", || {
        std::fs::read_dir(sandbox.repository().join("sessions")).unwrap().count() > 4
    });
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    let mut bytes = vec![0; 300_000];
    held.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == noise(4, 300_000));
    mounted.end(Signal::INT).expect(0);
}

#[test]
fn what_a_prune_moved_is_found_and_what_it_removed_is_said_to_be_gone() {
    let sandbox = Sandbox::new();
    forgotten(&sandbox);
    let mounted = Mounted::new(&sandbox);
    let old = below(&mounted.place.join("snapshots/2026-01-01T10-00-00"), &sandbox.source());
    let (gone, stays) = (std::fs::File::open(old.join("4")).unwrap(), mounted.source());
    wait_until("it is said that somebody reads", || {
        std::fs::read_dir(sandbox.repository().join("sessions")).unwrap().count() > 4
    });
    // Nobody knows that somebody reads: as where storage can only be read.
    for entry in std::fs::read_dir(sandbox.repository().join("sessions")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let before: Vec<PathBuf> =
        packs(&sandbox).into_iter().filter(|pack| pack.metadata().unwrap().len() > 1 << 20).collect();
    assert!(!before.is_empty());
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    assert!(before.iter().all(|pack| !pack.exists()), "each of them held something of both");
    assert_eq!(names(&stays).len(), 10);
    for number in (0..20).filter(|number| number % 2 == 1) {
        let bytes = std::fs::read(stays.join(number.to_string())).unwrap();
        assert!(bytes == noise(number, 300_000), "{number}");
    }
    let mut bytes = vec![0; 4096];
    assert!(is_input_output_error(gone.read_exact_at(&mut bytes, 0)));
    let ended = mounted.end(Signal::INT).expect(5);
    assert!(ended.err().contains("2026-01-01T10-00-00") && ended.err().contains("/source/4: "), "{ended}");
}

// Damage -----------------------------------------------------------------------------------------------------------------------

#[test]
fn damage_is_an_error_where_it_is_and_nowhere_else() {
    let sandbox = Sandbox::new();
    let content = noise(3, 6_000_000);
    sandbox.write("source/file", &content);
    sandbox.write("source/beside", "beside");
    sandbox.back_up();
    // One block of the largest pack, which is one of data: a piece amid the file, since packs hold what is new in order.
    let pack = longest(packs(&sandbox));
    flip(&pack);
    let mounted = Mounted::new(&sandbox);
    let file = std::fs::File::open(mounted.source().join("file")).unwrap();
    let (mut bad, mut page) = (Vec::new(), vec![0; 4096]);
    for offset in (0..content.len() as u64).step_by(4096) {
        let length = page.len().min(content.len() - offset as usize);
        match file.read_exact_at(&mut page[..length], offset) {
            Ok(()) => {
                assert!(page[..length] == content[offset as usize..offset as usize + length], "at {offset}")
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(5));
                bad.push(offset);
            }
        }
    }
    assert!(!bad.is_empty(), "something is damaged");
    assert!(
        (bad.len() as u64) * 4096 <= 3 << 20,
        "a block, and the pages in which it begins and ends: {}",
        bad.len()
    );
    assert_eq!(std::fs::read(mounted.source().join("beside")).unwrap(), b"beside");
    let ended = mounted.end(Signal::INT).expect(5);
    let told = ended.err();
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("/source/file: ")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("packs/")), "{told}");
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len(), "each is told once: {told}");
}

#[test]
fn what_a_repair_marked_as_lost_is_an_error_and_no_zeros() {
    let sandbox = Sandbox::new();
    sandbox.write("source/kept", noise(1, 10_000));
    sandbox.back_up();
    let before = packs(&sandbox);
    sandbox.write("source/lost", noise(2, 2_000_000));
    sandbox.write("source/empty", "");
    sandbox.back_up();
    // The packs of the second backup that are no trees: what is lost is the file's content.
    let new: Vec<PathBuf> = packs(&sandbox).into_iter().filter(|pack| !before.contains(pack)).collect();
    let large = new.iter().filter(|pack| pack.metadata().unwrap().len() > 200_000);
    large.for_each(|pack| std::fs::remove_file(pack).unwrap());
    std::fs::remove_file(sandbox.path("source/lost")).unwrap();
    sandbox.run(["check"]).expect(5);
    sandbox.run(["repair", "snapshots", "--forget", "--yes"]).expect(3);
    let mounted = Mounted::new(&sandbox);
    let lost = mounted.source().join("lost");
    assert_eq!(std::fs::metadata(&lost).unwrap().len(), 2_000_000);
    assert!(is_input_output_error(std::fs::read(&lost)));
    assert_eq!(std::fs::read(mounted.source().join("empty")).unwrap(), b"");
    assert!(std::fs::read(mounted.source().join("kept")).unwrap() == noise(1, 10_000));
    mounted.end(Signal::INT).expect(3).warns("/source/lost: ").warns("are lost, as a repair marked it");
}

#[test]
fn root_what_could_not_be_read_is_an_error_and_not_empty() {
    demand_root();
    let sandbox = Sandbox::of_nobody();
    for name in ["source/file", "source/folder/in it"] {
        sandbox.write(name, "x");
    }
    sandbox.write("source/beside", "beside");
    let locked = |path: &Path| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap()
    };
    locked(&sandbox.path("source/file"));
    locked(&sandbox.path("source/folder"));
    sandbox.run([OsStr::new("backup"), sandbox.source().as_os_str()]).expect(3);
    let place = sandbox.path("place");
    std::fs::create_dir(&place).unwrap();
    // Looked at by root, whom nothing is locked to.
    let mut as_root = Command::new(env!("CARGO_BIN_EXE_copal"));
    as_root.args(["mount".as_ref(), place.as_os_str()]).env_clear();
    as_root.envs(sandbox.command([""]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = as_root.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(first_line(&mut child).starts_with("mounted on"));
    let source = below(&place.join("latest"), &sandbox.source());
    let results = [
        std::fs::read(source.join("file")).map(drop),
        std::fs::read_dir(source.join("folder")).map(drop),
        std::fs::metadata(source.join("folder/in it")).map(drop),
    ];
    let beside = std::fs::read(source.join("beside"));
    signal(&child, Signal::INT);
    let ended = end_child(child, "mount".to_owned()).expect(3);
    results.into_iter().for_each(|result| assert!(is_input_output_error(result)));
    assert_eq!(beside.unwrap(), b"beside");
    ended.warns("/source/file: it could not be read when the snapshot was made: permission denied");
}

// The mount itself -------------------------------------------------------------------------------------------------------------

#[test]
fn it_says_where_it_is_and_ends_by_any_of_its_ways() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    sandbox.back_up();
    for how in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mounted = Mounted::new(&sandbox);
        let place = mounted.place.clone();
        assert!(is_mounted(&place));
        let said = format!(
            "mounted on {}; to end: Ctrl-C here, or fusermount3 -u '{}'",
            place.display(),
            place.display()
        );
        assert_eq!(mounted.line, said);
        let ended = mounted.end(how).expect(0);
        assert_eq!(ended.err(), "");
        assert!(!is_mounted(&place), "{how:?}");
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    }
    let mut mounted = Mounted::new(&sandbox);
    let mut command = Command::new("fusermount3");
    end({
        command.arg("-u").arg(&mounted.place);
        command
    })
    .expect(0);
    end_child(mounted.child.take().unwrap(), "mount".to_owned()).expect(0);
}

#[test]
fn somebody_who_uses_it_does_not_keep_it_from_ending() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", noise(1, 500_000));
    sandbox.back_up();
    let mounted = Mounted::new(&sandbox);
    let place = mounted.place.clone();
    let held = std::fs::File::open(mounted.source().join("file")).unwrap();
    mounted.end(Signal::TERM).expect(0).warns("was still in use");
    assert!(!is_mounted(&place));
    drop(held);
    Mounted::new(&sandbox).end(Signal::INT).expect(0);
}

#[test]
fn a_killed_mount_frees_its_place() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    sandbox.back_up();
    let mut mounted = Mounted::new(&sandbox);
    let place = mounted.place.clone();
    let mut child = mounted.child.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("it is free", || !is_mounted(&place));
    Mounted::new(&sandbox).end(Signal::INT).expect(0);
}

#[test]
fn root_what_is_left_of_a_mount_is_named_with_what_frees_it() {
    demand_root();
    let sandbox = Sandbox::new();
    let place = sandbox.path("place");
    std::fs::create_dir(&place).unwrap();
    // A mount behind which nobody is: its device is closed at once.
    let script = r#"exec 9<>/dev/fuse; mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 x "$1""#;
    let mut command = Command::new("bash");
    command.args(["-c", script, "sh"]).arg(&place);
    end(command).expect(0);
    let ended = sandbox.run([OsStr::new("mount"), place.as_os_str()]);
    let mut command = Command::new("umount");
    command.arg("-l").arg(&place);
    end(command).expect(0);
    ended
        .expect(1)
        .warns("the program behind it is gone")
        .warns(&format!("fusermount3 -u {}", place.display()));
}

#[test]
fn a_place_that_can_not_be_mounted_on_is_named_in_one_line() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "x");
    sandbox.write("full/file", "x");
    for (place, what) in [
        ("nowhere", "there is no such folder to mount on"),
        ("file", "is no folder"),
        ("full", "is not empty"),
    ] {
        let ended = sandbox.run(["mount", place]).expect(2);
        assert!(ended.err().lines().next().unwrap().contains(what), "{ended}");
        assert!(ended.out().is_empty());
        let lines = sandbox.run(["mount", "--json", place]).expect(2).err();
        assert_eq!(lines.lines().count(), 1, "{lines}");
    }
    sandbox.run(["mount"]).expect(2);
    let mounted = Mounted::new(&sandbox);
    let ended = sandbox.run([OsStr::new("mount"), mounted.place.as_os_str()]).expect(2);
    assert!(ended.err().contains("is not empty"), "{ended}");
}

#[test]
fn programs_get_lines_of_json() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    sandbox.back_up();
    let mounted = Mounted::with(&sandbox, &["--json"]);
    let line: serde_json::Value = serde_json::from_str(&mounted.line).unwrap();
    assert_eq!(line["message_type"], "mounted");
    assert_eq!(line["mountpoint"], mounted.place.to_str().unwrap());
    let summary = mounted.end(Signal::INT).expect(0).summary();
    assert_eq!((&summary["problems"], &summary["damaged"]), (&0.into(), &0.into()));
    let mounted = Mounted::with(&sandbox, &["--json"]);
    packs(&sandbox).iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    assert!(is_input_output_error(std::fs::read(mounted.source().join("file"))));
    let ended = mounted.end(Signal::INT).expect(5);
    let errors = ended.messages("error");
    assert!(!errors.is_empty() && errors.iter().all(|error| error["code"] == "damaged"), "{ended}");
}

// Users ------------------------------------------------------------------------------------------------------------------------

/// Runs a script in a mount namespace of its own in which everybody may open /dev/fuse, as on most systems. `$copal` is the program as
/// nobody runs it.
fn as_on_most_systems(sandbox: &Sandbox, script: &str) -> Ended {
    let nobody = "setpriv --reuid nobody --regid nogroup --clear-groups";
    let script = format!(
        "mknod -m 666 device c 10 229; mount --bind device /dev/fuse
         nobody='{nobody}'; copal=\"$nobody {}\"; root={}
         mounted() {{ n=0; while ! grep -q \"$PWD/place fuse\" /proc/self/mounts; do n=$((n+1)); test $n -lt 600; sleep 0.1; done; }}
         free() {{ n=0; while grep -q \"$PWD/place fuse\" /proc/self/mounts; do n=$((n+1)); test $n -lt 600; sleep 0.1; done; }}
         {script}",
        env!("CARGO_BIN_EXE_copal"),
        env!("CARGO_BIN_EXE_copal"),
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "bash", "-ec", &script])
        .current_dir(sandbox.path(""))
        .env_clear()
        .envs(sandbox.command([""]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    end(command)
}

#[test]
fn root_an_ordinary_user_mounts_through_fusermount3_for_himself_alone() {
    demand_root();
    let sandbox = Sandbox::of_nobody();
    let mut items = odd_items();
    items.retain(|item| item.mode != 0);
    make(&[&sandbox.source()], &items, Some(common::NOBODY));
    sandbox.back_up();
    let script = "
        mkdir place; chown nobody:nogroup place
        $copal mount place >said 2>&1 & child=$!
        mounted
        diff=$($nobody diff -r --no-dereference -x fifo -x socket source place/latest$PWD/source) || { echo \"$diff\"; false; }
        $nobody getfacl -pnsR source/'access control list' >one
        $nobody sh -c \"cd place/latest$PWD; exec getfacl -pnsR source/'access control list'\" >two
        test -s one; cmp one two
        ! ls place 2>/dev/null || false
        kill -INT $child; wait $child
        ! grep -q \"$PWD/place fuse\" /proc/self/mounts || false
        grep -q '^mounted on' said
        $copal mount place >said 2>&1 & child=$!
        mounted
        kill -KILL $child
        free
        chmod 755 place; chown root place
        ! $copal mount place 2>said || false
        cat said";
    let ended = as_on_most_systems(&sandbox, script).expect(0);
    assert!(ended.out().contains("can not be mounted on"), "{ended}");
}

#[test]
fn root_others_may_look_only_where_that_was_allowed_and_at_what_they_may() {
    demand_root();
    let sandbox = Sandbox::new();
    sandbox.write("source/for all", "x");
    sandbox.write("source/for few", "x");
    sandbox.write("source/listed", "x");
    let script = "
        chmod 755 . source; chmod 644 source/for\\ all; chmod 600 source/for\\ few source/listed
        setfacl -m u:65534:r source/listed
        $root backup -q source
        mkdir place
        cd place; cd ..
        $root mount place >said 2>&1 & child=$!
        mounted
        cat place/latest$PWD/source/for\\ few >/dev/null
        ! $nobody ls place 2>/dev/null || false
        kill -INT $child; wait $child
        $root mount --allow-other place >said 2>&1 & child=$!
        mounted
        $nobody cat place/latest$PWD/source/for\\ all >/dev/null
        $nobody cat place/latest$PWD/source/listed >/dev/null
        ! $nobody cat place/latest$PWD/source/for\\ few 2>/dev/null || false
        cat place/versions/*$PWD/source/for\\ few/* >/dev/null
        own=$(echo place/versions/*$PWD/source/for\\ all/*)
        cat \"$own\" >/dev/null
        ! $nobody cat \"$own\" 2>/dev/null || false
        ! $nobody ls place/versions 2>/dev/null || false
        cat place/latest$PWD/source/for\\ few >/dev/null
        kill -TERM $child; wait $child";
    as_on_most_systems(&sandbox, script).expect(0);
}

#[test]
fn root_a_system_without_the_device_is_told_in_one_line() {
    demand_root();
    let sandbox = Sandbox::new();
    let script = "
        mkdir place
        mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9
        $root mount place && exit 9 || test $? = 1";
    let ended = as_on_most_systems(&sandbox, script).expect(0);
    assert!(ended.err().contains("there is no /dev/fuse"), "{ended}");
}

#[test]
fn root_attributes_longer_than_a_node_keeps_are_shown() {
    demand_root();
    let sandbox = Sandbox::new();
    let script = "
        truncate -s 320M image; mkfs.xfs -q image; mkdir disk place; mount -o loop image disk
        echo x >disk/file
        head -c 60000 /dev/urandom | base64 -w0 | head -c 60000 >value
        python3 -c 'import os; os.setxattr(\"disk/file\", \"user.long\", open(\"value\", \"rb\").read())'
        $root backup -q disk
        $root mount place >said 2>&1 & child=$!
        mounted
        python3 -c 'import os, sys; assert os.getxattr(sys.argv[1], \"user.long\") == open(\"value\", \"rb\").read()' place/latest$PWD/disk/file
        kill -INT $child; wait $child; umount disk";
    as_on_most_systems(&sandbox, script).expect(0);
}
