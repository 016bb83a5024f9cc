//! What is read from the repository while it is mounted, and what is kept of it. Others may write, forget and prune meanwhile: snapshots
//! are looked for again, and what is not found where it was is looked for where it may be now.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use super::content::{Body, Found, Maps};
use super::links::Links;
use super::told::{Hit, Told};
use super::view::View;
use crate::backend::Kind;
use crate::format::content::ContentPage;
use crate::locks::lock;
use crate::model::{Content, Contents, Id, Node, Segment, SegmentKind, Xattr, XattrValue};
use crate::repository::contents::Page;
use crate::repository::folders::Folders;
use crate::repository::reader::Chunk;
use crate::repository::{Error, Repository, caught};

/// How often it is looked for snapshots at most.
pub const LOOK: Duration = Duration::from_secs(3);
/// For how long it is not looked again for what was not there.
const LOST: Duration = Duration::from_secs(10);
/// How much of what was not there is remembered.
const LOST_MOST: usize = 10_000;
/// Shares of the memory: blocks, pages of folders, lists of contents.
const BLOCKS_SHARE: usize = 4;
const FOLDERS_SHARE: usize = 8;
const MAPS_SHARE: usize = 32;
/// Chunks that were read last, which need not be looked up and compared with their ids again: reads are often shorter than chunks. Each
/// keeps its block.
const RECENT: usize = 8;
/// Segments of one file that are counted for the room it takes; what comes behind them counts as data.
const COUNTED: u64 = 4 << 20;
/// Files with long lists of which that is remembered.
const ROOMS: usize = 4096;

/// Whose newest snapshot is `latest`.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: Vec<u8>,
    /// It was not named, but is where this runs.
    pub is_own: bool,
}

/// Why bytes of a file can not be given.
pub enum Missing {
    Error(Error),
    /// A repair marked these bytes as lost.
    Gap(Found),
}

impl From<Error> for Missing {
    fn from(error: Error) -> Missing {
        Missing::Error(error)
    }
}

/// A repository that is looked at.
pub struct Shelf {
    pub repository: Arc<Repository>,
    pub told: Told,
    host: Host,
    folders: Folders,
    maps: Maps,
    links: Links,
    recent: Mutex<VecDeque<(Id, Chunk)>>,
    rooms: Mutex<HashMap<Id, u64>>,
    view: Mutex<Arc<View>>,
    looked: Mutex<Option<Instant>>,
    synced: Mutex<Option<Instant>>,
    lost: Mutex<HashMap<Id, Instant>>,
}

impl Shelf {
    /// Looks for snapshots. About so many bytes are kept in memory.
    pub fn new(repository: Arc<Repository>, host: Host, memory: u64, told: Told) -> Result<Shelf, Error> {
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        repository.keep_blocks(memory / BLOCKS_SHARE);
        let all = repository.snapshots()?;
        let view = View::new(&all, &host.name, host.is_own);
        let shelf = Shelf {
            repository,
            told,
            host,
            folders: Folders::new(memory / FOLDERS_SHARE),
            maps: Maps::new(memory / MAPS_SHARE),
            links: Links::default(),
            recent: Mutex::default(),
            rooms: Mutex::default(),
            view: Mutex::new(Arc::new(view)),
            looked: Mutex::new(Some(Instant::now())),
            synced: Mutex::default(),
            lost: Mutex::default(),
        };
        all.problems.iter().for_each(|problem| shelf.told.error(Vec::new(), problem));
        Ok(shelf)
    }

    /// The snapshots that were there when it was last looked.
    pub fn known(&self) -> Arc<View> {
        lock(&self.view).clone()
    }

    /// The snapshots there are; looks for them when it is time.
    pub fn view(&self) -> Arc<View> {
        let looked = match self.looked.try_lock() {
            Ok(looked) => Some(looked),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            // Somebody is at it.
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut looked) = looked
            && looked.is_none_or(|looked| looked.elapsed() >= LOOK)
        {
            if let Err(error) = self.look() {
                self.told.error(Vec::new(), &error);
            }
            *looked = Some(Instant::now());
        }
        self.known()
    }

    fn look(&self) -> Result<(), Error> {
        self.synchronise(Instant::now())?;
        let all = self.repository.snapshots()?;
        all.problems.iter().for_each(|problem| self.told.error(Vec::new(), problem));
        *lock(&self.view) = Arc::new(View::new(&all, &self.host.name, self.host.is_own));
        Ok(())
    }

    /// Sees to it that the index is no older than that.
    fn synchronise(&self, since: Instant) -> Result<(), Error> {
        let mut synced = lock(&self.synced);
        if synced.is_some_and(|synced| synced > since) {
            return Ok(());
        }
        let begun = Instant::now();
        self.repository.sync()?;
        *synced = Some(begun);
        Ok(())
    }

    /// Reads, and once more when it was not there: another process may have moved it meanwhile.
    fn read<T>(&self, id: &Id, read: impl Fn(&Repository) -> Result<T, Error>) -> Result<T, Error> {
        let begun = Instant::now();
        let error = match read(&self.repository) {
            Err(error) if error.is_damage() => error,
            other => return other,
        };
        if !self.look_elsewhere(id, begun)? {
            return Err(error);
        }
        read(&self.repository).inspect_err(|_| self.give_up(id))
    }

    /// Whether something that was not where it was looked for, `begun` then, may be found now: all that others did is known. False when
    /// that was tried a short while ago.
    pub fn look_elsewhere(&self, id: &Id, begun: Instant) -> Result<bool, Error> {
        if lock(&self.lost).get(id).is_some_and(|lost| lost.elapsed() < LOST) {
            return Ok(false);
        }
        self.synchronise(begun).map(|()| true)
    }

