//! Prune, check, synchronising and the catalogue of paths at stated sizes: `cargo bench --bench prune -- 5000000` (numbers of chunks; without any 5 million, which
//! takes 2 GB; 50 million take ten times that). With `COPAL_BENCH_DIR` the repository stays there and is used again, else it is made in the
//! temporary folder and removed.
//!
//! The repository is made of real objects, only small: chunks of 64 bytes that do not compress, in as many blocks and packs as chunks of
//! 64 KiB would fill (16 chunks a block, 16 blocks a pack), packs of trees as a backup makes them. 1,000 snapshots: a first one of a sixth
//! of all chunks (two a file, 20 files a folder, two levels of folders above), and each next one has 0.5 % of the files new: half of the
//! files of a folder, ten folders beside each other. Of the oldest 600 snapshots 450 are forgotten.
//!
//! Each row is a process of its own, of the program or of this bench: seconds on the clock and of the processor, peak memory.

use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use copal::backend::{Backend, Kind, Local};
use copal::catalogue::fill;
use copal::compress::{Blocks, Level};
use copal::crypto::{Hasher, Keys, MasterKey, object_name, password::Cost};
use copal::format::config::{self, Config};
use copal::format::index::{self, IndexObject, PackEntry};
use copal::format::limits::{BLOCK_TARGET, PACK_TARGET};
use copal::format::note::{self, Link, Note, Verb};
use copal::format::pack::{self, Block, CODEC_PLAIN, CODEC_ZSTD, Directory, PackKey};
use copal::format::slot::{self, Description, Unlock};
use copal::format::snapshot::{self, Confirmation};
use copal::format::{node, tree};
use copal::index::catalogue::Catalogue;
use copal::model::{
    Content, Contents, Cutter, Id, Id16, Node, NodeType, Segment, SegmentKind, Snapshot, Time,
};
use copal::repository::{self, Repository};
use crossbeam_channel::{Receiver, Sender, bounded};

const CHUNKS: u64 = 5_000_000;
const SNAPSHOTS: u64 = 1000;
/// Of so many files one is new in each snapshot.
const CHANGED: u64 = 200;
const CHUNK: usize = 64;
const CHUNKS_A_FILE: u64 = 2;
const FILES_A_FOLDER: u64 = 20;
/// Files and folders that change together.
const TOGETHER: u64 = 10;
const CHUNKS_A_BLOCK: usize = 16;
const BLOCKS_A_PACK: usize = 16;
/// As `repository/index_objects.rs` has it.
const PACKS_AN_INDEX: usize = 256;
const CHUNKS_AN_INDEX: usize = 400_000;
const THREADS: usize = 2;
/// The first snapshot, seconds since 1970, and the time between two.
const BEGIN: i64 = 1_700_000_000;
const EVERY: i64 = 3600;

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// So many different numbers below `end`, in order.
    fn some(&mut self, count: u64, end: u64) -> Vec<u64> {
        let mut chosen = std::collections::BTreeSet::new();
        while (chosen.len() as u64) < count.min(end) {
            chosen.insert(self.next() % end);
        }
        chosen.into_iter().collect()
    }
}

fn at(snapshot: u64) -> Time {
    Time { seconds: BEGIN + snapshot as i64 * EVERY, nanos: 0 }
}

fn secret() -> MasterKey {
    MasterKey::from_bytes([5; 32])
}

fn put(folder: &Path, kind: Kind, name: &str, bytes: &[u8]) {
    // Written as they are: what is measured comes later, and syncing each would take most of the time.
    std::fs::write(folder.join("repository").join(kind.path_of(name)), bytes).expect("write");
}

/// Blocks of one pack to come: plain bytes, and the chunks in them.
type Plain = Vec<(Vec<u8>, Vec<(Id, u32)>)>;

/// Makes packs in threads of its own.
struct Packer<'a> {
    folder: &'a Path,
    keys: &'a Keys,
    ready: Mutex<Vec<PackEntry>>,
}

