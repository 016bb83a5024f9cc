//! Where the bytes of a file lie: its list of contents, page by page as it is asked for. However long a file is, few pages of its list
//! are held, and reading in it fetches only what is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::format::content::ContentPage;
use crate::locks::lock;
use crate::model::{Content, Node, Segment, SegmentKind};
use crate::repository::Error;
use crate::repository::contents::Page;

/// Bytes that an open page of a list takes at most, about.
const PAGE_WEIGHT: usize = 64 << 10;

/// What stands in one page of a list.
enum Entries {
    Segments(Vec<Segment>),
    Pages(Vec<Page>),
}

/// A page of a list, and where each of its entries ends, counted from where the page begins.
pub struct Map {
    ends: Vec<u64>,
    entries: Entries,
}

/// A file's list of contents.
#[derive(Clone)]
pub struct Body {
    pub size: u64,
    root: Root,
}

#[derive(Clone)]
enum Root {
    Inline(Arc<Map>),
    Page(Page),
}

/// Pages of lists that were looked at last.
pub struct Maps {
    most: usize,
    kept: Mutex<(u64, HashMap<Page, (u64, Arc<Map>)>)>,
}

/// A segment and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub start: u64,
    pub segment: Segment,
}

impl Found {
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.segment.length)
    }
}

fn ends(lengths: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut end = 0u64;
    lengths
        .map(|length| {
            end = end.saturating_add(length);
            end
        })
        .collect()
}

impl Map {
    fn of_segments(segments: Vec<Segment>) -> Map {
        Map {
            ends: ends(segments.iter().map(|segment| segment.length)),
            entries: Entries::Segments(segments),
        }
    }

    fn of_page(page: &Page, content: ContentPage) -> Map {
        match content {
            ContentPage::Segments(segments) => Map::of_segments(segments),
            ContentPage::Pages(level, pages) => {
                let count = pages.len();
                let below = |(place, (id, covers)): (usize, _)| Page {
                    id,
                    covers,
                    level: Some(level.saturating_sub(1)),
                    is_last: page.is_last && place + 1 == count,
                };
                let ends = ends(pages.iter().map(|(_, covers)| *covers));
                Map { ends, entries: Entries::Pages(pages.into_iter().enumerate().map(below).collect()) }
            }
        }
    }

    /// The entry in which a place lies, and where that begins.
    fn at(&self, offset: u64) -> Option<(usize, u64)> {
        let place = self.ends.partition_point(|end| *end <= offset);
        let before = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        (place < self.ends.len()).then_some((place, before.unwrap_or(0)))
    }
}

impl Body {
    /// The contents of a file.
    pub fn new(node: &Node) -> Body {
        let root = match &node.content {
            Content::Inline(segments) => Root::Inline(Arc::new(Map::of_segments(segments.clone()))),
            Content::Page(id) => Root::Page(Page { id: *id, covers: node.size, level: None, is_last: true }),
        };
        Body { size: node.size, root }
    }
}

impl Maps {
    /// Keeps about so many bytes of lists.
    pub fn new(memory: usize) -> Maps {
        Maps { most: (memory / PAGE_WEIGHT).max(4), kept: Mutex::default() }
    }

    /// The segment in which a place of a file lies; none at its end and behind it. `load` reads a page.
    pub fn find(
        &self,
        body: &Body,
        offset: u64,
        load: &dyn Fn(&Page) -> Result<ContentPage, Error>,
    ) -> Result<Option<Found>, Error> {
        let mut base = 0u64;
        let mut map = match &body.root {
            Root::Inline(map) => map.clone(),
            Root::Page(page) => self.page(page, load)?,
        };
        loop {
            let Some((place, start)) = map.at(offset.saturating_sub(base)) else { return Ok(None) };
            base = base.saturating_add(start);
            map = match &map.entries {
                Entries::Segments(segments) => {
                    return Ok(segments.get(place).map(|segment| Found { start: base, segment: *segment }));
                }
                // Each level is one less than the one above: the pages themselves were held to it.
                Entries::Pages(pages) => match pages.get(place) {
                    Some(page) => self.page(page, load)?,
                    None => return Ok(None),
                },
            };
        }
    }

    fn page(
        &self,
        page: &Page,
        load: &dyn Fn(&Page) -> Result<ContentPage, Error>,
    ) -> Result<Arc<Map>, Error> {
        {
            let (clock, kept) = &mut *lock(&self.kept);
            *clock += 1;
            if let Some((used, map)) = kept.get_mut(page) {
                *used = *clock;
                return Ok(map.clone());
            }
        }
        let map = Arc::new(Map::of_page(page, load(page)?));
        let (clock, kept) = &mut *lock(&self.kept);
        kept.insert(*page, (*clock, map.clone()));
        while kept.len() > self.most {
            let oldest = kept.iter().min_by_key(|(_, (used, _))| *used).map(|(page, _)| *page);
            match oldest {
                Some(oldest) => kept.remove(&oldest),
                None => break,
            };
        }
        Ok(map)
    }

