//! `copal repair packs`.

use serde::Serialize;

use super::{explained, incomplete, some, with};
use crate::cli::arguments::RepairPacks;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::signals;
use crate::parity;
use crate::repair::{self, Count, PacksPlan};
use crate::repository::Repository;
use crate::repository::session::reading;
use crate::repository::store;
use crate::terminal::size::{agree, show_count, show_size};

#[derive(Serialize)]
struct Line {
    packs_damaged: Vec<String>,
    packs_missing: Vec<String>,
    packs_unknown: Vec<String>,
    chunks_salvageable: u64,
    bytes_salvageable: u64,
    chunks_elsewhere: u64,
    bytes_elsewhere: u64,
    chunks_lost: u64,
    bytes_lost: u64,
    damage_records_unreadable: Vec<String>,
    dry_run: bool,
}

#[derive(Serialize)]
struct Summary {
    changed: bool,
    packs_put_back: u64,
    chunks_salvaged: u64,
    bytes_salvaged: u64,
    chunks_lost: u64,
    bytes_lost: u64,
    bytes_stored: u64,
    dry_run: bool,
}

fn names(ids: &[crate::model::Id]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn chunks(count: Count) -> String {
    format!("{} ({})", show_count(count.chunks, "chunk"), show_size(count.bytes))
}

fn text(plan: &PacksPlan, dry_run: bool) -> String {
    let would = if dry_run { "would " } else { "" };
    let mut text = String::new();
    for (list, what) in [(&plan.damaged, "damaged"), (&plan.missing, "missing"), (&plan.whole, "whole")] {
        if !list.is_empty() {
            let count = list.len() as u64;
            text += &format!(
                "{} {} {what}: {}\n",
                show_count(count, "pack"),
                agree(count, "is", "are"),
                some(list)
            );
        }
    }
    if plan.damaged.is_empty() && plan.missing.is_empty() {
        text += "no pack is known to be damaged\n";
    }
    if plan.elsewhere.chunks > 0 {
        text += &format!("{} of them lie in good packs too\n", chunks(plan.elsewhere));
    }
    if plan.salvaged.chunks > 0 {
        text += &format!("{would}store again {} that can still be read\n", chunks(plan.salvaged));
    }
    if plan.lost.chunks > 0 {
        text += &format!("lost: {}\n", chunks(plan.lost));
    }
    if !plan.unknown.is_empty() {
        text += &format!(
            "lost: what {} {}, since nothing says what that is: {}\n",
            show_count(plan.unknown.len() as u64, "pack"),
            agree(plan.unknown.len() as u64, "holds", "hold"),
            some(&plan.unknown)
        );
    }
    if !plan.unrecorded.is_empty() {
        text += &format!(
            "{would}write down that {} {} damaged\n",
            show_count(plan.unrecorded.len() as u64, "pack"),
            agree(plan.unrecorded.len() as u64, "is", "are")
        );
    }
    if !plan.unreadable_records.is_empty() {
        let count = plan.unreadable_records.len() as u64;
        text += &format!(
            "{would}remove {} of damage that can not be read: {}\nlost: which packs {} named; copal check --read-data finds them again\n",
            show_count(count, "record"),
            some(&plan.unreadable_records),
            agree(count, "it", "they")
        );
    }
    text
}

/// Puts back, bit for bit, what recovery data brings back: after that nothing of it has to be salvaged. How many packs.
fn put_back(context: &Context<'_>, repository: &Repository, wanted: &RepairPacks) -> Result<u64, Failure> {
    if wanted.how.dry_run || repository.with_parity().is_ok_and(|packs| packs.is_empty()) {
        return Ok(0);
    }
    let which = if wanted.read_data { parity::Wanted::All } else { parity::Wanted::Recorded };
    let memory = context.global.memory.unwrap_or(store::MEMORY);
    let show = Show::new(context)?;
    let repaired = reading(repository, &context.clock, &context.host(), || {
        repository.sync()?;
        parity::repair(repository, &which, memory, &show, signals::stop())
    });
    show.finish();
    Ok(repaired.map_err(|error| explained(&error))?.healed.len() as u64)
}

/// Repairs packs.
pub(super) fn run(context: &Context<'_>, wanted: &RepairPacks) -> Result<Code, Failure> {
    let repository = context.open()?;
    let dry_run = wanted.how.dry_run;
    let put_back = put_back(context, &repository, wanted)?;
    if put_back > 0 && !context.global.json && !context.global.quiet {
        context.out.write(format!("{} put back by recovery data\n", show_count(put_back, "pack")))?;
    }
    let outcome = with(context, &repository, &wanted.how, |tools, asking| {
        repair::packs(tools, &wanted.packs, wanted.read_data, &mut |plan| {
            let line = Line {
                packs_damaged: names(&plan.damaged),
                packs_missing: names(&plan.missing),
                packs_unknown: names(&plan.unknown),
                chunks_salvageable: plan.salvaged.chunks,
                bytes_salvageable: plan.salvaged.bytes,
                chunks_elsewhere: plan.elsewhere.chunks,
                bytes_elsewhere: plan.elsewhere.bytes,
                chunks_lost: plan.lost.chunks,
                bytes_lost: plan.lost.bytes,
                damage_records_unreadable: names(&plan.unreadable_records),
                dry_run,
            };
            asking.agree(&text(plan, dry_run), &line, plan.is_empty(), plan.takes_away())
        })
    })?;
    let plan = &outcome.plan;
    if context.global.json {
        let summary = Summary {
            changed: outcome.done || put_back > 0,
            packs_put_back: put_back,
            chunks_salvaged: outcome.salvaged.chunks,
            bytes_salvaged: outcome.salvaged.bytes,
            chunks_lost: plan.lost.chunks,
            bytes_lost: plan.lost.bytes,
            bytes_stored: outcome.bytes_stored,
            dry_run,
        };
        context.out.json("summary", &summary)?;
    } else if outcome.done && !context.global.quiet {
        context.out.write(format!("stored again {}\n", chunks(outcome.salvaged)))?;
    }
    if plan.lost.chunks > 0 || !plan.unknown.is_empty() {
        return Err(incomplete(
            format!("{} are lost as far as this repository goes", chunks(plan.lost)),
            "See which files that hits: copal check. Run backups of what is still on the machines: they heal it. Then: copal repair snapshots",
        ));
    }
    Ok(Code::Done)
}
