//! What lies in the local cache and, as *state*, in the repository: rows of directories and their side parts.

use copal::backup::change::{Seen, SideReader, SideWriter, volume_of};
use copal::backup::state::{put_row, take_row};
use copal::index::DirectoryRow;
use copal::model::{Id16, Time};

use super::id;

fn side(bytes: &[u8]) -> usize {
    let Some(volume) = volume_of(bytes) else {
        assert_eq!(SideReader::new(bytes).count(), 0);
        return 0;
    };
    let seen: Vec<Seen> = SideReader::new(bytes).collect();
    let mut writer = SideWriter::new(volume);
    seen.iter().for_each(|seen| writer.push(seen));
    let again = writer.finish();
    assert_eq!(volume_of(&again), Some(volume));
    assert_eq!(SideReader::new(&again).collect::<Vec<_>>(), seen);
    seen.len()
}

/// Rows one after the other, as a snapshot's state has them.
pub(super) fn rows(data: &[u8]) -> bool {
    let (mut rest, mut entries) = (data, 0);
    loop {
        let before = rest;
        let Some(row) = take_row(&mut rest) else {
            assert_eq!(before, rest, "nothing is taken of a row that is not whole");
            return entries > 0;
        };
        let mut again = Vec::new();
        put_row(&mut again, &row);
        assert_eq!(again, before[..before.len() - rest.len()]);
        entries += side(&row.side);
    }
}

pub(super) fn rows_seeds() -> Vec<Vec<u8>> {
    let mut writer = SideWriter::new(Id16([7; 16]));
    writer.push(&Seen { inode: 1, ctime: Time::new(-5, 7), racy: false, tree: None });
    writer.push(&Seen {
        inode: u64::MAX,
        ctime: Time::new(i64::MAX, 999_999_999),
        racy: true,
        tree: Some(id(5)),
    });
    let side = writer.finish();
    let row = |byte, side: &[u8]| DirectoryRow {
        key: Id16([byte; 16]),
        tree: id(byte),
        digest: [byte; 16],
        inode: 9,
        side: side.to_vec(),
    };
    let mut rows = Vec::new();
    for row in [row(1, &side), row(2, b""), row(3, &[99; 40])] {
        put_row(&mut rows, &row);
    }
    vec![rows]
}
