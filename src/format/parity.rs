//! Recovery data of one pack: pieces that each say what they are and prove it, so that what is whole of a damaged object still helps.
//! docs/format.md, section 10.

pub mod code;

use super::limits::{PACK_MAX, PARITY_SHARD_MAX, PARITY_SHARD_MIN, PARITY_SHARDS_MAX};
use super::record::Cursor;
use super::{Error, header};
use crate::crypto;
use crate::model::{Id, Id16};

/// Kind number of recovery data.
pub const KIND: u8 = 12;
/// What every piece begins with.
const MAGIC: [u8; 8] = *b"COPALPAR";
/// Bytes of a piece before its body.
const PIECE_HEAD: usize = 48;
/// Bytes of it that its checksum covers.
const PIECE_SUMMED: usize = 40;
const SUMS: u32 = 1;
const RECOVERY: u32 = 2;
/// Checksums in one piece.
const SUMS_PER_PIECE: usize = 512;
/// Broken pieces of checksums that are kept: as many as there are whole ones of the longest pack.
const SUMS_BROKEN: usize = 2 * PARITY_SHARDS_MAX.div_ceil(SUMS_PER_PIECE);
/// Length of a checksum: the pack's name proves the whole, this only finds the place.
const SUM: usize = 8;

/// How a pack is cut into shards, and how many recovery shards there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Of the pack, bytes.
    length: u64,
    /// Of a shard, bytes.
    shard: u32,
    recovery: u32,
}

impl Shape {
    /// The shape for a pack of that length, and recovery shards for so many thousandths of its shards, at least one.
    ///
    /// Errors: a length that no pack has, a rate of 0 or above 1000.
    pub fn new(length: u64, per_mille: u16) -> Result<Shape, Error> {
        let mut shard = PARITY_SHARD_MIN as u64;
        while length.div_ceil(shard) > PARITY_SHARDS_MAX as u64 && shard < PARITY_SHARD_MAX as u64 {
            shard *= 2;
        }
        let recovery = (length.div_ceil(shard) * u64::from(per_mille)).div_ceil(1000);
        Shape::checked(length, shard as u32, u32::try_from(recovery).unwrap_or(u32::MAX))
    }

    /// A shape as it stands in a piece.
    fn checked(length: u64, shard: u32, recovery: u32) -> Result<Shape, Error> {
        let shape = Shape { length, shard, recovery };
        let sound = (1..=PACK_MAX).contains(&length)
            && (PARITY_SHARD_MIN..=PARITY_SHARD_MAX).contains(&(shard as usize))
            && shard.is_multiple_of(64)
            && shape.originals() <= PARITY_SHARDS_MAX
            && (1..=shape.originals()).contains(&(recovery as usize));
        if sound { Ok(shape) } else { Err(Error::Malformed("recovery data of a shape that makes no sense")) }
    }

    /// Length of the pack, bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Number of shards that the pack is cut into.
    pub fn originals(&self) -> usize {
        self.length.div_ceil(u64::from(self.shard)) as usize
    }

    /// Number of recovery shards: so many shards may be lost.
    pub fn recovery(&self) -> usize {
        self.recovery as usize
    }

    fn shard(&self) -> usize {
        self.shard as usize
    }

    /// Length of one copy of all checksums.
    fn sums_length(&self) -> usize {
        self.originals().div_ceil(SUMS_PER_PIECE) * PIECE_HEAD + self.originals() * SUM
    }

    /// Length of the object, bytes.
    pub fn object_length(&self) -> u64 {
        (header_length() + 2 * self.sums_length() + self.recovery() * (PIECE_HEAD + self.shard())) as u64
    }

    fn piece_head(&self, kind: u32, number: usize, body: usize) -> [u8; PIECE_HEAD] {
        let mut head = [0; PIECE_HEAD];
        head[..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&kind.to_le_bytes());
        head[12..16].copy_from_slice(&(number as u32).to_le_bytes());
        head[16..24].copy_from_slice(&self.length.to_le_bytes());
        head[24..28].copy_from_slice(&self.shard.to_le_bytes());
        head[28..32].copy_from_slice(&self.recovery.to_le_bytes());
        head[32..36].copy_from_slice(&(body as u32).to_le_bytes());
        head
    }
}

fn header_length() -> usize {
    super::limits::HEADER_LEN
}

/// The first bytes of a hash.
fn short(hasher: &blake3::Hasher) -> [u8; SUM] {
    let mut sum = [0; SUM];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

fn piece_sum(name: &Id, head: &[u8], body: &[u8]) -> [u8; SUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&name.0).update(&head[..PIECE_SUMMED]).update(body);
    short(&hasher)
}

/// Checksum of a shard, which zeros follow when it is the last one.
fn shard_sum(bytes: &[u8], shard: usize) -> [u8; SUM] {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytes);
    let mut missing = shard.saturating_sub(bytes.len());
    while missing > 0 {
        let some = missing.min(ZEROS.len());
        hasher.update(&ZEROS[..some]);
        missing -= some;
    }
    short(&hasher)
}

