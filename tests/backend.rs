//! One contract for every backend, the wrapper that goes wrong, and what only a local folder can show.

#[path = "backend/contract.rs"]
mod contract;
#[path = "backend/local.rs"]
mod local_folder;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use copal::backend::{Backend, Entry, Error, Fault, Faulty, Kind, Local, Memory, open};

fn name(kind: Kind, seed: u8) -> String {
    format!("{seed:02x}").repeat(kind.name_length() / 2)
}

fn listing(backend: &dyn Backend, kind: Kind) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    backend
        .list(kind, &mut |Entry { name, size }| assert_eq!(found.insert(name, size), None, "listed twice"))
        .unwrap();
    found
}

/// Makes a test of every function of the contract for every backend.
macro_rules! contract {
    ($($backend:ident: $make:expr;)*) => { $(
        contract!(@tests $backend, $make,
            bytes_come_back_for_every_kind, nothing_is_overwritten,
            an_object_can_be_put_back_in_its_place, ranges_are_exact_or_short,
            what_is_missing_is_not_found, listings_hold_what_was_put_and_no_other_kind,
            removed_objects_are_gone_and_may_come_again, a_listing_may_remove_what_it_finds,
            names_that_no_object_has_are_refused, a_repository_exists_once_it_has_a_config_or_a_key,
            the_time_is_about_now, no_object_is_ever_a_leftover, many_threads_put_and_read_at_once);
    )* };
    (@tests $backend:ident, $make:expr, $($test:ident),*) => {
        mod $backend {
            use super::*;
            $(
                #[test]
                fn $test() {
                    let folder = tempfile::tempdir().unwrap();
                    let make: fn(&Path) -> Box<dyn Backend> = $make;
                    let backend = make(folder.path());
                    backend.create().unwrap();
                    contract::$test(&*backend);
                }
            )*
        }
    };
}

contract! {
    memory: |_| Box::new(Memory::new());
    local: |folder| Box::new(Local::new(folder.join("a/new/repository")));
    opened: |folder| open(folder.to_str().unwrap()).unwrap();
    faulty_without_a_fault: |_| Box::new(Faulty::new(Memory::new()));
    shared: |folder| Box::new(Arc::new(Faulty::new(Local::new(folder))));
}

// ---- a wrapper that goes wrong ----

const INDEX: Kind = Kind::Index;

fn with_fault(number: u64, fault: Fault) -> (Memory, Faulty<Memory>) {
    let memory = Memory::new();
    memory.put(INDEX, &name(INDEX, 1), b"abcd").unwrap();
    (memory.clone(), Faulty::with_fault(memory, number, fault))
}

#[test]
fn an_operation_that_fails_before_is_not_done_and_one_that_fails_after_is() {
    for (fault, done) in [(Fault::FailBefore, false), (Fault::FailAfter, true)] {
        let (memory, faulty) = with_fault(2, fault);
        faulty.put(INDEX, &name(INDEX, 2), b"x").unwrap();
        assert!(!faulty.struck());
        let error = faulty.put(INDEX, &name(INDEX, 3), b"x").unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains(&name(INDEX, 3)), "{error}");
        assert!(faulty.struck());
        faulty.put(INDEX, &name(INDEX, 4), b"x").unwrap();
        assert_eq!(faulty.operations(), 3);
        assert_eq!(memory.stat(INDEX, &name(INDEX, 3)).is_ok(), done);
    }
}

#[test]
fn after_a_crash_nothing_works_and_the_storage_stays_as_it_was() {
    let (memory, faulty) = with_fault(2, Fault::Crash);
    faulty.remove(INDEX, &name(INDEX, 1)).unwrap();
    faulty.put(INDEX, &name(INDEX, 2), b"x").unwrap_err();
    faulty.get(INDEX, &name(INDEX, 2)).unwrap_err();
    faulty.list(INDEX, &mut |_| panic!("listed")).unwrap_err();
    faulty.stat(INDEX, &name(INDEX, 2)).unwrap_err();
    faulty.time().unwrap_err();
    faulty.exists_repository().unwrap_err();
    faulty.create().unwrap_err();
    assert_eq!(faulty.operations(), 8);
    assert!(listing(&memory, INDEX).is_empty());
    faulty.set_fault(None);
    faulty.put(INDEX, &name(INDEX, 2), b"x").unwrap();
}

#[test]
fn a_spoiled_read_is_shorter_or_has_one_bit_changed() {
    let one = name(INDEX, 1);
    assert_eq!(with_fault(1, Fault::Truncate { lost: 1 }).1.get(INDEX, &one).unwrap(), b"abc");
    assert_eq!(with_fault(1, Fault::Truncate { lost: 99 }).1.get(INDEX, &one).unwrap(), b"");
    assert_eq!(with_fault(1, Fault::FlipBit { bit: 8 }).1.get(INDEX, &one).unwrap(), b"accd");
    assert_eq!(with_fault(1, Fault::FlipBit { bit: 32 }).1.get_range(INDEX, &one, 1, 2).unwrap(), b"cc");
    let error = with_fault(1, Fault::Truncate { lost: 1 }).1.get_range(INDEX, &one, 1, 3).unwrap_err();
    assert!(matches!(error, Error::Short { offset: 1, wanted: 3, got: 2, .. }), "{error}");
    // Where there is nothing to spoil, the fault does not strike.
    let (_, faulty) = with_fault(1, Fault::FlipBit { bit: 0 });
    faulty.stat(INDEX, &one).unwrap();
    assert_eq!(faulty.get(INDEX, &one).unwrap(), b"abcd");
    assert!(!faulty.struck());
}

#[test]
fn a_fault_among_those_that_it_can_change_is_counted_by_them_alone() {
    let (one, two) = (name(INDEX, 1), name(INDEX, 2));
    let (memory, _) = with_fault(1, Fault::NoSpace);
    memory.put(INDEX, &two, b"efgh").unwrap();
    let faulty = |number, fault| Faulty::with_fault_among_suited(memory.clone(), number, fault);
    let full = faulty(2, Fault::NoSpace);
    full.put(INDEX, &one, b"abcd").unwrap();
    full.get(INDEX, &one).unwrap();
    assert!(full.put(INDEX, &name(INDEX, 3), b"x").unwrap_err().is_no_space());
    assert_eq!((full.operations(), full.suited()), (3, 2));
    let halved = faulty(1, Fault::HalfList);
    assert_eq!(halved.stat(INDEX, &one).unwrap(), 4);
    let mut listed = Vec::new();
    halved.list(INDEX, &mut |entry| listed.push(entry.name)).unwrap_err();
    assert_eq!(listed, [one.clone()]);
    assert_eq!(listing(&halved, INDEX).len(), 2);
    let gone = faulty(1, Fault::Outage { operations: 2 });
    gone.get(INDEX, &one).unwrap_err();
    gone.get(INDEX, &one).unwrap_err();
    gone.get(INDEX, &one).unwrap();
    let denied = faulty(1, Fault::Denied).get(INDEX, &one).unwrap_err();
    assert!(matches!(denied, Error::Denied { .. }), "{denied}");
}

// ---- locations ----

#[test]
fn a_location_that_is_not_a_path_is_refused_without_telling_its_password() {
    for location in
        ["", "sftp:user:secret@host/path", "s3:secret", "https://user:secret@host", "rest+x://secret"]
    {
        let error = open(location).err().unwrap();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for location in ["./sftp:x", "a:b", "/x/s3:y", "C:\\x"] {
        assert_eq!(open(location).unwrap().location(), location);
    }
}
