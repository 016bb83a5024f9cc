//! What a run was: plain data, and the JSON that hooks and webhooks get of it.

use serde::{Deserialize, Serialize};

use super::hide::hide_known;
use crate::hooks::Ran;
use crate::model::Time;
use crate::terminal::{escape, time};

/// The last lines of the log that a report keeps.
pub const LOG_LINES_MAX: usize = 200;
/// Warnings that a report keeps, and lines of each step; the last one then says how many there are more.
pub const WARNINGS_MAX: usize = 100;
/// Bytes of a line that a report keeps.
pub const LINE_BYTES_MAX: usize = 2000;

/// How a run went, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Success,
    /// It did what it was there for, but somebody should look at something.
    Warning,
    Failure,
}

impl Outcome {
    /// What an exit code means: 3 is done but incomplete.
    pub fn of(code: u8) -> Outcome {
        match code {
            0 => Outcome::Success,
            3 => Outcome::Warning,
            _ => Outcome::Failure,
        }
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Warning => "warning",
            Outcome::Failure => "failure",
        }
    }
}

/// One part of a run: `backup`, `forget`, `prune`, `check`, `drill`, `guards`, `hook before 1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    #[serde(rename = "exit_code")]
    pub code: u8,
    pub seconds: f64,
    /// What it had to say.
    pub messages: Vec<String>,
}

impl From<&Ran> for Step {
    fn from(ran: &Ran) -> Step {
        Step {
            name: format!("hook {} {}", ran.moment.name(), ran.number),
            code: u8::from(ran.problem.is_some()),
            seconds: ran.seconds,
            messages: ran.problem.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A whole run. What is not known is `None`, and left out of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Names the run; a UUID (`notices::run_id`).
    pub run_id: String,
    pub profile: String,
    pub host: String,
    /// The program's version.
    pub version: String,
    /// Where the repository is.
    pub repository: String,
    #[serde(with = "iso")]
    pub began: Time,
    #[serde(with = "iso")]
    pub ended: Time,
    #[serde(rename = "exit_code")]
    pub code: u8,
    pub outcome: Outcome,
    #[serde(default)]
    pub steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_new: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_changed: Option<u64>,
    /// Size of what was backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of these, what the repository did not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_new: Option<u64>,
    /// What that takes in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_stored: Option<u64>,
    /// What could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<u64>,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The end of the log.
    #[serde(default)]
    pub log: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "iso_option")]
    pub newest_snapshot: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "iso_option")]
    pub last_check: Option<Time>,
    /// When a run of this profile last ended with success, before this one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "iso_option")]
    pub last_success: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_bytes: Option<u64>,
}

/// The JSON of a run that has ended.
#[derive(Serialize)]
struct Ended<'a> {
    #[serde(flatten)]
    report: &'a Report,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_snapshot_age_seconds: Option<i64>,
}

/// The JSON of a run that begins.
#[derive(Serialize)]
struct Beginning<'a> {
    run_id: &'a str,
    profile: &'a str,
    host: &'a str,
    version: &'a str,
    repository: String,
    #[serde(with = "iso")]
    began: Time,
}

impl Report {
    /// A run that begins: nothing is known yet of how it goes.
    pub fn begin(run_id: &str, profile: &str, host: &str, repository: &str, began: Time) -> Report {
        Report {
            run_id: run_id.into(),
            profile: profile.into(),
            host: host.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            repository: repository.into(),
            began,
            ended: began,
            code: 0,
            outcome: Outcome::Success,
            steps: Vec::new(),
            snapshot_id: None,
            files: None,
            files_new: None,
            files_changed: None,
            bytes: None,
            bytes_new: None,
            bytes_stored: None,
            errors: None,
            warnings: Vec::new(),
            log: Vec::new(),
            newest_snapshot: None,
            last_check: None,
            last_success: None,
            repository_bytes: None,
        }
    }

    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.ended.seconds_since(self.began).max(0.0)
    }

    /// The report as others may get it: without secrets (what looks like one, and the values of `known`), without characters that act on
    /// a terminal, and bounded. Doing it twice changes nothing.
    pub fn cleaned(&self, known: &[String]) -> Report {
        let clean = |text: &str| bounded(&escape::line(hide_known(text, known).as_bytes()));
        let lines = |list: &[String]| {
            if list.len() <= WARNINGS_MAX {
                return list.iter().map(|line| clean(line)).collect();
            }
            let mut kept: Vec<String> = list.iter().take(WARNINGS_MAX - 1).map(|line| clean(line)).collect();
            kept.push(format!("... and {} more", list.len() - kept.len()));
            kept
        };
        let steps = self.steps.iter().map(|step| Step {
            name: clean(&step.name),
            messages: lines(&step.messages),
            ..step.clone()
        });
        let first = self.log.len().saturating_sub(LOG_LINES_MAX);
        Report {
            profile: clean(&self.profile),
            host: clean(&self.host),
            repository: clean(&self.repository),
            steps: steps.collect(),
            warnings: lines(&self.warnings),
            log: self.log[first..].iter().map(|line| clean(line)).collect(),
            snapshot_id: self.snapshot_id.as_deref().map(clean),
            ..self.clone()
        }
    }

    /// The JSON that webhooks get, and hooks after the run: one object, cleaned.
    pub fn json(&self, known: &[String]) -> Vec<u8> {
        let report = &self.cleaned(known);
        let age = |at: Time| self.ended.seconds_since(at) as i64;
        let ended = Ended {
            report,
            seconds: self.seconds(),
            newest_snapshot_age_seconds: self.newest_snapshot.map(age),
        };
        // There is no value in it that JSON could not say.
        serde_json::to_vec(&ended).unwrap_or_default()
    }

    /// The JSON that hooks before the run get: what is known by then.
    pub fn beginning_json(&self, known: &[String]) -> Vec<u8> {
        let clean = self.cleaned(known);
        let beginning = Beginning {
            run_id: &clean.run_id,
            profile: &clean.profile,
            host: &clean.host,
            version: &clean.version,
            repository: clean.repository.clone(),
            began: clean.began,
        };
        serde_json::to_vec(&beginning).unwrap_or_default()
    }
}

