//! `copal forget`: which snapshots stay, by what rule, and the notes that forget the others.

mod room;

use serde::Serialize;

use super::snapshots::{Line, line};
use crate::cli::arguments::Forget;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::{select, signals};
use crate::model::Time;
use crate::model::clock::Clock;
use crate::repository::snapshots::{Named, Snapshots};
use crate::retention::{self, Group, Key, Plan};
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::show_count;
use crate::terminal::table::{Align, Table};
use crate::terminal::time;

/// A group as programs get it; field names are restic's.
#[derive(Serialize)]
struct GroupLine {
    tags: Option<Vec<String>>,
    host: String,
    paths: Option<Vec<String>>,
    keep: Vec<Line>,
    remove: Vec<Line>,
    reasons: Vec<ReasonLine>,
}

#[derive(Serialize)]
struct ReasonLine {
    snapshot: Line,
    matches: Vec<String>,
}

#[derive(Serialize)]
struct Summary {
    snapshots_kept: u64,
    snapshots_forgotten: u64,
    snapshots_failed: u64,
    dry_run: bool,
    #[serde(flatten)]
    room: Option<room::Line>,
}

/// What the snapshots of a group have in common, in words.
fn title(key: &Key) -> String {
    let shown = |bytes: &Vec<u8>| escape(bytes).into_owned();
    let mut parts = Vec::new();
    parts.extend(key.host.as_ref().map(|host| format!("host {}", shown(host))));
    parts.extend(
        (key.paths.as_ref())
            .map(|paths| format!("paths {}", paths.iter().map(shown).collect::<Vec<_>>().join(" "))),
    );
    parts.extend((key.tags.as_ref()).map(|tags| format!("tags {}", escape(tags.join(",").as_bytes()))));
    if parts.is_empty() { "all snapshots".to_owned() } else { format!("snapshots of {}", parts.join(", ")) }
}

fn group_line(group: &Group) -> GroupLine {
    // Newest first, as restic has them.
    let entries = || group.entries.iter().rev();
    let lines = |kept: bool| {
        entries().filter(|entry| entry.is_kept() == kept).map(|entry| line(&entry.named)).collect()
    };
    GroupLine {
        tags: group.key.tags.clone(),
        host: group.key.host.as_ref().map(|host| json::text(host).into_owned()).unwrap_or_default(),
        paths: (group.key.paths.as_ref())
            .map(|paths| paths.iter().map(|path| json::text(path).into_owned()).collect()),
        keep: lines(true),
        remove: lines(false),
        reasons: entries()
            .filter(|entry| entry.is_kept())
            .map(|entry| ReasonLine {
                snapshot: line(&entry.named),
                matches: entry.reasons.iter().map(ToString::to_string).collect(),
            })
            .collect(),
    }
}

fn show(context: &Context<'_>, plan: &Plan) -> Result<(), Failure> {
    for group in &plan.groups {
        if context.global.json {
            context.out.json("group", &group_line(group))?;
            continue;
        }
        if context.global.quiet {
            continue;
        }
        let mut table = Table::new(&[
            ("ID", Align::Left),
            ("Time", Align::Left),
            ("Tags", Align::Left),
            ("", Align::Left),
            ("Reasons", Align::Left),
        ]);
        for entry in &group.entries {
            let reasons: Vec<String> = entry.reasons.iter().map(ToString::to_string).collect();
            table.row([
                entry.named.name.short(),
                time::show(entry.named.snapshot.time),
                escape(entry.named.standing.tags.join(",").as_bytes()).into_owned(),
                if entry.is_kept() { "keep" } else { "forget" }.to_owned(),
                escape(reasons.join(", ").as_bytes()).into_owned(),
            ]);
        }
        context.out.write(format!("{}\n{}\n", title(&group.key), table.show()))?;
    }
    Ok(())
}

fn named_plan(context: &Context<'_>, wanted: &Forget, all: &Snapshots) -> Result<Plan, Failure> {
    use std::os::unix::ffi::OsStrExt;
    let host = match &wanted.host[..] {
        [host] => Some(host.as_bytes()),
        _ => None,
    };
    let mut chosen = select::find_all(context, all, &wanted.snapshots, host)?;
    chosen.retain(|named| named.standing.forgotten.is_none());
    if let Some(named) = chosen.iter().find(|named| named.standing.protected) {
        let short = named.name.short();
        return Err(Failure::new(
            Code::Refused,
            format!("snapshot {short} is protected: nothing is forgotten"),
        )
        .with_hint(format!("Take the protection away first: copal unprotect {short}")));
    }
    Ok(retention::plan_all(&chosen, wanted.group_by))
}

fn policy_plan(context: &Context<'_>, wanted: &Forget, chosen: &[Named], now: Time) -> Result<Plan, Failure> {
    if let Some(named) = retention::stored_later(chosen, now) {
        return Err(Failure::new(
            Code::Refused,
            format!(
                "it is {} by the clock of the storage, and snapshot {} was stored at {}: what is old can not be told, and nothing is forgotten",
                time::show(now),
                named.name.short(),
                time::show(named.confirmed.unwrap_or_default())
            ),
        )
        .with_hint(format!(
            "Set the clock right. If it is right now, forget what was stored while it was wrong: copal forget {}",
            named.name.short()
        )));
    }
    let calendar = wanted.timezone.clone().unwrap_or_default();
    let plan = retention::plan(chosen, &wanted.keep.policy_or_newest(), wanted.group_by, &calendar, now);
    for named in plan.ahead() {
        context.warn(&format!(
            "snapshot {} says that it was made at {}, which lies ahead of when it was stored; it is kept, and takes no other's place. To forget it: copal forget {}",
            named.name.short(),
            time::show(named.snapshot.time),
            named.name.short()
        ));
    }
    Ok(plan)
}