impl Packer<'_> {
    fn work(&self, packs: &Receiver<(Contents, Plain)>) {
        let mut context = Blocks::new(Level::AUTO).expect("zstd");
        for (contents, blocks) in packs {
            let salt: [u8; 32] = copal::crypto::random().expect("random bytes");
            let key = PackKey::new(self.keys, contents, &salt);
            let (mut bytes, mut listed) = (key.head(), Vec::new());
            for (number, (plain, chunks)) in blocks.into_iter().enumerate() {
                let mut stored = Vec::new();
                let is_smaller =
                    contents == Contents::Trees && context.compress(&plain, &mut stored).expect("zstd");
                if !is_smaller {
                    stored.extend_from_slice(&plain);
                }
                key.seal_block(number as u64, &mut stored).expect("seal");
                listed.push(Block {
                    codec: if is_smaller { CODEC_ZSTD } else { CODEC_PLAIN },
                    offset: bytes.len() as u64,
                    stored: stored.len() as u32,
                    plain: plain.len() as u32,
                    chunks,
                });
                bytes.append(&mut stored);
            }
            let directory = Directory { contents, blocks: listed, domain: Id16([2; 16]), written: at(0) };
            let (directory_offset, directory_length) =
                key.finish(&mut bytes, &pack::encode_directory(&directory)).expect("finish");
            let name = object_name(&bytes);
            let length = bytes.len() as u64;
            put(self.folder, Kind::Packs, &name.to_string(), &bytes);
            self.add(PackEntry {
                name,
                length,
                salt,
                commitment: key.commitment(),
                directory,
                directory_offset,
                directory_length,
                maker: Default::default(),
            });
        }
    }

    fn add(&self, entry: PackEntry) {
        let mut ready = self.ready.lock().expect("lock");
        ready.push(entry);
        let chunks: usize =
            ready.iter().flat_map(|pack| &pack.directory.blocks).map(|block| block.chunks.len()).sum();
        if ready.len() >= PACKS_AN_INDEX || chunks >= CHUNKS_AN_INDEX {
            let packs = std::mem::take(&mut *ready);
            drop(ready);
            self.put_index(packs);
        }
    }

    fn put_index(&self, packs: Vec<PackEntry>) {
        let object = IndexObject { packs, ..IndexObject::default() };
        let object = index::encode(self.keys, &object).expect("index");
        put(self.folder, Kind::Index, &object_name(&object).to_string(), &object);
    }
}

/// Takes chunks, and sends packs of them to be made.
struct Filler {
    contents: Contents,
    blocks: Plain,
    stored: usize,
    out: Sender<(Contents, Plain)>,
}

impl Filler {
    fn push(&mut self, id: Id, plain: &[u8]) {
        let is_full = match (self.blocks.last(), self.contents) {
            (None, _) => true,
            (Some((_, chunks)), Contents::Data) => chunks.len() >= CHUNKS_A_BLOCK,
            (Some((bytes, _)), Contents::Trees) => bytes.len() + plain.len() > BLOCK_TARGET,
        };
        if is_full {
            let is_pack_full = match self.contents {
                Contents::Data => self.blocks.len() >= BLOCKS_A_PACK,
                Contents::Trees => self.stored >= PACK_TARGET,
            };
            if is_pack_full {
                self.send();
            }
            self.blocks.push((Vec::new(), Vec::new()));
        }
        let (bytes, chunks) = self.blocks.last_mut().expect("a block");
        bytes.extend_from_slice(plain);
        chunks.push((id, plain.len() as u32));
        self.stored += plain.len();
    }

    fn send(&mut self) {
        self.stored = 0;
        self.out.send((self.contents, std::mem::take(&mut self.blocks))).expect("send");
    }
}

/// The tree of sources as it changes.
struct World {
    hasher: Hasher,
    data: Filler,
    trees: Filler,
    /// The snapshot in which each file was new.
    versions: Vec<u32>,
    folders_a_part: u64,
    folders: Vec<Id>,
    parts: Vec<Id>,
    chunks: u64,
}

fn folder_node(name: String, tree: Id) -> Vec<u8> {
    let mut node = Node::new(name.as_bytes(), NodeType::Directory);
    (node.mode, node.uid, node.gid, node.mtime, node.tree) = (0o755, 1000, 1000, at(0), Some(tree));
    (node.user, node.group) = (b"ann".to_vec(), b"users".to_vec());
    node::encode(&node)
}

impl World {
    fn tree(&mut self, nodes: impl Iterator<Item = Vec<u8>>) -> Id {
        let bytes = tree::encode_nodes(nodes);
        let id = self.hasher.id(Contents::Trees, &bytes);
        self.trees.push(id, &bytes);
        id
    }

