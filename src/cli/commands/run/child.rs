//! One step of a run: copal itself as another process, so that whatever ends it, the run goes on to tell about it.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::Value;

/// How often the flag to stop is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long lines are waited for after the end of a step whose streams something else keeps open.
const LINGER: Duration = Duration::from_secs(2);
/// Lines that wait to be taken in.
const QUEUE: usize = 1024;
/// The longest line that is read at once; a longer one comes in pieces.
const LINE_MAX: usize = 1 << 20;

/// A word that is handed on as a variable.
const SECRET: &[u8] = b"--password-command=";

/// How a step ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    pub code: u8,
    pub seconds: f64,
    /// Its last line of results, when it came so far.
    pub summary: Option<Value>,
}

/// One line of what a step says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// How far it is.
    Status(Value),
    /// A failure or warning, as text.
    Problem(String),
    /// Anything else it has to tell.
    Result(Value),
}

/// What a line of output means.
fn understand(line: &[u8]) -> Option<Line> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    if text.is_empty() {
        return None;
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Some(Line::Problem(text.strip_prefix("copal: ").unwrap_or(text).to_owned()));
    };
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match value.get("message_type").and_then(Value::as_str) {
        Some("status") => Some(Line::Status(value)),
        Some("exit_error") => {
            let hint = field("hint");
            let hint = if hint.is_empty() { hint } else { format!(" ({})", hint.replace('\n', "; ")) };
            Some(Line::Problem(format!("{}{hint}", field("message"))))
        }
        Some("error") => {
            let item = field("item");
            let what = match value.get("error").and_then(|error| error.get("message")).and_then(Value::as_str)
            {
                Some(what) => what.to_owned(),
                None => field("message"),
            };
            Some(Line::Problem(if item.is_empty() { what } else { format!("{item}: {what}") }))
        }
        Some("finding") => {
            Some(Line::Problem(format!("{} {}: {}", field("kind"), field("object"), field("what"))))
        }
        _ => Some(Line::Result(value)),
    }
}

/// Passes on a stream line by line.
fn follow(stream: impl Read, to: &Sender<Vec<u8>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match stream.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if to.send(line).is_err() {
            return;
        }
    }
}

/// This program by its path; by the link to what is running when an upgrade has removed or replaced it there.
fn program(running: PathBuf) -> PathBuf {
    if running.exists() { running } else { PathBuf::from("/proc/self/exe") }
}

/// Runs copal with these words; `tell` gets each line as it comes.
pub fn run(words: &[OsString], stop: &AtomicBool, tell: &mut dyn FnMut(&Line)) -> std::io::Result<Ended> {
    let began = Instant::now();
    let mut command = Command::new(program(std::env::current_exe()?));
    for word in words {
        match word.as_bytes().strip_prefix(SECRET) {
            // It may hold a password, and every user sees the words of a process, but not its variables.
            Some(value) => {
                command.env_remove("COPAL_KEY_FILE").env_remove("COPAL_PASSWORD_FILE");
                command.env("COPAL_PASSWORD_COMMAND", OsStr::from_bytes(value));
            }
            None => {
                command.arg(word);
            }
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The profile was read, and stands in the words.
    command.env_remove("COPAL_PROFILE");
    // SAFETY: both calls are allowed between fork and exec. A session of its own: nobody is asked for a password, and Ctrl-C comes here
    // alone, to be passed on once. And it does not outlive the run that would tell how it went.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    let (sender, receiver) = bounded(QUEUE);
    let streams = (child.stdout.take(), child.stderr.take());
    // Threads of their own, not waited for: something that the step left behind may hold its streams open for ever.
    let other = sender.clone();
    let [out, err] = ["step output", "step errors"].map(|name| std::thread::Builder::new().name(name.into()));
    out.spawn(move || streams.0.map(|stream| follow(stream, &sender)))?;
    err.spawn(move || streams.1.map(|stream| follow(stream, &other)))?;
    let summary = listen(&receiver, &mut child, stop, tell);
    drop(receiver);
    let status = child.wait()?;
    Ok(Ended { code: code(status), seconds: began.elapsed().as_secs_f64(), summary })
}

/// Takes lines in until both streams end, or the step has ended a while ago; gives the last result.
fn listen(
    receiver: &Receiver<Vec<u8>>,
    child: &mut Child,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Line),
) -> Option<Value> {
    let (mut summary, mut asked) = (None, false);
    let mut ended: Option<Instant> = None;
    loop {
        if ended.is_some_and(|ended| ended.elapsed() > LINGER) {
            return summary;
        }
        if stop.load(Ordering::Relaxed) && !asked {
            asked = true;
            if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let line = match receiver.recv_timeout(LOOK) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                if ended.is_none() && !matches!(child.try_wait(), Ok(None)) {
                    ended = Some(Instant::now());
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return summary,
        };
        let Some(line) = understand(&line) else { continue };
        tell(&line);
        if let Line::Result(value) = line
            && value.get("message_type").and_then(Value::as_str) == Some("summary")
        {
            summary = Some(value);
        }
    }
}

/// The exit code; of a process that a signal ended, 128 and the signal.
fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(1),
        (None, Some(signal)) => 128u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        (None, None) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let problem = |text: &str| Some(Line::Problem(text.to_owned()));
        assert_eq!(understand(b"\n"), None);
        assert_eq!(understand(b"copal: warning: x\n"), problem("warning: x"));
        assert_eq!(
            understand(br#"{"message_type":"exit_error","code":10,"message":"no repository","hint":"a\nb"}"#),
            problem("no repository (a; b)")
        );
        assert_eq!(
            understand(br#"{"message_type":"error","error":{"message":"gone"},"item":"/x"}"#),
            problem("/x: gone")
        );
        assert!(matches!(understand(br#"{"message_type":"status"}"#), Some(Line::Status(_))));
        assert!(matches!(understand(br#"{"message_type":"summary"}"#), Some(Line::Result(_))));
    }
}
