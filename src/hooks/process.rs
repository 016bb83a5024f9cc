//! One program with a time limit: it gets its input, its output comes line by line, and it can not hang whoever runs it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use super::lines::Lines;
use crate::program::{TICK, has_ended, is_ready};

/// How long output is waited for that others still hold open after the program itself has ended.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are taken from the pipe at once.
const READ_BYTES: usize = 16 << 10;

/// What a program is held to.
pub struct Limits<'a> {
    pub time: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Ends the program when it is set; without one nothing does before the time is over.
    pub stop: Option<&'a AtomicBool>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Done(ExitStatus),
    /// It took too long; `killed` when it did not heed SIGTERM.
    TooLong { killed: bool },
    /// The run was stopped meanwhile.
    Stopped { killed: bool },
}

/// Runs `command` in a process group of its own, with `input` on its standard input, which it need not read, and gives `each` every line of
/// its output and of its errors, as bytes. At its limit the whole group is ended. Programs that it leaves behind are not waited for, nor is
/// what they would still say.
pub fn run(
    mut command: Command,
    input: &[u8],
    limits: &Limits<'_>,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<Ending> {
    let (mut output, writer) = io::pipe()?;
    command.stdin(file_of(input)?).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let begun = Instant::now();
    let mut child = Running(command.spawn()?);
    // It holds the writing ends: while it is there, the pipe never ends.
    drop(command);
    let id = Pid::from_child(&child.0);
    let mut lines = Lines::default();
    let mut is_open = true;
    let mut ending = None;
    while !has_ended(id)? {
        if let Some(wanted) = wish(begun.elapsed(), limits) {
            ending = Some(wanted);
            break;
        }
        listen(&mut output, &mut is_open, TICK, &mut lines, each)?;
    }
    let ending = match ending {
        None => None,
        Some(wanted) => {
            signal(id, Signal::TERM);
            let told = Instant::now();
            // Until it has ended and nobody holds its output any more, which is how those that it started are noticed.
            let mut is_gone = false;
            while (!is_gone || is_open) && told.elapsed() < limits.grace {
                listen(&mut output, &mut is_open, TICK, &mut lines, each)?;
                is_gone = has_ended(id)?;
            }
            // Whatever is left of its group.
            signal(id, Signal::KILL);
            Some(match wanted {
                Ending::Stopped { .. } => Ending::Stopped { killed: !is_gone },
                _ => Ending::TooLong { killed: !is_gone },
            })
        }
    };
    // What was said before the end; others may hold the pipe, and say more for ever.
    let ended = Instant::now();
    while is_open && ended.elapsed() < LINGER {
        listen(&mut output, &mut is_open, TICK, &mut lines, each)?;
    }
    let status = child.0.wait()?;
    lines.end(each);
    Ok(ending.unwrap_or(Ending::Done(status)))
}

/// A child that does not outlive an error on this side.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            signal(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// Why it should end now.
fn wish(passed: Duration, limits: &Limits<'_>) -> Option<Ending> {
    if limits.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
        return Some(Ending::Stopped { killed: false });
    }
    (passed >= limits.time).then_some(Ending::TooLong { killed: false })
}

