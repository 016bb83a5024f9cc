//! What the format document says is what the code does: every constant of section 12, every subkey context of section 4, the kinds, the header.

use std::collections::BTreeMap;

use copal::backend::Kind;
use copal::crypto::{Keys, MasterKey};
use copal::format::{header, limits, pack};
use copal::model::Id16;

const FORMAT: &str = include_str!("../docs/format.md");
const LIMITS: &str = include_str!("../src/format/limits.rs");
const KEYS: &str = include_str!("../src/crypto/key.rs");

/// The part of the document under a heading of that number.
fn section(number: u32) -> &'static str {
    let start = FORMAT.find(&format!("\n## {number}. ")).expect("the section is there") + 1;
    let rest = &FORMAT[start..];
    let end = rest[1..].find("\n## ").map_or(rest.len(), |end| end + 1);
    &rest[..end]
}

/// The cells of the rows of the table that begins with that header row.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let start = text.find(head).unwrap_or_else(|| panic!("no table {head:?}"));
    let rows: Vec<Vec<String>> = text[start..]
        .lines()
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "the table {head:?} is empty");
    rows
}

fn number(text: &str) -> u64 {
    let text = text.strip_suffix(" KiB").unwrap_or(text);
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

#[test]
fn every_constant_of_the_document_is_that_of_the_code_and_none_is_missing() {
    let documented: BTreeMap<String, u64> = table(section(12), "| name | value |")
        .into_iter()
        .map(|row| (row[0].clone(), number(&row[1])))
        .collect();
    let coded: BTreeMap<String, u64> = [
        ("HEADER_LEN", limits::HEADER_LEN as u64),
        ("SMALL_MAX", limits::SMALL_MAX as u64),
        ("SLOT_MAX", limits::SLOT_MAX as u64),
        ("KDF_MEMORY_MIN", limits::KDF_MEMORY_MIN.into()),
        ("KDF_MEMORY_MAX", limits::KDF_MEMORY_MAX.into()),
        ("PACK_TARGET", limits::PACK_TARGET as u64),
        ("PACK_MAX", limits::PACK_MAX),
        ("BLOCK_TARGET", limits::BLOCK_TARGET as u64),
        ("BLOCK_MAX", limits::BLOCK_MAX as u64),
        ("CHUNK_MAX", limits::CHUNK_MAX as u64),
        ("PAGE_MIN", limits::PAGE_MIN as u64),
        ("PAGE_MAX", limits::PAGE_MAX as u64),
        ("PAGE_BYTES", limits::PAGE_BYTES as u64),
        ("NODE_MAX", limits::NODE_MAX as u64),
        ("NAME_MAX", limits::NAME_MAX as u64),
        ("PACK_CHUNKS", limits::PACK_CHUNKS as u64),
        ("LEVEL_MAX", limits::LEVEL_MAX),
        ("DEPTH_MAX", limits::DEPTH_MAX as u64),
        ("SYMLINK_MAX", limits::SYMLINK_MAX as u64),
        ("XATTR_INLINE", limits::XATTR_INLINE as u64),
        ("SEGMENTS_INLINE", limits::SEGMENTS_INLINE as u64),
        ("SEGMENTS_PAGE_MIN", limits::SEGMENTS_PAGE_MIN as u64),
        ("SEGMENT_MIN", limits::SEGMENT_MIN),
        ("STATE_SEGMENTS_MAX", limits::STATE_SEGMENTS_MAX as u64),
        ("XATTR_NAME_MAX", limits::XATTR_NAME_MAX as u64),
        ("LIST_MAX", limits::LIST_MAX as u64),
        ("INDEX_PACKS", limits::INDEX_PACKS as u64),
        ("PARITY_SHARD_MIN", limits::PARITY_SHARD_MIN as u64),
        ("PARITY_SHARD_MAX", limits::PARITY_SHARD_MAX as u64),
        ("PARITY_SHARDS_MAX", limits::PARITY_SHARDS_MAX as u64),
        ("PARITY_MAX", limits::PARITY_MAX),
        ("FLAGS_KEPT", limits::FLAGS_KEPT.into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    assert_eq!(documented, coded);
    // This list itself must not lag behind the code.
    let in_code: Vec<&str> =
        LIMITS.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    assert_eq!(in_code.len(), coded.len(), "{in_code:?}");
    assert!(in_code.iter().all(|name| coded.contains_key(*name)), "{in_code:?}");
}

/// The contexts of section 4: by the name of the subkey.
fn contexts() -> BTreeMap<String, String> {
    table(section(4), "| subkey | context |")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].split('`').nth(1).expect("a context in back quotes").to_owned()))
        .collect()
}

