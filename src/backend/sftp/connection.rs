//! One connection to a server: requests from many threads go out as they come, a thread of its own hands each reply to whoever waits for it.
//!
//! Once anything is wrong with it (the program ended, bytes that are no reply, nothing heard for too long), it is lost as a whole: all who wait
//! learn why, and nothing more goes out.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::packet::{self, Extensions, PACKET_MOST, Reply};
use super::request::{Request, greeting};
use crate::locks::lock;

/// How long the last replies are waited for, once nobody needs the connection any more.
const LAST_MOST: Duration = Duration::from_secs(2);

/// How a connection came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub why: Why,
    /// One line for people.
    pub words: String,
}

/// What can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The network, or a server that was stopped: another try may go well.
    Gone,
    /// The server does not want this user, or this user not this server: another try ends the same way.
    Refused,
    /// What came is not the protocol.
    Broken,
}

impl Lost {
    pub fn gone(words: impl Into<String>) -> Lost {
        Lost { why: Why::Gone, words: words.into() }
    }

    pub fn broken(words: impl Into<String>) -> Lost {
        Lost { why: Why::Broken, words: words.into() }
    }
}

/// What is at the other end of the pipes.
pub trait Peer: Send + Sync {
    /// Ends it at once, so that whoever reads from it or writes to it goes on.
    fn cut(&self);
    /// Gives it a moment to end by itself, now that it is given nothing more, then ends it.
    fn leave(&self);
    /// Why it ended, after there was nothing more to read from it.
    fn last_words(&self) -> Lost;
}

/// A way to a server over which nothing was said yet.
pub struct Line {
    pub input: Box<dyn Read + Send>,
    pub output: Box<dyn Write + Send>,
    pub peer: Box<dyn Peer>,
}

/// Whoever waits for replies.
struct Waiting {
    next: u32,
    replies: HashMap<u32, Sender<Reply>>,
    /// When something was heard last, or the first of those who wait began to.
    heard: Instant,
    lost: Option<Lost>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// None once nothing more goes out.
    output: Mutex<Option<Box<dyn Write + Send>>>,
    peer: Box<dyn Peer>,
    /// Requests that go out now can know the replies of so many rounds.
    round: AtomicU64,
}

/// A connection. Dropped, it ends the program.
pub struct Connection {
    shared: Arc<Shared>,
    pub extensions: Extensions,
    /// Dropped with this: the watch ends.
    _watch: Sender<()>,
}

/// A request that went out. Dropped, its reply is not waited for.
pub struct Pending {
    shared: Arc<Shared>,
    reply: Receiver<Reply>,
    round: u64,
}

impl Pending {
    /// Waits for the reply.
    pub fn wait(self) -> Result<Reply, Lost> {
        let reply = self.reply.recv().map_err(|_| self.shared.why());
        self.shared.round.fetch_max(self.round + 1, Ordering::Relaxed);
        reply
    }
}

impl Connection {
    /// Greets the server at the other end. `silence` is how long nothing may be heard from it while something is asked, `greeting_most` how long
    /// it may take until it greets.
    pub fn open(line: Line, silence: Duration, greeting_most: Duration) -> Result<Connection, Lost> {
        let Line { input, output, peer } = line;
        let waiting = Waiting { next: 0, replies: HashMap::new(), heard: Instant::now(), lost: None };
        let shared = Arc::new(Shared {
            waiting: Mutex::new(waiting),
            output: Mutex::new(Some(output)),
            peer,
            round: AtomicU64::new(0),
        });
        let (greeted, greetings) = bounded(1);
        let reader = Arc::clone(&shared);
        let started = std::thread::Builder::new()
            .name("sftp".to_owned())
            .spawn(move || reader.read(input, &greeted))
            .map_err(|error| Lost::gone(format!("no thread to read replies: {error}")));
        if let Err(lost) = started {
            shared.peer.cut();
            return Err(lost);
        }
        shared.write(&greeting());
        let extensions = match greetings.recv_timeout(greeting_most) {
            Ok(extensions) => extensions,
            Err(RecvTimeoutError::Timeout) => {
                shared.end(Lost::gone(format!("no connection within {} seconds", greeting_most.as_secs())));
                return Err(shared.why());
            }
            Err(RecvTimeoutError::Disconnected) => return Err(shared.why()),
        };
        let (watch, ended) = unbounded();
        let watched = Arc::clone(&shared);
        let started = std::thread::Builder::new()
            .name("sftp-watch".to_owned())
            .spawn(move || watched.watch(silence, &ended));
        if let Err(error) = started {
            shared.end(Lost::gone(format!("no thread to watch the connection: {error}")));
            return Err(shared.why());
        }
        Ok(Connection { shared, extensions, _watch: watch })
    }