/// Bytes as a file in memory: unlike with a pipe, nobody has to read them, and nobody has to wait until they are read.
fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("copal", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Tells the whole group. That nobody is left is no failure.
fn signal(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}

/// Takes what was said, waiting for it at most that long.
fn listen(
    output: &mut io::PipeReader,
    is_open: &mut bool,
    most: Duration,
    lines: &mut Lines,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    if !*is_open {
        std::thread::sleep(most);
        return Ok(());
    }
    if !is_ready(output.as_fd(), most)? {
        return Ok(());
    }
    let mut bytes = [0; READ_BYTES];
    match output.read(&mut bytes) {
        Ok(0) => *is_open = false,
        Ok(count) => lines.take(&bytes[..count], each),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::GRACE;

    fn shell(text: &str) -> Command {
        crate::program::shell(text.as_ref())
    }

    fn limits(seconds: u64) -> Limits<'static> {
        Limits { time: Duration::from_secs(seconds), grace: GRACE, stop: None }
    }

    fn said(command: Command, input: &[u8], limits: &Limits<'_>) -> (Ending, Vec<String>) {
        let mut all = Vec::new();
        let ending =
            run(command, input, limits, &mut |line| all.push(String::from_utf8_lossy(line).into_owned()));
        (ending.unwrap(), all)
    }

    fn code(ending: Ending) -> Option<i32> {
        match ending {
            Ending::Done(status) => status.code(),
            _ => None,
        }
    }

    #[test]
    fn output_and_errors_come_in_order_and_input_is_given() {
        let (ending, lines) =
            said(shell("echo a; echo b >&2; cat; printf end; exit 7"), b"in\n", &limits(60));
        assert_eq!((code(ending), lines), (Some(7), vec!["a".into(), "b".into(), "in".into(), "end".into()]));
    }

    #[test]
    fn a_large_input_may_stay_unread_or_be_read_whole() {
        let input = vec![b'x'; 8 << 20];
        assert_eq!(said(shell("exit 0"), &input, &limits(60)), (Ending::Done(ExitStatus::default()), vec![]));
        let (_, lines) = said(shell("wc -c"), &input, &limits(60));
        assert_eq!(lines, [(8 << 20).to_string()]);
    }

    #[test]
    fn a_program_that_closes_its_output_is_waited_for() {
        let (ending, lines) = said(shell("exec >&- 2>&-; read line; exit 4"), b"x\n", &limits(60));
        assert_eq!((code(ending), lines.len()), (Some(4), 0));
    }

    /// Runs until the first line is there, and asks it to stop then.
    fn stopped_at_the_first_line(text: &str, grace: Duration) -> (Ending, Vec<String>) {
        let stop = AtomicBool::new(false);
        let mut all = Vec::new();
        let limits = Limits { grace, stop: Some(&stop), ..limits(600) };
        let ending = run(shell(text), b"", &limits, &mut |line| {
            all.push(String::from_utf8_lossy(line).into_owned());
            stop.store(true, Ordering::Relaxed);
        });
        (ending.unwrap(), all)
    }

    #[test]
    fn the_whole_group_is_told_to_end_and_what_does_not_heed_is_killed() {
        let heeding = "trap 'echo told; exit 0' TERM; echo begun; while :; do sleep 0.1; done";
        let (ending, lines) = stopped_at_the_first_line(heeding, Duration::from_secs(60));
        // Between them the shell may say that what it waited for was ended.
        assert_eq!(ending, Ending::Stopped { killed: false });
        assert_eq!((lines[0].as_str(), lines[lines.len() - 1].as_str()), ("begun", "told"));
        let deaf = "trap '' TERM; echo begun; while :; do sleep 1; done";
        let (ending, lines) = stopped_at_the_first_line(deaf, Duration::from_millis(300));
        assert_eq!((ending, lines), (Ending::Stopped { killed: true }, vec!["begun".into()]));
        // It ends, and one that it started does not heed: that one is killed too, or its output would stay open.
        let half = "sh -c \"trap '' TERM; echo begun; sleep 600; sleep 600\" & wait";
        let (ending, lines) = stopped_at_the_first_line(half, Duration::from_millis(300));
        assert_eq!((ending, lines), (Ending::Stopped { killed: false }, vec!["begun".into()]));
    }

    #[test]
    fn at_its_limit_it_is_ended() {
        let short = Limits { time: Duration::from_millis(200), ..limits(0) };
        assert_eq!(said(shell("exec sleep 600"), b"", &short).0, Ending::TooLong { killed: false });
    }

    #[test]
    fn what_it_leaves_behind_with_its_output_open_is_not_waited_for() {
        let (ending, lines) = said(shell("sleep 600 & echo $!; exit 3"), b"", &limits(600));
        assert_eq!(code(ending), Some(3));
        let left = Pid::from_raw(lines[0].parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).expect("what it left behind still runs");
        // One that is never silent, in a group of its own, which no signal reaches; it ends when nobody reads it.
        let (ending, _) = said(shell("setsid yes & exit 4"), b"", &limits(600));
        assert_eq!(code(ending), Some(4));
        let (ending, lines) =
            stopped_at_the_first_line("setsid yes & exec sleep 600", Duration::from_millis(200));
        assert!(matches!(ending, Ending::Stopped { .. }) && lines[0] == "y");
    }
}
