//! Writing out what a snapshot holds: one file as it is, or a folder as an archive, in one go and in little memory.
//!
//! What is lost or damaged ends it where it stands: an archive is then cut off and has no end, and nothing stands in for what is missing.

mod tar;
mod zip;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::format::limits::DEPTH_MAX;
use crate::model::{ENTRIES_LOST, Id, Id16, Node, NodeType, Xattr, XattrValue};
use crate::repository::{Error, Repository};

/// What is said of a folder that a repair marked so.
const ENTRIES: &str = "some of its entries are lost, as a repair marked it";

/// Kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// POSIX (pax): times in nanoseconds, attributes, hard links, devices, names of any length and bytes.
    Tar,
    /// Files, folders and symlinks, with modes and times in seconds.
    Zip,
}

/// Why it ended early.
#[derive(Debug)]
pub enum Failed {
    /// The output takes no more.
    Output(io::Error),
    /// The repository does not give what is at that path.
    Read(Vec<u8>, Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Output(error)
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    pub files: u64,
    pub folders: u64,
    pub others: u64,
    /// Bytes of files; hard links are counted once where the archive knows them.
    pub bytes: u64,
    /// Entries, or attributes of entries, that are not in the archive.
    pub left_out: u64,
}

/// Writes a file's bytes.
pub fn file(
    repository: &Repository,
    node: &Node,
    path: &[u8],
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<(), Failed> {
    let mut refused = None;
    let poured = repository.pour(&node.content, node.size, &mut |piece| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        out.write_all(piece).map_err(|error| {
            refused = Some(error);
            Error::Stopped
        })
    });
    match (refused, poured) {
        (Some(error), _) => Err(Failed::Output(error)),
        (None, Err(error)) => Err(Failed::Read(path.to_vec(), error)),
        (None, Ok(())) => Ok(()),
    }
}

/// An archive that is being written. Paths have no slash at their beginning or end.
trait Archive {
    /// Adds an entry; of a file, `content` writes its bytes. `link` is the path of an entry added before that it is another name of.
    /// Gives what of it is not kept, in words.
    fn add(
        &mut self,
        path: &[u8],
        node: &Node,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        link: Option<&[u8]>,
        content: &mut dyn FnMut(&mut dyn Write) -> Result<(), Failed>,
    ) -> Result<Vec<String>, Failed>;

    /// Whether it can say that an entry is another name of one before.
    fn knows_links(&self) -> bool;

    /// Makes sure that whoever reads it sees that it is cut off where it stands.
    fn cut(&mut self);

    /// Ends it.
    fn finish(self: Box<Self>) -> Result<(), Failed>;
}

/// What is dumped, and who is told what is left out.
pub struct Work<'w> {
    pub repository: &'w Repository,
    pub stop: &'w AtomicBool,
    /// The path of what is dumped, for messages.
    pub base: &'w [u8],
    /// A repair wrote the snapshot: what is marked as unread is lost.
    pub is_repaired: bool,
    /// Told of each thing that is not in the archive: its path, and what.
    pub left_out: &'w mut dyn FnMut(&[u8], &str),
}

