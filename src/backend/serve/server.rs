//! The server: reads requests from a pipe, does what the rights allow in a folder, and writes replies. One thread reads, and writes the parts
//! of what is put to the disk as they come; a few others answer. When the pipe ends, what was begun and is not whole is gone.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::frame::{self, Hello, MAGIC, PART_MOST, Refusal, Reply, Request, VERSION, What, Why};
use super::rights::{Meter, Rights};
use crate::backend::error::DENIED;
use crate::backend::local::Incoming;
use crate::backend::{Backend, Error, Kind, Local};
use crate::locks::lock;
use crate::model::Time;

/// Threads that answer: as many as a client asks at a time.
const ANSWERING: usize = 8;
/// Requests that wait for one of them; more wait in the pipe.
const WAITING: usize = 64;
/// No object of any kind is longer.
const OBJECT_MOST: u64 = 1 << 30;

/// Why the server ended otherwise than by the end of its pipe.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error(
        "what asks is not copal: this is started by ssh for a repository copal+ssh://HOST/PATH, not by hand"
    )]
    Stranger,
    #[error("{0}")]
    Refused(String),
    #[error("the client does not keep to the protocol: {0}")]
    Broken(&'static str),
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// What is to be done by whoever is free.
enum Job {
    Answer(u32, Request),
    Finish(u32, Incoming),
}

/// An object whose parts come.
struct Coming {
    id: u32,
    left: u64,
    /// None once it was answered: the rest is passed over.
    incoming: Option<Incoming>,
}

struct Server<'a> {
    local: Local,
    rights: &'a Rights,
    meter: Meter,
    output: Mutex<Box<dyn Write + Send + 'a>>,
    /// Nobody hears any more.
    is_over: AtomicBool,
}

/// Serves one client until the pipe ends.
pub fn serve(mut input: impl Read, mut output: impl Write + Send, rights: &Rights) -> Result<(), Problem> {
    let folder = match greet(&mut input, rights) {
        Ok(folder) => folder,
        Err(Problem::Refused(text)) => {
            hello(&mut output, true, &text)?;
            return Err(Problem::Refused(text));
        }
        Err(problem) => return Err(problem),
    };
    hello(&mut output, false, "")?;
    let server = Server {
        local: Local::new(folder),
        rights,
        meter: Meter::new(rights.quota),
        output: Mutex::new(Box::new(output)),
        is_over: AtomicBool::new(false),
    };
    let (jobs, waiting) = bounded(WAITING);
    std::thread::scope(|scope| {
        for _ in 0..ANSWERING {
            let waiting = &waiting;
            let server = &server;
            scope.spawn(move || server.work(waiting));
        }
        // When this is over no more jobs come, and the others end.
        let jobs = jobs;
        server.read(&mut input, &jobs)
    })
}

fn hello(output: &mut impl Write, is_refused: bool, text: &str) -> io::Result<()> {
    output.write_all(&Hello { version: VERSION, is_refused, text: text.to_owned() }.encode())?;
    output.flush()
}

/// Hears who asks and for which folder; which one it is.
fn greet(input: &mut impl Read, rights: &Rights) -> Result<PathBuf, Problem> {
    let mut magic = [0; MAGIC.len()];
    if input.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Err(Problem::Stranger);
    }
    let asked = Hello::receive(input).map_err(|_| Problem::Broken("how it begins"))?;
    // A later client speaks this version too, or ends by itself.
    if asked.version < VERSION {
        return Err(Problem::Refused("the server speaks only later versions of the protocol".to_owned()));
    }
    let wanted = Path::new(&asked.text);
    match &rights.folder {
        Some(folder) if is_same(folder, wanted) => Ok(folder.clone()),
        Some(folder) => Err(Problem::Refused(format!(
            "the server serves {} to this client, and not {}",
            folder.display(),
            wanted.display()
        ))),
        None if asked.text.is_empty() => Err(Problem::Refused("no folder is named".to_owned())),
        None => Ok(wanted.to_owned()),
    }
}

