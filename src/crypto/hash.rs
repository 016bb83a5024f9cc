//! Ids and names: keyed BLAKE3 of plain bytes, unkeyed BLAKE3 of stored bytes.

use super::Keys;
use crate::model::{Contents, Id, Id16};

/// The name of an object: BLAKE3-256 of its stored bytes.
pub fn object_name(stored: &[u8]) -> Id {
    Id(*blake3::hash(stored).as_bytes())
}

/// BLAKE3 keyed hash of `bytes` under `key`.
pub fn keyed(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, bytes).as_bytes()
}

fn short(key: &[u8; 32], bytes: &[u8]) -> Id16 {
    let mut id = Id16::default();
    id.0.copy_from_slice(&keyed(key, bytes)[..16]);
    id
}

/// Computes ids and link groups; cheap to copy into each worker.
#[derive(Clone)]
pub struct Hasher {
    chunk: [u8; 32],
    tree: [u8; 32],
    link: [u8; 32],
    state: [u8; 32],
}

impl Hasher {
    /// A hasher with that repository's keys.
    pub fn new(keys: &Keys) -> Hasher {
        Hasher { chunk: keys.chunk_id, tree: keys.tree_id, link: keys.link_group, state: keys.state }
    }

    /// The id of plain bytes of that kind.
    pub fn id(&self, contents: Contents, plain: &[u8]) -> Id {
        let key = match contents {
            Contents::Data => &self.chunk,
            Contents::Trees => &self.tree,
        };
        Id(keyed(key, plain))
    }

    /// 16 bytes that name something of the change cache (a directory's path, a set of sources) without telling it.
    pub fn local(&self, bytes: &[u8]) -> Id16 {
        short(&self.state, bytes)
    }

    /// The group of hard links that these bytes identify.
    pub fn link_group(&self, bytes: &[u8]) -> Id16 {
        short(&self.link, bytes)
    }
}
