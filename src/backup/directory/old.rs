//! What the parent snapshot knows of a directory's entries.

use crate::backup::change::{Seen, SideReader};
use crate::model::Node;
use crate::repository::Error;

/// The tree of the parent snapshot, read along with the entries, both in order of name.
pub(super) struct Old<'a> {
    pub nodes: Box<dyn Iterator<Item = Result<Node, Error>> + 'a>,
    pub side: SideReader<'a>,
    pub next: Option<(Node, Seen)>,
    /// Not all of it could be read.
    pub has_failed: bool,
}

impl<'a> Old<'a> {
    pub fn advance(&mut self) {
        // A tree that can not be read, or has no row, means that everything is looked at anew: never an error here.
        self.next = match (self.nodes.next(), self.side.next()) {
            (Some(Ok(node)), Some(seen)) => Some((node, seen)),
            (Some(Err(_)), _) => {
                self.has_failed = true;
                None
            }
            _ => None,
        };
    }

    pub fn find(&mut self, name: &[u8]) -> Option<(Node, Seen)> {
        while let Some((node, _)) = &self.next {
            match node.name.as_slice().cmp(name) {
                std::cmp::Ordering::Less => self.advance(),
                std::cmp::Ordering::Equal => {
                    let found = self.next.take();
                    self.advance();
                    return found;
                }
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }
}
