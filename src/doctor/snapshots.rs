//! Snapshots and what notes make of them: chains that name what is not there, what was never completed, what may go, and when each
//! machine was backed up last.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;

use super::objects::Problems;
use super::{DAY, Finding, Inside, Matter, Next, Seen, Severity};
use crate::model::{Id, Time};
use crate::repository::Error;
use crate::repository::removals::Removals;
use crate::repository::snapshots::{GRACE_SECONDS, Named, Origin, Snapshots};
use crate::terminal::escape::escape;
use crate::terminal::size::{agree, show_count, show_duration};
use crate::terminal::time;

/// Seconds by which clocks may differ without a word.
const CLOCK_SECONDS: i64 = 300;
/// Gaps between backups from which their rhythm is taken.
const GAPS: usize = 10;
/// Age of a last backup that is never long ago, seconds.
const FRESH_SECONDS: i64 = 2 * DAY;
/// Age that is long ago where no rhythm is known, seconds.
const OLD_SECONDS: i64 = 30 * DAY;
/// Age from which a machine is taken for one that is no more, seconds.
const GONE_SECONDS: i64 = 400 * DAY;

/// The snapshots of one host and the same sources.
#[derive(Clone, Debug)]
pub struct Group {
    pub host: Vec<u8>,
    pub sources: Vec<Vec<u8>>,
    pub snapshots: u64,
    /// When the newest one was made.
    pub last: Time,
}

/// Reads config and every snapshot, confirmation and note from storage, and tells what can not be read.
pub(super) fn load(inside: &Inside<'_>, findings: &mut Vec<Finding>) -> Result<Snapshots, Error> {
    let repository = inside.repository;
    let mut problems = Problems::default();
    problems.add_all(&repository.config_problems()?);
    if let Some(seen) = inside.memory.generation.filter(|seen| *seen > repository.config.generation) {
        let what = format!(
            "the repository is older than it was: its config is of generation {}, and this machine has seen {seen}",
            repository.config.generation
        );
        findings.push(Finding::damage(Matter::RolledBack, what).then(Next::copal("snapshots")));
    }
    let all = repository.snapshots_from(Origin::Storage)?;
    problems.add_all(&all.problems);
    problems.tell(inside.folder, findings);
    Ok(all)
}

/// What all snapshots together tell.
pub(super) fn look(inside: &Inside<'_>, all: &Snapshots, seen: &mut Seen, findings: &mut Vec<Finding>) {
    chains(all, findings);
    unconfirmed(inside, all, findings);
    clock(inside, all, findings);
    seen.snapshots = all.confirmed.len() as u64;
    seen.groups = groups(all);
    // What can be done here comes first.
    let (own, others): (Vec<&Group>, Vec<&Group>) =
        seen.groups.iter().partition(|group| group.host == inside.host);
    findings.extend(own.into_iter().chain(others).filter_map(|group| long_ago(inside, all, group)));
}

fn chains(all: &Snapshots, findings: &mut Vec<Finding>) {
    let lost: HashSet<Id> = all.lost.iter().map(|(name, _)| *name).collect();
    let broken: Vec<(Id, Id)> = (all.broken_links())
        .map(|(after, previous)| (after.name, previous))
        .filter(|(_, previous)| !lost.contains(previous))
        .collect();
    if !broken.is_empty() {
        let objects =
            broken.iter().map(|(of, previous)| format!("snapshots/{previous} (before {})", of.short()));
        let what = "snapshots are missing that later ones of the same machine came after; while that is so, nothing is pruned";
        findings.push(
            Finding::damage(Matter::SnapshotMissing, what).of(objects).then(Next::copal("repair snapshots")),
        );
    }
}

