//! Repositories as an attacker with the key makes them: trees, packs and snapshots through the library's own writers, with any contents.

use std::fs;
use std::path::{Path, PathBuf};

use copal::backend::{Backend, Kind, Local};
use copal::compress::Level;
use copal::crypto::{self, Keys, MasterKey, password::Cost};
use copal::format::index::{self, IndexObject, PackEntry};
use copal::format::pack::{Block, Directory, PackKey, encode_directory};
use copal::format::slot::{self, Description, Unlock};
use copal::format::{limits, node, tree};
use copal::model::clock::{Clock, SystemClock};
use copal::model::{Content, Contents, Cutter, Id, Id16, Node, NodeType, Segment, SegmentKind, Snapshot};
use copal::repository::session::Session;
use copal::repository::store::{self, Store};
use copal::repository::{self, Creation, Repository};

use crate::program::{Ended, copal, temporary};

/// A world with a repository, a target, and things outside that must stay as they are.
pub struct World {
    folder: tempfile::TempDir,
    pub repository: Repository,
    pub keys: Keys,
}

/// A node of whoever runs the tests: an ordinary user can give back no other owner.
fn owned(name: &[u8], kind: NodeType) -> Node {
    let mut node = Node::new(name, kind);
    node.uid = rustix::process::geteuid().as_raw();
    node.gid = rustix::process::getegid().as_raw();
    node
}

/// What a hostile snapshot's folder is made of.
pub struct Trees<'s, 'r>(pub &'s Store<'r>);

impl Trees<'_, '_> {
    /// Stores a page of encoded nodes as they come.
    pub fn raw(&self, nodes: &[Vec<u8>]) -> Id {
        self.page(&tree::encode_nodes(nodes))
    }

    pub fn page(&self, bytes: &[u8]) -> Id {
        self.0.save(0, Contents::Trees, bytes).unwrap().0
    }

    pub fn of(&self, nodes: &[Node]) -> Id {
        self.raw(&nodes.iter().map(node::encode).collect::<Vec<_>>())
    }

    pub fn data(&self, bytes: &[u8]) -> Id {
        self.0.save(0, Contents::Data, bytes).unwrap().0
    }

    /// A file of one chunk.
    pub fn file(&self, name: &[u8], bytes: &[u8]) -> Node {
        let mut node = owned(name, NodeType::File);
        node.mode = 0o644;
        node.size = bytes.len() as u64;
        node.content =
            Content::Inline(vec![Segment { kind: SegmentKind::Data(self.data(bytes)), length: node.size }]);
        node
    }
}

pub fn folder(name: &[u8], tree: Id) -> Node {
    let mut node = owned(name, NodeType::Directory);
    (node.mode, node.tree) = (0o755, Some(tree));
    node
}

pub fn symlink(name: &[u8], target: &str) -> Node {
    let mut node = owned(name, NodeType::Symlink);
    (node.mode, node.target) = (0o777, target.as_bytes().to_vec());
    node
}

/// Every path below a folder with its kind, mode, owner, time and content. Not the link count: replacing a planted link lowers it.
fn photograph(folder: &Path, into: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt;
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let hash = blake3::hash(&content);
        into.push(format!(
            "{} {:o} {}:{} {hash}",
            path.display(),
            metadata.mode(),
            metadata.uid(),
            metadata.mtime()
        ));
        if metadata.is_dir() {
            photograph(&path, into);
        }
    }
}

