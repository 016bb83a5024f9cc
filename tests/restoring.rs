//! Restoring into places where something is, from repositories that are not whole, and with too little of everything.

mod common;

use std::ffi::OsStr;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Item, Kind, Sandbox, assert_same, below, demand_root, end, make, noise, unprotect};
use rustix::fs::IFlags;

/// All packs, largest last.
fn packs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut packs = Vec::new();
    for folder in std::fs::read_dir(sandbox.repository().join("packs")).unwrap() {
        packs.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|pack| pack.unwrap().path()));
    }
    packs.sort_by_key(|pack| pack.metadata().unwrap().len());
    packs
}

/// Changes a byte in the middle of the largest pack.
fn scratch(sandbox: &Sandbox) {
    let pack = packs(sandbox).pop().unwrap();
    // Packs are read-only.
    std::fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&pack).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
}

fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(leftovers(&entry.path()));
        } else if entry.file_name().to_string_lossy().contains("copal") {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn little_memory_and_many_cores_give_the_same_back() {
    // As on a machine with so many cores that not all of them fit.
    let sandbox = Sandbox::new().with("RAYON_NUM_THREADS", "32");
    sandbox.write("source/large", noise(1, 40 << 20));
    (0..300).for_each(|n| drop(sandbox.write(format!("source/small/{n}"), noise(n, 3000))));
    sandbox.back_up();
    let target = sandbox.path("out");
    let words = ["restore", "latest", "--memory", "64M", "--verify", "-t", target.to_str().unwrap()];
    sandbox.run(words).expect(0);
    assert_same(&sandbox.source(), &below(&target, &sandbox.source()));
    sandbox.run(["restore", "latest", "--memory", "63M", "-t", "out"]).expect(2).warns("64.0 MiB");
}

#[test]
fn a_pack_that_can_not_be_read_costs_what_it_holds_and_nothing_else() {
    // What a bad sector does, without a bad disk: one file that storage does not give, for a user whom permissions bind.
    let sandbox = Sandbox::of_nobody();
    sandbox.write("source/a small one", "hello");
    sandbox.back_up();
    let before = packs(&sandbox);
    sandbox.write("source/large", noise(1, 3 << 20));
    sandbox.back_up();
    let pack = packs(&sandbox).into_iter().rev().find(|pack| !before.contains(pack)).unwrap();
    std::fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let out = sandbox.path("out");
    let ended = sandbox.run(["restore", "latest", "-t", "out"]).expect(5);
    ended.warns("large").warns("cannot be read");
    let small = below(&out, &sandbox.source()).join("a small one");
    assert_eq!(std::fs::read(small).unwrap(), b"hello");
    let name = pack.file_name().unwrap().to_str().unwrap();
    sandbox.run(["check", "--read-data"]).expect(5).says(name);
    sandbox.run(["check", "--no-cache", "--read-data"]).expect(5).says(name);
    // It is told, and not written down: nothing is known to be wrong with it, and another user may read it.
    let written = std::fs::read_dir(sandbox.repository().join("damage")).map_or(0, Iterator::count);
    assert_eq!(written, 0, "a pack that may not be read is written down as damaged");
    std::fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn a_repository_that_is_gone_is_no_damage() {
    let sandbox = Sandbox::new();
    sandbox.write("source/large", noise(1, 3 << 20));
    sandbox.back_up();
    std::fs::rename(sandbox.repository(), sandbox.path("unplugged")).unwrap();
    sandbox.run(["restore", "latest", "-t", "out"]).expect(10);
    sandbox.run(["check"]).expect(10);
}

#[test]
fn a_damaged_version_never_takes_the_place_of_a_file_that_is_there() {
    for length in [3 << 20, 20 << 20] {
        let sandbox = Sandbox::new();
        let path = sandbox.write("source/a.large", noise(1, length));
        sandbox.back_up();
        let from = format!("latest:{}", sandbox.source().display());
        let good = noise(2, length);
        for (target, there) in [("other", &good), ("same", &std::fs::read(&path).unwrap())] {
            sandbox.write(format!("{target}/a.large"), there);
        }
        scratch(&sandbox);
        let ended = sandbox.run(["restore", &from, "-t", "other", "--overwrite", "always"]).expect(5);
        ended.warns("a.large").warns("a.damaged.large");
        assert_eq!(std::fs::read(sandbox.path("other/a.large")).unwrap(), good);
        let rest = std::fs::read(sandbox.path("other/a.damaged.large")).unwrap();
        assert_eq!(rest.len(), length);
        assert!(rest != std::fs::read(&path).unwrap());
        // What is there already needs nothing from the repository.
        if length >= 16 << 20 {
            sandbox.run(["restore", &from, "-t", "same", "--overwrite", "always"]).expect(0);
            assert_same(&path, &sandbox.path("same/a.large"));
        }
        assert_eq!(leftovers(&sandbox.path("other")), [] as [PathBuf; 0]);
    }
}

#[test]
fn holes_come_back_in_a_file_that_is_rewritten_in_place() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("source/disk", noise(1, 1 << 20));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(40 << 20).unwrap();
    file.write_all_at(&noise(2, 1 << 20), 30 << 20).unwrap();
    sandbox.back_up();
    let from = format!("latest:{}", sandbox.source().display());
    sandbox.run(["restore", &from, "-t", "out"]).expect(0);
    let out = sandbox.path("out/disk");
    let file = std::fs::File::options().write(true).open(&out).unwrap();
    file.write_all_at(&noise(3, 5 << 20), 10 << 20).unwrap();
    let inode = file.metadata().unwrap().ino();
    sandbox.run(["restore", &from, "-t", "out", "--overwrite", "if-changed", "--verify"]).expect(0);
    assert_eq!(std::fs::metadata(&out).unwrap().ino(), inode, "it was written anew");
    assert_same(&path, &out);
}

#[test]
fn root_a_full_disk_ends_a_restore_with_one_line_and_leaves_no_halves() {
    demand_root();
    let sandbox = Sandbox::new();
    for number in 0..6u64 {
        sandbox.write(format!("source/file {number}"), noise(number, 3 << 20));
    }
    sandbox.write("source/small", "small");
    sandbox.back_up();
    let small_disk = sandbox.path("small disk");
    std::fs::create_dir(&small_disk).unwrap();
    end({
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&small_disk);
        mount
    })
    .expect(0);
    let mine = small_disk.join("mine");
    std::fs::write(&mine, "was there").unwrap();
    let from = format!("latest:{}", sandbox.source().display());
    let words = [OsStr::new("restore"), OsStr::new(&from), OsStr::new("-t"), small_disk.as_os_str()];
    let ended = sandbox.run(words);
    let (left, kept) = (leftovers(&small_disk), std::fs::read(&mine).unwrap());
    let restored: Vec<PathBuf> =
        std::fs::read_dir(&small_disk).unwrap().map(|entry| entry.unwrap().path()).collect();
    let wrong: Vec<&PathBuf> = restored
        .iter()
        .filter(|path| **path != mine)
        .filter(|path| {
            std::fs::read(path).unwrap()
                != std::fs::read(sandbox.source().join(path.file_name().unwrap())).unwrap()
        })
        .collect();
    let wrong = format!("{wrong:?}");
    let mut unmount = Command::new("umount");
    unmount.arg(&small_disk);
    end(unmount).expect(0);
    let ended = ended.expect(1);
    assert_eq!(ended.err().matches("No space left").count(), 1, "{ended}");
    assert_eq!((left, kept.as_slice(), wrong.as_str()), (Vec::new(), b"was there".as_slice(), "[]"));
}

