//! The threads that walk and read.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::chunk::Chunker;
use super::entry::Worker;
use super::file::Reader;
use super::run::Run;
use super::touched::{Hint, Touched};
use super::unseen::Before;
use super::walk::{Child, Directory};
use super::{Options, sources};
use crate::files;
use crate::locks::lock;
use crate::model::Id;
use crate::progress::Event;
use crate::repository::{Error, caught, store};

/// Stack of a walking thread: the walk itself does not recurse.
const WORKER_STACK: usize = 4 << 20;

/// Threads that walk and read.
pub(super) fn count(options: &Options) -> usize {
    store::threads(options.workers, options.memory)
}

/// Walks from `/` to the sources and gives the root tree.
pub(super) fn walk(run: &Run<'_>, expected: Option<Id>) -> Result<(Id, bool), Error> {
    let ways = sources::ways(&run.options.sources);
    let root = std::path::Path::new(
        run.stand_ins.root().map_or(std::ffi::OsStr::new("/"), |one| one.folder.as_os_str()),
    );
    let root = files::open_root(root)
        .and_then(|root| files::stat_fd(std::os::fd::AsFd::as_fd(&root)))
        .map_err(|error| Error::Refused(format!("the root directory can not be read: {error}")))?;
    run.scheduler.push(vec![Arc::new(Directory {
        parent: None,
        name: Vec::new(),
        stat: root,
        key: run.repository.hasher().local(b"/"),
        depth: 0,
        way: (!ways.whole).then_some(ways.below),
        expected,
        hint: run.hints.map_or(Hint::Walk, Touched::hint),
        before: Before::Unsure,
        pending: AtomicUsize::new(0),
        state: Default::default(),
    })]);
    let table = run.repository.gear_table();
    let on_bytes = |bytes| run.listener.event(Event::Bytes(bytes));
    let failure = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        for number in 0..count(run.options) {
            let chunker = Chunker::new(table.clone(), run.repository.config.cutter);
            let (failure, on_bytes) = (&failure, &on_bytes);
            let work = move || {
                let reader = Reader::new(run.store, number, chunker, on_bytes, run.stop);
                let (parents, unread) = Default::default();
                let mut worker = Worker { run, number, reader, parents, unread };
                while let Some(directory) = run.scheduler.next() {
                    let result = match run.is_stopped() {
                        true => Err(Error::Stopped),
                        false => caught(|| {
                            worker.begin(&directory)?;
                            run.checkpoint_when_due()
                        }),
                    };
                    if let Err(error) = result {
                        if let Error::Bug { what } = &error {
                            // Who knows what it left half done: nothing of this run is kept.
                            run.store.fail(Error::Bug { what: what.clone() });
                        }
                        lock(failure).get_or_insert(error);
                        run.scheduler.stop();
                    }
                }
            };
            if let Err(error) = std::thread::Builder::new().stack_size(WORKER_STACK).spawn_scoped(scope, work)
            {
                *lock(failure) = Some(Error::Refused(format!("no thread: {error}")));
                run.scheduler.stop();
            }
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        return Err(error);
    }
    match run.take_root() {
        Some(Child::Done { tree, same }) => Ok((tree, same)),
        Some(Child::Unreadable(why)) => {
            Err(Error::Refused(format!("the root directory can not be read: {}", why.words())))
        }
        _ => Err(Error::Stopped),
    }
}
