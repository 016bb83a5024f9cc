//! The same answers from the snapshots themselves: slow, and always right.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use super::history::{History, runs};
use super::timeline::{Moment, State, Timelines};
use super::{check_stop, facts};
use crate::index::catalogue::Facts;
use crate::model::{Id, Node, NodeType};
use crate::repository::{Error, Repository};

/// The histories of a path of these names, by host; only hosts that had it. What can not be read says nothing.
pub fn history_by_walking<'s>(
    repository: &Repository,
    timelines: &Timelines<'s>,
    names: &[&[u8]],
    all_changes: bool,
    stop: &AtomicBool,
) -> Result<Vec<History<'s>>, Error> {
    let path = names.iter().flat_map(|name| [&b"/"[..], name].concat()).collect::<Vec<u8>>();
    // A tree says the same in every snapshot.
    let mut seen: HashMap<Id, State<Facts>> = HashMap::new();
    let mut state = |moment: &Moment<'s>| -> Result<State<(Facts, ())>, Error> {
        check_stop(stop)?;
        if !moment.covers(&path) {
            return Ok(State::Unknown);
        }
        let root = moment.named.snapshot.root;
        let known = seen.get(&root).cloned();
        let state = match known {
            Some(state) => state,
            None => look(repository, root, names)?,
        };
        seen.insert(root, state.clone());
        Ok(match state {
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
        match repository.find_in(tree, name) {
            Ok(Some(Node { kind: NodeType::Directory, tree: Some(below), .. })) => tree = below,
            Ok(Some(node)) if node.kind == NodeType::Unreadable => return Ok(State::Unknown),
            Ok(_) => return Ok(State::Absent),
            Err(error) if error.is_damage() => return Ok(State::Unknown),
            Err(error) => return Err(error),
        }
    }
    match repository.find_encoded(tree, last) {
        Ok(Some((node, encoded))) => Ok(State::Present(facts(&node, &encoded))),
        Ok(None) => Ok(State::Absent),
        Err(error) if error.is_damage() => Ok(State::Unknown),
        Err(error) => Err(error),
    }
}
