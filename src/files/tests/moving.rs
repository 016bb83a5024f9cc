//! Entries that are swapped, wait, or go while they are read.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn an_entry_swapped_between_stat_and_open_is_detected() {
    let folder = Folder::new();
    let before = folder.file(b"entry", b"old");
    let open = || open_file(folder.dir(), b"entry", &before).map(|_| ());
    assert_eq!(open(), Ok(()));
    // Kept, so that its inode number is not given to the next.
    rename(folder.dir(), b"entry", b"kept").unwrap();
    assert_eq!(open(), Err(OpenError::Io(Errno::NOENT)));
    folder.file(b"entry", b"new");
    assert_eq!(open(), Err(OpenError::Replaced));
    remove(folder.dir(), b"entry").unwrap();
    make_symlink(folder.dir(), b"entry", b"kept").unwrap();
    assert_eq!(open(), Err(OpenError::ChangedType));
    remove(folder.dir(), b"entry").unwrap();
    make_fifo(folder.dir(), b"entry").unwrap();
    let begun = Instant::now();
    assert_eq!(open(), Err(OpenError::ChangedType));
    assert!(begun.elapsed() < Duration::from_secs(5), "waited for a FIFO");
    assert_eq!(
        open_file(folder.dir(), b"entry", &stat(folder.dir(), b"entry").unwrap()).err(),
        Some(OpenError::ChangedType)
    );
    remove(folder.dir(), b"entry").unwrap();
    make_socket(folder.dir(), b"entry").unwrap();
    assert_eq!(open(), Err(OpenError::ChangedType));
    remove(folder.dir(), b"entry").unwrap();
    make_directory(folder.dir(), b"entry").unwrap();
    assert_eq!(open(), Err(OpenError::ChangedType));
}

#[test]
fn a_symlink_in_place_of_a_directory_is_not_followed() {
    let folder = Folder::new();
    make_symlink(folder.dir(), b"link", b"/etc").unwrap();
    folder.file(b"file", b"");
    assert!(matches!(open_directory(folder.dir(), b"link"), Err(Errno::NOTDIR | Errno::LOOP)));
    assert_eq!(open_directory(folder.dir(), b"file").err(), Some(Errno::NOTDIR));
    assert_eq!(create_file(folder.dir(), b"link").err(), Some(Errno::EXIST));
}

#[test]
fn a_directory_that_is_gone_is_empty_or_an_error_and_no_panic() {
    let folder = Folder::new();
    make_directory(folder.dir(), b"gone").unwrap();
    let handle = open_directory(folder.dir(), b"gone").unwrap();
    remove_directory(folder.dir(), b"gone").unwrap();
    assert!(names(handle.as_fd()).map_or_else(|error| error == Errno::NOENT, |names| names.is_empty()));
}

#[test]
fn access_times_stay_where_the_system_allows() {
    let folder = Folder::new();
    let before = folder.file(b"file", b"content");
    let old = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
    let path = folder.path(b"file");
    rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    let (fd, _) = open_file(folder.dir(), b"file", &before).unwrap();
    let mut content = [0; 10];
    assert_eq!(rustix::io::pread(&fd, &mut content, 0).unwrap(), 7);
    assert_eq!(std::os::unix::fs::MetadataExt::atime(&std::fs::metadata(&path).unwrap()), 1000);
}

#[test]
fn the_files_of_others_are_opened_too() {
    let folder = Folder::new();
    let before = folder.file(b"file", b"");
    make_directory(folder.dir(), b"directory").unwrap();
    for name in ["file", "directory", ""] {
        rustix::fs::chmod(folder.path(name.as_bytes()), rustix::fs::Mode::from_bits_truncate(0o755)).unwrap();
    }
    as_nobody(|| {
        open_file(folder.dir(), b"file", &before).unwrap();
        open_directory(folder.dir(), b"directory").unwrap();
    });
}

#[test]
fn a_lease_is_waited_for() {
    let folder = Folder::new();
    let before = folder.file(b"file", b"content");
    let holder = File::options().read(true).write(true).open(folder.path(b"file")).unwrap();
    // SAFETY: plain calls on an open file; the signal chosen is one that is ignored.
    let taken = unsafe {
        libc::fcntl(holder.as_raw_fd(), 10 /* F_SETSIG */, libc::SIGURG);
        libc::fcntl(holder.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    assert_eq!(taken, 0, "no leases below /var/tmp: the test shows nothing");
    let (opened, waited) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let begun = Instant::now();
            (open_file(folder.dir(), b"file", &before).map(|_| ()), begun.elapsed())
        });
        std::thread::sleep(Duration::from_millis(300));
        drop(holder);
        thread.join().unwrap()
    });
    assert_eq!(opened, Ok(()));
    assert!(waited > Duration::from_millis(100), "{waited:?}");
}
