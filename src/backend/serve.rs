//! A repository on another machine where copal itself serves it (`copal serve`), started there by the user's own `ssh`: nothing listens, and
//! what this client may do is said there. `frame` has the protocol, `server` the other side.
//!
//! One request costs one round trip, whatever it does. A connection that is lost is made anew, and what it let fail is done again.

pub mod frame;
mod rights;
mod server;

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ssh::connection::{self, Connection, Lost, Unheard, Why as Ended};
use super::ssh::link::{Link, Trouble};
use super::ssh::process::{self, Errand, plain};
use super::ssh::{Dial, Options, Place};
use super::{Backend, Entry, Error, Kind, Space, checked_path};
use crate::locks::lock;
use crate::model::Time;
use frame::{Hello, MAGIC, PART_MOST, Refusal, Reply, Request, TEXT_MOST, VERSION, What, Why};

pub use rights::Rights;
pub use server::{Problem, serve};

/// What `ssh` is to start. Where the server's `authorized_keys` names a command, that one is started instead.
const ERRAND: Errand = Errand {
    name: "serve",
    is_subsystem: false,
    words: &["copal", "serve"],
    missing: Some(
        "copal has to be installed there too, where that account finds it; or name it by COPAL_SERVE_COMMAND",
    ),
    voice: Some("copal: "),
};
/// Requests that are worth while at a time: each waits for a round trip.
const REQUESTS_AT_ONCE: usize = 8;
/// A listing has no more bytes: some ten million objects.
const LIST_MOST: u64 = 1 << 30;

/// The protocol, as a connection knows it.
struct Protocol;

impl connection::Protocol for Protocol {
    const NAME: &'static str = "serve";
    type Greeting = ();
    type Reply = Reply;

    fn greeting(from: &mut dyn Read, packet: &mut Vec<u8>) -> Result<(), Unheard> {
        // Byte by byte: a greeting of the shell may be shorter.
        packet.clear();
        for expected in MAGIC {
            let mut byte = [0];
            let count = from.read(&mut byte)?;
            packet.extend(&byte[..count]);
            if count == 0 && packet.is_empty() {
                return Err(Unheard::Ended);
            }
            if count == 0 || byte[0] != expected {
                return Err(printed(from, packet).into());
            }
        }
        let hello = Hello::receive(from).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => broken("how it begins").into(),
            _ => Unheard::Ended,
        })?;
        if hello.is_refused {
            return Err(Lost { why: Ended::Refused, words: plain(hello.text.as_bytes()) }.into());
        }
        if hello.version != VERSION {
            let words = "the server speaks a later version of the protocol: it needs a later copal here";
            return Err(Lost { why: Ended::Refused, words: words.to_owned() }.into());
        }
        Ok(())
    }

    fn reply(from: &mut dyn Read, packet: &mut Vec<u8>) -> Result<(u32, Reply), Unheard> {
        match frame::receive(from, packet) {
            Ok(true) => Ok(Reply::decode(packet).map_err(|malformed| broken(malformed.0))?),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(broken("a frame of a length that none has").into())
            }
            Ok(false) | Err(_) => Err(Unheard::Ended),
        }
    }

    fn part(reply: &Reply) -> Option<u64> {
        match reply {
            // What gives nothing would cost nothing, and never end.
            Reply::Part(bytes) => Some((bytes.len() as u64).max(1)),
            _ => None,
        }
    }
}

fn broken(words: &str) -> Lost {
    Lost::broken(format!("the server does not keep to the protocol: {words}"))
}

/// Something else speaks first; what it says is shown.
fn printed(from: &mut dyn Read, first: &[u8]) -> Lost {
    let mut more = [0; 80];
    let count = from.read(&mut more).unwrap_or(0);
    let text = plain(&[first, &more[..count]].concat());
    Lost::broken(format!(
        "the server printed something before the protocol, where a login script must be silent: {text:?}"
    ))
}

/// What a request came to.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
    first: u64,
    second: u64,
}

/// A request, and what is needed to do it and to tell of it.
struct Task<'a> {
    request: Request,
    /// Below the repository.
    path: &'a str,
    operation: &'static str,
    /// What is put.
    body: &'a [u8],
    /// How many bytes may come.
    room: u64,
}

/// A repository on a server that is copal. Connects when it is first used, and ends the connection when it is dropped.
pub struct Served {
    link: Link<Connection<Protocol>>,
    /// One object is put at a time; what others ask goes out between its parts.
    putting: Mutex<()>,
    /// Whether the server said that it can not sync what was put.
    unsynced: AtomicBool,
}

