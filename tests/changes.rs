//! What a later backup reads again, and what it does not: seen from outside, by what the program opens and what it counts.

mod common;

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use common::{Content, Ended, Item, Kind, Sandbox, assert_same, end_child, make, noise, signal};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use rustix::process::Signal;

fn set_mtime(path: &Path, seconds: i64, nanos: u32) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    rustix::fs::utimensat(
        CWD,
        path,
        &Timestamps { last_access: time, last_modification: time },
        AtFlags::empty(),
    )
    .unwrap();
}

/// A backup of the source, and which of these files it opened.
fn opened(sandbox: &Sandbox, names: &[&str]) -> (Vec<String>, serde_json::Value) {
    let (all, ended) =
        sandbox.opened([OsStr::new("backup"), OsStr::new("--json"), sandbox.source().as_os_str()]);
    let mut opened: Vec<String> = all.into_iter().filter(|name| names.contains(&name.as_str())).collect();
    opened.sort();
    opened.dedup();
    (opened, ended.expect(0).summary())
}

fn content(sandbox: &Sandbox, target: &str, name: &str) -> Vec<u8> {
    std::fs::read(sandbox.restore(target).join(name)).unwrap()
}

#[test]
fn unchanged_files_are_not_opened() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/one", "1");
    sandbox.write("source/folder/two", "2");
    sandbox.write("source/folder/three", noise(3, 100_000));
    let names = ["one", "two", "three"];
    assert_eq!(
        opened(&sandbox, &names).0,
        ["one", "three", "two"],
        "the first backup opens all, else this test sees nothing"
    );
    let (opened, summary) = opened(&sandbox, &names);
    assert_eq!(opened, [""; 0]);
    assert_eq!((&summary["files_unmodified"], &summary["data_added"]), (&3.into(), &0.into()), "{summary}");
}

#[test]
fn one_changed_file_alone_is_opened() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    for name in ["a", "b", "c"] {
        sandbox.write(format!("source/folder/{name}"), name);
    }
    sandbox.back_up();
    sandbox.write("source/folder/b", "changed");
    let (opened, summary) = opened(&sandbox, &["a", "b", "c"]);
    assert_eq!(opened, ["b"]);
    assert_eq!(
        (&summary["files_changed"], &summary["files_unmodified"]),
        (&1.into(), &2.into()),
        "{summary}"
    );
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn fresh_files_are_read_again_since_their_times_prove_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("source/fresh", "content");
    sandbox.back_up();
    assert_eq!(opened(&sandbox, &["fresh"]).0, ["fresh"]);
}

#[test]
fn force_reads_everything_again() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/file", "content");
    sandbox.back_up();
    let (opened, ended) =
        sandbox.opened([OsStr::new("backup"), OsStr::new("--force"), sandbox.source().as_os_str()]);
    assert!(opened.contains(&"file".to_owned()), "{ended}");
}

#[test]
fn a_write_through_a_mapping_after_the_file_was_read_is_noticed() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("source/mapped", vec![b'a'; 8192]);
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: a shared mapping of a file that stays open and of that length.
    let bytes = unsafe {
        let address = rustix_map(&file);
        std::slice::from_raw_parts_mut(address, 8192)
    };
    // When the system writes the page back between the two writes, the second one moves the times: then it shows nothing, and is tried again.
    for letter in b'b'..b'z' {
        // The page is written to once, so that its times are moved now and not at the next write.
        bytes[0] = letter;
        sandbox.back_up();
        let before = std::fs::metadata(&path).unwrap();
        bytes[1] = letter + 1;
        let after = std::fs::metadata(&path).unwrap();
        if (before.mtime(), before.mtime_nsec()) == (after.mtime(), after.mtime_nsec()) {
            sandbox.back_up();
            assert_eq!(content(&sandbox, "out", "mapped")[..3], [letter, letter + 1, b'a']);
            return;
        }
    }
    panic!("this kernel moves the time at each write: the test shows nothing");
}

fn rustix_map(file: &std::fs::File) -> *mut u8 {
    use std::os::fd::AsRawFd;
    // SAFETY: a new mapping touches nothing that is there.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            8192,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(address, libc::MAP_FAILED);
    address.cast()
}

#[test]
fn a_rewrite_within_the_same_tick_late_in_a_scan_is_noticed() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("source/file", "before");
    set_mtime(&path, 1_700_000_000, 5);
    sandbox.back_up();
    // The same size, the same mtime, the same inode; only ctime moves, and that by less than its grain perhaps.
    std::fs::write(&path, "after!").unwrap();
    set_mtime(&path, 1_700_000_000, 5);
    sandbox.back_up();
    assert_eq!(content(&sandbox, "out", "file"), b"after!");
}

