//! Placing watches: from `/` along the ways to the sources, and on every folder in them that is backed up. A folder's watch comes before its
//! listing, so that what is made after the listing is told.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, inotify};
use rustix::io::Errno;

use super::Unwatched;
use super::folders::{Folder, Number};
use super::watcher::State;
use crate::backup::marked::is_marked;
use crate::backup::sources::{self, Way};
use crate::files;
use crate::model::NodeType;

/// What is told of a folder. Not that something in it is opened or read: that is what a backup does.
fn told() -> inotify::WatchFlags {
    use inotify::WatchFlags;
    WatchFlags::ATTRIB
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MODIFY
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::EXCL_UNLINK
}

/// A folder that is to be watched.
struct Job {
    /// The folder that it is in; none of `/`.
    parent: Option<(Rc<OwnedFd>, Number)>,
    name: Vec<u8>,
    path: Vec<u8>,
    /// None when everything in it is backed up.
    way: Option<BTreeMap<Vec<u8>, Way>>,
    /// Of its parent.
    device: u64,
    /// Of the source that it is in.
    top_device: Option<u64>,
}

impl State {
    /// Watches everything anew; watches that are there stay.
    pub(super) fn place_all(&mut self) {
        // Before anything is placed: what changes meanwhile is seen at the next look.
        self.note_sources();
        let old = std::mem::take(&mut self.folders);
        self.unwatched.clear();
        let ways = sources::ways(&self.options.sources);
        let way = (!ways.whole).then_some(ways.below);
        let top_device = None;
        self.place(Job { parent: None, name: Vec::new(), path: Vec::new(), way, device: 0, top_device });
        for watch in old.watches() {
            if !self.folders.has_watch(watch) {
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
        }
    }

    /// Watches what is at that name in a folder now, whatever was there.
    pub(super) fn place_again(&mut self, number: Number, name: &[u8]) {
        if let Some(old) = self.folders.child(number, name) {
            self.forget(old);
        }
        let Some(folder) = self.folders.get(number) else { return };
        let way = match &folder.way {
            None => None,
            Some(ways) => match ways.get(name) {
                None => return,
                Some(way) => (!way.whole).then(|| way.below.clone()),
            },
        };
        // A source begins here, or lies further down: then its own device counts.
        let top_device = if folder.way.is_some() { None } else { self.top_device(number) };
        let device = folder.device;
        let mut path = self.folders.path(number);
        path.push(b'/');
        path.extend_from_slice(name);
        self.forget_unwatched(&path);
        let Some(handle) = self.open(number) else {
            self.unwatched.insert(path, Unwatched::Refused);
            return;
        };
        let parent = Some((Rc::new(handle), number));
        self.place(Job { parent, name: name.to_vec(), path, way, device, top_device });
    }

    /// Watches what is in a folder anew: whether it is left out as marked may have changed.
    pub(super) fn place_below_again(&mut self, number: Number) {
        let Some(folder) = self.folders.get(number) else { return };
        match (folder.above, folder.name.clone()) {
            (Some(above), name) => self.place_again(above, &name),
            (None, _) => self.place_all(),
        }
    }

    /// The device of the source that a folder is in.
    fn top_device(&self, number: Number) -> Option<u64> {
        let mut top = None;
        let mut next = Some(number);
        while let Some(folder) = next.and_then(|number| self.folders.get(number)) {
            if folder.way.is_some() {
                break;
            }
            top = Some(folder.device);
            next = folder.above;
        }
        top
    }

    /// Opens a folder of the table by the names that lead to it.
    fn open(&self, number: Number) -> Option<OwnedFd> {
        let mut handle = files::open_root(std::path::Path::new("/")).ok()?;
        for name in self.folders.names(number) {
            handle = open_below(&handle, name).ok()?;
        }
        Some(handle)
    }

    /// Forgets a folder and all below it.
    pub(super) fn forget(&mut self, number: Number) {
        for watch in self.folders.remove(number) {
            // It may be gone by itself.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    fn forget_unwatched(&mut self, path: &[u8]) {
        self.unwatched.retain(|other, _| {
            !other.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        });
    }

    fn place(&mut self, first: Job) {
        let mut left = vec![first];
        while let Some(job) = left.pop() {
            if self.is_own_path(&job.path) {
                continue;
            }
            let path = job.path.clone();
            match self.place_one(job, &mut left) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(Errno::NOSPC) => {
                    self.unwatched.insert(path, Unwatched::Limit);
                }
                Err(_) => {
                    self.unwatched.insert(path, Unwatched::Refused);
                }
            }
        }
    }

    /// Watches one folder and adds those in it to what is left.
    fn place_one(&mut self, job: Job, left: &mut Vec<Job>) -> Result<(), Errno> {
        let Job { parent, name, path, way, device, top_device } = job;
        let on_the_way = way.is_some();
        let handle = match &parent {
            None => files::open_root(std::path::Path::new("/")),
            Some((parent, _)) => match files::open_directory(parent.as_fd(), &name) {
                // Who may only pass through still comes to the source.
                Err(Errno::ACCESS) if on_the_way => open_below(parent, &name),
                other => other,
            },
        }?;
        let stat = files::stat_fd(handle.as_fd())?;
        if self.options.own.contains(&(stat.dev, stat.inode)) {
            return Ok(());
        }
        let is_new_ground = top_device.is_none() || stat.dev != device;
        let top_device = if on_the_way { None } else { Some(top_device.unwrap_or(stat.dev)) };
        if self.options.one_file_system && top_device.is_some_and(|top| top != stat.dev) {
            return Ok(());
        }
        if !on_the_way && is_new_ground && !tells_changes(&handle) {
            self.unwatched.insert(path, Unwatched::Elsewhere);
            return Ok(());
        }
        let watch = match self.watch(&handle) {
            Ok(watch) => Some(watch),
            Err(_) if on_the_way => None,
            Err(error) => return Err(error),
        };
        let above = parent.as_ref().map(|(_, number)| *number);
        let folder = Folder { above, name, watch, way, device: stat.dev, ..Folder::default() };
        let names: Vec<(Vec<u8>, Option<NodeType>)> = match &folder.way {
            Some(ways) => ways.keys().map(|name| (name.clone(), None)).collect(),
            None => Vec::new(),
        };
        let ways = folder.way.clone();
        let number = self.folders.add(folder);
        let names = match ways {
            Some(_) => names,
            None => {
                let listed = files::names(handle.as_fd())?;
                if is_marked(&self.options.excludes, &handle, &listed) {
                    if let Some(folder) = self.folders.get_mut(number) {
                        folder.marked = true;
                    }
                    return Ok(());
                }
                listed.iter().map(|name| (name.bytes.to_vec(), name.kind)).collect()
            }
        };
        let handle = Rc::new(handle);
        for (name, kind) in names {
            let kind = match kind {
                Some(kind) => kind,
                None => match files::stat(handle.as_fd(), &name) {
                    Ok(stat) => stat.kind,
                    Err(_) => continue,
                },
            };
            if kind != NodeType::Directory {
                continue;
            }
            let mut path = path.clone();
            path.push(b'/');
            path.extend_from_slice(&name);
            let way = match &ways {
                None => None,
                Some(ways) => ways.get(&name).and_then(|way| (!way.whole).then(|| way.below.clone())),
            };
            if ways.is_none() && self.options.excludes.excluded_entry(&path, true) {
                continue;
            }
            let parent = Some((handle.clone(), number));
            left.push(Job { parent, name, path, way, device: stat.dev, top_device });
        }
        Ok(())
    }

    /// The system's number of a folder's watch; the same again for the same folder.
    fn watch(&self, handle: &OwnedFd) -> Result<i32, Errno> {
        if self.options.watches_most.is_some_and(|most| self.folders.watched() >= most) {
            return Err(Errno::NOSPC);
        }
        let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
        inotify::add_watch(&self.inotify, path, told()).map_err(|error| match error {
            Errno::NOSPC => Errno::NOSPC,
            // Whatever is wrong, the folder is there: it must not be taken for gone.
            _ => Errno::OPNOTSUPP,
        })
    }
}

/// Opens a folder only to go through it.
fn open_below(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, files::single(name)?, flags, Mode::empty())
}

/// Whether the system tells all changes on a folder's file system: nobody else makes any.
fn tells_changes(handle: &OwnedFd) -> bool {
    files::is_local(handle.as_fd())
        && files::filesystem(handle.as_fd()).is_ok_and(|file_system| !file_system.is_made_up())
}
