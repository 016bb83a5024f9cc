//! The answers to what the kernel asks: entries found, their attributes, their bytes. Each call may come from any thread; a panic in one is
//! an error like any other.

use std::sync::Arc;
use std::time::Instant;

use fuser::{Errno, FileAttr};

use super::ahead::{Ahead, File};
use super::attributes;
use super::content::Body;
use super::identity::{Key, TOP};
use super::inodes::{Folder, Inodes, Item, Root, Saved};
use super::listing::{Handles, Opened};
use super::made::{Entry, Made};
use super::shelf::{Missing, Shelf};
use super::told::Hit;
use crate::model::{Node, NodeType, Time};
use crate::repository::lease::Use;
use crate::repository::{Error, caught};

/// A call's answer, or the error that the system gets.
pub type Answer<T> = Result<T, Errno>;

/// What was found under a name.
pub enum Looked {
    Found {
        attr: FileAttr,
        is_saved: bool,
    },
    /// No entry: attributes of inode 0.
    Nothing(FileAttr),
}

/// All that is behind the mounted file system.
pub struct Answers {
    pub shelf: Shelf,
    pub inodes: Inodes,
    pub files: Handles<File>,
    pub folders: Handles<Opened>,
    pub used: Use,
    ahead: Ahead,
    /// Owner and group of what is made.
    owner: (u32, u32),
}

/// The time of what is made: that of the newest snapshot.
fn time_of(answers: &Answers) -> Time {
    answers.shelf.known().snapshots.last().map_or(Time::default(), |shown| shown.time)
}

impl Answers {
    pub fn new(shelf: Shelf, inodes: Inodes, ahead: Ahead, owner: (u32, u32)) -> Answers {
        Answers {
            shelf,
            inodes,
            files: Handles::default(),
            folders: Handles::default(),
            used: Use::new(Instant::now()),
            ahead,
            owner,
        }
    }

    /// Answers; what goes wrong is told with the path of that inode.
    pub(super) fn answer<T>(
        &self,
        number: u64,
        work: impl FnOnce() -> Result<Answer<T>, Error>,
    ) -> Answer<T> {
        self.used.now();
        match caught(work) {
            Ok(answer) => answer,
            // It is to end, which is no fault.
            Err(Error::Stopped) => Err(Errno::EINTR),
            Err(error) => {
                self.shelf.told.error(self.inodes.path(number), &error);
                Err(Errno::EIO)
            }
        }
    }

    pub(super) fn item(&self, number: u64) -> Answer<Item> {
        self.inodes.get(number).ok_or(Errno::ESTALE)
    }

    /// The node of a saved entry.
    pub(super) fn node(&self, saved: &Saved) -> Result<Node, Error> {
        let node = self.shelf.find(saved.folder.tree, &saved.name)?;
        node.ok_or_else(|| Error::Damaged {
            object: format!("tree {}", saved.folder.tree),
            what: "an entry that was there is not found any more".to_owned(),
        })
    }

    /// Says that an entry could not be read when the snapshot was made.
    pub(super) fn unreadable(&self, number: u64, node: &Node) -> Errno {
        let what = match (node.has_lost_entries(), node.error) {
            (true, _) => "lost, as a repair marked it".to_owned(),
            (_, Some(error)) => format!("it could not be read when the snapshot was made: {}", error.words()),
            _ => "it could not be read when the snapshot was made".to_owned(),
        };
        let code = if node.has_lost_entries() { "lost" } else { "unreadable" };
        self.shelf.told.tell(Hit { path: self.inodes.path(number), what, code });
        Errno::EIO
    }

    /// Attributes of a saved entry.
    pub(super) fn attributes_of(&self, folder: &Folder, node: &Node, number: u64) -> FileAttr {
        let names = self.shelf.names(folder.root.shown.tree, node);
        let room = if node.kind == NodeType::File { self.shelf.room(node) } else { 0 };
        attributes::saved(node, number, names, room)
    }

    /// Enters a saved entry, or only says what its number is.
    pub(super) fn enter(&self, folder: &Arc<Folder>, node: &Node, is_held: bool) -> FileAttr {
        let key = Key::entry(&folder.root.key, &folder.key, node);
        if !is_held {
            return self.attributes_of(folder, node, key.number(0));
        }
        let number = self.inodes.enter(&key, |number| {
            let own = node.tree.filter(|_| node.kind == NodeType::Directory).map(|tree| {
                Arc::new(Folder { root: folder.root.clone(), key, tree, number, above: folder.number })
            });
            Item::Saved(Saved {
                folder: folder.clone(),
                name: node.name.as_slice().into(),
                own,
                is_plain: node.xattrs.is_empty(),
            })
        });
        self.attributes_of(folder, node, number)
    }

