//! `copal parity`: recovery data that brings damaged packs back.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cli::arguments::{Parity, ParityAdd, ParityCommand, ParityRepair};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::signals;
use crate::model::Id;
use crate::parity::{self, Wanted};
use crate::repository::session::reading;
use crate::repository::{Repository, store};
use crate::terminal::size::{agree, show_count, show_size};

#[derive(Serialize)]
struct StatusLine {
    rate_percent: f64,
    packs: u64,
    packs_with_parity: u64,
    packs_with_less: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct AddSummary {
    rate_percent: f64,
    packs_added: u64,
    bytes_added: u64,
    packs_had: u64,
    packs_damaged: Vec<String>,
}

#[derive(Serialize)]
struct RemoveSummary {
    objects_removed: u64,
    bytes_removed: u64,
    objects_kept: u64,
}

#[derive(Serialize)]
struct DamagedLine<'a> {
    pack: String,
    what: &'a str,
}

#[derive(Serialize)]
struct RepairSummary {
    packs: u64,
    packs_healed: Vec<String>,
    packs_damaged: u64,
    parity_made: u64,
    damage_records_settled: u64,
    dry_run: bool,
}

fn percent(per_mille: u16) -> f64 {
    f64::from(per_mille) / 10.0
}

/// A rate as it is typed.
fn show_rate(per_mille: u16) -> String {
    format!("{} %", percent(per_mille))
}

fn memory(context: &Context<'_>) -> u64 {
    context.global.memory.unwrap_or(store::MEMORY)
}

/// Writes results for a person, unless they want quiet.
fn tell(context: &Context<'_>, text: String) -> Result<(), Failure> {
    if !context.global.quiet && !context.global.json {
        context.out.write(text)?;
    }
    Ok(())
}

/// Makes the rate the one for new packs.
fn set_rate(repository: &mut Repository, per_mille: u16) -> Result<(), Failure> {
    repository.change_config(|config| config.parity_per_mille = per_mille).map_err(|error| failure(&error))
}

fn add(context: &Context<'_>, wanted: &ParityAdd) -> Result<Code, Failure> {
    let (mut repository, _) = context.open_synced()?;
    if let Some(rate) = wanted.rate {
        set_rate(&mut repository, rate)?;
    }
    let rate = repository.config.parity_per_mille;
    if rate == 0 {
        return Err(Failure::usage("how much recovery data is not known yet")
            .with_hint("Say it: copal parity add 5%"));
    }
    let show = Show::new(context)?;
    let added = reading(&repository, &context.clock, &context.host(), || {
        parity::add(&repository, memory(context), &show, signals::stop())
    });
    show.finish();
    let added = added.map_err(|error| failure(&error))?;
    if context.global.json {
        let summary = AddSummary {
            rate_percent: percent(rate),
            packs_added: added.packs,
            bytes_added: added.bytes,
            packs_had: added.had,
            packs_damaged: added.damaged.iter().map(Id::to_string).collect(),
        };
        context.out.json("summary", &summary)?;
    }
    let mut text =
        format!("added recovery data to {}: {}\n", show_count(added.packs, "pack"), show_size(added.bytes));
    if added.had > 0 {
        text += &format!("{} had it before\n", show_count(added.had, "pack"));
    }
    text += &format!("new packs get {}\n", show_rate(rate));
    tell(context, text)?;
    let Some(first) = added.damaged.first() else { return Ok(Code::Done) };
    let count = added.damaged.len() as u64;
    Err(Failure::new(
        Code::Damaged,
        format!(
            "{} {} damaged, so none could be made: {first}{}",
            show_count(count, "pack"),
            agree(count, "is", "are"),
            if count > 1 { " and others" } else { "" }
        ),
    )
    .with_hint("See what is hit: copal check --read-data"))
}

fn off(context: &Context<'_>) -> Result<Code, Failure> {
    let mut repository = context.open()?;
    set_rate(&mut repository, 0)?;
    context.say("new packs get no recovery data; what is there stays");
    Ok(Code::Done)
}

fn remove(context: &Context<'_>) -> Result<Code, Failure> {
    let mut repository = context.open()?;
    set_rate(&mut repository, 0)?;
    let show = Show::new(context)?;
    let removed = parity::remove(&repository, &show, signals::stop());
    show.finish();
    let removed = removed.map_err(|error| failure(&error))?;
    let (objects_removed, bytes_removed, objects_kept) = (removed.packs, removed.bytes, removed.kept);
    if context.global.json {
        context.out.json("summary", &RemoveSummary { objects_removed, bytes_removed, objects_kept })?;
    }
    tell(
        context,
        format!(
            "removed the recovery data of {}: {}\n",
            show_count(objects_removed, "pack"),
            show_size(bytes_removed)
        ),
    )?;
    if objects_kept == 0 {
        return Ok(Code::Done);
    }
    let text = format!(
        "{} {} damaged or missing: recovery data that may bring {} back stays",
        show_count(objects_kept, "pack"),
        agree(objects_kept, "is", "are"),
        agree(objects_kept, "it", "them")
    );
    Err(Failure::new(Code::Damaged, text).with_hint("Put it back, then remove the rest: copal parity repair"))
}

