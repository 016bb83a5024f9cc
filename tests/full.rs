//! File systems that are full, have no inodes left, or are read-only; and a local cache that is lost or is something else. What was saved
//! stays and can be read, one line says what is wrong, and everything goes on once there is room.

mod common;
mod sealed;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Compare, Ended, Sandbox, below, demand_root, differences, end, noise};

/// Does something in a mount namespace of its own.
fn with_own_mounts(work: impl FnOnce() + Send) {
    let done = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: this thread shares no open files with anybody by it; only its view of mounts becomes its own.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
            run("mount", ["--make-rprivate", "/"]);
            work();
        });
        thread.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) {
    let mut command = Command::new(program);
    command.args(arguments);
    end(command).expect(0);
}

fn copy(from: &Path, to: &Path) {
    run("cp", [OsStr::new("-a"), from.as_os_str(), to.as_os_str()]);
}

/// A sandbox whose repository, of one snapshot, is copied onto a disk of its own for each case.
struct World {
    sandbox: Sandbox,
    first: String,
}

impl World {
    fn new() -> World {
        let mut sandbox = Sandbox::empty();
        std::fs::create_dir(sandbox.path("disk")).unwrap();
        let place = sandbox.path("disk/repository");
        sandbox.set("COPAL_REPOSITORY", place);
        sandbox.run(["init"]).expect(0);
        for number in 0..4 {
            sandbox.write(format!("source/old/{number}"), noise(number, 60_000));
        }
        let first = sandbox.back_up()["snapshot_id"].as_str().unwrap().to_owned();
        copy(&sandbox.source(), &sandbox.path("first"));
        let world = World { sandbox, first };
        world.keep_base();
        world
    }

    /// Takes the repository and the cache as they are now as what each case begins with.
    fn keep_base(&self) {
        let base = self.path("base");
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir(&base).unwrap();
        copy(&self.path("disk/repository"), &base.join("repository"));
        copy(&self.path("home"), &base.join("home"));
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.sandbox.path(name)
    }

    /// What is on `disk` from now on: a file system in memory with these options, and the repository on it; and the cache as it was.
    fn mount_memory(&self, options: &str) {
        let disk = self.path("disk");
        run(
            "mount",
            [
                OsStr::new("-t"),
                "tmpfs".as_ref(),
                "-o".as_ref(),
                options.as_ref(),
                "none".as_ref(),
                disk.as_os_str(),
            ],
        );
        self.lay_out();
    }

    /// The same on a disk of that many megabytes in a file.
    fn mount_ext4(&self, megabytes: u64) {
        let (image, disk) = (self.path("image"), self.path("disk"));
        let _ = std::fs::remove_file(&image);
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        run("mkfs.ext4", [OsStr::new("-q"), "-m".as_ref(), "0".as_ref(), image.as_os_str()]);
        run("mount", [OsStr::new("-o"), "loop".as_ref(), image.as_os_str(), disk.as_os_str()]);
        self.lay_out();
    }

    fn lay_out(&self) {
        copy(&self.path("base/repository"), &self.path("disk/repository"));
        std::fs::remove_dir_all(self.path("home")).unwrap();
        copy(&self.path("base/home"), &self.path("home"));
    }

    fn unmount(&self) {
        run("umount", [self.path("disk")]);
    }

    /// Fills the disk but for so many kibibytes.
    fn fill(&self, but: u64) {
        let path = self.path("disk/filler");
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let free = || {
            let stat = rustix::fs::statvfs(self.path("disk")).unwrap();
            stat.f_bavail * stat.f_frsize / 1024
        };
        // File systems count late: several times.
        for _ in 0..4 {
            while free() > but {
                let part = vec![1; ((free() - but) * 1024).min(1 << 20) as usize];
                if std::io::Write::write_all(&mut file, &part).is_err() {
                    break;
                }
            }
            file.sync_all().unwrap();
        }
        assert!(free() <= but, "{} KiB are free", free());
    }

    fn empty(&self) {
        std::fs::remove_file(self.path("disk/filler")).unwrap();
    }

    fn back_up(&self) -> Ended {
        self.sandbox.run([OsStr::new("backup"), self.sandbox.source().as_os_str()])
    }

    fn assert_restores(&self, id: &str, expected: &Path) {
        let target = self.path("out");
        let _ = std::fs::remove_dir_all(&target);
        self.sandbox.run([OsStr::new("restore"), id.as_ref(), "-t".as_ref(), target.as_os_str()]).expect(0);
        let found = below(&target, &self.sandbox.source());
        assert_eq!(differences(expected, &found, Compare { owners: true }), [] as [String; 0]);
    }

