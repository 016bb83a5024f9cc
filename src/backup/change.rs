//! What is unchanged since the last backup, and how that is remembered. Pure.
//!
//! A directory's row holds a digest of everything that was seen of its entries, and beside each entry's node its inode and ctime.
//! chmod, chown, attributes, ACLs and flags all move ctime, so an entry whose stat is equal needs no opening.

use crate::files::Stat;
use crate::format::record::{Cursor, put_varint};
use crate::model::{Id, Id16, Node, NodeType, Time};

/// Seconds within which a time is too fresh to prove that nothing was written after it: a mapping's writes show up to half a minute late.
pub const RACY_SECONDS: i64 = 60;
/// Version of the rows that this program writes and reads.
const SIDE_VERSION: u8 = 2;
const FLAG_RACY: u8 = 1;
const FLAG_TREE: u8 = 2;

/// What a row keeps of one entry, beside its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub inode: u64,
    pub ctime: Time,
    /// Its times were too fresh: read it again.
    pub racy: bool,
    /// Of a directory: its tree.
    pub tree: Option<Id>,
}

/// What the file system is trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    pub inode: bool,
    pub ctime: bool,
    /// False where an unchanged stat proves nothing.
    pub reuse: bool,
}

impl Seen {
    /// What is kept of an entry that was looked at at `now`, before it was read.
    pub fn new(stat: &Stat, now: Time, racy_seconds: i64) -> Seen {
        let latest = stat.mtime.max(stat.ctime);
        Seen {
            inode: stat.inode,
            ctime: stat.ctime,
            racy: latest.plus_seconds(racy_seconds) >= now,
            tree: None,
        }
    }
}

/// Whether an entry is what the node says, so that its content need not be read.
pub fn is_unchanged(node: &Node, seen: &Seen, stat: &Stat, trust: Trust) -> bool {
    trust.reuse
        && !seen.racy
        && node.error.is_none()
        && node.unread.is_empty()
        && node.kind == stat.kind
        && (node.kind != NodeType::File || node.size == stat.size)
        && node.mtime == stat.mtime
        && (!trust.inode || seen.inode == stat.inode)
        && (!trust.ctime || seen.ctime == stat.ctime)
        && node.mode == stat.mode
        && node.uid == stat.uid
        && node.gid == stat.gid
}

/// Whether an entry found by its directory's inode at another path is the same file: the birth time must be equal too.
pub fn is_unmoved(node: &Node, seen: &Seen, stat: &Stat, trust: Trust) -> bool {
    trust.inode
        && trust.ctime
        && node.btime.is_some()
        && node.btime == stat.btime
        && is_unchanged(node, seen, stat, trust)
}

/// Whether an entry is on another file system than its directory: something is mounted there, or a subvolume begins. What is
/// known of the directory says nothing about it.
pub fn is_mounted(directory: &Stat, entry: &Stat) -> bool {
    match entry.kind {
        NodeType::Directory => entry.mount_root || entry.dev != directory.dev,
        // The files of an overlay may have the device numbers of what it lies over, so those count only where there is nothing better.
        _ if entry.mount.is_some() => entry.mount_root,
        _ => entry.dev != directory.dev,
    }
}

/// Digest of what was seen of a directory's entries, in order of name, and of the file system they are on.
pub struct Digest(blake3::Hasher);

/// The digest that never matches: the directory is looked at entry by entry next time.
pub const NEVER: [u8; 16] = [0; 16];

