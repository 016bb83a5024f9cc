//! Used chunks: gathered in runs, and joined with the rows of the index, against what a set and the packs themselves say.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};

use super::super::runs::{trouble, unlinked};
use super::*;

const KINDS: [Contents; 2] = [Contents::Data, Contents::Trees];

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// Ids of which many are alike in their first 8 bytes, at both ends of the keys too, some so that a tree's key and confirm are those
/// of a data chunk.
fn odd_id(number: u64) -> Id {
    let mut odd = id(number / 2);
    let begin = match number % 16 {
        0..4 => 0x8080_8080_8080_8080u64,
        4 | 5 => 0x8080_8080_8080_8080 ^ 0xa5c3_96f0_5a3c_69e1,
        6 => 0x8000_0000_0000_0000,
        7 => 0x7fff_ffff_ffff_ffff,
        _ => return odd,
    };
    odd.0[..8].copy_from_slice(&begin.to_be_bytes());
    if number % 16 == 4 {
        odd.0[8..16].copy_from_slice(&odd_id(number - 2).0[8..16]);
    }
    odd
}

fn gather(chunks: impl IntoIterator<Item = (Contents, Id)>, batch: usize, runs: usize) -> Used {
    let mut gather = Gather::with(None, batch, runs, false).unwrap();
    chunks.into_iter().for_each(|(contents, id)| gather.add(contents, &id).unwrap());
    gather.finish().unwrap()
}

/// What `each_used` tells, packs by name.
fn told(index: &Index, used: &Used, page: usize) -> Vec<(UsedChunk, Vec<(Id, u32, u32, u32)>)> {
    index.flush().unwrap();
    let mut names = BTreeMap::new();
    index.packs(&mut |pack| names.extend([(pack.row, pack.name)])).unwrap();
    let mut told = Vec::new();
    let mut each = |chunk, places: &[Place]| {
        let places = places.iter().map(|p| (names[&p.pack], p.block, p.offset, p.length));
        let mut places: Vec<_> = places.collect();
        places.sort();
        told.push((chunk, places));
        Ok::<(), Error>(())
    };
    index.each_used_by(page, used, &mut each).unwrap();
    told
}

/// The same from the packs themselves.
fn expected(
    packs: &[PackRecord],
    used: &HashSet<(Contents, Id)>,
) -> Vec<(UsedChunk, Vec<(Id, u32, u32, u32)>)> {
    let mut all: BTreeMap<UsedChunk, BTreeSet<_>> = BTreeMap::new();
    all.extend(used.iter().map(|(contents, id)| (UsedChunk::of(*contents, id), BTreeSet::new())));
    for record in packs {
        for (id, block, offset, length) in record.places() {
            if let Some(places) = all.get_mut(&UsedChunk::of(record.contents, id)) {
                places.insert((record.name, block, offset, length));
            }
        }
    }
    all.into_iter().map(|(chunk, places)| (chunk, places.into_iter().collect())).collect()
}

#[test]
fn every_used_chunk_is_told_with_all_its_places() {
    for seed in 1..=12u64 {
        let folder = tempfile::tempdir().unwrap();
        let on_disk = seed % 2 == 0;
        let index = if on_disk { Index::open(folder.path(), REPOSITORY).unwrap().0 } else { index() };
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut there: Vec<PackRecord> = Vec::new();
        for number in 0..60 {
            let chunks: Vec<Id> = (0..=random.below(12)).map(|_| odd_id(random.below(160))).collect();
            let contents = KINDS[random.below(3) as usize / 2];
            let record = PackRecord { contents, ..pack(10_000 * seed + 10 * number, &chunks) };
            let from = (random.below(3) > 0).then(|| id(900_000 + number));
            index.add_packs(from, std::slice::from_ref(&record)).unwrap();
            there.push(record);
            if random.below(3) == 0 {
                let gone = there.swap_remove(random.below(there.len() as u64) as usize);
                index.drop_packs(&[gone.name]).unwrap();
                if random.below(4) == 0 {
                    index.add_packs(Some(id(800_000 + number)), std::slice::from_ref(&gone)).unwrap();
                    there.push(gone);
                }
            }
        }
        let used: HashSet<(Contents, Id)> = (0..random.below(200))
            .map(|_| (KINDS[random.below(2) as usize], odd_id(random.below(220))))
            .collect();
        let used_list = gather(used.iter().copied().chain(used.iter().copied()), 7, 3);
        let expected = expected(&there, &used);
        assert_eq!(used_list.len(), expected.len() as u64);
        for page in [1, 2, 13, 100_000] {
            assert_eq!(told(&index, &used_list, page), expected, "seed {seed}, page {page}");
        }
        assert!(seed > 4 || expected.iter().any(|(_, places)| places.len() > 2));
        // No more and no less than what a reader finds.
        for (contents, id) in &used {
            let places = index.lookup_for_reading(*contents, id).unwrap().len();
            let told = expected.iter().find(|(chunk, _)| *chunk == UsedChunk::of(*contents, id)).unwrap();
            assert_eq!(places, told.1.len());
        }
    }
}

