//! Storing an object in a folder: written beside its place, made durable, and given its name. At once, or piece by piece as it comes from
//! somewhere.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::temporary::{Naming, Temporary};
use super::{Local, TEMPORARY};
use crate::backend::{Error, Kind};

/// An object on its way into a folder. Nobody sees anything of it before it is finished; dropped, it is gone.
pub struct Incoming {
    file: Temporary,
    root: Arc<OwnedFd>,
    kind: Kind,
    name: String,
    path: String,
    folder: String,
    size: u64,
    /// Whether it takes the place of what has the name.
    over: bool,
}

impl Incoming {
    /// How many bytes it is to have.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Local {
    /// Begins an object of so many bytes; none when it is there already, durable too. `over`: it takes the place of what has the name.
    pub fn begin(&self, kind: Kind, name: &str, size: u64, over: bool) -> Result<Option<Incoming>, Error> {
        let path = self.checked(kind, name)?;
        let folder = kind.folder_of(name);
        let root = self.folders.root()?;
        self.folders.trusted(&folder)?;
        self.folders.ensure(&root, &folder)?;
        // Also what another writer just put there is only `Ok` once it is durable, so the folder is synced in any case.
        if !over && self.is_present(&root, &path, size)? {
            self.folders.sync_folder(&root, &folder)?;
            return Ok(None);
        }
        let file = self.temporary(&root, &path, "make a file for it")?;
        Ok(Some(Incoming { file, root, kind, name: name.to_owned(), path, folder, size, over }))
    }

    /// Writes more of it.
    pub fn add(&self, incoming: &mut Incoming, bytes: &[u8]) -> Result<(), Error> {
        incoming.file.add(bytes).map_err(|error| self.sort(&incoming.path, "write", error))
    }

    /// Makes an object durable of which all is written, and gives it its name. Where that is taken, what is there stays, unless it is to be
    /// replaced.
    pub fn finish(&self, incoming: Incoming) -> Result<(), Error> {
        let Incoming { mut file, root, kind, name, path, folder, size, over } = incoming;
        file.filled(size).map_err(|error| self.sort(&path, "write", error))?;
        self.folders.synced(file.file.as_fd()).map_err(|errno| self.sort(&path, "sync", errno))?;
        let _turn = self.folders.turn(&folder);
        self.folders.trusted(&folder)?;
        let mut publish = || match over {
            true => match file.rename_over(&path) {
                Ok(naming) => Ok(matches!(naming, Naming::Done)),
                Err(errno) => Err(self.sort(&path, "put in place", errno)),
            },
            false => self.publish(&root, &mut file, &path, size),
        };
        if !publish()? {
            // Somebody removed the folder since `ensure` saw it: once more.
            self.folders.forget(&folder);
            self.folders.ensure(&root, &folder)?;
            if !publish()? {
                return Err(self.sort(&path, "put in place", Errno::NOENT));
            }
        }
        drop(file);
        if over {
            self.handles.drop_one(kind, &name);
        }
        self.folders.sync_folder(&root, &folder)
    }

    /// All of it at once.
    pub(super) fn store(&self, kind: Kind, name: &str, bytes: &[u8], over: bool) -> Result<(), Error> {
        let Some(mut incoming) = self.begin(kind, name, bytes.len() as u64, over)? else { return Ok(()) };
        self.add(&mut incoming, bytes)?;
        self.finish(incoming)
    }

    /// A new file below `tmp/`, which is made again if it was removed. `path` and `operation` are for the message.
    pub(super) fn temporary(
        &self,
        root: &Arc<OwnedFd>,
        path: &str,
        operation: &'static str,
    ) -> Result<Temporary, Error> {
        self.folders.ensure(root, TEMPORARY)?;
        let made = match Temporary::new(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.folders.forget(TEMPORARY);
                self.folders.ensure(root, TEMPORARY)?;
                Temporary::new(root)
            }
            made => made,
        };
        made.map_err(|error| self.sort(path, operation, error))
    }

    /// Whether an object of this length is there; another length is an error.
    fn is_present(&self, root: &OwnedFd, path: &str, length: u64) -> Result<bool, Error> {
        match self.size_at(root, path) {
            Ok(size) if size == length => Ok(true),
            Ok(_) => Err(Error::Exists { object: self.folders.named(path) }),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a synced file its name. `false` when its folder is missing.
    pub(super) fn publish(
        &self,
        root: &OwnedFd,
        file: &mut Temporary,
        path: &str,
        length: u64,
    ) -> Result<bool, Error> {
        let failed = |errno| self.sort(path, "put in place", errno);
        let mut naming = Naming::NoRename;
        if !self.links.load(Ordering::Relaxed) {
            naming = file.rename(path).map_err(failed)?;
        }
        if matches!(naming, Naming::NoRename) {
            self.links.store(true, Ordering::Relaxed);
            naming = file.link(path).map_err(failed)?;
        }
        match naming {
            Naming::Done => Ok(true),
            Naming::NoFolder => Ok(false),
            // Another writer was faster, or a network file system did it and lost the reply.
            Naming::Taken if self.is_present(root, path, length)? => Ok(true),
            Naming::Taken => Err(Error::Exists { object: self.folders.named(path) }),
            Naming::NoRename | Naming::NoLinks => Err(Error::Unsupported {
                object: self.folders.named(path),
                reason: "this file system has neither renaming without replacing nor hard links".to_owned(),
            }),
        }
    }
}
