//! Whether something that was stored before is there in all its parts, so that it can be taken over without being read.

use std::collections::HashSet;

use super::Store;
use crate::format::tree::Tree;
use crate::model::{Content, Contents, Id, Node, Segment, SegmentKind, XattrValue};
use crate::repository::Error;

/// Pages that are remembered while a tree is gone through: some 20 MB.
const SEEN_MOST: usize = 300_000;

impl Store<'_> {
    /// Whether everything that a node itself refers to is stored: its contents and attributes; what lies below a folder is not looked at.
    pub fn holds(&self, node: &Node) -> Result<bool, Error> {
        for xattr in &node.xattrs {
            if let XattrValue::Chunk(id, _) = &xattr.value
                && !self.contains(Contents::Data, id)?
            {
                return Ok(false);
            }
        }
        let missing = |id: &Id| Error::Lost { contents: Contents::Data, id: *id };
        let mut each = |segment: Segment| match segment.kind {
            SegmentKind::Data(id) if !self.contains(Contents::Data, &id)? => Err(missing(&id)),
            SegmentKind::Gap => Err(missing(&Id::default())),
            _ => Ok(()),
        };
        match self.repository.segments(&node.content, node.size, &mut each) {
            Err(error) if error.is_damage() => return Ok(false),
            other => other?,
        }
        // The pages themselves must be there for good, not only readable now.
        match &node.content {
            Content::Page(id) => {
                self.repository.content_pages_stored(id, &|id| self.contains(Contents::Trees, id))
            }
            Content::Inline(_) => Ok(true),
        }
    }

    /// Whether a directory is stored with all that is below it.
    pub fn holds_tree(&self, tree: Id) -> Result<bool, Error> {
        let (mut pages, mut seen) = (vec![tree], HashSet::new());
        while let Some(id) = pages.pop() {
            // One that is named again and again is not gone through as often.
            if seen.len() >= SEEN_MOST {
                seen.clear();
            }
            if !seen.insert(id) {
                continue;
            }
            if !self.contains(Contents::Trees, &id)? {
                return Ok(false);
            }
            let nodes = match self.repository.load_tree(&id) {
                Ok(Tree::Pages(_, below)) => {
                    pages.extend(below.into_iter().map(|page| page.id));
                    continue;
                }
                Ok(Tree::Nodes(nodes)) => nodes,
                Err(error) if error.is_damage() => return Ok(false),
                Err(error) => return Err(error),
            };
            for node in nodes {
                match node {
                    Ok(node) if self.holds(&node)? => pages.extend(node.tree),
                    _ => return Ok(false),
                }
            }
        }
        Ok(true)
    }
}
