//! Whole repositories by an attacker who has the key: `check` and `restore` say what is wrong, give back the rest, and nothing outside changes.
//!
//! Cycles are not among them: a tree's id is a keyed hash of its bytes, which would have to hold the id itself or that of a tree above;
//! who can make one has broken BLAKE3. The nearest thing that can be made, a chain deeper than the limit and pages that name one page
//! many times, is here.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink as plant};

use copal::format::content::{self, ContentPage};
use copal::format::tree::{self, PageReference};
use copal::format::{limits, node};
use copal::model::{
    Content, Contents, Id, Id16, Node, NodeType, Segment, SegmentKind, Snapshot, Time, Xattr, XattrValue,
};

use crate::make::{Trees, World, folder, remove_deep, symlink};
use crate::memory::peak_of;

/// A sound folder beside the hostile one, which must come back whatever else is there.
fn with_good(trees: &Trees<'_, '_>, mut nodes: Vec<Node>) -> Id {
    let good = trees.of(&[trees.file(b"file", b"good")]);
    nodes.push(folder(b"zz good", good));
    trees.of(&nodes)
}

fn assert_good(world: &World) {
    assert_eq!(fs::read(world.at("target/zz good/file")).unwrap(), b"good");
}

/// Pages whose trees must be refused: `check` and `restore` say so, and the good folder comes back.
fn refused(what: &str, make: impl FnOnce(&Trees<'_, '_>) -> Id) {
    let world = World::new();
    let snapshot = world.snapshot(|trees| with_good(trees, vec![folder(b"bad", make(trees))]));
    let ran = world.restore(&snapshot, &[], &[5]);
    assert!(ran.text.contains("/bad"), "{what}: {}", ran.text);
    assert_good(&world);
    assert!(world.check(5).text.contains("/bad"), "{what}");
    world.restore(&snapshot, &["--overwrite", "always", "--delete"], &[5]);
    assert_good(&world);
}

#[test]
fn names_that_are_no_single_component_are_refused() {
    let long = [b'n'; limits::NAME_MAX + 1];
    let names: [&[u8]; 9] = [
        b"..",
        b".",
        b"",
        b"a/b",
        b"/etc/passwd",
        b"../outside/secret",
        b"nul\0byte",
        b"a/../../outside/secret",
        &long,
    ];
    for name in names {
        for kind in ["file", "folder", "link"] {
            refused(&format!("{kind} {:?}", String::from_utf8_lossy(name)), |trees| {
                let node = match kind {
                    "file" => trees.file(name, b"hostile"),
                    "folder" => folder(name, trees.of(&[trees.file(b"secret", b"hostile")])),
                    _ => symlink(name, "../outside"),
                };
                trees.of(&[node])
            });
        }
    }
}

#[test]
fn double_and_unsorted_names_are_refused() {
    refused("double", |trees| trees.of(&[trees.file(b"a", b"1"), trees.file(b"a", b"2")]));
    refused("unsorted", |trees| trees.of(&[trees.file(b"b", b"1"), trees.file(b"a", b"2")]));
    refused("link and folder", |trees| {
        trees.of(&[symlink(b"a", "../../outside"), folder(b"a", trees.of(&[trees.file(b"secret", b"x")]))])
    });
}

fn page(id: Id, entries: u64, last: &[u8]) -> PageReference {
    PageReference { id, entries, last: last.to_vec() }
}

#[test]
fn a_symlink_in_one_page_and_a_folder_of_its_name_in_the_next_does_not_lead_outside() {
    refused("pages that overlap", |trees| {
        let first = trees.of(&[symlink(b"d", "../../outside")]);
        let second = trees.of(&[folder(b"d", trees.of(&[trees.file(b"secret", b"hostile")]))]);
        trees.page(&tree::encode_pages(1, &[page(first, 1, b"d"), page(second, 1, b"e")]))
    });
}

#[test]
fn pages_that_lie_about_their_level_are_refused() {
    refused("a level too many", |trees| {
        let leaf = trees.of(&[trees.file(b"a", b"1")]);
        trees.page(&tree::encode_pages(2, &[page(leaf, 1, b"a")]))
    });
    refused("a level too few", |trees| {
        let leaf = trees.of(&[trees.file(b"a", b"1")]);
        let middle = trees.page(&tree::encode_pages(1, &[page(leaf, 1, b"a")]));
        trees.page(&tree::encode_pages(1, &[page(middle, 1, b"a")]))
    });
    refused("beyond the highest", |trees| {
        let mut tree = trees.of(&[trees.file(b"a", b"1")]);
        for level in 1..=limits::LEVEL_MAX + 1 {
            tree = trees.page(&tree::encode_pages(level, &[page(tree, 1, b"a")]));
        }
        tree
    });
    refused("no pages", |trees| trees.page(&tree::encode_pages(1, &[])));
    refused("unsorted pages", |trees| {
        let (a, b) = (trees.of(&[trees.file(b"a", b"1")]), trees.of(&[trees.file(b"b", b"1")]));
        trees.page(&tree::encode_pages(1, &[page(b, 1, b"b"), page(a, 1, b"a")]))
    });
}

