//! One snapshot of another program, poured into the repository: what the program lists is written down, the archive is read and stored, both
//! are compared entry by entry, and trees are built of what is in the spool then.

use std::io::{BufReader, Read};
use std::path::Path;

use super::acl::{self, add_acl};
use super::content::Buffers;
use super::place::{as_listed, key, may_be_replaced, names, names_of, path_of};
use super::pour::{Pour, Poured};
use super::row::{Row, waiting};
use super::tar::{Archive, Entry, Kind};
use super::tree::Trees;
use super::{Error, Expected, Listed, Origin};
use crate::format;
use crate::format::limits::{NODE_MAX, SYMLINK_MAX};
use crate::index::Spool;
use crate::model::{Id16, Node, NodeType, Summary, Time, Unread};
use crate::progress::{Event, FileStatus};

/// Bytes of the archive that are asked for at once.
const READ_AT_ONCE: usize = 256 << 10;
/// Parts of the spool: what came out of the archive, and what is to come out of it.
const ENTRIES: u8 = 0;
const EXPECTED: u8 = 1;
/// What the first file of each group of names holds.
const LINKS: u8 = 2;

/// A snapshot being poured.
struct Work<'w, 'a> {
    pour: &'w Pour<'a>,
    origin: &'w dyn Origin,
    spool: Spool,
    buffers: Buffers,
    incomplete: bool,
}

impl Pour<'_> {
    /// Pours a snapshot; the spool lies in `folder`.
    pub fn snapshot(
        &self,
        origin: &dyn Origin,
        listed: &Listed,
        folder: Option<&Path>,
    ) -> Result<Poured, Error> {
        let spool = Spool::new(folder)?;
        let mut work = Work { pour: self, origin, spool, buffers: Buffers::default(), incomplete: false };
        let (mut files, mut bytes) = (0, 0u64);
        let time = origin.inventory(listed, self.stop, &mut |expected| {
            self.check_stop()?;
            files += u64::from(expected.node.kind == NodeType::File);
            bytes = bytes.saturating_add(expected.size);
            work.list(expected)
        })?;
        self.announce(files, bytes);
        let (what, command) = origin.archive(listed);
        super::program::output(&what, command, self.stop, |output| work.archive(output))?;
        work.rest()?;
        let folder =
            origin.folder(listed, &mut |names| Ok(work.spool.get(ENTRIES, &key(names))?.is_some()))?;
        work.build(&folder, time.unwrap_or(listed.time), time)
    }
}

impl Work<'_, '_> {
    fn problem(&mut self, path: &[u8], what: &str, code: &'static str) {
        self.incomplete = true;
        self.pour.listener.event(Event::Problem { path: Some(path), what, code, during: "import" });
    }

    /// Writes down what the other program lists.
    fn list(&mut self, mut expected: Expected) -> Result<(), Error> {
        let names = names(&expected.path)?;
        if let Some(what) = expected.problem {
            self.problem(&path_of(&key(&names)), what, "damaged_before");
        }
        let hasher = self.pour.repository.hasher();
        expected.node.link = expected.link.take().map(|link| hasher.link_group(&link));
        let attributes = std::mem::take(&mut expected.attributes);
        expected.node.xattrs = self.pour.xattrs(&expected.path, attributes)?;
        waiting(&names, &mut expected.node);
        let key = key(&names);
        let Expected { node, size, in_archive, .. } = expected;
        let row = Row { node, size, in_archive, count: 1, is_ambiguous: false }.encode();
        if row.len() > NODE_MAX {
            return Err(Error::entry(&path_of(&key), "its metadata is too long"));
        }
        if self.spool.add(EXPECTED, &key, &row)? {
            return Ok(());
        }
        match self.spool.get(EXPECTED, &key)? {
            // Different names are the same once what is not UTF-8 is replaced.
            Some(there) if self.origin.replaces_bytes() && may_be_replaced(&key) => {
                let there = Row::decode(&there)?;
                let row = Row { count: there.count.saturating_add(1), is_ambiguous: true, ..there };
                Ok(self.spool.put(EXPECTED, &key, &row.encode())?)
            }
            _ => Err(Error::entry(&path_of(&key), "it is listed twice")),
        }
    }

    /// The key of an entry in the list.
    fn listed(&self, key: &[u8]) -> Vec<u8> {
        if self.origin.replaces_bytes() { as_listed(key) } else { key.to_vec() }
    }

