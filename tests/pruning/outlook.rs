//! What forgetting gives back is told beforehand, and is what pruning then gives back.

use copal::model::Time;
use copal::prune::{Freed, outlook};
use copal::repository::Repository;

use super::*;

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// Some noise, some text that compresses well.
fn content(random: &mut Random) -> Vec<u8> {
    let length = 1 + random.below(200_000) as usize;
    let noise = common::noise(random.below(40), length);
    match random.below(3) {
        0 => noise.iter().map(|byte| b'a' + byte % 3).collect(),
        _ => noise,
    }
}

/// A repository of several snapshots, each with some files changed, oldest first.
fn changing(random: &mut Random) -> (Place, Vec<Id>) {
    let place = Place::new();
    let mut snapshots = Vec::new();
    for _ in 0..5 {
        for _ in 0..=random.below(6) {
            let name = format!("{}/{}", random.below(3), random.below(8));
            match random.below(4) {
                0 if place.source.path().join(&name).exists() => place.remove(&name),
                _ => place.write(&name, content(random)),
            }
        }
        snapshots.push(place.back_up());
        place.storage.seconds.fetch_add(60, Ordering::SeqCst);
    }
    (place, snapshots)
}

fn look(place: &Place, steps: &[Id]) -> (Vec<u64>, Vec<Freed>, u64) {
    let steps: Vec<Vec<Id>> = steps.iter().map(|name| vec![*name]).collect();
    let repository = place.open();
    let outlook = outlook(&repository, &steps, &place.storage, &AtomicBool::new(false)).unwrap();
    let freed = (0..=steps.len()).map(|gone| outlook.freed(gone).unwrap()).collect();
    (outlook.freed_by_step(), freed, outlook.stored())
}

#[test]
fn what_is_told_is_what_is_given_back() {
    let (mut blocks, mut partly) = (0, 0);
    for seed in 1..=8u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (place, snapshots) = changing(&mut random);
        // Some are forgotten already, and the others go in any order.
        let mut steps = snapshots.clone();
        let forgotten = steps.swap_remove(random.below(5) as usize);
        if seed % 2 == 0 {
            place.note(&forgotten, Verb::Forget);
        }
        steps.rotate_left(random.below(4) as usize);
        steps.truncate(1 + random.below(4) as usize);
        let (by_step, freed, stored) = look(&place, &steps);
        let before = place.bytes();
        assert_eq!(stored, before);
        for (about, freed) in by_step.iter().zip(&freed) {
            assert!(
                (freed.exact()..=freed.exact() + freed.at_most).contains(about),
                "seed {seed}: {about} {freed:?}"
            );
            assert!(freed.at_most > 0 || *about == freed.exact());
        }
        assert!(by_step.is_sorted());
        for gone in 0..=steps.len() {
            let told = freed[gone];
            let now = place.copy();
            steps[..gone].iter().for_each(|name| now.note(name, Verb::Forget));
            // What is told after the notes are written is the same.
            assert_eq!(look(&now, &steps[gone..]).1[0], told, "seed {seed}, {gone} gone");
            let whole = now.copy();
            whole.prune(&Options { max_unused: Unused::Unlimited, ..at_once() });
            assert_eq!(before - whole.bytes(), told.packs, "seed {seed}, {gone} gone");
            let done = now.prune(&at_once());
            let plan = &done.plan;
            assert_eq!(
                (plan.bytes_remove, plan.bytes_dead_blocks, plan.bytes_at_most),
                (told.packs, told.blocks, told.at_most),
                "seed {seed}, {gone} gone"
            );
            let given = before - now.bytes();
            assert!(given <= told.exact() + told.at_most, "seed {seed}, {gone} gone: {given} {told:?}");
            // What is told of each step is closer: what compresses well and what does not share blocks here.
            assert!(given.abs_diff(by_step[gone]) < before / 20, "{given} {} {told:?}", by_step[gone]);
            // What is written anew has ends of its own, which are at most a part of it.
            let ends = done.bytes_rewritten / 24 + 8192 * u64::from(done.bytes_rewritten > 0);
            assert!(given + ends >= told.exact(), "seed {seed}, {gone} gone: {given} {told:?} {done:?}");
            if told.blocks + told.at_most == 0 {
                assert_eq!(given, told.exact());
            }
            (blocks, partly) = (blocks + told.blocks, partly + told.at_most);
        }
    }
    assert!(blocks > 0 && partly > 0);
}

#[test]
fn what_goes_in_one_step_is_what_goes_in_several() {
    let (place, snapshots) = changing(&mut Random(77));
    let several = *look(&place, &snapshots[..3]).1.last().unwrap();
    let repository = place.open();
    let one =
        outlook(&repository, &[snapshots[..3].to_vec()], &place.storage, &AtomicBool::new(false)).unwrap();
    assert_eq!(one.freed(1).unwrap(), several);
    assert_eq!(one.freed(7).unwrap(), several, "no more than all");
}

