//! `copal undelete`: takes back that snapshots were forgotten.

use super::tag::Summary;
use crate::cli::arguments::Undelete;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::select;
use crate::retention::undelete::undelete;
use crate::terminal::size::show_count;
use crate::terminal::time;

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
    select::noted(context, done.len(), &failed)
}
