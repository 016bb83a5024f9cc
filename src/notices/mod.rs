//! How a run went, told to people and machines: pings, webhooks, mail, the desktop; metrics for a file.
//!
//! Nothing here can fail a run: what could not be told comes back as warnings, which the caller shows. Reports are cleaned of secrets before
//! anything is made of them.

mod desktop;
mod encode;
mod hide;
mod http;
mod mail;
mod metrics;
mod ping;
mod report;
mod template;
mod text;
mod value;
mod webhook;

use std::ffi::OsString;
use std::time::Duration;

pub use desktop::Desktop;
pub use hide::{hide, hide_known};
pub use mail::Mail;
pub use metrics::{place as metrics_file, text as metrics_text, write as write_metrics};
pub use ping::Ping;
pub use report::{LINE_BYTES_MAX, LOG_LINES_MAX, Outcome, Report, Step, WARNINGS_MAX};
pub use template::Template;
pub use text::{letter, short, subject};
pub use value::Value;
pub use webhook::{Form, Webhook};

/// How long one try to reach a server may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How often a server is tried.
pub const TRIES: u32 = 3;
/// What is waited after the first try; twice that after the second.
pub const PAUSE: Duration = Duration::from_secs(2);
/// How long a mail program may take: some deliver at once.
pub const MAIL_TIME_LIMIT: Duration = Duration::from_secs(60);
/// Variables whose values are secrets, and must not be in any text.
const SECRET_VARIABLES: [&str; 3] = ["COPAL_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// Looks an environment variable up.
pub type Lookup<'a> = &'a (dyn Fn(&str) -> Option<OsString> + Sync);

/// For which runs a notice is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    #[default]
    Always,
    /// Those that failed.
    Failure,
    /// Those that failed or have warnings.
    Warning,
    /// Those that went otherwise than the one before; the first one too.
    Change,
}

impl When {
    /// Whether a run with that outcome is told; `previous` is that of the run before.
    pub fn includes(self, outcome: Outcome, previous: Option<Outcome>) -> bool {
        match self {
            When::Always => true,
            When::Failure => outcome == Outcome::Failure,
            When::Warning => outcome >= Outcome::Warning,
            When::Change => previous != Some(outcome),
        }
    }
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Ping(Ping),
    Webhook(Webhook),
    Mail(Mail),
    Desktop(Desktop),
}

/// One notice of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub when: When,
    pub way: Way,
}

/// How notices are sent.
#[derive(Clone)]
pub struct Options<'a> {
    /// Of one try to reach a server.
    pub time_limit: Duration,
    pub tries: u32,
    pub pause: Duration,
    pub mail_time_limit: Duration,
    /// Values that must not be in any text, besides those of the notices themselves and of copal's environment.
    pub secrets: Vec<String>,
    /// Where proxies and the session bus are looked up.
    pub environment: Lookup<'a>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            time_limit: TIME_LIMIT,
            tries: TRIES,
            pause: PAUSE,
            mail_time_limit: MAIL_TIME_LIMIT,
            secrets: Vec::new(),
            environment: &|name| std::env::var_os(name).filter(|value| !value.is_empty()),
        }
    }
}

/// A new name for a run: a random UUID.
pub fn run_id() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // No more than a name: time and process tell runs apart too.
        use crate::model::clock::{Clock, SystemClock};
        let now = SystemClock.now();
        bytes[..8].copy_from_slice(&now.seconds.to_be_bytes());
        bytes[8..12].copy_from_slice(&now.nanos.to_be_bytes());
        bytes[12..].copy_from_slice(&std::process::id().to_be_bytes());
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Tells that a run begins, to those who want to know: pings of the healthchecks kind that are always sent. Comes back with warnings.
pub fn start(run_id: &str, notices: &[Notice], options: &Options<'_>) -> Vec<String> {
    let known = known(notices, options);
    all(notices, &known, |notice, warnings| match &notice.way {
        Way::Ping(ping) if notice.when == When::Always => {
            ping.start(run_id, warnings)?.map_or(Ok(()), |request| http::send(&request, options))
        }
        _ => Ok(()),
    })
}

/// Tells how a run went; `previous` is how the run before went, when there was one. All are told at the same time. Comes back with warnings.
pub fn tell(
    report: &Report,
    notices: &[Notice],
    previous: Option<Outcome>,
    options: &Options<'_>,
) -> Vec<String> {
    let known = known(notices, options);
    let report = report.cleaned(&known);
    all(notices, &known, |notice, warnings| {
        if !notice.when.includes(report.outcome, previous) {
            return Ok(());
        }
        match &notice.way {
            Way::Ping(ping) => match ping.end(&report, warnings)? {
                Some(request) => http::send(&request, options),
                None => Ok(()),
            },
            Way::Webhook(webhook) => http::send(&webhook.request(&report, warnings)?, options),
            Way::Mail(mail) => mail.send(&report, options.mail_time_limit),
            Way::Desktop(desktop) => {
                desktop.show(&report, options);
                Ok(())
            }
        }
    })
}

