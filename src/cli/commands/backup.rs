//! `copal backup`: saves folders, files, or what a command prints.

mod frozen;
pub(super) mod inputs;
pub(super) mod report;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{idle, init};
use crate::backup::exclude::Excludes;
use crate::backup::{self, CHECKPOINT_SECONDS, Options, Outcome, RACY_SECONDS, Stream};
use crate::cli::arguments::{Backup, FsSnapshot};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::{catalogue, select, signals};
use crate::model::clock::Clock;
use crate::progress::{Event, Listener};
use crate::repository::{Error, Repository, store};
use crate::terminal::escape::escape;
use crate::terminal::size::show_count;
use crate::terminal::time;

/// What lies in the repository is never part of a backup: a source there would be saved as nothing.
pub(super) fn refuse_own(repository: &Repository, sources: &[Vec<u8>]) -> Result<(), Failure> {
    let Ok(place) = std::fs::canonicalize(repository.location()) else { return Ok(()) };
    match sources.iter().find(|source| Path::new(OsStr::from_bytes(source)).starts_with(&place)) {
        None => Ok(()),
        Some(source) => Err(Failure::new(
            Code::Refused,
            format!("{} lies in the repository itself: nothing of it would be saved", escape(source)),
        )
        .with_hint("Make the repository in a folder of its own: copal init -r PATH")),
    }
}

pub(super) fn options(
    context: &Context<'_>,
    wanted: &Backup,
    repository: &Repository,
    sources: Vec<Vec<u8>>,
    own: HashSet<(u64, u64)>,
    excludes: Excludes,
) -> Result<Options, Failure> {
    let time = match &wanted.time {
        Some(text) => Some(
            time::parse(text, context.clock.now()).map_err(|error| Failure::usage(error.to_string()))?.start,
        ),
        None => None,
    };
    let (zone, offset) = time::local_zone(time.unwrap_or(context.clock.now()));
    let host = wanted.host.as_ref().map_or_else(|| context.host(), |host| host.as_bytes().to_vec());
    let parent = match &wanted.parent {
        Some(text) => {
            let all = select::load(context, repository)?;
            let named = select::find(context, &all, text, Some(&host))?;
            if named.standing.forgotten.is_some() {
                let short = named.name.short();
                return Err(Failure::new(
                    Code::Failed,
                    format!("snapshot {short} is forgotten, and can be no parent"),
                )
                .with_hint(format!("To have it back: copal undelete {short}")));
            }
            if let Some(original) = &named.snapshot.stands_for {
                return Err(Failure::new(
                    Code::Failed,
                    format!(
                        "snapshot {} was written by a repair in the place of {}, and can be no parent",
                        named.name.short(),
                        original.short()
                    ),
                )
                .with_hint("What was lost of it must be read again: leave --parent out."));
            }
            Some(named.name)
        }
        None => None,
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut described: Vec<String> =
        wanted.exclude_preset.iter().map(|name| format!("exclude-preset {name}")).collect();
    described.extend(wanted.command.iter().map(|command| format!("command {}", escape(&command.name))));
    for pattern in &wanted.exclude {
        described.push(format!("exclude {}", escape(pattern.as_bytes())));
    }
    for pattern in &wanted.iexclude {
        described.push(format!("iexclude {}", escape(pattern.as_bytes())));
    }
    if wanted.fs_snapshot != FsSnapshot::Off {
        described.push(format!("fs-snapshot {:?}", wanted.fs_snapshot).to_lowercase());
    }
    for (given, name) in [
        (wanted.exclude_caches, "exclude-caches"),
        (wanted.git_ignore, "git-ignore"),
        (wanted.one_file_system, "one-file-system"),
    ] {
        if given {
            described.push(name.to_owned());
        }
    }
    Ok(Options {
        sources,
        commands: wanted.command.clone(),
        command_time_limit: wanted.command_time_limit,
        host,
        user: context.user(),
        tags: wanted.tag.clone(),
        time,
        utc_offset: i64::from(offset),
        zone: zone.unwrap_or_default(),
        parent,
        force: wanted.force,
        dry_run: wanted.dry_run,
        skip_if_unchanged: wanted.skip_if_unchanged,
        level: wanted.compression,
        workers: wanted.read_concurrency.map_or(cores.max(2), usize::from),
        uploaders: store::UPLOADERS,
        memory: context.global.memory.unwrap_or(store::MEMORY),
        excludes,
        one_file_system: wanted.one_file_system,
        stand_ins: Vec::new(),
        racy_seconds: test_number(context, "COPAL_TEST_RACY_SECONDS").unwrap_or(RACY_SECONDS),
        checkpoint_seconds: test_number(context, "COPAL_TEST_CHECKPOINT_SECONDS")
            .map_or(CHECKPOINT_SECONDS, |seconds| seconds as f64),
        own,
        tell_files: false,
        described,
        touched: None,
    })
}

/// A number that only tests set.
pub(super) fn test_number(context: &Context<'_>, name: &str) -> Option<i64> {
    (context.environment)(name)?.to_str()?.parse().ok()
}

/// Adds up what there is to read, for the bar, while the backup runs.
fn estimate(sources: &[Vec<u8>], excludes: &Excludes, show: &Show<'_>, stop: &AtomicBool, done: &AtomicBool) {
    let (mut files, mut bytes) = (0u64, 0u64);
    for source in sources {
        let walk = walkdir::WalkDir::new(OsStr::from_bytes(source)).follow_links(false);
        let wanted = |entry: &walkdir::DirEntry| {
            !excludes.excluded_entry(entry.path().as_os_str().as_bytes(), entry.file_type().is_dir())
        };
        for entry in walk.into_iter().filter_entry(wanted).flatten() {
            if stop.load(Ordering::Relaxed) || done.load(Ordering::Relaxed) {
                return;
            }
            if entry.file_type().is_file() {
                files += 1;
                bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            }
        }
    }
    show.event(Event::Totals { files, bytes });
}

/// Lengths from which memory that is freed goes back to the system at once.
#[cfg(target_env = "gnu")]
const GIVEN_BACK: libc::c_int = 4 << 20;

/// What one folder of a million files needs for a while is not to stay for the whole run: left to itself the allocator keeps it, in
/// pieces (257 MB at the most, and 156 MB so). Restoring is quicker without this.
pub(super) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: this sets a number of the allocator's and touches no memory of ours.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, GIVEN_BACK);
    }
}

