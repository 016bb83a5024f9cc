//! The change cache, finished files, facts and cached objects.

use super::*;
use crate::model::Time;

const SOURCE: Id16 = Id16([1; 16]);
const OTHER: Id16 = Id16([2; 16]);

fn row(number: u64, inode: u64) -> DirectoryRow {
    let mut key = Id16::default();
    key.0[..8].copy_from_slice(&number.to_be_bytes());
    let side = vec![number as u8; (number % 7) as usize * 400];
    DirectoryRow { key, tree: id(number), digest: [9; 16], inode, side }
}

#[test]
fn directory_rows_come_back_by_key_by_inode_and_in_order() {
    let index = index();
    let rows: Vec<DirectoryRow> = (0..1000).rev().map(|number| row(number, u64::MAX - number / 2)).collect();
    index.save_directories(&SOURCE, &rows).unwrap();
    index.save_directories(&OTHER, &rows[..1]).unwrap();
    assert_eq!(index.directory(&SOURCE, &rows[5].key).unwrap().unwrap(), rows[5]);
    assert!(index.directory(&OTHER, &rows[5].key).unwrap().is_none());
    assert_eq!(index.directory_by_inode(&SOURCE, u64::MAX - 3).unwrap().len(), 2);
    let mut seen = Vec::new();
    index
        .each_directory(&SOURCE, None, &mut |row| {
            assert!(index.directory(&SOURCE, &row.key).unwrap().is_some());
            seen.push(row);
            true
        })
        .unwrap();
    assert!(seen.iter().eq(rows.iter().rev()));
    let mut count = 0;
    index
        .each_directory(&SOURCE, None, &mut |_| {
            count += 1;
            count < 300
        })
        .unwrap();
    assert_eq!(count, 300);
    let changed = DirectoryRow { side: b"new".to_vec(), ..rows[5].clone() };
    index.save_directories(&SOURCE, std::slice::from_ref(&changed)).unwrap();
    assert_eq!(index.directory(&SOURCE, &changed.key).unwrap().unwrap(), changed);
    assert!(index.directory(&OTHER, &rows[0].key).unwrap().is_some());
}

#[test]
fn rows_of_directories_that_stay_away_are_removed_and_no_others() {
    let index = index();
    let rows: Vec<DirectoryRow> = (0..20_000).map(|number| row(number, number / 2)).collect();
    index.save_directories(&SOURCE, &rows).unwrap();
    index.save_directories(&OTHER, &rows[..2]).unwrap();
    let number = |key: &Id16| u64::from_be_bytes(*key.0.first_chunk().unwrap());
    let without = |gone: fn(u64) -> bool| move |key: &Id16| !gone(number(key));
    assert_eq!(index.directory_counts(&SOURCE).unwrap(), (20_000, 0));
    assert_eq!(index.sweep_directories(&SOURCE, 100, 93, &without(|row| row % 2 == 1)).unwrap(), 0);
    assert_eq!(index.directory_counts(&SOURCE).unwrap(), (20_000, 10_000));
    assert!(!index.has_missed_since(&SOURCE, 99).unwrap() && index.has_missed_since(&SOURCE, 100).unwrap());
    assert!(!index.has_missed_since(&OTHER, 100).unwrap());
    // Half of them come back; others are missed for the first time.
    assert_eq!(index.sweep_directories(&SOURCE, 103, 96, &without(|row| row % 4 != 1)).unwrap(), 0);
    assert_eq!(index.sweep_directories(&SOURCE, 107, 100, &without(|row| row % 4 != 1)).unwrap(), 5_000);
    assert_eq!(index.directory_counts(&SOURCE).unwrap(), (15_000, 10_000));
    assert!(index.directory(&SOURCE, &rows[3].key).unwrap().is_none());
    assert_eq!(index.sweep_directories(&SOURCE, 110, 103, &without(|row| row % 4 != 1)).unwrap(), 10_000);
    assert_eq!(index.directory_counts(&SOURCE).unwrap(), (5_000, 0));
    for place in [0, 1, 2, 5] {
        assert_eq!(index.directory(&SOURCE, &rows[place].key).unwrap().is_some(), place % 4 == 1);
    }
    assert_eq!(index.directory_counts(&OTHER).unwrap(), (2, 0));
}

#[test]
fn lineage_goes_with_its_rows() {
    let index = index();
    assert_eq!(index.lineage(&SOURCE).unwrap(), None);
    index.set_lineage(&SOURCE, Some(id(1))).unwrap();
    index.set_lineage(&OTHER, Some(id(2))).unwrap();
    assert_eq!(index.lineage(&SOURCE).unwrap(), Some(id(1)));
    index.set_lineage(&OTHER, None).unwrap();
    assert_eq!((index.lineage(&SOURCE).unwrap(), index.lineage(&OTHER).unwrap()), (Some(id(1)), None));
}

