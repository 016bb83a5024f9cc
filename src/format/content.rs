//! A file's content as bytes: lists of segments, and pages of them when a list is long. docs/format.md, section 7.

use super::record::{Cursor, Reader, Writer, put_varint};
use super::{Error, limits};
use crate::model::{Id, Segment, SegmentKind};

/// The longest segment that its word holds.
pub const SEGMENT_MAX: u64 = u64::MAX >> 2;

/// Encodes a list of segments.
pub fn encode_segments(segments: &[Segment]) -> Vec<u8> {
    let mut out = Vec::with_capacity(segments.len() * 36 + 2);
    put_varint(&mut out, segments.len() as u64);
    for segment in segments {
        let (kind, id) = match &segment.kind {
            SegmentKind::Data(id) => (0, Some(id)),
            SegmentKind::Hole => (1, None),
            SegmentKind::Gap => (2, None),
        };
        put_varint(&mut out, segment.length << 2 | kind);
        if let Some(id) = id {
            out.extend_from_slice(&id.0);
        }
    }
    out
}

/// Reads a list of at most `most` segments.
pub fn decode_segments(bytes: &[u8], most: usize) -> Result<Vec<Segment>, Error> {
    let mut cursor = Cursor(bytes);
    let count = cursor.varint()?;
    if count > most as u64 || count > bytes.len() as u64 {
        return Err(Error::Malformed("too many segments"));
    }
    let mut segments = Vec::with_capacity(count as usize);
    let mut total = 0u64;
    for _ in 0..count {
        let word = cursor.varint()?;
        let length = word >> 2;
        let kind = match word & 3 {
            0 => SegmentKind::Data(Id(cursor.array()?)),
            1 => SegmentKind::Hole,
            2 => SegmentKind::Gap,
            _ => return Err(Error::Unsupported("segment kind 3".to_owned())),
        };
        if length == 0 || matches!(kind, SegmentKind::Data(_)) && length > limits::CHUNK_MAX as u64 {
            return Err(Error::Malformed("a segment's length makes no sense"));
        }
        total = total.checked_add(length).ok_or(Error::Malformed("segments overflow"))?;
        segments.push(Segment { kind, length });
    }
    if cursor.is_empty() { Ok(segments) } else { Err(Error::Malformed("more than its segments")) }
}

/// Holds one list of a file's segments to what every writer keeps, so that there are never many beside the bytes that they stand for:
/// only the last of a run of data is short, only the last hole or gap of a list is, and neither follows another.
pub fn check_runs(segments: &[Segment]) -> Result<(), Error> {
    let is_data = |segment: &Segment| matches!(segment.kind, SegmentKind::Data(_));
    let is_sound = segments.windows(2).all(|pair| match (is_data(&pair[0]), is_data(&pair[1])) {
        (true, false) => true,
        (false, false) => pair[0].length == SEGMENT_MAX,
        (_, true) => pair[0].length >= limits::SEGMENT_MIN,
    });
    if is_sound { Ok(()) } else { Err(Error::Malformed("segments shorter or more than any file needs")) }
}

/// One page of a long content list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentPage {
    /// Level 0: the segments.
    Segments(Vec<Segment>),
    /// A level above: pages below with the bytes that each covers.
    Pages(u64, Vec<(Id, u64)>),
}

impl ContentPage {
    /// How many entries it holds.
    pub fn len(&self) -> usize {
        match self {
            ContentPage::Segments(segments) => segments.len(),
            ContentPage::Pages(_, pages) => pages.len(),
        }
    }

    /// Whether it holds none, which no page does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Encodes a content page.
pub fn encode_page(page: &ContentPage) -> Vec<u8> {
    let mut writer = Writer::default();
    match page {
        ContentPage::Segments(segments) => {
            writer.field(11, true, &[0]).field(12, true, &encode_segments(segments))
        }
        ContentPage::Pages(level, pages) => writer.int(11, true, *level).list(
            13,
            true,
            pages.iter().map(|(id, length)| {
                let mut writer = Writer::default();
                writer.id(1, true, Some(id)).int(2, true, *length);
                writer.finish()
            }),
        ),
    };
    writer.finish()
}

fn decode_reference(bytes: &[u8]) -> Result<(Id, u64), Error> {
    let (mut id, mut length) = (None, 0);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => id = Some(field.id()?),
            2 => length = field.int()?,
            _ => field.unknown()?,
        }
    }
    match id {
        Some(id) if length > 0 => Ok((id, length)),
        _ => Err(Error::Malformed("a page reference lacks its id or length")),
    }
}

/// Reads a content page.
pub fn decode_page(bytes: &[u8]) -> Result<ContentPage, Error> {
    let (mut level, mut segments, mut pages) = (0, None, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            11 => level = field.int()?,
            12 => {
                let list = decode_segments(field.value, limits::SEGMENTS_INLINE)?;
                check_runs(&list)?;
                segments = Some(list);
            }
            13 => pages = field.list(limits::SEGMENTS_INLINE, decode_reference)?,
            1 | 2 => return Err(Error::Foreign("a folder's page in the place of a file's")),
            _ => field.unknown()?,
        }
    }
    match segments {
        Some(segments) if level == 0 && pages.is_empty() => Ok(ContentPage::Segments(segments)),
        None if (1..=limits::LEVEL_MAX).contains(&level) => Ok(ContentPage::Pages(level, pages)),
        _ => Err(Error::Malformed("a content page makes no sense")),
    }
}

/// Whether a content page of that level may end after the entry with that id; after a hole only its length ends it.
pub fn page_ends_after(id: Option<&Id>, entries: usize, level: usize) -> bool {
    entries >= limits::SEGMENTS_INLINE
        || entries >= limits::SEGMENTS_PAGE_MIN
            && id
                .is_some_and(|id| u16::from_le_bytes(id.0.as_chunks::<2>().0[level % 16]).is_multiple_of(512))
}
