//! The programs that make and remove snapshots.

use std::ffi::OsStr;
use std::io::Read;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::program::{Limits, Problem, Running};
use crate::terminal::escape::escape;

/// Longer than any of them takes on a busy machine.
const TIME_MOST: Duration = Duration::from_secs(600);
/// Bytes of what they say that are looked at.
const OUTPUT_MOST: u64 = 16 << 20;
/// What is removed is removed, also when the run was told to stop.
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// Runs it and gives what it says; words when it fails.
pub fn run(words: &[&OsStr]) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    let name = escape(program.as_encoded_bytes()).into_owned();
    let limits = Limits { time: Some(TIME_MOST), stop: &GOES_ON };
    let mut running = Running::start(command, limits).map_err(|problem| match problem {
        Problem::NotStarted(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("the program {name} is not installed")
        }
        problem => format!("{name} {problem}"),
    })?;
    let mut output = Vec::new();
    // Why reading ends is what finishing tells.
    let _ = running.by_ref().take(OUTPUT_MOST).read_to_end(&mut output);
    let (result, tail) = running.finish();
    result.map(|()| output).map_err(|problem| {
        let last = tail.last().map_or_else(String::new, |line| format!(": {}", escape(line)));
        format!("{name} {problem}{last}")
    })
}
