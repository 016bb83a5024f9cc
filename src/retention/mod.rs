//! Retention: which snapshots are forgotten, and the notes that say so. Nothing is removed from storage here.

pub mod calendar;
pub mod fit;
pub mod policy;
#[cfg(test)]
mod tests;
pub mod undelete;

use std::collections::{BTreeMap, HashMap, HashSet};

use calendar::Calendar;
use policy::{Item, Policy, Reason};

use crate::format::note::Verb;
use crate::model::{Id, Id16, Time};
use crate::repository::notes::Notes;
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository};

/// How much later than it was stored a snapshot may say that it was made: clocks differ, and some are a time zone off.
const AHEAD_SECONDS: i64 = 24 * 3600;
/// How far the storage's clock may go back before it is not believed any more.
const BACK_SECONDS: i64 = 3600;

/// What snapshots of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    pub host: bool,
    pub paths: bool,
    pub tags: bool,
}

impl Default for Grouping {
    fn default() -> Grouping {
        Grouping { host: true, paths: true, tags: false }
    }
}

impl Grouping {
    /// Reads `host`, `paths` and `tags`, with commas between; nothing at all is one group of all.
    pub fn parse(text: &str) -> Result<Grouping, &'static str> {
        let mut grouping = Grouping { host: false, paths: false, tags: false };
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "host" | "hosts" => grouping.host = true,
                "path" | "paths" => grouping.paths = true,
                "tag" | "tags" => grouping.tags = true,
                _ => return Err("write host, paths and tags, with commas between"),
            }
        }
        Ok(grouping)
    }
}

/// What the snapshots of a group have in common; none where that does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub host: Option<Vec<u8>>,
    pub paths: Option<Vec<Vec<u8>>>,
    pub tags: Option<Vec<String>>,
    /// Which write-only client says what is in them, whatever is grouped: it must not be able to push out what others saved.
    pub writer: u32,
    /// The repository in which that is its number, where these are copies.
    pub origin: Option<Id16>,
}

impl Key {
    fn of(named: &Named, grouping: Grouping) -> Key {
        let mut tags = named.standing.tags.clone();
        tags.sort();
        Key {
            host: grouping.host.then(|| named.snapshot.host.clone()),
            paths: grouping.paths.then(|| named.snapshot.sources.clone()),
            tags: grouping.tags.then_some(tags),
            writer: named.snapshot.teller(),
            origin: named.snapshot.copied_from.filter(|_| named.snapshot.added_by != 0).map(|(id, _)| id),
        }
    }
}

/// A snapshot, and every reason to keep it; without any it is forgotten.
#[derive(Clone, Debug)]
pub struct Entry {
    pub named: Named,
    pub reasons: Vec<Reason>,
}

impl Entry {
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Snapshots to which a policy applies together, oldest first.
#[derive(Clone, Debug)]
pub struct Group {
    pub key: Key,
    pub entries: Vec<Entry>,
}

impl Group {
    /// Whether snapshots of it are forgotten and the policy keeps none: what is protected or of an impossible time does not count.
    pub fn is_emptied(&self) -> bool {
        self.entries.iter().any(|entry| !entry.is_kept())
            && !self.entries.iter().any(|entry| entry.reasons.iter().any(Reason::is_rule))
    }
}

/// What is to be forgotten and what is kept.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub groups: Vec<Group>,
}

impl Plan {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.groups.iter().flat_map(|group| &group.entries)
    }

    /// What is to be forgotten.
    pub fn forgotten(&self) -> impl Iterator<Item = &Named> {
        self.entries().filter(|entry| !entry.is_kept()).map(|entry| &entry.named)
    }

    /// What is to be forgotten, in the order in which it goes when not all of it has to: the oldest first, whatever its group.
    pub fn oldest_first(&self) -> Vec<Id> {
        let mut all: Vec<&Named> = self.forgotten().collect();
        // docs/format.md, section 8.
        all.sort_by_key(|named| {
            (named.snapshot.time, named.snapshot.client, named.snapshot.sequence, named.name)
        });
        all.into_iter().map(|named| named.name).collect()
    }

    /// Lets all stay but these, for the reason that what stays fits.
    pub fn keep_others(&mut self, gone: &[Id]) {
        let gone: HashSet<&Id> = gone.iter().collect();
        for entry in self.groups.iter_mut().flat_map(|group| &mut group.entries) {
            if !entry.is_kept() && !gone.contains(&entry.named.name) {
                entry.reasons.push(Reason::Fits);
            }
        }
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.entries().filter(|entry| entry.is_kept()).count()
    }

    /// Snapshots that say they were made later than they can have been.
    pub fn ahead(&self) -> impl Iterator<Item = &Named> {
        self.entries().filter(|entry| entry.reasons.contains(&Reason::Ahead)).map(|entry| &entry.named)
    }
}

/// Whether a snapshot says that it was made later than it can have been, by the storage's clock: its own clock was wrong, or somebody
/// wants it to take the place of others.
pub fn lies_ahead(named: &Named, now: Time) -> bool {
    let stored = named.confirmed.map_or(now, |confirmed| confirmed.min(now));
    named.snapshot.time > stored.plus_seconds(AHEAD_SECONDS)
}

