//! A repository in memory that two clients use, what it must give back, and what may be said of its snapshots.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use copal::backend::{Backend, Entry, Error as StorageError, Faulty, Kind, Memory};
use copal::backup::{self, Options};
use copal::check::{self, Reading};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::crypto::password::Cost;
use copal::format::note::Verb;
use copal::format::slot::{Description, Unlock};
use copal::model::clock::Clock;
use copal::model::{Contents, Cutter, Id, Node, NodeType, SegmentKind, Snapshot, Time};
use copal::progress::Silent;
use copal::repository::session::Session;
use copal::repository::{self, Creation, Error, Repository};

use crate::program::temporary;

pub const DAY: i64 = 24 * 3600;

/// Storage in memory whose clock is set by hand, and the same clock as every machine's.
#[derive(Clone, Default)]
pub struct Timed {
    pub inner: Memory,
    pub seconds: Arc<AtomicI64>,
}

impl Timed {
    pub fn copy(&self) -> Timed {
        let seconds = Arc::new(AtomicI64::new(self.seconds.load(Ordering::SeqCst)));
        Timed { inner: self.inner.copy(), seconds }
    }

    pub fn names(&self, kind: Kind) -> Vec<String> {
        let mut names = Vec::new();
        self.inner.list(kind, &mut |entry| names.push(entry.name)).unwrap();
        names
    }

    pub fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Timed {
    fn now(&self) -> Time {
        Time::new(4_000_000_000 + self.seconds.load(Ordering::SeqCst), 0)
    }
    fn pause(&self, seconds: u64) {
        self.pass(seconds as i64);
    }
}

impl Backend for Timed {
    through! { location put get get_range list stat remove create }
    fn time(&self) -> Result<Time, StorageError> {
        Ok(self.now())
    }
}

/// What notes may make of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub forgotten: bool,
    pub protected: bool,
    pub tags: Vec<String>,
}

impl State {
    pub fn plain() -> State {
        State { forgotten: false, protected: false, tags: Vec::new() }
    }
}

/// A snapshot that was reported as saved.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Digest of everything that it must give back.
    pub look: Id,
    /// One of these is what notes make of it.
    pub states: Vec<State>,
    /// It is forgotten for so long that it may be gone.
    pub may_go: bool,
}

/// Which snapshot is meant: the names of those that are there from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// Of the first client; forgotten for eight days.
    Forgotten,
    /// Of the first client, its latest.
    Latest,
    /// Of the second client; protected.
    Protected,
    /// Of the second client.
    Other,
}

/// A repository, its clients' caches, and what must be so.
pub struct World {
    pub storage: Timed,
    pub key: [u8; 32],
    /// Folders of caches, by client.
    pub caches: tempfile::TempDir,
    pub saved: BTreeMap<Id, Saved>,
    pub named: BTreeMap<Which, Id>,
}

/// Somebody at work on it: through a storage that goes wrong, with or without a cache.
pub struct Client<'w> {
    pub world: &'w World,
    pub backend: Arc<Faulty<Timed>>,
    pub cache: Option<PathBuf>,
}

impl Client<'_> {
    pub fn open_with(&self, unlock: Unlock<'_>) -> Result<Repository, Error> {
        repository::open(Box::new(self.backend.clone()), unlock, self.cache.as_deref())
    }

    pub fn open(&self) -> Result<Repository, Error> {
        self.open_with(Unlock::KeyFile(&MasterKey::from_bytes(self.world.key)))
    }

    /// Opened and synchronised, as most commands begin.
    pub fn open_synced(&self) -> Result<Repository, Error> {
        let repository = self.open()?;
        repository.sync()?;
        Ok(repository)
    }

    pub fn clock(&self) -> &Timed {
        &self.world.storage
    }

    pub fn id(&self, which: Which) -> Id {
        self.world.named[&which]
    }
}

/// Bytes that do not compress and do not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// A key that opens nothing at first.
pub const SECOND: [u8; 32] = [7; 32];

/// Names, kinds, modes, times and bytes of all that is below a folder.
pub fn tree_of(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut tree = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder_here) = folders.pop() {
        for entry in fs::read_dir(folder_here).unwrap().map(|entry| entry.unwrap()) {
            let (path, about) = (entry.path(), entry.metadata().unwrap());
            let content = match about.file_type() {
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_vec(),
                kind if kind.is_dir() => {
                    folders.push(path.clone());
                    Vec::new()
                }
                _ => fs::read(&path).unwrap(),
            };
            let name = path.strip_prefix(folder).unwrap().to_path_buf();
            tree.insert(name, (about.mode(), about.mtime(), about.mtime_nsec(), content));
        }
    }
    tree
}

