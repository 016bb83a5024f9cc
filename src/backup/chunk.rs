//! Content-defined cutting: where a file's chunks end. Pure. docs/format.md, section 6.
//!
//! The gear hash and normalised cutting come from FastCDC (Xia et al., USENIX ATC 2016); the table is secret and derived from the
//! repository's key, and the hash looks at 64 bytes whatever the chunk's beginning.

use crate::model::Cutter;

/// Bytes that the hash looks at.
const WINDOW: usize = 64;

/// Cuts data by one cutter and one secret table.
#[derive(Clone)]
pub struct Chunker {
    table: Box<[u64; 256]>,
    cutter: Cutter,
    /// Below this the hash ends a chunk shorter, or longer, than the average.
    threshold_short: u64,
    threshold_long: u64,
}

impl Chunker {
    /// A chunker; `table` is `Keys::gear_table`, `cutter` must be sound.
    pub fn new(table: Box<[u64; 256]>, cutter: Cutter) -> Chunker {
        let bits = cutter.average.max(64).ilog2();
        Chunker { table, cutter, threshold_short: 1 << (62 - bits), threshold_long: 1 << (66 - bits) }
    }

    /// The longest chunk: `cut` needs that much data, or the end.
    pub fn maximum(&self) -> usize {
        self.cutter.maximum as usize
    }

    /// Length of the first chunk of `data`, which begins where a chunk begins and is at least `maximum()` long or goes to the end.
    pub fn cut(&self, data: &[u8]) -> usize {
        let end = data.len().min(self.maximum());
        if end <= self.cutter.minimum as usize {
            return end;
        }
        let minimum = self.cutter.minimum as usize;
        let mut hash = 0u64;
        for &byte in &data[minimum - WINDOW..minimum] {
            hash = (hash << 1).wrapping_add(self.table[usize::from(byte)]);
        }
        if hash < self.threshold_short {
            return minimum;
        }
        // The last position with the short threshold is the one before the average.
        let middle = end.min(self.cutter.average as usize - 1);
        match self.find(data, minimum, middle, &mut hash, self.threshold_short) {
            Some(length) => length,
            None => self.find(data, middle, end, &mut hash, self.threshold_long).unwrap_or(end),
        }
    }

    /// The first position in `from + 1 ..= to` whose hash is below the threshold. `hash` is that of `from`, afterwards that of `to`.
    #[inline]
    fn find(&self, data: &[u8], from: usize, to: usize, hash: &mut u64, threshold: u64) -> Option<usize> {
        let table = &*self.table;
        let mut position = from;
        let mut current = *hash;
        let (quads, rest) = data[from..to.max(from)].as_chunks::<8>();
        for bytes in quads {
            // Sums of the eight bytes alone; only the last line depends on the hash before, so the processor runs ahead.
            let mut sums = [0u64; 8];
            let mut sum = 0u64;
            for (slot, &byte) in sums.iter_mut().zip(bytes) {
                sum = (sum << 1).wrapping_add(table[usize::from(byte)]);
                *slot = sum;
            }
            let mut lowest = u64::MAX;
            for (steps, sum) in sums.iter().enumerate() {
                lowest = lowest.min((current << (steps + 1)).wrapping_add(*sum));
            }
            if lowest < threshold {
                for (steps, sum) in sums.iter().enumerate() {
                    if (current << (steps + 1)).wrapping_add(*sum) < threshold {
                        return Some(position + steps + 1);
                    }
                }
            }
            current = (current << 8).wrapping_add(sums[7]);
            position += 8;
        }
        for &byte in rest {
            current = (current << 1).wrapping_add(table[usize::from(byte)]);
            position += 1;
            if current < threshold {
                return Some(position);
            }
        }
        *hash = current;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Keys, MasterKey};
    use crate::model::Id16;

    fn table() -> Box<[u64; 256]> {
        Keys::new(MasterKey::from_bytes([3; 32]), Id16([4; 16])).gear_table()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn lengths(chunker: &Chunker, mut data: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let length = chunker.cut(data);
            lengths.push(length);
            data = &data[length..];
        }
        lengths
    }

    /// The rule word for word as docs/format.md states it.
    fn naive(table: &[u64; 256], cutter: &Cutter, data: &[u8]) -> usize {
        let (minimum, average, maximum) =
            (cutter.minimum as usize, cutter.average as usize, cutter.maximum as usize);
        let bits = average.ilog2();
        for position in minimum..data.len().min(maximum) {
            let first = (position.saturating_sub(64)).max(minimum - 64);
            let mut hash = 0u64;
            for j in 0..position - first {
                if j < 64 {
                    hash = hash.wrapping_add(table[usize::from(data[position - 1 - j])] << j);
                }
            }
            let k = if position < average { bits + 2 } else { bits - 2 };
            if hash < 1 << (64 - k) {
                return position;
            }
        }
        data.len().min(maximum)
    }

    #[test]
    fn the_fast_loop_cuts_where_the_rule_says() {
        let data = noise(300_000);
        for average in [256, 1024, 4096] {
            let cutter = Cutter::gear(average);
            let chunker = Chunker::new(table(), cutter);
            let mut rest = &data[..];
            while !rest.is_empty() {
                let length = chunker.cut(rest);
                assert_eq!(length, naive(&chunker.table, &cutter, rest));
                rest = &rest[length..];
            }
        }
    }

    #[test]
    fn cuts_are_these_for_ever() {
        // Golden: a change here means that every repository would store everything again.
        let chunker = Chunker::new(table(), Cutter::gear(16 * 1024));
        assert_eq!(lengths(&chunker, &noise(200_000)), GOLDEN);
    }

    const GOLDEN: [usize; 13] =
        [11790, 24810, 16783, 16407, 9750, 18991, 24544, 17021, 19882, 16687, 4481, 17861, 993];

    #[test]
    fn an_insertion_moves_only_the_cuts_around_it() {
        let chunker = Chunker::new(table(), Cutter::gear(4096));
        let data = noise(1 << 20);
        let mut changed = data.clone();
        changed.splice(500_000..500_000, *b"inserted");
        let starts = |data: &[u8]| -> std::collections::HashSet<Vec<u8>> {
            let mut rest = data;
            lengths(&chunker, data)
                .into_iter()
                .map(|length| {
                    let (chunk, tail) = rest.split_at(length);
                    rest = tail;
                    chunk.to_vec()
                })
                .collect()
        };
        let (before, after) = (starts(&data), starts(&changed));
        assert!(before.len() > 150, "{} chunks", before.len());
        assert!(after.difference(&before).count() <= 4);
    }

    #[test]
    fn zeros_and_short_data_are_cut_at_the_bounds() {
        let chunker = Chunker::new(table(), Cutter::gear(4096));
        assert!(
            lengths(&chunker, &vec![0; 100_000])
                .iter()
                .rev()
                .skip(1)
                .all(|&length| (1024..=16384).contains(&length))
        );
        assert_eq!(chunker.cut(b"x"), 1);
    }
}