#[test]
fn what_was_never_completed_stays_and_what_of_it_is_missing_does_not_matter() {
    let (place, snapshots) = changing(&mut Random(31));
    let all = look(&place, &snapshots[..3]).1;
    place.storage.remove(Kind::Confirmed, &snapshots[2].to_string()).unwrap();
    let told = look(&place, &snapshots[..2]).1;
    assert!(told[2].exact() < all[3].exact(), "nothing but it needed anything");
    let before = place.bytes();
    snapshots[..2].iter().for_each(|name| place.note(name, Verb::Forget));
    place.prune(&Options { max_unused: Unused::Unlimited, ..at_once() });
    assert_eq!(before - place.bytes(), told[2].packs);
    // All packs that it came with are lost.
    let (place, snapshots) = changing(&mut Random(31));
    let (all, packs) = (look(&place, &snapshots[..3]).1, place.packs());
    place.write("alone", common::noise(7000, 400_000));
    let unfinished = place.back_up();
    place.storage.remove(Kind::Confirmed, &unfinished.to_string()).unwrap();
    for pack in place.packs().difference(&packs) {
        place.storage.remove(Kind::Packs, pack).unwrap();
    }
    assert_eq!(look(&place, &snapshots[..3]).1, all);
}

#[test]
fn storage_that_can_only_be_read_tells_it_too() {
    struct ReadOnly(Timed);
    fn refused<T>() -> Result<T, StorageError> {
        let source = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        Err(StorageError::Io { object: "storage".into(), operation: "write", source })
    }
    impl Backend for ReadOnly {
        fn location(&self) -> String {
            self.0.location()
        }
        fn put(&self, _: Kind, _: &str, _: &[u8]) -> Result<(), StorageError> {
            refused()
        }
        fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, StorageError> {
            self.0.get(kind, name)
        }
        fn get_range(&self, kind: Kind, name: &str, at: u64, length: usize) -> Result<Vec<u8>, StorageError> {
            self.0.get_range(kind, name, at, length)
        }
        fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
            self.0.list(kind, each)
        }
        fn stat(&self, kind: Kind, name: &str) -> Result<u64, StorageError> {
            self.0.stat(kind, name)
        }
        fn remove(&self, _: Kind, _: &str) -> Result<(), StorageError> {
            refused()
        }
        fn time(&self) -> Result<Time, StorageError> {
            refused()
        }
        fn create(&self) -> Result<(), StorageError> {
            refused()
        }
    }
    let (place, snapshots) = changing(&mut Random(5));
    let repository = place.open_on(ReadOnly(place.storage.clone()));
    let steps = [snapshots[..2].to_vec()];
    let told = outlook(&repository, &steps, &place.storage, &AtomicBool::new(false)).unwrap();
    assert_eq!(told.freed(1).unwrap(), *look(&place, &snapshots[..2]).1.last().unwrap());
}

fn look_at(repository: &Repository, place: &Place, steps: &[Id]) -> Result<Freed, Error> {
    let steps = [steps.to_vec()];
    outlook(repository, &steps, &place.storage, &AtomicBool::new(false)).and_then(|outlook| outlook.freed(1))
}

#[test]
fn damage_hits_what_is_told_only_where_something_that_stays_is_hit() {
    let place = Place::new();
    place.write("big", common::noise(1, 700_000));
    let first = place.back_up();
    let packs = place.packs();
    place.remove("big");
    place.write("other", common::noise(2, 300_000));
    let second = place.back_up();
    let told = look_at(&place.open(), &place, &[first]).unwrap();
    // Trees of the first alone can not be read any more: it may go for that very reason, and what it alone needs goes.
    for name in &packs {
        let mut bytes = place.storage.get(Kind::Packs, name).unwrap();
        bytes[200] ^= 1;
        place.storage.inner.overwrite(Kind::Packs, name, &bytes);
    }
    assert_eq!(look_at(&place.open(), &place, &[first]).unwrap(), told);
    assert!(told.exact() > 700_000);
    let error = look_at(&place.open(), &place, &[second]).unwrap_err();
    assert!(error.is_damage(), "{error}");
}

#[test]
fn what_somebody_at_work_just_stored_is_not_counted_as_unused() {
    let (place, snapshots) = changing(&mut Random(9));
    let told = look(&place, &snapshots[..1]).1;
    // A backup that has stored packs, indexed some of them, and not its snapshot.
    let known = place.packs();
    let working = place.copy();
    working.write("new", common::noise(5000, 900_000));
    working.back_up();
    for name in working.packs().difference(&known) {
        place.storage.inner.put(Kind::Packs, name, &working.storage.get(Kind::Packs, name).unwrap()).unwrap();
    }
    let repository = place.open();
    let alone = look(&place, &snapshots[..1]).1;
    assert!(alone[0].packs > told[0].packs + 800_000, "nobody is at work: what no index object names goes");
    let client = repository.client().unwrap();
    let _session = Session::begin(&repository, &place.storage, client, b"host", Vec::new()).unwrap();
    assert_eq!(look(&place, &snapshots[..1]).1, told);
}
