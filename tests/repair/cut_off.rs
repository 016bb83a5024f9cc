//! Repairs that are cut off at any operation: nothing that was whole is hurt, and run again they end well.

use std::collections::BTreeSet;
use std::sync::Arc;

use copal::backend::{Backend, Fault, Faulty, Kind};
use copal::check::Reading;
use copal::format::note::Verb;
use copal::model::{Contents, Id, SegmentKind};
use copal::repair::{self, Tools, Wanted};
use copal::repository::{Error, Repository};

use crate::common::noise;
use crate::place::{Place, is_whole};

/// Three snapshots: all share something, and each has something of its own.
pub fn three() -> (Place, [Id; 3]) {
    let place = Place::new(16 << 10);
    place.write("shared/file", noise(1, 200_000));
    place.write("first/file", noise(2, 200_000));
    let first = place.back_up();
    std::fs::remove_dir_all(place.source.path().join("first")).unwrap();
    place.write("second/file", noise(3, 200_000));
    let second = place.back_up();
    std::fs::remove_dir_all(place.source.path().join("second")).unwrap();
    place.write("third/file", noise(4, 200_000));
    let third = place.back_up();
    (place, [first, second, third])
}

/// Chunks of the file of that name in a snapshot.
pub fn chunks(place: &Place, snapshot: &Id, name: &str) -> Vec<(Contents, Id)> {
    let nodes = place.nodes(place.snapshot(snapshot).root);
    let node = nodes.iter().find(|(path, _)| path.ends_with(name.as_bytes())).unwrap().1;
    let mut ids = Vec::new();
    let mut each = |segment: copal::model::Segment| {
        if let SegmentKind::Data(id) = segment.kind {
            ids.push((Contents::Data, id));
        }
        Ok(())
    };
    place.open().segments(&node.content, node.size, &mut each).unwrap();
    ids
}

