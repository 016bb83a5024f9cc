//! Hostile variants of valid bytes: flipped, cut, spliced, lengthened, with the largest numbers.

/// Deterministic numbers (splitmix64); the seed of a failing case is in its message.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One hostile variant of valid bytes.
pub fn mutate(valid: &[u8], other: &[u8], seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let mut bytes = valid.to_vec();
    for _ in 0..=numbers.below(4) {
        let place = numbers.below(bytes.len());
        match numbers.below(11) {
            0 if !bytes.is_empty() => bytes[place] ^= 1 << numbers.below(8),
            1 if !bytes.is_empty() => bytes[place] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            2 => bytes.truncate(place),
            3 => drop(bytes.splice(place..place, (0..numbers.below(12)).map(|_| 0xff).collect::<Vec<u8>>())),
            4 => {
                let end = (place + numbers.below(40)).min(bytes.len());
                bytes.drain(place..end);
            }
            5 => {
                let end = (place + numbers.below(60)).min(bytes.len());
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            6 => {
                let from = numbers.below(other.len());
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from..]);
            }
            // The largest numbers of 32, 63 and 64 bits, as varints.
            7 => {
                let number = [u64::from(u32::MAX), i64::MAX as u64, u64::MAX, 1 << 62][numbers.below(4)];
                let mut varint = Vec::new();
                copal::format::record::put_varint(&mut varint, number);
                bytes.splice(place..place, varint);
            }
            8 => {
                let end = (place + 8).min(bytes.len());
                for byte in &mut bytes[place..end] {
                    *byte = numbers.next() as u8;
                }
            }
            9 => bytes.extend((0..numbers.below(64)).map(|_| 0)),
            _ => {
                let length = numbers.below(300);
                bytes = (0..length).map(|_| numbers.next() as u8).collect();
            }
        }
    }
    bytes
}
