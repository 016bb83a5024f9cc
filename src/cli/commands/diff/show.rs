//! How differences are shown: a line each, totals, one line for each folder at the top, and JSON with restic's field names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;

use super::flow;
use super::sides::Sides;
use crate::cli::arguments::Diff;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::diff::patch::Patch;
use crate::diff::{Change, Differences, Told, What};
use crate::model::NodeType;
use crate::repository::Error;
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::table::{Align, Table};

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Count {
    files: u64,
    dirs: u64,
    others: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    /// Files with other content, and entries of another type.
    changed_files: u64,
    /// Entries of which only the metadata differs.
    changed_metadata: u64,
    renamed: u64,
    unknown: u64,
    added: Count,
    removed: Count,
}

#[derive(Serialize)]
struct Line<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    modifier: &'static str,
    r#type: &'static str,
    /// Where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_hex: Option<String>,
    /// What differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Folder<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct Statistics<'a> {
    source_snapshot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_snapshot: Option<String>,
    /// The folder that is there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_path: Option<Cow<'a, str>>,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct PatchLine<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    binary: bool,
    differs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Cow<'a, str>>,
}

/// The sign of a change.
fn modifier(change: &Change) -> &'static str {
    match &change.what {
        What::Added => "+",
        What::Removed => "-",
        What::Renamed(..) => "R",
        What::Unknown(_) => "?",
        What::Changed(differences) if differences.kind => "T",
        What::Changed(differences) if differences.content => "M",
        What::Changed(_) => "U",
    }
}

impl Counts {
    fn add(&mut self, change: &Change) {
        let count = match &change.what {
            What::Added => &mut self.added,
            What::Removed => &mut self.removed,
            What::Renamed(..) => return self.renamed += 1,
            What::Unknown(_) => return self.unknown += 1,
            What::Changed(differences) if differences.kind || differences.content => {
                return self.changed_files += 1;
            }
            What::Changed(_) => return self.changed_metadata += 1,
        };
        count.bytes += change.before + change.after;
        match change.kind {
            NodeType::File => count.files += 1,
            NodeType::Directory => count.dirs += 1,
            _ => count.others += 1,
        }
    }

    fn is_empty(&self) -> bool {
        let entries = |count: &Count| count.files + count.dirs + count.others;
        let sum = self.changed_files + self.changed_metadata + self.renamed + self.unknown;
        sum + entries(&self.added) + entries(&self.removed) == 0
    }

    /// One line for each kind of change that there is.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |word: &str, what: String| text.push_str(&format!("{word:<9} {what}\n"));
        for (word, count) in [("added", &self.added), ("removed", &self.removed)] {
            let parts = [(count.files, "file"), (count.dirs, "folder"), (count.others, "other entry")];
            let parts: Vec<String> = parts
                .into_iter()
                .filter(|(number, _)| *number > 0)
                .map(|(number, one)| show_count(number, one))
                .collect();
            if !parts.is_empty() {
                line(word, format!("{}, {}", parts.join(", "), show_size(count.bytes)));
            }
        }
        if self.changed_files > 0 {
            line("changed", show_count(self.changed_files, "file"));
        }
        if self.changed_metadata > 0 {
            line("metadata", format!("of {}", show_count(self.changed_metadata, "entry")));
        }
        if self.renamed > 0 {
            line("renamed", show_count(self.renamed, "file or folder").replace("folders", "folder"));
        }
        if self.unknown > 0 {
            line("unknown", show_count(self.unknown, "entry"));
        }
        if text.is_empty() { "no differences\n".to_owned() } else { text }
    }
}

/// Shows changes as they come.
pub struct Shown<'s> {
    context: &'s Context<'s>,
    wanted: &'s Diff,
    sides: &'s Sides,
    all: Counts,
    folders: BTreeMap<Vec<u8>, Counts>,
    /// Whether all could be written so far.
    result: Result<(), Failure>,
}

