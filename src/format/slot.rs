//! Key slots: the master key wrapped by a password or a key file. docs/format.md, section 4.

use super::config::{self, Config};
use super::record::{Cursor, Reader, Writer};
use super::{Error, header, limits};
use crate::crypto::{
    self, FULL, Keys, MasterKey, SharedKeys, WriterKeys, hash::keyed, password, password::Cost, seal,
};
use crate::model::{Id16, Time};

/// Kind number of key slots.
pub const KIND: u8 = 2;
const ROLE_FULL: u64 = 1;
/// Adds, and does not read.
const ROLE_WRITER: u64 = 2;
/// Most master keys, one an epoch.
const MASTERS_MAX: usize = 1024;

/// What opens a slot.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    Password(&'a [u8]),
    KeyFile(&'a MasterKey),
}

/// How a slot derives its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivation {
    Password(Cost),
    KeyFile,
}

/// What a person sees of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub label: String,
    pub made: Time,
    pub user: String,
    pub host: String,
    /// The number of the writer whose slot it is, or `FULL`.
    pub writer: u32,
    /// Of a writer's slot: whether it sees what full keys stored.
    pub shares: bool,
}

/// What a slot gives to who opens it.
#[derive(Debug, PartialEq, Eq)]
pub enum Given {
    Full(MasterKey),
    /// The keys of a writer, and the `config` that was in force when the slot was made.
    Writer(Box<WriterKeys>, Config),
}

impl Given {
    /// The keys that come of it.
    pub fn keys(self, repository: Id16) -> Keys {
        match self {
            Given::Full(master) => Keys::new(master, repository),
            Given::Writer(keys, _) => Keys::of_writer(&keys, repository),
        }
    }
}

/// The plain part of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub repository: Id16,
    pub id: Id16,
    pub derivation: Derivation,
    salt: [u8; 32],
    /// A copy of the newest `config` when the slot was made.
    pub config: Vec<u8>,
}

fn key_encryption_key(slot: &Slot, unlock: Unlock<'_>) -> Result<Option<[u8; 32]>, Error> {
    match (slot.derivation, unlock) {
        (Derivation::Password(cost), Unlock::Password(text)) => {
            Ok(Some(password::derive(text, &slot.salt, cost)?))
        }
        (Derivation::KeyFile, Unlock::KeyFile(key)) => Ok(Some(keyed(key.bytes(), &slot.salt))),
        _ => Ok(None),
    }
}

fn commitment(key: &[u8; 32], plain: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"copal slot commitment").update(plain);
    hasher.finalize()
}

/// Makes a slot that `unlock` opens, and that gives all there is to give.
///
/// Errors: `NotGiven` when these are the keys of a writer.
pub fn encode(
    keys: &Keys,
    unlock: Unlock<'_>,
    cost: Cost,
    description: &Description,
    config: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut bundle = Writer::default();
    bundle.int(1, true, ROLE_FULL).list(2, true, [keys.master().ok_or(Error::NotGiven)?.bytes()]);
    encode_bundle(keys, unlock, cost, description, config, &bundle.finish())
}

/// Makes a slot that `unlock` opens, for the writer of the number in the description. `config`: the object and what it says.
///
/// Errors: `NotGiven` when these are the keys of a writer.
pub fn encode_for_writer(
    keys: &Keys,
    unlock: Unlock<'_>,
    cost: Cost,
    description: &Description,
    config: (&[u8], &Config),
) -> Result<Vec<u8>, Error> {
    let given = keys.writer_keys(description.writer, description.shares).ok_or(Error::NotGiven)?;
    let mut bundle = Writer::default();
    bundle
        .int(1, true, ROLE_WRITER)
        .int(3, true, u64::from(given.number))
        .field(4, true, &given.secret)
        .field(5, true, &given.seal)
        .field(6, true, &given.cut)
        .field(7, true, &given.chunk_id)
        .field(8, true, &given.tree_id)
        .field(9, true, &given.link_group)
        .field(10, true, &given.state)
        .field(11, true, &config::encode_record(config.1));
    if let Some(shared) = &given.shared {
        bundle.field(12, true, &shared.index).field(13, true, &shared.signed_by);
    }
    encode_bundle(keys, unlock, cost, description, config.0, &bundle.finish())
}

