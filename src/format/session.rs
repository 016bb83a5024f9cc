//! Sessions, removals, damage: what writers and pruners tell each other. docs/format.md, section 9.

use super::record::{Reader, Writer, element_id};
use super::{Error, limits::LIST_MAX, small};
use crate::crypto::Keys;
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
    pub time: Time,
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
        .time(9, true, Some(object.time));
    small::encode(keys, SESSION, &[], &writer.finish())
}

/// A removal record: packs marked, or (a tombstone) removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    pub packs: Vec<Id>,
    pub time: Time,
    pub session: Id16,
    pub index_objects: Vec<Id>,
    pub done: bool,
}

/// Opens a removal record.
pub fn decode_removal(keys: &Keys, object: &[u8]) -> Result<Removal, Error> {
    let record = small::decode(keys, REMOVAL, object)?;
    let mut removal = Removal::default();
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => removal.packs = field.list(LIST_MAX, element_id)?,
            2 => removal.time = field.time()?,
            3 => removal.session = field.id16()?,
            4 => removal.index_objects = field.list(LIST_MAX, element_id)?,
            5 => removal.done = field.int()? == 2,
            // Which mark it answers, what it contains, and how far back: for whoever removes.
            6 => {
                field.id()?;
            }
            7 => {
                field.list(LIST_MAX, element_id)?;
            }
            8 => {
                field.time()?;
            }
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
        .int(5, true, if removal.done { 2 } else { 1 });
    small::encode(keys, REMOVAL, &[], &writer.finish())
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
    small::encode(keys, DAMAGE, &[], &writer.finish())
}

/// Opens a damage record.
pub fn decode_damage(keys: &Keys, object: &[u8]) -> Result<Damage, Error> {
    let record = small::decode(keys, DAMAGE, object)?;
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