/// The newest snapshot when it was stored later than it is now, by the storage's clock: that clock was or is wrong, and what is old can
/// not be told.
pub fn stored_later<'a>(chosen: &'a [Named], now: Time) -> Option<&'a Named> {
    let newest: Option<&'a Named> = chosen.iter().max_by_key(|named| named.confirmed);
    newest.filter(|named| named.confirmed > Some(now.plus_seconds(BACK_SECONDS)))
}

/// Groups of snapshots, which come oldest first and stay so. `reasons` says why those of a group are kept.
fn grouped(chosen: &[Named], grouping: Grouping, reasons: impl Fn(&[Named]) -> Vec<Vec<Reason>>) -> Plan {
    let mut groups: BTreeMap<Key, Vec<Named>> = BTreeMap::new();
    for named in chosen {
        groups.entry(Key::of(named, grouping)).or_default().push(named.clone());
    }
    let groups = groups.into_iter().map(|(key, all)| {
        let reasons = reasons(&all);
        let entries = all.into_iter().zip(reasons).map(|(named, reasons)| Entry { named, reasons }).collect();
        Group { key, entries }
    });
    Plan { groups: groups.collect() }
}

/// Originals among these for which another of them stands, and the one that stands for it in the end.
fn stood_for(all: &[Named]) -> HashMap<usize, usize> {
    let places: HashMap<Id, usize> = (0..).zip(all).map(|(at, named)| (named.name, at)).collect();
    let stands =
        (0..).zip(all).filter_map(|(at, named)| Some((*places.get(&named.snapshot.stands_for?)?, at)));
    let by: HashMap<usize, usize> = stands.collect();
    let last = |original: usize| {
        let mut at = original;
        // Each names one that was there before, so this ends; what is made up ends as well.
        for _ in 0..all.len() {
            match by.get(&at) {
                Some(next) => at = *next,
                None => return Some((original, at)),
            }
        }
        None
    };
    by.keys().filter_map(|original| last(*original)).collect()
}

/// Applies a policy to snapshots, which come oldest first. An original for which another stands stays and goes with that one. `now` is the storage's time.
pub fn plan(chosen: &[Named], policy: &Policy, grouping: Grouping, calendar: &Calendar, now: Time) -> Plan {
    grouped(chosen, grouping, |all| {
        let mut reasons = vec![Vec::new(); all.len()];
        let by = stood_for(all);
        // Newest first; what lies ahead takes nobody's place, nor does an original for which another stands: they are one.
        let counts = |at: &usize| !lies_ahead(&all[*at], now) && !by.contains_key(at);
        let counted: Vec<usize> = (0..all.len()).rev().filter(counts).collect();
        let items: Vec<Item<'_>> = (counted.iter().map(|at| &all[*at]))
            .map(|named| Item {
                time: named.snapshot.time,
                local: calendar.local(&named.snapshot),
                tags: &named.standing.tags,
            })
            .collect();
        let newest = counted.first().map(|at| &all[*at].snapshot);
        let since = |span| newest.map_or(now, |newest| calendar.before(newest, span));
        for (at, why) in counted.iter().zip(policy.reasons(&items, since)) {
            reasons[*at] = why;
        }
        for (original, by) in by {
            reasons[original] = reasons[by].clone();
        }
        for (named, reasons) in all.iter().zip(&mut reasons) {
            if named.standing.protected {
                reasons.push(Reason::Protected);
            }
            if lies_ahead(named, now) {
                reasons.push(Reason::Ahead);
            }
        }
        reasons
    })
}

/// Forgets all of these but the protected ones.
pub fn plan_all(chosen: &[Named], grouping: Grouping) -> Plan {
    let why = |named: &Named| if named.standing.protected { vec![Reason::Protected] } else { Vec::new() };
    grouped(chosen, grouping, |all| all.iter().map(why).collect())
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Done {
    pub forgotten: Vec<Id>,
    /// Snapshots whose notes could not be written.
    pub failed: Vec<(Id, Error)>,
}

/// Forgets what the plan says: one note for each snapshot. `time` is the storage's.
///
/// Errors: when a note can not be read, since it may be one that protects.
pub fn execute(repository: &Repository, notes: &mut Notes, plan: &Plan, time: Time) -> Result<Done, Error> {
    notes.check_known()?;
    let mut done = Done::default();
    for named in plan.forgotten() {
        let noted = match named.standing.protected {
            true => Err(Error::Refused(format!("snapshot {} is protected", named.name.short()))),
            false => match repository.put_note(notes, &named.name, Verb::Forget, &[], time) {
                // Forgetting is how room is made: what was kept aside is for that.
                Err(error) if error.is_no_space() && repository.backend.reserve(false) => {
                    repository.put_note(notes, &named.name, Verb::Forget, &[], time)
                }
                other => other,
            },
        };
        match noted {
            Ok(_) => done.forgotten.push(named.name),
            Err(error) => done.failed.push((named.name, error)),
        }
    }
    Ok(done)
}
