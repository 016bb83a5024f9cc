//! Many seeds, one after another on every core; which one to run again when one fails.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::actor::{self, Cast, Outcome};
use super::random::Random;
use super::world::Failure;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A failed run, for a person.
pub fn tell(test: &str, seed: u64, outcome: &Outcome) -> String {
    format!(
        "{}\nseed {seed} fails after {} steps: {}\nagain with COPAL_SIMULATION_SEED={seed} cargo test --test simulation {test}",
        outcome.tail,
        outcome.steps,
        outcome.failure.as_ref().unwrap(),
    )
}

/// Runs `count` seeds (or as many as COPAL_SIMULATION_SEEDS says, from COPAL_SIMULATION_FROM on, or COPAL_SIMULATION_SEED alone), and
/// panics at the first one that fails.
pub fn all(test: &str, count: u64, cast: &(dyn Fn(&mut Cast, &mut Random) + Sync)) {
    let (from, count) = match number("COPAL_SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => {
            (number("COPAL_SIMULATION_FROM").unwrap_or(0), number("COPAL_SIMULATION_SEEDS").unwrap_or(count))
        }
    };
    let begun = Instant::now();
    let (next, steps, failed) = (AtomicU64::new(from), AtomicU64::new(0), AtomicBool::new(false));
    let failure = Mutex::new(None::<(u64, Outcome)>);
    let counts = Mutex::new(BTreeMap::<&'static str, u64>::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(6);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::SeqCst) {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= from + count {
                        return;
                    }
                    let outcome = actor::run(seed, cast);
                    steps.fetch_add(outcome.steps, Ordering::SeqCst);
                    let mut sums = counts.lock().unwrap();
                    for (what, count) in &outcome.counts {
                        *sums.entry(what).or_default() += count;
                    }
                    if outcome.failure.is_some() {
                        failed.store(true, Ordering::SeqCst);
                        let mut failure = failure.lock().unwrap();
                        if failure.as_ref().is_none_or(|(other, _)| *other > seed) {
                            *failure = Some((seed, outcome));
                        }
                    }
                }
            });
        }
    });
    let (steps, seconds) = (steps.into_inner(), begun.elapsed().as_secs_f64());
    eprintln!(
        "{test}: {count} seeds from {from}, {steps} steps in {seconds:.1} s, {:.0} a second; {:?}",
        steps as f64 / seconds,
        counts.into_inner().unwrap()
    );
    if let Some((seed, outcome)) = failure.into_inner().unwrap() {
        panic!("{}", tell(test, seed, &outcome));
    }
}

/// The first of so many seeds that loses something, with how it did.
pub fn first_loss(count: u64, cast: &dyn Fn(&mut Cast, &mut Random)) -> Option<(u64, Outcome)> {
    (0..count)
        .map(|seed| (seed, actor::run(seed, cast)))
        .find(|(_, outcome)| matches!(outcome.failure, Some(Failure::Loss(_))))
}
