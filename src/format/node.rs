//! Nodes as bytes. docs/format.md, section 7.

use super::config::{decode_cutter, encode_cutter};
use super::content::{check_runs, decode_segments, encode_segments};
use super::record::{Reader, Writer, element_text};
use super::{Error, limits};
use crate::model::{Content, Node, NodeType, Unread, Xattr, XattrValue};

fn encode_xattr(xattr: &Xattr) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.field(1, true, &xattr.name);
    match &xattr.value {
        XattrValue::Inline(value) => writer.bytes(2, true, value),
        XattrValue::Chunk(id, length) => writer.id(3, true, Some(id)).int(4, true, *length),
    };
    writer.finish()
}

fn decode_xattr(bytes: &[u8]) -> Result<Xattr, Error> {
    let (mut name, mut value, mut chunk, mut length) = (Vec::new(), Vec::new(), None, 0);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => name = field.value.to_vec(),
            2 => value = field.value.to_vec(),
            3 => chunk = Some(field.id()?),
            4 => length = field.int()?,
            _ => field.unknown()?,
        }
    }
    if name.is_empty() || name.contains(&0) || name.len() > limits::XATTR_NAME_MAX {
        return Err(Error::Malformed("an attribute's name makes no sense"));
    }
    let value = match chunk {
        Some(id) if length <= limits::CHUNK_MAX as u64 => XattrValue::Chunk(id, length),
        Some(_) => return Err(Error::Malformed("an attribute is too long")),
        None => XattrValue::Inline(value),
    };
    Ok(Xattr { name, value })
}

/// Encodes a node; equal nodes give equal bytes.
pub fn encode(node: &Node) -> Vec<u8> {
    let mut writer = Writer::default();
    writer
        .bytes(1, true, &node.name)
        .int(2, true, node.kind as u64)
        .int(3, true, u64::from(node.mode))
        .int(4, true, u64::from(node.uid))
        .int(5, true, u64::from(node.gid))
        .bytes(6, false, &node.user)
        .bytes(7, false, &node.group)
        .time(8, true, Some(node.mtime))
        .time(9, false, node.btime)
        .int(10, true, node.size);
    match &node.content {
        Content::Inline(segments) if segments.is_empty() => {}
        Content::Inline(segments) => {
            writer.field(11, true, &encode_segments(segments));
        }
        Content::Page(id) => {
            writer.id(12, true, Some(id));
        }
    }
    writer
        .id(13, true, node.tree.as_ref())
        .bytes(14, true, &node.target)
        .int(15, true, u64::from(node.device.0))
        .int(16, true, u64::from(node.device.1))
        .list(17, true, node.xattrs.iter().map(encode_xattr))
        .int(18, true, u64::from(node.flags));
    if let Some(link) = &node.link {
        writer.field(19, true, &link.0);
    }
    if let Some(cutter) = &node.cutter {
        writer.field(20, false, &encode_cutter(cutter));
    }
    writer
        .int(21, true, node.error.map_or(0, |error| error as u64))
        .bytes(22, false, &node.previous)
        .list(23, false, &node.unread)
        .int(24, false, node.was.map_or(0, |kind| kind as u64));
    for (number, value) in &node.unknown {
        writer.field(*number, false, value);
    }
    writer.finish()
}

/// Whether bytes are a name that may stand in a directory.
pub fn is_sound_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= limits::NAME_MAX
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

/// The name in an encoded node of which more can perhaps not be read.
pub fn name_of(bytes: &[u8]) -> Option<Vec<u8>> {
    name_in(bytes).map(<[u8]>::to_vec)
}

/// The same, where it stands.
pub fn name_in(bytes: &[u8]) -> Option<&[u8]> {
    let field = Reader::new(bytes).next().ok()??;
    (field.number == 1 && field.value.len() <= limits::NAME_MAX).then_some(field.value)
}

/// Reads a node and holds it to the limits.
pub fn decode(bytes: &[u8]) -> Result<Node, Error> {
    if bytes.len() > limits::NODE_MAX {
        return Err(Error::Malformed("a node is too long"));
    }
    let mut node = Node::new(b"", NodeType::File);
    let (mut kind, mut error) = (0, 0);
    let mut inline = false;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => node.name = field.value.to_vec(),
            2 => kind = field.int()?,
            3 => node.mode = field.int32()?,
            4 => node.uid = field.int32()?,
            5 => node.gid = field.int32()?,
            6 => node.user = field.value.to_vec(),
            7 => node.group = field.value.to_vec(),
            8 => node.mtime = field.time()?,
            9 => node.btime = Some(field.time()?),
            10 => node.size = field.int()?,
            11 => {
                inline = true;
                node.content = Content::Inline(decode_segments(field.value, limits::SEGMENTS_INLINE)?);
            }
            12 if inline => return Err(Error::Malformed("both segments and a content page")),
            12 => node.content = Content::Page(field.id()?),
            13 => node.tree = Some(field.id()?),
            14 => node.target = field.value.to_vec(),
            15 => node.device.0 = field.int32()?,
            16 => node.device.1 = field.int32()?,
            17 => node.xattrs = field.list(limits::LIST_MAX, decode_xattr)?,
            18 => node.flags = field.int32()?,
            19 => node.link = Some(field.id16()?),
            20 => node.cutter = decode_cutter(field.value).ok(),
            21 => error = field.int()?,
            22 => node.previous = field.value.to_vec(),
            23 => node.unread = field.list(limits::LIST_MAX, element_text)?,
            24 => node.was = NodeType::from_number(field.int()?),
            _ => {
                field.unknown()?;
                node.unknown.push((field.number, field.value.to_vec()));
            }
        }
    }
    node.kind = NodeType::from_number(kind).ok_or_else(|| Error::Unsupported(format!("node type {kind}")))?;
    node.error = (error != 0).then(|| Unread::from_number(error));
    check(&node)?;
    Ok(node)
}

fn check(node: &Node) -> Result<(), Error> {
    if !is_sound_name(&node.name) {
        return Err(Error::Malformed("a name that is no single component"));
    }
    if node.mode > 0o7777 {
        return Err(Error::Malformed("permission bits out of range"));
    }
    if node.size > i64::MAX as u64 {
        return Err(Error::Malformed("a file's size is out of range"));
    }
    if node.target.len() > limits::SYMLINK_MAX || node.target.contains(&0) {
        return Err(Error::Malformed("a symlink's target makes no sense"));
    }
    if node.xattrs.windows(2).any(|pair| pair[0].name >= pair[1].name) {
        return Err(Error::Malformed("attributes out of order, or double"));
    }
    if node.kind == NodeType::Directory && node.tree.is_none() {
        return Err(Error::Malformed("a directory without a tree"));
    }
    if matches!(node.content, Content::Page(_)) && node.size == 0 {
        return Err(Error::Malformed("a content page of an empty file"));
    }
    if let Content::Inline(segments) = &node.content {
        let total = segments.iter().try_fold(0u64, |total, segment| total.checked_add(segment.length));
        if node.kind == NodeType::File && total != Some(node.size) {
            return Err(Error::Malformed("a file's segments do not add up to its size"));
        }
        check_runs(segments)?;
    }
    Ok(())
}
