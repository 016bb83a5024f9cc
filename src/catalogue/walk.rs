//! The same answers from the snapshots themselves: slow, and always right.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use super::history::{History, runs};
use super::timeline::{Moment, State, Timelines};
use super::{check_stop, facts};
use crate::index::catalogue::Facts;
use crate::model::{Id, Node, NodeType, joined};
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository};

/// The histories of a path of these names, by host; only hosts that had it. What can not be read says nothing; `damaged` gets the
/// snapshots in which the way to the path is damaged.
pub fn history_by_walking<'s>(
    repository: &Repository,
    timelines: &Timelines<'s>,
    names: &[&[u8]],
    all_changes: bool,
    stop: &AtomicBool,
    damaged: &mut Vec<&'s Named>,
) -> Result<Vec<History<'s>>, Error> {
    let path = joined(names);
    // A tree says the same in every snapshot.
    let mut seen: HashMap<Id, Option<State<Facts>>> = HashMap::new();
    let mut state = |moment: &Moment<'s>| -> Result<State<(Facts, ())>, Error> {
        check_stop(stop)?;
        if !moment.covers(&path) {
            return Ok(State::Unknown);
        }
        let root = moment.named.snapshot.root;
        let known = seen.get(&root).cloned();
        let state = match known {
            Some(state) => state,
            None => match look(repository, root, names) {
                Err(error) if error.is_damage() => None,
                other => Some(other?),
            },
        };
        seen.insert(root, state.clone());
        if state.is_none() {
            damaged.push(moment.named);
        }
        Ok(match state.unwrap_or(State::Unknown) {
            State::Present(facts) => State::Present((facts, ())),
            // What is not there in a snapshot that a repair wrote may be lost.
            State::Absent if moment.named.snapshot.stands_for.is_some() => State::Unknown,
            State::Absent => State::Absent,
            State::Unknown => State::Unknown,
        })
    };
    let mut histories = Vec::new();
    for (host, moments) in &timelines.hosts {
        let states = moments.iter().map(|moment| Ok((moment.named, state(moment)?)));
        let versions: Vec<_> = runs(states, all_changes)?.into_iter().map(|(version, ())| version).collect();
        if !versions.is_empty() {
            histories.push(History { host: host.clone(), versions });
        }
    }
    Ok(histories)
}

/// What a path is below a tree.
fn look(repository: &Repository, root: Id, names: &[&[u8]]) -> Result<State<Facts>, Error> {
    let Some((last, above)) = names.split_last() else { return Ok(State::Absent) };
    let mut tree = root;
    for name in above {
        match repository.find_in(tree, name)? {
            Some(Node { kind: NodeType::Directory, tree: Some(below), .. }) => tree = below,
            Some(node) if node.kind == NodeType::Unreadable => return Ok(State::Unknown),
            _ => return Ok(State::Absent),
        }
    }
    Ok(match repository.find_encoded(tree, last)? {
        Some((node, encoded)) => State::Present(facts(&node, &encoded)),
        None => State::Absent,
    })
}