impl Work<'_> {
    fn path(&self, below: &[u8]) -> Vec<u8> {
        [self.base, b"/", below].concat()
    }

    /// Writes an archive of what is in a folder, by its tree. `has_lost`: a repair marked entries of that very folder as lost.
    pub fn folder(
        &mut self,
        kind: Kind,
        (tree, has_lost): (Id, bool),
        out: &mut dyn Write,
    ) -> Result<Dumped, Failed> {
        let mut dumped = Dumped::default();
        if has_lost {
            (self.left_out)(self.base, ENTRIES);
            dumped.left_out += 1;
        }
        let mut archive = open(kind, out);
        let written = self.entries(&mut *archive, tree, &mut dumped);
        ended(archive, written)?;
        Ok(dumped)
    }

    fn entries(&mut self, archive: &mut dyn Archive, tree: Id, dumped: &mut Dumped) -> Result<(), Failed> {
        let mut linked = HashMap::new();
        let mut path = Vec::new();
        let repository = self.repository;
        let mut levels = vec![(repository.nodes(tree), 0)];
        while let Some((nodes, above)) = levels.last_mut() {
            path.truncate(*above);
            let Some(node) = nodes.next() else {
                levels.pop();
                continue;
            };
            let node = node.map_err(|error| Failed::Read(self.path(&path), error))?;
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&node.name);
            self.add(archive, &path, &node, &mut linked, dumped)?;
            if let (NodeType::Directory, Some(tree)) = (node.kind, node.tree) {
                if levels.len() > DEPTH_MAX {
                    let what = "it lies deeper than any folder may".to_owned();
                    return Err(Failed::Read(
                        self.path(&path),
                        Error::Damaged { object: "a folder".to_owned(), what },
                    ));
                }
                levels.push((repository.nodes(tree), path.len()));
            }
        }
        Ok(())
    }

    /// Writes an archive of one entry that is no folder.
    pub fn single(&mut self, kind: Kind, node: &Node, out: &mut dyn Write) -> Result<Dumped, Failed> {
        let mut dumped = Dumped::default();
        let mut archive = open(kind, out);
        let written = self.add(&mut *archive, &node.name, node, &mut HashMap::new(), &mut dumped);
        ended(archive, written)?;
        Ok(dumped)
    }

    fn add(
        &mut self,
        archive: &mut dyn Archive,
        path: &[u8],
        node: &Node,
        linked: &mut HashMap<Id16, (Id, Vec<u8>)>,
        dumped: &mut Dumped,
    ) -> Result<(), Failed> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failed::Read(self.path(path), Error::Stopped));
        }
        let whole = self.path(path);
        let unread = match (node.kind, node.has_lost_entries()) {
            (NodeType::Unreadable, true) => Some("it is lost, as a repair marked it"),
            (NodeType::Unreadable, false) => {
                Some(node.error.map_or("could not be read", |error| error.words()))
            }
            (NodeType::Socket, _) => Some("an archive holds no sockets"),
            (_, true) => {
                (self.left_out)(&whole, ENTRIES);
                dumped.left_out += 1;
                None
            }
            _ => None,
        };
        if let Some(why) = unread {
            (self.left_out)(&whole, why);
            dumped.left_out += 1;
            return Ok(());
        }
        for what in node.unread.iter().filter(|what| self.is_repaired && *what != ENTRIES_LOST) {
            (self.left_out)(&whole, &format!("{what}: lost, as a repair marked it"));
            dumped.left_out += 1;
        }
        let link = if archive.knows_links() { first_name(linked, node, path) } else { None };
        let xattrs = self.xattrs(node, &whole)?;
        let (repository, stop) = (self.repository, self.stop);
        let mut content = |out: &mut dyn Write| file(repository, node, &whole, out, stop);
        let lost = archive.add(path, node, &xattrs, link.as_deref(), &mut content)?;
        for what in &lost {
            (self.left_out)(&whole, what);
        }
        dumped.left_out += lost.len() as u64;
        match node.kind {
            NodeType::File => dumped.files += 1,
            NodeType::Directory => dumped.folders += 1,
            _ => dumped.others += 1,
        }
        dumped.bytes += if link.is_none() { node.size } else { 0 };
        Ok(())
    }

    /// The attributes of an entry, with those that are kept apart.
    fn xattrs(&self, node: &Node, path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Failed> {
        let value = |xattr: &Xattr| match &xattr.value {
            XattrValue::Inline(value) => Ok(value.clone()),
            XattrValue::Chunk(id, _) => self
                .repository
                .read_chunk(crate::model::Contents::Data, id)
                .map(|chunk| chunk.to_vec())
                .map_err(|error| Failed::Read(path.to_vec(), error)),
        };
        node.xattrs.iter().map(|xattr| Ok((xattr.name.clone(), value(xattr)?))).collect()
    }
}

fn open<'o>(kind: Kind, out: &'o mut dyn Write) -> Box<dyn Archive + 'o> {
    match kind {
        Kind::Tar => Box::new(tar::Tar::new(out)),
        Kind::Zip => Box::new(zip::Zip::new(out)),
    }
}

/// Ends an archive: as whole when all was written, else so that it is seen to be cut off.
fn ended(mut archive: Box<dyn Archive + '_>, written: Result<(), Failed>) -> Result<(), Failed> {
    match written {
        Ok(()) => archive.finish(),
        Err(failed) => {
            archive.cut();
            Err(failed)
        }
    }
}

/// The path of an entry met before that this is another name of: of its group, and equal in everything but the name.
fn first_name(linked: &mut HashMap<Id16, (Id, Vec<u8>)>, node: &Node, path: &[u8]) -> Option<Vec<u8>> {
    let group = node.link?;
    let mut nameless = node.clone();
    nameless.name = b"name".to_vec();
    let digest = crate::crypto::object_name(&crate::format::node::encode(&nameless));
    match linked.entry(group) {
        Entry::Occupied(first) => (first.get().0 == digest).then(|| first.get().1.clone()),
        Entry::Vacant(place) => {
            place.insert((digest, path.to_vec()));
            None
        }
    }
}