/// Makes the recovery data of a pack.
///
/// Errors: a pack of another length than the shape's.
pub fn encode(repository: Id16, name: &Id, pack: &[u8], shape: &Shape) -> Result<Vec<u8>, Error> {
    if pack.len() as u64 != shape.length {
        return Err(Error::Malformed("a pack of another length than its recovery data"));
    }
    let shard = shape.shard();
    let mut object = Vec::with_capacity(shape.object_length() as usize);
    object.extend_from_slice(&header::encode(KIND, repository));
    let start = object.len();
    let sums: Vec<[u8; SUM]> = pack.chunks(shard).map(|bytes| shard_sum(bytes, shard)).collect();
    for (piece, sums) in sums.chunks(SUMS_PER_PIECE).enumerate() {
        let mut head = shape.piece_head(SUMS, piece * SUMS_PER_PIECE, sums.len() * SUM);
        let sum = piece_sum(name, &head, sums.as_flattened());
        head[PIECE_SUMMED..].copy_from_slice(&sum);
        object.extend_from_slice(&head);
        object.extend_from_slice(sums.as_flattened());
    }
    let end = object.len();
    object.resize(end + shape.recovery() * (PIECE_HEAD + shard), 0);
    code::encode(pack, shard, shape.recovery(), |number, offset, bytes| {
        let body = end + number * (PIECE_HEAD + shard) + PIECE_HEAD;
        object[body + offset..body + offset + bytes.len()].copy_from_slice(bytes);
    })?;
    for (number, piece) in object[end..].chunks_mut(PIECE_HEAD + shard).enumerate() {
        let mut head = shape.piece_head(RECOVERY, number, shard);
        let sum = piece_sum(name, &head, &piece[PIECE_HEAD..]);
        head[PIECE_SUMMED..].copy_from_slice(&sum);
        piece[..PIECE_HEAD].copy_from_slice(&head);
    }
    object.extend_from_within(start..end);
    Ok(object)
}

/// What is whole of a pack's recovery data.
pub struct Parity<'a> {
    pub shape: Shape,
    sums: Vec<Option<[u8; SUM]>>,
    /// Checksums in pieces that are not whole, with the number of the first one: one that fits a shard is right all the same.
    broken_sums: Vec<(usize, &'a [[u8; SUM]])>,
    recovery: Vec<Option<&'a [u8]>>,
}

/// Why a pack does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    #[error("{lost} of its {parts} parts are lost, and its recovery data can bring back {spare}")]
    Lost { lost: usize, parts: usize, spare: usize },
    /// The recovery data contradicts the pack's name: it was made up, or of something else.
    #[error("its recovery data does not lead to what its name says")]
    Unproven,
}

/// One piece, and whether it proves itself.
struct Piece<'a> {
    kind: u32,
    number: usize,
    shape: Shape,
    body: &'a [u8],
    is_whole: bool,
}

/// Reads the piece that begins here, when its head makes sense. `budget` bounds how many bytes are hashed for pieces that turn out to be none.
fn piece<'a>(bytes: &'a [u8], name: &Id, budget: &mut usize) -> Result<Piece<'a>, Error> {
    let mut cursor = Cursor(bytes);
    let head = cursor.take(PIECE_HEAD)?;
    let mut fields = Cursor(&head[8..]);
    let (kind, number) = (u32::from_le_bytes(fields.array()?), u32::from_le_bytes(fields.array()?));
    let length = u64::from_le_bytes(fields.array()?);
    let (shard, recovery) = (u32::from_le_bytes(fields.array()?), u32::from_le_bytes(fields.array()?));
    let shape = Shape::checked(length, shard, recovery)?;
    let body_length = u32::from_le_bytes(fields.array()?) as usize;
    let number = number as usize;
    let fits = match kind {
        SUMS => {
            let count = body_length / SUM;
            body_length.is_multiple_of(SUM)
                && (1..=SUMS_PER_PIECE).contains(&count)
                && number.checked_add(count).is_some_and(|end| end <= shape.originals())
        }
        RECOVERY => body_length == shape.shard() && number < shape.recovery(),
        _ => false,
    };
    if !fits {
        return Err(Error::Malformed("a piece of recovery data that makes no sense"));
    }
    let body = cursor.take(body_length)?;
    *budget =
        budget.checked_sub(PIECE_HEAD + body_length).ok_or(Error::Malformed("too many broken pieces"))?;
    let is_whole = piece_sum(name, head, body)[..] == head[PIECE_SUMMED..];
    Ok(Piece { kind, number, shape, body, is_whole })
}

