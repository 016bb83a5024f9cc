//! The connection in use: made when it is needed, and made anew when it is lost, by one thread for all. What a lost connection let fail is done
//! again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::Place;
use super::connection::{Connection, Line, Lost, Protocol, Why};
use crate::backend::{Error, Failed, Patience};
use crate::locks::lock;

/// How often a first connection is tried: somebody waits for it, and a wrong name never becomes right.
const FIRST_TRIES: u32 = 2;
/// How often in a row a server may refuse, or say what it can not, that was fine before: it may be in the middle of an upgrade.
const REFUSALS_MOST: u32 = 3;

/// What went wrong in one try.
#[derive(Debug)]
pub enum Trouble {
    /// The connection: another may do better.
    Lost(Lost),
    /// The operation: another try would not.
    Error(Error),
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Trouble {
        Trouble::Lost(lost)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Error(error)
    }
}

/// What stands on a connection, as long as that does.
pub trait Standing {
    fn is_lost(&self) -> bool;
}

impl<P: Protocol> Standing for Connection<P> {
    fn is_lost(&self) -> bool {
        Connection::is_lost(self)
    }
}

/// The connection, and how it went with those before.
struct State<S> {
    session: Option<Arc<S>>,
    /// How the last try to connect ended.
    failure: Option<Lost>,
    ever: bool,
    /// Connections in a row that were refused or broken; of those before the first, all that failed.
    failures: u32,
}

/// Makes a way to the server.
pub type Dial = dyn Fn() -> Result<Line, Lost> + Send + Sync;

/// Makes a way to the server, and greets it.
type Connect<S> = dyn Fn() -> Result<S, Lost> + Send + Sync;

/// The way to a place.
pub struct Link<S> {
    pub place: Place,
    patience: Patience,
    connect: Box<Connect<S>>,
    state: Mutex<State<S>>,
    /// How often it was tried to connect.
    dialled: AtomicU64,
}

impl<S: Standing> Link<S> {
    pub fn new(place: Place, patience: Patience, connect: Box<Connect<S>>) -> Link<S> {
        let state = State { session: None, failure: None, ever: false, failures: 0 };
        Link { place, patience, connect, state: Mutex::new(state), dialled: AtomicU64::new(0) }
    }

    /// The connection in use.
    pub fn standing(&self) -> Option<Arc<S>> {
        lock(&self.state).session.clone()
    }

    /// The standing connection, or a new one. Only one thread makes it; what it ended with counts for those who waited for it.
    fn session(&self) -> Result<Arc<S>, Lost> {
        let dialled = self.dialled.load(Ordering::Relaxed);
        let mut state = lock(&self.state);
        state.session.take_if(|session| session.is_lost());
        if let Some(session) = &state.session {
            return Ok(Arc::clone(session));
        }
        if self.dialled.load(Ordering::Relaxed) != dialled
            && let Some(lost) = &state.failure
        {
            return Err(lost.clone());
        }
        self.dialled.fetch_add(1, Ordering::Relaxed);
        match (self.connect)().map(Arc::new) {
            Ok(session) => {
                (state.ever, state.failure) = (true, None);
                state.session = Some(Arc::clone(&session));
                Ok(session)
            }
            Err(lost) => {
                state.failure = Some(lost.clone());
                Err(lost)
            }
        }
    }

    /// What to do about a lost connection.
    fn failed(&self, lost: Lost, object: String, operation: &'static str) -> Failed {
        let error = Error::Io { object, operation, source: std::io::Error::other(lost.words) };
        let mut state = lock(&self.state);
        let most = match (state.ever, lost.why) {
            (false, Why::Gone) => FIRST_TRIES,
            (false, _) => 1,
            (true, Why::Gone) => u32::MAX,
            (true, _) => REFUSALS_MOST,
        };
        if !state.ever || lost.why != Why::Gone {
            state.failures += 1;
        }
        if state.failures >= most { Failed::ForGood(error) } else { Failed::ForNow { error, after: None } }
    }

    /// Does something over a connection, and again over another when one is lost. `attempt` is given the number of the try.
    pub fn run<T>(
        &self,
        path: &str,
        operation: &'static str,
        mut attempt: impl FnMut(&S, u32) -> Result<T, Trouble>,
    ) -> Result<T, Error> {
        self.patience.run(|number| {
            let done = self.session().map_err(Trouble::from).and_then(|session| attempt(&session, number));
            match done {
                Ok(done) => {
                    lock(&self.state).failures = 0;
                    Ok(done)
                }
                Err(Trouble::Error(error)) => Err(Failed::ForGood(error)),
                Err(Trouble::Lost(lost)) => Err(self.failed(lost, self.place.named(path), operation)),
            }
        })
    }
}
