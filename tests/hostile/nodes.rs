//! Hostile nodes and snapshots: of later versions, too long, with odd words and times.

use std::fs;

use crate::make::{Trees, World, assert_good, file_of, folder, symlink, with_good};
use copal::format::{limits, node};
use copal::model::{Id, Id16, Node, NodeType, Segment, SegmentKind, Snapshot, Time, Xattr, XattrValue};

/// A node with a critical field that this program does not know.
fn newer(name: &[u8]) -> Vec<u8> {
    let mut writer = copal::format::record::Writer::default();
    writer.bytes(1, true, name).int(2, true, 1).field(60, true, b"from a later version");
    writer.finish()
}

#[test]
fn a_folder_with_a_node_of_a_later_version_does_not_stop_the_others() {
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let bad = trees.raw(&[newer(b"new")]);
        with_good(trees, vec![folder(b"bad", bad)])
    });
    let ran = world.restore(&snapshot, &[], &[3]);
    assert!(
        world.at("target/zz good/file").exists(),
        "one node of a later version stops the whole restore:\n{}",
        ran.text()
    );
    assert!(ran.text().contains("/bad"), "{}", ran.text());
}

#[test]
fn a_node_of_a_later_version_costs_only_itself() {
    // docs/format.md, section 3: refuses the record, and only the object or node it belongs to.
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let good = node::encode(&folder(b"zz good", trees.of(&[trees.file(b"file", b"good")])));
        trees.raw(&[node::encode(&trees.file(b"a", b"1")), newer(b"new"), good])
    });
    let ran = world.restore(&snapshot, &[], &[3]);
    assert!(world.at("target/a").exists() && world.at("target/zz good/file").exists(), "{}", ran.text());
    assert!(
        ran.text().contains("entry new of tree") && ran.text().contains("needs a newer copal"),
        "{}",
        ran.text()
    );
    let ran = world.run(&["check", "--read-data"]);
    assert!(ran.code == 3 && ran.text().contains("entry new of tree"), "{}: {}", ran.code, ran.text());
    assert!(!ran.text().contains("damaged"), "{}", ran.text());
    let ran = world.run(&["ls", &snapshot, "-R"]);
    assert!(ran.code == 3 && ran.text().contains("entry new of tree"), "{}: {}", ran.code, ran.text());
    assert!(
        ran.text().contains("/a\n") && ran.text().contains("/zz good/file"),
        "the rest is listed: {}",
        ran.text()
    );
}

#[test]
fn a_node_that_is_too_long_costs_only_itself() {
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let mut long = trees.file(b"long", b"x");
        long.unread = vec!["w".repeat(limits::NODE_MAX)];
        with_good(trees, vec![trees.file(b"a", b"1"), long])
    });
    let ran = world.restore(&snapshot, &[], &[5]);
    assert!(ran.text().contains("entry long"), "{}", ran.text());
    assert_eq!(fs::read(world.at("target/a")).unwrap(), b"1");
    assert_good(&world);
}

#[test]
fn odd_nodes_are_given_back_or_told_and_nothing_else() {
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let mut nodes = Vec::new();
        for (number, seconds) in [i64::MIN, -1, 0, i64::MAX].into_iter().enumerate() {
            let mut file = trees.file(format!("time {number}").as_bytes(), b"x");
            (file.mtime, file.btime) =
                (Time { seconds, nanos: 999_999_999 }, Some(Time { seconds, nanos: 0 }));
            nodes.push(file);
        }
        let mut device = Node::new(b"u device", NodeType::CharacterDevice);
        device.device = (u32::MAX, u32::MAX);
        nodes.push(device);
        let mut owner = trees.file(b"v owner", b"x");
        (owner.uid, owner.gid, owner.mode, owner.flags) = (u32::MAX, u32::MAX, 0o7777, u32::MAX);
        (owner.user, owner.group) = (vec![b'/'; 5000], b"\0\n:".to_vec());
        nodes.push(owner);
        let mut attributes = trees.file(b"w attributes", b"x");
        attributes.xattrs = [
            &b"system.posix_acl_access"[..],
            b"security.capability",
            b"trusted.x",
            b"user.",
            b"nonsense",
            b"security.selinux",
        ]
        .map(|name| Xattr { name: name.to_vec(), value: XattrValue::Inline(vec![0xff; 33]) })
        .to_vec();
        attributes
            .xattrs
            .push(Xattr { name: b"user.lost".to_vec(), value: XattrValue::Chunk(Id([5; 32]), 10) });
        attributes.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.push(attributes);
        let mut empty = symlink(b"x empty", "");
        empty.mode = 0;
        nodes.push(empty);
        nodes.push(symlink(b"x long", &"l".repeat(60_000)));
        with_good(trees, nodes)
    });
    world.check(5);
    world.restore(&snapshot, &[], &[5, 3]);
    assert_good(&world);
    for arguments in [vec!["ls", &snapshot, "-R", "-l"], vec!["ls", &snapshot, "-R", "--json"], vec!["stats"]]
    {
        world.run(&arguments);
    }
}