/// What is put into a stream.
pub fn stream() -> Vec<u8> {
    noise(50, 90_000)
}

/// A folder of this process. It stays until another process of this test begins after this one has ended.
fn own_folder() -> PathBuf {
    let below = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    fs::create_dir_all(&below).unwrap();
    for entry in fs::read_dir(&below).unwrap().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let own = below.join(std::process::id().to_string());
    fs::create_dir_all(&own).unwrap();
    own
}

struct Prepared {
    world: World,
    /// What backing up the first client's folder gives, as it is now.
    look: Id,
    source: PathBuf,
    /// What the latest snapshot of the first client holds.
    latest: BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>,
}

fn write(path: PathBuf, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn prepared() -> &'static Prepared {
    static PREPARED: OnceLock<Prepared> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let folder = own_folder();
        let (one, two) = (folder.join("one"), folder.join("two"));
        write(one.join("a"), noise(1, 40_000));
        write(one.join("b"), noise(2, 30_000));
        write(one.join("folder/text"), "a line that repeats\n".repeat(500));
        write(one.join("folder/below/small"), "small");
        write(one.join("gone"), noise(3, 70_000));
        symlink("folder/text", one.join("link")).unwrap();
        write(two.join("file"), noise(4, 20_000));
        let mut world = World::empty();
        let mut named = BTreeMap::new();
        let mut save = |world: &mut World, who: &str, source: &Path, which: Which| {
            let client = world.client(who);
            let (id, look) = back_up_folder(&client, source).map(|id| (id, world.look_of(&id))).unwrap();
            world.saved.insert(id, Saved { look, states: vec![State::plain()], may_go: false });
            named.insert(which, id);
        };
        save(&mut world, "one", &one, Which::Forgotten);
        fs::remove_file(one.join("gone")).unwrap();
        write(one.join("b"), noise(5, 30_000));
        write(one.join("folder/new"), noise(6, 20_000));
        save(&mut world, "one", &one, Which::Latest);
        let latest = tree_of(&one);
        save(&mut world, "two", &two, Which::Protected);
        write(two.join("file"), noise(7, 20_000));
        save(&mut world, "two", &two, Which::Other);
        world.named = named;
        world.note(Which::Forgotten, Verb::Forget);
        world.note(Which::Protected, Verb::Protect);
        world.set_state(Which::Forgotten, |state| state.forgotten = true);
        world.set_state(Which::Protected, |state| state.protected = true);
        world.storage.pass(8 * DAY);
        // As it is from here on.
        write(one.join("a"), noise(8, 45_000));
        fs::remove_file(one.join("folder/new")).unwrap();
        write(one.join("folder/below/more"), noise(9, 25_000));
        fs::set_permissions(one.join("folder/text"), fs::Permissions::from_mode(0o640)).unwrap();
        let copy = world.copy();
        let id = back_up_folder(&copy.client("one"), &one).unwrap();
        let look = copy.look_of(&id);
        Prepared { world, look, source: one, latest }
    })
}

/// Digest of what backing up the first client's folder must give.
pub fn look_of_source() -> Id {
    prepared().look
}

/// What the latest snapshot of the first client holds.
pub fn latest() -> &'static BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    &prepared().latest
}

/// Digest of what backing up the stream must give.
pub fn look_of_stream() -> Id {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&stream());
    Id(*hasher.finalize().as_bytes())
}

/// The first client's folder.
pub fn source() -> &'static Path {
    &prepared().source
}

pub fn options(source: &Path) -> Options {
    Options {
        sources: vec![source.as_os_str().as_bytes().to_vec()],
        host: b"host".to_vec(),
        user: b"user".to_vec(),
        level: Level::FAST,
        workers: 2,
        racy_seconds: 0,
        ..Options::default()
    }
}

pub fn back_up_folder(client: &Client<'_>, source: &Path) -> Result<Id, Error> {
    let repository = client.open()?;
    let stop = AtomicBool::new(false);
    let outcome = backup::backup(&repository, &options(source), client.clock(), &Silent, &stop)?;
    Ok(outcome.name.unwrap())
}

