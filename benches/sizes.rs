//! Which sizes are worth it, on the data of `benches/peers/data`: `cargo bench --bench sizes -- chunks` prints the tables of
//! docs/decisions/0002, `cargo bench --bench sizes -- blocks` those of 0003. A path among the words is the folder that holds `linux`,
//! `mixed` and `image`; without one: `/var/tmp/copal-bench/data`.
//!
//! `chunks`: two versions of the same thing are cut, hashed and deduplicated; new chunks fill blocks in order, compressed at level 3
//! unless they look random. Rows are cutters (minimum, average, maximum). first: what the first version stores; more: what the
//! second adds, plain and stored; chunks of both; stored for both, with 47 bytes a chunk for the local index beside it.
//! `blocks`: one version of everything, cut at 256 KiB on average: what is stored, MB/s of compressing and of decompressing with one core, by
//! plain bytes and processor time, and the time to give one chunk out of a block that is not at hand (open and decompress).

mod material;

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use copal::backup::chunk::Chunker;
use copal::compress::{Blocks, Level, looks_random};
use copal::crypto::Hasher;
use copal::files::data_runs;
use copal::format::limits::BLOCK_TARGET;
use copal::format::pack::PackKey;
use copal::model::{Contents, Cutter, CutterKind, Id};
use material::{each_file, keys, thread};

const KIB: u32 = 1024;
/// Minimum, average and maximum, in KiB.
const CUTTERS: [(u32, u32, u32); 9] = [
    (4, 16, 64),
    (8, 32, 128),
    (16, 64, 256),
    (32, 128, 512),
    (64, 256, 1024),
    (32, 256, 2048),
    (128, 256, 512),
    (128, 512, 2048),
    (256, 1024, 4096),
];
const PAIRS: [(&str, &str, &str); 6] = [
    ("Linux trees, next series", "linux/point", "linux/next"),
    ("Linux trees, point release", "linux/old", "linux/point"),
    ("disk image, files replaced and added", "image/1/disk.img", "image/2/disk.img"),
    ("database, rows edited", "image/1/store.sqlite", "image/2/store.sqlite"),
    ("tarball, insertion near its start", "image/1/tree.tar", "image/2/tree.tar"),
    ("home folder, a week later", "mixed/1", "mixed/2"),
];
const BLOCK_KIB: [usize; 6] = [128, 256, 512, 1024, 2048, 4096];
const LEVELS: [i32; 9] = [1, 2, 3, 4, 5, 6, 7, 9, 12];
/// Bytes of one index row, measured by `cargo bench --bench index`.
const INDEX_BYTES: f64 = 47.0;

/// Calls `each` with every chunk of every file below a path; holes are left out, as in a backup.
fn each_chunk(path: &Path, chunker: &Chunker, mut each: impl FnMut(&[u8])) {
    let mut bytes = Vec::new();
    each_file(path, |path, size| {
        let Ok(file) = std::fs::File::open(path) else { return };
        for run in data_runs(file.as_fd(), size).filter(|run| !run.is_hole) {
            bytes.resize(run.length as usize, 0);
            file.read_exact_at(&mut bytes, run.offset).expect("read");
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(chunker.cut(rest));
                each(chunk);
                rest = after;
            }
        }
    });
}

/// What became of chunks that were stored.
struct Stored {
    seen: HashSet<Id>,
    /// Compressible chunks, and others.
    blocks: [Vec<u8>; 2],
    context: Blocks,
    room: Vec<u8>,
    plain: u64,
    stored: u64,
}

impl Stored {
    fn new() -> Stored {
        let context = Blocks::new(Level::AUTO).expect("zstd");
        Stored {
            seen: HashSet::new(),
            blocks: Default::default(),
            context,
            room: Vec::new(),
            plain: 0,
            stored: 0,
        }
    }

    fn add(&mut self, id: Id, chunk: &[u8]) {
        if !self.seen.insert(id) {
            return;
        }
        self.plain += chunk.len() as u64;
        let slot = usize::from(looks_random(chunk));
        if !self.blocks[slot].is_empty() && self.blocks[slot].len() + chunk.len() > BLOCK_TARGET {
            self.end(slot);
        }
        self.blocks[slot].extend_from_slice(chunk);
    }

    fn end(&mut self, slot: usize) {
        let block = &self.blocks[slot];
        self.room.clear();
        let smaller = slot == 0 && self.context.compress(block, &mut self.room).expect("compress");
        self.stored += if smaller { self.room.len() } else { block.len() } as u64;
        self.blocks[slot].clear();
    }

    /// Plain and stored bytes since the last time.
    fn take(&mut self) -> (f64, f64) {
        self.end(0);
        self.end(1);
        let taken = (self.plain as f64 / 1e6, self.stored as f64 / 1e6);
        (self.plain, self.stored) = (0, 0);
        taken
    }
}

