//! Which patterns matched anything, and where nobody looked: what it takes to say that a pattern made no difference.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::locks::lock;

/// Folders passed over that are remembered.
const PASSED_MOST: usize = 10_000;

/// What was seen in a run, by rule.
#[derive(Debug, Default)]
pub struct Matched {
    rules: Vec<AtomicBool>,
    /// Rules that matched nothing yet.
    idle: AtomicUsize,
    passed: Mutex<Vec<Vec<u8>>>,
    blind: AtomicBool,
}

impl Matched {
    pub fn new(rules: usize) -> Matched {
        Matched {
            rules: (0..rules).map(|_| AtomicBool::new(false)).collect(),
            idle: AtomicUsize::new(rules),
            ..Matched::default()
        }
    }

    /// Whether every rule matched something.
    pub fn is_complete(&self) -> bool {
        self.idle.load(Ordering::Relaxed) == 0
    }

    /// That rule matched.
    pub fn hit(&self, rule: usize) {
        if !self.rules[rule].swap(true, Ordering::Relaxed) {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Something was not looked at: nothing can be said of any rule.
    pub fn look_away(&self) {
        self.blind.store(true, Ordering::Relaxed);
    }

    /// A folder was left out without a look into it.
    pub fn pass_over(&self, path: Vec<u8>) {
        if self.is_complete() {
            return;
        }
        let mut passed = lock(&self.passed);
        if passed.len() < PASSED_MOST { passed.push(path) } else { self.look_away() }
    }

    pub fn passed_over(&self) -> Vec<Vec<u8>> {
        lock(&self.passed).clone()
    }

    /// Rules that matched nothing; none when that can not be known.
    pub fn idle(&self) -> Vec<usize> {
        if self.blind.load(Ordering::Relaxed) {
            return Vec::new();
        }
        (0..self.rules.len()).filter(|rule| !self.rules[*rule].load(Ordering::Relaxed)).collect()
    }
}
