//! Whole objects: what is read of them without a key, the payload below the seal, key slots, directories and footers of packs.

use copal::crypto::{hash::keyed, password::Cost, seal};
use copal::format::pack::{self, Block, CODEC_PLAIN, CODEC_ZSTD, Directory, FOOTER_LEN};
use copal::format::record::Writer;
use copal::format::slot::{self, Description, Unlock};
use copal::format::{config, header, index, limits, note, session, small, snapshot};
use copal::model::{Contents, Id16, Time};

use super::records::{a_config, a_snapshot};
use super::{id, keys, payload, piece, put_piece, sealed, secret};

/// Everything that looks at an object before it is opened, or finds that it does not open.
pub(super) fn plain(data: &[u8]) -> bool {
    let key = secret();
    let mut accepted = false;
    for kind in 0..=13 {
        accepted |= header::decode(data, kind).is_ok();
        if let Ok((_, plain)) = small::plain_part(data, kind) {
            assert!(plain.len() <= data.len());
        }
        let _ = header::check(data, kind, keys().repository);
        let _ = small::decode(keys(), kind, data);
    }
    let _ = config::peek(data);
    let _ = slot::decode(data);
    if let Ok(Some(given)) = slot::open(data, Unlock::KeyFile(&key)) {
        let master = keys().master().expect("a full key").clone();
        assert!(given == slot::Given::Full(master), "a changed slot gives another key");
    }
    let _ = slot::describe(keys(), data);
    if let Some(footer) = data.last_chunk::<FOOTER_LEN>()
        && let Ok(footer) = pack::decode_footer(footer, data.len() as u64, keys().repository)
    {
        let end = footer.directory_offset + u64::from(footer.directory_length) + FOOTER_LEN as u64;
        assert_eq!(end, data.len() as u64);
        let found = pack::find_key(keys(), &footer);
        accepted |= found.is_some();
    }
    accepted
}

fn a_slot(config: &[u8]) -> Vec<u8> {
    let description = Description { label: "first".to_owned(), ..Description::default() };
    slot::encode(keys(), Unlock::KeyFile(&secret()), Cost::default(), &description, config).expect("a seed")
}

pub(super) fn plain_seeds() -> Vec<Vec<u8>> {
    let key = pack::PackKey::new(keys(), Contents::Data, &[3; 32]);
    let mut bytes = key.head();
    let mut block = b"a chunk".to_vec();
    key.seal_block(0, &mut block).expect("a seed");
    bytes.extend(block);
    key.finish(&mut bytes, &pack::encode_directory(&a_directory())).expect("a seed");
    vec![
        a_slot(b"config"),
        bytes,
        config::encode(keys(), &a_config()).expect("a seed"),
        snapshot::encode(keys(), &a_snapshot()).expect("a seed"),
    ]
}

/// A payload below a good seal: codec, length, compressed or not. The first byte is the kind, the next two the length of the plain part.
pub(super) fn small(data: &[u8]) -> bool {
    let Some((kind, mut rest)) = data.split_first() else { return false };
    let kind = kind % 14;
    let plain = piece(&mut rest);
    let object = sealed(kind, plain, rest);
    let Ok(record) = small::decode(keys(), kind, &object) else { return false };
    assert!(record.len() <= limits::SMALL_MAX && (plain.is_empty() || kind == config::KIND));
    let again = small::encode(keys(), kind, plain, &record).expect("what is accepted can be written");
    assert_eq!(small::decode(keys(), kind, &again).as_ref(), Ok(&record));
    match kind {
        config::KIND => config::decode(keys(), &object).is_ok(),
        index::KIND => index::decode(keys(), &object).is_ok(),
        snapshot::KIND => snapshot::decode(keys(), &object).is_ok(),
        snapshot::CONFIRMED => snapshot::decode_confirmation(keys(), &object).is_ok(),
        session::SESSION => session::decode(keys(), &object).is_ok(),
        session::REMOVAL => session::decode_removal(keys(), &object).is_ok(),
        note::KIND => note::decode(keys(), &object).is_ok(),
        session::DAMAGE => session::decode_damage(keys(), &object).is_ok(),
        _ => true,
    }
}

pub(super) fn small_seeds() -> Vec<Vec<u8>> {
    let with = |kind: u8, plain: &[u8], payload: &[u8]| {
        let mut seed = vec![kind];
        put_piece(&mut seed, plain);
        seed.extend(payload);
        seed
    };
    let mut seeds = Vec::new();
    for record in super::records::snapshot_seeds() {
        seeds.push(with(snapshot::KIND, &[], &payload(&record)));
        let mut compressed = vec![1];
        copal::format::record::put_varint(&mut compressed, record.len() as u64);
        let long = [&record[..], &[0; 600]].concat();
        // A frame whose length is not the one that is said, too.
        for bytes in [&record, &long] {
            let frame = copal::compress::zstd_small(bytes).unwrap_or_default();
            seeds.push(with(snapshot::KIND, &[], &[&compressed[..], &frame].concat()));
        }
    }
    let object = config::encode(keys(), &a_config()).expect("a seed");
    let plain = small::plain_part(&object, config::KIND).expect("a seed").1;
    seeds.push(with(
        config::KIND,
        plain,
        &payload(&small::decode(keys(), config::KIND, &object).expect("a seed")),
    ));
    seeds
}

