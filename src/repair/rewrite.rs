//! Trees in which what is lost is marked as lost. Only folders in which or below which something is lost are written anew; all others
//! keep their ids.

use std::collections::HashMap;

use super::Run;
use super::loss::Loss;
use crate::format::content::{self, SEGMENT_MAX};
use crate::format::limits::NODE_MAX;
use crate::format::node;
use crate::model::{Content, ENTRIES_LOST, Id, Node, NodeType, Segment, SegmentKind, Unread, XattrValue};
use crate::progress::Event;
use crate::repository::Error;
use crate::repository::build::{ContentBuilder, TreeBuilder};
use crate::repository::contents::{Page, Visitor};
use crate::repository::store::Store;
use crate::repository::trees::Nodes;
use crate::terminal::size::{agree, show_count};

/// Who writes: the only worker of its store.
const WORKER: usize = 0;

/// What of a snapshot is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files of whose content some is lost, and how many bytes.
    pub files: u64,
    pub bytes: u64,
    /// Folders of which nothing is left, and those of which some entries are gone.
    pub folders: u64,
    pub partly: u64,
    pub attributes: u64,
    /// Unreadable entries of which what was last known of them is lost too.
    pub previous: u64,
}

impl Lost {
    pub fn is_empty(&self) -> bool {
        *self == Lost::default()
    }

    fn add(&mut self, other: Lost) {
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.folders += other.folders;
        self.partly += other.partly;
        self.attributes += other.attributes;
        self.previous += other.previous;
    }
}

/// What became of a folder: its new tree, none when nothing of it is left.
#[derive(Clone, Copy)]
struct Made {
    tree: Option<Id>,
    is_partly: bool,
    lost: Lost,
}

/// A folder that is being written anew.
struct Making<'r, 's> {
    tree: Id,
    /// The folder itself, as it stands in the one above; the root has no node.
    node: Option<Node>,
    nodes: Nodes<'r>,
    builder: TreeBuilder<'s>,
    entries: u64,
    is_partly: bool,
    lost: Lost,
}

/// Writes folders anew, each once.
pub(super) struct Rewrite<'r, 's> {
    run: &'r Run<'r>,
    store: &'s Store<'s>,
    made: HashMap<Id, Made>,
    /// Tell the listener what is lost, path by path.
    tells: bool,
}

/// Takes a file's segments, and makes one gap of what is lost and of the holes and gaps beside it.
struct Marking<'a, 'r, 's> {
    loss: &'a Loss<'r>,
    builder: ContentBuilder<'s>,
    /// The hole or gap that is not pushed yet.
    waiting: Option<Segment>,
    lost: u64,
}

impl Marking<'_, '_, '_> {
    fn empty(&mut self, kind: SegmentKind, length: u64) {
        let before = self.waiting.take();
        let kind = match &before {
            Some(before) if before.kind == SegmentKind::Gap => SegmentKind::Gap,
            _ => kind,
        };
        let length = before.map_or(0, |before| before.length).saturating_add(length);
        self.waiting = Some(Segment { kind, length });
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.waiting.take().map_or(Ok(()), |segment| self.builder.push(segment))
    }
}

impl Visitor for Marking<'_, '_, '_> {
    fn segment(&mut self, segment: Segment) -> Result<(), Error> {
        match segment.kind {
            SegmentKind::Data(id) if self.loss.is_lost(crate::model::Contents::Data, &id, segment.length) => {
                self.lost = self.lost.saturating_add(segment.length);
                self.empty(SegmentKind::Gap, segment.length);
                Ok(())
            }
            SegmentKind::Data(_) => {
                self.flush()?;
                self.builder.push(segment)
            }
            kind => {
                self.empty(kind, segment.length);
                Ok(())
            }
        }
    }

    fn enter(&mut self, page: &Page) -> bool {
        let is_lost = self.loss.is_page_lost(page);
        if is_lost {
            self.lost = self.lost.saturating_add(page.covers);
            self.empty(SegmentKind::Gap, page.covers);
        }
        !is_lost
    }
}

