//! What a pruner asks: all chunks that snapshots refer to, and where each of them lies.
//!
//! At 50 million chunks neither fits into memory: the used chunks are gathered in sorted runs (`runs.rs`), and then go side by side
//! with the rows of the index, both in order of the key, a page at a time.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row};

use super::hidden::contents_of;
use super::runs::{Reading, Runs};
use super::{Error, Index, chunks};
use crate::model::{Contents, Id, Id16};

/// Used chunks sorted in memory at a time: 48 MiB.
const BATCH: usize = 1 << 21;
/// Runs merged at a time: 17 MiB of buffers.
const RUNS_MAX: usize = 128;
/// Rows of the index looked at in one read transaction: about 3 MiB, with second copies.
const ROWS_PAGE: usize = 65_536;
/// Highest row of a pack that makes sense: a byte of memory for each.
const PACK_ROW_MAX: i64 = 1 << 28;

/// A chunk as the index knows it: by its kind and the first 16 bytes of its id. In the order of the index's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsedChunk {
    pub(super) key: i64,
    pub(super) confirm: i64,
    pub contents: Contents,
    /// The lowest rank among those who need it, where they have ranks (`References`); the length that it must have, where that is told
    /// (`Gather::add_sized`).
    pub rank: u32,
}

/// Where a chunk lies: the row of its pack (`PackInfo::row`), and where in the pack. Not compared with the pack's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub pack: u64,
    pub block: u32,
    pub offset: u32,
    pub length: u32,
}

/// Chunks that snapshots refer to, gathered in bounded memory: sorted runs in a temporary file, merged at the end.
pub struct Gather {
    runs: Runs,
    batch: Vec<UsedChunk>,
    batch_max: usize,
    runs_max: usize,
    /// A chunk with several ranks is told with each of them.
    every_rank: bool,
}

/// The gathered chunks: each once, in the order of the index's keys. They lie in a temporary file.
pub struct Used {
    runs: Runs,
}

impl UsedChunk {
    /// How the index knows a chunk.
    pub fn of(contents: Contents, id: &Id) -> UsedChunk {
        let (key, confirm) = chunks::key(contents, id);
        UsedChunk { key, confirm, contents, rank: 0 }
    }

    /// What tells it from others, whoever needs it.
    fn whole_key(&self) -> (i64, i64, Contents) {
        (self.key, self.confirm, self.contents)
    }

    /// Whether both are one, `every_rank` also of one rank.
    pub(super) fn is_same(&self, other: &UsedChunk, every_rank: bool) -> bool {
        self.whole_key() == other.whole_key() && (!every_rank || self.rank == other.rank)
    }

    /// The first 16 bytes of its id.
    pub fn id_begin(&self) -> Id16 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&chunks::prefix_of(self.contents, self.key).to_be_bytes());
        bytes[8..].copy_from_slice(&self.confirm.to_be_bytes());
        Id16(bytes)
    }
}

impl fmt::Display for UsedChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.id_begin())
    }
}

impl Gather {
    /// Begins; the temporary file (20 bytes a chunk, up to three times) lies in `folder`, without one in the system's folder for these.
    pub fn new(folder: Option<&Path>) -> Result<Gather, Error> {
        Gather::with(folder, BATCH, RUNS_MAX, false)
    }

    /// The same for chunks that are added with their lengths; one of several lengths comes once with each.
    pub fn sized(folder: Option<&Path>) -> Result<Gather, Error> {
        Gather::with(folder, BATCH, RUNS_MAX, true)
    }

    /// The same with other bounds.
    pub(super) fn with(
        folder: Option<&Path>,
        batch_max: usize,
        runs_max: usize,
        every_rank: bool,
    ) -> Result<Gather, Error> {
        let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
        // Taken whole, so that growing never has it twice; what is not used of it is no memory yet.
        let batch = Vec::with_capacity(batch_max);
        Ok(Gather { runs: Runs::new(&folder, every_rank)?, batch, batch_max, runs_max, every_rank })
    }

    /// Adds a chunk, as often as one likes. After an error nothing more is to be expected of it.
    pub fn add(&mut self, contents: Contents, id: &Id) -> Result<(), Error> {
        self.add_ranked(UsedChunk::of(contents, id))
    }

    /// Adds a chunk with the length that it must have, below 2^31, as often as one likes.
    pub fn add_sized(&mut self, contents: Contents, id: &Id, length: u32) -> Result<(), Error> {
        self.add_ranked(UsedChunk { rank: length, ..UsedChunk::of(contents, id) })
    }

    /// Adds a chunk with the rank of who needs it, below 2^31. Of a chunk that is added several times the lowest rank stays.
    pub(super) fn add_ranked(&mut self, chunk: UsedChunk) -> Result<(), Error> {
        self.batch.push(chunk);
        if self.batch.len() < self.batch_max {
            return Ok(());
        }
        self.sort();
        // Where most were there more than once, there is room for more.
        if self.batch.len() > self.batch_max / 2 {
            self.write()?;
            if self.runs.len() >= self.runs_max {
                self.runs = self.runs.merged()?;
            }
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.batch.sort_unstable();
        let every_rank = self.every_rank;
        self.batch.dedup_by(|chunk, before| chunk.is_same(before, every_rank));
    }

    fn write(&mut self) -> Result<(), Error> {
        self.runs.write(self.batch.iter().copied().map(Ok))?;
        self.batch.clear();
        Ok(())
    }

    /// Number of runs so far, for tests.
    #[cfg(test)]
    pub(super) fn runs(&self) -> &Runs {
        &self.runs
    }

    /// All that was added.
    pub fn finish(mut self) -> Result<Used, Error> {
        self.sort();
        if !self.batch.is_empty() {
            self.write()?;
        }
        drop(self.batch);
        let runs = if self.runs.len() > 1 { self.runs.merged()? } else { self.runs };
        Ok(Used { runs })
    }
}

impl Used {
    /// Number of chunks.
    pub fn len(&self) -> u64 {
        self.runs.first_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks, in order. An error ends them, and means that those before it are not to be relied on either.
    pub fn iter(&self) -> impl Iterator<Item = Result<UsedChunk, Error>> {
        self.reading()
    }

    fn reading(&self) -> Reading<'_> {
        self.runs.first()
    }

