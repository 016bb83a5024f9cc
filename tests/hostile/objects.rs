//! Sealed objects: changed ones never open, and hostile records under a good seal are refused like any other bytes.

use crate::decoders::{attack, directory, id, keys, segments};
use copal::crypto::{Keys, MasterKey, password::Cost};
use copal::format::index::{self, IndexObject, PackEntry};
use copal::format::note::{self, Link, Note, Verb};
use copal::format::record::Writer;
use copal::format::session::{self, Damage, Removal, Role, SessionObject, State};
use copal::format::slot::{self, Description, Unlock};
use copal::format::snapshot::{self, Confirmation};
use copal::format::{config, limits, pack, small};
use copal::model::{Cutter, Id16, Snapshot, Summary, Time};

fn summary() -> Summary {
    Summary { files: 5, bytes: u64::MAX, end: Time { seconds: 9, nanos: 1 }, ..Summary::default() }
}

fn a_snapshot() -> Snapshot {
    Snapshot {
        root: id(1),
        host: b"host".to_vec(),
        sources: vec![b"/home".to_vec(), b"/srv".to_vec()],
        tags: vec!["a".to_owned(), "b".to_owned()],
        utc_offset: -3600,
        zone: "Europe/Lisbon".to_owned(),
        previous: Some(id(2)),
        parent: Some(id(3)),
        sequence: 4,
        incomplete: true,
        options: vec!["--force".to_owned()],
        state: segments(),
        summary: summary(),
        removals_seen: vec![id(5)],
        stands_for: Some(id(7)),
        ..Snapshot::default()
    }
}

fn entry() -> PackEntry {
    PackEntry {
        name: id(6),
        length: 400 + 90 + pack::FOOTER_LEN as u64,
        salt: [1; 32],
        commitment: [2; 32],
        directory: directory(),
        directory_offset: 400,
        directory_length: 90,
        maker: Default::default(),
    }
}

fn a_note(verb: Verb) -> Note {
    Note {
        snapshot: id(1),
        verb,
        texts: vec!["red".to_owned()],
        time: Time { seconds: -5, nanos: 9 },
        client: Id16([4; 16]),
        sequence: 3,
        link: Link::default(),
        read: vec![id(2), id(3)],
    }
}

/// Whether an object opens.
pub type Opens = fn(&Keys, &[u8]) -> bool;

/// Every kind of small object: its number, one of it, and its decoder.
fn small_objects(keys: &Keys) -> Vec<(u8, Vec<u8>, Opens)> {
    let config = config::Config {
        generation: 3,
        cutter: Cutter::default(),
        pack_target: limits::PACK_TARGET,
        made: Time::default(),
        parity_per_mille: 50,
    };
    let index = IndexObject {
        packs: vec![entry(), entry()],
        snapshots: vec![b"object".to_vec()],
        replaces: vec![id(1)],
        config: b"config".to_vec(),
        ..IndexObject::default()
    };
    let removal =
        Removal { packs: vec![id(1), id(2)], done: true, index_objects: vec![id(3)], ..Removal::default() };
    let damage = Damage { packs: vec![id(1)], lost: Some(id(2)), time: Time::default() };
    let confirmation = Confirmation { snapshot: id(1), session: Id16([2; 16]), time: Time::default() };
    vec![
        (config::KIND, config::encode(keys, &config).unwrap(), |keys, bytes| {
            config::decode(keys, bytes).is_ok()
        }),
        (index::KIND, index::encode(keys, &index).unwrap(), |keys, bytes| index::decode(keys, bytes).is_ok()),
        (snapshot::KIND, snapshot::encode(keys, &a_snapshot()).unwrap(), |keys, bytes| {
            snapshot::decode(keys, bytes).is_ok()
        }),
        (snapshot::CONFIRMED, snapshot::encode_confirmation(keys, &confirmation).unwrap(), |keys, bytes| {
            snapshot::decode_confirmation(keys, bytes).is_ok()
        }),
        (session::REMOVAL, session::encode_removal(keys, &removal).unwrap(), |keys, bytes| {
            session::decode_removal(keys, bytes).is_ok()
        }),
        (note::KIND, note::encode(keys, &a_note(Verb::AddTags)).unwrap(), |keys, bytes| {
            note::decode(keys, bytes).is_ok()
        }),
        (session::DAMAGE, session::encode_damage(keys, &damage).unwrap(), |keys, bytes| {
            session::decode_damage(keys, bytes).is_ok()
        }),
    ]
}

