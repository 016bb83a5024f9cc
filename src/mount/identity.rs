//! Inode numbers: what an entry is decides its number, not when it was looked at. So a number stays what it is for as long as the
//! snapshot does, names of one file have one number, and no two snapshots share any.

use crate::crypto;
use crate::format;
use crate::model::{Id, Node, NodeType};

/// The number of the mount point itself.
pub const TOP: u64 = 1;

/// Stands for an entry wherever it is met: of all of these bytes, so that no two entries have one in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    fn of(parts: &[&[u8]]) -> Key {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Key(*hasher.finalize().as_bytes())
    }

    /// That of something that is made, not saved.
    pub fn made(name: &[u8]) -> Key {
        Key::of(&[b"made", name])
    }

    /// That of a snapshot's root, as an entry of the made folder with that key.
    pub fn root(folder: &Key, snapshot: &Id) -> Key {
        Key::of(&[b"root", &folder.0, &snapshot.0])
    }

    /// That of an entry of a folder below a snapshot's root.
    pub fn entry(root: &Key, folder: &Key, node: &Node) -> Key {
        match link_of(node) {
            Some(link) => Key::of(&[b"link", &root.0, &link.0]),
            None => Key::of(&[b"entry", &folder.0, &node.name]),
        }
    }

    /// The inode number to begin with; `turn` others follow where two keys share one.
    pub fn number(&self, turn: u64) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let number = number.wrapping_add(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // 0 is no inode, 1 is the top; some programs keep the last one for themselves.
        if number <= TOP || number == u64::MAX { number ^ (1 << 40) } else { number }
    }

    #[cfg(test)]
    pub fn alike(number: u8, rest: u8) -> Key {
        let mut bytes = [number; 32];
        bytes[31] = rest;
        Key(bytes)
    }

    /// What tells it from others of the same number.
    pub fn rest(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// What names of one file have in common: their group, and all that the node says but the name. Nodes that only claim to be of one group
/// are files apart, as they are when they are restored.
pub fn link_of(node: &Node) -> Option<Id> {
    node.link?;
    // A folder has one name, whatever its node says: the kernel holds to that.
    if node.kind == NodeType::Directory || node.was == Some(NodeType::Directory) {
        return None;
    }
    let mut nameless = node.clone();
    nameless.name = b"name".to_vec();
    Some(crypto::object_name(&format::node::encode(&nameless)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Id16;

    #[test]
    fn names_of_one_file_share_a_number_and_nothing_else_does() {
        let file = |name: &[u8], link: Option<u8>, mode: u32| {
            let mut node = Node::new(name, NodeType::File);
            node.link = link.map(|byte| Id16([byte; 16]));
            node.mode = mode;
            node
        };
        let root = Key::root(&Key::made(b"snapshots"), &Id([1; 32]));
        let other_root = Key::root(&Key::made(b"snapshots"), &Id([2; 32]));
        let other_way = Key::root(&Key::made(b"hosts/a"), &Id([1; 32]));
        let folder = Key::entry(&root, &root, &file(b"folder", None, 0));
        let one = Key::entry(&root, &folder, &file(b"one", Some(1), 0));
        assert_eq!(one, Key::entry(&root, &root, &file(b"two", Some(1), 0)));
        let others = [
            Key::entry(&root, &root, &file(b"two", Some(2), 0)),
            Key::entry(&root, &root, &file(b"two", Some(1), 1)),
            Key::entry(&other_root, &root, &file(b"two", Some(1), 0)),
            Key::entry(&root, &folder, &file(b"one", None, 0)),
            Key::entry(&root, &root, &file(b"one", None, 0)),
            root,
            other_root,
            other_way,
            folder,
        ];
        for (place, other) in others.iter().enumerate() {
            assert_ne!(*other, one, "{place}");
            assert!(!others[..place].contains(other), "{place}");
            assert_ne!(other.number(0), one.number(0), "{place}");
        }
    }

    #[test]
    fn folders_never_share_a_number() {
        let root = Key::root(&Key::made(b"snapshots"), &Id([1; 32]));
        for (kind, was) in [(NodeType::Directory, None), (NodeType::Unreadable, Some(NodeType::Directory))] {
            let folder = |name: &[u8]| {
                let mut node = Node::new(name, kind);
                (node.link, node.was) = (Some(Id16([1; 16])), was);
                Key::entry(&root, &root, &node)
            };
            assert_ne!(folder(b"one"), folder(b"two"), "{kind:?}");
        }
    }

    #[test]
    fn no_number_is_one_that_means_something_else() {
        let key = |number: u64| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            Key(bytes)
        };
        for number in [0, 1, u64::MAX] {
            let given = key(number).number(0);
            assert!(given > TOP && given != u64::MAX, "{given}");
        }
        assert_eq!(key(77).number(0), 77);
        assert_ne!(key(77).number(1), 77);
    }
}
