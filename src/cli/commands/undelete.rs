//! `copal undelete`: takes back that snapshots were forgotten.

use super::tag::Summary;
use crate::cli::arguments::Undelete;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::select;
use crate::repository::Repository;
use crate::repository::snapshots::{Named, Snapshots};
use crate::retention::undelete::undelete;
use crate::terminal::size::{agree, show_count};
use crate::terminal::time;

/// Forgotten snapshots are not repaired: says where something may be missing in one that came back.
fn warn_of_damage(
    context: &Context<'_>,
    repository: &Repository,
    all: &Snapshots,
    done: &[&Named],
) -> Result<(), Failure> {
    let stands_for = |name| all.saved().find(|other| other.snapshot.stands_for == Some(name));
    for named in done {
        if let Some(other) = stands_for(named.name) {
            context.warn(&format!(
                "something was lost of snapshot {}, and a restore of it may say so; {} stands for it, with the gaps marked",
                named.name.short(),
                other.name.short()
            ));
        }
    }
    let others = done.iter().filter(|named| stands_for(named.name).is_none()).count() as u64;
    if others > 0 && !repository.damage_records().map_err(|error| failure(&error))?.is_empty() {
        context.warn(&format!(
            "a check found damage in this repository before, and forgotten snapshots are not repaired: see whether {} hit with copal check, \
             and mark what is lost with copal repair snapshots",
            agree(others, "it is", "they are")
        ));
    }
    Ok(())
}

/// Takes back that snapshots were forgotten.
pub fn run(context: &Context<'_>, wanted: &Undelete) -> Result<Code, Failure> {
    let repository = context.open()?;
    let mut all = select::load(context, &repository)?;
    let mut chosen = Vec::new();
    // All of them before anything is written.
    for text in &wanted.snapshots {
        match select::find_forgotten(&all, text)? {
            Some(named) => chosen.push(named),
            None => context.say(&format!("snapshot {text} is not forgotten")),
        }
    }
    chosen.sort_by_key(|named| named.name);
    chosen.dedup_by_key(|named| named.name);
    let names: Vec<_> = chosen.iter().map(|named| named.name).collect();
    let client = repository.client().map_err(|error| failure(&error))?;
    let (clock, host) = (&context.clock, context.host());
    let results = undelete(&repository, clock, client, &host, &mut all.notes, &names);
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (named, result) in chosen.iter().zip(results.map_err(|error| failure(&error))?) {
        match result {
            Ok(_) => done.push(named),
            Err(error) => failed.push((named.name, error)),
        }
    }
    if context.global.json {
        for named in &done {
            let mut named = (*named).clone();
            named.standing.forgotten = None;
            context.out.json("snapshot", &super::snapshots::line(&named))?;
        }
        context.out.json("summary", &Summary { changed_snapshots: done.len() as u64 })?;
    } else if !context.global.quiet {
        for named in &done {
            context.out.write(format!(
                "snapshot {} of {} is back\n",
                named.name.short(),
                time::show(named.snapshot.time)
            ))?;
        }
        if done.is_empty() {
            context.out.write(format!("{} came back\n", show_count(0, "snapshot")))?;
        }
    }
    warn_of_damage(context, &repository, &all, &done)?;
    select::noted(context, done.len(), &failed)
}
