//! A run as metrics in Prometheus' text format, for the textfile collector of its node exporter.

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::report::{Outcome, Report};
use super::run_id;
use crate::model::Time;
use crate::terminal::escape::path as shown;

/// The exporter runs as another user.
const MODE: u32 = 0o644;

/// Name, help and value of each metric; what is unknown is left out. The help is the same in every file, as the exporter demands.
const METRICS: [(&str, &str, fn(&Report) -> Option<String>); 16] = [
    ("copal_last_run_timestamp_seconds", "When the last run ended.", |r| Some(seconds(r.ended))),
    ("copal_last_run_duration_seconds", "How long the last run took.", |r| {
        Some(format!("{:.3}", r.seconds()))
    }),
    ("copal_last_run_exit_code", "Exit code of the last run; 0 is success, 3 done but incomplete.", |r| {
        Some(r.code.to_string())
    }),
    ("copal_last_success_timestamp_seconds", "When a run last ended with success.", |r| {
        let now = Some(r.ended).filter(|_| r.outcome == Outcome::Success);
        now.or(r.last_success).map(seconds)
    }),
    ("copal_backup_files", "Files in the snapshot of the last run.", |r| number(r.files)),
    ("copal_backup_files_new", "Files that were new in the last run.", |r| number(r.files_new)),
    ("copal_backup_files_changed", "Files that had changed in the last run.", |r| number(r.files_changed)),
    ("copal_backup_bytes", "Size of the files in the snapshot of the last run.", |r| number(r.bytes)),
    ("copal_backup_bytes_new", "Bytes of them that the repository did not have.", |r| number(r.bytes_new)),
    ("copal_backup_bytes_stored", "Bytes that the last run added to the repository.", |r| {
        number(r.bytes_stored)
    }),
    ("copal_backup_errors", "Files and folders that the last run could not read.", |r| number(r.errors)),
    ("copal_backup_warnings", "Warnings of the last run.", |r| Some(r.warnings.len().to_string())),
    ("copal_newest_snapshot_timestamp_seconds", "Time of the newest snapshot.", |r| {
        r.newest_snapshot.map(seconds)
    }),
    ("copal_last_check_timestamp_seconds", "When the repository was last checked.", |r| {
        r.last_check.map(seconds)
    }),
    ("copal_repository_bytes", "Size of the repository.", |r| number(r.repository_bytes)),
    ("copal_info", "The version that ran last, as a label.", |_| Some("1".to_owned())),
];

