//! One snapshot's tree, rebuilt in the other repository. Without recursion, since trees may be deeper than any stack.

use std::collections::HashMap;
use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Failed, Pair};
use crate::backup::{Chunker, store_front};
use crate::format;
use crate::model::{Content, Contents, Id, Node, NodeType, SegmentKind, XattrValue};
use crate::progress::{Event, Listener};
use crate::repository::build::{ContentBuilder, TreeBuilder};
use crate::repository::store::Store;
use crate::repository::trees::Nodes;
use crate::repository::{Error, Repository};

/// Directories that are remembered: some 20 MB.
const DONE_MOST: usize = 200_000;
/// Bytes of a file that are gathered before they are cut, at least.
const GATHER: usize = 4 << 20;

pub(super) struct Walk<'a> {
    from: &'a Repository,
    to: &'a Repository,
    store: &'a Store<'a>,
    chunker: Chunker,
    listener: &'a dyn Listener,
    stop: &'a AtomicBool,
    buffer: Vec<u8>,
    /// What an unreadable entry was before is gone through.
    is_previous: bool,
    /// Directories that were gone through, each with what it is in the other repository: one that is named again and again is not gone through
    /// as often.
    done: HashMap<Id, Id>,
}

/// The same directory in the snapshot before, of which there is a copy.
struct Before<'a> {
    from: Peekable<Nodes<'a>>,
    to: Peekable<Nodes<'a>>,
}

/// A directory that is gone through.
struct Frame<'a> {
    /// Its own node, without the tree; none for the root.
    node: Option<Node>,
    tree: Id,
    nodes: Nodes<'a>,
    before: Option<Before<'a>>,
    builder: TreeBuilder<'a>,
}

/// The entry of that name, if there is one; entries come in the order of their names, and so are they asked for.
fn named(nodes: &mut Peekable<Nodes<'_>>, name: &[u8]) -> Option<Node> {
    loop {
        match nodes.peek()? {
            Ok(node) if node.name.as_slice() < name => drop(nodes.next()),
            Ok(node) if node.name == name => return nodes.next()?.ok(),
            Ok(_) => return None,
            // It is only a help.
            Err(_) => drop(nodes.next()),
        }
    }
}

