//! `copal tag`: other tags for snapshots. The snapshots themselves stay as they are.

use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::cli::arguments::{Tag, flatten};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::select;
use crate::format::note::Verb;
use crate::terminal::size::show_count;

/// A changed snapshot as programs get it.
#[derive(Serialize)]
pub struct Changed {
    pub snapshot_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
}

/// How many were changed; the field is restic's.
#[derive(Serialize)]
pub struct Summary {
    pub changed_snapshots: u64,
}

/// The tags to add to and to remove from a snapshot that has `tags`.
fn changes(wanted: &Tag, tags: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut add, mut remove) = (flatten(&wanted.add), flatten(&wanted.remove));
    if !wanted.set.is_empty() {
        add = flatten(&wanted.set);
        add.retain(|tag| !tag.is_empty());
        remove = tags.iter().filter(|tag| !add.contains(tag)).cloned().collect();
    }
    add.retain(|tag| !tags.contains(tag));
    remove.retain(|tag| tags.contains(tag));
    (add, remove)
}

/// Changes tags.
pub fn run(context: &Context<'_>, wanted: &Tag) -> Result<Code, Failure> {
    let repository = context.open()?;
    let mut all = select::load(context, &repository)?;
    let chosen = match (wanted.snapshots.is_empty(), &wanted.host[..]) {
        (true, hosts) => select::chosen(&all.confirmed, hosts, &wanted.choice)?,
        (false, [host]) => select::find_all(context, &all, &wanted.snapshots, Some(host.as_bytes()))?,
        (false, _) => select::find_all(context, &all, &wanted.snapshots, None)?,
    };
    let time = repository.storage_time().map_err(|error| failure(&error))?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for named in &chosen {
        let (add, remove) = changes(wanted, &named.standing.tags);
        let mut noted = Ok(());
        for (verb, tags) in [(Verb::AddTags, &add), (Verb::RemoveTags, &remove)] {
            if noted.is_ok() && !tags.is_empty() {
                noted = repository.put_note(&mut all.notes, &named.name, verb, tags, time).map(drop);
            }
        }
        match noted {
            Ok(()) if add.is_empty() && remove.is_empty() => {}
            Ok(()) => done.push((named.name, all.notes.standing(&named.name, &named.snapshot).tags)),
            Err(error) => failed.push((named.name, error)),
        }
    }
    let count = done.len();
    if context.global.json {
        for (name, tags) in done {
            let changed = Changed { snapshot_id: name.to_string(), tags: Some(tags), protected: None };
            context.out.json("changed", &changed)?;
        }
        context.out.json("summary", &Summary { changed_snapshots: count as u64 })?;
    } else if !context.global.quiet {
        context.out.write(format!("changed the tags of {}\n", show_count(count as u64, "snapshot")))?;
    }
    select::noted(context, count, &failed)
}
