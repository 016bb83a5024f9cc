//! Which files are drilled: half of them any, half of them by their size, so that both small and large ones come up. A walk over the
//! snapshot keeps the candidates and nothing else, and the seed and the path decide, whatever the order.

use std::collections::{BinaryHeap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Options, Side};
use crate::format::limits::DEPTH_MAX;
use crate::model::{Id, NodeType};
use crate::repository::{Error, Repository};

/// A file that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pick {
    /// Absolute, as stored.
    pub path: Vec<u8>,
    pub size: u64,
}

/// What was chosen of a snapshot.
#[derive(Debug, Default)]
pub struct Taken {
    /// In order of their paths.
    pub picks: Vec<Pick>,
    pub seen: u64,
    pub too_large: u64,
}

/// A number that the seed and a name decide.
pub fn number(seed: u64, name: &[u8]) -> u64 {
    numbers(seed, name)[0]
}

fn numbers(seed: u64, name: &[u8]) -> [u64; 2] {
    let mut bytes = [0; 16];
    blake3::Hasher::new().update(&seed.to_le_bytes()).update(name).finalize_xof().fill(&mut bytes);
    let (first, second) = (u128::from_le_bytes(bytes), u128::from_le_bytes(bytes) >> 64);
    [first as u64, second as u64]
}

/// Goes through a snapshot. `met` is told of folders that can not be read.
pub fn take(
    repository: &Repository,
    root: Id,
    options: &Options,
    met: &mut dyn FnMut(&[u8], String, Side),
    stop: &AtomicBool,
) -> Result<Taken, Error> {
    let mut candidates = Candidates::new(options.files, options.bytes, options.seed);
    let mut path: Vec<u8> = Vec::new();
    let mut levels = vec![(repository.nodes(root), 0)];
    while let Some((nodes, length)) = levels.last_mut() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        path.truncate(*length);
        match nodes.next() {
            None => {
                levels.pop();
            }
            Some(Ok(node)) => {
                path.push(b'/');
                path.extend_from_slice(&node.name);
                match (node.kind, node.tree) {
                    (NodeType::File, _) => candidates.see(&path, node.size),
                    (NodeType::Directory, Some(tree)) if levels.len() <= DEPTH_MAX => {
                        levels.push((repository.nodes(tree), path.len()));
                    }
                    _ => {}
                }
            }
            Some(Err(error)) if error.is_damage() => {
                let side = if error.is_of_later_version() { Side::Untested } else { Side::Stored };
                let folder = if path.is_empty() { b"/" } else { &path[..] };
                met(folder, format!("part of this folder can not be read: {error}"), side);
            }
            Some(Err(error)) => return Err(error),
        }
    }
    Ok(candidates.choose())
}

/// A candidate and when it is its turn: the lower, the sooner.
struct Candidate(f64, Pick);

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then_with(|| self.1.cmp(&other.1))
    }
}

/// The first few of all that were seen.
struct First {
    most: usize,
    heap: BinaryHeap<Candidate>,
}

impl First {
    fn new(most: usize) -> First {
        First { most, heap: BinaryHeap::new() }
    }

    fn see(&mut self, turn: f64, path: &[u8], size: u64) {
        let pick = || Pick { path: path.to_vec(), size };
        if self.heap.len() < self.most {
            self.heap.push(Candidate(turn, pick()));
        } else if let Some(mut last) = self.heap.peek_mut()
            && turn < last.0
        {
            *last = Candidate(turn, pick());
        }
    }

    fn in_turn(self) -> Vec<Pick> {
        self.heap.into_sorted_vec().into_iter().map(|Candidate(_, pick)| pick).collect()
    }
}

struct Candidates {
    files: usize,
    bytes: u64,
    seed: u64,
    any: First,
    by_size: First,
    seen: u64,
    too_large: u64,
}

impl Candidates {
    fn new(files: usize, bytes: u64, seed: u64) -> Candidates {
        let (any, by_size) = (First::new(files), First::new(files));
        Candidates { files, bytes, seed, any, by_size, seen: 0, too_large: 0 }
    }

