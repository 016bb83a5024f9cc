//! A repository in a folder of another machine, over the SSH File Transfer Protocol: laid out as in a local folder, and reached by the user's own
//! `ssh`, with his keys, agents, jump hosts and `~/.ssh/config`.
//!
//! What is asked at once costs one round trip, so every operation sends what it can before it waits. A connection that is lost is made anew, and
//! what it let fail is done again; each operation can be.

mod folders;
mod list;
mod objects;
pub mod packet;
mod read;
mod request;
mod session;
mod store;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::layout::{self, TEMPORARY, TEMPORARY_PREFIX};
use super::ssh::connection::{self, Connection};
use super::ssh::link::Link;
use super::ssh::process::{self, Errand};
use super::{Backend, Entry, Error, Kind, Space, checked_path};
use crate::locks::lock;
use crate::model::Time;
use packet::Listed;
use request::{NEW, Request, greeting};
use session::Session;
use store::{Stored, Task};

pub use super::ssh::{Dial, Line, Lost, Options, Peer, Place, Why};

/// The modes of every file and folder copal makes, whatever the server's umask.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// What errors of a folder's sync call it; of files, that is another word.
const SYNC: &str = "sync the folder of it";
/// Requests that are worth while at a time: each waits for a round trip.
const REQUESTS_AT_ONCE: usize = 8;

/// What `ssh` is to start.
const ERRAND: Errand =
    Errand { name: "sftp", is_subsystem: true, words: &["sftp"], missing: None, voice: None };

/// A request that went out.
type Pending = connection::Pending<packet::Protocol>;

/// A repository on a server. Connects when it is first used, and ends the connection when it is dropped.
pub struct Sftp {
    link: Link<Session>,
    unsynced: AtomicBool,
    /// Folders whose sync failed, and how. A second sync would seem to succeed, as in a local folder, so nothing more is stored in them.
    broken: Mutex<HashMap<String, String>>,
}

impl Sftp {
    /// The repository at a place. Touches nothing.
    pub fn new(place: Place, options: Options) -> Sftp {
        let (to, how) = (place.clone(), options.clone());
        Sftp::with_dial(place, options, Box::new(move || process::start(&to, &how, &ERRAND)))
    }

    /// The same over connections that come from elsewhere.
    pub fn with_dial(place: Place, options: Options, dial: Box<Dial>) -> Sftp {
        let patience = options.patience;
        let connect = move || {
            let line = dial()?;
            Session::new(Connection::open(line, &greeting(), options.silence, options.greeting_most())?)
        };
        Sftp {
            link: Link::new(place, patience, Box::new(connect)),
            unsynced: AtomicBool::new(false),
            broken: Mutex::default(),
        }
    }

    /// How many round trips the connection in use cost so far, for one thread that does one thing after the other: requests that went out
    /// before a reply was waited for count as one.
    pub fn round_trips(&self) -> u64 {
        self.link.standing().map_or(0, |session| session.round_trips())
    }

    fn place(&self) -> &Place {
        &self.link.place
    }

    fn checked(&self, kind: Kind, name: &str) -> Result<String, Error> {
        checked_path(&self.place().text, kind, name)
    }

    /// Fails when an earlier sync of this folder failed, with the reason that it had.
    fn trusted(&self, folder: &str) -> Result<(), Error> {
        match lock(&self.broken).get(folder) {
            None => Ok(()),
            Some(words) => {
                let source = std::io::Error::other(words.clone());
                Err(Error::Io { object: self.place().named(folder), operation: SYNC, source })
            }
        }
    }

    /// Remembers a folder whose sync failed.
    fn heeded<T>(&self, folder: &str, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Io { operation: SYNC, source, .. }) = &result {
            lock(&self.broken).entry(folder.to_owned()).or_insert_with(|| source.to_string());
        }
        result
    }

    fn store(&self, kind: Kind, name: &str, bytes: &[u8], over: bool) -> Result<(), Error> {
        let path = self.checked(kind, name)?;
        self.trusted(&kind.folder_of(name))?;
        let task = Task { place: self.place(), path, folder: kind.folder_of(name), bytes, over };
        let stored = self.link.run(&task.path, "store", |session, _| {
            let mut has_made = false;
            loop {
                match task.store(session)? {
                    Stored::Done { synced: true } => break,
                    Stored::Done { synced: false } => {
                        self.unsynced.store(true, Ordering::Relaxed);
                        break;
                    }
                    Stored::NoFolder if has_made => {
                        return Err(Error::NotFound { object: self.place().named(&task.folder) }.into());
                    }
                    Stored::NoFolder => {
                        if !folders::make_missing(session, self.place(), &task.folder)? {
                            return Err(Error::NotFound { object: self.place().text.clone() }.into());
                        }
                        has_made = true;
                    }
                }
            }
            if over {
                session.let_go(kind, name);
            }
            Ok(())
        });
        self.heeded(&task.folder, stored)
    }

    /// The path on the server of a folder below the repository, and what messages call it.
    fn both(&self, path: &str) -> (String, String) {
        (self.place().at(path), self.place().named(path))
    }
}

