//! Giving back: what is applied is what is read again, and what can not be is said.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::model::Time;

#[test]
fn times_from_1901_to_2446_come_back_to_the_nanosecond() {
    let folder = Folder::new();
    // The first and last second that ext4 keeps; Linux gives these two no nanoseconds.
    let (first, last) = (-2_147_483_648, 15_032_385_535);
    folder.file(b"file", b"");
    make_directory(folder.dir(), b"directory").unwrap();
    make_symlink(folder.dir(), b"link", b"nowhere").unwrap();
    make_fifo(folder.dir(), b"fifo").unwrap();
    for (seconds, nanos) in
        [(first, 0), (first + 1, 1), (-1, 999_999_999), (0, 0), (last - 1, 999_999_999), (last, 0)]
    {
        for name in [&b"file"[..], b"directory", b"link", b"fifo"] {
            let mut node = node_of(&folder, name);
            node.mtime = Time::new(seconds, nanos);
            assert_eq!(apply_to(Target::Named(folder.dir(), name), &node, &[]), []);
            assert_eq!(stat(folder.dir(), name).unwrap().mtime, node.mtime);
            let handle = || File::open(folder.path(name)).unwrap();
            if matches!(node.kind, NodeType::File | NodeType::Directory) {
                assert_eq!(apply_to(Target::Open(handle().as_fd()), &node, &[]), []);
                assert_eq!(stat(folder.dir(), name).unwrap().mtime, node.mtime);
            }
        }
    }
    if filesystem(folder.dir()).unwrap().name == "ext4" {
        let mut node = node_of(&folder, b"file");
        node.mtime = Time::new(last + 1, 0);
        let problems = apply_to(Target::Named(folder.dir(), b"file"), &node, &[]);
        assert_eq!(
            (problems.len(), problems[0].what),
            (1, "mtime"),
            "cut short by the file system, and said"
        );
    }
}

#[test]
fn mode_bits_attributes_and_acls_come_back_on_a_read_only_file() {
    let folder = Folder::new();
    let fd = create_file(folder.dir(), b"file").unwrap();
    let mut node = node_of(&folder, b"file");
    node.mode = 0o4470;
    node.mtime = Time::new(5, 6);
    let wanted = vec![
        pair("system.posix_acl_access", &with_owner_rights(4)),
        pair("user.a", b""),
        pair("user.b", b"\0x"),
    ];
    let big = apply_to(Target::Open(fd.as_fd()), &node, &wanted);
    assert_eq!(big, []);
    let now = stat(folder.dir(), b"file").unwrap();
    assert_eq!((now.mode, now.mtime), (0o4470, node.mtime));
    assert_eq!(xattrs(folder.dir(), b"file").unwrap().values, wanted);
    // Once more, over what is there now: others go, the same come back.
    let fewer = &wanted[2..];
    assert_eq!(apply_to(Target::Open(fd.as_fd()), &node, fewer), []);
    assert_eq!(xattrs(folder.dir(), b"file").unwrap().values, fewer);
    node.unread = vec!["xattr".into()];
    assert_eq!(apply_to(Target::Open(fd.as_fd()), &node, &[]), []);
    assert_eq!(xattrs(folder.dir(), b"file").unwrap().values, fewer, "what was not read says nothing");
}

/// The ACL of the tests with other rights for the owner.
fn with_owner_rights(rights: u8) -> Vec<u8> {
    let mut acl = acl();
    acl[6] = rights;
    acl
}

#[test]
fn an_ordinary_user_gives_attributes_to_his_read_only_entries() {
    let folder = Folder::new();
    rustix::fs::fchmod(folder.dir(), rustix::fs::Mode::from_bits_truncate(0o777)).unwrap();
    as_nobody(|| {
        let fd = create_file(folder.dir(), b"file").unwrap();
        make_directory(folder.dir(), b"directory").unwrap();
        let directory = open_directory(folder.dir(), b"directory").unwrap();
        for (fd, name, mode) in [(fd, &b"file"[..], 0o400), (directory, b"directory", 0o1555)] {
            for _ in 0..2 {
                let mut node = node_of(&folder, name);
                node.mode = mode;
                assert_eq!(apply_to(Target::Open(fd.as_fd()), &node, &[pair("user.a", b"x")]), []);
                assert_eq!(stat(folder.dir(), name).unwrap().mode, mode);
                assert_eq!(xattrs_fd(fd.as_fd()).unwrap().values, [pair("user.a", b"x")]);
            }
        }
    });
}

