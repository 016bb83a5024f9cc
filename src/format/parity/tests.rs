//! Tests of recovery data as bytes: its layout, and what comes back from which damage.

use proptest::prelude::*;

use super::*;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A pack, its name, and its recovery data.
struct Made {
    pack: Vec<u8>,
    name: Id,
    object: Vec<u8>,
    shape: Shape,
}

fn made(length: usize, per_mille: u16) -> Made {
    let pack = noise(length as u64, length);
    let name = crypto::object_name(&pack);
    let shape = Shape::new(length as u64, per_mille).unwrap();
    let object = encode(Id16([7; 16]), &name, &pack, &shape).unwrap();
    Made { pack, name, object, shape }
}

impl Made {
    fn recover(&self, pack: &[u8], object: &[u8]) -> Result<Vec<u8>, Beyond> {
        let parity = find(object, &self.name).map_err(|_| Beyond::Unproven)?;
        parity.recover(&self.name, pack.to_vec())
    }

    #[track_caller]
    fn comes_back(&self, pack: &[u8], object: &[u8]) {
        assert!(self.recover(pack, object).as_ref() == Ok(&self.pack));
    }
}

#[test]
fn shards_are_a_sector_or_longer_and_so_many_that_the_rate_is_held() {
    let shape = |length, rate| {
        Shape::new(length, rate).map(|shape| (shape.shard, shape.originals(), shape.recovery()))
    };
    assert_eq!(shape(1, 1), Ok((4096, 1, 1)));
    assert_eq!(shape(100_000, 50), Ok((4096, 25, 2)));
    assert_eq!(shape(16 << 20, 50), Ok((4096, 4096, 205)));
    assert_eq!(shape(16 << 20, 1000), Ok((4096, 4096, 4096)));
    assert_eq!(shape(64 << 20, 1), Ok((4096, 16_384, 17)));
    assert_eq!(shape((64 << 20) + 1, 50), Ok((8192, 8193, 410)));
    assert_eq!(shape(PACK_MAX, 50), Ok((16_384, 16_384, 820)));
    for (length, rate) in [(0, 50), (PACK_MAX + 1, 50), (u64::MAX, 50), (4096, 0), (40_960, 1001)] {
        assert!(Shape::new(length, rate).is_err(), "{length} {rate}");
    }
}

#[test]
fn an_object_has_the_length_that_its_shape_says_and_all_its_pieces_are_found() {
    for (length, rate) in [(1, 1), (4096, 1000), (4097, 50), (3_000_000, 50), (2_200_000, 333)] {
        let made = made(length, rate);
        assert_eq!(made.object.len() as u64, made.shape.object_length());
        assert!(header::check(&made.object, KIND, Id16([7; 16])).is_ok());
        let parity = find(&made.object, &made.name).unwrap();
        assert_eq!((parity.shape, parity.spare()), (made.shape, made.shape.recovery()));
        assert!(parity.sums.iter().all(Option::is_some));
        assert!(find(&made.object, &Id([9; 32])).is_err(), "of another pack");
    }
}

#[test]
fn recovery_data_is_to_the_byte_what_it_always_was() {
    let hashes = [(1, 1), (9000, 500), (3_000_000, 50)]
        .map(|(length, rate)| blake3::hash(&made(length, rate).object).to_hex()[..16].to_owned());
    assert_eq!(hashes, ["5a899b501f01a70b", "007c54c5b3e2f4ee", "8e457bc4eef7f18d"]);
}

#[test]
fn what_is_lost_below_the_rate_comes_back_and_above_it_is_counted() {
    let made = made(1_000_000, 50);
    let (parts, spare) = (made.shape.originals(), made.shape.recovery());
    assert_eq!((parts, spare), (245, 13));
    let mut damaged = made.pack.clone();
    for number in 0..spare {
        damaged[number * 19 * 4096 + number] ^= 0x10;
    }
    made.comes_back(&damaged, &made.object);
    damaged[4096 * 5] ^= 1;
    assert_eq!(made.recover(&damaged, &made.object), Err(Beyond::Lost { lost: 14, parts, spare }));
    // A run of zeros, a tail that is cut off, one that is appended, the last part, everything that one piece covers.
    let mut zeros = made.pack.clone();
    zeros[100_000..100_000 + 12 * 4096 - 2000].fill(0);
    made.comes_back(&zeros, &made.object);
    for cut in [1, 4095, 4096, 12 * 4096] {
        made.comes_back(&made.pack[..made.pack.len() - cut], &made.object);
    }
    let longer = [&made.pack[..], b"and more"].concat();
    made.comes_back(&longer, &made.object);
    assert!(matches!(made.recover(&[], &made.object), Err(Beyond::Lost { lost: 245, .. })));
}

#[test]
fn with_as_much_recovery_data_as_data_all_of_it_comes_back_from_nothing() {
    let made = made(300_000, 1000);
    made.comes_back(&[], &made.object);
    made.comes_back(&noise(99, 300_000), &made.object);
}

