//! Schedules as lines of cron: a file in the system's folder, or two lines in the user's own crontab.

use super::crontab::{blocks, with};
use super::error::Error;
use super::marker::State;
use super::places::{Places, Scope};
use super::steps::{Step, must, run};
use super::systemd::{guarded, read};
use super::{Job, units};

/// How the user's crontab is called.
pub const CRONTAB: &str = "your crontab (crontab -l)";

/// Whether a cron daemon runs; none where that is not seen.
pub fn cron_runs() -> Option<bool> {
    let mut has_seen = false;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(name) = std::fs::read(entry.path().join("comm")) else { continue };
        if matches!(name.trim_ascii(), b"cron" | b"crond" | b"fcron" | b"bcron-sched" | b"systemd-cron") {
            return Some(true);
        }
        // Where other users' processes are hidden nothing is known.
        has_seen |= entry.file_name() == "1";
    }
    has_seen.then_some(false)
}

/// The user's crontab; none when there is none.
///
/// Errors: it can not be read, so it must not be replaced.
pub fn crontab() -> Result<Option<Vec<u8>>, Error> {
    let words = ["crontab", "-l"];
    let said = run(&words, None)?;
    if said.is_good {
        return Ok(Some(said.out));
    }
    let complaint = String::from_utf8_lossy(&said.err).to_ascii_lowercase();
    // As all but busybox say it, and as busybox does.
    let is_none = complaint.contains("no crontab for")
        || complaint.contains("can't open") && complaint.contains("no such file");
    if is_none && said.out.is_empty() {
        return Ok(None);
    }
    Err(Error::Program { command: words.join(" "), said: said.complaint })
}

/// Puts another crontab in the place of the one that was looked at; one that has become empty goes.
pub fn replace(places: &Places, before: Option<&[u8]>, after: &[u8]) -> Result<(), Error> {
    if !places.has("crontab") {
        return Err(Error::NoMeans("there is no crontab program here"));
    }
    if crontab()?.as_deref() != before {
        return Err(Error::Overtaken);
    }
    if after.is_empty() {
        must(&["crontab", "-r"], None)?;
        return Ok(());
    }
    must(&["crontab", "-"], Some(after))?;
    let written = crontab()?;
    if written.as_deref() != Some(after) {
        let said = "it ended well, but the crontab is not what was given to it".to_owned();
        return Err(Error::Program { command: "crontab -".into(), said });
    }
    Ok(())
}

/// The step from a crontab to one with that block, or none.
fn changed(profile: &str, block: Option<&str>, force: bool) -> Result<Vec<Step>, Error> {
    let before = crontab()?;
    let (mut after, is_edited) = with(before.as_deref().unwrap_or_default(), profile, block);
    if after == before.as_deref().unwrap_or_default() {
        return Ok(Vec::new());
    }
    if is_edited && !force {
        let place = format!("the line for profile {profile} in {CRONTAB}");
        return Err(Error::Edited { place, foreign: false });
    }
    // Cron refuses a table whose last line has no end.
    if !after.is_empty() && !after.ends_with(b"\n") {
        after.push(b'\n');
    }
    Ok(vec![Step::Crontab { before, after }])
}

/// What it takes for cron to run that job.
pub fn install(places: &Places, job: &Job, force: bool) -> Result<Vec<Step>, Error> {
    if job.scope == Scope::User {
        return changed(&job.profile, Some(&units::crontab(job)), force);
    }
    let path = places.cron_folder().join(units::cron_name(&job.profile));
    let content = units::cron_file(job);
    if read(&path)?.as_deref() == Some(content.as_bytes()) {
        return Ok(Vec::new());
    }
    guarded(&path, force)?;
    Ok(vec![Step::Write { path, content }])
}

/// What it takes for cron to run that profile no more.
pub fn remove(places: &Places, scope: Scope, profile: &str, force: bool) -> Result<Vec<Step>, Error> {
    if scope == Scope::User {
        return if places.has("crontab") { changed(profile, None, force) } else { Ok(Vec::new()) };
    }
    let path = places.cron_folder().join(units::cron_name(profile));
    Ok(match guarded(&path, force)? {
        State::Missing => Vec::new(),
        _ => vec![Step::Remove { path }],
    })
}

/// Copal's lines in the user's crontab.
pub fn entries(places: &Places) -> Result<Vec<super::crontab::Block>, Error> {
    if !places.has("crontab") {
        return Ok(Vec::new());
    }
    Ok(blocks(&crontab()?.unwrap_or_default()))
}
