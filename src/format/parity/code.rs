//! The erasure code of recovery data: shards in, recovery shards out, and back. The only place that knows the library. The shards are
//! worked on in slices across all of them, so that memory does not grow with their length. docs/format.md, section 10.

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};

use crate::format::Error;

/// Bytes of shards that are worked on at a time: shorter slices cost time for each, longer ones save next to nothing in packs of 16 MiB.
const WORK_BYTES: usize = 4 << 20;
/// The code's unit, bytes: 32 symbols of 16 bits.
const UNIT: usize = 64;

/// Bytes of each shard in a slice, when `count` shards are worked on together.
fn slice(count: usize, shard: usize) -> usize {
    (WORK_BYTES / count.max(1) / UNIT * UNIT).clamp(UNIT, shard.max(UNIT))
}

fn failed(_: reed_solomon_simd::Error) -> Error {
    Error::Malformed("numbers of shards that the code does not have")
}

/// Computes recovery shards of shards that stand one after the other in `data`; the last one is taken as if zeros followed. `each` is
/// given slices: number of the recovery shard, offset in it, bytes.
pub fn encode(
    data: &[u8],
    shard: usize,
    recovery: usize,
    mut each: impl FnMut(usize, usize, &[u8]),
) -> Result<(), Error> {
    let whole = data.len() / shard;
    let mut last = data[whole * shard..].to_vec();
    let originals = whole + usize::from(!last.is_empty());
    last.resize(shard, 0);
    let width = slice(originals + recovery.next_power_of_two(), shard);
    let mut encoder: Option<HighRateEncoder<DefaultEngine>> = None;
    for from in (0..shard).step_by(width) {
        let to = (from + width).min(shard);
        let encoder = match &mut encoder {
            Some(encoder) => {
                encoder.reset(originals, recovery, to - from).map_err(failed)?;
                encoder
            }
            None => encoder.insert(
                HighRateEncoder::new(originals, recovery, to - from, DefaultEngine::new(), None)
                    .map_err(failed)?,
            ),
        };
        for number in 0..originals {
            let bytes = match number < whole {
                true => &data[number * shard..(number + 1) * shard],
                false => &last[..],
            };
            encoder.add_original_shard(&bytes[from..to]).map_err(failed)?;
        }
        let result = encoder.encode().map_err(failed)?;
        result.recovery_iter().enumerate().for_each(|(number, bytes)| each(number, from, bytes));
    }
    Ok(())
}

