//! Finding the snapshot that a person means: an id's beginning, `latest`, `latest~N`, or a time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::arguments::Choice;
use super::context::{Context, absolute, failure};
use super::exit::{Code, Failure};
use crate::model::Id;
use crate::model::clock::Clock;
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::{Error, Repository};
use crate::terminal::escape::escape;
use crate::terminal::size::{agree, show_count};
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

/// The forgotten snapshot of that id, which must be given in full here: whoever types a beginning means what is listed.
fn forgotten(context: &Context<'_>, all: &Snapshots, id: &str) -> Result<Named, Failure> {
    if let Some(named) = all.forgotten.iter().find(|named| named.name.to_string() == id) {
        context.warn(&format!("snapshot {} is forgotten: it may be removed at any time", named.name.short()));
        return Ok(named.clone());
    }
    Err(Failure::new(Code::Failed, format!("snapshot {id} is forgotten")).with_hint(format!(
        "To have it back: copal undelete {id}. Or name it in full: copal snapshots --forgotten --json"
    )))
}

/// The snapshot among the forgotten ones whose id begins so. None when it is none of them and not forgotten at all.
pub fn find_forgotten(all: &Snapshots, text: &str) -> Result<Option<Named>, Failure> {
    let id = as_id(text)
        .ok_or_else(|| Failure::usage(format!("{text} is no snapshot: give the beginning of its id")))?;
    let begins = |named: &&Named| named.name.to_string().starts_with(&id);
    let found: Vec<&Named> = all.forgotten.iter().filter(begins).collect();
    match found[..] {
        [named] => Ok(Some(named.clone())),
        [] if all.confirmed.iter().any(|named| begins(&named)) => Ok(None),
        [] => Err(Failure::new(Code::Failed, format!("no snapshot {text}"))
            .with_hint("See the forgotten ones: copal snapshots --forgotten")),
        _ => Err(Failure::usage(format!("{text} is the beginning of several snapshots; give more of it"))),
    }
}

/// Those of these snapshots that the options choose.
pub fn chosen(list: &[Named], hosts: &[OsString], choice: &Choice) -> Result<Vec<Named>, Failure> {
    let mut paths = Vec::new();
    for path in &choice.path {
        paths.push((path.as_bytes(), absolute(path)?));
    }
    let is_chosen = |named: &&Named| {
        let Named { snapshot, standing, .. } = named;
        let sources = |path: &[u8]| snapshot.sources.iter().any(|source| source == path);
        (hosts.is_empty() || hosts.iter().any(|host| host.as_bytes() == snapshot.host))
            && (choice.tag.is_empty() || choice.tag.iter().any(|tags| tags.are_in(&standing.tags)))
            && paths.iter().all(|(typed, whole)| sources(typed) || sources(whole))
    };
    Ok(list.iter().filter(is_chosen).cloned().collect())
}

/// The snapshots that these texts mean, each once.
pub fn find_all(
    context: &Context<'_>,
    all: &Snapshots,
    texts: &[String],
    host: Option<&[u8]>,
) -> Result<Vec<Named>, Failure> {
    let mut found: Vec<Named> = Vec::new();
    for text in texts {
        let named = find(context, all, text, host)?;
        if !found.iter().any(|other| other.name == named.name) {
            found.push(named);
        }
    }
    Ok(found)
}

/// How a command ends that wrote notes: some perhaps not.
pub fn noted(context: &Context<'_>, done: usize, failed: &[(Id, Error)]) -> Result<Code, Failure> {
    // The first one is what the run ends with, where nothing was done.
    for (name, error) in failed.iter().skip(usize::from(done == 0)) {
        context.warn(&format!("snapshot {}: {error}", name.short()));
    }
    match failed.first() {
        None => Ok(Code::Done),
        Some((_, error)) if done == 0 => Err(failure(error)),
        Some(_) => Ok(Code::Incomplete),
    }
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
        ([], _) if all.forgotten.iter().any(|named| begins(&named.name)) => {
            forgotten(context, all, id).map(Some)
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
    find_holding(context, all, text, host, None)
}

/// Whether a snapshot's sources hold a path, as typed or from where the person stands, or lie below it.
fn covers(named: &Named, paths: &[Vec<u8>]) -> bool {
    let is_in = |path: &[u8], above: &[u8]| {
        let above = above.strip_suffix(b"/").unwrap_or(above);
        path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let sources = &named.snapshot.sources;
    sources.iter().any(|source| paths.iter().any(|path| is_in(path, source) || is_in(source, path)))
}

/// The same; of a time, the newest snapshot whose sources hold `path`, when there is one.
pub fn find_holding(
    context: &Context<'_>,
    all: &Snapshots,
    text: &str,
    host: Option<&[u8]>,
    path: Option<&[u8]>,
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
    if all.confirmed.is_empty() && !all.forgotten.is_empty() {
        return Err(Failure::new(Code::Failed, "all snapshots are forgotten")
            .with_hint("See them: copal snapshots --forgotten. To have one back: copal undelete SNAP."));
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
                format!(
                    "there {} only {} of host {}",
                    agree(here.len() as u64, "is", "are"),
                    show_count(here.len() as u64, "snapshot"),
                    escape(wanted)
                ),
            )
        });
    }
    match time::parse(text, context.clock.now()) {
        Ok(moment) => held_at(&here, moment.last, path).or_else(|| at(&here, moment.last)).ok_or_else(|| {
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

/// The newest of these snapshots that was there at that time, of those whose sources hold the path.
fn held_at(here: &[&Named], moment: crate::model::Time, path: Option<&[u8]>) -> Option<Named> {
    let path = path?;
    let mut paths = vec![[b"/", path].concat()];
    if path.starts_with(b"/") {
        paths = vec![path.to_vec()];
    } else if let Ok(path) = absolute(std::ffi::OsStr::from_bytes(path)) {
        paths.push(path);
    }
    let holding: Vec<&Named> = here.iter().filter(|named| covers(named, &paths)).copied().collect();
    at(&holding, moment)
}

/// The newest of these snapshots that was there at that time.
fn at(here: &[&Named], moment: crate::model::Time) -> Option<Named> {
    here.iter().rev().find(|named| named.snapshot.time <= moment).map(|named| (*named).clone())
}
