//! Hostile targets: links planted where a restore will write, and snapshots that lead there. Nothing outside ever changes.

use std::fs;

use crate::make::{World, assert_good, folder, symlink, with_good};
use copal::format::limits;
use copal::model::{Id16, Time, Xattr, XattrValue};
use std::os::unix::fs::{MetadataExt, symlink as plant};

/// Plants something in the target and restores with every policy; what is outside never changes (`World::run` looks).
fn planted(what: &str, plant: impl Fn(&World)) {
    for policy in [None, Some("always"), Some("if-changed"), Some("if-newer"), Some("never")] {
        for delete in [false, true] {
            let world = World::new();
            plant(&world);
            let snapshot = world.snapshot(|trees| {
                let inner = trees.of(&[trees.file(b"file", b"hostile"), trees.file(b"new", b"hostile")]);
                let mut file = trees.file(b"secret", b"hostile");
                file.mtime = Time { seconds: 1 << 33, nanos: 0 };
                with_good(trees, vec![folder(b"folder", inner), file])
            });
            let mut more = Vec::new();
            more.extend(policy.iter().flat_map(|policy| ["--overwrite", policy]));
            more.extend(delete.then_some("--delete"));
            let ran = world.restore(&snapshot, &more, &[0, 3, 6]);
            if ran.code != 6 {
                assert_good(&world);
            }
            if policy == Some("always") {
                assert_eq!(
                    fs::read(world.at("target/folder/file")).unwrap(),
                    b"hostile",
                    "{what}: {}",
                    ran.text()
                );
                assert_eq!(
                    fs::read(world.at("target/secret")).unwrap(),
                    b"hostile",
                    "{what}: {}",
                    ran.text()
                );
            }
        }
    }
}

#[test]
fn a_symlink_in_the_place_of_a_folder_is_not_followed() {
    planted("symlink to a folder", |world| plant("../outside/folder", world.at("target/folder")).unwrap());
}

#[test]
fn a_symlink_in_the_place_of_a_file_is_not_followed() {
    planted("symlink to a file", |world| plant("../outside/secret", world.at("target/secret")).unwrap());
    planted("symlink to nothing", |world| plant("../outside/to be made", world.at("target/secret")).unwrap());
}

#[test]
fn a_hard_link_in_the_place_of_a_file_is_not_written_through() {
    planted("hard link", |world| {
        fs::hard_link(world.at("outside/secret"), world.at("target/secret")).unwrap()
    });
    planted("hard link in a folder", |world| {
        fs::create_dir(world.at("target/folder")).unwrap();
        fs::hard_link(world.at("outside/folder/file"), world.at("target/folder/file")).unwrap();
    });
}

#[test]
fn a_symlink_beside_what_is_restored_is_removed_and_not_emptied() {
    let world = World::new();
    plant("../outside/folder", world.at("target/stray")).unwrap();
    let snapshot = world.snapshot(|trees| with_good(trees, Vec::new()));
    world.restore(&snapshot, &["--delete", "--overwrite", "always"], &[0]);
    assert!(fs::symlink_metadata(world.at("target/stray")).is_err());
}

#[test]
fn a_snapshot_with_symlinks_that_lead_outside_writes_nothing_through_them() {
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let mut link = symlink(b"a", "../outside/secret");
        (link.link, link.uid, link.gid, link.mode) = (Some(Id16([1; 16])), 12345, 12345, 0o777);
        link.xattrs =
            vec![Xattr { name: b"user.hostile".to_vec(), value: XattrValue::Inline(b"x".to_vec()) }];
        // The same group, though one is a file and one a folder's link: hard links of a symlink that leads outside.
        let mut file = trees.file(b"b", b"hostile");
        (file.link, file.flags, file.uid, file.mode) = (Some(Id16([1; 16])), 0x50, 12345, 0o4777);
        let mut absolute = symlink(b"c", "/etc");
        absolute.flags = limits::FLAGS_KEPT;
        with_good(trees, vec![link, file, absolute])
    });
    world.restore(&snapshot, &[], &[0, 3, 5]);
    assert_good(&world);
    assert!(fs::symlink_metadata(world.at("target/a")).unwrap().file_type().is_symlink());
    world.restore(&snapshot, &["--overwrite", "always", "--delete"], &[0, 3, 5]);
    assert_good(&world);
}

#[test]
fn a_link_group_through_a_planted_symlink_gives_no_link_to_outside() {
    for policy in ["always", "never", "if-changed"] {
        let world = World::new();
        // The first name of the group lies in a folder whose place a symlink to outside holds.
        plant("../outside/folder", world.at("target/d")).unwrap();
        let snapshot = world.snapshot(|trees| {
            let mut file = trees.file(b"file", b"hostile");
            file.link = Some(Id16([2; 16]));
            let mut second = trees.file(b"second", b"hostile");
            second.link = file.link;
            with_good(trees, vec![folder(b"d", trees.of(&[file])), second])
        });
        world.restore(&snapshot, &["--overwrite", policy], &[0, 3]);
        assert_good(&world);
        let outside = fs::metadata(world.at("outside/folder/file")).unwrap();
        if let Ok(second) = fs::metadata(world.at("target/second")) {
            assert_ne!(second.ino(), outside.ino(), "{policy}: a hard link to outside");
        }
        assert_eq!(outside.nlink(), 1, "{policy}");
    }
}