fn encode_bundle(
    keys: &Keys,
    unlock: Unlock<'_>,
    cost: Cost,
    description: &Description,
    config: &[u8],
    bundle: &[u8],
) -> Result<Vec<u8>, Error> {
    let derivation = match unlock {
        Unlock::Password(_) => Derivation::Password(cost),
        Unlock::KeyFile(_) => Derivation::KeyFile,
    };
    let slot = Slot {
        repository: keys.repository,
        id: Id16(crypto::random()?),
        derivation,
        salt: crypto::random()?,
        config: config.to_vec(),
    };
    let mut plain = Writer::default();
    plain.field(1, true, &slot.id.0);
    match derivation {
        Derivation::Password(cost) => plain
            .int(2, true, 1)
            .int(3, true, u64::from(cost.memory))
            .int(4, true, u64::from(cost.passes))
            .int(5, true, u64::from(cost.lanes)),
        Derivation::KeyFile => plain.int(2, true, 2),
    };
    plain.field(6, true, &slot.salt).bytes(7, false, config);
    let plain = plain.finish();
    let Some(key) = key_encryption_key(&slot, unlock)? else {
        return Err(Error::Malformed("the slot's kind is another"));
    };

    let mut object = header::encode(KIND, keys.repository).to_vec();
    object.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    object.extend_from_slice(&plain);
    let head = object.clone();
    object.extend_from_slice(commitment(&key, &plain).as_bytes());
    let (nonce, sealed) = seal::seal_small(&keyed(&key, b"copal slot seal"), &object, bundle)?;
    object.extend_from_slice(&nonce);
    object.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
    object.extend_from_slice(&sealed);
    let mut text = Writer::default();
    text.bytes(1, false, description.label.as_bytes())
        .time(2, false, Some(description.made))
        .bytes(3, false, description.user.as_bytes())
        .bytes(4, false, description.host.as_bytes())
        .int(5, false, u64::from(description.writer))
        .int(6, false, u64::from(description.shares));
    let (nonce, sealed) = seal::seal_small(&keys.slot_description, &head, &text.finish())?;
    object.extend_from_slice(&nonce);
    object.extend_from_slice(&sealed);
    Ok(object)
}

struct Parts<'a> {
    head: &'a [u8],
    plain: &'a [u8],
    commitment: [u8; 32],
    /// Everything before the bundle's nonce.
    associated: &'a [u8],
    nonce: [u8; 24],
    bundle: &'a [u8],
    description_nonce: [u8; 24],
    description: &'a [u8],
}

fn parts(object: &[u8]) -> Result<Parts<'_>, Error> {
    if object.len() > limits::SLOT_MAX {
        return Err(Error::Malformed("too long for a key slot"));
    }
    let mut cursor = Cursor(object);
    cursor.take(32)?;
    let length = u32::from_le_bytes(cursor.array()?) as usize;
    let plain = cursor.take(length)?;
    let head = &object[..36 + length];
    let commitment = cursor.array()?;
    let associated = &object[..68 + length];
    let nonce = cursor.array()?;
    let sealed = u32::from_le_bytes(cursor.array()?) as usize;
    let bundle = cursor.take(sealed)?;
    let description_nonce = cursor.array()?;
    Ok(Parts { head, plain, commitment, associated, nonce, bundle, description_nonce, description: cursor.0 })
}

