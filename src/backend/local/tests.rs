//! Faults that a healthy file system does not show: syncs that fail, and renaming without replacing that is missing.

use std::fs;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::temporary::Temporary;
use super::*;

fn local(folder: &tempfile::TempDir) -> Local {
    let local = Local::new(folder.path().join("repository"));
    local.create().unwrap();
    local
}

fn name(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn leftovers(folder: &tempfile::TempDir) -> usize {
    fs::read_dir(folder.path().join("repository/tmp")).unwrap().count()
}

fn is_folder(file: BorrowedFd<'_>) -> bool {
    FileType::from_raw_mode(rustix::fs::fstat(file).unwrap().st_mode) == FileType::Directory
}

#[test]
fn a_failed_sync_of_a_file_fails_that_object_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut local = local(&folder);
    let good = local.folders.sync;
    local.folders.sync = |file| if is_folder(file) { Ok(()) } else { Err(Errno::IO) };
    let error = local.put(Kind::Packs, &name(1), b"abc").unwrap_err();
    assert!(matches!(error, Error::Io { operation: "sync", .. }), "{error}");
    assert!(local.stat(Kind::Packs, &name(1)).unwrap_err().is_not_found());
    assert_eq!(leftovers(&folder), 0);
    local.folders.sync = good;
    local.put(Kind::Packs, &name(1), b"abc").unwrap();
}

#[test]
fn a_sync_that_finds_the_storage_full_is_no_space() {
    let folder = tempfile::tempdir().unwrap();
    let mut local = local(&folder);
    for errno in [Errno::NOSPC, Errno::DQUOT] {
        local.folders.sync = match errno {
            Errno::NOSPC => |file| if is_folder(file) { Ok(()) } else { Err(Errno::NOSPC) },
            _ => |file| if is_folder(file) { Ok(()) } else { Err(Errno::DQUOT) },
        };
        assert!(local.put(Kind::Index, &name(1), b"abc").unwrap_err().is_no_space());
    }
}

#[test]
fn a_folder_whose_sync_failed_is_not_trusted_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut local = local(&folder);
    let good = local.folders.sync;
    local.folders.sync = |file| if is_folder(file) { Err(Errno::IO) } else { Ok(()) };
    local.put(Kind::Index, &name(1), b"abc").unwrap_err();
    local.folders.sync = good;
    // The second sync would succeed, and mean nothing.
    local.put(Kind::Index, &name(1), b"abc").unwrap_err();
    local.put(Kind::Index, &name(2), b"abc").unwrap_err();
    local.remove(Kind::Index, &name(1)).unwrap_err();
    local.put(Kind::Notes, &name(2), b"abc").unwrap();
    assert_eq!(leftovers(&folder), 0);
}

#[test]
fn a_sync_that_is_unsupported_is_tolerated_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut local = local(&folder);
    assert!(!local.is_unsynced());
    local.folders.sync = |_| Err(Errno::INVAL);
    local.put(Kind::Index, &name(1), b"abc").unwrap();
    assert!(local.is_unsynced());
}

#[test]
fn without_rename_that_keeps_what_is_there_an_object_is_linked_into_place() {
    let folder = tempfile::tempdir().unwrap();
    let local = local(&folder);
    local.links.store(true, Ordering::Relaxed);
    local.put(Kind::Packs, &name(1), b"abc").unwrap();
    assert_eq!(local.get(Kind::Packs, &name(1)).unwrap(), b"abc");
    assert_eq!(leftovers(&folder), 0);

    // A name that is taken between the first look and the linking.
    let root = local.folders.root().unwrap();
    let path = Kind::Packs.path_of(&name(1));
    let mut same = Temporary::new(&root).unwrap();
    same.add(b"xyz").unwrap();
    assert!(local.publish(&root, &mut same, &path, 3).unwrap());
    let mut longer = Temporary::new(&root).unwrap();
    longer.add(b"longer").unwrap();
    let error = local.publish(&root, &mut longer, &path, 6).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    drop((same, longer));
    assert_eq!(local.get(Kind::Packs, &name(1)).unwrap(), b"abc");
    assert_eq!(leftovers(&folder), 0);
}

#[test]
fn renaming_onto_a_taken_name_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let local = local(&folder);
    local.put(Kind::Index, &name(1), b"abc").unwrap();
    let root = local.folders.root().unwrap();
    let path = Kind::Index.path_of(&name(1));
    for (bytes, fits) in [(&b"xyz"[..], true), (b"longer", false)] {
        let mut file = Temporary::new(&root).unwrap();
        file.add(bytes).unwrap();
        assert_eq!(local.publish(&root, &mut file, &path, bytes.len() as u64).is_ok(), fits);
    }
    assert_eq!(local.get(Kind::Index, &name(1)).unwrap(), b"abc");
    assert_eq!(leftovers(&folder), 0);
}

#[test]
fn few_files_stay_open_and_a_removed_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let local = local(&folder);
    for byte in 0..40 {
        local.put(Kind::Packs, &name(byte), &[byte; 9]).unwrap();
    }
    for byte in (0..40).chain(0..40) {
        assert_eq!(local.get_range(Kind::Packs, &name(byte), 3, 4).unwrap(), [byte; 4]);
    }
    assert_eq!(local.handles.count(), 16);
    local.remove(Kind::Packs, &name(39)).unwrap();
    assert_eq!(local.handles.count(), 15);
    assert!(local.get_range(Kind::Packs, &name(39), 3, 4).unwrap_err().is_not_found());
}

#[test]
fn an_object_that_comes_in_pieces_is_nothing_before_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let local = local(&folder);
    let begin = |size| local.begin(Kind::Packs, &name(1), size, false).unwrap();
    let mut incoming = begin(6).unwrap();
    local.add(&mut incoming, b"abc").unwrap();
    assert!(local.stat(Kind::Packs, &name(1)).unwrap_err().is_not_found());
    // Not all of it.
    local.finish(incoming).unwrap_err();
    assert!(local.stat(Kind::Packs, &name(1)).unwrap_err().is_not_found());
    drop(begin(6).unwrap());
    assert_eq!(leftovers(&folder), 0);
    // Two at once: the first that is finished stays.
    let (mut one, mut other) = (begin(3).unwrap(), begin(3).unwrap());
    local.add(&mut one, b"one").unwrap();
    local.add(&mut other, b"two").unwrap();
    local.finish(other).unwrap();
    local.finish(one).unwrap();
    assert_eq!(local.get(Kind::Packs, &name(1)).unwrap(), b"two");
    assert!(begin(3).is_none());
    assert!(matches!(local.begin(Kind::Packs, &name(1), 4, false), Err(Error::Exists { .. })));
    assert!(matches!(local.begin(Kind::Packs, "../x", 4, false), Err(Error::Unsupported { .. })));
    assert_eq!(leftovers(&folder), 0);
}
