//! Records of small objects: below a good seal any bytes may stand.

use std::fmt::Debug;

use copal::crypto::Keys;
use copal::format::config::{self, Config};
use copal::format::copies::{self, Copied};
use copal::format::index::{self, IndexObject, PackEntry};
use copal::format::note::{self, Link, Note, Verb};
use copal::format::session::{self, Damage, Removal, Role, SessionObject, State};
use copal::format::snapshot::{self, Confirmation};
use copal::format::{Error, limits, pack, small};
use copal::model::{Contents, Cutter, Id16, Snapshot, Summary, Time};

use super::objects::a_directory;
use super::trees::segments;
use super::{id, keys, payload, sealed, with_record};

/// The record in a small object.
pub(super) fn record_of(kind: u8, object: &[u8]) -> Vec<u8> {
    let record = small::decode(keys(), kind, object).expect("our own object");
    // Of removals and damage it is the plain part.
    match record.is_empty() {
        true => small::plain_part(object, kind).expect("our own object").1.to_vec(),
        false => record,
    }
}

/// Reads an object; what is accepted has to be the same when it is written and read again, and written once more has the same bytes.
/// The first writing may leave things out (`is_exact` says whether it must not).
fn twice<T: PartialEq + Debug>(
    kind: u8,
    object: &[u8],
    decode: impl Fn(&Keys, &[u8]) -> Result<T, Error>,
    encode: impl Fn(&Keys, &T) -> Result<Vec<u8>, Error>,
    is_exact: impl Fn(&T) -> bool,
) -> bool {
    let Ok(first) = decode(keys(), object) else { return false };
    let bytes = encode(keys(), &first).expect("what is accepted can be written");
    let second = decode(keys(), &bytes).expect("what was accepted is accepted again");
    if is_exact(&first) {
        assert_eq!(first, second);
    }
    let again = encode(keys(), &second).expect("and again");
    assert_eq!(record_of(kind, &again), record_of(kind, &bytes));
    true
}

pub(super) fn a_snapshot() -> Snapshot {
    Snapshot {
        root: id(1),
        host: b"host".to_vec(),
        user: b"ann".to_vec(),
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
        summary: Summary {
            files: 5,
            bytes: u64::MAX,
            end: Time { seconds: 9, nanos: 1 },
            ..Summary::default()
        },
        removals_seen: vec![id(5)],
        ..Snapshot::default()
    }
}

pub(super) fn snapshot(data: &[u8]) -> bool {
    let object = with_record(snapshot::KIND, data);
    twice(snapshot::KIND, &object, snapshot::decode, snapshot::encode, |_| true)
}

pub(super) fn snapshot_seeds() -> Vec<Vec<u8>> {
    let small = Snapshot { root: id(1), ..Snapshot::default() };
    let encoded = |snapshot: &Snapshot| snapshot::encode(keys(), snapshot).expect("a seed");
    [a_snapshot(), small].iter().map(|one| record_of(snapshot::KIND, &encoded(one))).collect()
}

pub(super) fn index(data: &[u8]) -> bool {
    let object = with_record(index::KIND, data);
    twice(index::KIND, &object, index::decode, index::encode, |_| true)
}

pub(super) fn index_seeds() -> Vec<Vec<u8>> {
    let entry = PackEntry {
        name: id(6),
        length: 400 + 90 + pack::FOOTER_LEN as u64,
        salt: [1; 32],
        commitment: [2; 32],
        directory: a_directory(),
        directory_offset: 400,
        directory_length: 90,
        maker: Default::default(),
    };
    let writer = keys().in_place_of(7).expect("a full key");
    let (key, salt) = pack::PackKey::generate(&writer, Contents::Data).expect("a pack's key");
    let proof = key.proof(
        &entry.name,
        entry.length,
        entry.directory_offset,
        &pack::encode_directory(&entry.directory),
    );
    let maker = index::Maker { writer: 7, proof };
    let of_writer = PackEntry { salt, commitment: key.commitment(), maker, ..entry.clone() };
    let object = IndexObject {
        packs: vec![entry.clone(), entry, of_writer],
        snapshots: vec![b"object".to_vec()],
        replaces: vec![id(1)],
        config: b"config".to_vec(),
        ..IndexObject::default()
    };
    vec![record_of(index::KIND, &index::encode(keys(), &object).expect("a seed"))]
}

pub(super) fn note(data: &[u8]) -> bool {
    let object = with_record(note::KIND, data);
    // The chain's place is only written of a snapshot that was removed.
    twice(note::KIND, &object, note::decode, note::encode, |note| {
        note.verb == Verb::Removed || note.link == Link::default()
    })
}

