//! Walking snapshots: every folder, file and list of contents once, however many snapshots and paths share them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Check, Finding};
use crate::format::limits::DEPTH_MAX;
use crate::model::{Contents, Id, Node, NodeType, Segment, SegmentKind, XattrValue};
use crate::repository::Error;
use crate::repository::contents::{Page, Visitor};
use crate::repository::snapshots::Named;
use crate::repository::trees::Nodes;
use crate::terminal::escape::escape;
use crate::terminal::size::{agree, show_count};

/// Bytes of a path that a finding shows at each end when it is longer than both together.
const PATH_SHOWN: usize = 2000;

/// Where something was found, and whether that is of a later version and not damaged.
#[derive(Clone)]
struct Hit {
    place: Arc<str>,
    is_later: bool,
}

impl Hit {
    fn words(&self) -> String {
        let what = if self.is_later { "of a later version" } else { "damaged" };
        format!("{what} like {}", self.place)
    }

    /// The one of two that is told: damage is worse.
    fn worse(first: Option<Hit>, second: Option<Hit>) -> Option<Hit> {
        match (first, second) {
            (Some(first), Some(second)) if first.is_later && !second.is_later => Some(second),
            (first, second) => first.or(second),
        }
    }
}

/// Half of an id: as good as a whole one, since it is of a keyed hash.
type Half = [u8; 16];

fn half(id: &Id) -> Half {
    id.0.first_chunk().copied().unwrap_or_default()
}

/// A problem of an entry or folder: the kind of thing, what is wrong, and whether it is of a later version.
type Problem = (&'static str, String, bool);

/// What is known of a folder that was walked: of millions.
struct Known {
    /// Folders below each other, itself included.
    height: u32,
    /// Where it was found damaged.
    damage: Option<Box<Hit>>,
}

/// What was walked already, and what was found there.
#[derive(Default)]
pub(super) struct Walked {
    known: HashMap<Half, Known>,
    /// Bytes that are lost below each page of a list of contents, and bytes that a repair marked as lost.
    pages: HashMap<Page, (u64, u64)>,
    pub trees: u64,
    pub files: u64,
    /// Entries of which a repair marked something as lost.
    pub marked: u64,
    pub findings: Vec<Finding>,
}

/// A folder being walked.
struct Open<'r> {
    tree: Id,
    name: Vec<u8>,
    nodes: Nodes<'r>,
    height: u32,
    /// The page that was read last.
    page: Option<Id>,
    /// Where the first damage in it or below was found.
    damage: Option<Hit>,
}

/// Whoever goes through a file's contents.
struct Contained<'a, 'r> {
    check: &'a Check<'r>,
    pages: &'a mut HashMap<Page, (u64, u64)>,
    lost: u64,
    marked: u64,
    /// What was lost and marked when each page that is open was entered.
    entered: Vec<(u64, u64)>,
    page: Option<Id>,
    /// All pages that were gone into.
    read: Vec<Id>,
}

impl Visitor for Contained<'_, '_> {
    fn segment(&mut self, segment: Segment) -> Result<(), Error> {
        let there = match segment.kind {
            SegmentKind::Data(id) => self.check.is_there(Contents::Data, &id, segment.length)?,
            SegmentKind::Hole => true,
            SegmentKind::Gap => {
                self.marked = self.marked.saturating_add(segment.length);
                true
            }
        };
        if !there {
            self.lost = self.lost.saturating_add(segment.length);
        }
        Ok(())
    }

    fn enter(&mut self, page: &Page) -> bool {
        self.page = Some(page.id);
        if let Some((lost, marked)) = self.pages.get(page) {
            self.lost = self.lost.saturating_add(*lost);
            self.marked = self.marked.saturating_add(*marked);
            return false;
        }
        self.read.push(page.id);
        self.entered.push((self.lost, self.marked));
        true
    }

    fn leave(&mut self, page: &Page) {
        let (lost, marked) = self.entered.pop().unwrap_or_default();
        self.pages.insert(*page, (self.lost - lost, self.marked - marked));
    }
}

