//! Checksums of rows whose flipped bit nobody else would notice: the change cache and the facts. Chunk rows need none, since what is read
//! by them is compared with its id.

/// Bytes of a checksum, at the end of a row's last value.
const SUM_LEN: usize = 8;

fn sum(parts: &[&[u8]], value: &[u8]) -> [u8; SUM_LEN] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.update(value);
    let mut sum = [0; SUM_LEN];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM_LEN]);
    sum
}

/// A row's last value with the checksum of the whole row behind it.
pub(super) fn add(parts: &[&[u8]], value: &[u8]) -> Vec<u8> {
    [value, &sum(parts, value)].concat()
}

/// The value without its checksum; `None` when the row is not what was written.
pub(super) fn take(parts: &[&[u8]], mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let length = bytes.len().checked_sub(SUM_LEN)?;
    if bytes[length..] != sum(parts, &bytes[..length]) {
        return None;
    }
    bytes.truncate(length);
    Some(bytes)
}