#[test]
fn few_descriptors_are_enough() {
    let sandbox = Sandbox::new();
    for number in 0..400u64 {
        sandbox.write(format!("source/{number}/file"), noise(number, 100));
    }
    sandbox.back_up();
    // And deep: 300 levels, with something on the way back up in each.
    let deep: Vec<Item> = (0..300)
        .flat_map(|level| [Item::new(level, "a", Kind::Folder), Item::file(level, "z", format!("{level}"))])
        .collect();
    make(&[&sandbox.source()], &deep, None);
    sandbox.back_up();
    let out = sandbox.path("out");
    let words = ["restore", "latest", "-t", out.to_str().unwrap()];
    let few = ["prlimit", "--nofile=64:64"];
    end(sandbox.command_through(&few, words)).expect(0);
    let restored = below(&out, &sandbox.source());
    assert_same(&sandbox.source(), &restored);
    // What differs in the last of many folders is seen before anything is written.
    std::fs::remove_file(restored.join("0/file")).unwrap();
    std::fs::write(restored.join("399/file"), "mine").unwrap();
    end(sandbox.command_through(&few, words)).expect(6).warns("399/file");
    assert!(!restored.join("0/file").exists());
    let words = words.iter().chain(&["--overwrite", "if-changed", "--delete"]);
    std::fs::write(restored.join("a/a/a/more"), "not in the snapshot").unwrap();
    std::fs::create_dir_all(restored.join("a/a").join("b/".repeat(200))).unwrap();
    std::fs::write(restored.join("a/a/b/b/b/b/too"), "neither is this").unwrap();
    end(sandbox.command_through(&few, words)).expect(0);
    assert_same(&sandbox.source(), &restored);
}

