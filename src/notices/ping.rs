//! Pings of a URL that is watched: whoever watches it also notices when nothing comes at all. As healthchecks.io and its kin have it.

use super::http::Request;
use super::report::{Outcome, Report};
use super::text::{log_end, short};
use super::value::Value;

/// How much of the log goes with a failure.
const BODY_BYTES_MAX: usize = 10_000;
/// The last part of a path that is that long is a secret, wherever it is met.
const SECRET_BYTES_MIN: usize = 16;

/// A URL that is pinged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    pub url: Value,
    /// Only the URL as it stands, with GET, and only when the run did not fail: for servers that know no `/start` and `/fail`.
    pub plain: bool,
    /// Whether a run with warnings is told as failed.
    pub fail_on_warning: bool,
}

impl Ping {
    /// Of the healthchecks kind, with warnings told as success.
    pub fn new(url: Value) -> Ping {
        Ping { url, plain: false, fail_on_warning: false }
    }

    /// The request for a run that begins; none where that is not known.
    pub(super) fn start(&self, run_id: &str, warnings: &mut Vec<String>) -> Result<Option<Request>, String> {
        if self.plain {
            return Ok(None);
        }
        let url = self.url.read(warnings)?;
        Ok(Some(Request { url: address(&url, "/start", run_id), headers: Vec::new(), body: None }))
    }

    /// The request for a run that ended.
    pub(super) fn end(&self, report: &Report, warnings: &mut Vec<String>) -> Result<Option<Request>, String> {
        let failed =
            report.outcome == Outcome::Failure || self.fail_on_warning && report.outcome == Outcome::Warning;
        if self.plain && failed {
            return Ok(None);
        }
        let url = self.url.read(warnings)?;
        if self.plain {
            return Ok(Some(Request { url, headers: Vec::new(), body: None }));
        }
        let body = if failed { failure(report) } else { short(report) + "\n" };
        Ok(Some(Request {
            url: address(&url, if failed { "/fail" } else { "" }, &report.run_id),
            headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
            body: Some(body.into_bytes()),
        }))
    }

    /// What must not be told to others.
    pub(super) fn secrets(&self) -> Vec<String> {
        secrets(&self.url)
    }
}

/// What must not be told of a URL whose path is a password.
pub(super) fn secrets(url: &Value) -> Vec<String> {
    let Ok(url) = url.read(&mut Vec::new()) else { return Vec::new() };
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let last = path.rsplit('/').next().filter(|part| part.len() >= SECRET_BYTES_MIN).map(str::to_owned);
    last.into_iter().chain([url.clone()]).collect()
}

/// What happened, and the end of the log.
fn failure(report: &Report) -> String {
    let head = short(&Report { log: Vec::new(), ..report.clone() });
    let mut end = head.len().min(BODY_BYTES_MAX / 2);
    while !head.is_char_boundary(end) {
        end -= 1;
    }
    let head = &head[..end];
    let log = log_end(report, BODY_BYTES_MAX - head.len() - 2);
    format!("{head}\n\n{log}")
}

/// The URL with a suffix of its path, and the run's name, so that begin and end are known to belong together.
fn address(url: &str, suffix: &str, run_id: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let path = path.trim_end_matches('/');
    let id: String = run_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let rid = if id.is_empty() { String::new() } else { format!("rid={id}") };
    let query: Vec<&str> = [query, &rid].into_iter().filter(|part| !part.is_empty()).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("{path}{suffix}{query}")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    #[test]
    fn suffixes_belong_to_the_path_and_the_name_of_the_run_to_the_query() {
        for (url, suffix, expected) in [
            ("https://h/u", "", "https://h/u?rid=1-a"),
            ("https://h/u/", "/fail", "https://h/u/fail?rid=1-a"),
            ("https://h/u?create=1", "/start", "https://h/u/start?create=1&rid=1-a"),
            ("https://h/u#x", "/start", "https://h/u/start?rid=1-a"),
        ] {
            assert_eq!(address(url, suffix, "1-a"), expected);
        }
        assert_eq!(address("https://h/u", "", "&x=y z\n"), "https://h/u?rid=xyz");
        assert_eq!(address("https://h/u", "", ""), "https://h/u");
    }

    #[test]
    fn a_failure_has_the_end_of_the_log_and_stays_within_its_bound() {
        let ping = Ping::new("https://h/u".into());
        let mut report = sample(1);
        report.log = (0..200).map(|number| format!("line {number} {}", "é".repeat(900))).collect();
        report.warnings = (0..10).map(|_| "w".repeat(2000)).collect();
        let request = ping.end(&report, &mut Vec::new()).unwrap().unwrap();
        assert_eq!(request.url, format!("https://h/u/fail?rid={ID}"));
        let body = String::from_utf8(request.body.unwrap()).unwrap();
        assert!(body.len() <= BODY_BYTES_MAX && body.len() > BODY_BYTES_MAX / 2, "{}", body.len());
        assert!(body.starts_with("Exit code 1: it failed.\n") && body.contains("\nline 199 é"));
        assert!(body.ends_with("é\n") && !body.contains("line 100 "));
    }

    #[test]
    fn warnings_are_success_unless_said_otherwise_and_plain_urls_are_pinged_on_success_alone() {
        let url = |ping: &Ping, code: u8| {
            ping.end(&sample(code), &mut Vec::new()).unwrap().map(|request| request.url)
        };
        let with_name = |text: &str| Some(format!("{text}?rid={ID}"));
        let mut ping = Ping::new("https://h/u".into());
        assert_eq!(url(&ping, 0), with_name("https://h/u"));
        assert_eq!(url(&ping, 3), with_name("https://h/u"));
        ping.fail_on_warning = true;
        assert_eq!(url(&ping, 3), with_name("https://h/u/fail"));
        ping.plain = true;
        assert_eq!(url(&ping, 0).as_deref(), Some("https://h/u"));
        assert_eq!((url(&ping, 3), url(&ping, 1)), (None, None));
        assert_eq!(ping.start(ID, &mut Vec::new()).unwrap(), None);
    }
}
