//! Small inputs that ask for much: memory and time stay within what the program may take.

use crate::decoders::{SLACK, keys};
use crate::memory::peak_of;
use crate::objects::Opens;
use copal::crypto::{MasterKey, password::Cost};
use copal::format::index::{self};
use copal::format::record::Writer;
use copal::format::slot::{self, Description, Unlock};
use copal::format::snapshot::{self};
use copal::format::tree::{self};
use copal::format::{limits, pack, small};
use copal::model::Contents;

#[test]
fn key_slots_that_ask_for_too_much_or_too_little_are_refused_before_anything_is_derived() {
    let keys = keys();
    let key = MasterKey::from_bytes([5; 32]);
    let object =
        slot::encode(&keys, Unlock::KeyFile(&key), Cost::default(), &Description::default(), b"").unwrap();
    let slot = |memory: u64, passes: u64, lanes: u64| {
        let mut plain = Writer::default();
        plain
            .field(1, true, &[1; 16])
            .int(2, true, 1)
            .int(3, true, memory)
            .int(4, true, passes)
            .int(5, true, lanes)
            .field(6, true, &[2; 32]);
        let plain = plain.finish();
        let mut bytes = object[..32].to_vec();
        bytes.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&plain);
        bytes.extend_from_slice(&[0; 32 + 24]);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[0; 24 + 16]);
        bytes
    };
    assert!(slot::decode(&slot(128 << 10, 3, 4)).is_ok(), "the test makes a slot that is sound otherwise");
    for (memory, passes, lanes) in [
        (64 << 20, 3, 4),
        (u64::from(u32::MAX), 3, 4),
        (u64::MAX, 3, 4),
        (8, 3, 4),
        (0, 3, 4),
        (128 << 10, 0, 4),
        (128 << 10, 1 << 31, 4),
        (128 << 10, 3, 0),
        (128 << 10, 3, 1 << 24),
    ] {
        let began = std::time::Instant::now();
        let bytes = slot(memory, passes, lanes);
        let (refused, peak) =
            peak_of(|| slot::decode(&bytes).is_err() && slot::open(&bytes, Unlock::Password(b"x")).is_err());
        assert!(refused, "{memory} KiB, {passes} passes, {lanes} lanes are accepted");
        assert!(peak < SLACK && began.elapsed().as_secs() < 2);
    }
}

/// What one object may make of memory, however it compresses: what the whole program may take.
const MOST: usize = 256 << 20;

fn bomb(kind: u8, build: impl FnOnce(&mut Writer), opens: Opens) {
    let keys = keys();
    let mut writer = Writer::default();
    build(&mut writer);
    let object = small::encode(&keys, kind, &[], &writer.finish()).unwrap();
    assert!(object.len() < 1 << 20, "it compresses well");
    let (_, peak) = peak_of(|| opens(&keys, &object));
    assert!(
        peak <= MOST,
        "an object of kind {kind} of {} bytes takes {} MiB of memory",
        object.len(),
        peak >> 20
    );
}

#[test]
fn a_snapshot_of_endless_empty_tags_takes_no_more_memory_than_it_may() {
    let list = vec![0; limits::SMALL_MAX - 1000];
    bomb(
        snapshot::KIND,
        |writer| {
            writer.field(4, true, &[1; 32]).field(8, true, &list);
        },
        |keys, bytes| snapshot::decode(keys, bytes).is_ok(),
    );
}

#[test]
fn an_index_object_of_endless_empty_copies_takes_no_more_memory_than_it_may() {
    let list = vec![0; limits::SMALL_MAX - 1000];
    bomb(
        index::KIND,
        |writer| {
            writer.field(2, false, &list);
        },
        |keys, bytes| index::decode(keys, bytes).is_ok(),
    );
}

#[test]
fn an_index_object_of_endless_chunks_takes_no_more_memory_than_it_may() {
    // As many packs as fit, each of one block of as many chunks of one byte as a pack may hold.
    let packs = (limits::SMALL_MAX - 4096) / (limits::PACK_CHUNKS * 33 + 4096);
    let entries = vec![entry_of_chunks(limits::PACK_CHUNKS); packs];
    bomb(
        index::KIND,
        |writer| {
            writer.list(1, true, entries);
        },
        |keys, bytes| {
            assert!(index::decode(keys, bytes).is_ok(), "the test's entries are sound otherwise");
            true
        },
    );
    let entry = entry_of_chunks(limits::PACK_CHUNKS + 1);
    bomb(
        index::KIND,
        |writer| {
            writer.list(1, true, [entry]);
        },
        |keys, bytes| {
            assert!(index::decode(keys, bytes).is_err(), "a pack of more chunks than it may hold is refused");
            true
        },
    );
}

/// An index object's entry of a pack of one block of so many chunks of one byte.
fn entry_of_chunks(count: usize) -> Vec<u8> {
    let mut list = vec![1, 1];
    for value in [500, count as u64, count as u64] {
        copal::format::record::put_varint(&mut list, value);
    }
    let chunk: Vec<u8> = [0; 32].into_iter().chain([1]).collect();
    list.extend(chunk.iter().cycle().take(count * 33));
    let mut directory = Writer::default();
    directory.int(1, true, Contents::Data as u64).field(2, true, &list);
    let mut entry = Writer::default();
    entry.field(1, true, &[1; 32]).int(2, true, 1 << 20).field(3, true, &[1; 32]).field(4, true, &[1; 32]);
    entry
        .field(5, true, &directory.finish())
        .int(6, true, (1 << 20) - 90 - pack::FOOTER_LEN as u64)
        .int(7, true, 90);
    entry.finish()
}

#[test]
fn a_tree_of_endless_empty_words_takes_no_more_memory_than_it_may() {
    let mut writer = Writer::default();
    writer.bytes(1, true, b"name").int(2, true, 4).field(23, false, &vec![0; limits::CHUNK_MAX - 1000]);
    let bytes = tree::encode_nodes([writer.finish()]);
    let (_, peak) = peak_of(|| tree::decode(&bytes).is_ok());
    assert!(peak <= MOST, "a tree of {} bytes takes {} MiB of memory", bytes.len(), peak >> 20);
}

#[test]
fn a_page_of_too_many_nodes_is_refused_before_it_fills_memory() {
    let mut list = Vec::new();
    for number in 0u32..1_000_000 {
        let name = number.to_be_bytes().map(|byte| byte | 0x80);
        let mut writer = Writer::default();
        writer.bytes(1, true, &name).int(2, true, 4);
        list.push(writer.finish());
    }
    list.sort();
    list.dedup();
    let bytes = tree::encode_nodes(list);
    let (refused, peak) = peak_of(|| tree::decode(&bytes).is_err());
    assert!(refused && peak <= 64 << 20, "{refused}, {peak} bytes");
}