    /// What needs no room works.
    fn assert_readable(&self) {
        for words in [
            &["snapshots"][..],
            &["ls", &self.first],
            &["stats"],
            &["key", "list"],
            &["check", "--read-data"],
        ] {
            self.sandbox.run(words).expect(0);
        }
        self.assert_restores(&self.first, &self.path("first"));
    }

    /// Everything goes on.
    fn assert_goes_on(&self) {
        self.back_up().expect(0);
        self.assert_restores("latest", &self.sandbox.source());
        self.assert_readable();
    }
}

#[track_caller]
fn says_once(ended: &Ended, words: &str) {
    assert_eq!(ended.code, 1, "{ended}");
    let lines = ended.err().lines().filter(|line| line.contains(words)).count();
    assert_eq!(lines, 1, "{ended}");
}

/// Backs up onto fuller and fuller disks, from one on which nothing fits to one on which everything does.
fn fill_up(world: &World, mount: impl Fn(), amounts: impl IntoIterator<Item = u64>) {
    for number in 0..6 {
        world.sandbox.write(format!("source/new {number}/file"), noise(100 + number, 70_000));
    }
    let (mut full, mut done) = (0, false);
    for free in amounts {
        mount();
        world.fill(free);
        let ended = world.back_up();
        done = ended.code == 0;
        if !done {
            full += 1;
            says_once(&ended, "no space left");
            assert!(!ended.out().contains("saved"), "{ended}");
        }
        world.assert_readable();
        world.empty();
        if !done {
            // Whoever makes room does not wait for the run that found none.
            let pruned = world.sandbox.run(["prune", "--json"]).expect(0).summary();
            assert_eq!(pruned["hosts_at_work"].as_array().unwrap().len(), 0, "{free} KiB: {pruned}");
        }
        world.assert_goes_on();
        world.unmount();
        if done {
            break;
        }
    }
    assert!(full >= 10 && done, "{full} times the disk was full, and everything fitted: {done}");
}

#[test]
fn root_a_disk_that_is_full_at_any_moment_of_a_backup_loses_nothing() {
    demand_root();
    let world = World::new();
    with_own_mounts(|| {
        let amounts = (0..6).map(|step| step * 4).chain((1..40).map(|step| 20 + step * 28));
        fill_up(&world, || world.mount_memory("size=32m"), amounts);
    });
}

#[test]
fn root_an_ext4_that_is_full_at_any_moment_of_a_backup_loses_nothing() {
    demand_root();
    let world = World::new();
    with_own_mounts(|| {
        let amounts = (0..4).map(|step| step * 4).chain((1..30).map(|step| 12 + step * 52));
        fill_up(&world, || world.mount_ext4(24), amounts);
    });
}

#[test]
fn root_a_disk_without_inodes_loses_nothing() {
    demand_root();
    let world = World::new();
    world.sandbox.write("source/new/file", noise(9, 200_000));
    with_own_mounts(|| {
        let (mut full, mut inodes) = (0, 60);
        loop {
            world.mount_memory(&format!("size=32m,nr_inodes={inodes}"));
            let free = rustix::fs::statvfs(world.path("disk")).unwrap().f_favail;
            if full == 0 && free > 0 {
                // Down to none first.
                world.unmount();
                inodes -= free;
                full = 1;
                continue;
            }
            let ended = world.back_up();
            if ended.code != 0 {
                full += 1;
                says_once(&ended, "no space left");
            }
            world.assert_readable();
            run(
                "mount",
                [OsStr::new("-o"), "remount,nr_inodes=1000".as_ref(), world.path("disk").as_os_str()],
            );
            world.assert_goes_on();
            world.unmount();
            if ended.code == 0 {
                break;
            }
            inodes += 1;
        }
        assert!(full >= 5, "{full} times there were too few");
    });
}

