//! Folders that are made, not saved: the ways to a snapshot. Another way is another `Made`, and one more line in `Top`.

use std::sync::Arc;

use super::versions::{Kept, Source, Versions};
use super::view::{Shown, View};
use crate::repository::Error;

/// What a made folder holds.
#[derive(Clone)]
pub enum Entry {
    Folder(Arc<dyn Made>),
    /// The root of a snapshot.
    Root(Arc<Shown>),
    /// A version of a file.
    Version(Arc<Kept>),
    /// A symlink to that.
    Link(Vec<u8>),
}

/// A folder that is made from what is known of all snapshots.
pub trait Made: Send + Sync {
    /// What it is known by: no other made folder has the same.
    fn id(&self) -> Vec<u8>;

    /// Who may look into it, as bits of a mode.
    fn mode(&self) -> u16 {
        0o555
    }

    /// Its entries at present, each name once: all, or the first ones of very many.
    fn entries(&self, view: &View) -> Result<Vec<(Vec<u8>, Entry)>, Error>;

    /// The next ones behind the one of that name, of very many; none when there are no more.
    fn more(&self, _view: &View, _after: &[u8]) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        Ok(Vec::new())
    }

    /// The entry of that name.
    fn find(&self, view: &View, name: &[u8]) -> Result<Option<Entry>, Error> {
        Ok(self.entries(view)?.into_iter().find(|(own, _)| own == name).map(|(_, entry)| entry))
    }
}

/// The mount point itself, with all versions of each path where they are known.
pub struct Top(pub Option<Arc<Source>>);

/// All snapshots.
struct Every;

/// By what snapshots are put together.
#[derive(Clone, Copy)]
enum By {
    Host,
    Tag,
}

/// A folder for each host, or for each tag.
struct Groups(By);

/// The snapshots of one host, or of one tag.
struct Group(By, Vec<u8>);

/// How the newest is called.
const LATEST: &[u8] = b"latest";

impl By {
    fn word(self) -> &'static [u8] {
        match self {
            By::Host => b"hosts",
            By::Tag => b"tags",
        }
    }

    fn groups(self, view: &View) -> &std::collections::BTreeMap<Vec<u8>, Vec<usize>> {
        match self {
            By::Host => &view.hosts,
            By::Tag => &view.tags,
        }
    }
}

fn root(shown: &Arc<Shown>) -> (Vec<u8>, Entry) {
    (shown.label.clone(), Entry::Root(shown.clone()))
}

impl Made for Top {
    fn id(&self) -> Vec<u8> {
        b"/".to_vec()
    }

    fn entries(&self, view: &View) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let folders: [Arc<dyn Made>; 3] =
            [Arc::new(Every), Arc::new(Groups(By::Host)), Arc::new(Groups(By::Tag))];
        let versions = self.0.iter().map(|source| Arc::new(Versions(source.clone())) as Arc<dyn Made>);
        let mut entries: Vec<_> =
            folders.into_iter().chain(versions).map(|folder| (folder.id(), Entry::Folder(folder))).collect();
        if let Some(newest) = view.latest.and_then(|place| view.snapshots.get(place)) {
            let target = [&Every.id(), &b"/"[..], &newest.label].concat();
            entries.push((LATEST.to_vec(), Entry::Link(target)));
        }
        Ok(entries)
    }
}

impl Made for Every {
    fn id(&self) -> Vec<u8> {
        b"snapshots".to_vec()
    }

    fn entries(&self, view: &View) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        Ok(view.snapshots.iter().map(root).collect())
    }
}

impl Made for Groups {
    fn id(&self) -> Vec<u8> {
        self.0.word().to_vec()
    }

    fn entries(&self, view: &View) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let names = self.0.groups(view).keys();
        let folder = |name: &Vec<u8>| {
            (name.clone(), Entry::Folder(Arc::new(Group(self.0, name.clone())) as Arc<dyn Made>))
        };
        Ok(names.map(folder).collect())
    }
}

impl Made for Group {
    fn id(&self) -> Vec<u8> {
        [self.0.word(), b"/", &self.1].concat()
    }

    fn entries(&self, view: &View) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let places = self.0.groups(view).get(&self.1).map(Vec::as_slice).unwrap_or_default();
        let shown = places.iter().filter_map(|place| view.snapshots.get(*place));
        let mut entries: Vec<_> = shown.map(root).collect();
        if let Some(newest) = view.newest(places) {
            entries.push((LATEST.to_vec(), Entry::Link(newest.label.clone())));
        }
        Ok(entries)
    }
}
