//! What a repair of snapshots writes, for each thing that can be lost.

use std::os::unix::fs::PermissionsExt;

use copal::format::content::ContentPage;
use copal::format::node;
use copal::format::note::Verb;
use copal::format::tree::Tree;
use copal::model::{
    Content, Contents, ENTRIES_LOST, Id, Node, NodeType, Segment, SegmentKind, Snapshot, Unread, Xattr,
    XattrValue,
};
use copal::patterns::Patterns;
use copal::progress::Silent;
use copal::repository::build::TreeBuilder;
use copal::restore::{self, Overwrite, Restored};

use crate::common::noise;
use crate::place::Place;

/// Paths below the source.
fn path(place: &Place, name: &str) -> Vec<u8> {
    format!("{}/{name}", place.source.path().display()).into_bytes()
}

/// Data segments of a node.
fn data(place: &Place, node: &Node) -> Vec<Id> {
    let mut ids = Vec::new();
    let mut each = |segment: Segment| {
        if let SegmentKind::Data(id) = segment.kind {
            ids.push(id);
        }
        Ok(())
    };
    place.open().segments(&node.content, node.size, &mut each).unwrap();
    ids
}

#[test]
fn lost_content_becomes_a_gap_and_everything_else_stays() {
    let place = Place::new(4096);
    let content = noise(1, 300_000);
    place.write("folder/file", &content);
    place.write("folder/beside", "beside");
    place.write("other/file", noise(2, 50_000));
    let name = place.back_up();
    place.note(&name, Verb::Protect);
    let before = place.nodes(place.snapshot(&name).root);
    let file = &before[&path(&place, "folder/file")];
    let ids = data(&place, file);
    // Two beside each other, and one by itself.
    place.lose(&[(Contents::Data, ids[3]), (Contents::Data, ids[4]), (Contents::Data, ids[9])]);

    let repository = place.open();
    let wanted = copal::repair::Wanted { only: vec![name], forget: true };
    let outcome = place
        .with_tools(&repository, |tools| copal::repair::snapshots(tools, &wanted, &mut |_| true))
        .unwrap();
    drop(repository);
    let lost = outcome.plan.hit[0].lost;
    assert_eq!((lost.files, outcome.written.len()), (1, 1));
    assert_eq!(outcome.plan.protected, [name], "what is protected is not forgotten");
    let new = place.snapshot(&outcome.written[0].1);
    let old = place.snapshot(&name);
    assert_eq!(new.stands_for, Some(name));
    assert!(new.incomplete && new.state.is_empty());
    assert_eq!((new.time, &new.host, &new.tags), (old.time, &old.host, &old.tags));
    let all = place.open().snapshots().unwrap();
    let standing = all.confirmed.iter().find(|named| named.name == outcome.written[0].1).unwrap();
    assert!(standing.standing.protected);

    let after = place.nodes(new.root);
    assert!(before.keys().eq(after.keys()));
    let victim = path(&place, "folder/file");
    for (path, node) in &after {
        assert_eq!(*node == before[path], !victim.starts_with(path), "{}", path.escape_ascii());
    }
    let (bytes, gaps) = place.bytes(&after[&path(&place, "folder/file")]);
    assert_eq!((bytes.len(), gaps), (content.len(), lost.bytes));
    let differ = bytes.iter().zip(&content).filter(|(one, other)| one != other);
    assert!(differ.clone().all(|(one, _)| *one == 0));
    assert!(differ.count() as u64 > lost.bytes * 9 / 10);
    let Content::Inline(segments) = &after[&path(&place, "folder/file")].content else { panic!() };
    assert_eq!(segments.iter().filter(|segment| segment.kind == SegmentKind::Gap).count(), 2);

    // Not protected any more: then it goes, and all is well.
    place.note(&name, Verb::Unprotect);
    assert_eq!(place.repair_snapshots().forgotten, [name]);
    place.is_sound();
}

