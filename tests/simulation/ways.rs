//! Every way in which two actors can meet with two changes of turn: the first is stopped before one of its steps, the second takes so
//! many, the first goes on to its end, then the second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::actor::{self, Cast, Outcome};
use super::agent::Config;
use super::random::Random;
use super::trace::Operation;

/// A way: steps of the first actor, then of the second.
type Way = (usize, usize);

fn run(seed: u64, cast: &dyn Fn(&mut Cast, &mut Random), (first, second): Way) -> Outcome {
    let script = [vec![0; first], vec![1; second]].concat();
    actor::run(seed, &|parts, random| {
        cast(parts, random);
        parts.config = Config { script: Some(script.clone()), brief: true, ..Config::default() };
    })
}

/// Runs the ways of two actors, of which the first is met in its last round: each `stride`th, or all with COPAL_SIMULATION_WAYS=all, or
/// one with COPAL_SIMULATION_WAYS=first,second. Gives how many there were, and those that failed.
pub fn all(
    test: &str,
    seed: u64,
    stride: usize,
    cast: &(dyn Fn(&mut Cast, &mut Random) + Sync),
) -> (usize, Vec<(Way, Outcome)>) {
    let plain = run(seed, cast, (0, 0));
    assert!(plain.failure.is_none(), "{}", plain.failure.unwrap());
    let is_step = |event: &&super::trace::Event| !matches!(event.operation, Operation::Note(_));
    let steps_of = |number| plain.events.iter().filter(is_step).filter(|event| event.actor == number).count();
    // The last round begins behind the pause before its note.
    let begins = plain
        .events
        .iter()
        .rposition(|event| event.actor == 0 && event.operation == Operation::Note("begins round"));
    let before = plain.events[..begins.unwrap()].iter().filter(is_step).count() - 1;
    let (end, second) = (steps_of(0), steps_of(1));
    let wanted = std::env::var("COPAL_SIMULATION_WAYS").ok();
    let stride = if wanted.as_deref() == Some("all") { 1 } else { stride };
    let mut ways: Vec<Way> = (before..=end)
        .flat_map(|first| (0..=second).map(move |second| (first, second)))
        .step_by(stride)
        .collect();
    if let Some((first, second)) = wanted.as_deref().and_then(|text| text.split_once(',')) {
        ways = vec![(first.parse().unwrap(), second.parse().unwrap())];
    }
    let begun = Instant::now();
    let (next, steps, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).min(6) {
            scope.spawn(|| {
                while let Some(way) = ways.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let outcome = run(seed, cast, *way);
                    steps.fetch_add(outcome.steps as usize, Ordering::SeqCst);
                    if outcome.failure.is_some() {
                        failed.lock().unwrap().push((*way, outcome));
                    }
                }
            });
        }
    });
    let (steps, seconds) = (steps.into_inner(), begun.elapsed().as_secs_f64());
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|(way, _)| *way);
    eprintln!(
        "{test}: {} ways, {steps} steps in {seconds:.1} s, {:.0} a second; {} fail",
        ways.len(),
        steps as f64 / seconds,
        failed.len()
    );
    (ways.len(), failed)
}

/// As `all`; panics when a way fails.
pub fn all_hold(test: &str, seed: u64, stride: usize, cast: &(dyn Fn(&mut Cast, &mut Random) + Sync)) {
    if let Some(((first, second), outcome)) = all(test, seed, stride, cast).1.into_iter().next() {
        panic!(
            "{}\nfails: {}\nagain with COPAL_SIMULATION_WAYS={first},{second} cargo test --test simulation {test}",
            outcome.tail,
            outcome.failure.as_ref().unwrap()
        );
    }
}