#[test]
fn root_forgetting_and_pruning_give_back_room_on_a_full_disk() {
    demand_root();
    let world = World::new();
    for number in 0..30 {
        world.sandbox.write(format!("source/large/{number}"), noise(200 + number, 100_000));
    }
    let large = world.sandbox.back_up()["snapshot_id"].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(world.path("source/large")).unwrap();
    world.sandbox.back_up();
    world.keep_base();
    let free = || {
        let stat = rustix::fs::statvfs(world.path("disk")).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    with_own_mounts(|| {
        for is_memory in [true, false] {
            if is_memory {
                world.mount_memory("size=32m")
            } else {
                world.mount_ext4(32)
            }
            world.fill(0);
            says_once(&world.back_up(), "no space left");
            world.sandbox.run(["forget", &large]).expect(0);
            // What is left of the room that was kept aside is filled too; twice, since a prune keeps some anew.
            for _ in 0..2 {
                world.sandbox.run(["prune", "--grace", "0"]).expect(0);
            }
            assert!(free() > 2 << 20, "{} bytes are free", free());
            world.assert_readable();
            world.empty();
            world.assert_goes_on();
            world.unmount();
        }
    });
}

#[test]
fn root_a_prune_that_finds_no_room_leaves_nothing_in_the_way_of_the_next() {
    demand_root();
    let world = World::new();
    for number in 0..30 {
        world.sandbox.write(format!("source/large/{number}"), noise(200 + number, 100_000));
    }
    let large = world.sandbox.back_up()["snapshot_id"].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(world.path("source/large")).unwrap();
    world.sandbox.back_up();
    world.sandbox.run(["forget", &large]).expect(0);
    // A repository that never had enough around it to keep some.
    std::fs::remove_file(world.path("disk/repository/tmp/reserve")).unwrap();
    world.keep_base();
    with_own_mounts(|| {
        let mut refused = 0;
        for free in (0..40).map(|step| step * 4) {
            world.mount_memory("size=32m");
            world.fill(free);
            let ended = world.sandbox.run(["prune", "--grace", "0"]);
            if ended.code == 0 {
                world.unmount();
                break;
            }
            refused += 1;
            says_once(&ended, "no space left");
            world.assert_readable();
            world.empty();
            let summary = world.sandbox.run(["prune", "--grace", "0", "--json"]).expect(0).summary();
            assert_eq!(summary["packs_waiting"], 0, "{free} KiB: {summary}");
            assert!(summary["packs_removed"].as_u64() > Some(0), "{free} KiB: {summary}");
            world.assert_goes_on();
            world.unmount();
        }
        assert!(refused >= 2, "{refused}");
    });
}

#[test]
fn root_a_full_disk_is_told_by_a_restore_and_filled_up_later() {
    demand_root();
    let world = World::new();
    with_own_mounts(|| {
        for size in [4, 40, 100, 200] {
            let target = world.path(format!("target {size}"));
            std::fs::create_dir(&target).unwrap();
            let options = format!("size={size}k");
            run(
                "mount",
                [
                    OsStr::new("-t"),
                    "tmpfs".as_ref(),
                    "-o".as_ref(),
                    options.as_ref(),
                    "none".as_ref(),
                    target.as_os_str(),
                ],
            );
            let words = [OsStr::new("restore"), world.first.as_ref(), "-t".as_ref(), target.as_os_str()];
            let ended = world.sandbox.run(words);
            assert_eq!(ended.code, 1, "{ended}");
            assert_eq!(
                ended
                    .err()
                    .lines()
                    .filter(|line| line.contains("No space left") || line.contains("no space left"))
                    .count(),
                1,
                "{ended}"
            );
            run("mount", [OsStr::new("-o"), "remount,size=8m".as_ref(), target.as_os_str()]);
            world.sandbox.run(words).expect(0);
            let found = below(&target, &world.sandbox.source());
            assert_eq!(
                differences(&world.path("first"), &found, Compare { owners: true }),
                [] as [String; 0]
            );
            run("umount", [&target]);
        }
    });
}

#[test]
fn root_a_read_only_repository_is_read_and_a_backup_says_what_is_wrong() {
    demand_root();
    let world = World::new();
    world.sandbox.write("source/new", "new");
    with_own_mounts(|| {
        // The source lies on a full disk at that: nothing is written there either.
        let source = world.sandbox.source();
        world.mount_memory("size=32m");
        run("mount", [OsStr::new("-o"), "remount,ro".as_ref(), world.path("disk").as_os_str()]);
        world.assert_readable();
        for words in [
            vec!["backup", source.to_str().unwrap()],
            vec!["forget", &world.first, "--unsafe-allow-remove-all"],
            vec!["prune", "--grace", "0"],
            vec!["tag", "--add", "a", &world.first],
            vec!["key", "add", "--new-key-file", "another"],
        ] {
            says_once(&world.sandbox.run(words), "read-only");
        }
        // What only asks what would be done needs nothing.
        world.sandbox.run(["backup", "-n", source.to_str().unwrap()]).expect(0);
        world.sandbox.run(["prune", "-n"]).expect(0);
        run("mount", [OsStr::new("-o"), "remount,rw".as_ref(), world.path("disk").as_os_str()]);
        world.assert_goes_on();
        world.unmount();
    });
}

#[test]
fn root_a_source_on_a_full_disk_is_saved() {
    demand_root();
    let world = World::new();
    with_own_mounts(|| {
        let (disk, source) = (world.path("other"), world.sandbox.source());
        std::fs::create_dir(&disk).unwrap();
        run(
            "mount",
            [
                OsStr::new("-t"),
                "tmpfs".as_ref(),
                "-o".as_ref(),
                "size=300k".as_ref(),
                "none".as_ref(),
                disk.as_os_str(),
            ],
        );
        run("mount", [OsStr::new("--bind"), disk.as_os_str(), source.as_os_str()]);
        let _ = std::fs::write(source.join("filler"), noise(1, 1 << 20));
        world.back_up().expect(0);
        world.assert_restores("latest", &source);
        run("umount", [&source, &disk]);
    });
}

// The cache -----------------------------------------------------------------------------------------------------------------------

fn database(sandbox: &Sandbox) -> PathBuf {
    let mut files = sealed::names(&sandbox.cache());
    files.retain(|path| path.extension() == Some(OsStr::new("sqlite")));
    assert_eq!(files.len(), 1);
    files.remove(0)
}

/// Whatever a cache is, what was saved is there, a backup is whole, and nothing is stored twice.
fn assert_helped(sandbox: &Sandbox, what: &str) {
    println!("{what}");
    let words = ["backup", "--json", sandbox.source().to_str().unwrap()].map(str::to_owned);
    let added = sandbox.run(words).expect(0).summary()["data_added"].as_u64().unwrap();
    // Folders' metadata may be new: a few hundred bytes each.
    assert!(added < 10_000, "{what}: {added} bytes were stored again");
    for words in [&["snapshots"][..], &["ls", "latest"], &["stats"], &["check"]] {
        sandbox.run(words).expect(0);
    }
    let target = sandbox.path("out");
    let _ = std::fs::remove_dir_all(&target);
    assert_eq!(
        differences(&sandbox.source(), &sandbox.restore("out"), Compare { owners: true }),
        [] as [String; 0]
    );
}

#[test]
fn a_cache_that_is_lost_cut_or_something_else_is_made_anew() {
    let sandbox = Sandbox::of_nobody();
    let other = Sandbox::of_nobody();
    for number in 0..5 {
        sandbox.write(format!("source/folder/{number}"), noise(number, 50_000));
        other.write(format!("source/other/{number}"), noise(10 + number, 50_000));
    }
    sandbox.back_up();
    other.back_up();
    let path = database(&sandbox);
    let whole = std::fs::read(&path).unwrap();
    let foreign = std::fs::read(database(&other)).unwrap();
    let clear = || {
        for file in sealed::names(&sandbox.cache()) {
            let _ = std::fs::remove_file(&file);
            let _ = std::fs::remove_dir_all(&file);
        }
    };
    let put = |bytes: &[u8]| {
        clear();
        sandbox.write(&path, bytes);
    };
    clear();
    assert_helped(&sandbox, "lost");
    for length in
        [0, 1, 15, 16, 99, 100, 1024, 4095, 4096, 4097, whole.len() / 2, whole.len() - 4096, whole.len() - 1]
    {
        put(&whole[..length]);
        assert_helped(&sandbox, &format!("cut to {length}"));
    }
    put(&foreign);
    assert_helped(&sandbox, "another repository's");
    put(&noise(5, whole.len()));
    assert_helped(&sandbox, "noise");
    for from in [4096, whole.len() / 2] {
        let mut damaged = whole.clone();
        damaged[from..from + 4096].copy_from_slice(&noise(6, 4096));
        put(&damaged);
        assert_helped(&sandbox, &format!("a page of noise at {from}"));
    }
    // A log that belongs to something else.
    put(&whole);
    sandbox.write(path.with_extension("sqlite-wal"), noise(7, 40_000));
    assert_helped(&sandbox, "another log");
    clear();
    sandbox.write(path.join("a file in it"), "x");
    assert_helped(&sandbox, "a folder");
    clear();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert_helped(&sandbox, "a link");
    put(&whole);
    for mode in [0o000, 0o400] {
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        assert_helped(&sandbox, &format!("mode {mode:o}"));
    }
    put(&whole);
    let folder = |mode: u32| {
        std::fs::set_permissions(sandbox.cache(), std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
    };
    for mode in [0o000, 0o500] {
        folder(mode);
        assert_helped(&sandbox, &format!("mode {mode:o} of its folder"));
        folder(0o700);
    }
}
