//! Listens to a running verb for a person at a terminal, for a log, or for a program.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::context::{Context, eprint_line};
use super::exit::Failure;
use super::problem::{Message, Problem};
use crate::locks::lock;
use crate::progress::{Event, FileStatus, Listener};
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::progress::{Bar, Position};
use crate::terminal::size::show_size;

/// How often a status line goes to a program.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Problems of one kind that are told one by one without `-v`.
const TOLD: usize = 3;
/// Kinds of which all are told: there are as many as somebody typed, and each is another matter.
const ALL_TOLD: [&str; 1] = ["command_failed"];

#[derive(Default)]
struct State {
    bytes: u64,
    bytes_total: Option<u64>,
    files: u64,
    files_total: Option<u64>,
    errors: u64,
    current: Vec<u8>,
    problems: BTreeMap<&'static str, (u64, Vec<String>)>,
    status: Option<Instant>,
}

/// Shows events as they come and problems at the end.
pub struct Show<'c> {
    context: &'c Context<'c>,
    bar: Bar,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Serialize)]
struct Status<'a> {
    seconds_elapsed: u64,
    percent_done: f64,
    total_files: u64,
    files_done: u64,
    total_bytes: u64,
    bytes_done: u64,
    error_count: u64,
    current_files: Vec<std::borrow::Cow<'a, str>>,
}

#[derive(Serialize)]
struct ItemLine<'a> {
    action: &'a str,
    item: std::borrow::Cow<'a, str>,
    size: u64,
}

impl<'c> Show<'c> {
    pub fn new(context: &'c Context<'c>) -> Result<Show<'c>, Failure> {
        let wanted = !context.global.quiet && !context.global.json;
        let frames = (context.environment)("COPAL_PROGRESS_FPS");
        let frames = frames.as_ref().map(|value| value.to_string_lossy());
        let bar = Bar::new(wanted, frames.as_deref()).map_err(Failure::usage)?;
        Ok(Show { context, bar, began: Instant::now(), state: Mutex::default() })
    }

    /// For a log: no bar, also on a terminal.
    pub fn without_bar(context: &'c Context<'c>) -> Result<Show<'c>, Failure> {
        let bar = Bar::new(false, None).map_err(Failure::usage)?;
        Ok(Show { bar, ..Show::new(context)? })
    }

    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn line(&self, text: &str) {
        if self.bar.is_hidden() { eprint_line(text) } else { self.bar.line(text) }
    }

    fn to_program(&self, message_type: &str, fields: &impl Serialize) {
        // Whoever stopped reading does not stop a backup.
        if let Ok(line) = json::encode(message_type, fields) {
            let _ = self.context.out.write(line);
        }
    }

    fn status(&self, state: &mut State) {
        if self.context.global.json && !self.context.global.quiet {
            if state.status.is_some_and(|last| last.elapsed() < STATUS_EVERY) {
                return;
            }
            state.status = Some(Instant::now());
            let total = state.bytes_total.unwrap_or(0);
            let status = Status {
                seconds_elapsed: self.began.elapsed().as_secs(),
                percent_done: if total > 0 { (state.bytes as f64 / total as f64).min(1.0) } else { 0.0 },
                total_files: state.files_total.unwrap_or(0),
                files_done: state.files,
                total_bytes: total,
                bytes_done: state.bytes,
                error_count: state.errors,
                current_files: if state.current.is_empty() {
                    Vec::new()
                } else {
                    vec![json::text(&state.current)]
                },
            };
            self.to_program("status", &status);
            return;
        }
        if !self.bar.is_hidden() {
            self.bar.set(Position {
                bytes_done: state.bytes,
                bytes_total: state.bytes_total,
                files_done: state.files,
                files_total: state.files_total,
                current: &state.current,
                errors: state.errors,
            });
        }
    }

    /// That entry is the one being worked on.
    fn now_at(&self, state: &mut State, path: &[u8]) {
        if !self.bar.is_hidden() || self.context.global.json {
            state.current.clear();
            state.current.extend_from_slice(path);
        }
        self.status(state);
    }

    /// One line for an entry, when so much was asked for.
    fn item(&self, status: FileStatus, path: &[u8], size: u64) {
        let least = if status == FileStatus::Unmodified { 2 } else { 1 };
        if self.context.global.verbose < least {
            return;
        }
        let action = status.word();
        if self.context.global.json {
            self.to_program("verbose_status", &ItemLine { action, item: json::text(path), size });
        } else {
            self.line(&format!("{action:<10} {:>8}  {}", show_size(size), escape(path)));
        }
    }

    /// Ends the bar and tells the problems, one line for each kind without `-v`. How many there were.
    pub fn finish(&self) -> u64 {
        self.bar.finish();
        let state = self.lock();
        if !self.context.global.json && self.context.global.verbose == 0 {
            for (code, (count, first)) in &state.problems {
                for text in first {
                    eprint_line(&format!("copal: {text}"));
                }
                let more = count - first.len() as u64;
                if more > 0 {
                    eprint_line(&format!("copal: and {more} more of this kind ({code}); -v shows all"));
                }
            }
        }
        state.errors
    }

    /// Whether each entry is to be told of by itself.
    pub fn wants_files(&self) -> bool {
        !self.bar.is_hidden() || self.context.global.verbose > 0 || self.context.global.json
    }
}

impl Listener for Show<'_> {
    fn event(&self, event: Event<'_>) {
        let mut state = self.lock();
        match event {
            Event::Started | Event::Finished => {}
            Event::Totals { files, bytes } => {
                state.files_total = Some(files);
                state.bytes_total = Some(bytes);
            }
            Event::Bytes(bytes) => {
                state.bytes += bytes;
                self.status(&mut state);
            }
            Event::File { path, bytes, status } => {
                state.files += 1;
                self.now_at(&mut state, path);
                self.item(status, path, bytes);
            }
            Event::Folder { path, files, bytes } => {
                state.files += files;
                self.now_at(&mut state, path);
                self.item(FileStatus::Unmodified, &[path, b"/"].concat(), bytes);
            }
            Event::Item { path, bytes, status } => self.item(status, path, bytes),
            Event::Problem { path, what, code, during } => {
                state.errors += 1;
                let path = path.unwrap_or_default();
                if self.context.global.json {
                    self.to_program("error", &Problem::new(what, during, path, code));
                    return;
                }
                let text =
                    if path.is_empty() { what.to_owned() } else { format!("{}: {what}", escape(path)) };
                if self.context.global.verbose > 0 {
                    self.line(&format!("copal: {text}"));
                }
                let (count, first) = state.problems.entry(code).or_default();
                *count += 1;
                if first.len() < TOLD || ALL_TOLD.contains(&code) {
                    first.push(text);
                }
            }
            Event::Note(text) => {
                if self.context.global.json {
                    self.to_program("note", &Message { message: text });
                } else if !self.context.global.quiet {
                    self.line(text);
                }
            }
        }
    }
}