#[test]
fn an_ordinary_user_is_told_what_he_could_not_give_back() {
    let folder = Folder::new();
    rustix::fs::fchmod(folder.dir(), rustix::fs::Mode::from_bits_truncate(0o777)).unwrap();
    as_nobody(|| {
        let fd = create_file(folder.dir(), b"file").unwrap();
        let mut node = node_of(&folder, b"file");
        node.mode = 0o6755;
        (node.uid, node.gid) = (4711, 4712);
        node.flags = 0x50; // immutable, no dump
        let wanted =
            [pair("security.capability", &CAPABILITIES), pair("trusted.x", b"1"), pair("user.y", b"2")];
        let owners = Owners::new();
        let apply = Apply { owners: &owners, numeric_ids: false, is_root: false, is_bare: false };
        let problems = apply.apply(Target::Open(fd.as_fd()), &node, &wanted);
        let told: Vec<String> =
            problems.iter().map(|p| format!("{} {}", p.what, p.name.escape_ascii())).collect();
        assert_eq!(told, ["owner ", "group ", "xattr security.capability", "xattr trusted.x", "mode "]);
        let now = stat(folder.dir(), b"file").unwrap();
        assert_eq!(now.mode, 0o755, "no setuid for another user than was meant");
        assert_eq!(xattrs_fd(fd.as_fd()).unwrap().values, [pair("user.y", b"2")]);
        if filesystem(folder.dir()).unwrap().name == "ext4" {
            let problems = apply_flags(fd.as_fd(), &node);
            assert_eq!((problems.len(), problems[0].what), (1, "flags"));
            assert_eq!(inode_flags(fd.as_fd()), Ok(0x40), "the flag that he may set is set");
        }
    });
}

/// `cap_net_raw+ep` in the system's form, version 2.
const CAPABILITIES: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn root_gives_back_owners_capabilities_and_setuid_together() {
    demand_root();
    let folder = Folder::new();
    let fd = create_file(folder.dir(), b"file").unwrap();
    let mut node = node_of(&folder, b"file");
    (node.uid, node.gid, node.mode) = (4_294_967_294, 4711, 0o7711);
    let wanted =
        [pair("security.capability", &CAPABILITIES), pair("trusted.empty", b""), pair("user.x", b"")];
    assert_eq!(apply_to(Target::Open(fd.as_fd()), &node, &wanted), []);
    let now = stat(folder.dir(), b"file").unwrap();
    assert_eq!((now.uid, now.gid, now.mode), (4_294_967_294, 4711, 0o7711));
    assert_eq!(xattrs(folder.dir(), b"file").unwrap().values, wanted);
    // By name where there is one, by id when told.
    (node.user, node.group) = (b"root".to_vec(), b"no such group".to_vec());
    assert_eq!(apply_to(Target::Open(fd.as_fd()), &node, &wanted), []);
    let now = stat(folder.dir(), b"file").unwrap();
    assert_eq!((now.uid, now.gid), (0, 4711));
    let owners = Owners::new();
    let numeric = Apply { owners: &owners, numeric_ids: true, is_root: true, is_bare: false };
    assert_eq!(numeric.apply(Target::Open(fd.as_fd()), &node, &wanted), []);
    assert_eq!(stat(folder.dir(), b"file").unwrap().uid, 4_294_967_294);
    assert_eq!(xattrs(folder.dir(), b"file").unwrap().values, wanted);
    // The id that means "leave it" is nobody's.
    node.uid = u32::MAX;
    let problems = numeric.apply(Target::Open(fd.as_fd()), &node, &wanted);
    assert_eq!(problems.iter().map(|problem| problem.what).collect::<Vec<_>>(), ["owner", "mode"]);
}