#[test]
fn pages_that_lie_about_what_is_below_are_found_by_check() {
    // A reader that goes by the lie finds nothing at SNAP:/bad/a, though a whole restore gives it back: check must not call that sound.
    for (what, entries, last) in
        [("last name", 1, &b"A"[..]), ("last name", 1, &b"b"[..]), ("count", u64::MAX, &b"a"[..])]
    {
        let world = World::new();
        world.snapshot(|trees| {
            let leaf = trees.of(&[trees.file(b"a", b"1")]);
            let pages = trees.page(&tree::encode_pages(1, &[page(leaf, entries, last)]));
            with_good(trees, vec![folder(b"bad", pages)])
        });
        let ran = world.run(&["check", "--read-data"]);
        assert_eq!(ran.code, 5, "{what}: {}", ran.text);
    }
}

#[test]
fn one_page_named_many_times_is_refused() {
    refused("the same page twice", |trees| {
        let leaf = trees.of(&[trees.file(b"a", b"1")]);
        trees.page(&tree::encode_pages(1, &[page(leaf, 1, b"a"), page(leaf, 1, b"b")]))
    });
}

#[test]
fn a_million_million_paths_of_one_folder_are_checked_in_no_time() {
    let world = World::new();
    world.snapshot(|trees| {
        let mut tree = trees.of(&[trees.file(b"a", b"1")]);
        for _ in 0..40 {
            tree = trees.of(&[folder(b"l", tree), folder(b"r", tree)]);
        }
        tree
    });
    world.check(0);
}

#[test]
fn content_pages_that_name_one_page_many_times_are_checked_in_bounded_time() {
    // 128^5 holes of one byte. Only holes: nothing was ever backed up like this.
    let world = World::new();
    world.snapshot(|trees| {
        let holes = vec![Segment { kind: SegmentKind::Hole, length: 1 }; 128];
        let mut below = trees.page(&content::encode_page(&ContentPage::Segments(holes)));
        let mut covers = 128u64;
        for level in 1..=4 {
            below = trees.page(&content::encode_page(&ContentPage::Pages(level, vec![(below, covers); 128])));
            covers *= 128;
        }
        let mut file = Node::new(b"laughs", NodeType::File);
        (file.size, file.content) = (covers, Content::Page(below));
        with_good(trees, vec![file])
    });
    let began = std::time::Instant::now();
    let ran = world.run(&["check"]);
    assert!(began.elapsed().as_secs() < 30, "check took {:?}: {}", began.elapsed(), ran.text);
}

#[test]
fn damage_that_many_paths_lead_to_is_told_once_for_each_folder_that_names_it() {
    let world = World::new();
    world.snapshot(|trees| {
        let mut tree = trees.of(&[file_of(Id([1; 32]), 5)]);
        for _ in 0..40 {
            tree = trees.of(&[folder(b"l", tree), folder(b"r", tree)]);
        }
        // And a list of contents of which 64^4 paths lead to one part that is lost.
        let gap = vec![Segment { kind: SegmentKind::Gap, length: 1 }; 64];
        let mut below = trees.page(&content::encode_page(&ContentPage::Segments(gap)));
        let mut covers = 64u64;
        for level in 1..=4 {
            below = trees.page(&content::encode_page(&ContentPage::Pages(level, vec![(below, covers); 64])));
            covers *= 64;
        }
        let mut file = Node::new(b"laughs", NodeType::File);
        (file.size, file.content) = (covers, Content::Page(below));
        with_good(trees, vec![folder(b"deep", tree), file])
    });
    let ran = world.check(5);
    assert!(ran.text.contains("42 errors were found"), "{}", &ran.text[ran.text.len().saturating_sub(300)..]);
    assert!(ran.text.contains("1073741824 of its 1073741824 bytes are lost"));
}

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
                    ran.text
                );
                assert_eq!(fs::read(world.at("target/secret")).unwrap(), b"hostile", "{what}: {}", ran.text);
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

