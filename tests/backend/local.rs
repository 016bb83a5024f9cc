//! What only a local folder can show: modes, leftovers, foreign files, a full disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use copal::backend::{Backend, Error, Faulty, Kind, Local, Memory};

use super::{INDEX, listing, name};

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs in a thread whose umask is its own (an unshared CLONE_FS), so that other tests are not disturbed.
fn under_umask(umask: u32, run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: unsharing the umask and the working directory of one thread touches no memory.
            #[allow(unsafe_code)]
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.unwrap();
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
            run();
        });
    });
}

#[test]
fn folders_are_0700_and_files_0600_whatever_the_umask() {
    for umask in [0o000, 0o077, 0o777] {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("above/repository");
        under_umask(umask, || {
            let local = Local::new(&repository);
            local.create().unwrap();
            for kind in Kind::ALL {
                local.put(kind, &name(kind, 5), b"x").unwrap();
            }
        });
        let (mut folders, mut files) = (0, 0);
        for entry in walkdir::WalkDir::new(folder.path().join("above")) {
            let entry = entry.unwrap();
            let expected =
                if entry.file_type().is_dir() { (folders += 1, 0o700).1 } else { (files += 1, 0o600).1 };
            assert_eq!(mode(entry.path()), expected, "{} under {umask:03o}", entry.path().display());
        }
        assert_eq!((folders, files), (2 + 13 + 1 + 1, 13));
    }
}

#[test]
fn leftovers_and_foreign_files_are_not_listed_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (local, at) = (Local::new(folder.path()), folder.path());
    local.create().unwrap();
    let good = name(Kind::Packs, 0xab);
    local.put(Kind::Packs, &good, b"good").unwrap();
    fs::write(at.join("tmp/tmp-0123"), b"left").unwrap();
    fs::write(at.join("tmp").join(name(Kind::Keys, 1)), b"left").unwrap();
    fs::create_dir(at.join("packs/zz")).unwrap();
    fs::write(at.join("packs/02"), b"a file where a folder belongs").unwrap();
    for foreign in [name(Kind::Packs, 0xaa), good.to_uppercase(), ".tmp-1".into(), "tmp-1".into(), "x".into()]
    {
        for place in ["packs", "packs/ab", "packs/zz", "index/.."] {
            fs::write(at.join(place).join(&foreign), b"foreign").unwrap();
        }
    }
    // Under an object's name, but no object: a folder, a link, a pipe.
    let odd = [0x10, 0x11, 0x12]
        .map(|seed| (name(Kind::Notes, seed), at.join("notes").join(name(Kind::Notes, seed))));
    fs::create_dir(&odd[0].1).unwrap();
    symlink(at.join(Kind::Packs.path_of(&good)), &odd[1].1).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &odd[2].1, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    assert!(fs::symlink_metadata(&odd[2].1).unwrap().file_type().is_fifo());

    assert_eq!(listing(&local, Kind::Packs), BTreeMap::from([(good, 4)]));
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Packs) {
        assert_eq!(listing(&local, kind), BTreeMap::new());
    }
    for (name, path) in odd {
        assert!(local.get(Kind::Notes, &name).unwrap_err().is_not_found());
        assert!(local.get_range(Kind::Notes, &name, 0, 1).unwrap_err().is_not_found());
        assert!(local.stat(Kind::Notes, &name).unwrap_err().is_not_found());
        let error = local.put(Kind::Notes, &name, b"x").unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error}");
        fs::symlink_metadata(path).unwrap();
    }
}

#[test]
fn a_repository_that_is_not_there_lists_as_empty_and_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path().join("nowhere"));
    assert!(!local.exists_repository().unwrap());
    assert!(Kind::ALL.iter().all(|kind| listing(&local, *kind).is_empty()));
    assert!(local.get(INDEX, &name(INDEX, 1)).unwrap_err().is_not_found());
    assert!(local.put(INDEX, &name(INDEX, 1), b"x").unwrap_err().is_not_found());
    assert!(local.time().unwrap_err().is_not_found());
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn folders_that_were_lost_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path());
    local.create().unwrap();
    local.put(Kind::Packs, &name(Kind::Packs, 1), b"x").unwrap();
    fs::remove_dir_all(folder.path().join("packs")).unwrap();
    assert!(listing(&local, Kind::Packs).is_empty());
    local.put(Kind::Packs, &name(Kind::Packs, 1), b"x").unwrap();
    fs::remove_dir(folder.path().join("tmp")).unwrap();
    local.put(Kind::Packs, &name(Kind::Packs, 2), b"x").unwrap();
    assert_eq!(listing(&local, Kind::Packs).len(), 2);
}

#[test]
fn files_that_vanish_while_they_are_listed_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path());
    local.create().unwrap();
    for seed in 0..100 {
        local.put(INDEX, &name(INDEX, seed), b"x").unwrap();
    }
    let mut seen = 0;
    local
        .list(INDEX, &mut |_| {
            if seen == 0 {
                (50..100).for_each(|seed| {
                    fs::remove_file(folder.path().join("index").join(name(INDEX, seed))).unwrap()
                });
            }
            seen += 1;
        })
        .unwrap();
    assert_eq!(seen, 50);
}

