//! Gives back what was chosen: below one folder, as a restore does it, which never takes the place of what differs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::message::{Outcome, Path, Progress, Reply, shown};
use super::work::{Doing, Worker};
use crate::locks::lock;
use crate::model::NodeType;
use crate::patterns::{Patterns, PatternsBuilder};
use crate::progress::{Event, Listener};
use crate::repository::Error;
use crate::repository::session::reading;
use crate::repository::snapshots::Named;
use crate::restore::{self, Restored};
use crate::terminal::escape::escape;
use crate::terminal::size::{agree, show_count, show_size};
use crate::terminal::time;

/// How often the screen hears how far it is.
const EVERY: Duration = Duration::from_millis(100);
/// Problems that are named; all are counted.
const NAMED: usize = 200;

/// What of a snapshot is restored: from which folder or file down, and what of that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    path: Path,
    exclude: Vec<Vec<u8>>,
}

/// The pattern that stands for that very path.
fn literal(path: &[Vec<u8>]) -> Vec<u8> {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let escaped = shown(path).into_iter().flat_map(|byte| {
        let before = special(&byte).then_some(b'\\');
        before.into_iter().chain([byte])
    });
    escaped.collect()
}

/// From the deepest folder that holds all of them, everything but them is left out. None of `paths` is empty.
fn several(paths: &[Path]) -> Choice {
    // What lies in a folder that is wanted itself comes with it.
    let all: BTreeSet<&[Vec<u8>]> = paths.iter().map(Vec::as_slice).collect();
    let is_covered = |path: &[Vec<u8>]| (1..path.len()).any(|length| all.contains(&path[..length]));
    let wanted: Vec<&[Vec<u8>]> = all.iter().copied().filter(|path| !is_covered(path)).collect();
    let above = |path: &[Vec<u8>]| path.len().saturating_sub(1);
    let shared =
        |one: &[Vec<u8>], other: &[Vec<u8>]| one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let first = wanted.first().copied().unwrap_or_default();
    let base = wanted.iter().fold(above(first), |base, path| base.min(shared(first, path)).min(above(path)));
    let (mut exclude, mut closed) = (Vec::new(), BTreeSet::new());
    for path in wanted {
        for length in base..path.len() {
            if closed.insert(&path[..length]) {
                let folder = if length == 0 { Vec::new() } else { literal(&path[..length]) };
                exclude.push([&folder[..], b"/*"].concat());
            }
            // The last that matches counts: the folders on the way, and in the end what is wanted.
            exclude.push([b"!", &literal(&path[..=length])[..]].concat());
        }
    }
    Choice { path: first[..base].to_vec(), exclude }
}

/// Tells the screen how far it is, and keeps what went wrong.
struct Watch<'w> {
    doing: &'w Doing<'w>,
    state: Mutex<(Progress, Vec<String>, Option<Instant>)>,
}

impl Listener for Watch<'_> {
    fn event(&self, event: Event<'_>) {
        let mut state = lock(&self.state);
        let (progress, named, told) = &mut *state;
        match event {
            Event::Bytes(bytes) => progress.bytes += bytes,
            Event::File { path, .. } => {
                progress.files += 1;
                progress.now = escape(path).into_owned();
            }
            Event::Problem { path, what, .. } => {
                progress.problems += 1;
                if named.len() < NAMED {
                    named.push(match path {
                        Some(path) if !path.is_empty() => format!("{}: {what}", escape(path)),
                        _ => what.to_owned(),
                    });
                }
            }
            Event::Note(text) => named.push(text.to_owned()),
            _ => return,
        }
        if told.is_none_or(|told| told.elapsed() >= EVERY) {
            *told = Some(Instant::now());
            self.doing.say(Reply::Progress(progress.clone()));
        }
    }
}

/// The folder that is meant, with the home folder in the place of `~`.
fn folder(worker: &Worker<'_>, target: &str) -> PathBuf {
    let target = target.trim();
    match (target.strip_prefix('~'), &worker.options.home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(target),
    }
}

fn choose(worker: &Worker<'_>, named: &Named, paths: &[Path]) -> Result<(Path, Patterns), Error> {
    let choice = match paths {
        [one] if one.is_empty() => Choice { path: Path::new(), exclude: Vec::new() },
        // A single file is put beside one that is there and differs.
        [one] if worker.node(named, one)?.kind != NodeType::Directory => {
            Choice { path: one.clone(), exclude: Vec::new() }
        }
        several_paths => several(several_paths),
    };
    let refused = |error: crate::patterns::PatternError| Error::Refused(error.to_string());
    let mut builder = PatternsBuilder::new(None);
    for pattern in &choice.exclude {
        builder.add(pattern, false).map_err(refused)?;
    }
    Ok((choice.path, builder.build().map_err(refused)?))
}

