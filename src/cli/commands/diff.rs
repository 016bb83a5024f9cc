//! `copal diff`: what differs between two snapshots, or between a snapshot and a folder.

mod show;
mod sides;

use std::ops::ControlFlow;

use crate::cli::arguments::Diff;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::{select, signals};
use crate::diff::patch::{self, Patch};
use crate::diff::{self, Options, Side};
use crate::model::{Content, NodeType};
use crate::repository::Repository;
use crate::terminal::escape::escape;
use crate::terminal::size::agree;
use crate::terminal::time;
use sides::{Sides, find};

/// Compares what the options say.
pub fn run(context: &Context<'_>, wanted: &Diff) -> Result<Code, Failure> {
    let stop = signals::stop();
    let (repository, _) = context.open_to_read()?;
    let all = select::load(context, &repository)?;
    let sides = find(context, &repository, &all, wanted)?;
    if wanted.patch {
        return show_patch(context, &repository, &sides);
    }
    if !context.global.json {
        let before = &sides.before_named;
        let after = match &sides.after_named {
            Some(named) => format!("{} of {}", named.name.short(), time::show(named.snapshot.time)),
            None => escape(&sides.after_path).into_owned(),
        };
        context.say(&format!(
            "comparing snapshot {} of {} with {after}",
            before.name.short(),
            time::show(before.snapshot.time)
        ));
    }
    let own = context.own_files().into_iter().map(|(_, id)| id).collect();
    let options = Options { content: wanted.content, own, ..Options::default() };
    let mut shown = show::Shown::new(context, wanted, &sides);
    let met = diff::diff(&repository, &sides.before, &sides.after, &options, &mut shown, stop)
        .map_err(|error| failure(&error))?;
    shown.finish()?;
    if met.without_renames {
        context.warn("too many changes to tell what was renamed: such entries are told as removed and added");
    }
    end(&sides, met)
}

/// How a comparison ends.
fn end(sides: &Sides, met: diff::Met) -> Result<Code, Failure> {
    let entries = |number: u64| agree(number, "entry or folder", "entries or folders");
    if met.damaged > 0 {
        let number = met.damaged + met.later;
        let text = format!("{number} {} could not be compared: the repository is damaged", entries(number));
        return Err(Failure::new(Code::Damaged, text)
            .with_hint("Everything else is shown. See what is hit: copal check"));
    }
    if sides.in_doubt {
        return Err(select::doubt());
    }
    if met.later > 0 {
        let text = format!(
            "{} {} of a later version",
            met.later,
            agree(met.later, "entry or folder is", "entries or folders are")
        );
        return Err(Failure::new(Code::Incomplete, text)
            .with_hint("Everything else is shown. A newer copal compares the rest."));
    }
    if met.unread > 0 {
        let text = format!("{} {} could not be read", met.unread, entries(met.unread));
        return Err(
            Failure::new(Code::Incomplete, text).with_hint("They are unknown. Everything else is shown.")
        );
    }
    Ok(Code::Done)
}

/// The bytes of the file that a side is.
fn bytes(repository: &Repository, side: &Side, path: &[u8]) -> Result<Vec<u8>, Failure> {
    let no_file =
        || Failure::usage(format!("{} is no file: --patch shows what differs in one file", escape(path)));
    let named = |error: crate::repository::Error| {
        let failure = failure(&error);
        Failure { message: format!("{}: {}", escape(path), failure.message), ..failure }
    };
    match side {
        Side::Stored { node, .. } if node.kind == NodeType::File => {
            let content: &Content = &node.content;
            patch::read(repository, content, node.size).map_err(named)
        }
        Side::Live(path) => {
            let read = std::fs::metadata(path).and_then(|metadata| match metadata.len() {
                _ if !metadata.is_file() => Ok(Err(no_file())),
                size if size > patch::SIZE_MOST => Ok(Err(Failure::new(
                    Code::Failed,
                    format!("{}: {}", path.display(), patch::too_long(size)),
                ))),
                _ => std::fs::read(path).map(Ok),
            });
            read.map_err(|error| Failure::new(Code::Failed, format!("{}: {error}", path.display())))?
        }
        _ => Err(no_file()),
    }
}

fn show_patch(context: &Context<'_>, repository: &Repository, sides: &Sides) -> Result<Code, Failure> {
    let before = bytes(repository, &sides.before, &sides.before_path)?;
    let after = bytes(repository, &sides.after, &sides.after_path)?;
    let names = [[b"a", &*sides.before_path].concat(), [b"b", &*sides.after_path].concat()];
    let patch = patch::patch(&before, &after, [&names[0], &names[1]])
        .map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
    show::patch(context, &sides.after_path, &patch)?;
    match patch {
        Patch::Same if !context.global.json => context.say("no differences"),
        _ => {}
    }
    match sides.in_doubt {
        true => Err(select::doubt()),
        false => Ok(Code::Done),
    }
}

/// What a comparison is told to go on with.
fn flow(result: &Result<(), Failure>) -> ControlFlow<()> {
    if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