/// Computes the shards that are lost from the others, in place. `recovery` are as many recovery shards, with their numbers, as are lost;
/// `total` is how many there were.
pub fn decode(
    data: &mut [u8],
    shard: usize,
    is_lost: &[bool],
    recovery: &[(usize, &[u8])],
    total: usize,
) -> Result<(), Error> {
    let originals = is_lost.len();
    let width = slice((originals + total.next_power_of_two()).next_power_of_two(), shard);
    let mut decoder: Option<HighRateDecoder<DefaultEngine>> = None;
    for from in (0..shard).step_by(width) {
        let to = (from + width).min(shard);
        let decoder = match &mut decoder {
            Some(decoder) => {
                decoder.reset(originals, total, to - from).map_err(failed)?;
                decoder
            }
            None => decoder.insert(
                HighRateDecoder::new(originals, total, to - from, DefaultEngine::new(), None)
                    .map_err(failed)?,
            ),
        };
        for number in (0..originals).filter(|number| !is_lost[*number]) {
            let bytes = &data[number * shard + from..number * shard + to];
            decoder.add_original_shard(number, bytes).map_err(failed)?;
        }
        for (number, bytes) in recovery {
            decoder.add_recovery_shard(*number, &bytes[from..to]).map_err(failed)?;
        }
        let result = decoder.decode().map_err(failed)?;
        for (number, bytes) in result.restored_original_iter() {
            data[number * shard + from..number * shard + to].copy_from_slice(bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiplication and inversion in GF(2^16) as docs/format.md describes the field, bit by bit.
    struct Field {
        basis: [u32; 16],
        /// Coordinates of each polynomial.
        coordinates: Vec<u16>,
    }

    impl Field {
        fn new() -> Field {
            let basis = [
                0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72,
                0xb900, 0xfdb8, 0xfb34, 0xff38, 0x991e,
            ];
            let mut field = Field { basis, coordinates: vec![0; 1 << 16] };
            for x in 0..=u16::MAX {
                let place = field.polynomial(x) as usize;
                field.coordinates[place] = x;
            }
            field
        }

        fn polynomial(&self, x: u16) -> u32 {
            (0..16).filter(|bit| x >> bit & 1 == 1).fold(0, |sum, bit| sum ^ self.basis[bit])
        }

        fn times(&self, a: u16, b: u16) -> u16 {
            let (mut a, b, mut product) = (self.polynomial(a), self.polynomial(b), 0);
            for bit in 0..16 {
                if b >> bit & 1 == 1 {
                    product ^= a;
                }
                a <<= 1;
                if a >> 16 == 1 {
                    a ^= 0x1_002d;
                }
            }
            self.coordinates[product as usize]
        }

        fn inverse(&self, a: u16) -> u16 {
            // a^(2^16 - 2)
            (0..15)
                .fold((1, a), |(result, power), _| {
                    let power = self.times(power, power);
                    (self.times(result, power), power)
                })
                .0
        }
    }

    fn symbols(shard: &[u8]) -> Vec<u16> {
        let unit = |unit: &[u8]| {
            (0..32).map(|place| u16::from_le_bytes([unit[place], unit[place + 32]])).collect::<Vec<u16>>()
        };
        shard.chunks(64).flat_map(unit).collect()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn encoded(data: &[u8], shard: usize, recovery: usize) -> Vec<Vec<u8>> {
        let mut shards = vec![vec![0; shard]; recovery];
        encode(data, shard, recovery, |number, offset, bytes| {
            shards[number][offset..offset + bytes.len()].copy_from_slice(bytes);
        })
        .unwrap();
        shards
    }

    #[test]
    fn recovery_shards_are_those_of_the_formula_in_the_format() {
        let field = Field::new();
        for (originals, recovery) in [(1, 1), (2, 1), (5, 3), (7, 7), (40, 5), (9, 2)] {
            let data = noise(originals * 128 - 60);
            let shards = encoded(&data, 128, recovery);
            let mut padded = data.clone();
            padded.resize(originals * 128, 0);
            let c = recovery.next_power_of_two() as u16;
            for (i, shard) in (0u16..).zip(&shards) {
                let mut expected = vec![0u16; 64];
                for (j, original) in (0u16..).zip(padded.chunks(128)) {
                    let weight = (0..c).fold(1, |product, y| field.times(product, (c + j) ^ y));
                    let factor = field.times(weight, field.inverse(i ^ (c + j)));
                    for (sum, symbol) in expected.iter_mut().zip(symbols(original)) {
                        *sum ^= field.times(factor, symbol);
                    }
                }
                assert_eq!(symbols(shard), expected, "{originals} shards, recovery shard {i} of {recovery}");
            }
        }
    }

    #[test]
    fn slices_of_any_width_give_the_same() {
        // So many shards that a slice is far narrower than a shard, and does not divide it.
        let (shard, originals, recovery) = (4096 + 64, 2500, 60);
        let data = noise(originals * shard - 777);
        let shards = encoded(&data, shard, recovery);
        let mut whole = data.clone();
        whole.resize(originals * shard, 0);
        let is_lost: Vec<bool> = (0..originals).map(|number| number % 42 == 7).collect();
        let lost = is_lost.iter().filter(|lost| **lost).count();
        let mut damaged = whole.clone();
        for number in (0..originals).filter(|number| is_lost[*number]) {
            damaged[number * shard..(number + 1) * shard].fill(0x55);
        }
        let given: Vec<(usize, &[u8])> =
            shards.iter().enumerate().map(|(number, bytes)| (number, &bytes[..])).rev().take(lost).collect();
        decode(&mut damaged, shard, &is_lost, &given, recovery).unwrap();
        assert!(damaged == whole);
        let first: Vec<u8> = whole.chunks(shard).flat_map(|shard| &shard[..64]).copied().collect();
        let narrow = encoded(&first, 64, recovery);
        assert!(narrow.iter().zip(&shards).all(|(narrow, shard)| narrow[..] == shard[..64]));
    }
}
