//! Every decoder on mutated, cut and random bytes: an error or something that keeps the rules, never a panic, never memory far beyond the input.

use crate::memory::peak_of;
use crate::mutations::mutate;
use copal::crypto::{Keys, MasterKey};
use copal::format::content::{self, ContentPage};
use copal::format::record::{Cursor, Reader, Writer};
use copal::format::tree::{self, PageReference, Tree};
use copal::format::{config, header, limits, node, pack, parity};
use copal::model::{
    Content, Contents, Cutter, Id, Id16, Node, NodeType, Segment, SegmentKind, Time, Unread, Xattr,
    XattrValue,
};

/// Mutations of each valid encoding.
const MUTATIONS: u64 = 3000;
/// Memory for each byte of input: a node of 8 bytes becomes a struct of some hundred, in a list that doubles.
const FACTOR: usize = 256;
/// Memory for any input, however short: error texts, first capacities.
pub const SLACK: usize = 1 << 20;

/// Decodes mutations of each of these encodings; whatever it gives, it takes no more memory than the input justifies.
pub fn attack(what: &str, valid: &[Vec<u8>], mut decode: impl FnMut(&[u8]) -> bool) {
    let (mut accepted, mut refused) = (0, 0);
    for (number, bytes) in valid.iter().enumerate() {
        assert!(decode(bytes), "{what}: valid encoding {number} is refused");
        let other = &valid[(number + 1) % valid.len()];
        for length in 0..bytes.len().min(400) {
            run(what, &bytes[..length], length as u64, &mut decode);
        }
        for round in 0..MUTATIONS {
            let seed = (number as u64) << 32 | round;
            match run(what, &mutate(bytes, other, seed), seed, &mut decode) {
                true => accepted += 1,
                false => refused += 1,
            }
        }
    }
    assert!(
        refused > accepted / 50,
        "{what}: {accepted} accepted and {refused} refused: the attack attacks nothing"
    );
}

fn run(what: &str, bytes: &[u8], seed: u64, decode: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| peak_of(|| decode(bytes))));
    let (accepted, peak) =
        result.unwrap_or_else(|_| panic!("{what}: panic with seed {seed:#x}: {bytes:02x?}"));
    let most = bytes.len() * FACTOR + SLACK;
    assert!(
        peak <= most,
        "{what}: {peak} bytes of memory for {} bytes of input, seed {seed:#x}: {bytes:02x?}",
        bytes.len()
    );
    accepted
}

pub fn keys() -> Keys {
    Keys::new(MasterKey::from_bytes([7; 32]), Id16([8; 16]))
}

pub fn id(byte: u8) -> Id {
    Id([byte; 32])
}

pub fn segments() -> Vec<Segment> {
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
    let mut paged = Node::new(b"paged", NodeType::File);
    (paged.content, paged.size) = (Content::Page(id(9)), 1 << 50);
    let mut folder = Node::new(b"zfolder", NodeType::Directory);
    folder.tree = Some(id(2));
    let mut link = Node::new(b"zlink", NodeType::Symlink);
    link.target = b"../somewhere".to_vec();
    let mut device = Node::new(b"zz", NodeType::BlockDevice);
    device.device = (8, 1);
    vec![file, paged, folder, link, device]
}

