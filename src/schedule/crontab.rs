//! A user's crontab as bytes: copal's lines are found, put in, and taken out; every other byte stays as it is.

use super::marker::{Marker, State, state};

/// A line of copal's, and the line behind it that it guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub start: usize,
    pub end: usize,
    pub marker: Marker,
    /// The line behind is another one than copal wrote.
    pub is_edited: bool,
}

/// All that copal wrote into a crontab.
pub fn blocks(table: &[u8]) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut start = 0;
    let mut lines = table.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let mut end = start + line.len();
        if let Some(marker) = Marker::of_line(line) {
            // A line that begins another block, or none at all, is not the guarded one.
            if let Some(next) = lines.next_if(|next| Marker::of_line(next).is_none()) {
                end += next.len();
            }
            let mut block = table[start..end].to_vec();
            // The last line of a crontab may have lost its end.
            if !block.ends_with(b"\n") {
                block.push(b'\n');
            }
            let is_edited = !matches!(state(&block), State::Ours(_));
            found.push(Block { start, end, marker, is_edited });
        }
        start = end;
    }
    found
}

/// The crontab with that block for a profile, or without any (no block), and whether what gives way was changed by hand. The first block
/// of that profile is where the new one goes, else the end.
pub fn with(table: &[u8], profile: &str, block: Option<&str>) -> (Vec<u8>, bool) {
    let mut new = block.map(str::as_bytes);
    let (mut out, mut at, mut is_edited) = (Vec::with_capacity(table.len() + 256), 0, false);
    for old in blocks(table).into_iter().filter(|old| old.marker.profile == profile) {
        out.extend_from_slice(&table[at..old.start]);
        out.extend_from_slice(new.take().unwrap_or_default());
        at = old.end;
        is_edited |= old.is_edited;
    }
    out.extend_from_slice(&table[at..]);
    if let Some(block) = new {
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        out.extend_from_slice(block);
    }
    (out, is_edited)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(profile: &str, hour: u8) -> String {
        let marker = Marker {
            profile: profile.into(),
            when: format!("daily {hour}:30").parse().unwrap(),
            jitter: std::time::Duration::ZERO,
            delay: Some(0),
        };
        marker.seal(&format!("30 {hour} * * * copal run -q {profile}\n"))
    }

    const OTHERS: &[&[u8]] = &[
        b"",
        b"# a comment\nMAILTO=ann@example.org\n\n5 4 * * *  rsync -a % \\% x\n",
        b"* * * * * true",
        b"# \xff\xfe\n\n\n@daily /bin/caf\xe9\n",
        b"\n",
        b"# copal schedule install of another kind\n1 2 3 4 5 copal run -q default\r\n",
    ];

    #[test]
    fn other_lines_stay_byte_for_byte() {
        for others in OTHERS {
            let (one, _) = with(others, "default", Some(&block("default", 3)));
            assert_eq!(blocks(&one).len(), 1, "{}", others.escape_ascii());
            assert!(one.starts_with(others) && one.ends_with(b"\n"));
            let (same, is_edited) = with(&one, "default", Some(&block("default", 3)));
            assert_eq!((same, is_edited), (one.clone(), false), "twice is once");
            let (two, _) = with(&one, "web", Some(&block("web", 4)));
            assert!(two.starts_with(&one) && blocks(&two).len() == 2);
            let (changed, is_edited) = with(&two, "default", Some(&block("default", 5)));
            let expected = [others, &one[others.len()..one.len() - block("default", 3).len()]].concat();
            let expected = [expected, block("default", 5).into(), block("web", 4).into()].concat();
            assert_eq!((changed.clone(), is_edited), (expected, false));
            let (gone, _) = with(&with(&changed, "default", None).0, "web", None);
            let mut whole = others.to_vec();
            if !whole.is_empty() && !whole.ends_with(b"\n") {
                whole.push(b'\n');
            }
            assert_eq!(gone, whole, "as before, with an end of its last line");
        }
    }

    #[test]
    fn blocks_changed_by_hand_cut_off_or_doubled_are_seen() {
        let good = block("default", 3);
        let edited = good.replace("30 3", "45 3");
        let (_, is_edited) = with(edited.as_bytes(), "default", None);
        assert!(is_edited);
        // Only the mark, or one mark behind the other.
        let mark = format!("{}\n", good.lines().next().unwrap());
        let table = format!("{mark}{good}* * * * * true\n{mark}");
        let found = blocks(table.as_bytes());
        assert_eq!(found.iter().map(|block| block.is_edited).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(with(table.as_bytes(), "default", None).0, b"* * * * * true\n");
        // Twice the same by a copy: one is left.
        let doubled = format!("{good}A=1\n{good}");
        let (one, is_edited) = with(doubled.as_bytes(), "default", Some(&good));
        assert_eq!((one, is_edited), (format!("{good}A=1\n").into_bytes(), false));
        // Without the end of its last line it is still what was written.
        assert!(!blocks(good.trim_end().as_bytes())[0].is_edited);
    }

    proptest! {
        #[test]
        fn nothing_of_others_is_ever_lost(table in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (one, _) = with(&table, "p", Some(&block("p", 1)));
            prop_assert!(one.starts_with(&table));
            let (gone, _) = with(&one, "p", None);
            prop_assert!(gone.starts_with(&table) && gone.len() <= table.len() + 1);
        }
    }
}
