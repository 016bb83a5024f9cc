//! Storing an object in three round trips: a new file below `tmp/`; its bytes, their sync and its end; its name and the folder's sync.
//!
//! The protocol has no sync of folders, but OpenSSH's server opens a folder as a file when it is asked to, and syncs what it has opened.
//!
//! The name is given by a hard link, which never takes the place of what is there, and then the first name goes. Where there are no links, the file
//! is renamed, which version 3 of the protocol forbids to replace; not every server keeps to that, so what has the name is looked for just before.

use std::collections::VecDeque;

use super::folders::{self, Folder};
use super::packet::Attributes;
use super::request::{NEW, Request};
use super::session::{Session, Status, WINDOW};
use super::{FILE_MODE, FOLDER_MODE, Pending, Place, SYNC};
use crate::backend::Error;
use crate::backend::layout::{self, TEMPORARY};
use crate::backend::ssh::link::Trouble;

/// What is to be stored where.
pub struct Task<'a> {
    pub place: &'a Place,
    /// Below the repository.
    pub path: String,
    pub folder: String,
    pub bytes: &'a [u8],
    /// Whether it takes the place of what has the name.
    pub over: bool,
}

/// How a try went.
pub enum Stored {
    /// It has its name. `false`: the server could not sync it.
    Done { synced: bool },
    /// A folder is missing: once more when they are made.
    NoFolder,
}

/// A name below `tmp/` that nobody else has.
pub fn temporary() -> Result<String, Error> {
    layout::temporary_path().map_err(|error| Error::sort(TEMPORARY, "make a name for a file", error))
}

impl Task<'_> {
    fn object(&self) -> String {
        self.place.named(&self.path)
    }

    fn sort(&self, session: &Session, status: &Status, operation: &'static str) -> Trouble {
        session.sort(status, &self.place.at(""), self.bytes.len(), self.object(), operation)
    }

    fn not_in_place(&self) -> Trouble {
        let words = "the server said that it did, and it is not there";
        Error::sort(self.object(), "put in place", std::io::Error::other(words)).into()
    }

    fn is_this(&self, seen: &Attributes) -> bool {
        seen.length() == Some(self.bytes.len() as u64)
    }

    /// Whether what has the name is this object, going by its length; another length is an error.
    fn is_there(&self, seen: Result<Attributes, Status>) -> Result<bool, Trouble> {
        match seen {
            Ok(attributes) if self.is_this(&attributes) => Ok(true),
            Ok(_) => Err(Error::Exists { object: self.object() }.into()),
            Err(status) if status.is_missing() => Ok(false),
            Err(status) => Err(status.sort(self.object(), "look at").into()),
        }
    }

    /// Tries once.
    pub fn store(&self, session: &Session) -> Result<Stored, Trouble> {
        let temporary = self.place.at(&temporary()?);
        let (path, folder) = (self.place.at(&self.path), self.place.at(&self.folder));
        // A folder of packs is made along with the first that goes there.
        let is_new = self.folder.contains('/') && !session.knows(&self.folder);
        let look = if self.over { None } else { Some(session.send(Request::Look(&path))?) };
        let make = if is_new { Some(session.send(Request::MakeFolder(&folder, FOLDER_MODE))?) } else { None };
        let open = session.send(Request::Open { path: &temporary, flags: NEW, mode: Some(FILE_MODE) })?;
        let mut folders = vec![folders::open(session, &folder)?];
        if let Some((above, _)) = self.folder.rsplit_once('/').filter(|_| is_new) {
            folders.push(folders::open(session, &self.place.at(above))?);
        }

        let seen = look.map(|look| session.attributes(look)).transpose()?;
        let made = make.map(|make| session.done(make)).transpose()?;
        let opened = session.handle(open)?;
        let folders =
            folders.into_iter().map(|opening| opening.wait(session)).collect::<Result<Vec<_>, _>>()?;
        let mut file = match opened {
            Ok(handle) => Temporary { session, path: temporary, handle: Some(handle), is_there: true },
            // What is there already needs no new file.
            Err(_) if matches!(&seen, Some(Ok(seen)) if self.is_this(seen)) => {
                let syncs = folders.iter().map(|folder| folder.sync(session)).collect::<Result<_, _>>()?;
                return self.finish(session, syncs);
            }
            Err(status) if status.is_missing() => return Ok(Stored::NoFolder),
            Err(status) => return Err(self.sort(session, &status, "make a file for it")),
        };
        if let Some(seen) = seen
            && self.is_there(seen)?
        {
            // Also what another writer just put there is only stored once it is durable.
            let syncs = folders.iter().map(|folder| folder.sync(session)).collect::<Result<_, _>>()?;
            return self.finish(session, syncs);
        }
        // The server's umask may have taken bits away. Only of a folder just made: others are as somebody wants them.
        let mode = match made {
            Some(Ok(())) => Some(session.send(Request::SetMode(&folder, FOLDER_MODE))?),
            _ => None,
        };
        let synced = file.fill(self)?;
        if let Some(mode) = mode {
            let _ = session.done(mode)?;
        }
        let naming = if self.over { file.put_over(self, &folders)? } else { file.put(self, &folders)? };
        let Some(syncs) = naming else { return Ok(Stored::NoFolder) };
        let stored = self.finish(session, syncs)?;
        if is_new {
            session.learn(&self.folder);
        }
        Ok(match stored {
            Stored::Done { synced: folders } => Stored::Done { synced: synced && folders },
            stored => stored,
        })
    }

    /// Waits for the syncs of folders.
    fn finish(&self, session: &Session, syncs: Vec<Option<Pending>>) -> Result<Stored, Trouble> {
        let mut all = true;
        for sync in syncs {
            all &= match sync.map(|sync| session.done(sync)).transpose()? {
                None => false,
                Some(Ok(())) => true,
                Some(Err(status)) if status.is_unsupported() => false,
                Some(Err(status)) => return Err(self.sort(session, &status, SYNC)),
            };
        }
        Ok(Stored::Done { synced: all })
    }
}