/// What is wrong with notices, as far as that can be seen without sending any: addresses, headers, files, programs.
pub fn check(notices: &[Notice]) -> Vec<String> {
    let report = Report::begin(&run_id(), "profile", "host", "repository", crate::model::Time::default());
    all(notices, &[], |notice, warnings| match &notice.way {
        Way::Ping(ping) => ping.end(&report, warnings)?.map_or(Ok(()), |request| http::check(&request)),
        Way::Webhook(webhook) => http::check(&webhook.request(&report, warnings)?),
        Way::Mail(mail) => mail.check(&report),
        Way::Desktop(_) => Ok(()),
    })
}

/// Does `one` for each notice, all at the same time; warnings in the order of the notices.
fn all(
    notices: &[Notice],
    known: &[String],
    one: impl Fn(&Notice, &mut Vec<String>) -> Result<(), String> + Sync,
) -> Vec<String> {
    let whole = |number: usize, notice: &Notice| {
        let mut warnings = Vec::new();
        if let Err(what) = one(notice, &mut warnings) {
            warnings.push(what);
        }
        let name =
            |what: &String| format!("notice {number} ({}): {}", notice.way.name(), hide_known(what, known));
        warnings.iter().map(name).collect::<Vec<String>>()
    };
    let whole = &whole;
    std::thread::scope(|scope| {
        let begun: Vec<_> = notices
            .iter()
            .enumerate()
            .map(|(at, notice)| {
                let work = move || whole(at + 1, notice);
                // Without another thread it takes longer, that is all.
                std::thread::Builder::new().spawn_scoped(scope, work).map_err(|_| work())
            })
            .collect();
        let ended = begun.into_iter().enumerate().flat_map(|(at, running)| match running {
            Ok(thread) => {
                thread.join().unwrap_or_else(|_| vec![format!("notice {}: a bug in copal", at + 1)])
            }
            Err(warnings) => warnings,
        });
        ended.collect()
    })
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Way::Ping(_) => "ping",
            Way::Webhook(_) => "webhook",
            Way::Mail(_) => "mail",
            Way::Desktop(_) => "desktop",
        }
    }
}

/// All secrets that a text could hold.
fn known(notices: &[Notice], options: &Options<'_>) -> Vec<String> {
    let mut known = options.secrets.clone();
    for name in SECRET_VARIABLES {
        known.extend((options.environment)(name).and_then(|value| value.into_string().ok()));
    }
    for notice in notices {
        match &notice.way {
            Way::Ping(ping) => known.extend(ping.secrets()),
            Way::Webhook(webhook) => known.extend(webhook.secrets()),
            Way::Mail(_) | Way::Desktop(_) => {}
        }
    }
    // The longest first, or a part of it would leave the rest.
    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_sent_when_they_are_meant() {
        use Outcome::{Failure, Success, Warning};
        for (when, told) in [
            (When::Always, [true, true, true]),
            (When::Failure, [false, false, true]),
            (When::Warning, [false, true, true]),
        ] {
            for previous in [None, Some(Success), Some(Failure)] {
                assert_eq!([Success, Warning, Failure].map(|outcome| when.includes(outcome, previous)), told);
            }
        }
        for outcome in [Success, Warning, Failure] {
            assert!(When::Change.includes(outcome, None));
            for previous in [Success, Warning, Failure] {
                assert_eq!(When::Change.includes(outcome, Some(previous)), outcome != previous);
            }
        }
    }

    #[test]
    fn run_ids_are_random_uuids() {
        let (one, other) = (run_id(), run_id());
        assert_ne!(one, other);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(matches!(one.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }

    #[test]
    fn a_check_finds_what_would_fail_later() {
        let notices = |way: Way| [Notice { when: When::Always, way }];
        let ping = |url: &str| notices(Way::Ping(Ping::new(url.into())));
        assert!(check(&ping("https://hc-ping.com/x")).is_empty());
        for url in ["hc-ping.com/x", "ftp://host/x", "https:///x", "https://a b/", ""] {
            assert_eq!(check(&ping(url)).len(), 1, "{url}");
        }
        let missing = Way::Ping(Ping::new(Value::File("/no/such/file".into())));
        assert_eq!(
            check(&notices(missing)),
            ["notice 1 (ping): /no/such/file: No such file or directory (os error 2)"]
        );
        let mut webhook = Webhook::new("https://host/".into(), Form::Json);
        webhook.headers.push(("X Y".into(), "z".into()));
        assert!(check(&notices(Way::Webhook(webhook)))[0].contains("header"));
        let mut mail = Mail::new(vec!["root".into()]);
        mail.program = "/no/such/sendmail".into();
        assert!(check(&notices(Way::Mail(mail)))[0].contains("/no/such/sendmail"));
    }
}