    /// What was expected of an entry that came; none when that is not known, since several look alike in the list.
    fn expected(&mut self, entry_key: &[u8]) -> Result<Option<Row>, Error> {
        let listed = self.listed(entry_key);
        let Some(bytes) = self.spool.get(EXPECTED, &listed)? else {
            return Err(Error::entry(
                &path_of(entry_key),
                "it is in the archive and not in the list of entries",
            ));
        };
        let row = Row::decode(&bytes)?;
        match row.count {
            0 | 1 => self.spool.remove(EXPECTED, &listed)?,
            count => {
                let row = Row { count: count - 1, node: row.node.clone(), ..row };
                self.spool.put(EXPECTED, &listed, &row.encode())?;
            }
        }
        Ok(Some(row).filter(|row| !row.is_ambiguous))
    }

    fn archive(&mut self, output: &mut dyn Read) -> Result<(), Error> {
        let mut archive = Archive::new(BufReader::with_capacity(READ_AT_ONCE, output));
        while let Some(entry) = archive.next_entry()? {
            self.pour.check_stop()?;
            self.pour.checkpoint_when_due()?;
            self.entry(entry, &mut archive)?;
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, mut entry: Entry, archive: &mut Archive<R>) -> Result<(), Error> {
        let path = std::mem::take(&mut entry.path);
        let names = names(&path)?;
        let key = key(&names);
        let expected = self.expected(&key)?;
        if let Some(row) = expected.as_ref().filter(|row| !row.in_archive && entry.size == 0) {
            // restic writes what lies at the top of a tree as an empty file, whatever it is: the list knows better.
            self.spool.put(EXPECTED, &self.listed(&key), &row.encode())?;
            return Ok(());
        }
        let mut node = match entry.kind {
            Kind::HardLink => self.linked(&path, &entry.target)?,
            _ => self.node(&path, &entry)?,
        };
        if entry.kind == Kind::File {
            let (content, size) = self.pour.content(&mut self.buffers, &mut |buffer| archive.read(buffer))?;
            if size != entry.size {
                return Err(Error::Cut("the archive ends early".to_owned()));
            }
            (node.content, node.size) = (content, size);
        }
        if let Some(expected) = expected {
            if node.kind != expected.node.kind {
                return Err(Error::entry(
                    &path,
                    "its kind in the archive is not that in the list of entries",
                ));
            }
            if entry.kind == Kind::File && expected.size != node.size {
                let (found, listed) = (node.size, expected.size);
                let what =
                    format!("the archive has {found} bytes of it, and the list of entries says {listed}");
                return Err(Error::entry(&path, &what));
            }
            if entry.kind != Kind::HardLink {
                node.mtime = expected.node.mtime;
                node.flags = expected.node.flags;
                if !expected.node.xattrs.is_empty() {
                    node.xattrs = expected.node.xattrs;
                }
                node.unread.extend(expected.node.unread);
                if let Some(link) = expected.node.link {
                    node.link = self.is_one_with(&link, &node)?.then_some(link);
                }
            }
        }
        waiting(&names, &mut node);
        if !node.unread.is_empty() {
            self.problem(
                &path_of(&key),
                &format!("{}: it makes no sense", node.unread.join(", ")),
                "metadata_not_read",
            );
        }
        self.add(&key, &node)?;
        if node.kind == NodeType::File {
            let (path, bytes) = (path_of(&key), node.size);
            self.pour.listener.event(Event::File { path: &path, bytes, status: FileStatus::New });
        }
        Ok(())
    }

    fn add(&mut self, key: &[u8], node: &Node) -> Result<(), Error> {
        let encoded = format::node::encode(node);
        if encoded.len() > NODE_MAX {
            return Err(Error::entry(&path_of(key), "its metadata is too long"));
        }
        match self.spool.add(ENTRIES, key, &encoded)? {
            true => Ok(()),
            false => Err(Error::entry(&path_of(key), "the archive has two entries of this name")),
        }
    }

    /// Whether a file holds what the first one of its group holds: each was read by itself when it was saved, and may have changed meanwhile.
    fn is_one_with(&self, link: &Id16, node: &Node) -> Result<bool, Error> {
        let mut content = Node::new(b"content", NodeType::File);
        (content.content, content.size) = (node.content.clone(), node.size);
        let content = format::node::encode(&content);
        Ok(self.spool.add(LINKS, &link.0, &content)? || self.spool.get(LINKS, &link.0)? == Some(content))
    }

    /// The node of another name of a file that came before, both in one group from now on.
    fn linked(&mut self, path: &[u8], target: &[u8]) -> Result<Node, Error> {
        let unknown = || Error::entry(path, "a hard link to something that did not come before it");
        let target = key(&names(target)?);
        let bytes = self.spool.get(ENTRIES, &target)?.ok_or_else(unknown)?;
        let mut node = format::node::decode(&bytes).map_err(|_| unknown())?;
        if node.kind == NodeType::Directory {
            return Err(Error::entry(path, "a hard link to a folder"));
        }
        if node.link.is_none() {
            // Found from the name, so that the next snapshot with the same names has the same node.
            node.link = Some(self.pour.repository.hasher().link_group(&target));
            self.spool.put(ENTRIES, &target, &format::node::encode(&node))?;
        }
        Ok(node)
    }

    fn node(&mut self, path: &[u8], entry: &Entry) -> Result<Node, Error> {
        let kind = match entry.kind {
            Kind::File | Kind::HardLink => NodeType::File,
            Kind::Symlink => NodeType::Symlink,
            Kind::CharacterDevice => NodeType::CharacterDevice,
            Kind::BlockDevice => NodeType::BlockDevice,
            Kind::Directory => NodeType::Directory,
            Kind::Fifo => NodeType::Fifo,
        };
        let number = |number: u64, what| u32::try_from(number).map_err(|_| Error::entry(path, what));
        let mut node = Node::new(b"", kind);
        node.mode = entry.mode & 0o7777;
        node.uid = number(entry.uid, "its owner makes no sense")?;
        node.gid = number(entry.gid, "its group makes no sense")?;
        node.user.clone_from(&entry.user);
        node.group.clone_from(&entry.group);
        node.mtime = Time::new(entry.mtime.0, entry.mtime.1);
        if kind == NodeType::Symlink {
            if entry.target.is_empty() || entry.target.contains(&0) || entry.target.len() > SYMLINK_MAX {
                return Err(Error::entry(path, "what the symlink leads to makes no sense"));
            }
            node.target.clone_from(&entry.target);
        }
        let wrong = "its device makes no sense";
        node.device = (number(entry.device.0, wrong)?, number(entry.device.1, wrong)?);
        let mut attributes = entry.records.xattrs().map_err(|what| Error::entry(path, &what))?;
        for (name, text) in acl::NAMES.iter().zip(entry.records.acls()) {
            if let Some(text) = text {
                add_acl(&mut node, &mut attributes, name, text);
            }
        }
        node.xattrs = self.pour.xattrs(path, attributes)?;
        Ok(node)
    }

    /// What is listed and did not come: an error, but for what no archive of that program has.
    fn rest(&mut self) -> Result<(), Error> {
        let mut left = Vec::new();
        let mut missing = None;
        self.spool.each(EXPECTED, |key, value| {
            let row = Row::decode(value)?;
            match row.in_archive && !row.is_ambiguous {
                true => missing = missing.take().or_else(|| Some(key.to_vec())),
                // Few: what is no file, folder or symlink.
                false => left.push((key.to_vec(), row.node)),
            }
            Ok::<(), Error>(())
        })?;
        if let Some(key) = missing {
            return Err(Error::entry(&path_of(&key), "it is in the list of entries and not in the archive"));
        }
        for (key, mut node) in left {
            let path = path_of(&key);
            if self.origin.replaces_bytes() && may_be_replaced(&key) {
                self.problem(
                    &path,
                    "no file and no folder, of a name that is not UTF-8: left out",
                    "unreadable",
                );
                continue;
            }
            if !matches!(node.kind, NodeType::Fifo | NodeType::Socket) {
                let what = match node.kind {
                    NodeType::CharacterDevice => "a character device, and nothing says which one",
                    NodeType::BlockDevice => "a block device, and nothing says which one",
                    _ => "nobody knows what it is",
                };
                self.problem(&path, what, "unreadable");
                (node.was, node.error) = (Some(node.kind), Some(Unread::Other));
                node.kind = NodeType::Unreadable;
            }
            self.add(&key, &node)?;
        }
        Ok(())
    }

    fn build(&mut self, folder: &[Vec<u8>], made_up: Time, time: Option<Time>) -> Result<Poured, Error> {
        let mut trees = Trees::new(self.pour.store, made_up);
        let mut summary = Summary::default();
        self.spool.each(ENTRIES, |key, value| {
            self.pour.check_stop()?;
            let node = format::node::decode(value)
                .map_err(|_| Error::Origin("an entry does not read back as it was written".to_owned()))?;
            match node.kind {
                NodeType::File => {
                    (summary.files, summary.bytes) = (summary.files + 1, summary.bytes + node.size)
                }
                NodeType::Directory => {}
                NodeType::Unreadable => summary.unreadable += 1,
                _ => summary.others += 1,
            }
            let names: Vec<&[u8]> = folder.iter().map(Vec::as_slice).chain(names_of(key)).collect();
            trees.add(&names, node)
        })?;
        let built = trees.finish()?;
        summary.directories = built.directories;
        summary.files_new = summary.files;
        Ok(Poured { built, summary, incomplete: self.incomplete, time })
    }
}
