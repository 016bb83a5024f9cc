//! The program that is the way to a server: how it is called, what it says on standard error, how it ends.
//!
//! It stays in copal's group of processes, so that it may ask for a password at the terminal and is paused along with copal. But it does not heed
//! Ctrl-C and SIGTERM, which both get: copal decides when the connection is no longer needed, and closes its pipe. When copal is killed, that
//! pipe ends too.

use std::io::Read;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::connection::{Line, Lost, Peer, Why};
use super::{Options, Place};
use crate::locks::lock;

/// What of standard error is kept: its end.
const TAIL_MOST: usize = 4096;
/// Lines of it that are told, and characters of each.
const LINES_MOST: usize = 2;
const LINE_MOST: usize = 300;
/// How long its end is waited for, after there is nothing more to read from it.
const END_MOST: Duration = Duration::from_secs(2);
/// How long the end of its standard error is waited for after that.
const ERRORS_MOST: Duration = Duration::from_millis(500);
/// How long `ssh -G` may take.
const QUESTION_MOST: Duration = Duration::from_secs(5);

/// Runs its arguments as a program that does not heed these signals; `sh` says so when there is none.
const DEAF: &str = r#"trap '' HUP INT QUIT TERM; exec "$@""#;

/// What ssh says when another try would end the same way.
const REFUSALS: &[&str] = &[
    "Permission denied",
    "Host key verification failed",
    "Too many authentication failures",
    "no matching",
    "subsystem request failed",
    "Bad configuration option",
    "Bad owner or permissions",
    "Can't open user config file",
    "Bad stdio forwarding",
    "command-line line",
];

/// What is to answer at the server.
#[derive(Clone, Copy, Debug)]
pub struct Errand {
    /// For the names of threads.
    pub name: &'static str,
    /// A subsystem of the server's, and no command.
    pub is_subsystem: bool,
    pub words: &'static [&'static str],
    /// What to do when it is not there.
    pub missing: Option<&'static str>,
    /// How the line begins that says why it ended, where there is such a line.
    pub voice: Option<&'static str>,
}

struct Process {
    /// The first word of its command.
    name: String,
    errand: Errand,
    child: Mutex<Child>,
    errors: Arc<Errors>,
}

/// What a program said on standard error.
#[derive(Default)]
struct Errors {
    tail: Mutex<Vec<u8>>,
    is_over: AtomicBool,
}