/// The metrics of a run.
pub fn text(report: &Report) -> String {
    let report = report.cleaned(&[]);
    let profile = label(&report.profile);
    let mut out = String::new();
    for (name, help, value) in METRICS {
        let Some(value) = value(&report) else { continue };
        let version = match name {
            "copal_info" => format!(",version=\"{}\"", label(&report.version)),
            _ => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{profile=\"{profile}\"{version}}} {value}"
        );
    }
    out
}

/// The file for a profile: the path itself, or `copal-PROFILE.prom` in it when it is a folder.
pub fn place(wanted: &Path, profile: &str) -> PathBuf {
    if !wanted.is_dir() {
        return wanted.to_owned();
    }
    let mut name = String::from("copal-");
    for byte in profile.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    wanted.join(name + ".prom")
}

/// Writes the metrics of a run to `wanted`, or to a file in that folder; the file is whole at any time, and readable for all. An error is one
/// line that says which file.
pub fn write(report: &Report, wanted: &Path) -> Result<PathBuf, String> {
    let path = place(wanted, &report.profile);
    match replace(&path, text(report).as_bytes()) {
        Ok(()) => Ok(path),
        Err(error) => {
            let shown = shown(&path).into_owned();
            Err(format!(
                "cannot write the metrics to {shown}: {error}; is the folder there, and may this user write to it?"
            ))
        }
    }
}

/// Puts a file in place of another in one step. Its name until then is none that the exporter looks at.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let beside = path.with_file_name(format!(".copal-{}.tmp", run_id()));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file
        .write_all(bytes)
        // Whatever the umask.
        .and_then(|()| file.set_permissions(Permissions::from_mode(MODE)))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn number(value: Option<u64>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// Seconds since 1970, with milliseconds.
fn seconds(at: Time) -> String {
    let millis = i128::from(at.seconds) * 1000 + i128::from(at.nanos / 1_000_000);
    let (sign, millis) = if millis < 0 { ("-", -millis) } else { ("", millis) };
    format!("{sign}{}.{:03}", millis / 1000, millis % 1000)
}

/// A label's value: backslash, quote and newline are escaped, as the format has it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::report::tests::sample;
    use super::*;

    /// Reads the format back, and takes nothing that it does not allow: one HELP and TYPE before each metric, names, labels, numbers.
    fn read(text: &str) -> BTreeMap<String, (BTreeMap<String, String>, f64)> {
        assert!(text.ends_with('\n'));
        let mut found = BTreeMap::new();
        let mut lines = text.lines();
        while let Some(help) = lines.next() {
            let (name, words) = help.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
            assert!(!words.is_empty() && !words.contains('\\'));
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(lines.next().unwrap(), format!("# TYPE {name} gauge"));
            let mut rest = lines.next().unwrap().strip_prefix(name).unwrap().strip_prefix('{').unwrap();
            let mut labels = BTreeMap::new();
            loop {
                let (label, after) = rest.split_once("=\"").unwrap();
                let mut value = String::new();
                let mut characters = after.char_indices();
                let end = loop {
                    match characters.next().unwrap() {
                        (at, '"') => break at,
                        (_, '\\') => value.push(match characters.next().unwrap().1 {
                            'n' => '\n',
                            other @ ('\\' | '"') => other,
                            other => panic!("\\{other} is no escape"),
                        }),
                        (_, other) => value.push(other),
                    }
                };
                assert!(labels.insert(label.to_owned(), value).is_none());
                rest = &after[end + 1..];
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break,
                }
            }
            let value = rest.strip_prefix("} ").unwrap().parse().unwrap();
            assert!(found.insert(name.to_owned(), (labels, value)).is_none(), "{name} twice");
        }
        found
    }

    #[test]
    fn all_that_is_known_is_there_with_its_value() {
        let report = sample(0);
        let found = read(&text(&report));
        assert_eq!(found.len(), METRICS.len());
        for (name, expected) in [
            ("copal_last_run_timestamp_seconds", 1_793_672_050.25),
            ("copal_last_run_duration_seconds", 850.0),
            ("copal_last_run_exit_code", 0.0),
            ("copal_last_success_timestamp_seconds", 1_793_672_050.25),
            ("copal_backup_files", 12_345.0),
            ("copal_backup_bytes", (5u64 << 30) as f64),
            ("copal_backup_errors", 0.0),
            ("copal_newest_snapshot_timestamp_seconds", 1_793_672_000.25),
            ("copal_last_check_timestamp_seconds", 1_793_584_800.25),
            ("copal_repository_bytes", (40u64 << 30) as f64),
        ] {
            assert_eq!(found[name].1, expected, "{name}");
            assert_eq!(found[name].0, BTreeMap::from([("profile".to_owned(), "nightly".to_owned())]));
        }
        assert_eq!(found["copal_info"].0["version"], "1.2.3");
    }

    #[test]
    fn what_is_unknown_is_left_out_and_the_last_success_is_kept() {
        let mut report = Report::begin("id", "p", "h", "/r", Time::new(1000, 0));
        report.code = 1;
        report.outcome = Outcome::Failure;
        let names: Vec<String> = read(&text(&report)).into_keys().collect();
        assert_eq!(
            names,
            [
                "copal_backup_warnings",
                "copal_info",
                "copal_last_run_duration_seconds",
                "copal_last_run_exit_code",
                "copal_last_run_timestamp_seconds"
            ]
        );
        report.last_success = Some(Time::new(500, 0));
        assert_eq!(read(&text(&report))["copal_last_success_timestamp_seconds"].1, 500.0);
        assert_eq!(
            (seconds(Time::new(-2, 250_000_000)), seconds(Time::new(-1, 999_000_000))),
            ("-1.750".into(), "-0.001".into())
        );
    }

    #[test]
    fn any_name_of_a_profile_is_a_label_and_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for (profile, label, file) in [
            ("a\\b\"c", "a\\b\"c", "copal-a%5cb%22c.prom"),
            ("../x y", "../x y", "copal-..%2fx%20y.prom"),
            ("Größe", "Größe", "copal-Gr%c3%b6%c3%9fe.prom"),
        ] {
            let mut report = sample(0);
            report.profile = profile.into();
            let path = write(&report, folder.path()).unwrap();
            assert_eq!(path, folder.path().join(file));
            let found = read(&std::fs::read_to_string(&path).unwrap());
            assert_eq!(found["copal_backup_files"].0["profile"], label);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, MODE);
        }
        // Nothing but these files, and each is replaced.
        write(&sample(0), &folder.path().join("one.prom")).unwrap();
        write(&sample(1), &folder.path().join("one.prom")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
        let text = std::fs::read_to_string(folder.path().join("one.prom")).unwrap();
        assert_eq!(read(&text)["copal_last_run_exit_code"].1, 1.0);
    }

    #[test]
    fn a_place_that_can_not_be_written_is_named_and_nothing_is_left_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&sample(0), &folder.path().join("no/such.prom")).unwrap_err();
        assert!(error.contains("no/such.prom: No such file"), "{error}");
        // A folder can not give way to a file.
        assert!(replace(folder.path(), b"").is_err());
        std::fs::create_dir_all(folder.path().join("x/y")).unwrap();
        assert!(replace(&folder.path().join("x"), b"").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
