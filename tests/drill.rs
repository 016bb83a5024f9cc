//! Drills: what comes back right, what does not, and what differs on disk, each told by name and exit code; and nothing is left behind.

mod common;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{
    Content, Item, Kind, NOBODY, Sandbox, demand_root, end, end_child, flip, longest, make, noise, packs,
};
use rustix::process::{Pid, Signal, kill_process};

/// A sandbox whose source was backed up twice; what a drill asks of times holds of fresh files too.
fn saved() -> Sandbox {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/docs/letter", "Dear reader,");
    sandbox.write("source/docs/empty", "");
    sandbox.write("source/large", noise(1, 3 << 20));
    for number in 0..20u64 {
        sandbox.write(format!("source/many/{number}"), noise(100 + number, 1000 * number as usize));
    }
    sandbox.back_up();
    sandbox.write("source/docs/letter", "Dear reader,\nonce more");
    sandbox.back_up();
    sandbox
}

/// Names in a folder that begin like scratch folders.
fn scratch(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("copal-drill-")).collect()
}

#[test]
fn what_is_right_is_counted_and_the_scratch_folder_is_gone() {
    let sandbox = saved();
    let ended = sandbox.run(["drill"]).expect(0);
    assert!(ended.err().is_empty(), "{ended}");
    let ended = ended.says("restored 23 of 23 files").says("23 were compared with the source");
    // Of the old one the letter changed since.
    ended.says("22 were compared with the source");
    let ended = sandbox.run(["drill", "--json"]).expect(0);
    let summary = ended.summary();
    assert_eq!((&summary["snapshots"], &summary["files_restored"]), (&2.into(), &46.into()));
    assert_eq!((&summary["files_compared"], &summary["mismatches"]), (&45.into(), &0.into()));
    assert_eq!(ended.messages("sample").len(), 2);
    assert!(sandbox.run(["drill", "-q"]).expect(0).out().is_empty());
    assert!(scratch(&sandbox.cache()).is_empty());
    // Nothing of it is written to the repository: no session is left.
    sandbox.run(["check"]).expect(0);
}

#[test]
fn a_seed_chooses_the_same_files_again_and_bounds_hold() {
    let sandbox = saved();
    let restored = |options: &[&str]| {
        let words = ["drill", "--json", "-vv", "latest", "--scratch", "."].iter().chain(options);
        let ended = sandbox.run(words).expect(0);
        assert!(scratch(&sandbox.path("")).is_empty());
        let bytes = ended.summary()["bytes_restored"].as_u64().unwrap();
        let seed = ended.summary()["seed"].to_string();
        (bytes, ended.summary()["files_restored"].as_u64().unwrap(), seed)
    };
    let (bytes, files, seed) = restored(&["--files", "5"]);
    assert_eq!(files, 5);
    assert_eq!(restored(&["--files", "5", "--seed", &seed]), (bytes, files, seed));
    let (bytes, files, _) = restored(&["--size", "20K"]);
    assert!(bytes <= 20 << 10 && files > 2, "{files} files, {bytes} bytes");
    sandbox
        .run(["drill", "--size", "1K", "latest"])
        .expect(0)
        .says("files larger than --size, and never chosen");
}

#[test]
fn a_damaged_pack_is_told_by_the_files_it_hits() {
    let sandbox = saved();
    flip(&longest(packs(&sandbox)));
    let ended = sandbox.run(["drill", "latest"]).expect(5).warns("did not come back as").warns("copal check");
    let hit: Vec<String> =
        ended.out().lines().filter(|line| line.starts_with("stored ")).map(str::to_owned).collect();
    assert!(!hit.is_empty() && hit.iter().all(|line| line.contains("lost, zeros stand there")), "{ended}");
    // Exactly those that a restore does not give back either.
    let out = sandbox.path("out");
    let restore = [
        OsStr::new("restore"),
        OsStr::new("latest"),
        OsStr::new("-t"),
        out.as_os_str(),
        OsStr::new("--json"),
    ];
    let lost = sandbox.run(restore).expect(5);
    let lost: Vec<_> =
        lost.messages("error").iter().map(|line| line["item"].as_str().unwrap().to_owned()).collect();
    assert_eq!(hit.len(), lost.len(), "{ended}\n{lost:?}");
    assert!(
        lost.iter().all(|path| hit.iter().any(|line| line.contains(&format!("{path} of ")))),
        "{ended}\n{lost:?}"
    );
    let json = sandbox.run(["drill", "latest", "--json"]).expect(5);
    assert_eq!(json.messages("mismatch").len(), hit.len());
    assert_eq!(json.messages("mismatch")[0]["side"], "stored");
    assert!(scratch(&sandbox.cache()).is_empty());
}

