//! The shipped code under a scheduler that a seed decides: one storage operation at a time, with crashes, late listings and wrong clocks.

#[path = "simulation/mod.rs"]
mod simulation;

use copal::backend::Kind;
use simulation::actor::{self, Cast, RATES, Then};
use simulation::mender::Mender;
use simulation::mutants::{Forgetter, NaivePruner};
use simulation::pruner::{Pruner, Retirer};
use simulation::random::Random;
use simulation::seeds;
use simulation::ways;
use simulation::world::Failure;

/// Writers, and one who reads.
fn writers(cast: &mut Cast, random: &mut Random) {
    for _ in 0..2 + random.below(2) {
        let rounds = 3 + random.below(4);
        cast.writer(rounds, random);
    }
    cast.reader(3);
    if random.once_in(3) {
        cast.restorer(2);
    }
}

#[test]
fn writers_and_readers_lose_nothing() {
    seeds::all("writers_and_readers_lose_nothing", 60, &writers);
}

#[test]
fn the_same_seed_goes_the_same_way() {
    let mut compared = 0;
    // Makes the folders.
    actor::run(0, &writers);
    for seed in 0..40 {
        let before = actor::above();
        let cast = |cast: &mut Cast, random: &mut Random| match seed % 2 {
            0 => writers(cast, random),
            _ => with_a_lonely_pruner(cast, random, None),
        };
        let (one, other) = (actor::run(seed, &cast), actor::run(seed, &cast));
        if let Some(step) = one.events.iter().zip(&other.events).position(|(one, other)| one != other) {
            // Others may touch a folder above the sources meanwhile, which is a part of every snapshot.
            let (one, other) = (&one.events[step], &other.events[step]);
            assert!(before != actor::above(), "seed {seed}, step {step}: {one:?} and {other:?}");
            eprintln!("seed {seed}: another program changed a folder above");
            continue;
        }
        assert!(one.hash == other.hash && one.steps == other.steps);
        compared += 1;
        if compared == 10 {
            return;
        }
    }
    panic!("another program kept changing the folders above");
}

/// Writers, readers, one who forgets, and pruners, one of them perhaps without a guard.
fn everybody(cast: &mut Cast, random: &mut Random, pruners: u64) {
    writers(cast, random);
    cast.add(Retirer, 8);
    for _ in 0..pruners {
        cast.add(Pruner::default(), 6);
    }
}

#[test]
fn pruning_beside_writers_and_readers_loses_nothing() {
    let cast = |cast: &mut Cast, random: &mut Random| everybody(cast, random, 1);
    seeds::all("pruning_beside_writers_and_readers_loses_nothing", 50, &cast);
}

#[test]
fn two_pruners_lose_nothing() {
    let cast = |cast: &mut Cast, random: &mut Random| everybody(cast, random, 2);
    seeds::all("two_pruners_lose_nothing", 50, &cast);
}

/// Everybody, and a disk that rots below packs that have recovery data.
fn on_a_rotten_disk(cast: &mut Cast, random: &mut Random, careless: bool) {
    writers(cast, random);
    cast.add(Retirer, 6);
    for _ in 0..1 + random.below(2) {
        cast.add(Pruner::default(), 5);
    }
    cast.add(Mender { careless }, 14);
    cast.config.parity = *random.pick(&RATES);
}

#[test]
fn what_rots_below_recovery_data_comes_back_beside_everybody() {
    let cast = |cast: &mut Cast, random: &mut Random| on_a_rotten_disk(cast, random, false);
    seeds::all("what_rots_below_recovery_data_comes_back_beside_everybody", 20, &cast);
}

#[test]
fn one_who_takes_recovery_data_away_that_is_needed_is_found_out() {
    let cast = |cast: &mut Cast, random: &mut Random| on_a_rotten_disk(cast, random, true);
    let (seed, outcome) = seeds::first_loss(40, &cast).expect("no seed finds it out");
    eprintln!("seed {seed}, {} steps: {}", outcome.steps, outcome.failure.as_ref().unwrap());
}

