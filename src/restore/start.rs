//! Where a restore begins, and what stands in its way there.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;

use super::existing::{NOTHING_WRITTEN, is_equal, refuse_conflicts};
use super::{Options, run};
use crate::files;
use crate::model::{Id, Node, NodeType};
use crate::progress::Listener;
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository};

/// Where restoring begins: a tree whose entries go into the target, or one node alone.
pub enum Start {
    /// `has_lost`: a repair marked entries of that very folder as lost, or may have.
    Tree {
        tree: Id,
        path: Vec<u8>,
        has_lost: bool,
    },
    Single {
        node: Box<Node>,
        path: Vec<u8>,
    },
}

pub fn start(repository: &Repository, named: &Named, options: &Options) -> Result<Start, Error> {
    if options.path.is_empty() {
        // `/` has no node that could say so.
        let has_lost = named.snapshot.stands_for.is_some();
        return Ok(Start::Tree { tree: named.snapshot.root, path: Vec::new(), has_lost });
    }
    let names: Vec<&[u8]> = options.path.iter().map(Vec::as_slice).collect();
    let mut path = Vec::new();
    for name in &names {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    let shown = String::from_utf8_lossy(&path).into_owned();
    let node = repository
        .find_node(named.snapshot.root, &names)?
        .ok_or_else(|| Error::Refused(format!("snapshot {} holds no {shown}", named.name.short())))?;
    match (node.kind, node.tree) {
        (NodeType::Directory, Some(tree)) => {
            Ok(Start::Tree { tree, path, has_lost: node.has_lost_entries() })
        }
        (NodeType::Unreadable, _) if node.has_lost_entries() => Err(Error::Refused(format!(
            "{shown} was lost, and a repair marked it in snapshot {}; try another snapshot",
            named.name.short()
        ))),
        (NodeType::Unreadable, _) => Err(Error::Refused(format!(
            "{shown} could not be read when snapshot {} was made; try an earlier snapshot",
            named.name.short()
        ))),
        _ => Ok(Start::Single { node: Box::new(node), path }),
    }
}

/// What is in the target and differs from the snapshot, in words; none when nothing does. Nothing is written.
pub fn conflicts(
    repository: &Repository,
    named: &Named,
    options: &Options,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Option<String>, Error> {
    let run = run(repository, named, options, listener, stop)?;
    match start(repository, named, options)? {
        Start::Tree { tree, path, .. } => match refuse_conflicts(&run, tree, &path) {
            Ok(()) => Ok(None),
            Err(Error::Conflict { what }) => Ok(Some(what.trim_end_matches(NOTHING_WRITTEN).to_owned())),
            Err(error) => Err(error),
        },
        Start::Single { node, path } => {
            let Ok(target) = files::open_root(&options.target) else { return Ok(None) };
            let differs = files::stat(target.as_fd(), &node.name)
                .is_ok_and(|stat| !is_equal(target.as_fd(), &node.name, &stat, &node));
            let shown = crate::terminal::escape::escape(&path);
            Ok(differs.then(|| format!("{shown} differs from the snapshot")))
        }
    }
}