type Repair = fn(Tools<'_>) -> Result<bool, Error>;

fn index(tools: Tools<'_>) -> Result<bool, Error> {
    repair::index(tools, true, &mut |_| true).map(|outcome| outcome.done)
}

fn packs(tools: Tools<'_>) -> Result<bool, Error> {
    repair::packs(tools, &[], false, &mut |_| true).map(|outcome| outcome.done)
}

pub fn snapshots(tools: Tools<'_>) -> Result<bool, Error> {
    let wanted = Wanted { only: Vec::new(), forget: true };
    repair::snapshots(tools, &wanted, &mut |_| true).map(|outcome| outcome.done)
}

/// Snapshots of these that are there, confirmed and whole.
fn whole(repository: &Repository, names: &[Id]) -> BTreeSet<Id> {
    let all = repository.snapshots().unwrap();
    let saved = all.confirmed.iter().filter(|named| names.contains(&named.name));
    saved.filter(|named| is_whole(repository, named.snapshot.root)).map(|named| named.name).collect()
}

/// For every operation: the repair fails there.
fn cut_off(place: &Place, names: &[Id], fault: Fault, repair: Repair, end: fn(&Place)) {
    let before = whole(&place.open(), names);
    assert!(!before.is_empty());
    let mut number = 0;
    loop {
        number += 1;
        let here = place.copy();
        let faulty = Arc::new(Faulty::new(here.storage.clone()));
        let repository = here.open_on(faulty.clone());
        faulty.set_fault(Some((faulty.operations() + number, fault)));
        let result = here.with_tools(&repository, repair);
        drop(repository);
        let what = format!("{fault:?} at operation {number}");
        let repository = here.open();
        assert_eq!(whole(&repository, names), before, "{what}");
        let all = repository.snapshots().unwrap();
        let stood_for: Vec<Id> = all.confirmed.iter().filter_map(|named| named.snapshot.stands_for).collect();
        assert!(!stood_for.iter().any(|name| before.contains(name)), "{what}: what is whole needs nobody");
        for named in all.forgotten.iter() {
            assert!(stood_for.contains(&named.name), "{what}: forgotten, and nothing stands for it");
        }
        drop(repository);
        if !faulty.struck() {
            result.unwrap();
            assert!(number > 10, "the faults were never met");
            return;
        }
        here.with_tools(&here.open_on(here.storage.clone()), repair)
            .unwrap_or_else(|error| panic!("{what}, and again: {error}"));
        assert_eq!(whole(&here.open(), names), before, "{what}, and again");
        let third = here.with_tools(&here.open_on(here.storage.clone()), repair).unwrap();
        assert!(!third, "{what}: something was left to be done");
        end(&here);
    }
}

const FAULTS: [Fault; 3] = [Fault::Crash, Fault::FailBefore, Fault::FailAfter];

#[test]
fn the_index_is_whole_whenever_its_repair_is_cut_off() {
    let (place, names) = three();
    let objects = place.names(Kind::Index);
    assert!(objects.len() >= 3);
    place.flip(Kind::Index, &objects[0], 100);
    place.storage.remove(Kind::Index, &objects[1]).unwrap();
    for fault in FAULTS {
        cut_off(&place, &names, fault, index, |place| {
            assert_eq!(place.check(Reading::Everything).findings, []);
        });
    }
}

#[test]
fn packs_are_salvaged_whenever_that_is_cut_off() {
    let (place, names) = three();
    // The pack of what only the first one needs: one of its blocks does not open, others do.
    let victims = chunks(&place, &names[0], "first/file");
    let repository = place.open();
    let location = repository.index.lookup(victims[0].0, &victims[0].1).unwrap().unwrap();
    let pack = location.pack.name.to_string();
    drop(repository);
    place.flip(Kind::Packs, &pack, location.pack.length as usize - 200);
    assert!(!place.check(Reading::Everything).findings.is_empty());
    for fault in FAULTS {
        cut_off(&place, &names, fault, packs, |place| {
            place.days(2);
            place.prune().unwrap();
            assert_eq!(place.check(Reading::Everything).findings, []);
        });
    }
}

#[test]
fn snapshots_are_repaired_whenever_that_is_cut_off() {
    let (place, names) = three();
    let lost = chunks(&place, &names[0], "first/file")[2];
    let [first, second, _] = names;
    place.note(&second, Verb::Forget);
    let note = place.note(&second, Verb::Undelete);
    place.note(&first, Verb::AddTags);
    place.lose(&[lost]);
    // A note that says nothing that matters any more, and the second snapshot itself.
    place.flip(Kind::Notes, &note.to_string(), 60);
    place.flip(Kind::Snapshots, &second.to_string(), 60);
    for fault in FAULTS {
        cut_off(&place, &names, fault, snapshots, Place::is_sound);
    }
}

#[test]
fn a_confirmation_that_can_not_be_read_costs_no_snapshot_wherever_its_repair_is_cut_off() {
    let (place, names) = three();
    let victim = names[1];
    place.flip(Kind::Confirmed, &victim.to_string(), 60);
    let root = place.open().snapshots().unwrap().unconfirmed[0].snapshot.root;
    for fault in FAULTS {
        let mut number = 0;
        loop {
            number += 1;
            let here = place.copy();
            let faulty = Arc::new(Faulty::new(here.storage.clone()));
            let repository = here.open_on(faulty.clone());
            faulty.set_fault(Some((faulty.operations() + number, fault)));
            let result = here.with_tools(&repository, snapshots);
            drop(repository);
            let all = here.open().snapshots().unwrap();
            let stands = all.confirmed.iter().any(|named| named.snapshot.root == root);
            let is_told = all.problems.iter().any(|problem| problem.to_string().contains("confirmed/"));
            assert!(stands || is_told, "{fault:?} at operation {number}: it is gone without a word");
            if !faulty.struck() {
                result.unwrap();
                assert!(stands && !is_told && number > 10);
                break;
            }
            here.with_tools(&here.open_on(here.storage.clone()), snapshots).unwrap();
            let all = here.open().snapshots().unwrap();
            assert_eq!(all.confirmed.iter().filter(|named| named.snapshot.root == root).count(), 1);
            assert!(all.problems.is_empty(), "{:?}", all.problems);
            here.is_sound();
        }
    }
}

#[test]
fn what_the_cache_has_is_put_back_as_it_was() {
    let place = Place::new(16 << 10).with_cache();
    place.write("file", noise(1, 100_000));
    let first = place.back_up();
    place.write("more", noise(2, 100_000));
    let second = place.back_up();
    // It names the second one: that one is missed.
    let third = place.back_up();
    let note = place.note(&first, Verb::Protect);
    let repository = place.open();
    repository.snapshots().unwrap();
    drop(repository);
    let before: Vec<(Kind, String, Vec<u8>)> =
        [(Kind::Snapshots, first), (Kind::Snapshots, second), (Kind::Confirmed, second), (Kind::Notes, note)]
            .map(|(kind, name)| (kind, name.to_string(), place.storage.get(kind, &name.to_string()).unwrap()))
            .to_vec();
    place.flip(Kind::Snapshots, &first.to_string(), 60);
    place.storage.remove(Kind::Snapshots, &second.to_string()).unwrap();
    place.storage.remove(Kind::Confirmed, &second.to_string()).unwrap();
    place.flip(Kind::Notes, &note.to_string(), 60);
    // Wherever it is cut off: what is removed to be put back is not forgotten.
    for number in 1.. {
        let here = place.copy_with_cache();
        let faulty = Arc::new(Faulty::new(here.storage.clone()));
        let repository = here.open_on(faulty.clone());
        faulty.set_fault(Some((faulty.operations() + number, Fault::Crash)));
        let result = here.with_tools(&repository, snapshots);
        drop(repository);
        let struck = faulty.struck();
        if struck {
            here.with_tools(&here.open_on(here.storage.clone()), snapshots).unwrap();
        } else {
            result.unwrap();
        }
        for (kind, name, bytes) in &before {
            let there = here.storage.get(*kind, name);
            assert!(there.is_ok_and(|there| there == *bytes), "{kind:?} {name}, cut off at {number}");
        }
        let all = here.open().snapshots().unwrap();
        let names: Vec<Id> = all.confirmed.iter().map(|named| named.name).collect();
        assert_eq!(names, [first, second, third], "cut off at {number}");
        assert!(all.confirmed[0].standing.protected);
        if !struck {
            here.is_sound();
            return;
        }
    }
}

#[test]
fn a_repair_that_slept_past_its_lease_takes_nothing_away_and_commits_nothing() {
    let (place, names) = three();
    let lost = chunks(&place, &names[0], "first/file")[2];
    place.lose(&[lost]);
    place.flip(Kind::Snapshots, &names[1].to_string(), 60);
    let objects = place.names(Kind::Index);
    let before = (place.names(Kind::Snapshots), place.names(Kind::Confirmed), place.names(Kind::Notes));
    let wanted = Wanted { only: Vec::new(), forget: true };
    let repository = place.open_on(place.storage.clone());
    let slept = place.with_tools(&repository, |tools| {
        repair::snapshots(tools, &wanted, &mut |plan| {
            assert!(plan.takes_away() && !plan.hit.is_empty());
            place.days(3);
            true
        })
    });
    assert!(matches!(slept, Err(Error::Overtaken)), "{slept:?}");
    drop(repository);
    let after = (place.names(Kind::Snapshots), place.names(Kind::Confirmed), place.names(Kind::Notes));
    assert_eq!(before, after);

    place.flip(Kind::Index, &objects[0], 100);
    let repository = place.open_on(place.storage.clone());
    let slept = place.with_tools(&repository, |tools| {
        repair::index(tools, false, &mut |plan| {
            assert!(plan.takes_away());
            place.days(3);
            true
        })
    });
    assert!(matches!(slept, Err(Error::Overtaken)), "{slept:?}");
    drop(repository);
    assert!(place.names(Kind::Index).contains(&objects[0]), "it was removed");

    // Run again, all is well.
    place.with_tools(&place.open_on(place.storage.clone()), index).unwrap();
    place.with_tools(&place.open_on(place.storage.clone()), snapshots).unwrap();
    place.is_sound();
}

#[test]
fn what_is_not_agreed_to_is_not_done() {
    let (place, names) = three();
    let lost = chunks(&place, &names[0], "first/file")[2];
    place.lose(&[lost]);
    place.flip(Kind::Snapshots, &names[1].to_string(), 60);
    let kinds = [Kind::Packs, Kind::Index, Kind::Snapshots, Kind::Confirmed, Kind::Notes, Kind::Damage];
    let before: Vec<Vec<String>> = kinds.iter().map(|kind| place.names(*kind)).collect();
    let wanted = Wanted { only: Vec::new(), forget: true };
    let repository = place.open();
    place.with_tools(&repository, |tools| {
        assert!(!repair::snapshots(tools, &wanted, &mut |_| false).unwrap().done);
        assert!(!repair::packs(tools, &[], true, &mut |_| false).unwrap().done);
    });
    let after: Vec<Vec<String>> = kinds.iter().map(|kind| place.names(*kind)).collect();
    assert_eq!(before, after);
}
