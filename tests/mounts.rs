//! What is known of one file system is never believed of another one that is mounted where it was.

mod common;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Ended, Sandbox, below, demand_root, end, noise};

fn run(program: &str, arguments: &[&OsStr]) {
    let mut command = Command::new(program);
    command.args(arguments);
    end(command).expect(0);
}

/// Two images that differ in what one file holds (and in their UUID), and in nothing that stat shows: inodes and all times are
/// equal.
fn twins(sandbox: &Sandbox, mkfs: &[&str], change_uuid: &[&str]) -> [PathBuf; 2] {
    let (first, second) = (sandbox.path("first.img"), sandbox.path("second.img"));
    let content = noise(1, 3000);
    std::fs::File::create(&first).unwrap().set_len(320 << 20).unwrap();
    run(mkfs[0], &mkfs[1..].iter().map(OsStr::new).chain([first.as_os_str()]).collect::<Vec<_>>());
    sandbox.write("content", &content);
    sandbox.with_mounts("mkdir disk; mount -o loop first.img disk; mkdir -p disk/folder/below; cp content disk/folder/below/file; umount disk",
    )
    .expect(0);
    run("cp", &[OsStr::new("--sparse=always"), first.as_os_str(), second.as_os_str()]);
    let words: Vec<&OsStr> = change_uuid[1..].iter().map(OsStr::new).chain([second.as_os_str()]).collect();
    run(change_uuid[0], &words);
    // The file's bytes are changed in the image itself, so that its times stay.
    use std::os::unix::fs::FileExt;
    let image = std::fs::File::options().read(true).write(true).open(&second).unwrap();
    let mut buffer = vec![0; 4096];
    let place = (0..image.metadata().unwrap().len() / 4096).map(|block| block * 4096).find(|offset| {
        image.read_exact_at(&mut buffer, *offset).unwrap();
        buffer.starts_with(&content)
    });
    image.write_all_at(&noise(2, 3000), place.expect("the image does not hold the file's bytes")).unwrap();
    [first, second]
}

fn ext4(sandbox: &Sandbox) -> [PathBuf; 2] {
    twins(
        sandbox,
        &["mkfs.ext4", "-q", "-b", "4096", "-O", "^metadata_csum"],
        &["tune2fs", "-U", "b5b7a2c4-70c8-4e1f-9d3a-6a1d3f1c9e02"],
    )
}

/// The stat that both images must have in common, or the test shows nothing.
const SHOW: &str =
    "stat -c '%i %s %Y %y %z %w %a %u %g' disk disk/folder disk/folder/below disk/folder/below/file";

fn file_of(sandbox: &Sandbox, target: &str, mounted: &str) -> Vec<u8> {
    let target = sandbox.path(target);
    sandbox
        .run([OsStr::new("restore"), OsStr::new("latest"), OsStr::new("-t"), target.as_os_str()])
        .expect(0);
    std::fs::read(below(&target, &sandbox.path(mounted)).join("folder/below/file")).unwrap()
}

fn swapped_at_one_path(sandbox: &Sandbox) {
    let script =
        |image: &str| format!("mount -o loop {image} disk; {SHOW}; $copal backup -q disk; umount disk");
    let first = sandbox.with_mounts(&script("first.img")).expect(0).out();
    assert!(file_of(sandbox, "out 1", "disk") == noise(1, 3000), "the first one was not saved");
    let second = sandbox.with_mounts(&script("second.img")).expect(0).out();
    assert_eq!(first, second, "the two images differ in what stat shows: the test shows nothing");
    assert!(file_of(sandbox, "out 2", "disk") == noise(2, 3000), "the first one's file was taken over");
}

#[test]
fn root_another_file_system_mounted_at_the_same_path_is_read() {
    demand_root();
    let sandbox = Sandbox::new().trusting_fresh_files();
    ext4(&sandbox);
    swapped_at_one_path(&sandbox);
    // The first one again, which is known: its file is not opened, and it is what it was.
    let ended = sandbox.with_mounts("mount -o loop first.img disk; $copal backup -q disk; umount disk");
    ended.expect(0);
    assert!(file_of(&sandbox, "out 3", "disk") == noise(1, 3000), "the second one's file was taken over");
}