impl<'r, 's> Rewrite<'r, 's> {
    pub(super) fn new(run: &'r Run<'r>, store: &'s Store<'s>, tells: bool) -> Rewrite<'r, 's> {
        Rewrite { run, store, made: HashMap::new(), tells }
    }

    /// A file's content with its losses marked, and how many bytes those are.
    fn content(&self, loss: &Loss<'r>, node: &Node) -> Result<(Content, u64), Error> {
        let builder = ContentBuilder::new(self.store, WORKER);
        let mut marking = Marking { loss, builder, waiting: None, lost: 0 };
        self.run.repository.visit(&node.content, node.size, &mut marking)?;
        marking.flush()?;
        let Marking { builder, lost, .. } = marking;
        let content = builder.finish()?;
        if let Content::Inline(segments) = &content {
            debug_assert!(segments.iter().all(|segment| segment.length <= SEGMENT_MAX));
            content::check_runs(segments)
                .map_err(|error| Error::format("the new list of contents", error))?;
        }
        Ok((content, lost))
    }

    /// An entry with its losses marked; what is below a folder apart. None when nothing of it is lost.
    fn entry(&self, loss: &mut Loss<'r>, node: &Node, path: &[u8]) -> Result<Option<(Node, Lost)>, Error> {
        let (mut new, mut lost) = (node.clone(), Lost::default());
        if node.kind == NodeType::File {
            let (content, bytes) = self.content(loss, node)?;
            if bytes > 0 {
                lost.files += 1;
                lost.bytes += bytes;
                new.content = content;
                self.tell(path, &format!("{} {} lost", show_count(bytes, "byte"), agree(bytes, "is", "are")));
            }
        }
        new.xattrs.retain(|xattr| match &xattr.value {
            XattrValue::Chunk(id, length) => !loss.is_lost(crate::model::Contents::Data, id, *length),
            XattrValue::Inline(_) => true,
        });
        for gone in node.xattrs.iter().filter(|xattr| !new.xattrs.contains(xattr)) {
            let what = format!("attribute {}", String::from_utf8_lossy(&gone.name));
            self.tell(path, &format!("{what} is lost"));
            new.unread.push(what);
            lost.attributes += 1;
        }
        if !node.previous.is_empty() && loss.is_previous_hit(&node.previous)? {
            new.previous.clear();
            lost.previous += 1;
            self.tell(
                path,
                "it could not be read then, and of what was known of it before something is lost",
            );
        }
        Ok((!lost.is_empty()).then_some((new, lost)))
    }

    fn tell(&self, path: &[u8], what: &str) {
        if self.tells {
            let path = if path.is_empty() { &b"/"[..] } else { path };
            self.run.tools.listener.event(Event::Problem {
                path: Some(path),
                what,
                code: "lost",
                during: "repair",
            });
        }
    }

    fn begin(&self, tree: Id, node: Option<Node>) -> Making<'r, 's> {
        Making {
            tree,
            node,
            nodes: self.run.repository.nodes(tree),
            builder: TreeBuilder::new(self.store, WORKER),
            entries: 0,
            is_partly: false,
            lost: Lost::default(),
        }
    }

