//! Trees out of entries in order: a folder first, then what is in it. Folders that nobody told about are made up.

use super::Error;
use super::place::path_of;
use crate::format;
use crate::model::{Id, Node, NodeType, Time};
use crate::repository::build::TreeBuilder;
use crate::repository::store::Store;

/// Sources that are told one by one; of more, the folder that holds them all.
const SOURCES_MOST: usize = 1000;

/// A folder whose entries come.
struct Frame<'s> {
    node: Node,
    builder: TreeBuilder<'s>,
}

/// Builds the tree of `/` bottom-up. Without recursion, since trees may be deeper than any stack.
pub struct Trees<'s> {
    store: &'s Store<'s>,
    /// From `/`, whose node is not kept, down to the folder of the last entry.
    frames: Vec<Frame<'s>>,
    /// Of folders that are made up.
    time: Time,
    /// The last entry, when it is no folder: nothing can be in it.
    file: Option<Vec<Vec<u8>>>,
    /// The highest entries that were told.
    highest: Vec<Vec<Vec<u8>>>,
    /// The names that all of these have in common, once they are too many.
    common: Option<Vec<Vec<u8>>>,
    /// So many of the frames, from `/` on, nobody told about: what is in the last of these is a highest entry.
    made_up: usize,
    pub directories: u64,
}

/// What was built.
pub struct Built {
    pub root: Id,
    /// The paths of the highest entries, in order.
    pub highest: Vec<Vec<u8>>,
    pub directories: u64,
}

impl<'s> Trees<'s> {
    pub fn new(store: &'s Store<'s>, time: Time) -> Trees<'s> {
        let root = Frame { node: Node::new(b"", NodeType::Directory), builder: TreeBuilder::new(store, 0) };
        Trees {
            store,
            frames: vec![root],
            time,
            file: None,
            highest: Vec::new(),
            common: None,
            made_up: 1,
            directories: 1,
        }
    }

    /// Adds the entry of these names, its node without a tree. The entry of `/` itself is no entry: only what lies in it is kept.
    pub fn add(&mut self, names: &[&[u8]], mut node: Node) -> Result<(), Error> {
        let Some((name, above)) = names.split_last() else {
            // It is told itself: nothing else is highest.
            self.highest = vec![Vec::new()];
            self.made_up = 0;
            return Ok(());
        };
        if self
            .file
            .as_ref()
            .is_some_and(|file| above.len() >= file.len() && file.iter().eq(&above[..file.len()]))
        {
            return Err(Error::entry(
                &path_of(&super::place::key(names)),
                "something else than a folder holds it",
            ));
        }
        let is_in = |frame: &Frame<'_>, name: &&[u8]| frame.node.name == *name;
        let shared =
            self.frames[1..].iter().zip(above).take_while(|(frame, name)| is_in(frame, name)).count();
        self.leave(shared + 1)?;
        for name in &above[shared..] {
            let mut node = Node::new(name, NodeType::Directory);
            (node.mode, node.mtime) = (0o755, self.time);
            // Below one that was told it is no matter who made it up.
            let is_highest = self.made_up == self.frames.len();
            self.enter(node);
            if is_highest {
                self.made_up = self.frames.len();
            }
        }
        if self.made_up == self.frames.len() {
            self.is_highest(names);
        }
        node.name = name.to_vec();
        self.file = None;
        if node.kind == NodeType::Directory {
            self.enter(node);
            return Ok(());
        }
        self.file = Some(names.iter().map(|name| name.to_vec()).collect());
        self.push(&node)
    }

    fn is_highest(&mut self, names: &[&[u8]]) {
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
        if let Some(common) = &mut self.common {
            let length = common.iter().zip(&names).take_while(|(one, other)| one == other).count();
            common.truncate(length);
            return;
        }
        self.highest.push(names);
        if self.highest.len() > SOURCES_MOST {
            let all = std::mem::take(&mut self.highest);
            let mut rest = all.into_iter();
            self.common = rest.next();
            for names in rest {
                self.is_highest(&names.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
        }
    }

    fn enter(&mut self, node: Node) {
        self.frames.push(Frame { node, builder: TreeBuilder::new(self.store, 0) });
        self.directories += 1;
    }

    fn push(&mut self, node: &Node) -> Result<(), Error> {
        match self.frames.last_mut() {
            Some(frame) => Ok(frame.builder.push(&node.name, format::node::encode(node))?),
            None => Ok(()),
        }
    }

    /// Ends folders until so many are left.
    fn leave(&mut self, depth: usize) -> Result<(), Error> {
        while self.frames.len() > depth.max(1) {
            let Some(Frame { mut node, builder }) = self.frames.pop() else { break };
            node.tree = Some(builder.finish()?);
            self.push(&node)?;
        }
        self.made_up = self.made_up.min(self.frames.len());
        Ok(())
    }

    pub fn finish(mut self) -> Result<Built, Error> {
        self.leave(1)?;
        let Some(root) = self.frames.pop() else { return Err(Error::Origin("no tree".to_owned())) };
        let mut highest: Vec<Vec<u8>> =
            self.highest.iter().chain(&self.common).map(|names| path_of(&super::place::key(names))).collect();
        highest.sort();
        Ok(Built { root: root.builder.finish()?, highest, directories: self.directories })
    }
}
