//! Ways into a repository that are taken away: by two at the same moment, and where they are damaged.

mod common;

use std::sync::{Arc, Mutex};

use common::Sandbox;
use copal::backend::{Backend, Entry, Error as StorageError, Kind, Memory};
use copal::crypto::MasterKey;
use copal::crypto::password::Cost;
use copal::format::session::Role;
use copal::format::slot::{Description, Unlock};
use copal::model::clock::SystemClock;
use copal::model::{Id, Time};
use copal::repository::session::Session;
use copal::repository::{self, Error, Repository};

#[macro_use]
#[path = "pruning/through.rs"]
mod through;
#[path = "keys/turns.rs"]
mod turns;

/// Storage that lets somebody else do something just before a key slot is removed.
struct Before {
    inner: Memory,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Backend for Before {
    through! { location put get get_range list stat time create }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), StorageError> {
        if kind == Kind::Keys
            && let Some(then) = self.then.lock().unwrap().take()
        {
            then();
        }
        self.inner.remove(kind, name)
    }
}

/// Storage whose reply to every removal gets lost, and which lets somebody else do something before that.
struct Mute {
    inner: Before,
}

impl Backend for Mute {
    through! { location put get get_range list stat time create }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), StorageError> {
        let _ = self.inner.remove(kind, name);
        let text = "the reply got lost";
        Err(StorageError::Io {
            object: name.to_owned(),
            operation: "remove",
            source: std::io::Error::other(text),
        })
    }
}

fn open(backend: impl Backend + 'static, key: u8) -> Result<Repository, Error> {
    repository::open(Box::new(backend), Unlock::KeyFile(&MasterKey::from_bytes([key; 32])), None)
}

/// A repository with two keys, 1 and 2, and the names of their slots.
fn two_keys() -> (Memory, [Id; 2]) {
    let memory = Memory::new();
    let creation = repository::Creation {
        unlock: Unlock::KeyFile(&MasterKey::from_bytes([1; 32])),
        cost: Cost::default(),
        cutter: Default::default(),
        pack_target: copal::format::limits::PACK_TARGET,
        description: Description::default(),
    };
    repository::create(&memory, &creation, &SystemClock).unwrap();
    let opened = open(memory.clone(), 1).unwrap();
    let first = opened.key_slots().unwrap().0[0].name;
    let second = MasterKey::from_bytes([2; 32]);
    let second = opened.add_key(Unlock::KeyFile(&second), Cost::default(), &Description::default()).unwrap();
    (memory, [first, second])
}

#[test]
fn two_that_remove_each_others_key_at_the_same_moment_leave_one() {
    let (memory, [first, second]) = two_keys();
    let told = Arc::new(Mutex::new(None));
    let (other, tell) = (open(memory.clone(), 2).unwrap(), told.clone());
    // Both have seen both slots.
    let then = move || *tell.lock().unwrap() = other.remove_key(&first, &SystemClock, b"host").err();
    let backend = Before { inner: memory.clone(), then: Mutex::new(Some(Box::new(then))) };
    open(backend, 1).unwrap().remove_key(&second, &SystemClock, b"host").unwrap();
    let error = told.lock().unwrap().take().expect("it was refused");
    assert!(
        matches!(&error, Error::Refused(text) if text.contains("about to remove all other keys")),
        "{error}"
    );
    assert!(open(memory.clone(), 1).is_ok(), "nobody can open it any more");
    assert!(matches!(open(memory, 2), Err(Error::WrongKey { .. })));
}

#[test]
fn who_was_cut_off_in_removing_a_key_keeps_nobody_from_it_once_it_is_done() {
    let (memory, [first, second]) = two_keys();
    let one = open(memory.clone(), 1).unwrap();
    let begun = one.client().unwrap();
    let session = Session::begin_as(Role::Reader, &one, &SystemClock, begun, b"host", vec![second]).unwrap();
    // It never ends.
    std::mem::forget(session);
    let two = open(memory.clone(), 2).unwrap();
    assert!(matches!(two.remove_key(&first, &SystemClock, b"host"), Err(Error::Refused(_))));
    let third = MasterKey::from_bytes([3; 32]);
    two.add_key(Unlock::KeyFile(&third), Cost::default(), &Description::default()).unwrap();
    two.remove_key(&first, &SystemClock, b"host").unwrap();
    two.remove_key(&second, &SystemClock, b"host").unwrap();
    assert!(open(memory.clone(), 3).is_ok() && open(memory.clone(), 1).is_err() && open(memory, 2).is_err());
}

#[test]
fn who_is_not_told_whether_a_key_went_looks_whether_it_was_the_last() {
    let (memory, [first, second]) = two_keys();
    // As an older program does it, which says nothing before.
    let other = memory.clone();
    let then = move || other.remove(Kind::Keys, &first.to_string()).unwrap();
    let mute = Mute { inner: Before { inner: memory.clone(), then: Mutex::new(Some(Box::new(then))) } };
    let error = open(mute, 1).unwrap().remove_key(&second, &SystemClock, b"host").unwrap_err();
    assert!(matches!(&error, Error::Refused(text) if text.contains("put back")), "{error}");
    assert!(open(memory, 2).is_ok(), "nobody can open it any more");
}

#[test]
fn one_that_is_removed_by_two_is_gone() {
    let (memory, [_, second]) = two_keys();
    let other = open(memory.clone(), 1).unwrap();
    let then = move || other.remove_key(&second, &SystemClock, b"host").unwrap();
    let backend = Before { inner: memory.clone(), then: Mutex::new(Some(Box::new(then))) };
    open(backend, 1).unwrap().remove_key(&second, &SystemClock, b"host").unwrap();
    assert!(open(memory.clone(), 1).is_ok() && open(memory, 2).is_err());
}

fn flip(memory: &Memory, name: &Id) {
    let mut bytes = memory.get(Kind::Keys, &name.to_string()).unwrap();
    bytes[50] ^= 1;
    memory.overwrite(Kind::Keys, &name.to_string(), &bytes);
}

#[test]
fn a_damaged_slot_can_go_and_the_last_sound_one_can_not() {
    let (memory, [first, second]) = two_keys();
    flip(&memory, &second);
    let opened = open(memory.clone(), 1).unwrap();
    assert!(
        matches!(opened.remove_key(&first, &SystemClock, b"host"), Err(Error::Refused(_))),
        "a damaged one is no way in"
    );
    opened.remove_key(&second, &SystemClock, b"host").unwrap();
    assert!(opened.key_slots().unwrap().1.is_empty());
    assert!(matches!(opened.remove_key(&first, &SystemClock, b"host"), Err(Error::Refused(_))));
    assert!(open(memory, 1).is_ok());
}

#[test]
fn a_damaged_slot_is_removed_by_its_id() {
    let sandbox = Sandbox::new();
    let slots = || -> Vec<String> {
        let folder = std::fs::read_dir(sandbox.repository().join("keys")).unwrap();
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let first = slots().remove(0);
    sandbox.run(["key", "add", "--new-key-file", "second"]).expect(0);
    let second = slots().into_iter().find(|name| *name != first).unwrap();
    let path = sandbox.repository().join("keys").join(&second);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    sandbox.run(["key", "list"]).expect(5).warns(&format!("copal key remove {}", &second[..8]));
    sandbox.run(["key", "remove", &first]).expect(1);
    sandbox.run(["key", "remove", &second[..10]]).expect(0).warns("removed key");
    assert_eq!(slots(), [first]);
    sandbox.run(["key", "list"]).expect(0);
    sandbox.run(["check"]).expect(0);
}