    /// The file, for tests.
    #[cfg(test)]
    pub(super) fn runs(&self) -> &Runs {
        &self.runs
    }
}

/// Which rows of packs there are, and what each pack holds: `places` of a chunk count only in packs of its kind.
#[derive(Default)]
struct PackKinds {
    /// Tells whether another pack came or went since: rows are never used twice, so highest row and number of chunks do.
    state: Option<(Option<i64>, i64)>,
    kinds: Vec<Option<Contents>>,
}

impl PackKinds {
    /// Reads them anew unless nothing changed.
    fn refresh(&mut self, reader: &Connection) -> Result<(), Error> {
        let query = "SELECT (SELECT max(id) FROM packs), value FROM meta WHERE key = 'chunks'";
        let state =
            reader.prepare_cached(query)?.query_row([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
        if self.state == Some(state) {
            return Ok(());
        }
        self.state = None;
        self.kinds.clear();
        let mut query = reader.prepare_cached("SELECT id, contents FROM packs ORDER BY id")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if !(0..=PACK_ROW_MAX).contains(&id) {
                return Err(Error::Damaged(format!("row {id} of a pack")));
            }
            self.kinds.resize(id as usize, None);
            // As in `places`, a pack that makes no sense answers nothing.
            self.kinds.push(row.get(1).map_err(Error::from).and_then(contents_of).ok());
        }
        self.state = Some(state);
        Ok(())
    }

    fn get(&self, row: i64) -> Option<Contents> {
        *self.kinds.get(usize::try_from(row).ok()?)?
    }
}

/// A row of either table: key, confirm, and where it says that the chunk lies.
type FoundRow = (i64, i64, i64, u32, u32, u32);

fn found(row: &Row<'_>) -> rusqlite::Result<FoundRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}

/// All places of the chunks from one key to another, as they were at one moment.
struct Page {
    rows: Vec<(UsedChunk, Place)>,
    /// The last key that is looked at; `None` when no more come.
    end: Option<i64>,
}

/// Reads at least `most` rows of both tables, unless there are fewer, and no key of them in part.
fn page(reader: &Connection, packs: &PackKinds, from: i64, most: usize) -> Result<Page, Error> {
    let select = |table: &str| {
        format!("SELECT key, confirm, pack, block, offset, length FROM {table} WHERE key >= ?1 ORDER BY key")
    };
    let mut one = reader.prepare_cached(&select("chunks"))?;
    let mut more = reader.prepare_cached(&select("more_chunks"))?;
    let (mut one, mut more) = (one.query([from])?, more.query([from])?);
    let mut next = [one.next()?.map(found).transpose()?, more.next()?.map(found).transpose()?];
    let (mut page, mut seen) = (Page { rows: Vec::new(), end: None }, 0);
    loop {
        let from_more = match &next {
            [Some(a), Some(b)] => b.0 < a.0,
            [first, _] => first.is_none(),
        };
        let Some((key, confirm, pack, block, offset, length)) = next[usize::from(from_more)] else {
            page.end = None;
            break;
        };
        if seen >= most && page.end != Some(key) {
            break;
        }
        (page.end, seen) = (Some(key), seen + 1);
        if let Some(contents) = packs.get(pack) {
            let place = Place { pack: pack as u64, block, offset, length };
            page.rows.push((UsedChunk { key, confirm, contents, rank: 0 }, place));
        }
        let rows = if from_more { &mut more } else { &mut one };
        next[usize::from(from_more)] = rows.next()?.map(found).transpose()?;
    }
    // A key's rows are not in order among themselves, and one may stand in both tables.
    page.rows.sort();
    page.rows.dedup();
    Ok(page)
}

impl Index {
    /// Tells `each` of every used chunk, in order of the key, with all its places in packs that are there, whether they may be relied
    /// on or not; none when it is in no pack. The places of one chunk are those of one moment; `each` may use and change the index.
    pub fn each_used<E: From<Error>>(
        &self,
        used: &Used,
        each: &mut dyn FnMut(UsedChunk, &[Place]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_used_by(ROWS_PAGE, used, each)
    }

    /// The same with pages of another size.
    pub(super) fn each_used_by<E: From<Error>>(
        &self,
        rows_page: usize,
        used: &Used,
        each: &mut dyn FnMut(UsedChunk, &[Place]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut used = used.reading();
        let mut next = used.next().transpose()?;
        let (mut packs, mut places) = (PackKinds::default(), Vec::new());
        while let Some(first) = next {
            self.flush()?;
            let page = {
                let reader = self.steady_reader();
                packs.refresh(&reader)?;
                page(&reader, &packs, first.key, rows_page)?
            };
            let mut rows = &page.rows[..];
            while let Some(chunk) = next.filter(|chunk| page.end.is_none_or(|end| chunk.key <= end)) {
                let unranked = UsedChunk { rank: 0, ..chunk };
                let before = rows.iter().take_while(|row| row.0 < unranked).count();
                rows = &rows[before..];
                let count = rows.iter().take_while(|row| row.0 == unranked).count();
                places.clear();
                places.extend(rows[..count].iter().map(|row| row.1));
                each(chunk, &places)?;
                next = used.next().transpose()?;
            }
        }
        Ok(())
    }
}
