//! Reading: names, metadata, runs, attributes.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use super::*;

#[test]
fn odd_names_are_listed_bytewise_sorted_and_can_be_opened() {
    let folder = Folder::new();
    let long = [b'x'; 255];
    let odd: [&[u8]; 9] =
        [b"new\nline", b"\xff\xfe\x80", &long, b"-rf", b" ", b"\x1b[31m", b"...", b"a", b"a\x01"];
    for name in odd {
        folder.file(name, name);
    }
    let names = names(folder.dir()).unwrap();
    let listed: Vec<&[u8]> = names.iter().map(|name| name.bytes).collect();
    let expected: Vec<&[u8]> = BTreeSet::from(odd).into_iter().collect();
    assert_eq!(listed, expected);
    assert_eq!((names.len(), names.is_empty()), (9, false));
    for (index, name) in names.iter().enumerate() {
        assert_eq!(name.kind, Some(NodeType::File));
        assert_eq!((names.position(name.bytes), names.get(index)), (Some(index), Some(name)));
        let before = stat(folder.dir(), name.bytes).unwrap();
        let (fd, now) = open_file(folder.dir(), name.bytes, &before).unwrap();
        let mut content = [0; 256];
        let length = File::from(fd).read_at(&mut content, 0).unwrap();
        assert_eq!((&content[..length], now.size), (name.bytes, name.bytes.len() as u64));
    }
    assert_eq!(names.position(b"b"), None);
}

#[test]
fn names_that_are_no_single_component_are_refused() {
    let folder = Folder::new();
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
        assert_eq!(stat(folder.dir(), name), Err(Errno::INVAL));
        assert_eq!(make_directory(folder.dir(), name), Err(Errno::INVAL));
        assert_eq!(create_file(folder.dir(), name).err(), Some(Errno::INVAL));
        assert_eq!(open_directory(folder.dir(), name).err(), Some(Errno::INVAL));
        assert_eq!(remove(folder.dir(), name), Err(Errno::INVAL));
        assert_eq!(hard_link(folder.dir(), b"x", folder.dir(), name), Err(Errno::INVAL));
        assert_eq!(xattrs(folder.dir(), name), Err(Errno::INVAL));
    }
}

#[test]
fn a_hundred_thousand_names_are_listed_twice_alike_from_one_handle() {
    let folder = Folder::new();
    folder.file(b"first", b"");
    let count = 100_000;
    for number in 0..count {
        // Nodes that cost no inode: links, as many as ext4 allows for one file.
        let source = format!("source {}", number / 50_000);
        if number % 50_000 == 0 {
            folder.file(source.as_bytes(), b"");
        }
        let name = format!("{number}");
        hard_link(folder.dir(), source.as_bytes(), folder.dir(), name.as_bytes()).unwrap();
    }
    let begun = std::time::Instant::now();
    let listed = names(folder.dir()).unwrap();
    println!("listed {} in {:?}", listed.len(), begun.elapsed());
    assert_eq!(listed.len(), count + 3);
    assert!(listed.iter().zip(listed.iter().skip(1)).all(|(a, b)| a.bytes < b.bytes));
    let again = names(folder.dir()).unwrap();
    assert!(listed.iter().eq(again.iter()));
}

#[test]
fn three_thousand_levels_are_made_and_read_by_handles() {
    const DEPTH: usize = 3000;
    let folder = Folder::new();
    let mut handle = open_root(folder.folder.path()).unwrap();
    for _ in 0..DEPTH {
        make_directory(handle.as_fd(), b"a directory of a deep tree").unwrap();
        handle = open_directory(handle.as_fd(), b"a directory of a deep tree").unwrap();
    }
    drop(create_file(handle.as_fd(), b"deepest").unwrap());
    let mut handle = open_root(folder.folder.path()).unwrap();
    let mut depth = 0;
    loop {
        let names = names(handle.as_fd()).unwrap();
        let name = names.get(0).unwrap();
        if stat(handle.as_fd(), name.bytes).unwrap().kind != NodeType::Directory {
            assert_eq!((name.bytes, depth), (&b"deepest"[..], DEPTH));
            break;
        }
        handle = open_directory(handle.as_fd(), name.bytes).unwrap();
        depth += 1;
    }
    // Taken apart from above, level by level: removing it by recursion would need a handle each.
    remove(handle.as_fd(), b"deepest").unwrap();
    let top = folder.dir();
    rename(top, b"a directory of a deep tree", b"this").unwrap();
    for _ in 1..DEPTH {
        let this = open_directory(top, b"this").unwrap();
        rustix::fs::renameat(this, "a directory of a deep tree", top, "next").unwrap();
        remove_directory(top, b"this").unwrap();
        rename(top, b"next", b"this").unwrap();
    }
    remove_directory(top, b"this").unwrap();
}