/// A chain of folders deeper than the limit, beside a good one.
fn too_deep(trees: &Trees<'_, '_>) -> Id {
    let mut tree = trees.of(&[trees.file(b"bottom", b"1")]);
    for _ in 0..limits::DEPTH_MAX + 10 {
        tree = trees.of(&[folder(b"d", tree)]);
    }
    with_good(trees, vec![folder(b"deep", tree)])
}

#[test]
fn check_tells_of_folders_deeper_than_the_limit_and_hides_nothing_else() {
    let world = World::new();
    world.snapshot(too_deep);
    world.snapshot(|trees| with_good(trees, vec![folder(b"lost", Id([1; 32]))]));
    let ran = world.run(&["check"]);
    assert_eq!(ran.code, 5, "{}", ran.text);
    assert!(
        ran.text.contains("/lost"),
        "one folder too deep hides what else is wrong: {}",
        &ran.text[..ran.text.len().min(2000)]
    );
}

#[test]
fn restore_of_folders_deeper_than_the_limit_ends_and_gives_back_the_rest() {
    let world = World::new();
    let snapshot = world.snapshot(too_deep);
    let ran = world.restore(&snapshot, &["-q"], &[5, 3]);
    assert!(ran.text.len() < 1 << 20, "{} bytes of text", ran.text.len());
    assert_good(&world);
    remove_deep(&world.at("target/deep"));
}

#[test]
fn folders_thousand_deep_come_back() {
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let mut tree = trees.of(&[trees.file(b"bottom", b"1")]);
        for _ in 0..5000 {
            tree = trees.of(&[folder(b"d", tree)]);
        }
        with_good(trees, vec![folder(b"deep", tree)])
    });
    world.check(0);
    world.restore(&snapshot, &["-q"], &[0]);
    assert_good(&world);
    remove_deep(&world.at("target"));
}

#[test]
fn folders_deeper_than_there_are_file_handles_come_back_or_are_told_and_hide_nothing() {
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let mut tree = trees.of(&[trees.file(b"bottom", b"1")]);
        for _ in 0..21_000 {
            tree = trees.of(&[folder(b"d", tree)]);
        }
        with_good(trees, vec![folder(b"deep", tree)])
    });
    let ran = world.restore(&snapshot, &["-q"], &[0, 3, 5]);
    let found = std::process::Command::new("find")
        .arg(world.at("target/deep"))
        .args(["-name", "bottom"])
        .output()
        .unwrap();
    assert_eq!(ran.code == 0, !found.stdout.is_empty(), "{}", &ran.text[..ran.text.len().min(600)]);
    remove_deep(&world.at("target/deep"));
    assert_good(&world);
}

fn hole(length: u64) -> Segment {
    Segment { kind: SegmentKind::Hole, length }
}

#[test]
fn sizes_beyond_every_file_system_are_told() {
    // Refused by the format.
    for size in [1u64 << 63, u64::MAX] {
        refused("size", |trees| {
            let mut file = Node::new(b"huge", NodeType::File);
            (file.size, file.content) = (size, Content::Inline(vec![hole(1 << 61); 4]));
            trees.of(&[file])
        });
    }
    refused("segments that overflow", |trees| {
        let mut file = Node::new(b"huge", NodeType::File);
        // Five times 2^62 less a bit: past 2^64, which would wrap to a small size.
        let length = (1u64 << 62) - 1;
        (file.size, file.content) = (length.wrapping_mul(5), Content::Inline(vec![hole(length); 5]));
        trees.of(&[file])
    });
    refused("segments that are not the size", |trees| {
        let mut file = trees.file(b"huge", b"0123456789");
        file.size = 11;
        trees.of(&[file])
    });
    // Allowed by the format, refused by most file systems.
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let mut holes = Node::new(b"holes", NodeType::File);
        (holes.size, holes.content) =
            (i64::MAX as u64, Content::Inline(vec![hole((1 << 62) - 1), hole((1 << 62) - 1), hole(1)]));
        let mut late = trees.file(b"late", b"data");
        let Content::Inline(segments) = &late.content else { panic!() };
        (late.size, late.content) = ((1 << 62) + 3, Content::Inline(vec![hole((1 << 62) - 1), segments[0]]));
        with_good(trees, vec![holes, late])
    });
    world.check(0);
    let ran = world.restore(&snapshot, &[], &[0, 3, 5]);
    assert_good(&world);
    let left = fs::read_dir(world.at("target")).unwrap().count();
    // Some file systems do hold them.
    assert_eq!(left, if ran.code == 0 { 3 } else { 1 }, "temporary files are left in the target");
    let size = |name: &str| fs::metadata(world.at("target").join(name)).map(|metadata| metadata.len()).ok();
    assert!(ran.code != 0 || size("holes") == Some(i64::MAX as u64) && size("late") == Some((1 << 62) + 3));
}