/// Gives back all that is free, before a long pause.
pub(super) fn give_back_now() {
    #[cfg(target_env = "gnu")]
    // SAFETY: this touches only memory that the allocator has and nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Backs up what the options say.
pub fn run(context: &Context<'_>, wanted: &Backup) -> Result<Code, Failure> {
    give_back_memory();
    let is_stream = wanted.stdin || wanted.stdin_from_command;
    let sources = if is_stream { Vec::new() } else { inputs::sources(context, wanted)? };
    let may_make = context.is_default_repository() && context.global.origin().is_empty() && !wanted.dry_run;
    if may_make && !context.backend()?.exists_repository().map_err(|error| failure(&error.into()))? {
        init::create_default(context)?;
    }
    let stop = signals::stop();
    let began = std::time::Instant::now();
    // A stream comes once: what is wrong with the cache has to be found before.
    let mut repository = if is_stream { context.open_to_add_synced()?.0 } else { context.open_to_add()? };
    refuse_own(&repository, &sources)?;
    let own = context.own_files();
    for (path, _) in &own {
        let path_bytes = path.as_os_str().as_bytes();
        if sources.iter().any(|source| path_bytes.starts_with(source) && path_bytes.len() > source.len()) {
            context.say(&format!("leaving out copal's own {}", path.display()));
        }
    }
    let own = own.into_iter().map(|(_, id)| id).collect();
    let mut options =
        options(context, wanted, &repository, sources.clone(), own, inputs::excludes(context, wanted)?)?;
    inputs::refuse_commands_folder(wanted, &sources, &options.excludes)?;
    let show = Show::new(context)?;
    options.tell_files = show.wants_files();
    if !wanted.dry_run {
        frozen::clean(context);
    }
    let frozen = frozen::freeze(context, wanted, &mut options, &show)?;
    let outcome = if is_stream {
        stream(context, wanted, &repository, &mut options, &show)
    } else {
        let back_up = |repository: &Repository| {
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                if !show.is_hidden() {
                    scope.spawn(|| estimate(&options.sources, &options.excludes, &show, stop, &done));
                }
                let outcome = backup::backup(repository, &options, &context.clock, &show, stop);
                done.store(true, Ordering::Relaxed);
                outcome
            })
        };
        let mut outcome = back_up(&repository);
        // What was stored so far is found again.
        if let Err(Error::Index(error)) = &outcome {
            repository = context.with_cache_anew(repository, error)?.0;
            outcome = back_up(&repository);
        }
        if let Err(Error::Index(error)) = &outcome {
            repository = context.without_cache(repository, error)?.0;
            outcome = back_up(&repository);
        }
        outcome.map_err(|error| failure(&error))
    };
    show.finish();
    frozen::release(context, frozen);
    let outcome = outcome?;
    report::report(context, &outcome, wanted, began.elapsed().as_secs_f64())?;
    report::advise(context, &repository, &outcome, &sources);
    if let Some(name) = outcome.name.as_ref().filter(|_| !repository.is_write_only()) {
        catalogue::keep_up(context, &repository, name, &outcome.snapshot);
    }
    if !is_stream && !outcome.snapshot.incomplete {
        let given = wanted.exclude.iter().map(|pattern| ("--exclude", pattern));
        let given: Vec<_> =
            given.chain(wanted.iexclude.iter().map(|pattern| ("--iexclude", pattern))).collect();
        idle::look_into_left_out(&options.excludes.patterns);
        idle::warn(context, &options.excludes.patterns, &given);
    }
    if outcome.snapshot.incomplete {
        warn_incomplete(context, &outcome);
        return Ok(Code::Incomplete);
    }
    Ok(Code::Done)
}

