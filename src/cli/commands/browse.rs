//! `copal browse`: the terminal is looked at first, then the repository is opened, and the end says what was met.

use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;

use crate::browse::{self, Options, Seen};
use crate::cli::arguments::Browse;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::cli::{catalogue, select, signals};
use crate::repository::store;
use crate::terminal::size::{agree, show_count};

/// Shows the snapshots until the person ends it.
pub fn run(context: &Context<'_>, wanted: &Browse) -> Result<Code, Failure> {
    if context.global.json {
        return Err(Failure::usage("browse is for a person: it has no --json"));
    }
    // Before a password is asked for.
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::usage("browse needs a terminal: standard input and output must be one")
            .with_hint("Without one: copal snapshots, copal ls, copal dump, copal restore."));
    }
    let stop = signals::stop();
    let (repository, synced) = context.open_to_read()?;
    for problem in &synced.problems {
        context.warn(&problem.to_string());
    }
    let all = select::load(context, &repository)?;
    let mut snapshots = all.confirmed;
    if let Some(host) = &wanted.host {
        snapshots.retain(|named| named.snapshot.host == host.as_bytes());
    }
    if snapshots.is_empty() && all.problems.is_empty() {
        return Err(Failure::new(Code::Failed, "there are no snapshots to look at")
            .with_hint("See what there is: copal snapshots"));
    }
    let unread = all.problems.len() as u64;
    let notice = match unread {
        0 => String::new(),
        count => format!("damaged: {} of snapshots can not be read", show_count(count, "record")),
    };
    let options = Options {
        host: context.host(),
        home: context.defaults.home(),
        catalogue: catalogue::folder(context)?,
        own: context.own_files().into_iter().map(|(_, id)| id).collect(),
        memory: context.global.memory.unwrap_or(store::MEMORY),
    };
    let Seen { damaged, problems, is_interrupted, untold } =
        browse::run(&repository, &snapshots, &options, notice, &context.clock, stop)
            .map_err(|error| Failure::new(Code::Failed, format!("the terminal: {error}")))?;
    for line in &untold {
        context.warn(line);
    }
    if damaged + unread > 0 {
        let message =
            format!("{} could not be read: the repository is damaged", show_count(damaged + unread, "thing"));
        return Err(
            Failure::new(Code::Damaged, message).with_hint("See what is hit: copal check --read-data")
        );
    }
    if is_interrupted {
        return Ok(signals::code().unwrap_or(Code::Interrupted));
    }
    if problems > 0 {
        let verb = agree(problems, "was", "were");
        context.warn(&format!("{} {verb} not restored", show_count(problems, "thing")));
        return Ok(Code::Incomplete);
    }
    Ok(Code::Done)
}
