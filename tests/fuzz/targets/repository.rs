//! A whole repository of objects that somebody with the key wrote: opened, synchronised, checked, pruned. Nothing panics or takes for ever,
//! and what was whole before a prune is whole after it.
//!
//! The input is a list of entries: one byte that says what it is, two of length, bytes. Ids can not be guessed, so 32 equal bytes from 0x80
//! on stand for the id or name of the first, second, ... thing that the input made.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use copal::backend::{Backend, Kind, Memory};
use copal::check::{Reading, Report, check};
use copal::crypto::password::Cost;
use copal::crypto::{Hasher, object_name};
use copal::format::index::{self, IndexObject, PackEntry};
use copal::format::note::{self, Note, Verb};
use copal::format::pack::{self, Block, CODEC_PLAIN, Directory, PackKey};
use copal::format::session::{self, Removal, Role};
use copal::format::slot::{self, Description, Unlock};
use copal::format::snapshot::{self, Confirmation};
use copal::format::{config, header, node, small, tree};
use copal::model::clock::SystemClock;
use copal::model::{Content, Contents, Id, Id16, Node, NodeType, Segment, SegmentKind, Snapshot, Time};
use copal::progress::Silent;
use copal::prune::{self, prune};
use copal::repository::snapshots::{Origin, Snapshots};
use copal::repository::{self, Repository};
use copal::retention::calendar::{Calendar, Period, Span};
use copal::retention::policy::{Count, Policy};
use copal::retention::{self, Grouping};

use super::records::{a_config, a_session, record_of};
use super::{keys, payload, piece, put_piece, sealed, secret};

/// Entries that are looked at: more only cost time.
const ENTRIES: usize = 48;
/// What an entry is, beyond the numbers of the kinds.
const DATA_CHUNK: u8 = 13;
const TREE_CHUNK: u8 = 14;
const LISTING: u8 = 15;
/// First byte that stands for an id.
const FIRST: u8 = 0x80;

/// A storage that holds an empty repository.
fn empty() -> Memory {
    static EMPTY: OnceLock<Memory> = OnceLock::new();
    let make = || {
        let memory = Memory::new();
        let config = config::encode(keys(), &a_config()).expect("config");
        let unlock = Unlock::KeyFile(&secret());
        let slot =
            slot::encode(keys(), unlock, Cost::default(), &Description::default(), &config).expect("slot");
        memory.put(Kind::Keys, &object_name(&slot).to_string(), &slot).expect("put");
        memory.put(Kind::Config, &format!("{:016x}", a_config().generation), &config).expect("put");
        memory
    };
    EMPTY.get_or_init(make).copy()
}

/// What the entries make.
struct Made {
    memory: Memory,
    /// In the order in which they were made.
    ids: Vec<Id>,
    chunks: [Vec<(Id, Vec<u8>)>; 2],
    packs: Vec<PackEntry>,
    snapshot: Id,
}

impl Made {
    /// Puts ids in the places of what stands for them.
    fn resolved(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let mut place = 0;
        while let Some(window) = bytes.get(place..place + 32) {
            let stands_for =
                window[0].checked_sub(FIRST).filter(|_| window.iter().all(|byte| *byte == window[0]));
            match stands_for.and_then(|number| self.ids.get(usize::from(number))) {
                Some(id) => {
                    bytes[place..place + 32].copy_from_slice(&id.0);
                    place += 32;
                }
                None => place += 1,
            }
        }
        bytes
    }

    /// Puts an object under its hash; what the storage refuses is left out.
    fn put(&mut self, kind: Kind, object: &[u8]) -> Id {
        let name = object_name(object);
        let _ = self.memory.put(kind, &name.to_string(), object);
        self.ids.push(name);
        name
    }

