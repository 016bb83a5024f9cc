//! Building trees and content lists: pages are stored as they fill, so that no directory and no file is held whole.

use crate::format::content::{self, ContentPage};
use crate::format::limits::PAGE_BYTES;
use crate::format::tree::{self, PageReference};
use crate::model::{Content, Contents, Id, Segment, SegmentKind};
use crate::repository::{Error, store::Store};

/// Collects a directory's encoded nodes in order of name and stores them page by page.
pub struct TreeBuilder<'s> {
    store: &'s Store<'s>,
    worker: usize,
    nodes: Vec<Vec<u8>>,
    bytes: usize,
    last: Vec<u8>,
    /// Pages of each level above the nodes.
    levels: Vec<Vec<PageReference>>,
}

impl<'s> TreeBuilder<'s> {
    pub fn new(store: &'s Store<'s>, worker: usize) -> TreeBuilder<'s> {
        TreeBuilder { store, worker, nodes: Vec::new(), bytes: 0, last: Vec::new(), levels: Vec::new() }
    }

    /// Adds an encoded node of that name.
    pub fn push(&mut self, name: &[u8], node: Vec<u8>) -> Result<(), Error> {
        if !self.nodes.is_empty() && self.bytes + node.len() > PAGE_BYTES {
            self.end_nodes()?;
        }
        self.bytes += node.len();
        self.nodes.push(node);
        self.last.clear();
        self.last.extend_from_slice(name);
        if tree::page_ends_after(name, self.nodes.len(), 0) { self.end_nodes() } else { Ok(()) }
    }

    fn end_nodes(&mut self) -> Result<(), Error> {
        let bytes = tree::encode_nodes(&self.nodes);
        let (id, _) = self.store.save(self.worker, Contents::Trees, &bytes)?;
        let page = PageReference { id, entries: self.nodes.len() as u64, last: self.last.clone() };
        self.nodes.clear();
        self.bytes = 0;
        self.push_page(0, page)
    }

    fn push_page(&mut self, level: usize, page: PageReference) -> Result<(), Error> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let ends = tree::page_ends_after(&page.last, self.levels[level].len() + 1, level + 1);
        self.levels[level].push(page);
        if ends { self.end_level(level) } else { Ok(()) }
    }

    fn end_level(&mut self, level: usize) -> Result<(), Error> {
        let pages = std::mem::take(&mut self.levels[level]);
        let Some(last) = pages.last() else { return Ok(()) };
        let page = PageReference {
            id: Id::default(),
            entries: pages.iter().map(|page| page.entries).sum(),
            last: last.last.clone(),
        };
        let bytes = tree::encode_pages(level as u64 + 1, &pages);
        let (id, _) = self.store.save(self.worker, Contents::Trees, &bytes)?;
        self.push_page(level + 1, PageReference { id, ..page })
    }

    /// Ends the directory and gives the id of its first page.
    pub fn finish(mut self) -> Result<Id, Error> {
        if self.levels.is_empty() {
            let bytes = tree::encode_nodes(&self.nodes);
            return Ok(self.store.save(self.worker, Contents::Trees, &bytes)?.0);
        }
        if !self.nodes.is_empty() {
            self.end_nodes()?;
        }
        let mut level = 0;
        loop {
            if level + 1 == self.levels.len() && self.levels[level].len() == 1 {
                return Ok(self.levels[level][0].id);
            }
            if !self.levels[level].is_empty() {
                self.end_level(level)?;
            }
            level += 1;
        }
    }
}

/// Collects a file's segments and stores them as pages when there are many.
pub struct ContentBuilder<'s> {
    store: &'s Store<'s>,
    worker: usize,
    segments: Vec<Segment>,
    /// Pages of each level above the segments: id and bytes covered.
    levels: Vec<Vec<(Id, u64)>>,
}

impl<'s> ContentBuilder<'s> {
    pub fn new(store: &'s Store<'s>, worker: usize) -> ContentBuilder<'s> {
        ContentBuilder { store, worker, segments: Vec::new(), levels: Vec::new() }
    }

    /// Adds a segment. A hole longer than any segment becomes several; no two others may follow each other.
    pub fn push(&mut self, mut segment: Segment) -> Result<(), Error> {
        while segment.length > content::SEGMENT_MAX {
            segment.length -= content::SEGMENT_MAX;
            self.push(Segment { length: content::SEGMENT_MAX, ..segment })?;
        }
        // Until they are too many they stay together: a page is only cut when there is a second one.
        if self.levels.is_empty() && self.segments.len() == crate::format::limits::SEGMENTS_INLINE {
            for segment in std::mem::take(&mut self.segments) {
                self.levels.resize_with(1, Vec::new);
                self.push_paged(segment)?;
            }
        }
        if self.levels.is_empty() {
            self.segments.push(segment);
            return Ok(());
        }
        self.push_paged(segment)
    }

    fn push_paged(&mut self, segment: Segment) -> Result<(), Error> {
        self.segments.push(segment);
        let id = match &segment.kind {
            SegmentKind::Data(id) => Some(id),
            _ => None,
        };
        if content::page_ends_after(id, self.segments.len(), 0) { self.end_segments() } else { Ok(()) }
    }

    fn end_segments(&mut self) -> Result<(), Error> {
        let segments = std::mem::take(&mut self.segments);
        let covers = segments.iter().map(|segment| segment.length).sum();
        let bytes = content::encode_page(&ContentPage::Segments(segments));
        let (id, _) = self.store.save(self.worker, Contents::Trees, &bytes)?;
        self.push_page(0, (id, covers))
    }

    fn push_page(&mut self, level: usize, page: (Id, u64)) -> Result<(), Error> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(page);
        let ends = content::page_ends_after(Some(&page.0), self.levels[level].len(), level + 1);
        if ends { self.end_level(level) } else { Ok(()) }
    }

    fn end_level(&mut self, level: usize) -> Result<(), Error> {
        let pages = std::mem::take(&mut self.levels[level]);
        let covers = pages.iter().map(|page| page.1).sum();
        let bytes = content::encode_page(&ContentPage::Pages(level as u64 + 1, pages));
        let (id, _) = self.store.save(self.worker, Contents::Trees, &bytes)?;
        self.push_page(level + 1, (id, covers))
    }

    /// Ends the list.
    pub fn finish(mut self) -> Result<Content, Error> {
        if self.levels.is_empty() {
            return Ok(Content::Inline(self.segments));
        }
        if !self.segments.is_empty() {
            self.end_segments()?;
        }
        let mut level = 0;
        loop {
            if level + 1 == self.levels.len() && self.levels[level].len() == 1 {
                return Ok(Content::Page(self.levels[level][0].0));
            }
            if !self.levels[level].is_empty() {
                self.end_level(level)?;
            }
            level += 1;
        }
    }
}