#[test]
fn many_runs_become_one_list_in_order() {
    for (batch, runs) in [(1, 2), (2, 3), (5, 128), (64, 2), (100_000, 2)] {
        let mut random = Random(batch as u64 + 77);
        let chunks: Vec<(Contents, Id)> =
            (0..3000).map(|_| (KINDS[random.below(2) as usize], odd_id(random.below(1500)))).collect();
        let used = gather(chunks.iter().copied(), batch, runs);
        let wanted: BTreeSet<UsedChunk> = chunks.iter().map(|(kind, id)| UsedChunk::of(*kind, id)).collect();
        for _ in 0..2 {
            let list: Vec<UsedChunk> = used.iter().collect::<Result<_, _>>().unwrap();
            assert!(list.iter().eq(&wanted), "batches of {batch}, {runs} runs");
        }
        assert_eq!(used.len(), wanted.len() as u64);
    }
    // What comes again and again stays in memory; runs are never many.
    let mut gather = Gather::with(None, 64, 4, false).unwrap();
    for number in 0..10_000 {
        gather.add(Contents::Data, &id(number % 30)).unwrap();
    }
    assert_eq!(gather.runs().len(), 0);
    for number in 0..10_000 {
        gather.add(Contents::Data, &id(number)).unwrap();
        assert!(gather.runs().len() < 4);
    }
    assert_eq!(gather.finish().unwrap().len(), 10_000);
}

#[test]
fn a_chunk_has_the_lowest_rank_of_those_who_name_it() {
    // Number 0 to 29 name chunks, and have ranks in no order.
    let ranks: Vec<u32> = (0..30).map(|number| (number * 17 + 4) % 30).collect();
    let names = |number: u64| (0..200).filter(move |chunk| (chunk * 7 + number * 13) % 9 < 2);
    let mut references = References::new(None).unwrap();
    let mut wanted = BTreeMap::new();
    for number in 0..30 {
        for chunk in names(number) {
            let contents = KINDS[chunk as usize % 2];
            references.add(contents, &odd_id(chunk), number as u32).unwrap();
            let rank = wanted.entry(UsedChunk::of(contents, &odd_id(chunk))).or_insert(u32::MAX);
            *rank = ranks[number as usize].min(*rank);
        }
    }
    let wanted: Vec<UsedChunk> =
        wanted.into_iter().map(|(chunk, rank)| UsedChunk { rank, ..chunk }).collect();
    let used = references.used(&ranks).unwrap();
    assert_eq!(used.iter().collect::<Result<Vec<_>, _>>().unwrap(), wanted);
    // Also over several runs.
    for (batch, runs) in [(1, 2), (5, 3)] {
        let mut gather = Gather::with(None, batch, runs, false).unwrap();
        for turn in [11, 0, 5] {
            for chunk in &wanted {
                gather.add_ranked(UsedChunk { rank: chunk.rank + turn, ..*chunk }).unwrap();
            }
        }
        assert!(gather.finish().unwrap().iter().map(Result::unwrap).eq(wanted.iter().copied()));
    }
    // The places are those of the chunk, whatever its rank.
    let index = index();
    let ids: Vec<Id> = (0..200).step_by(2).map(odd_id).collect();
    index.add_packs(Some(id(900)), &[pack(1000, &ids)]).unwrap();
    let mut told = BTreeMap::new();
    let mut each = |chunk: UsedChunk, places: &[Place]| {
        told.insert(chunk, places.len());
        Ok::<(), Error>(())
    };
    index.each_used_by(3, &used, &mut each).unwrap();
    assert!(told.keys().eq(&wanted) && told.values().any(|places| *places > 0));
    assert!(References::new(None).unwrap().used(&[]).unwrap().is_empty());
    let mut unknown = References::new(None).unwrap();
    unknown.add(Contents::Data, &id(1), 1).unwrap();
    assert!(unknown.used(&[0]).is_err());
}

