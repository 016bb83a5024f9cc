//! Which directories a run came by, so that rows of those that are gone do not stay for ever. A filter of a few bits for each:
//! it may say that a directory was visited that was not, never the other way round.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Id16;

/// Bits for each directory: four of them set make one in 400 be taken for visited, and for another one in the next run.
const BITS: u64 = 16;
const SET: u64 = 4;
/// Bounds of the filter: 8 KiB and 32 MiB.
const BITS_LEAST: u64 = 1 << 16;
const BITS_MOST: u64 = 1 << 28;

/// The directories that a run came by.
pub struct Visited {
    words: Vec<AtomicU64>,
    count: AtomicU64,
    /// Random for each run.
    salt: [u64; 2],
}

impl Visited {
    /// Room for about so many.
    pub fn new(directories: u64, salt: [u8; 16]) -> Visited {
        let bits = directories.saturating_mul(BITS).clamp(BITS_LEAST, BITS_MOST).next_power_of_two();
        let salt = u128::from_le_bytes(salt);
        Visited {
            words: (0..bits / 64).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            salt: [salt as u64, (salt >> 64) as u64],
        }
    }

    /// The words and bits that stand for a key, which is a hash.
    fn places(&self, key: &Id16) -> impl Iterator<Item = (usize, u64)> {
        let key = u128::from_le_bytes(key.0);
        let start = (key as u64 ^ self.salt[0]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let step = ((key >> 64) as u64 ^ self.salt[1]).wrapping_mul(0xc2b2_ae3d_27d4_eb4f) | 1;
        let bits = self.words.len() as u64 * 64;
        (0..SET).map(move |turn| {
            // The upper bits of a product are the well-mixed ones.
            let place = (start.wrapping_add(step.wrapping_mul(turn)) >> 32) % bits;
            ((place / 64) as usize, 1 << (place % 64))
        })
    }

    pub fn add(&self, key: &Id16) {
        for (word, bit) in self.places(key) {
            self.words[word].fetch_or(bit, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether it was visited; rarely also of one that was not.
    pub fn has(&self, key: &Id16) -> bool {
        self.places(key).all(|(word, bit)| self.words[word].load(Ordering::Relaxed) & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Id16 {
        let mut key = Id16::default();
        key.0.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..16]);
        key
    }

    #[test]
    fn what_was_visited_is_known_and_hardly_anything_else() {
        let visited = Visited::new(50_000, [7; 16]);
        (0..50_000).for_each(|number| visited.add(&key(number)));
        assert_eq!(visited.count(), 50_000);
        assert!((0..50_000).all(|number| visited.has(&key(number))));
        let wrong = (50_000..150_000).filter(|number| visited.has(&key(*number))).count();
        assert!(wrong < 1000, "{wrong} of 100000");
    }
}
