//! Authenticated encryption: ChaCha20-Poly1305 for a pack's parts, XChaCha20-Poly1305 for small objects.

use chacha20poly1305::aead::{Aead, AeadInPlace, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305, XNonce};

use super::Error;

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// The two places of a pack that are sealed, each with its own nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Block of that number.
    Block(u64),
    /// The directory.
    Directory,
}

impl Part {
    fn nonce(self) -> [u8; 12] {
        let (number, domain): (u64, u32) = match self {
            Part::Block(number) => (number, 0),
            Part::Directory => (u64::MAX, 1),
        };
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        nonce[8..].copy_from_slice(&domain.to_le_bytes());
        nonce
    }
}

/// Seals `bytes` where they are and appends the tag.
pub fn seal_part(key: &[u8; 32], part: Part, associated: &[u8], bytes: &mut Vec<u8>) -> Result<(), Error> {
    ChaCha20Poly1305::new(key.into())
        .encrypt_in_place(&part.nonce().into(), associated, bytes)
        .map_err(|_| Error::DoesNotOpen)
}

/// Opens `bytes` where they are and takes the tag off.
pub fn open_part(key: &[u8; 32], part: Part, associated: &[u8], bytes: &mut Vec<u8>) -> Result<(), Error> {
    ChaCha20Poly1305::new(key.into())
        .decrypt_in_place(&part.nonce().into(), associated, bytes)
        .map_err(|_| Error::DoesNotOpen)
}

/// Seals a small object's payload under a random nonce: nonce, then sealed bytes.
pub fn seal_small(key: &[u8; 32], associated: &[u8], plain: &[u8]) -> Result<([u8; 24], Vec<u8>), Error> {
    let nonce: [u8; 24] = super::random()?;
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt(XNonce::from_slice(&nonce), Payload { msg: plain, aad: associated })
        .map_err(|_| Error::DoesNotOpen)?;
    Ok((nonce, sealed))
}

/// Opens what `seal_small` sealed.
pub fn open_small(
    key: &[u8; 32],
    associated: &[u8],
    nonce: &[u8; 24],
    sealed: &[u8],
) -> Result<Vec<u8>, Error> {
    XChaCha20Poly1305::new(key.into())
        .decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: associated })
        .map_err(|_| Error::DoesNotOpen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_open_only_in_their_own_place() {
        let mut bytes = b"plain".to_vec();
        seal_part(&[1; 32], Part::Block(3), b"aad", &mut bytes).unwrap();
        for (key, part, associated) in [
            (2, Part::Block(3), b"aad"),
            (1, Part::Block(4), b"aad"),
            (1, Part::Directory, b"aad"),
            (1, Part::Block(3), b"aae"),
        ] {
            assert_eq!(open_part(&[key; 32], part, associated, &mut bytes.clone()), Err(Error::DoesNotOpen));
        }
        open_part(&[1; 32], Part::Block(3), b"aad", &mut bytes).unwrap();
        assert_eq!(bytes, b"plain");
    }

    #[test]
    fn nonces_of_a_pack_never_meet() {
        let mut seen = std::collections::HashSet::new();
        for number in 0..1_000_000 {
            assert!(seen.insert(Part::Block(number).nonce()));
        }
        assert!(seen.insert(Part::Directory.nonce()));
        assert!(seen.insert(Part::Block(u64::MAX).nonce()));
    }
}