    fn add(&mut self, what: u8, bytes: &[u8]) {
        let bytes = self.resolved(bytes);
        let contents = |odd: bool| if odd { Contents::Trees } else { Contents::Data };
        // Nothing rests on copies, so their number is free for what does.
        match (Kind::from_number(what).filter(|kind| *kind != Kind::Copies), what) {
            (Some(Kind::Packs), _) => {
                let Some((first, directory)) = bytes.split_first() else { return };
                self.pack(contents(first & 1 == 1), directory);
            }
            (Some(Kind::Config), _) => {
                let mut rest = &bytes[..];
                let plain = piece(&mut rest);
                let object = sealed(config::KIND, plain, &payload(rest));
                let name = bytes.last().copied().unwrap_or_default();
                let _ = self.memory.put(Kind::Config, &format!("{name:016x}"), &object);
            }
            (Some(Kind::Keys), _) => {
                let object = [&header::encode(slot::KIND, keys().repository)[..], &bytes].concat();
                self.put(Kind::Keys, &object);
            }
            (Some(Kind::Confirmed), _) => {
                let object = sealed(snapshot::CONFIRMED, &[], &payload(&bytes));
                let _ = self.memory.put(Kind::Confirmed, &self.snapshot.to_string(), &object);
            }
            (Some(Kind::Fences), _) => {
                let mut session = Id16::default();
                session.0.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
                let object = sealed(session::FENCE, &[], &payload(&bytes));
                let _ = self.memory.put(Kind::Fences, &session.to_string(), &object);
            }
            (Some(kind), _) => {
                let name = self.put(kind, &sealed(kind.number(), &[], &payload(&bytes)));
                if kind == Kind::Snapshots {
                    self.snapshot = name;
                }
            }
            (None, DATA_CHUNK | TREE_CHUNK) => {
                let contents = contents(what == TREE_CHUNK);
                let id = Hasher::new(keys()).id(contents, &bytes);
                self.ids.push(id);
                self.chunks[usize::from(what == TREE_CHUNK)].push((id, bytes));
            }
            (None, LISTING) => {
                let object = IndexObject { packs: std::mem::take(&mut self.packs), ..IndexObject::default() };
                if let Ok(object) = index::encode(keys(), &object) {
                    self.put(Kind::Index, &object);
                }
            }
            (None, _) => {}
        }
    }

    /// A pack of the chunks so far in one block, with that directory, or without one with an honest one.
    fn pack(&mut self, contents: Contents, directory: &[u8]) {
        let chunks = std::mem::take(&mut self.chunks[usize::from(contents == Contents::Trees)]);
        let salt = object_name(&[self.ids.len() as u8]).0;
        let key = PackKey::new(keys(), contents, &salt);
        let mut bytes = key.head();
        let plain: Vec<u8> = chunks.iter().flat_map(|(_, bytes)| bytes).copied().collect();
        let mut stored = plain.clone();
        key.seal_block(0, &mut stored).expect("sealing");
        let block = Block {
            codec: CODEC_PLAIN,
            offset: pack::BLOCKS_AT as u64,
            stored: stored.len() as u32,
            plain: plain.len() as u32,
            chunks: chunks.iter().map(|(id, bytes)| (*id, bytes.len() as u32)).collect(),
        };
        bytes.extend(stored);
        let honest = Directory {
            contents,
            blocks: if plain.is_empty() { Vec::new() } else { vec![block] },
            domain: Id16::default(),
            written: Time::default(),
        };
        let is_honest = directory.is_empty();
        let directory = if is_honest { pack::encode_directory(&honest) } else { directory.to_vec() };
        let (directory_offset, directory_length) = key.finish(&mut bytes, &directory).expect("sealing");
        let name = self.put(Kind::Packs, &bytes);
        if is_honest {
            let (length, commitment) = (bytes.len() as u64, key.commitment());
            let directory = honest;
            self.packs.push(PackEntry {
                name,
                length,
                salt,
                commitment,
                directory,
                directory_offset,
                directory_length,
                maker: Default::default(),
            });
        }
    }
}

