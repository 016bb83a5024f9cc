//! A letter through the system's mail program, which knows how mail leaves this machine.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::encode::header;
use super::report::{Outcome, Report};
use super::run_id;
use super::text::{letter, subject};
use crate::hooks::process::{Ending, Limits, run};
use crate::program::GRACE;
use crate::terminal::escape::{escape, line, path as shown};
use crate::terminal::size::show_duration;
use crate::terminal::time;

/// Where the mail program is, on any system that has one.
const PROGRAM: &str = "/usr/sbin/sendmail";
/// Longer lines are not allowed in mail (RFC 5322: 998 without the end).
const LINE_BYTES_MAX: usize = 990;
/// What the mail program says is kept to that many lines.
const SAID_LINES_MAX: usize = 3;

/// A letter to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The program, called with `-t -oi`.
    pub program: PathBuf,
    /// Without one the mail program says who sent it.
    pub from: Option<String>,
    pub to: Vec<String>,
}

impl Mail {
    /// Through the usual program, from whom it says.
    pub fn new(to: Vec<String>) -> Mail {
        Mail { program: PROGRAM.into(), from: None, to }
    }

    /// Hands the letter over.
    pub(super) fn send(&self, report: &Report, limit: Duration) -> Result<(), String> {
        let message = self.message(report)?;
        let mut command = Command::new(&self.program);
        command.args(["-t", "-oi"]);
        for name in crate::program::HIDDEN_VARIABLES {
            command.env_remove(name);
        }
        let mut said = Vec::new();
        let limits = Limits { time: limit, grace: GRACE.min(limit), stop: None };
        let ending = run(command, message.as_bytes(), &limits, &mut |bytes| {
            if said.len() < SAID_LINES_MAX {
                said.push(line(bytes));
            }
        });
        let program = shown(&self.program);
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(" | ")) };
        match ending {
            Ok(Ending::Done(status)) if status.success() => Ok(()),
            Ok(Ending::Done(status)) => Err(format!("{program} failed ({status}){said}")),
            Ok(_) => Err(format!("{program} took longer than {} and was ended{said}", show_duration(limit))),
            Err(error) => Err(format!("{program} can not be started: {error}; is a mail program installed?")),
        }
    }

    /// What would keep it from being sent.
    pub(super) fn check(&self, report: &Report) -> Result<(), String> {
        self.message(report)?;
        if !self.program.is_file() {
            let program = shown(&self.program);
            return Err(format!("{program} is not there; is a mail program installed?"));
        }
        Ok(())
    }

    /// The whole message. Lines end with a newline alone, as programs for mail want it from other programs.
    fn message(&self, report: &Report) -> Result<String, String> {
        if self.to.is_empty() {
            return Err("it has no recipient".to_owned());
        }
        let mut out = String::new();
        let mut field = |name: &str, value: &str| out.push_str(&format!("{name}: {value}\n"));
        if let Some(from) = &self.from {
            field("From", &address(from)?);
        }
        let to: Vec<String> = self.to.iter().map(|to| address(to)).collect::<Result<_, _>>()?;
        field("To", &to.join(",\n "));
        field("Subject", &header(&subject(report), "\n "));
        if let Some(date) = time::mail(report.ended) {
            field("Date", &date);
        }
        field("Message-ID", &format!("<{}@{}>", run_id(), domain(&report.host)));
        // Nobody's absence should be told to a program.
        field("Auto-Submitted", "auto-generated");
        if report.outcome == Outcome::Failure {
            field("X-Priority", "2");
        }
        let body = wrapped(&letter(report));
        field("MIME-Version", "1.0");
        field("Content-Type", "text/plain; charset=utf-8");
        field("Content-Transfer-Encoding", if body.is_ascii() { "7bit" } else { "8bit" });
        Ok(out + "\n" + &body)
    }
}

