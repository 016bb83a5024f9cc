//! How many names a file has in a snapshot. A node does not say: its names are counted, in one walk of the snapshot, when the first file
//! with several names is met.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::identity::link_of;
use crate::locks::lock;
use crate::model::{Id, Node, NodeType};
use crate::repository::Repository;
use crate::repository::trees::Nodes;

/// Snapshots whose counts are kept.
const KEPT: usize = 4;

/// How often each file with several names is named.
type Counts = HashMap<Id, u32>;

/// Counts of the snapshots that were asked for last, by their roots.
#[derive(Default)]
pub struct Links(Mutex<Vec<(Id, Arc<OnceLock<Counts>>)>>);

impl Links {
    /// How many names the file of that node has in the snapshot with that root; at least 1.
    pub fn count(&self, repository: &Repository, root: Id, node: &Node) -> u32 {
        let Some(link) = link_of(node) else { return 1 };
        let counts = {
            let mut kept = lock(&self.0);
            let place = kept.iter().position(|(known, _)| *known == root);
            let counts = place.map(|place| kept.remove(place).1).unwrap_or_default();
            kept.push((root, counts.clone()));
            if kept.len() > KEPT {
                kept.remove(0);
            }
            counts
        };
        // Others who ask for the same wait for the one walk.
        counts.get_or_init(|| count(repository, root)).get(&link).copied().unwrap_or(1)
    }
}

/// A folder in or below which a file with several names is.
#[derive(Default)]
struct Branch {
    /// Numbers of such folders in it.
    below: Vec<usize>,
    links: Vec<Id>,
}

struct Open<'r> {
    tree: Id,
    nodes: Nodes<'r>,
    branch: Branch,
}

/// Goes through each folder once, however often it is in the snapshot, and counts with how often that is. What can not be read is told by
/// who reads it.
fn count(repository: &Repository, root: Id) -> Counts {
    let mut branches: Vec<Branch> = Vec::new();
    let mut known: HashMap<Id, Option<usize>> = HashMap::new();
    let open = |tree| Open { tree, nodes: repository.nodes(tree), branch: Branch::default() };
    let mut stack = vec![open(root)];
    while let Some(top) = stack.last_mut() {
        match top.nodes.next() {
            Some(Ok(Node { kind: NodeType::Directory, tree: Some(tree), .. })) => match known.get(&tree) {
                Some(branch) => top.branch.below.extend(branch),
                None => {
                    // Below itself it can not be: an id is made of what is in it.
                    stack.push(open(tree));
                }
            },
            Some(Ok(node)) => top.branch.links.extend(link_of(&node)),
            Some(Err(error)) if error.is_damage() => {}
            Some(Err(_)) => return Counts::new(),
            None => {
                let Some(done) = stack.pop() else { break };
                let is_empty = done.branch.below.is_empty() && done.branch.links.is_empty();
                let number = (!is_empty).then_some(branches.len());
                if !is_empty {
                    branches.push(done.branch);
                }
                known.insert(done.tree, number);
                if let Some(above) = stack.last_mut() {
                    above.branch.below.extend(number);
                }
            }
        }
    }
    add_up(&branches)
}

/// Each branch comes after those below it, and the last one is the root.
fn add_up(branches: &[Branch]) -> Counts {
    let mut times = vec![0u32; branches.len()];
    let mut counts = Counts::new();
    if let Some(root) = times.last_mut() {
        *root = 1;
    }
    for (number, branch) in branches.iter().enumerate().rev() {
        let own = times.get(number).copied().unwrap_or_default();
        for below in &branch.below {
            if let Some(times) = times.get_mut(*below) {
                *times = times.saturating_add(own);
            }
        }
        for link in &branch.links {
            let count = counts.entry(*link).or_default();
            *count = count.saturating_add(own);
        }
    }
    counts.retain(|_, count| *count > 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_folder_count_as_often_as_the_folder_is_there() {
        let link = |byte: u8| Id([byte; 32]);
        let branches = [
            Branch { below: vec![], links: vec![link(1)] },
            Branch { below: vec![0, 0], links: vec![link(2)] },
            Branch { below: vec![0, 1], links: vec![link(2), link(3)] },
        ];
        let counts = add_up(&branches);
        assert_eq!(counts.get(&link(1)), Some(&3));
        assert_eq!(counts.get(&link(2)), Some(&2));
        assert_eq!(counts.get(&link(3)), None, "one name is no count");
        assert!(add_up(&[]).is_empty());
    }
}
