//! A repository in memory whose clock is set by hand, what is done to it, and what must hold afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use copal::backend::{Backend, Kind};
use copal::backup;
use copal::check::{self, Reading, Report};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::format::note::Verb;
use copal::format::slot::Unlock;
use copal::model::clock::Clock;
use copal::model::{Contents, Id, Node, SegmentKind, Snapshot};
use copal::progress::Silent;
use copal::prune::{self, Unused};
use copal::repair::{self, Options, SnapshotsOutcome, Tools, Wanted};
use copal::repository::session::Session;
use copal::repository::store::{self, Store};
use copal::repository::{self, Error, Repository};

use crate::made::{folder, make};
use crate::timed::Timed;

pub struct Place {
    pub storage: Timed,
    key: [u8; 32],
    pub source: tempfile::TempDir,
    /// A cache that machines of this place share, or none.
    cache: Option<tempfile::TempDir>,
}

impl Place {
    /// With chunks of about that many bytes.
    pub fn new(average: u32) -> Place {
        let storage = Timed::new();
        let bytes = make(&storage, &storage, average);
        Place { storage, key: bytes, source: folder(), cache: None }
    }

    pub fn with_cache(mut self) -> Place {
        self.cache = Some(folder());
        self
    }

    /// The same with a copy of the cache.
    pub fn copy_with_cache(&self) -> Place {
        let cache = folder();
        for entry in std::fs::read_dir(self.cache.as_ref().unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, cache.path().join(path.file_name().unwrap())).unwrap();
        }
        Place { cache: Some(cache), ..self.copy() }
    }

    /// The same, as it is at this moment, to go another way from here; without the cache.
    pub fn copy(&self) -> Place {
        let seconds = Arc::new(AtomicI64::new(self.storage.seconds.load(Ordering::SeqCst)));
        let storage = Timed { inner: self.storage.inner.copy(), seconds };
        Place { storage, key: self.key, source: folder(), cache: None }
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.source.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn days(&self, days: i64) {
        self.storage.seconds.fetch_add(days * 24 * 3600, Ordering::SeqCst);
    }

    pub fn open_on(&self, backend: impl Backend + 'static) -> Repository {
        let key = MasterKey::from_bytes(self.key);
        let cache = self.cache.as_ref().map(|folder| folder.path());
        repository::open(Box::new(backend), Unlock::KeyFile(&key), cache).unwrap()
    }

    /// Opened and synchronised.
    pub fn open(&self) -> Repository {
        let repository = self.open_on(self.storage.clone());
        repository.sync().unwrap();
        repository
    }

    pub fn back_up_outcome(&self) -> backup::Outcome {
        let options = backup::Options {
            sources: vec![self.source.path().as_os_str().as_bytes().to_vec()],
            host: b"host".to_vec(),
            user: b"user".to_vec(),
            tags: vec!["tag".to_owned()],
            level: Level::FAST,
            workers: 2,
            racy_seconds: 0,
            ..backup::Options::default()
        };
        let (repository, stop) = (self.open_on(self.storage.clone()), AtomicBool::new(false));
        self.storage.pause(1);
        backup::backup(&repository, &options, &self.storage, &Silent, &stop).unwrap()
    }

    pub fn back_up(&self) -> Id {
        self.back_up_outcome().name.unwrap()
    }

    pub fn note(&self, name: &Id, verb: Verb) -> Id {
        let repository = self.open();
        let mut all = repository.snapshots().unwrap();
        repository.put_note(&mut all.notes, name, verb, &[], self.storage.now()).unwrap()
    }

    /// Does `work` with a store, and makes what it stored durable.
    pub fn store<T>(&self, repository: &Repository, work: impl FnOnce(&Store<'_>) -> T) -> T {
        let options = store::Options {
            level: Level::FAST,
            workers: 1,
            compressors: 1,
            uploaders: 1,
            memory: store::MEMORY,
            domain: Default::default(),
            discard: false,
        };
        store::with(repository, options, &self.storage, |store| {
            let made = work(store);
            store.checkpoint(|| {})?;
            Ok(made)
        })
        .unwrap()
    }

    /// Commits a snapshot of that root.
    pub fn commit(&self, repository: &Repository, snapshot: Snapshot) -> Id {
        let session =
            Session::begin(repository, &self.storage, Default::default(), b"host", Vec::new()).unwrap();
        repository.sync().unwrap();
        session.commit(&Snapshot { time: self.storage.now(), host: b"host".to_vec(), ..snapshot }).unwrap()
    }

    /// Makes exactly these chunks lost: what lies in packs beside them is stored elsewhere, and then the packs go.
    pub fn lose(&self, victims: &[(Contents, Id)]) {
        let repository = self.open();
        let mut packs = BTreeSet::new();
        for (contents, id) in victims {
            let places = repository.index.lookup_for_reading(*contents, id).unwrap();
            assert!(!places.is_empty(), "{id} is not there");
            packs.extend(places.iter().map(|place| (place.pack.name, place.pack.length)));
        }
        let names: Vec<Id> = packs.iter().map(|(name, _)| *name).collect();
        let mut chunks = Vec::new();
        for (name, length) in &packs {
            let directory = repository.read_pack_entry(name, *length).unwrap().directory;
            for (id, _) in directory.blocks.iter().flat_map(|block| &block.chunks) {
                if !victims.contains(&(directory.contents, *id)) {
                    let chunk = repository.read_chunk(directory.contents, id).unwrap().to_vec();
                    chunks.push((directory.contents, *id, chunk));
                }
            }
        }
        repository.index.set_hidden(&names, &[]).unwrap();
        self.store(&repository, |store| {
            for (contents, id, chunk) in &chunks {
                store.save_hashed(0, *contents, *id, chunk).unwrap();
            }
        });
        for name in names {
            self.storage.remove(Kind::Packs, &name.to_string()).unwrap();
        }
    }

    pub fn flip(&self, kind: Kind, name: &str, offset: usize) {
        let mut bytes = self.storage.get(kind, name).unwrap();
        bytes[offset] ^= 1;
        self.storage.inner.overwrite(kind, name, &bytes);
    }

    pub fn names(&self, kind: Kind) -> Vec<String> {
        let mut names = Vec::new();
        self.storage.list(kind, &mut |entry| names.push(entry.name)).unwrap();
        names
    }

    pub fn check(&self, reading: Reading) -> Report {
        let repository = self.open_on(self.storage.clone());
        let synced = repository.sync().unwrap();
        let stop = AtomicBool::new(false);
        check::check(&repository, &synced, reading, &self.storage, &Silent, &stop).unwrap()
    }

    pub fn prune(&self) -> Result<prune::Outcome, Error> {
        let repository = self.open_on(self.storage.clone());
        let options = prune::Options {
            grace_seconds: 0,
            max_unused: Unused::Bytes(0),
            level: Level::FAST,
            ..prune::Options::default()
        };
        prune::prune(&repository, &options, &self.storage, &Silent, &AtomicBool::new(false))
    }

    pub fn with_tools<T>(&self, repository: &Repository, work: impl FnOnce(Tools<'_>) -> T) -> T {
        let (options, stop) = (Options { level: Level::FAST, ..Options::default() }, AtomicBool::new(false));
        let (clock, listener) = (&self.storage, &Silent);
        work(Tools { repository, options: &options, clock, listener, stop: &stop })
    }

    /// Repairs all snapshots, and forgets the originals.
    pub fn repair_snapshots(&self) -> SnapshotsOutcome {
        let repository = self.open_on(self.storage.clone());
        let wanted = Wanted { only: Vec::new(), forget: true };
        self.with_tools(&repository, |tools| repair::snapshots(tools, &wanted, &mut |_| true)).unwrap()
    }

    /// After repairs: nothing is left to be done, a prune goes through, and a check of every byte finds nothing.
    pub fn is_sound(&self) {
        let again = self.repair_snapshots();
        assert!(again.plan.is_empty() && !again.done, "{:?}", again.plan);
        self.days(2);
        self.prune().unwrap();
        let report = self.check(Reading::Everything);
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert_eq!((report.unneeded_packs, report.leftover_packs), (0, 0));
    }

    /// Every node of a snapshot by its path. What can not be read fails.
    pub fn nodes(&self, root: Id) -> BTreeMap<Vec<u8>, Node> {
        let repository = self.open();
        let (mut found, mut open) = (BTreeMap::new(), vec![(Vec::new(), root)]);
        while let Some((path, tree)) = open.pop() {
            for node in repository.nodes(tree) {
                let node = node.unwrap();
                let path = [&path[..], b"/", &node.name].concat();
                open.extend(node.tree.map(|tree| (path.clone(), tree)));
                assert!(found.insert(path, node).is_none());
            }
        }
        found
    }

    /// The bytes of a file, gaps as zeros, and how many bytes are in gaps.
    pub fn bytes(&self, node: &Node) -> (Vec<u8>, u64) {
        let repository = self.open();
        let (mut bytes, mut gaps) = (Vec::new(), 0);
        let mut each = |segment: copal::model::Segment| {
            match segment.kind {
                SegmentKind::Data(id) => {
                    bytes.extend_from_slice(&repository.read_chunk(Contents::Data, &id)?)
                }
                kind => {
                    gaps += if kind == SegmentKind::Gap { segment.length } else { 0 };
                    bytes.resize(bytes.len() + segment.length as usize, 0);
                }
            }
            Ok(())
        };
        repository.segments(&node.content, node.size, &mut each).unwrap();
        (bytes, gaps)
    }

    pub fn snapshot(&self, name: &Id) -> Snapshot {
        let all = self.open().snapshots().unwrap();
        all.saved().find(|named| named.name == *name).unwrap().snapshot.clone()
    }
}

/// Whether every tree and every byte of a snapshot can be read.
pub fn is_whole(repository: &Repository, root: Id) -> bool {
    let mut trees = vec![root];
    while let Some(tree) = trees.pop() {
        for node in repository.nodes(tree) {
            let Ok(node) = node else { return false };
            trees.extend(node.tree);
            let mut each = |segment: copal::model::Segment| match segment.kind {
                SegmentKind::Data(id) => repository.read_chunk(Contents::Data, &id).map(|_| ()),
                _ => Ok(()),
            };
            if repository.segments(&node.content, node.size, &mut each).is_err() {
                return false;
            }
        }
    }
    true
}
