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

use crate::locks::lock;

/// Bytes that are read from the pipe at a time.
const BUFFER: usize = 256 << 10;

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

/// Nothing more is heard, or not what should be.
pub enum Unheard {
    /// The pipe ended.
    Ended,
    Lost(Lost),
}

impl From<io::Error> for Unheard {
    fn from(_: io::Error) -> Unheard {
        Unheard::Ended
    }
}

impl From<Lost> for Unheard {
    fn from(lost: Lost) -> Unheard {
        Unheard::Lost(lost)
    }
}

/// What is spoken over a connection: how the server's words are told apart. Each reply has the number of its request.
pub trait Protocol: 'static {
    /// For the names of threads.
    const NAME: &'static str;
    type Greeting: Send + 'static;
    type Reply: Send + 'static;

    /// The server's first words. `packet` is room to read into.
    fn greeting(from: &mut dyn Read, packet: &mut Vec<u8>) -> Result<Self::Greeting, Unheard>;

    /// The next reply, with the number of its request.
    fn reply(from: &mut dyn Read, packet: &mut Vec<u8>) -> Result<(u32, Self::Reply), Unheard>;

    /// Of a reply after which more come to the same request, how many bytes it gives.
    fn part(_: &Self::Reply) -> Option<u64> {
        None
    }

    /// A request whose reply comes after all was done that was asked for before, where a server ends without doing it.
    fn last(_id: u32) -> Option<Vec<u8>> {
        None
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

/// Whoever waits for a reply.
struct Waiter<R> {
    reply: Sender<R>,
    /// How many bytes its parts may still give: no server fills this machine's memory.
    room: u64,
}

/// All who wait for replies.
struct Waiting<R> {
    next: u32,
    replies: HashMap<u32, Waiter<R>>,
    /// When something was heard last, or the first of those who wait began to.
    heard: Instant,
    lost: Option<Lost>,
}

struct Shared<P: Protocol> {
    waiting: Mutex<Waiting<P::Reply>>,
    /// None once nothing more goes out.
    output: Mutex<Option<Box<dyn Write + Send>>>,
    peer: Box<dyn Peer>,
    /// Requests that go out now can know the replies of so many rounds.
    round: AtomicU64,
}

/// A connection. Dropped, it ends the program.
pub struct Connection<P: Protocol> {
    shared: Arc<Shared<P>>,
    pub greeting: P::Greeting,
    /// Dropped with this: the watch ends.
    _watch: Sender<()>,
}

/// A request that went out. Dropped, its reply is not waited for.
pub struct Pending<P: Protocol> {
    shared: Arc<Shared<P>>,
    reply: Receiver<P::Reply>,
    round: u64,
}

impl<P: Protocol> Pending<P> {
    /// Waits for the reply, or its next part.
    pub fn next(&self) -> Result<P::Reply, Lost> {
        let reply = self.reply.recv().map_err(|_| self.shared.why());
        self.shared.round.fetch_max(self.round + 1, Ordering::Relaxed);
        reply
    }

    /// Waits for the reply.
    pub fn wait(self) -> Result<P::Reply, Lost> {
        self.next()
    }

    /// Sends more that belongs to the request. What goes out is a sign of life like a reply: the way there takes it.
    pub fn more(&self, packet: &[u8]) -> Result<(), Lost> {
        self.shared.write(packet);
        let mut waiting = lock(&self.shared.waiting);
        waiting.heard = Instant::now();
        waiting.lost.clone().map_or(Ok(()), Err)
    }
}

impl<P: Protocol> Connection<P> {
    /// Greets the server at the other end with `hello`. `silence` is how long nothing may be heard from it while something is asked,
    /// `greeting_most` how long it may take until it greets.
    pub fn open(
        line: Line,
        hello: &[u8],
        silence: Duration,
        greeting_most: Duration,
    ) -> Result<Connection<P>, Lost> {
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
            .name(P::NAME.to_owned())
            .spawn(move || reader.read(input, &greeted))
            .map_err(|error| Lost::gone(format!("no thread to read replies: {error}")));
        if let Err(lost) = started {
            shared.peer.cut();
            return Err(lost);
        }
        shared.write(hello);
        let greeting = match greetings.recv_timeout(greeting_most) {
            Ok(greeting) => greeting,
            Err(RecvTimeoutError::Timeout) => {
                shared.end(Lost::gone(format!("no connection within {} seconds", greeting_most.as_secs())));
                return Err(shared.why());
            }
            Err(RecvTimeoutError::Disconnected) => return Err(shared.why()),
        };
        let (watch, ended) = unbounded();
        let watched = Arc::clone(&shared);
        let started = std::thread::Builder::new()
            .name(format!("{}-watch", P::NAME))
            .spawn(move || watched.watch(silence, &ended));
        if let Err(error) = started {
            shared.end(Lost::gone(format!("no thread to watch the connection: {error}")));
            return Err(shared.why());
        }
        Ok(Connection { shared, greeting, _watch: watch })
    }

    /// Sends a request, which is given its number. Waits while the way out is full. `room` is how many bytes the parts of its reply may give.
    pub fn send(&self, room: u64, encode: impl FnOnce(u32) -> Vec<u8>) -> Result<Pending<P>, Lost> {
        let (sender, reply) = unbounded();
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
            waiting.replies.insert(id, Waiter { reply: sender, room });
            id
        };
        let round = self.shared.round.load(Ordering::Relaxed);
        self.shared.write(&encode(id));
        Ok(Pending { shared: Arc::clone(&self.shared), reply, round })
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

impl<P: Protocol> Drop for Connection<P> {
    fn drop(&mut self) {
        // Servers may end at the end of their input, also with requests in hand: what nobody waited for (files closed and removed) is done first.
        let has_more = {
            let waiting = lock(&self.shared.waiting);
            waiting.lost.is_none() && !waiting.replies.is_empty()
        };
        if has_more
            && P::last(0).is_some()
            && let Ok(last) = self.send(0, |id| P::last(id).unwrap_or_default())
        {
            let _ = last.reply.recv_timeout(LAST_MOST);
        }
        // No more requests is how a server is told to end.
        *lock(&self.shared.output) = None;
        self.shared.peer.leave();
    }
}

impl<P: Protocol> Shared<P> {
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

    fn read(&self, input: Box<dyn Read + Send>, greeted: &Sender<P::Greeting>) {
        let mut input = io::BufReader::with_capacity(BUFFER, input);
        let mut packet = Vec::new();
        let first = P::greeting(&mut input, &mut packet).map(|greeting| drop(greeted.send(greeting)));
        let mut heard = first;
        let unheard = loop {
            if let Err(unheard) = heard {
                break unheard;
            }
            heard = P::reply(&mut input, &mut packet).and_then(|(id, reply)| Ok(self.take(id, reply)?));
        };
        self.end(match unheard {
            Unheard::Ended => self.peer.last_words(),
            Unheard::Lost(lost) => lost,
        });
    }

    /// Hands a reply to whoever waits for it.
    fn take(&self, id: u32, reply: P::Reply) -> Result<(), Lost> {
        let mut waiting = lock(&self.waiting);
        waiting.heard = Instant::now();
        let waiter = match P::part(&reply) {
            None => waiting.replies.remove(&id).map(|waiter| waiter.reply),
            Some(bytes) => match waiting.replies.get_mut(&id) {
                Some(waiter) if waiter.room < bytes => {
                    return Err(Lost::broken("the server gives more than was asked for"));
                }
                waiter => waiter.map(|waiter| {
                    waiter.room -= bytes;
                    waiter.reply.clone()
                }),
            },
        };
        let is_lost = waiting.lost.is_some();
        drop(waiting);
        // Nobody there any more is no matter; that nobody asked is.
        match waiter {
            Some(waiter) => drop(waiter.send(reply)),
            None if is_lost => {}
            None => return Err(Lost::broken("the server answers what was not asked")),
        }
        Ok(())
    }
}
