//! Opening: new, found, damaged, cut short, foreign, of another repository, locked, in a folder that cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

/// A folder with an index of 20,000 chunks, and the file's path.
fn filled() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (index, opened) = Index::open(folder.path(), REPOSITORY).unwrap();
    assert_eq!(opened, Opened::Fresh);
    let chunks: Vec<Id> = (0..20_000).map(id).collect();
    index.add_packs(Some(id(900_000)), &[pack(100_000, &chunks)]).unwrap();
    drop(index);
    let path = Index::path(folder.path(), &REPOSITORY);
    (folder, path)
}

/// Opens what must be put aside, and sees that the new one works.
fn rebuilt(folder: &Path, old: &[u8]) -> String {
    let (index, opened) = Index::open(folder, REPOSITORY).unwrap();
    let Opened::Rebuilt { reason } = opened else { panic!("{opened:?}, of {} bytes", old.len()) };
    assert_eq!(index.pack_count().unwrap(), 0);
    index.add_packs(Some(id(1)), &[pack(2, &[id(3)])]).unwrap();
    drop(index);
    let path = Index::path(folder, &REPOSITORY);
    assert_eq!(fs::read(path.with_extension("sqlite.aside")).unwrap(), old);
    let (index, opened) = Index::open(folder, REPOSITORY).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert!(present(&index, &id(3)));
    reason
}

#[test]
fn what_was_written_is_there_again_and_only_the_owner_may_read_it() {
    let (folder, path) = filled();
    let (index, opened) = Index::open(folder.path(), REPOSITORY).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert!(present(&index, &id(19_999)) && !present(&index, &id(20_000)));
    assert!(index.database_bytes().unwrap() > 20_000 * 30);
    index.set_fact("a", b"b").unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    drop(Index::open(folder.path(), REPOSITORY).unwrap());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let below = folder.path().join("new/folder");
    drop(Index::open(&below, REPOSITORY).unwrap());
    assert_eq!(below.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn pending_packs_are_written_on_drop_and_hidden_ones_stay_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = Index::open(folder.path(), REPOSITORY).unwrap();
    index.add_packs(None, &[pack(1, &[id(10)])]).unwrap();
    index.add_packs(Some(id(900)), &[pack(2, &[id(20)]), pack(3, &[id(30)])]).unwrap();
    index.add_packs(None, &[pack(4, &[id(40)])]).unwrap();
    index.set_hidden(&[id(2)], &[(Contents::Data, id(30))]).unwrap();
    drop(index);
    let (index, _) = Index::open(folder.path(), REPOSITORY).unwrap();
    assert_eq!(index.unlisted_packs().unwrap().len(), 2);
    assert!(!present(&index, &id(10)) && !present(&index, &id(20)) && !present(&index, &id(30)));
    assert_eq!(readable(&index, &id(40)), [id(4)]);
}

#[test]
fn a_damaged_file_is_put_aside() {
    let (folder, path) = filled();
    let mut bytes = fs::read(&path).unwrap();
    bytes[..16].copy_from_slice(b"not a database!!");
    fs::write(&path, &bytes).unwrap();
    rebuilt(folder.path(), &bytes);
    let bytes = vec![0x5a; 10_000];
    fs::write(&path, &bytes).unwrap();
    rebuilt(folder.path(), &bytes);
}

#[test]
fn a_file_cut_short_anywhere_is_put_aside() {
    let (_folder, path) = filled();
    let whole = fs::read(&path).unwrap();
    // SQLite takes a file of one byte for an empty one, and does not miss a part of the last page: a row there is then wrong or gone.
    for length in [2, 100, 4095, 4096, 5000, 8192, whole.len() / 2, whole.len() - 4096] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(Index::path(folder.path(), &REPOSITORY), &whole[..length]).unwrap();
        rebuilt(folder.path(), &whole[..length]);
    }
}

#[test]
fn damage_met_on_the_way_is_named_and_the_file_can_be_put_aside() {
    let (folder, path) = filled();
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    // The first pages are the roots of the tables; most of the rest is the chunks.
    bytes[40 * 4096..(pages - 2) * 4096].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let (index, opened) = Index::open(folder.path(), REPOSITORY).unwrap();
    assert_eq!(opened, Opened::Existing);
    let failed = (0..20_000).find_map(|number| index.contains(Contents::Data, &id(number)).err());
    assert!(matches!(failed, Some(Error::Damaged(_))), "{failed:?}");
    assert!(matches!(Index::put_aside(folder.path(), &REPOSITORY), Err(Error::Busy)));
    drop(index);
    Index::put_aside(folder.path(), &REPOSITORY).unwrap();
    assert_eq!(Index::open(folder.path(), REPOSITORY).unwrap().1, Opened::Fresh);
    Index::put_aside(folder.path(), &REPOSITORY).unwrap();
    Index::put_aside(folder.path(), &REPOSITORY).unwrap();
}