/// Opens and looks at everything; none when that much is not possible.
fn look(memory: &Memory) -> Option<(Repository, Snapshots, Report)> {
    let repository = repository::open(Box::new(memory.clone()), Unlock::KeyFile(&secret()), None).ok()?;
    let synced = repository.sync().ok()?;
    let _ = synced.check_writable();
    let report =
        check(&repository, &synced, Reading::Everything, &SystemClock, &Silent, &AtomicBool::new(false))
            .ok()?;
    let snapshots = repository.snapshots_from(Origin::Storage).ok()?;
    Some((repository, snapshots, report))
}

fn is_whole(report: &Report, snapshots: &Snapshots) -> bool {
    report.findings.is_empty() && !snapshots.confirmed.is_empty() && snapshots.problems.is_empty()
}

/// What a policy makes of such snapshots.
fn choose(snapshots: &Snapshots, now: Time) {
    let span = Span { years: 1, months: 2, days: 3, hours: 4 };
    let policy = Policy {
        counts: Period::ALL.iter().map(|period| (*period, Count::Most(1))).collect(),
        within: Period::ALL.iter().map(|period| (*period, span)).collect(),
        tags: Vec::new(),
    };
    for calendar in [Calendar::Own, Calendar::parse("UTC").expect("UTC")] {
        let plan = retention::plan(&snapshots.confirmed, &policy, Grouping::default(), &calendar, now);
        let _ = (plan.kept(), plan.forgotten().count(), plan.ahead().count());
    }
    let _ = retention::stored_later(&snapshots.confirmed, now);
}

pub(super) fn run(data: &[u8]) -> bool {
    let mut made = Made {
        memory: empty(),
        ids: Vec::new(),
        chunks: Default::default(),
        packs: Vec::new(),
        snapshot: Id::default(),
    };
    let mut rest = data;
    for _ in 0..ENTRIES {
        let Some((what, after)) = rest.split_first() else { break };
        rest = after;
        made.add(*what, piece(&mut rest));
    }
    let Some((repository, snapshots, report)) = look(&made.memory) else { return false };
    let _ = (repository.sessions(), repository.fences(), repository.damaged_packs(), repository.absence());
    for named in snapshots.saved() {
        for node in repository.nodes(named.snapshot.root).take(1000).flatten() {
            let _ = repository.segments(&node.content, node.size, &mut |_| Ok(()));
        }
        let _ = repository.find_node(named.snapshot.root, &[b"folder", b"file"]);
    }
    choose(&snapshots, repository.storage_time().expect("a clock"));
    let whole = is_whole(&report, &snapshots);
    let options =
        prune::Options { grace_seconds: 0, max_unused: prune::Unused::Bytes(0), ..Default::default() };
    let pruned = prune(&repository, &options, &SystemClock, &Silent, &AtomicBool::new(false));
    drop(repository);
    let Some((_, after, report)) = look(&made.memory) else {
        assert!(!whole, "what was whole can not be looked at after a prune: {pruned:?}");
        return false;
    };
    if whole {
        assert!(is_whole(&report, &after), "{pruned:?} {:?} {:?}", report.findings, after.problems);
        let names = |all: &Snapshots| all.confirmed.iter().map(|named| named.name).collect::<Vec<_>>();
        assert_eq!(names(&snapshots), names(&after), "{pruned:?}");
    }
    whole && pruned.is_ok()
}

/// A chunk or name by its number.
fn number(number: u8) -> Id {
    Id([FIRST + number; 32])
}

struct Seed(Vec<u8>);

impl Seed {
    fn entry(mut self, what: u8, bytes: &[u8]) -> Seed {
        self.0.push(what);
        put_piece(&mut self.0, bytes);
        self
    }

    fn record(self, kind: Kind, object: Result<Vec<u8>, copal::format::Error>) -> Seed {
        let record = record_of(kind.number(), &object.expect("a seed"));
        self.entry(kind.number(), &record)
    }

