//! What is remembered of a profile's runs: a small JSON file, replaced whole, and a lock that a crash releases.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{Busy, Lock};

/// Runs that are remembered.
pub const RUNS_KEPT: usize = 60;
/// The form of the file; a later one is not read.
const VERSION: u32 = 1;

/// Why the state can not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another run of the same profile is at work.
    #[error("a run of this profile is at work already")]
    Busy,
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    /// It was damaged, and is put aside under this name.
    #[error("what was remembered of earlier runs can not be read ({why}); it is kept as {aside}")]
    Damaged { aside: PathBuf, why: String },
    /// A later copal wrote it.
    #[error("{0} was written by a newer copal")]
    Newer(PathBuf),
}

/// How one run went, of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// Seconds since 1970.
    pub began: i64,
    pub ended: i64,
    pub code: u8,
    pub outcome: String,
    /// What was said about each step.
    pub steps: Vec<(String, u8, String)>,
    pub warnings: Vec<String>,
    /// What guards compare with; what they know of it is theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<serde_json::Value>,
    /// Its numbers, when they raised an alarm that nobody accepted yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarming: Option<serde_json::Value>,
    pub snapshot: Option<String>,
}

/// Forgetting waits until somebody has looked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    pub since: i64,
    /// The newest snapshot from before, which is protected.
    pub before: Option<String>,
    pub why: Vec<String>,
    /// Kinds of alarm that nobody accepted yet.
    pub codes: Vec<String>,
}

/// What is remembered of one repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    pub pruned: Option<i64>,
    pub checked: Option<i64>,
    pub drilled: Option<i64>,
    pub succeeded: Option<i64>,
    pub repository_bytes: Option<u64>,
    /// The sources as guards saw them last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub places: Option<serde_json::Value>,
    pub held: Option<Held>,
    /// Since when a backup may have been made that no guard has looked at: a run that was cut off leaves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unjudged: Option<i64>,
    /// The oldest first.
    pub runs: Vec<Past>,
}

/// Everything that is remembered of a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub version: u32,
    /// How the last run ended as a whole.
    pub last: Option<Past>,
    pub targets: BTreeMap<String, Target>,
}

impl Target {
    /// Remembers a run, and forgets the oldest.
    pub fn add(&mut self, past: Past) {
        self.runs.push(past);
        let surplus = self.runs.len().saturating_sub(RUNS_KEPT);
        self.runs.drain(..surplus);
    }

    /// Nothing is taken away any more until these kinds of alarm are accepted. What holds already goes on.
    pub fn hold(&mut self, since: i64, codes: &[&str], why: impl IntoIterator<Item = String>) {
        let held = self.held.get_or_insert_with(|| Held { since, ..Held::default() });
        for code in codes {
            if !held.codes.iter().any(|known| known == code) {
                held.codes.push((*code).to_owned());
            }
        }
        for why in why {
            if !held.why.contains(&why) {
                held.why.push(why);
            }
        }
    }

    /// Accepts alarms of these kinds. What held, when nothing of it is left; what was alarming counts as usual then.
    pub fn accept(&mut self, codes: &[String]) -> Option<Held> {
        let held = self.held.as_mut()?;
        held.codes.retain(|code| !codes.contains(code));
        if codes.is_empty() || !held.codes.is_empty() {
            return None;
        }
        for past in &mut self.runs {
            if let Some(numbers) = past.alarming.take() {
                past.numbers = Some(numbers);
            }
        }
        self.held.take()
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    |error| Error::Io { path: path.to_owned(), error }
}

/// A profile's own files in the state folder.
fn file(folder: &Path, profile: &str, kind: &str) -> PathBuf {
    folder.join(format!("{profile}.{kind}"))
}

impl State {
    /// What is remembered of a repository of the profile, by its name.
    pub fn target(&mut self, name: &str) -> &mut Target {
        self.targets.entry(name.to_owned()).or_default()
    }