#[test]
fn escapes_in_names_and_words_never_reach_the_terminal() {
    let world = World::new();
    let evil = "\u{1b}[31m\u{1b}]0;owned\u{7}\r\n";
    let words = Snapshot {
        user: evil.into(),
        zone: evil.into(),
        tags: vec![evil.to_owned()],
        program: evil.to_owned(),
        description: evil.to_owned(),
        options: vec![evil.to_owned()],
        ..Snapshot::default()
    };
    let make = |trees: &Trees<'_, '_>| {
        let mut lost = file_of(Id([1; 32]), 5);
        lost.name = format!("lost {evil}").into_bytes();
        with_good(trees, vec![trees.file(evil.as_bytes(), b"x"), lost, symlink(b"m", evil)])
    };
    let snapshot = world.snapshot_of(make, words);
    // `World::run` looks at what is printed.
    for arguments in [
        vec!["snapshots", "--json"],
        vec!["ls", &snapshot, "-R", "-l"],
        vec!["check"],
        vec!["stats"],
        vec!["key", "list"],
        vec!["restore", "latest", "-t", "/nonexistent"],
        vec!["snapshots"],
    ] {
        world.run(&arguments);
    }
    world.restore(&snapshot, &["-v"], &[5]);
    assert_good(&world);
}

#[test]
fn snapshots_with_odd_times_are_listed_and_restored() {
    for (seconds, utc_offset) in
        [(i64::MAX, 0), (i64::MIN, 0), (1 << 40, i64::MAX), (-1, i64::MIN), (5, 1 << 32)]
    {
        let world = World::new();
        let odd = Snapshot { time: Time { seconds, nanos: 999_999_999 }, utc_offset, ..Snapshot::default() };
        let snapshot = world.snapshot_of(|trees| with_good(trees, Vec::new()), odd);
        for arguments in [
            vec!["snapshots"],
            vec!["snapshots", "--json"],
            vec!["ls", &snapshot],
            vec!["check"],
            vec!["stats"],
        ] {
            let ran = world.run(&arguments);
            assert_eq!(ran.code, 0, "{arguments:?} at {seconds} {utc_offset}: {}", ran.text());
        }
        world.restore(&snapshot, &[], &[0]);
        assert_good(&world);
    }
}

#[test]
fn a_snapshot_without_its_root_hides_no_other() {
    let world = World::new();
    let good = world.snapshot(|trees| with_good(trees, Vec::new()));
    let bad = world.commit(&Snapshot { root: Id([4; 32]), host: b"host".to_vec(), ..Snapshot::default() });
    let mut state = Snapshot { root: Id([4; 32]), host: b"host".to_vec(), ..Snapshot::default() };
    state.state = vec![Segment { kind: SegmentKind::Data(Id([4; 32])), length: 1 << 20 }; 5];
    world.commit(&state);
    world.check(5);
    world.restore(&bad, &[], &[5]);
    world.restore(&good, &[], &[0]);
    assert_good(&world);
}

#[test]
fn attributes_out_of_order_or_double_cost_only_their_node() {
    for names in [[&b"user.b"[..], b"user.a"], [b"user.a", b"user.a"]] {
        let world = World::new();
        let snapshot = world.snapshot(|trees| {
            let mut file = trees.file(b"bad", b"x");
            file.xattrs =
                names.map(|name| Xattr { name: name.to_vec(), value: XattrValue::Inline(vec![1]) }).to_vec();
            with_good(trees, vec![file])
        });
        let ran = world.restore(&snapshot, &[], &[5]);
        assert!(ran.text().contains("entry bad of tree"), "{}", ran.text());
        assert!(!world.at("target/bad").exists());
        assert_good(&world);
        world.check(5);
    }
}

#[test]
fn the_second_restorer_too_gives_the_rest_of_a_page_with_nodes_that_break_rules() {
    let python = std::env::var("COPAL_TEST_PYTHON").expect("COPAL_TEST_PYTHON: run tests/run, which sets it");
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let mut double = trees.file(b"c double", b"x");
        let attribute = Xattr { name: b"user.a".to_vec(), value: XattrValue::Inline(vec![1]) };
        double.xattrs = vec![attribute.clone(), attribute];
        let mut mode = trees.file(b"d mode", b"x");
        mode.mode = 0o10000;
        let file = |name: &[u8]| node::encode(&trees.file(name, b"x"));
        let good = node::encode(&folder(b"zz good", trees.of(&[trees.file(b"file", b"good")])));
        // No record at all, of a later version, a wrong name, out of order behind one that counts, and behind one that does not.
        let cut = file(b"f cut")[..9].to_vec();
        trees.raw(&[
            file(b"b"),
            file(b"a late"),
            node::encode(&double),
            node::encode(&mode),
            newer(b"e new"),
            cut,
            file(b"zzz/name"),
            file(b"g"),
            good,
        ])
    });
    world.restore(&snapshot, &[], &[5]);
    let restorer = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restorer/restore.py");
    let other = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(python)
        .arg(restorer)
        .args([&world.at("repository"), std::path::Path::new("--key-file"), &world.at("key"), other.path()])
        .output()
        .unwrap();
    let names = |folder: &std::path::Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&world.at("target")), ["b", "g", "zz good"]);
    assert_eq!(names(other.path()), ["b", "g", "zz good"], "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_file_whose_attributes_are_lost_is_told_each_time() {
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let mut file = trees.file(b"bad", b"x");
        file.mtime = Time { seconds: 1_000_000_000, nanos: 5 };
        file.xattrs = vec![Xattr { name: b"user.lost".to_vec(), value: XattrValue::Chunk(Id([5; 32]), 10) }];
        let mut second = file.clone();
        file.link = Some(Id16([1; 16]));
        second.link = file.link;
        second.name = b"bad too".to_vec();
        with_good(trees, vec![file, second])
    });
    world.restore(&snapshot, &[], &[5]);
    for when in ["if-changed", "if-newer", "always"] {
        let ran = world.restore(&snapshot, &["--overwrite", when], &[5]);
        assert!(ran.text().contains("/bad:") && ran.text().contains("/bad too"), "{when}: {}", ran.text());
        assert_eq!(fs::read(world.at("target/bad")).unwrap(), b"x");
    }
}
