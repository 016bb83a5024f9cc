//! Runs the program and holds the run to what holds for all of them: it ends, and never in a panic.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A run that lasts that long hangs; it is killed, and the test fails.
const HANGS: Duration = Duration::from_secs(240);

/// A folder in memory where there is one: what is tested here is not the disk, and its syncs take most of the time.
pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Runs copal as a person does, with that home and nothing else.
pub fn copal(home: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).stdin(Stdio::null());
    let ended = end(command);
    assert!(ended.code != 101 && ended.code < 128, "{ended}");
    ended
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code, or 128 and the signal.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    what: String,
}

pub fn end(command: Command) -> Ended {
    end_with(command, b"")
}

/// Runs with that on standard input.
pub fn end_with(mut command: Command, input: &[u8]) -> Ended {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = format!("{command:?}");
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // Whoever does not read his input closes it: no failure of ours.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        end_child(child, what)
    })
}

/// Waits for a child whose output is piped, at most until it hangs.
pub fn end_child(mut child: Child, what: String) -> Ended {
    let id = rustix::process::Pid::from_child(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (done, waiting) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let hangs = waiting.recv_timeout(HANGS) == Err(mpsc::RecvTimeoutError::Timeout);
        if hangs {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
        hangs
    });
    let read = |pipe: &mut dyn Read| {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (stdout, stderr) = std::thread::scope(|scope| {
        let stderr = scope.spawn(|| stderr.map_or_else(Vec::new, |mut pipe| read(&mut pipe)));
        (stdout.map_or_else(Vec::new, |mut pipe| read(&mut pipe)), stderr.join().unwrap())
    });
    let status = child.wait().unwrap();
    let _ = done.send(());
    assert!(!watchdog.join().unwrap(), "it hangs: {what}\n{}", String::from_utf8_lossy(&stderr));
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
    let ended = Ended { code, stdout, stderr, what };
    let panicked = ["panicked", "a bug in copal"].iter().any(|words| ended.err().contains(words));
    assert!(!panicked, "{ended}");
    ended
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nexit code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.code,
            self.out(),
            self.err()
        )
    }
}

impl Ended {
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "another exit code than {code} was expected\n{self}");
        self
    }

    /// Demands that standard output holds that.
    #[track_caller]
    pub fn says(self, text: &str) -> Ended {
        assert!(self.out().contains(text), "stdout does not hold {text:?}\n{self}");
        self
    }

    /// Demands that standard error holds that.
    #[track_caller]
    pub fn warns(self, text: &str) -> Ended {
        assert!(self.err().contains(text), "stderr does not hold {text:?}\n{self}");
        self
    }

    /// The one line for people that it said, and demands that there is no other.
    #[track_caller]
    pub fn one_line(&self) -> String {
        let errors = self.err();
        let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("copal: ")).collect();
        assert_eq!(lines.len(), 1, "{self}");
        lines[0].to_owned()
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// All that was said.
    pub fn text(&self) -> String {
        self.out() + &self.err()
    }

    /// Standard output as JSON lines, each with a `message_type`.
    #[track_caller]
    pub fn json(&self) -> Vec<serde_json::Value> {
        let lines: Vec<serde_json::Value> = self
            .out()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self}")))
            .collect();
        assert!(
            lines.iter().all(|line| line["message_type"].is_string()),
            "a line without message_type\n{self}"
        );
        lines
    }

    /// The JSON lines of one type.
    #[track_caller]
    pub fn messages(&self, message_type: &str) -> Vec<serde_json::Value> {
        self.json().into_iter().filter(|line| line["message_type"] == message_type).collect()
    }

    #[track_caller]
    pub fn summary(&self) -> serde_json::Value {
        let mut all = self.messages("summary");
        assert_eq!(all.len(), 1, "not one summary\n{self}");
        all.remove(0)
    }
}
