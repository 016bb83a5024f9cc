//! `copal repair records`.

use serde::Serialize;

use super::{incomplete, some, with};
use crate::cli::arguments::RepairRecords;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::model::Id;
use crate::repair::{self, RecordsPlan};
use crate::terminal::escape::escape;
use crate::terminal::size::{agree, show_count};
use crate::terminal::time;

#[derive(Serialize)]
struct Line {
    sessions_unreadable: Vec<String>,
    removal_records_unreadable: Vec<String>,
    removal_records_in_cache: Vec<String>,
    records_of_later_version: Vec<String>,
    packs_missing: Vec<String>,
    waits: bool,
    dry_run: bool,
}

#[derive(Serialize)]
struct Summary {
    changed: bool,
    records_put_back: u64,
    records_removed: u64,
    dry_run: bool,
}

fn names(ids: &[Id]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn text(plan: &RecordsPlan, dry_run: bool) -> String {
    let would = if dry_run { "would " } else { "" };
    let mut text = String::new();
    if !plan.known.is_empty() {
        text += &format!(
            "{would}put back {} of what a prune takes away, from this machine's cache: {}\n",
            show_count(plan.known.len() as u64, "record"),
            some(&plan.known)
        );
    }
    let stays = if plan.waits { "not yet: " } else { "" };
    if !plan.missing.is_empty() {
        text += &format!(
            "{stays}{would}write down as missing {} that {} not there: {}\n",
            show_count(plan.missing.len() as u64, "pack"),
            agree(plan.missing.len() as u64, "is", "are"),
            some(&plan.missing)
        );
    }
    for (list, of) in [(&plan.removals, "what a prune takes away"), (&plan.sessions, "who is at work")] {
        if !list.is_empty() {
            text += &format!(
                "{stays}{would}remove {} of {of} that can not be read: {}\n",
                show_count(list.len() as u64, "record"),
                some(list)
            );
        }
    }
    text
}

/// Who keeps a removal record from going, and until when.
fn waiting(plan: &RecordsPlan) -> Failure {
    let message =
        "a record of what a prune takes away can not be read, and somebody may still act on what it said";
    let mut hosts: Vec<String> = plan.in_the_way.iter().map(|peer| escape(&peer.host).into_owned()).collect();
    hosts.sort();
    hosts.dedup();
    let way = match plan.in_the_way.iter().map(|peer| peer.until).max() {
        Some(until) => format!(
            "A machine that has used this repository before may still know the record: run copal repair records there first. Else wait for {}, \
             at most until {}.",
            hosts.join(", "),
            time::show(until)
        ),
        None => "A machine that has used this repository before may still know the record: run copal repair records there first.".to_owned(),
    };
    Failure::new(Code::Refused, message)
        .with_hint(format!("{way} If no copal is at work or asleep on any machine: --nobody-at-work"))
}

/// Repairs records.
pub(super) fn run(context: &Context<'_>, wanted: &RepairRecords) -> Result<Code, Failure> {
    let repository = context.open()?;
    let dry_run = wanted.how.dry_run;
    let outcome = with(context, &repository, &wanted.how, |tools, asking| {
        repair::records(tools, wanted.nobody_at_work, &mut |plan| {
            let later: Vec<Id> = plan.later.iter().map(|(_, name)| *name).collect();
            let line = Line {
                sessions_unreadable: names(&plan.sessions),
                removal_records_unreadable: names(&plan.removals),
                removal_records_in_cache: names(&plan.known),
                records_of_later_version: names(&later),
                packs_missing: names(&plan.missing),
                waits: plan.waits,
                dry_run,
            };
            asking.agree(&text(plan, dry_run), &line, plan.is_empty(), plan.takes_away())
        })
    })?;
    if context.global.json {
        let summary = Summary {
            changed: outcome.done,
            records_put_back: outcome.put_back,
            records_removed: outcome.removed,
            dry_run,
        };
        context.out.json("summary", &summary)?;
    } else if outcome.done && !context.global.quiet {
        context.out.write(format!(
            "put back {}, removed {}\n",
            show_count(outcome.put_back, "record"),
            show_count(outcome.removed, "record")
        ))?;
    }
    if outcome.plan.waits {
        return Err(waiting(&outcome.plan));
    }
    if !outcome.plan.later.is_empty() {
        let count = outcome.plan.later.len() as u64;
        return Err(incomplete(
            format!(
                "{} {} of a later version of copal, and {} left alone",
                show_count(count, "record"),
                agree(count, "is", "are"),
                agree(count, "was", "were")
            ),
            "Repair it with a newer copal.",
        ));
    }
    Ok(Code::Done)
}