#[test]
fn content_pages_that_lie_cost_only_their_file() {
    type Make = fn(&Trees<'_, '_>) -> (u64, Id);
    let cases: [(&str, Make); 6] = [
        ("covers more", |trees| {
            (5, trees.page(&content::encode_page(&ContentPage::Segments(vec![hole(10)]))))
        }),
        ("covers less", |trees| {
            (50, trees.page(&content::encode_page(&ContentPage::Segments(vec![hole(10)]))))
        }),
        ("overflows", |trees| {
            let below = trees.page(&content::encode_page(&ContentPage::Segments(vec![hole(10)])));
            (
                i64::MAX as u64,
                trees
                    .page(&content::encode_page(&ContentPage::Pages(1, vec![(below, u64::MAX), (below, 2)]))),
            )
        }),
        ("level lies", |trees| {
            let below = trees.page(&content::encode_page(&ContentPage::Segments(vec![hole(10)])));
            (10, trees.page(&content::encode_page(&ContentPage::Pages(2, vec![(below, 10)]))))
        }),
        ("is a folder", |trees| (10, trees.of(&[trees.file(b"x", b"y")]))),
        ("is not there", |_| (10, Id([3; 32]))),
    ];
    for (what, make) in cases {
        let world = World::new();
        let snapshot = world.snapshot(|trees| {
            let (size, page) = make(trees);
            let mut file = Node::new(b"bad", NodeType::File);
            (file.size, file.content) = (size, Content::Page(page));
            with_good(trees, vec![file])
        });
        let ran = world.run(&["check"]);
        assert!(ran.code == 5 && ran.text.contains("/bad"), "{what}: {}", ran.text);
        let ran = world.restore(&snapshot, &[], &[5]);
        assert!(ran.text.contains("/bad"), "{what}: {}", ran.text);
        assert_good(&world);
    }
}

#[test]
fn contents_of_the_wrong_kind_are_lost_and_never_mistaken() {
    // A folder whose tree is a chunk of data with the very bytes of a tree, and a file whose chunk is a tree.
    refused("data as a tree", |trees| {
        let bytes = tree::encode_nodes([node::encode(&trees.file(b"a", b"1"))]);
        trees.data(&bytes)
    });
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let tree = trees.of(&[trees.file(b"a", b"1")]);
        let mut file = Node::new(b"bad", NodeType::File);
        (file.size, file.content) =
            (5, Content::Inline(vec![Segment { kind: SegmentKind::Data(tree), length: 5 }]));
        with_good(trees, vec![file])
    });
    world.check(5);
    world.restore(&snapshot, &[], &[5]);
    assert_good(&world);
}

/// A file of one chunk of that id and length.
fn file_of(id: Id, length: u64) -> Node {
    let mut file = Node::new(b"bad", NodeType::File);
    (file.size, file.content) =
        (length, Content::Inline(vec![Segment { kind: SegmentKind::Data(id), length }]));
    file
}

#[test]
fn packs_that_lie_cost_only_what_is_in_them() {
    let bytes = b"some plain bytes".repeat(10);
    let length = bytes.len() as u32;
    let bomb = zstd::bulk::compress(&vec![0; 1 << 30], 1).unwrap();
    for indexed in [true, false] {
        for what in ["bomb", "longer", "shorter", "no zstd", "other bytes", "sealed as trees"] {
            let world = World::new();
            let id = world.id(Contents::Data, &bytes);
            let block = match what {
                "bomb" => (1, length, bomb.clone(), vec![(id, length)]),
                "longer" => (
                    1,
                    length + 1,
                    zstd::bulk::compress(&bytes, 1).unwrap(),
                    vec![(id, length), (Id([1; 32]), 1)],
                ),
                "shorter" => {
                    (1, length - 1, zstd::bulk::compress(&bytes, 1).unwrap(), vec![(id, length - 1)])
                }
                "no zstd" => (1, length, bytes.clone(), vec![(id, length)]),
                "other bytes" => (0, length, vec![7; bytes.len()], vec![(id, length)]),
                _ => (0, length, bytes.clone(), vec![(id, length)]),
            };
            let sealed_as = if what == "sealed as trees" { Contents::Trees } else { Contents::Data };
            if indexed {
                world.pack(Contents::Data, sealed_as, &[block], true);
                let (opened, peak) = peak_of(|| world.repository.read_chunk(Contents::Data, &id).is_ok());
                assert!(!opened && peak < 16 << 20, "{what}: opened {opened}, {peak} bytes of memory");
                let snapshot = world.snapshot(|trees| with_good(trees, vec![file_of(id, length.into())]));
                world.restore(&snapshot, &[], &[5]);
                assert_good(&world);
                world.check(5);
            } else {
                // No index object: the pack's own directory is read.
                world.pack(Contents::Data, sealed_as, &[block], false);
                let synced = world.repository.sync().unwrap();
                assert!(world.repository.read_chunk(Contents::Data, &id).is_err(), "{what}: {synced:?}");
                // That a block holds other bytes than its id says has a test of its own.
                let ran = world.run(&["check", "--read-data"]);
                assert!(ran.code == 5 || what == "other bytes", "{what}: {}", ran.text);
            }
        }
    }
}

