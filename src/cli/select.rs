//! Finding the snapshot that a person means: an id's beginning, `latest`, `latest~N`, or a time.

use std::collections::BTreeSet;

use super::context::{Context, failure};
use super::exit::{Code, Failure};
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

/// The snapshot that `text` means, among those of `host` where the text is no id.
pub fn find(
    context: &Context<'_>,
    all: &Snapshots,
    text: &str,
    host: Option<&[u8]>,
) -> Result<Named, Failure> {
    let lower = text.to_ascii_lowercase();
    let is_hex = lower.len() >= ID_LEAST && lower.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        let matching: Vec<&Named> =
            all.confirmed.iter().filter(|named| named.name.to_string().starts_with(&lower)).collect();
        match matching[..] {
            [one] => return Ok(one.clone()),
            [] => {}
            _ => {
                let names: Vec<String> =
                    matching.iter().map(|named| named.name.to_string()[..16].to_owned()).collect();
                return Err(Failure::usage(format!(
                    "{text} is the beginning of several snapshots: {}",
                    names.join(", ")
                )));
            }
        }
    }
    if all.confirmed.is_empty() {
        return Err(Failure::new(Code::Failed, "there are no snapshots yet")
            .with_hint("Make one: copal backup FOLDER"));
    }
    let own = context.host();
    let wanted = host.unwrap_or(&own);
    let here: Vec<&Named> = all.confirmed.iter().filter(|named| named.snapshot.host == wanted).collect();
    if here.is_empty() {
        let hosts: BTreeSet<String> =
            all.confirmed.iter().map(|named| escape(&named.snapshot.host).into_owned()).collect();
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