    /// Encodes a file; its chunks are stored when it is new.
    fn file(&mut self, file: u64, is_new: bool) -> Vec<u8> {
        let version = self.versions[file as usize];
        let mut segments = Vec::new();
        for chunk in 0..CHUNKS_A_FILE {
            let mut numbers = Numbers((file * CHUNKS_A_FILE + chunk) << 16 | u64::from(version));
            let mut plain = [0; CHUNK];
            plain.as_chunks_mut::<8>().0.iter_mut().for_each(|word| *word = numbers.next().to_le_bytes());
            let id = self.hasher.id(Contents::Data, &plain);
            if is_new {
                self.data.push(id, &plain);
                self.chunks += 1;
            }
            segments.push(Segment { kind: SegmentKind::Data(id), length: CHUNK as u64 });
        }
        let mut node = Node::new(format!("document {file:08}.txt").as_bytes(), NodeType::File);
        (node.mode, node.uid, node.gid) = (0o644, 1000, 1000);
        (node.user, node.group) = (b"ann".to_vec(), b"users".to_vec());
        (node.mtime, node.btime) = (at(version.into()), Some(at(0)));
        (node.size, node.content) = (CHUNKS_A_FILE * CHUNK as u64, Content::Inline(segments));
        node::encode(&node)
    }

    /// Makes a folder of files anew; these of them are new.
    fn folder(&mut self, folder: u64, new: &[u64]) {
        let first = folder * FILES_A_FOLDER;
        let last = (first + FILES_A_FOLDER).min(self.versions.len() as u64);
        let nodes: Vec<Vec<u8>> =
            (first..last).map(|file| self.file(file, new.contains(&(file - first)))).collect();
        self.folders[folder as usize] = self.tree(nodes.into_iter());
    }

    fn part(&mut self, part: u64) {
        let first = part * self.folders_a_part;
        let last = (first + self.folders_a_part).min(self.folders.len() as u64);
        let nodes: Vec<Vec<u8>> = (first..last)
            .map(|folder| folder_node(format!("folder {folder:06}"), self.folders[folder as usize]))
            .collect();
        self.parts[part as usize] = self.tree(nodes.into_iter());
    }

    fn root(&mut self) -> Id {
        let nodes: Vec<Vec<u8>> = (self.parts.iter().enumerate())
            .map(|(number, tree)| folder_node(format!("part {number:04}"), *tree))
            .collect();
        self.tree(nodes.into_iter())
    }

    fn first(&mut self) -> Id {
        let all: Vec<u64> = (0..FILES_A_FOLDER).collect();
        (0..self.folders.len() as u64).for_each(|folder| self.folder(folder, &all));
        (0..self.parts.len() as u64).for_each(|part| self.part(part));
        self.root()
    }

    fn next(&mut self, snapshot: u64) -> Id {
        let mut numbers = Numbers(snapshot);
        let files = self.versions.len() as u64 / CHANGED;
        let parts = files.div_ceil(TOGETHER * TOGETHER).max(1);
        for part in numbers.some(parts, self.parts.len() as u64) {
            let first = part * self.folders_a_part;
            let there = self.folders_a_part.min(self.folders.len() as u64 - first);
            for folder in numbers.some(TOGETHER, there) {
                let folder = first + folder;
                let there = FILES_A_FOLDER.min(self.versions.len() as u64 - folder * FILES_A_FOLDER);
                let new = numbers.some(TOGETHER, there);
                for file in &new {
                    self.versions[(folder * FILES_A_FOLDER + file) as usize] = snapshot as u32;
                }
                self.folder(folder, &new);
            }
            self.part(part);
        }
        self.root()
    }
}

/// Whether a snapshot is forgotten: the oldest 300, and of the next 300 every second one.
fn is_forgotten(snapshot: u64) -> bool {
    snapshot < 300 || snapshot < 600 && snapshot.is_multiple_of(2)
}

/// Puts a snapshot with its confirmation, and the note that forgets it.
fn put_snapshot(folder: &Path, keys: &Keys, number: u64, root: Id, previous: Option<Id>) -> Id {
    let snapshot = Snapshot {
        time: at(number),
        root,
        host: b"bench".to_vec(),
        user: b"ann".to_vec(),
        sources: vec![b"/".to_vec()],
        program: "copal bench".to_owned(),
        client: Id16([2; 16]),
        sequence: number + 1,
        previous,
        session: Id16([3; 16]),
        ..Snapshot::default()
    };
    let object = snapshot::encode(keys, &snapshot).expect("snapshot");
    let name = object_name(&object);
    put(folder, Kind::Snapshots, &name.to_string(), &object);
    let confirmation = Confirmation { snapshot: name, session: Id16([3; 16]), time: at(number) };
    let object = snapshot::encode_confirmation(keys, &confirmation).expect("confirmation");
    put(folder, Kind::Confirmed, &name.to_string(), &object);
    if is_forgotten(number) {
        let note = Note {
            snapshot: name,
            verb: Verb::Forget,
            texts: Vec::new(),
            time: at(SNAPSHOTS),
            client: Id16([2; 16]),
            sequence: number + 1,
            link: Link::default(),
            read: Vec::new(),
        };
        let object = note::encode(keys, &note).expect("note");
        put(folder, Kind::Notes, &object_name(&object).to_string(), &object);
    }
    name
}