pub(super) fn note_seeds() -> Vec<Vec<u8>> {
    let link = Link { client: Id16([5; 16]), sequence: 7, previous: Some(id(6)) };
    [Verb::AddTags, Verb::Protect, Verb::Forget, Verb::Describe, Verb::Removed]
        .map(|verb| Note {
            snapshot: id(1),
            verb,
            texts: vec!["red".to_owned()],
            time: Time { seconds: -5, nanos: 9 },
            client: Id16([4; 16]),
            sequence: 3,
            link: if verb == Verb::Removed { link } else { Link::default() },
            read: vec![id(2), id(3)],
        })
        .iter()
        .map(|note| record_of(note::KIND, &note::encode(keys(), note).expect("a seed")))
        .collect()
}

pub(super) fn copied(data: &[u8]) -> bool {
    let encode = |keys: &Keys, all: &Vec<Copied>| copies::encode(keys, all);
    twice(copies::KIND, &with_record(copies::KIND, data), copies::decode, encode, |_| true)
}

pub(super) fn copied_seeds() -> Vec<Vec<u8>> {
    let one = |kind, length| Copied { kind, name: id(kind), bytes: vec![kind; length] };
    let all = [vec![one(5, 300), one(6, 0), one(10, 90)], vec![one(0, 1)], Vec::new()];
    let encoded = |all: &Vec<Copied>| copies::encode(keys(), all).expect("a seed");
    all.iter().map(|all| record_of(copies::KIND, &encoded(all))).collect()
}

/// Kinds of `others`, by the first byte.
const OTHERS: [u8; 5] =
    [config::KIND, snapshot::CONFIRMED, session::SESSION, session::REMOVAL, session::DAMAGE];

pub(super) fn others(data: &[u8]) -> bool {
    let Some((first, mut record)) = data.split_first() else { return false };
    let kind = OTHERS[usize::from(*first) % OTHERS.len()];
    match kind {
        config::KIND => {
            let plain = super::piece(&mut record);
            let object = sealed(kind, plain, &payload(record));
            twice(kind, &object, config::decode, config::encode, |_| true)
        }
        snapshot::CONFIRMED => twice(
            kind,
            &with_record(kind, record),
            snapshot::decode_confirmation,
            snapshot::encode_confirmation,
            |_| true,
        ),
        session::SESSION => {
            twice(kind, &with_record(kind, record), session::decode, session::encode, |_| true)
        }
        session::REMOVAL => {
            twice(kind, &with_record(kind, record), session::decode_removal, session::encode_removal, |_| {
                true
            })
        }
        _ => {
            twice(kind, &with_record(kind, record), session::decode_damage, session::encode_damage, |_| true)
        }
    }
}

pub(super) fn a_config() -> Config {
    Config {
        generation: 3,
        cutter: Cutter::default(),
        pack_target: limits::PACK_TARGET,
        made: Time::default(),
        parity_per_mille: 0,
    }
}

pub(super) fn a_session(role: Role) -> SessionObject {
    SessionObject {
        session: Id16([1; 16]),
        state: State::Begin,
        role,
        lease_seconds: 5,
        parents: vec![id(1)],
        host: b"host".to_vec(),
        process: 7,
        client: Id16([2; 16]),
        time: Time::default(),
        storage_time: Some(Time::default()),
    }
}

pub(super) fn others_seeds() -> Vec<Vec<u8>> {
    let removal =
        Removal { packs: vec![id(1), id(2)], done: true, index_objects: vec![id(3)], ..Removal::default() };
    let damage = Damage { packs: vec![id(1)], lost: Some(id(2)), time: Time::default() };
    let confirmation = Confirmation { snapshot: id(1), session: Id16([2; 16]), time: Time::default() };
    let objects = [
        config::encode(keys(), &a_config()),
        snapshot::encode_confirmation(keys(), &confirmation),
        session::encode(keys(), &a_session(Role::Pruner)),
        session::encode_removal(keys(), &removal),
        session::encode_damage(keys(), &damage),
    ];
    let with_kind = |(number, object): (usize, Result<Vec<u8>, Error>)| {
        let object = object.expect("a seed");
        let mut seed = vec![number as u8];
        if OTHERS[number] == config::KIND {
            super::put_piece(&mut seed, small::plain_part(&object, config::KIND).expect("a seed").1);
        }
        seed.extend(record_of(OTHERS[number], &object));
        seed
    };
    objects.into_iter().enumerate().map(with_kind).collect()
}