/// A line of at most `LINE_BYTES_MAX` bytes.
fn bounded(line: &str) -> String {
    if line.len() <= LINE_BYTES_MAX {
        return line.to_owned();
    }
    let mark = '\u{2026}';
    let mut end = LINE_BYTES_MAX - mark.len_utf8();
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}", &line[..end])
}

/// Times as `2026-11-03T14:00:05+01:00`.
mod iso {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Time, time};

    pub fn serialize<S: Serializer>(at: &Time, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&time::iso(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        let text = String::deserialize(from)?;
        // What is written has an offset, so the present does not matter.
        time::parse(&text, Time::default()).map(|moment| moment.start).map_err(D::Error::custom)
    }
}

/// The same for times that may be unknown.
mod iso_option {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Time, time};

    pub fn serialize<S: Serializer>(at: &Option<Time>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::iso::serialize(at, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Time>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let read = |text: String| time::parse(&text, Time::default()).map(|moment| moment.start);
        text.map(read).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run that ended with that code, with everything known.
    pub fn sample(code: u8) -> Report {
        let began = Time::new(1_793_671_200, 250_000_000);
        let mut report =
            Report::begin("11111111-2222-4333-8444-555555555555", "nightly", "web1", "/srv/backup", began);
        report.version = "1.2.3".into();
        report.ended = began.plus_seconds(850);
        report.code = code;
        report.outcome = Outcome::of(code);
        report.steps = vec![
            Step { name: "backup".into(), code, seconds: 790.5, messages: Vec::new() },
            Step { name: "forget".into(), code: 0, seconds: 1.0, messages: Vec::new() },
        ];
        report.snapshot_id = Some("0a1b2c3d".into());
        report.files = Some(12_345);
        report.files_new = Some(17);
        report.files_changed = Some(4);
        report.bytes = Some(5 << 30);
        report.bytes_new = Some(3 << 20);
        report.bytes_stored = Some(1 << 20);
        report.errors = Some(0);
        report.newest_snapshot = Some(began.plus_seconds(800));
        report.last_check = Some(began.plus_seconds(-86_400));
        report.last_success = Some(began.plus_seconds(-86_400));
        report.repository_bytes = Some(40 << 30);
        report
    }

    #[test]
    fn reports_come_back_from_their_json_and_unknown_values_are_left_out() {
        let full = sample(0);
        assert_eq!(serde_json::from_slice::<Report>(&full.json(&[])).unwrap(), full);
        let json: serde_json::Value = serde_json::from_slice(&full.json(&[])).unwrap();
        assert_eq!(json["seconds"], 850.0);
        assert_eq!(json["newest_snapshot_age_seconds"], 50);
        assert_eq!((&json["exit_code"], &json["outcome"]), (&0.into(), &"success".into()));
        let bare = Report::begin("id", "p", "h", "/r", full.began);
        assert_eq!(serde_json::from_slice::<Report>(&bare.json(&[])).unwrap(), bare);
        let text = String::from_utf8(bare.json(&[])).unwrap();
        for name in
            ["snapshot_id", "files", "bytes", "errors", "newest", "last_check", "repository_bytes", "null"]
        {
            assert!(!text.contains(&format!("\"{name}")) && !text.contains("null"), "{name}: {text}");
        }
        let begun: serde_json::Value = serde_json::from_slice(&bare.beginning_json(&[])).unwrap();
        let mut names: Vec<&str> = begun.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["began", "host", "profile", "repository", "run_id", "version"]);
    }

    #[test]
    fn no_secret_is_in_any_part_of_a_report() {
        let mut report = sample(1);
        let bad = "https://ann:hunter2@host/x COPAL_PASSWORD=hunter2 tok-4711-xyz\u{1b}[2J\nline";
        report.profile = bad.into();
        report.host = bad.into();
        report.repository = bad.into();
        report.snapshot_id = Some(bad.into());
        report.warnings = vec![bad.into()];
        report.log = vec![bad.into()];
        report.steps[0].messages = vec![bad.into()];
        report.steps[1].name = bad.into();
        let known = ["tok-4711-xyz".to_owned()];
        for json in [report.json(&known), report.beginning_json(&known)] {
            let text = String::from_utf8(json).unwrap();
            for secret in ["hunter2", "tok-4711", "ann:", "\\u001b"] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
        let once = report.cleaned(&known);
        assert_eq!(once.cleaned(&known), once);
        assert!(once.log[0].ends_with("***\\x1b[2J\\nline"), "{}", once.log[0]);
    }

    #[test]
    fn reports_are_bounded() {
        let mut report = sample(0);
        report.log = (0..1000).map(|number| format!("{number}")).collect();
        report.warnings = (0..250).map(|_| "é".repeat(5000)).collect();
        let clean = report.cleaned(&[]);
        assert_eq!((clean.log.len(), clean.log[199].as_str()), (LOG_LINES_MAX, "999"));
        assert_eq!(clean.warnings.len(), WARNINGS_MAX);
        assert_eq!(clean.warnings[WARNINGS_MAX - 1], "... and 151 more");
        assert_eq!(clean.cleaned(&[]), clean);
        assert!(clean.warnings[0].len() <= LINE_BYTES_MAX && clean.warnings[0].ends_with("é\u{2026}"));
    }
}
