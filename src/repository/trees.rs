//! Trees as they lie in the repository: walking the pages of a directory without holding a whole one.

use super::{Error, Repository};
use crate::format::tree::{self, BadNode, NodeList, PageReference, Tree};
use crate::format::{self, limits};
use crate::index::Location;
use crate::model::{Contents, Id, Node, NodeType};
use crate::terminal::escape::escape;

pub(super) fn wrong(id: &Id, error: format::Error) -> Error {
    Error::format(&format!("tree {id}"), error)
}

pub(super) fn malformed(id: &Id, what: &'static str) -> Error {
    wrong(id, format::Error::Malformed(what))
}

pub(super) fn bad_node(id: &Id, bad: BadNode) -> Error {
    let object = match &bad.name {
        Some(name) => format!("entry {} of tree {id}", escape(name)),
        None => format!("an entry of tree {id}"),
    };
    Error::format(&object, bad.error)
}

/// What the page above says of a page.
pub(super) struct Expected {
    level: u64,
    entries: u64,
    last: Vec<u8>,
}

impl Expected {
    pub(super) fn below(level: u64, page: PageReference) -> (Id, Option<Expected>) {
        (page.id, Some(Expected { level: level - 1, entries: page.entries, last: page.last }))
    }

    /// Whether a page is that one. A page that another names is never empty.
    fn fits(&self, tree: &Tree) -> bool {
        self.fits_shape(&Shape::of(tree))
    }

    pub(super) fn fits_shape(&self, shape: &Shape) -> bool {
        self.level == shape.level
            && shape.entries == Some(self.entries)
            && shape.last.as_ref().is_none_or(|last| *last == self.last)
    }
}

/// What a page itself says.
pub(super) struct Shape {
    level: u64,
    /// None when there are more than can be counted.
    entries: Option<u64>,
    /// Of the last entry; one of which not even the name can be read says nothing.
    last: Option<Vec<u8>>,
}

impl Shape {
    pub(super) fn of(tree: &Tree) -> Shape {
        match tree {
            Tree::Nodes(nodes) => {
                Shape { level: 0, entries: Some(nodes.len() as u64), last: nodes.last_name() }
            }
            Tree::Pages(level, pages) => {
                let entries = pages.iter().try_fold(0u64, |sum, page| sum.checked_add(page.entries));
                // A page of pages is never empty.
                let last = pages.last().map(|page| page.last.clone());
                Shape { level: *level, entries, last }
            }
        }
    }
}

/// The nodes of a directory, page by page, in order of their names.
pub struct Nodes<'r> {
    repository: &'r Repository,
    listing: Listing,
}

/// How far a directory was gone through: one page of it, and the names of those to come.
pub struct Listing {
    /// Pages still to come, last first, each with what the page above says of it.
    pages: Vec<(Id, Option<Expected>)>,
    page: Id,
    nodes: NodeList,
    /// Name of the last entry of the pages before.
    last: Vec<u8>,
}

