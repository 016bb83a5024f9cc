//! A run in words: one line for subjects and titles, a few for a phone, and a whole letter that says what happened and what to do.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::{Outcome, Report};
use crate::terminal::size::{show_count, show_duration, show_size};
use crate::terminal::time;

/// Characters of a profile's or host's name in a subject.
const NAME_CHARS_MAX: usize = 80;
/// Lines of the log in a letter.
const LOG_LINES: usize = 50;
/// Warnings in a short text.
const WARNINGS_SHORT: usize = 5;

/// `copal: backup of nightly on web1 failed`. All texts here are of a report that is cleaned.
pub fn subject(report: &Report) -> String {
    let short = |name: &str| name.chars().take(NAME_CHARS_MAX).collect::<String>();
    let how = match report.outcome {
        Outcome::Success => "is done",
        Outcome::Warning => "is done, with warnings",
        Outcome::Failure => "failed",
    };
    format!("copal: backup of {} on {} {how}", short(&report.profile), short(&report.host))
}

/// What an exit code means, as docs/commands.md has it.
fn meaning(code: u8) -> &'static str {
    match code {
        0 => "done",
        1 => "it failed",
        2 => "the command or profile was not understood",
        3 => "done, but something is missing from the result",
        5 => "the repository is damaged",
        6 => "a guard refused",
        10 => "there is no repository",
        11 => "another run is in the way",
        12 => "the password or key is wrong, or there is none",
        13 => "the format of the repository is not known to this version",
        130 => "it was interrupted",
        143 => "it was told to end",
        _ => "it ended unexpectedly",
    }
}

/// What to do about it; nothing when all is well.
fn advice(report: &Report) -> Option<String> {
    let again = format!("copal run {}", crate::terminal::shell::word(report.profile.as_bytes()));
    let text = match report.code {
        0 if report.outcome == Outcome::Success => return None,
        0 | 3 => "Look at the warnings below. What could not be read is not in the snapshot; everything else is saved.".to_owned(),
        2 => "Look at the profile: copal profile check".to_owned(),
        5 => format!("Ask what is damaged, and what to run: copal doctor\nWhatever is still on this machine heals at the next backup: {again}"),
        6 => "No old snapshot is touched. Read below why the guard refused; when all is as you want it, go on as it says.".to_owned(),
        10 => "See that the place of the repository is there: is the disk plugged in and mounted, does the server answer?".to_owned(),
        11 => "Nothing was done this time. When that goes on, see which run does not end: copal doctor".to_owned(),
        12 => "See that the password or key file of the profile is there, and can be read by the user who runs it.".to_owned(),
        13 => "Use the version of copal that wrote the repository, or a newer one.".to_owned(),
        130 | 143 => format!("Nothing is lost. Run it again, or wait for the next time: {again}"),
        _ => format!("Read below what failed, then run it by hand and watch: {again}\nWhen it still fails: copal doctor"),
    };
    Some(text)
}

/// A few lines: how it ended, what was saved, and the first warnings or the end of the log.
pub fn short(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = match report.outcome {
        Outcome::Success => writeln!(out, "Done in {}.", duration(report.seconds())),
        _ => writeln!(out, "Exit code {}: {}.", report.code, meaning(report.code)),
    };
    if let Some(saved) = saved(report) {
        let _ = writeln!(out, "{saved}.");
    }
    for warning in report.warnings.iter().take(WARNINGS_SHORT) {
        let _ = writeln!(out, "{warning}");
    }
    if report.warnings.len() > WARNINGS_SHORT {
        let _ = writeln!(out, "... and {} more", report.warnings.len() - WARNINGS_SHORT);
    }
    if report.outcome == Outcome::Failure && report.warnings.is_empty() {
        for line in last(&report.log, WARNINGS_SHORT) {
            let _ = writeln!(out, "{line}");
        }
    }
    if let Some(advice) = advice(report).filter(|_| report.outcome == Outcome::Failure) {
        let _ = writeln!(out, "{advice}");
    }
    out.truncate(out.trim_end().len());
    out
}

/// The whole letter.
pub fn letter(report: &Report) -> String {
    let mut out = format!("{}.\n", subject(report));
    let _ = writeln!(out, "Exit code {}: {}.", report.code, meaning(report.code));
    if let Some(advice) = advice(report) {
        heading(&mut out, "What to do");
        indented(&mut out, advice.lines());
    }
    heading(&mut out, "What happened");
    let line = |out: &mut String, name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<17}{value}");
    };
    line(&mut out, "began", &time::show(report.began));
    line(&mut out, "ended", &format!("{} (after {})", time::show(report.ended), duration(report.seconds())));
    line(&mut out, "repository", &report.repository);
    line(&mut out, "snapshot", report.snapshot_id.as_deref().unwrap_or("none was made"));
    if let Some(saved) = saved(report) {
        line(&mut out, "saved", &saved);
    }
    if let Some(errors) = report.errors.filter(|errors| *errors > 0) {
        line(&mut out, "not read", &show_count(errors, "entry"));
    }
    for (name, at) in [
        ("newest snapshot", report.newest_snapshot),
        ("last check", report.last_check),
        ("last success", report.last_success.filter(|_| report.outcome != Outcome::Success)),
    ] {
        if let Some(at) = at {
            line(&mut out, name, &time::show(at));
        }
    }
    if let Some(bytes) = report.repository_bytes {
        line(&mut out, "repository size", &show_size(bytes));
    }
    if !report.steps.is_empty() {
        heading(&mut out, "Steps");
        let width = report.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or_default();
        for step in &report.steps {
            let how = if step.code == 0 { "done".to_owned() } else { format!("exit code {}", step.code) };
            let name = &step.name;
            let _ = writeln!(out, "  {name:<width$}  {how}, {}", duration(step.seconds));
            for message in &step.messages {
                let _ = writeln!(out, "    {message}");
            }
        }
    }
    if !report.warnings.is_empty() {
        heading(&mut out, "Warnings");
        indented(&mut out, report.warnings.iter().map(String::as_str));
    }
    if !report.log.is_empty() {
        heading(&mut out, "The end of the log");
        indented(&mut out, last(&report.log, LOG_LINES).iter().map(String::as_str));
    }
    let _ = writeln!(out, "\n-- \ncopal {}, run {}", report.version, report.run_id);
    out
}

