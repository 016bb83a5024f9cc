//! Trees: pages of a directory. docs/format.md, section 7.

use super::record::{Cursor, Reader, Writer, put_varint};
use super::{Error, limits, node};
use crate::model::{Id, Node};

/// One page of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Level 0: nodes in order of their names.
    Nodes(NodeList),
    /// A level above: pages below.
    Pages(u64, Vec<PageReference>),
}

/// The nodes of a page, decoded one by one: one that can not be read costs itself alone, and only one at a time takes memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeList {
    bytes: Vec<u8>,
    place: usize,
    /// Where the one that was given last begins, behind its length.
    given: usize,
    /// Name of the last one that was given.
    last: Vec<u8>,
    count: usize,
    /// Where the last one begins.
    end: usize,
}

/// A node that can not be read.
#[derive(Debug, PartialEq, Eq)]
pub struct BadNode {
    /// Its name, when that much can be read.
    pub name: Option<Vec<u8>>,
    pub error: Error,
}

impl NodeList {
    /// Looks at the lengths of a list, and counts its nodes before any memory is taken.
    fn new(bytes: &[u8]) -> Result<NodeList, Error> {
        let (mut cursor, mut count, mut end) = (Cursor(bytes), 0, 0);
        while !cursor.is_empty() {
            end = bytes.len() - cursor.0.len();
            cursor.prefixed()?;
            count += 1;
            if count > limits::PAGE_MAX {
                return Err(Error::Malformed("too many entries in a page"));
            }
        }
        Ok(NodeList { bytes: bytes.to_vec(), place: 0, given: 0, last: Vec::new(), count, end })
    }

    /// How many nodes the page holds, those that were given and those that can not be read included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the page holds none at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The name of the page's last node, when that much can be read.
    pub fn last_name(&self) -> Option<Vec<u8>> {
        Cursor(&self.bytes[self.end..]).prefixed().ok().and_then(node::name_of)
    }

    /// The node that was given last, as it is encoded here.
    pub fn encoded(&self) -> &[u8] {
        &self.bytes[self.given..self.place]
    }

    /// Name of the last node that was given, taken out; empty when there is none.
    pub fn take_last(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.last)
    }

    fn decode_next(&mut self) -> Result<Node, Error> {
        let rest = &self.bytes[self.place..];
        let mut cursor = Cursor(rest);
        let bytes = cursor.prefixed()?;
        self.place += rest.len() - cursor.0.len();
        self.given = self.place - bytes.len();
        let node = node::decode(bytes)?;
        if !self.last.is_empty() && node.name <= self.last {
            return Err(Error::Malformed("names are not in order, or double"));
        }
        self.last.clone_from(&node.name);
        Ok(node)
    }
}

impl Iterator for NodeList {
    type Item = Result<Node, BadNode>;

    fn next(&mut self) -> Option<Result<Node, BadNode>> {
        if self.place >= self.bytes.len() {
            return None;
        }
        let start = self.place;
        Some(self.decode_next().map_err(|error| {
            if self.place == start {
                self.place = self.bytes.len();
            }
            let name = Cursor(&self.bytes[start..]).prefixed().ok().and_then(node::name_of);
            BadNode { name, error }
        }))
    }
}

/// A page of nodes in which names are looked for: where each node begins is known, so that none but the wanted one is decoded.
#[derive(Clone, Debug)]
pub struct NodePage {
    list: NodeList,
    /// Where each node begins, its length before it; none of a page whose names are not all readable and in order.
    starts: Option<Vec<u32>>,
}

impl NodePage {
    /// Looks at the names of a page of which nothing was taken yet.
    pub fn new(list: NodeList) -> NodePage {
        let mut starts = Vec::with_capacity(list.count);
        let mut cursor = Cursor(&list.bytes);
        let mut last: &[u8] = &[];
        while !cursor.is_empty() {
            let start = list.bytes.len() - cursor.0.len();
            let name = cursor.prefixed().ok().and_then(node::name_in).filter(|name| *name > last);
            let (Some(name), Ok(start)) = (name, u32::try_from(start)) else {
                return NodePage { list, starts: None };
            };
            last = name;
            starts.push(start);
        }
        NodePage { starts: Some(starts), list }
    }

    /// Bytes that it takes.
    pub fn weight(&self) -> usize {
        self.list.bytes.len() + self.starts.as_ref().map_or(0, |starts| starts.len() * size_of::<u32>())
    }

    /// The node of that name; none when the page has none. Where names are not in order, all nodes are to be looked at.
    pub fn find(&self, name: &[u8]) -> Result<Option<Result<Node, BadNode>>, NodeList> {
        let Some(starts) = &self.starts else { return Err(self.list.clone()) };
        let at = |start: &u32| Cursor(&self.list.bytes[*start as usize..]).prefixed().unwrap_or_default();
        let found = starts.binary_search_by(|start| node::name_in(at(start)).unwrap_or_default().cmp(name));
        let Ok(place) = found else { return Ok(None) };
        let bad = |error| BadNode { name: Some(name.to_vec()), error };
        Ok(Some(node::decode(at(&starts[place])).map_err(bad)))
    }
}

/// A page as the level above names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageReference {
    pub id: Id,
    /// Entries below it.
    pub entries: u64,
    /// Name of the last entry below it.
    pub last: Vec<u8>,
}

