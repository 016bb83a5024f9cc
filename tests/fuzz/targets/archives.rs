//! What other programs write for an import: tar archives.

use copal::import::records::time;
use copal::import::tar::{Archive, Kind};

const BLOCK: usize = 512;
const SUM: std::ops::Range<usize> = 148..156;

/// An archive. Whatever looks like a header gets the sum that it should have: by chance none would be right. Accepted when it is read to
/// its end.
pub(super) fn tar(data: &[u8]) -> bool {
    let mut bytes = data.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        put_sum(block);
    }
    let mut archive = Archive::new(&bytes[..]);
    let (mut read, mut buffer) = (0, [0; 4096]);
    loop {
        let entry = match archive.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return true,
            Err(error) => {
                let _ = error.to_string();
                return false;
            }
        };
        assert!(entry.size <= i64::MAX as u64 && entry.mtime.1 < 1_000_000_000);
        assert!(entry.size == 0 || [Kind::File, Kind::HardLink].contains(&entry.kind));
        let _ = (entry.records.xattrs(), entry.records.acls());
        let mut content = 0;
        loop {
            match archive.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => content += count,
                Err(_) => return false,
            }
        }
        assert_eq!(content as u64, entry.size);
        read += content;
        assert!(read <= bytes.len(), "more content than there is");
        if let Some((_, nanos)) = time(&entry.path) {
            assert!(nanos < 1_000_000_000);
        }
    }
}

/// The sum of a header, its own place counted as spaces.
fn put_sum(block: &mut [u8]) {
    block[SUM].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A header of that kind, and its content, padded.
fn entry(name: &[u8], kind: u8, target: &[u8], content: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    for (place, text) in [(100, "0000644"), (108, "0001750"), (116, "0001750"), (136, "15000000000")] {
        block[place..place + text.len()].copy_from_slice(text.as_bytes());
    }
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[265..268].copy_from_slice(b"ann");
    put_sum(&mut block);
    let padding = content.len().next_multiple_of(BLOCK) - content.len();
    [&block[..], content, &vec![0; padding]].concat()
}

fn records(all: &[(&str, &[u8])]) -> Vec<u8> {
    let record = |(name, value): &(&str, &[u8])| {
        let rest = [b" ", name.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = rest.len() + 1;
        while rest.len() + length.to_string().len() != length {
            length += 1;
        }
        [length.to_string().as_bytes(), &rest].concat()
    };
    all.iter().flat_map(record).collect()
}

pub(super) fn tar_seeds() -> Vec<Vec<u8>> {
    let end = [0; 2 * BLOCK];
    let plain = [
        entry(b"folder/", b'5', b"", b""),
        entry(b"folder/file", b'0', b"", &[7; 600]),
        entry(b"link", b'2', b"folder/file", b""),
        entry(b"hard", b'1', b"folder/file", b""),
        entry(b"pipe", b'6', b"", b""),
        entry(b"device", b'3', b"", b""),
    ];
    let pax = records(&[
        ("path", b"a long name"),
        ("size", b"3"),
        ("mtime", b"-1.25"),
        ("uid", b"4000000"),
        ("SCHILY.xattr.user.x", b"\0=\n"),
        ("LIBARCHIVE.xattr.user.%79", b"AP89Cg"),
        ("SCHILY.acl.access", b"user::rwx"),
    ]);
    let extended = [
        entry(b"global", b'g', b"", &records(&[("comment", b"none"), ("uname", b"bob")])),
        entry(b"pax", b'x', b"", &pax),
        entry(b"short", b'0', b"", b"abc"),
        entry(b"././@LongLink", b'L', b"", &[b'n'; 300]),
        entry(b"././@LongLink", b'K', b"", &[b't'; 300]),
        entry(b"short", b'2', b"target", b""),
    ];
    // Numbers as bytes, as GNU tar writes large ones.
    let mut large = entry(b"large", b'0', b"", b"");
    large[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0, 0x3d, 9, 0]);
    large[136..148].copy_from_slice(&[0xff; 12]);
    put_sum(&mut large[..BLOCK]);
    let archive = |entries: &[Vec<u8>]| [&entries.concat()[..], &end].concat();
    vec![archive(&plain), archive(&extended), archive(&[large]), archive(&[])]
}