/// Makes the repository in `folder`.
fn make(folder: &Path, chunks: u64) {
    let keys = Keys::new(MasterKey::from_bytes([7; 32]), Id16([8; 16]));
    let local = Local::new(folder.join("repository"));
    local.create().expect("create");
    for kind in Kind::ALL {
        std::fs::create_dir_all(folder.join("repository").join(kind.folder())).expect("folder");
    }
    for number in 0..=255u8 {
        std::fs::create_dir_all(folder.join(format!("repository/packs/{number:02x}"))).expect("folder");
    }
    let cutter = Cutter::default();
    let config = Config { generation: 1, cutter, pack_target: PACK_TARGET, made: at(0), parity_per_mille: 0 };
    let config = config::encode(&keys, &config).expect("config");
    let unlock = Unlock::KeyFile(&secret());
    let slot = slot::encode(&keys, unlock, Cost::default(), &Description::default(), &config).expect("slot");
    put(folder, Kind::Keys, &object_name(&slot).to_string(), &slot);
    put(folder, Kind::Config, &format!("{:016x}", 1), &config);
    std::fs::write(folder.join("key"), secret().to_key_file()).expect("key");
    std::fs::set_permissions(folder.join("key"), PermissionsExt::from_mode(0o600)).expect("mode");

    let files = chunks / (1 + SNAPSHOTS / CHANGED) / CHUNKS_A_FILE;
    let folders = files.div_ceil(FILES_A_FOLDER);
    let folders_a_part = folders.isqrt().max(1);
    let packer = Packer { folder, keys: &keys, ready: Mutex::default() };
    let (out, packs) = bounded(2 * THREADS);
    let mut roots = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (packer, packs) = (&packer, packs.clone());
            scope.spawn(move || packer.work(&packs));
        }
        let filler = |contents, out| Filler { contents, blocks: Vec::new(), stored: 0, out };
        let mut world = World {
            hasher: Hasher::new(&keys),
            data: filler(Contents::Data, out.clone()),
            trees: filler(Contents::Trees, out),
            versions: vec![0; files as usize],
            folders_a_part,
            folders: vec![Id::default(); folders as usize],
            parts: vec![Id::default(); folders.div_ceil(folders_a_part) as usize],
            chunks: 0,
        };
        roots.push(world.first());
        for snapshot in 1..SNAPSHOTS {
            roots.push(world.next(snapshot));
        }
        world.data.send();
        world.trees.send();
        println!("made {} chunks of {files} files in {folders} folders", world.chunks);
    });
    let left = packer.ready.lock().expect("lock").split_off(0);
    packer.put_index(left);
    let mut previous = None;
    for (number, root) in roots.into_iter().enumerate() {
        previous = Some(put_snapshot(folder, &keys, number as u64, root, previous));
    }
    std::fs::write(folder.join("made"), b"").expect("made");
}

/// Brings a cache up to the repository, as every command does that needs one.
fn sync(folder: &Path) {
    opened(folder);
}

/// The repository, with its cache brought up to it.
fn opened(folder: &Path) -> Repository {
    let backend = Box::new(Local::new(folder.join("repository")));
    let cache = folder.join("cache");
    let repository = repository::open(backend, Unlock::KeyFile(&secret()), Some(&cache)).expect("open");
    let synced = repository.sync().expect("sync");
    assert!(synced.problems.is_empty(), "{:?}", synced.problems);
    repository
}