    /// The first place from `offset` on that is data, or that is a hole; the end of the file counts as a hole. None when there is none.
    pub fn seek(
        &self,
        body: &Body,
        offset: u64,
        wants_hole: bool,
        load: &dyn Fn(&Page) -> Result<ContentPage, Error>,
    ) -> Result<Option<u64>, Error> {
        let mut at = offset;
        if at >= body.size {
            return Ok(None);
        }
        while at < body.size {
            let Some(found) = self.find(body, at, load)? else { break };
            if (found.segment.kind == SegmentKind::Hole) == wants_hole {
                return Ok(Some(at));
            }
            at = found.end();
        }
        Ok(wants_hole.then_some(body.size))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::{Id, NodeType};

    fn data(id: u8, length: u64) -> Segment {
        Segment { kind: SegmentKind::Data(Id([id; 32])), length }
    }

    fn hole(length: u64) -> Segment {
        Segment { kind: SegmentKind::Hole, length }
    }

    fn file(segments: Vec<Segment>) -> Node {
        let mut node = Node::new(b"file", NodeType::File);
        node.size = segments.iter().map(|segment| segment.length).sum();
        node.content = Content::Inline(segments);
        node
    }

    fn nothing(_: &Page) -> Result<ContentPage, Error> {
        panic!("no page is asked for")
    }

    #[test]
    fn each_place_lies_in_its_segment_and_none_behind_the_end() {
        let body = Body::new(&file(vec![data(1, 100), hole(50), data(2, 1)]));
        let maps = Maps::new(0);
        let find = |offset| {
            maps.find(&body, offset, &nothing).unwrap().map(|found| (found.start, found.segment.length))
        };
        for (offset, found) in [
            (0, Some((0, 100))),
            (99, Some((0, 100))),
            (100, Some((100, 50))),
            (149, Some((100, 50))),
            (150, Some((150, 1))),
            (151, None),
            (u64::MAX, None),
        ] {
            assert_eq!(find(offset), found, "{offset}");
        }
        let empty = Body::new(&file(vec![]));
        assert_eq!(maps.find(&empty, 0, &nothing).unwrap(), None);
    }

    #[test]
    fn data_and_holes_are_found_from_any_place() {
        let body = Body::new(&file(vec![hole(10), data(1, 100), hole(50), data(2, 5)]));
        let maps = Maps::new(0);
        let seek = |offset, wants_hole| maps.seek(&body, offset, wants_hole, &nothing).unwrap();
        assert_eq!([seek(0, false), seek(10, false), seek(11, false)], [Some(10), Some(10), Some(11)]);
        assert_eq!([seek(110, false), seek(164, false), seek(165, false)], [Some(160), Some(164), None]);
        assert_eq!([seek(0, true), seek(10, true), seek(111, true)], [Some(0), Some(110), Some(111)]);
        assert_eq!([seek(160, true), seek(165, true)], [Some(165), None]);
        let ends_in_a_hole = Body::new(&file(vec![data(1, 5), hole(10)]));
        assert_eq!(maps.seek(&ends_in_a_hole, 7, false, &nothing).unwrap(), None);
    }

    /// Two levels of pages: 4 pages of 2 segments of 10 bytes.
    fn load(page: &Page) -> ContentPage {
        match page.id.0[0] {
            100 => ContentPage::Pages(1, (0..4).map(|number| (Id([number; 32]), 20)).collect()),
            number => ContentPage::Segments(vec![data(number * 2, 10), data(number * 2 + 1, 10)]),
        }
    }

    #[test]
    fn only_pages_on_the_way_are_read_and_few_are_held() {
        let mut node = Node::new(b"long", NodeType::File);
        node.size = 80;
        node.content = Content::Page(Id([100; 32]));
        let body = Body::new(&node);
        let maps = Maps::new(0);
        let reads = Cell::new(0);
        let counted = |page: &Page| {
            reads.set(reads.get() + 1);
            assert_eq!(page.is_last, page.id.0[0] == 100 || page.id.0[0] == 3);
            Ok(load(page))
        };
        for offset in [75, 0, 9, 10, 79] {
            let found = maps.find(&body, offset, &counted).unwrap().unwrap();
            assert_eq!(found.segment, data((offset / 10) as u8, 10));
            assert_eq!(found.start, offset / 10 * 10);
        }
        assert_eq!(reads.get(), 3, "the root, the last page and the first one");
        for offset in (0..80).chain(0..80) {
            assert_eq!(maps.find(&body, offset, &counted).unwrap().unwrap().start, offset / 10 * 10);
        }
        assert!(lock(&maps.kept).1.len() <= 4);
        assert_eq!(maps.find(&body, 80, &counted).unwrap(), None);
    }
}