    /// A snapshot of that root, confirmed.
    fn snapshot(self, snapshot: &Snapshot, own: u8) -> Seed {
        let confirmation = Confirmation {
            snapshot: number(own),
            session: Id16([2; 16]),
            time: Time { seconds: 9, nanos: 0 },
        };
        self.record(Kind::Snapshots, snapshot::encode(keys(), snapshot))
            .record(Kind::Confirmed, snapshot::encode_confirmation(keys(), &confirmation))
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut file = Node::new(b"file", NodeType::File);
    let data = |id| Segment { kind: SegmentKind::Data(id), length: 64 };
    (file.size, file.content) = (128, Content::Inline(vec![data(number(0)), data(number(1))]));
    let mut folder = Node::new(b"folder", NodeType::Directory);
    folder.tree = Some(number(2));
    let snapshot = Snapshot {
        host: b"host".to_vec(),
        sources: vec![b"/".to_vec()],
        root: number(3),
        time: Time { seconds: 5, nanos: 0 },
        ..Snapshot::default()
    };
    // 0 and 1: chunks, 2: the folder, 3: the root, 4 and 5: packs, 6: the listing, 7: the snapshot.
    let plain = || {
        Seed(Vec::new())
            .entry(DATA_CHUNK, &[1; 64])
            .entry(DATA_CHUNK, &[2; 64])
            .entry(TREE_CHUNK, &tree::encode_nodes([node::encode(&file)]))
            .entry(TREE_CHUNK, &tree::encode_nodes([node::encode(&folder)]))
            .entry(Kind::Packs.number(), &[0])
            .entry(Kind::Packs.number(), &[1])
            .entry(LISTING, &[])
            .snapshot(&snapshot, 7)
    };
    let note = |verb| Note {
        snapshot: number(7),
        verb,
        texts: vec!["red".to_owned()],
        time: Time::default(),
        client: Id16([4; 16]),
        sequence: 3,
        link: Default::default(),
        read: Vec::new(),
    };
    let removal = |packs: &[u8], snapshots: &[u8], done| {
        let named = |numbers: &[u8]| numbers.iter().map(|one| number(*one)).collect();
        let removal =
            Removal { packs: named(packs), snapshots: named(snapshots), done, ..Removal::default() };
        session::encode_removal(keys(), &removal)
    };
    let directory = Directory {
        contents: Contents::Data,
        blocks: vec![Block {
            codec: CODEC_PLAIN,
            offset: pack::BLOCKS_AT as u64,
            stored: 80,
            plain: 64,
            chunks: vec![(number(0), 64)],
        }],
        domain: Id16::default(),
        written: Time::default(),
    };
    let unlisted = Seed(Vec::new())
        .entry(DATA_CHUNK, &[1; 64])
        .entry(Kind::Packs.number(), &[&[0][..], &pack::encode_directory(&directory)].concat())
        .entry(TREE_CHUNK, &tree::encode_nodes(Vec::<Vec<u8>>::new()))
        .entry(Kind::Packs.number(), &[1])
        .snapshot(&Snapshot { root: number(2), ..snapshot.clone() }, 4);
    let second = Snapshot { previous: Some(number(7)), sequence: 1, ..snapshot.clone() };
    let config = config::encode(keys(), &a_config()).expect("a seed");
    let mut other_config = Vec::new();
    put_piece(&mut other_config, small::plain_part(&config, config::KIND).expect("a seed").1);
    other_config.extend(record_of(config::KIND, &config));
    [
        plain(),
        plain().record(Kind::Notes, note::encode(keys(), &note(Verb::AddTags))).snapshot(&second, 9),
        plain().record(Kind::Notes, note::encode(keys(), &note(Verb::Forget))),
        plain().record(Kind::Removals, removal(&[4], &[], false)),
        plain().record(Kind::Removals, removal(&[5], &[7], true)),
        plain().record(Kind::Sessions, session::encode(keys(), &a_session(Role::Writer))).entry(8, &[1; 16]),
        plain().entry(DATA_CHUNK, &[1; 64]).entry(DATA_CHUNK, &[3; 64]).entry(3, &[0]).entry(LISTING, &[]),
        plain().entry(Kind::Config.number(), &other_config),
        unlisted,
    ]
    .map(|seed| seed.0)
    .to_vec()
}
