//! What is lost of snapshots: every folder, file and list of contents is looked at once, however many snapshots share it. What is needed
//! and lies in no readable place is lost; only what was looked for twice is said to be.

use std::collections::{HashMap, HashSet};

use super::Run;
use crate::backend::Kind;
use crate::format::limits::DEPTH_MAX;
use crate::format::node;
use crate::model::{Contents, Id, Node, NodeType, Segment, SegmentKind, XattrValue};
use crate::repository::contents::{Page, Visitor};
use crate::repository::parity::Recovered;
use crate::repository::trees::Nodes;
use crate::repository::{Error, list_names};

/// What is known to be lost, and what is known to be whole.
pub(super) struct Loss<'r> {
    run: &'r Run<'r>,
    /// Packs that are not in storage as they should be, or that a damage record names: copies in them are read before they count.
    bad: HashSet<Id>,
    /// Chunks, with the length at which they are needed, that no place gives.
    lost: HashSet<(Contents, Id, u64)>,
    /// Pages of folders that can not be read, or of which an entry can not.
    lost_trees: HashSet<Id>,
    /// Whether something is lost in a folder or below it.
    trees: HashMap<Id, bool>,
    /// Whether something is lost in a page of a list of contents or below it.
    pages: HashMap<Page, bool>,
    /// Pages of lists of contents that can not be read, or say what they must not.
    lost_pages: HashSet<Page>,
    /// Of damaged packs, whether their recovery data brings them back.
    mendable: HashMap<Id, bool>,
    /// Something that only a later version can read was met in the snapshot that is looked at.
    is_later: bool,
}

/// A folder that is being looked at.
struct Open<'r> {
    tree: Id,
    nodes: Nodes<'r>,
    /// Number of the folder that needs this one, in the stack.
    needed_by: Option<usize>,
    is_hit: bool,
    /// Something could not be read, and it is gone over a second time.
    again: bool,
}

/// Who goes through a file's contents.
struct Contained<'a, 'r> {
    loss: &'a mut Loss<'r>,
    is_hit: bool,
    /// The pages that are open, and whether something was hit when each was entered.
    entered: Vec<(Page, bool)>,
}

impl Visitor for Contained<'_, '_> {
    fn segment(&mut self, segment: Segment) -> Result<(), Error> {
        if let SegmentKind::Data(id) = segment.kind {
            self.is_hit |= self.loss.find(Contents::Data, &id, segment.length)?;
        }
        Ok(())
    }

    fn enter(&mut self, page: &Page) -> bool {
        if self.loss.lost_pages.contains(page) {
            self.is_hit = true;
            return false;
        }
        if let Some(is_hit) = self.loss.pages.get(page) {
            self.is_hit |= *is_hit;
            return false;
        }
        self.entered.push((*page, std::mem::take(&mut self.is_hit)));
        true
    }

    fn leave(&mut self, page: &Page) {
        self.loss.pages.insert(*page, self.is_hit);
        self.is_hit |= self.entered.pop().is_some_and(|(_, before)| before);
    }
}

