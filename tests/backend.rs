//! One contract for every backend, the wrapper that goes wrong, and what only a local folder or an object store can show.

#[path = "backend/contract.rs"]
mod contract;
#[path = "backend/local.rs"]
mod local_folder;
#[path = "network/mod.rs"]
mod network;
#[path = "backend/s3.rs"]
mod object_store;
mod servers;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use copal::backend::{Backend, Entry, Error, Fault, Faulty, Kind, Local, Memory, Options, open};

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

/// Makes a test of every function of the contract for every backend: what all promise, and what those do that ask before they store, or
/// replace.
macro_rules! contract {
    ($($kind:ident $attributes:tt $backend:ident: $make:expr;)*) => { $(
        mod $backend {
            use super::*;
            contract!(@tests $attributes, $make,
                bytes_come_back_for_every_kind, first_writers_stay_where_names_are_no_hashes,
                an_object_can_be_put_back_in_its_place, ranges_are_exact_or_short,
                what_is_missing_is_not_found, listings_hold_what_was_put_and_no_other_kind,
                removed_objects_are_gone_and_may_come_again, a_listing_may_remove_what_it_finds,
                names_that_no_object_has_are_refused, a_repository_exists_once_it_has_a_config_or_a_key,
                several_kinds_are_listed_as_each_by_itself, what_is_too_long_is_not_read,
                the_time_is_about_now, no_object_is_ever_a_leftover, many_threads_put_and_read_at_once);
            contract!(@$kind $attributes, $make);
        }
    )* };
    (@asks $attributes:tt, $make:expr) => {
        contract!(@tests $attributes, $make, nothing_is_overwritten, removing_what_is_missing_is_told);
    };
    (@replaces $attributes:tt, $make:expr) => {
        contract!(@tests $attributes, $make,
            named_bytes_may_come_again, removing_what_is_missing_does_no_harm);
    };
    (@tests $attributes:tt, $make:expr, $($test:ident),*) => {
        $(contract!(@one $attributes, $make, $test);)*
    };
    (@one ($(#[$attribute:meta])*), $make:expr, $test:ident) => {
        #[test]
        $(#[$attribute])*
        fn $test() {
            let folder = tempfile::tempdir().unwrap();
            let make: fn(&Path) -> (Box<dyn Any>, Box<dyn Backend>) = $make;
            // The server outlives the backend.
            let (_server, backend) = make(folder.path());
            backend.create().unwrap();
            contract::$test(&*backend);
        }
    };
}

/// A backend that needs no server.
fn alone(backend: impl Backend + 'static) -> (Box<dyn Any>, Box<dyn Backend>) {
    (Box::new(()), Box::new(backend))
}

contract! {
    asks () memory: |_| alone(Memory::new());
    asks () local: |folder| alone(Local::new(folder.join("a/new/repository")));
    asks () opened: |folder| (Box::new(()), open(folder.to_str().unwrap(), &Options::default()).unwrap());
    asks () faulty_without_a_fault: |_| alone(Faulty::new(Memory::new()));
    asks () shared: |folder| alone(Arc::new(Faulty::new(Local::new(folder))));
    asks () sftp_without_ssh: |folder| alone(servers::through(servers::SFTP_SERVER, &folder.join("a/new/repository")));
    asks () sftp_over_ssh: |folder| {
        let server = servers::Sshd::start();
        let backend = server.backend(None, &folder.join("a/new/repository"));
        (Box::new(server), Box::new(backend))
    };
    asks () root_sftp_of_nobody: |folder| {
        let (server, backend) = servers::of_nobody(folder);
        (server, Box::new(backend))
    };
    asks () sftp_of_rclone: |folder| {
        let server = servers::Rclone::start(folder);
        let backend = server.backend("a/new/repository");
        (Box::new(server), Box::new(backend))
    };
    asks () served_without_ssh:
        |folder| alone(servers::served(&servers::serve_command(""), &folder.join("a/new/repository")));
    asks () served_over_ssh: |folder| {
        let server = servers::Sshd::start();
        let backend = server.served(&folder.join("a/new/repository"));
        (Box::new(server), Box::new(backend))
    };
    replaces () s3: |folder| object_store::of(network::server::Server::s3s(folder));
    replaces (#[ignore = "needs Garage, see tests/install --all"]) garage:
        |folder| object_store::of(network::server::Server::garage(folder));
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
    for location in [
        "",
        "sftp:user:secret@host/path",
        "s3:secret",
        "copal+ssh://user:secret@host/path",
        "copal+ssh:secret",
        "s3:https://secret@host/b",
        "https://user:secret@host",
        "rest+x://secret",
    ] {
        let error = open(location, &Options::default()).err().unwrap();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for location in ["./sftp:x", "a:b", "/x/s3:y", "C:\\x"] {
        assert_eq!(open(location, &Options::default()).unwrap().location(), location);
    }
}