#[test]
fn root_delete_leaves_what_is_excluded_below_and_what_is_mounted() {
    demand_root();
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "content");
    sandbox.back_up();
    let from = format!("latest:{}", sandbox.source().display());
    sandbox.run(["restore", &from, "-t", "out"]).expect(0);
    for name in ["extra/my.db", "extra/deep/other.db", "extra/deep/gone", "top.db", "mounted/keep"] {
        sandbox.write(format!("out/{name}"), "mine");
    }
    std::fs::remove_file(sandbox.path("out/mounted/keep")).unwrap();
    let outside = sandbox.write("outside/precious", "mine");
    let mut mount = Command::new("mount");
    mount.arg("--bind").arg(sandbox.path("outside")).arg(sandbox.path("out/mounted"));
    end(mount).expect(0);
    let words = ["restore", &from, "-t", "out", "--overwrite", "if-changed", "--delete", "-e", "*.db"];
    let dry = sandbox.run(words.iter().chain(&["-n", "-v"]));
    let ended = sandbox.run(words);
    let mut unmount = Command::new("umount");
    unmount.arg(sandbox.path("out/mounted"));
    end(unmount).expect(0);
    ended.expect(3).says("1 was removed").warns("mounted");
    dry.expect(3).says("1 would be removed");
    assert_eq!(std::fs::read(outside).unwrap(), b"mine");
    for kept in ["extra/my.db", "extra/deep/other.db", "top.db"] {
        assert!(sandbox.path("out").join(kept).exists(), "{kept}");
    }
    assert!(!sandbox.path("out/extra/deep/gone").exists());
}

#[test]
fn a_damaged_file_takes_the_place_of_nothing_by_its_other_name_either() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("source/a", noise(1, 3 << 20));
    std::fs::hard_link(&path, sandbox.source().join("b")).unwrap();
    std::fs::hard_link(&path, sandbox.source().join("c")).unwrap();
    sandbox.back_up();
    scratch(&sandbox);
    sandbox.write("out/b", "mine");
    let from = format!("latest:{}", sandbox.source().display());
    let ended = sandbox.run(["restore", "--json", &from, "-t", "out", "--overwrite", "always"]).expect(5);
    assert_eq!(ended.summary()["damaged"], 3, "{ended}");
    assert_eq!(std::fs::read(sandbox.path("out/b")).unwrap(), b"mine");
}

#[test]
fn root_a_second_name_that_can_not_be_linked_is_a_file_of_its_own() {
    demand_root();
    let sandbox = Sandbox::new();
    let items =
        [Item::new(0, "d", Kind::Folder), Item::new(0, "e", Kind::Folder), Item::file(1, "a", "content")];
    make(&[&sandbox.source()], &items, None);
    std::fs::hard_link(sandbox.source().join("d/a"), sandbox.source().join("e/a")).unwrap();
    sandbox.back_up();
    std::fs::create_dir_all(sandbox.path("out/e")).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "tmpfs"]).arg(sandbox.path("out/e"));
    end(mount).expect(0);
    sandbox.write("out/e/a", "an old one");
    let from = format!("latest:{}", sandbox.source().display());
    let ended = sandbox.run(["restore", &from, "-t", "out", "--overwrite", "always"]);
    let found = std::fs::read(sandbox.path("out/e/a"));
    let left = leftovers(&sandbox.path("out"));
    let mut unmount = Command::new("umount");
    unmount.arg(sandbox.path("out/e"));
    end(unmount).expect(0);
    ended.expect(0);
    assert_eq!((found.unwrap(), left), (b"content".to_vec(), Vec::new()));
}