impl<'s> Shown<'s> {
    pub fn new(context: &'s Context<'s>, wanted: &'s Diff, sides: &'s Sides) -> Shown<'s> {
        Shown { context, wanted, sides, all: Counts::default(), folders: BTreeMap::new(), result: Ok(()) }
    }

    /// The whole path of a change; one of a folder ends with a slash, as restic has it.
    fn path(&self, change: &Change) -> Vec<u8> {
        let base = match change.what {
            What::Removed => &self.sides.before_path,
            _ => &self.sides.after_path,
        };
        let mut path = [base, &*change.path].concat();
        if change.kind == NodeType::Directory || path.is_empty() {
            path.push(b'/');
        }
        path
    }

    /// The folder at the top that a change is counted with.
    fn top(&self, change: &Change) -> Vec<u8> {
        let top = &self.sides.top;
        let below = match change.path.strip_prefix(top.as_slice()) {
            Some(below) if below.is_empty() || below.starts_with(b"/") => below,
            _ => return [b"/", top.as_slice()].concat()[1..].to_vec(),
        };
        let first = below.iter().skip(1).position(|byte| *byte == b'/').map(|place| place + 1);
        let name = match first {
            Some(end) => &below[..end],
            None if change.kind == NodeType::Directory => below,
            None => b"",
        };
        [&self.sides.after_path, top, name].concat()
    }

    fn show(&mut self, change: &Change) -> Result<(), Failure> {
        let path = self.path(change);
        if self.context.global.json {
            let from = match &change.what {
                What::Renamed(from, _) => Some([&self.sides.before_path, &**from].concat()),
                _ => None,
            };
            let is_file = change.kind == NodeType::File;
            let line = Line {
                path: json::text(&path),
                path_hex: json::hex(&path),
                modifier: modifier(change),
                r#type: change.kind.name(),
                from: from.as_ref().map(|from| json::text(from).into_owned()),
                from_hex: from.as_ref().and_then(|from| json::hex(from)),
                differences: match &change.what {
                    What::Changed(differences) | What::Renamed(_, differences) => differences.words(),
                    _ => Vec::new(),
                },
                size_before: (is_file && !matches!(change.what, What::Added)).then_some(change.before),
                size: (is_file && !matches!(change.what, What::Removed)).then_some(change.after),
                reason: match &change.what {
                    What::Unknown(why) => Some(why),
                    _ => None,
                },
            };
            return Ok(self.context.out.json("change", &line)?);
        }
        let details = self.details(change);
        let details = if details.is_empty() { String::new() } else { format!("  ({})", details.join("; ")) };
        Ok(self.context.out.write(format!("{:<4} {}{details}\n", modifier(change), escape(&path)))?)
    }

    /// What a person is told behind the path.
    fn details(&self, change: &Change) -> Vec<String> {
        let mut details = Vec::new();
        let words = |differences: Differences| differences.words().join(", ");
        let is_file = change.kind == NodeType::File;
        match &change.what {
            What::Added if is_file => details.push(show_size(change.after)),
            What::Removed if is_file => details.push(show_size(change.before)),
            What::Added | What::Removed => {}
            What::Unknown(why) => details.push(escape(why.as_bytes()).into_owned()),
            What::Renamed(from, differences) => {
                details.push(format!("was {}", escape(&[&self.sides.before_path, &**from].concat())));
                details.push(words(*differences));
            }
            What::Changed(differences) if differences.kind => {
                details.push(format!("now a {}", change.kind.name()));
            }
            What::Changed(differences) => {
                if differences.content && is_file {
                    details.push(match change.before == change.after {
                        true => show_size(change.after),
                        false => format!("{}, now {}", show_size(change.before), show_size(change.after)),
                    });
                }
                // That the content differs is said by the sign, and its time goes with it.
                let times = differences.times && !differences.content;
                details.push(words(Differences { content: false, times, ..*differences }));
            }
        }
        details.retain(|detail| !detail.is_empty());
        details
    }

    /// Shows what is told at the end.
    pub fn finish(self) -> Result<(), Failure> {
        self.result?;
        let Shown { context, wanted, sides, all, folders, .. } = self;
        if context.global.json {
            for (path, counts) in folders.iter().filter(|_| wanted.stat) {
                let path = if path.is_empty() { b"/" } else { path.as_slice() };
                let line = Folder { path: json::text(path), path_hex: json::hex(path), counts: *counts };
                context.out.json("folder", &line)?;
            }
            let statistics = Statistics {
                source_snapshot: sides.before_named.name.to_string(),
                target_snapshot: sides.after_named.as_ref().map(|named| named.name.to_string()),
                target_path: sides.after_named.is_none().then(|| json::text(&sides.after_path)),
                counts: all,
            };
            return Ok(context.out.json("statistics", &statistics)?);
        }
        if wanted.stat && !all.is_empty() {
            context.out.write(table(&folders).show())?;
        }
        if !context.global.quiet || wanted.stat {
            context.out.write(all.text())?;
        }
        Ok(())
    }
}

fn table(folders: &BTreeMap<Vec<u8>, Counts>) -> Table {
    let right = Align::Right;
    let mut table = Table::new(&[
        ("Folder", Align::Cut),
        ("Added", right),
        ("Removed", right),
        ("Changed", right),
        ("Metadata", right),
        ("Renamed", right),
        ("Unknown", right),
        ("Bytes added", right),
        ("Bytes removed", right),
    ]);
    for (path, counts) in folders {
        let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let entries = |count: &Count| number(count.files + count.dirs + count.others);
        let bytes = |bytes: u64| if bytes == 0 { String::new() } else { show_size(bytes) };
        table.row([
            if path.is_empty() { "/".to_owned() } else { escape(path).into_owned() },
            entries(&counts.added),
            entries(&counts.removed),
            number(counts.changed_files),
            number(counts.changed_metadata),
            number(counts.renamed),
            number(counts.unknown),
            bytes(counts.added.bytes),
            bytes(counts.removed.bytes),
        ]);
    }
    table
}

impl Told for Shown<'_> {
    fn change(&mut self, change: &Change) -> ControlFlow<()> {
        if change.is_idle() && !self.wanted.metadata {
            return ControlFlow::Continue(());
        }
        self.all.add(change);
        if self.wanted.stat {
            let top = self.top(change);
            self.folders.entry(top).or_default().add(change);
        } else {
            self.result = self.show(change);
        }
        flow(&self.result)
    }

    fn damage(&mut self, path: &[u8], error: &Error) {
        let path = [&self.sides.after_path, path].concat();
        self.context.warn(&format!("{}/: {error}", escape(&path)));
    }
}

/// Shows a patch.
pub fn patch(context: &Context<'_>, path: &[u8], patch: &Patch) -> Result<(), Failure> {
    if context.global.json {
        let line = PatchLine {
            path: json::text(path),
            path_hex: json::hex(path),
            binary: *patch == Patch::Binary,
            differs: *patch != Patch::Same,
            patch: match patch {
                Patch::Text(text) => Some(json::text(text)),
                _ => None,
            },
        };
        return Ok(context.out.json("patch", &line)?);
    }
    match patch {
        Patch::Same => {}
        Patch::Binary => context.out.write(format!("{} is no text, and differs\n", escape(path)))?,
        Patch::Text(text) => context.out.write(text)?,
    }
    Ok(())
}