impl Repository {
    /// The nodes of the directory whose first page is `tree`.
    pub fn nodes(&self, tree: Id) -> Nodes<'_> {
        Nodes { repository: self, listing: Listing::new(tree) }
    }

    /// One page.
    pub fn load_tree(&self, id: &Id) -> Result<Tree, Error> {
        let chunk = self.read_page(id)?;
        tree::decode(&chunk).map_err(|error| wrong(id, error))
    }

    /// The same from where it is believed to lie; wherever that leads, only the page itself is given.
    pub fn load_tree_at(&self, id: &Id, place: Option<&Location>) -> Result<Tree, Error> {
        let chunk = self.read_chunk_near(Contents::Trees, id, place)?;
        tree::decode(&chunk).map_err(|error| wrong(id, error))
    }

    /// One page, held to what the page above says of it.
    fn load_page(&self, id: &Id, expected: Option<&Expected>) -> Result<Tree, Error> {
        let tree = self.load_tree(id)?;
        match expected.is_none_or(|expected| expected.fits(&tree)) {
            true => Ok(tree),
            false => Err(malformed(id, "another page than the one above says")),
        }
    }

    /// The node at a path of single names below `root`, or none. The empty path has no node.
    pub fn find_node(&self, root: Id, path: &[&[u8]]) -> Result<Option<Node>, Error> {
        let mut tree = root;
        let mut found = None;
        for (depth, name) in path.iter().enumerate() {
            let Some(node) = self.find_in(tree, name)? else { return Ok(None) };
            match (node.tree, depth + 1 == path.len()) {
                (_, true) => found = Some(node),
                (Some(below), false) if node.kind == NodeType::Directory => tree = below,
                _ => return Ok(None),
            }
        }
        Ok(found)
    }

    /// The entry of that name in a directory, reading only the pages on the way.
    pub fn find_in(&self, tree: Id, name: &[u8]) -> Result<Option<Node>, Error> {
        Ok(self.find_encoded(tree, name)?.map(|(node, _)| node))
    }

    /// The same, with the node as it is encoded.
    pub fn find_encoded(&self, tree: Id, name: &[u8]) -> Result<Option<(Node, Vec<u8>)>, Error> {
        let (mut id, mut expected) = (tree, None);
        for _ in 0..=limits::LEVEL_MAX {
            match self.load_page(&id, expected.as_ref())? {
                Tree::Nodes(nodes) => return find_among(&id, nodes, name),
                Tree::Pages(level, mut pages) => {
                    let place = pages.partition_point(|page| page.last.as_slice() < name);
                    if place == pages.len() {
                        return Ok(None);
                    }
                    (id, expected) = Expected::below(level, pages.swap_remove(place));
                }
            }
        }
        Err(malformed(&tree, "too many levels"))
    }
}

pub(super) fn find_among(
    id: &Id,
    mut nodes: NodeList,
    name: &[u8],
) -> Result<Option<(Node, Vec<u8>)>, Error> {
    let mut nameless = None;
    while let Some(node) = nodes.next() {
        match node {
            Ok(node) if node.name == name => return Ok(Some((node, nodes.encoded().to_vec()))),
            Ok(node) if node.name.as_slice() > name => break,
            Ok(_) => {}
            Err(bad) if bad.name.as_deref() == Some(name) => return Err(bad_node(id, bad)),
            Err(bad) if bad.name.is_none() => nameless = Some(bad),
            Err(_) => {}
        }
    }
    // One whose name can not be read may be the one: unknown is not absent.
    nameless.map_or(Ok(None), |bad| Err(bad_node(id, bad)))
}

impl Nodes<'_> {
    /// The page that was read last: after an error, the one that is hit.
    pub fn page(&self) -> Id {
        self.listing.page
    }

    /// The node that was given last, as it is encoded there.
    pub fn encoded(&self) -> &[u8] {
        self.listing.nodes.encoded()
    }
}

impl Iterator for Nodes<'_> {
    type Item = Result<Node, Error>;

    /// The next node; after an error, the next call goes on behind what it hit: one entry, or the pages below one.
    fn next(&mut self) -> Option<Result<Node, Error>> {
        self.listing.next(self.repository)
    }
}

impl Listing {
    /// The beginning of the directory whose first page is `tree`.
    pub fn new(tree: Id) -> Listing {
        Listing { pages: vec![(tree, None)], page: tree, nodes: NodeList::default(), last: Vec::new() }
    }

    /// The page that was read last: after an error, the one that is hit.
    pub fn page(&self) -> Id {
        self.page
    }

    fn next_page(&mut self, repository: &Repository) -> Result<bool, Error> {
        let Some((id, expected)) = self.pages.pop() else { return Ok(false) };
        self.page = id;
        match repository.load_page(&id, expected.as_ref())? {
            Tree::Nodes(nodes) => self.nodes = nodes,
            Tree::Pages(level, pages) => {
                self.pages.extend(pages.into_iter().rev().map(|page| Expected::below(level, page)));
            }
        }
        Ok(true)
    }

    /// The next node; after an error, the next call goes on behind what it hit: one entry, or the pages below one.
    pub fn next(&mut self, repository: &Repository) -> Option<Result<Node, Error>> {
        loop {
            match self.nodes.next() {
                Some(Ok(node)) if self.last.is_empty() || node.name > self.last => return Some(Ok(node)),
                Some(Ok(_)) => return Some(Err(malformed(&self.page, "pages overlap"))),
                Some(Err(bad)) => return Some(Err(bad_node(&self.page, bad))),
                None => {}
            }
            let last = self.nodes.take_last();
            if !last.is_empty() {
                self.last = last;
            }
            match self.next_page(repository) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
