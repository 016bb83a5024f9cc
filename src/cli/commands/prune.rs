//! `copal prune`: gives back the room of what no snapshot needs.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::cli::arguments::Prune;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::signals;
use crate::prune::{self, Options, Outcome, Plan};
use crate::repository::Repository;
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::{agree, show_count, show_duration, show_size};
use crate::terminal::time;

#[derive(Serialize)]
struct Summary {
    dry_run: bool,
    snapshots_removed: u64,
    packs_removed: u64,
    bytes_removed: u64,
    packs_repacked: u64,
    bytes_repacked: u64,
    bytes_rewritten: u64,
    /// Exact: of packs that go as they are, and of whole blocks in packs that are written anew.
    bytes_freed_packs: u64,
    bytes_freed_blocks: u64,
    /// At most so much more.
    bytes_freed_at_most: u64,
    bytes_unused_left: u64,
    packs_waiting: u64,
    bytes_waiting: u64,
    snapshots_waiting: u64,
    /// Forgotten ones that can still be brought back, and until when the first of them.
    snapshots_resting: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resting_until: Option<String>,
    /// Forgotten ones that somebody at work names.
    snapshots_held: u64,
    hosts_at_work: Vec<String>,
    packs_damaged: u64,
    packs_stuck: u64,
}

fn summary(outcome: &Outcome, dry_run: bool) -> Summary {
    let plan = &outcome.plan;
    Summary {
        dry_run,
        snapshots_removed: if dry_run { plan.snapshots } else { outcome.snapshots_removed },
        packs_removed: if dry_run {
            (plan.remove.len() + plan.leftovers.len()) as u64
        } else {
            outcome.packs_removed
        },
        bytes_removed: if dry_run { plan.bytes_remove } else { outcome.bytes_removed },
        packs_repacked: plan.repack.len() as u64,
        bytes_repacked: plan.bytes_repack,
        bytes_rewritten: outcome.bytes_rewritten,
        bytes_freed_packs: plan.bytes_remove,
        bytes_freed_blocks: plan.bytes_dead_blocks,
        bytes_freed_at_most: plan.bytes_at_most,
        bytes_unused_left: plan.bytes_unused_left,
        packs_waiting: outcome.packs_waiting,
        bytes_waiting: outcome.bytes_waiting,
        snapshots_waiting: outcome.snapshots_waiting,
        snapshots_resting: plan.resting,
        resting_until: plan.resting_until.map(|(first, _)| time::iso(first)),
        snapshots_held: plan.held,
        hosts_at_work: outcome.at_work.iter().map(|host| json::text(host).into_owned()).collect(),
        packs_damaged: outcome.damaged.len() as u64,
        packs_stuck: outcome.stuck.len() as u64,
    }
}

/// How a run ends: damage that was met is told when everything else is done.
fn ending(outcome: &Outcome) -> Result<Code, Failure> {
    if outcome.damaged.is_empty() {
        return Ok(Code::Done);
    }
    let stay = match outcome.stuck.len() as u64 {
        0 => "all that is needed of them was found elsewhere".to_owned(),
        count => format!("{} stay where they are", show_count(count, "pack")),
    };
    let damaged = show_count(outcome.damaged.len() as u64, "pack");
    Err(Failure::new(
        Code::Damaged,
        format!("{damaged} turned out to be damaged, which is written down: {stay}; the rest is done"),
    )
    .with_hint(
        "Which files that hits: copal check --read-data. The next backup stores again what it still finds.",
    ))
}

/// Why forgotten snapshots are still there.
fn show_staying(plan: &Plan, options: &Options) -> String {
    let mut text = String::new();
    if let Some((first, last)) = plan.resting_until {
        let grace = show_duration(Duration::from_secs(options.grace_seconds.max(0) as u64));
        // Those of one run of forget are seconds apart at most.
        let until = if last.seconds_since(first) < 60.0 { " until" } else { ", the first until" };
        text += &format!(
            "{} {}{until} {} ({grace} after forgetting): --grace 0 removes {} now\n",
            show_count(plan.resting, "forgotten snapshot"),
            agree(plan.resting, "stays", "stay"),
            time::show(first),
            agree(plan.resting, "it", "them"),
        );
    }
    if plan.held > 0 {
        text += &format!(
            "{} {} for a run that is at work now or was cut off today, and builds on {}\n",
            show_count(plan.held, "forgotten snapshot"),
            agree(plan.held, "stays", "stay"),
            agree(plan.held, "it", "them"),
        );
    }
    text
}