#[test]
fn lost_pages_of_a_long_list_of_contents_become_gaps() {
    let place = Place::new(256);
    let content = noise(3, 900_000);
    place.write("long", &content);
    let name = place.back_up();
    let before = place.nodes(place.snapshot(&name).root);
    let Content::Page(page) = before[&path(&place, "long")].content else { panic!("too short a list") };
    let ContentPage::Pages(1, pages) = place.open().load_content_page(&page).unwrap() else { panic!() };
    assert!(pages.len() > 3);
    let (victim, covers) = pages[1];
    place.lose(&[(Contents::Trees, victim)]);
    let outcome = place.repair_snapshots();
    assert_eq!(outcome.plan.hit[0].lost.bytes, covers);
    let after = place.nodes(place.snapshot(&outcome.written[0].1).root);
    let (bytes, gaps) = place.bytes(&after[&path(&place, "long")]);
    assert_eq!((bytes.len(), gaps), (content.len(), covers));
    let start = pages[0].1 as usize;
    assert_eq!(bytes[..start], content[..start]);
    assert_eq!(bytes[start + covers as usize..], content[start + covers as usize..]);
    place.is_sound();

    // The first page itself: all of the file.
    let place = Place::new(256);
    place.write("long", &content);
    place.write("short", "short");
    let name = place.back_up();
    let before = place.nodes(place.snapshot(&name).root);
    let Content::Page(page) = before[&path(&place, "long")].content else { panic!("too short a list") };
    place.lose(&[(Contents::Trees, page)]);
    let outcome = place.repair_snapshots();
    let after = place.nodes(place.snapshot(&outcome.written[0].1).root);
    let gap = Segment { kind: SegmentKind::Gap, length: content.len() as u64 };
    assert_eq!(after[&path(&place, "long")].content, Content::Inline(vec![gap]));
    assert_eq!(place.bytes(&after[&path(&place, "short")]).0, b"short");
    place.is_sound();
}

#[test]
fn a_lost_folder_is_unknown_and_never_empty() {
    let place = Place::new(4096);
    place.write("folder/file", noise(1, 10_000));
    place.write("beside", "beside");
    let name = place.back_up();
    let before = place.nodes(place.snapshot(&name).root);
    let folder = &before[&path(&place, "folder")];
    place.lose(&[(Contents::Trees, folder.tree.unwrap())]);
    let outcome = place.repair_snapshots();
    assert_eq!(outcome.plan.hit[0].lost.folders, 1);
    let after = place.nodes(place.snapshot(&outcome.written[0].1).root);
    let marked = &after[&path(&place, "folder")];
    assert_eq!((marked.kind, marked.was), (NodeType::Unreadable, Some(NodeType::Directory)));
    assert_eq!((marked.error, marked.mode), (Some(Unread::InputOutput), folder.mode));
    assert_eq!((marked.mtime, &marked.unread), (folder.mtime, &vec![ENTRIES_LOST.to_owned()]));
    assert_eq!(place.bytes(&after[&path(&place, "beside")]).0, b"beside");
    place.is_sound();
}

#[test]
fn of_a_lost_root_what_led_to_the_sources_is_unknown() {
    let place = Place::new(4096);
    place.write("file", "file");
    let name = place.back_up();
    place.lose(&[(Contents::Trees, place.snapshot(&name).root)]);
    let outcome = place.repair_snapshots();
    assert!(outcome.plan.hit[0].is_all_lost);
    let new = place.snapshot(&outcome.written[0].1);
    let after = place.nodes(new.root);
    assert!(new.incomplete);
    assert_eq!(after.len(), 1);
    assert!(after.values().all(|node| node.kind == NodeType::Unreadable && node.has_lost_entries()));
    place.is_sound();
}

