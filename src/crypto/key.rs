//! The master key and everything derived from it. docs/format.md, section 4.

use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Error, hash::keyed, sign, sign::SIGNATURE_LEN};
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

/// Whose what is sealed with a full key is; a writer's number is another one.
pub const FULL: u32 = 0;

/// All subkeys of one repository and epoch: those of a full key, or those of a writer, who adds and does not read.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    #[zeroize(skip)]
    pub repository: Id16,
    /// The master key, or what a writer has of its own.
    secret: MasterKey,
    #[zeroize(skip)]
    writer: u32,
    cut: [u8; 32],
    pub chunk_id: [u8; 32],
    pub tree_id: [u8; 32],
    pub pack: [u8; 32],
    pub link_group: [u8; 32],
    pub state: [u8; 32],
    pub slot_description: [u8; 32],
    /// The public half of the repository's X25519 key, and the private one, which only full keys have.
    seal: [u8; 32],
    private: Option<[u8; 32]>,
    /// What opens the index that full keys share; those of a writer may lack it.
    shared: Option<SharedKeys>,
    /// With which full keys sign it.
    signing: Option<[u8; 32]>,
}

/// What a writer is given that sees what full keys stored: it reads their index, and can make nothing that passes for it.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct SharedKeys {
    /// Under which the index is sealed.
    pub index: [u8; 32],
    /// The public half of the key pair with which it is signed.
    pub signed_by: [u8; 32],
}

/// What a writer is given, and all that is given: the ids and cuts of everybody, and what only it and full keys have.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct WriterKeys {
    #[zeroize(skip)]
    pub number: u32,
    pub secret: [u8; 32],
    pub cut: [u8; 32],
    pub chunk_id: [u8; 32],
    pub tree_id: [u8; 32],
    pub link_group: [u8; 32],
    pub state: [u8; 32],
    /// The public half of the repository's X25519 key.
    pub seal: [u8; 32],
    /// Only of a writer that sees what full keys stored.
    pub shared: Option<SharedKeys>,
}