/// Fills a catalogue of paths with all snapshots but the last, and tells how long that one takes.
fn catalogue(folder: &Path) {
    let repository = opened(folder);
    let all = repository.snapshots().expect("snapshots").confirmed;
    let own = folder.join("catalogue");
    let catalogue = Catalogue::open(&own, &repository.id(), true).expect("catalogue").expect("one is made");
    let stop = AtomicBool::new(false);
    let (_, before) = all.split_last().expect("snapshots");
    fill(&repository, &catalogue, before, &stop, &mut |_| {}).expect("fill");
    let began = Instant::now();
    let filled = fill(&repository, &catalogue, &all, &stop, &mut |_| {}).expect("fill");
    let took = began.elapsed().as_secs_f64();
    println!(
        "  one more: {took:.3} s, {} folders read; {} bytes in all",
        filled.folders,
        catalogue.bytes().expect("bytes")
    );
    std::fs::remove_dir_all(own).expect("remove");
}

/// What a process took.
struct Took {
    wall: f64,
    cpu: f64,
    mebibytes: i64,
}

/// Runs a command to its end. Peak memory is the child's own: this process stays small, since between fork and exec it counts as the child's.
fn run(command: &mut Command) -> Took {
    let start = Instant::now();
    #[expect(clippy::zombie_processes, reason = "wait4 below waits for it, and tells what it took")]
    let child = command.stdin(Stdio::null()).spawn().expect("spawn");
    let mut status = 0;
    // SAFETY: a struct of numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live until it returns. The child is waited for here alone.
    let waited = unsafe { libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage) };
    let wall = start.elapsed().as_secs_f64();
    assert!(waited > 0 && status == 0, "{command:?} ended with status {status:#x}");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Took { wall, cpu, mebibytes: usage.ru_maxrss >> 10 }
}

/// This program again, with these words.
fn own(words: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(words).arg(folder);
    command
}

/// The program, with a word and options behind it.
fn copal(words: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
    command.args(words).arg("-r").arg(folder.join("repository"));
    command.arg("--key-file").arg(folder.join("key")).arg("--cache-dir").arg(folder.join("cache"));
    let said = OpenOptions::new().create(true).append(true).open(folder.join("said")).expect("a file");
    command.stdout(if words.contains(&"snapshots") { Stdio::null() } else { said.into() });
    command
}

fn show(name: &str, took: &Took) {
    println!("{name:<40} {:>8.2} {:>8.2} {:>8}", took.wall, took.cpu, took.mebibytes);
}

fn measure(parent: &Path, chunks: u64, is_kept: bool) {
    let folder = parent.join(format!("copal-prune-bench-{chunks}"));
    println!("{:<40} {:>8} {:>8} {:>8}", format!("{chunks} chunks"), "wall s", "CPU s", "peak MiB");
    if !folder.join("made").exists() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("folder");
        show("making it", &run(&mut own(&["make", &chunks.to_string()], &folder)));
    }
    let _ = std::fs::remove_dir_all(folder.join("cache"));
    let _ = std::fs::remove_file(folder.join("said"));
    show("first synchronisation", &run(&mut own(&["sync"], &folder)));
    show("second synchronisation", &run(&mut own(&["sync"], &folder)));
    let commands: [&[&str]; 10] = [
        &["snapshots"],
        &["forget", "--dry-run", "--keep-last", "100", "-q"],
        &["check"],
        &["prune", "--dry-run", "--grace", "0"],
        // The first question fills the catalogue of paths.
        &["versions", "-q", "document 00000007.txt"],
        &["versions", "-q", "document 00000007.txt"],
        &["versions", "-q", "--no-catalogue", "/part 0000/folder 000000/document 00000007.txt"],
        &["find", "-q", "document 0000000"],
        &["find", "-q", "no such name"],
        &["stats"],
    ];
    for words in commands {
        show(&words.join(" "), &run(&mut copal(words, &folder)));
    }
    show("filling a catalogue, and then one more", &run(&mut own(&["catalogue"], &folder)));
    print!("\n{}", std::fs::read_to_string(folder.join("said")).expect("what was said"));
    if !is_kept {
        std::fs::remove_dir_all(&folder).expect("remove");
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", chunks, folder] => make(Path::new(folder), chunks.parse().expect("a number")),
        ["sync", folder] => sync(Path::new(folder)),
        ["catalogue", folder] => catalogue(Path::new(folder)),
        sizes => {
            let kept = std::env::var_os("COPAL_BENCH_DIR").map(PathBuf::from);
            let parent = kept.clone().unwrap_or_else(std::env::temp_dir);
            let mut sizes: Vec<u64> = sizes.iter().filter_map(|word| word.parse().ok()).collect();
            if sizes.is_empty() {
                sizes.push(CHUNKS);
            }
            sizes.into_iter().for_each(|chunks| measure(&parent, chunks, kept.is_some()));
        }
    }
}
