//! Repairs: records of who is at work and of what goes, the index from the packs, packs from what still opens in them, snapshots with
//! marked gaps in the place of what is lost.
//! Each works as a writer (docs/concurrency.md), says first what it will do and what is lost, adds before it takes anything away, and
//! may be cut off anywhere and run again. docs/decisions/0004-repair.md says why they are as they are.

mod index;
mod loss;
mod objects;
mod packs;
mod records;
mod rewrite;
mod snapshots;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::compress::Level;
use crate::format::index::PackEntry;
use crate::model::Id;
use crate::model::clock::Clock;
use crate::progress::{Event, Listener};
use crate::repository::session::{Session, kept_alive};
use crate::repository::{Error, Repository, store};

pub use index::{IndexOutcome, IndexPlan, index};
pub use objects::Objects;
pub use packs::{Count, PacksOutcome, PacksPlan, packs};
pub use records::{InTheWay, RecordsOutcome, RecordsPlan, records};
pub use rewrite::Lost;
pub use snapshots::{Hit, SnapshotsOutcome, SnapshotsPlan, Wanted, snapshots};

/// How a repair works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    pub level: Level,
    /// Threads that compress, and that put packs.
    pub compressors: usize,
    pub uploaders: usize,
    /// Bytes that the run may take, about.
    pub memory: u64,
    pub host: Vec<u8>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dry_run: false,
            level: Level::AUTO,
            compressors: std::thread::available_parallelism().map_or(2, usize::from),
            uploaders: store::UPLOADERS,
            memory: store::MEMORY,
            host: Vec::new(),
        }
    }
}

/// What every repair is given.
#[derive(Clone, Copy)]
pub struct Tools<'r> {
    pub repository: &'r Repository,
    pub options: &'r Options,
    pub clock: &'r dyn Clock,
    pub listener: &'r dyn Listener,
    pub stop: &'r AtomicBool,
}

/// One repair at work.
struct Run<'r> {
    tools: Tools<'r>,
    repository: &'r Repository,
    /// Set when the session's lease is lost.
    lost: &'r AtomicBool,
}

impl<'r> Run<'r> {
    fn check_stop(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Error::Overtaken);
        }
        if self.tools.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Synchronises, and makes sure that the local index says what storage does: what is lost is judged by it.
    fn sync(&self) -> Result<(), Error> {
        self.repository.sync()?.check_writable()?;
        if self.repository.may_doubt_cache() {
            self.repository.compare_index(self.tools.stop)?;
        }
        Ok(())
    }

    fn store_options(&self, domain: crate::model::Id16, discard: bool) -> store::Options {
        let options = self.tools.options;
        store::Options {
            level: options.level,
            workers: 1,
            compressors: options.compressors,
            uploaders: options.uploaders,
            memory: options.memory,
            domain,
            discard,
        }
    }

    /// What a pack says of itself, when it can be read, if need be by its recovery data.
    fn own_entry(&self, name: &Id, length: u64) -> Result<Option<PackEntry>, Error> {
        match self.repository.read_or_mend_entry(name, length) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.is_damage() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Does `work` as a writer that names `parents`; a dry run without being anybody.
fn at_work<T>(
    tools: Tools<'_>,
    parents: Vec<Id>,
    work: impl FnOnce(&Run<'_>, Option<&Session<'_>>) -> Result<T, Error>,
) -> Result<T, Error> {
    let lost = AtomicBool::new(false);
    let run = Run { tools, repository: tools.repository, lost: &lost };
    let result = if tools.options.dry_run {
        tools.listener.event(Event::Started);
        work(&run, None)?
    } else {
        let client = tools.repository.client()?;
        let host = &tools.options.host;
        let session = Session::begin(tools.repository, tools.clock, client, host, parents)?;
        tools.listener.event(Event::Started);
        kept_alive(Some(&session), |_| lost.store(true, Ordering::Relaxed), || work(&run, Some(&session)))?
    };
    tools.listener.event(Event::Finished);
    Ok(result)
}

/// Whether this writer may still rely on what it saw. Asked before anything is taken away.
fn may_go_on(session: &Session<'_>) -> Result<(), Error> {
    session.check_alive()?;
    if session.is_fenced()? { Err(Error::Overtaken) } else { Ok(()) }
}