impl<'r> Loss<'r> {
    /// Nothing looked at yet. The index must just have been synchronised.
    pub(super) fn new(run: &'r Run<'r>) -> Result<Loss<'r>, Error> {
        let repository = run.repository;
        let stored: HashMap<Id, u64> = repository.stored_packs()?.into_iter().collect();
        let mut bad = repository.known_damaged();
        repository.index.packs(&mut |pack| {
            if stored.get(&pack.name) != Some(&pack.length) {
                bad.insert(pack.name);
            }
        })?;
        // Damage that can not be read may name any pack.
        let records = list_names(&*repository.backend, Kind::Damage)?;
        if let Some(error) = records.iter().find_map(|name| repository.damage(name).err()) {
            return Err(error);
        }
        Ok(Loss {
            run,
            bad,
            lost: HashSet::new(),
            lost_trees: HashSet::new(),
            trees: HashMap::new(),
            pages: HashMap::new(),
            lost_pages: HashSet::new(),
            mendable: HashMap::new(),
            is_later: false,
        })
    }

    /// Whether that chunk was found to be lost.
    pub(super) fn is_lost(&self, contents: Contents, id: &Id, length: u64) -> bool {
        self.lost.contains(&(contents, *id, length))
    }

    /// Whether that page of a list of contents was found to be lost.
    pub(super) fn is_page_lost(&self, page: &Page) -> bool {
        self.lost_pages.contains(page)
    }

    /// Whether that page of a folder was found to be lost, or to have an entry that is.
    pub(super) fn is_tree_lost(&self, page: &Id) -> bool {
        self.lost_trees.contains(page)
    }

    /// Whether something in that folder or below it was found to be lost.
    pub(super) fn is_tree_hit(&self, tree: &Id) -> bool {
        self.trees.get(tree).copied().unwrap_or_default()
    }

    /// Looks for a chunk of that length; whether it is lost.
    fn find(&mut self, contents: Contents, id: &Id, length: u64) -> Result<bool, Error> {
        if self.lost.contains(&(contents, *id, length)) {
            return Ok(true);
        }
        let repository = self.run.repository;
        let mut places = repository.index.lookup_for_reading(contents, id)?;
        places.retain(|place| u64::from(place.length) == length);
        if places.iter().any(|place| !self.bad.contains(&place.pack.name)) {
            return Ok(false);
        }
        for _ in 0..2 {
            self.run.check_stop()?;
            if places.iter().any(|place| repository.chunk_at_opens(contents, id, place)) {
                return Ok(false);
            }
        }
        for place in &places {
            // Nothing is lost with it, and `parity repair` puts it back.
            if self.is_mendable(&place.pack.name)? {
                return Ok(false);
            }
        }
        // The storage must still answer, or all would seem lost.
        if !repository.backend.exists_repository()? {
            return Err(Error::Gone { location: repository.location() });
        }
        self.lost.insert((contents, *id, length));
        Ok(true)
    }

    fn is_mendable(&mut self, pack: &Id) -> Result<bool, Error> {
        if let Some(known) = self.mendable.get(pack) {
            return Ok(*known);
        }
        let is_mendable = matches!(self.run.repository.recover(pack)?, Recovered::Mended(_));
        self.mendable.insert(*pack, is_mendable);
        Ok(is_mendable)
    }

    /// Whether some of these segments are lost.
    pub(super) fn find_segments(&mut self, segments: &[Segment]) -> Result<bool, Error> {
        let mut is_hit = false;
        for segment in segments {
            if let SegmentKind::Data(id) = segment.kind {
                is_hit |= self.find(Contents::Data, &id, segment.length)?;
            }
        }
        Ok(is_hit)
    }

    /// Whether something of a node's own is lost: its content or an attribute.
    fn find_node(&mut self, node: &Node) -> Result<bool, Error> {
        let is_content_hit = node.kind != NodeType::Directory && self.find_content(node)?;
        let mut is_hit = is_content_hit;
        for xattr in &node.xattrs {
            if let XattrValue::Chunk(id, length) = &xattr.value {
                is_hit |= self.find(Contents::Data, id, *length)?;
            }
        }
        Ok(is_hit)
    }

    fn find_content(&mut self, node: &Node) -> Result<bool, Error> {
        let mut failed = None;
        loop {
            self.run.check_stop()?;
            let run = self.run;
            let mut contained = Contained { loss: &mut *self, is_hit: false, entered: Vec::new() };
            let result = run.repository.visit(&node.content, node.size, &mut contained);
            // The innermost one that is open is the one that went wrong.
            let (found, page) = (contained.is_hit, contained.entered.pop().map(|(page, _)| page));
            match (result, page) {
                (Ok(()), _) => return Ok(found),
                (Err(error), _) if error.is_of_later_version() => {
                    self.is_later = true;
                    return Ok(found);
                }
                (Err(error), Some(page)) if error.is_damage() => {
                    if failed == Some(page) {
                        self.make_sure(&page.id, error)?;
                        self.lost_pages.insert(page);
                    }
                    failed = Some(page);
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Looks once more for a page that could not be read twice. Errors: what was said of it, when it is there: the storage slips.
    fn make_sure(&self, page: &Id, error: Error) -> Result<(), Error> {
        let was_not_had = match &error {
            Error::Lost { .. } => true,
            Error::Damaged { object, .. } => object.starts_with(Kind::Packs.folder()),
            _ => false,
        };
        match self.run.repository.read_chunk(Contents::Trees, page) {
            Ok(_) if was_not_had => Err(error),
            Err(error) if !error.is_damage() => Err(error),
            _ => Ok(()),
        }
    }

    fn open(&self, tree: Id, needed_by: Option<usize>) -> Open<'r> {
        Open { tree, nodes: self.run.repository.nodes(tree), needed_by, is_hit: false, again: false }
    }

    /// Looks at everything below a root; whether something of it is lost.
    ///
    /// Errors: `Unsupported` when something in it is of a later version.
    pub(super) fn walk(&mut self, root: Id) -> Result<bool, Error> {
        self.is_later = false;
        if let Some(is_hit) = self.trees.get(&root) {
            return Ok(*is_hit);
        }
        let mut stack = vec![self.open(root, None)];
        while let Some(place) = stack.len().checked_sub(1) {
            self.run.check_stop()?;
            let last = &mut stack[place];
            match last.nodes.next() {
                Some(Ok(node)) => self.entry(node, place, &mut stack)?,
                Some(Err(error)) if error.is_of_later_version() => self.is_later = true,
                Some(Err(error)) if error.is_damage() && !last.again => {
                    last.nodes = self.run.repository.nodes(last.tree);
                    (last.again, last.is_hit) = (true, false);
                }
                Some(Err(error)) if error.is_damage() => {
                    let page = last.nodes.page();
                    self.make_sure(&page, error)?;
                    self.lost_trees.insert(page);
                    last.is_hit = true;
                }
                Some(Err(error)) => return Err(error),
                None => {
                    let Some(Open { tree, is_hit, needed_by, .. }) = stack.pop() else { break };
                    self.trees.insert(tree, is_hit);
                    if let Some(above) = needed_by.and_then(|place| stack.get_mut(place)) {
                        above.is_hit |= is_hit;
                    }
                }
            }
            if self.is_later {
                // Nothing of what is open is known wholly, so none of it is remembered.
                return Err(Error::Unsupported {
                    object: format!("tree {root}"),
                    what: "something in it is of a later version of copal".to_owned(),
                });
            }
        }
        Ok(self.is_tree_hit(&root))
    }

    /// Looks at one entry; the folders that it needs go on the stack.
    fn entry(&mut self, mut node: Node, place: usize, stack: &mut Vec<Open<'r>>) -> Result<(), Error> {
        loop {
            let mut is_hit = self.find_node(&node)?;
            if let (NodeType::Directory, Some(tree)) = (node.kind, node.tree) {
                match self.trees.get(&tree) {
                    Some(known) => is_hit |= known,
                    None if stack.len() <= DEPTH_MAX => stack.push(self.open(tree, Some(place))),
                    None => {}
                }
            }
            if let Some(open) = stack.get_mut(place) {
                open.is_hit |= is_hit;
            }
            if node.previous.is_empty() {
                return Ok(());
            }
            // Each holds the next, so this ends.
            match node::decode(&node.previous) {
                Ok(previous) => node = previous,
                Err(error) if error.is_unsupported() => {
                    self.is_later = true;
                    return Ok(());
                }
                Err(_) => {
                    if let Some(open) = stack.get_mut(place) {
                        open.is_hit = true;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Whether something that a node of before needs is lost: its own, or what is below it.
    pub(super) fn is_previous_hit(&mut self, encoded: &[u8]) -> Result<bool, Error> {
        let mut encoded = encoded.to_vec();
        while !encoded.is_empty() {
            let Ok(node) = node::decode(&encoded) else { return Ok(true) };
            let is_tree_hit =
                node.kind == NodeType::Directory && node.tree.is_some_and(|tree| self.is_tree_hit(&tree));
            if is_tree_hit || self.find_node(&node)? {
                return Ok(true);
            }
            encoded = node.previous;
        }
        Ok(false)
    }
}