    /// Reads what is remembered; nothing when there is nothing. A damaged file is put aside, which is told.
    pub fn load(folder: &Path, profile: &str) -> Result<(State, Option<Error>), Error> {
        let path = file(folder, profile, "json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((State::default(), None)),
            Err(error) => return Err(io(&path)(error)),
        };
        match serde_json::from_slice::<State>(&text) {
            Ok(state) if state.version > VERSION => Err(Error::Newer(path)),
            Ok(state) => Ok((state, None)),
            Err(error) => {
                let aside = file(folder, profile, "json.damaged");
                std::fs::rename(&path, &aside).map_err(io(&path))?;
                Ok((State::default(), Some(Error::Damaged { aside, why: error.to_string() })))
            }
        }
    }

    /// Replaces what is remembered; a crash leaves the old or the new.
    pub fn save(&mut self, folder: &Path, profile: &str) -> Result<(), Error> {
        self.version = VERSION;
        let path = file(folder, profile, "json");
        let beside = file(folder, profile, "json.tmp");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io(folder))?;
        let text = serde_json::to_vec_pretty(self).map_err(|error| io(&path)(error.into()))?;
        let mut made = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(io(&beside))?;
        made.write_all(&text).and_then(|()| made.sync_all()).map_err(io(&beside))?;
        std::fs::rename(&beside, &path).map_err(io(&path))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))
    }
}

/// Keeps other runs of the profile out for as long as it is there.
pub fn lock(folder: &Path, profile: &str) -> Result<Lock, Error> {
    Lock::take(folder, &format!("{profile}.lock")).map_err(|busy| match busy {
        Busy::Held(_) => Error::Busy,
        Busy::Io(error) => io(&file(folder, profile, "lock"))(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_only_so_many_runs_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::default();
        let target = state.targets.entry("main".to_owned()).or_default();
        for began in 0..RUNS_KEPT as i64 + 3 {
            target.add(Past { began, ..Past::default() });
        }
        assert_eq!((target.runs.len(), target.runs[0].began), (RUNS_KEPT, 3));
        target.hold(7, &["mass-change"], ["x".to_owned()]);
        state.save(folder.path(), "home").unwrap();
        assert_eq!(State::load(folder.path(), "home").unwrap().0, state);
        assert_eq!(State::load(folder.path(), "other").unwrap().0, State::default());
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_told_and_a_newer_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home.json");
        std::fs::write(&path, "{\"targets\": 7").unwrap();
        let (state, problem) = State::load(folder.path(), "home").unwrap();
        assert_eq!(state, State::default());
        assert!(matches!(problem, Some(Error::Damaged { .. })));
        assert!(!path.exists() && folder.path().join("home.json.damaged").exists());
        std::fs::write(&path, "{\"version\": 99, \"other\": 1}").unwrap();
        assert!(matches!(State::load(folder.path(), "home"), Err(Error::Newer(_))));
        assert!(path.exists());
    }

    #[test]
    fn an_alarm_is_accepted_by_its_own_name_alone_and_all_of_them_must_be() {
        let mut target = Target::default();
        target.add(Past { alarming: Some(7.into()), ..Past::default() });
        target.hold(5, &["mass-change", "mass-removal"], ["one".to_owned()]);
        target.hold(9, &["mass-change"], ["one".to_owned(), "other".to_owned()]);
        let accept = |target: &mut Target, code: &str| target.accept(&[code.to_owned()]);
        assert_eq!(accept(&mut target, "low-space"), None);
        assert_eq!(accept(&mut target, "mass-change"), None);
        let held = target.held.clone().unwrap();
        assert_eq!((held.since, &held.codes[..]), (5, &["mass-removal".to_owned()][..]));
        assert_eq!(held.why, ["one", "other"]);
        assert_eq!((target.accept(&[]), target.runs[0].numbers.is_none()), (None, true));
        assert!(accept(&mut target, "mass-removal").is_some() && target.held.is_none());
        assert_eq!((target.runs[0].numbers.clone(), target.runs[0].alarming.clone()), (Some(7.into()), None));
    }

    #[test]
    fn one_run_keeps_another_out_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path(), "home").unwrap();
        assert!(matches!(lock(folder.path(), "home"), Err(Error::Busy)));
        let other = lock(folder.path(), "other").unwrap();
        drop(first);
        lock(folder.path(), "home").unwrap();
        drop(other);
    }
}
