//! Signatures: Ed25519 (RFC 8032), checked strictly, so that of a message and a key one signature holds.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// The public half of a key pair whose private half is that seed.
pub fn public(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// Signs a message.
pub fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; SIGNATURE_LEN] {
    SigningKey::from_bytes(seed).sign(message).to_bytes()
}

/// Whether who has the private half signed that message. A public key that is none has signed nothing.
pub fn is_signed(public: &[u8; 32], message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    VerifyingKey::from_bytes(public)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::parse_hex;

    /// RFC 8032, section 7.1, tests 1 and 2.
    #[test]
    fn the_signatures_of_the_standard_come_out() {
        for (seed, key, message, begins) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                &b""[..],
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                &b"\x72"[..],
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            ),
        ] {
            let seed = parse_hex(seed).unwrap();
            assert_eq!(Some(public(&seed)), parse_hex(key));
            let signature = sign(&seed, message);
            assert_eq!(signature.first_chunk::<32>().copied(), parse_hex(begins));
            assert!(is_signed(&public(&seed), message, &signature));
            assert!(!is_signed(&public(&seed), b"another", &signature));
            for at in 0..SIGNATURE_LEN {
                let mut changed = signature;
                changed[at] ^= 1;
                assert!(!is_signed(&public(&seed), message, &changed), "byte {at}");
            }
        }
    }

    /// A key of small order would take one signature for every message.
    #[test]
    fn a_key_of_small_order_signs_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; SIGNATURE_LEN];
        signature[0] = 1;
        assert!(!is_signed(&identity, b"anything", &signature));
    }
}
