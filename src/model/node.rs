//! A node: one stored entry of a directory, with everything needed to make it again.

use super::{Cutter, Id, Id16, Time};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeType {
    File = 1,
    Directory = 2,
    Symlink = 3,
    Fifo = 4,
    Socket = 5,
    CharacterDevice = 6,
    BlockDevice = 7,
    /// There, but could not be read: unknown, never absent.
    Unreadable = 8,
}

impl NodeType {
    /// The type of that number, when there is one.
    pub fn from_number(number: u64) -> Option<NodeType> {
        use NodeType::*;
        [File, Directory, Symlink, Fifo, Socket, CharacterDevice, BlockDevice, Unreadable]
            .into_iter()
            .find(|kind| *kind as u64 == number)
    }

    /// The name used in JSON and listings.
    pub fn name(self) -> &'static str {
        match self {
            NodeType::File => "file",
            NodeType::Directory => "dir",
            NodeType::Symlink => "symlink",
            NodeType::Fifo => "fifo",
            NodeType::Socket => "socket",
            NodeType::CharacterDevice => "chardev",
            NodeType::BlockDevice => "dev",
            NodeType::Unreadable => "unreadable",
        }
    }
}

/// One piece of a file's content, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub kind: SegmentKind,
    /// Plain bytes, above 0.
    pub length: u64,
}

/// What a segment stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// A chunk of kind data.
    Data(Id),
    /// A hole: reads as zeros, takes no space.
    Hole,
    /// Content that was lost and that repair marked as lost.
    Gap,
}

/// A file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The segments themselves.
    Inline(Vec<Segment>),
    /// The root of a tree of content pages.
    Page(Id),
}

impl Default for Content {
    fn default() -> Content {
        Content::Inline(Vec::new())
    }
}

/// Why something could not be read, or that it changed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unread {
    Permission = 1,
    InputOutput = 2,
    Vanished = 3,
    Changed = 4,
    Other = 5,
}

impl Unread {
    /// The reason of that number; unknown ones count as `Other`.
    pub fn from_number(number: u64) -> Unread {
        match number {
            1 => Unread::Permission,
            2 => Unread::InputOutput,
            3 => Unread::Vanished,
            4 => Unread::Changed,
            _ => Unread::Other,
        }
    }

    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Unread::Permission => "permission denied",
            Unread::InputOutput => "input/output error",
            Unread::Vanished => "vanished while it was read",
            Unread::Changed => "changed while it was read",
            Unread::Other => "could not be read",
        }
    }
}

/// The value of an extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XattrValue {
    Inline(Vec<u8>),
    /// Longer than `XATTR_INLINE`: a data chunk and its length.
    Chunk(Id, u64),
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    pub name: Vec<u8>,
    pub value: XattrValue,
}

/// One entry of a directory as it is stored. Fields as in docs/format.md, section 7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: Vec<u8>,
    pub kind: NodeType,
    /// The 12 permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: Vec<u8>,
    pub group: Vec<u8>,
    pub mtime: Time,
    pub btime: Option<Time>,
    /// Bytes, of a file.
    pub size: u64,
    pub content: Content,
    /// Of a directory.
    pub tree: Option<Id>,
    /// Of a symlink.
    pub target: Vec<u8>,
    pub device: (u32, u32),
    /// In order of name.
    pub xattrs: Vec<Xattr>,
    pub flags: u32,
    pub link: Option<Id16>,
    pub cutter: Option<Cutter>,
    pub error: Option<Unread>,
    /// Of an unreadable entry: the encoded node of the parent snapshot.
    pub previous: Vec<u8>,
    pub unread: Vec<String>,
    /// Of an unreadable entry: what it was, as far as was seen.
    pub was: Option<NodeType>,
    /// Unknown fields that are not critical, kept as they came: number and value.
    pub unknown: Vec<(u64, Vec<u8>)>,
}

/// What field 23 of a folder says when a repair found entries of it lost. docs/format.md, section 7.
pub const ENTRIES_LOST: &str = "entries";

impl Node {
    /// Whether a repair marked entries of this folder as lost: some, or all when it is unreadable.
    pub fn has_lost_entries(&self) -> bool {
        self.unread.iter().any(|what| what == ENTRIES_LOST)
    }

    /// The same in words, when there are any.
    pub fn lost_words(&self) -> Option<&'static str> {
        match (self.has_lost_entries(), self.kind) {
            (false, _) => None,
            (true, NodeType::Unreadable) => Some("lost, as a repair marked it"),
            (true, _) => Some("some entries are lost, as a repair marked it"),
        }
    }

    /// A node of that name and type with nothing else set.
    pub fn new(name: &[u8], kind: NodeType) -> Node {
        Node {
            name: name.to_vec(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            mtime: Time::default(),
            btime: None,
            size: 0,
            content: Content::default(),
            tree: None,
            target: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            flags: 0,
            link: None,
            cutter: None,
            error: None,
            previous: Vec::new(),
            unread: Vec::new(),
            was: None,
            unknown: Vec::new(),
        }
    }
}
