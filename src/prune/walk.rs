//! Everything that snapshots refer to, each page and chunk named once or more.

use std::collections::HashSet;

use super::Run;
use super::roots::Root;
use crate::format::content::ContentPage;
use crate::format::tree::Tree;
use crate::format::{self};
use crate::index::Gather;
use crate::model::{Content, Contents, Id, Node, Segment, SegmentKind, XattrValue};
use crate::repository::Error;

/// Ids seen, by half of their bytes: as good as whole ones, since they are keyed hashes.
#[derive(Default)]
struct Seen(HashSet<[u8; 16]>);

impl Seen {
    /// Whether the id is new.
    fn add(&mut self, id: &Id) -> bool {
        let mut half = [0; 16];
        half.copy_from_slice(&id.0[..16]);
        self.0.insert(half)
    }
}

/// Pages of trees and of contents that were walked through: nothing below one is gathered again.
#[derive(Default)]
pub(super) struct Walked {
    trees: Seen,
    pages: Seen,
}

struct Walk<'a> {
    run: &'a Run<'a>,
    gather: &'a mut Gather,
    walked: &'a mut Walked,
    open: Vec<Id>,
    open_pages: Vec<Id>,
}

/// Gathers what the roots need and what was not walked through before. Nothing of a root that was saved may be unreadable; of one that was
/// never completed, what can not be read is passed over.
pub(super) fn gather<'a>(
    run: &Run<'_>,
    roots: impl Iterator<Item = &'a Root>,
    gather: &mut Gather,
    walked: &mut Walked,
) -> Result<(), Error> {
    let mut walk = Walk { run, gather, walked, open: Vec::new(), open_pages: Vec::new() };
    for root in roots {
        walk.segments(&root.state)?;
        walk.open.push(root.tree);
        walk.all(root.is_confirmed)?;
    }
    Ok(())
}

impl Walk<'_> {
    fn all(&mut self, must_be_whole: bool) -> Result<(), Error> {
        loop {
            let done = if let Some(page) = self.open_pages.pop() {
                self.page(page)
            } else if let Some(tree) = self.open.pop() {
                self.run.check_stop()?;
                self.tree(tree)
            } else {
                return Ok(());
            };
            match done {
                Err(error) if error.is_damage() && !must_be_whole => {}
                other => other?,
            }
        }
    }

    fn segments(&mut self, segments: &[Segment]) -> Result<(), Error> {
        for segment in segments {
            if let SegmentKind::Data(id) = segment.kind {
                self.gather.add(Contents::Data, &id)?;
            }
        }
        Ok(())
    }

    fn tree(&mut self, id: Id) -> Result<(), Error> {
        if !self.walked.trees.add(&id) {
            return Ok(());
        }
        self.gather.add(Contents::Trees, &id)?;
        match self.run.repository.load_tree(&id)? {
            Tree::Pages(_, pages) => self.open.extend(pages.into_iter().map(|page| page.id)),
            Tree::Nodes(nodes) => {
                for node in nodes {
                    let node = node.map_err(|bad| Error::format(&format!("tree {id}"), bad.error))?;
                    self.node(node, &id)?;
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, node: Node, tree: &Id) -> Result<(), Error> {
        let mut node = node;
        loop {
            self.open.extend(node.tree);
            match &node.content {
                Content::Inline(segments) => self.segments(segments)?,
                Content::Page(page) => self.open_pages.push(*page),
            }
            for xattr in &node.xattrs {
                if let XattrValue::Chunk(id, _) = &xattr.value {
                    self.gather.add(Contents::Data, id)?;
                }
            }
            if node.previous.is_empty() {
                return Ok(());
            }
            // Each holds the next, so this ends.
            node = format::node::decode(&node.previous)
                .map_err(|error| Error::format(&format!("tree {tree}"), error))?;
        }
    }

    fn page(&mut self, id: Id) -> Result<(), Error> {
        if !self.walked.pages.add(&id) {
            return Ok(());
        }
        self.gather.add(Contents::Trees, &id)?;
        match self.run.repository.load_content_page(&id)? {
            ContentPage::Segments(segments) => self.segments(&segments),
            ContentPage::Pages(_, pages) => {
                self.open_pages.extend(pages.into_iter().map(|(page, _)| page));
                Ok(())
            }
        }
    }
}
