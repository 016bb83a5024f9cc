//! Names looked for in folders: the pages that were looked into last stay open, so that asking for each entry of a large folder by name
//! does not read and decode its pages again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::trees::{Expected, Shape, bad_node, find_among, malformed};
use super::{Error, Repository};
use crate::format::limits::LEVEL_MAX;
use crate::format::tree::{NodePage, PageReference, Tree};
use crate::locks::lock;
use crate::model::{Id, Node};

/// What an open page is taken to weigh beside its bytes.
const PAGE_WEIGHT: usize = 256;

enum Names {
    Nodes(NodePage),
    /// A page of pages, and its level.
    Pages(u64, Vec<PageReference>),
}

struct Page {
    shape: Shape,
    names: Names,
    weight: usize,
}

#[derive(Default)]
struct Kept {
    pages: HashMap<Id, (u64, Arc<Page>)>,
    bytes: usize,
    clock: u64,
}

/// Pages of folders that were looked into last.
pub struct Folders {
    most: usize,
    kept: Mutex<Kept>,
}

impl Page {
    fn new(tree: Tree) -> Page {
        let shape = Shape::of(&tree);
        let (names, weight) = match tree {
            Tree::Nodes(nodes) => {
                let page = NodePage::new(nodes);
                let weight = page.weight();
                (Names::Nodes(page), weight)
            }
            Tree::Pages(level, pages) => {
                let weight = pages.iter().map(|page| page.last.len() + size_of::<PageReference>()).sum();
                (Names::Pages(level, pages), weight)
            }
        };
        Page { shape, names, weight: weight + PAGE_WEIGHT }
    }
}

impl Folders {
    /// Keeps pages of at most so many bytes, and at least one.
    pub fn new(most: usize) -> Folders {
        Folders { most, kept: Mutex::default() }
    }

    /// The entry of that name in the folder whose first page is `tree`.
    pub fn find(&self, repository: &Repository, tree: Id, name: &[u8]) -> Result<Option<Node>, Error> {
        let (mut id, mut expected) = (tree, None::<Expected>);
        for _ in 0..=LEVEL_MAX {
            let page = self.page(repository, &id)?;
            if expected.is_some_and(|expected| !expected.fits_shape(&page.shape)) {
                return Err(malformed(&id, "another page than the one above says"));
            }
            match &page.names {
                Names::Nodes(nodes) => {
                    return match nodes.find(name) {
                        Ok(found) => found.transpose().map_err(|bad| bad_node(&id, bad)),
                        Err(nodes) => find_among(&id, nodes, name).map(|found| found.map(|(node, _)| node)),
                    };
                }
                Names::Pages(level, pages) => {
                    let place = pages.partition_point(|page| page.last.as_slice() < name);
                    let Some(below) = pages.get(place) else { return Ok(None) };
                    let (next, says) = Expected::below(*level, below.clone());
                    (id, expected) = (next, says);
                }
            }
        }
        Err(malformed(&tree, "too many levels"))
    }

    fn page(&self, repository: &Repository, id: &Id) -> Result<Arc<Page>, Error> {
        {
            let mut kept = lock(&self.kept);
            kept.clock += 1;
            let clock = kept.clock;
            if let Some((used, page)) = kept.pages.get_mut(id) {
                *used = clock;
                return Ok(page.clone());
            }
        }
        let page = Arc::new(Page::new(repository.load_tree(id)?));
        let mut kept = lock(&self.kept);
        let clock = kept.clock;
        kept.bytes += page.weight;
        if let Some((_, before)) = kept.pages.insert(*id, (clock, page.clone())) {
            kept.bytes -= before.weight;
        }
        if kept.bytes > self.most {
            kept.shrink(self.most / 4 * 3);
        }
        Ok(page)
    }
}

impl Kept {
    /// Lets go what was not asked for the longest time, until so many bytes are left. In one go: there may be very many small pages.
    fn shrink(&mut self, to: usize) {
        let mut by_use: Vec<(u64, Id)> = self.pages.iter().map(|(id, (used, _))| (*used, *id)).collect();
        by_use.sort_unstable();
        by_use.pop();
        for (_, id) in by_use {
            if self.bytes <= to {
                break;
            }
            if let Some((_, page)) = self.pages.remove(&id) {
                self.bytes -= page.weight;
            }
        }
    }
}