#[test]
fn both_kinds_of_one_id_are_two_chunks() {
    let index = index();
    index.add_packs(Some(id(900)), &[pack(1, &[id(10)])]).unwrap();
    let used = gather(KINDS.map(|kind| (kind, id(10))), 10, 2);
    let places = |index: &Index| {
        let told = told(index, &used, 10);
        told.into_iter().map(|(chunk, places)| (chunk.contents, places.len())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(places(&index), BTreeMap::from([(Contents::Data, 1), (Contents::Trees, 0)]));
    index.add_packs(None, &[PackRecord { contents: Contents::Trees, ..pack(4, &[id(10)]) }]).unwrap();
    assert_eq!(places(&index), BTreeMap::from([(Contents::Data, 1), (Contents::Trees, 1)]));
    for chunk in used.iter() {
        assert_eq!(chunk.unwrap().to_string(), format!("{}…", &id(10).to_string()[..32]));
    }
}

#[test]
fn nothing_used_and_nothing_there() {
    let index = index();
    assert!(told(&index, &gather([], 10, 2), 10).is_empty());
    let one = gather([(Contents::Data, id(1))], 10, 2);
    assert_eq!(told(&index, &one, 10), [(UsedChunk::of(Contents::Data, &id(1)), vec![])]);
    index.add_packs(Some(id(900)), &[pack(1, &[id(10)])]).unwrap();
    let none = gather([], 10, 2);
    assert!(told(&index, &none, 10).is_empty() && none.is_empty());
    assert_eq!(told(&index, &one, 10)[0].1, []);
}

#[test]
fn changes_on_the_way_tear_no_chunk() {
    let folder = tempfile::tempdir().unwrap();
    for index in [index(), Index::open(folder.path(), REPOSITORY).unwrap().0] {
        let chunks: Vec<Id> = (0..50).map(id).collect();
        index.add_packs(Some(id(900)), &[pack(1000, &chunks), pack(2000, &chunks)]).unwrap();
        let used = gather(chunks.iter().map(|id| (Contents::Data, *id)), 8, 2);
        let mut count = 0;
        let mut each = |chunk: UsedChunk, places: &[Place]| {
            // Another pack takes the place of the older one each time: there are always two.
            let mut rows: Vec<u64> = places.iter().map(|place| place.pack).collect();
            rows.dedup();
            assert_eq!((rows.len(), rows[1]), (2, 2 + count), "{chunk}: {places:?}");
            index.drop_packs(&[id(1000 * (1 + count))])?;
            index.add_packs(None, &[pack(1000 * (3 + count), &chunks)])?;
            count += 1;
            Ok::<(), Error>(())
        };
        index.each_used_by(1, &used, &mut each).unwrap();
        assert_eq!(count, 50);
        // What `each` answers ends it.
        let refused = index.each_used(&used, &mut |_, _| Err(Error::Full));
        assert!(matches!(refused, Err(Error::Full)));
    }
}

#[test]
fn the_list_has_no_name_and_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut gather = Gather::with(Some(folder.path()), 10, 3, false).unwrap();
    for number in 0..100 {
        gather.add(Contents::Data, &id(number)).unwrap();
    }
    let by_hand = unlinked(folder.path()).unwrap();
    let used = gather.finish().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for file in [used.runs().file(), &by_hand] {
        assert_eq!((file.metadata().unwrap().mode() & 0o7777, file.metadata().unwrap().nlink()), (0o600, 0));
    }
    let gone = folder.path().join("gone");
    let error = Gather::new(Some(&gone)).map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Io(text) if text.contains("/gone: ")), "{error}");
    let error = trouble(folder.path(), &IoError::from(ErrorKind::StorageFull));
    let words = format!("no room for the list of used chunks in {}", folder.path().display());
    assert!(matches!(&error, Error::Io(text) if *text == words), "{error}");
    // A list that changed on its way is no list.
    let whole = |used: &Used| used.iter().collect::<Result<Vec<_>, _>>();
    assert_eq!(whole(&used).unwrap().len(), 100);
    let file = used.runs().file();
    for at in [0, 45, 20 * 50 + 16, 20 * 50 + 18, 20 * 99 + 15] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        let error = whole(&used).unwrap_err();
        assert!(matches!(&error, Error::Io(text) if text.contains("read back")), "{at}: {error}");
        file.write_all_at(&byte, at).unwrap();
    }
    file.set_len(20 * 99).unwrap();
    assert!(matches!(whole(&used), Err(Error::Io(_))));
}

#[test]
fn a_chunk_of_several_lengths_is_told_with_each_of_them() {
    let index = index();
    let ids: Vec<Id> = (0..40).map(odd_id).collect();
    index.add_packs(Some(id(900)), &[pack(1000, &ids)]).unwrap();
    let mut wanted: BTreeSet<UsedChunk> = BTreeSet::new();
    let lengths = |number: u64| [7, 300 + number as u32 % 3, 7];
    for (batch, runs) in [(1, 2), (3, 3), (1000, 2)] {
        let mut gather = Gather::with(None, batch, runs, true).unwrap();
        for number in (0..60).chain(20..50) {
            for length in lengths(number) {
                gather.add_sized(Contents::Data, &odd_id(number), length).unwrap();
                wanted.insert(UsedChunk { rank: length, ..UsedChunk::of(Contents::Data, &odd_id(number)) });
            }
        }
        let used = gather.finish().unwrap();
        assert_eq!(used.len(), wanted.len() as u64);
        for page in [1, 5, 1000] {
            let told = told(&index, &used, page);
            assert!(told.iter().map(|(chunk, _)| chunk).eq(&wanted), "batches of {batch}, pages of {page}");
            for (chunk, places) in told {
                let there =
                    ids.iter().any(|id| UsedChunk::of(Contents::Data, id).id_begin() == chunk.id_begin());
                assert_eq!(!places.is_empty(), there, "{chunk}");
            }
        }
    }
}
