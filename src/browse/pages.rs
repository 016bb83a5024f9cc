//! The pages that are no lists: help, a text, the questions before a restore, its progress, and messages.

use super::draw::Page;
use super::over::{Over, Told, Wanted};
use super::state::State;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::time;

const HELP: &str = "\
Up Down PgUp PgDn Home End   move
Enter or Right               open a snapshot or a folder, look at a file
Left or Backspace            the folder above
q or Esc                     where you were before; from the snapshots: the end
/                            filter: only what holds these letters. Enter keeps
                             it, Esc shows everything again
s                            folders first, or all by name
n p                          the next part of a very long folder, the one before
v                            versions of what is chosen; Enter shows one in the
                             last snapshot that holds it
t                            look at the text of a file (its first MiB)
Space                        mark, or take the mark back
r                            restore what is marked, or else what is chosen. You
                             are asked where to. What is there is never replaced
Ctrl-L                       draw the screen anew
Ctrl-C                       the end, also amid something

In front of an entry: > chosen, * marked, ! can not be read.
In names, what can not be shown is written \\n, \\xff and so on.";

fn plain(text: &str) -> Vec<(String, bool)> {
    text.lines().map(|line| (line.to_owned(), false)).collect()
}

pub fn help() -> Page {
    Page { title: "copal: keys".to_owned(), lines: plain(HELP), keys: "any key: back", ..Page::default() }
}

/// Of what lies over the lists; the versions are a list themselves.
pub fn over(state: &State, over: &Over) -> Page {
    match over {
        Over::None | Over::Versions(_) => Page::default(),
        Over::Text(text) => Page {
            title: text.name.clone(),
            head: text.note.clone(),
            lines: text.in_sight(state.body()).map(|line| (line.to_owned(), false)).collect(),
            status: place(text.top, text.len(), state.body()),
            keys: "?:help q:back Up Down PgUp PgDn Home End",
        },
        Over::Told(Told { title, text }) => Page {
            title: format!("copal: {title}"),
            lines: text.in_sight(state.body()).map(|line| (line.to_owned(), false)).collect(),
            status: place(text.top, text.len(), state.body()),
            keys: "Enter:on PgUp PgDn",
            ..Page::default()
        },
        Over::Ask(wanted) => Page {
            lines: plain(&format!(
                "{}\n\nto the folder (it is made where it is not there):\n\n  {}_",
                what(state, wanted),
                wanted.target
            )),
            keys: "Enter:on Esc:no restore Ctrl-U:empty",
            ..asked()
        },
        Over::Confirm(wanted) => Page {
            lines: plain(&format!(
                "{}\n\nto the folder\n\n  {}\n\nWhat is there already and differs is never replaced: a single file is put\nbeside it, and anything else is refused before something is written.\n\nRestore? y/n",
                what(state, wanted),
                wanted.target
            )),
            keys: "y:restore n:no",
            ..asked()
        },
        Over::Restoring(wanted, progress) => Page {
            lines: plain(&format!(
                "{}\n\nto {}\n\n{}, {}{}\n{}",
                what(state, wanted),
                wanted.target,
                show_count(progress.files, "file"),
                show_size(progress.bytes),
                match progress.problems {
                    0 => String::new(),
                    count => format!(", {}", show_count(count, "problem")),
                },
                progress.now
            )),
            keys: "Esc:stop",
            ..asked()
        },
    }
}

fn asked() -> Page {
    Page { title: "copal: restore".to_owned(), ..Page::default() }
}

fn what(state: &State, wanted: &Wanted) -> String {
    let snapshot = &state.snapshots[wanted.snapshot];
    format!("{}\nof snapshot {} of {}", wanted.what, snapshot.id, time::show(snapshot.time))
}

/// Which rows of how many are in sight.
fn place(top: usize, rows: usize, height: usize) -> String {
    match rows {
        0 => "empty".to_owned(),
        rows if rows <= height => String::new(),
        rows => format!("lines {} to {} of {rows}", top + 1, (top + height).min(rows)),
    }
}