#[test]
fn root_another_xfs_mounted_at_the_same_path_is_read() {
    demand_root();
    let sandbox = Sandbox::new().trusting_fresh_files();
    twins(&sandbox, &["mkfs.xfs", "-q"], &["xfs_admin", "-U", "b5b7a2c4-70c8-4e1f-9d3a-6a1d3f1c9e02"]);
    swapped_at_one_path(&sandbox);
}

#[test]
fn root_a_folder_of_another_file_system_is_not_taken_for_one_that_moved() {
    demand_root();
    let sandbox = Sandbox::new().trusting_fresh_files();
    ext4(&sandbox);
    sandbox.write("source/beside", "x");
    let script = |image: &str, place: &str| {
        format!(
            "mkdir source/{place}; mount -o loop {image} source/{place}; $copal backup -q source; umount source/{place}; rmdir source/{place}"
        )
    };
    sandbox.with_mounts(&script("first.img", "one")).expect(0);
    sandbox.with_mounts(&script("second.img", "two")).expect(0);
    assert!(file_of(&sandbox, "out", "source/two") == noise(2, 3000), "the first one's file was taken over");
}

/// The names of files opened by a backup of `disk`, as strace saw them.
fn opened(sandbox: &Sandbox, log: &Path) -> Vec<String> {
    let script = format!(
        "mount -o loop first.img disk; strace -f -qq -e trace=openat -o {} $copal backup -q disk; umount disk",
        log.display()
    );
    sandbox.with_mounts(&script).expect(0);
    let text = std::fs::read_to_string(log).expect("strace wrote nothing: is it installed?");
    let calls = text.lines().filter(|line| !line.contains("O_DIRECTORY"));
    calls.filter_map(|line| Some(line.split('"').nth(1)?.rsplit('/').next()?.to_owned())).collect()
}

#[test]
fn root_the_same_file_system_mounted_again_is_not_read() {
    demand_root();
    let sandbox = Sandbox::new().trusting_fresh_files();
    ext4(&sandbox);
    let log = sandbox.path("strace");
    assert!(
        opened(&sandbox, &log).contains(&"file".to_owned()),
        "the first backup opens it, else this shows nothing"
    );
    assert!(!opened(&sandbox, &log).contains(&"file".to_owned()));
}

#[test]
fn root_a_file_mounted_over_another_is_read() {
    demand_root();
    let sandbox = Sandbox::new().trusting_fresh_files();
    ext4(&sandbox);
    sandbox.write("source/folder/file", "");
    let script = |image: &str| {
        format!(
            "mount -o loop {image} disk; mount --bind disk/folder/below/file source/folder/file
             $copal backup -q source; umount source/folder/file disk"
        )
    };
    for (number, image) in [(1, "first.img"), (2, "second.img")] {
        sandbox.with_mounts(&script(image)).expect(0);
        let restored = sandbox.restore(&format!("out {number}")).join("folder/file");
        assert!(std::fs::read(restored).unwrap() == noise(number, 3000), "not what was mounted: {image}");
    }
}

// The cache -----------------------------------------------------------------------------------------------------------------------

/// A sandbox with a cache that has not yet seen what another machine stored: the next run must write into it.
fn with_news() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", noise(1, 3000));
    sandbox.back_up();
    for number in 0..600 {
        sandbox.write(format!("other/{number}"), noise(number, 3000));
    }
    sandbox.run(["backup", "-q", "--cache-dir", "elsewhere", "-H", "other", "other"]).expect(0);
    sandbox
}

