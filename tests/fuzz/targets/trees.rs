//! Nodes, pages of folders, pages of long files.

use copal::format::content::{self, ContentPage};
use copal::format::tree::{self, PageReference, Tree};
use copal::format::{limits, node};
use copal::model::{
    Content, Cutter, Id16, Node, NodeType, Segment, SegmentKind, Time, Unread, Xattr, XattrValue,
};

use super::id;

pub(super) fn segments() -> Vec<Segment> {
    vec![
        Segment { kind: SegmentKind::Hole, length: 1 << 40 },
        Segment { kind: SegmentKind::Data(id(1)), length: 100 },
        Segment { kind: SegmentKind::Gap, length: 7 },
    ]
}

fn nodes() -> Vec<Node> {
    let mut file = Node::new(b"file", NodeType::File);
    file.content = Content::Inline(segments());
    file.size = segments().iter().map(|segment| segment.length).sum();
    (file.mode, file.uid, file.gid, file.mtime, file.btime) =
        (0o4755, 1000, u32::MAX - 1, Time { seconds: -5, nanos: 9 }, Some(Time::default()));
    (file.user, file.group, file.link, file.cutter) =
        (b"ann".to_vec(), b"users".to_vec(), Some(Id16([3; 16])), Some(Cutter::gear(4096)));
    file.xattrs = vec![
        Xattr { name: b"user.a".to_vec(), value: XattrValue::Inline(b"value".to_vec()) },
        Xattr { name: b"user.b".to_vec(), value: XattrValue::Chunk(id(4), 5000) },
    ];
    (file.flags, file.error, file.unread) = (0x40, Some(Unread::Changed), vec!["acl".to_owned()]);
    file.unknown = vec![(99, b"later".to_vec())];
    let mut before = Node::new(b"paged", NodeType::File);
    before.error = Some(Unread::Changed);
    let mut paged = Node::new(b"paged", NodeType::File);
    (paged.content, paged.size, paged.previous) = (Content::Page(id(9)), 1 << 50, node::encode(&before));
    let mut folder = Node::new(b"zfolder", NodeType::Directory);
    folder.tree = Some(id(2));
    let mut link = Node::new(b"zlink", NodeType::Symlink);
    link.target = b"../somewhere".to_vec();
    let mut device = Node::new(b"zz", NodeType::BlockDevice);
    device.device = (8, 1);
    vec![file, paged, folder, link, device]
}

pub(super) fn node_seeds() -> Vec<Vec<u8>> {
    nodes().iter().map(node::encode).collect()
}

fn check_node(node: &Node) {
    assert!(node::is_sound_name(&node.name) && node.mode <= 0o7777 && node.size <= i64::MAX as u64);
    if let (NodeType::File, Content::Inline(segments)) = (node.kind, &node.content) {
        let total: u128 = segments.iter().map(|segment| u128::from(segment.length)).sum();
        assert_eq!(total, u128::from(node.size));
    }
    let bytes = node::encode(node);
    assert_eq!(node::name_of(&bytes).as_ref(), Some(&node.name));
    // What is left out of its bytes may make them shorter, never longer than what was read.
    let again = node::decode(&bytes).expect("a node that was accepted is accepted again");
    assert_eq!(again, *node);
    assert_eq!(node::encode(&again), bytes);
}

pub(super) fn node(data: &[u8]) -> bool {
    let _ = node::name_of(data);
    let Ok(node) = node::decode(data) else { return false };
    check_node(&node);
    // As whoever walks does: each holds the next.
    let mut previous = node.previous;
    while let Ok(node) = node::decode(&previous) {
        check_node(&node);
        assert!(node.previous.len() < previous.len());
        previous = node.previous;
    }
    true
}

pub(super) fn tree_seeds() -> Vec<Vec<u8>> {
    let page = |byte, name: &[u8]| PageReference { id: id(byte), entries: 5000, last: name.to_vec() };
    vec![
        tree::encode_nodes(node_seeds()),
        tree::encode_pages(3, &[page(1, b"f"), page(2, b"zz")]),
        tree::encode_nodes(Vec::<Vec<u8>>::new()),
    ]
}

pub(super) fn tree(data: &[u8]) -> bool {
    match tree::decode(data) {
        Ok(Tree::Nodes(list)) => {
            let (count, mut told, mut good, mut last) = (list.len(), 0, Vec::new(), Vec::new());
            let _ = list.last_name();
            assert!(count <= limits::PAGE_MAX && list.is_empty() == (count == 0));
            for node in list {
                told += 1;
                let Ok(node) = node else { continue };
                assert!(node.name > last);
                last.clone_from(&node.name);
                good.push(node);
            }
            assert_eq!(told, count, "every node is given, or said not to be readable");
            let bytes = tree::encode_nodes(good.iter().map(node::encode));
            let Ok(Tree::Nodes(again)) = tree::decode(&bytes) else { panic!("accepted, and then not") };
            assert_eq!(again.collect::<Result<Vec<_>, _>>().expect("the good ones stay good"), good);
            told == good.len()
        }
        Ok(Tree::Pages(level, pages)) => {
            assert!((1..=limits::LEVEL_MAX).contains(&level) && !pages.is_empty());
            assert!(pages.windows(2).all(|pair| pair[0].last < pair[1].last));
            let bytes = tree::encode_pages(level, &pages);
            assert_eq!(tree::decode(&bytes), Ok(Tree::Pages(level, pages)));
            true
        }
        Err(_) => false,
    }
}

pub(super) fn content_seeds() -> Vec<Vec<u8>> {
    let page = |page: &ContentPage| [&[0][..], &content::encode_page(page)].concat();
    vec![
        page(&ContentPage::Segments(segments())),
        page(&ContentPage::Pages(2, vec![(id(1), 5), (id(2), u64::MAX)])),
        [&[1][..], &content::encode_segments(&segments())].concat(),
    ]
}

pub(super) fn content(data: &[u8]) -> bool {
    match data.split_first() {
        Some((0, bytes)) => {
            let Ok(page) = content::decode_page(bytes) else { return false };
            let _ = page.is_empty();
            assert_eq!(content::decode_page(&content::encode_page(&page)), Ok(page));
            true
        }
        Some((_, bytes)) => {
            let Ok(list) = content::decode_segments(bytes, 64) else { return false };
            assert!(list.len() <= 64 && list.iter().all(|segment| segment.length > 0));
            let _ = content::check_runs(&list);
            // One list has one form.
            assert_eq!(content::encode_segments(&list), bytes);
            true
        }
        None => false,
    }
}