impl<'a> Walk<'a> {
    pub fn new(
        from: &'a Repository,
        store: &'a Store<'a>,
        to: &'a Repository,
        listener: &'a dyn Listener,
        stop: &'a AtomicBool,
    ) -> Walk<'a> {
        let chunker = Chunker::new(to.gear_table(), to.config.cutter);
        let (buffer, done) = (Vec::new(), HashMap::new());
        Walk { from, to, store, chunker, listener, stop, buffer, is_previous: false, done }
    }

    fn frame(&self, node: Option<Node>, tree: Id, pair: Option<Pair>) -> Frame<'a> {
        Frame {
            node,
            tree,
            nodes: self.from.nodes(tree),
            before: pair.map(|pair| Before {
                from: self.from.nodes(pair.from).peekable(),
                to: self.to.nodes(pair.to).peekable(),
            }),
            builder: TreeBuilder::new(self.store, 0),
        }
    }

    /// What the tree is in the other repository, when it is there with all that is below it: gone through already, or that of the pair.
    fn is_held(&self, tree: Id, pair: Option<Pair>) -> Result<Option<Id>, Failed> {
        if let Some(done) = self.done.get(&tree).filter(|_| !self.is_previous) {
            return Ok(Some(*done));
        }
        match pair {
            Some(pair) if pair.from == tree && self.store.holds_tree(pair.to).map_err(Failed::To)? => {
                Ok(Some(pair.to))
            }
            _ => Ok(None),
        }
    }

    /// Stores the tree, and gives its id in the other repository. `pair` is that of the snapshot before.
    pub fn tree(&mut self, tree: Id, pair: Option<Pair>) -> Result<Id, Failed> {
        if let Some(held) = self.is_held(tree, pair)? {
            return Ok(held);
        }
        let mut frames = vec![self.frame(None, tree, pair)];
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failed::To(Error::Stopped));
            }
            let Some(frame) = frames.last_mut() else { return Err(Failed::To(Error::Stopped)) };
            let Some(node) = frame.nodes.next() else {
                let Some(Frame { node, tree, builder, .. }) = frames.pop() else { continue };
                let id = builder.finish().map_err(Failed::To)?;
                if !self.is_previous {
                    if self.done.len() >= DONE_MOST {
                        self.done.clear();
                    }
                    self.done.insert(tree, id);
                }
                match (node, frames.last_mut()) {
                    (Some(mut node), Some(above)) => {
                        node.tree = Some(id);
                        push(above, &node)?;
                    }
                    _ => return Ok(id),
                }
                continue;
            };
            let node = node.map_err(Failed::From)?;
            let before = frame.before.as_mut().and_then(|before| {
                named(&mut before.from, &node.name).zip(named(&mut before.to, &node.name))
            });
            let below = before.as_ref().and_then(|(from, to)| Some(Pair { from: from.tree?, to: to.tree? }));
            let tree = node.tree;
            let mut node = self.node(node, before)?;
            match tree {
                None => {}
                Some(tree) => match self.is_held(tree, below)? {
                    Some(held) => node.tree = Some(held),
                    None => {
                        let frame = self.frame(Some(node), tree, below);
                        frames.push(frame);
                        continue;
                    }
                },
            }
            if let Some(frame) = frames.last_mut() {
                push(frame, &node)?;
            }
        }
    }

    /// The node as the other repository has it, but for what lies below it.
    fn node(&mut self, mut node: Node, before: Option<(Node, Node)>) -> Result<Node, Failed> {
        for xattr in &mut node.xattrs {
            if let XattrValue::Chunk(id, _) = &mut xattr.value {
                let value = self.from.read_chunk(Contents::Data, id).map_err(Failed::From)?;
                (*id, _) = self.store.save(0, Contents::Data, &value).map_err(Failed::To)?;
            }
        }
        node.content = match before {
            Some((from, to))
                if from.kind == NodeType::File
                    && (from.size, &from.content) == (node.size, &node.content)
                    && to.size == node.size
                    && self.store.holds(&to).map_err(Failed::To)? =>
            {
                self.listener.event(Event::Bytes(node.size));
                to.content
            }
            _ => self.content(&node.content, node.size)?,
        };
        // Where files are cut otherwise than by the repository's own rule, they are cut by that of the other one.
        node.cutter = None;
        // One within another would be of a snapshot before that.
        node.previous = match node.previous.is_empty() || self.is_previous {
            true => Vec::new(),
            false => self.previous(&node.previous)?,
        };
        Ok(node)
    }

    /// What an unreadable entry was in the snapshot before, by the other repository's ids; nothing where that can not be read.
    fn previous(&mut self, encoded: &[u8]) -> Result<Vec<u8>, Failed> {
        let Ok(mut previous) = format::node::decode(encoded) else { return Ok(Vec::new()) };
        if let Some(tree) = previous.tree {
            let below = self.within_previous(|walk| walk.tree(tree, None));
            previous.tree = match below {
                Ok(tree) => Some(tree),
                Err(Failed::From(error)) if error.is_damage() => return Ok(Vec::new()),
                Err(failed) => return Err(failed),
            };
        }
        match self.within_previous(|walk| walk.node(previous, None)) {
            Ok(node) => Ok(format::node::encode(&node)),
            Err(Failed::From(error)) if error.is_damage() => Ok(Vec::new()),
            Err(failed) => Err(failed),
        }
    }

    fn within_previous<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.is_previous = true;
        let done = work(self);
        self.is_previous = false;
        done
    }

    /// Reads a file's contents and stores them: holes stay holes, and what a repair marked as lost stays marked.
    fn content(&mut self, content: &Content, size: u64) -> Result<Content, Failed> {
        if size == 0 {
            return Ok(Content::default());
        }
        let mut builder = ContentBuilder::new(self.store, 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut total = 0u64;
        let mut failed = None;
        let from = self.from;
        let read = from.segments(content, size, &mut |segment| {
            total = total.saturating_add(segment.length);
            let stored = match segment.kind {
                SegmentKind::Data(id) => {
                    let chunk = from.read_chunk(Contents::Data, &id)?;
                    if chunk.len() as u64 != segment.length {
                        return Err(wrong("a piece has another length"));
                    }
                    buffer.extend_from_slice(&chunk);
                    self.listener.event(Event::Bytes(segment.length));
                    if buffer.len() < GATHER.max(2 * self.chunker.maximum()) {
                        return Ok(());
                    }
                    self.front(&mut buffer, false, &mut builder)
                }
                SegmentKind::Hole | SegmentKind::Gap => {
                    self.listener.event(Event::Bytes(segment.length));
                    self.front(&mut buffer, true, &mut builder).and_then(|()| builder.push(segment))
                }
            };
            // That the other repository does not take it is no fault of this one's.
            stored.map_err(|error| {
                failed = Some(error);
                Error::Stopped
            })
        });
        if let Some(error) = failed {
            return Err(Failed::To(error));
        }
        read.map_err(Failed::From)?;
        if total != size {
            return Err(Failed::From(wrong("it has another length than the file")));
        }
        self.front(&mut buffer, true, &mut builder).map_err(Failed::To)?;
        self.buffer = buffer;
        builder.finish().map_err(Failed::To)
    }

    /// Cuts and stores what can be cut of the buffer, all when the data has ended, and keeps the rest.
    fn front(
        &self,
        buffer: &mut Vec<u8>,
        ended: bool,
        builder: &mut ContentBuilder<'_>,
    ) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let (stored, _) = store_front(self.store, 0, &self.chunker, buffer, ended, builder)?;
        buffer.drain(..stored);
        Ok(())
    }
}

fn push(frame: &mut Frame<'_>, node: &Node) -> Result<(), Failed> {
    frame.builder.push(&node.name, format::node::encode(node)).map_err(Failed::To)
}

fn wrong(what: &str) -> Error {
    Error::Damaged { object: "the content of a file".to_owned(), what: what.to_owned() }
}