#[test]
fn varints_and_records_survive_anything() {
    let mut writer = Writer::default();
    writer.int(1, true, u64::MAX).sint(2, false, -1).time(3, true, Some(Time::default())).list(
        9,
        false,
        [b"a", b"b"],
    );
    let valid = [writer.finish(), vec![2, 1, 1]];
    attack("record", &valid, |bytes| {
        let mut reader = Reader::new(bytes);
        let mut last = 0;
        loop {
            match reader.next() {
                Ok(Some(field)) => {
                    assert!(field.number > last && field.value.len() <= bytes.len());
                    last = field.number;
                    let _ = (
                        field.int(),
                        field.sint(),
                        field.time(),
                        field.id(),
                        field.text(),
                        field.list(1000, |bytes| Ok(bytes.len())),
                        field.unknown(),
                    );
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    });
    attack("cursor", &[vec![0x80, 0x80, 1], vec![3, 1, 2, 3]], |bytes| {
        let mut cursor = Cursor(bytes);
        let varint = cursor.varint().is_ok();
        let _ = Cursor(bytes).prefixed();
        varint
    });
}

#[test]
fn nodes_survive_anything_and_what_is_accepted_keeps_the_rules() {
    let valid: Vec<Vec<u8>> = nodes().iter().map(node::encode).collect();
    attack("node", &valid, |bytes| {
        let Ok(node) = node::decode(bytes) else { return false };
        assert!(node::is_sound_name(&node.name) && node.mode <= 0o7777 && node.size <= i64::MAX as u64);
        if let (NodeType::File, Content::Inline(segments)) = (node.kind, &node.content) {
            assert_eq!(
                segments.iter().map(|segment| u128::from(segment.length)).sum::<u128>(),
                u128::from(node.size)
            );
        }
        // What was accepted can be written again and is the same.
        let again = node::decode(&node::encode(&node)).expect("a node that was accepted is accepted again");
        assert_eq!(again, node);
        true
    });
}

#[test]
fn trees_survive_anything_and_what_is_accepted_is_in_order() {
    let leaf = tree::encode_nodes(nodes().iter().map(node::encode));
    let page = |byte, name: &[u8]| PageReference { id: id(byte), entries: 5000, last: name.to_vec() };
    let pages = tree::encode_pages(3, &[page(1, b"f"), page(2, b"zz")]);
    attack("tree", &[leaf, pages, tree::encode_nodes(Vec::<Vec<u8>>::new())], |bytes| {
        match tree::decode(bytes) {
            Ok(Tree::Nodes(nodes)) => {
                let (mut last, mut count, mut bad) = (Vec::new(), 0, 0);
                for node in nodes {
                    count += 1;
                    match node {
                        Ok(node) => {
                            assert!(node.name > last, "names ascend");
                            last = node.name;
                        }
                        Err(_) => bad += 1,
                    }
                }
                assert!(count <= limits::PAGE_MAX);
                bad == 0
            }
            Ok(Tree::Pages(level, pages)) => {
                assert!(
                    level <= limits::LEVEL_MAX
                        && !pages.is_empty()
                        && pages.windows(2).all(|pair| pair[0].last < pair[1].last)
                );
                true
            }
            Err(_) => false,
        }
    });
}

#[test]
fn contents_survive_anything() {
    let valid = [
        content::encode_page(&ContentPage::Segments(segments())),
        content::encode_page(&ContentPage::Pages(2, vec![(id(1), 100), (id(2), u64::MAX >> 2)])),
    ];
    attack("content page", &valid, |bytes| content::decode_page(bytes).is_ok());
    attack("segments", &[content::encode_segments(&segments())], |bytes| {
        match content::decode_segments(bytes, limits::SEGMENTS_INLINE) {
            Ok(segments) => {
                assert!(
                    segments.len() <= limits::SEGMENTS_INLINE
                        && segments.iter().all(|segment| segment.length > 0)
                );
                assert!(
                    u64::try_from(segments.iter().map(|segment| u128::from(segment.length)).sum::<u128>())
                        .is_ok()
                );
                true
            }
            Err(_) => false,
        }
    });
    attack(
        "cutter",
        &[config::encode_cutter(&Cutter::default()), config::encode_cutter(&Cutter::gear(1 << 16))],
        |bytes| {
            config::decode_cutter(bytes).is_ok_and(|cutter| {
                assert!(cutter.is_sound() && cutter.maximum as usize <= limits::CHUNK_MAX);
                true
            })
        },
    );
}

pub fn directory() -> pack::Directory {
    let block = |offset: u64, codec, stored, plain, chunks: Vec<(Id, u32)>| pack::Block {
        codec,
        offset,
        stored,
        plain,
        chunks,
    };
    pack::Directory {
        contents: Contents::Data,
        blocks: vec![
            block(96, 1, 50, 300, vec![(id(1), 100), (id(2), 200)]),
            block(146, 0, 26, 10, vec![(id(3), 10)]),
        ],
        domain: Id16([1; 16]),
        written: Time { seconds: 5, nanos: 0 },
    }
}

#[test]
fn pack_directories_and_footers_survive_anything() {
    attack("pack directory", &[pack::encode_directory(&directory())], |bytes| {
        match pack::decode_directory(bytes, 172) {
            Ok(directory) => {
                let mut end = 96;
                for block in &directory.blocks {
                    assert_eq!(block.offset, end);
                    end += u64::from(block.stored);
                    assert_eq!(
                        block.chunks.iter().map(|(_, length)| u64::from(*length)).sum::<u64>(),
                        u64::from(block.plain)
                    );
                    assert!(block.plain as usize <= limits::BLOCK_MAX);
                }
                assert!(end <= 172);
                true
            }
            Err(_) => false,
        }
    });
    let keys = keys();
    let key = pack::PackKey::new(&keys, Contents::Data, &[3; 32]);
    let mut whole = key.head();
    key.finish(&mut whole, &pack::encode_directory(&directory())).unwrap();
    let footer = whole[whole.len() - pack::FOOTER_LEN..].to_vec();
    attack("pack footer", &[footer], |bytes| {
        let mut fixed = [0; pack::FOOTER_LEN];
        let length = bytes.len().min(fixed.len());
        fixed[..length].copy_from_slice(&bytes[..length]);
        match pack::decode_footer(&fixed, whole.len() as u64, keys.repository) {
            Ok(footer) => {
                let end =
                    footer.directory_offset + u64::from(footer.directory_length) + pack::FOOTER_LEN as u64;
                assert_eq!(end, whole.len() as u64);
                true
            }
            Err(_) => false,
        }
    });
    attack("header", &[header::encode(3, keys.repository).to_vec()], |bytes| {
        header::decode(bytes, 3).is_ok()
    });
}

#[test]
fn recovery_data_survives_anything_and_gives_only_what_the_name_says() {
    let pack: Vec<u8> = (0..9000u32).map(|at| ((at * at) >> 3) as u8).collect();
    let name = copal::crypto::object_name(&pack);
    let made = |per_mille| {
        let shape = parity::Shape::new(pack.len() as u64, per_mille).unwrap();
        parity::encode(Id16([1; 16]), &name, &pack, &shape).unwrap()
    };
    let mut damaged = pack.clone();
    damaged[100] ^= 1;
    attack("recovery data", &[made(1), made(500), made(1000)], |bytes| match parity::find(bytes, &name) {
        Ok(found) => {
            assert!(found.spare() <= found.shape.recovery());
            assert!(found.shape.recovery() <= found.shape.originals());
            assert!(found.shape.originals() <= limits::PARITY_SHARDS_MAX);
            match found.recover(&name, damaged.clone()) {
                Ok(back) => {
                    assert!(back == pack);
                    true
                }
                Err(_) => false,
            }
        }
        Err(_) => false,
    });
}