/// A key slot whose plain part, bundle and description are what the input says, all sealed as its owner would.
pub(super) fn slot(data: &[u8]) -> bool {
    let mut rest = data;
    let (plain, bundle, description) = (piece(&mut rest), piece(&mut rest), rest);
    let mut object = header::encode(slot::KIND, keys().repository).to_vec();
    object.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    object.extend_from_slice(plain);
    let head = object.clone();
    // The salt stands in the plain part: any key does where there is none that can be read.
    let key = keyed(secret().bytes(), &salt(plain).unwrap_or_default());
    let mut commitment = blake3::Hasher::new_keyed(&key);
    commitment.update(b"copal slot commitment").update(plain);
    object.extend_from_slice(commitment.finalize().as_bytes());
    let (nonce, sealed) =
        seal::seal_small(&keyed(&key, b"copal slot seal"), &object, bundle).expect("sealing");
    object.extend_from_slice(&nonce);
    object.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
    object.extend_from_slice(&sealed);
    let (nonce, sealed) = seal::seal_small(&keys().slot_description, &head, description).expect("sealing");
    object.extend_from_slice(&nonce);
    object.extend_from_slice(&sealed);
    let described = slot::describe(keys(), &object).is_ok();
    let decoded = slot::decode(&object);
    let opened = slot::open(&object, Unlock::KeyFile(&secret()));
    assert!(decoded.is_ok() || opened.is_err());
    described && matches!(opened, Ok(Some(_)))
}

fn salt(plain: &[u8]) -> Option<[u8; 32]> {
    let mut reader = copal::format::record::Reader::new(plain);
    while let Some(field) = reader.next().ok()? {
        if field.number == 6 {
            return field.array().ok();
        }
    }
    None
}

pub(super) fn slot_seeds() -> Vec<Vec<u8>> {
    let mut plain = Writer::default();
    plain.field(1, true, &[1; 16]).int(2, true, 2).field(6, true, &[2; 32]).bytes(7, false, b"config");
    let mut password = Writer::default();
    password.field(1, true, &[1; 16]).int(2, true, 1).int(3, true, 65536).int(4, true, 3).int(5, true, 4);
    password.field(6, true, &[2; 32]);
    let mut bundle = Writer::default();
    bundle.int(1, true, 1).list(2, true, [[7; 32]]);
    let mut text = Writer::default();
    text.bytes(1, false, b"label").time(2, false, Some(Time::default())).bytes(3, false, b"ann");
    // A writer's, with a config that says nothing unusual.
    let object = config::encode(keys(), &a_config()).expect("a seed");
    let mut of_writer = Writer::default();
    of_writer.int(1, true, 2).int(3, true, 7);
    for number in 4..11 {
        of_writer.field(number, true, &[number as u8; 32]);
    }
    of_writer.field(11, true, &small::decode(keys(), config::KIND, &object).expect("a seed"));
    let (bundle, of_writer, text) = (bundle.finish(), of_writer.finish(), text.finish());
    let seed = |plain: &[u8], bundle: &[u8]| {
        let mut seed = Vec::new();
        put_piece(&mut seed, plain);
        put_piece(&mut seed, bundle);
        seed.extend(&text);
        seed
    };
    let plain = plain.finish();
    vec![seed(&plain, &bundle), seed(&password.finish(), &bundle), seed(&plain, &of_writer)]
}

pub(super) fn a_directory() -> Directory {
    let block = |codec, offset, stored, plain, chunks: &[(u8, u32)]| Block {
        codec,
        offset,
        stored,
        plain,
        chunks: chunks.iter().map(|(byte, length)| (id(*byte), *length)).collect(),
    };
    Directory {
        contents: Contents::Data,
        blocks: vec![
            block(CODEC_ZSTD, 96, 40, 300, &[(1, 100), (2, 200)]),
            block(CODEC_PLAIN, 136, 66, 50, &[(3, 50)]),
        ],
        domain: Id16([6; 16]),
        written: Time { seconds: 5, nanos: 0 },
    }
}

/// A directory, behind four bytes that say where it stands in its pack.
pub(super) fn directory(data: &[u8]) -> bool {
    let Some((end, bytes)) = data.split_first_chunk::<4>() else { return false };
    let end = u64::from(u32::from_le_bytes(*end));
    let Ok(directory) = pack::decode_directory(bytes, end) else { return false };
    let mut offset = pack::BLOCKS_AT as u64;
    for block in &directory.blocks {
        assert_eq!(block.offset, offset);
        offset += u64::from(block.stored);
        let total: u64 = block.chunks.iter().map(|(_, length)| u64::from(*length)).sum();
        assert!(
            offset <= end && total == u64::from(block.plain) && block.plain as usize <= limits::BLOCK_MAX
        );
    }
    assert_eq!(pack::decode_directory(&pack::encode_directory(&directory), end).as_ref(), Ok(&directory));
    true
}

pub(super) fn directory_seeds() -> Vec<Vec<u8>> {
    let empty = Directory { blocks: Vec::new(), contents: Contents::Trees, ..a_directory() };
    [a_directory(), empty]
        .iter()
        .map(|directory| [&400u32.to_le_bytes()[..], &pack::encode_directory(directory)].concat())
        .collect()
}