/// How the harness finds out what loses something; at most so many seeds may be needed.
fn find_out(seeds: u64, tells: bool) {
    let cast = |cast: &mut Cast, random: &mut Random| {
        writers(cast, random);
        cast.add(Forgetter, 6);
        cast.add(NaivePruner { tells, alone: false }, 6);
    };
    let (seed, outcome) = seeds::first_loss(seeds, &cast).expect("no seed finds it out");
    eprintln!("seed {seed}, {} steps: {}", outcome.steps, outcome.failure.as_ref().unwrap());
}

#[test]
fn a_pruner_without_protocol_is_found_out() {
    find_out(40, false);
}

#[test]
fn a_pruner_that_says_what_it_removes_and_waits_for_nobody_is_found_out() {
    find_out(80, true);
}

#[test]
fn two_writers_meet_in_every_way() {
    let cast = |cast: &mut Cast, random: &mut Random| {
        cast.writer(2, random);
        cast.writer(1, random);
    };
    ways::all_hold("two_writers_meet_in_every_way", 3, 23, &cast);
}

#[test]
fn a_writer_meets_a_pruner_without_protocol_in_a_way_that_loses_something() {
    let cast = |cast: &mut Cast, random: &mut Random| {
        cast.writer(3, random);
        cast.add(Then(vec![Box::new(Forgetter), Box::new(NaivePruner { tells: true, alone: false })]), 1);
    };
    let (_, failed) = ways::all("a_writer_meets_a_pruner_without_protocol", 13, 37, &cast);
    assert!(failed.iter().any(|(_, outcome)| matches!(outcome.failure, Some(Failure::Loss(_)))));
}

/// Writers, and a pruner that says what it removes and is alone while it does. Listings do not lag: it would not know what it sees.
fn with_a_lonely_pruner(cast: &mut Cast, random: &mut Random, blind: Option<Kind>) {
    match blind {
        None => writers(cast, random),
        Some(kind) => (0..3).for_each(|_| cast.writer_blind_to(kind, 5, random)),
    }
    cast.add(Then(vec![Box::new(Forgetter), Box::new(NaivePruner { tells: true, alone: true })]), 8);
    cast.config.lag = 0;
}

#[test]
fn writers_with_old_caches_rely_on_nothing_that_was_removed() {
    let cast = |cast: &mut Cast, random: &mut Random| with_a_lonely_pruner(cast, random, None);
    seeds::all("writers_with_old_caches_rely_on_nothing_that_was_removed", 40, &cast);
}

#[test]
fn a_writer_that_does_not_see_tombstones_is_found_out() {
    let cast =
        |cast: &mut Cast, random: &mut Random| with_a_lonely_pruner(cast, random, Some(Kind::Removals));
    let (seed, outcome) = seeds::first_loss(40, &cast).expect("no seed finds it out");
    eprintln!("seed {seed}, {} steps: {}", outcome.steps, outcome.failure.as_ref().unwrap());
}

#[test]
fn the_parent_that_a_session_names_is_guard_enough() {
    // Writers that take over rows whatever was removed since.
    let cast = |cast: &mut Cast, random: &mut Random| {
        (0..3).for_each(|_| cast.careless_writer(6, random));
        cast.add(Retirer, 10);
        cast.add(Pruner::default(), 10);
    };
    seeds::all("the_parent_that_a_session_names_is_guard_enough", 40, &cast);
}

#[test]
fn a_pruner_that_does_not_see_who_is_at_work_is_found_out() {
    let cast = |cast: &mut Cast, random: &mut Random| {
        (0..3).for_each(|_| cast.writer(6, random));
        cast.add(Retirer, 8);
        (0..2).for_each(|_| cast.add(Pruner { blind: vec![Kind::Sessions] }, 8));
    };
    let (seed, outcome) = seeds::first_loss(400, &cast).expect("no seed finds it out");
    eprintln!("seed {seed}, {} steps: {}", outcome.steps, outcome.failure.as_ref().unwrap());
}
