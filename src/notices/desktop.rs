//! A notice on the desktop of the person whose run it was; where there is none, nothing happens.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::report::{Outcome, Report};
use super::text::{short, subject};
use super::{Lookup, Options};
use crate::hooks::process::{Limits, run};

/// How long showing it may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// The variable that says where the session bus is.
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
/// Characters of a notice.
const CHARS_MAX: usize = 400;

/// A notice on the desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desktop {
    pub program: PathBuf,
}

impl Default for Desktop {
    fn default() -> Desktop {
        Desktop { program: "notify-send".into() }
    }
}

impl Desktop {
    /// Shows it. That nobody can see it is no failure.
    pub(super) fn show(&self, report: &Report, options: &Options<'_>) {
        self.show_to(rustix::process::geteuid().as_raw(), report, options.environment);
    }

    fn show_to(&self, user: u32, report: &Report, environment: Lookup<'_>) {
        let Some(bus) = bus(user, environment, &|path| path.exists()) else { return };
        let mut command = Command::new(&self.program);
        command.args(arguments(report)).env(BUS, bus);
        for name in crate::program::HIDDEN_VARIABLES {
            command.env_remove(name);
        }
        let limits = Limits { time: TIME_LIMIT, grace: Duration::from_secs(1), stop: None };
        let _ = run(command, b"", &limits, &mut |_| {});
    }
}

/// The session bus of a user. Root has no desktop.
fn bus(user: u32, environment: Lookup<'_>, exists: &dyn Fn(&Path) -> bool) -> Option<OsString> {
    if user == 0 {
        return None;
    }
    if let Some(bus) = environment(BUS) {
        return Some(bus);
    }
    // Under cron the session's variables are not set.
    let folder = environment("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{user}").into());
    let socket = Path::new(&folder).join("bus");
    exists(&socket).then(|| {
        let mut bus = OsString::from("unix:path=");
        bus.push(socket);
        bus
    })
}

/// What the program is called with.
fn arguments(report: &Report) -> Vec<String> {
    let urgency = match report.outcome {
        Outcome::Success => "low",
        Outcome::Warning => "normal",
        Outcome::Failure => "critical",
    };
    let text: String = short(report).chars().take(CHARS_MAX).collect();
    // The body is marked up, where a name could be taken for markup.
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    vec!["--app-name=copal".into(), format!("--urgency={urgency}"), "--".into(), subject(report), text]
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn users_have_a_bus_where_it_is_and_root_has_none() {
        let with = |name: &str| (name == BUS).then(|| OsString::from("unix:path=/x"));
        let none = |_: &str| None;
        assert_eq!(bus(0, &with, &|_| true), None);
        assert_eq!(bus(1000, &with, &|_| false), Some("unix:path=/x".into()));
        let is_there = |path: &Path| path == Path::new("/run/user/1000/bus");
        assert_eq!(bus(1000, &none, &is_there), Some("unix:path=/run/user/1000/bus".into()));
        assert_eq!(bus(1001, &none, &is_there), None);
    }

    #[test]
    fn the_program_is_called_for_users_and_its_absence_is_borne() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("show");
        let said = folder.path().join("said");
        let text = format!("#!/bin/sh\nprintf '%s\\n' \"${BUS}\" \"$@\" > {}\n", said.display());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let desktop = Desktop { program };
        let environment = |name: &str| (name == BUS).then(|| OsString::from("unix:path=/x"));
        desktop.show_to(0, &sample(1), &environment);
        assert!(!said.exists());
        desktop.show_to(1000, &sample(1), &environment);
        let lines = std::fs::read_to_string(&said).unwrap();
        assert!(
            lines.starts_with("unix:path=/x\n--app-name=copal\n--urgency=critical\n--\ncopal: backup of"),
            "{lines}"
        );
        Desktop { program: "/no/such/program".into() }.show_to(1000, &sample(1), &environment);
    }

    #[test]
    fn names_are_neither_options_nor_markup() {
        let mut report = sample(1);
        report.profile = "--help".into();
        report.warnings = vec!["<b>bold</b> & more".into()];
        let words = arguments(&report);
        assert_eq!(words[..3], ["--app-name=copal", "--urgency=critical", "--"]);
        assert!(words[4].contains("&lt;b&gt;bold&lt;/b&gt; &amp; more"), "{words:?}");
    }
}