    /// Sends a request. Waits while the way out is full.
    pub fn send(&self, request: Request<'_>) -> Result<Pending, Lost> {
        let (sender, reply) = bounded(1);
        let id = {
            let mut waiting = lock(&self.shared.waiting);
            if let Some(lost) = &waiting.lost {
                return Err(lost.clone());
            }
            if waiting.replies.is_empty() {
                waiting.heard = Instant::now();
            }
            // A number comes again after four thousand million requests; whoever still waits then keeps it.
            while waiting.replies.contains_key(&waiting.next) {
                waiting.next = waiting.next.wrapping_add(1);
            }
            let id = waiting.next;
            waiting.next = id.wrapping_add(1);
            waiting.replies.insert(id, sender);
            id
        };
        let round = self.shared.round.load(Ordering::Relaxed);
        self.shared.write(&request.encode(id));
        Ok(Pending { shared: Arc::clone(&self.shared), reply, round })
    }

    /// Sends a request and waits for its reply.
    pub fn ask(&self, request: Request<'_>) -> Result<Reply, Lost> {
        self.send(request)?.wait()
    }

    /// How many times a reply was waited for before more was asked.
    pub fn round_trips(&self) -> u64 {
        self.shared.round.load(Ordering::Relaxed)
    }

    pub fn is_lost(&self) -> bool {
        lock(&self.shared.waiting).lost.is_some()
    }

    /// The server says what can not be: nothing more is asked over this connection. What to answer whoever asked.
    pub fn broken(&self, words: &str) -> Lost {
        self.shared.end(Lost::broken(words));
        self.shared.why()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Servers end at the end of their input, also with requests in hand: what nobody waited for (files closed and removed) is done first.
        let has_more = {
            let waiting = lock(&self.shared.waiting);
            waiting.lost.is_none() && !waiting.replies.is_empty()
        };
        if has_more && let Ok(last) = self.send(Request::Look(".")) {
            let _ = last.reply.recv_timeout(LAST_MOST);
        }
        // No more requests is how a server is told to end.
        *lock(&self.shared.output) = None;
        self.shared.peer.leave();
    }
}

impl Shared {
    /// Why the connection is lost.
    fn why(&self) -> Lost {
        lock(&self.waiting).lost.clone().unwrap_or_else(|| Lost::gone("the connection ended"))
    }

    /// The connection is lost; the first reason counts.
    fn end(&self, lost: Lost) {
        let waiters = {
            let mut waiting = lock(&self.waiting);
            waiting.lost.get_or_insert(lost);
            std::mem::take(&mut waiting.replies)
        };
        self.peer.cut();
        drop(waiters);
    }

    fn write(&self, packet: &[u8]) {
        let mut output = lock(&self.output);
        let Some(open) = &mut *output else { return };
        if open.write_all(packet).and_then(|()| open.flush()).is_err() {
            // Whoever reads learns why, and tells all who wait.
            *output = None;
            drop(output);
            self.end_after_reading();
        }
    }

    /// Nothing can be sent any more: what the other end still says is read, and then it is over.
    fn end_after_reading(&self) {
        self.end_if_silent(Duration::ZERO, || self.peer.last_words());
    }

    fn end_if_silent(&self, silence: Duration, lost: impl FnOnce() -> Lost) {
        let is_silent = {
            let waiting = lock(&self.waiting);
            waiting.lost.is_none() && !waiting.replies.is_empty() && waiting.heard.elapsed() >= silence
        };
        if is_silent {
            self.end(lost());
        }
    }

    fn watch(&self, silence: Duration, ended: &Receiver<()>) {
        let tick = (silence / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
        while ended.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
            self.end_if_silent(silence, || {
                Lost::gone(format!("no answer for {} seconds", silence.as_secs_f32()))
            });
        }
    }

    fn read(&self, input: Box<dyn Read + Send>, greeted: &Sender<Extensions>) {
        let mut input = io::BufReader::with_capacity(PACKET_MOST, input);
        let mut packet = Vec::new();
        let mut is_greeted = false;
        let lost = loop {
            match packet::receive(&mut input, &mut packet) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    break Lost::broken(if is_greeted {
                        "the server sent something that is no SFTP packet"
                    } else {
                        "what answers does not speak SFTP: something there writes text first (a login script?), or has no SFTP server"
                    });
                }
                Ok(false) | Err(_) => break self.peer.last_words(),
            }
            let taken = if is_greeted {
                self.take(&packet)
            } else {
                is_greeted = true;
                packet::decode_greeting(&packet).map(|extensions| {
                    let _ = greeted.send(extensions);
                })
            };
            if let Err(packet::Malformed(words)) = taken {
                break Lost::broken(format!("the server does not keep to SFTP: {words}"));
            }
        };
        self.end(lost);
    }

    /// Hands a reply to whoever waits for it.
    fn take(&self, packet: &[u8]) -> Result<(), packet::Malformed> {
        let (id, reply) = packet::decode(packet)?;
        let waiter = {
            let mut waiting = lock(&self.waiting);
            waiting.heard = Instant::now();
            waiting.replies.remove(&id)
        };
        // Nobody there any more is no matter; that nobody asked is.
        match waiter {
            Some(waiter) => drop(waiter.send(reply)),
            None if lock(&self.waiting).lost.is_some() => {}
            None => return Err(packet::Malformed("it answers what was not asked")),
        }
        Ok(())
    }
}