#[test]
fn metadata_is_what_the_standard_library_says() {
    let folder = Folder::new();
    folder.file(b"file", b"content");
    hard_link(folder.dir(), b"file", folder.dir(), b"link").unwrap();
    symlink("file", folder.path(b"symlink")).unwrap();
    for name in [&b"file"[..], b"symlink"] {
        let stat = stat(folder.dir(), name).unwrap();
        let other = std::fs::symlink_metadata(folder.path(name)).unwrap();
        assert_eq!((stat.inode, stat.dev, stat.nlink), (other.ino(), other.dev(), other.nlink()));
        assert_eq!((stat.uid, stat.gid, stat.mode), (other.uid(), other.gid(), other.mode() & 0o7777));
        assert_eq!((stat.size, stat.blocks), (other.size(), other.blocks()));
        assert_eq!((stat.mtime.seconds, i64::from(stat.mtime.nanos)), (other.mtime(), other.mtime_nsec()));
        assert_eq!((stat.ctime.seconds, i64::from(stat.ctime.nanos)), (other.ctime(), other.ctime_nsec()));
        assert!(stat.btime.is_some() && stat.mount.is_some() && !stat.mount_root);
    }
    assert_eq!(stat(folder.dir(), b"symlink").unwrap().kind, NodeType::Symlink);
    assert_eq!(read_link(folder.dir(), b"symlink").unwrap(), b"file");
    assert_eq!(stat(folder.dir(), b"none"), Err(Errno::NOENT));
    let root = open_root("/dev".as_ref()).unwrap();
    let null = stat(root.as_fd(), b"null").unwrap();
    assert_eq!((null.kind, null.device), (NodeType::CharacterDevice, (1, 3)));
    assert!(stat_fd(open_root("/proc".as_ref()).unwrap().as_fd()).unwrap().mount_root);
}

#[test]
fn long_link_targets_that_are_no_text_are_read_whole() {
    let folder = Folder::new();
    let longest = if filesystem(folder.dir()).unwrap().name == "xfs" { 1023 } else { 4095 };
    let target = vec![0xff; longest];
    make_symlink(folder.dir(), b"link", &target).unwrap();
    assert_eq!(read_link(folder.dir(), b"link").unwrap(), target);
}

#[test]
fn holes_are_found_without_reading() {
    let folder = Folder::new();
    let fd = create_file(folder.dir(), b"sparse").unwrap();
    let file = File::from(fd);
    let (block, size) = (64 << 10, 8u64 << 40);
    file.set_len(size).unwrap();
    file.write_all_at(&vec![1; block as usize], 3 * block).unwrap();
    file.write_all_at(&vec![1; block as usize], 8 * block).unwrap();
    let runs = |size| {
        data_runs(file.as_fd(), size).map(|run| (run.offset, run.length, run.is_hole)).collect::<Vec<_>>()
    };
    let all = [
        (0, 3 * block, true),
        (3 * block, block, false),
        (4 * block, 4 * block, true),
        (8 * block, block, false),
        (9 * block, size - 9 * block, true),
    ];
    assert_eq!(runs(size), all);
    assert_eq!(runs(3 * block + 5), [(0, 3 * block, true), (3 * block, 5, false)]);
    assert_eq!(runs(0), []);
    file.set_len(10 * block).unwrap();
    assert_eq!(runs(size)[4], (9 * block, block, true), "it shrank: the runs end where it ends");
    file.set_len(2 * block).unwrap();
    assert_eq!(runs(size), [(0, 2 * block, true)]);
    file.set_len(0).unwrap();
    assert_eq!(runs(size), []);
    file.write_all_at(b"dense", 0).unwrap();
    assert_eq!(runs(5), [(0, 5, false)]);
}

#[test]
fn what_knows_no_holes_is_all_data() {
    let (read, _write) = std::io::pipe().unwrap();
    let runs: Vec<Run> = data_runs(read.as_fd(), 7).collect();
    assert_eq!(runs, [Run { offset: 0, length: 7, is_hole: false }]);
}

