//! Draws the state: text, bold and reversed, no colours; what is chosen also has a `>` before it.

use ratatui::buffer::Buffer;
use ratatui::style::{Modifier, Style};
use unicode_width::UnicodeWidthChar;

use super::folder::{Folder, Read};
use super::list::List;
use super::message::{Entry, Row, shown};
use super::over::{Over, Versions};
use super::pages;
use super::part::ENTRIES_MOST;
use super::snapshot::SnapshotRow;
use super::state::{STOPPING, State};
use crate::model::{NodeType, Time};
use crate::terminal::escape::escape;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::time;

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// A page: what each line of the screen says.
#[derive(Debug, Default)]
pub struct Page {
    pub title: String,
    /// What the columns are.
    pub head: String,
    /// The lines in the middle, and which of them is chosen.
    pub lines: Vec<(String, bool)>,
    /// The line of news.
    pub status: String,
    pub keys: &'static str,
}

/// Draws everything.
pub fn draw(state: &State, buffer: &mut Buffer) {
    let area = buffer.area;
    let (width, height) = (usize::from(area.width), area.height);
    if width == 0 || height == 0 {
        return;
    }
    let page = page(state, width);
    let mut line = |y: u16, text: &str, style: Style| {
        if y < height {
            buffer.set_stringn(area.x, area.y + y, pad(text, width), width, style);
        }
    };
    let whole = [(page.title.as_str(), REVERSED), (page.head.as_str(), BOLD)];
    // Small screens: what is chosen counts more than heads and keys.
    let top = match height {
        0..=2 => &whole[..0],
        3..=4 => &whole[..1],
        _ => &whole[..],
    };
    for (y, (text, style)) in (0..).zip(top) {
        line(y, text, *style);
    }
    let bottom = if height >= 5 { 2 } else { u16::from(height >= 2) };
    let room = height - top.len() as u16 - bottom;
    // What is chosen is in sight also where less is than was counted on.
    let chosen = page.lines.iter().position(|(_, is_chosen)| *is_chosen).unwrap_or(0);
    let skipped = (chosen + 1).saturating_sub(usize::from(room));
    for (y, (text, is_chosen)) in
        (top.len() as u16..).zip(page.lines.iter().skip(skipped).take(usize::from(room)))
    {
        line(y, text, if *is_chosen { REVERSED } else { PLAIN });
    }
    if height >= 5 {
        line(height - 1, page.keys, REVERSED);
    }
    if bottom > 0 {
        line(height - bottom, &page.status, PLAIN);
    }
}

fn page(state: &State, width: usize) -> Page {
    let mut page = if state.has_help {
        pages::help()
    } else {
        match &state.over {
            Over::None => match &state.folder {
                Some(folder) => folder_page(state, folder, width),
                None => snapshots_page(state),
            },
            Over::Versions(versions) => versions_page(state, versions),
            over => pages::over(state, over),
        }
    };
    if let Some(busy) = &state.busy {
        let esc = if busy == STOPPING { "" } else { " (Esc stops it)" };
        page.status = format!("{busy} ...{esc}");
    }
    if !state.notice.is_empty() {
        page.status = state.notice.clone();
    }
    page
}

/// What is in sight of a list, each line after its mark.
fn lines(state: &State, list: &List, line: &dyn Fn(usize) -> String) -> Vec<(String, bool)> {
    let chosen = list.chosen();
    let rows = list.in_sight(state.body());
    rows.map(|row| {
        let is_chosen = chosen == Some(row);
        (format!("{}{}", if is_chosen { '>' } else { ' ' }, line(row)), is_chosen)
    })
    .collect()
}

/// The filter, or how many there are.
fn status(list: &List, count: String) -> String {
    match (list.is_typing, list.filter.is_empty()) {
        (true, _) => format!("/{}_", list.filter),
        (false, false) => format!("{} of {count} with \"{}\" (Esc shows all)", list.len(), list.filter),
        (false, true) if list.is_empty() => count,
        (false, true) => format!("{} of {count}", list.place() + 1),
    }
}

fn snapshots_page(state: &State) -> Page {
    let widest = |text: fn(&SnapshotRow) -> &str| {
        let widths = state.snapshots.iter().map(|row| columns(text(row)));
        widths.max().unwrap_or(0).clamp(4, 16)
    };
    let (host, tags) = (widest(|row| &row.host), widest(|row| &row.tags));
    let line = |row: usize| {
        let row = &state.snapshots[row];
        let mark = if row.is_incomplete { '!' } else { ' ' };
        format!(
            "{mark}{}  {}  {}  {:>8}  {}",
            time::show(row.time),
            pad(&row.host, host),
            pad(&row.tags, tags),
            show_size(row.size),
            row.paths
        )
    };
    Page {
        title: "copal: snapshots".to_owned(),
        head: format!("  {:<19}  {:<host$}  {:<tags$}  {:>8}  Paths", "Time", "Host", "Tags", "Size"),
        lines: lines(state, &state.list, &line),
        status: status(&state.list, show_count(state.snapshots.len() as u64, "snapshot")),
        keys: "?:help q:end Enter:open /:filter r:restore   (! something could not be read)",
    }
}

