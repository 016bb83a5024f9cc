//! What a repair must not take away, nor call lost.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use copal::backend::{Backend, Fault, Faulty, Kind};
use copal::check::Reading;
use copal::format::note::Verb;
use copal::model::clock::Clock;
use copal::model::{Contents, Id};
use copal::progress::Silent;
use copal::prune;
use copal::repair::{self, Tools, Wanted};
use copal::repository::healing::Healed;
use copal::retention::calendar::{Calendar, Period};
use copal::retention::policy::{Count, Policy};
use copal::retention::{self, Grouping};

use crate::common::noise;
use crate::cut_off::{chunks, snapshots, three};
use crate::place::{Place, is_whole};

/// The pack that has the first chunk of a snapshot's file, and that chunk.
fn pack_of(place: &Place, snapshot: &Id, name: &str) -> (Id, Id) {
    let (contents, chunk) = chunks(place, snapshot, name)[0];
    let places = place.open().index.lookup_for_reading(contents, &chunk).unwrap();
    assert_eq!(places.len(), 1);
    (places[0].pack.name, chunk)
}

#[test]
fn what_recovery_data_brings_back_is_not_marked_as_lost() {
    for is_gone in [true, false] {
        let (place, names) = three();
        let (pack, _) = pack_of(&place, &names[0], "first/file");
        let text = pack.to_string();
        let bytes = place.storage.get(Kind::Packs, &text).unwrap();
        place.open().put_parity(&pack, &bytes, 1000).unwrap();
        if is_gone {
            place.storage.remove(Kind::Packs, &text).unwrap();
        } else {
            place.storage.inner.overwrite(Kind::Packs, &text, &vec![9; bytes.len()]);
            assert!(!place.check(Reading::Everything).findings.is_empty());
        }
        let outcome = place.repair_snapshots();
        assert!(outcome.plan.hit.is_empty(), "gone: {is_gone}: {:?}", outcome.plan);
        assert!(outcome.written.is_empty() && outcome.forgotten.is_empty());
        // Nor does a prune take it: it is brought back, and all is as it was.
        place.days(8);
        let _ = place.prune();
        assert_eq!(place.open().heal(&pack).unwrap(), Healed::Healed);
        assert!(is_whole(&place.open(), place.snapshot(&names[0]).root));
    }
}

#[test]
fn a_note_that_keeps_a_snapshot_is_there_wherever_its_repair_is_cut_off() {
    let place = Place::new(16 << 10).with_cache();
    place.write("file", noise(1, 100_000));
    let first = place.back_up();
    place.note(&first, Verb::Forget);
    // Brought back: only this note keeps it.
    let note = place.note(&first, Verb::Undelete);
    place.write("file", noise(2, 100_000));
    place.back_up();
    place.days(30);
    place.flip(Kind::Notes, &note.to_string(), 60);
    for number in 1.. {
        let here = place.copy_with_cache();
        let faulty = Arc::new(Faulty::new(here.storage.clone()));
        let repository = here.open_on(faulty.clone());
        faulty.set_fault(Some((faulty.operations() + number, Fault::Crash)));
        let _ = here.with_tools(&repository, snapshots);
        drop(repository);
        // Nobody runs it again; a prune comes first.
        here.days(3);
        let _ = here.prune();
        here.days(3);
        let _ = here.prune();
        let there = here.storage.get(Kind::Snapshots, &first.to_string());
        assert!(there.is_ok(), "cut off at operation {number}, and pruned");
        if !faulty.struck() {
            return;
        }
    }
}

#[test]
fn a_missing_note_that_would_let_a_snapshot_go_is_not_put_back() {
    let place = Place::new(16 << 10).with_cache();
    place.write("file", noise(1, 100_000));
    let first = place.back_up();
    place.write("file", noise(2, 100_000));
    place.back_up();
    let forget = place.note(&first, Verb::Forget);
    let protect = place.note(&first, Verb::Protect);
    let unprotect = place.note(&first, Verb::Unprotect);
    // Storage is as it was before, on purpose or not.
    for note in [forget, protect, unprotect] {
        place.storage.remove(Kind::Notes, &note.to_string()).unwrap();
    }
    place.repair_snapshots();
    assert_eq!(
        place.names(Kind::Notes),
        [protect.to_string()],
        "what keeps something comes back, and no other"
    );
    place.days(30);
    place.prune().unwrap();
    let all = place.open().snapshots().unwrap();
    assert!(all.confirmed.iter().any(|named| named.name == first && named.standing.protected));
}