impl Digest {
    pub fn new(volume: Id16) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&volume.0);
        Digest(hasher)
    }

    pub fn add(&mut self, name: &[u8], stat: &Stat, trust: Trust) {
        let mut bytes = [0u8; 88];
        let mut at = 0;
        let mut put = |value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        };
        put(&(name.len() as u32).to_le_bytes());
        put(&(stat.kind as u32).to_le_bytes());
        put(&stat.mode.to_le_bytes());
        put(&stat.uid.to_le_bytes());
        put(&stat.gid.to_le_bytes());
        put(&(stat.nlink.min(2) as u32).to_le_bytes());
        // A directory's own size and link count move with its entries; its mtime says that.
        put(&if stat.kind == NodeType::File { stat.size } else { 0 }.to_le_bytes());
        put(&stat.mtime.seconds.to_le_bytes());
        put(&stat.mtime.nanos.to_le_bytes());
        if trust.ctime {
            put(&stat.ctime.seconds.to_le_bytes());
            put(&stat.ctime.nanos.to_le_bytes());
        }
        if trust.inode {
            put(&stat.inode.to_le_bytes());
        }
        put(&stat.device.0.to_le_bytes());
        put(&stat.device.1.to_le_bytes());
        self.0.update(&bytes).update(name);
    }

    pub fn finish(&self) -> [u8; 16] {
        let mut digest = NEVER;
        digest.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        digest
    }
}

/// Builds the side part of a row: the file system, then one record an entry, in the order of the tree's nodes.
pub struct SideWriter(Vec<u8>);

impl SideWriter {
    pub fn new(volume: Id16) -> SideWriter {
        SideWriter([&[SIDE_VERSION][..], &volume.0].concat())
    }

    pub fn push(&mut self, seen: &Seen) {
        self.0.push(if seen.racy { FLAG_RACY } else { 0 } | if seen.tree.is_some() { FLAG_TREE } else { 0 });
        put_varint(&mut self.0, seen.inode);
        put_varint(&mut self.0, seen.ctime.seconds as u64);
        put_varint(&mut self.0, u64::from(seen.ctime.nanos));
        if let Some(tree) = &seen.tree {
            self.0.extend_from_slice(&tree.0);
        }
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The file system of a row; none of a row of another version.
pub fn volume_of(side: &[u8]) -> Option<Id16> {
    match side.split_first() {
        Some((&SIDE_VERSION, rest)) => rest.first_chunk().map(|volume| Id16(*volume)),
        _ => None,
    }
}

/// Reads the side part of a row, entry by entry. A row of another version reads as empty.
pub struct SideReader<'a>(Cursor<'a>, bool);

impl<'a> SideReader<'a> {
    pub fn new(side: &'a [u8]) -> SideReader<'a> {
        match (volume_of(side), side.get(17..)) {
            (Some(_), Some(rest)) => SideReader(Cursor(rest), false),
            _ => SideReader(Cursor(&[]), false),
        }
    }

    /// Stands in where nothing is remembered: every entry counts as racy.
    pub fn endless() -> SideReader<'a> {
        SideReader(Cursor(&[]), true)
    }
}

impl Iterator for SideReader<'_> {
    type Item = Seen;

    fn next(&mut self) -> Option<Seen> {
        if self.1 {
            return Some(Seen { inode: 0, ctime: Time::default(), racy: true, tree: None });
        }
        let [flags] = self.0.array().ok()?;
        let inode = self.0.varint().ok()?;
        let seconds = self.0.varint().ok()? as i64;
        let nanos = self.0.varint().ok()?.min(999_999_999) as u32;
        let tree = if flags & FLAG_TREE != 0 { Some(Id(self.0.array().ok()?)) } else { None };
        Some(Seen { inode, ctime: Time { seconds, nanos }, racy: flags & FLAG_RACY != 0, tree })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_comes_back() {
        let all = [
            Seen { inode: 1, ctime: Time::new(-5, 7), racy: false, tree: None },
            Seen {
                inode: u64::MAX,
                ctime: Time::new(i64::MAX, 999_999_999),
                racy: true,
                tree: Some(Id([5; 32])),
            },
        ];
        let mut writer = SideWriter::new(Id16([7; 16]));
        all.iter().for_each(|seen| writer.push(seen));
        let side = writer.finish();
        assert_eq!(volume_of(&side), Some(Id16([7; 16])));
        assert_eq!(SideReader::new(&side).collect::<Vec<_>>(), all);
        assert_eq!(SideReader::new(&[99; 40]).count(), 0);
        assert!(volume_of(&[99; 40]).is_none() && volume_of(&side[..16]).is_none());
        assert_eq!(SideReader::new(&side[..side.len() - 1]).count(), 1);
    }
}