#[test]
fn root_what_can_not_be_made_leaves_what_is_there() {
    demand_root();
    // Made by root, restored by nobody, who may make no devices.
    let sandbox = Sandbox::of_nobody();
    make(&[&sandbox.source()], &[Item::new(0, "thing", Kind::Character(1, 3))], None);
    sandbox.back_up();
    let there = sandbox.write("out/thing", "mine");
    std::os::unix::fs::chown(sandbox.path("out"), Some(65534), Some(65534)).unwrap();
    let from = format!("latest:{}", sandbox.source().display());
    let ended = sandbox.run(["restore", &from, "-t", "out", "--overwrite", "always"]).expect(3);
    ended.warns("by root alone");
    assert_eq!(std::fs::read(there).unwrap(), b"mine");
    assert_eq!(leftovers(&sandbox.path("out")), [] as [PathBuf; 0]);
}

#[test]
fn root_flags_go_to_what_was_restored_and_not_to_what_was_kept() {
    demand_root();
    let sandbox = Sandbox::new();
    make(&[&sandbox.source()], &[Item::file(0, "f", "content").flags(IFlags::IMMUTABLE)], None);
    sandbox.back_up();
    unprotect(&sandbox.source());
    let there = sandbox.write("out/f", "mine, and not the same");
    let from = format!("latest:{}", sandbox.source().display());
    sandbox.run(["restore", &from, "-t", "out", "--overwrite", "never"]).expect(0);
    std::fs::write(there, "still mine to change").unwrap();
}

#[test]
fn if_newer_rewrites_no_file_in_place() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("source/large", noise(1, 20 << 20));
    sandbox.back_up();
    let from = format!("latest:{}", sandbox.source().display());
    let there = sandbox.write("out/large", noise(2, 20 << 20));
    let old = std::fs::File::options().write(true).open(&there).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let inode = old.metadata().unwrap().ino();
    sandbox.run(["restore", &from, "-t", "out", "--overwrite", "if-newer"]).expect(0);
    assert_ne!(std::fs::metadata(&there).unwrap().ino(), inode, "stopped half-way it would count as newer");
    assert_same(&path, &there);
}

#[test]
fn a_file_that_is_not_whole_is_taken_by_no_later_restore_for_what_is_stored() {
    // Small enough to be written anew, and large enough to be rewritten where it differs.
    for length in [3 << 20, 20 << 20] {
        let sandbox = Sandbox::new();
        let path = sandbox.write("source/a.large", noise(1, length));
        let is_linked = length < 16 << 20;
        if is_linked {
            std::fs::hard_link(&path, sandbox.source().join("b.large")).unwrap();
        }
        sandbox.back_up();
        scratch(&sandbox);
        let from = format!("latest:{}", sandbox.source().display());
        let restore =
            |target: &str, when: &str| sandbox.run(["restore", &from, "-t", target, "--overwrite", when]);
        let whens = ["if-changed", "if-newer", "always"];
        for when in whens {
            restore(when, when).expect(5).warns("a.large").warns(if is_linked { "b.large" } else { "" });
            let there = std::fs::metadata(sandbox.path(when).join("a.large")).unwrap();
            assert_eq!(there.len(), length as u64);
            assert!(there.modified().unwrap() < std::fs::metadata(&path).unwrap().modified().unwrap());
            // However often: told each time, and what is left of it is there once.
            for _ in 0..2 {
                restore(when, when).expect(5).warns("a.large");
                let mut names: Vec<_> = std::fs::read_dir(sandbox.path(when))
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.sort();
                assert_eq!(names, ["a.damaged.large", "a.large", "b.large"][..if is_linked { 3 } else { 2 }]);
            }
            sandbox.run(["restore", &from, "-t", when]).expect(6).warns("a.large");
        }
        // As it was before.
        scratch(&sandbox);
        for when in whens {
            restore(when, when).expect(0);
            for name in ["a.large", "b.large"].iter().take(if is_linked { 2 } else { 1 }) {
                assert_same(&sandbox.source().join(name), &sandbox.path(when).join(name));
            }
            restore(when, when).expect(0);
        }
    }
}