impl std::fmt::Debug for WriterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriterKeys({}, hidden)", self.number)
    }
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
        let (private, signing) = (key("seal"), key("sign"));
        Keys {
            repository,
            writer: FULL,
            cut: key("cut"),
            chunk_id: key("chunk id"),
            tree_id: key("tree id"),
            pack: key("pack"),
            link_group: key("link group"),
            state: key("state"),
            slot_description: key("slot description"),
            seal: x25519(private, X25519_BASEPOINT_BYTES),
            private: Some(private),
            shared: Some(SharedKeys { index: key("shared index"), signed_by: sign::public(&signing) }),
            signing: Some(signing),
            secret: master,
        }
    }

    /// The keys of a writer.
    pub fn of_writer(writer: &WriterKeys, repository: Id16) -> Keys {
        let secret = MasterKey(writer.secret);
        Keys {
            repository,
            writer: writer.number,
            cut: writer.cut,
            chunk_id: writer.chunk_id,
            tree_id: writer.tree_id,
            pack: derive("pack", &secret, repository),
            link_group: writer.link_group,
            state: writer.state,
            slot_description: derive("slot description", &secret, repository),
            seal: writer.seal,
            private: None,
            shared: writer.shared.clone(),
            signing: None,
            secret,
        }
    }

    /// Under which what these keys see is remembered on this machine: what a writer believes is not for others.
    pub fn cache_id(&self) -> Id16 {
        let mut id = self.repository;
        if self.writer != FULL {
            id.0.copy_from_slice(&keyed(self.secret.bytes(), b"copal cache")[..16]);
        }
        id
    }

    /// Whose keys these are: `FULL`, or a writer's number.
    pub fn writer(&self) -> u32 {
        self.writer
    }

    /// What a writer of that number is given, with what full keys share when it `shares`; none when these are a writer's keys.
    pub fn writer_keys(&self, number: u32, shares: bool) -> Option<WriterKeys> {
        let secret = self.secret_of(number).filter(|_| self.writer == FULL)?;
        Some(WriterKeys {
            number,
            secret: *secret.bytes(),
            cut: self.cut,
            chunk_id: self.chunk_id,
            tree_id: self.tree_id,
            link_group: self.link_group,
            state: self.state,
            seal: self.seal,
            shared: self.shared.clone().filter(|_| shares),
        })
    }

    /// The keys with which a full key writes in the place of a writer.
    pub fn in_place_of(&self, number: u32) -> Option<Keys> {
        Some(Keys::of_writer(&self.writer_keys(number, false)?, self.repository))
    }

    /// What that writer has of its own, as far as these keys give it.
    fn secret_of(&self, writer: u32) -> Option<MasterKey> {
        match self.writer {
            own if own == writer => Some(self.secret.clone()),
            FULL => Some(MasterKey(derive(&format!("writer {writer}"), &self.secret, self.repository))),
            _ => None,
        }
    }

    /// The master key, to be wrapped in another slot; none when these are a writer's keys.
    pub fn master(&self) -> Option<&MasterKey> {
        (self.writer == FULL).then_some(&self.secret)
    }

    /// The key that seals small objects of that kind number.
    pub fn small(&self, kind: u8) -> [u8; 32] {
        self.small_under(&self.secret, kind)
    }

    /// The same for what that writer sealed; none when these keys are not for that.
    pub fn small_of(&self, writer: u32, kind: u8) -> Option<[u8; 32]> {
        Some(self.small_under(&self.secret_of(writer)?, kind))
    }

    /// Under which the index is sealed that full keys share; none when these keys are not for that.
    pub fn shared_index(&self) -> Option<&[u8; 32]> {
        self.shared.as_ref().map(|shared| &shared.index)
    }

    /// Signs what full keys share; none when these are a writer's keys.
    pub fn sign(&self, message: &[u8]) -> Option<[u8; SIGNATURE_LEN]> {
        self.signing.map(|seed| sign::sign(&seed, message))
    }

    /// Whether a full key signed that.
    pub fn is_signed(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        self.shared.as_ref().is_some_and(|shared| sign::is_signed(&shared.signed_by, message, signature))
    }

    fn small_under(&self, secret: &MasterKey, kind: u8) -> [u8; 32] {
        derive(&format!("small object {kind}"), secret, self.repository)
    }

    /// What goes into the key of a new pack of a writer, and the public key that stands in it: who has the private half of the repository's
    /// key finds the same by it. What made it is forgotten here, so that not even the writer can say later what stands in the pack.
    pub fn wrap(&self) -> Result<([u8; 32], [u8; 32]), Error> {
        let mut secret: [u8; 32] = super::random()?;
        let public = x25519(secret, X25519_BASEPOINT_BYTES);
        let shared = x25519(secret, self.seal);
        secret.zeroize();
        Ok((self.wrapped(&self.pack, &shared, &public), public))
    }

    /// The same from the public key in a pack of that writer; none when these keys do not open it, and for a public key of small order, by
    /// which everybody would know what is shared (RFC 7748, section 6.1).
    pub fn unwrap(&self, writer: u32, public: &[u8; 32]) -> Option<[u8; 32]> {
        let shared = Some(x25519(self.private?, *public)).filter(|shared| *shared != [0; 32])?;
        let pack = derive("pack", &self.secret_of(writer)?, self.repository);
        Some(self.wrapped(&pack, &shared, public))
    }

    fn wrapped(&self, pack: &[u8; 32], shared: &[u8; 32], public: &[u8; 32]) -> [u8; 32] {
        keyed(pack, &[&shared[..], public, &self.seal].concat())
    }

    /// The secret table of the gear cutter.
    pub fn gear_table(&self) -> Box<[u64; 256]> {
        let mut bytes = [0; 2048];
        blake3::Hasher::new_keyed(&self.cut).update(b"copal gear table").finalize_xof().fill(&mut bytes);
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

    #[test]
    fn a_writer_finds_the_same_ids_and_nothing_of_what_is_sealed() {
        let full = Keys::new(MasterKey::from_bytes([1; 32]), Id16([1; 16]));
        let given = full.writer_keys(7, false).unwrap();
        let writer = Keys::of_writer(&given, Id16([1; 16]));
        assert_eq!((writer.chunk_id, writer.tree_id), (full.chunk_id, full.tree_id));
        assert_eq!(writer.gear_table(), full.gear_table());
        assert!(writer.master().is_none() && writer.writer_keys(8, false).is_none());
        assert_ne!(writer.small(5), full.small(5));
        assert_eq!(Some(writer.small(5)), full.small_of(7, 5));
        assert_eq!(writer.small_of(FULL, 5), None);
        assert_eq!(writer.small_of(8, 5), None);
        let (key, public) = writer.wrap().unwrap();
        assert_eq!(writer.unwrap(7, &public), None);
        assert_eq!(full.unwrap(7, &public), Some(key));
        assert_ne!(full.unwrap(8, &public), Some(key));
        assert_ne!(writer.wrap().unwrap().0, key);
        assert_eq!(full.unwrap(7, &[0; 32]), None);
        let (key, public) = full.in_place_of(7).unwrap().wrap().unwrap();
        assert_eq!(full.unwrap(7, &public), Some(key));
    }

    #[test]
    fn what_full_keys_share_is_read_by_who_was_given_it_and_signed_by_them_alone() {
        let full = Keys::new(MasterKey::from_bytes([1; 32]), Id16([1; 16]));
        let [sees, sees_not] = [true, false]
            .map(|shares| Keys::of_writer(&full.writer_keys(7, shares).unwrap(), full.repository));
        let signature = full.sign(b"what is there").unwrap();
        assert!(full.is_signed(b"what is there", &signature) && sees.is_signed(b"what is there", &signature));
        assert!(!sees.is_signed(b"what is not there", &signature));
        assert!(!sees_not.is_signed(b"what is there", &signature));
        assert_eq!(sees.shared_index(), full.shared_index());
        assert_eq!(sees_not.shared_index(), None);
        assert!(sees.sign(b"").is_none() && sees_not.sign(b"").is_none());
        assert_ne!(full.shared_index(), Some(&full.small(4)));
    }
}
