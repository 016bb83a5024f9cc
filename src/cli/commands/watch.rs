//! `copal watch`: backs up what changes, until it is told to end.

mod tell;
mod thin;
mod turn;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tell::{State, Tell};
use thin::Thinner;
use turn::{Trouble, Turn};

use super::backup::{give_back_memory, give_back_now, inputs, refuse_own, test_number};
use super::init;
use crate::backup::touched::Touched;
use crate::cli::arguments::{OnBattery, Watch};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::signals;
use crate::files::{Busy, Lock};
use crate::terminal::escape::escape;
use crate::terminal::size::{show_count, show_duration};
use crate::watch::{self, Periods, Schedule, Step, Watcher, power, schedule};

/// Where folders can not be watched, everything is walked at least that often.
const UNWATCHED_WALK: Duration = Duration::from_secs(30 * 60);
/// Folders that are not watched and told by name.
const NAMED: usize = 3;

/// A duration in thousandths of a second that only tests set.
fn test_duration(context: &Context<'_>, name: &str) -> Option<Duration> {
    test_number(context, name).and_then(|number| u64::try_from(number).ok()).map(Duration::from_millis)
}

fn periods(context: &Context<'_>, wanted: &Watch) -> Periods {
    let pause = test_duration(context, "COPAL_TEST_WATCH_PAUSE");
    Periods {
        quiet: wanted.quiet_period,
        every: wanted.every,
        latest: wanted.latest(),
        walk: wanted.walk_every,
        retry: pause.unwrap_or(schedule::RETRY_FIRST),
        look: pause.unwrap_or(schedule::LOOK),
    }
}

/// The repository's place in one form, whatever it was called by, as far as that can be told now.
fn place(context: &Context<'_>) -> Result<PathBuf, Failure> {
    let location = PathBuf::from(context.location()?);
    Ok(std::fs::canonicalize(&location).or_else(|_| std::path::absolute(&location)).unwrap_or(location))
}

/// What the lock of a watch is called: by its repository and its sources.
fn lock_name(place: &Path, sources: &[Vec<u8>]) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut hasher = blake3::Hasher::new();
    for part in std::iter::once(place.as_os_str().as_bytes()).chain(sources.iter().map(Vec::as_slice)) {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    format!("watch-{}", &hasher.finalize().to_hex()[..32])
}

fn lock(folder: &Path, name: &str) -> Result<Lock, Failure> {
    Lock::take(folder, name).map_err(|busy| match busy {
        Busy::Held(process) => {
            let process = process.map_or_else(String::new, |number| format!(" (process {number})"));
            Failure::new(Code::Busy, format!("another watch of these sources is running{process}"))
                .with_hint("One is enough: end it first, or leave it alone.")
        }
        Busy::Io(error) => Failure::new(
            Code::Failed,
            format!("the folder {} for the lock of a watch can not be used: {error}", folder.display()),
        )
        .with_hint("Set XDG_STATE_HOME to another one."),
    })
}

/// Paths that copal writes to itself.
fn own_paths(context: &Context<'_>, place: &Path) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let mut paths = vec![place.to_path_buf()];
    paths.extend(context.cache_folder().ok().flatten());
    paths.extend(context.defaults.state_folder().ok());
    let real = |path: PathBuf| std::fs::canonicalize(&path).unwrap_or(path);
    paths.into_iter().map(|path| real(path).into_os_string().into_vec()).collect()
}

/// Files that standard output and standard error go to: a log that lies in the sources must not lead to one snapshot after the other.
fn written() -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let path = |number: u8| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    [1, 2].into_iter().filter_map(path).map(|path| path.into_os_string().into_vec()).collect()
}

fn own(context: &Context<'_>) -> HashSet<(u64, u64)> {
    context.own_files().into_iter().map(|(_, id)| id).collect()
}

/// Opens the repository for the first time: what can not be right later either is told now. A repository that was watched to before may
/// come back, and is waited for.
fn first_look(context: &Context<'_>, sources: &[Vec<u8>], known: &Path) -> Result<(), Failure> {
    context.keep_secret();
    let backend = context.backend()?;
    let exists = backend.exists_repository().map_err(|error| failure(&error.into()));
    match exists {
        Ok(true) => {}
        _ if known.exists() => return context.keep_secret_now(),
        Ok(false) if context.is_default_repository() && context.global.origin().is_empty() => {
            init::create_default(context)?;
        }
        _ => {}
    }
    let repository = context.open_to_add()?;
    refuse_own(&repository, sources)?;
    // Only a help: without it a disk that is missing at the next start is an error.
    let _ = std::fs::write(known, "");
    Ok(())
}