#[test]
fn random_damage_gives_answers_or_errors_but_never_a_panic() {
    let (_folder, path) = filled();
    let whole = fs::read(&path).unwrap();
    for seed in 0..40u64 {
        let mut bytes = whole.clone();
        for step in 0..30 {
            let random = id(1000 * seed + step).prefix();
            let place = (random >> 8) as usize % bytes.len();
            bytes[place] = random as u8;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(Index::path(folder.path(), &REPOSITORY), &bytes).unwrap();
        let (index, _) = Index::open(folder.path(), REPOSITORY).unwrap();
        for number in (0..20_000).step_by(50) {
            let _ = index.lookup_for_reading(Contents::Data, &id(number));
        }
        let _ = index.add_packs(Some(id(1)), &[pack(2, &[id(3)])]);
        let _ = index.drop_index_objects(&[id(900_000)]);
        let _ = index.packs(&mut |_| ());
    }
}

#[test]
fn a_foreign_file_another_layout_and_another_repository_are_put_aside() {
    let (folder, path) = filled();
    fs::write(&path, b"just some text").unwrap();
    rebuilt(folder.path(), b"just some text");

    fs::remove_file(&path).unwrap();
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    drop(foreign);
    let bytes = fs::read(&path).unwrap();
    assert!(rebuilt(folder.path(), &bytes).contains("another program"));

    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    drop(other);
    let bytes = fs::read(&path).unwrap();
    assert!(rebuilt(folder.path(), &bytes).contains("layout 99"));

    let other = Id16([8; 16]);
    drop(Index::open(folder.path(), other).unwrap());
    let bytes = fs::read(Index::path(folder.path(), &other)).unwrap();
    fs::write(&path, &bytes).unwrap();
    assert!(rebuilt(folder.path(), &bytes).contains("another repository"));
}

#[test]
fn a_damaged_file_that_another_process_uses_is_left_alone() {
    let (folder, path) = filled();
    let (user, _) = Index::open(folder.path(), REPOSITORY).unwrap();
    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    let (index, opened) = Index::open(folder.path(), REPOSITORY).unwrap();
    assert!(matches!(opened, Opened::Private { .. }), "{opened:?}");
    index.add_packs(Some(id(1)), &[pack(2, &[id(3)])]).unwrap();
    assert!(present(&user, &id(19_999)) && present(&index, &id(3)));
}

/// Opens what must fall back to a private index, and sees that it works and leaves nothing.
fn private(folder: &Path) {
    let (index, opened) = Index::open(folder, REPOSITORY).unwrap();
    let Opened::Private { reason } = opened else { panic!("{opened:?}") };
    assert!(!reason.is_empty());
    index.add_packs(Some(id(1)), &[pack(2, &[id(3)])]).unwrap();
    assert!(present(&index, &id(3)));
    let database: String = lock(&index.writer).path().unwrap().to_owned();
    let temporary = Path::new(&database).parent().unwrap().to_owned();
    assert_eq!(temporary.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    drop(index);
    assert!(!temporary.exists());
}

#[test]
fn a_folder_that_cannot_be_used_gives_a_private_index() {
    private(Path::new("/proc/copal"));
    private(Path::new("/proc"));
    let (folder, path) = filled();
    private(&path);
    // The superuser may write anywhere, so only others see this one.
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("probe"), b"").is_err() {
        private(&folder.path().join("below"));
    }
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn a_link_or_folder_in_the_place_of_the_file_gives_a_private_index() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let path = Index::path(folder.path(), &REPOSITORY);
    fs::set_permissions(other.path(), PermissionsExt::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(other.path(), &path).unwrap();
    private(folder.path());
    let metadata = other.path().metadata().unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (0, 0o644));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    private(folder.path());
}

#[test]
fn a_database_locked_by_another_process_gives_a_private_index_and_busy_writes() {
    let (folder, path) = filled();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (index, opened) = Index::open(folder.path(), REPOSITORY).unwrap();
    assert_eq!(opened, Opened::Existing);
    assert!(matches!(index.set_fact("a", b"b"), Err(Error::Busy)));
    index.add_packs(None, &[pack(1, &[id(30_000)])]).unwrap();
    assert!(matches!(index.flush(), Err(Error::Busy)));
    assert!(present(&index, &id(30_000)) && present(&index, &id(1)));
    other.execute_batch("ROLLBACK").unwrap();
    index.flush().unwrap();
    assert!(present(&index, &id(30_000)));
    drop(index);
    other
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    private(folder.path());
}

#[test]
fn a_full_database_says_so_and_pending_packs_stay_visible() {
    let index = index();
    lock(&index.writer).pragma_update(None, "max_page_count", 60).unwrap();
    let chunks: Vec<Id> = (0..20_000).map(id).collect();
    index.add_packs(None, &[pack(1, &chunks)]).unwrap();
    assert!(matches!(index.flush(), Err(Error::Full)));
    assert!(present(&index, &id(19_999)));
    lock(&index.writer).pragma_update(None, "max_page_count", 10_000).unwrap();
    index.flush().unwrap();
    assert!(present(&index, &id(19_999)) && index.pack(&id(1)).unwrap().unwrap().row > 0);
}
