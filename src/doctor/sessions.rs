//! Who is at work, who was cut off, and what prunes left undone.

use std::collections::HashSet;

use super::objects::Problems;
use super::{DAY, Finding, Inside, Matter, Next, Severity};
use crate::backend::Kind;
use crate::format::session::Role;
use crate::model::{Id, Id16};
use crate::repository::removals::Removals;
use crate::repository::sessions::Peer;
use crate::repository::{Error, list_names};
use crate::terminal::escape::escape;
use crate::terminal::size::{agree, show_count};
use crate::terminal::time;

/// Seconds by which this machine's clock may differ from the storage's.
const SKEW_SECONDS: f64 = 3600.0;

fn role(peer: &Peer) -> &'static str {
    match peer.role {
        Role::Writer => "a backup",
        Role::Reader => "a reader",
        Role::Pruner => "a prune",
    }
}

fn shown(peer: &Peer) -> String {
    let since = time::show(peer.begun_stored.unwrap_or(peer.begun));
    format!("{} on {} since {since}", role(peer), escape(&peer.host))
}

fn object(peer: &Peer) -> String {
    format!("session {}: {}", peer.id, shown(peer))
}

/// Whether its process is there, as far as this machine can tell.
fn is_running(peer: &Peer, host: &[u8]) -> bool {
    let process = i32::try_from(peer.process).ok().and_then(rustix::process::Pid::from_raw);
    match process {
        Some(process) if peer.host == host => {
            rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
        }
        _ => true,
    }
}

/// Tells of sessions, marks and tombstones, and gives the removal records that can be read.
pub(super) fn look(inside: &Inside<'_>, findings: &mut Vec<Finding>) -> Result<Removals, Error> {
    let repository = inside.repository;
    let mut problems = Problems::default();
    let (peers, unreadable) = repository.sessions_readable()?;
    problems.add_all(unreadable.iter().map(|(_, error)| error));
    let fences: HashSet<Id16> = repository.fences()?.into_iter().collect();
    let removals = repository.removals()?;
    problems.add_all(&removals.problems);
    problems.tell(inside.folder, findings);
    let open = |peer: &&Peer| !peer.is_ended && !fences.contains(&peer.id);
    let alive: Vec<&Peer> = peers.iter().filter(open).filter(|peer| peer.is_alive(inside.now)).collect();
    let (running, cut_off): (Vec<&Peer>, Vec<&Peer>) =
        alive.iter().partition(|peer| is_running(peer, inside.host));
    if !running.is_empty() {
        let what = format!("{} at work: nothing that they need is removed meanwhile", shown_count(&running));
        findings.push(
            Finding::new(Severity::Note, Matter::AtWork, what).of(running.iter().map(|peer| object(peer))),
        );
    }
    if let Some(until) = cut_off.iter().map(|peer| peer.lease_end).max() {
        let what = format!(
            "{} cut off on this machine, and {} as at work until {}: removals wait until then, and nothing else does",
            match cut_off.len() {
                1 => "a run was".to_owned(),
                count => format!("{count} runs were"),
            },
            agree(cut_off.len() as u64, "counts", "count"),
            time::show(until)
        );
        findings.push(
            Finding::new(Severity::Note, Matter::CutOff, what).of(cut_off.iter().map(|peer| object(peer))),
        );
    }
    let asleep: Vec<&Peer> = peers.iter().filter(open).filter(|peer| !peer.is_alive(inside.now)).collect();
    if !asleep.is_empty() {
        let what = "runs never said that they ended: cut off, or asleep; should one wake up after the next prune, it begins again";
        findings.push(
            Finding::new(Severity::Note, Matter::CutOff, what)
                .of(asleep.iter().map(|peer| object(peer)))
                .then(Next::copal("prune")),
        );
    }
    clock(inside, &peers, findings);
    let pruner = running.iter().any(|peer| peer.role == Role::Pruner);
    marks(inside, &removals, &alive, pruner, findings);
    if !pruner {
        tombstones(inside, &removals, findings)?;
    }
    Ok(removals)
}

fn shown_count(peers: &[&Peer]) -> String {
    match peers {
        [_] => "somebody is".to_owned(),
        _ => format!("{} are", show_count(peers.len() as u64, "run")),
    }
}

/// How far the clock of this machine was from the storage's when it wrote last.
fn clock(inside: &Inside<'_>, peers: &[Peer], findings: &mut Vec<Finding>) {
    let own = peers.iter().filter(|peer| peer.host == inside.host);
    let Some((peer, stored)) =
        own.filter_map(|peer| Some((peer, peer.begun_stored?))).max_by_key(|(_, at)| *at)
    else {
        return;
    };
    let ahead = peer.begun.seconds_since(stored);
    if ahead.abs() > SKEW_SECONDS {
        let what = format!(
            "this machine's clock was {} hours {} the storage's when it wrote last",
            (ahead.abs() / 3600.0).round(),
            if ahead > 0.0 { "ahead of" } else { "behind" }
        );
        let severity = if ahead.abs() > DAY as f64 { Severity::Bad } else { Severity::Warning };
        let next =
            Next::Other(["timedatectl", "set-ntp", "true"].map(|word| word.as_bytes().to_vec()).into());
        findings.push(Finding::new(severity, Matter::ClockWrong, what).of([object(peer)]).then(next));
    }
}

/// Packs that were marked and wait for a later prune.
fn marks(
    inside: &Inside<'_>,
    removals: &Removals,
    alive: &[&Peer],
    pruner: bool,
    findings: &mut Vec<Finding>,
) {
    let packs = removals.marked().len() as u64;
    let Some(since) = removals.marks.iter().map(|(_, mark)| mark.time).min() else { return };
    if pruner {
        return;
    }
    let mut hosts: Vec<String> = alive.iter().map(|peer| shown(peer)).collect();
    hosts.dedup();
    let way = match hosts.is_empty() {
        true => "nobody is in the way any more".to_owned(),
        false => format!("in the way: {}", hosts.join(", ")),
    };
    let what = format!(
        "{} {} for removal since {}; {way}",
        show_count(packs, "pack"),
        agree(packs, "waits", "wait"),
        time::show(since)
    );
    let age = inside.now.seconds_since(since);
    let severity = if age > 30.0 * DAY as f64 { Severity::Warning } else { Severity::Note };
    findings.push(
        Finding::new(severity, Matter::PacksWaiting, what)
            .of(removals.marks.iter().map(|(name, _)| format!("removals/{name}")))
            .then(Next::copal("prune")),
    );
}

/// What tombstones say is gone, and is still there.
fn tombstones(inside: &Inside<'_>, removals: &Removals, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let repository = inside.repository;
    let removed = removals.removed();
    let index: HashSet<&Id> = removals.tombstones.iter().flat_map(|(_, done)| &done.index_objects).collect();
    let mut left: Vec<String> = Vec::new();
    if !removed.is_empty() {
        let packs = repository.stored_packs()?.into_iter().map(|(name, _)| name);
        left.extend(packs.filter(|name| removed.contains(name)).map(|name| format!("packs/{name}")));
    }
    if !index.is_empty() {
        let names = list_names(&*repository.backend, Kind::Index)?;
        left.extend(names.iter().filter(|name| index.contains(name)).map(|name| format!("index/{name}")));
    }
    left.extend(removals.answered.iter().map(|name| format!("removals/{name}")));
    if !left.is_empty() {
        let what = "a prune was cut off while it removed what nobody needs; the next one ends it";
        findings.push(
            Finding::new(Severity::Warning, Matter::PruneInterrupted, what)
                .of(left)
                .then(Next::copal("prune")),
        );
    }
    Ok(())
}