/// Reads everything of a snapshot's sources and gives its digest: names, metadata and bytes of folders, the bytes alone of a stream.
fn look(repository: &Repository, snapshot: &Snapshot) -> Result<Id, Error> {
    let mut hasher = blake3::Hasher::new();
    for source in &snapshot.sources {
        let names: Vec<&[u8]> = source.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let mut nodes = vec![repository.find_node(snapshot.root, &names)?.expect("the source is there")];
        let is_stream = nodes[0].kind == NodeType::File;
        while let Some(node) = nodes.pop() {
            if !is_stream {
                // Ids are of one repository alone.
                let (content, tree) = (Default::default(), None);
                hasher.update(&copal::format::node::encode(&Node { content, tree, ..node.clone() }));
            }
            repository.segments(&node.content, node.size, &mut |segment| {
                if let SegmentKind::Data(id) = segment.kind {
                    hasher.update(&repository.read_chunk(Contents::Data, &id)?);
                }
                Ok(())
            })?;
            if let Some(tree) = node.tree {
                let below: Result<Vec<_>, Error> = repository.nodes(tree).collect();
                nodes.extend(below?);
            }
        }
    }
    Ok(Id(*hasher.finalize().as_bytes()))
}

pub fn description() -> Description {
    Description {
        label: String::new(),
        made: Time::new(4_000_000_000, 0),
        user: String::new(),
        host: String::new(),
        writer: 0,
        shares: false,
    }
}

