//! Sessions, removals, damage: what writers and pruners tell each other. docs/format.md, section 9.

use super::record::{Reader, Writer, element_id};
use super::{Error, limits::LIST_MAX, small};
use crate::crypto::{FULL, Keys};
use crate::model::{Id, Id16, Time};

/// Kind numbers.
pub const SESSION: u8 = 7;
pub const FENCE: u8 = 8;
pub const REMOVAL: u8 = 9;
pub const DAMAGE: u8 = 11;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Begin = 1,
    Renew = 2,
    End = 3,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Writer = 1,
    Reader = 2,
    Pruner = 3,
}

/// One session object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionObject {
    pub session: Id16,
    pub state: State,
    pub role: Role,
    pub lease_seconds: u64,
    pub parents: Vec<Id>,
    pub host: Vec<u8>,
    pub process: u64,
    pub client: Id16,
    /// By the client's clock.
    pub time: Time,
    /// By the storage's clock, read just before the object was put: the lease runs from then.
    pub storage_time: Option<Time>,
}

/// Encodes a session object.
pub fn encode(keys: &Keys, object: &SessionObject) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer
        .field(1, true, &object.session.0)
        .int(2, true, object.state as u64)
        .int(3, true, object.role as u64)
        .int(4, true, object.lease_seconds)
        .list(5, true, object.parents.iter().map(|id| id.0))
        .bytes(6, false, &object.host)
        .int(7, false, object.process)
        .field(8, true, &object.client.0)
        .time(9, true, Some(object.time))
        .time(10, false, object.storage_time);
    small::encode(keys, SESSION, &[], &writer.finish())
}

/// Opens a session object.
pub fn decode(keys: &Keys, object: &[u8]) -> Result<SessionObject, Error> {
    let record = small::decode(keys, SESSION, object)?;
    let mut session = SessionObject {
        session: Id16::default(),
        state: State::Begin,
        role: Role::Writer,
        lease_seconds: 0,
        parents: Vec::new(),
        host: Vec::new(),
        process: 0,
        client: Id16::default(),
        time: Time::default(),
        storage_time: None,
    };
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => session.session = field.id16()?,
            2 => {
                session.state = match field.int()? {
                    1 => State::Begin,
                    2 => State::Renew,
                    3 => State::End,
                    other => return Err(Error::Unsupported(format!("session state {other}"))),
                }
            }
            3 => {
                session.role = match field.int()? {
                    1 => Role::Writer,
                    2 => Role::Reader,
                    3 => Role::Pruner,
                    other => return Err(Error::Unsupported(format!("session role {other}"))),
                }
            }
            4 => session.lease_seconds = field.int()?,
            5 => session.parents = field.list(LIST_MAX, element_id)?,
            6 => session.host = field.value.to_vec(),
            7 => session.process = field.int()?,
            8 => session.client = field.id16()?,
            9 => session.time = field.time()?,
            10 => session.storage_time = Some(field.time()?),
            _ => field.unknown()?,
        }
    }
    Ok(session)
}

/// Encodes a fence: the pruner's word that a session must not commit.
pub fn encode_fence(keys: &Keys, session: &Id16, time: Time) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.field(1, true, &session.0).time(2, true, Some(time));
    small::encode(keys, FENCE, &[], &writer.finish())
}

/// The record of a removal or of damage, which is in the plain part: who only adds must know what is about to go, and can not open it. To
/// that one it is the storage's word alone, whoever opens it sees that it is sealed. Older ones have it below the seal.
///
/// Errors: `NotGiven` for who only adds, when it is below the seal.
fn read(keys: &Keys, kind: u8, object: &[u8]) -> Result<Vec<u8>, Error> {
    let sealed = match small::decode(keys, kind, object) {
        Err(Error::NotGiven) => Vec::new(),
        other => other?,
    };
    let (repository, plain) = small::plain_part(object, kind)?;
    match (sealed.is_empty(), keys.writer()) {
        (false, _) if plain.is_empty() => Ok(sealed),
        (false, _) => Err(Error::Malformed("it says what it says twice")),
        (true, FULL) => Ok(plain.to_vec()),
        _ if repository == keys.repository && !plain.is_empty() => Ok(plain.to_vec()),
        _ => Err(Error::NotGiven),
    }
}

/// A removal record: packs marked, or (a tombstone) removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    pub packs: Vec<Id>,
    pub time: Time,
    pub session: Id16,
    /// Index objects that go with the packs; others name what is left of theirs.
    pub index_objects: Vec<Id>,
    /// The tombstone: everything in it is gone, or about to be.
    pub done: bool,
    /// The mark that a tombstone answers.
    pub answers: Option<Id>,
    /// Earlier tombstones whose packs, index objects and snapshots this one names too.
    pub replaces: Vec<Id>,
    /// Forgotten snapshots that go with the packs.
    pub snapshots: Vec<Id>,
}

/// Opens a removal record.
pub fn decode_removal(keys: &Keys, object: &[u8]) -> Result<Removal, Error> {
    let record = read(keys, REMOVAL, object)?;
    let mut removal = Removal::default();
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => removal.packs = field.list(LIST_MAX, element_id)?,
            2 => removal.time = field.time()?,
            3 => removal.session = field.id16()?,
            4 => removal.index_objects = field.list(LIST_MAX, element_id)?,
            5 => removal.done = field.int()? == 2,
            6 => removal.answers = Some(field.id()?),
            7 => removal.replaces = field.list(LIST_MAX, element_id)?,
            // From when on it says nothing of what was before: no version leaves anything out.
            8 => {
                field.time()?;
            }
            9 => removal.snapshots = field.list(LIST_MAX, element_id)?,
            _ => field.unknown()?,
        }
    }
    Ok(removal)
}

/// Encodes a removal record.
pub fn encode_removal(keys: &Keys, removal: &Removal) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer
        .list(1, true, removal.packs.iter().map(|id| id.0))
        .time(2, true, Some(removal.time))
        .field(3, true, &removal.session.0)
        .list(4, true, removal.index_objects.iter().map(|id| id.0))
        .int(5, true, if removal.done { 2 } else { 1 })
        .id(6, true, removal.answers.as_ref())
        .list(7, true, removal.replaces.iter().map(|id| id.0))
        .list(9, false, removal.snapshots.iter().map(|id| id.0));
    small::encode(keys, REMOVAL, &writer.finish(), &[])
}

/// A damage record: what `check` found not to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    pub packs: Vec<Id>,
    /// Digest of the ids of chunks that no pack holds, by which the same loss is known again.
    pub lost: Option<Id>,
    pub time: Time,
}

/// Encodes a damage record.
pub fn encode_damage(keys: &Keys, damage: &Damage) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.list(1, true, damage.packs.iter().map(|id| id.0)).id(2, false, damage.lost.as_ref()).time(
        3,
        true,
        Some(damage.time),
    );
    small::encode(keys, DAMAGE, &writer.finish(), &[])
}

/// Opens a damage record.
pub fn decode_damage(keys: &Keys, object: &[u8]) -> Result<Damage, Error> {
    let record = read(keys, DAMAGE, object)?;
    let mut damage = Damage::default();
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => damage.packs = field.list(LIST_MAX, element_id)?,
            2 => damage.lost = Some(field.id()?),
            3 => damage.time = field.time()?,
            _ => field.unknown()?,
        }
    }
    Ok(damage)
}
