//! Snapshots and their confirmations. docs/format.md, section 8.

use super::content::{decode_segments, encode_segments};
use super::record::{Reader, Writer, element_id, element_text};
use super::{Error, header, limits, limits::LIST_MAX, small};
use crate::crypto::{FULL, Keys};
use crate::model::{Id, Id16, Snapshot, Summary, Time};

/// Kind number of snapshots.
pub const KIND: u8 = 5;
/// Kind number of confirmations.
pub const CONFIRMED: u8 = 6;
const FLAG_INCOMPLETE: u64 = 1;
const FLAG_TIME_GIVEN: u64 = 2;

fn encode_summary(summary: &Summary) -> Vec<u8> {
    let mut writer = Writer::default();
    writer
        .int(1, true, summary.files)
        .int(2, true, summary.directories)
        .int(3, true, summary.others)
        .int(4, true, summary.bytes)
        .int(5, true, summary.files_new)
        .int(6, true, summary.files_changed)
        .int(7, true, summary.files_unmodified)
        .int(8, true, summary.bytes_new)
        .int(9, true, summary.bytes_stored)
        .time(10, true, Some(summary.end))
        .int(11, true, summary.unreadable)
        .int(12, true, summary.changed_while_read);
    writer.finish()
}

fn decode_summary(bytes: &[u8]) -> Result<Summary, Error> {
    let mut summary = Summary::default();
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => summary.files = field.int()?,
            2 => summary.directories = field.int()?,
            3 => summary.others = field.int()?,
            4 => summary.bytes = field.int()?,
            5 => summary.files_new = field.int()?,
            6 => summary.files_changed = field.int()?,
            7 => summary.files_unmodified = field.int()?,
            8 => summary.bytes_new = field.int()?,
            9 => summary.bytes_stored = field.int()?,
            10 => summary.end = field.time()?,
            11 => summary.unreadable = field.int()?,
            12 => summary.changed_while_read = field.int()?,
            _ => field.unknown()?,
        }
    }
    Ok(summary)
}

/// Encodes a snapshot.
pub fn encode(keys: &Keys, snapshot: &Snapshot) -> Result<Vec<u8>, Error> {
    // What a reader would refuse must not be written.
    let lists =
        [snapshot.sources.len(), snapshot.tags.len(), snapshot.options.len(), snapshot.removals_seen.len()];
    if lists.iter().any(|length| *length > LIST_MAX) {
        return Err(Error::Malformed("too many sources, tags or options for one snapshot"));
    }
    let flags = if snapshot.incomplete { FLAG_INCOMPLETE } else { 0 }
        | if snapshot.time_given { FLAG_TIME_GIVEN } else { 0 };
    let mut writer = Writer::default();
    writer
        .time(1, true, Some(snapshot.time))
        .sint(2, true, snapshot.utc_offset)
        .bytes(3, false, snapshot.zone.as_bytes())
        .id(4, true, Some(&snapshot.root))
        .bytes(5, true, &snapshot.host)
        .bytes(6, true, &snapshot.user)
        .list(7, true, &snapshot.sources)
        .list(8, true, &snapshot.tags)
        .bytes(9, false, snapshot.program.as_bytes())
        .bytes(10, false, snapshot.description.as_bytes())
        .field(11, true, &snapshot.client.0)
        .int(12, true, snapshot.sequence)
        .id(13, true, snapshot.previous.as_ref())
        .id(14, false, snapshot.parent.as_ref())
        .field(15, false, &encode_summary(&snapshot.summary))
        .int(16, true, flags)
        .list(17, false, &snapshot.options)
        .field(18, true, &snapshot.session.0);
    // A state that is too long is left out: it only saves time.
    if !snapshot.state.is_empty() && snapshot.state.len() <= limits::STATE_SEGMENTS_MAX {
        writer.field(19, false, &encode_segments(&snapshot.state));
    }
    writer
        .bytes(23, false, &snapshot.options_digest)
        .list(24, true, snapshot.removals_seen.iter().map(|id| id.0))
        .id(26, false, snapshot.stands_for.as_ref())
        .bytes(
            27,
            false,
            &snapshot.copied_from.map_or_else(Vec::new, |(id, name)| [&id.0[..], &name.0].concat()),
        )
        .bytes(28, false, snapshot.imported_from.as_bytes())
        .int(29, false, u64::from(snapshot.added_by));
    small::encode(keys, KIND, &[], &writer.finish())
}