    fn see(&mut self, path: &[u8], size: u64) {
        self.seen += 1;
        if size > self.bytes {
            self.too_large += 1;
            return;
        }
        // Above 0 and up to 1.
        let [one, other] =
            numbers(self.seed, path).map(|number| ((number >> 11) + 1) as f64 / (1u64 << 53) as f64);
        self.any.see(one, path, size);
        if size > 0 {
            // The first of clocks that ring at rates of so many bytes: each is it as often as its size says.
            self.by_size.see(-other.ln() / size as f64, path, size);
        }
    }

    fn choose(self) -> Taken {
        let (any, by_size) = (self.any.in_turn(), self.by_size.in_turn());
        let mut known = HashSet::new();
        let (mut picks, mut left) = (Vec::new(), self.bytes);
        let mut fill = |from: &[Pick], files: usize, kept: u64| {
            for pick in from {
                if picks.len() >= files {
                    return;
                }
                if pick.size <= left.saturating_sub(kept) && known.insert(pick.path.clone()) {
                    left -= pick.size;
                    picks.push(pick.clone());
                }
            }
        };
        // Half of the bytes is kept for large ones.
        fill(&any, self.files.div_ceil(2), self.bytes / 2);
        fill(&by_size, self.files, 0);
        fill(&any, self.files, 0);
        picks.sort();
        Taken { picks, seen: self.seen, too_large: self.too_large }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(seed: u64, files: usize, bytes: u64, all: &[(String, u64)]) -> Taken {
        let mut candidates = Candidates::new(files, bytes, seed);
        all.iter().for_each(|(path, size)| candidates.see(path.as_bytes(), *size));
        candidates.choose()
    }

    /// Ten thousand small files, and ten large ones that are most of the bytes.
    fn mixed() -> Vec<(String, u64)> {
        let small = (0..10_000).map(|number| (format!("/small/{number}"), number % 3000));
        small.chain((0..10).map(|number| (format!("/large/{number}"), 20_000_000))).collect()
    }

    #[test]
    fn small_and_large_files_come_up_within_the_bounds() {
        for seed in 0..50 {
            let taken = choose(seed, 50, 1 << 30, &mixed());
            let large = taken.picks.iter().filter(|pick| pick.size == 20_000_000).count();
            assert_eq!((taken.picks.len(), taken.seen, taken.too_large), (50, 10_010, 0));
            assert!((5..=10).contains(&large), "{large} large ones");
            let taken = choose(seed, 50, 50_000_000, &mixed());
            let large = taken.picks.iter().filter(|pick| pick.size == 20_000_000).count();
            assert!((1..=2).contains(&large), "{large} large ones");
            assert!(taken.picks.iter().map(|pick| pick.size).sum::<u64>() <= 50_000_000);
            let taken = choose(seed, 50, 1 << 20, &mixed());
            assert_eq!((taken.picks.len(), taken.too_large), (50, 10));
        }
    }

    #[test]
    fn the_seed_alone_decides_whatever_the_order() {
        let mut all = mixed();
        let first = choose(7, 20, 1 << 30, &all).picks;
        all.reverse();
        assert_eq!(choose(7, 20, 1 << 30, &all).picks, first);
        assert_ne!(choose(8, 20, 1 << 30, &all).picks, first);
    }

    #[test]
    fn every_file_is_chosen_as_often_as_any_other_of_its_size() {
        let all: Vec<(String, u64)> = (0..100).map(|number| (format!("/{number}"), 1000)).collect();
        let mut counts = vec![0; 100];
        for seed in 0..2000 {
            for pick in choose(seed, 10, 1 << 30, &all).picks {
                counts[String::from_utf8(pick.path).unwrap()[1..].parse::<usize>().unwrap()] += 1;
            }
        }
        assert!(counts.iter().all(|count| (140..=260).contains(count)), "{counts:?}");
    }

    #[test]
    fn few_or_no_files_are_all_chosen() {
        let all: Vec<(String, u64)> = (0..10).map(|number| (format!("/{number}"), number)).collect();
        assert_eq!(choose(1, 50, 1 << 30, &all).picks.len(), 10);
        assert!(choose(1, 50, 1 << 30, &[]).picks.is_empty());
        assert_eq!(choose(1, 1, 1 << 30, &all).picks.len(), 1);
    }
}
