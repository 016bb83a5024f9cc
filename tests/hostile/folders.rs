//! Hostile folders: names, pages that lie, depth. `check` and `restore` say what is wrong, and give back the rest.
//!
//! Cycles are not among them: a tree's id is a keyed hash of its bytes, which would have to hold the id itself or that of a tree above;
//! who can make one has broken BLAKE3. The nearest thing that can be made, a chain deeper than the limit and pages that name one page
//! many times, is here.

use crate::make::{Trees, World, assert_good, file_of, folder, refused, remove_deep, symlink, with_good};
use copal::format::content::{self, ContentPage};
use copal::format::limits;
use copal::format::tree::{self, PageReference};
use copal::model::{Content, Id, Node, NodeType, Segment, SegmentKind};

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
        assert_eq!(ran.code, 5, "{what}: {}", ran.text());
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
fn damage_that_many_paths_lead_to_is_told_once_for_each_folder_that_names_it() {
    let world = World::new();
    world.snapshot(|trees| {
        let mut tree = trees.of(&[file_of(Id([1; 32]), 5)]);
        for _ in 0..40 {
            tree = trees.of(&[folder(b"l", tree), folder(b"r", tree)]);
        }
        // And a list of contents of which 128^4 paths lead to one part that is lost.
        let lost = vec![Segment { kind: SegmentKind::Data(Id([2; 32])), length: 64 }; 128];
        let mut below = trees.page(&content::encode_page(&ContentPage::Segments(lost)));
        let mut covers = 64 * 128u64;
        for level in 1..=4 {
            below = trees.page(&content::encode_page(&ContentPage::Pages(level, vec![(below, covers); 128])));
            covers *= 128;
        }
        let mut file = Node::new(b"laughs", NodeType::File);
        (file.size, file.content) = (covers, Content::Page(below));
        with_good(trees, vec![folder(b"deep", tree), file])
    });
    let ran = world.check(5);
    assert!(
        ran.text().contains("42 errors were found"),
        "{}",
        &ran.text()[ran.text().len().saturating_sub(300)..]
    );
    assert!(ran.text().contains("2199023255552 of its 2199023255552 bytes are lost"));
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
    assert_eq!(ran.code, 5, "{}", ran.text());
    assert!(
        ran.text().contains("/lost"),
        "one folder too deep hides what else is wrong: {}",
        &ran.text()[..ran.text().len().min(2000)]
    );
}

/// Whether the chain of folders came back to its end. Removes it: it is too deep for the standard library.
fn took_back_to_the_bottom(world: &World) -> bool {
    let deep = world.at("target/deep");
    let found = std::process::Command::new("find").arg(&deep).args(["-name", "bottom"]).output().unwrap();
    remove_deep(&deep);
    !found.stdout.is_empty()
}

#[test]
fn restore_of_folders_deeper_than_the_limit_gives_back_the_rest_and_tells_what_it_does_not() {
    let world = World::new();
    let snapshot = world.snapshot(too_deep);
    let ran = world.restore(&snapshot, &["-q"], &[0, 3, 5]);
    assert!(ran.text().len() < 1 << 20, "{} bytes of text", ran.text().len());
    assert_good(&world);
    assert_eq!(
        ran.code == 0,
        took_back_to_the_bottom(&world),
        "{}",
        &ran.text()[..ran.text().len().min(600)]
    );
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
    assert_eq!(
        ran.code == 0,
        took_back_to_the_bottom(&world),
        "{}",
        &ran.text()[..ran.text().len().min(600)]
    );
    assert_good(&world);
}
