//! docs/notices.md shows what is really sent: each example in it is made again and compared.

use std::time::Duration;

use copal::hooks::{Moment, Problem, What};
use copal::model::Time;
use copal::notices::{Form, Mail, Ping, Report, Step, Template, Way, Webhook, metrics_text, start, tell};
use copal::terminal::time;

use super::server::{Server, ok};
use super::{mail_program, notice, options, report};

/// The example of that name.
fn example(name: &str) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/notices.md")).unwrap();
    let begin = format!(" example={name}\n");
    let (_, after) = page.split_once(&begin).unwrap_or_else(|| panic!("no example {name}"));
    after.split_once("\n```").unwrap().0.to_owned()
}

/// The text with times as they are in UTC, whatever the zone of this machine.
fn in_utc(text: &str, report: &Report) -> String {
    let hours: [(i64, &str); 4] = [
        (0, "2026-11-03 02:00:00"),
        (850, "2026-11-03 02:14:10"),
        (800, "2026-11-03 02:13:20"),
        (-86_400, "2026-11-02 02:00:00"),
    ];
    let mut text = text.to_owned();
    for (seconds, utc) in hours {
        let at = report.began.plus_seconds(seconds);
        text = text.replace(&time::iso(at), &format!("{}+00:00", utc.replace(' ', "T")));
        text = text.replace(&time::show(at), utc);
    }
    text.replace(&time::mail(report.ended).unwrap(), "Tue, 03 Nov 2026 02:14:10 +0000")
}

fn common(code: u8) -> Report {
    let mut report = report(code);
    let day_before = report.began.plus_seconds(-86_400);
    report.version = "0.1.0".into();
    report.repository = "/mnt/disk/backup".into();
    report.ended = report.began.plus_seconds(850);
    report.last_check = Some(day_before);
    report.last_success = Some(day_before);
    report
}

fn failed() -> Report {
    let mut report = common(10);
    let message = "no repository at /mnt/disk/backup";
    report.steps =
        vec![Step { name: "backup".into(), code: 10, seconds: 1.0, messages: vec![message.into()] }];
    report.log = vec!["copal: backup of /home and /etc begins".into(), format!("copal: {message}")];
    report
}

fn with_warning() -> Report {
    let mut report = common(3);
    let step = |name: &str, code, seconds, messages| Step { name: name.into(), code, seconds, messages };
    report.steps = vec![
        step("backup", 3, 790.5, vec!["1 file could not be read".into()]),
        step("forget", 0, 1.25, Vec::new()),
    ];
    report.snapshot_id = Some("0a1b2c3d".into());
    report.files = Some(12_345);
    report.files_new = Some(17);
    report.files_changed = Some(4);
    report.bytes = Some(5 << 30);
    report.bytes_new = Some(3 << 20);
    report.bytes_stored = Some(1 << 20);
    report.errors = Some(1);
    report.warnings = vec!["/home/ann/.cache/lock: permission denied".into()];
    report.log =
        vec!["copal: backup of /home and /etc begins".into(), "copal: snapshot 0a1b2c3d saved".into()];
    report.newest_snapshot = Some(Time::new(report.began.seconds + 800, 0));
    report.repository_bytes = Some(40 << 30);
    report
}

#[test]
fn the_examples_of_pings_and_webhooks_are_what_is_sent() {
    let server = Server::new(vec![ok()]);
    let url = server.url("/d0c5a1f2-7e43-4b9e-9d5e-0f0e8b4f1c11");
    let ping = [notice(Way::Ping(Ping::new(url.as_str().into())))];
    assert!(start(&failed().run_id, &ping, &options()).is_empty());
    assert!(tell(&failed(), &ping, None, &options()).is_empty());
    let asked = server.asked();
    let told = format!("{}\n{}\n\n{}", asked[0].what, asked[1].what, asked[1].text());
    assert_eq!(told.trim_end(), example("ping"));

    for (form, name) in [(Form::Json, "json"), (Form::Ntfy, "ntfy"), (Form::Slack, "slack")] {
        let webhook = [notice(Way::Webhook(Webhook::new(url.as_str().into(), form)))];
        assert!(tell(&with_warning(), &webhook, None, &options()).is_empty());
        let [asked] = &server.asked()[..] else { panic!("not one request") };
        let headers: Vec<String> = ["Title", "Priority", "Tags"]
            .iter()
            .filter_map(|name| Some(format!("{name}: {}\n", asked.header(name)?)))
            .collect();
        let head = if headers.is_empty() { String::new() } else { headers.concat() + "\n" };
        assert_eq!(in_utc(&(head + asked.text()), &with_warning()), example(name));
    }
    let template = Template::parse(&example("template")).unwrap().fill(&failed());
    let json: serde_json::Value = serde_json::from_str(&template).unwrap();
    assert_eq!(json["payload"]["summary"], "copal: backup of nightly on web1 failed");
}

#[test]
fn the_example_of_a_letter_is_what_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = mail_program(folder.path(), "");
    if let Way::Mail(mail) = &mut program.way {
        *mail = Mail { from: Some("backup@example.org".into()), ..mail.clone() };
    }
    assert_eq!(tell(&failed(), &[program], None, &options()), [""; 0]);
    let letter = std::fs::read_to_string(folder.path().join("letter")).unwrap();
    let id = letter.split_once("Message-ID: <").unwrap().1.split_once('@').unwrap().0;
    let letter = in_utc(&letter.replace(id, "UUID"), &failed());
    assert_eq!(letter.trim_end_matches('\n'), example("mail"));
}

#[test]
fn the_examples_of_metrics_and_hooks_are_what_is_written() {
    assert_eq!(metrics_text(&failed()).trim_end(), example("metrics"));
    let problem = Problem {
        moment: Moment::Before,
        number: 1,
        program: "pg_dumpall".into(),
        what: What::TooLong { limit: Duration::from_secs(600), killed: false },
    };
    assert_eq!(problem.to_string(), example("hook"));
}