/// Finds the pieces of a pack's recovery data that are whole, wherever they lie in these bytes.
///
/// Errors: when there is none.
pub fn find<'a>(object: &'a [u8], name: &Id) -> Result<Parity<'a>, Error> {
    // Whole pieces do not overlap, and broken ones were whole once: each byte is hashed about once, unless somebody made this up.
    let mut budget = object.len().saturating_mul(2);
    let mut found: Option<Parity<'a>> = None;
    let mut broken = Vec::new();
    let mut place = 0;
    while let Some(next) = object[place..].windows(MAGIC.len()).position(|window| window == MAGIC) {
        place += next;
        let Ok(piece) = piece(&object[place..], name, &mut budget) else {
            place += 1;
            continue;
        };
        if !piece.is_whole {
            place += 1;
            if piece.kind == SUMS && broken.len() < SUMS_BROKEN {
                broken.push(piece);
            }
            continue;
        }
        place += PIECE_HEAD + piece.body.len();
        let parity = found.get_or_insert_with(|| Parity {
            shape: piece.shape,
            sums: vec![None; piece.shape.originals()],
            broken_sums: Vec::new(),
            recovery: vec![None; piece.shape.recovery()],
        });
        // Pieces of two shapes can not be of one object: the first one counts.
        match piece.kind {
            _ if piece.shape != parity.shape => {}
            SUMS => {
                let (sums, _) = piece.body.as_chunks::<SUM>();
                let places = &mut parity.sums[piece.number..piece.number + sums.len()];
                places.iter_mut().zip(sums).for_each(|(place, sum)| *place = Some(*sum));
            }
            _ => parity.recovery[piece.number] = Some(piece.body),
        }
    }
    let mut found = found.ok_or(Error::Malformed("no part of the recovery data is whole"))?;
    broken.retain(|piece| piece.shape == found.shape);
    found.broken_sums = broken.iter().map(|piece| (piece.number, piece.body.as_chunks::<SUM>().0)).collect();
    Ok(found)
}

impl Parity<'_> {
    /// Recovery shards that are whole: so many lost shards can be brought back.
    pub fn spare(&self) -> usize {
        self.recovery.iter().flatten().count()
    }

    /// Whether a shard is as it was; none where its checksum is lost in both copies, and no rest of one fits.
    fn is_whole(&self, number: usize, bytes: &[u8]) -> Option<bool> {
        let sum = shard_sum(bytes, self.shape.shard());
        if let Some(known) = self.sums[number] {
            return Some(known == sum);
        }
        let fits = |(first, sums): &(usize, &[[u8; SUM]])| {
            number.checked_sub(*first).and_then(|place| sums.get(place)) == Some(&sum)
        };
        self.broken_sums.iter().any(fits).then_some(true)
    }

    /// Brings back a pack from what can be read of it: bytes in their place, anything in the place of what can not be read, cut short or
    /// too long. What is given proves itself by its name.
    pub fn recover(&self, name: &Id, mut pack: Vec<u8>) -> Result<Vec<u8>, Beyond> {
        let (length, shard, parts) = (self.shape.length as usize, self.shape.shard(), self.shape.originals());
        pack.truncate(length);
        if pack.len() == length && crypto::object_name(&pack) == *name {
            return Ok(pack);
        }
        // Of each shard: whether it is as it was, as far as that is known.
        let known: Vec<Option<bool>> = (0..parts)
            .map(|number| match pack.get(number * shard..) {
                Some(rest) if !rest.is_empty() => self.is_whole(number, &rest[..rest.len().min(shard)]),
                _ => Some(false),
            })
            .collect();
        // Where it is not known, a shard is first taken for lost, and should there be too few others for that, for whole.
        let mut failure = None;
        for otherwise in [false, true] {
            let is_lost: Vec<bool> = known.iter().map(|known| !known.unwrap_or(otherwise)).collect();
            match self.fill(name, &mut pack, &is_lost) {
                Ok(()) => return Ok(pack),
                Err(beyond) => failure = failure.or(Some(beyond)),
            }
            if known.iter().all(Option::is_some) {
                break;
            }
        }
        Err(failure.unwrap_or(Beyond::Unproven))
    }

    /// Computes the shards that are lost; whether that gives the pack of that name.
    fn fill(&self, name: &Id, pack: &mut Vec<u8>, is_lost: &[bool]) -> Result<(), Beyond> {
        let (length, shard, spare) = (self.shape.length as usize, self.shape.shard(), self.spare());
        let lost = is_lost.iter().filter(|lost| **lost).count();
        if lost > spare {
            return Err(Beyond::Lost { lost, parts: is_lost.len(), spare });
        }
        // All that is needed is there, so this is little more than what was read.
        pack.resize(is_lost.len() * shard, 0);
        let recovery: Vec<(usize, &[u8])> = (0..)
            .zip(&self.recovery)
            .filter_map(|(number, bytes)| Some((number, (*bytes)?)))
            .take(lost)
            .collect();
        let decoded = code::decode(pack, shard, is_lost, &recovery, self.shape.recovery());
        if decoded.is_err() || crypto::object_name(&pack[..length]) != *name {
            return Err(Beyond::Unproven);
        }
        pack.truncate(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