#[test]
fn finished_files_come_back_by_directory() {
    let index = index();
    let file = |directory: u8, name: &[u8]| FinishedFile {
        directory: Id16([directory; 16]),
        name: name.to_vec(),
        inode: u64::MAX,
        ctime: Time::new(-5, 999_999_999),
        node: vec![1, 2, 3],
    };
    let files = [file(1, b"b"), file(1, b"a\xff"), file(2, b"a")];
    index.save_finished(&SOURCE, &files).unwrap();
    index.save_finished(&SOURCE, &files).unwrap();
    assert_eq!(index.finished(&SOURCE, &Id16([1; 16])).unwrap(), [files[1].clone(), files[0].clone()]);
    assert!(index.finished(&OTHER, &Id16([1; 16])).unwrap().is_empty());
    index.remove_finished(&SOURCE, &[Id16([1; 16])]).unwrap();
    assert!(index.finished(&SOURCE, &Id16([1; 16])).unwrap().is_empty());
    assert_eq!(index.finished(&SOURCE, &Id16([2; 16])).unwrap().len(), 1);
    index.clear_finished(&SOURCE).unwrap();
    assert!(index.finished(&SOURCE, &Id16([2; 16])).unwrap().is_empty());
}

#[test]
fn facts_and_cached_objects_come_back() {
    let index = index();
    for (key, value) in [("head/a", "1"), ("head/b", "2"), ("heads", "3"), ("head%", "4")] {
        index.set_fact(key, value.as_bytes()).unwrap();
    }
    index.set_fact("head/b", b"5").unwrap();
    assert_eq!(index.fact("head/b").unwrap().unwrap(), b"5");
    let heads = index.facts_with_prefix("head/").unwrap();
    assert_eq!(heads, [("head/a".to_owned(), b"1".to_vec()), ("head/b".to_owned(), b"5".to_vec())]);
    assert_eq!(index.facts_with_prefix("").unwrap().len(), 4);
    index.remove_fact("heads").unwrap();
    assert_eq!(index.fact("heads").unwrap(), None);
    for number in 0..300 {
        index.cache_object(5, &id(number), &number.to_le_bytes()).unwrap();
    }
    index.cache_object(10, &id(1), b"note").unwrap();
    assert_eq!(index.cached_object(5, &id(1)).unwrap().unwrap(), 1u64.to_le_bytes());
    index.drop_cached_objects(5, &[id(1), id(2)]).unwrap();
    assert_eq!(index.cached_object(5, &id(1)).unwrap(), None);
    assert_eq!(index.cached_object(10, &id(1)).unwrap().unwrap(), b"note");
    let mut names = Vec::new();
    index.each_cached_object(5, &mut |name, _| names.push(name)).unwrap();
    assert!(names.len() == 298 && names.is_sorted());
}

#[test]
fn a_row_with_a_flipped_bit_is_not_believed() {
    let index = index();
    let source = Id16([1; 16]);
    let row = |key: u8, side: &[u8]| DirectoryRow {
        key: Id16([key; 16]),
        tree: id(1),
        digest: [2; 16],
        inode: 9,
        side: side.to_vec(),
    };
    let file = FinishedFile {
        directory: Id16([3; 16]),
        name: b"file".to_vec(),
        inode: 5,
        ctime: Time::new(7, 8),
        node: b"node".to_vec(),
    };
    for change in [
        "UPDATE directories SET inode = inode + 1; UPDATE finished_files SET inode = inode + 1",
        "UPDATE directories SET digest = x'00000000000000000000000000000000'; UPDATE finished_files SET ctime_nanos = 9",
        "UPDATE directories SET side = CAST(x'01' || substr(side, 2) AS BLOB); UPDATE finished_files SET node = CAST(x'01' || substr(node, 2) AS BLOB)",
        "UPDATE directories SET side = x''; UPDATE finished_files SET node = x''",
    ] {
        index.save_directories(&source, &[row(3, b"\0side"), row(4, b"")]).unwrap();
        index.save_finished(&source, std::slice::from_ref(&file)).unwrap();
        index.set_fact("fact", b"value").unwrap();
        assert_eq!(index.directory(&source, &Id16([3; 16])).unwrap(), Some(row(3, b"\0side")));
        assert_eq!(index.finished(&source, &file.directory).unwrap(), [file.clone()]);
        let also = "UPDATE facts SET value = CAST(x'77' || substr(value, 2) AS BLOB)";
        lock(&index.writer).execute_batch(&format!("{change}; {also}")).unwrap();
        assert_eq!(index.directory(&source, &Id16([3; 16])).unwrap(), None, "{change}");
        assert_eq!(index.directory_by_inode(&source, 9).unwrap(), [], "{change}");
        let mut left = 0;
        index
            .each_directory(&source, None, &mut |_| {
                left += 1;
                true
            })
            .unwrap();
        assert_eq!(left, 0, "{change}");
        assert_eq!(index.finished(&source, &file.directory).unwrap(), [], "{change}");
        let fact = index.fact("fact").unwrap();
        assert_eq!(fact, None, "a fact is not what was written: {fact:?}");
    }
}
