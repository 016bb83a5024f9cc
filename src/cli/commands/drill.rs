//! `copal drill`: restores some files on trial, and says whether they are what was stored.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::Serialize;

use super::backup::test_number;
use crate::backup::RACY_SECONDS;
use crate::cli::arguments::Drill;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::{select, signals};
use crate::drill::{self, Options, Outcome, Sample, Side};
use crate::repository::store;
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::{agree, show_count, show_duration, show_size};
use crate::terminal::time;

#[derive(Serialize)]
struct MismatchLine<'a> {
    snapshot_id: String,
    /// `stored`, `source` or `untested`.
    side: &'a str,
    path: std::borrow::Cow<'a, str>,
    message: &'a str,
}

#[derive(Serialize)]
struct SampleLine {
    snapshot_id: String,
    time: String,
    total_files: u64,
    files_too_large: u64,
    files_restored: u64,
    bytes_restored: u64,
    files_compared: u64,
    files_without_metadata: u64,
    files_marked_as_lost: u64,
}

#[derive(Serialize)]
struct Summary {
    seed: u64,
    snapshots: u64,
    files_restored: u64,
    bytes_restored: u64,
    /// Compared with the source, which claims to be unchanged.
    files_compared: u64,
    mismatches: u64,
    source_mismatches: u64,
    untested: u64,
    total_duration: f64,
}

fn word(side: Side) -> &'static str {
    match side {
        Side::Stored => "stored",
        Side::Source => "source",
        Side::Untested => "untested",
    }
}