/// Reads the plain part, refusing parameters out of bounds.
pub fn decode(object: &[u8]) -> Result<Slot, Error> {
    let repository = header::decode(object, KIND)?;
    let parts = parts(object)?;
    let (mut id, mut kind, mut salt, mut config) = (None, 0, None, Vec::new());
    let mut cost = Cost { memory: 0, passes: 0, lanes: 0 };
    let mut reader = Reader::new(parts.plain);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => id = Some(field.id16()?),
            2 => kind = field.int()?,
            3 => cost.memory = field.int32()?,
            4 => cost.passes = field.int32()?,
            5 => cost.lanes = field.int32()?,
            6 => salt = Some(field.array()?),
            7 => config = field.value.to_vec(),
            _ => field.unknown()?,
        }
    }
    let derivation = match kind {
        1 => {
            cost.check()?;
            Derivation::Password(cost)
        }
        2 => Derivation::KeyFile,
        other => return Err(Error::Unsupported(format!("key derivation {other}"))),
    };
    match (id, salt) {
        (Some(id), Some(salt)) => Ok(Slot { repository, id, derivation, salt, config }),
        _ => Err(Error::Malformed("a key slot lacks its id or salt")),
    }
}

/// Tries to open a slot: none when the password or key is another one. An error when the slot was tampered with.
pub fn open(object: &[u8], unlock: Unlock<'_>) -> Result<Option<Given>, Error> {
    let slot = decode(object)?;
    let parts = parts(object)?;
    let Some(key) = key_encryption_key(&slot, unlock)? else { return Ok(None) };
    // blake3::Hash compares in constant time.
    if commitment(&key, parts.plain) != blake3::Hash::from_bytes(parts.commitment) {
        return Ok(None);
    }
    let bundle =
        seal::open_small(&keyed(&key, b"copal slot seal"), parts.associated, &parts.nonce, parts.bundle)?;
    let (mut role, mut masters, mut record) = (0, Vec::new(), None);
    let mut given = WriterKeys::default();
    let (mut index, mut signed_by) = (None, None);
    let mut reader = Reader::new(&bundle);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => role = field.int()?,
            2 => {
                masters = field.list(MASTERS_MAX, |bytes| {
                    <[u8; 32]>::try_from(bytes).map_err(|_| Error::Malformed("a key has another length"))
                })?
            }
            3 => given.number = field.int32()?,
            4 => given.secret = field.array()?,
            5 => given.seal = field.array()?,
            6 => given.cut = field.array()?,
            7 => given.chunk_id = field.array()?,
            8 => given.tree_id = field.array()?,
            9 => given.link_group = field.array()?,
            10 => given.state = field.array()?,
            11 => record = Some(config::decode_record(field.value, 1)?),
            12 => index = Some(field.array()?),
            13 => signed_by = Some(field.array()?),
            _ => field.unknown()?,
        }
    }
    given.shared = match (index, signed_by) {
        (Some(index), Some(signed_by)) => Some(SharedKeys { index, signed_by }),
        (None, None) => None,
        _ => return Err(Error::Malformed("a writer's key slot has half of what is shared")),
    };
    match (role, &masters[..], record) {
        (ROLE_FULL, [master], _) => Ok(Some(Given::Full(MasterKey::from_bytes(*master)))),
        (ROLE_FULL, [], _) => Err(Error::Malformed("a key slot holds no key")),
        (ROLE_FULL, ..) => Err(Error::Unsupported("several key epochs".to_owned())),
        (ROLE_WRITER, _, Some(config)) if given.number != FULL => {
            Ok(Some(Given::Writer(Box::new(given), config)))
        }
        (ROLE_WRITER, ..) => Err(Error::Malformed("a writer's key slot lacks its number or config")),
        (role, ..) => Err(Error::Unsupported(format!("key role {role}"))),
    }
}

/// Opens what a person sees of a slot.
pub fn describe(keys: &Keys, object: &[u8]) -> Result<Description, Error> {
    header::check(object, KIND, keys.repository)?;
    let parts = parts(object)?;
    let record =
        seal::open_small(&keys.slot_description, parts.head, &parts.description_nonce, parts.description)?;
    let mut description = Description::default();
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => description.label = field.text()?,
            2 => description.made = field.time()?,
            3 => description.user = field.text()?,
            4 => description.host = field.text()?,
            5 => description.writer = field.int32()?,
            6 => description.shares = field.int()? == 1,
            _ => field.unknown()?,
        }
    }
    Ok(description)
}
