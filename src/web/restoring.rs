//! Restores that were asked for on the page: one at a time, beside the answers, so that no browser has to wait for its end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;

use super::{Options, Page, Watcher};
use crate::locks::lock;
use crate::progress::{Event, Listener};
use crate::repository::lease::Use;
use crate::repository::snapshots::Named;
use crate::repository::{Error, caught};
use crate::restore::{self, Restored};
use crate::terminal::escape::escape;
use crate::terminal::size::show_count;
use crate::terminal::time;

/// Problems that are shown; the rest is counted.
const PROBLEMS: usize = 100;

/// What is restored, from where and to where.
pub struct Job {
    pub named: Named,
    pub names: Vec<Vec<u8>>,
    pub target: PathBuf,
    pub progress: Progress,
}

/// How far it is.
#[derive(Default)]
pub struct Progress {
    pub files: AtomicU64,
    pub bytes: AtomicU64,
    /// Things that could not be given back, each as text.
    pub problems: Mutex<Vec<String>>,
    /// How it ended.
    pub ended: Mutex<Option<Result<Restored, String>>>,
}

/// The restore that is at work, or was last.
#[derive(Default)]
pub struct Restoring {
    jobs: Mutex<Option<Sender<Arc<Job>>>>,
    last: Mutex<Option<Arc<Job>>>,
}

struct Counts<'p>(&'p Progress, &'p Use);

impl Listener for Counts<'_> {
    fn event(&self, event: Event<'_>) {
        self.1.now();
        match event {
            Event::File { .. } => drop(self.0.files.fetch_add(1, Ordering::Relaxed)),
            Event::Bytes(bytes) => drop(self.0.bytes.fetch_add(bytes, Ordering::Relaxed)),
            Event::Problem { path, what, .. } => {
                let mut problems = lock(&self.0.problems);
                if problems.len() < PROBLEMS {
                    problems.push(match path {
                        Some(path) => format!("{}: {what}", escape(path)),
                        None => what.to_owned(),
                    });
                }
            }
            _ => {}
        }
    }
}

/// How `copal restore` gives back when nothing else is said: what differs is never overwritten.
pub fn options(named: &Named, names: &[Vec<u8>], target: PathBuf, options: &Options) -> restore::Options {
    restore::Options {
        target,
        path: names.to_vec(),
        own: options.own.clone(),
        tell_files: true,
        memory: options.memory,
        beside: time::show(named.snapshot.time).replace(' ', "T").replace(':', ""),
        ..restore::Options::default()
    }
}

impl Restoring {
    pub fn give(&self, jobs: Sender<Arc<Job>>) {
        *lock(&self.jobs) = Some(jobs);
    }

    pub fn close(&self) {
        *lock(&self.jobs) = None;
    }

    /// The one that is at work, or was last.
    pub fn last(&self) -> Option<Arc<Job>> {
        lock(&self.last).clone()
    }

    /// Begins one. False while another is at work.
    pub fn begin(&self, job: Job) -> bool {
        let mut last = lock(&self.last);
        if last.as_ref().is_some_and(|job| lock(&job.progress.ended).is_none()) {
            return false;
        }
        let job = Arc::new(job);
        let is_taken = lock(&self.jobs).as_ref().is_some_and(|jobs| jobs.try_send(job.clone()).is_ok());
        if is_taken {
            *last = Some(job);
        }
        is_taken
    }

    /// Does it.
    pub fn run(&self, page: &Page, job: &Job, used: &Use, watcher: &dyn Watcher, stop: &AtomicBool) {
        let options = options(&job.named, &job.names, job.target.clone(), &page.options);
        let counts = Counts(&job.progress, used);
        let done = caught(|| restore::restore(&page.shelf.repository, &job.named, &options, &counts, stop));
        let what = format!("restore to {}", job.target.display());
        match &done {
            Ok(restored) if restored.problems + restored.damaged > 0 => {
                let count = show_count(restored.problems + restored.damaged, "thing");
                watcher.problem(&what, &format!("{count} could not be given back whole"));
            }
            Ok(_) => {}
            // Also when all ends: whoever asked for it may not look any more.
            Err(error) => watcher.problem(&what, &error.to_string()),
        }
        *lock(&job.progress.ended) = Some(done.map_err(|error: Error| error.to_string()));
    }
}