/// Refuses what would leave nothing of a group.
fn check_emptied(wanted: &Forget, plan: &Plan) -> Result<(), Failure> {
    let emptied: Vec<String> =
        plan.groups.iter().filter(|group| group.is_emptied()).map(|group| title(&group.key)).collect();
    if wanted.unsafe_allow_remove_all || emptied.is_empty() {
        return Ok(());
    }
    let message = match wanted.all {
        true => format!("--all would forget all {}", show_count(plan.forgotten().count() as u64, "snapshot")),
        false => format!("nothing would be kept of: {}", emptied.join("; ")),
    };
    Err(Failure::new(Code::Refused, message)
        .with_hint("Nothing was forgotten. If that is meant: --unsafe-allow-remove-all"))
}

/// Forgets snapshots.
pub fn run(context: &Context<'_>, wanted: &Forget) -> Result<Code, Failure> {
    let repository = context.open()?;
    let mut all = select::load(context, &repository)?;
    all.notes.check_known().map_err(|error| failure(&error))?;
    let now = match repository.storage_time() {
        // Storage that can only be read does not tell its time; a try needs it only to judge the others.
        Err(_) if wanted.dry_run => context.clock.now(),
        now => now.map_err(|error| failure(&error))?,
    };
    let mut plan = match wanted.snapshots.is_empty() {
        false => named_plan(context, wanted, &all)?,
        true => {
            let mut chosen = select::chosen(&all.confirmed, &wanted.host, &wanted.choice)?;
            if wanted.exact_paths {
                chosen.retain(|named| named.snapshot.sources.len() == wanted.choice.path.len());
            }
            let plan = match wanted.all {
                true => retention::plan_all(&chosen, wanted.group_by),
                false => policy_plan(context, wanted, &chosen, now)?,
            };
            if let Err(refused) = check_emptied(wanted, &plan) {
                // A try shows what is refused.
                if wanted.dry_run {
                    show(context, &plan)?;
                }
                return Err(refused);
            }
            plan
        }
    };
    let limits = wanted.limits();
    let room = match limits.is_given() {
        true => Some(room::limit(context, &repository, &mut plan, &limits)?),
        false => None,
    };
    show(context, &plan)?;
    let (room, unknown) = match room {
        None if wanted.dry_run => match room::look(context, &repository, &plan) {
            Ok(room) => (Some(room), None),
            Err(unknown) => (None, Some(unknown)),
        },
        room => (room, None),
    };
    let done = match wanted.dry_run {
        true => retention::Done::default(),
        false => {
            retention::execute(&repository, &mut all.notes, &plan, now).map_err(|error| failure(&error))?
        }
    };
    let forgotten = if wanted.dry_run { plan.forgotten().count() } else { done.forgotten.len() } as u64;
    if context.global.json {
        let summary = Summary {
            snapshots_kept: plan.kept() as u64,
            snapshots_forgotten: forgotten,
            snapshots_failed: done.failed.len() as u64,
            dry_run: wanted.dry_run,
            room: room.as_ref().map(room::Room::line),
        };
        context.out.json("summary", &summary)?;
    } else if !context.global.quiet {
        let verb = if wanted.dry_run { "would forget" } else { "forgot" };
        let kept = match wanted.snapshots.is_empty() {
            true => format!(", {} kept", plan.kept()),
            false => String::new(),
        };
        let told = room.as_ref().map(room::Room::text).unwrap_or_default();
        context.out.write(format!("{verb} {}{kept}\n{told}", show_count(forgotten, "snapshot")))?;
        if !done.forgotten.is_empty() {
            context.say("to have one back: copal undelete SNAP");
            let end = time::show(now.plus_seconds(crate::prune::GRACE_SECONDS));
            context.say(&format!(
                "their room comes back by copal prune, from {end} on (at once: copal prune --grace 0)"
            ));
        }
    }
    let mut code = select::noted(context, done.forgotten.len(), &done.failed)?;
    if let Some(unknown) = unknown {
        return Err(Failure { message: format!("what that frees is not known: {unknown}"), ..unknown });
    }
    if let Some(warning) = room.as_ref().and_then(room::Room::too_many) {
        context.warn(&warning);
        code = Code::Incomplete;
    }
    match all.problems.len() {
        0 if wanted.prune => {
            let options = crate::prune::Options { host: context.host(), ..Default::default() };
            super::prune::execute(context, &repository, &options, signals::stop()).map(
                |pruned| match pruned {
                    Code::Done => code,
                    other => other,
                },
            )
        }
        0 => Ok(code),
        count => Err(Failure::new(Code::Damaged, format!("{count} of the snapshots can not be read"))
            .with_hint("They are left as they are. See what is hit: copal check")),
    }
}
