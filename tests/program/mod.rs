//! The program as a person runs it: what it says, how it ends, never longer than a while, and never in a panic.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any run takes, also on a busy machine.
const TIME_MOST: Duration = Duration::from_secs(30);

/// A folder in memory where there is one: what is tested here is not the disk, and its syncs take most of the time.
pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub text: String,
}

/// Runs copal, never longer than `TIME_MOST`, and never in a panic.
pub fn copal(home: &Path, arguments: &[&str]) -> Ran {
    let said = tempfile::NamedTempFile::new_in(home).unwrap();
    let out = || fs::OpenOptions::new().append(true).open(said.path()).unwrap();
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_copal"))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(out())
        .stderr(out())
        .spawn()
        .unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > TIME_MOST {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("copal {arguments:?} did not end within {TIME_MOST:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = String::from_utf8_lossy(&fs::read(said.path()).unwrap()).into_owned();
    let code = status.code().unwrap_or(-1);
    assert!(
        code != 101 && code != -1 && !text.contains("panicked") && !text.contains("a bug in copal"),
        "copal {arguments:?} ended with {status}:\n{text}"
    );
    Ran { code, text }
}