#[test]
fn a_loss_that_is_known_stops_no_prune_when_what_stands_for_it_is_forgotten_too() {
    let (place, names) = three();
    let lost = chunks(&place, &names[0], "first/file")[2];
    place.lose(&[lost]);
    let outcome = place.repair_snapshots();
    assert_eq!(outcome.forgotten, [names[0]]);
    place.note(&outcome.written[0].1, Verb::Forget);
    let repository = place.open_on(place.storage.clone());
    let options = prune::Options::default();
    prune::prune(&repository, &options, &place.storage, &Silent, &AtomicBool::new(false)).unwrap();
    let forgotten = repository.snapshots().unwrap().forgotten;
    assert_eq!(forgotten.len(), 2, "both can still be brought back");
}

#[test]
fn a_check_is_clean_while_a_forgotten_original_rests() {
    let (place, names) = three();
    let lost = chunks(&place, &names[0], "first/file")[2];
    place.lose(&[lost]);
    let wanted = Wanted::default();
    let repository = place.open_on(place.storage.clone());
    place.with_tools(&repository, |tools| repair::snapshots(tools, &wanted, &mut |_| true)).unwrap();
    drop(repository);
    assert!(!place.check(Reading::Everything).findings.is_empty(), "it is not forgotten yet");
    assert_eq!(place.repair_snapshots().forgotten, [names[0]]);
    let report = place.check(Reading::Everything);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    // Brought back, it is told again.
    place.note(&names[0], Verb::Undelete);
    assert!(!place.check(Reading::Everything).findings.is_empty());
}

#[test]
fn who_knew_a_wrong_index_object_knows_better_after_its_repair() {
    let (place, names) = three();
    let (pack, chunk) = pack_of(&place, &names[0], "first/file");
    let before = place.open();
    let name = before.index.index_objects_of(&pack).unwrap()[0];
    let mut object = before.load_index_object(&name).unwrap();
    drop(before);
    let made_up = Id([7; 32]);
    let entry = object.packs.iter_mut().find(|entry| entry.name == pack).unwrap();
    let blocks = &mut entry.directory.blocks;
    let first = blocks.iter_mut().flat_map(|block| &mut block.chunks).find(|(id, _)| *id == chunk).unwrap();
    first.0 = made_up;
    let repository = place.open_on(place.storage.clone());
    repository.put_index_object(&mut object).unwrap();
    place.storage.remove(Kind::Index, &name.to_string()).unwrap();

    let (other, own) = (place.open(), place.open());
    let knows =
        |client: &copal::repository::Repository, id| client.index.contains(Contents::Data, &id).unwrap();
    assert!(knows(&other, made_up) && !knows(&other, chunk));
    let read_packs = |tools: Tools<'_>| repair::index(tools, true, &mut |_| true);
    let outcome = place.with_tools(&own, read_packs).unwrap();
    assert_eq!(outcome.plan.wrong_packs, 1);
    for (client, who) in [(&own, "the one that repaired it"), (&other, "another")] {
        client.sync().unwrap();
        assert!(knows(client, chunk), "{who}");
        assert!(!knows(client, made_up), "{who} relies on what is not there");
    }
}

#[test]
fn a_note_that_is_given_up_lets_no_snapshot_go_at_once() {
    let (place, [first, ..]) = three();
    place.note(&first, Verb::Forget);
    let note = place.note(&first, Verb::Undelete);
    place.days(30);
    place.flip(Kind::Notes, &note.to_string(), 60);
    let outcome = place.repair_snapshots();
    assert_eq!(outcome.plan.objects.notes, [note]);
    let repository = place.open_on(place.storage.clone());
    let options = prune::Options::default();
    for _ in 0..2 {
        prune::prune(&repository, &options, &place.storage, &Silent, &AtomicBool::new(false)).unwrap();
        place.days(2);
    }
    let all = repository.snapshots().unwrap();
    assert!(all.saved().any(|named| named.name == first), "there are days left to bring it back once more");
    drop(repository);
    place.note(&first, Verb::Undelete);
    assert!(is_whole(&place.open(), place.snapshot(&first).root));
}

#[test]
fn an_original_and_what_stands_for_it_count_as_one() {
    let (place, names) = three();
    let lost = chunks(&place, &names[2], "shared/file")[2];
    place.lose(&[lost]);
    let repository = place.open_on(place.storage.clone());
    place
        .with_tools(&repository, |tools| repair::snapshots(tools, &Wanted::default(), &mut |_| true))
        .unwrap();
    let all = repository.snapshots().unwrap().confirmed;
    assert_eq!(all.len(), 6);
    let policy = |most| Policy { counts: [(Period::Each, Count::Most(most))].into(), ..Policy::default() };
    let now = place.storage.now();
    let plan = |most| retention::plan(&all, &policy(most), Grouping::default(), &Calendar::Own, now);
    assert_eq!(plan(3).forgotten().count(), 0, "all three of them are kept");
    let gone = plan(2);
    let gone: Vec<Id> =
        gone.forgotten().map(|named| named.snapshot.stands_for.unwrap_or(named.name)).collect();
    assert_eq!(gone, [names[0], names[0]], "they go together");
}
