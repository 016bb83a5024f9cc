//! What a watch says: a line for each snapshot, and one when its state changes. For a log, so each begins with the time.

use std::time::Duration;

use serde::Serialize;

use crate::backup::Outcome;
use crate::cli::arguments::Backup;
use crate::cli::commands::backup::{report, warn_incomplete};
use crate::cli::context::Context;
use crate::model::clock::Clock;
use crate::terminal::size::{show_count, show_duration, show_size};
use crate::terminal::time;

/// What a watch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Watching,
    /// For power.
    Paused,
    /// For the repository.
    Waiting,
    /// Everything, since something may have been missed.
    Walking,
}

#[derive(Serialize)]
struct StateLine<'a> {
    state: State,
    time: String,
    folders: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

/// Says things, and remembers what was said.
pub struct Tell<'c> {
    context: &'c Context<'c>,
    /// The state that lasts, and why.
    lasting: Option<(State, String)>,
}

impl<'c> Tell<'c> {
    pub fn new(context: &'c Context<'c>) -> Tell<'c> {
        Tell { context, lasting: None }
    }

    fn line(&self, text: &str) {
        if !self.context.global.quiet {
            // Whoever stopped reading does not stop a watch.
            let _ = self.context.out.write(format!("{} {text}\n", time::show(self.context.clock.now())));
        }
    }

    /// A state, now.
    pub fn state(&self, state: State, folders: usize, why: &str) {
        if self.context.global.json {
            let time = time::iso(self.context.clock.now());
            let line = StateLine { state, time, folders, message: why };
            let _ = self.context.out.json("watch", &line);
            return;
        }
        self.line(&match state {
            State::Watching => format!("watching {}", show_count(folders as u64, "folder")),
            State::Paused => format!("paused: {why}"),
            State::Waiting => format!("waiting: {why}"),
            State::Walking => format!("walking everything: {why}"),
        });
    }

    /// A state that lasts is told once, and again when its reason changes.
    pub fn once(&mut self, state: State, folders: usize, why: &str) {
        if self.lasting.as_ref().is_none_or(|(known, text)| *known != state || text != why) {
            self.state(state, folders, why);
            self.lasting = Some((state, why.to_owned()));
        }
    }

    /// Such a state is over.
    pub fn back(&mut self, folders: usize) {
        if self.lasting.take().is_some() {
            self.state(State::Watching, folders, "");
        }
    }

    /// What came of a backup. Of one that found nothing new only programs, and who asked for more, hear.
    pub fn snapshot(&self, outcome: &Outcome, wanted: &Backup, took: Duration) {
        if self.context.global.json {
            let _ = report::report(self.context, outcome, wanted, took.as_secs_f64());
            return;
        }
        let summary = &outcome.snapshot.summary;
        // Never more exact than anybody needs.
        let took = show_duration(Duration::from_millis(took.as_millis() as u64));
        match &outcome.name {
            Some(name) => {
                let counts = match &outcome.parent {
                    Some(_) => format!(
                        "{} new, {} changed, {} gone",
                        summary.files_new,
                        summary.files_changed,
                        outcome.files_removed()
                    ),
                    None => show_count(summary.files, "file"),
                };
                self.line(&format!(
                    "snapshot {} saved: {counts}, {} added, in {took}",
                    name.short(),
                    show_size(summary.bytes_new)
                ));
            }
            None if self.context.global.verbose > 0 => {
                self.line(&format!("nothing to save, after {took}"));
            }
            None => {}
        }
        if outcome.name.is_some() && outcome.snapshot.incomplete {
            warn_incomplete(self.context, outcome);
        }
    }
}
