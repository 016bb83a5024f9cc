//! `copal mount`: shows all snapshots as folders, until it is told to end.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use crate::cli::arguments::Mount;
use crate::cli::context::{Context, eprint_line, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::problem::Problem;
use crate::cli::{past, signals};
use crate::mount::{self, Counts, Hit, Host, Options, Watcher};
use crate::repository::store;
use crate::terminal::escape::escape;
use crate::terminal::size::show_count;
use crate::terminal::{json, shell};

#[derive(Serialize)]
struct Mounted<'a> {
    mountpoint: Cow<'a, str>,
    repository: &'a str,
}

#[derive(Serialize)]
struct Summary {
    problems: u64,
    damaged: u64,
}

/// Says what happens, each as it comes: whoever mounts waits at a terminal for nothing else.
struct Says<'c> {
    context: &'c Context<'c>,
    place: &'c Path,
    repository: String,
}

impl Watcher for Says<'_> {
    fn mounted(&self) {
        let place = self.place.as_os_str().as_bytes();
        if self.context.global.json {
            let line = Mounted { mountpoint: json::text(place), repository: &self.repository };
            // Whoever stopped reading does not stop those who look.
            let _ = self.context.out.json("mounted", &line);
            return;
        }
        if !self.context.global.quiet {
            let end = shell::line([&b"fusermount3"[..], b"-u", place]);
            let line = format!("mounted on {}; to end: Ctrl-C here, or {end}\n", escape(place));
            let _ = self.context.out.write(line);
        }
    }

    fn hit(&self, hit: &Hit) {
        if self.context.global.json {
            let line = Problem::new(&hit.what, "read", &hit.path, hit.code);
            let _ = self.context.out.json("error", &line);
        } else if hit.path.is_empty() {
            eprint_line(&format!("copal: {}", hit.what));
        } else {
            eprint_line(&format!("copal: {}: {}", escape(&hit.path), hit.what));
        }
    }

    fn detached(&self) {
        self.context.warn(&format!(
            "{} was still in use: it is free, and for those who use it nothing is there any more",
            self.place.display()
        ));
    }
}

fn refused(error: mount::Error) -> Failure {
    let message = error.to_string();
    match error {
        mount::Error::Place { hint: Some(hint), .. } => Failure::usage(message).with_hint(hint),
        mount::Error::Place { hint: None, .. } => Failure::usage(message),
        mount::Error::Stale { hint, .. } | mount::Error::System { hint, .. } if !hint.is_empty() => {
            Failure::new(Code::Failed, message).with_hint(hint)
        }
        mount::Error::Stale { .. } | mount::Error::System { .. } => Failure::new(Code::Failed, message),
        mount::Error::Repository(error) => failure(&error),
    }
}

/// Mounts, and stays until it is to end.
pub fn run(context: &Context<'_>, wanted: &Mount) -> Result<Code, Failure> {
    // Before a password is asked for.
    let place = mount::check(&wanted.place).map_err(refused)?;
    let stop = signals::stop();
    let (repository, synced) = context.open_to_read()?;
    for problem in &synced.problems {
        context.warn(&problem.to_string());
    }
    let own = context.host();
    let host = Host {
        name: wanted.host.as_ref().map_or_else(|| own.clone(), |host| host.as_bytes().to_vec()),
        is_own: wanted.host.is_none(),
    };
    let memory = context.global.memory.unwrap_or(store::MEMORY);
    let past = past::known(context, &repository)?;
    let options = Options { place: place.clone(), is_shared: wanted.allow_other, host, memory, past };
    let says = Says { context, place: &place, repository: repository.location() };
    let Counts { damaged, other, untold } =
        mount::run(repository, &options, &context.clock, &own, &says, stop).map_err(refused)?;
    if untold > 0 {
        context.warn(&format!("{} more could not be read", show_count(untold, "thing")));
    }
    if context.global.json {
        context.out.json("summary", &Summary { problems: damaged + other, damaged })?;
    }
    if damaged > 0 {
        let message =
            format!("{} could not be read: the repository is damaged", show_count(damaged, "thing"));
        return Err(
            Failure::new(Code::Damaged, message).with_hint("See what is hit: copal check --read-data")
        );
    }
    if other > 0 {
        context.warn(&format!("{} could not be given", show_count(other, "thing")));
        return Ok(Code::Incomplete);
    }
    Ok(Code::Done)
}