#[test]
fn root_gives_metadata_to_symlinks_fifos_sockets_and_devices_by_name() {
    demand_root();
    let folder = Folder::new();
    let aim = folder.file(b"aim", b"");
    make_symlink(folder.dir(), b"link", b"aim").unwrap();
    make_fifo(folder.dir(), b"fifo").unwrap();
    make_socket(folder.dir(), b"socket").unwrap();
    make_device(folder.dir(), b"device", NodeType::CharacterDevice, (1, 3)).unwrap();
    // What overlayfs calls a whiteout, and refuses to have made on itself.
    if let Err(error) = make_device(folder.dir(), b"whiteout", NodeType::CharacterDevice, (0, 0)) {
        assert_eq!((error, filesystem(folder.dir()).unwrap().name.as_str()), (Errno::PERM, "overlay"));
        make_fifo(folder.dir(), b"whiteout").unwrap();
    }
    make_device(folder.dir(), b"disk", NodeType::BlockDevice, (259, 262_143)).unwrap();
    assert_eq!(make_device(folder.dir(), b"x", NodeType::File, (1, 3)), Err(Errno::INVAL));
    for name in [&b"link"[..], b"fifo", b"socket", b"device", b"whiteout", b"disk"] {
        let mut node = node_of(&folder, name);
        (node.uid, node.gid, node.mtime) = (4711, 4712, Time::new(-5, 7));
        if node.kind != NodeType::Symlink {
            node.mode = 0o1640;
        }
        let wanted = [pair("trusted.empty", b""), pair("trusted.x", b"value")];
        assert_eq!(apply_to(Target::Named(folder.dir(), name), &node, &wanted), []);
        let now = stat(folder.dir(), name).unwrap();
        assert_eq!((now.uid, now.gid, now.mtime, now.mode), (4711, 4712, node.mtime, node.mode));
        assert_eq!(xattrs(folder.dir(), name).unwrap().values, wanted);
    }
    assert_eq!(stat(folder.dir(), b"disk").unwrap().device, (259, 262_143));
    let now = stat(folder.dir(), b"aim").unwrap();
    assert_eq!((now.uid, now.mtime, now.ctime), (aim.uid, aim.mtime, aim.ctime), "the link was not followed");
    assert_eq!(xattrs(folder.dir(), b"aim").unwrap(), Xattrs::default());
    // Hard links of the link itself and of the FIFO.
    for name in [&b"link"[..], b"fifo"] {
        hard_link(folder.dir(), name, folder.dir(), b"second").unwrap();
        assert!(stat(folder.dir(), b"second").unwrap().same_inode(&stat(folder.dir(), name).unwrap()));
        remove(folder.dir(), b"second").unwrap();
    }
}

#[test]
fn an_entry_of_another_type_is_left_alone() {
    let folder = Folder::new();
    folder.file(b"aim", b"");
    make_symlink(folder.dir(), b"entry", b"aim").unwrap();
    let before = (stat(folder.dir(), b"aim"), stat(folder.dir(), b"entry"));
    let node = Node { mode: 0o777, ..Node::new(b"entry", NodeType::Fifo) };
    let problems = apply_to(Target::Named(folder.dir(), b"entry"), &node, &[pair("user.x", b"")]);
    assert_eq!(problems, [Problem { what: "type", name: Vec::new(), error: Errno::STALE }]);
    assert_eq!((stat(folder.dir(), b"aim"), stat(folder.dir(), b"entry")), before);
    let problems = apply_to(Target::Named(folder.dir(), b"none"), &node, &[]);
    assert_eq!((problems.len(), problems[0].error), (1, Errno::NOENT));
}

#[test]
fn an_inherited_acl_does_not_stay_and_a_refused_one_opens_nothing() {
    let folder = Folder::new();
    make_directory(folder.dir(), b"directory").unwrap();
    let directory = open_directory(folder.dir(), b"directory").unwrap();
    let node = node_of(&folder, b"directory");
    let default = [pair("system.posix_acl_default", &acl())];
    assert_eq!(apply_to(Target::Open(directory.as_fd()), &node, &default), []);
    let fd = create_file(directory.as_fd(), b"file").unwrap();
    assert_eq!(xattrs_fd(fd.as_fd()).unwrap().values.len(), 1, "the system gave it the directory's");
    let mut node = Node::new(b"file", NodeType::File);
    let now = stat_fd(fd.as_fd()).unwrap();
    (node.uid, node.gid, node.mtime, node.mode) = (now.uid, now.gid, now.mtime, 0o664);
    assert_eq!(apply_to(Target::Open(fd.as_fd()), &node, &[]), []);
    assert_eq!(xattrs_fd(fd.as_fd()).unwrap(), Xattrs::default());
    // An ACL that the system refuses (cut off): the group gets its own rights, not the mask's.
    node.mode = 0o670;
    let refused = [pair("system.posix_acl_access", &acl()[..28])];
    let problems = apply_to(Target::Open(fd.as_fd()), &node, &refused);
    assert_eq!(problems.iter().map(|problem| problem.what).collect::<Vec<_>>(), ["acl", "mode"]);
    assert_eq!(stat_fd(fd.as_fd()).unwrap().mode, 0o600);
}