fn show_plan(plan: &Plan, would: bool) -> String {
    let verb = if would { "would " } else { "" };
    let mut text = String::new();
    if plan.snapshots > 0 {
        text += &format!("{verb}remove {} for good\n", show_count(plan.snapshots, "forgotten snapshot"));
    }
    let whole = (plan.remove.len() + plan.leftovers.len()) as u64;
    text += &format!(
        "{verb}remove {} without any use: {}\n",
        show_count(whole, "pack"),
        show_size(plan.bytes_remove)
    );
    if !plan.repack.is_empty() {
        text += &format!(
            "{verb}write anew {} of {}: frees {}, and at most {} more\n",
            show_count(plan.repack.len() as u64, "pack"),
            show_size(plan.bytes_repack),
            show_size(plan.bytes_dead_blocks),
            show_size(plan.bytes_at_most)
        );
    }
    text + &format!(
        "about {} of {} unused stay\n",
        show_size(plan.bytes_unused_left),
        show_size(plan.bytes_all)
    )
}

/// Prunes.
pub fn run(context: &Context<'_>, wanted: &Prune) -> Result<Code, Failure> {
    let repository = context.open()?;
    let options = Options {
        dry_run: wanted.dry_run,
        grace_seconds: i64::try_from(wanted.grace.as_secs()).unwrap_or(i64::MAX),
        max_unused: wanted.max_unused,
        max_repack_bytes: wanted.max_repack_size,
        repack_small: wanted.repack_small,
        level: wanted.compression,
        memory: context.global.memory.unwrap_or(crate::repository::store::MEMORY),
        host: context.host(),
        ..Options::default()
    };
    execute(context, &repository, &options, signals::stop())
}

/// Prunes an opened repository.
pub fn execute(
    context: &Context<'_>,
    repository: &Repository,
    options: &Options,
    stop: &AtomicBool,
) -> Result<Code, Failure> {
    let show = Show::new(context)?;
    let outcome = prune::prune(repository, options, &context.clock, &show, stop);
    show.finish();
    let outcome = outcome.map_err(|error| failure(&error))?;
    if context.global.json {
        context.out.json("summary", &summary(&outcome, options.dry_run))?;
        return ending(&outcome);
    }
    if context.global.quiet {
        return ending(&outcome);
    }
    if options.dry_run {
        context.out.write(show_plan(&outcome.plan, true) + &show_staying(&outcome.plan, options))?;
        return Ok(Code::Done);
    }
    let mut text = String::new();
    if outcome.snapshots_removed > 0 {
        text +=
            &format!("removed {} for good\n", show_count(outcome.snapshots_removed, "forgotten snapshot"));
    }
    text += &format!(
        "removed {}: {}\n",
        show_count(outcome.packs_removed, "pack"),
        show_size(outcome.bytes_removed)
    );
    if outcome.bytes_rewritten > 0 {
        text += &format!("wrote anew what is needed of others: {}\n", show_size(outcome.bytes_rewritten));
    }
    if outcome.packs_waiting + outcome.snapshots_waiting > 0 {
        let mut waiting = Vec::new();
        if outcome.snapshots_waiting > 0 {
            waiting.push(show_count(outcome.snapshots_waiting, "forgotten snapshot"));
        }
        if outcome.packs_waiting > 0 {
            let packs = show_count(outcome.packs_waiting, "pack");
            waiting.push(format!("{packs} of {}", show_size(outcome.bytes_waiting)));
        }
        text += &format!("{} wait for a later run", waiting.join(" and "));
        let hosts: Vec<String> = outcome.at_work.iter().map(|host| escape(host).into_owned()).collect();
        text += &match hosts.is_empty() {
            true => "\n".to_owned(),
            false => format!(": at work now or cut off today: {}\n", hosts.join(", ")),
        };
    }
    text += &show_staying(&outcome.plan, options);
    text += &format!("about {} unused stay\n", show_size(outcome.plan.bytes_unused_left));
    context.out.write(text)?;
    ending(&outcome)
}
