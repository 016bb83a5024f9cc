//! A small repository that is prepared once and copied for every case, what must come back from it, and the program run on a copy.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use copal::backend::{Kind, Local};
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::model::{Contents, Id, NodeType, SegmentKind};
use copal::repository::{self, Repository};

use crate::program::{Ended, copal, temporary};

/// A stored block that something needs: its pack, and where it lies in it.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub pack: Id,
    pub start: u64,
    pub end: u64,
}

/// What must come back.
pub enum Entry {
    File { pieces: Vec<Piece>, bytes: Vec<u8> },
    Link(Vec<u8>),
    Folder(Folder),
}

pub struct Folder {
    pub id: Id,
    pub tree: Piece,
    pub entries: BTreeMap<String, Entry>,
}

pub struct Snapshot {
    pub name: String,
    pub root: Folder,
}

/// The prepared repository. Snapshots: the source as it was first, as it is now, and another source.
pub struct World {
    pub folder: PathBuf,
    pub snapshots: Vec<Snapshot>,
    /// Packs of data and of trees that the first snapshot needs, the one with the most bytes in blocks first.
    pub data_packs: Vec<String>,
    pub tree_packs: Vec<String>,
    /// Index objects that say where those two lie.
    pub indexes: Vec<String>,
    /// Name of the slot of the second key.
    pub second_slot: String,
}

/// Deterministic bytes that do not compress.
pub fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn make_source(source: &Path) {
    let text: String =
        (0..2000).map(|line| format!("line {line} of a text that compresses well\n")).collect();
    write(&source.join("text.txt"), text.as_bytes());
    write(&source.join("random.bin"), &random_bytes(1, 3 << 20));
    write(&source.join("empty"), b"");
    write(&source.join("deep/one/two/file"), &random_bytes(2, 70_000));
    write(&source.join("deep/one/beside"), b"beside");
    for number in 0..40 {
        write(
            &source.join(format!("many/{number:02}")),
            format!("small file {number} ").repeat(20).as_bytes(),
        );
    }
    symlink("text.txt", source.join("link")).unwrap();
}

fn change_source(source: &Path) {
    write(&source.join("text.txt"), b"now something else entirely");
    write(&source.join("new/second.bin"), &random_bytes(3, 400_000));
    write(&source.join("many/05"), b"changed");
}

/// A repository with its cache, and the keys beside it.
pub struct Place {
    pub home: PathBuf,
    /// The folder is removed with this.
    pub _owned: Option<tempfile::TempDir>,
    pub cached: bool,
}

impl Place {
    pub fn repository(&self) -> PathBuf {
        self.home.join("repository")
    }

    pub fn cache(&self) -> PathBuf {
        self.home.join("cache")
    }

    /// Runs a command on this repository.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with("key", arguments)
    }

    /// The same with that key file.
    pub fn run_with(&self, key: &str, arguments: &[&str]) -> Ended {
        let (repository, cache, key) = (self.repository(), self.cache(), self.home.join(key));
        let mut all = vec!["-r", repository.to_str().unwrap(), "--key-file", key.to_str().unwrap()];
        match self.cached {
            true => all.extend(["--cache-dir", cache.to_str().unwrap()]),
            false => all.push("--no-cache"),
        }
        let all: Vec<&str> =
            arguments[..1].iter().copied().chain(all).chain(arguments[1..].iter().copied()).collect();
        copal(&self.home, &all)
    }

    pub fn path_of(&self, kind: Kind, name: &str) -> PathBuf {
        self.repository().join(kind.path_of(name))
    }

    /// Names of the objects of a kind, sorted.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        names(&self.repository(), kind)
    }
}

pub fn names(repository: &Path, kind: Kind) -> Vec<String> {
    let mut names = Vec::new();
    let listed =
        copal::backend::Backend::list(&Local::new(repository), kind, &mut |entry| names.push(entry.name));
    listed.unwrap();
    names.sort();
    names
}

