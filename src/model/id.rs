//! Identities: 32-byte hashes that name chunks, trees and objects, and 16-byte random ids.

use std::fmt;

/// A BLAKE3-256 value: the id of a chunk or tree (keyed), or the name of an object (unkeyed).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Id(pub [u8; 32]);

/// A random or derived 16-byte identity: repository, client, session, key slot, link group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Id16(pub [u8; 16]);

/// What a pack or chunk holds. The index is keyed by this and the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Contents {
    /// Bytes of files (and long extended attributes, and the change cache's state).
    Data = 0,
    /// Pages of directories and of long content lists.
    Trees = 1,
}

impl Contents {
    /// The kind of contents of that number, when there is one.
    pub fn from_number(number: u64) -> Option<Contents> {
        match number {
            0 => Some(Contents::Data),
            1 => Some(Contents::Trees),
            _ => None,
        }
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The bytes of a string of lower- or upper-case hex digits of exactly `N` bytes.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}

impl Id {
    /// Reads 64 hex digits.
    pub fn parse(text: &str) -> Option<Id> {
        parse_hex(text).map(Id)
    }

    /// The first 8 hex digits, as people see ids.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }

    /// The first 8 bytes as an integer: the index's key.
    pub fn prefix(&self) -> u64 {
        u64::from_be_bytes([
            self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5], self.0[6], self.0[7],
        ])
    }
}

impl Id16 {
    /// Reads 32 hex digits.
    pub fn parse(text: &str) -> Option<Id16> {
        parse_hex(text).map(Id16)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..6], f)
    }
}

impl fmt::Display for Id16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Id16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..6], f)
    }
}