#[test]
fn the_old_snapshot_is_drilled_too() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/old", noise(1, 100_000));
    sandbox.back_up();
    let old = packs(&sandbox);
    std::fs::remove_file(sandbox.path("source/old")).unwrap();
    sandbox.write("source/new", noise(2, 100_000));
    sandbox.back_up();
    sandbox.run(["drill"]).expect(0);
    flip(&longest(old));
    sandbox.run(["drill", "latest"]).expect(0);
    sandbox.run(["drill"]).expect(5).says("source/old of ");
}

#[test]
fn a_source_that_changed_since_is_not_compared_and_no_alarm() {
    let sandbox = saved();
    // As long as before, and with the time of before: the system knows when it was changed.
    let path = sandbox.path("source/large");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    sandbox.write("source/large", noise(2, 3 << 20));
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    std::fs::remove_dir_all(sandbox.path("source/many")).unwrap();
    sandbox.run(["drill", "latest"]).expect(0).says("restored 23 of 23 files").says("2 were compared");
    // Snapshots of another host say nothing of files here.
    sandbox.back_up_with(&["--host", "another"]);
    sandbox.run(["drill", "--host", "another"]).expect(0).says("0 were compared");
}

#[test]
fn root_a_scratch_folder_on_layers_of_several_file_systems_goes_with_all_that_is_in_it() {
    demand_root();
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "text");
    sandbox.back_up();
    // Its files have other device numbers than its folders then.
    let script = "mkdir lower upper over; mount -t tmpfs none upper; mkdir upper/files upper/work
        mount -t overlay none -o lowerdir=lower,upperdir=upper/files,workdir=upper/work over
        $copal drill --scratch over; test -z \"$(ls -A over)\"";
    sandbox.with_mounts(script).expect(0).says("restored 1 of 1 file");
}

#[test]
fn root_a_bit_that_flips_on_the_disk_of_the_source_is_told_by_name() {
    demand_root();
    let sandbox = Sandbox::new().trusting_fresh_files();
    let content = noise(1, 30_000);
    sandbox.write("content", &content);
    let image = sandbox.path("image");
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    sandbox.with_mounts("mkfs.ext4 -q -b 4096 image; mkdir disk; mount -o loop image disk; cp content disk/hit; echo right > disk/other
         $copal backup -q disk; $copal drill; umount disk",
    )
    .expect(0)
    .says("2 were compared with the source");
    use std::os::unix::fs::FileExt;
    let disk = std::fs::File::options().read(true).write(true).open(&image).unwrap();
    let mut buffer = vec![0; 4096];
    let place = (0..(64 << 20) / 4096).map(|block| block * 4096).find(|offset| {
        disk.read_exact_at(&mut buffer, *offset).unwrap();
        content.starts_with(&buffer)
    });
    disk.write_all_at(&[content[100] ^ 1], place.expect("the image does not hold the file") + 100).unwrap();
    let ended = sandbox
        .with_mounts("mount -o loop image disk; $copal drill || code=$?; umount disk; exit ${code:-0}");
    let ended =
        ended.expect(3).warns("1 file on disk differs from what was stored, with the same size and times");
    let lines: Vec<String> = ended.out().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("source    ") && lines[0].contains("disk/hit of "), "{ended}");
    assert!(!lines[1].contains("disk/other"), "{ended}");
}

#[test]
fn root_where_there_is_too_little_room_nothing_is_begun() {
    demand_root();
    let sandbox = saved();
    let script = "mkdir small; mount -t tmpfs -o size=8M none small; $copal drill --scratch small || code=$?
        ls small; umount small; exit ${code:-0}";
    let ended = sandbox.with_mounts(script).expect(6).warns("are needed").warns("--scratch FOLDER");
    assert!(ended.out().is_empty(), "{ended}");
}