/// What the options of this run are.
pub fn options(context: &Context<'_>, wanted: &Drill) -> Result<Options, Failure> {
    let scratch = match &wanted.scratch {
        Some(folder) => folder.clone(),
        None => match context.cache_folder()?.filter(|folder| folder.is_dir()) {
            Some(folder) => folder,
            None => (context.environment)("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from),
        },
    };
    let seed = match wanted.seed {
        Some(seed) => seed,
        // Short enough to be typed.
        None => u64::from(u32::from_le_bytes(
            crate::crypto::random().map_err(|error| Failure::new(Code::Failed, error.to_string()))?,
        )),
    };
    Ok(Options {
        scratch,
        files: wanted.files as usize,
        bytes: wanted.size,
        seed,
        host: context.host(),
        memory: context.global.memory.unwrap_or(store::MEMORY),
        racy_seconds: test_number(context, "COPAL_TEST_RACY_SECONDS").unwrap_or(RACY_SECONDS),
    })
}

/// Drills.
pub fn run(context: &Context<'_>, wanted: &Drill) -> Result<Code, Failure> {
    let stop = signals::stop();
    let options = options(context, wanted)?;
    let (repository, _) = context.open_synced()?;
    let all = select::load(context, &repository)?;
    let host = wanted.host.as_ref().map(|host| host.as_bytes());
    let text = wanted.snapshot.as_deref().unwrap_or("latest");
    let named = select::find(context, &all, text, host)?;
    let is_doubtful = select::is_doubtful(context, &all, text, &named);
    let mut snapshots = vec![named];
    if wanted.snapshot.is_none() {
        snapshots.extend(drill::old_one(&all, &snapshots[0], options.seed).cloned());
    }
    let show = Show::new(context)?;
    let outcome = drill::drill(&repository, &snapshots, &options, &context.clock, &show, stop);
    show.finish();
    let outcome = outcome.map_err(|error| ended(&error))?;
    told(context, &outcome)?;
    let mended = repository.mended_packs().len() as u64;
    if mended > 0 {
        context.warn(&format!(
            "{} {} damaged and {} read by recovery data: copal parity repair --read-data",
            show_count(mended, "pack"),
            agree(mended, "is", "are"),
            agree(mended, "was", "were")
        ));
    }
    verdict(context, &outcome, is_doubtful)
}

/// How a run ends that could not drill.
pub fn ended(error: &drill::Error) -> Failure {
    match error {
        drill::Error::Repository(error) => failure(error),
        drill::Error::NoRoom { .. } => Failure::new(Code::Refused, error.to_string())
            .with_hint("Nothing was restored. Name a folder with more room: --scratch FOLDER; or drill less: --size SIZE."),
        drill::Error::Scratch { .. } => Failure::new(Code::Failed, error.to_string())
            .with_hint("Name a folder for the scratch folder: --scratch FOLDER"),
    }
}

fn told(context: &Context<'_>, outcome: &Outcome) -> Result<(), Failure> {
    let named = outcome.mismatches.len() as u64;
    let all = outcome.stored + outcome.source + outcome.untested;
    if context.global.json {
        for mismatch in &outcome.mismatches {
            let line = MismatchLine {
                snapshot_id: mismatch.snapshot.to_string(),
                side: word(mismatch.side),
                path: json::text(&mismatch.path),
                message: &mismatch.what,
            };
            context.out.json("mismatch", &line)?;
        }
        for sample in &outcome.samples {
            let line = SampleLine {
                snapshot_id: sample.snapshot.to_string(),
                time: time::iso(sample.time),
                total_files: sample.files_seen,
                files_too_large: sample.too_large,
                files_restored: sample.files,
                bytes_restored: sample.bytes,
                files_compared: sample.compared,
                files_without_metadata: sample.without_metadata,
                files_marked_as_lost: sample.marked,
            };
            context.out.json("sample", &line)?;
        }
        let summary = Summary {
            seed: outcome.seed,
            snapshots: outcome.samples.len() as u64,
            files_restored: outcome.files(),
            bytes_restored: outcome.bytes(),
            files_compared: outcome.compared(),
            mismatches: outcome.stored,
            source_mismatches: outcome.source,
            untested: outcome.untested,
            total_duration: outcome.seconds,
        };
        return Ok(context.out.json("summary", &summary)?);
    }
    for mismatch in &outcome.mismatches {
        context.out.write(format!(
            "{:<9} {} of {}: {}\n",
            word(mismatch.side),
            escape(&mismatch.path),
            mismatch.snapshot.short(),
            mismatch.what
        ))?;
    }
    if all > named {
        context.out.write(format!("and {} more\n", all - named))?;
    }
    if context.global.quiet {
        return Ok(());
    }
    for sample in &outcome.samples {
        context.out.write(line(sample))?;
    }
    let seconds = std::time::Duration::from_millis((outcome.seconds * 1000.0) as u64);
    context.out.write(format!("time    {}\nseed    {}\n", show_duration(seconds), outcome.seed))?;
    Ok(())
}

/// What was done with one snapshot.
fn line(sample: &Sample) -> String {
    let mut text = format!(
        "snapshot {} of {}: restored {} of {}, {}; {} {} compared with the source\n",
        sample.snapshot.short(),
        time::show(sample.time),
        sample.files,
        show_count(sample.files_seen, "file"),
        show_size(sample.bytes),
        sample.compared,
        agree(sample.compared, "was", "were")
    );
    for (count, what) in [
        (sample.too_large, "larger than --size, and never chosen"),
        (
            sample.without_metadata,
            "restored without all of their owners, modes or attributes, which can not be given here",
        ),
        (sample.marked, "not whole in that snapshot, as a repair marked it"),
    ] {
        if count > 0 {
            text += &format!("  {} {what}\n", show_count(count, "file"));
        }
    }
    text
}

fn verdict(context: &Context<'_>, outcome: &Outcome, is_doubtful: bool) -> Result<Code, Failure> {
    if outcome.source > 0 {
        context.warn(&format!(
            "{} on disk {} from what was stored, with the same size and times: a bit flipped there or in memory, or something wrote without leaving a trace; compare with a restored one before either is trusted",
            show_count(outcome.source, "file"),
            agree(outcome.source, "differs", "differ")
        ));
    }
    if outcome.untested > 0 {
        context.warn(&format!("{} could not be tried", show_count(outcome.untested, "file")));
    }
    if outcome.stored > 0 {
        return Err(Failure::new(
            Code::Damaged,
            format!(
                "{} did not come back as {} stored",
                show_count(outcome.stored, "thing"),
                agree(outcome.stored, "it was", "they were")
            ),
        )
        .with_hint("See what else is hit: copal check --read-data. Files still on this machine heal it: run the backup again."));
    }
    if is_doubtful {
        return Err(select::doubt());
    }
    Ok(if outcome.source + outcome.untested > 0 { Code::Incomplete } else { Code::Done })
}