/// Whether two paths are one folder, which need not be there yet.
fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        path.canonicalize()
            .or_else(|_| std::path::absolute(path))
            .map(|path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>())
    };
    match (whole(one), whole(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

impl Server<'_> {
    fn read(&self, input: &mut impl Read, jobs: &Sender<Job>) -> Result<(), Problem> {
        let mut input = io::BufReader::with_capacity(2 * PART_MOST, input);
        let mut packet = Vec::new();
        let mut coming: Option<Coming> = None;
        while !self.is_over.load(Ordering::Relaxed) {
            match frame::receive(&mut input, &mut packet) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Problem::Broken("a frame of a length that none has"));
                }
                // It hung up in the middle of a frame.
                Err(_) => break,
            }
            let (id, request) = Request::decode(&packet).map_err(|malformed| Problem::Broken(malformed.0))?;
            match request.what {
                What::Part => match &mut coming {
                    Some(object) if object.id == id && request.rest.len() as u64 <= object.left => {
                        object.left -= request.rest.len() as u64;
                        self.add(object, &request.rest);
                    }
                    _ => return Err(Problem::Broken("a part of no object")),
                },
                What::Put if coming.is_some() => {
                    return Err(Problem::Broken("an object before the one before it is whole"));
                }
                What::Put => {
                    let incoming = match self.begin(&request) {
                        Ok(Some(incoming)) => Some(incoming),
                        // It is there, or is refused: that is said at once, and its parts are passed over.
                        Ok(None) => self.write(&Reply::Done(self.unsynced(), 0), id),
                        Err(refusal) => self.write(&Reply::Failed(refusal), id),
                    };
                    coming = Some(Coming { id, left: request.first, incoming });
                }
                _ => {
                    let _ = jobs.send(Job::Answer(id, request));
                }
            }
            if let Some(object) = coming.take_if(|object| object.left == 0)
                && let Some(incoming) = object.incoming
            {
                let _ = jobs.send(Job::Finish(id, incoming));
            }
        }
        Ok(())
    }

    /// Begins to store an object, when that is allowed and there is room; none when it is there.
    fn begin(&self, request: &Request) -> Result<Option<Incoming>, Refusal> {
        self.allowed(request)?;
        let (kind, name) = named(request)?;
        let size = request.first;
        if size > OBJECT_MOST {
            return Err(refusal(Why::TooLong, ""));
        }
        let sorted = |error| self.sort(&error);
        let begun = self.local.begin(kind, name, size, request.second != 0).map_err(sorted)?;
        let Some(incoming) = begun else { return Ok(None) };
        match self.meter.admit(&self.local, size).map_err(sorted)? {
            true => Ok(Some(incoming)),
            false => Err(refusal(Why::NoSpace, "")),
        }
    }

    /// Whether what was stored may be lost by a power failure: 1 if so.
    fn unsynced(&self) -> u64 {
        u64::from(self.local.is_unsynced())
    }

    fn add(&self, object: &mut Coming, bytes: &[u8]) {
        let Some(incoming) = &mut object.incoming else { return };
        if let Err(error) = self.local.add(incoming, bytes) {
            self.meter.settle(incoming.size());
            object.incoming = self.write(&Reply::Failed(self.sort(&error)), object.id);
        }
    }

    fn work(&self, jobs: &Receiver<Job>) {
        for job in jobs {
            let (id, done) = match job {
                Job::Answer(id, request) => (id, self.answer(id, &request)),
                Job::Finish(id, incoming) => {
                    let size = incoming.size();
                    let done = self.local.finish(incoming).map(|()| (self.unsynced(), 0));
                    self.meter.settle(size);
                    (id, done.map_err(|error| self.sort(&error)))
                }
            };
            let reply = done.map_or_else(Reply::Failed, |(first, second)| Reply::Done(first, second));
            let _: Option<Incoming> = self.write(&reply, id);
        }
    }

    fn answer(&self, id: u32, request: &Request) -> Result<(u64, u64), Refusal> {
        self.allowed(request)?;
        let (local, one) = (&self.local, |number: u64| (number, 0));
        let done = match request.what {
            What::Get | What::Range => self.give(id, request, named(request)?).map(one),
            What::List => self.list(id, &kinds(&request.rest)?).map(|()| (0, 0)),
            What::Stat => {
                let (kind, name) = named(request)?;
                local.stat(kind, name).map(one)
            }
            What::Remove => {
                let (kind, name) = named(request)?;
                self.meter.forget();
                local.remove(kind, name).map(|()| (0, 0))
            }
            What::Time => local.time().map(|time| (time.seconds.cast_unsigned(), u64::from(time.nanos))),
            What::Space => self.meter.room(local),
            What::Exists => local.exists_repository().map(|exists| one(u64::from(exists))),
            What::Create => local.create().map(|()| (0, 0)),
            What::RemoveLeftovers => {
                let nanos = u32::try_from(request.second).unwrap_or(u32::MAX);
                local.remove_leftovers(Time::new(request.first.cast_signed(), nanos)).map(one)
            }
            What::Reserve => Ok(one(u64::from(local.reserve(request.first != 0)))),
            // The reader has those.
            What::Put | What::Part => Ok((0, 0)),
        };
        done.map_err(|error| self.sort(&error))
    }

    /// Gives an object, or a part of one, in pieces; how many bytes.
    fn give(&self, id: u32, request: &Request, (kind, name): (Kind, &str)) -> Result<u64, Error> {
        let (from, length) = match request.what {
            What::Get => match self.local.stat(kind, name)? {
                size if size > request.first => return Err(Error::TooLong { object: String::new() }),
                size => (0, size),
            },
            _ => {
                let (from, length) = (request.first, request.second);
                // Before the first piece goes out, all of them are known to be there.
                if length > PART_MOST as u64 {
                    let size = self.local.stat(kind, name)?;
                    if from.checked_add(length).is_none_or(|end| end > size) {
                        let (object, got) = (String::new(), size.saturating_sub(from));
                        return Err(Error::Short { object, offset: from, wanted: length, got });
                    }
                }
                (from, length)
            }
        };
        let mut given = 0;
        loop {
            let count = (length - given).min(PART_MOST as u64);
            // A piece is never longer than what fits into memory.
            let bytes = self.local.get_range(kind, name, from + given, count as usize)?;
            self.part(id, bytes);
            given += count;
            if given == length || self.is_over.load(Ordering::Relaxed) {
                return Ok(given);
            }
        }
    }

    fn list(&self, id: u32, kinds: &[Kind]) -> Result<(), Error> {
        let mut part = Vec::new();
        self.local.list_kinds(kinds, &mut |kind, entry| {
            let next = frame::entry(kind, entry.size, &entry.name);
            if part.len() + next.len() > PART_MOST {
                self.part(id, std::mem::take(&mut part));
            }
            part.extend(next);
        })?;
        self.part(id, part);
        Ok(())
    }

    fn part(&self, id: u32, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.send(&Reply::Part(bytes).encode(id));
        }
    }

    /// Says how something went. Gives nothing, for who has nothing after that.
    fn write<T>(&self, reply: &Reply, id: u32) -> Option<T> {
        self.send(&reply.encode(id));
        None
    }

    fn send(&self, frame: &[u8]) {
        let mut output = lock(&self.output);
        if output.write_all(frame).and_then(|()| output.flush()).is_err() {
            self.is_over.store(true, Ordering::Relaxed);
        }
    }

    fn allowed(&self, request: &Request) -> Result<(), Refusal> {
        self.rights.check(request).map_err(|why| refusal(Why::Denied, why))
    }

    /// What an error of the folder means for who asked. Paths of this machine are not told.
    fn sort(&self, error: &Error) -> Refusal {
        match error {
            Error::NotFound { object } if *object == self.local.location() => refusal(Why::NoPlace, ""),
            Error::NotFound { .. } => refusal(Why::NotFound, ""),
            Error::Exists { .. } => refusal(Why::Exists, ""),
            Error::Occupied { name, .. } => refusal(Why::Occupied, name),
            Error::Short { got, .. } => Refusal { number: *got, ..refusal(Why::Short, "") },
            Error::TooLong { .. } => refusal(Why::TooLong, ""),
            Error::NoSpace { .. } => refusal(Why::NoSpace, ""),
            Error::Denied { .. } => refusal(Why::Denied, DENIED),
            Error::Unsupported { reason, .. } => refusal(Why::Unsupported, reason),
            Error::Io { operation, source, .. } => {
                refusal(Why::Io, &format!("the server can not {operation}: {source}"))
            }
        }
    }
}

fn refusal(why: Why, text: &str) -> Refusal {
    Refusal { why, number: 0, text: text.to_owned() }
}

/// The object that is meant. No other name comes near a path.
fn named(request: &Request) -> Result<(Kind, &str), Refusal> {
    let name = std::str::from_utf8(&request.rest).unwrap_or_default();
    match request.kind {
        Some(kind) if kind.is_name(name) => Ok((kind, name)),
        _ => Err(refusal(Why::Unsupported, "not a name that an object there can have")),
    }
}

/// The kinds of these numbers, each once.
fn kinds(numbers: &[u8]) -> Result<Vec<Kind>, Refusal> {
    let kinds: Option<Vec<Kind>> = numbers.iter().map(|number| Kind::from_number(*number)).collect();
    kinds
        .filter(|kinds| kinds.len() <= Kind::ALL.len())
        .ok_or_else(|| refusal(Why::Unsupported, "not kinds of objects"))
}
