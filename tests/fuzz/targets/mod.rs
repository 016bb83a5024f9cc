//! What is fuzzed: every decoder, alone and below a good seal, and a whole repository of objects that somebody with the key wrote.
//!
//! `tests/fuzz/target.rs` runs them under cargo-fuzz, `tests/corpus.rs` with what was kept in `fixtures/fuzz`. A target panics when a rule is
//! broken: what was accepted is not the same when it was written and read again, or lies outside the limits.

mod archives;
mod local;
mod objects;
mod records;
mod repository;
mod servers;
mod texts;
mod trees;

use std::sync::OnceLock;

use copal::crypto::{Keys, MasterKey, seal};
use copal::format::header;
use copal::format::record::put_varint;
use copal::model::{Id, Id16};

/// A decoder, or several that belong together.
pub struct Target {
    pub name: &'static str,
    /// Whether the input was accepted, so that more than refusals is tried.
    pub run: fn(&[u8]) -> bool,
    /// Valid inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "arguments", run: texts::arguments, seeds: texts::arguments_seeds },
    Target { name: "content", run: trees::content, seeds: trees::content_seeds },
    Target { name: "copies", run: records::copied, seeds: records::copied_seeds },
    Target { name: "directory", run: objects::directory, seeds: objects::directory_seeds },
    Target { name: "ignore", run: texts::ignore, seeds: texts::ignore_seeds },
    Target { name: "index", run: records::index, seeds: records::index_seeds },
    Target { name: "local", run: local::rows, seeds: local::rows_seeds },
    Target { name: "node", run: trees::node, seeds: trees::node_seeds },
    Target { name: "note", run: records::note, seeds: records::note_seeds },
    Target { name: "patterns", run: texts::patterns, seeds: texts::patterns_seeds },
    Target { name: "plain", run: objects::plain, seeds: objects::plain_seeds },
    Target { name: "records", run: records::others, seeds: records::others_seeds },
    Target { name: "repository", run: repository::run, seeds: repository::seeds },
    Target { name: "serve", run: servers::serve, seeds: servers::serve_seeds },
    Target { name: "sftp", run: servers::sftp, seeds: servers::sftp_seeds },
    Target { name: "slot", run: objects::slot, seeds: objects::slot_seeds },
    Target { name: "small", run: objects::small, seeds: objects::small_seeds },
    Target { name: "snapshot", run: records::snapshot, seeds: records::snapshot_seeds },
    Target { name: "tar", run: archives::tar, seeds: archives::tar_seeds },
    Target { name: "text", run: texts::text, seeds: texts::text_seeds },
    Target { name: "tree", run: trees::tree, seeds: trees::tree_seeds },
];

/// Runs the target of that name.
#[allow(dead_code, reason = "only the programs of cargo-fuzz go by name")]
pub fn run(name: &str, data: &[u8]) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(data)
}

/// The secret of all key files here.
fn secret() -> MasterKey {
    MasterKey::from_bytes([5; 32])
}

/// The keys under which everything here is sealed.
fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::new(MasterKey::from_bytes([7; 32]), Id16([8; 16])))
}

fn id(byte: u8) -> Id {
    Id([byte; 32])
}

/// A small object with that payload under a good seal, and signed where those of full keys are, whatever the payload is.
fn sealed(kind: u8, plain: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut object = header::encode(kind, keys().repository).to_vec();
    object.extend_from_slice(&[9; 16]);
    object.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    object.extend_from_slice(plain);
    let is_signed = header::is_signed(&object);
    let key = if is_signed { *keys().shared_index().expect("a full key") } else { keys().small(kind) };
    let (nonce, sealed) = seal::seal_small(&key, &object, payload).expect("sealing");
    object.extend_from_slice(&nonce);
    object.extend_from_slice(&sealed);
    if is_signed {
        let signature = keys().sign(&object).expect("a full key");
        object.extend_from_slice(&signature);
        object.extend_from_slice(&(signature.len() as u32).to_le_bytes());
    }
    object
}

/// A record as the payload of a small object, not compressed.
fn payload(record: &[u8]) -> Vec<u8> {
    let mut payload = vec![0];
    put_varint(&mut payload, record.len() as u64);
    payload.extend_from_slice(record);
    payload
}

/// A small object with that record under a good seal.
fn with_record(kind: u8, record: &[u8]) -> Vec<u8> {
    sealed(kind, &[], &payload(record))
}

/// Cuts a piece off the front: two bytes of length, and as much of that as there is.
fn piece<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return std::mem::take(data) };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (piece, rest) = rest.split_at(length);
    *data = rest;
    piece
}

/// Puts a piece as `piece` takes it.
fn put_piece(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).expect("a short seed").to_le_bytes());
    out.extend_from_slice(bytes);
}
