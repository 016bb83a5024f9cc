//! Finding the snapshot that a person means: an id's beginning, `latest`, `latest~N`, or a time.

use std::collections::BTreeSet;

use super::context::{Context, failure};
use super::exit::{Code, Failure};
use crate::model::Id;
use crate::model::clock::Clock;
use crate::repository::Repository;
use crate::repository::snapshots::{Named, Snapshots};
use crate::terminal::escape::escape;
use crate::terminal::time;

/// Fewest digits that count as an id's beginning.
const ID_LEAST: usize = 4;

/// Loads the snapshots, telling what is wrong with any of them.
pub fn load(context: &Context<'_>, repository: &Repository) -> Result<Snapshots, Failure> {
    let all = repository.snapshots().map_err(|error| failure(&error))?;
    for problem in &all.problems {
        context.warn(&problem.to_string());
    }
    Ok(all)
}

/// The id's beginning that `text` can be.
fn as_id(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    (lower.len() >= ID_LEAST && lower.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(lower)
}

/// The snapshot whose id begins so; none when none does. One that was never confirmed must be named in full.
fn by_id(context: &Context<'_>, all: &Snapshots, id: &str) -> Result<Option<Named>, Failure> {
    let begins = |name: &Id| name.to_string().starts_with(id);
    let sound = all.confirmed.iter().filter(|named| begins(&named.name));
    let lost = all.lost.iter().map(|(name, _)| name).filter(|name| begins(name));
    let names: Vec<Id> = sound.clone().map(|named| named.name).chain(lost.copied()).collect();
    match (&names[..], sound.clone().next()) {
        ([_], Some(named)) => Ok(Some(named.clone())),
        ([name], None) => {
            let problem =
                all.problems.iter().map(ToString::to_string).find(|text| text.contains(&name.to_string()));
            let message = problem.unwrap_or_else(|| format!("damaged: snapshots/{name}"));
            Err(Failure::new(Code::Damaged, message).with_hint("See what there is: copal snapshots"))
        }
        ([], _) => {
            let named = all.unconfirmed.iter().find(|named| named.name.to_string() == id);
            if named.is_some() {
                context.warn(&format!(
                    "snapshot {id} was never confirmed as saved: something of it may be missing"
                ));
            }
            Ok(named.cloned())
        }
        _ => {
            let names: Vec<String> = names.iter().map(|name| name.to_string()[..16].to_owned()).collect();
            Err(Failure::usage(format!("{id} is the beginning of several snapshots: {}", names.join(", "))))
        }
    }
}

/// Whether what `text` means may be another snapshot than the one found, since one that can not be read may be newer. Says so.
pub fn is_doubtful(context: &Context<'_>, all: &Snapshots, text: &str, found: &Named) -> bool {
    let by_id = as_id(text).is_some_and(|id| found.name.to_string().starts_with(&id));
    let doubtful = !by_id && all.may_hide_newer(found);
    if doubtful {
        context.warn(&format!(
            "taking snapshot {} of {} for {text}: a newer one can not be read",
            found.name.short(),
            time::show(found.snapshot.time)
        ));
    }
    doubtful
}

/// How a command ends that did its work with a snapshot that may not be the one that was meant.
pub fn doubt() -> Failure {
    Failure::new(Code::Damaged, "the newest snapshot that could be read was taken; a newer one is damaged")
        .with_hint("See which are hit: copal check. Name the snapshot by its id to be certain.")
}

/// The snapshot that `text` means, among those of `host` where the text is no id.
pub fn find(
    context: &Context<'_>,
    all: &Snapshots,
    text: &str,
    host: Option<&[u8]>,
) -> Result<Named, Failure> {
    let lower = text.to_ascii_lowercase();
    let is_hex = as_id(text).is_some();
    if let Some(id) = as_id(text)
        && let Some(named) = by_id(context, all, &id)?
    {
        return Ok(named);
    }
    if all.confirmed.is_empty() && !all.lost.is_empty() {
        return Err(
            Failure::new(Code::Damaged, "no snapshot can be read").with_hint("See what is hit: copal check")
        );
    }
    if all.confirmed.is_empty() {
        return Err(Failure::new(Code::Failed, "there are no snapshots yet")
            .with_hint("Make one: copal backup FOLDER"));
    }
    let own = context.host();
    let wanted = host.unwrap_or(&own);
    let mut here: Vec<&Named> = all.confirmed.iter().filter(|named| named.snapshot.host == wanted).collect();
    let hosts: BTreeSet<String> =
        all.confirmed.iter().map(|named| escape(&named.snapshot.host).into_owned()).collect();
    if here.is_empty() && host.is_none() && hosts.len() == 1 {
        // A new machine in the place of the one that is gone.
        let other: Vec<String> = hosts.iter().cloned().collect();
        context.say(&format!("no snapshot is of this host; all are of {}", other.join(", ")));
        here = all.confirmed.iter().collect();
    }
    if here.is_empty() {
        let hosts: Vec<String> = hosts.into_iter().collect();
        return Err(Failure::new(Code::Failed, format!("no snapshot of host {}", escape(wanted)))
            .with_hint(format!("There are snapshots of: {}. Choose with --host NAME.", hosts.join(", "))));
    }
    if let Some(rest) = lower.strip_prefix("latest") {
        let back = match rest.strip_prefix('~') {
            Some(number) => number.parse::<usize>().ok(),
            None if rest.is_empty() => Some(0),
            None => None,
        };
        let Some(back) = back else {
            return Err(Failure::usage(format!("{text} is no snapshot; did you mean latest or latest~1?")));
        };
        return here.iter().rev().nth(back).map(|named| (*named).clone()).ok_or_else(|| {
            Failure::new(
                Code::Failed,
                format!("there are only {} snapshots of host {}", here.len(), escape(wanted)),
            )
        });
    }
    match time::parse(text, context.clock.now()) {
        Ok(moment) => at(&here, moment.last).ok_or_else(|| {
            Failure::new(Code::Failed, format!("no snapshot is as old as {text}"))
                .with_hint(format!("The oldest is of {}.", time::show(here[0].snapshot.time)))
        }),
        Err(_) if is_hex => {
            Err(Failure::new(Code::Failed, format!("no snapshot {text}"))
                .with_hint("See them: copal snapshots"))
        }
        Err(_) => Err(Failure::usage(format!(
            "{text} is no snapshot: give the beginning of an id, latest, latest~N or a time"
        ))),
    }
}

/// The newest of these snapshots that was there at that time.
fn at(here: &[&Named], moment: crate::model::Time) -> Option<Named> {
    here.iter().rev().find(|named| named.snapshot.time <= moment).map(|named| (*named).clone())
}