/// Encodes a page of encoded nodes, which must be in order.
pub fn encode_nodes<B: AsRef<[u8]>>(nodes: impl IntoIterator<Item = B>) -> Vec<u8> {
    let mut list = Vec::new();
    for bytes in nodes {
        put_varint(&mut list, bytes.as_ref().len() as u64);
        list.extend_from_slice(bytes.as_ref());
    }
    let mut writer = Writer::default();
    // The level is always written: an empty directory is a record too, and no chunk is empty.
    writer.field(1, true, &[0]).bytes(2, true, &list);
    writer.finish()
}

/// Encodes a page of pages.
pub fn encode_pages(level: u64, pages: &[PageReference]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.int(1, true, level).list(
        2,
        true,
        pages.iter().map(|page| {
            let mut writer = Writer::default();
            writer.id(1, true, Some(&page.id)).int(2, true, page.entries).bytes(3, true, &page.last);
            writer.finish()
        }),
    );
    writer.finish()
}

fn decode_reference(bytes: &[u8]) -> Result<PageReference, Error> {
    let (mut id, mut page) = (None, PageReference { id: Id::default(), entries: 0, last: Vec::new() });
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => id = Some(field.id()?),
            2 => page.entries = field.int()?,
            3 => page.last = field.value.to_vec(),
            _ => field.unknown()?,
        }
    }
    page.id = id.ok_or(Error::Malformed("a page reference lacks its id"))?;
    if page.entries == 0 { Err(Error::Malformed("a page reference without entries")) } else { Ok(page) }
}

/// Reads a page. Names must ascend: a node that does not is given as one that can not be read.
pub fn decode(bytes: &[u8]) -> Result<Tree, Error> {
    let mut level = None;
    let mut list: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => level = Some(field.int()?),
            2 => list = field.value,
            11..=13 => return Err(Error::Foreign("a file's page in the place of a folder's")),
            _ => field.unknown()?,
        }
    }
    let level = level.ok_or(Error::Malformed("a tree without its level"))?;
    if level > limits::LEVEL_MAX {
        return Err(Error::Malformed("a tree has too many levels"));
    }
    let mut cursor = Cursor(list);
    if level > 0 {
        let mut pages: Vec<PageReference> = Vec::new();
        while !cursor.is_empty() {
            let page = decode_reference(cursor.prefixed()?)?;
            if pages.last().is_some_and(|before| before.last >= page.last) || pages.len() >= limits::PAGE_MAX
            {
                return Err(Error::Malformed("pages are not in order"));
            }
            pages.push(page);
        }
        if pages.is_empty() {
            return Err(Error::Malformed("an empty page of pages"));
        }
        return Ok(Tree::Pages(level, pages));
    }
    NodeList::new(list).map(Tree::Nodes)
}

/// Whether a page of that level with `entries` entries may end after the one of that name. Each level looks at other bits, or pages of
/// pages would never end by content.
pub fn page_ends_after(name: &[u8], entries: usize, level: usize) -> bool {
    if entries < limits::PAGE_MIN {
        return false;
    }
    if entries >= limits::PAGE_MAX {
        return true;
    }
    let hash = blake3::hash(name);
    let words = hash.as_bytes().as_chunks::<4>().0;
    u32::from_le_bytes(words[level % 8]).is_multiple_of(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeType;

    fn page(nodes: &[Vec<u8>]) -> NodePage {
        let Ok(Tree::Nodes(list)) = decode(&encode_nodes(nodes)) else { panic!("it is a page of nodes") };
        NodePage::new(list)
    }

    fn file(name: &str) -> Vec<u8> {
        let mut node = Node::new(name.as_bytes(), NodeType::File);
        node.mode = 0o600 + name.len() as u32;
        node::encode(&node)
    }

    #[test]
    fn each_name_of_a_page_is_found_and_no_other() {
        let names = ["a", "aa", "b", "ba", "z"];
        let page = page(&names.map(file));
        for name in names {
            let found = page.find(name.as_bytes()).unwrap().unwrap().unwrap();
            assert_eq!((found.name.as_slice(), found.mode), (name.as_bytes(), 0o600 + name.len() as u32));
        }
        for name in ["", "A", "ab", "aaa", "c", "zz"] {
            assert!(page.find(name.as_bytes()).unwrap().is_none(), "{name}");
        }
        assert!(self::page(&[]).find(b"a").unwrap().is_none());
    }

    #[test]
    fn a_node_that_can_not_be_read_is_an_error_for_who_asks_for_it_alone() {
        let mut bad = Node::new(b"b", NodeType::File);
        bad.mode = 0o10_000;
        let page = page(&[file("a"), node::encode(&bad), file("c")]);
        assert_eq!(page.find(b"b").unwrap().unwrap().unwrap_err().name.as_deref(), Some(&b"b"[..]));
        assert_eq!(page.find(b"c").unwrap().unwrap().unwrap().name, b"c");
    }

    #[test]
    fn where_names_are_not_in_order_or_not_there_all_nodes_are_to_be_looked_at() {
        for odd in [file("a"), file("b"), b"\xff".to_vec(), Vec::new()] {
            let page = page(&[file("b"), odd, file("c")]);
            let list = page.find(b"c").unwrap_err();
            assert_eq!(list.len(), 3);
            assert_eq!(list.filter_map(Result::ok).map(|node| node.name).last().unwrap(), b"c");
        }
    }
}
