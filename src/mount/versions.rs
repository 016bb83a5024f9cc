//! All versions of each path: `versions/HOST/PATH/TIME.EXTENSION`. Which there are is known by a catalogue of paths, which lies outside of
//! this room; what each is comes from the newest snapshot that holds it, and is only given when it is what the catalogue says.

use std::sync::{Arc, Mutex};

use fuser::{FileAttr, FileType};

use super::answers::Answers;
use super::identity::Key;
use super::inodes::{Folder, Item, Root, Saved};
use super::made::{Entry, Made};
use super::told::Hit;
use super::view::{Shown, View};
use crate::format::limits::NAME_MAX;
use crate::locks::lock;
use crate::model::{Id, Node, NodeType, joined};
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository, caught};

/// A path on a host, in these snapshots, oldest first.
pub struct Of<'a> {
    pub snapshots: &'a [Named],
    pub host: &'a [u8],
    pub names: &'a [Vec<u8>],
}

/// A version of a file.
pub struct Version {
    /// The oldest and the newest snapshot that hold it.
    pub first: Id,
    pub last: Id,
    /// What stands for its contents.
    pub content: i64,
}

/// Knows every version of every path.
pub trait Past: Send + Sync {
    /// Learns of these snapshots what it does not know yet. Errors: those of the repository; `Stopped`.
    fn fill(&self, repository: &Repository, snapshots: &[Named]) -> Result<(), Error>;

    /// Names of what ever was in a folder, in order, behind `after`; as many as are held at a time. None when there are no more.
    fn below(&self, of: &Of<'_>, after: &[u8]) -> Result<Vec<Vec<u8>>, Error>;

    /// Whether any of the snapshots holds the path.
    fn is_held(&self, of: &Of<'_>) -> Result<bool, Error>;

    /// The versions of a path that were files, newest first.
    fn versions(&self, of: &Of<'_>) -> Result<Vec<Version>, Error>;

    /// What stands for the contents of a node.
    fn content(&self, node: &Node) -> i64;
}

/// Where versions are looked for.
pub struct Source {
    past: Arc<dyn Past>,
    repository: Arc<Repository>,
    /// The snapshots that are known there.
    filled: Mutex<Option<Vec<Id>>>,
}

impl Source {
    pub fn new(past: Arc<dyn Past>, repository: Arc<Repository>) -> Source {
        Source { past, repository, filled: Mutex::default() }
    }

    /// Sees to it that all snapshots that are shown are known. Others wait: they could not be answered either.
    fn fill(&self, view: &View) -> Result<(), Error> {
        let mut filled = lock(&self.filled);
        let names: Vec<Id> = view.list.iter().map(|named| named.name).collect();
        if filled.as_ref() != Some(&names) {
            self.past.fill(&self.repository, &view.list)?;
            *filled = Some(names);
        }
        Ok(())
    }
}

/// A folder for each host.
pub struct Versions(pub Arc<Source>);

/// A path of a host.
struct Path {
    source: Arc<Source>,
    /// The name of the host's folder.
    host: Vec<u8>,
    names: Vec<Vec<u8>>,
}

/// A version of a path.
pub struct Kept {
    past: Arc<dyn Past>,
    names: Vec<Vec<u8>>,
    /// The snapshot it is taken from.
    last: Arc<Shown>,
    content: i64,
}

impl Made for Versions {
    fn id(&self) -> Vec<u8> {
        b"versions".to_vec()
    }

    /// The folders below do not have the modes of those that they stand for: only who may look at everything may here.
    fn mode(&self) -> u16 {
        0o500
    }

    fn entries(&self, view: &View) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let folder = |host: &Vec<u8>| {
            let path = Path { source: self.0.clone(), host: host.clone(), names: Vec::new() };
            (host.clone(), Entry::Folder(Arc::new(path)))
        };
        Ok(view.hosts.keys().map(folder).collect())
    }
}

/// A file's extension with its dot, so that programs know what it is; empty when there is none.
fn extension(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 && dot + 1 < name.len() => name.get(dot..).unwrap_or_default(),
        _ => b"",
    }
}

/// What a version is called: its time and its extension, as far as that is a name, and not that of something else there.
fn version_name(
    label: &[u8],
    extension: &[u8],
    mut is_taken: impl FnMut(&[u8]) -> Result<bool, Error>,
) -> Result<Vec<u8>, Error> {
    let extension = if label.len() + extension.len() < NAME_MAX { extension } else { b"" };
    let mut label = label.to_vec();
    loop {
        let name = [&label, extension].concat();
        if name.len() >= NAME_MAX || !is_taken(&name)? {
            return Ok(name);
        }
        label.push(b'~');
    }
}

impl Path {
    fn child(&self, name: &[u8]) -> Path {
        let mut names = self.names.clone();
        names.push(name.to_vec());
        Path { source: self.source.clone(), host: self.host.clone(), names }
    }

