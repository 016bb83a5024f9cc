//! The progress bar: three lines on standard error, only when that is a terminal, drawn a few times a second.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::escape::escape;
use super::size::{show_count, show_size};
use crate::locks::lock;

/// How often the bar is drawn when `COPAL_PROGRESS_FPS` says nothing.
const FRAMES_PER_SECOND: f64 = 10.0;
/// What the bar looks like while the end is known, and while it is not.
const WITH_TOTAL: &str =
    "[{elapsed}] {percent:>3}% [{wide_bar}] {binary_bytes_per_sec}, {eta} left\n{prefix}\n{wide_msg}";
const WITHOUT_TOTAL: &str = "[{elapsed}] {binary_bytes_per_sec}\n{prefix}\n{wide_msg}";

/// How far the work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position<'a> {
    pub bytes_done: u64,
    /// Nothing while the total is not known.
    pub bytes_total: Option<u64>,
    pub files_done: u64,
    pub files_total: Option<u64>,
    /// The file being worked on.
    pub current: &'a [u8],
    pub errors: u64,
}

/// A bar, or nothing at all where none is wanted.
pub struct Bar {
    drawn: Option<Drawn>,
}

/// A bar that is seen.
struct Drawn {
    bar: ProgressBar,
    interval: Duration,
    state: Mutex<State>,
}

/// When the bar was last drawn and in which style.
struct State {
    last: Option<Instant>,
    has_total: bool,
}

impl Bar {
    /// A bar on standard error when `wanted` (neither quiet nor JSON) and that is a terminal. `frames` is the value of
    /// `COPAL_PROGRESS_FPS`; an error when it is no number above 0 and up to 60.
    pub fn new(wanted: bool, frames: Option<&str>) -> Result<Bar, String> {
        let interval = interval(frames)?;
        if !wanted || !std::io::stderr().is_terminal() {
            return Ok(Bar::hidden());
        }
        Ok(Bar::on(ProgressDrawTarget::stderr_with_hz(60), interval))
    }

    /// No bar.
    pub fn hidden() -> Bar {
        Bar { drawn: None }
    }

    /// A bar on any target.
    fn on(target: ProgressDrawTarget, interval: Duration) -> Bar {
        let bar = ProgressBar::with_draw_target(None, target).with_style(style(WITHOUT_TOTAL));
        Bar {
            drawn: Some(Drawn { bar, interval, state: Mutex::new(State { last: None, has_total: false }) }),
        }
    }

    /// Whether anything is drawn, so that the caller may save itself the counting.
    pub fn is_hidden(&self) -> bool {
        self.drawn.is_none()
    }

    /// Shows that position when it is time for the next frame; cheap otherwise.
    pub fn set(&self, position: Position<'_>) {
        let Some(drawn) = &self.drawn else { return };
        // A thread that finds another one drawing has nothing to add.
        let Ok(mut state) = drawn.state.try_lock() else { return };
        let now = Instant::now();
        if state.last.is_some_and(|last| now.duration_since(last) < drawn.interval) {
            return;
        }
        state.last = Some(now);
        if let Some(total) = position.bytes_total {
            if !state.has_total {
                drawn.bar.set_style(style(WITH_TOTAL));
                state.has_total = true;
            }
            drawn.bar.set_length(total.max(position.bytes_done));
        }
        drawn.bar.set_prefix(counts(position));
        drawn.bar.set_message(escape(position.current).into_owned());
        drawn.bar.set_position(position.bytes_done);
        drawn.bar.tick();
    }

    /// Writes a line to standard error without tearing the bar; also when there is no bar.
    pub fn line(&self, text: &str) {
        // A message that nobody can read is no reason to fail.
        let write = || drop(writeln!(std::io::stderr(), "{text}"));
        match &self.drawn {
            Some(drawn) => {
                let _state = lock(&drawn.state);
                drawn.bar.suspend(write);
            }
            None => write(),
        }
    }

    /// Does `work`, which writes to standard error, without tearing the bar.
    pub fn suspend(&self, work: impl FnOnce()) {
        match &self.drawn {
            Some(drawn) => drawn.bar.suspend(work),
            None => work(),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(drawn) = &self.drawn {
            drawn.bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    /// Leaves a clean line behind, also after an error.
    fn drop(&mut self) {
        self.finish();
    }
}

/// The time between two frames.
fn interval(frames: Option<&str>) -> Result<Duration, String> {
    let frames = match frames.map(str::trim) {
        None | Some("") => FRAMES_PER_SECOND,
        Some(text) => text
            .parse()
            .ok()
            .filter(|frames| *frames > 0.0 && *frames <= 60.0)
            .ok_or_else(|| format!("COPAL_PROGRESS_FPS: '{text}' is not a number above 0 and up to 60"))?,
    };
    // At most an hour, so that a tiny number is no overflow.
    Ok(Duration::from_secs_f64((1.0 / frames).min(3600.0)))
}

/// A style from its template.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Bytes, files and errors in words.
fn counts(position: Position<'_>) -> String {
    let mut out = show_size(position.bytes_done);
    if let Some(total) = position.bytes_total {
        out = format!("{out} of {}", show_size(total));
    }
    out = match position.files_total {
        Some(total) => format!("{out}, {} of {}", position.files_done, show_count(total, "file")),
        None => format!("{out}, {}", show_count(position.files_done, "file")),
    };
    match position.errors {
        0 => out,
        errors => format!("{out}, {}", show_count(errors, "error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_in_words() {
        let mut position = Position { bytes_done: 1536, files_done: 3, ..Position::default() };
        assert_eq!(counts(position), "1.50 KiB, 3 files");
        position = Position { bytes_total: Some(1 << 20), files_total: Some(9), errors: 2, ..position };
        assert_eq!(counts(position), "1.50 KiB of 1.00 MiB, 3 of 9 files, 2 errors");
        position = Position { files_done: 1, files_total: None, errors: 1, ..position };
        assert_eq!(counts(position), "1.50 KiB of 1.00 MiB, 1 file, 1 error");
        position = Position { files_total: Some(1), errors: 0, ..position };
        assert_eq!(counts(position), "1.50 KiB of 1.00 MiB, 1 of 1 file");
    }

    #[test]
    fn the_frame_rate_is_read_strictly() {
        assert_eq!(interval(None), Ok(Duration::from_millis(100)));
        assert_eq!(interval(Some("")), Ok(Duration::from_millis(100)));
        assert_eq!(interval(Some("0.5")), Ok(Duration::from_secs(2)));
        for wrong in ["0", "-1", "61", "NaN", "inf", "ten"] {
            assert!(interval(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Bar::new(false, Some("ten")).is_err());
    }

    #[test]
    fn a_hidden_bar_does_nothing_and_styles_are_sound() {
        let hidden = Bar::new(false, None).unwrap();
        assert!(hidden.is_hidden());
        hidden.set(Position::default());
        hidden.finish();
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
        let bar = Bar::on(ProgressDrawTarget::hidden(), Duration::ZERO);
        bar.set(Position { bytes_done: 5, bytes_total: Some(3), current: b"a\nb", ..Position::default() });
        assert_eq!(
            (bar.drawn.as_ref().unwrap().bar.length(), bar.drawn.as_ref().unwrap().bar.message()),
            (Some(5), "a\\nb".into())
        );
    }
}
