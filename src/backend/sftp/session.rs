//! A connection, and what is known of the server at its other end: what it takes at once, which files are open, which folders are there.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::Pending;
use super::packet::{Attributes, Limits, Listed, Protocol, Reply, Room, code};
use super::request::Request;
use crate::backend::error::DENIED;
use crate::backend::ssh::connection::{self, Lost};
use crate::backend::ssh::link::{Standing, Trouble};
use crate::backend::ssh::process::plain;
use crate::backend::{Error, Kind};
use crate::locks::lock;

/// What is read or written by one request where the server does not say that it takes more: every server takes that.
const PIECE_LEAST: u64 = 32 << 10;
/// No more than that by one request: less than a packet, and a slow line still hears of each within its silence.
const PIECE_MOST: u64 = 128 << 10;
/// Bytes that one operation has on their way at a time. OpenSSH lets no more through unanswered either.
pub const WINDOW: usize = 2 << 20;
/// How many files stay open, as in a local folder.
const HANDLES_MOST: usize = 16;
/// Folders that are read at a time where the server does not say how many handles it gives.
const FOLDERS_MOST: usize = 64;

type Connection = connection::Connection<Protocol>;

/// Sends a request. Each reply is one packet.
fn send(connection: &Connection, request: Request<'_>) -> Result<Pending, Lost> {
    connection.send(0, |id| request.encode(id))
}

/// What went wrong at the server, by what the caller can do about it.
#[derive(Clone, Debug)]
pub struct Status {
    pub code: u32,
    message: Vec<u8>,
}

impl Status {
    pub fn is_missing(&self) -> bool {
        self.code == code::NO_SUCH_FILE
    }

    /// It knows it, but its file system does not.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.code, code::UNSUPPORTED | code::BAD_MESSAGE)
    }

    /// What it means for an object, without asking further.
    pub fn sort(&self, object: String, operation: &'static str) -> Error {
        match self.code {
            code::NO_SUCH_FILE => Error::NotFound { object },
            code::DENIED | code::WRITE_PROTECT => Error::Denied { object, reason: DENIED.to_owned() },
            code::NO_SPACE | code::QUOTA => Error::NoSpace { object, operation },
            code::UNSUPPORTED => Error::Unsupported {
                object,
                reason: format!("the server can not {operation} (SFTP's \"operation unsupported\")"),
            },
            _ => {
                let words = match &self.message[..] {
                    b"" => format!("the server says no more than code {}", self.code),
                    message => format!("the server says: {}", plain(message)),
                };
                Error::Io { object, operation, source: std::io::Error::other(words) }
            }
        }
    }
}

/// A file of the server's that is open. Dropped, it is closed; nobody waits for that.
pub struct Open {
    connection: Arc<Connection>,
    pub handle: Vec<u8>,
    pub size: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = send(&self.connection, Request::Close(&self.handle));
    }
}

struct Held {
    kind: Kind,
    name: String,
    open: Arc<Open>,
}

/// What there is as long as a connection stands.
pub struct Session {
    connection: Arc<Connection>,
    limits: Limits,
    held: Mutex<VecDeque<Held>>,
    folders: Mutex<HashSet<String>>,
    /// Once linking was refused, files are renamed.
    has_links: AtomicBool,
}

impl Standing for Session {
    fn is_lost(&self) -> bool {
        self.connection.is_lost()
    }
}

impl Session {
    /// Asks what the server takes at once, if it tells.
    pub fn new(connection: Connection) -> Result<Session, Lost> {
        let limits = match connection.greeting.limits {
            false => Limits::default(),
            true => match send(&connection, Request::Limits)?.wait()? {
                Reply::Extended(bytes) => Limits::decode(&bytes).unwrap_or_default(),
                _ => Limits::default(),
            },
        };
        Ok(Session {
            has_links: AtomicBool::new(connection.greeting.link),
            connection: Arc::new(connection),
            limits,
            held: Mutex::default(),
            folders: Mutex::default(),
        })
    }

    pub fn round_trips(&self) -> u64 {
        self.connection.round_trips()
    }

    pub fn extensions(&self) -> super::packet::Extensions {
        self.connection.greeting
    }

    /// Whether requests are done in the order in which they came: those of OpenSSH, which can sync, are.
    pub fn is_ordered(&self) -> bool {
        self.extensions().sync
    }

    pub fn has_links(&self) -> bool {
        self.has_links.load(Ordering::Relaxed)
    }

    pub fn without_links(&self) {
        self.has_links.store(false, Ordering::Relaxed);
    }

    /// Bytes to read by one request.
    pub fn read_piece(&self) -> usize {
        piece(self.limits.read)
    }

    /// Bytes to write by one request.
    pub fn write_piece(&self) -> usize {
        piece(self.limits.write)
    }

    /// How many folders may be open at a time.
    pub fn folders_most(&self) -> usize {
        match usize::try_from(self.limits.handles) {
            Ok(handles @ 1..) => (handles / 2).clamp(1, FOLDERS_MOST),
            _ => FOLDERS_MOST,
        }
    }

    pub fn send(&self, request: Request<'_>) -> Result<Pending, Lost> {
        send(&self.connection, request)
    }

    /// The reply to a request that is answered with a status alone.
    pub fn done(&self, pending: Pending) -> Result<Result<(), Status>, Lost> {
        match pending.wait()? {
            Reply::Status { code: code::OK, .. } => Ok(Ok(())),
            reply => self.refusal(reply).map(Err),
        }
    }

