//! Hostile contents: sizes, lists of contents, packs and index objects that lie. They cost what they lie about.

use std::fs;

use crate::make::{Trees, World, assert_good, file_of, folder, hole, refused, with_good};
use crate::memory::peak_of;
use copal::format::content::{self, ContentPage};
use copal::format::tree::{self};
use copal::format::{limits, node};
use copal::model::{Content, Contents, Id, Id16, Node, NodeType, Segment, SegmentKind, Time};

/// A file whose pages of pages name one page `fan` times on each of `levels` levels.
fn laughs(trees: &Trees<'_, '_>, segments: Vec<Segment>, fan: usize, levels: u64) -> Id {
    let mut covers = segments.iter().map(|segment| segment.length).sum();
    let mut below = trees.page(&content::encode_page(&ContentPage::Segments(segments)));
    for level in 1..=levels {
        below = trees.page(&content::encode_page(&ContentPage::Pages(level, vec![(below, covers); fan])));
        covers *= fan as u64;
    }
    let mut file = Node::new(b"bad", NodeType::File);
    (file.size, file.content) = (covers, Content::Page(below));
    with_good(trees, vec![file])
}

#[test]
fn content_pages_that_name_one_page_many_times_are_refused_before_they_are_followed() {
    type Make = fn(&Trees<'_, '_>) -> Id;
    let cases: [(&str, Make); 5] = [
        ("holes of one byte", |trees| laughs(trees, vec![hole(1); 128], 128, 4)),
        ("holes and gaps", |trees| {
            let gap = Segment { kind: SegmentKind::Gap, length: 100 };
            laughs(trees, [hole(100), gap].repeat(64), 128, 4)
        }),
        ("a page of one hole", |trees| laughs(trees, vec![hole(100)], 1024, 4)),
        ("data of one byte", |trees| {
            let data = Segment { kind: SegmentKind::Data(trees.data(b"x")), length: 1 };
            laughs(trees, vec![data; 128], 128, 4)
        }),
        ("data and holes of one byte", |trees| {
            let data = Segment { kind: SegmentKind::Data(trees.data(b"x")), length: 1 };
            laughs(trees, [data, hole(1)].repeat(512), 1024, 3)
        }),
    ];
    for (what, make) in cases {
        let world = World::new();
        let snapshot = world.snapshot(make);
        let began = std::time::Instant::now();
        let ran = world.run(&["check"]);
        assert!(ran.code == 5 && ran.text().contains("/bad"), "{what}: {}", ran.text());
        for more in [&[][..], &["--overwrite", "always", "--verify"]] {
            let ran = world.restore(&snapshot, more, &[5]);
            assert!(ran.text().contains("/bad"), "{what}: {}", ran.text());
            assert_good(&world);
        }
        assert!(began.elapsed().as_secs() < 30, "{what}: it took {:?}", began.elapsed());
    }
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
        // With an owner and a mode that whoever runs this may give it.
        let mut holes = trees.file(b"holes", b"any");
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
        assert!(ran.code == 5 && ran.text().contains("/bad"), "{what}: {}", ran.text());
        let ran = world.restore(&snapshot, &[], &[5]);
        assert!(ran.text().contains("/bad"), "{what}: {}", ran.text());
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
                assert!(ran.code == 5 || what == "other bytes", "{what}: {}", ran.text());
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
            maker: Default::default(),
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
        assert!(ran.text().contains("/bad"), "{what}: {}", ran.text());
        assert_good(&world);
        let ran = world.run(&["check", "--read-data"]);
        assert_eq!(
            ran.code,
            5,
            "check says nothing of a segment {what} than its chunk, and restore fails on it: {}",
            ran.text()
        );
    }
}

#[test]
fn a_chunk_that_two_files_name_with_two_lengths_is_lost_for_one_of_them() {
    for claimed in [9u64, 11] {
        let world = World::new();
        world.snapshot(|trees| {
            let id = trees.data(b"0123456789");
            let named = |name: &[u8], length| Node { name: name.to_vec(), ..file_of(id, length) };
            with_good(trees, vec![named(b"as it is", 10), named(b"otherwise", claimed)])
        });
        let ran = world.run(&["check"]);
        assert_eq!(ran.code, 5, "{claimed}: {}", ran.text());
        assert!(ran.text().contains("/otherwise: "), "{claimed}: {}", ran.text());
        assert!(!ran.text().contains("/as it is"), "{claimed}: {}", ran.text());
    }
}

#[test]
fn the_list_of_a_file_that_can_not_be_written_is_not_read_to_its_end() {
    let world = World::new();
    let snapshot = world.snapshot(|trees| {
        // Three windows and more; the last page is lost, which is told when it is read.
        let data = Segment { kind: SegmentKind::Data(trees.data(&[b'x'; 64])), length: 64 };
        let segments = ContentPage::Segments(vec![data; limits::SEGMENTS_INLINE]);
        let covers = 64 * limits::SEGMENTS_INLINE as u64;
        let page = trees.page(&content::encode_page(&segments));
        let mut pages = vec![(page, covers); 400];
        pages.push((Id([7; 32]), covers));
        let mut file = Node::new(b"bad", NodeType::File);
        file.size = pages.iter().map(|(_, covers)| covers).sum();
        file.content = Content::Page(trees.page(&content::encode_page(&ContentPage::Pages(1, pages))));
        with_good(trees, vec![folder(b"locked", trees.of(&[file]))])
    });
    let locked = world.at("target/locked");
    fs::create_dir(&locked).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if rustix::process::geteuid().is_root() {
        let locked = std::process::Command::new("chattr").arg("+i").arg(&locked).status().unwrap();
        assert!(locked.success());
    }
    let ran = world.restore(&snapshot, &["--memory", "64M"], &[3]);
    assert!(ran.text().contains("/locked/bad") && !ran.text().contains("lost"), "{}", ran.text());
    assert_good(&world);
    // Where it can be written it is, but for that page.
    let elsewhere = world.at("target/elsewhere");
    let arguments = ["restore", &format!("{snapshot}:locked"), "-t", elsewhere.to_str().unwrap()];
    let ran = world.run(&arguments);
    assert!(ran.code == 5 && ran.text().contains("lost"), "{}", ran.text());
}
