//! The `config` object: identity, versions, parameters. docs/format.md, section 4.

use super::record::{Reader, Writer};
use super::{Error, limits, small};
use crate::crypto::Keys;
use crate::model::{Cutter, CutterKind, Id16, Time};

/// Kind number of `config`.
pub const KIND: u8 = 1;
/// The format that programs must know to read, and to write.
const FORMAT: u64 = 1;

/// What `config` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub generation: u64,
    pub cutter: Cutter,
    /// Length at which packs are ended, bytes.
    pub pack_target: usize,
    pub made: Time,
    /// Thousandths of a new pack's length that its recovery data has; 0 for none.
    pub parity_per_mille: u16,
}

/// Encodes a cutter's record.
pub fn encode_cutter(cutter: &Cutter) -> Vec<u8> {
    let mut writer = Writer::default();
    writer
        .int(
            1,
            true,
            match cutter.kind {
                CutterKind::Gear => 1,
            },
        )
        .int(2, true, u64::from(cutter.minimum))
        .int(3, true, u64::from(cutter.average))
        .int(4, true, u64::from(cutter.maximum));
    writer.finish()
}

/// Reads a cutter's record.
pub fn decode_cutter(bytes: &[u8]) -> Result<Cutter, Error> {
    let (mut kind, mut cutter) = (0, Cutter { kind: CutterKind::Gear, minimum: 0, average: 0, maximum: 0 });
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => kind = field.int()?,
            2 => cutter.minimum = field.int32()?,
            3 => cutter.average = field.int32()?,
            4 => cutter.maximum = field.int32()?,
            _ => field.unknown()?,
        }
    }
    cutter.kind = match kind {
        1 => CutterKind::Gear,
        other => return Err(Error::Unsupported(format!("cutter {other}"))),
    };
    if cutter.is_sound() { Ok(cutter) } else { Err(Error::Malformed("a cutter's sizes make no sense")) }
}

/// What every reader refuses is not written either.
fn check(config: &Config) -> Result<(), Error> {
    match () {
        () if !config.cutter.is_sound() => Err(Error::Malformed("a cutter's sizes make no sense")),
        () if !(1 << 20..=limits::PACK_MAX as usize / 2).contains(&config.pack_target) => {
            Err(Error::Malformed("the pack size makes no sense"))
        }
        () if config.parity_per_mille > 1000 => {
            Err(Error::Malformed("the rate of recovery data makes no sense"))
        }
        () => Ok(()),
    }
}

/// Encodes the object.
///
/// Errors: `Malformed` for what no reader takes.
pub fn encode(keys: &Keys, config: &Config) -> Result<Vec<u8>, Error> {
    check(config)?;
    let mut plain = Writer::default();
    plain.int(1, true, FORMAT).int(2, true, FORMAT).int(3, true, config.generation);
    small::encode(keys, KIND, &plain.finish(), &encode_record(config))
}

/// Encodes what is sealed of it, which writers are given in their key slot.
pub(super) fn encode_record(config: &Config) -> Vec<u8> {
    let mut writer = Writer::default();
    writer
        .bytes(1, true, &encode_cutter(&config.cutter))
        .int(2, true, config.pack_target as u64)
        .time(3, true, Some(config.made))
        .int(5, false, u64::from(config.parity_per_mille));
    writer.finish()
}

/// What can be known without a key: the repository id and the generation. Refuses formats that this program cannot read.
pub fn peek(object: &[u8]) -> Result<(Id16, u64), Error> {
    let (repository, plain) = small::plain_part(object, KIND)?;
    let (mut readable, mut generation) = (0, 0);
    let mut reader = Reader::new(plain);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => readable = field.int()?,
            2 => {}
            3 => generation = field.int()?,
            _ => field.unknown()?,
        }
    }
    if readable != FORMAT {
        return Err(Error::Unsupported(format!("repository format {readable}")));
    }
    Ok((repository, generation))
}

/// Opens the object.
pub fn decode(keys: &Keys, object: &[u8]) -> Result<Config, Error> {
    // Opened first: what a changed plain part says is not believed.
    let record = small::decode(keys, KIND, object)?;
    let (_, generation) = peek(object)?;
    decode_record(&record, generation)
}

/// Reads what is sealed of it.
pub(super) fn decode_record(record: &[u8], generation: u64) -> Result<Config, Error> {
    let mut config = Config {
        generation,
        cutter: Cutter::default(),
        pack_target: 0,
        made: Time::default(),
        parity_per_mille: 0,
    };
    let mut reader = Reader::new(record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => config.cutter = decode_cutter(field.value)?,
            2 => config.pack_target = field.int()? as usize,
            3 => config.made = field.time()?,
            5 => {
                config.parity_per_mille = u16::try_from(field.int()?)
                    .map_err(|_| Error::Malformed("the rate of recovery data makes no sense"))?
            }
            _ => field.unknown()?,
        }
    }
    check(&config)?;
    Ok(config)
}
