//! `copal repair index`.

use serde::Serialize;

use super::{incomplete, some, with};
use crate::cli::arguments::RepairIndex;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::repair::{self, IndexPlan};
use crate::terminal::size::{agree, show_count};

#[derive(Serialize)]
struct Line {
    index_objects: u64,
    index_objects_unreadable: Vec<String>,
    index_objects_of_later_version: Vec<String>,
    index_objects_wrong: u64,
    packs_unnamed: u64,
    packs_wrong: u64,
    packs_unknown: Vec<String>,
    packs_unseen: Vec<String>,
    dry_run: bool,
}

#[derive(Serialize)]
struct Summary {
    changed: bool,
    packs_named: u64,
    index_objects_removed: u64,
    dry_run: bool,
}

fn names(ids: &[crate::model::Id]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn text(plan: &IndexPlan, dry_run: bool) -> String {
    let would = if dry_run { "would " } else { "" };
    let mut text = format!("{} can be read\n", show_count(plan.objects, "index object"));
    if plan.unnamed_packs > 0 {
        text += &format!(
            "{would}name {} again, with {}, by {} own word\n",
            show_count(plan.unnamed_packs, "pack"),
            show_count(plan.unnamed_chunks, "chunk"),
            agree(plan.unnamed_packs, "its", "their")
        );
    }
    if !plan.wrong.is_empty() {
        text += &format!(
            "{would}replace {} that {} of {} something else than the pack itself\n",
            show_count(plan.wrong.len() as u64, "index object"),
            agree(plan.wrong.len() as u64, "says", "say"),
            show_count(plan.wrong_packs, "pack")
        );
    }
    if !plan.unreadable.is_empty() {
        text += &format!(
            "{would}remove {} that can not be read: {}\n",
            show_count(plan.unreadable.len() as u64, "index object"),
            some(&plan.unreadable)
        );
    }
    if !plan.unseen.is_empty() {
        text += &format!(
            "{would}write down as damaged {} that can not be read, and that only write-only keys named: {}\n",
            show_count(plan.unseen.len() as u64, "pack"),
            some(&plan.unseen)
        );
    }
    if !plan.unknown.is_empty() {
        text += &format!(
            "lost: what {} {}, which nothing names and which can not be read: {}\n",
            show_count(plan.unknown.len() as u64, "pack"),
            agree(plan.unknown.len() as u64, "holds", "hold"),
            some(&plan.unknown)
        );
    }
    text
}

/// Repairs the index.
pub(super) fn run(context: &Context<'_>, wanted: &RepairIndex) -> Result<Code, Failure> {
    let repository = context.open()?;
    let dry_run = wanted.how.dry_run;
    let outcome = with(context, &repository, &wanted.how, |tools, asking| {
        repair::index(tools, wanted.read_packs, &mut |plan| {
            let line = Line {
                index_objects: plan.objects,
                index_objects_unreadable: names(&plan.unreadable),
                index_objects_of_later_version: names(&plan.later),
                index_objects_wrong: plan.wrong.len() as u64,
                packs_unnamed: plan.unnamed_packs,
                packs_wrong: plan.wrong_packs,
                packs_unknown: names(&plan.unknown),
                packs_unseen: names(&plan.unseen),
                dry_run,
            };
            asking.agree(&text(plan, dry_run), &line, plan.is_empty(), plan.takes_away())
        })
    })?;
    if context.global.json {
        let summary = Summary {
            changed: outcome.done,
            packs_named: outcome.packs_named,
            index_objects_removed: outcome.objects_removed,
            dry_run,
        };
        context.out.json("summary", &summary)?;
    } else if outcome.done && !context.global.quiet {
        context.out.write(format!(
            "named {}, removed {}\n",
            show_count(outcome.packs_named, "pack"),
            show_count(outcome.objects_removed, "index object")
        ))?;
    }
    let plan = &outcome.plan;
    if !plan.unknown.is_empty() {
        let count = plan.unknown.len() as u64;
        return Err(incomplete(
            format!(
                "{} can not be read, and nothing else says what {}",
                show_count(count, "pack"),
                agree(count, "it holds", "they hold")
            ),
            "See what that hits: copal check. A later backup stores again what is still on the machines.",
        ));
    }
    if !plan.later.is_empty() {
        let count = plan.later.len() as u64;
        return Err(incomplete(
            format!(
                "{} {} of a later version of copal, and {} left alone",
                show_count(count, "index object"),
                agree(count, "is", "are"),
                agree(count, "was", "were")
            ),
            "Repair it with a newer copal.",
        ));
    }
    Ok(Code::Done)
}
