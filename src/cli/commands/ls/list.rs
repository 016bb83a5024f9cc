//! Going through a folder of a snapshot: its entries, all below it, or the same drawn as a tree.

use super::{lost_bytes, show};
use crate::cli::arguments::Ls;
use crate::cli::context::{Context, failure};
use crate::cli::exit::Failure;
use crate::model::{Id, Node, NodeType};
use crate::repository::trees::Nodes;
use crate::repository::{Error, Repository};
use crate::terminal::escape::escape;

/// What is listed, and how.
pub struct Listing<'l> {
    pub context: &'l Context<'l>,
    pub repository: &'l Repository,
    pub ls: &'l Ls,
    /// A repair wrote the snapshot.
    pub is_repaired: bool,
}

/// What could not be listed.
#[derive(Default)]
pub struct Unlisted {
    pub damaged: u64,
    /// Of a later version, which this program can not read.
    pub later: u64,
}

/// A folder on the way.
struct Level<'l> {
    nodes: Nodes<'l>,
    /// The entry that comes next, where one was looked for.
    ahead: Option<Option<Node>>,
    path: Vec<u8>,
    /// What stands before its entries in a tree.
    indent: String,
}

impl<'l> Level<'l> {
    fn new(listing: &Listing<'l>, tree: Id, path: Vec<u8>, indent: String) -> Level<'l> {
        Level { nodes: listing.repository.nodes(tree), ahead: None, path, indent }
    }

    /// The next entry. What can not be read is told and counted: it costs what it hits, and the rest is listed.
    fn next(&mut self, context: &Context<'_>, unlisted: &mut Unlisted) -> Result<Option<Node>, Failure> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(ahead);
        }
        loop {
            match self.nodes.next() {
                None => return Ok(None),
                Some(Ok(node)) => return Ok(Some(node)),
                Some(Err(error)) if error.is_damage() => self.tell(context, unlisted, &error),
                Some(Err(error)) => return Err(failure(&error)),
            }
        }
    }

    fn tell(&self, context: &Context<'_>, unlisted: &mut Unlisted, error: &Error) {
        match error.is_of_later_version() {
            true => unlisted.later += 1,
            false => unlisted.damaged += 1,
        }
        context.warn(&format!("{}/: {error}", escape(&self.path)));
    }
}

/// Lists the folder of that tree and path.
pub fn list(listing: &Listing<'_>, tree: Id, path: &[u8]) -> Result<Unlisted, Failure> {
    let Listing { context, repository, ls, is_repaired } = listing;
    let draws = ls.tree && !context.global.json;
    let mut unlisted = Unlisted::default();
    let mut levels = vec![Level::new(listing, tree, path.to_vec(), String::new())];
    if draws {
        let top = if path.is_empty() { "/".into() } else { escape(path) };
        context.out.write(format!("{top}\n"))?;
    }
    while let Some(level) = levels.last_mut() {
        let Some(node) = level.next(context, &mut unlisted)? else {
            levels.pop();
            continue;
        };
        let mut below = level.path.clone();
        below.push(b'/');
        below.extend_from_slice(&node.name);
        let lost = if *is_repaired { lost_bytes(repository, &node) } else { 0 };
        let mut indent = String::new();
        if draws {
            let ahead = level.next(context, &mut unlisted)?;
            let (branch, rest) =
                if ahead.is_some() { ("├── ", "│   ") } else { ("└── ", "    ") };
            level.ahead = Some(ahead);
            let mark = if node.kind == NodeType::Directory { "/" } else { "" };
            let shown = format!("{}{branch}{}{mark}", level.indent, escape(&node.name));
            indent = format!("{}{rest}", level.indent);
            show(context, ls, &node, (&below, Some(&shown)), lost)?;
        } else {
            show(context, ls, &node, (&below, None), lost)?;
        }
        if let (true, NodeType::Directory, Some(tree)) = (ls.recursive || ls.tree, node.kind, node.tree) {
            levels.push(Level::new(listing, tree, below, indent));
        }
    }
    Ok(unlisted)
}