fn status(context: &Context<'_>) -> Result<Code, Failure> {
    let (repository, _) = context.open_synced()?;
    let status = parity::status(&repository).map_err(|error| failure(&error))?;
    if context.global.json {
        let line = StatusLine {
            rate_percent: percent(status.per_mille),
            packs: status.packs,
            packs_with_parity: status.with,
            packs_with_less: status.with_less,
            bytes: status.bytes,
        };
        context.out.json("parity", &line)?;
        return Ok(Code::Done);
    }
    let mut text = match status.per_mille {
        0 => "new packs get no recovery data (copal parity add 5% gives it to all)\n".to_owned(),
        rate => format!("new packs get {}\n", show_rate(rate)),
    };
    text += &format!(
        "{} of {} {} recovery data: {}\n",
        status.with,
        show_count(status.packs, "pack"),
        agree(status.with, "has", "have"),
        show_size(status.bytes)
    );
    if status.with_less > 0 {
        text += &format!("{} of them less than new ones get (copal parity add)\n", status.with_less);
    }
    context.out.write(text)?;
    Ok(Code::Done)
}

/// The packs that these texts mean, among those that the repository knows of or has.
fn named(repository: &Repository, texts: &[String]) -> Result<Vec<Id>, Failure> {
    let mut known = BTreeSet::new();
    let mut look = || {
        known.extend(repository.stored_packs()?.into_iter().map(|(name, _)| name));
        known.extend(repository.damage_records()?.into_iter().flat_map(|(_, damage)| damage.packs));
        known.extend(repository.with_parity()?);
        Ok(repository.index.packs(&mut |pack| {
            known.insert(pack.name);
        })?)
    };
    look().map_err(|error| failure(&error))?;
    texts
        .iter()
        .map(|text| {
            let wanted = text.to_ascii_lowercase();
            let matching: Vec<&Id> =
                known.iter().filter(|name| name.to_string().starts_with(&wanted)).collect();
            match matching[..] {
                [name] => Ok(*name),
                [] => Err(Failure::usage(format!("no pack {text}"))),
                _ => {
                    Err(Failure::usage(format!("{text} is the beginning of several packs; give more of it")))
                }
            }
        })
        .collect()
}

fn repair(context: &Context<'_>, options: &ParityRepair) -> Result<Code, Failure> {
    let (repository, _) = context.open_synced()?;
    let wanted = match (&options.packs[..], options.read_data) {
        ([], true) => Wanted::All,
        ([], false) => Wanted::Recorded,
        (texts, _) => Wanted::Named(named(&repository, texts)?),
    };
    let show = Show::new(context)?;
    let dry_run = options.dry_run;
    let repaired = match dry_run {
        true => parity::would_repair(&repository, &wanted, memory(context), &show, signals::stop()),
        false => reading(&repository, &context.clock, &context.host(), || {
            parity::repair(&repository, &wanted, memory(context), &show, signals::stop())
        }),
    };
    show.finish();
    let repaired = repaired.map_err(|error| failure(&error))?;
    for (pack, what) in &repaired.damaged {
        match context.global.json {
            true => context.out.json("damaged", &DamagedLine { pack: pack.to_string(), what })?,
            false => context.out.write(format!("pack {pack}: {what}\n"))?,
        }
    }
    let count = repaired.damaged.len() as u64;
    if context.global.json {
        let summary = RepairSummary {
            packs: repaired.packs,
            packs_healed: repaired.healed.iter().map(Id::to_string).collect(),
            packs_damaged: count,
            parity_made: repaired.parity_made,
            damage_records_settled: repaired.records_settled,
            dry_run,
        };
        context.out.json("summary", &summary)?;
    }
    let healed = repaired.healed.len() as u64;
    let mut text = format!(
        "looked at {}; {} {} as {} again\n",
        show_count(repaired.packs, "pack"),
        healed,
        if dry_run { "would be" } else { agree(healed, "is", "are") },
        agree(healed, "it was", "they were")
    );
    if repaired.parity_made > 0 {
        let made = if dry_run { "would make" } else { "made" };
        text += &format!("{made} recovery data anew of {}\n", show_count(repaired.parity_made, "pack"));
    }
    tell(context, text)?;
    if count == 0 {
        return Ok(Code::Done);
    }
    let text = format!("{} {} damaged", show_count(count, "pack"), agree(count, "stays", "stay"));
    Err(Failure::new(Code::Damaged, text).with_hint(
        "Files still on this machine heal it: run the backup again. What is hit: copal check --read-data",
    ))
}

/// Does what `copal parity ...` asks.
pub fn run(context: &Context<'_>, wanted: &Parity) -> Result<Code, Failure> {
    match &wanted.command {
        ParityCommand::Add(wanted) => add(context, wanted),
        ParityCommand::Off => off(context),
        ParityCommand::Remove => remove(context),
        ParityCommand::Status => status(context),
        ParityCommand::Repair(wanted) => repair(context, wanted),
    }
}
