//! `copal copy`: snapshots of one repository into another.

use serde::Serialize;

use crate::cli::arguments::{Copy, Global};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::{select, signals};
use crate::copy::{self, Copied, Outcome};
use crate::model::Id;
use crate::repository::Error;
use crate::terminal::escape::escape;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::{json, time};

#[derive(Serialize)]
struct CopiedLine {
    /// In the repository that it comes from.
    from_snapshot_id: String,
    /// In the other one; none in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    time: String,
    hostname: String,
    paths: Vec<String>,
    /// Plain bytes that were not there.
    bytes_new: u64,
    bytes_stored: u64,
}

#[derive(Serialize)]
struct ProblemLine {
    from_snapshot_id: String,
    message: String,
}

#[derive(Serialize)]
struct Summary {
    copied: u64,
    present: u64,
    failed: u64,
    bytes_new: u64,
    bytes_stored: u64,
    total_duration: f64,
    dry_run: bool,
}

/// What opens the repository to copy from.
fn origin<'e>(context: &'e Context<'e>, wanted: &Copy) -> Context<'e> {
    let mut global =
        Global { repo: wanted.from_repo.clone(), repository_file: None, ..context.global.clone() };
    if wanted.has_secret() {
        global.key_file.clone_from(&wanted.from_key_file);
        global.password_file.clone_from(&wanted.from_password_file);
        global.password_command.clone_from(&wanted.from_password_command);
        global.password = None;
    }
    Context::new(global, context.environment)
}

/// Copies.
pub fn run(context: &Context<'_>, wanted: &Copy) -> Result<Code, Failure> {
    let stop = signals::stop();
    let began = std::time::Instant::now();
    let origin = origin(context, wanted);
    let (from, _) = origin.open_to_read()?;
    let all = select::load(&origin, &from)?;
    let chosen = match wanted.snapshots.is_empty() {
        true => all.confirmed.clone(),
        false => select::find_all(&origin, &all, &wanted.snapshots, None)?,
    };
    let chosen = select::chosen(&chosen, &wanted.host, &wanted.choice)?;
    if chosen.is_empty() {
        return Err(Failure::new(Code::Failed, "no snapshot is like that")
            .with_hint("See what there is: copal snapshots -r REPOSITORY"));
    }
    let (to, _) = context.open_to_read()?;
    let options = context.writing(wanted.compression, wanted.dry_run);
    let show = Show::new(context)?;
    let mut written = Ok(());
    let mut told = |copied: &Copied| {
        if written.is_ok() {
            written = tell(context, copied);
        }
    };
    let outcome =
        copy::copy(&from, &to, &chosen, &options, &context.clock, &context.host(), &show, stop, &mut told);
    show.finish();
    let outcome = outcome.map_err(|error| failure(&error))?;
    written?;
    summarise(context, wanted, &outcome, began.elapsed().as_secs_f64())?;
    tell_failed(context, &outcome.failed)
}

fn tell(context: &Context<'_>, copied: &Copied) -> Result<(), Failure> {
    let Copied { of, snapshot, name } = copied;
    if context.global.json {
        let line = CopiedLine {
            from_snapshot_id: of.to_string(),
            snapshot_id: name.map(|name| name.to_string()),
            time: time::iso(snapshot.time),
            hostname: json::text(&snapshot.host).into_owned(),
            paths: snapshot.sources.iter().map(|path| json::text(path).into_owned()).collect(),
            bytes_new: snapshot.summary.bytes_new,
            bytes_stored: snapshot.summary.bytes_stored,
        };
        return Ok(context.out.json("copied", &line)?);
    }
    if context.global.quiet {
        return Ok(());
    }
    let sources: Vec<_> = snapshot.sources.iter().map(|path| escape(path)).collect();
    let as_what =
        name.map_or_else(|| "would be copied".to_owned(), |name| format!("copied as {}", name.short()));
    context.out.write(format!(
        "{} of {} {} {}: {as_what}, {} new\n",
        of.short(),
        time::show(snapshot.time),
        escape(&snapshot.host),
        sources.join(" "),
        show_size(snapshot.summary.bytes_new),
    ))?;
    Ok(())
}

fn summarise(context: &Context<'_>, wanted: &Copy, outcome: &Outcome, seconds: f64) -> Result<(), Failure> {
    let total = |of: fn(&Copied) -> u64| outcome.copied.iter().map(of).sum::<u64>();
    let summary = Summary {
        copied: outcome.copied.len() as u64,
        present: outcome.present.len() as u64,
        failed: outcome.failed.len() as u64,
        bytes_new: total(|copied| copied.snapshot.summary.bytes_new),
        bytes_stored: total(|copied| copied.snapshot.summary.bytes_stored),
        total_duration: seconds,
        dry_run: wanted.dry_run,
    };
    if context.global.json {
        return Ok(context.out.json("summary", &summary)?);
    }
    if context.global.quiet {
        return Ok(());
    }
    let copied = show_count(summary.copied, "snapshot");
    let verb = if wanted.dry_run { "would be copied" } else { "copied" };
    let mut text = format!("{copied} {verb}, {} added", show_size(summary.bytes_stored));
    if summary.present > 0 {
        text.push_str(&format!("; {} there already", summary.present));
    }
    context.out.write(format!("{text}\n"))?;
    Ok(())
}

/// Names what could not be copied.
fn tell_failed(context: &Context<'_>, failed: &[(Id, Error)]) -> Result<Code, Failure> {
    for (of, error) in failed {
        match context.global.json {
            true => {
                let line = ProblemLine { from_snapshot_id: of.to_string(), message: error.to_string() };
                context.out.json("error", &line)?;
            }
            false => context.warn(&format!("snapshot {} was not copied: {error}", of.short())),
        }
    }
    Ok(match failed {
        [] => Code::Done,
        _ if failed.iter().any(|(_, error)| error.is_damage()) => Code::Damaged,
        _ => Code::Failed,
    })
}
