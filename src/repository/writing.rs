//! What runs have in common that store new snapshots with one thread: copies, imports, streams. docs/concurrency.md has the protocol.

use super::session::Session;
use super::{Error, Repository, caught, store};
use crate::compress::Level;
use crate::model::{Id16, clock::Clock};
use crate::progress::{Event, Listener};

/// How often an overtaken run begins again before it gives up.
pub const TRIES: usize = 5;

/// How such a run stores.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub level: Level,
    pub uploaders: usize,
    /// Bytes that the run may take, about.
    pub memory: u64,
    /// Say what would be stored, and store nothing.
    pub dry_run: bool,
}

impl Options {
    /// Those of its store. `domain`: whose chunks these are.
    pub fn store(&self, domain: Id16) -> store::Options {
        store::Options {
            level: self.level,
            workers: 1,
            compressors: std::thread::available_parallelism().map_or(2, usize::from),
            uploaders: self.uploaders,
            memory: self.memory,
            domain,
            discard: self.dry_run,
        }
    }
}

/// The first steps of a writer: its session, then what there is; it tells what of that is damaged. No session in a dry run.
pub fn begin<'r>(
    repository: &'r Repository,
    clock: &'r dyn Clock,
    client: Id16,
    host: &[u8],
    dry_run: bool,
    during: &'static str,
    listener: &dyn Listener,
) -> Result<Option<Session<'r>>, Error> {
    // The session first: from here on nobody removes what it relies on.
    let session = match dry_run {
        true => None,
        false => Some(Session::begin(repository, clock, client, host, Vec::new())?),
    };
    let synced = repository.sync_before_snapshots()?;
    synced.tell(during, listener);
    if !dry_run {
        synced.check_writable()?;
        repository.name_adopted()?;
    }
    Ok(session)
}

/// Does `work`, and when it was overtaken again, which goes on with what it had done.
pub fn going_on<T>(listener: &dyn Listener, mut work: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..TRIES {
        match caught(&mut work) {
            Err(Error::Overtaken) => listener.event(Event::Note(
                "this run slept too long, or another machine marked packs for removal: going on",
            )),
            other => return other,
        }
    }
    caught(work)
}
