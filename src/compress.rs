//! Compression: the only room that knows zstd. Blocks and small records, levels, and what is not worth compressing.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

/// Tables of level 3, half as large as zstd's own: they stay in a core's second cache beside the block, which takes a ninth of the time
/// away for 0.8 % more bytes (docs/decisions/0003-blocks-and-level.md).
const HASH_LOG: u32 = 16;
const CHAIN_LOG: u32 = 15;

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Stored as it is.
    Off,
    /// zstd at that level.
    Zstd(i32),
}

impl Level {
    /// The level used when nothing is said; docs/performance.md has the sizes and times of others.
    pub const AUTO: Level = Level::Zstd(3);
    /// The quickest one.
    pub const FAST: Level = Level::Zstd(1);
    /// The smallest result that is still reasonable.
    pub const MAX: Level = Level::Zstd(19);

    /// Reads `off`, `fast`, `auto`, `max` or a zstd level from 1 to 22.
    pub fn parse(text: &str) -> Option<Level> {
        match text {
            "off" => Some(Level::Off),
            "fast" => Some(Level::FAST),
            "auto" => Some(Level::AUTO),
            "max" => Some(Level::MAX),
            number => number.parse().ok().filter(|level| (1..=22).contains(level)).map(Level::Zstd),
        }
    }
}

/// Compresses blocks with one reused context.
pub struct Blocks {
    compressor: Option<Compressor<'static>>,
    decompressor: Decompressor<'static>,
    /// Room for a compressed block, kept so that it is not cleared each time.
    room: Vec<u8>,
}

impl Blocks {
    /// A compressor at that level.
    pub fn new(level: Level) -> std::io::Result<Blocks> {
        let compressor = match level {
            Level::Off => None,
            Level::Zstd(level) => {
                let mut compressor = Compressor::new(level)?;
                if Level::Zstd(level) == Level::AUTO {
                    compressor.set_parameter(CParameter::HashLog(HASH_LOG))?;
                    compressor.set_parameter(CParameter::ChainLog(CHAIN_LOG))?;
                }
                Some(compressor)
            }
        };
        Ok(Blocks { compressor, decompressor: Decompressor::new()?, room: Vec::new() })
    }

    /// Appends the compressed form of `plain` to `out`; false (and `out` as it was) when it saves less than 3 % or nothing is to be compressed.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<bool> {
        let Some(compressor) = &mut self.compressor else { return Ok(false) };
        let bound = zstd::zstd_safe::compress_bound(plain.len());
        if self.room.len() < bound {
            self.room.resize(bound, 0);
        }
        let length = compressor.compress_to_buffer(plain, &mut self.room[..])?;
        let worth = length < plain.len() - plain.len() / 32;
        if worth {
            out.extend_from_slice(&self.room[..length]);
        }
        Ok(worth)
    }

    /// Decompresses into `out` (replaced), which will have exactly `length` bytes.
    pub fn decompress(&mut self, stored: &[u8], length: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
        out.clear();
        out.reserve(length);
        let written = self.decompressor.decompress_to_buffer(stored, out)?;
        if written == length {
            Ok(())
        } else {
            Err(std::io::Error::other("another length than the directory says"))
        }
    }
}

/// A small record compressed, or none when that does not help.
pub fn zstd_small(record: &[u8]) -> Option<Vec<u8>> {
    zstd::bulk::compress(record, 3).ok().filter(|bytes| bytes.len() < record.len())
}

/// Exactly `length` bytes out of `stored`, or none. Allocates no more than `length`.
pub fn decompress(stored: &[u8], length: usize) -> Option<Vec<u8>> {
    zstd::bulk::decompress(stored, length).ok().filter(|bytes| bytes.len() == length)
}

/// Bytes below which guessing is not worth it.
const SAMPLE_FROM: usize = 8192;
const SAMPLE: usize = 512;
const SAMPLES: usize = 16;
/// Of a chunk at most this share is looked at.
const SHARE: usize = 8;
/// Bits a byte above which data counts as not compressible.
const ENTROPY_FULL: f64 = 7.9;

/// Whether `plain` looks like random bytes: the entropy of 16 samples of 1 KiB. Media and archives do, text and programs do not.
pub fn looks_random(plain: &[u8]) -> bool {
    if plain.len() < SAMPLE_FROM {
        return false;
    }
    // At least 2 KiB, or the entropy of so few bytes says nothing.
    let samples = SAMPLES.min(plain.len() / SHARE / SAMPLE).max(4);
    let step = plain.len() / samples;
    let mut counts = [0u32; 256];
    for sample in 0..samples {
        let start = (sample * step).min(plain.len() - SAMPLE);
        for &byte in &plain[start..start + SAMPLE] {
            counts[usize::from(byte)] += 1;
        }
    }
    let total = (samples * SAMPLE) as f64;
    let entropy: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / total;
            -share * share.log2()
        })
        .sum();
    // Few samples of truly random bytes show less than 8 bits, by about 255 / (2 ln 2 n).
    entropy + 184.0 / total > ENTROPY_FULL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_random_bytes_are_left_alone() {
        let mut blocks = Blocks::new(Level::AUTO).unwrap();
        let text = b"copal is tree resin on its way to amber. ".repeat(2000);
        let mut stored = vec![9];
        assert!(blocks.compress(&text, &mut stored).unwrap());
        let mut plain = Vec::new();
        blocks.decompress(&stored[1..], text.len(), &mut plain).unwrap();
        assert!(plain == text);
        assert!(blocks.decompress(&stored[1..], text.len() - 1, &mut plain).is_err());
        let mut random = vec![0; 100_000];
        getrandom::fill(&mut random).unwrap();
        let mut stored = vec![9];
        assert!(!blocks.compress(&random, &mut stored).unwrap());
        assert_eq!(stored, [9]);
        assert!(looks_random(&random) && looks_random(&random[..8192]) && !looks_random(&text));
    }
}