/// Says what the snapshot lacks.
pub(super) fn warn_incomplete(context: &Context<'_>, outcome: &Outcome) {
    let summary = &outcome.snapshot.summary;
    let mut parts = Vec::new();
    if summary.unreadable > 0 {
        parts.push(format!("{} could not be read", show_count(summary.unreadable, "entry")));
    }
    if summary.changed_while_read > 0 {
        let those = match summary.changed_while_read {
            1 => "1 file changed while it was read".to_owned(),
            count => format!("{count} files changed while they were read"),
        };
        parts.push(those);
    }
    if outcome.metadata_unread > 0 {
        parts.push(format!(
            "attributes or flags of {} could not be read",
            show_count(outcome.metadata_unread, "entry")
        ));
    }
    context.warn(&format!("the snapshot is incomplete: {}", parts.join(", ")));
}

fn stream(
    context: &Context<'_>,
    wanted: &Backup,
    repository: &Repository,
    options: &mut Options,
    show: &Show<'_>,
) -> Result<Outcome, Failure> {
    let name = wanted.stream_name().as_bytes();
    let path: Vec<Vec<u8>> = stream_path(name)?;
    options.sources = vec![[&b"/"[..], &path.join(&b'/')].concat()];
    let stop = signals::stop();
    if !wanted.stdin_from_command {
        let mut input = std::io::stdin();
        let stream = Stream { path, input: &mut input, verdict: &mut || Ok(()) };
        return backup::backup_stream(repository, options, stream, &context.clock, show, stop)
            .map_err(|error| failure(&error));
    }
    let (program, arguments) =
        wanted.sources.split_first().ok_or_else(|| Failure::usage("no command to run"))?;
    let shown = escape(program.as_bytes()).into_owned();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(Code::Failed, format!("{shown} does not start: {error}")))?;
    let mut output =
        child.stdout.take().ok_or_else(|| Failure::new(Code::Failed, "the command has no output"))?;
    let mut waited = false;
    let mut verdict = || {
        waited = true;
        match child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{shown} failed: {status}")),
            Err(error) => Err(format!("{shown}: {error}")),
        }
    };
    let stream = Stream { path, input: &mut output, verdict: &mut verdict };
    let outcome = backup::backup_stream(repository, options, stream, &context.clock, show, stop);
    if !waited {
        // The repository failed first: the command must not go on writing into nothing.
        let _ = child.kill();
        let _ = child.wait();
    }
    outcome.map_err(|error| failure(&error))
}

/// The names of the path under which a stream is stored.
fn stream_path(name: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let names: Vec<Vec<u8>> = name
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect();
    if names.is_empty() || !names.iter().all(|name| crate::format::node::is_sound_name(name)) {
        return Err(Failure::usage(format!("--stdin-filename {} is no file name", escape(name))));
    }
    Ok(names)
}
