//! Trees and content lists as they lie in the repository: walking pages without holding a whole directory.

use super::{Error, Repository};
use crate::format::content::{self, ContentPage};
use crate::format::tree::{self, PageReference, Tree};
use crate::format::{self, limits};
use crate::model::{Content, Contents, Id, Node, NodeType, Segment};

fn wrong(id: &Id, error: format::Error) -> Error {
    Error::format(&format!("tree {id}"), error)
}

fn malformed(id: &Id, what: &'static str) -> Error {
    wrong(id, format::Error::Malformed(what))
}

/// What the page above says of a page.
struct Expected {
    level: u64,
    entries: u64,
    last: Vec<u8>,
}

impl Expected {
    /// Whether a page is that one. A page that another names is never empty.
    fn fits(&self, tree: &Tree) -> bool {
        match tree {
            Tree::Nodes(nodes) => {
                self.level == 0
                    && nodes.len() as u64 == self.entries
                    && nodes.last().is_some_and(|node| node.name == self.last)
            }
            Tree::Pages(level, pages) => {
                let entries = pages.iter().try_fold(0u64, |sum, page| sum.checked_add(page.entries));
                self.level == *level
                    && entries == Some(self.entries)
                    && pages.last().is_some_and(|page| page.last == self.last)
            }
        }
    }
}

/// The nodes of a directory, page by page, in order of their names.
pub struct Nodes<'r> {
    repository: &'r Repository,
    /// Pages still to come, last first, each with what the page above says of it.
    pages: Vec<(Id, Option<Expected>)>,
    nodes: std::vec::IntoIter<Node>,
    last: Vec<u8>,
}

impl Repository {
    /// The nodes of the directory whose first page is `tree`.
    pub fn nodes(&self, tree: Id) -> Nodes<'_> {
        Nodes { repository: self, pages: vec![(tree, None)], nodes: Vec::new().into_iter(), last: Vec::new() }
    }

    /// One page.
    pub fn load_tree(&self, id: &Id) -> Result<Tree, Error> {
        let chunk = self.read_chunk(Contents::Trees, id)?;
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
        let (mut id, mut expected) = (tree, None);
        for _ in 0..=limits::LEVEL_MAX {
            match self.load_page(&id, expected.as_ref())? {
                Tree::Nodes(mut nodes) => {
                    let place = nodes.binary_search_by(|node| node.name.as_slice().cmp(name));
                    return Ok(place.ok().map(|place| nodes.swap_remove(place)));
                }
                Tree::Pages(level, mut pages) => {
                    let place = pages.partition_point(|page| page.last.as_slice() < name);
                    if place == pages.len() {
                        return Ok(None);
                    }
                    let page = pages.swap_remove(place);
                    id = page.id;
                    expected = Some(Expected { level: level - 1, entries: page.entries, last: page.last });
                }
            }
        }
        Err(malformed(&tree, "too many levels"))
    }

    /// Gives a file's segments to `each`, in order, page by page. Checks that they add up to `size`.
    pub fn segments(
        &self,
        content: &Content,
        size: u64,
        each: &mut dyn FnMut(Segment) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match content {
            Content::Inline(segments) => segments.iter().try_for_each(|segment| each(*segment)),
            Content::Page(id) => self.content_page(id, size, None, each),
        }
    }

    /// Whether a content page and all below it are stored, by the word of `stored`.
    pub fn content_pages_stored(
        &self,
        id: &Id,
        stored: &dyn Fn(&Id) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        if !stored(id)? {
            return Ok(false);
        }
        let page =
            content::decode_page(&self.read_chunk(Contents::Trees, id)?).map_err(|error| wrong(id, error))?;
        let ContentPage::Pages(level, pages) = page else { return Ok(true) };
        for (below, _) in pages {
            // Level 1 names pages of segments: no need to open those again.
            let all = if level == 1 { stored(&below)? } else { self.content_pages_stored(&below, stored)? };
            if !all {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn content_page(
        &self,
        id: &Id,
        covers: u64,
        level: Option<u64>,
        each: &mut dyn FnMut(Segment) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let page =
            content::decode_page(&self.read_chunk(Contents::Trees, id)?).map_err(|error| wrong(id, error))?;
        let mut total = 0u64;
        let mut add = |length: u64| {
            total = total
                .checked_add(length)
                .filter(|total| *total <= covers)
                .ok_or_else(|| malformed(id, "covers more than it should"))?;
            Ok::<(), Error>(())
        };
        match page {
            ContentPage::Segments(segments) if level.is_none_or(|level| level == 0) => {
                for segment in segments {
                    add(segment.length)?;
                    each(segment)?;
                }
            }
            ContentPage::Pages(own, pages) if level.is_none_or(|level| level == own) => {
                for (below, length) in pages {
                    add(length)?;
                    self.content_page(&below, length, Some(own - 1), each)?;
                }
            }
            _ => return Err(malformed(id, "a page of another level")),
        }
        if total == covers { Ok(()) } else { Err(malformed(id, "covers less than it should")) }
    }
}

impl Nodes<'_> {
    fn next_page(&mut self) -> Result<bool, Error> {
        let Some((id, expected)) = self.pages.pop() else { return Ok(false) };
        match self.repository.load_page(&id, expected.as_ref())? {
            Tree::Nodes(nodes) => {
                if nodes.first().is_some_and(|node| !self.last.is_empty() && node.name <= self.last) {
                    return Err(malformed(&id, "pages overlap"));
                }
                if let Some(node) = nodes.last() {
                    self.last.clone_from(&node.name);
                }
                self.nodes = nodes.into_iter();
            }
            Tree::Pages(level, pages) => {
                let expected = |page: PageReference| {
                    (page.id, Some(Expected { level: level - 1, entries: page.entries, last: page.last }))
                };
                self.pages.extend(pages.into_iter().rev().map(expected));
            }
        }
        Ok(true)
    }
}

impl Iterator for Nodes<'_> {
    type Item = Result<Node, Error>;

    /// The next node; an error ends the pages below it, and the next call goes on behind them.
    fn next(&mut self) -> Option<Result<Node, Error>> {
        loop {
            if let Some(node) = self.nodes.next() {
                return Some(Ok(node));
            }
            match self.next_page() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