/// Watches, and backs up.
pub fn run(context: &Context<'_>, wanted: &Watch) -> Result<Code, Failure> {
    give_back_memory();
    let no_signal = |error: std::io::Error| Failure::new(Code::Failed, format!("no signals: {error}"));
    let waker = signals::waker().map_err(no_signal)?;
    let sources = inputs::sources(context, &wanted.backup)?;
    let excludes = inputs::excludes(context, &wanted.backup)?;
    let place = place(context)?;
    let (folder, name) = (context.defaults.state_folder()?, lock_name(&place, &sources));
    let _lock = lock(&folder, &name)?;
    first_look(context, &sources, &folder.join(format!("{name}.known")))?;
    let options = watch::Options {
        sources: sources.clone(),
        excludes: excludes.clone(),
        one_file_system: wanted.backup.one_file_system,
        own: own(context),
        own_paths: own_paths(context, &place),
        written: written(),
        watches_most: test_number(context, "COPAL_TEST_WATCHES")
            .and_then(|number| usize::try_from(number).ok()),
        nap: watch::NAP,
    };
    let watcher = Watcher::begin(options, waker).map_err(|error| {
        Failure::new(Code::Failed, format!("folders can not be watched: {error}"))
            .with_hint("If there are too many watchers already: sysctl fs.inotify.max_user_instances=512")
    })?;
    let mut turn = Turn::new(wanted, sources, excludes);
    turn.go_on(context, &watcher, periods(context, wanted))
}

impl Turn<'_> {
    /// One backup after the other, each when it is time.
    fn go_on(&mut self, context: &Context<'_>, watcher: &Watcher, periods: Periods) -> Result<Code, Failure> {
        let mut tell = Tell::new(context);
        let mut schedule = Schedule::new(periods);
        let mut thinner = Thinner::new(context, self.wanted);
        let supplies = (context.environment)("COPAL_TEST_POWER_SUPPLY").unwrap_or(power::SUPPLIES.into());
        let mut again = Touched::default();
        let start = Instant::now();
        let mut unwatched = 0;
        tell.state(State::Watching, watcher.folders(), "");
        loop {
            if let Some(code) = signals::code() {
                return Ok(code);
            }
            if watcher.is_deaf() {
                return Err(Failure::new(Code::Failed, "the system does not tell any more what changes")
                    .with_hint("Run it again: it begins with a walk of everything."));
            }
            if let Some(pending) = watcher.pending() {
                let since = |moment: Instant| moment.saturating_duration_since(start);
                schedule.changed(since(pending.first), since(pending.last));
            }
            let now = start.elapsed();
            let walk = match schedule.next(now) {
                Step::Wait { until } => {
                    watcher.wait(until.saturating_sub(now));
                    continue;
                }
                Step::BackUp { walk } => walk,
            };
            if self.wanted.on_battery == OnBattery::Pause && power::is_on_battery(Path::new(&supplies)) {
                tell.once(State::Paused, watcher.folders(), "on battery");
                schedule.no_power(now);
                continue;
            }
            schedule.begins(now);
            watcher.set_own(own(context));
            let mut touched = watcher.take();
            touched.merge(&again);
            if let Some(why) = watcher.lost() {
                tell.state(State::Walking, watcher.folders(), why);
            }
            if walk {
                touched = Touched::everything();
            }
            let walks = touched.is_everything();
            match self.back_up(context, &touched) {
                Ok((repository, outcome, took)) => {
                    tell.back(watcher.folders());
                    tell.snapshot(&outcome, &self.backup, took);
                    again = outcome.again.clone();
                    schedule.done(walks);
                    if outcome.name.is_some() {
                        thinner.thin(context, &repository, &outcome);
                    }
                }
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Passing(why)) => {
                    watcher.give_back(&touched);
                    schedule.failed(start.elapsed());
                    tell.once(State::Waiting, watcher.folders(), &why);
                }
            }
            give_back_now();
            let missing = watcher.unwatched();
            if missing.len() != unwatched {
                unwatched = missing.len();
                let period = match unwatched {
                    0 => periods.walk,
                    _ => periods.walk.min(UNWATCHED_WALK),
                };
                schedule.set_walk(period);
                warn_unwatched(context, &missing, period);
            }
        }
    }
}

/// Says which folders are not watched, and what is done about it.
fn warn_unwatched(context: &Context<'_>, missing: &[(Vec<u8>, watch::Unwatched)], period: Duration) {
    if missing.is_empty() {
        return;
    }
    let named: Vec<String> =
        missing.iter().take(NAMED).map(|(path, why)| format!("{}: {}", escape(path), why.words())).collect();
    context.warn(&format!(
        "{} can not be watched, and everything is walked every {}: {}{}",
        show_count(missing.len() as u64, "folder"),
        show_duration(period),
        named.join("; "),
        if missing.len() > NAMED { "; ..." } else { "" },
    ));
    if missing.iter().any(|(_, why)| *why == watch::Unwatched::Limit) {
        context.warn("to allow more: sysctl fs.inotify.max_user_watches=1048576");
    }
}
