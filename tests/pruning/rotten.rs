//! Packs that rot before anybody knows: what is needed of them is copied from wherever it is whole; what is whole nowhere stays where it
//! is, and keeps nobody from the rest.

use super::found::{data_pack, merge, whole};
use super::*;

/// Changes most of a pack, its directory not.
fn rot(place: &Place, pack: &Id) {
    let mut bytes = place.storage.get(Kind::Packs, &pack.to_string()).unwrap();
    for byte in &mut bytes[200..60_000] {
        *byte ^= 1;
    }
    place.storage.inner.overwrite(Kind::Packs, &pack.to_string(), &bytes);
}

/// Two packs, each half in use: by the snapshot that is given.
fn halves() -> (Place, Id, [Id; 2]) {
    let place = Place::new();
    let mut known = place.packs();
    let packs = [1, 2].map(|number| {
        place.write(&format!("{number}/stays"), common::noise(number, 60_000));
        place.write(&format!("{number}/goes"), common::noise(10 + number, 60_000));
        let forgotten = place.back_up();
        place.note(&forgotten, Verb::Forget);
        let new = &place.packs() - &known;
        known.extend(new.clone());
        let length = |name: &String| place.storage.stat(Kind::Packs, name).unwrap();
        Id::parse(new.iter().max_by_key(|name| length(name)).unwrap()).unwrap()
    });
    (1..=2).for_each(|number| place.remove(&format!("{number}/goes")));
    let last = place.back_up();
    (place, last, packs)
}

#[test]
fn a_rotten_pack_stays_and_the_others_are_written_anew() {
    let (place, last, [sound, rotten]) = halves();
    rot(&place, &rotten);
    let outcome = place.prune(&at_once());
    assert_eq!((outcome.damaged.len(), outcome.stuck.len()), (1, 1));
    assert!(outcome.packs_removed > 0 && outcome.bytes_rewritten > 0);
    let packs = place.packs();
    assert!(packs.contains(&rotten.to_string()) && !packs.contains(&sound.to_string()));
    assert_eq!(place.open().damaged_packs().unwrap(), [rotten].into());
    // It is known now, and not tried again.
    let again = place.prune(&at_once());
    assert_eq!((again.damaged.len(), again.packs_removed), (0, 0));
    assert!(place.packs().contains(&rotten.to_string()));
    // Who has the file yet heals it.
    let healed = place.back_up();
    place.prune(&at_once());
    whole(&place, &healed);
    whole(&place, &last);
}

#[test]
fn what_is_rotten_in_one_pack_is_copied_from_another_that_was_to_go() {
    // c lies in two packs, with something unused beside; the one that would be taken is rotten.
    let (place, other) = loop {
        let place = Place::new();
        let other = place.copy();
        for (place, junk) in [(&place, 2), (&other, 3)] {
            place.write("c", common::noise(1, 60_000));
            place.write("junk", common::noise(junk, 60_000));
            let forgotten = place.back_up();
            place.note(&forgotten, Verb::Forget);
        }
        if data_pack(&place).0 < data_pack(&other).0 {
            break (place, other);
        }
    };
    let (first, second) = (data_pack(&place), data_pack(&other));
    merge(&place, &other);
    place.remove("junk");
    let last = place.back_up();
    rot(&place, &first);
    let outcome = place.prune(&at_once());
    assert_eq!((outcome.damaged.len(), outcome.stuck.len()), (1, 0));
    assert!(!place.packs().contains(&second.to_string()));
    whole(&place, &last);
}

#[test]
fn a_mark_waits_on_what_can_be_copied_from_nowhere_and_the_others_go_on() {
    let (place, last, [sound, rotten]) = halves();
    let repository = place.open();
    for pack in [sound, rotten] {
        let mark = copal::format::session::Removal {
            packs: vec![pack],
            time: place.storage.now(),
            session: copal::model::Id16([7; 16]),
            ..Default::default()
        };
        repository.put_removal(&mark).unwrap();
    }
    rot(&place, &rotten);
    place.days(3);
    for _ in 0..2 {
        let outcome = place.prune(&at_once());
        assert_eq!((outcome.damaged.len(), outcome.stuck.len()), (1, 1));
        let packs = place.packs();
        assert!(packs.contains(&rotten.to_string()) && !packs.contains(&sound.to_string()));
        let marks = place.open().removals().unwrap().marks;
        assert_eq!(marks.iter().map(|(_, mark)| mark.packs.clone()).collect::<Vec<_>>(), [[rotten]]);
    }
    let healed = place.back_up();
    place.prune(&at_once());
    assert!(!place.packs().contains(&rotten.to_string()));
    whole(&place, &healed);
    whole(&place, &last);
}

#[test]
fn a_pack_whose_directory_is_rotten_gives_what_its_blocks_hold() {
    let (place, last, [pack, _]) = halves();
    let mut bytes = place.storage.get(Kind::Packs, &pack.to_string()).unwrap();
    let length = bytes.len();
    bytes[length - 100..].fill(0);
    place.storage.inner.overwrite(Kind::Packs, &pack.to_string(), &bytes);
    let outcome = place.prune(&at_once());
    assert_eq!((outcome.damaged.len(), outcome.stuck.len()), (1, 0));
    assert!(!place.packs().contains(&pack.to_string()));
    whole(&place, &last);
}