/// Restores; what came of it, in lines for the person.
pub fn restore(
    worker: &Worker<'_>,
    doing: &Doing<'_>,
    named: &Named,
    paths: &[Path],
    target: &str,
) -> Outcome {
    let target = folder(worker, target);
    let watch = Watch { doing, state: Mutex::default() };
    let done = choose(worker, named, paths).and_then(|(path, exclude)| {
        let options = restore::Options {
            target: target.clone(),
            path,
            exclude,
            own: worker.options.own.clone(),
            tell_files: true,
            memory: worker.options.memory,
            beside: time::show(named.snapshot.time).replace(' ', "T").replace(':', ""),
            ..restore::Options::default()
        };
        reading(worker.repository, worker.clock, &worker.options.host, || {
            restore::restore(worker.repository, named, &options, &watch, doing.stop)
        })
    });
    let (progress, named, _) = watch.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let shown = std::path::absolute(&target).unwrap_or(target);
    told(done, &progress, named, &escape(std::os::unix::ffi::OsStrExt::as_bytes(shown.as_os_str())))
}

fn told(done: Result<Restored, Error>, progress: &Progress, problems: Vec<String>, target: &str) -> Outcome {
    let mut outcome = Outcome::default();
    match done {
        Ok(restored) => {
            let Restored { files, directories, others, bytes, skipped, problems, damaged, .. } = restored;
            let mut line = format!("restored {}, {}", show_count(files, "file"), show_size(bytes));
            for (count, what) in [(directories, "folder"), (others, "other entry")] {
                if count > 0 {
                    line += &format!(", {}", show_count(count, what));
                }
            }
            if skipped > 0 {
                line += &format!("; {skipped} {} there already", agree(skipped, "was", "were"));
            }
            outcome.lines.extend([line, format!("in {target}")]);
            if damaged > 0 {
                outcome.lines.push(format!(
                    "{} could not be restored whole: the repository is damaged. See what is hit: copal check --read-data",
                    show_count(damaged, "entry")
                ));
            }
            if problems > 0 {
                let (they, were) = (agree(problems, "it", "they"), agree(problems, "was", "were"));
                let things = show_count(problems, "thing");
                outcome.lines.push(format!("{things} could not be given back as {they} {were}"));
            }
            outcome.is_whole = [problems, damaged] == [0; 2];
            (outcome.damaged, outcome.problems) = (damaged, problems);
        }
        Err(Error::Stopped) => {
            let files = show_count(progress.files, "file");
            outcome
                .lines
                .push(format!("stopped: {files} {} restored before", agree(progress.files, "was", "were")));
            outcome.lines.push(format!("in {target}"));
            outcome.problems = 1;
        }
        Err(error) => {
            outcome.lines.push(format!("not restored: {error}"));
            if let Error::Conflict { .. } = error {
                outcome.lines.push("Restore to another folder.".to_owned());
            }
            (outcome.damaged, outcome.problems) = if error.is_damage() { (1, 0) } else { (0, 1) };
        }
    }
    if !problems.is_empty() {
        outcome.lines.push(String::new());
        outcome.lines.extend(problems);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.split('/').filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec()).collect()
    }

    fn patterns(choice: &Choice) -> Patterns {
        let mut builder = PatternsBuilder::new(None);
        for pattern in &choice.exclude {
            builder.add(pattern, false).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn what_is_marked_is_restored_and_nothing_else() {
        let marked = ["/h/a/x", "/h/b", "/h/b/inner", "/h/c d/*"].map(path);
        let choice = several(&marked);
        assert_eq!(choice.path, path("/h"), "the deepest folder that holds all");
        let exclude = patterns(&choice);
        for (name, is_folder, is_wanted) in [
            ("/h/a", true, true),
            ("/h/a/x", true, true),
            ("/h/a/x/below/it", false, true),
            ("/h/a/y", true, false),
            ("/h/a/y/x", false, false),
            ("/h/b/inner", false, true),
            ("/h/b/other", false, true),
            ("/h/c d/*", false, true),
            ("/h/c d/star", false, false),
            ("/h/d", true, false),
        ] {
            assert_eq!(!exclude.matches_entry(name.as_bytes(), is_folder), is_wanted, "{name}");
        }
    }

    #[test]
    fn names_of_any_bytes_stand_for_themselves() {
        for name in
            [&b"a*b"[..], b"[x]", b"q?", b"back\\slash", b"new\nline", b"\xff\xfe", b"!not", b" blank ", b"~"]
        {
            let choice = several(&[vec![name.to_vec()]]);
            assert_eq!(choice.path, Path::new());
            let exclude = patterns(&choice);
            let own = [b"/", name].concat();
            assert!(!exclude.matches_entry(&own, false), "{name:?}");
            assert!(
                exclude.matches_entry(b"/other", false) && exclude.matches_entry(b"/aXb", true),
                "{name:?}"
            );
        }
    }
}