/// The end of the log as lines, in at most that many bytes; a line is whole or not there.
pub fn log_end(report: &Report, bytes_max: usize) -> String {
    let mut begin = report.log.len();
    let mut bytes = 0;
    while begin > 0 && bytes + report.log[begin - 1].len() < bytes_max {
        begin -= 1;
        bytes += report.log[begin].len() + 1;
    }
    report.log[begin..].iter().map(|line| format!("{line}\n")).collect()
}

/// What the backup did, as far as it is known.
fn saved(report: &Report) -> Option<String> {
    let files = report.files?;
    let mut out = show_count(files, "file");
    if let Some(bytes) = report.bytes {
        let _ = write!(out, ", {}", show_size(bytes));
    }
    if let (Some(new), Some(changed)) = (report.files_new, report.files_changed) {
        let _ = write!(out, "; {new} new, {changed} changed");
    }
    if let Some(stored) = report.bytes_stored {
        let _ = write!(out, "; {} added to the repository", show_size(stored));
    }
    Some(out)
}

fn heading(out: &mut String, title: &str) {
    let _ = writeln!(out, "\n{title}");
}

fn indented<'a>(out: &mut String, lines: impl Iterator<Item = &'a str>) {
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

fn last(lines: &[String], most: usize) -> &[String] {
    &lines[lines.len().saturating_sub(most)..]
}

/// A duration in whole seconds, or in milliseconds when it is short.
fn duration(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let whole = if duration.as_secs() > 0 { Duration::from_secs(duration.as_secs()) } else { duration };
    show_duration(whole)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn subjects_say_what_how_and_where() {
        for (code, expected) in [
            (0, "copal: backup of nightly on web1 is done"),
            (3, "copal: backup of nightly on web1 is done, with warnings"),
            (6, "copal: backup of nightly on web1 failed"),
        ] {
            assert_eq!(subject(&sample(code)), expected);
        }
    }

    #[test]
    fn a_letter_says_what_happened_and_what_to_do() {
        let mut report = sample(5);
        report.snapshot_id = None;
        report.steps[0].messages = vec!["pack 12ab is damaged".into()];
        report.warnings = vec!["a warning".into()];
        report.log = (0..60).map(|number| format!("log {number}")).collect();
        let letter = letter(&report);
        for part in [
            "copal: backup of nightly on web1 failed.\nExit code 5: the repository is damaged.\n\nWhat to do\n",
            "  Ask what is damaged, and what to run: copal doctor\n",
            "(after 14m10s)\n",
            "  snapshot         none was made\n",
            "  saved            12345 files, 5.00 GiB; 17 new, 4 changed; 1.00 MiB added to the repository\n",
            "  repository size  40.0 GiB\n",
            "\nSteps\n  backup  exit code 5, 13m10s\n    pack 12ab is damaged\n  forget  done, 1s\n",
            "\nWarnings\n  a warning\n",
            "\nThe end of the log\n  log 10\n",
            "  log 59\n\n-- \ncopal 1.2.3, run 11111111-",
        ] {
            assert!(letter.contains(part), "{part:?} is missing from\n{letter}");
        }
        assert!(!letter.contains("log 9\n"));
    }

    #[test]
    fn every_exit_code_has_a_meaning_and_what_is_not_well_has_advice() {
        for code in [1, 2, 3, 5, 6, 10, 11, 12, 13, 130, 143] {
            let text = letter(&sample(code));
            assert!(text.contains("\nWhat to do\n  ") && !text.contains("unexpectedly"), "{code}");
        }
        assert!(!letter(&sample(0)).contains("What to do"));
        let mut named = sample(1);
        named.profile = "a b".into();
        assert!(letter(&named).contains("copal run 'a b'"));
    }

    #[test]
    fn short_texts_have_the_reason() {
        assert_eq!(
            short(&sample(0)),
            "Done in 14m10s.\n12345 files, 5.00 GiB; 17 new, 4 changed; 1.00 MiB added to the repository."
        );
        let mut report = sample(1);
        report.files = None;
        report.log = vec!["copal: the disk is full".into()];
        let text = short(&report);
        assert!(text.starts_with("Exit code 1: it failed.\ncopal: the disk is full\nRead below"), "{text}");
        report.warnings = (0..9).map(|number| format!("w{number}")).collect();
        assert!(short(&report).contains("w4\n... and 4 more\n"));
    }

    #[test]
    fn the_end_of_a_log_is_whole_lines_within_its_bound() {
        let mut report = sample(1);
        report.log = ["first", "second", "third"].map(str::to_owned).to_vec();
        assert_eq!(log_end(&report, 100), "first\nsecond\nthird\n");
        assert_eq!(log_end(&report, 13), "second\nthird\n");
        assert_eq!(log_end(&report, 12), "third\n");
        assert_eq!(log_end(&report, 5), "");
    }
}