    /// The same of an entry of a made folder.
    pub(super) fn enter_made(
        &self,
        above: (u64, &dyn Made),
        name: &[u8],
        entry: &Entry,
        is_held: bool,
    ) -> FileAttr {
        let (above, made) = above;
        let made_key = Key::made(&made.id());
        let (key, time, link) = match entry {
            Entry::Version(kept) => return self.enter_version(made, above, kept, is_held),
            Entry::Folder(folder) => (Key::made(&folder.id()), time_of(self), None),
            Entry::Root(shown) => (Key::root(&made_key, &shown.name), shown.time, None),
            Entry::Link(target) => {
                // Another target is another link: what the kernel keeps of this one stays true.
                let id = [&made.id(), &b"/"[..], name, &b"\0"[..], target].concat();
                (Key::made(&id), time_of(self), Some(target.len()))
            }
        };
        if !is_held {
            return attributes::made(key.number(0), time, link, self.owner);
        }
        let number = self.inodes.enter(&key, |number| match entry {
            Entry::Folder(folder) => Item::Made(folder.clone()),
            Entry::Link(target) => Item::Link(target.as_slice().into()),
            Entry::Version(_) => Item::Broken,
            Entry::Root(shown) => {
                let way = [&made.id(), &b"/"[..], name].concat();
                let root = Arc::new(Root { shown: shown.clone(), key, way });
                Item::Root(Arc::new(Folder { root, key, tree: shown.tree, number, above }))
            }
        });
        let attr = attributes::made(number, time, link, self.owner);
        match entry {
            Entry::Folder(folder) => FileAttr { perm: folder.mode(), ..attr },
            _ => attr,
        }
    }

    /// The entry of that name in a folder.
    pub fn look_up(&self, number: u64, name: &[u8]) -> Answer<Looked> {
        self.answer(number, || {
            let item = match self.item(number) {
                Ok(item) => item,
                Err(error) => return Ok(Err(error)),
            };
            let folder = match &item {
                Item::Made(made) => {
                    let found = made.find(&self.shelf.view(), name)?;
                    let found = found.map(|entry| self.enter_made((number, &**made), name, &entry, true));
                    return Ok(found
                        .map(|attr| Looked::Found { attr, is_saved: false })
                        .ok_or(Errno::ENOENT));
                }
                Item::Root(folder) | Item::Saved(Saved { own: Some(folder), .. }) => folder,
                Item::Saved(saved) => return self.not_a_folder(number, saved).map(Err),
                Item::Link(_) | Item::Broken => return Ok(Err(Errno::ENOTDIR)),
            };
            let found = self.shelf.find(folder.tree, name)?;
            Ok(Ok(match found {
                Some(node) => Looked::Found { attr: self.enter(folder, &node, true), is_saved: true },
                None => Looked::Nothing(attributes::made(0, Time::default(), None, self.owner)),
            }))
        })
    }

    /// Why one can not look into an entry.
    pub(super) fn not_a_folder(&self, number: u64, saved: &Saved) -> Result<Errno, Error> {
        let node = self.node(saved)?;
        Ok(match node.kind {
            NodeType::Unreadable => self.unreadable(number, &node),
            _ => Errno::ENOTDIR,
        })
    }

    /// Attributes of an inode, and whether it is saved.
    pub fn attributes(&self, number: u64) -> Answer<(FileAttr, bool)> {
        self.answer(number, || {
            Ok(Ok(match self.item(number) {
                Err(error) => return Ok(Err(error)),
                Ok(Item::Made(made)) => {
                    let attr = attributes::made(number, time_of(self), None, self.owner);
                    (FileAttr { perm: made.mode(), ..attr }, false)
                }
                Ok(Item::Broken) => (self.broken_attributes(number), false),
                Ok(Item::Link(target)) => {
                    (attributes::made(number, time_of(self), Some(target.len()), self.owner), false)
                }
                Ok(Item::Root(folder)) => {
                    (attributes::made(number, folder.root.shown.time, None, self.owner), false)
                }
                Ok(Item::Saved(saved)) => {
                    (self.attributes_of(&saved.folder, &self.node(&saved)?, number), true)
                }
            }))
        })
    }