/// The syncs of folders that are on their way once an object has its name; none when its folder is missing.
type Named = Option<Vec<Option<Pending>>>;

/// A file below `tmp/`. Dropped, it is closed and removed, as far as it is still there; nobody waits for that.
struct Temporary<'a> {
    session: &'a Session,
    /// On the server.
    path: String,
    handle: Option<Vec<u8>>,
    is_there: bool,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            let _ = self.session.send(Request::Close(handle));
        }
        if self.is_there {
            let _ = self.session.send(Request::Remove(&self.path));
        }
    }
}

impl Temporary<'_> {
    /// Writes the object, has it synced where the server can, and closes the file, of which each part went well. Whether it was synced.
    fn fill(&mut self, task: &Task<'_>) -> Result<bool, Trouble> {
        let session = self.session;
        let Some(handle) = self.handle.take() else { return Ok(false) };
        let written = self.write(&handle, task);
        // Servers that can sync answer in the order of the requests. Others are asked for the length when all has come.
        let is_ordered = session.is_ordered();
        let looked = is_ordered.then(|| session.send(Request::LookAtOpen(&handle)));
        let synced = is_ordered.then(|| session.send(Request::Sync(&handle)));
        let closed = session.send(Request::Close(&handle))?;
        for pending in written? {
            self.is_written(task, pending)?;
        }
        let seen = looked.transpose()?.map(|looked| session.attributes(looked)).transpose()?;
        let synced = synced.transpose()?.map(|synced| session.done(synced)).transpose()?;
        if let Err(status) = session.done(closed)? {
            return Err(task.sort(session, &status, "close"));
        }
        let seen = match seen {
            Some(seen) => seen,
            None => session.attributes(session.send(Request::Look(&self.path))?)?,
        };
        let is_synced = match synced {
            None => false,
            Some(Ok(())) => true,
            Some(Err(status)) if status.is_unsupported() => false,
            Some(Err(status)) => return Err(task.sort(session, &status, "sync")),
        };
        self.check(seen.map_err(|status| task.sort(session, &status, "look at"))?, task)?;
        Ok(is_synced)
    }

    /// Sends all bytes; what is not answered yet.
    fn write(&self, handle: &[u8], task: &Task<'_>) -> Result<VecDeque<Pending>, Trouble> {
        let most = self.session.write_piece();
        let mut asked = VecDeque::new();
        for (place, piece) in task.bytes.chunks(most).enumerate() {
            if (asked.len() + 1) * most > WINDOW
                && let Some(first) = asked.pop_front()
            {
                self.is_written(task, first)?;
            }
            let offset = (place * most) as u64;
            asked.push_back(self.session.send(Request::Write { handle, offset, bytes: piece })?);
        }
        Ok(asked)
    }

    fn is_written(&self, task: &Task<'_>, pending: Pending) -> Result<(), Trouble> {
        match self.session.done(pending)? {
            Ok(()) => Ok(()),
            Err(status) => Err(task.sort(self.session, &status, "write")),
        }
    }

    /// Whether the file got all bytes; and copal's mode, whatever the server's umask.
    fn check(&self, seen: Attributes, task: &Task<'_>) -> Result<(), Trouble> {
        if seen.size.is_some_and(|size| size != task.bytes.len() as u64) {
            let words = "the file did not get the length that was written";
            return Err(Error::sort(task.object(), "write", std::io::Error::other(words)).into());
        }
        if seen.mode.is_some_and(|mode| mode & 0o7777 != FILE_MODE) {
            // A server without modes refuses; that is no reason not to store.
            let pending = self.session.send(Request::SetMode(&self.path, FILE_MODE))?;
            let _ = self.session.done(pending)?;
        }
        Ok(())
    }

    /// Gives the file its name, unless that is taken. A server's word that it did is not taken for it: some say so of requests that they do not know.
    fn put(&mut self, task: &Task<'_>, folders: &[Folder]) -> Result<Named, Trouble> {
        let session = self.session;
        let path = task.place.at(&task.path);
        let sync = || folders.iter().map(|folder| folder.sync(session)).collect::<Result<Vec<_>, _>>();
        if session.has_links() {
            let link = session.send(Request::Link(&self.path, &path))?;
            let look = session.send(Request::Look(&path))?;
            let syncs = sync()?;
            let (linked, seen) = (session.done(link)?, session.attributes(look)?);
            // Linked; or another writer was faster, or a reply was lost.
            if task.is_there(seen)? {
                return Ok(Some(syncs));
            }
            if let Err(status) = linked {
                if status.is_missing() {
                    return Ok(None);
                }
                match task.sort(session, &status, "put in place") {
                    Trouble::Error(Error::NoSpace { object, operation }) => {
                        return Err(Error::NoSpace { object, operation }.into());
                    }
                    Trouble::Lost(lost) => return Err(lost.into()),
                    Trouble::Error(_) => {}
                }
            }
            session.without_links();
        }
        let seen = session.attributes(session.send(Request::Look(&path))?)?;
        if task.is_there(seen)? {
            return Ok(Some(sync()?));
        }
        let rename = session.send(Request::Rename(&self.path, &path))?;
        let look = session.send(Request::Look(&path))?;
        let syncs = sync()?;
        let (renamed, seen) = (session.done(rename)?, session.attributes(look)?);
        if task.is_there(seen)? {
            self.is_there = renamed.is_err();
            return Ok(Some(syncs));
        }
        match renamed {
            Ok(()) => Err(task.not_in_place()),
            Err(status) if status.is_missing() => Ok(None),
            Err(status) => Err(task.sort(session, &status, "put in place")),
        }
    }

    /// Gives the file its name, in place of what has it.
    fn put_over(&mut self, task: &Task<'_>, folders: &[Folder]) -> Result<Named, Trouble> {
        let session = self.session;
        let path = task.place.at(&task.path);
        let named = if session.extensions().rename_over {
            session.done(session.send(Request::RenameOver(&self.path, &path))?)?
        } else {
            self.swap(task, &path)?
        };
        match named {
            Ok(()) => {}
            Err(status) if status.is_missing() => return Ok(None),
            Err(status) => return Err(task.sort(session, &status, "put in place")),
        }
        // The first name is gone and the other has the bytes, or the server only said so.
        let (first, other) = (session.send(Request::Look(&self.path))?, session.send(Request::Look(&path))?);
        let syncs = folders.iter().map(|folder| folder.sync(session)).collect::<Result<Vec<_>, _>>()?;
        let (first, other) = (session.attributes(first)?, session.attributes(other)?);
        let is_done =
            first.is_err_and(|status| status.is_missing()) && other.is_ok_and(|seen| task.is_this(&seen));
        self.is_there = !is_done;
        if is_done { Ok(Some(syncs)) } else { Err(task.not_in_place()) }
    }

    /// For servers that replace nothing: what has the name goes aside first, and back should the new file not take its place.
    fn swap(&self, task: &Task<'_>, path: &str) -> Result<Result<(), Status>, Trouble> {
        let session = self.session;
        let rename = |from: &str, to: &str| session.done(session.send(Request::Rename(from, to))?);
        let aside = task.place.at(&temporary()?);
        let had_one = rename(path, &aside)?.is_ok();
        let named = rename(&self.path, path)?;
        if had_one {
            match named {
                Ok(()) => drop(session.send(Request::Remove(&aside))?),
                Err(_) => drop(rename(&aside, path)?),
            }
        }
        Ok(named)
    }
}