/// Opens a repository with the library, with the key `key` in its folder.
pub fn open(home: &Path) -> Repository {
    let key = MasterKey::from_key_file(&fs::read_to_string(home.join("key")).unwrap()).unwrap();
    let repository =
        repository::open(Box::new(Local::new(home.join("repository"))), Unlock::KeyFile(&key), None).unwrap();
    assert!(repository.sync().unwrap().problems.is_empty());
    repository
}

fn piece(repository: &Repository, contents: Contents, id: &Id) -> Piece {
    let places = repository.index.lookup_for_reading(contents, id).unwrap();
    let [place] = &places[..] else { panic!("{} places hold chunk {id}", places.len()) };
    Piece {
        pack: place.pack.name,
        start: place.block_offset,
        end: place.block_offset + u64::from(place.block_stored),
    }
}

fn folder(repository: &Repository, tree: Id) -> Folder {
    let mut entries = BTreeMap::new();
    for node in repository.nodes(tree) {
        let node = node.unwrap();
        let entry = match node.kind {
            NodeType::Directory => Entry::Folder(folder(repository, node.tree.unwrap())),
            NodeType::Symlink => Entry::Link(node.target.clone()),
            NodeType::File => {
                let (mut pieces, mut bytes) = (Vec::new(), Vec::new());
                let mut each = |segment: copal::model::Segment| {
                    let SegmentKind::Data(id) = segment.kind else { panic!("no holes here") };
                    pieces.push(piece(repository, Contents::Data, &id));
                    bytes.extend_from_slice(&repository.read_chunk(Contents::Data, &id)?);
                    Ok(())
                };
                repository.segments(&node.content, node.size, &mut each).unwrap();
                Entry::File { pieces, bytes }
            }
            other => panic!("{other:?}"),
        };
        entries.insert(String::from_utf8(node.name).unwrap(), entry);
    }
    Folder { id: tree, tree: piece(repository, Contents::Trees, &tree), entries }
}

/// The ids of the trees of a folder and all below.
pub fn trees_of(folder: &Folder, ids: &mut Vec<Id>) {
    ids.push(folder.id);
    for entry in folder.entries.values() {
        if let Entry::Folder(below) = entry {
            trees_of(below, ids);
        }
    }
}

fn packs_of(folder: &Folder, data: &mut BTreeMap<Id, u64>, trees: &mut BTreeMap<Id, u64>) {
    *trees.entry(folder.tree.pack).or_default() += folder.tree.end - folder.tree.start;
    for entry in folder.entries.values() {
        match entry {
            Entry::File { pieces, .. } => pieces
                .iter()
                .for_each(|piece| *data.entry(piece.pack).or_default() += piece.end - piece.start),
            Entry::Folder(below) => packs_of(below, data, trees),
            Entry::Link(_) => {}
        }
    }
}

/// Names of the index objects that name one of these packs.
fn indexes(home: &Path, packs: &[&String]) -> Vec<String> {
    let repository = home.join("repository");
    let key = MasterKey::from_key_file(&fs::read_to_string(home.join("key")).unwrap()).unwrap();
    let keys = names(&repository, Kind::Keys).into_iter().find_map(|name| {
        let object = fs::read(repository.join(Kind::Keys.path_of(&name))).unwrap();
        let master = copal::format::slot::open(&object, Unlock::KeyFile(&key)).unwrap()?;
        Some(master.keys(copal::format::slot::decode(&object).unwrap().repository))
    });
    let mut all = names(&repository, Kind::Index);
    all.retain(|name| {
        let object = fs::read(repository.join(Kind::Index.path_of(name))).unwrap();
        let index = copal::format::index::decode(keys.as_ref().unwrap(), &object).unwrap();
        index.packs.iter().any(|pack| packs.contains(&&pack.name.to_string()))
    });
    all
}

fn by_size(packs: BTreeMap<Id, u64>) -> Vec<String> {
    let mut packs: Vec<(u64, Id)> = packs.into_iter().map(|(name, bytes)| (bytes, name)).collect();
    packs.sort_unstable();
    packs.into_iter().rev().map(|(_, name)| name.to_string()).collect()
}