/// A path for a person: the middle of a very long one is left out.
fn show(label: &str, path: &[u8]) -> String {
    if path.len() <= 2 * PATH_SHOWN {
        return format!("{label}:{}", escape(path));
    }
    let (head, tail) = (&path[..PATH_SHOWN], &path[path.len() - PATH_SHOWN..]);
    format!("{label}:{}[...]{}", escape(head), escape(tail))
}

fn path_of(stack: &[Open<'_>], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::new();
    for open in stack.iter().skip(1) {
        path.push(b'/');
        path.extend_from_slice(&open.name);
    }
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

impl<'r> Check<'r> {
    /// The part of the change cache that a snapshot carries.
    pub(super) fn state(&self, named: &Named) -> Result<Option<Finding>, Error> {
        let mut lost = 0u64;
        for segment in &named.snapshot.state {
            if let SegmentKind::Data(id) = segment.kind
                && !self.is_there(Contents::Data, &id, segment.length)?
            {
                lost = lost.saturating_add(segment.length);
            }
        }
        let what = || {
            format!(
                "{} of the change cache that it carries are lost, and nothing of what was saved",
                show_count(lost, "byte")
            )
        };
        let object = named.name.short();
        Ok((lost > 0).then(|| Finding { kind: "snapshot", object, what: what(), is_of_later_version: false }))
    }

    fn node_problem(&self, node: &Node, walked: &mut Walked) -> Result<Option<Problem>, Error> {
        let mut problem = None;
        let pages = &mut walked.pages;
        let (entered, read) = (Vec::new(), Vec::new());
        let mut contained = Contained { check: self, pages, lost: 0, marked: 0, entered, page: None, read };
        let visited = self.repository.visit(&node.content, node.size, &mut contained);
        contained.read.iter().try_for_each(|page| self.was_read(page))?;
        walked.marked += u64::from(contained.marked > 0 || node.has_lost_entries());
        match visited {
            Ok(()) if contained.lost > 0 => {
                let what = format!(
                    "{} of its {} {} lost",
                    contained.lost,
                    show_count(node.size, "byte"),
                    agree(contained.lost, "is", "are")
                );
                problem = Some(("file", what, false))
            }
            Ok(()) => {}
            Err(error) if error.is_of_later_version() => {
                problem = Some(("file", format!("its list of contents can not be read: {error}"), true))
            }
            Err(error) if error.is_damage() => {
                if let Some(page) = contained.page {
                    self.not_read(&page)?;
                }
                problem = Some(("file", format!("its list of contents is lost: {error}"), false))
            }
            Err(error) => return Err(error),
        }
        for xattr in &node.xattrs {
            if let XattrValue::Chunk(id, length) = &xattr.value
                && !self.is_there(Contents::Data, id, *length)?
            {
                let lost = ("file", "an attribute is lost".to_owned(), false);
                problem = problem.filter(|problem| !problem.2).or(Some(lost));
            }
        }
        Ok(problem)
    }

    fn open(&self, tree: Id, name: Vec<u8>) -> Open<'r> {
        Open { tree, name, nodes: self.repository.nodes(tree), height: 1, page: None, damage: None }
    }

    /// Walks one snapshot; what was walked before is passed over.
    pub(super) fn walk(&self, label: &str, root: Id, walked: &mut Walked) -> Result<(), Error> {
        if let Some(Known { damage: Some(hit), .. }) = walked.known.get(&half(&root)) {
            let is_of_later_version = hit.is_later;
            let (object, what) = (format!("{label}:/"), hit.words());
            walked.findings.push(Finding { kind: "tree", object, what, is_of_later_version });
            return Ok(());
        }
        if walked.known.contains_key(&half(&root)) {
            return Ok(());
        }
        let mut stack = vec![self.open(root, Vec::new())];
        while let Some(last) = stack.last_mut() {
            self.check_stop()?;
            let node = match last.nodes.next() {
                Some(Ok(node)) => {
                    let page = last.nodes.page();
                    if last.page != Some(page) {
                        if last.page.is_none() {
                            self.was_read(&last.tree)?;
                        }
                        self.was_read(&page)?;
                        last.page = Some(page);
                    }
                    node
                }
                Some(Err(error)) if error.is_damage() => {
                    let (page, is_later) = (last.nodes.page(), error.is_of_later_version());
                    if !is_later {
                        self.not_read(&page)?;
                    }
                    find_in(walked, &mut stack, ("tree", error.to_string(), is_later), label, b"");
                    continue;
                }
                Some(Err(error)) => return Err(error),
                None => {
                    close(&mut stack, walked);
                    continue;
                }
            };
            let is_folder = node.kind == NodeType::Directory && node.tree.is_some();
            walked.files += u64::from(!is_folder);
            let own = self.node_problem(&node, walked)?;
            let (previous, tree) = self.previous_problem(&node, walked)?;
            if let Some(problem) = own.or(previous) {
                find_in(walked, &mut stack, problem, label, &node.name);
            }
            let below = if is_folder { node.tree } else { tree };
            if let Some(tree) = below
                && let Some(problem) = self.enter(tree, &node.name, &mut stack, walked)
            {
                find_in(walked, &mut stack, problem, label, &node.name);
            }
        }
        Ok(())
    }

    /// Goes into a folder, or says what is wrong with it: it was walked before, or lies too deep.
    fn enter(&self, tree: Id, name: &[u8], stack: &mut Vec<Open<'r>>, walked: &Walked) -> Option<Problem> {
        let depth = stack.len();
        match walked.known.get(&half(&tree)) {
            Some(known) if depth + known.height as usize > DEPTH_MAX + 1 => too_deep(),
            Some(Known { damage: Some(hit), .. }) => Some(("tree", hit.words(), hit.is_later)),
            Some(known) => {
                let height = known.height + 1;
                if let Some(last) = stack.last_mut() {
                    last.height = last.height.max(height);
                }
                None
            }
            None if depth > DEPTH_MAX => too_deep(),
            None => {
                stack.push(self.open(tree, name.to_vec()));
                None
            }
        }
    }

    /// What is wrong with what was known of an entry before it could not be read; the folder that it was is given.
    fn previous_problem(
        &self,
        node: &Node,
        walked: &mut Walked,
    ) -> Result<(Option<Problem>, Option<Id>), Error> {
        let (mut problem, mut tree) = (None, None);
        let mut encoded = node.previous.clone();
        // Each holds the next, so this ends.
        while !encoded.is_empty() {
            let previous = match crate::format::node::decode(&encoded) {
                Ok(previous) => previous,
                Err(error) => {
                    let what = format!("what was known of it before can not be read: {error}");
                    return Ok((problem.or(Some(("file", what, error.is_unsupported()))), tree));
                }
            };
            tree = tree.or(previous.tree.filter(|_| previous.kind == NodeType::Directory));
            problem = problem.or(self.node_problem(&previous, walked)?);
            encoded = previous.previous;
        }
        Ok((problem, tree))
    }
}

/// Damage to an entry of the folder that is being walked, or to the folder itself.
fn find_in(walked: &mut Walked, stack: &mut [Open<'_>], problem: Problem, label: &str, name: &[u8]) {
    let (kind, what, is_of_later_version) = problem;
    let object = show(label, &path_of(stack, name));
    if let Some(last) = stack.last_mut() {
        let hit = Hit { place: Arc::from(object.as_str()), is_later: is_of_later_version };
        last.damage = Hit::worse(last.damage.take(), Some(hit));
    }
    walked.findings.push(Finding { kind, object, what, is_of_later_version });
}

/// A folder was walked to its end.
fn close(stack: &mut Vec<Open<'_>>, walked: &mut Walked) {
    let Some(Open { tree, height, damage, .. }) = stack.pop() else { return };
    walked.trees += 1;
    if let Some(parent) = stack.last_mut() {
        parent.damage = Hit::worse(parent.damage.take(), damage.clone());
        parent.height = parent.height.max(height + 1);
    }
    walked.known.insert(half(&tree), Known { height, damage: damage.map(Box::new) });
}

fn too_deep() -> Option<Problem> {
    Some(("tree", format!("nested deeper than {DEPTH_MAX} folders"), false))
}
