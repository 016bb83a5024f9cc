//! What differs of an entry that both sides have. Pure.

use crate::crypto::Hasher;
use crate::model::{Content, Contents, Node, NodeType, Segment, SegmentKind, Time, XattrValue};

/// What differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Another type of entry.
    pub kind: bool,
    /// A file's bytes or holes, a symlink's target, a device's numbers.
    pub content: bool,
    pub mode: bool,
    /// User or group, by number or by name.
    pub owner: bool,
    /// The time of the last change. Birth times are not compared.
    pub times: bool,
    /// Attributes, ACLs and capabilities.
    pub xattrs: bool,
    pub flags: bool,
    /// It has other names now, or had.
    pub links: bool,
}

impl Differences {
    /// The names of what differs.
    pub fn words(&self) -> Vec<&'static str> {
        let all = [
            (self.kind, "type"),
            (self.content, "content"),
            (self.mode, "mode"),
            (self.owner, "owner"),
            (self.times, "times"),
            (self.xattrs, "xattrs"),
            (self.flags, "flags"),
            (self.links, "links"),
        ];
        all.into_iter().filter(|(differs, _)| *differs).map(|(_, word)| word).collect()
    }

    /// Whether anything differs.
    pub fn any(&self) -> bool {
        *self != Differences::default()
    }
}

/// What is kept of an entry's metadata, small enough for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    mode: u32,
    uid: u32,
    gid: u32,
    /// Digest of the owners' names; none where they are not known.
    names: Option<u64>,
    mtime: Time,
    /// Digest of all attributes; none where some could not be read.
    xattrs: Option<u64>,
    /// None where they could not be read.
    flags: Option<u32>,
    links: bool,
}

fn short(hasher: &blake3::Hasher) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

fn add(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

impl Facts {
    /// Those of a node. Values of attributes count by the id that a chunk of them has, so it is one whether they are kept apart or not.
    pub fn of(node: &Node, ids: &Hasher) -> Facts {
        let is_known = |part: &str| !node.unread.iter().any(|what| what.starts_with(part));
        let mut xattrs = blake3::Hasher::new();
        for xattr in &node.xattrs {
            add(&mut xattrs, &xattr.name);
            let id = match &xattr.value {
                XattrValue::Inline(value) => ids.id(Contents::Data, value),
                XattrValue::Chunk(id, _) => *id,
            };
            xattrs.update(&id.0);
        }
        let mut names = blake3::Hasher::new();
        add(&mut names, &node.user);
        add(&mut names, &node.group);
        let has_names = !node.user.is_empty() || !node.group.is_empty();
        Facts {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            names: has_names.then(|| short(&names)),
            mtime: node.mtime,
            xattrs: is_known(XATTRS_UNREAD).then(|| short(&xattrs)),
            flags: is_known(FLAGS_UNREAD).then_some(node.flags),
            links: node.link.is_some(),
        }
    }

    /// What differs; what one side does not know differs not.
    pub fn differences(&self, other: &Facts) -> Differences {
        fn both<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        Differences {
            mode: self.mode != other.mode,
            owner: (self.uid, self.gid) != (other.uid, other.gid) || both(self.names, other.names),
            times: self.mtime != other.mtime,
            xattrs: both(self.xattrs, other.xattrs),
            flags: both(self.flags, other.flags),
            links: self.links != other.links,
            ..Differences::default()
        }
    }
}

/// How a node says that attributes, and inode flags, could not be read.
pub const XATTRS_UNREAD: &str = "attribute";
pub const FLAGS_UNREAD: &str = "inode flags";

/// What differs of two entries but for a file's content, which `content` says of two files.
pub fn differences(before: &Node, after: &Node, content: bool, ids: &Hasher) -> Differences {
    let mut found = Facts::of(before, ids).differences(&Facts::of(after, ids));
    found.kind = before.kind != after.kind;
    found.content = !found.kind
        && match before.kind {
            NodeType::File => content,
            NodeType::Symlink => before.target != after.target,
            NodeType::CharacterDevice | NodeType::BlockDevice => before.device != after.device,
            _ => false,
        };
    // A folder has no other names.
    found.links &= !found.kind && before.kind != NodeType::Directory;
    // The mode and the time of a link say nothing that anybody set.
    found.mode &= before.kind != NodeType::Symlink || after.kind != NodeType::Symlink;
    found
}

/// What two files with equal contents have in common; none of an empty one, which is like any other, and none where content was lost.
pub fn content_key(node: &Node) -> Option<[u8; 16]> {
    if node.kind != NodeType::File || node.size == 0 || has_gap(&node.content) {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&node.size.to_le_bytes());
    match &node.content {
        Content::Page(id) => {
            hasher.update(b"p").update(&id.0);
        }
        Content::Inline(segments) => {
            for Segment { kind, length } in segments {
                hasher.update(&length.to_le_bytes());
                match kind {
                    SegmentKind::Data(id) => hasher.update(b"d").update(&id.0),
                    SegmentKind::Hole | SegmentKind::Gap => hasher.update(b"h"),
                };
            }
        }
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Some(key)
}

/// Whether a list that is kept in the node says that content was lost.
pub fn has_gap(content: &Content) -> bool {
    matches!(content, Content::Inline(segments) if segments.iter().any(|segment| segment.kind == SegmentKind::Gap))
}
