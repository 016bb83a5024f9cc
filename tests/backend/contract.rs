//! What every backend promises. Each function is given an empty, created backend.

use std::collections::BTreeMap;

use copal::backend::{Backend, Error, Kind};

use super::{listing, name};

pub fn bytes_come_back_for_every_kind(backend: &dyn Backend) {
    for kind in Kind::ALL {
        for (seed, length) in [(1, 0), (2, 1), (3, 70_000)] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8 ^ kind.number()).collect();
            backend.put(kind, &name(kind, seed), &bytes).unwrap();
            assert_eq!(backend.get(kind, &name(kind, seed)).unwrap(), bytes);
            assert_eq!(backend.stat(kind, &name(kind, seed)).unwrap(), bytes.len() as u64);
        }
    }
}

pub fn nothing_is_overwritten(backend: &dyn Backend) {
    first_writers_stay(backend, &Kind::ALL);
}

pub fn first_writers_stay_where_names_are_no_hashes(backend: &dyn Backend) {
    first_writers_stay(backend, &[Kind::Config, Kind::Fences]);
}

fn first_writers_stay(backend: &dyn Backend, kinds: &[Kind]) {
    for kind in kinds.iter().copied() {
        let name = name(kind, 7);
        backend.put(kind, &name, b"first").unwrap();
        backend.put(kind, &name, b"first").unwrap();
        backend.put(kind, &name, b"other").unwrap();
        for bytes in [&b""[..], b"firs", b"first and more"] {
            let error = backend.put(kind, &name, bytes).unwrap_err();
            assert!(matches!(error, Error::Exists { .. }), "{error}");
            assert!(error.to_string().contains(&name), "{error}");
        }
        assert_eq!(backend.get(kind, &name).unwrap(), b"first");
    }
}

/// What replaces instead of asking: the bytes that came last stay, and heal what was damaged.
pub fn named_bytes_may_come_again(backend: &dyn Backend) {
    for kind in Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Config | Kind::Fences)) {
        let name = name(kind, 7);
        for bytes in [&b"damaged"[..], b"good", b"good"] {
            backend.put(kind, &name, bytes).unwrap();
            assert_eq!(backend.get(kind, &name).unwrap(), bytes);
        }
        assert_eq!(listing(backend, kind), BTreeMap::from([(name, 4)]));
    }
}

pub fn removing_what_is_missing_is_told(backend: &dyn Backend) {
    for kind in Kind::ALL {
        let name = name(kind, 3);
        let error = backend.remove(kind, &name).unwrap_err();
        assert!(error.is_not_found() && error.to_string().contains(&name), "{error}");
        backend.put(kind, &name, b"x").unwrap();
        backend.remove(kind, &name).unwrap();
        assert!(backend.remove(kind, &name).unwrap_err().is_not_found());
    }
}

/// Storage that can not tell says that it is done; no other failure.
pub fn removing_what_is_missing_does_no_harm(backend: &dyn Backend) {
    for kind in Kind::ALL {
        let (missing, stays) = (name(kind, 3), name(kind, 4));
        backend.put(kind, &stays, b"stays").unwrap();
        if let Err(error) = backend.remove(kind, &missing) {
            assert!(error.is_not_found() && error.to_string().contains(&missing), "{error}");
        }
        assert_eq!(listing(backend, kind), BTreeMap::from([(stays, 5)]));
    }
}