/// Opens a snapshot.
pub fn decode(keys: &Keys, object: &[u8]) -> Result<Snapshot, Error> {
    let record = small::decode(keys, KIND, object)?;
    let mut snapshot = Snapshot { writer: header::writer(object), ..Snapshot::default() };
    let mut root = None;
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => snapshot.time = field.time()?,
            2 => snapshot.utc_offset = field.sint()?,
            3 => snapshot.zone = field.text()?,
            4 => root = Some(field.id()?),
            5 => snapshot.host = field.value.to_vec(),
            6 => snapshot.user = field.value.to_vec(),
            7 => snapshot.sources = field.list(LIST_MAX, |bytes| Ok(bytes.to_vec()))?,
            8 => snapshot.tags = field.list(LIST_MAX, element_text)?,
            9 => snapshot.program = field.text()?,
            10 => snapshot.description = field.text()?,
            11 => snapshot.client = field.id16()?,
            12 => snapshot.sequence = field.int()?,
            13 => snapshot.previous = Some(field.id()?),
            14 => snapshot.parent = Some(field.id()?),
            15 => snapshot.summary = decode_summary(field.value)?,
            16 => {
                let flags = field.int()?;
                snapshot.incomplete = flags & FLAG_INCOMPLETE != 0;
                snapshot.time_given = flags & FLAG_TIME_GIVEN != 0;
            }
            17 => snapshot.options = field.list(LIST_MAX, element_text)?,
            18 => snapshot.session = field.id16()?,
            19 => snapshot.state = decode_segments(field.value, limits::STATE_SEGMENTS_MAX)?,
            23 => snapshot.options_digest = field.value.to_vec(),
            24 => snapshot.removals_seen = field.list(LIST_MAX, element_id)?,
            // Who only adds speaks for nobody else.
            26..=29 if snapshot.writer != FULL => {}
            26 => snapshot.stands_for = Some(field.id()?),
            27 => {
                let bytes: &[u8; 48] = &field.array()?;
                let (repository, name) = bytes.split_at(16);
                snapshot.copied_from = repository
                    .try_into()
                    .ok()
                    .zip(name.try_into().ok())
                    .map(|(id, name)| (Id16(id), Id(name)));
            }
            28 => snapshot.imported_from = field.text()?,
            29 => snapshot.added_by = field.int32()?,
            _ => field.unknown()?,
        }
    }
    snapshot.root = root.ok_or(Error::Malformed("a snapshot without a root"))?;
    Ok(snapshot)
}

/// The commit of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    pub snapshot: Id,
    pub session: Id16,
    pub time: Time,
}

/// Encodes a confirmation.
pub fn encode_confirmation(keys: &Keys, confirmation: &Confirmation) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.id(1, true, Some(&confirmation.snapshot)).field(2, true, &confirmation.session.0).time(
        3,
        true,
        Some(confirmation.time),
    );
    small::encode(keys, CONFIRMED, &[], &writer.finish())
}

/// Opens a confirmation.
pub fn decode_confirmation(keys: &Keys, object: &[u8]) -> Result<Confirmation, Error> {
    let record = small::decode(keys, CONFIRMED, object)?;
    let mut confirmation =
        Confirmation { snapshot: Id::default(), session: Id16::default(), time: Time::default() };
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => confirmation.snapshot = field.id()?,
            2 => confirmation.session = field.id16()?,
            3 => confirmation.time = field.time()?,
            _ => field.unknown()?,
        }
    }
    Ok(confirmation)
}