    pub fn handle(&self, pending: Pending) -> Result<Result<Vec<u8>, Status>, Lost> {
        match pending.wait()? {
            Reply::Handle(handle) => Ok(Ok(handle)),
            reply => self.refusal(reply).map(Err),
        }
    }

    pub fn attributes(&self, pending: Pending) -> Result<Result<Attributes, Status>, Lost> {
        match pending.wait()? {
            Reply::Attributes(attributes) => Ok(Ok(attributes)),
            reply => self.refusal(reply).map(Err),
        }
    }

    /// The next names of a folder; none at its end.
    pub fn names(&self, pending: Pending) -> Result<Result<Option<Vec<Listed>>, Status>, Lost> {
        match pending.wait()? {
            Reply::Names(names) => Ok(Ok(Some(names))),
            Reply::Status { code: code::EOF, .. } => Ok(Ok(None)),
            reply => self.refusal(reply).map(Err),
        }
    }

    /// At most so many bytes of a file; none at its end.
    pub fn data(&self, pending: Pending, most: usize) -> Result<Result<Option<Vec<u8>>, Status>, Lost> {
        match pending.wait()? {
            Reply::Data(bytes) if bytes.is_empty() => Ok(Ok(None)),
            Reply::Data(bytes) if bytes.len() <= most => Ok(Ok(Some(bytes))),
            Reply::Data(_) => Err(self.broken("the server gave more bytes than were asked for")),
            Reply::Status { code: code::EOF, .. } => Ok(Ok(None)),
            reply => self.refusal(reply).map(Err),
        }
    }

    /// How much room a path's file system has; none where the server does not tell.
    pub fn room(&self, path: &str) -> Result<Option<Room>, Lost> {
        if !self.extensions().space {
            return Ok(None);
        }
        match self.send(Request::Space(path))?.wait()? {
            Reply::Extended(bytes) => match Room::decode(&bytes) {
                Ok(room) => Ok(Some(room)),
                Err(_) => Err(self.broken("the server's word on its room is cut off")),
            },
            reply => self.refusal(reply).map(|_| None),
        }
    }

    /// The status that a reply is, when it is not what was asked for.
    fn refusal(&self, reply: Reply) -> Result<Status, Lost> {
        match reply {
            Reply::Status { code: code::NO_CONNECTION | code::CONNECTION_LOST, message } => {
                Err(Lost::gone(format!("the server lost what is behind it: {}", plain(&message))))
            }
            Reply::Status { code, message } if code != code::OK => Ok(Status { code, message }),
            _ => Err(self.broken("the server answers one request as if it were another")),
        }
    }

    fn broken(&self, words: &str) -> Lost {
        self.connection.broken(words)
    }

    /// An open file, to be closed when nobody has it any more.
    pub fn opened(&self, handle: Vec<u8>, size: u64) -> Open {
        Open { connection: Arc::clone(&self.connection), handle, size }
    }

    /// The open file of an object, if it is held; it becomes the newest.
    pub fn held(&self, kind: Kind, name: &str) -> Option<Arc<Open>> {
        let mut held = lock(&self.held);
        let place = held.iter().position(|one| one.kind == kind && one.name == name)?;
        let one = held.remove(place)?;
        let open = Arc::clone(&one.open);
        held.push_front(one);
        Some(open)
    }

    /// Holds an open file; the one unused for longest goes.
    pub fn hold(&self, kind: Kind, name: &str, open: &Arc<Open>) {
        let mut held = lock(&self.held);
        held.retain(|one| one.kind != kind || one.name != name);
        held.push_front(Held { kind, name: name.to_owned(), open: Arc::clone(open) });
        held.truncate(HANDLES_MOST);
    }

    pub fn let_go(&self, kind: Kind, name: &str) {
        lock(&self.held).retain(|one| one.kind != kind || one.name != name);
    }

    /// Whether a folder was seen or made over this connection.
    pub fn knows(&self, folder: &str) -> bool {
        lock(&self.folders).contains(folder)
    }

    pub fn learn(&self, folder: &str) {
        lock(&self.folders).insert(folder.to_owned());
    }

    pub fn forget_folders(&self) {
        lock(&self.folders).clear();
    }

    /// Sorts a status of something that takes room at `path`, for an object of so many bytes. Servers say no more than "failure" of a full or
    /// read-only file system, so that is asked for.
    pub fn sort(
        &self,
        status: &Status,
        path: &str,
        bytes: usize,
        object: String,
        operation: &'static str,
    ) -> Trouble {
        let sorted = status.sort(object.clone(), operation);
        if !matches!(sorted, Error::Io { .. }) {
            return sorted.into();
        }
        match self.room(path) {
            Err(lost) => lost.into(),
            Ok(Some(room)) if room.read_only => Error::Denied { object, reason: DENIED.to_owned() }.into(),
            Ok(Some(room)) if room.no_files || room.free < (bytes as u64).max(PIECE_LEAST) => {
                Error::NoSpace { object, operation }.into()
            }
            Ok(_) => sorted.into(),
        }
    }
}

fn piece(limit: u64) -> usize {
    let piece = if limit == 0 { PIECE_LEAST } else { limit.min(PIECE_MOST) };
    usize::try_from(piece).unwrap_or(PIECE_LEAST as usize)
}