impl Backend for Sftp {
    fn location(&self) -> String {
        self.place().text.clone()
    }

    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.store(kind, name, bytes, false)
    }

    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.store(kind, name, bytes, true)
    }

    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        self.get_at_most(kind, name, u64::MAX)
    }

    fn get_at_most(&self, kind: Kind, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let path = self.checked(kind, name)?;
        let (at, object) = self.both(&path);
        self.link.run(&path, "read", |session, _| {
            let open = read::open(session, &at, &object)?;
            if open.size > most {
                return Err(Error::TooLong { object: object.clone() }.into());
            }
            let length = usize::try_from(open.size).unwrap_or(usize::MAX);
            read::range(session, &open, &object, 0, length)
        })
    }

    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let path = self.checked(kind, name)?;
        let (at, object) = self.both(&path);
        self.link.run(&path, "read", |session, _| {
            let open = match session.held(kind, name) {
                Some(open) => open,
                None => {
                    let open = Arc::new(read::open(session, &at, &object)?);
                    session.hold(kind, name, &open);
                    open
                }
            };
            // A file that was changed or replaced from outside is opened anew next time.
            read::range(session, &open, &object, offset, length).inspect_err(|_| session.let_go(kind, name))
        })
    }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        // Told only when all is there: after a lost connection it is listed anew, and `each` may use this backend.
        let entries = self.link.run(kind.folder(), "list", |session, _| match kind {
            Kind::Packs => self.entries(session, kind, &self.pack_folders(session)?),
            _ => self.entries(session, kind, &[kind.folder().to_owned()]),
        })?;
        entries.into_iter().for_each(each);
        Ok(())
    }

    fn list_kinds(&self, kinds: &[Kind], each: &mut dyn FnMut(Kind, Entry)) -> Result<(), Error> {
        // Packs lie in many folders.
        if kinds.contains(&Kind::Packs) {
            return kinds.iter().try_for_each(|kind| self.list(*kind, &mut |entry| each(*kind, entry)));
        }
        let listed = self.link.run("", "list", |session, _| self.entries_of_kinds(session, kinds))?;
        for (kind, entries) in kinds.iter().zip(listed) {
            entries.into_iter().for_each(|entry| each(*kind, entry));
        }
        Ok(())
    }

    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        let path = self.checked(kind, name)?;
        let (at, object) = self.both(&path);
        self.link.run(&path, "look at", |session, _| {
            let seen = session.attributes(session.send(Request::Look(&at))?)?;
            let seen = seen.map_err(|status| status.sort(object.clone(), "look at"))?;
            Ok(seen.length().ok_or_else(|| Error::NotFound { object: object.clone() })?)
        })
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        let path = self.checked(kind, name)?;
        let (at, object) = self.both(&path);
        let folder = kind.folder_of(name);
        self.trusted(&folder)?;
        let removed = self.link.run(&path, "remove", |session, number| {
            session.let_go(kind, name);
            // Small objects go before what they refer to, so those removals are synced one by one, as in a local folder.
            let is_synced = !matches!(kind, Kind::Packs | Kind::Parity);
            let remove = session.send(Request::Remove(&at))?;
            let above =
                if is_synced { Some(folders::open(session, &self.place().at(&folder))?) } else { None };
            let removed = session.done(remove)?;
            let above = above.map(|above| above.wait(session)).transpose()?;
            match removed {
                // An earlier try did it, and its reply was lost.
                Err(status) if status.is_missing() && number > 1 => {}
                Err(status) => return Err(status.sort(object.clone(), "remove").into()),
                Ok(()) => {}
            }
            let Some(above) = above else { return Ok(()) };
            match above.sync(session)?.map(|sync| session.done(sync)).transpose()? {
                Some(Err(status)) if !status.is_unsupported() => {
                    Err(status.sort(object.clone(), SYNC).into())
                }
                _ => Ok(()),
            }
        });
        self.heeded(&folder, removed)
    }

    /// Whole seconds: the protocol has no more.
    fn time(&self) -> Result<Time, Error> {
        let operation = "ask for the time";
        self.link.run(TEMPORARY, operation, |session, _| {
            let mut has_made = false;
            loop {
                let path = self.place().at(&store::temporary()?);
                let open = Request::Open { path: &path, flags: NEW, mode: Some(FILE_MODE) };
                let handle = match session.handle(session.send(open)?)? {
                    Ok(handle) => handle,
                    Err(status) if status.is_missing() && !has_made => {
                        if !folders::make_missing(session, self.place(), TEMPORARY)? {
                            return Err(Error::NotFound { object: self.place().text.clone() }.into());
                        }
                        has_made = true;
                        continue;
                    }
                    Err(status) => {
                        let (root, object) = self.both("");
                        return Err(session.sort(&status, &root, 0, object, operation));
                    }
                };
                let look = session.send(Request::LookAtOpen(&handle))?;
                drop((session.send(Request::Close(&handle))?, session.send(Request::Remove(&path))?));
                let object = self.place().named(TEMPORARY);
                let seen =
                    session.attributes(look)?.map_err(|status| status.sort(object.clone(), operation))?;
                let modified = seen.modified.ok_or_else(|| Error::Unsupported {
                    object,
                    reason: "the server does not tell when a file was written".to_owned(),
                })?;
                return Ok(Time::new(i64::from(modified), 0));
            }
        })
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let (at, object) = self.both("");
        self.link.run("", "ask for its room", |session, _| {
            let seen = session.send(Request::Look(&at))?;
            let room = session.room(&at)?;
            session.attributes(seen)?.map_err(|status| status.sort(object.clone(), "look at"))?;
            // Servers that do not know say nothing but zeros.
            Ok(room.filter(|room| room.total > 0).map(|room| Space { total: room.total, free: room.free }))
        })
    }

    fn requests_at_once(&self) -> usize {
        REQUESTS_AT_ONCE
    }

    fn remove_leftovers(&self, before: Time) -> Result<u64, Error> {
        self.link.run(TEMPORARY, "remove leftovers", |session, _| {
            let mut found = Vec::new();
            list::folders(session, &[self.both(TEMPORARY)], &mut |_, listed| {
                // Never a name that leads elsewhere.
                let is_ours =
                    listed.name.starts_with(TEMPORARY_PREFIX.as_bytes()) && !listed.name.contains(&b'/');
                if is_ours && std::str::from_utf8(&listed.name).is_ok() {
                    found.push(listed);
                }
            })?;
            let path_of = |listed: &Listed| format!("{TEMPORARY}/{}", String::from_utf8_lossy(&listed.name));
            let found = list::complete(session, found, &|listed| self.both(&path_of(listed)))?;
            let old = found.iter().filter(|listed| {
                let written = listed.attributes.modified.map(|modified| Time::new(i64::from(modified), 0));
                listed.attributes.length().is_some() && written.is_some_and(|written| written < before)
            });
            let mut removed = 0;
            for path in old.map(path_of) {
                match session.done(session.send(Request::Remove(&self.place().at(&path)))?)? {
                    Ok(()) => removed += 1,
                    // Another one was faster.
                    Err(status) if status.is_missing() => {}
                    Err(status) => return Err(status.sort(self.place().named(&path), "remove").into()),
                }
            }
            Ok(removed)
        })
    }

    fn exists_repository(&self) -> Result<bool, Error> {
        self.link.run("", "look for a repository", |session, _| {
            let kinds = [Kind::Config, Kind::Keys];
            let paths = kinds.map(|kind| self.both(kind.folder()));
            let mut found = false;
            list::folders(session, &paths, &mut |place, listed| {
                found |= std::str::from_utf8(&listed.name).is_ok_and(|name| kinds[place].is_name(name));
            })?;
            Ok(found)
        })
    }

    /// Servers without the extension for it can not.
    fn is_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Relaxed)
    }

    fn create(&self) -> Result<(), Error> {
        self.link.run("", "make", |session, _| {
            if !folders::refuse_strangers(session, self.place())? {
                folders::make_root(session, self.place())?;
            }
            folders::make(session, self.place(), &layout::folders())
        })
    }
}