/// Starts the program that leads to a place.
pub fn start(place: &Place, options: &Options, errand: &Errand) -> Result<Line, Lost> {
    let words = words(place, options, errand);
    let name = words.first().cloned().unwrap_or_default();
    let failed = |error: std::io::Error| Lost::gone(format!("{name} can not be started: {error}"));
    let mut child = command(&words, options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (output, input, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let process =
        Process { name: name.clone(), errand: *errand, child: Mutex::new(child), errors: Arc::default() };
    let taken = Arc::clone(&process.errors);
    let listening = std::thread::Builder::new().name(format!("{}-errors", errand.name)).spawn(move || {
        listen(errors, &taken.tail);
        taken.is_over.store(true, Ordering::Relaxed);
    });
    match (input, output, listening) {
        (Some(input), Some(output), Ok(_)) => {
            Ok(Line { input: Box::new(input), output: Box::new(output), peer: Box::new(process) })
        }
        (_, _, Err(error)) => {
            process.cut();
            Err(failed(error))
        }
        _ => {
            process.cut();
            Err(Lost::gone(format!("{name} has no pipes")))
        }
    }
}

/// The program and its arguments.
fn words(place: &Place, options: &Options, errand: &Errand) -> Vec<String> {
    if let Some(command) = &options.command {
        return command.clone();
    }
    let mut words = options.ssh.clone();
    // Others that take the same arguments need not know these options.
    let is_openssh = words.first().is_some_and(|word| word.rsplit('/').next() == Some("ssh"));
    let mut target = Vec::new();
    if let Some(port) = place.port {
        target.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &place.user {
        target.extend(["-l".to_owned(), user.clone()]);
    }
    if is_openssh {
        let asked: Vec<String> =
            [&words[..], &target, &["-G".into(), "--".into(), place.host.clone()]].concat();
        words.extend(own_options(&configured(&asked, options), options.asks));
    }
    words.extend(target);
    if errand.is_subsystem {
        words.push("-s".to_owned());
    }
    if is_openssh {
        words.push("--".to_owned());
    }
    words.push(place.host.clone());
    words.extend(errand.words.iter().map(|word| (*word).to_owned()));
    words
}

/// Options for OpenSSH. What is given on a command line counts before the user's configuration, so what he may have set there is left out.
/// `configured` is what his `ssh -G` says.
fn own_options(configured: &str, asks: bool) -> Vec<String> {
    let is = |name: &str, value: &str| {
        configured.lines().any(|line| line.split_once(' ').is_some_and(|pair| pair == (name, value)))
    };
    // As `sftp` has them: a connection for files opens nothing else, and one forwarded port would keep a second connection from coming up.
    let mut options =
        vec!["ForwardX11=no", "ForwardAgent=no", "PermitLocalCommand=no", "ClearAllForwardings=yes"];
    // A dead network is noticed after two minutes, however long the server's disk takes for something.
    if is("serveraliveinterval", "0") {
        options.extend(["ServerAliveInterval=30", "ServerAliveCountMax=4"]);
    }
    if is("connecttimeout", "none") || is("connecttimeout", "0") {
        options.push("ConnectTimeout=30");
    }
    // Nobody is there to answer.
    if !asks {
        options.push("BatchMode=yes");
    }
    options.into_iter().flat_map(|option| ["-o".to_owned(), option.to_owned()]).collect()
}

fn command(words: &[String], options: &Options) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", DEAF, "sh"]).args(words);
    for name in &options.hidden {
        command.env_remove(name);
    }
    command
}

/// What a program prints that only tells and ends; nothing when it does not.
fn configured(words: &[String], options: &Options) -> String {
    let started =
        command(words, options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = started else { return String::new() };
    let (sender, text) = bounded(1);
    if let Some(output) = child.stdout.take() {
        let _ = std::thread::Builder::new().spawn(move || {
            let mut text = Vec::new();
            let _ = output.take(1 << 20).read_to_end(&mut text);
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        });
    }
    let text = text.recv_timeout(QUESTION_MOST).unwrap_or_default();
    let _ = child.kill();
    let _ = child.wait();
    text
}

/// Keeps the end of what it says.
fn listen(errors: Option<ChildStderr>, tail: &Mutex<Vec<u8>>) {
    let Some(mut errors) = errors else { return };
    let mut bytes = [0; 1024];
    loop {
        match errors.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                let mut tail = lock(tail);
                tail.extend(&bytes[..count]);
                let spare = tail.len().saturating_sub(TAIL_MOST);
                tail.drain(..spare);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The last lines that say something, for one line of ours.
fn told(tail: &[u8], voice: Option<&str>) -> String {
    let text = String::from_utf8_lossy(tail);
    let said = voice.and_then(|voice| text.lines().rev().find(|line| line.starts_with(voice)));
    if let Some(line) = said {
        return plain(line.trim_end().as_bytes());
    }
    let lines: Vec<String> = (text.lines().rev().map(str::trim))
        .filter(|line| {
            line.contains(char::is_alphanumeric) && !line.starts_with("Warning: Permanently added")
        })
        .take(LINES_MOST)
        .map(|line| plain(line.as_bytes()))
        .collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// What somebody else wrote, without what a terminal would act on.
pub fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut plain = String::new();
    for char in text.chars().take(LINE_MOST) {
        if char.is_control() { plain.extend(char.escape_default()) } else { plain.push(char) }
    }
    plain
}

impl Process {
    /// Waits at most that long for its end; its code, or 128 and the number of the signal.
    fn ended(&self, most: Duration) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let begun = Instant::now();
        loop {
            let status = lock(&self.child).try_wait();
            match status {
                Ok(Some(status)) => {
                    return status.code().or_else(|| status.signal().map(|signal| 128 + signal));
                }
                Ok(None) if begun.elapsed() < most => std::thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }
}

impl Peer for Process {
    fn cut(&self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }

    fn leave(&self) {
        if self.ended(END_MOST).is_none() {
            self.cut();
        }
    }

    fn last_words(&self) -> Lost {
        let code = self.ended(END_MOST);
        // What it said last may still be on its way to here; a connection that others share holds the pipe open.
        let begun = Instant::now();
        while !self.errors.is_over.load(Ordering::Relaxed) && begun.elapsed() < ERRORS_MOST {
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = told(&lock(&self.errors.tail), self.errand.voice);
        let is_missing = matches!(code, Some(126 | 127));
        let why = if is_missing || REFUSALS.iter().any(|refusal| said.contains(refusal)) {
            Why::Refused
        } else {
            Why::Gone
        };
        let words = match (said.is_empty(), code) {
            (false, _) => format!("{}: {said}", self.name),
            (true, Some(code)) => format!("{} ended with exit code {code}", self.name),
            (true, None) => format!("{} closed the connection", self.name),
        };
        match self.errand.missing {
            Some(hint) if is_missing => Lost { why, words: format!("{words}; {hint}") },
            _ => Lost { why, words },
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.cut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_has_set_is_not_overruled() {
        let all = own_options("serveraliveinterval 0\nconnecttimeout none\n", false).join(" ");
        for option in
            ["ServerAliveInterval=30", "ConnectTimeout=30", "BatchMode=yes", "ClearAllForwardings=yes"]
        {
            assert!(all.contains(&format!("-o {option}")), "{all}");
        }
        for configured in ["serveraliveinterval 10\nconnecttimeout 5\n", ""] {
            let all = own_options(configured, true).join(" ");
            for option in ["ServerAlive", "ConnectTimeout", "BatchMode"] {
                assert!(!all.contains(option), "{all}");
            }
        }
    }

    const FILES: Errand =
        Errand { name: "sftp", is_subsystem: true, words: &["sftp"], missing: None, voice: None };

    #[test]
    fn host_user_and_port_are_arguments_of_ssh_and_nothing_else() {
        let place = Place::parse("//me@nas:2222/x").unwrap();
        let options = Options { ssh: vec!["/opt/wrapper".into(), "-v".into()], ..Options::default() };
        assert_eq!(
            words(&place, &options, &FILES),
            ["/opt/wrapper", "-v", "-p", "2222", "-l", "me", "-s", "nas", "sftp"]
        );
        let options = Options { command: Some(vec!["server".into(), "-x".into()]), ..Options::default() };
        assert_eq!(words(&place, &options, &FILES), ["server", "-x"]);
        let place = Place::parse("nas:x").unwrap();
        let options = Options { ssh: vec!["/no/such/ssh".into()], ..Options::default() };
        let files = words(&place, &options, &FILES);
        assert_eq!(files.last_chunk().unwrap(), &["-s", "--", "nas", "sftp"].map(str::to_owned));
        let command = Errand { is_subsystem: false, words: &["copal", "serve"], ..FILES };
        let command = words(&place, &options, &command);
        assert_eq!(command.last_chunk().unwrap(), &["--", "nas", "copal", "serve"].map(str::to_owned));
        assert!(!command.contains(&"-s".to_owned()));
    }

    #[test]
    fn the_last_lines_are_told_on_one_line_without_escapes() {
        let said = b"@@@@@@@@\nbanner\nlast but one\r\n\x1b[31mPermission denied\n\n";
        assert_eq!(told(said, Some("copal: ")), "last but one; \\u{1b}[31mPermission denied");
        assert_eq!(told(b"", None), "");
        assert!(told(&[b'x'; 9000], None).len() <= LINE_MOST);
        let own = b"banner\ncopal: no such option\n  Usage: copal serve\n";
        assert_eq!(told(own, Some("copal: ")), "copal: no such option");
    }
}