#[test]
fn a_pack_that_shrank_from_outside_is_short_and_not_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::new(folder.path());
    local.create().unwrap();
    let name = name(Kind::Packs, 1);
    local.put(Kind::Packs, &name, &[5; 100]).unwrap();
    local.get_range(Kind::Packs, &name, 0, 100).unwrap();
    let file =
        fs::OpenOptions::new().write(true).open(folder.path().join(Kind::Packs.path_of(&name))).unwrap();
    file.set_len(60).unwrap();
    for _ in 0..2 {
        let error = local.get_range(Kind::Packs, &name, 50, 50).unwrap_err();
        assert!(matches!(error, Error::Short { wanted: 50, got: 10, .. }), "{error}");
    }
    assert_eq!(local.get_range(Kind::Packs, &name, 50, 10).unwrap(), [5; 10]);
}

/// A small disk in memory, gone with this value.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Disk {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "copal-test"])
            .arg(folder.path())
            .status();
        assert!(mount.unwrap().success(), "root could not mount a tmpfs");
        Disk(folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn root_is_told_how_much_room_a_disk_has() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root, as those whose names begin with root_"
    );
    let disk = Disk::new("8m");
    let local = Faulty::new(Arc::new(Local::new(disk.0.path())));
    local.create().unwrap();
    let before = local.space().unwrap().unwrap();
    assert_eq!(before.total, 8 << 20);
    local.put(Kind::Packs, &name(Kind::Packs, 1), &[1; 3 << 20]).unwrap();
    let after = local.space().unwrap().unwrap();
    assert_eq!(after.total, 8 << 20);
    // Some more for the folder.
    assert!((3 << 20..(3 << 20) + 65_536).contains(&(before.free - after.free)), "{before:?} {after:?}");
}

#[test]
fn where_there_is_no_folder_there_is_no_room_to_be_told() {
    let folder = tempfile::tempdir().unwrap();
    let gone = Local::new(folder.path().join("gone"));
    assert!(matches!(gone.space(), Err(Error::NotFound { .. })));
    let here = Local::new(folder.path()).space().unwrap().unwrap();
    assert!(here.free <= here.total && here.total > 0);
    assert_eq!(Memory::new().space().unwrap(), None, "what is in memory does not know");
}

#[test]
fn root_finds_a_full_disk_told_as_such_and_going_on_after_a_removal() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root, as those whose names begin with root_"
    );
    let disk = Disk::new("1m");
    let local = Local::new(disk.0.path());
    local.create().unwrap();
    let mut stored = BTreeMap::new();
    let error = loop {
        let seed = stored.len() as u8;
        match local.put(Kind::Packs, &name(Kind::Packs, seed), &[seed; 300_000]) {
            Ok(()) => stored.insert(name(Kind::Packs, seed), 300_000),
            Err(error) => break error,
        };
        assert!(stored.len() < 4, "a disk of 1 MiB took {} MB", stored.len());
    };
    assert!(error.is_no_space(), "{error}");
    assert!(error.to_string().contains("packs/03/"), "{error}");
    assert_eq!(fs::read_dir(disk.0.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(listing(&local, Kind::Packs), stored);
    for seed in 0..3 {
        assert_eq!(local.get(Kind::Packs, &name(Kind::Packs, seed)).unwrap(), [seed; 300_000]);
    }
    // Nothing left at all: what is there can be put again, listed and removed, and then there is room.
    fs::write(disk.0.path().join("rest"), vec![0; 1 << 20]).unwrap_err();
    local.put(Kind::Packs, &name(Kind::Packs, 0), &[0; 300_000]).unwrap();
    assert!(local.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap_err().is_no_space());
    local.remove(Kind::Packs, &name(Kind::Packs, 0)).unwrap();
    local.put(Kind::Packs, &name(Kind::Packs, 3), &[3; 300_000]).unwrap();
}

#[test]
fn leftovers_are_removed_when_they_are_old_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let (local, at) = (Local::new(folder.path()), folder.path());
    assert!(matches!(local.remove_leftovers(Default::default()), Err(_) | Ok(0)));
    local.create().unwrap();
    let put = |name: &str, days_ago: u64| {
        let path = at.join("tmp").join(name);
        let file = fs::File::create(&path).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days_ago * 24 * 3600);
        file.set_modified(then).unwrap();
        path
    };
    let (old, young, foreign) = (put("tmp-old", 3), put("tmp-young", 1), put("notes.txt", 99));
    fs::create_dir(at.join("tmp/tmp-folder")).unwrap();
    symlink(&foreign, at.join("tmp/tmp-link")).unwrap();
    let before = local.time().unwrap().plus_seconds(-2 * 24 * 3600);
    assert_eq!(local.remove_leftovers(before).unwrap(), 1);
    assert!(!old.exists() && young.exists() && foreign.exists() && at.join("tmp/tmp-link").exists());
    assert!(at.join("tmp/tmp-folder").exists());
    assert_eq!(local.remove_leftovers(before).unwrap(), 0);
}