fn works_without(sandbox: &Sandbox, ended: Ended) {
    let told = ended.expect(0).err();
    assert_eq!(told.matches("working without the local cache: ").count(), 1, "{told}");
    assert!(std::fs::read(sandbox.restore("out").join("file")).unwrap() == noise(1, 3000));
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_eq!(sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot").len(), 3);
}

fn databases(sandbox: &Sandbox) -> Vec<PathBuf> {
    let files = std::fs::read_dir(sandbox.cache()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension() == Some(OsStr::new("sqlite"))).collect()
}

#[test]
fn a_cache_that_another_process_writes_for_long_never_fails_a_backup() {
    let sandbox = with_news();
    let other = rusqlite::Connection::open(&databases(&sandbox)[0]).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ended = sandbox.run([OsStr::new("backup"), sandbox.source().as_os_str()]);
    other.execute_batch("ROLLBACK").unwrap();
    works_without(&sandbox, ended);
}

#[test]
fn root_a_full_cache_never_fails_a_backup() {
    demand_root();
    let sandbox = with_news();
    let database = databases(&sandbox).remove(0);
    let size = std::fs::metadata(&database).unwrap().len() / 1024 + 40;
    let script = format!(
        "mkdir small; mount -t tmpfs -o size={size}k none small; cp -r home/cache/copal/. small
         $copal backup --cache-dir small source; umount small"
    );
    works_without(&sandbox, sandbox.with_mounts(&script));
}

#[test]
fn root_a_read_only_cache_never_fails_a_backup() {
    demand_root();
    let sandbox = with_news();
    let script = "mount --bind home/cache home/cache; mount -o remount,ro,bind home/cache; $copal backup source; umount home/cache";
    works_without(&sandbox, sandbox.with_mounts(script));
}

#[test]
fn root_a_cache_of_any_size_never_fails_a_backup() {
    demand_root();
    let sandbox = Sandbox::new();
    for number in 0..200 {
        sandbox.write(format!("source/{number}"), noise(number, 100));
    }
    // From nothing at all up to where everything fits, so that each write of the cache is the one that does not.
    let (mut size, mut room) = (4, false);
    while !room {
        let script = format!(
            "mkdir -p small; mount -t tmpfs -o size={size}k none small
             $copal backup --cache-dir small source; echo more >> source/1; $copal backup --cache-dir small source
             umount small"
        );
        let ended = sandbox.with_mounts(&script).expect(0);
        room = !ended.err().contains("working without the local cache");
        assert!(size < 4096, "it never fits");
        size += if size < 200 { 28 } else { size / 2 };
    }
    assert!(size > 100, "even the smallest was large enough");
    common::assert_same(&sandbox.source(), &sandbox.restore("out"));
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn a_cache_whose_writes_fail_from_any_of_them_on_never_fails_a_backup() {
    let sandbox = Sandbox::new();
    for number in 0..50 {
        sandbox.write(format!("source/{number}"), noise(number, 100));
    }
    sandbox.back_up();
    // The database alone writes like this.
    let mut injected = 0;
    for first in [1, 2, 3, 4, 6, 8, 12, 16, 24, 32] {
        let error = if first % 2 == 0 { "EIO" } else { "ENOSPC" };
        let inject = format!("inject=pwrite64:error={error}:when={first}+");
        let log = sandbox.path("strace");
        let through = ["strace", "-f", "-qq", "-e", &inject, "-o", log.to_str().unwrap()];
        sandbox.write("source/1", noise(first, 200));
        let source = sandbox.source();
        end(sandbox.command_through(&through, [OsStr::new("backup"), source.as_os_str()])).expect(0);
        injected += usize::from(std::fs::read_to_string(&log).unwrap().contains("(INJECTED)"));
    }
    assert!(injected >= 3, "only {injected} runs met the fault");
    common::assert_same(&sandbox.source(), &sandbox.restore("out"));
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn root_a_hole_longer_than_any_segment_comes_back() {
    demand_root();
    let sandbox = Sandbox::new();
    // A segment has at most 2^62 - 1 bytes; few file systems have files as long as this one.
    let script = r#"
        mkdir disk
        mount -t tmpfs tmpfs disk
        mkdir disk/source
        echo begin > disk/source/file
        truncate -s 4611686018428436480 disk/source/file
        echo end >> disk/source/file
        "$copal" backup -q disk/source
        "$copal" check -q
        for more in "" "--overwrite always"; do
            "$copal" restore -q latest:"$PWD/disk/source" -t disk/out --verify $more
            stat -c '%s %b %y' disk/source/file > expected
            stat -c '%s %b %y' disk/out/file > found
            cmp expected found
            test "$(head -c 6 disk/out/file)" = begin
            test "$(tail -c 4 disk/out/file)" = end
        done
        umount disk"#;
    sandbox.with_mounts(script).expect(0);
}
