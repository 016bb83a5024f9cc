//! Notices against real servers and programs on this machine: what they get, and how broken ones are borne.

#[path = "notices/page.rs"]
mod page;
#[path = "notices/server.rs"]
mod server;

use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use copal::model::Time;
use copal::notices::{
    Form, Mail, Notice, Options, Outcome, Ping, Report, Template, Value, Way, Webhook, When, check, start,
    tell,
};
use server::{Answer, Server, ok};

const RUN: &str = "11111111-2222-4333-8444-555555555555";

fn report(code: u8) -> Report {
    let mut report = Report::begin(RUN, "nightly", "web1", "/srv/backup", Time::new(1_793_671_200, 0));
    report.ended = report.began.plus_seconds(61);
    report.code = code;
    report.outcome = Outcome::of(code);
    report.log = vec!["copal: first line".into(), "copal: the disk is full".into()];
    report
}

/// Nothing of this machine's environment, and no waiting between tries.
fn options() -> Options<'static> {
    Options { pause: Duration::ZERO, environment: &|_| None, ..Options::default() }
}

/// As long as a server that does not answer is waited for.
fn impatient() -> Options<'static> {
    Options { time_limit: Duration::from_millis(300), tries: 2, ..options() }
}

fn notice(way: Way) -> Notice {
    Notice { when: When::Always, way }
}

fn ping(url: &str) -> Notice {
    notice(Way::Ping(Ping::new(url.into())))
}

fn webhook(url: &str, form: Form) -> Notice {
    notice(Way::Webhook(Webhook::new(url.into(), form)))
}

fn told(report: &Report, notices: &[Notice], options: &Options<'_>) -> Vec<String> {
    tell(report, notices, None, options)
}

