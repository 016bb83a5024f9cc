//! Notes on a snapshot: tags, protection, forgetting, description, and that it was removed. docs/format.md, section 8.

use super::record::{Reader, Writer, element_id, element_text};
use super::{Error, limits::LIST_MAX, small};
use crate::crypto::{FULL, Keys};
use crate::model::{Id, Id16, Snapshot, Time};

/// Kind number of notes.
pub const KIND: u8 = 10;

/// What a note says of its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    AddTags = 1,
    RemoveTags = 2,
    Protect = 3,
    Unprotect = 4,
    Forget = 5,
    Undelete = 6,
    Describe = 7,
    Removed = 8,
}

/// Verbs that speak of the same thing, so that a later one takes the place of an earlier one. Tags are each a thing of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    Tags,
    Protection,
    Forgetting,
    Description,
    Removal,
}

impl Verb {
    fn from_number(number: u64) -> Option<Verb> {
        Some(match number {
            1 => Verb::AddTags,
            2 => Verb::RemoveTags,
            3 => Verb::Protect,
            4 => Verb::Unprotect,
            5 => Verb::Forget,
            6 => Verb::Undelete,
            7 => Verb::Describe,
            8 => Verb::Removed,
            _ => return None,
        })
    }

    /// What it speaks of.
    pub fn group(self) -> Group {
        match self {
            Verb::AddTags | Verb::RemoveTags => Group::Tags,
            Verb::Protect | Verb::Unprotect => Group::Protection,
            Verb::Forget | Verb::Undelete => Group::Forgetting,
            Verb::Describe => Group::Description,
            Verb::Removed => Group::Removal,
        }
    }
}

/// Where a removed snapshot stood in its client's chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub client: Id16,
    pub sequence: u64,
    pub previous: Option<Id>,
}

impl Link {
    /// That of a snapshot. Of one that somebody added who only adds it names no client: it is no link in anybody's chain but its own.
    pub fn of(snapshot: &Snapshot) -> Link {
        let client = if snapshot.writer == FULL { snapshot.client } else { Id16::default() };
        Link { client, sequence: snapshot.sequence, previous: snapshot.previous }
    }
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub snapshot: Id,
    pub verb: Verb,
    /// Tags, or exactly one element: a description.
    pub texts: Vec<String>,
    /// Only shown.
    pub time: Time,
    /// Who wrote it, and the number among its notes.
    pub client: Id16,
    pub sequence: u64,
    /// Of `Removed`.
    pub link: Link,
    /// Names of the notes of the same snapshot and group that the writer had read.
    pub read: Vec<Id>,
}

fn check(note: &Note) -> Result<(), Error> {
    if note.verb == Verb::Describe && note.texts.len() != 1 {
        return Err(Error::Malformed("a description that is not one text"));
    }
    if note.texts.len() > LIST_MAX || note.read.len() > LIST_MAX {
        return Err(Error::Malformed("too much for one note"));
    }
    Ok(())
}

/// Encodes a note.
pub fn encode(keys: &Keys, note: &Note) -> Result<Vec<u8>, Error> {
    check(note)?;
    let mut writer = Writer::default();
    writer
        .id(1, true, Some(&note.snapshot))
        .int(2, true, note.verb as u64)
        .list(3, true, &note.texts)
        .time(4, true, Some(note.time))
        .field(5, true, &note.client.0)
        .int(6, true, note.sequence);
    let removed = note.verb == Verb::Removed;
    if removed {
        writer.int(7, true, note.link.sequence).id(8, true, note.link.previous.as_ref());
    }
    writer.list(9, true, note.read.iter().map(|id| id.0));
    if removed {
        writer.field(10, true, &note.link.client.0);
    }
    small::encode(keys, KIND, &[], &writer.finish())
}

/// Opens a note. A verb that is not known is one of a later version: `Unsupported`.
pub fn decode(keys: &Keys, object: &[u8]) -> Result<Note, Error> {
    let record = small::decode(keys, KIND, object)?;
    let (mut snapshot, mut verb) = (None, None);
    let (mut texts, mut read) = (Vec::new(), Vec::new());
    let (mut time, mut client, mut sequence) = (Time::default(), Id16::default(), 0);
    let mut link = Link::default();
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => snapshot = Some(field.id()?),
            2 => {
                let number = field.int()?;
                let known = Verb::from_number(number);
                verb = Some(known.ok_or_else(|| Error::Unsupported(format!("note verb {number}")))?);
            }
            3 => texts = field.list(LIST_MAX, element_text)?,
            4 => time = field.time()?,
            5 => client = field.id16()?,
            6 => sequence = field.int()?,
            7 => link.sequence = field.int()?,
            8 => link.previous = Some(field.id()?),
            9 => read = field.list(LIST_MAX, element_id)?,
            10 => link.client = field.id16()?,
            _ => field.unknown()?,
        }
    }
    let snapshot = snapshot.ok_or(Error::Malformed("a note of no snapshot"))?;
    let verb = verb.ok_or(Error::Malformed("a note that says nothing"))?;
    let note = Note { snapshot, verb, texts, time, client, sequence, link, read };
    check(&note)?;
    Ok(note)
}