impl Served {
    /// The repository at a place. Touches nothing.
    pub fn new(place: Place, options: Options) -> Served {
        let (to, how) = (place.clone(), options.clone());
        Served::with_dial(place, options, Box::new(move || process::start(&to, &how, &ERRAND)))
    }

    /// The same over connections that come from elsewhere.
    pub fn with_dial(place: Place, options: Options, dial: Box<Dial>) -> Served {
        let (patience, path) = (options.patience, place.at(""));
        let connect = move || {
            if path.len() > TEXT_MOST {
                return Err(Lost { why: Ended::Refused, words: "the path is too long".to_owned() });
            }
            let hello = Hello { version: VERSION, is_refused: false, text: path.clone() };
            Connection::open(dial()?, &hello.encode(), options.silence, options.greeting_most())
        };
        Served {
            link: Link::new(place, patience, Box::new(connect)),
            putting: Mutex::default(),
            unsynced: AtomicBool::new(false),
        }
    }

    /// How many round trips the connection in use cost so far, for one thread that does one thing after the other.
    pub fn round_trips(&self) -> u64 {
        self.link.standing().map_or(0, |connection| connection.round_trips())
    }

    fn place(&self) -> &Place {
        &self.link.place
    }

    fn checked(&self, kind: Kind, name: &str) -> Result<String, Error> {
        checked_path(&self.place().text, kind, name)
    }

    /// Asks, over another connection when one is lost. A removal that an earlier try did counts as done.
    fn run(&self, task: &Task<'_>) -> Result<Answer, Error> {
        self.link.run(task.path, task.operation, |connection, number| {
            match self.attempt(connection, task)? {
                Ok(answer) => Ok(answer),
                Err(Refusal { why: Why::NotFound, .. })
                    if number > 1 && task.request.what == What::Remove =>
                {
                    Ok(Answer::default())
                }
                Err(refusal) => Err(self.sort(refusal, task).into()),
            }
        })
    }

    fn attempt(
        &self,
        connection: &Connection<Protocol>,
        task: &Task<'_>,
    ) -> Result<Result<Answer, Refusal>, Trouble> {
        let asked = if task.request.what == What::Put {
            let _alone = lock(&self.putting);
            let mut number = 0;
            let asked = connection.send(0, |id| {
                number = id;
                task.request.encode(id)
            })?;
            for piece in task.body.chunks(PART_MOST) {
                let part = Request { rest: piece.to_vec(), ..Request::new(What::Part, 0, 0) };
                asked.more(&part.encode(number))?;
            }
            asked
        } else {
            connection.send(task.room, |id| task.request.encode(id))?
        };
        let mut bytes = Vec::new();
        loop {
            match asked.next()? {
                Reply::Part(part) => {
                    bytes.try_reserve(part.len()).map_err(|_| {
                        let full = std::io::ErrorKind::OutOfMemory.into();
                        Error::sort(self.place().named(task.path), task.operation, full)
                    })?;
                    bytes.extend(part);
                }
                Reply::Done(first, second) => return Ok(Ok(Answer { bytes, first, second })),
                Reply::Failed(refusal) => return Ok(Err(refusal)),
            }
        }
    }

    /// What a refusal means for what was asked.
    fn sort(&self, refusal: Refusal, task: &Task<'_>) -> Error {
        let (object, operation) = (self.place().named(task.path), task.operation);
        let text = plain(refusal.text.as_bytes());
        match refusal.why {
            Why::NotFound => Error::NotFound { object },
            Why::NoPlace => Error::NotFound { object: self.place().text.clone() },
            Why::Exists => Error::Exists { object },
            Why::Occupied => Error::Occupied { object, name: text },
            Why::Short => {
                let (offset, wanted) = match task.request.what {
                    What::Range => (task.request.first, task.request.second),
                    _ => (0, task.room),
                };
                Error::Short { object, offset, wanted, got: refusal.number }
            }
            Why::TooLong => Error::TooLong { object },
            Why::NoSpace => Error::NoSpace { object, operation },
            Why::Denied => Error::Denied { object, reason: text },
            Why::Unsupported => Error::Unsupported { object, reason: text },
            Why::Io => Error::Io { object, operation, source: std::io::Error::other(text) },
        }
    }

    /// The server answers what can not be.
    fn nonsense(&self, task: &Task<'_>) -> Error {
        let source = std::io::Error::other("the server's answer is not one to what was asked");
        Error::Io { object: self.place().named(task.path), operation: task.operation, source }
    }