#[test]
fn a_lost_page_of_a_large_folder_costs_its_entries() {
    let place = Place::new(4096);
    let repository = place.open();
    let link = |number: usize| {
        let mut node = Node::new(format!("{number:06}").as_bytes(), NodeType::Symlink);
        node.target = vec![b'x'; 2000];
        node
    };
    let root = place.store(&repository, |store| {
        let mut builder = TreeBuilder::new(store, 0);
        for node in (0..1500).map(link) {
            builder.push(&node.name, node::encode(&node)).unwrap();
        }
        let mut folder = Node::new(b"folder", NodeType::Directory);
        folder.tree = Some(builder.finish().unwrap());
        let mut builder = TreeBuilder::new(store, 0);
        builder.push(b"folder", node::encode(&folder)).unwrap();
        builder.finish().unwrap()
    });
    place.commit(&repository, Snapshot { root, sources: vec![b"/folder".to_vec()], ..Snapshot::default() });
    let tree = repository.find_node(root, &[b"folder"]).unwrap().unwrap().tree.unwrap();
    let Tree::Pages(1, pages) = repository.load_tree(&tree).unwrap() else { panic!("one page only") };
    drop(repository);
    assert!(pages.len() > 2);
    place.lose(&[(Contents::Trees, pages[1].id)]);
    let outcome = place.repair_snapshots();
    assert_eq!(outcome.plan.hit[0].lost.partly, 1);
    let after = place.nodes(place.snapshot(&outcome.written[0].1).root);
    assert_eq!(after.len() as u64, 1 + 1500 - pages[1].entries);
    let folder = &after[&b"/folder"[..]];
    assert!(folder.kind == NodeType::Directory && folder.has_lost_entries());
    // An archive of that very folder is not told to be whole.
    let (repository, stop) = (place.open(), std::sync::atomic::AtomicBool::new(false));
    let mut told = Vec::new();
    let mut left_out = |path: &[u8], what: &str| told.push((path.to_vec(), what.to_owned()));
    let mut work = copal::dump::Work {
        repository: &repository,
        stop: &stop,
        base: b"/folder",
        is_repaired: true,
        left_out: &mut left_out,
    };
    let tree = (folder.tree.unwrap(), folder.has_lost_entries());
    let dumped = work.folder(copal::dump::Kind::Tar, tree, &mut Vec::new()).unwrap();
    assert_eq!((dumped.left_out, dumped.others), (1, 1500 - pages[1].entries));
    assert!(told[0].0 == b"/folder" && told[0].1.contains("are lost"), "{told:?}");
    // Nothing that a restore finds there is known to be too much.
    let lost = (0..1500).map(|number| format!("{number:06}"));
    let lost =
        lost.into_iter().find(|name| !after.contains_key(format!("/folder/{name}").as_bytes())).unwrap();
    for path in [vec![], vec![b"folder".to_vec()]] {
        let target = tempfile::tempdir().unwrap();
        let inside = if path.is_empty() { target.path().join("folder") } else { target.path().to_path_buf() };
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join(&lost), "still here").unwrap();
        let done = restore_deleting(&place, &outcome.written[0].1, path, target.path());
        assert_eq!((done.damaged, done.deleted), (0, 0));
        assert!(done.problems > 0, "it is told");
        // These nodes say that nobody may enter.
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(std::fs::read(inside.join(&lost)).unwrap(), b"still here");
    }
    place.is_sound();
}

