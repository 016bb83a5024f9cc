//! Folders that are made, not saved: the ways to a snapshot. Another way is another `Made`, and one more line in `Top`.

use std::sync::Arc;

use super::view::{Shown, View};

/// What a made folder holds.
#[derive(Clone)]
pub enum Entry {
    Folder(Arc<dyn Made>),
    /// The root of a snapshot.
    Root(Arc<Shown>),
    /// A symlink to that.
    Link(Vec<u8>),
}

/// A folder that is made from what is known of all snapshots.
pub trait Made: Send + Sync {
    /// What it is known by: no other made folder has the same.
    fn id(&self) -> Vec<u8>;

    /// Its entries at present, each name once.
    fn entries(&self, view: &View) -> Vec<(Vec<u8>, Entry)>;

    /// The entry of that name.
    fn find(&self, view: &View, name: &[u8]) -> Option<Entry> {
        self.entries(view).into_iter().find(|(own, _)| own == name).map(|(_, entry)| entry)
    }
}

/// The mount point itself.
pub struct Top;

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

    fn entries(&self, view: &View) -> Vec<(Vec<u8>, Entry)> {
        let folders: [Arc<dyn Made>; 3] =
            [Arc::new(Every), Arc::new(Groups(By::Host)), Arc::new(Groups(By::Tag))];
        let mut entries: Vec<_> =
            folders.into_iter().map(|folder| (folder.id(), Entry::Folder(folder))).collect();
        if let Some(newest) = view.latest.and_then(|place| view.snapshots.get(place)) {
            let target = [&Every.id(), &b"/"[..], &newest.label].concat();
            entries.push((LATEST.to_vec(), Entry::Link(target)));
        }
        entries
    }
}

impl Made for Every {
    fn id(&self) -> Vec<u8> {
        b"snapshots".to_vec()
    }

    fn entries(&self, view: &View) -> Vec<(Vec<u8>, Entry)> {
        view.snapshots.iter().map(root).collect()
    }
}

impl Made for Groups {
    fn id(&self) -> Vec<u8> {
        self.0.word().to_vec()
    }

    fn entries(&self, view: &View) -> Vec<(Vec<u8>, Entry)> {
        let names = self.0.groups(view).keys();
        names.map(|name| (name.clone(), Entry::Folder(Arc::new(Group(self.0, name.clone()))))).collect()
    }
}

impl Made for Group {
    fn id(&self) -> Vec<u8> {
        [self.0.word(), b"/", &self.1].concat()
    }

    fn entries(&self, view: &View) -> Vec<(Vec<u8>, Entry)> {
        let places = self.0.groups(view).get(&self.1).map(Vec::as_slice).unwrap_or_default();
        let shown = places.iter().filter_map(|place| view.snapshots.get(*place));
        let mut entries: Vec<_> = shown.map(root).collect();
        if let Some(newest) = view.newest(places) {
            entries.push((LATEST.to_vec(), Entry::Link(newest.label.clone())));
        }
        entries
    }
}