fn file(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn begin_and_end_of_a_run_are_pinged_under_its_name() {
    let server = Server::new(vec![ok()]);
    let notices = [ping(&server.url("/ping/uuid"))];
    assert!(start(RUN, &notices, &options()).is_empty());
    assert!(told(&report(0), &notices, &options()).is_empty());
    assert!(told(&report(1), &notices, &options()).is_empty());
    let asked = server.asked();
    let whats: Vec<&str> = asked.iter().map(|asked| asked.what.as_str()).collect();
    let rid = format!("?rid={RUN}");
    assert_eq!(
        whats,
        [
            format!("GET /ping/uuid/start{rid}"),
            format!("POST /ping/uuid{rid}"),
            format!("POST /ping/uuid/fail{rid}")
        ]
    );
    assert_eq!(asked[0].header("content-length"), None);
    assert!(asked[0].header("user-agent").unwrap().starts_with("copal/"));
    assert_eq!(asked[1].text(), "Done in 1m1s.\n");
    assert!(asked[2].text().starts_with("Exit code 1: it failed.\n"), "{}", asked[2].text());
    assert!(asked[2].text().ends_with("\n\ncopal: first line\ncopal: the disk is full\n"));
}

#[test]
fn only_pings_that_always_come_say_that_a_run_begins() {
    let server = Server::new(vec![ok()]);
    let url = server.url("/x");
    let plain = Ping { plain: true, ..Ping::new(url.as_str().into()) };
    let failures = Notice { when: When::Failure, ..ping(&url) };
    let notices = [notice(Way::Ping(plain)), failures, webhook(&url, Form::Json)];
    assert!(start(RUN, &notices, &options()).is_empty());
    assert!(server.asked().is_empty());
    // The plain URL and the webhook; the other is for failures.
    assert!(told(&report(0), &notices, &options()).is_empty());
    let mut whats: Vec<String> = server.asked().into_iter().map(|asked| asked.what).collect();
    whats.sort();
    assert_eq!(whats, ["GET /x", "POST /x"]);
}

#[test]
fn webhooks_get_the_report_with_headers_from_files() {
    let server = Server::new(vec![ok()]);
    let folder = tempfile::tempdir().unwrap();
    let token = file(folder.path(), "token", "Bearer tk_0123456789\n", 0o600);
    let mut hook = Webhook::new(server.url("/hook").as_str().into(), Form::Json);
    hook.headers.push(("Authorization".into(), Value::File(token)));
    hook.headers.push(("X-Site".into(), "home".into()));
    let mut said = report(3);
    said.warnings = vec!["hook printed tk_0123456789 and https://ann:hunter2@nas/".into()];
    assert!(told(&said, &[notice(Way::Webhook(hook))], &options()).is_empty());
    let [asked] = &server.asked()[..] else { panic!("not one request") };
    assert_eq!(asked.what, "POST /hook");
    assert_eq!(asked.header("authorization"), Some("Bearer tk_0123456789"));
    assert_eq!(
        (asked.header("x-site"), asked.header("content-type")),
        (Some("home"), Some("application/json"))
    );
    let json: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!((&json["outcome"], &json["exit_code"]), (&"warning".into(), &3.into()));
    assert_eq!(json["warnings"][0], "hook printed *** and https://***@nas/");
}

#[test]
fn ntfy_slack_and_templates_get_what_they_take() {
    let server = Server::new(vec![ok()]);
    let mut said = report(6);
    said.host = "büro".into();
    let template = Template::parse("{\"summary\": \"{{title}}\", \"exit\": {{exit_code}}}").unwrap();
    for form in [Form::Ntfy, Form::Slack, Form::Template(template)] {
        assert!(told(&said, &[webhook(&server.url("/t"), form)], &options()).is_empty());
    }
    let [ntfy, slack, own] = &server.asked()[..] else { panic!("not three requests") };
    assert!(ntfy.header("title").unwrap().starts_with("=?UTF-8?B?"));
    assert_eq!((ntfy.header("priority"), ntfy.header("tags")), (Some("high"), Some("rotating_light")));
    assert!(ntfy.text().starts_with("Exit code 6: a guard refused.\n"));
    let slack: serde_json::Value = serde_json::from_slice(&slack.body).unwrap();
    assert!(slack["text"].as_str().unwrap().starts_with("*copal: backup of nightly on büro failed*\n"));
    let own: serde_json::Value = serde_json::from_slice(&own.body).unwrap();
    assert_eq!(own, serde_json::json!({"summary": "copal: backup of nightly on büro failed", "exit": 6}));
}

#[test]
fn a_server_that_comes_back_is_tried_again() {
    let server = Server::new(vec![Answer::Close, Answer::Say("503 Busy", String::new()), ok()]);
    assert!(told(&report(0), &[ping(&server.url("/x"))], &options()).is_empty());
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_server_that_stays_broken_is_a_warning_after_three_tries() {
    for (answer, says) in [
        (Answer::Close, " (3 tries)"),
        (Answer::Nonsense, " (3 tries)"),
        (
            Answer::Say("500 Oops", "no\nroom".into()),
            "it answers 500 Internal Server Error: no\\nroom (3 tries)",
        ),
        (Answer::Say("429 Slow", String::new()), "it answers 429 Too Many Requests (3 tries)"),
    ] {
        let server = Server::new(vec![answer]);
        let warnings = told(&report(0), &[ping(&server.url("/secret-path-0123456789"))], &options());
        assert_eq!(warnings.len(), 1);
        let begin = format!("notice 1 (ping): http://{}/\u{2026}: ", server.address);
        assert!(warnings[0].starts_with(&begin) && warnings[0].ends_with(says), "{}", warnings[0]);
    }
}

#[test]
fn what_is_refused_for_good_is_not_tried_again_and_no_secret_is_in_the_warning() {
    let token = "tk_0123456789abcdef";
    let server =
        Server::new(vec![Answer::Say("403 No", format!("token {token} may not post to /topic-0123456789"))]);
    let mut hook = Webhook::new(server.url("/topic-0123456789?auth=hunter2").as_str().into(), Form::Ntfy);
    hook.headers.push(("Authorization".into(), format!("Bearer {token}").as_str().into()));
    let warnings = told(&report(0), &[notice(Way::Webhook(hook))], &options());
    assert_eq!(server.asked().len(), 1);
    assert_eq!(
        warnings,
        [format!(
            "notice 1 (webhook): http://{}/\u{2026}: it answers 403 Forbidden: token *** may not post to /***",
            server.address
        )]
    );
}

#[test]
fn servers_that_never_answer_are_given_up() {
    for answer in [Answer::Never, Answer::Drip] {
        let server = Server::new(vec![answer]);
        let warnings = told(&report(1), &[webhook(&server.url("/x"), Form::Slack)], &impatient());
        assert!(warnings[0].ends_with(": no answer within 300ms (2 tries)"), "{warnings:?}");
    }
}

#[test]
fn nobody_listening_is_a_warning() {
    // A port that is taken, so that nobody else gets it meanwhile, but not listened on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let warnings = told(&report(0), &[ping(&format!("http://{address}/x"))], &options());
    assert!(warnings[0].contains("refused") && warnings[0].ends_with("(3 tries)"), "{warnings:?}");
}

#[test]
fn no_redirect_is_followed_and_no_header_goes_elsewhere() {
    let other = Server::new(vec![ok()]);
    let server = Server::new(vec![Answer::Elsewhere(other.url("/elsewhere"))]);
    let mut hook = Webhook::new(server.url("/x").as_str().into(), Form::Json);
    hook.headers.push(("X-Token".into(), "hunter2".into()));
    let warnings = told(&report(0), &[notice(Way::Webhook(hook)), ping(&server.url("/x"))], &options());
    assert_eq!(warnings.len(), 2);
    let says = format!("it sends elsewhere, to http://{}/\u{2026}, which is not followed", other.address);
    assert!(warnings[0].contains(&says), "{warnings:?}");
    assert_eq!((server.asked().len(), other.asked().len()), (2, 0));
}

#[test]
fn a_broken_notice_keeps_no_other_from_being_sent() {
    let server = Server::new(vec![ok()]);
    let missing = notice(Way::Ping(Ping::new(Value::File("/no/such/file".into()))));
    let bad = ping("nonsense");
    let warnings = told(&report(0), &[missing, bad, ping(&server.url("/good"))], &options());
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("notice 1 (ping): /no/such/file: No such file"), "{warnings:?}");
    assert!(warnings[1].contains("no URL; it begins with https://"), "{warnings:?}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_notice_of_changes_is_sent_when_the_outcome_is_another() {
    let server = Server::new(vec![ok()]);
    let notices = [Notice { when: When::Change, ..webhook(&server.url("/x"), Form::Json) }];
    for (previous, code, count) in [
        (None, 0, 1),
        (Some(Outcome::Success), 0, 0),
        (Some(Outcome::Success), 1, 1),
        (Some(Outcome::Failure), 5, 0),
        (Some(Outcome::Failure), 0, 1),
    ] {
        assert!(tell(&report(code), &notices, previous, &options()).is_empty());
        assert_eq!(server.asked().len(), count, "{previous:?} {code}");
    }
}

#[test]
fn a_file_that_all_may_read_is_a_warning_and_the_notice_is_sent() {
    let server = Server::new(vec![ok()]);
    let folder = tempfile::tempdir().unwrap();
    let url = file(folder.path(), "url", &server.url("/x"), 0o644);
    let notices = [notice(Way::Ping(Ping::new(Value::File(url))))];
    for warnings in [told(&report(1), &notices, &options()), check(&notices)] {
        assert!(warnings[0].contains("chmod 600") && warnings.len() == 1, "{warnings:?}");
    }
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn the_proxy_of_the_environment_is_asked() {
    let proxy = Server::new(vec![Answer::Say("403 No", String::new())]);
    let url = OsString::from(format!("http://{}", proxy.address));
    let look = |name: &str| (name == "https_proxy").then(|| url.clone());
    let through = Options { environment: &look, tries: 1, ..options() };
    let warnings = told(&report(0), &[ping("https://hc-ping.invalid/x")], &through);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(proxy.asked()[0].what, "CONNECT hc-ping.invalid:443");
}

/// A mail program that keeps its arguments and the letter, and then does that.
fn mail_program(folder: &Path, then: &str) -> Notice {
    let program =
        format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {0}/words\ncat > {0}/letter\n{then}\n", folder.display());
    let mut mail = Mail::new(vec!["root".into(), "Ann <ann@example.org>".into()]);
    mail.program = file(folder, "sendmail", &program, 0o755);
    notice(Way::Mail(mail))
}

#[test]
fn letters_are_handed_to_the_mail_program() {
    let folder = tempfile::tempdir().unwrap();
    let notices = [mail_program(folder.path(), "exit 0")];
    assert!(check(&notices).is_empty());
    let mut said = report(10);
    said.warnings = vec!["Größe: PGPASSWORD=hunter2".into()];
    assert_eq!(told(&said, &notices, &options()), [""; 0]);
    assert_eq!(std::fs::read_to_string(folder.path().join("words")).unwrap(), "-t\n-oi\n");
    let letter = std::fs::read_to_string(folder.path().join("letter")).unwrap();
    let (head, body) = letter.split_once("\n\n").unwrap();
    assert!(
        head.contains(
            "To: root,\n Ann <ann@example.org>\nSubject: copal: backup of nightly on web1 failed\n"
        )
    );
    assert!(head.ends_with("Content-Transfer-Encoding: 8bit"), "{head}");
    assert!(
        body.contains("Exit code 10: there is no repository.") && body.contains("is the disk plugged in")
    );
    assert!(
        body.contains("  Größe: PGPASSWORD=***\n") && body.contains("  copal: the disk is full\n"),
        "{body}"
    );
}

#[test]
fn a_mail_program_that_fails_hangs_or_is_missing_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let failing = [mail_program(folder.path(), "echo no route to mail.example.org >&2; exit 75")];
    let warnings = told(&report(1), &failing, &options());
    assert!(
        warnings[0].ends_with("sendmail failed (exit status: 75): no route to mail.example.org"),
        "{warnings:?}"
    );
    let hanging = [mail_program(folder.path(), "sleep 600")];
    let short = Options { mail_time_limit: Duration::from_millis(300), ..options() };
    let warnings = told(&report(1), &hanging, &short);
    assert!(warnings[0].ends_with("sendmail took longer than 300ms and was ended"), "{warnings:?}");
    std::fs::remove_file(folder.path().join("sendmail")).unwrap();
    let warnings = told(&report(1), &hanging, &options());
    assert!(warnings[0].ends_with("is a mail program installed?"), "{warnings:?}");
}
