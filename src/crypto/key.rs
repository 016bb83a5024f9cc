//! The master key and everything derived from it. docs/format.md, section 4.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Error;
use crate::model::{Id16, id::parse_hex};

const PREFIX: &str = "copal 2026-11 v1 ";
const KEY_FILE_PREFIX: &str = "copal-key-1 ";

/// 32 secret bytes: a repository's master key, or the contents of a key file.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

impl MasterKey {
    /// A new random key.
    pub fn generate() -> Result<MasterKey, Error> {
        super::random().map(MasterKey)
    }

    /// A key from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> MasterKey {
        MasterKey(bytes)
    }

    /// The bytes, for wrapping and deriving.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The text of a key file that holds this key.
    pub fn to_key_file(&self) -> String {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{KEY_FILE_PREFIX}{digits}\n")
    }

    /// Reads the text of a key file, or of a recovery sheet: the line that begins as a key does.
    pub fn from_key_file(text: &str) -> Option<MasterKey> {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(KEY_FILE_PREFIX))?;
        parse_hex(line).map(MasterKey)
    }
}

/// All subkeys of one repository and epoch.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    #[zeroize(skip)]
    pub repository: Id16,
    master: MasterKey,
    pub chunk_id: [u8; 32],
    pub tree_id: [u8; 32],
    pub pack: [u8; 32],
    pub link_group: [u8; 32],
    pub state: [u8; 32],
    pub slot_description: [u8; 32],
}

fn derive(context: &str, master: &MasterKey, repository: Id16) -> [u8; 32] {
    let mut material = [0; 48];
    material[..32].copy_from_slice(master.bytes());
    material[32..].copy_from_slice(&repository.0);
    let key = blake3::derive_key(&format!("{PREFIX}{context}"), &material);
    material.zeroize();
    key
}

impl Keys {
    /// Derives the subkeys of `repository` from its master key.
    pub fn new(master: MasterKey, repository: Id16) -> Keys {
        let key = |context| derive(context, &master, repository);
        Keys {
            repository,
            chunk_id: key("chunk id"),
            tree_id: key("tree id"),
            pack: key("pack"),
            link_group: key("link group"),
            state: key("state"),
            slot_description: key("slot description"),
            master,
        }
    }

    /// The master key, to be wrapped in another slot.
    pub fn master(&self) -> &MasterKey {
        &self.master
    }

    /// The key that seals small objects of that kind number.
    pub fn small(&self, kind: u8) -> [u8; 32] {
        derive(&format!("small object {kind}"), &self.master, self.repository)
    }

    /// The secret table of the gear cutter.
    pub fn gear_table(&self) -> Box<[u64; 256]> {
        let key = derive("cut", &self.master, self.repository);
        let mut bytes = [0; 2048];
        blake3::Hasher::new_keyed(&key).update(b"copal gear table").finalize_xof().fill(&mut bytes);
        let mut table = Box::new([0; 256]);
        for (entry, word) in table.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*word);
        }
        bytes.zeroize();
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_are_read_back_and_nonsense_is_not() {
        let key = MasterKey::from_bytes([7; 32]);
        assert_eq!(MasterKey::from_key_file(&key.to_key_file()), Some(key));
        assert_eq!(MasterKey::from_key_file("copal-key-1 abc"), None);
        assert_eq!(MasterKey::from_key_file(""), None);
    }

    #[test]
    fn subkeys_differ_from_each_other_and_between_repositories() {
        let one = Keys::new(MasterKey::from_bytes([1; 32]), Id16([1; 16]));
        let other = Keys::new(MasterKey::from_bytes([1; 32]), Id16([2; 16]));
        assert_ne!(one.chunk_id, one.tree_id);
        assert_ne!(one.chunk_id, other.chunk_id);
        assert_ne!(one.small(1), one.small(2));
        assert_ne!(one.gear_table()[0], other.gear_table()[0]);
    }
}