    /// Writes the tree below `root` anew, of which something is lost. None when nothing of it is left.
    pub(super) fn tree(&mut self, loss: &mut Loss<'r>, root: Id) -> Result<(Option<Id>, Lost), Error> {
        if let Some(made) = self.made.get(&root) {
            return Ok((made.tree, made.lost));
        }
        let mut stack = vec![self.begin(root, None)];
        // The path of what is at hand, and where each folder's own part of it begins.
        let (mut path, mut begins): (Vec<u8>, Vec<usize>) = (Vec::new(), vec![0]);
        while let Some(last) = stack.last_mut() {
            self.run.check_stop()?;
            let node = match last.nodes.next() {
                Some(Ok(node)) => node,
                Some(Err(error)) if error.is_damage() && loss.is_tree_lost(&last.nodes.page()) => {
                    last.is_partly = true;
                    self.tell(&path, &format!("entries are lost: {error}"));
                    continue;
                }
                Some(Err(error)) => return Err(error),
                None => {
                    let Some(making) = stack.pop() else { break };
                    let (node, made) = self.end(making)?;
                    if let (Some(above), Some(node)) = (stack.last_mut(), node) {
                        put_folder(above, node, made)?;
                    } else {
                        return Ok((made.tree, made.lost));
                    }
                    path.truncate(begins.pop().unwrap_or_default());
                    continue;
                }
            };
            let encoded = last.nodes.encoded().to_vec();
            let begin = path.len();
            path.push(b'/');
            path.extend_from_slice(&node.name);
            let changed = self.entry(loss, &node, &path)?;
            if let Some((_, lost)) = &changed {
                last.lost.add(*lost);
            }
            match node.tree.filter(|tree| node.kind == NodeType::Directory && loss.is_tree_hit(tree)) {
                Some(tree) => {
                    let node = changed.map_or(node, |(new, _)| new);
                    match self.made.get(&tree) {
                        Some(made) => put_folder(last, node, *made)?,
                        None => {
                            begins.push(begin);
                            stack.push(self.begin(tree, Some(node)));
                            continue;
                        }
                    }
                }
                None => {
                    last.entries += 1;
                    let encoded = changed.map_or(encoded, |(new, _)| encode(&new));
                    last.builder.push(&node.name, encoded)?;
                }
            }
            path.truncate(begin);
        }
        Ok((None, Lost::default()))
    }

    /// Ends a folder: its node, and what became of it.
    fn end(&mut self, making: Making<'r, 's>) -> Result<(Option<Node>, Made), Error> {
        let Making { tree, node, builder, entries, is_partly, mut lost, .. } = making;
        let is_gone = is_partly && entries == 0;
        if is_gone {
            lost.folders += 1;
        } else if is_partly {
            lost.partly += 1;
        }
        let new = if is_gone { None } else { Some(builder.finish()?) };
        let made = Made { tree: new, is_partly, lost };
        self.made.insert(tree, made);
        Ok((node, made))
    }

    /// A root in the place of one of which nothing is left: what led to the sources is there, and unknown.
    pub(super) fn bare_root(&self, sources: &[Vec<u8>]) -> Result<Id, Error> {
        let mut names: Vec<&[u8]> = sources
            .iter()
            .filter_map(|source| source.split(|byte| *byte == b'/').find(|name| !name.is_empty()))
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut builder = TreeBuilder::new(self.store, WORKER);
        for name in names.into_iter().filter(|name| node::is_sound_name(name)) {
            builder.push(name, encode(&unreadable(Node::new(name, NodeType::Directory))))?;
        }
        builder.finish()
    }
}

/// The folder as one of which nothing is known but that it was there.
fn unreadable(folder: Node) -> Node {
    let mut unread = folder.unread;
    unread.push(ENTRIES_LOST.to_owned());
    Node {
        kind: NodeType::Unreadable,
        was: Some(NodeType::Directory),
        error: Some(Unread::InputOutput),
        tree: None,
        unread,
        ..folder
    }
}

/// Puts a folder that was written anew into the one above.
fn put_folder(above: &mut Making<'_, '_>, mut node: Node, made: Made) -> Result<(), Error> {
    above.lost.add(made.lost);
    above.entries += 1;
    let name = node.name.clone();
    let node = match made.tree {
        None => unreadable(node),
        Some(tree) => {
            node.tree = Some(tree);
            if made.is_partly && !node.has_lost_entries() {
                node.unread.push(ENTRIES_LOST.to_owned());
            }
            node
        }
    };
    above.builder.push(&name, encode(&node))
}

fn encode(node: &Node) -> Vec<u8> {
    let encoded = node::encode(node);
    if encoded.len() <= NODE_MAX {
        return encoded;
    }
    // What is said in words is the least of it.
    node::encode(&Node { unread: vec![ENTRIES_LOST.to_owned()], previous: Vec::new(), ..node.clone() })
}