#[test]
fn a_pack_whose_chunk_is_not_what_its_id_says_is_named_by_check() {
    let world = World::new();
    let id = world.id(Contents::Data, b"what it should be");
    world.pack(Contents::Data, Contents::Data, &[(0, 4, b"else".to_vec(), vec![(id, 4)])], true);
    world.check(5);
}

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
    let ran = world.restore(&snapshot, &[], &[3, 5, 13]);
    assert!(
        world.at("target/zz good/file").exists(),
        "one node of a later version stops the whole restore:\n{}",
        ran.text
    );
    assert!(ran.text.contains("/bad"), "{}", ran.text);
}

#[test]
fn a_node_of_a_later_version_costs_only_itself() {
    // docs/format.md, section 3: refuses the record, and only the object or node it belongs to.
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        let good = node::encode(&folder(b"zz good", trees.of(&[trees.file(b"file", b"good")])));
        trees.raw(&[node::encode(&trees.file(b"a", b"1")), newer(b"new"), good])
    });
    let ran = world.restore(&snapshot, &[], &[3, 5, 13]);
    assert!(world.at("target/a").exists() && world.at("target/zz good/file").exists(), "{}", ran.text);
    let ran = world.run(&["check"]);
    assert!(ran.code == 5 && ran.text.contains("entry new of tree"), "{}: {}", ran.code, ran.text);
    let ran = world.run(&["ls", &snapshot, "-R"]);
    assert!(ran.code == 5 && ran.text.contains("entry new of tree"), "{}: {}", ran.code, ran.text);
    assert!(
        ran.text.contains("/a\n") && ran.text.contains("/zz good/file"),
        "the rest is listed: {}",
        ran.text
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
    assert!(ran.text.contains("entry long"), "{}", ran.text);
    assert_eq!(fs::read(world.at("target/a")).unwrap(), b"1");
    assert_good(&world);
}

#[test]
fn index_objects_that_lie_about_where_blocks_are_cost_only_those() {
    use copal::format::index::PackEntry;
    use copal::format::pack::{Block, Directory};
    for length in [1 << 20, limits::PACK_MAX] {
        let (name, offset) = (Id([7; 32]), length - 90 - copal::format::pack::FOOTER_LEN as u64);
        let world = World::new();
        let chunk = Id([8; 32]);
        let block = Block {
            codec: 1,
            offset: 96,
            stored: (offset - 96) as u32,
            plain: 1000,
            chunks: vec![(chunk, 1000)],
        };
        let directory = Directory {
            contents: Contents::Data,
            blocks: vec![block],
            domain: Id16::default(),
            written: Time::default(),
        };
        world.index(vec![PackEntry {
            name,
            length,
            salt: [1; 32],
            commitment: [2; 32],
            directory,
            directory_offset: offset,
            directory_length: 90,
        }]);
        let snapshot = world.snapshot(|trees| with_good(trees, vec![file_of(chunk, 1000)]));
        world.restore(&snapshot, &[], &[5]);
        assert_good(&world);
        world.check(5);
    }
}

#[test]
fn a_chunk_shorter_or_longer_than_its_segment_is_lost() {
    for (claimed, what) in [(3u64, "shorter"), (1 << 20, "longer")] {
        let world = World::new();
        let snapshot = world.snapshot(|trees| {
            let id = trees.data(b"0123456789");
            with_good(trees, vec![file_of(id, claimed)])
        });
        let ran = world.restore(&snapshot, &[], &[5]);
        assert!(ran.text.contains("/bad"), "{what}: {}", ran.text);
        assert_good(&world);
        let ran = world.run(&["check", "--read-data"]);
        assert_eq!(
            ran.code, 5,
            "check says nothing of a segment {what} than its chunk, and restore fails on it: {}",
            ran.text
        );
    }
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
            assert_eq!(ran.code, 0, "{arguments:?} at {seconds} {utc_offset}: {}", ran.text);
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