/// An address as a header takes it: `ann@example.org`, `root`, `Ann <ann@example.org>`. What could begin another header is refused.
fn address(text: &str) -> Result<String, String> {
    let wrong = |what: &str| format!("the address '{}' {what}", escape(text.as_bytes()));
    if text.chars().any(char::is_control) {
        return Err(wrong("has a line break or another control character"));
    }
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        Some((name, address)) => (name.trim(), address),
        None => ("", text),
    };
    if address.is_empty() || !address.is_ascii() || address.contains(['<', '>', ' ', ',', ';', '"']) {
        return Err(wrong(
            "is none; write ann@example.org, or Ann <ann@example.org>, one for each recipient",
        ));
    }
    if name.is_empty() {
        return Ok(address.to_owned());
    }
    let name = name.trim_matches('"');
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_'".contains(c);
    let name = if name.chars().all(plain) {
        name.to_owned()
    } else if name.is_ascii() && !name.contains("=?") {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        header(name, "\n ")
    };
    Ok(format!("{name} <{address}>"))
}

/// The host as the right side of a message's name.
fn domain(host: &str) -> String {
    let domain: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).take(100).collect();
    let domain = domain.trim_matches(['.', '-']);
    if domain.is_empty() { "localhost".to_owned() } else { domain.to_owned() }
}

/// Text whose lines are as long as mail allows.
fn wrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut rest = line;
        while rest.len() > LINE_BYTES_MAX {
            let mut end = LINE_BYTES_MAX;
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            out.push_str(&rest[..end]);
            out.push('\n');
            rest = &rest[end..];
        }
        out.push_str(rest);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn a_message_has_its_headers_and_a_letter() {
        let mail = Mail {
            from: Some("Bäckup <backup@example.org>".into()),
            ..Mail::new(vec!["root".into(), "Ann B. <ann@example.org>".into()])
        };
        let message = mail.message(&sample(1)).unwrap();
        let (head, body) = message.split_once("\n\n").unwrap();
        for expected in [
            "From: =?UTF-8?B?QsOkY2t1cA==?= <backup@example.org>\n",
            "To: root,\n \"Ann B.\" <ann@example.org>\n",
            "Subject: copal: backup of nightly on web1 failed\n",
            "\nMessage-ID: <",
            "@web1>\n",
            "\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n",
        ] {
            assert!(head.contains(expected), "{expected:?} is missing from\n{head}");
        }
        assert!(head.lines().any(|line| line.starts_with("Date: ") && line.ends_with("00")));
        assert!(body.starts_with("copal: backup of nightly on web1 failed.\nExit code 1"));
        assert!(!message.contains('\r'));
    }

    #[test]
    fn nothing_can_add_a_header() {
        let mut report = sample(1);
        report.profile = "x\nBcc: all@example.org\n\nbody".into();
        report.host = "h\r\nBcc: all@example.org".into();
        let mail = Mail::new(vec!["root".into()]);
        for report in [report.clone(), report.cleaned(&[])] {
            let message = mail.message(&report).unwrap();
            let head = message.split_once("\n\n").unwrap().0;
            assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
            assert!(head.contains("MIME-Version"), "{head}");
        }
        for bad in
            ["a@b\nBcc: c@d", "a@b\r", "", " ", "a b@c", "a@b, c@d", "Ann <>", "Ann <a@b> <c@d>", "ä@b"]
        {
            for mail in [
                Mail::new(vec![bad.into()]),
                Mail { from: Some(bad.into()), ..Mail::new(vec!["root".into()]) },
            ] {
                let error = mail.message(&sample(0)).unwrap_err();
                assert!(error.starts_with("the address '") && !error.contains('\n'), "{error}");
            }
        }
        assert!(Mail::new(Vec::new()).message(&sample(0)).is_err());
    }

    #[test]
    fn long_lines_are_wrapped() {
        let text = wrapped(&format!("short\n{}\n\nend", "é".repeat(2000)));
        assert!(text.lines().all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(text.replace('\n', "").chars().filter(|c| *c == 'é').count(), 2000);
        assert!(text.starts_with("short\né") && text.ends_with("é\n\nend\n"));
    }

    #[test]
    fn hosts_become_the_right_side_of_a_name() {
        for (host, expected) in
            [("web1.example.org", "web1.example.org"), ("a>b\n@c", "abc"), ("..", "localhost")]
        {
            assert_eq!(domain(host), expected);
        }
    }
}