#[test]
fn other_content_with_the_size_and_time_preserved_is_read() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let path = sandbox.write("source/file", "before");
    set_mtime(&path, 1_700_000_000, 123);
    sandbox.back_up();
    assert_eq!(opened(&sandbox, &["file"]).0, [""; 0]);
    std::fs::write(&path, "after!").unwrap();
    set_mtime(&path, 1_700_000_000, 123);
    assert_eq!(opened(&sandbox, &["file"]).0, ["file"]);
    assert_eq!(content(&sandbox, "out", "file"), b"after!");
}

#[test]
fn another_file_that_took_the_name_with_size_and_time_is_read() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let path = sandbox.write("source/file", "before");
    set_mtime(&path, 1_700_000_000, 123);
    sandbox.back_up();
    let other = sandbox.write("other", "after!");
    set_mtime(&other, 1_700_000_000, 123);
    std::fs::rename(other, path).unwrap();
    sandbox.back_up();
    assert_eq!(content(&sandbox, "out", "file"), b"after!");
}

#[test]
fn a_folder_whose_inode_was_used_again_is_not_taken_for_the_old_one() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    for attempt in 0..50 {
        let name = format!("source/old {attempt}");
        let old = sandbox.write(format!("{name}/file"), "before");
        set_mtime(&old, 1_700_000_000, 0);
        sandbox.back_up();
        let folder = sandbox.path(&name);
        let (inode, inode_of_file) =
            (std::fs::metadata(&folder).unwrap().ino(), std::fs::metadata(&old).unwrap().ino());
        std::fs::remove_dir_all(&folder).unwrap();
        let new = sandbox.write(format!("source/new {attempt}/file"), "after!");
        set_mtime(&new, 1_700_000_000, 0);
        sandbox.back_up();
        assert_eq!(content(&sandbox, &format!("out {attempt}"), &format!("new {attempt}/file")), b"after!");
        let again = std::fs::metadata(sandbox.path(format!("source/new {attempt}"))).unwrap().ino() == inode;
        if again && std::fs::metadata(new).unwrap().ino() == inode_of_file {
            return;
        }
    }
    panic!("this file system never used an inode again in 50 tries: the test shows nothing");
}

#[test]
fn files_below_a_moved_folder_are_not_read_again() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/here/folder/one", "1");
    sandbox.write("source/here/folder/deeper/two", noise(2, 50_000));
    sandbox.write("source/there/else", "");
    sandbox.back_up();
    std::fs::rename(sandbox.path("source/here/folder"), sandbox.path("source/there/moved")).unwrap();
    let (opened, summary) = opened(&sandbox, &["one", "two"]);
    assert_eq!(opened, [""; 0], "{summary}");
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn a_chmod_alone_is_saved_and_adds_no_data() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let path = sandbox.write("source/file", noise(1, 1 << 20));
    sandbox.write("source/beside", "untouched");
    sandbox.back_up();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o4711)).unwrap();
    let summary = sandbox.back_up();
    assert_eq!((&summary["data_added"], &summary["files_changed"]), (&0.into(), &1.into()), "{summary}");
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn a_new_attribute_alone_is_saved_of_files_and_folders() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let file = sandbox.write("source/folder/file", "content");
    sandbox.back_up();
    for path in [&file, &sandbox.path("source/folder"), &sandbox.source()] {
        rustix::fs::setxattr(path, "user.new", b"value", rustix::fs::XattrFlags::CREATE).unwrap();
        sandbox.back_up();
        assert_same(&sandbox.source(), &sandbox.restore(&format!("out {}", path.as_os_str().len())));
    }
}

#[test]
fn a_lost_cache_costs_no_reading() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/one", "1");
    sandbox.write("source/folder/two", noise(2, 300_000));
    sandbox.back_up();
    std::fs::remove_dir_all(sandbox.cache()).unwrap();
    let (opened, summary) = opened(&sandbox, &["one", "two"]);
    assert_eq!((&summary["files_unmodified"], &summary["data_added"]), (&2.into(), &0.into()), "{summary}");
    assert_eq!(opened, [""; 0]);
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn a_damaged_cache_is_made_anew_and_costs_no_backup() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/one", "1");
    sandbox.back_up();
    for file in std::fs::read_dir(sandbox.cache()).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension() == Some(OsStr::new("sqlite")) {
            std::fs::write(&file, noise(9, 20_000)).unwrap();
        }
    }
    let ended = sandbox.run([OsStr::new("backup"), sandbox.source().as_os_str()]).expect(0);
    ended.warns("the local cache is made anew");
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn a_file_that_changes_between_files_and_folders_is_followed() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/a", "file first");
    sandbox.write("source/b/file", "folder first");
    sandbox.write("source/c", "file, then symlink");
    sandbox.back_up();
    std::fs::remove_file(sandbox.path("source/a")).unwrap();
    sandbox.write("source/a/inside", "a folder now");
    std::fs::remove_dir_all(sandbox.path("source/b")).unwrap();
    sandbox.write("source/b", "a file now");
    std::fs::remove_file(sandbox.path("source/c")).unwrap();
    std::os::unix::fs::symlink("a", sandbox.path("source/c")).unwrap();
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("out"));
}