#[test]
fn root_all_kinds_of_metadata_come_back_and_flags_do_not_keep_the_scratch_folder() {
    demand_root();
    let sandbox = Sandbox::new().trusting_fresh_files();
    let noise = |seed| Kind::File(Content::Noise { seed, length: 20_000 });
    let sparse = Kind::File(Content::Sparse { length: 5 << 20, data: vec![(0, 100), (3 << 20, 70_000)] });
    let mut owned = Item::new(0, "of nobody", noise(1)).mode(0o4750).xattr("user.note", b"a note");
    owned.owner = NOBODY;
    owned.acl = true;
    let items = [
        owned,
        Item::new(0, "immutable", noise(2)).flags(rustix::fs::IFlags::IMMUTABLE),
        Item::new(0, "long attribute", noise(3)).xattr("user.long", &[b'x'; 2000]),
        Item::new(0, "sparse", sparse),
        Item::new(0, b"not \xff text", noise(4)),
    ];
    make(&[&sandbox.source()], &items, None);
    std::fs::hard_link(sandbox.path("source/sparse"), sandbox.path("source/linked")).unwrap();
    sandbox.back_up();
    let summary = sandbox.run(["drill", "--json"]).expect(0).messages("sample").remove(0);
    assert_eq!((&summary["files_restored"], &summary["files_compared"]), (&6.into(), &6.into()));
    assert_eq!(summary["files_without_metadata"], 0);
    assert!(scratch(&sandbox.cache()).is_empty());
    let mut chattr = Command::new("chattr");
    chattr.arg("-i").arg(sandbox.path("source/immutable"));
    end(chattr).expect(0);
}

#[test]
fn an_ordinary_user_drills_too() {
    let mut sandbox = Sandbox::of_nobody();
    sandbox.set("COPAL_TEST_RACY_SECONDS", "0");
    sandbox.write("source/file", noise(1, 5000));
    sandbox.back_up();
    let sample = sandbox.run(["drill", "--json"]).expect(0).messages("sample").remove(0);
    assert_eq!((&sample["files_restored"], &sample["files_compared"]), (&1.into(), &1.into()));
    assert_eq!(sample["files_without_metadata"], 0);
}

/// A drill at work, with its scratch folder made.
fn at_work(sandbox: &Sandbox) -> std::process::Child {
    let mut command = sandbox.command(["drill", "--files", "100000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while scratch(&sandbox.cache()).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before anybody saw its scratch folder");
        std::thread::yield_now();
    }
    child
}

#[test]
fn one_that_is_interrupted_leaves_nothing_and_one_that_is_killed_is_cleared_away_by_the_next() {
    let sandbox = Sandbox::new();
    for number in 0..3000 {
        sandbox.write(format!("source/{number}"), format!("file {number}"));
    }
    sandbox.back_up();
    let child = at_work(&sandbox);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    end_child(child, "interrupted".to_owned()).expect(130);
    assert!(scratch(&sandbox.cache()).is_empty());
    let child = at_work(&sandbox);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    end_child(child, "killed".to_owned());
    assert_eq!(scratch(&sandbox.cache()).len(), 1);
    sandbox.run(["drill", "--files", "1"]).expect(0);
    assert!(scratch(&sandbox.cache()).is_empty());
}

#[test]
fn what_can_not_be_meant_is_said_in_one_line() {
    let sandbox = Sandbox::new();
    sandbox.run(["drill"]).expect(1).warns("there are no snapshots yet");
    sandbox.write("source/file", "content");
    sandbox.back_up();
    sandbox.run(["drill"]).expect(0).says("restored 1 of 1 file");
    for (words, code, what) in [
        (&["drill", "--files", "0"][..], 2, "--files"),
        (&["drill", "--size", "0"], 2, "must not be 0"),
        (&["drill", "--seed", "x"], 2, "--seed"),
        (&["drill", "--scratch", "none"], 1, "No such file or directory"),
        (&["drill", "--scratch", "source/file"], 1, "Not a directory"),
        (&["drill", "abcd"], 1, "no snapshot abcd"),
    ] {
        sandbox.run(words).expect(code).warns(what);
    }
    // An empty source.
    std::fs::remove_file(sandbox.path("source/file")).unwrap();
    sandbox.back_up();
    sandbox.run(["drill", "latest"]).expect(0).says("restored 0 of 0 files");
}