pub fn creation(unlock: Unlock<'_>) -> Creation<'_> {
    Creation {
        unlock,
        cost: Cost::default(),
        cutter: Cutter::gear(64 << 10),
        pack_target: 1 << 20,
        description: description(),
    }
}

impl World {
    /// Nothing at all, and a key that opens nothing yet.
    pub fn without_repository() -> World {
        World {
            storage: Timed::default(),
            key: *MasterKey::generate().unwrap().bytes(),
            caches: temporary(),
            saved: BTreeMap::new(),
            named: BTreeMap::new(),
        }
    }

    /// A repository without any snapshot.
    pub fn empty() -> World {
        let world = World::without_repository();
        let key = MasterKey::from_bytes(world.key);
        repository::create(&world.storage, &creation(Unlock::KeyFile(&key)), &world.storage).unwrap();
        world
    }

    /// The prepared one, with four snapshots of two clients.
    pub fn new() -> World {
        prepared().world.copy()
    }

    /// The prepared one, and a second key.
    pub fn with_two_keys() -> World {
        let world = World::new();
        let repository = world.client("one").open().unwrap();
        let label = "second".to_owned();
        let description = Description { label, ..description() };
        let second = MasterKey::from_bytes(SECOND);
        repository.add_key(Unlock::KeyFile(&second), Cost::default(), &description).unwrap();
        drop(repository);
        world
    }

    /// The prepared one, in which a pruner marked packs while somebody was at work.
    pub fn with_marks() -> World {
        static MARKED: OnceLock<World> = OnceLock::new();
        let marked = MARKED.get_or_init(|| {
            let world = World::to_prune();
            let client = world.client("two");
            let other = client.open().unwrap();
            let session =
                Session::begin(&other, &world.storage, Default::default(), b"other", Vec::new()).unwrap();
            super::commands::prune_with(&world.client("one"), 7 * DAY).unwrap();
            drop(session);
            assert_eq!(world.storage.names(Kind::Removals).len(), 1, "a mark waits");
            drop((other, client));
            world
        });
        marked.copy()
    }

    /// The prepared one, of which one snapshot may go.
    pub fn to_prune() -> World {
        let mut world = World::new();
        let id = world.named[&Which::Forgotten];
        world.saved.get_mut(&id).unwrap().may_go = true;
        world
    }

    /// The prepared one, with a pack that is not as it was stored.
    pub fn damaged() -> World {
        let world = World::new();
        let victim = world.storage.names(Kind::Packs).remove(0);
        let mut bytes = world.storage.get(Kind::Packs, &victim).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        world.storage.inner.overwrite(Kind::Packs, &victim, &bytes);
        world
    }

    /// Whether a key opens the repository.
    pub fn opens(&self, key: [u8; 32]) -> bool {
        let client = self.client_on(Faulty::new(self.storage.clone()), None);
        client.open_with(Unlock::KeyFile(&MasterKey::from_bytes(key))).is_ok()
    }

    /// The same, as it is at this moment, to go another way from here.
    pub fn copy(&self) -> World {
        let caches = temporary();
        for folder in fs::read_dir(self.caches.path()).unwrap().map(|entry| entry.unwrap()) {
            let to = caches.path().join(folder.file_name());
            fs::create_dir(&to).unwrap();
            for file in fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()) {
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
        World {
            storage: self.storage.copy(),
            key: self.key,
            caches,
            saved: self.saved.clone(),
            named: self.named.clone(),
        }
    }

    pub fn cache(&self, who: &str) -> PathBuf {
        self.caches.path().join(who)
    }

    /// A client with its cache, on sound storage.
    pub fn client(&self, who: &str) -> Client<'_> {
        self.client_on(Faulty::new(self.storage.clone()), Some(who))
    }

    /// A client on that storage; one that is nobody has no cache.
    pub fn client_on(&self, backend: Faulty<Timed>, who: Option<&str>) -> Client<'_> {
        Client { world: self, backend: Arc::new(backend), cache: who.map(|who| self.cache(who)) }
    }

    fn look_of(&self, id: &Id) -> Id {
        let repository = self.client_on(Faulty::new(self.storage.clone()), None).open_synced().unwrap();
        let all = repository.snapshots().unwrap();
        look(&repository, &all.confirmed.iter().find(|named| named.name == *id).unwrap().snapshot).unwrap()
    }

    pub fn note(&self, which: Which, verb: Verb) {
        let repository = self.client("one").open_synced().unwrap();
        let mut all = repository.snapshots().unwrap();
        let time = self.storage.now();
        repository.put_note(&mut all.notes, &self.named[&which], verb, &[], time).unwrap();
    }

    pub fn set_state(&mut self, which: Which, change: impl Fn(&mut State)) {
        let saved = self.saved.get_mut(&self.named[&which]).unwrap();
        saved.states.iter_mut().for_each(change);
    }

    /// Looks at everything with the eyes of somebody who was never here, and with `checks` also at what no snapshot needs. All that is
    /// wrong is told.
    pub fn wrong(&self, checks: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let client = self.client_on(Faulty::new(self.storage.clone()), None);
        let opened = client.open().or_else(|error| match error {
            Error::WrongKey { .. } => client.open_with(Unlock::KeyFile(&MasterKey::from_bytes(SECOND))),
            error => Err(error),
        });
        let repository = match opened {
            Ok(repository) => repository,
            Err(error) => return vec![format!("it does not open: {error}")],
        };
        let synced = match repository.sync() {
            Ok(synced) => synced,
            Err(error) => return vec![format!("it does not synchronise: {error}")],
        };
        let all = repository.snapshots().unwrap();
        wrong.extend(all.problems.iter().map(ToString::to_string));
        for (id, saved) in &self.saved {
            let Some(named) = all.saved().find(|named| named.name == *id) else {
                if !saved.may_go {
                    wrong.push(format!("snapshot {} is gone", id.short()));
                }
                continue;
            };
            match look(&repository, &named.snapshot) {
                Ok(look) if look == saved.look => {}
                Ok(_) => wrong.push(format!("snapshot {} gives back something else", id.short())),
                Err(error) => wrong.push(format!("snapshot {} is not whole: {error}", id.short())),
            }
            let state = State {
                forgotten: named.standing.forgotten.is_some(),
                protected: named.standing.protected,
                tags: named.standing.tags.clone(),
            };
            if !saved.states.contains(&state) {
                wrong.push(format!("snapshot {} is {state:?}, not {:?}", id.short(), saved.states));
            }
        }
        for named in all.saved().filter(|named| !self.saved.contains_key(&named.name)) {
            wrong.push(format!("snapshot {} was reported as failed, and is there", named.name.short()));
        }
        if !checks {
            return wrong;
        }
        let stop = AtomicBool::new(false);
        match check::check(&repository, &synced, Reading::Everything, &self.storage, &Silent, &stop) {
            Ok(report) => wrong.extend(report.findings.iter().map(|finding| format!("check: {finding:?}"))),
            Err(error) => wrong.push(format!("check: {error}")),
        }
        let damaged = repository.damaged_packs().unwrap().len();
        if damaged > 0 {
            wrong.push(format!("{damaged} packs are written down as damaged"));
        }
        wrong
    }
}