fn unconfirmed(inside: &Inside<'_>, all: &Snapshots, findings: &mut Vec<Finding>) {
    let told = |name: &Id| {
        let object = format!("confirmed/{name}");
        all.problems.iter().any(|problem| problem.to_string().contains(&object))
    };
    let names: Vec<&Named> = all.unconfirmed.iter().filter(|named| !told(&named.name)).collect();
    if names.is_empty() {
        return;
    }
    let what = format!(
        "{} {} never completed: a backup was cut off just before its end; harmless, and the next backup finds what it stored",
        show_count(names.len() as u64, "snapshot"),
        agree(names.len() as u64, "was", "were")
    );
    let finding = Finding::new(Severity::Note, Matter::Unconfirmed, what)
        .of(names.iter().map(|named| format!("snapshots/{}", named.name)));
    findings.push(match backups_here(inside, all).first() {
        Some(named) => finding.then(backup(named)),
        None => finding.then(Next::copal("check")),
    });
}

/// Forgotten snapshots whose time has come, and what a prune that was cut off left of others.
pub(super) fn forgotten(
    inside: &Inside<'_>,
    all: &Snapshots,
    removals: &Removals,
    findings: &mut Vec<Finding>,
) {
    let waiting: HashSet<&Id> = removals.marks.iter().flat_map(|(_, mark)| &mark.snapshots).collect();
    let over = |named: &&Named| {
        let at = named.standing.forgotten.unwrap_or(inside.now);
        inside.now.seconds_since(at) >= GRACE_SECONDS as f64 && !waiting.contains(&named.name)
    };
    let names: Vec<String> =
        all.forgotten.iter().filter(over).map(|named| format!("snapshots/{}", named.name)).collect();
    if !names.is_empty() {
        let count = names.len() as u64;
        let what = format!(
            "{} {} forgotten more than {} days ago, and the room of {} can be had back",
            show_count(count, "snapshot"),
            agree(count, "was", "were"),
            GRACE_SECONDS / DAY,
            agree(count, "it", "them")
        );
        findings
            .push(Finding::new(Severity::Note, Matter::Forgotten, what).of(names).then(Next::copal("prune")));
    }
    let mut left: Vec<Id> = all.removed.iter().copied().chain(all.notes.left_of_removed()).collect();
    left.sort_unstable();
    left.dedup();
    if !left.is_empty() {
        let what = "a prune was cut off while it removed snapshots; the next one ends it";
        let left = left.iter().map(|name| format!("snapshots/{name}"));
        findings.push(
            Finding::new(Severity::Warning, Matter::PruneInterrupted, what)
                .of(left)
                .then(Next::copal("prune")),
        );
    }
}

fn span(seconds: i64) -> String {
    let seconds = seconds.max(0) as u64;
    let unit = match seconds {
        0..=3599 => 60,
        3600..=86399 => 3600,
        _ => 86400,
    };
    show_duration(std::time::Duration::from_secs((seconds / unit).max(1) * unit))
}

fn clock(inside: &Inside<'_>, all: &Snapshots, findings: &mut Vec<Finding>) {
    let next = || Next::Other(["timedatectl", "set-ntp", "true"].map(|word| word.as_bytes().to_vec()).into());
    // The storage's word, not that of the machine that made the snapshot.
    let newest =
        all.saved().filter_map(|named| Some((named.confirmed?, named))).max_by_key(|(time, _)| *time);
    if let Some((stored, named)) = newest {
        let ahead = stored.seconds.saturating_sub(inside.now.seconds);
        if ahead > CLOCK_SECONDS {
            let what = format!(
                "this machine's clock is wrong: it says {}, and the newest snapshot was stored at {}, {} later",
                time::show(inside.now),
                time::show(stored),
                span(ahead)
            );
            let severity = if ahead > DAY { Severity::Bad } else { Severity::Warning };
            findings.push(
                Finding::new(severity, Matter::ClockWrong, what)
                    .of([format!("snapshots/{}", named.name)])
                    .then(next()),
            );
        }
    }
    let off: Vec<&Named> = all
        .confirmed
        .iter()
        .filter(|named| !named.snapshot.time_given)
        .filter(|named| {
            named
                .confirmed
                .is_some_and(|stored| named.snapshot.time.seconds.saturating_sub(stored.seconds) > DAY)
        })
        .collect();
    if !off.is_empty() {
        let mut hosts: Vec<String> =
            off.iter().map(|named| escape(&named.snapshot.host).into_owned()).collect();
        hosts.dedup();
        let what = format!(
            "the clock of {} was more than a day ahead of the storage's when snapshots were made: no policy takes them for the newest",
            hosts.join(", ")
        );
        findings.push(
            Finding::new(Severity::Warning, Matter::ClockWrong, what)
                .of(off.iter().map(|named| format!("snapshots/{}", named.name)))
                .then(next()),
        );
    }
}