    /// It is not to be found, wherever it is looked for.
    pub fn give_up(&self, id: &Id) {
        let mut lost = lock(&self.lost);
        if lost.len() >= LOST_MOST {
            lost.clear();
        }
        lost.insert(*id, Instant::now());
    }

    /// The entry of that name in a folder.
    pub fn find(&self, tree: Id, name: &[u8]) -> Result<Option<Node>, Error> {
        self.read(&tree, |repository| self.folders.find(repository, tree, name))
    }

    /// How many names a file has in the snapshot with that root.
    pub fn names(&self, root: Id, node: &Node) -> u32 {
        match node.link {
            Some(_) => self.links.count(&self.repository, root, node),
            None => 1,
        }
    }

    fn page(&self, page: &Page) -> Result<ContentPage, Error> {
        self.read(&page.id, |repository| repository.content_page(page))
    }

    fn chunk(&self, id: &Id, length: u64) -> Result<Chunk, Error> {
        let known = {
            let mut recent = lock(&self.recent);
            let place = recent.iter().position(|(known, _)| known == id);
            // To the end: what is used stays.
            let found = place.and_then(|place| recent.remove(place));
            recent.extend(found.clone());
            found
        };
        let chunk = match known {
            Some((_, chunk)) => chunk,
            None => {
                let chunk = self.read(id, |repository| repository.read_chunk(Contents::Data, id))?;
                let mut recent = lock(&self.recent);
                recent.push_back((*id, chunk.clone()));
                let gone = if recent.len() > RECENT { recent.pop_front() } else { None };
                drop(recent);
                drop(gone);
                chunk
            }
        };
        if chunk.len() as u64 == length {
            return Ok(chunk);
        }
        Err(Error::damaged(Kind::Packs, "", &format!("chunk {id} has another length than its file says")))
    }

    /// Bytes of a file from `offset` on: as many as are asked for and there.
    pub fn bytes(&self, body: &Body, offset: u64, length: usize) -> Result<Vec<u8>, Missing> {
        let end = body.size.min(offset.saturating_add(length as u64));
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let found = self.maps.find(body, at, &|page| self.page(page))?;
            let ended = || Error::Damaged {
                object: "a list of contents".to_owned(),
                what: "it ends before the file does".to_owned(),
            };
            let found = found.ok_or_else(ended)?;
            let stop = end.min(found.end());
            let wanted = (stop - at) as usize;
            match found.segment.kind {
                SegmentKind::Hole => bytes.resize(bytes.len() + wanted, 0),
                SegmentKind::Gap => return Err(Missing::Gap(found)),
                SegmentKind::Data(id) => {
                    let chunk = self.chunk(&id, found.segment.length)?;
                    let from = (at - found.start) as usize;
                    bytes.extend_from_slice(chunk.get(from..from + wanted).ok_or_else(ended)?);
                }
            }
            at = stop;
        }
        Ok(bytes)
    }

    /// Opens the block in which a place of a file lies, so that whoever reads there need not wait. What goes wrong is said when it is read.
    pub fn prepare(&self, body: &Body, offset: u64) {
        if let Ok(Some(found)) = self.maps.find(body, offset, &|page| self.repository.content_page(page))
            && let SegmentKind::Data(id) = found.segment.kind
        {
            let _ = caught(|| self.repository.read_chunk(Contents::Data, &id));
        }
    }

    /// The first place from `offset` on that is data, or a hole.
    pub fn seek(&self, body: &Body, offset: u64, wants_hole: bool) -> Result<Option<u64>, Error> {
        self.maps.seek(body, offset, wants_hole, &|page| self.page(page))
    }

    /// Bytes of a file that are no holes.
    pub fn room(&self, node: &Node) -> u64 {
        let Content::Page(id) = &node.content else { return data_of(&self.repository, node) };
        if let Some(room) = lock(&self.rooms).get(id) {
            return *room;
        }
        let room = data_of(&self.repository, node);
        let mut rooms = lock(&self.rooms);
        if rooms.len() >= ROOMS {
            rooms.clear();
        }
        rooms.insert(*id, room);
        room
    }

    /// The value of an extended attribute.
    pub fn value(&self, xattr: &Xattr) -> Result<Vec<u8>, Error> {
        match &xattr.value {
            XattrValue::Inline(value) => Ok(value.clone()),
            XattrValue::Chunk(id, length) => self.chunk(id, *length).map(|chunk| chunk.to_vec()),
        }
    }

    /// Says why bytes of a file can not be given.
    pub fn missing(&self, path: Vec<u8>, missing: &Missing) {
        match missing {
            Missing::Error(error) => self.told.error(path, error),
            Missing::Gap(found) => {
                let (start, length) = (found.start, found.segment.length);
                let what = format!("{length} bytes from byte {start} on are lost, as a repair marked it");
                self.told.tell(Hit { path, what, code: "lost" });
            }
        }
    }
}

/// Bytes that are no holes. What can not be counted counts as data, as most is.
fn data_of(repository: &Repository, node: &Node) -> u64 {
    let (mut offset, mut holes, mut count) = (0u64, 0u64, 0u64);
    let mut each = |segment: Segment| {
        offset = offset.saturating_add(segment.length);
        if segment.kind == SegmentKind::Hole {
            holes = holes.saturating_add(segment.length);
        }
        count += 1;
        if count > COUNTED { Err(Error::Stopped) } else { Ok(()) }
    };
    let _ = repository.segments(&node.content, node.size, &mut each);
    node.size.saturating_sub(holes)
}
