//! Everything that snapshots refer to. Each page of trees and of contents is read once, many of them at a time in the order in which they lie
//! in storage: one block holds hundreds.

use std::collections::HashMap;

use rayon::prelude::*;

use super::Run;
use super::roots::Root;
use crate::format;
use crate::format::content::ContentPage;
use crate::format::tree::Tree;
use crate::index::{Gather, Location};
use crate::model::{Content, Contents, Id, Node, Segment, SegmentKind, XattrValue};
use crate::repository::{Error, Repository};

/// Pages that are put into the order of storage together: some 6 MB.
const PAGES_AT_A_TIME: usize = 1 << 16;
/// Bytes of pages that are read before what they say is told.
const BYTES_AT_A_TIME: u64 = 8 << 20;

/// Who is told what there is. Snapshots and pages have numbers.
pub(super) trait Found {
    /// A page, named for the first time.
    fn page(&mut self, page: u32, id: &Id) -> Result<(), Error>;
    /// A chunk of data that a page or a snapshot names.
    fn data(&mut self, by: u32, id: &Id) -> Result<(), Error>;
    /// A page that a page or a snapshot names. All that one names come one after the other.
    fn names(&mut self, _by: u32, _page: u32) {}
    /// A page that is damaged or lost; an answer that is an error ends the walk.
    fn unreadable(&mut self, page: u32, error: Error) -> Result<(), Error>;
}

/// Numbers of pages by half of their ids: as good as whole ones, since they are keyed hashes.
type Numbers = HashMap<[u8; 16], u32>;

/// Which pages were met before: they are not read again.
#[derive(Default)]
pub(super) struct Walked {
    trees: Numbers,
    contents: Numbers,
    count: u32,
    /// Several pages are read at the same time.
    in_threads: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Tree,
    Contents,
}

/// A page that was met, and not read yet.
#[derive(Clone, Copy)]
struct Open {
    number: u32,
    kind: Kind,
    id: Id,
}

/// The same, and where it lies; none where that is not known.
struct Placed {
    page: Open,
    place: Option<Location>,
}

/// What a page names.
#[derive(Default)]
struct Names {
    trees: Vec<Id>,
    contents: Vec<Id>,
    data: Vec<Id>,
}

impl Walked {
    /// Nothing yet; pages are to be read by as many threads as there are cores. A pruner does not want that: what it does goes one step
    /// after the other, as the simulation has it.
    pub(super) fn in_threads() -> Walked {
        Walked { in_threads: true, ..Walked::default() }
    }

    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count - 1
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// The page's number, and whether it is new.
    fn number(&mut self, kind: Kind, id: &Id) -> (u32, bool) {
        let mut half = [0; 16];
        half.copy_from_slice(&id.0[..16]);
        let numbers = match kind {
            Kind::Tree => &mut self.trees,
            Kind::Contents => &mut self.contents,
        };
        let next = self.count;
        let number = *numbers.entry(half).or_insert(next);
        if number == next {
            self.count += 1;
        }
        (number, number == next)
    }
}

/// Walks through what a snapshot needs and was not met before. Gives the snapshot's number.
///
/// Errors: those of `found`, of the storage, and what only a later version can read.
pub(super) fn walk(
    run: &Run<'_>,
    root: &Root,
    walked: &mut Walked,
    found: &mut dyn Found,
) -> Result<u32, Error> {
    let number = walked.next();
    let mut open = Vec::new();
    let mut names = Names { trees: vec![root.tree], ..Names::default() };
    names.segments(&root.state);
    tell(number, names, walked, found, &mut open)?;
    while !open.is_empty() {
        run.check_stop()?;
        let some = open.split_off(open.len().saturating_sub(PAGES_AT_A_TIME));
        let some = placed(run.repository, &some, walked.in_threads)?;
        let mut rest = &some[..];
        while !rest.is_empty() {
            run.check_stop()?;
            let mut bytes = 0;
            let fits = rest.iter().take_while(|placed| {
                let before = bytes;
                bytes += placed.place.as_ref().map_or(0, |place| u64::from(place.length));
                before < BYTES_AT_A_TIME
            });
            let (now, later) = rest.split_at(fits.count());
            let read = |page: &Placed| read(run.repository, page);
            let all: Vec<(Names, Result<(), Error>)> = match walked.in_threads {
                true => now.par_iter().map(read).collect(),
                false => now.iter().map(read).collect(),
            };
            for (Placed { page, .. }, (names, result)) in now.iter().zip(all) {
                tell(page.number, names, walked, found, &mut open)?;
                match result {
                    Err(error) if error.is_damage() => found.unreadable(page.number, error)?,
                    other => other?,
                }
            }
            rest = later;
        }
    }
    Ok(number)
}

