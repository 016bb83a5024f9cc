//! Look-ups, collisions, hidden packs, dropping, pending packs, many threads.

use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn a_chunk_is_found_where_its_pack_says() {
    let index = index();
    index.add_packs(Some(id(900)), &[pack(1, &[id(10), id(11), id(12)])]).unwrap();
    let place = index.lookup(Contents::Data, &id(11)).unwrap().unwrap();
    assert_eq!((place.pack.name, place.block, place.codec), (id(1), 1, 0));
    assert_eq!((place.block_offset, place.block_stored, place.block_plain), (106, 316, 300));
    assert_eq!((place.offset, place.length, place.pack.salt), (100, 100, id(2).0));
    assert!(!present(&index, &id(13)));
    assert!(!index.contains(Contents::Trees, &id(11)).unwrap());
    assert_eq!((index.chunk_count().unwrap(), index.pack_count().unwrap()), (3, 1));
    assert_eq!(index.known_index_objects().unwrap(), [id(900)]);
    let info = index.pack(&id(1)).unwrap().unwrap();
    assert_eq!((info.chunks, info.listed, info.length, info.directory_offset), (3, true, 4096, 2048));
    assert_eq!(index.pack_directory(&id(1)).unwrap().unwrap(), b"directory 1");
    assert!(index.pack(&id(2)).unwrap().is_none());
}

#[test]
fn ids_alike_in_their_first_eight_bytes_are_told_apart() {
    let index = index();
    let mut twins = [id(1), id(2), id(3), id(4)];
    twins.iter_mut().for_each(|twin| twin.0[..8].copy_from_slice(&[0x80; 8]));
    for (number, twin) in (100..).zip(&twins[..3]) {
        index.add_packs(Some(id(900)), &[pack(number, &[*twin])]).unwrap();
    }
    for (number, twin) in (100..).zip(&twins[..3]) {
        assert_eq!(index.lookup(Contents::Data, twin).unwrap().unwrap().pack.name, id(number));
    }
    assert!(!present(&index, &twins[3]));
    // A tree whose mixed key falls on a data chunk's.
    let mut tree = id(5);
    tree.0[..8].copy_from_slice(&(0x8080_8080_8080_8080u64 ^ 0xa5c3_96f0_5a3c_69e1).to_be_bytes());
    tree.0[8..16].copy_from_slice(&twins[0].0[8..16]);
    let trees = PackRecord { contents: Contents::Trees, ..pack(200, &[tree]) };
    assert!(!index.contains(Contents::Trees, &tree).unwrap());
    index.add_packs(Some(id(900)), &[trees]).unwrap();
    assert_eq!(index.lookup(Contents::Trees, &tree).unwrap().unwrap().pack.name, id(200));
    assert_eq!(index.lookup(Contents::Data, &twins[0]).unwrap().unwrap().pack.name, id(100));
}

#[test]
fn every_copy_of_a_chunk_is_found_for_reading_and_hidden_ones_come_last() {
    let index = index();
    for number in [1, 2, 3] {
        index.add_packs(Some(id(900)), &[pack(number, &[id(10)])]).unwrap();
    }
    assert_eq!(readable(&index, &id(10)), [id(1), id(2), id(3)]);
    index.set_hidden(&[id(1), id(2)], &[]).unwrap();
    assert_eq!(readable(&index, &id(10)), [id(3), id(1), id(2)]);
    assert_eq!(index.lookup(Contents::Data, &id(10)).unwrap().unwrap().pack.name, id(3));
    index.set_hidden(&[id(1), id(2), id(3)], &[]).unwrap();
    assert!(!present(&index, &id(10)));
    assert_eq!(readable(&index, &id(10)).len(), 3);
    index.set_hidden(&[], &[]).unwrap();
    assert!(present(&index, &id(10)));
}

#[test]
fn a_damaged_chunk_is_absent_until_this_process_stores_it_again() {
    let index = index();
    index.add_packs(Some(id(900)), &[pack(1, &[id(10), id(11)])]).unwrap();
    index.set_hidden(&[], &[(Contents::Data, id(10))]).unwrap();
    assert!(!present(&index, &id(10)) && present(&index, &id(11)));
    assert_eq!(readable(&index, &id(10)), [id(1)]);
    index.add_packs(None, &[pack(2, &[id(10)])]).unwrap();
    for _ in 0..2 {
        assert_eq!(index.lookup(Contents::Data, &id(10)).unwrap().unwrap().pack.name, id(2));
        assert_eq!(readable(&index, &id(10)), [id(2), id(1)]);
        index.flush().unwrap();
    }
}

