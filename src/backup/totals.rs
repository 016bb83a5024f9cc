//! What a snapshot holds altogether, when not all of it was looked at: what its parent held, and what differs. Equal trees are not read.

use crate::model::{Id, Node, NodeType, Summary};
use crate::repository::{Error, Repository};

/// What entries differ by.
#[derive(Default)]
pub struct Difference {
    files: i64,
    directories: i64,
    others: i64,
    bytes: i64,
}

impl Difference {
    fn add(&mut self, node: &Node, sign: i64) {
        match node.kind {
            NodeType::File => {
                self.files += sign;
                self.bytes += sign * node.size as i64;
            }
            NodeType::Directory => self.directories += sign,
            NodeType::Unreadable => {}
            _ => self.others += sign,
        }
    }

    /// Makes the totals of a run that left something unseen those of the whole, by its parent's.
    pub fn complete(&self, parent: &Summary, summary: &mut Summary) {
        let sum = |before: u64, more: i64| before.saturating_add_signed(more);
        summary.files = sum(parent.files, self.files);
        summary.directories = sum(parent.directories, self.directories);
        summary.others = sum(parent.others, self.others);
        summary.bytes = sum(parent.bytes, self.bytes);
        summary.files_unmodified =
            summary.files.saturating_sub(summary.files_new).saturating_sub(summary.files_changed);
    }
}

/// What a tree holds more than another one.
pub fn difference(repository: &Repository, old: Id, new: Id) -> Result<Difference, Error> {
    let mut all = Difference::default();
    let mut left = vec![(Some(old), Some(new))];
    while let Some((old, new)) = left.pop() {
        if old == new {
            continue;
        }
        let nodes = |tree: Option<Id>| tree.into_iter().flat_map(|tree| repository.nodes(tree));
        let (mut olds, mut news) = (nodes(old).peekable(), nodes(new).peekable());
        loop {
            let (before, now) = match (olds.peek(), news.peek()) {
                (None, None) => break,
                (Some(Ok(before)), Some(Ok(now))) => (before.name <= now.name, now.name <= before.name),
                (before, now) => (before.is_some(), now.is_some()),
            };
            let before = if before { olds.next().transpose()? } else { None };
            let now = if now { news.next().transpose()? } else { None };
            for (node, sign) in [(&before, -1), (&now, 1)] {
                if let Some(node) = node {
                    all.add(node, sign);
                }
            }
            let tree = |node: &Option<Node>| node.as_ref().and_then(|node| node.tree);
            left.push((tree(&before), tree(&now)));
        }
    }
    Ok(all)
}
