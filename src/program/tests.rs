//! Programs that end well, badly, late, and not at all.

use std::ffi::OsStr;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Limits, Problem, Running, shell};

static GOES_ON: AtomicBool = AtomicBool::new(false);

fn limits(time: Option<Duration>) -> Limits<'static> {
    Limits { time, stop: &GOES_ON }
}

fn run(line: &str, limits: Limits<'_>) -> (Vec<u8>, Result<(), Problem>, Vec<String>) {
    let mut running = Running::start(shell(OsStr::new(line)), limits).unwrap();
    let mut output = Vec::new();
    let read = running.read_to_end(&mut output);
    let (result, tail) = running.finish();
    assert!(read.is_ok() || result.is_err(), "{read:?}");
    (output, result, tail.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect())
}

#[test]
fn output_and_the_last_words_are_apart() {
    let (output, result, tail) = run("echo out; echo one >&2; echo two >&2", limits(None));
    assert_eq!((output, tail), (b"out\n".to_vec(), vec!["one".to_owned(), "two".to_owned()]));
    result.unwrap();
    let (output, result, _) = run("exec >&-; sleep 0.1; exit 4", limits(None));
    assert!(output.is_empty() && matches!(result, Err(Problem::Code(4))), "{result:?}");
}

#[test]
fn how_it_ended_is_told() {
    for (line, words) in [
        ("echo x; exit 3", "failed with exit code 3"),
        ("echo x; kill -9 $$", "was ended by signal 9"),
        ("/no/such/program", "failed with exit code 127"),
    ] {
        assert_eq!(run(line, limits(None)).1.unwrap_err().to_string(), words, "{line}");
    }
    let mut command = shell(OsStr::new("true"));
    command.current_dir("/no/such/folder");
    assert!(matches!(Running::start(command, limits(None)), Err(Problem::NotStarted(_))));
}

#[test]
fn it_gets_nothing_to_read_and_no_terminal() {
    let (output, result, _) = run("cat; ps -o tty= -p $$; ps -o sid= -p $$; echo $$", limits(None));
    result.unwrap();
    let text = String::from_utf8(output).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!((words[0], words[1]), ("?", words[2]), "{text}");
}

#[test]
fn at_its_limit_all_that_it_started_is_ended() {
    let (output, result, _) =
        run("sleep 1000 & echo $!; wait; echo late", limits(Some(Duration::from_millis(300))));
    assert!(matches!(result, Err(Problem::TooLong { killed: false, .. })), "{result:?}");
    let child = String::from_utf8(output).unwrap();
    let is_there = || std::path::Path::new(&format!("/proc/{}/status", child.trim())).exists();
    let is_dead = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.trim())).unwrap_or_default();
        status.contains("State:\tZ")
    };
    assert!(!child.trim().is_empty());
    // Told to end before the run went on; whoever inherits it may not have waited for it yet.
    for _ in 0..1000 {
        if !is_there() || is_dead() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{child} is still there");
}

#[test]
fn whoever_writes_without_end_is_ended_at_the_limit() {
    let mut running =
        Running::start(shell(OsStr::new("yes")), limits(Some(Duration::from_millis(300)))).unwrap();
    assert!(std::io::copy(&mut running, &mut std::io::sink()).is_err());
    assert!(matches!(running.finish().0, Err(Problem::TooLong { .. })));
}

#[test]
fn stopping_ends_it() {
    let stop = AtomicBool::new(false);
    let mut running =
        Running::start(shell(OsStr::new("echo begun; sleep 1000")), Limits { time: None, stop: &stop })
            .unwrap();
    let mut begun = [0; 6];
    running.read_exact(&mut begun).unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(running.read(&mut begun).is_err());
    assert!(matches!(running.finish().0, Err(Problem::Stopped)));
}

#[test]
fn what_is_left_behind_with_the_output_open_makes_it_untrusted() {
    let (output, result, _) = run("sleep 60 & echo $!; exit 0", limits(None));
    assert!(matches!(result, Err(Problem::HeldOpen)), "{result:?}");
    let id: i32 = String::from_utf8(output).unwrap().trim().parse().unwrap();
    let id = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn what_is_left_behind_without_the_output_is_no_matter() {
    let (output, result, _) = run("sleep 60 >/dev/null & echo $!; exit 0", limits(None));
    result.unwrap();
    // It was left alone.
    let id: i32 = String::from_utf8(output).unwrap().trim().parse().unwrap();
    let id = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_filter_that_ends_a_little_later_is_waited_for() {
    let (output, result, _) = run("(sleep 0.5; echo late) & echo early", limits(None));
    result.unwrap();
    assert_eq!(output, b"early\nlate\n");
}

#[test]
fn it_does_not_outlive_whoever_drops_it() {
    let mut running = Running::start(shell(OsStr::new("echo $$; exec sleep 1000")), limits(None)).unwrap();
    let mut id = [0; 16];
    let count = running.read(&mut id).unwrap();
    let id: i32 = std::str::from_utf8(&id[..count]).unwrap().trim().parse().unwrap();
    drop(running);
    let id = rustix::process::Pid::from_raw(id).unwrap();
    assert_eq!(rustix::process::test_kill_process(id), Err(rustix::io::Errno::SRCH));
}