/// Looks up where pages lie, and puts them into that order. Those that are in no pack come last: they are looked for when they are read.
fn placed(repository: &Repository, pages: &[Open], in_threads: bool) -> Result<Vec<Placed>, Error> {
    let place = |page: &Open| {
        let places = repository.index.lookup_for_reading(Contents::Trees, &page.id)?;
        Ok(Placed { page: *page, place: places.into_iter().next() })
    };
    let mut placed = match in_threads {
        true => pages.par_iter().map(place).collect::<Result<Vec<Placed>, Error>>()?,
        false => pages.iter().map(place).collect::<Result<Vec<Placed>, Error>>()?,
    };
    placed.sort_by_key(|placed| {
        let place = placed.place.as_ref();
        place.map_or((u64::MAX, 0, 0), |place| (place.pack.row, place.block, place.offset))
    });
    Ok(placed)
}

/// Reads a page: what it names, as far as it can be read, and what is wrong with it.
fn read(repository: &Repository, placed: &Placed) -> (Names, Result<(), Error>) {
    let mut names = Names::default();
    let (id, place) = (&placed.page.id, placed.place.as_ref());
    let result = match placed.page.kind {
        Kind::Tree => names.tree(repository, id, place),
        Kind::Contents => names.page(repository, id, place),
    };
    (names, result)
}

fn tell(
    by: u32,
    names: Names,
    walked: &mut Walked,
    found: &mut dyn Found,
    open: &mut Vec<Open>,
) -> Result<(), Error> {
    for id in &names.data {
        found.data(by, id)?;
    }
    for (kind, ids) in [(Kind::Tree, names.trees), (Kind::Contents, names.contents)] {
        for id in ids {
            let (number, is_new) = walked.number(kind, &id);
            found.names(by, number);
            if is_new {
                found.page(number, &id)?;
                open.push(Open { number, kind, id });
            }
        }
    }
    Ok(())
}

impl Names {
    fn segments(&mut self, segments: &[Segment]) {
        self.data.extend(segments.iter().filter_map(|segment| match segment.kind {
            SegmentKind::Data(id) => Some(id),
            _ => None,
        }));
    }

    fn tree(&mut self, repository: &Repository, id: &Id, place: Option<&Location>) -> Result<(), Error> {
        match repository.load_tree_at(id, place)? {
            Tree::Pages(_, pages) => self.trees.extend(pages.into_iter().map(|page| page.id)),
            Tree::Nodes(nodes) => {
                for node in nodes {
                    let node = node.map_err(|bad| Error::format(&format!("tree {id}"), bad.error))?;
                    self.node(node, id)?;
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, node: Node, tree: &Id) -> Result<(), Error> {
        let mut node = node;
        loop {
            self.trees.extend(node.tree);
            match &node.content {
                Content::Inline(segments) => self.segments(segments),
                Content::Page(page) => self.contents.push(*page),
            }
            for xattr in &node.xattrs {
                if let XattrValue::Chunk(id, _) = &xattr.value {
                    self.data.push(*id);
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

    fn page(&mut self, repository: &Repository, id: &Id, place: Option<&Location>) -> Result<(), Error> {
        match repository.load_content_page_at(id, place)? {
            ContentPage::Segments(segments) => self.segments(&segments),
            ContentPage::Pages(_, pages) => self.contents.extend(pages.into_iter().map(|(page, _)| page)),
        }
        Ok(())
    }
}

/// Gathers all there is.
struct Gathering<'g> {
    by: u32,
    gather: &'g mut Gather,
    /// Nothing may be unreadable.
    must_be_whole: bool,
}

impl Found for Gathering<'_> {
    fn page(&mut self, _: u32, id: &Id) -> Result<(), Error> {
        Ok(self.gather.add_sized(Contents::Trees, id, self.by)?)
    }

    fn data(&mut self, _: u32, id: &Id) -> Result<(), Error> {
        Ok(self.gather.add_sized(Contents::Data, id, self.by)?)
    }

    fn unreadable(&mut self, _: u32, error: Error) -> Result<(), Error> {
        if self.must_be_whole { Err(error) } else { Ok(()) }
    }
}

/// Gathers what the roots need; `by` stands with each chunk. Nothing of a root that was saved may be unreadable; of one that was never completed, what can not be
/// read is passed over.
pub(super) fn gather<'a>(
    run: &Run<'_>,
    roots: impl Iterator<Item = &'a Root>,
    by: u32,
    gather: &mut Gather,
) -> Result<(), Error> {
    let mut walked = Walked::default();
    for root in roots {
        let mut found = Gathering { gather: &mut *gather, by, must_be_whole: root.is_confirmed };
        walk(run, root, &mut walked, &mut found)?;
    }
    Ok(())
}