/// A folder of this process. It stays until another process of this test begins after this one has ended: what is in a static is never dropped.
fn own_folder() -> PathBuf {
    let below = Path::new(env!("CARGO_TARGET_TMPDIR")).join("damage");
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

/// The world, made at the first call.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let temporary = own_folder();
        let home = temporary.join("prepared");
        fs::create_dir(&home).unwrap();
        let source = temporary.join("source");
        make_source(&source);
        write(&temporary.join("other/file.bin"), &random_bytes(4, 100_000));
        write(&temporary.join("other/folder/text"), b"the other source");
        let place = Place { home: home.clone(), _owned: None, cached: true };
        let done = |ran: Ended| assert_eq!(ran.code, 0, "{}", ran.text());
        // So many chunks that their rows never fit into one page of the cache.
        done(place.run(&["init", "--average-chunk", "32K"]));
        let second = home.join("second");
        done(place.run(&["key", "add", "--label", "second", "--new-key-file", second.to_str().unwrap()]));
        let source = source.to_str().unwrap();
        done(place.run(&["backup", source]));
        change_source(Path::new(source));
        done(place.run(&["backup", source]));
        done(place.run(&["backup", temporary.join("other").to_str().unwrap()]));

        let repository = open(&home);
        let all = repository.snapshots().unwrap();
        assert_eq!(all.confirmed.len(), 3);
        let snapshots: Vec<Snapshot> = (all.confirmed.iter())
            .map(|named| Snapshot {
                name: named.name.to_string(),
                root: folder(&repository, named.snapshot.root),
            })
            .collect();
        let (mut data, mut trees) = (BTreeMap::new(), BTreeMap::new());
        packs_of(&snapshots[0].root, &mut data, &mut trees);
        let (slots, _) = repository.key_slots().unwrap();
        let second_slot =
            slots.iter().find(|slot| slot.description.label == "second").unwrap().name.to_string();
        let (data_packs, tree_packs) = (by_size(data), by_size(trees));
        let indexes = indexes(&home, &[&data_packs[0], &tree_packs[0]]);
        World { snapshots, data_packs, tree_packs, indexes, second_slot, folder: temporary }
    })
}

impl World {
    /// A copy of the prepared repository.
    pub fn copy(&self, cached: bool) -> Place {
        let owned = temporary();
        let home = owned.path().join("copy");
        let copied =
            Command::new("cp").arg("-a").arg(self.folder.join("prepared")).arg(&home).status().unwrap();
        assert!(copied.success());
        if !cached {
            fs::remove_dir_all(home.join("cache")).unwrap();
        }
        Place { home, _owned: Some(owned), cached }
    }

    pub fn source(&self) -> PathBuf {
        self.folder.join("source")
    }
}

/// What a restore gave: paths of what is lost because it is hit, and everything that is wrong beyond that.
#[derive(Debug, Default)]
pub struct Compared {
    pub lost: Vec<String>,
    pub wrong: Vec<String>,
}

/// Compares what was restored with what must come back; only what `hit` says may be lost.
pub fn compare(folder: &Folder, at: &Path, path: &str, hit: &dyn Fn(&Piece) -> bool, found: &mut Compared) {
    if hit(&folder.tree) {
        found.lost.push(path.to_owned());
        return;
    }
    let listed = fs::read_dir(at)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    let mut there: Vec<String> = listed.map(Iterator::collect).unwrap_or_default();
    there.sort();
    if !there.iter().eq(folder.entries.keys()) {
        found.wrong.push(format!("{path}/ holds {there:?}"));
    }
    for (name, entry) in &folder.entries {
        let (at, path) = (at.join(name), format!("{path}/{name}"));
        match entry {
            Entry::Folder(below) => compare(below, &at, &path, hit, found),
            Entry::Link(target)
                if fs::read_link(&at).is_ok_and(|read| read.as_os_str().as_encoded_bytes() == target) => {}
            Entry::File { pieces, .. } if pieces.iter().any(hit) => found.lost.push(path),
            Entry::File { bytes, .. } if fs::read(&at).is_ok_and(|read| read == *bytes) => {}
            _ => found.wrong.push(format!("{path} did not come back as it was")),
        }
    }
}