fn chunks(base: &Path) {
    let keys = keys();
    let hasher = Hasher::new(&keys);
    for (name, one, other) in PAIRS {
        println!("\n{name}\n");
        println!(
            "| min, avg, max KiB | chunks | first, stored MB | more, plain MB | more, stored MB | both MB | index MB |"
        );
        println!("|---|---|---|---|---|---|---|");
        for (minimum, average, maximum) in CUTTERS {
            let cutter = Cutter {
                kind: CutterKind::Gear,
                minimum: minimum * KIB,
                average: average * KIB,
                maximum: maximum * KIB,
            };
            let chunker = Chunker::new(keys.gear_table(), cutter);
            let mut stored = Stored::new();
            let add = |path: &str, stored: &mut Stored| {
                each_chunk(&base.join(path), &chunker, |chunk| {
                    stored.add(hasher.id(Contents::Data, chunk), chunk)
                });
                stored.take()
            };
            let (_, first) = add(one, &mut stored);
            let (plain, more) = add(other, &mut stored);
            let count = stored.seen.len();
            println!(
                "| {minimum}, {average}, {maximum} | {count} | {first:.1} | {plain:.1} | {more:.1} | {:.1} | {:.1} |",
                first + more,
                count as f64 * INDEX_BYTES / 1e6
            );
        }
    }
}

/// What was packed into blocks, once at each size and level.
fn block_row(blocks: &[&[u8]], level: i32) -> String {
    let keys = keys();
    let key = PackKey::new(&keys, Contents::Data, &[5; 32]);
    let plain: usize = blocks.iter().map(|block| block.len()).sum();
    let mut context = Blocks::new(Level::Zstd(level)).expect("zstd");
    let (mut packed, spent) = thread(|| {
        let pack = |block: &&[u8]| {
            let mut out = Vec::new();
            let smaller = context.compress(block, &mut out).expect("compress");
            (if smaller { out } else { block.to_vec() }, smaller)
        };
        blocks.iter().map(pack).collect::<Vec<_>>()
    });
    let stored: usize = packed.iter().map(|(bytes, _)| bytes.len()).sum();
    packed.iter_mut().zip(0..).for_each(|((bytes, _), number)| key.seal_block(number, bytes).expect("seal"));
    let mut out = Vec::new();
    let (_, opening) = thread(|| {
        for (((bytes, smaller), block), number) in packed.iter_mut().zip(blocks).zip(0..) {
            key.open_block(number, bytes).expect("open");
            if *smaller {
                context.decompress(bytes, block.len(), &mut out).expect("decompress");
            }
        }
    });
    format!(
        "{:.1} | {:.3} | {:.0} | {:.0} | {:.2}",
        stored as f64 / 1e6,
        stored as f64 / plain as f64,
        plain as f64 / 1e6 / spent.cpu,
        plain as f64 / 1e6 / opening.cpu,
        opening.cpu * 1e3 / blocks.len() as f64
    )
}

fn blocks(base: &Path) {
    let keys = keys();
    let (hasher, chunker) = (Hasher::new(&keys), Chunker::new(keys.gear_table(), Cutter::gear(256 * KIB)));
    for (name, path) in
        [("Linux tree", "linux/next"), ("home folder", "mixed/1"), ("database", "image/1/store.sqlite")]
    {
        let (mut seen, mut chunks, mut random) = (HashSet::new(), Vec::new(), 0);
        each_chunk(&base.join(path), &chunker, |chunk| {
            if seen.insert(hasher.id(Contents::Data, chunk)) {
                match looks_random(chunk) {
                    true => random += chunk.len(),
                    false => chunks.push(chunk.to_vec()),
                }
            }
        });
        let head = "stored MB | of plain | compress MB/s | open MB/s | ms for one";
        let plain: usize = chunks.iter().map(Vec::len).sum();
        println!(
            "\n{name}, {:.0} MB, and {:.0} MB that look random",
            plain as f64 / 1e6,
            random as f64 / 1e6
        );
        println!("\n| block KiB, level 3 | {head} |\n|---|---|---|---|---|---|");
        let all: Vec<u8> = chunks.concat();
        let lengths: Vec<usize> = chunks.iter().map(Vec::len).collect();
        drop(chunks);
        for kib in BLOCK_KIB {
            println!("| {kib} | {} |", block_row(&filled(&all, &lengths, kib << 10), 3));
        }
        println!("| a chunk alone | {} |", block_row(&filled(&all, &lengths, 1), 3));
        println!("\n| level, blocks of {} KiB | {head} |\n|---|---|---|---|---|---|", BLOCK_TARGET >> 10);
        for level in LEVELS {
            println!("| {level} | {} |", block_row(&filled(&all, &lengths, BLOCK_TARGET), level));
        }
    }
}

/// The blocks that chunks of these lengths fill, as a writer does: no chunk is split.
fn filled<'a>(all: &'a [u8], lengths: &[usize], target: usize) -> Vec<&'a [u8]> {
    let (mut blocks, mut start, mut end) = (Vec::new(), 0, 0);
    for length in lengths {
        if end > start && end - start + length > target {
            blocks.push(&all[start..end]);
            start = end;
        }
        end += length;
    }
    blocks.push(&all[start..end]);
    blocks
}

fn main() {
    let (paths, words) = material::arguments();
    let base = paths.first().cloned().unwrap_or_else(|| PathBuf::from("/var/tmp/copal-bench/data"));
    match words.first().map(String::as_str) {
        Some("chunks") => chunks(&base),
        Some("blocks") => blocks(&base),
        _ => println!("which: chunks or blocks?"),
    }
}