fn documented_of(contexts: &mut BTreeMap<String, String>, name: &str, material: &[u8]) -> [u8; 32] {
    let context = contexts.remove(name).unwrap_or_else(|| panic!("section 4 has no context for {name:?}"));
    blake3::derive_key(&context, material)
}

#[test]
fn every_subkey_is_derived_with_the_context_of_the_document() {
    let (master, repository) = ([0x5a; 32], Id16([0xa5; 16]));
    let keys = Keys::new(MasterKey::from_bytes(master), repository);
    let material = [&master[..], &repository.0].concat();
    let mut contexts = contexts();
    let mut documented = |name: &str| documented_of(&mut contexts, name, &material);
    assert_eq!(documented("chunk id"), keys.chunk_id);
    assert_eq!(documented("tree id"), keys.tree_id);
    assert_eq!(documented("pack"), keys.pack);
    assert_eq!(documented("slot description"), keys.slot_description);
    assert_eq!(documented("link group"), keys.link_group);
    assert_eq!(documented("state"), keys.state);
    let mut table = [0; 2048];
    blake3::Hasher::new_keyed(&documented("cut")).update(b"copal gear table").finalize_xof().fill(&mut table);
    let words: Vec<u64> = table.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    assert_eq!(words, keys.gear_table().to_vec());
    let small = contexts.remove("small, one a kind").expect("section 4 has the small objects' context");
    for kind in Kind::ALL {
        let context = format!("{small}{}", kind.number());
        assert_eq!(blake3::derive_key(&context, &material), keys.small(kind.number()), "{context}");
    }
    let writer = contexts.remove("a write-only client's secret").expect("section 4 has the writers' context");
    let secret = blake3::derive_key(&format!("{writer}7"), &material);
    let private =
        documented_of(&mut contexts, "seal: the private half of the repository's X25519 key", &material);
    let shared = documented_of(&mut contexts, "shared index: under which the index is sealed", &material);
    let seed = documented_of(&mut contexts, "sign: the seed of the key pair that signs", &material);
    let signed_by = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    let sees = keys.writer_keys(7, true).unwrap().shared.clone().unwrap();
    assert_eq!((sees.index, sees.signed_by), (shared, signed_by));
    let given = keys.writer_keys(7, false).unwrap();
    assert!(given.shared.is_none());
    assert_eq!(
        (given.secret, given.seal),
        (secret, x25519_dalek::x25519(private, x25519_dalek::X25519_BASEPOINT_BYTES))
    );
    let writers = Keys::of_writer(&given, repository);
    let own = [&secret[..], &repository.0].concat();
    assert_eq!(blake3::derive_key("copal 2026-11 v1 pack", &own), writers.pack);
    assert_eq!(blake3::derive_key(&format!("{small}5"), &own), writers.small(5));
    assert_eq!(contexts, BTreeMap::new(), "contexts that this test does not know");
    // Nothing is derived that the document does not have.
    let derived = KEYS.matches("key(\"").count()
        + KEYS.matches("derive(\"").count()
        + KEYS.matches("derive(&format!(\"").count();
    // Ten of a full key's, a write-only client's secret, and small objects; under that secret two that stand above, one of them at two places.
    assert_eq!(derived, 15, "src/crypto/key.rs derives another number of subkeys than section 4 has");
}

#[test]
fn the_kinds_and_their_folders_are_those_of_the_document() {
    let rows = table(section(1), "| name | kind number |");
    assert_eq!(rows.len(), Kind::ALL.len());
    for (row, kind) in rows.iter().zip(Kind::ALL) {
        assert_eq!(row[1], kind.number().to_string());
        assert!(row[0].trim_matches('`').starts_with(&format!("{}/", kind.folder())), "{row:?}");
    }
    assert_eq!(
        [copal::format::config::KIND, copal::format::slot::KIND, pack::KIND, copal::format::index::KIND],
        [1, 2, 3, 4]
    );
    assert_eq!([copal::format::snapshot::KIND, copal::format::snapshot::CONFIRMED], [5, 6]);
    use copal::format::session;
    assert_eq!([session::SESSION, session::FENCE, session::REMOVAL, session::DAMAGE], [7, 8, 9, 11]);
}