fn folder_page(state: &State, folder: &Folder, width: usize) -> Page {
    let marks = (state.marked_in == folder.snapshot).then_some(&state.marks);
    let line = |row: usize| match &folder.rows[row] {
        Row::Broken(what) => format!("! {what}"),
        Row::Entry(entry) => {
            let is_marked = marks.is_some_and(|marks| marks.contains(&folder.below(&entry.name)));
            let name = named(entry);
            let mark = if is_marked { '*' } else { ' ' };
            match width {
                0..=29 => format!("{mark} {name}"),
                30..=59 => format!("{mark}{:>10}  {name}", size(entry)),
                _ => format!("{mark}{:>10}  {}  {name}", size(entry), shown_time(entry.mtime)),
            }
        }
    };
    let snapshot = &state.snapshots[folder.snapshot];
    let mut status = status(&folder.list, show_count(folder.rows.len() as u64, "entry"));
    if folder.part > 0 {
        status += &format!("; p: the {ENTRIES_MOST} before ({} in all)", folder.part * ENTRIES_MOST);
    }
    if folder.after > 0 {
        status += &format!("; n: the next of {} more", folder.after);
    }
    if folder.read == Read::Stopped {
        status += "; not all of it was read";
    }
    if let Some(marks) = marks.filter(|marks| !marks.is_empty()) {
        status += &format!("; {} marked", marks.len());
    }
    Page {
        title: {
            let of = format!(" of {} ({} {})", time::show(snapshot.time), snapshot.host, snapshot.id);
            end_of(&folder.shown(), width.saturating_sub(columns(&of))) + &of
        },
        head: match width {
            0..=29 => "  Name".to_owned(),
            30..=59 => format!("  {:>10}  Name", "Size"),
            _ => format!("  {:>10}  {:<19}  Name", "Size", "Changed"),
        },
        lines: lines(state, &folder.list, &line),
        status,
        keys: "?:help q:back Enter:open Left:up /:filter v:versions t:text Space:mark r:restore",
    }
}

fn versions_page(state: &State, versions: &Versions) -> Page {
    let line = |row: usize| {
        let version = &versions.rows[row];
        let size = match version.kind {
            NodeType::File => show_size(version.size),
            kind => kind.name().to_owned(),
        };
        let [changed, first, last] = [version.mtime, version.first, version.last].map(minutes);
        let count = version.count;
        format!(" {changed}  {size:>9}  {first}  {last}  {count:>5}  {}", version.note)
    };
    let mut status = status(&versions.list, show_count(versions.rows.len() as u64, "version"));
    let chosen = versions.list.chosen().and_then(|row| versions.rows.get(row));
    if let Some(version) = chosen.filter(|version| !version.note.is_empty()) {
        status += &format!("; {}", version.note);
    }
    if !versions.doubts.is_empty() {
        status = format!("{status}; {}", versions.doubts.join("; "));
    }
    Page {
        title: format!("versions of {}", escape(&shown(&versions.path))),
        head: format!("  {:<16}  {:>9}  {:<16}  {:<16}  Count", "Changed", "Size", "In snapshots of", "to"),
        lines: lines(state, &versions.list, &line),
        status,
        keys: "?:help q:back Enter:show it in the last of its snapshots /:filter",
    }
}

/// An entry's name, with what it is where that says something.
fn named(entry: &Entry) -> String {
    let name = escape(&entry.name);
    let mut text = match entry.kind {
        NodeType::Directory => format!("{name}/"),
        NodeType::Symlink => format!("{name} -> {}", escape(&entry.target)),
        _ => name.into_owned(),
    };
    if let Some(remark) = &entry.remark {
        text += &format!("  ({remark})");
    }
    text
}

fn size(entry: &Entry) -> String {
    match entry.kind {
        NodeType::File => show_size(entry.size),
        kind => kind.name().to_owned(),
    }
}

fn shown_time(time: Time) -> String {
    format!("{:<19}", time::show(time))
}

/// A time without its seconds.
fn minutes(time: Time) -> String {
    let text = time::show(time);
    let short = text.get(..16).filter(|_| text.len() == 19).map(str::to_owned);
    short.unwrap_or(text)
}

fn columns(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// The text, cut so that it takes no more columns; what is cut says so.
fn fit(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let (mut out, mut taken) = (String::new(), 1);
    for character in text.chars() {
        taken += character.width().unwrap_or(0);
        if taken > most {
            break;
        }
        out.push(character);
    }
    out + "…"
}

/// The end of a text that takes no more columns: of a long path it says most.
fn end_of(text: &str, most: usize) -> String {
    let mut left = columns(text);
    if left <= most {
        return text.to_owned();
    }
    let rest = text.chars().skip_while(|character| {
        let is_cut = left + 1 > most;
        left -= character.width().unwrap_or(0);
        is_cut
    });
    rest.fold("…".to_owned(), |mut out, character| {
        out.push(character);
        out
    })
}

/// The text, cut or filled up with blanks to just so many columns.
fn pad(text: &str, width: usize) -> String {
    let text = fit(text, width);
    let blanks = width.saturating_sub(columns(&text));
    text + &" ".repeat(blanks)
}
