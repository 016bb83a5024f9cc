//! Somebody who has all that a write-only client has, and writes what it likes.

use std::path::Path;

use copal::backend::{Backend, Kind, Local};
use copal::crypto::{Hasher, Keys, object_name};
use copal::format::index::{IndexObject, Maker, PackEntry};
use copal::format::note::{Note, Verb};
use copal::format::pack::{self, BLOCKS_AT, Block, CODEC_PLAIN, Directory, PackKey};
use copal::format::record::Writer;
use copal::format::{index, small, snapshot};
use copal::model::{Contents, Id, Id16, Snapshot, Time};

pub struct Thief {
    pub keys: Keys,
}

/// A note of nothing.
pub fn a_note() -> Note {
    Note {
        snapshot: Id::default(),
        verb: Verb::Forget,
        texts: Vec::new(),
        time: Time::new(1_790_000_000, 0),
        client: Id16([5; 16]),
        sequence: 1,
        link: Default::default(),
        read: Vec::new(),
    }
}

impl Thief {
    pub fn new(repository: &Path, key_file: &Path) -> Thief {
        let keys = crate::sealed::keys(repository, key_file);
        assert_ne!(keys.writer(), 0, "this is a full key");
        Thief { keys }
    }

    pub fn put(&self, backend: &Local, kind: Kind, object: &[u8]) -> Id {
        let name = object_name(object);
        backend.put(kind, &name.to_string(), object).unwrap();
        name
    }

    fn index(&self, backend: &Local, entry: PackEntry) {
        let object = IndexObject { packs: vec![entry], ..IndexObject::default() };
        self.put(backend, Kind::Index, &index::encode(&self.keys, &object).unwrap());
    }

    /// Says of somebody's pack that it is its own and holds nothing, with a proof that fits.
    pub fn claim(&self, backend: &Local, victim: &PackEntry) {
        let (key, salt) = PackKey::generate(&self.keys, victim.directory.contents).unwrap();
        let directory = Directory { blocks: Vec::new(), ..victim.directory.clone() };
        let plain = pack::encode_directory(&directory);
        let maker = Maker::of(&key, &victim.name, victim.length, victim.directory_offset, &plain);
        let commitment = key.commitment();
        self.index(backend, PackEntry { salt, commitment, directory, maker, ..victim.clone() });
    }

    /// Says of somebody's pack, as if it repeated what a full key says, that it holds nothing.
    pub fn repeat(&self, backend: &Local, victim: &PackEntry) {
        let directory = Directory { blocks: Vec::new(), ..victim.directory.clone() };
        self.index(backend, PackEntry { directory, ..victim.clone() });
    }

    /// Stores a pack that says it holds these chunks, and holds other bytes.
    pub fn rubbish(&self, backend: &Local, chunks: &[&[u8]]) {
        let hasher = Hasher::new(&self.keys);
        let named =
            chunks.iter().map(|chunk| (hasher.id(Contents::Data, chunk), chunk.len() as u32)).collect();
        self.rubbish_called(backend, named);
    }

    /// The same by the ids and lengths of chunks.
    pub fn rubbish_called(&self, backend: &Local, named: Vec<(Id, u32)>) {
        let (key, salt) = PackKey::generate(&self.keys, Contents::Data).unwrap();
        let plain: u32 = named.iter().map(|(_, length)| length).sum();
        let mut stored = vec![0x5a; plain as usize];
        key.seal_block(0, &mut stored).unwrap();
        let mut bytes = key.head();
        bytes.extend_from_slice(&stored);
        let block = Block {
            codec: CODEC_PLAIN,
            offset: BLOCKS_AT as u64,
            stored: stored.len() as u32,
            plain,
            chunks: named,
        };
        let directory = Directory {
            contents: Contents::Data,
            blocks: vec![block],
            domain: Id16([6; 16]),
            written: Time::new(1_790_000_000, 0),
        };
        let plain = pack::encode_directory(&directory);
        let (directory_offset, directory_length) = key.finish(&mut bytes, &plain).unwrap();
        let (name, length) = (self.put(backend, Kind::Packs, &bytes), bytes.len() as u64);
        let maker = Maker::of(&key, &name, length, directory_offset, &plain);
        let commitment = key.commitment();
        self.index(
            backend,
            PackEntry {
                name,
                length,
                salt,
                commitment,
                directory,
                directory_offset,
                directory_length,
                maker,
            },
        );
    }

    /// Stores packs that begin and end like these, and hold nothing between: of such a name, and of their own.
    pub fn clones(&self, backend: &Local, victims: &[Vec<u8>]) {
        for (number, victim) in victims.iter().enumerate() {
            let footer =
                pack::decode_footer(victim.last_chunk().unwrap(), victim.len() as u64, self.keys.repository);
            let directory = footer.unwrap().directory_offset as usize;
            let mut clone = victim.clone();
            clone[BLOCKS_AT..directory].fill(0x77);
            self.put(backend, Kind::Packs, &clone);
            let name = format!("{number:064x}");
            backend.put(Kind::Packs, &name, &clone).unwrap();
        }
    }

    /// Stores an index object that nobody can read, so that packs are asked themselves.
    pub fn riddle(&self, backend: &Local) {
        self.put(backend, Kind::Index, b"nobody reads this");
    }

    /// Stores an index object with an entry for a pack of its own whose directory has this text.
    pub fn entry_of(&self, backend: &Local, plain: &[u8]) {
        let (key, salt) = PackKey::generate(&self.keys, Contents::Data).unwrap();
        let mut bytes = key.head();
        let (offset, length) = key.finish(&mut bytes, plain).unwrap();
        let name = self.put(backend, Kind::Packs, &bytes);
        let mut entry = Writer::default();
        entry
            .id(1, true, Some(&name))
            .int(2, true, bytes.len() as u64)
            .field(3, true, &salt)
            .field(4, true, &key.commitment())
            .field(5, true, plain)
            .int(6, true, offset)
            .int(7, true, u64::from(length))
            .int(8, true, u64::from(self.keys.writer()))
            .field(9, true, &key.proof(&name, bytes.len() as u64, offset, plain));
        let mut record = Writer::default();
        record.list(1, true, [entry.finish()]);
        let object = small::encode(&self.keys, index::KIND, &[], &record.finish()).unwrap();
        self.put(backend, Kind::Index, &object);
    }

    /// Stores a snapshot, and confirms it.
    pub fn commit(&self, backend: &Local, forged: &Snapshot) {
        let name = self.put(backend, Kind::Snapshots, &snapshot::encode(&self.keys, forged).unwrap());
        let confirmation =
            snapshot::Confirmation { snapshot: name, session: forged.session, time: forged.time };
        let object = snapshot::encode_confirmation(&self.keys, &confirmation).unwrap();
        backend.put(Kind::Confirmed, &name.to_string(), &object).unwrap();
    }
}
