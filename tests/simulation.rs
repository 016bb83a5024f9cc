//! The shipped code under a scheduler that a seed decides: one storage operation at a time, with crashes, late listings and wrong clocks.

#[path = "simulation/mod.rs"]
mod simulation;

use simulation::actor::{self, Cast};
use simulation::mutants::{Forgetter, NaivePruner};
use simulation::random::Random;
use simulation::seeds;
use simulation::world::Failure;

/// Writers, and one who reads.
fn writers(cast: &mut Cast, random: &mut Random) {
    for _ in 0..2 + random.below(2) {
        let rounds = 3 + random.below(4);
        cast.writer(rounds, random);
    }
    cast.reader(3);
}

#[test]
fn writers_and_readers_lose_nothing() {
    seeds::all("writers_and_readers_lose_nothing", 100, &writers);
}

#[test]
fn the_same_seed_goes_the_same_way() {
    for seed in 0..12 {
        // Others may touch a folder above the sources meanwhile, which is a part of every snapshot.
        let agree = (0..3).any(|_| {
            let (one, other) = (actor::run(seed, &writers), actor::run(seed, &writers));
            let differs = one.events.iter().zip(&other.events).position(|(one, other)| one != other);
            if let Some(step) = differs {
                eprintln!("seed {seed}: {:?} and {:?}", one.events[step], other.events[step]);
            }
            one.hash == other.hash && one.steps == other.steps
        });
        assert!(agree, "seed {seed} goes another way each time");
    }
}

#[test]
fn a_pruner_without_protocol_is_found_out() {
    let cast = |cast: &mut Cast, random: &mut Random| {
        writers(cast, random);
        cast.add(Forgetter, 6);
        cast.add(NaivePruner, 6);
    };
    let (seed, outcome) =
        seeds::first_failure(60, &cast).expect("no seed finds a pruner without protocol out");
    eprintln!("seed {seed}, {} steps: {}", outcome.steps, outcome.failure.as_ref().unwrap());
    assert!(matches!(outcome.failure, Some(Failure::Loss(_))), "{}", seeds::tell("", seed, &outcome));
}
