//! Whether a file looks encrypted: random from its very first byte, as no format that people use is. Pure.
//! docs/decisions/0008-guards.md says why it is asked like this, and what it finds in real folders.

/// Bytes of a file's beginning that are looked at.
pub const HEAD: usize = 4096;
/// Fewer say too little.
const LEAST: usize = 256;
/// Standard deviations that count as chance.
const CHANCE: f64 = 5.0;

/// How formats begin that are compressed from their first bytes on: what follows is as random as if it was encrypted. Those with longer
/// headers (images, films, documents) need no line, since their headers are not random.
const COMPRESSED: &[&[u8]] = &[
    b"\x1f\x8b",           // gzip
    b"\x1f\x9d",           // compress
    b"\x78\x01",           // zlib, of which git's objects are made
    b"\x78\x5e",           // the same, other levels
    b"\x78\x9c",           //
    b"\x78\xda",           //
    b"\x28\xb5\x2f\xfd",   // zstd
    b"\x37\xa4\x30\xec",   // a dictionary of it
    b"\x04\x22\x4d\x18",   // lz4
    b"\xfd7zXZ\x00",       // xz
    b"\x5d\x00\x00",       // lzma
    b"LZIP",               //
    b"BZh",                // bzip2
    b"\xce\xb2\xcf\x81",   // brotli, framed
    b"PK\x03\x04",         // zip, and documents and programs that are one
    b"7z\xbc\xaf\x27\x1c", //
    b"Rar!\x1a\x07",       //
    b"MSCF",               // cabinets
    b"xar!",               //
    b"\x89PNG",            //
    b"\xff\xd8\xff",       // JPEG
    b"GIF8",               //
    b"RIFF",               // WebP, and sound
    b"OggS",               //
    b"fLaC",               //
    b"ID3",                // MP3
    b"\xff\xfb",           // the same without tags
    b"\xff\xf3",           //
    b"\x1a\x45\xdf\xa3",   // Matroska, WebM
    b"wOF2",               // fonts
    b"wOFF",               //
    b"PACK",               // git's packs
    b"hsqs",               // squashfs
    b"%PDF",               //
    b"\xed\xab\xee\xdb",   // rpm
    b"!<arch>",            // deb
];

/// Whether a file that begins so (with `HEAD` bytes, or all that it has) looks encrypted.
pub fn looks_encrypted(head: &[u8]) -> bool {
    let head = &head[..head.len().min(HEAD)];
    // Most files are found out by their first bytes.
    head.len() >= LEAST
        && is_even(&head[..LEAST])
        && !COMPRESSED.iter().any(|start| head.starts_with(start))
        && is_even(head)
}

/// Whether all byte values come as often as chance has it: neither less evenly nor more.
fn is_even(bytes: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    // Pairs of equal bytes; of random bytes one in 256 is one, with a variance of about as many.
    let pairs: u64 =
        counts.iter().map(|&count| u64::from(count) * u64::from(count.saturating_sub(1)) / 2).sum();
    let length = bytes.len() as f64;
    let expected = length * (length - 1.0) / 512.0;
    (pairs as f64 - expected).abs() <= CHANCE * expected.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn random_bytes_of_any_length_look_encrypted() {
        for length in [256, 257, 400, 1000, 4095, 4096, 5000, 100_000] {
            let found = (0..200).filter(|seed| looks_encrypted(&noise(*seed, length))).count();
            assert!(found >= 199, "{found} of 200 of length {length}");
        }
    }

    #[test]
    fn what_people_write_does_not() {
        let text = b"The quick brown fox jumps over the lazy dog. ".repeat(200);
        let base64: Vec<u8> = noise(1, 6000).iter().map(|byte| b'!' + byte % 64).collect();
        let counting: Vec<u8> = (0..6000u32).map(|number| number as u8).collect();
        let numbers: Vec<u8> =
            (0..2000u32).flat_map(|number| f64::from(number).sqrt().to_le_bytes()).collect();
        for plain in [&text, &base64, &counting, &numbers, &vec![0; 5000], &noise(1, 255), &Vec::new()] {
            assert!(!looks_encrypted(plain));
        }
        // A text that was encrypted from its second page on is no matter of its beginning.
        assert!(!looks_encrypted(&[&text[..4096], &noise(1, 4096)].concat()));
    }

    #[test]
    fn what_is_compressed_from_its_first_bytes_on_does_not_and_another_header_hides_nothing() {
        for start in COMPRESSED {
            assert!(!looks_encrypted(&[start, &noise(1, 5000)[..]].concat()), "{start:?}");
        }
        let marked =
            [&b"WANACRY!\x00\x01\x00\x00"[..], &noise(1, 256), b"\x04\x00\x00\x00", &noise(2, 5000)].concat();
        assert!(looks_encrypted(&marked));
    }
}