/// Starts a backup of a tree with a FIFO-like stop in it: it is stopped once it has read `marker`, by what it tells about files.
fn interrupt(sandbox: &Sandbox, kill: Signal, marker: &str) -> Ended {
    let mut command = sandbox.command(
        ["backup", "-vv", "--read-concurrency", "1"]
            .map(OsStr::new)
            .into_iter()
            .chain([sandbox.source().as_os_str()]),
    );
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = format!("{command:?}");
    let mut child = command.spawn().unwrap();
    let mut told = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while std::io::BufRead::read_line(&mut told, &mut line).unwrap() > 0 {
        if line.contains(marker) {
            signal(&child, kill);
            break;
        }
        line.clear();
    }
    assert!(line.contains(marker), "it ended before {marker} was told");
    // The rest is read, so that it never waits for us.
    let rest = std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
    let ended = end_child(child, what);
    rest.join().unwrap().unwrap();
    ended
}

/// Folders of files, and a last one that is large, so that it is still being read when the interrupt comes.
fn interrupted_first_backup(kill: Signal, code: i32) {
    let sandbox = Sandbox::new().trusting_fresh_files().with("COPAL_TEST_CHECKPOINT_SECONDS", "0");
    let mut items = Vec::new();
    for folder in 0..20 {
        items.push(Item::new(0, format!("folder {folder:02}"), Kind::Folder));
    }
    for folder in 0..20usize {
        for file in 0..5u64 {
            let seed = folder as u64 * 100 + file;
            items.push(Item::new(
                folder + 1,
                format!("file-{folder:02}-{file}"),
                Kind::File(Content::Noise { seed, length: 400_000 }),
            ));
        }
    }
    make(&[&sandbox.source()], &items, None);
    interrupt(&sandbox, kill, "file-10-0").expect(code);
    assert_eq!(sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot").len(), 0);
    let (opened, ended) =
        sandbox.opened([OsStr::new("backup"), OsStr::new("--json"), sandbox.source().as_os_str()]);
    let summary = ended.expect(0).summary();
    let again: Vec<&String> = opened
        .iter()
        .filter(|name| name.starts_with("file-0"))
        .filter(|name| &name[..7] < "file-09")
        .collect();
    assert!(again.is_empty(), "read again: {again:?}\n{summary}");
    assert!(opened.iter().any(|name| name == "file-19-4"), "what was not finished must be read");
    assert!(summary["data_added"].as_u64().unwrap() <= 12 * 5 * 400_000, "{summary}");
    assert_eq!(summary["total_files_processed"], 100, "{summary}");
    assert_same(&sandbox.source(), &sandbox.restore("out"));
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn a_first_backup_that_was_interrupted_does_not_read_finished_files_again() {
    interrupted_first_backup(Signal::INT, 130);
}

#[test]
fn a_first_backup_that_was_terminated_does_not_read_finished_files_again() {
    interrupted_first_backup(Signal::TERM, 143);
}

#[test]
fn a_first_backup_that_was_killed_does_not_read_finished_files_again() {
    interrupted_first_backup(Signal::KILL, 137);
}

/// Backs up while something goes on in the source, and gives how it ended.
fn while_changing(sandbox: &Sandbox, change: impl Fn(u64) + Sync) -> Ended {
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0;
            while !stop.load(ordering) {
                change(turn);
                turn += 1;
            }
        });
        let ended = sandbox.run([OsStr::new("backup"), OsStr::new("--json"), sandbox.source().as_os_str()]);
        stop.store(true, ordering);
        ended
    })
}

#[test]
fn a_file_that_grows_while_it_is_read_is_reported_by_name_and_hangs_nothing() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("source/log", noise(1, 8 << 20));
    sandbox.write("source/quiet", "content");
    let grow = || {
        while_changing(&sandbox, |turn| {
            use std::io::Write;
            let mut file = std::fs::File::options().append(true).open(&path).unwrap();
            file.write_all(&turn.to_le_bytes()).unwrap();
        })
    };
    // On a busy machine nothing may be written while it is read: then it did not change.
    let ended =
        (0..20).map(|_| grow()).find(|ended| ended.code != 0).expect("it never grew while it was read");
    let ended = ended.expect(3);
    let errors = ended.messages("error");
    assert!(
        errors
            .iter()
            .any(|error| error["item"] == path.to_str().unwrap() && error["code"] == "changed_while_read"),
        "{ended}"
    );
    assert_eq!(ended.summary()["changed_while_read"], 1, "{ended}");
    let restored = sandbox.path("out");
    sandbox.run(["restore", "latest", "-t", restored.to_str().unwrap()]).expect(0);
    let restored = common::below(&restored, &sandbox.source());
    assert_eq!(std::fs::read(restored.join("quiet")).unwrap(), b"content");
    assert_eq!(&std::fs::read(restored.join("log")).unwrap()[..8 << 20], noise(1, 8 << 20));
    // It is quiet now: the next backup has it whole.
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("later"));
}