/// An ext4 of its own, mounted below a folder as `disk`, whatever the folder itself lies on.
struct Ext4(Folder);

impl Ext4 {
    fn new() -> Ext4 {
        let disk = Ext4(Folder::new());
        let (image, mounted) = (disk.0.path(b"image"), disk.0.path(b"disk"));
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        let run = |command: &mut std::process::Command| assert!(command.status().unwrap().success());
        run(std::process::Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(std::process::Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        disk
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // What is open in it still is let go of first: the handles of a failed test outlive this.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path(b"disk")).status();
    }
}

#[test]
fn root_sets_inode_flags_last_and_takes_them_away() {
    demand_root();
    let disk = Ext4::new();
    let root = open_root(&disk.0.path(b"disk")).unwrap();
    assert_eq!(filesystem(root.as_fd()).unwrap().name, "ext4");
    let fd = create_file(root.as_fd(), b"file").unwrap();
    make_directory(root.as_fd(), b"directory").unwrap();
    let directory = open_directory(root.as_fd(), b"directory").unwrap();
    for (fd, flags) in [(&fd, 0x10), (&fd, 0x20 | 0x40), (&fd, 0x80 | 0x08 | 0x10), (&directory, 0x1_0010)] {
        let node = Node { flags, ..Node::new(b"x", NodeType::File) };
        apply_early_flags(fd.as_fd(), &node);
        assert_eq!(apply_flags(fd.as_fd(), &node), []);
        assert_eq!(inode_flags(fd.as_fd()), Ok(flags));
        if flags & 0x10 != 0 {
            assert!(rustix::fs::fchmod(fd, rustix::fs::Mode::empty()).is_err(), "immutable");
        }
        assert_eq!(apply_flags(fd.as_fd(), &Node { flags: 0, ..node }), []);
        assert_eq!(inode_flags(fd.as_fd()), Ok(0));
    }
    // No copy-on-write is nothing that ext4 has: said, and the rest is set all the same.
    let node = Node { flags: 0x80_0050, ..Node::new(b"x", NodeType::File) };
    let problems = apply_flags(fd.as_fd(), &node);
    assert_eq!((problems.len(), problems[0].what), (1, "flags"));
    assert_eq!(inode_flags(fd.as_fd()), Ok(0x50));
    assert_eq!(apply_flags(fd.as_fd(), &Node { flags: 0, ..node }), []);
    assert_eq!(inode_flags(fd.as_fd()), Ok(0));
}

#[test]
fn entries_are_made_for_their_owner_alone_and_never_over_others() {
    let folder = Folder::new();
    drop(create_file(folder.dir(), b"file").unwrap());
    make_directory(folder.dir(), b"directory").unwrap();
    make_fifo(folder.dir(), b"fifo").unwrap();
    make_socket(folder.dir(), b"socket").unwrap();
    for name in [&b"file"[..], b"directory", b"fifo", b"socket"] {
        assert_eq!(stat(folder.dir(), name).unwrap().mode & 0o077, 0);
        assert_eq!(create_file(folder.dir(), name).err(), Some(Errno::EXIST));
        assert_eq!(make_directory(folder.dir(), name), Err(Errno::EXIST));
        assert_eq!(make_symlink(folder.dir(), name, b"x"), Err(Errno::EXIST));
        assert_eq!(make_fifo(folder.dir(), name), Err(Errno::EXIST));
        assert_eq!(hard_link(folder.dir(), b"fifo", folder.dir(), name), Err(Errno::EXIST));
        assert_eq!(rename_new(folder.dir(), b"fifo", name), Err(Errno::EXIST));
    }
    rename_new(folder.dir(), b"file", b"new").unwrap();
    rename(folder.dir(), b"new", b"fifo").unwrap();
    assert_eq!(stat(folder.dir(), b"fifo").unwrap().kind, NodeType::File);
    assert!(remove(folder.dir(), b"directory").is_err());
    remove_directory(folder.dir(), b"directory").unwrap();
    assert_eq!(std::fs::metadata(folder.path(b"fifo")).unwrap().nlink(), 1);
}