#[test]
fn packs_of_this_run_are_seen_at_once_and_after_they_are_written() {
    let index = index();
    index.add_packs(None, &[pack(1, &[id(10), id(11)]), pack(2, &[id(10)])]).unwrap();
    for row_is_zero in [true, false] {
        let place = index.lookup(Contents::Data, &id(10)).unwrap().unwrap();
        assert_eq!((place.pack.name, place.pack.row == 0, place.block_plain), (id(1), row_is_zero, 200));
        assert_eq!(readable(&index, &id(10)), [id(1), id(2)]);
        assert_eq!((index.chunk_count().unwrap(), index.pack_count().unwrap()), (3, 2));
        assert_eq!(index.pack_directory(&id(2)).unwrap().unwrap(), b"directory 2");
        let mut names = Vec::new();
        index.packs(&mut |pack| names.push(pack.name)).unwrap();
        assert_eq!(names, [id(1), id(2)]);
        assert_eq!(index.unlisted_packs().unwrap().len(), 2);
        index.flush().unwrap();
    }
    index.add_packs(Some(id(900)), &[pack(1, &[id(10), id(11)])]).unwrap();
    assert_eq!(index.unlisted_packs().unwrap(), [id(2)]);
    assert!(present(&index, &id(11)) && index.lookup(Contents::Data, &id(11)).unwrap().unwrap().pack.listed);
}

#[test]
fn pending_packs_are_bounded() {
    let index = index();
    let chunks: Vec<Id> = (0..PENDING_MAX as u64).map(id).collect();
    index.add_packs(None, &[pack(1_000_000, &chunks)]).unwrap();
    assert!(index.pack(&id(1_000_000)).unwrap().unwrap().row > 0);
    assert!(present(&index, &id(0)) && present(&index, &id(PENDING_MAX as u64 - 1)));
}

#[test]
fn dropping_an_index_object_drops_what_only_it_listed() {
    let index = index();
    index.add_packs(Some(id(900)), &[pack(1, &[id(10)]), pack(2, &[id(20)])]).unwrap();
    index.add_packs(Some(id(901)), &[pack(2, &[id(20)]), pack(3, &[id(10), id(30)])]).unwrap();
    index.drop_index_objects(&[id(900), id(999)]).unwrap();
    assert!(present(&index, &id(20)) && present(&index, &id(30)));
    assert_eq!(readable(&index, &id(10)), [id(3)]);
    assert_eq!((index.pack_count().unwrap(), index.chunk_count().unwrap()), (2, 3));
    assert_eq!(index.known_index_objects().unwrap(), [id(901)]);
    assert!(index.pack(&id(1)).unwrap().is_none() && index.pack_directory(&id(1)).unwrap().is_none());
    index.drop_index_objects(&[id(901)]).unwrap();
    assert!(!present(&index, &id(10)) && !present(&index, &id(20)) && !present(&index, &id(30)));
    // It comes back over its orphans.
    index.add_packs(Some(id(902)), &[pack(1, &[id(10)])]).unwrap();
    assert_eq!(readable(&index, &id(10)), [id(1)]);
    assert_eq!((index.pack_count().unwrap(), index.chunk_count().unwrap()), (1, 1));
}