#[test]
fn files_that_come_and_go_and_change_their_type_crash_nothing() {
    let sandbox = Sandbox::new();
    for number in 0..400 {
        sandbox.write(format!("source/steady/{number}"), noise(number, 5000));
    }
    std::fs::create_dir(sandbox.path("source/busy")).unwrap();
    let path = |number: u64| sandbox.path(format!("source/busy/{number}"));
    let ended = while_changing(&sandbox, |turn| {
        let path = path(turn % 40);
        match turn % 5 {
            0 => drop(std::fs::remove_file(&path)),
            1 => drop(std::fs::write(&path, noise(turn, 3000))),
            2 => drop(std::os::unix::fs::symlink("x", &path)),
            3 => drop(std::fs::create_dir(&path)),
            _ => drop(std::fs::remove_dir(&path)),
        }
    });
    assert!(ended.code == 0 || ended.code == 3, "{ended}");
    sandbox.run(["restore", "latest", "-t", "out"]);
    let restored = common::below(&sandbox.path("out"), &sandbox.source());
    assert_same(&sandbox.path("source/steady"), &restored.join("steady"));
    sandbox.run(["check", "--read-data", "--no-cache"]).expect(0);
}

#[test]
fn a_fifo_and_a_device_are_never_opened() {
    let sandbox = Sandbox::new();
    make(&[&sandbox.source()], &[Item::new(0, "pipe-nobody-writes", Kind::Fifo)], None);
    let (names, ended) = sandbox.opened([OsStr::new("backup"), sandbox.source().as_os_str()]);
    ended.expect(0);
    assert!(!names.iter().any(|name| name == "pipe-nobody-writes"), "{names:?}");
}

// What is not read of an entry ----------------------------------------------------------------------------------------------------

/// A backup in which every call of that name fails so.
fn with_failing(sandbox: &Sandbox, call: &str, error: &str) -> Ended {
    let log = sandbox.path("strace");
    let inject = format!("inject={call}:error={error}");
    let through = ["strace", "-f", "-qq", "-e", &inject, "-o", log.to_str().unwrap()];
    let source = sandbox.source();
    let words = ["backup", "--json"].map(OsStr::new).into_iter().chain([source.as_os_str()]);
    let ended = common::end(sandbox.command_through(&through, words));
    let log = std::fs::read_to_string(log).expect("strace wrote nothing: is it installed?");
    assert!(log.contains("(INJECTED)"), "nothing failed: the test shows nothing");
    ended
}

#[test]
fn metadata_that_can_not_be_read_makes_the_snapshot_incomplete_and_is_named() {
    let cases = [
        ("flistxattr", "EIO", "attribute (all)"),
        ("fgetxattr", "EACCES", "attribute user.x"),
        ("ioctl", "EIO", "inode flags"),
    ];
    for (call, error, what) in cases {
        let sandbox = Sandbox::new().trusting_fresh_files();
        let file = sandbox.write("source/folder/file", "content");
        rustix::fs::setxattr(&file, "user.x", b"value", rustix::fs::XattrFlags::CREATE).unwrap();
        // Twice: what was not read is tried again, and told again.
        for _ in 0..2 {
            let ended = with_failing(&sandbox, call, error).expect(3);
            let told: Vec<_> = ended.messages("error");
            let of_file: Vec<_> =
                told.iter().filter(|error| error["item"] == file.to_str().unwrap()).collect();
            assert_eq!(of_file.len(), 1, "{ended}");
            assert_eq!(of_file[0]["code"], "metadata_not_read", "{ended}");
            assert!(of_file[0]["error"]["message"].as_str().unwrap().starts_with(what), "{ended}");
            assert!(ended.summary()["metadata_not_read"].as_u64().unwrap() >= 1, "{ended}");
            assert_eq!(ended.summary()["unreadable"], 0, "{ended}");
            ended.warns("the snapshot is incomplete");
        }
        sandbox.back_up();
        assert_same(&sandbox.source(), &sandbox.restore("out"));
    }
}

#[test]
fn a_file_system_without_attributes_or_flags_is_no_problem() {
    for (call, error) in [("flistxattr", "EOPNOTSUPP"), ("ioctl", "ENOTTY"), ("ioctl", "EOPNOTSUPP")] {
        let sandbox = Sandbox::new();
        sandbox.write("source/folder/file", "content");
        with_failing(&sandbox, call, error).expect(0);
    }
}
