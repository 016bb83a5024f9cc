//! The terminal itself: taken over, read, drawn on, and given back in any case.

use std::io::{self, Stdout, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use rustix::termios::tcgetattr;

use super::draw::draw;
use super::key::Key;
use super::message::{Effect, Reply};
use super::state::State;
use super::work::Job;
use crate::model::clock::Clock;

/// How long nothing may happen until signals and the terminal are looked at.
const IDLE: Duration = Duration::from_millis(200);
/// How often who listens for keys looks whether anybody wants them.
const LISTENS: Duration = Duration::from_millis(50);
/// How long that is waited for at the end.
const LEAVES: Duration = Duration::from_millis(500);
/// Replies that are taken before the screen is drawn and keys are looked at.
const REPLIES: usize = 100;

/// A terminal that is ours until this is dropped, by an error or a panic too.
struct Taken {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

/// Gives the terminal back.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        let mut out = io::stdout();
        // Each by itself: what can be put back is.
        let _ = execute!(out, DisableBracketedPaste);
        let _ = execute!(out, LeaveAlternateScreen);
        let _ = execute!(out, Show);
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

impl Taken {
    fn new() -> io::Result<(Taken, Back)> {
        enable_raw_mode()?;
        let back = Back;
        execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        terminal.clear()?;
        Ok((Taken { terminal }, back))
    }

    fn draw(&mut self, state: &mut State) -> io::Result<()> {
        self.terminal.draw(|frame| {
            let area = frame.area();
            state.size = (area.width, area.height);
            state.settle();
            draw(state, frame.buffer_mut());
        })?;
        Ok(())
    }
}

/// The key that an event is.
fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if is_control => Key::Interrupt,
        KeyCode::Char('l') if is_control => Key::Redraw,
        KeyCode::Char('u') if is_control => Key::Clear,
        KeyCode::Char(_) if is_control || event.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

/// Listens for keys in a thread that nobody waits for long: crossterm never comes back from a terminal that went away.
struct Listener {
    events: Receiver<io::Result<Event>>,
    is_over: Arc<AtomicBool>,
    gone: Receiver<()>,
}

impl Listener {
    fn new() -> Listener {
        let (sender, events) = crossbeam_channel::unbounded();
        let (leaving, gone) = crossbeam_channel::bounded(1);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let event = match event::poll(LISTENS) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let is_failed = event.is_err();
                if sender.send(event).is_err() || is_failed {
                    break;
                }
            }
            drop(leaving);
        });
        Listener { events, is_over, gone }
    }
}

impl Drop for Listener {
    /// What is typed from then on is for others.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _: Result<(), _> = self.gone.recv_timeout(LEAVES);
    }
}

/// The work that was asked for last.
struct Asked<'a> {
    jobs: &'a Sender<Job>,
    number: u64,
    stop: Arc<AtomicBool>,
}

impl Asked<'_> {
    /// Does what a key wants; the end, when it is one: whether by Ctrl-C.
    fn effect(&mut self, effect: Effect) -> Option<bool> {
        match effect {
            Effect::End { is_interrupted } => return Some(is_interrupted),
            Effect::Stop => self.stop.store(true, Ordering::Relaxed),
            Effect::Work(work) => {
                self.stop.store(true, Ordering::Relaxed);
                self.number += 1;
                self.stop = Arc::default();
                let job = Job { number: self.number, work, stop: self.stop.clone() };
                // A worker is there as long as this is.
                let _ = self.jobs.send(job);
            }
            Effect::None | Effect::Redraw => {}
        }
        None
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Shows the state and takes keys until the end; whether Ctrl-C or a signal was it. The terminal is as it was then.
pub fn show(
    state: &mut State,
    jobs: &Sender<Job>,
    replies: &Receiver<(u64, Reply)>,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let (mut screen, _back) = Taken::new()?;
    let mut asked = Asked { jobs, number: 0, stop: Arc::default() };
    let listener = Listener::new();
    screen.draw(state)?;
    loop {
        let mut is_new = true;
        crossbeam_channel::select! {
            recv(listener.events) -> event => {
                let mut events = vec![event.unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()))?];
                // All that are there: whoever holds a key down is not behind the screen.
                for event in listener.events.try_iter() {
                    events.push(event?);
                }
                for event in events {
                    let effect = take(state, event, clock);
                    if effect == Effect::Redraw {
                        screen.terminal.clear()?;
                    }
                    if let Some(is_interrupted) = asked.effect(effect) {
                        return Ok(is_interrupted);
                    }
                }
            }
            recv(replies) -> reply => {
                // The worker is there as long as this is.
                let first = reply.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
                for (number, reply) in std::iter::once(first).chain(replies.try_iter().take(REPLIES)) {
                    // What was asked for before is for nobody.
                    if number == asked.number {
                        state.take(reply);
                    }
                }
            }
            default(IDLE) => is_new = false,
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(true);
        }
        // A terminal that went away says nothing by itself.
        tcgetattr(io::stdin())?;
        if is_new {
            screen.draw(state)?;
        }
    }
}

/// Lets the state take an event.
fn take(state: &mut State, event: Event, clock: &dyn Clock) -> Effect {
    match event {
        Event::Key(event) => key(event).map_or(Effect::None, |key| {
            state.now = clock.now();
            state.key(key)
        }),
        Event::Paste(text) => {
            state.paste(&text);
            Effect::None
        }
        _ => Effect::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says to a child of this test program that it is in a terminal of its own.
    const CHILD: &str = "COPAL_TEST_TERMINAL";

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(CHILD).is_some() {
            let (_screen, _back) = Taken::new().unwrap();
            panic!("slipped");
        }
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        // `script` gives it a terminal; what it is told and how it is left goes to a file.
        let name = "browse::screen::tests::a_panic_gives_the_terminal_back";
        let run = format!(
            "{CHILD}=1 {} --exact --nocapture {name}; echo ended with $?; stty -a",
            crate::terminal::shell::word(program.as_os_str().as_encoded_bytes())
        );
        let told = folder.path().join("told");
        let mut command = std::process::Command::new("script");
        command.args(["-q", "-c", &run]).arg(&told).env("TERM", "xterm");
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        assert!(command.status().unwrap().success());
        let told = String::from_utf8_lossy(&std::fs::read(told).unwrap()).into_owned();
        let last = |text: &str| told.rfind(text).unwrap_or_else(|| panic!("no {text:?} in {told:?}"));
        let ended = last("ended with 101");
        // Taken over before, and given back before the shell went on.
        let (taken, left, shown) = (last("\x1b[?1049h"), last("\x1b[?1049l"), last("\x1b[?25h"));
        assert!(taken < left && left < ended && shown < ended, "{told:?}");
        let mode = &told[ended..];
        assert!(mode.contains(" icanon") && mode.contains(" echo ") && !mode.contains("-icanon"), "{mode}");
    }
}