#[test]
fn what_a_repair_marked_as_lost_was_not_deleted() {
    let place = Place::new(4096);
    let repository = place.open();
    let made = |target: u8| {
        place.store(&repository, |store| {
            let mut builder = TreeBuilder::new(store, 0);
            for number in 0..1500 {
                let mut node = Node::new(format!("{number:06}").as_bytes(), NodeType::Symlink);
                node.target = vec![target; 2000];
                builder.push(&node.name, node::encode(&node)).unwrap();
            }
            let mut folder = Node::new(b"folder", NodeType::Directory);
            folder.tree = Some(builder.finish().unwrap());
            let mut builder = TreeBuilder::new(store, 0);
            builder.push(b"folder", node::encode(&folder)).unwrap();
            builder.finish().unwrap()
        })
    };
    let [before, root] = [b'x', b'y'].map(|target| {
        let root = made(target);
        let sources = vec![b"/folder".to_vec()];
        place.commit(&repository, Snapshot { root, sources, ..Snapshot::default() });
        place.days(1);
        root
    });
    assert!(before != root);
    let tree = repository.find_node(root, &[b"folder"]).unwrap().unwrap().tree.unwrap();
    let Tree::Pages(1, pages) = repository.load_tree(&tree).unwrap() else { panic!("one page only") };
    drop(repository);
    place.lose(&[(Contents::Trees, pages[1].id)]);
    let outcome = place.repair_snapshots();
    let after = place.nodes(place.snapshot(&outcome.written[0].1).root);
    let lost = (0..1500).map(|number| format!("{number:06}"));
    let lost =
        lost.into_iter().find(|name| !after.contains_key(format!("/folder/{name}").as_bytes())).unwrap();
    let repository = place.open();
    let all = repository.snapshots().unwrap();
    let catalogue = copal::index::catalogue::Catalogue::in_memory(&repository.id()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    copal::catalogue::fill(&repository, &catalogue, &all.confirmed, &stop, &mut |_| {}).unwrap();
    let timelines = copal::catalogue::Timelines::new(&all.confirmed, Some(&catalogue)).unwrap();
    let names = [&b"folder"[..], lost.as_bytes()];
    let number = catalogue.number(&names).unwrap().unwrap();
    let quick = copal::catalogue::history(&catalogue, &timelines, number, false).unwrap();
    let slow =
        copal::catalogue::history_by_walking(&repository, &timelines, &names, false, &stop, &mut Vec::new())
            .unwrap();
    for histories in [quick, slow] {
        let [history] = &histories[..] else { panic!("{histories:?}") };
        let [version] = &history.versions[..] else { panic!("{history:?}") };
        assert_eq!(version.last.snapshot.root, before);
        assert!(version.gone.is_none(), "lost is not deleted");
    }
    // What is there is told apart from it.
    let kept = after.keys().next_back().unwrap().split(|byte| *byte == b'/').next_back().unwrap();
    let number = catalogue.number(&[b"folder", kept]).unwrap().unwrap();
    let histories = copal::catalogue::history(&catalogue, &timelines, number, false).unwrap();
    assert_eq!(histories[0].versions.len(), 2);
}

/// Restores a snapshot, or a path of it, and removes from the target what it does not have.
fn restore_deleting(place: &Place, name: &Id, path: Vec<Vec<u8>>, target: &std::path::Path) -> Restored {
    let repository = place.open();
    let all = repository.snapshots().unwrap();
    let named = all.confirmed.iter().find(|named| named.name == *name).unwrap();
    let options = restore::Options {
        target: target.to_path_buf(),
        path,
        include: Patterns::none(),
        exclude: Patterns::none(),
        overwrite: Overwrite::Always,
        delete: true,
        dry_run: false,
        verify: false,
        numeric_ids: false,
        sparse: false,
        memory: copal::repository::store::MEMORY,
        own: Default::default(),
        tell_files: false,
        beside: String::new(),
        keep_present: false,
        kept: Default::default(),
        is_to_last: true,
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    restore::restore(&repository, named, &options, &Silent, &stop).unwrap()
}

#[test]
fn lost_attributes_are_named_and_what_was_known_of_the_unreadable_goes_when_it_is_lost() {
    let place = Place::new(4096);
    let repository = place.open();
    let value = noise(5, 9000);
    let (root, attribute, content) = place.store(&repository, |store| {
        let (attribute, _) = store.save(0, Contents::Data, &value).unwrap();
        let content = noise(6, 5000);
        let (id, _) = store.save(0, Contents::Data, &content).unwrap();
        let mut file = Node::new(b"a", NodeType::File);
        let chunk = XattrValue::Chunk(attribute, value.len() as u64);
        file.xattrs = vec![
            Xattr { name: b"user.long".to_vec(), value: chunk },
            Xattr { name: b"user.short".to_vec(), value: XattrValue::Inline(b"short".to_vec()) },
        ];
        let mut before = Node::new(b"b", NodeType::File);
        before.size = content.len() as u64;
        before.content = Content::Inline(vec![Segment { kind: SegmentKind::Data(id), length: before.size }]);
        let mut unreadable = Node::new(b"b", NodeType::Unreadable);
        unreadable.error = Some(Unread::Permission);
        unreadable.previous = node::encode(&before);
        let mut builder = TreeBuilder::new(store, 0);
        for node in [&file, &unreadable] {
            builder.push(&node.name, node::encode(node)).unwrap();
        }
        (builder.finish().unwrap(), attribute, id)
    });
    place.commit(&repository, Snapshot { root, sources: vec![b"/a".to_vec()], ..Snapshot::default() });
    drop(repository);
    place.lose(&[(Contents::Data, attribute), (Contents::Data, content)]);
    assert!(place.prune().is_err(), "a prune would not know what is needed");
    let findings = place.check(copal::check::Reading::Nothing).findings;
    let hit = |name: &str| findings.iter().any(|finding| finding.object.ends_with(name));
    assert!(hit(":/a") && hit(":/b"), "{findings:?}");
    let outcome = place.repair_snapshots();
    let lost = outcome.plan.hit[0].lost;
    assert_eq!((lost.attributes, lost.previous, lost.files), (1, 1, 0));
    let after = place.nodes(place.snapshot(&outcome.written[0].1).root);
    assert_eq!(after[&b"/a"[..]].xattrs.len(), 1);
    assert_eq!(after[&b"/a"[..]].unread, ["attribute user.long"]);
    let unreadable = &after[&b"/b"[..]];
    assert!(unreadable.previous.is_empty() && unreadable.error == Some(Unread::Permission));
    place.is_sound();
}

#[test]
fn a_gap_takes_in_the_holes_beside_it() {
    let place = Place::new(4096);
    let repository = place.open();
    let (root, victim) = place.store(&repository, |store| {
        let chunks = [noise(1, 1000), noise(2, 1000), noise(3, 40)];
        let ids: Vec<Id> =
            chunks.iter().map(|chunk| store.save(0, Contents::Data, chunk).unwrap().0).collect();
        let piece = |number: usize| Segment {
            kind: SegmentKind::Data(ids[number]),
            length: chunks[number].len() as u64,
        };
        let hole = Segment { kind: SegmentKind::Hole, length: 4096 };
        let segments = vec![piece(0), hole, piece(1), hole, piece(0), piece(2)];
        let mut file = Node::new(b"file", NodeType::File);
        file.size = segments.iter().map(|segment| segment.length).sum();
        file.content = Content::Inline(segments);
        let mut builder = TreeBuilder::new(store, 0);
        builder.push(&file.name, node::encode(&file)).unwrap();
        (builder.finish().unwrap(), ids)
    });
    place.commit(&repository, Snapshot { root, sources: vec![b"/file".to_vec()], ..Snapshot::default() });
    drop(repository);
    place.lose(&[(Contents::Data, victim[1]), (Contents::Data, victim[2])]);
    let outcome = place.repair_snapshots();
    let after = place.nodes(place.snapshot(&outcome.written[0].1).root);
    let Content::Inline(segments) = &after[&b"/file"[..]].content else { panic!() };
    let kinds: Vec<(bool, u64)> =
        segments.iter().map(|segment| (segment.kind == SegmentKind::Gap, segment.length)).collect();
    assert_eq!(kinds, [(false, 1000), (true, 9192), (false, 1000), (true, 40)]);
    place.is_sound();
}

#[test]
fn a_lost_change_cache_loses_nothing_that_was_saved() {
    let place = Place::new(4096);
    place.write("file", noise(1, 10_000));
    let name = place.back_up();
    let old = place.snapshot(&name);
    let SegmentKind::Data(id) = old.state[0].kind else { panic!() };
    place.lose(&[(Contents::Data, id)]);
    let report = place.check(copal::check::Reading::Nothing);
    assert!(report.findings.iter().any(|finding| finding.what.contains("change cache")), "{report:?}");
    let outcome = place.repair_snapshots();
    assert!(outcome.plan.hit[0].is_state_lost && outcome.plan.hit[0].lost.is_empty());
    let new = place.snapshot(&outcome.written[0].1);
    assert_eq!((new.root, new.incomplete), (old.root, old.incomplete));
    place.is_sound();
}