pub fn an_object_can_be_put_back_in_its_place(backend: &dyn Backend) {
    for kind in Kind::ALL {
        let (there, absent) = (name(kind, 7), name(kind, 8));
        // As damage left it: of another length, and of the same.
        backend.put(kind, &there, b"spoiled, and too long").unwrap();
        assert_eq!(backend.get_range(kind, &there, 0, 7).unwrap(), b"spoiled");
        for bytes in [&b"first"[..], b"other", b""] {
            backend.replace(kind, &there, bytes).unwrap();
            assert_eq!(backend.get(kind, &there).unwrap(), bytes);
            assert_eq!(backend.get_range(kind, &there, 0, bytes.len()).unwrap(), bytes);
            assert_eq!(listing(backend, kind), BTreeMap::from([(there.clone(), bytes.len() as u64)]));
        }
        backend.replace(kind, &absent, b"lost").unwrap();
        assert_eq!(backend.get(kind, &absent).unwrap(), b"lost");
        let error = backend.replace(kind, "../x", b"lost").unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
    // Nothing is left beside it.
    let later = backend.time().unwrap().plus_seconds(1 << 40);
    assert_eq!(backend.remove_leftovers(later).unwrap(), 0);
}

pub fn ranges_are_exact_or_short(backend: &dyn Backend) {
    let name = name(Kind::Packs, 9);
    backend.put(Kind::Packs, &name, b"0123456789").unwrap();
    for (offset, length, part) in
        [(0, 10, &b"0123456789"[..]), (3, 4, b"3456"), (9, 1, b"9"), (0, 0, b""), (10, 0, b"")]
    {
        assert_eq!(backend.get_range(Kind::Packs, &name, offset, length).unwrap(), part);
    }
    for (offset, length, there) in
        [(0, 11, 10), (9, 2, 1), (10, 1, 0), (11, 0, 0), (u64::MAX, 1, 0), (1, usize::MAX, 9)]
    {
        let error = backend.get_range(Kind::Packs, &name, offset, length).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        let Error::Short { offset: from, wanted, got, .. } = error else { panic!("{error}") };
        assert_eq!((from, wanted, got), (offset, length as u64, there));
    }
}

pub fn what_is_missing_is_not_found(backend: &dyn Backend) {
    for kind in Kind::ALL {
        let name = name(kind, 3);
        let errors = [
            backend.get(kind, &name).unwrap_err(),
            backend.get_range(kind, &name, 0, 0).unwrap_err(),
            backend.stat(kind, &name).unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_not_found() && !error.is_no_space(), "{error}");
            assert!(error.to_string().contains(&format!("{}/", kind.folder())), "{error}");
            assert!(error.to_string().contains(&name) && !error.to_string().contains('\n'), "{error}");
        }
        assert_eq!(listing(backend, kind), BTreeMap::new());
    }
}

pub fn listings_hold_what_was_put_and_no_other_kind(backend: &dyn Backend) {
    let mut all = BTreeMap::new();
    for kind in Kind::ALL {
        for seed in 0..kind.number() {
            backend.put(kind, &name(kind, seed * 20), &vec![1; usize::from(seed)]).unwrap();
            all.entry(kind).or_insert_with(BTreeMap::new).insert(name(kind, seed * 20), u64::from(seed));
        }
    }
    for kind in Kind::ALL {
        assert_eq!(listing(backend, kind), all[&kind]);
    }
}

pub fn removed_objects_are_gone_and_may_come_again(backend: &dyn Backend) {
    for kind in Kind::ALL {
        let (gone, stays) = (name(kind, 1), name(kind, 2));
        backend.put(kind, &gone, b"gone").unwrap();
        backend.put(kind, &stays, b"stays").unwrap();
        assert_eq!(backend.get_range(kind, &gone, 1, 2).unwrap(), b"on");
        backend.remove(kind, &gone).unwrap();
        assert!(backend.get_range(kind, &gone, 1, 2).unwrap_err().is_not_found());
        assert!(backend.stat(kind, &gone).unwrap_err().is_not_found());
        assert_eq!(listing(backend, kind), BTreeMap::from([(stays, 5)]));
        backend.put(kind, &gone, b"again!").unwrap();
        assert_eq!(backend.get_range(kind, &gone, 1, 5).unwrap(), b"gain!");
    }
}

pub fn a_listing_may_remove_what_it_finds(backend: &dyn Backend) {
    for kind in [Kind::Packs, Kind::Sessions] {
        for seed in 0..30 {
            backend.put(kind, &name(kind, seed), b"x").unwrap();
        }
        let mut removed = 0;
        backend
            .list(kind, &mut |entry| {
                backend.remove(kind, &entry.name).unwrap();
                removed += 1;
            })
            .unwrap();
        assert_eq!(removed, 30);
        assert!(listing(backend, kind).is_empty());
    }
}

pub fn names_that_no_object_has_are_refused(backend: &dyn Backend) {
    for kind in Kind::ALL {
        let good = name(kind, 0xab);
        let bad = [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "tmp-1",
            "a/b",
            "\0",
            &good[1..],
            &good.to_uppercase(),
            &format!("{good}/"),
            &format!("../config/{good}"),
        ];
        for bad in bad {
            let errors = [
                backend.put(kind, bad, b"x").unwrap_err(),
                backend.get(kind, bad).unwrap_err(),
                backend.get_range(kind, bad, 0, 1).unwrap_err(),
                backend.stat(kind, bad).unwrap_err(),
                backend.remove(kind, bad).unwrap_err(),
            ];
            for error in errors {
                assert!(matches!(error, Error::Unsupported { .. }), "{bad:?}: {error}");
            }
        }
    }
}