#[test]
fn small_objects_that_were_changed_never_open() {
    let keys = keys();
    for (kind, object, opens) in small_objects(&keys) {
        attack(&format!("object of kind {kind}"), &[object.clone()], |bytes| {
            let opened = opens(&keys, bytes);
            assert!(!opened || bytes == object, "a changed object of kind {kind} opens");
            let _ = (small::plain_part(bytes, kind), config::peek(bytes));
            opened
        });
        for (other, _, opens) in small_objects(&keys) {
            assert!(
                other == kind || !opens(&keys, &object),
                "an object of kind {kind} opens as one of kind {other}"
            );
        }
    }
    let object = SessionObject {
        session: Id16([1; 16]),
        state: State::Begin,
        role: Role::Writer,
        lease_seconds: 5,
        parents: vec![id(1)],
        host: b"host".to_vec(),
        process: 7,
        client: Id16([2; 16]),
        time: Time::default(),
        storage_time: Some(Time::default()),
    };
    let object = session::encode(&keys, &object).unwrap();
    attack("object of kind 7", &[object.clone()], |bytes| {
        session::decode(&keys, bytes).inspect(|_| assert!(bytes == object)).is_ok()
    });
}

#[test]
fn small_objects_with_hostile_records_under_a_good_seal_survive() {
    let keys = keys();
    for (kind, object, opens) in small_objects(&keys) {
        let record = small::decode(&keys, kind, &object).unwrap();
        let plain = small::plain_part(&object, kind).unwrap().1.to_vec();
        attack(&format!("record of kind {kind}"), &[record], |bytes| {
            opens(&keys, &small::encode(&keys, kind, &plain, bytes).unwrap())
        });
        if !plain.is_empty() {
            let record = small::decode(&keys, kind, &object).unwrap();
            attack(&format!("plain part of kind {kind}"), &[plain], |bytes| {
                opens(&keys, &small::encode(&keys, kind, bytes, &record).unwrap())
            });
        }
    }
}

#[test]
fn notes_survive_anything_and_what_is_accepted_keeps_the_rules() {
    let keys = keys();
    let removed = Note {
        link: Link { client: Id16([5; 16]), sequence: 7, previous: Some(id(6)) },
        ..a_note(Verb::Removed)
    };
    let notes = [a_note(Verb::RemoveTags), a_note(Verb::Forget), a_note(Verb::Describe), removed];
    let records = notes.map(|note| {
        let object = note::encode(&keys, &note).unwrap();
        assert_eq!(note::decode(&keys, &object).unwrap(), note);
        small::decode(&keys, note::KIND, &object).unwrap()
    });
    attack("note", &records, |bytes| {
        let object = small::encode(&keys, note::KIND, &[], bytes).unwrap();
        let Ok(note) = note::decode(&keys, &object) else { return false };
        assert!(note.verb != Verb::Describe || note.texts.len() == 1);
        let again = note::encode(&keys, &note).unwrap();
        let again = note::decode(&keys, &again).unwrap();
        assert!(again == note || note.verb != Verb::Removed);
        true
    });
    assert!(note::encode(&keys, &Note { texts: Vec::new(), ..a_note(Verb::Describe) }).is_err());
    for verb in [0, 9, u64::MAX] {
        let mut record = Writer::default();
        record.id(1, true, Some(&id(1))).int(2, true, verb);
        let object = small::encode(&keys, note::KIND, &[], &record.finish()).unwrap();
        let error = note::decode(&keys, &object).unwrap_err();
        assert_eq!(error.is_unsupported(), verb > 8, "{verb}: {error}");
    }
}

#[test]
fn key_slots_survive_anything_before_and_after_they_are_opened() {
    let keys = keys();
    let key = MasterKey::from_bytes([5; 32]);
    let description = Description { label: "first".to_owned(), ..Description::default() };
    let object =
        slot::encode(&keys, Unlock::KeyFile(&key), Cost::default(), &description, b"config").unwrap();
    let other = slot::encode(
        &keys,
        Unlock::KeyFile(&MasterKey::from_bytes([6; 32])),
        Cost::default(),
        &description,
        b"",
    )
    .unwrap();
    attack("key slot", &[object, other], |bytes| {
        if let Ok(Some(given)) = slot::open(bytes, Unlock::KeyFile(&key)) {
            let master = keys.master().expect("a full key").clone();
            assert!(given == slot::Given::Full(master), "a changed slot gives another key");
        }
        let _ = slot::describe(&keys, bytes);
        slot::decode(bytes).is_ok()
    });
}
