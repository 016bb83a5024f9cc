//! `copal restore`: gives back folders and files.

mod in_place;

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::Serialize;

use super::idle;
use crate::cli::arguments::{Overwrite, Restore};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::wanted::{self as meant, Meant};
use crate::cli::{select, signals};
use crate::model::NodeType;
use crate::patterns::{Patterns, PatternsBuilder};
use crate::repository::session::reading;
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::{Repository, store};
use crate::restore::{self, Options, Restored};
use crate::terminal::size::{agree, show_count, show_duration, show_size};
use crate::terminal::time;

fn patterns(context: &Context<'_>, list: &[std::ffi::OsString]) -> Result<Patterns, Failure> {
    let home = context.defaults.home();
    let mut builder = PatternsBuilder::new(home.as_ref().map(|home| home.as_os_str().as_bytes()));
    for pattern in list {
        builder.add(pattern.as_bytes(), false).map_err(|error| Failure::usage(error.to_string()))?;
    }
    builder.build().map_err(|error| Failure::usage(error.to_string()))
}

fn overwrite(wanted: Option<Overwrite>) -> restore::Overwrite {
    match wanted {
        None => restore::Overwrite::Keep,
        Some(Overwrite::Always) => restore::Overwrite::Always,
        Some(Overwrite::IfChanged) => restore::Overwrite::IfChanged,
        Some(Overwrite::IfNewer) => restore::Overwrite::IfNewer,
        Some(Overwrite::Never) => restore::Overwrite::Never,
    }
}

/// One thing to restore: from which snapshot, what, and to where.
struct Work {
    named: Named,
    names: Vec<Vec<u8>>,
    target: PathBuf,
    /// A newer snapshot can not be read, and may be the one that was meant.
    doubtful: bool,
}

/// What `text` asks for.
fn job(
    context: &Context<'_>,
    repository: &Repository,
    all: &Snapshots,
    wanted: &Restore,
    text: &[u8],
) -> Result<Work, Failure> {
    let host = wanted.host.as_ref().map(|host| host.as_bytes());
    let Meant { named, names, is_doubtful: doubtful } =
        meant::find(context, repository, all, text, wanted.at.as_deref(), host)?;
    if let Some(target) = &wanted.target {
        return Ok(Work { named, names, target: target.clone(), doubtful });
    }
    // In place: a folder's contents go into that folder, a file into the folder that held it.
    let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let node = repository.find_node(named.snapshot.root, &slices).map_err(|error| failure(&error))?;
    let is_folder = node.is_none_or(|node| node.kind == NodeType::Directory);
    let depth = if is_folder { names.len() } else { names.len() - 1 };
    let target = [&b"/"[..], &names[..depth].join(&b'/')].concat();
    Ok(Work { named, names, target: PathBuf::from(std::ffi::OsString::from_vec(target)), doubtful })
}

#[derive(Serialize)]
struct Summary {
    total_files: u64,
    files_restored: u64,
    files_skipped: u64,
    files_deleted: u64,
    /// Were there, and are beside what took their place.
    files_kept: u64,
    total_bytes: u64,
    bytes_restored: u64,
    problems: u64,
    damaged: u64,
    seconds_elapsed: u64,
    dry_run: bool,
}