pub fn a_repository_exists_once_it_has_a_config_or_a_key(backend: &dyn Backend) {
    backend.create().unwrap();
    backend.put(Kind::Packs, &name(Kind::Packs, 1), b"x").unwrap();
    assert!(!backend.exists_repository().unwrap());
    for kind in [Kind::Config, Kind::Keys] {
        backend.put(kind, &name(kind, 1), b"x").unwrap();
        assert!(backend.exists_repository().unwrap());
        backend.create().unwrap();
        assert!(backend.exists_repository().unwrap());
        backend.remove(kind, &name(kind, 1)).unwrap();
        assert!(!backend.exists_repository().unwrap());
    }
}

pub fn the_time_is_about_now(backend: &dyn Backend) {
    let now = copal::model::clock::Clock::now(&copal::model::clock::SystemClock);
    assert!(backend.time().unwrap().seconds_since(now).abs() < 60.0);
    assert!(Kind::ALL.iter().all(|kind| listing(backend, *kind).is_empty()));
}

pub fn no_object_is_ever_a_leftover(backend: &dyn Backend) {
    Kind::ALL.iter().for_each(|kind| backend.put(*kind, &name(*kind, 1), b"x").unwrap());
    let later = backend.time().unwrap().plus_seconds(1 << 40);
    assert_eq!(backend.remove_leftovers(later).unwrap(), 0);
    assert!(Kind::ALL.iter().all(|kind| listing(backend, *kind).len() == 1));
}

pub fn many_threads_put_and_read_at_once(backend: &dyn Backend) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for seed in 0..40 {
                    let own = [seed, thread].repeat(500);
                    backend.put(Kind::Packs, &format!("{seed:02x}{thread:02x}").repeat(16), &own).unwrap();
                    // The same name from every thread: one of them is first, all of them succeed.
                    backend.put(Kind::Index, &name(Kind::Index, seed), &[seed; 99]).unwrap();
                    assert_eq!(
                        backend.get_range(Kind::Index, &name(Kind::Index, seed), 9, 90).unwrap(),
                        [seed; 90]
                    );
                }
            });
        }
    });
    assert_eq!(listing(backend, Kind::Packs).len(), 160);
    assert_eq!(listing(backend, Kind::Index).len(), 40);
    for seed in 0..40 {
        assert_eq!(
            backend.get(Kind::Packs, &format!("{seed:02x}03").repeat(16)).unwrap(),
            [seed, 3].repeat(500)
        );
    }
}

pub fn several_kinds_are_listed_as_each_by_itself(backend: &dyn Backend) {
    use Kind::*;
    for kind in Kind::ALL {
        for seed in [0, 0x7f, 0xff] {
            backend.put(kind, &name(kind, seed), &vec![seed; usize::from(seed) + 1]).unwrap();
        }
    }
    let together = |kinds: &[Kind]| {
        let mut found: Vec<(Kind, String, u64)> = Vec::new();
        backend.list_kinds(kinds, &mut |kind, entry| found.push((kind, entry.name, entry.size))).unwrap();
        found.sort();
        found
    };
    for kinds in [
        &[Removals, Snapshots, Confirmed, Copies, Damage, Index, Notes][..],
        &[Config, Keys],
        &[Confirmed, Notes, Snapshots],
        &[Packs, Index],
        &[Snapshots],
        &[],
    ] {
        let mut expected = Vec::new();
        for kind in kinds {
            expected.extend(listing(backend, *kind).into_iter().map(|(name, size)| (*kind, name, size)));
        }
        expected.sort();
        assert_eq!(together(kinds), expected);
        assert_eq!(expected.len(), 3 * kinds.len());
    }
}

pub fn what_is_too_long_is_not_read(backend: &dyn Backend) {
    let (kind, name) = (Kind::Index, name(Kind::Index, 5));
    backend.put(kind, &name, b"0123456789").unwrap();
    assert_eq!(backend.get_at_most(kind, &name, 10).unwrap(), b"0123456789");
    let error = backend.get_at_most(kind, &name, 9).unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }) && error.to_string().contains(&name), "{error}");
    assert!(backend.get_at_most(kind, &super::name(kind, 6), 9).unwrap_err().is_not_found());
}
