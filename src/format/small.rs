//! Small objects: a header, a plain part, and one sealed record. docs/format.md, section 2.

use super::{Error, header, limits, record::Cursor, record::put_varint};
use crate::crypto::{self, FULL, Keys, seal, sign::SIGNATURE_LEN};
use crate::model::Id16;

const CODEC_PLAIN: u8 = 0;
const CODEC_ZSTD: u8 = 1;
/// By how much a small object of who only adds expands at most.
const EXPANDS_MOST: u64 = 64;
/// Records at least this long are tried with zstd.
const COMPRESS_FROM: usize = 512;

/// Kinds whose plain part says something.
const WITH_PLAIN_PART: [u8; 3] = [super::config::KIND, super::session::REMOVAL, super::session::DAMAGE];

/// Seals a record as an object of that kind number. `compress` and `decompress` below are zstd's.
pub fn encode(keys: &Keys, kind: u8, plain_part: &[u8], record: &[u8]) -> Result<Vec<u8>, Error> {
    if record.len() + plain_part.len() + 256 > limits::SMALL_MAX {
        return Err(Error::Malformed("too long for a small object"));
    }
    let mut payload = Vec::with_capacity(record.len() + 11);
    let compressed = if record.len() >= COMPRESS_FROM { crate::compress::zstd_small(record) } else { None };
    // What a reader would refuse is not written.
    let is_taken =
        |bytes: &Vec<u8>| (record.len() as u64) < (bytes.len() as u64).saturating_mul(EXPANDS_MOST);
    let compressed = compressed.filter(|bytes| keys.writer() == FULL || is_taken(bytes));
    match &compressed {
        Some(bytes) => {
            payload.push(CODEC_ZSTD);
            put_varint(&mut payload, record.len() as u64);
            payload.extend_from_slice(bytes);
        }
        None => {
            payload.push(CODEC_PLAIN);
            put_varint(&mut payload, record.len() as u64);
            payload.extend_from_slice(record);
        }
    }
    let mut object = header::encode_by(keys.writer(), kind, keys.repository).to_vec();
    object.extend_from_slice(&crypto::random::<16>()?);
    object.extend_from_slice(&(plain_part.len() as u32).to_le_bytes());
    object.extend_from_slice(plain_part);
    let key = key(keys, kind, &object).ok_or(Error::NotGiven)?;
    let (nonce, sealed) = seal::seal_small(&key, &object, &payload)?;
    object.extend_from_slice(&nonce);
    object.extend_from_slice(&sealed);
    if header::is_signed(&object) {
        let signature = keys.sign(&object).ok_or(Error::NotGiven)?;
        object.extend_from_slice(&signature);
        object.extend_from_slice(&(SIGNATURE_LEN as u32).to_le_bytes());
    }
    Ok(object)
}

/// The key that seals an object with that header: what is signed is for all who may see what full keys stored.
fn key(keys: &Keys, kind: u8, object: &[u8]) -> Option<[u8; 32]> {
    match header::is_signed(object) {
        true => keys.shared_index().copied(),
        false => keys.small_of(header::writer(object), kind),
    }
}

/// What of a signed object comes before its signature, which holds.
fn signed<'o>(keys: &Keys, object: &'o [u8]) -> Result<&'o [u8], Error> {
    let parts = object.split_last_chunk().and_then(|(rest, length)| Some((rest.split_last_chunk()?, length)));
    match parts {
        Some(((message, signature), length)) if u32::from_le_bytes(*length) == SIGNATURE_LEN as u32 => {
            match keys.is_signed(message, signature) {
                true => Ok(message),
                false => Err(crypto::Error::DoesNotOpen.into()),
            }
        }
        _ => Err(Error::Malformed("its signature has another length")),
    }
}

/// The parts of a small object that can be read without a key: repository id and plain part.
pub fn plain_part(object: &[u8], kind: u8) -> Result<(Id16, &[u8]), Error> {
    let repository = header::decode(object, kind)?;
    let mut cursor = Cursor(object);
    cursor.take(48)?;
    let length = u32::from_le_bytes(cursor.array()?) as usize;
    Ok((repository, cursor.take(length)?))
}

/// Opens a small object of that kind and gives its record.
///
/// Errors: `Unsupported` is never a changed byte in the header: what opens with the header of this version was written by this version.
pub fn decode(keys: &Keys, kind: u8, object: &[u8]) -> Result<Vec<u8>, Error> {
    match open(keys, kind, object) {
        // Of `config`, whoever chooses among its copies looks at that itself.
        Err(Error::Unsupported(_))
            if kind != super::config::KIND
                && header::check(object, kind, keys.repository).is_err()
                && header::with_each_own(object, kind, keys.repository)
                    .any(|own| open(keys, kind, &own).is_ok()) =>
        {
            Err(Error::Malformed("its header was changed"))
        }
        other => other,
    }
}

fn open(keys: &Keys, kind: u8, object: &[u8]) -> Result<Vec<u8>, Error> {
    if object.len() > limits::SMALL_MAX {
        return Err(Error::Malformed("too long for a small object"));
    }
    header::check(object, kind, keys.repository)?;
    let key = key(keys, kind, object).ok_or(Error::NotGiven)?;
    let object = if header::is_signed(object) { signed(keys, object)? } else { object };
    let (_, plain) = plain_part(object, kind)?;
    if !plain.is_empty() && !WITH_PLAIN_PART.contains(&kind) {
        return Err(Error::Malformed("a plain part where there is none"));
    }
    let (associated, rest) =
        object.split_at_checked(52 + plain.len()).ok_or(Error::Malformed("cut short"))?;
    let mut cursor = Cursor(rest);
    let nonce = cursor.array()?;
    let payload = seal::open_small(&key, associated, &nonce, cursor.0)?;
    let mut cursor = Cursor(&payload);
    let [codec] = cursor.array()?;
    let length = cursor.varint()?;
    if length > limits::SMALL_MAX as u64 {
        return Err(Error::Malformed("too long for a small object"));
    }
    // Of what others can make only storage bounds the number: it may not fill memory from next to nothing.
    if header::writer(object) != FULL && length > (object.len() as u64).saturating_mul(EXPANDS_MOST) {
        return Err(Error::Malformed("far too long for what is stored of it"));
    }
    match codec {
        CODEC_PLAIN if cursor.0.len() as u64 == length => Ok(cursor.0.to_vec()),
        CODEC_PLAIN => Err(Error::Malformed("the payload has another length")),
        CODEC_ZSTD => crate::compress::decompress(cursor.0, length as usize)
            .ok_or(Error::Malformed("does not decompress")),
        other => Err(Error::Unsupported(format!("codec {other}"))),
    }
}