    /// Asks something that is answered by numbers.
    fn ask(&self, request: Request, path: &str, operation: &'static str) -> Result<(u64, u64), Error> {
        let answer = self.run(&Task { request, path, operation, body: &[], room: 0 })?;
        Ok((answer.first, answer.second))
    }

    fn store(&self, kind: Kind, name: &str, bytes: &[u8], over: bool) -> Result<(), Error> {
        let path = self.checked(kind, name)?;
        let request = Request::of(What::Put, kind, name, bytes.len() as u64, u64::from(over));
        let stored = self.run(&Task { request, path: &path, operation: "store", body: bytes, room: 0 })?;
        self.unsynced.fetch_or(stored.first != 0, Ordering::Relaxed);
        Ok(())
    }

    fn fetch(&self, request: Request, path: &str, room: u64) -> Result<Vec<u8>, Error> {
        let task = Task { request, path, operation: "read", body: &[], room };
        let answer = self.run(&task)?;
        if answer.first == answer.bytes.len() as u64 { Ok(answer.bytes) } else { Err(self.nonsense(&task)) }
    }
}

impl Backend for Served {
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
        self.fetch(Request::of(What::Get, kind, name, most, 0), &path, most)
    }

    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let path = self.checked(kind, name)?;
        let wanted = length as u64;
        let bytes = self.fetch(Request::of(What::Range, kind, name, offset, wanted), &path, wanted)?;
        match bytes.len() == length {
            true => Ok(bytes),
            false => {
                let (object, got) = (self.place().named(&path), bytes.len() as u64);
                Err(Error::Short { object, offset, wanted, got })
            }
        }
    }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        self.list_kinds(&[kind], &mut |_, entry| each(entry))
    }

    fn list_kinds(&self, kinds: &[Kind], each: &mut dyn FnMut(Kind, Entry)) -> Result<(), Error> {
        if kinds.is_empty() {
            return Ok(());
        }
        let path = if let [kind] = kinds { kind.folder() } else { "" };
        let numbers = kinds.iter().map(|kind| kind.number()).collect();
        let request = Request { rest: numbers, ..Request::new(What::List, 0, 0) };
        let task = Task { request, path, operation: "list", body: &[], room: LIST_MOST };
        let listed = self.run(&task)?.bytes;
        // Told only when all is there and well-formed; `each` may use this backend.
        let mut found = Vec::new();
        frame::entries(&listed, &mut |kind, size, name| found.push((kind, Entry { name, size })))
            .map_err(|_| self.nonsense(&task))?;
        if found.iter().any(|(kind, _)| !kinds.contains(kind)) {
            return Err(self.nonsense(&task));
        }
        found.into_iter().for_each(|(kind, entry)| each(kind, entry));
        Ok(())
    }

    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        let path = self.checked(kind, name)?;
        Ok(self.ask(Request::of(What::Stat, kind, name, 0, 0), &path, "look at")?.0)
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        let path = self.checked(kind, name)?;
        self.ask(Request::of(What::Remove, kind, name, 0, 0), &path, "remove").map(drop)
    }

    fn time(&self) -> Result<Time, Error> {
        let (seconds, nanos) = self.ask(Request::new(What::Time, 0, 0), "", "ask for the time")?;
        Ok(Time::new(seconds.cast_signed(), u32::try_from(nanos).unwrap_or(0)))
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let (total, free) = self.ask(Request::new(What::Space, 0, 0), "", "ask for its room")?;
        Ok((total > 0).then_some(Space { total, free }))
    }

    fn requests_at_once(&self) -> usize {
        REQUESTS_AT_ONCE
    }

    fn remove_leftovers(&self, before: Time) -> Result<u64, Error> {
        let before = (before.seconds.cast_unsigned(), u64::from(before.nanos));
        let request = Request::new(What::RemoveLeftovers, before.0, before.1);
        Ok(self.ask(request, "", "remove leftovers")?.0)
    }

    fn reserve(&self, keep: bool) -> bool {
        let request = Request::new(What::Reserve, u64::from(keep), 0);
        self.ask(request, "", "keep room").is_ok_and(|(had, _)| had == 1)
    }

    fn is_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Relaxed)
    }

    fn exists_repository(&self) -> Result<bool, Error> {
        Ok(self.ask(Request::new(What::Exists, 0, 0), "", "look for a repository")?.0 == 1)
    }

    fn create(&self) -> Result<(), Error> {
        self.ask(Request::new(What::Create, 0, 0), "", "make").map(drop)
    }
}
