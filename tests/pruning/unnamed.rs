//! Packs that no index object names, as a run that was cut off leaves them: nothing goes for the sake of one that nobody else would find.

use super::found::data_pack;
use super::*;

/// A chunk lies in P, whose index object is lost, and in X, which none ever named and which is the first of both. A mark waits. Gives place,
/// snapshot, X.
fn left_by_a_writer() -> (Place, Id, Id) {
    loop {
        let place = Place::new();
        let other = place.copy();
        place.write("c", common::noise(1, 200_000));
        let one = place.back_up();
        let p = data_pack(&place);
        other.write("c", common::noise(1, 200_000));
        other.back_up();
        let x = data_pack(&other);
        if x.0 > p.0 {
            continue;
        }
        place.write("junk", common::noise(2, 50_000));
        let two = place.back_up();
        place.note(&two, Verb::Forget);
        place.days(1);
        place.mark_while_somebody_is_at_work();
        place.days(2);
        let bytes = other.storage.get(Kind::Packs, &x.to_string()).unwrap();
        place.storage.put(Kind::Packs, &x.to_string(), &bytes).unwrap();
        // What named P is lost: only then packs that none names are looked for.
        let repository = place.open();
        repository.sync().unwrap();
        for object in repository.index.index_objects_of(&p).unwrap() {
            place.storage.remove(Kind::Index, &object.to_string()).unwrap();
        }
        return (place, one, x);
    }
}

/// All that a snapshot needs lies in packs that index objects name.
fn assert_named(place: &Place, name: &Id) {
    let repository = place.open();
    repository.sync().unwrap();
    assert!(repository.adopted().is_empty());
    let all = repository.snapshots().unwrap();
    let mut trees = vec![all.confirmed.iter().find(|named| named.name == *name).unwrap().snapshot.root];
    let known = |contents, id: &Id| !repository.index.lookup_for_reading(contents, id).unwrap().is_empty();
    while let Some(tree) = trees.pop() {
        assert!(known(Contents::Trees, &tree));
        for node in repository.nodes(tree) {
            let node = node.unwrap();
            trees.extend(node.tree);
            let mut look = |segment: copal::model::Segment| {
                if let SegmentKind::Data(id) = segment.kind {
                    assert!(known(Contents::Data, &id), "no index object tells where {id} is");
                }
                Ok(())
            };
            repository.segments(&node.content, node.size, &mut look).unwrap();
        }
    }
}

#[test]
fn a_pack_for_whose_sake_another_goes_is_named() {
    let (place, one, x) = left_by_a_writer();
    assert!(place.prune(&at_once()).packs_removed > 0);
    assert!(place.packs().contains(&x.to_string()), "the moment was not met");
    assert_named(&place, &one);
    assert_eq!(place.saved(), BTreeSet::from([one]));
}