    /// Asks for what is known of the path; nothing when there is no snapshot of the host any more.
    fn ask<T: Default>(
        &self,
        view: &View,
        names: &[Vec<u8>],
        ask: impl FnOnce(&dyn Past, &Of<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let newest = view.hosts.get(&self.host).and_then(|places| places.last());
        let Some(named) = newest.and_then(|place| view.list.get(*place)) else { return Ok(T::default()) };
        self.source.fill(view)?;
        let of = Of { snapshots: &view.list, host: &named.snapshot.host, names };
        ask(&*self.source.past, &of)
    }

    fn is_folder(&self, view: &View, name: &[u8]) -> Result<bool, Error> {
        self.ask(view, &self.child(name).names, |past, of| past.is_held(of))
    }

    fn versions(&self, view: &View) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let Some(own) = self.names.last() else { return Ok(Vec::new()) };
        let shown = |name: &Id| view.snapshots.iter().find(|shown| shown.name == *name);
        let mut entries = Vec::new();
        for version in self.ask(view, &self.names, |past, of| past.versions(of))? {
            let (Some(first), Some(last)) = (shown(&version.first), shown(&version.last)) else { continue };
            let name = version_name(&first.label, extension(own), |name| self.is_folder(view, name))?;
            let kept = Kept {
                past: self.source.past.clone(),
                names: self.names.clone(),
                last: last.clone(),
                content: version.content,
            };
            entries.push((name, Entry::Version(Arc::new(kept))));
        }
        Ok(entries)
    }
}

impl Made for Path {
    fn id(&self) -> Vec<u8> {
        [&b"versions/"[..], &self.host, &joined(&self.names)].concat()
    }

    fn entries(&self, view: &View) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let mut entries = self.versions(view)?;
        entries.extend(self.more(view, b"")?);
        Ok(entries)
    }

    fn more(&self, view: &View, after: &[u8]) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let names = self.ask(view, &self.names, |past, of| past.below(of, after))?;
        let folder = |name: Vec<u8>| {
            let child = self.child(&name);
            (name, Entry::Folder(Arc::new(child)))
        };
        Ok(names.into_iter().map(folder).collect())
    }

    fn find(&self, view: &View, name: &[u8]) -> Result<Option<Entry>, Error> {
        if self.is_folder(view, name)? {
            return Ok(Some(Entry::Folder(Arc::new(self.child(name)))));
        }
        let versions = self.versions(view)?;
        Ok(versions.into_iter().find(|(own, _)| own == name).map(|(_, entry)| entry))
    }
}

impl Answers {
    /// The tree in which a version lies, and its node; none when it is not what the catalogue says.
    fn find_version(&self, kept: &Kept) -> Result<Option<(Id, Node)>, Error> {
        let Some((name, above)) = kept.names.split_last() else { return Ok(None) };
        let mut tree = kept.last.tree;
        for name in above {
            match self.shelf.find(tree, name)?.and_then(|node| node.tree) {
                Some(below) => tree = below,
                None => return Ok(None),
            }
        }
        let node = self.shelf.find(tree, name)?;
        let is_it = |node: &Node| node.kind == NodeType::File && kept.past.content(node) == kept.content;
        Ok(node.filter(is_it).map(|node| (tree, node)))
    }

    /// Enters a version of a file, or only says what its number is. One that can not be given is a file that can not be opened.
    pub(super) fn enter_version(&self, made: &dyn Made, above: u64, kept: &Kept, is_held: bool) -> FileAttr {
        let id = [&made.id(), &b"\0"[..], &kept.last.name.0, &kept.content.to_le_bytes()].concat();
        let key = Key::made(&id);
        if !is_held {
            return self.broken_attributes(key.number(0));
        }
        let (name, folder) =
            kept.names.split_last().map_or((&b""[..], &[][..]), |(name, folder)| (name, folder));
        // Where it lies in the snapshot: that is what is hit when it can not be read.
        let way = [&b"snapshots/"[..], &kept.last.label, &joined(folder)].concat();
        let path = [&way, &b"/"[..], name].concat();
        let found = match caught(|| self.find_version(kept)) {
            Ok(Some(found)) => Some(found),
            Ok(None) => {
                let what = "the catalogue of paths is wrong about it; to have that made anew, end the mount and remove the cache".to_owned();
                self.shelf.told.tell(Hit { path, what, code: "catalogue" });
                None
            }
            Err(error) => {
                self.shelf.told.error(path, &error);
                None
            }
        };
        let Some((tree, node)) = found else {
            // It may be there the next time it is asked for.
            let broken = Key::made(&[&id, &b"\0broken"[..]].concat());
            return self.broken_attributes(self.inodes.enter(&broken, |_| Item::Broken));
        };
        let root = Arc::new(Root { shown: kept.last.clone(), key, way });
        let folder = Arc::new(Folder { root, key, tree, number: above, above });
        let number = self.inodes.enter(&key, |_| {
            let name = name.into();
            Item::Saved(Saved { folder: folder.clone(), name, own: None, is_plain: node.xattrs.is_empty() })
        });
        self.attributes_of(&folder, &node, number)
    }

    /// Attributes of a file that can not be given.
    pub(super) fn broken_attributes(&self, number: u64) -> FileAttr {
        FileAttr { kind: FileType::RegularFile, perm: 0, ..self.made_attributes(number) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_what_programs_go_by() {
        for (name, expected) in
            [("a.odt", ".odt"), ("a.tar.gz", ".gz"), (".bashrc", ""), ("a.", ""), ("a", ""), ("..x", ".x")]
        {
            assert_eq!(extension(name.as_bytes()), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn no_version_takes_the_name_of_anything_else_or_too_long_a_one() {
        let taken = |name: &[u8]| Ok(name == b"t.x" || name == b"t~.x");
        assert_eq!(version_name(b"t", b".x", taken).unwrap(), b"t~~.x");
        assert_eq!(version_name(b"t", b".y", taken).unwrap(), b"t.y");
        let long = [&b"."[..], &[b'x'; NAME_MAX - 1]].concat();
        assert_eq!(version_name(b"t", &long, taken).unwrap(), b"t");
    }
}