#[test]
fn attributes_are_read_whole_and_in_order() {
    let folder = Folder::new();
    folder.file(b"file", b"");
    assert_eq!(xattrs(folder.dir(), b"file").unwrap(), Xattrs::default());
    let long = vec![7; 60 << 10];
    let mut expected = vec![pair("user.empty", b""), pair("user.zeros\n", b"\0\0")];
    // Large values take a place of their own on ext4 only with the feature ea_inode; tmpfs holds them.
    let file = File::open(folder.path(b"file")).unwrap();
    let number = |number: usize| pair(&format!("user.a name that is long enough {number:04}"), b"x");
    expected.extend((0..30).map(number));
    expected.sort();
    for (name, value) in &expected {
        rustix::fs::fsetxattr(&file, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    assert_eq!(xattrs(folder.dir(), b"file").unwrap(), Xattrs { values: expected, unread: Vec::new() });
    assert_eq!(xattrs_fd(file.as_fd()).unwrap(), xattrs(folder.dir(), b"file").unwrap());
    assert_eq!(xattrs(folder.dir(), b"none"), Err(Errno::NOENT));
    if is_root() {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = memory.path().join("file");
        std::fs::write(&path, b"").unwrap();
        match rustix::fs::setxattr(&path, "trusted.long", &long, rustix::fs::XattrFlags::empty()) {
            Ok(()) => {
                let dir = open_root(memory.path()).unwrap();
                let read = xattrs(dir.as_fd(), b"file").unwrap();
                assert_eq!(read.values, [pair("trusted.long", &long)]);
                let copy = create_file(dir.as_fd(), b"copy").unwrap();
                let node = Node::new(b"copy", NodeType::File);
                assert_eq!(apply_to(Target::Open(copy.as_fd()), &node, &read.values), []);
                assert_eq!(xattrs_fd(copy.as_fd()).unwrap(), read);
            }
            Err(error) => panic!("no long attributes in /dev/shm, the test shows nothing: {error}"),
        }
    }
}

#[test]
fn attributes_that_may_not_be_read_are_named() {
    let folder = Folder::new();
    folder.file(b"file", b"");
    let path = folder.path(b"file");
    rustix::fs::setxattr(&path, "user.secret", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::chmod(&path, rustix::fs::Mode::empty()).unwrap();
    rustix::fs::fchmod(folder.dir(), rustix::fs::Mode::from_bits_truncate(0o755)).unwrap();
    let found = as_nobody(|| xattrs(folder.dir(), b"file").unwrap());
    assert_eq!((found.values, found.unread), (vec![], vec![(b"user.secret".to_vec(), Errno::ACCESS)]));
}

#[test]
fn the_file_system_is_known_and_itself_again() {
    let folder = Folder::new();
    let disk = filesystem(folder.dir()).unwrap();
    assert_eq!(disk, filesystem(open_root("/var/tmp".as_ref()).unwrap().as_fd()).unwrap());
    assert!(disk.identity.len() > 4);
    if disk.name == "ext4" {
        assert!(disk.trust_inode && disk.trust_ctime && disk.trust_holes && disk.reuse);
    }
    let proc = filesystem(open_root("/proc".as_ref()).unwrap().as_fd()).unwrap();
    assert_eq!((proc.name.as_str(), proc.reuse, proc.trust_inode), ("proc", false, false));
    assert_ne!(proc.identity, disk.identity);
    let memory = filesystem(open_root("/dev/shm".as_ref()).unwrap().as_fd()).unwrap();
    if memory.name == "tmpfs" {
        assert!(!memory.reuse);
    }
}

#[test]
fn owners_are_known_by_name_and_id() {
    let owners = Owners::new();
    for _ in 0..2 {
        assert_eq!(owners.user(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(owners.group(0).as_deref(), Some(&b"root"[..]));
        assert_eq!((owners.user_id(b"root"), owners.group_id(b"root")), (Some(0), Some(0)));
        assert_eq!((owners.user(4_000_000_000), owners.group(4_000_000_000)), (None, None));
        assert_eq!((owners.user_id(b"no such user"), owners.group_id(b"a\0b")), (None, None));
    }
}

#[test]
fn the_file_limit_is_raised_to_what_is_allowed() {
    let raised = raise_file_limit();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!(limit.current.unwrap_or(u64::MAX), raised);
    assert_eq!(raise_file_limit(), raised);
}