/// Restores what the options say.
pub fn run(context: &Context<'_>, wanted: &Restore) -> Result<Code, Failure> {
    let stop = signals::stop();
    let began = std::time::Instant::now();
    let include = patterns(context, &wanted.include)?;
    let exclude = patterns(context, &wanted.exclude)?;
    let (repository, _) = context.open_to_read()?;
    let all = select::load(context, &repository)?;
    let mut sum = Restored::default();
    let mut targets = Vec::new();
    let mut in_doubt = false;
    let mut jobs = Vec::new();
    // All of them before anything is written: a slip in the last one is no half-done restore.
    for text in &wanted.wanted {
        jobs.push(job(context, &repository, &all, wanted, text.as_bytes())?);
    }
    // One for all that is asked for: what one of them keeps, another does not remove.
    let kept = restore::Kept::default();
    let options = |Work { named, names, target, .. }: &Work, overwrite| Options {
        target: target.clone(),
        path: names.clone(),
        include: include.clone(),
        exclude: exclude.clone(),
        overwrite,
        keep_present: wanted.in_place,
        kept: kept.clone(),
        is_to_last: true,
        delete: wanted.delete,
        dry_run: wanted.dry_run,
        verify: wanted.verify,
        numeric_ids: wanted.numeric_ids,
        sparse: wanted.sparse,
        own: context.own_files().into_iter().map(|(_, id)| id).collect(),
        tell_files: false,
        memory: context.global.memory.unwrap_or(store::MEMORY),
        beside: time::show(named.snapshot.time).replace(' ', "T").replace(':', ""),
    };
    let overwrite = match wanted.in_place {
        true => in_place::settle(context, &repository, wanted, &jobs, &|work| {
            options(work, restore::Overwrite::Keep)
        })?,
        false => overwrite(wanted.overwrite),
    };
    for work in jobs {
        let options = options(&work, overwrite);
        let Work { named, target, doubtful, .. } = work;
        context.say(&format!(
            "restoring snapshot {} of {} to {}",
            named.name.short(),
            time::show(named.snapshot.time),
            target.display()
        ));
        let show = Show::new(context)?;
        let options = Options { tell_files: show.wants_files(), ..options };
        if options.path.is_empty() && include.is_empty() {
            let summary = &named.snapshot.summary;
            crate::progress::Listener::event(
                &show,
                crate::progress::Event::Totals { files: summary.files, bytes: summary.bytes },
            );
        }
        let restored = reading(&repository, &context.clock, &context.host(), || {
            restore::restore(&repository, &named, &options, &show, stop)
        });
        show.finish();
        let restored = restored.map_err(|error| failure(&error))?;
        add(&mut sum, &restored);
        targets.push(target.display().to_string());
        in_doubt |= doubtful;
    }
    let seconds = began.elapsed();
    if context.global.json {
        let line = Summary {
            total_files: sum.files + sum.skipped,
            files_restored: sum.files,
            files_skipped: sum.skipped,
            files_deleted: sum.deleted,
            files_kept: sum.kept,
            total_bytes: sum.bytes,
            bytes_restored: sum.bytes,
            problems: sum.problems,
            damaged: sum.damaged,
            seconds_elapsed: seconds.as_secs(),
            dry_run: wanted.dry_run,
        };
        context.out.json("summary", &line)?;
    } else if !context.global.quiet {
        let verb = if wanted.dry_run { "would restore" } else { "restored" };
        let mut text = format!(
            "{verb} {}, {}, in {}",
            show_count(sum.files, "file"),
            show_size(sum.bytes),
            show_duration(seconds)
        );
        if sum.skipped > 0 {
            text += &format!("; {} {} there already", sum.skipped, agree(sum.skipped, "was", "were"));
        }
        if sum.kept > 0 {
            let verb = agree(sum.kept, "entry that was there is", "entries that were there are");
            text += &format!("; {} {verb} kept beside, under a name with its time", sum.kept);
        }
        if sum.deleted > 0 {
            let verb = if wanted.dry_run { "would be" } else { agree(sum.deleted, "was", "were") };
            text += &format!("; {} {verb} removed", sum.deleted);
        }
        text.push('\n');
        context.out.write(text)?;
    }
    let mended = repository.mended_packs().len() as u64;
    if mended > 0 {
        context.warn(&format!(
            "{} {} damaged and {} read by {} recovery data; put back what is lost: copal parity repair --read-data",
            show_count(mended, "pack"),
            agree(mended, "is", "are"),
            agree(mended, "was", "were"),
            agree(mended, "its", "their")
        ));
    }
    if [sum.problems, sum.damaged] == [0; 2] {
        let given: Vec<_> = wanted.exclude.iter().map(|pattern| ("--exclude", pattern)).collect();
        idle::warn(context, &exclude, &given);
    }
    if sum.damaged > 0 {
        return Err(Failure::new(
            Code::Damaged,
            format!(
                "{} could not be restored whole: the repository is damaged",
                show_count(sum.damaged, "entry")
            ),
        )
        .with_hint("Everything else was restored. See what is hit: copal check --read-data"));
    }
    if in_doubt {
        return Err(select::doubt());
    }
    if !include.is_empty() && [sum.files, sum.directories, sum.others, sum.skipped, sum.problems] == [0; 5] {
        return Err(Failure::new(Code::Failed, "nothing in the snapshot matches what --include asks for"));
    }
    if sum.problems > 0 {
        context.warn(&format!(
            "{} could not be given back as {} {}",
            show_count(sum.problems, "thing"),
            agree(sum.problems, "it", "they"),
            agree(sum.problems, "was", "were")
        ));
        return Ok(Code::Incomplete);
    }
    Ok(Code::Done)
}

fn add(sum: &mut Restored, one: &Restored) {
    sum.files += one.files;
    sum.directories += one.directories;
    sum.others += one.others;
    sum.bytes += one.bytes;
    sum.skipped += one.skipped;
    sum.deleted += one.deleted;
    sum.kept += one.kept;
    sum.problems += one.problems;
    sum.damaged += one.damaged;
}