#[test]
fn several_index_objects_come_in_together() {
    let index = index();
    let (first, second, both) = (pack(1, &[id(10), id(11)]), pack(2, &[id(11), id(12)]), pack(3, &[id(13)]));
    index.add_packs(None, std::slice::from_ref(&both)).unwrap();
    let mut intake = Intake::default();
    intake.add(id(900), &[first, both.clone()]);
    intake.add(id(901), &[both, second]);
    intake.add(id(902), &[]);
    assert!(!intake.is_full());
    index.take_in(intake).unwrap();
    let known: HashSet<Id> = index.known_index_objects().unwrap().into_iter().collect();
    assert_eq!(known, HashSet::from([id(900), id(901), id(902)]));
    assert_eq!((index.pack_count().unwrap(), index.chunk_count().unwrap()), (3, 5));
    assert_eq!(readable(&index, &id(13)), [id(3)]);
    assert_eq!(readable(&index, &id(11)).into_iter().collect::<HashSet<_>>(), HashSet::from([id(1), id(2)]));
    // Each is dropped by itself.
    index.drop_index_objects(&[id(900)]).unwrap();
    assert!(!present(&index, &id(10)) && present(&index, &id(13)) && present(&index, &id(12)));
    index.drop_index_objects(&[id(901), id(902)]).unwrap();
    assert!(!present(&index, &id(13)) && !present(&index, &id(12)));
}

#[test]
fn what_is_gathered_is_bounded_whatever_it_is_made_of() {
    let wide = |blocks: usize, chunks: usize| {
        let block = BlockRecord {
            codec: 0,
            offset: 96,
            stored: 17,
            plain: 1 << 20,
            chunks: vec![(id(1), 1); chunks],
        };
        PackRecord { blocks: vec![block; blocks], ..pack(1, &[]) }
    };
    let many = SYNC_CHUNKS / 1000;
    for (what, record, count) in [
        ("chunks", wide(1, 1000), many),
        ("blocks", wide(1000, 0), many),
        ("packs", wide(0, 0), SYNC_CHUNKS / 10),
    ] {
        let mut intake = Intake::default();
        (0..count / 2).for_each(|_| intake.add(id(900), std::slice::from_ref(&record)));
        assert!(!intake.is_full(), "{what}");
        (0..=count / 2).for_each(|_| intake.add(id(900), std::slice::from_ref(&record)));
        assert!(intake.is_full(), "{what}");
    }
}

#[test]
fn many_dropped_chunks_are_swept_and_second_copies_move_up() {
    let index = index();
    let chunks: Vec<Id> = (0..20_000).map(id).collect();
    index.add_packs(Some(id(900_000)), &[pack(100_000, &chunks)]).unwrap();
    index
        .add_packs(Some(id(900_001)), &[pack(100_001, &chunks[..100]), pack(100_002, &chunks[50..100])])
        .unwrap();
    index.drop_packs(&[id(100_000)]).unwrap();
    let count = |table: &str| -> i64 {
        let query = format!("SELECT count(*) FROM {table}");
        lock(&index.writer).query_row(&query, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("chunks"), count("more_chunks")), (100, 50));
    assert_eq!(readable(&index, &chunks[60]).len(), 2);
    assert_eq!(readable(&index, &chunks[10]), [id(100_001)]);
    assert!(!present(&index, &chunks[101]));
    assert_eq!(index.chunk_count().unwrap(), 150);
}

#[test]
fn packs_that_no_index_object_lists_answer_only_in_the_process_that_wrote_them() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, _) = Index::open(folder.path(), REPOSITORY).unwrap();
    let (other, opened) = Index::open(folder.path(), REPOSITORY).unwrap();
    assert_eq!(opened, Opened::Existing);
    mine.add_packs(None, &[pack(1, &[id(10)])]).unwrap();
    mine.flush().unwrap();
    assert!(present(&mine, &id(10)) && !present(&other, &id(10)));
    assert_eq!(readable(&other, &id(10)), [id(1)]);
    assert_eq!(other.unlisted_packs().unwrap(), [id(1)]);
    other.add_packs(Some(id(900)), &[pack(1, &[id(10)])]).unwrap();
    assert!(present(&mine, &id(10)) && present(&other, &id(10)));
}

#[test]
fn chunks_that_do_not_fit_into_their_block_are_left_out() {
    let index = index();
    let mut odd = pack(1, &[id(10), id(11)]);
    odd.blocks[1].plain = 150;
    odd.blocks[0].chunks = vec![(id(12), u32::MAX), (id(13), u32::MAX)];
    index.add_packs(Some(id(900)), &[odd]).unwrap();
    assert!(present(&index, &id(10)) && !present(&index, &id(11)) && !present(&index, &id(12)));
    assert_eq!(index.chunk_count().unwrap(), 1);
}