#[test]
fn the_header_and_the_footer_have_the_bytes_of_the_document() {
    let magic = section(2).split("magic `").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    let bytes: Vec<u8> = magic.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    assert_eq!(bytes, header::MAGIC);
    let encoded = header::encode(7, Id16([9; 16]));
    assert_eq!(encoded[..8], header::MAGIC);
    assert_eq!(encoded[8..16], [7, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(encoded[16..], [9; 16]);
    // Index objects of full keys are signed.
    assert_eq!(header::encode(4, Id16([9; 16]))[8..16], [4, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(header::encode_by(7, 4, Id16([9; 16]))[8..16], [4, 1, 1, 0, 7, 0, 0, 0]);
    let keys = Keys::new(MasterKey::from_bytes([1; 32]), Id16([9; 16]));
    let key = pack::PackKey::new(&keys, copal::model::Contents::Data, &[3; 32]);
    let mut bytes = key.head();
    assert_eq!(bytes.len(), pack::BLOCKS_AT);
    let (offset, length) = key.finish(&mut bytes, b"a directory").unwrap();
    assert_eq!(bytes.len(), offset as usize + length as usize + pack::FOOTER_LEN);
    let footer = &bytes[bytes.len() - pack::FOOTER_LEN..];
    assert_eq!(footer[..96], bytes[..96]);
    assert_eq!(footer[96..104], offset.to_le_bytes());
    assert_eq!(footer[104..112], [length.to_le_bytes(), [0; 4]].concat());
    assert_eq!(&footer[112..120], b"COPALEND");
    // Section 5: the last 24 bytes are a keyed hash of the 120 before, under the pack key.
    assert!(section(5).contains("of the 120 bytes before"));
}

#[test]
fn the_defaults_of_the_document_are_those_of_the_code() {
    use copal::crypto::password::Cost;
    assert!(section(4).contains("Defaults: 128 MiB, 3 passes, 4 lanes."));
    assert_eq!(Cost::default(), Cost { memory: 128 << 10, passes: 3, lanes: 4 });
    for (cost, sound) in [
        (Cost { memory: limits::KDF_MEMORY_MIN, passes: 1, lanes: 1 }, true),
        (Cost { memory: limits::KDF_MEMORY_MAX, passes: 16, lanes: 16 }, true),
        (Cost { memory: limits::KDF_MEMORY_MIN - 1, passes: 1, lanes: 1 }, false),
        (Cost { memory: limits::KDF_MEMORY_MAX + 1, passes: 1, lanes: 1 }, false),
        (Cost { memory: limits::KDF_MEMORY_MIN, passes: 17, lanes: 1 }, false),
        (Cost { memory: limits::KDF_MEMORY_MIN, passes: 1, lanes: 0 }, false),
    ] {
        assert_eq!(cost.check().is_ok(), sound, "{cost:?}");
    }
    assert!(section(6).contains("The default is 16 KiB, 64 KiB, 256 KiB."));
    let cutter = copal::model::Cutter::default();
    assert_eq!([cutter.minimum, cutter.average, cutter.maximum], [16 << 10, 64 << 10, 256 << 10]);
}

#[test]
fn what_the_document_says_that_a_reader_refuses_in_a_node_or_page_is_refused() {
    use copal::format::record::Writer;
    use copal::format::tree::{self, PageReference};
    use copal::format::{content, node};
    use copal::model::{Id, Segment, SegmentKind};
    let segments = content::encode_segments(&[Segment { kind: SegmentKind::Data(Id([1; 32])), length: 5 }]);
    let file = |size: u64, inline: bool, page: bool| {
        let mut writer = Writer::default();
        writer.bytes(1, true, b"name").int(2, true, 1).int(10, true, size);
        writer.bytes(11, true, if inline { &segments } else { &[] });
        writer.id(12, true, page.then_some(&Id([2; 32])));
        node::decode(&writer.finish()).is_ok()
    };
    assert!(file(0, false, false) && file(5, true, false) && file(5, false, true));
    assert!(!file(5, true, true) && !file(5, false, false) && !file(0, false, true) && !file(6, true, false));
    let page = |names: &[&[u8]], entries: u64| {
        let pages: Vec<PageReference> = names
            .iter()
            .map(|name| PageReference { id: Id([3; 32]), entries, last: name.to_vec() })
            .collect();
        tree::decode(&tree::encode_pages(1, &pages)).is_ok()
    };
    assert!(page(&[b"a", b"b"], 1));
    assert!(!page(&[], 1) && !page(&[b"a", b"a"], 1) && !page(&[b"b", b"a"], 1) && !page(&[b"a"], 0));
    assert!(tree::decode(&tree::encode_nodes::<Vec<u8>>([])).is_ok());
}

/// A repository in memory with a key file; gives its keys, its slot's name and its slot too.
fn in_memory() -> (copal::backend::Memory, MasterKey, Keys, String, Vec<u8>) {
    use copal::backend::{Backend, Memory};
    use copal::format::slot::{self, Description, Unlock};
    let (memory, key) = (Memory::new(), MasterKey::from_bytes([7; 32]));
    let creation = copal::repository::Creation {
        unlock: Unlock::KeyFile(&key),
        cost: Default::default(),
        cutter: Default::default(),
        pack_target: limits::PACK_TARGET,
        description: Description::default(),
    };
    let id =
        copal::repository::create(&memory, &creation, &copal::model::clock::SystemClock).expect("created");
    let mut names = Vec::new();
    memory.list(Kind::Keys, &mut |entry| names.push(entry.name)).unwrap();
    let object = memory.get(Kind::Keys, &names[0]).unwrap();
    let master = slot::open(&object, Unlock::KeyFile(&key)).unwrap().unwrap();
    (memory, key, master.keys(id), names.remove(0), object)
}

#[test]
fn a_slot_of_a_wrong_hash_opens_when_its_commitment_and_bundle_do_and_is_told_as_damaged() {
    use copal::format::slot::Unlock;
    use copal::repository::{Error, open};
    let (memory, key, _, name, object) = in_memory();
    let with_flipped = |at: usize| {
        let mut changed = object.clone();
        changed[at] ^= 1;
        let copy = memory.copy();
        copy.overwrite(Kind::Keys, &name, &changed);
        open(Box::new(copy), Unlock::KeyFile(&key), None)
    };
    let opened = with_flipped(object.len() - 1).expect("only the description is hit");
    assert_eq!(opened.key_slots().unwrap().1.len(), 1);
    // In the plain part, which the commitment covers.
    assert!(matches!(with_flipped(40), Err(Error::Damaged { .. })));
}

#[test]
fn what_no_opening_would_take_is_refused_when_a_repository_is_made() {
    use copal::backend::{Backend, Memory};
    use copal::format::slot::Unlock;
    let key = MasterKey::from_bytes([7; 32]);
    let cutter = copal::model::Cutter { minimum: 0, ..Default::default() };
    let cases = [
        ((1 << 20) - 1, Default::default(), false),
        (1 << 20, Default::default(), true),
        (limits::PACK_MAX as usize / 2, Default::default(), true),
        (limits::PACK_MAX as usize / 2 + 1, Default::default(), false),
        (limits::PACK_TARGET, cutter, false),
    ];
    for (pack_target, cutter, is_taken) in cases {
        let memory = Memory::new();
        let creation = copal::repository::Creation {
            unlock: Unlock::KeyFile(&key),
            cost: Default::default(),
            cutter,
            pack_target,
            description: Default::default(),
        };
        let made = copal::repository::create(&memory, &creation, &copal::model::clock::SystemClock);
        assert_eq!(made.is_ok(), is_taken, "{pack_target}");
        assert_eq!(memory.exists_repository().unwrap(), is_taken, "something was written");
        if is_taken {
            copal::repository::open(Box::new(memory), Unlock::KeyFile(&key), None).expect("opened");
        }
    }
}

#[test]
fn a_config_that_no_opening_would_take_is_not_put_beside_the_one_in_force() {
    use copal::format::slot::Unlock;
    let (memory, key, ..) = in_memory();
    let mut repository =
        copal::repository::open(Box::new(memory.clone()), Unlock::KeyFile(&key), None).unwrap();
    assert!(repository.change_config(|config| config.parity_per_mille = 1001).is_err());
    let opened = copal::repository::open(Box::new(memory), Unlock::KeyFile(&key), None).unwrap();
    assert_eq!(opened.config.generation, 1);
}

#[test]
fn the_config_in_force_is_the_highest_generation_wherever_it_stands() {
    use copal::backend::Backend;
    use copal::format::slot::{self, Unlock};
    let (memory, key, keys, _, _) = in_memory();
    let open = || copal::repository::open(Box::new(memory.clone()), Unlock::KeyFile(&key), None).unwrap();
    let mut config = open().config;
    assert_eq!(config.generation, 1);
    config.generation = 2;
    let object = copal::format::config::encode(&keys, &config).unwrap();
    let slot =
        slot::encode(&keys, Unlock::KeyFile(&key), Default::default(), &Default::default(), &object).unwrap();
    memory.put(Kind::Keys, &copal::crypto::object_name(&slot).to_string(), &slot).unwrap();
    assert_eq!(open().config.generation, 2);
    // An object whose name is not its generation is no candidate.
    config.generation = 4;
    let object = copal::format::config::encode(&keys, &config).unwrap();
    memory.put(Kind::Config, "0000000000000003", &object).unwrap();
    assert_eq!(open().config.generation, 2);
}