#[test]
fn damaged_recovery_data_gives_what_is_whole_of_it() {
    let made = made(3_000_000, 20);
    let sums = made.shape.sums_length();
    let mut damaged = made.pack.clone();
    damaged[1_234_567] ^= 4;
    damaged[2_999_999] ^= 4;
    let (head, tail) = (32..32 + sums, made.object.len() - sums..made.object.len());
    for place in [0..32, head.clone(), tail.clone()] {
        let mut object = made.object.clone();
        object[place].fill(0xee);
        made.comes_back(&damaged, &object);
    }
    // Cut at either end, shifted, and with a piece of the middle gone.
    made.comes_back(&damaged, &made.object[sums + 32..]);
    made.comes_back(&damaged, &made.object[..made.object.len() - sums - 4096]);
    made.comes_back(&damaged, &[b"shifted", &made.object[..]].concat());
    let mut object = made.object.clone();
    object.drain(sums + 5000..sums + 12_000);
    made.comes_back(&damaged, &object);
    // A bit of each checksum piece, in one copy or the other.
    let mut object = made.object.clone();
    object[head.start + 100] ^= 1;
    object[tail.end - 100] ^= 1;
    made.comes_back(&damaged, &object);
    // A bit of both copies of one piece: the other checksums in it still fit.
    let mut object = made.object.clone();
    object[head.start + 100] ^= 1;
    object[tail.start + 1000] ^= 1;
    made.comes_back(&damaged, &object);
    object[tail.start + 100] ^= 1;
    made.comes_back(&damaged, &object);
    // Both copies of one piece wholly: what it covers is taken for lost, which is more than there is for, and then for whole.
    let mut object = made.object.clone();
    object[head.start..head.start + 48].fill(0);
    object[tail.start..tail.start + 48].fill(0);
    let mut beside = made.pack.clone();
    beside[2_999_999] ^= 4;
    made.comes_back(&beside, &object);
    assert!(made.recover(&damaged, &object).is_err());
    // Both copies of everything.
    let mut object = made.object.clone();
    object[head].fill(0);
    object[tail].fill(0);
    made.comes_back(&made.pack, &object);
    assert!(made.recover(&damaged, &object).is_err());
}

#[test]
fn recovery_data_that_was_made_up_gives_nothing_wrong_and_takes_no_time() {
    let made = made(100_000, 100);
    let other = noise(3, 100_000);
    // Of another pack, under this one's name.
    let forged = encode(Id16([7; 16]), &made.name, &other, &made.shape).unwrap();
    let mut damaged = made.pack.clone();
    damaged[5] ^= 1;
    assert!(made.recover(&damaged, &forged).is_err());
    let mut mixed = other.clone();
    mixed[5] ^= 1;
    assert_eq!(made.recover(&mixed, &forged), Err(Beyond::Unproven));
    // Heads of pieces that are none, as close as they can lie: each claims a megabyte.
    let shape = Shape::checked(PACK_MAX, 1 << 20, 256).unwrap();
    let mut heads = Vec::new();
    (0..40_000).for_each(|number| heads.extend(shape.piece_head(RECOVERY, number % 256, 1 << 20)));
    heads.resize(4 << 20, 0);
    assert!(find(&heads, &made.name).is_err());
    let mut budget = heads.len() * 2;
    assert!(!piece(&heads, &made.name, &mut budget).unwrap().is_whole);
    assert_eq!(budget, heads.len() * 2 - PIECE_HEAD - (1 << 20));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_to_fewer_parts_than_there_are_recovery_parts_comes_back(
        length in 1usize..900_000,
        per_mille in 1u16..=1000,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u16>(), any::<bool>()), 0..40),
        cut in prop::option::of(0usize..20_000),
        header_byte in any::<u8>(),
    ) {
        let made = made(length, per_mille);
        let (mut pack, mut object) = (made.pack.clone(), made.object.clone());
        object[usize::from(header_byte % 32)] ^= header_byte;
        let (sums, shard) = (made.shape.sums_length(), made.shape.shard());
        for (place, value, of_recovery) in &hits {
            if *of_recovery {
                // Within the recovery shards: each hit costs one at most.
                let number = place.index(made.shape.recovery());
                let start = 32 + sums + number * (PIECE_HEAD + shard);
                object[start + usize::from(*value) % (PIECE_HEAD + shard)] ^= 1 + (*value >> 8) as u8 % 255;
            } else {
                pack[place.index(length)] ^= 1 + (*value >> 8) as u8 % 255;
            }
        }
        pack.truncate(length - cut.unwrap_or(0).min(length));
        // What was cut off counts as zeros.
        let mut padded = pack.clone();
        padded.resize(length, 0);
        let lost = padded.chunks(shard).zip(made.pack.chunks(shard)).filter(|(one, other)| one != other).count();
        let parity = find(&object, &made.name).unwrap();
        let spoiled = made.shape.recovery() - parity.spare();
        prop_assert!(spoiled <= hits.len());
        match parity.recover(&made.name, pack) {
            Ok(back) => prop_assert!(back == made.pack),
            Err(Beyond::Lost { lost: told, spare, .. }) => {
                prop_assert!(told == lost && spare == parity.spare() && lost + spoiled > made.shape.recovery());
            }
            Err(Beyond::Unproven) => prop_assert!(false, "unproven"),
        }
    }
}
