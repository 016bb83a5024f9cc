//! Long files' lists of contents as they lie in the repository: walking their pages without holding a whole list.

use super::trees::{malformed, wrong};
use super::{Error, Repository};
use crate::format::content::{self, ContentPage};
use crate::format::limits::SEGMENTS_PAGE_MIN;
use crate::index::Location;
use crate::model::{Content, Contents, Id, Segment, SegmentKind};

/// What a hole is given as, a piece at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Who is led through a list of contents, in order.
pub trait Visitor {
    fn segment(&mut self, segment: Segment) -> Result<(), Error>;

    /// Before a page is read; whether to go into it.
    fn enter(&mut self, _page: &Page) -> bool {
        true
    }

    /// After all of a page that was gone into.
    fn leave(&mut self, _page: &Page) {}
}

/// A page as the one above names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    pub id: Id,
    /// Bytes that it must cover.
    pub covers: u64,
    /// The level it must have, when that is known.
    pub level: Option<u64>,
    /// Nothing of the file comes after it: only then may it hold few entries.
    pub is_last: bool,
}

struct Segments<'a>(&'a mut dyn FnMut(Segment) -> Result<(), Error>);

impl Visitor for Segments<'_> {
    fn segment(&mut self, segment: Segment) -> Result<(), Error> {
        (self.0)(segment)
    }
}

fn sum(mut lengths: impl Iterator<Item = u64>) -> Option<u64> {
    lengths.try_fold(0u64, u64::checked_add)
}

impl Repository {
    /// Gives a file's segments to `each`, in order, page by page. Checks that they add up to `size`.
    pub fn segments(
        &self,
        content: &Content,
        size: u64,
        each: &mut dyn FnMut(Segment) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.visit(content, size, &mut Segments(each))
    }

    /// The same for a visitor that is also told of the pages.
    pub fn visit(&self, content: &Content, size: u64, visitor: &mut dyn Visitor) -> Result<(), Error> {
        match content {
            Content::Inline(segments) => segments.iter().try_for_each(|segment| visitor.segment(*segment)),
            Content::Page(id) => {
                self.visit_page(Page { id: *id, covers: size, level: None, is_last: true }, visitor)
            }
        }
    }

    /// Gives a file's bytes to `each`, in order, a piece at a time; holes are zeros. What a repair marked as lost is an error, never
    /// zeros. Errors: those of the first piece that does not come whole, with nothing given of it; `each`'s own.
    pub fn pour(
        &self,
        content: &Content,
        size: u64,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wrong = |what: &str| Error::Damaged { object: "the content".to_owned(), what: what.to_owned() };
        let mut given = 0u64;
        self.segments(content, size, &mut |segment| {
            given = given.saturating_add(segment.length);
            if given > size {
                return Err(wrong("it is longer than the file"));
            }
            match segment.kind {
                SegmentKind::Gap => Err(wrong("part of it is lost, as a repair marked it")),
                SegmentKind::Data(id) => {
                    let chunk = self.read_chunk(Contents::Data, &id)?;
                    if chunk.len() as u64 != segment.length {
                        return Err(wrong("a piece has another length"));
                    }
                    each(&chunk)
                }
                SegmentKind::Hole => {
                    let mut left = segment.length;
                    while left > 0 {
                        let part = left.min(ZEROS.len() as u64);
                        each(&ZEROS[..part as usize])?;
                        left -= part;
                    }
                    Ok(())
                }
            }
        })?;
        if given < size { Err(wrong("it is shorter than the file")) } else { Ok(()) }
    }

    /// One page of a list of contents.
    pub fn load_content_page(&self, id: &Id) -> Result<ContentPage, Error> {
        content::decode_page(&self.read_page(id)?).map_err(|error| wrong(id, error))
    }

    /// The same from where it is believed to lie.
    pub fn load_content_page_at(&self, id: &Id, place: Option<&Location>) -> Result<ContentPage, Error> {
        content::decode_page(&self.read_chunk_near(Contents::Trees, id, place)?)
            .map_err(|error| wrong(id, error))
    }

    /// One page of a list of contents, held to what the one above says of it.
    pub fn content_page(&self, page: &Page) -> Result<ContentPage, Error> {
        let content = self.load_content_page(&page.id)?;
        let (level, total) = match &content {
            ContentPage::Segments(segments) => (0, sum(segments.iter().map(|segment| segment.length))),
            ContentPage::Pages(level, pages) => (*level, sum(pages.iter().map(|(_, length)| *length))),
        };
        let wrong = match () {
            () if page.level.is_some_and(|wanted| wanted != level) => "a page of another level",
            () if !page.is_last && content.len() < SEGMENTS_PAGE_MIN => "a page of few entries amid others",
            () if total != Some(page.covers) => "covers another length than it should",
            () => return Ok(content),
        };
        Err(malformed(&page.id, wrong))
    }

    /// Whether a content page and all below it are stored, by the word of `stored`.
    pub fn content_pages_stored(
        &self,
        id: &Id,
        stored: &dyn Fn(&Id) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        if !stored(id)? {
            return Ok(false);
        }
        let ContentPage::Pages(level, pages) = self.load_content_page(id)? else { return Ok(true) };
        for (below, _) in pages {
            // Level 1 names pages of segments: no need to open those again.
            let all = if level == 1 { stored(&below)? } else { self.content_pages_stored(&below, stored)? };
            if !all {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn visit_page(&self, page: Page, visitor: &mut dyn Visitor) -> Result<(), Error> {
        if !visitor.enter(&page) {
            return Ok(());
        }
        let Page { id, covers, level, is_last } = page;
        let mut total = 0u64;
        let mut add = |length: u64| {
            total = total
                .checked_add(length)
                .filter(|total| *total <= covers)
                .ok_or_else(|| malformed(&id, "covers more than it should"))?;
            Ok::<(), Error>(())
        };
        let content = self.load_content_page(&id)?;
        if !is_last && content.len() < SEGMENTS_PAGE_MIN {
            return Err(malformed(&id, "a page of few entries amid others"));
        }
        match content {
            ContentPage::Segments(segments) if level.is_none_or(|level| level == 0) => {
                for segment in segments {
                    add(segment.length)?;
                    visitor.segment(segment)?;
                }
            }
            ContentPage::Pages(own, pages) if level.is_none_or(|level| level == own) => {
                let ends = pages.len();
                for (place, (below, length)) in pages.into_iter().enumerate() {
                    add(length)?;
                    let is_last = is_last && place + 1 == ends;
                    let below = Page { id: below, covers: length, level: Some(own - 1), is_last };
                    self.visit_page(below, visitor)?;
                }
            }
            _ => return Err(malformed(&id, "a page of another level")),
        }
        if total != covers {
            return Err(malformed(&id, "covers less than it should"));
        }
        visitor.leave(&page);
        Ok(())
    }
}