impl World {
    pub fn new() -> World {
        let folder = temporary();
        let at = |name: &str| folder.path().join(name);
        let key = MasterKey::from_bytes([9; 32]);
        fs::write(at("key"), key.to_key_file()).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(at("key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir_all(at("outside/folder")).unwrap();
        fs::write(at("outside/secret"), "secret").unwrap();
        fs::write(at("outside/folder/file"), "as it was").unwrap();
        fs::create_dir(at("target")).unwrap();
        let creation = Creation {
            unlock: Unlock::KeyFile(&key),
            cost: Cost::default(),
            cutter: Cutter::default(),
            pack_target: limits::PACK_TARGET,
            description: Description::default(),
        };
        let backend = Local::new(at("repository"));
        repository::create(&backend, &creation, &SystemClock).unwrap();
        let mut slots = Vec::new();
        backend.list(Kind::Keys, &mut |entry| slots.push(entry.name)).unwrap();
        let object = backend.get(Kind::Keys, &slots[0]).unwrap();
        let master = slot::open(&object, Unlock::KeyFile(&key)).unwrap().unwrap();
        let repository = repository::open(Box::new(backend), Unlock::KeyFile(&key), None).unwrap();
        repository.sync().unwrap();
        let keys = master.keys(repository.id());
        World { folder, repository, keys }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stores what `make` makes, and commits a snapshot of the root that it gives.
    pub fn snapshot(&self, make: impl FnOnce(&Trees<'_, '_>) -> Id) -> String {
        self.snapshot_of(make, Snapshot::default())
    }

    pub fn snapshot_of(&self, make: impl FnOnce(&Trees<'_, '_>) -> Id, snapshot: Snapshot) -> String {
        let options = store::Options {
            level: Level::AUTO,
            workers: 1,
            compressors: 1,
            uploaders: 1,
            memory: store::MEMORY,
            domain: Id16::default(),
            discard: false,
        };
        let root = store::with(&self.repository, options, &SystemClock, |store| {
            let root = make(&Trees(store));
            store.checkpoint(|| {})?;
            Ok(root)
        });
        let root = root.unwrap();
        let time = if snapshot.time == Default::default() { SystemClock.now() } else { snapshot.time };
        let snapshot =
            Snapshot { root, time, host: b"host".to_vec(), sources: vec![b"/".to_vec()], ..snapshot };
        self.commit(&snapshot)
    }

    pub fn commit(&self, snapshot: &Snapshot) -> String {
        let session =
            Session::begin(&self.repository, &SystemClock, Id16::default(), b"host", Vec::new()).unwrap();
        session.commit(snapshot).unwrap().to_string()
    }

    /// Puts a pack of blocks that say of themselves what they like: codec, plain length, stored bytes before sealing, chunks. The directory
    /// says `contents`, the key is that of `sealed_as`.
    pub fn pack(
        &self,
        contents: Contents,
        sealed_as: Contents,
        blocks: &[(u8, u32, Vec<u8>, Vec<(Id, u32)>)],
        indexed: bool,
    ) {
        let salt: [u8; 32] = crypto::random().unwrap();
        let key = PackKey::new(&self.keys, sealed_as, &salt);
        let mut bytes = key.head();
        let mut listed = Vec::new();
        for (number, (codec, plain, stored, chunks)) in blocks.iter().enumerate() {
            let mut sealed = stored.clone();
            key.seal_block(number as u64, &mut sealed).unwrap();
            listed.push(Block {
                codec: *codec,
                offset: bytes.len() as u64,
                stored: sealed.len() as u32,
                plain: *plain,
                chunks: chunks.clone(),
            });
            bytes.extend_from_slice(&sealed);
        }
        let directory =
            Directory { contents, blocks: listed, domain: Id16::default(), written: SystemClock.now() };
        let (directory_offset, directory_length) =
            key.finish(&mut bytes, &encode_directory(&directory)).unwrap();
        let name = crypto::object_name(&bytes);
        let backend = Local::new(self.at("repository"));
        backend.put(Kind::Packs, &name.to_string(), &bytes).unwrap();
        if indexed {
            let length = bytes.len() as u64;
            let commitment = key.commitment();
            self.index(vec![PackEntry {
                name,
                length,
                salt,
                commitment,
                directory,
                directory_offset,
                directory_length,
                maker: Default::default(),
            }]);
        }
    }

    pub fn index(&self, packs: Vec<PackEntry>) {
        let object = index::encode(&self.keys, &IndexObject { packs, ..IndexObject::default() }).unwrap();
        let name = crypto::object_name(&object).to_string();
        Local::new(self.at("repository")).put(Kind::Index, &name, &object).unwrap();
        self.repository.sync().unwrap();
    }

    pub fn id(&self, contents: Contents, plain: &[u8]) -> Id {
        self.repository.hasher().id(contents, plain)
    }

    /// Runs the program on the repository; nothing outside the target and the repository may change.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut before = Vec::new();
        photograph(&self.at("outside"), &mut before);
        let (repository, key) = (self.at("repository"), self.at("key"));
        let all = ["-r", repository.to_str().unwrap(), "--key-file", key.to_str().unwrap(), "--no-cache"];
        let all: Vec<&str> =
            arguments[..1].iter().copied().chain(all).chain(arguments[1..].iter().copied()).collect();
        let ran = copal(self.folder.path(), &all);
        let mut after = Vec::new();
        photograph(&self.at("outside"), &mut after);
        assert_eq!(before, after, "{arguments:?} changed something outside:\n{}", ran.text());
        let mut here: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        here.sort();
        assert_eq!(
            here,
            ["key", "outside", "repository", "target"],
            "{arguments:?} made something beside the target:\n{}",
            ran.text()
        );
        assert!(!ran.text().contains('\u{1b}'), "{arguments:?} prints an escape:\n{:?}", ran.text());
        ran
    }

    /// Restores a snapshot into the target; its exit code must be one of these.
    pub fn restore(&self, snapshot: &str, more: &[&str], codes: &[i32]) -> Ended {
        let target = self.at("target");
        let arguments: Vec<&str> = ["restore", snapshot, "-t", target.to_str().unwrap()]
            .iter()
            .copied()
            .chain(more.iter().copied())
            .chain((!more.contains(&"-q")).then_some("-v"))
            .collect();
        let ran = self.run(&arguments);
        assert!(
            codes.contains(&ran.code),
            "restore {more:?} ended with {} instead of {codes:?}:\n{}",
            ran.code,
            ran.text()
        );
        ran
    }

    /// Checks; the exit code must be that.
    pub fn check(&self, code: i32) -> Ended {
        let ran = self.run(&["check", "--read-data"]);
        assert_eq!(ran.code, code, "check:\n{}", ran.text());
        ran
    }
}

impl Drop for World {
    /// What was restored may be immutable, and would stay behind.
    fn drop(&mut self) {
        let _ = std::process::Command::new("chattr")
            .args(["-R", "-f", "-i", "-a"])
            .arg(self.at("target"))
            .output();
        // It may be too deep for the standard library, which would end the test's process before it says what is wrong.
        let _ = std::process::Command::new("rm").arg("-rf").arg(self.at("target")).output();
    }
}

/// Removes a target that is too deep for the standard library.
pub fn remove_deep(path: &Path) {
    let removed = std::process::Command::new("rm").arg("-rf").arg(path).status().unwrap();
    assert!(removed.success());
}

/// A sound folder beside the hostile one, which must come back whatever else is there.
pub fn with_good(trees: &Trees<'_, '_>, mut nodes: Vec<Node>) -> Id {
    let good = trees.of(&[trees.file(b"file", b"good")]);
    nodes.push(folder(b"zz good", good));
    trees.of(&nodes)
}

pub fn assert_good(world: &World) {
    assert_eq!(fs::read(world.at("target/zz good/file")).unwrap(), b"good");
}

/// Pages whose trees must be refused: `check` and `restore` say so, and the good folder comes back.
pub fn refused(what: &str, make: impl FnOnce(&Trees<'_, '_>) -> Id) {
    let world = World::new();
    let snapshot = world.snapshot(|trees| with_good(trees, vec![folder(b"bad", make(trees))]));
    let ran = world.restore(&snapshot, &[], &[5]);
    assert!(ran.text().contains("/bad"), "{what}: {}", ran.text());
    assert_good(&world);
    assert!(world.check(5).text().contains("/bad"), "{what}");
    world.restore(&snapshot, &["--overwrite", "always", "--delete"], &[5]);
    assert_good(&world);
}

pub fn hole(length: u64) -> Segment {
    Segment { kind: SegmentKind::Hole, length }
}

/// A file of one chunk of that id and length.
pub fn file_of(id: Id, length: u64) -> Node {
    let mut file = Node::new(b"bad", NodeType::File);
    (file.size, file.content) =
        (length, Content::Inline(vec![Segment { kind: SegmentKind::Data(id), length }]));
    file
}