#[test]
fn four_threads_look_up_while_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = Index::open(folder.path(), REPOSITORY).unwrap();
    let old: Vec<Id> = (0..2000).map(id).collect();
    index.add_packs(Some(id(900_000)), &[pack(100_000, &old)]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (index, old) = (&index, &old);
            scope.spawn(move || {
                for round in 0..20_000usize {
                    let chunk = &old[(round * 7 + thread) % old.len()];
                    assert!(present(index, chunk));
                    assert!(!present(index, &id(5_000_000 + round as u64)));
                }
            });
        }
        for number in 0..200u64 {
            let new: Vec<Id> = (0..50).map(|chunk| id(10_000 + 50 * number + chunk)).collect();
            index.add_packs(None, &[pack(200_000 + number, &new)]).unwrap();
            if number % 20 == 0 {
                index.flush().unwrap();
            }
            assert!(new.iter().all(|chunk| present(&index, chunk)));
        }
    });
    assert_eq!(index.chunk_count().unwrap(), 12_000);
}

/// Whether an index object's pack is here as it says: by sums, and by each chunk, which must be of one mind.
fn holds(index: &Index, object: u64, record: &PackRecord) -> bool {
    let sums = index.sums(&AtomicBool::new(false)).unwrap();
    let by_sums = index.holds(&id(object), record, Some(&sums)).unwrap();
    assert_eq!(by_sums, index.holds(&id(object), record, None).unwrap());
    by_sums
}

#[test]
fn rows_that_are_not_what_an_index_object_says_are_found() {
    let chunks: Vec<Id> = (10..20).map(id).collect();
    let record = pack(1, &chunks);
    let fresh = || {
        let index = index();
        index.add_packs(Some(id(100)), std::slice::from_ref(&record)).unwrap();
        assert!(holds(&index, 100, &record) && index.agrees(&record).unwrap());
        index
    };
    assert!(!holds(&fresh(), 101, &record), "another index object lists it not");
    for change in [
        "UPDATE packs SET length = length + 1",
        "UPDATE packs SET blocks = x'00'",
        "UPDATE chunks SET offset = offset + 1 WHERE key = (SELECT max(key) FROM chunks)",
        "UPDATE chunks SET confirm = confirm + 1 WHERE key = (SELECT max(key) FROM chunks)",
        "UPDATE chunks SET key = key + 1 WHERE key = (SELECT max(key) FROM chunks)",
        "UPDATE chunks SET block = block + 1 WHERE key = (SELECT min(key) FROM chunks)",
        "UPDATE chunks SET length = length + 1 WHERE key = (SELECT min(key) FROM chunks)",
        "UPDATE chunks SET pack = pack + 1 WHERE key = (SELECT min(key) FROM chunks)",
        "UPDATE chunks SET length = 'long' WHERE key = (SELECT max(key) FROM chunks)",
        "DELETE FROM chunks WHERE key = (SELECT max(key) FROM chunks)",
    ] {
        let index = fresh();
        lock(&index.writer).execute_batch(change).unwrap();
        assert!(!holds(&index, 100, &record) && !index.agrees(&record).unwrap(), "{change}");
        index.drop_packs(&[record.name]).unwrap();
        index.add_packs(Some(id(100)), std::slice::from_ref(&record)).unwrap();
        assert!(holds(&index, 100, &record), "{change}: mended");
        assert!(chunks.iter().all(|chunk| present(&index, chunk)), "{change}: mended");
    }
    // The same chunk in a second pack, and twice in one, is no mistake.
    let index = fresh();
    let second = pack(2, &[chunks[0], chunks[0], chunks[1]]);
    index.add_packs(Some(id(102)), std::slice::from_ref(&second)).unwrap();
    assert!(holds(&index, 102, &second) && holds(&index, 100, &record));
    // Nor is one that stands here twice.
    let twice =
        "INSERT INTO more_chunks SELECT key, confirm, pack, block, offset, length FROM chunks LIMIT 1";
    lock(&index.writer).execute_batch(twice).unwrap();
    assert!(!index.sums(&AtomicBool::new(false)).unwrap().fit(1, &record));
    assert!(holds(&index, 100, &record));
    // Sums that were not made to the end say nothing.
    let sums = index.sums(&AtomicBool::new(true)).unwrap();
    assert!(index.holds(&id(100), &record, Some(&sums)).unwrap());
}