    /// The target of a symlink.
    pub fn target(&self, number: u64) -> Answer<Vec<u8>> {
        self.answer(number, || {
            Ok(match self.item(number) {
                Err(error) => Err(error),
                Ok(Item::Link(target)) => Ok(target.to_vec()),
                Ok(Item::Saved(saved)) => Ok(self.node(&saved)?.target),
                Ok(_) => Err(Errno::EINVAL),
            })
        })
    }

    /// Opens a file.
    pub fn open(&self, number: u64) -> Answer<u64> {
        self.answer(number, || {
            let saved = match self.item(number) {
                Ok(Item::Saved(saved)) => saved,
                Ok(Item::Broken) => return Ok(Err(Errno::EIO)),
                Ok(_) => return Ok(Err(Errno::EISDIR)),
                Err(error) => return Ok(Err(error)),
            };
            let node = self.node(&saved)?;
            Ok(match node.kind {
                NodeType::File => {
                    self.inodes.is_opened(number, true);
                    Ok(self.files.open(File::new(Body::new(&node))))
                }
                NodeType::Unreadable => Err(self.unreadable(number, &node)),
                _ => Err(Errno::EINVAL),
            })
        })
    }

    /// Closes it.
    pub fn close(&self, number: u64, handle: u64) {
        self.files.close(handle);
        self.inodes.is_opened(number, false);
    }

    /// Bytes of an open file; fewer than asked for only at its end.
    pub fn read(&self, number: u64, handle: u64, offset: u64, size: usize) -> Answer<Vec<u8>> {
        self.answer(number, || {
            let Some(file) = self.files.get(handle) else { return Ok(Err(Errno::EBADF)) };
            let bytes = self.shelf.bytes(&file.body, offset, size).map_err(|missing| {
                self.tell_missing(number, &missing);
                Errno::EIO
            });
            self.ahead.after(&file, offset, size as u64);
            Ok(bytes)
        })
    }

    fn tell_missing(&self, number: u64, missing: &Missing) {
        self.shelf.missing(self.inodes.path(number), missing);
    }

    /// The next data or hole of an open file.
    pub fn seek(&self, number: u64, handle: u64, offset: i64, whence: i32) -> Answer<i64> {
        let wants_hole = match whence {
            libc::SEEK_DATA => false,
            libc::SEEK_HOLE => true,
            _ => return Err(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return Err(Errno::ENXIO) };
        self.answer(number, || {
            let Some(file) = self.files.get(handle) else { return Ok(Err(Errno::EBADF)) };
            let found = self.shelf.seek(&file.body, offset, wants_hole)?;
            Ok(found.and_then(|place| i64::try_from(place).ok()).ok_or(Errno::ENXIO))
        })
    }

    /// The value of an extended attribute.
    pub fn attribute(&self, number: u64, name: &[u8]) -> Answer<Vec<u8>> {
        self.answer(number, || {
            let saved = match self.item(number) {
                Ok(Item::Saved(saved)) if !saved.is_plain => saved,
                Ok(_) => return Ok(Err(Errno::ENODATA)),
                Err(error) => return Ok(Err(error)),
            };
            let node = self.node(&saved)?;
            let Some(xattr) = node.xattrs.iter().find(|xattr| xattr.name == name) else {
                return Ok(Err(Errno::ENODATA));
            };
            self.shelf.value(xattr).map(Ok)
        })
    }

    /// The names of all extended attributes, each with a zero behind it.
    pub fn attribute_names(&self, number: u64) -> Answer<Vec<u8>> {
        self.answer(number, || {
            let saved = match self.item(number) {
                Ok(Item::Saved(saved)) if !saved.is_plain => saved,
                Ok(_) => return Ok(Ok(Vec::new())),
                Err(error) => return Ok(Err(error)),
            };
            let node = self.node(&saved)?;
            Ok(Ok(node.xattrs.iter().flat_map(|xattr| [&xattr.name[..], b"\0"].concat()).collect()))
        })
    }

    /// The number of the folder above an inode.
    pub(super) fn above(&self, number: u64) -> u64 {
        match self.inodes.get(number) {
            Some(Item::Root(folder) | Item::Saved(Saved { own: Some(folder), .. })) => folder.above,
            _ => TOP,
        }
    }

    pub(super) fn made_attributes(&self, number: u64) -> FileAttr {
        attributes::made(number, Time::default(), None, self.owner)
    }
}