fn groups(all: &Snapshots) -> Vec<Group> {
    let mut groups: BTreeMap<(&[u8], &[Vec<u8>]), Group> = BTreeMap::new();
    for named in &all.confirmed {
        let snapshot = &named.snapshot;
        let group = groups.entry((&snapshot.host, &snapshot.sources)).or_insert_with(|| Group {
            host: snapshot.host.clone(),
            sources: snapshot.sources.clone(),
            snapshots: 0,
            last: snapshot.time,
        });
        group.snapshots += 1;
        group.last = group.last.max(snapshot.time);
    }
    groups.into_values().collect()
}

/// That the last backup of a group is longer ago than its rhythm explains.
fn long_ago(inside: &Inside<'_>, all: &Snapshots, group: &Group) -> Option<Finding> {
    let of_group =
        |named: &&Named| named.snapshot.host == group.host && named.snapshot.sources == group.sources;
    let times: Vec<i64> =
        all.confirmed.iter().filter(of_group).map(|named| named.snapshot.time.seconds).collect();
    let mut gaps: Vec<i64> =
        times.windows(2).rev().take(GAPS).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().filter(|_| gaps.len() >= 2);
    let most = usual.map_or(OLD_SECONDS, |gap| gap.saturating_mul(3).saturating_add(DAY).max(FRESH_SECONDS));
    let age = inside.now.seconds.saturating_sub(group.last.seconds);
    if age <= most {
        return None;
    }
    let sources: Vec<String> = group.sources.iter().map(|source| escape(source).into_owned()).collect();
    let rhythm = usual
        .map_or_else(String::new, |gap| format!("; before that there was one about every {}", span(gap)));
    let what = format!(
        "the last backup of {} on {} is {} old{rhythm}",
        sources.join(" "),
        escape(&group.host),
        span(age)
    );
    let severity = if age > GONE_SECONDS { Severity::Note } else { Severity::Warning };
    let newest = all.confirmed.iter().rfind(of_group)?;
    let finding =
        Finding::new(severity, Matter::BackupLongAgo, what).of([format!("snapshots/{}", newest.name)]);
    // What another machine has to run can not be run here, and one that is no more runs nothing.
    Some(match group.host == inside.host && is_of_paths(newest) {
        true => finding.then(backup(newest)),
        false if severity == Severity::Note => finding,
        false => finding.then(Next::Copal("snapshots", vec![b"--host".to_vec(), group.host.clone()])),
    })
}

/// Whether it was made of files and folders, not of a stream.
fn is_of_paths(named: &Named) -> bool {
    let exists = |source: &Vec<u8>| std::path::Path::new(std::ffi::OsStr::from_bytes(source)).exists();
    !named.snapshot.sources.is_empty() && named.snapshot.sources.iter().all(exists)
}

/// The newest snapshot of each group of this machine whose sources are still there.
pub(super) fn backups_here<'s>(inside: &Inside<'_>, all: &'s Snapshots) -> Vec<&'s Named> {
    let mut newest: BTreeMap<&[Vec<u8>], &Named> = BTreeMap::new();
    for named in all.confirmed.iter().filter(|named| named.snapshot.host == inside.host && is_of_paths(named))
    {
        newest.insert(&named.snapshot.sources, named);
    }
    newest.into_values().collect()
}

/// The backup that makes another snapshot of the same sources.
pub(super) fn backup(named: &Named) -> Next {
    Next::Copal("backup", named.snapshot.sources.clone())
}
