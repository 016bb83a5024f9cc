//! The stages of a backup and a restore, each alone in one thread: `cargo bench --bench stages -- FOLDER` (without one: `/usr/lib`).
//!
//! Data: FOLDER's files in order of their paths, 256 MB of them, and 256 MB that do not compress. MB/s are millions of bytes of plain data by
//! seconds of processor time (by the clock in the last column), the best of three rounds. Everything is in memory, but for `scan`
//! (names and metadata of all of FOLDER, warm) and `read` (warm).

mod material;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use copal::backup::chunk::Chunker;
use copal::compress::{Blocks, Level, looks_random};
use copal::crypto::Hasher;
use copal::files;
use copal::format::pack::PackKey;
use copal::format::parity::{self, Shape};
use copal::model::{Contents, Cutter, Id, Id16, NodeType};
use material::{Spent, blocks, keys, noise, read, thread};

const SAMPLE: usize = 256_000_000;
const BLOCK: usize = 1 << 20;
const ROUNDS: usize = 3;
const LEVELS: [i32; 7] = [1, 2, 3, 4, 6, 9, 19];

/// Best of the rounds; `work` gives the bytes it worked on.
fn measure(name: &str, note: &str, mut work: impl FnMut() -> usize) {
    let rounds: Vec<(usize, Spent)> = (0..ROUNDS).map(|_| thread(&mut work)).collect();
    let best = |time: fn(&Spent) -> f64| {
        rounds.iter().map(|(bytes, spent)| *bytes as f64 / 1e6 / time(spent)).fold(0.0, f64::max)
    };
    println!("{name:<34} {:>9.0} {:>9.0}  {note}", best(|spent| spent.cpu), best(|spent| spent.wall));
}

fn total(parts: &[Vec<u8>]) -> usize {
    parts.iter().map(Vec::len).sum()
}

/// Every entry's name and metadata; gives entries and bytes of files.
fn scan(folder: &Path) -> (usize, u64) {
    let (mut entries, mut bytes) = (0, 0);
    let mut stack: Vec<OwnedFd> = files::open_root(folder).into_iter().collect();
    while let Some(directory) = stack.pop() {
        let Ok(names) = files::names(directory.as_fd()) else { continue };
        for name in names.iter() {
            let Ok(stat) = files::stat(directory.as_fd(), name.bytes) else { continue };
            entries += 1;
            bytes += if stat.kind == NodeType::File { stat.size } else { 0 };
            if stat.kind == NodeType::Directory {
                stack.extend(files::open_directory(directory.as_fd(), name.bytes));
            }
        }
    }
    (entries, bytes)
}

fn cut(chunker: &Chunker, files: &[Vec<u8>]) -> usize {
    let mut chunks = 0;
    for file in files {
        let mut rest = &file[..];
        while !rest.is_empty() {
            rest = &rest[chunker.cut(rest)..];
            chunks += 1;
        }
    }
    std::hint::black_box(chunks)
}

fn compressed(parts: &[Vec<u8>], level: i32) -> Vec<Vec<u8>> {
    let mut context = Blocks::new(Level::Zstd(level)).expect("zstd");
    parts
        .iter()
        .map(|part| {
            let mut out = Vec::new();
            context.compress(part, &mut out).expect("compress");
            out
        })
        .collect()
}

/// Recovery data of packs, and packs brought back by it with as much lost as may be.
fn parity(bytes: &[u8]) {
    const PACK: usize = 16 << 20;
    let packs: Vec<(Id, &[u8])> =
        bytes.chunks_exact(PACK).map(|pack| (copal::crypto::object_name(pack), pack)).collect();
    let all = packs.len() * PACK;
    for per_mille in [10, 50, 100, 1000] {
        let shape = Shape::new(PACK as u64, per_mille).expect("a rate");
        let make = |(name, pack): &(Id, &[u8])| {
            parity::encode(Id16::default(), name, pack, &shape).expect("recovery data")
        };
        let percent = f64::from(per_mille) / 10.0;
        let note = format!("{} of {} parts, packs of 16 MiB", shape.recovery(), shape.originals());
        measure(&format!("recovery data, {percent} %"), &note, || {
            packs.iter().for_each(|pack| {
                std::hint::black_box(make(pack));
            });
            all
        });
        let (name, pack) = &packs[0];
        let object = make(&packs[0]);
        let mut damaged = pack.to_vec();
        let step = shape.originals() / shape.recovery();
        (0..shape.recovery()).for_each(|number| damaged[number * step * (PACK / shape.originals())] ^= 1);
        measure(&format!("bring back, {percent} % lost"), "by bytes of the pack", || {
            let found = parity::find(&object, name).expect("pieces");
            assert!(found.recover(name, damaged.clone()).as_deref() == Ok(*pack));
            PACK
        });
    }
}

fn main() {
    let (paths, _) = material::arguments();
    let folder = paths.first().cloned().unwrap_or_else(|| PathBuf::from("/usr/lib"));
    let files = read(&folder, SAMPLE);
    let parts = blocks(&files, BLOCK);
    let (text, random) = (vec![parts.concat()], vec![noise(SAMPLE)]);
    let keys = keys();
    println!("{:<34} {:>9} {:>9}", "stage", "MB/s CPU", "by clock");

    let mut entries = 0;
    scan(&folder);
    let (_, spent) = thread(|| entries = scan(&folder).0);
    measure("scan", &format!("{:.0} entries/s", entries as f64 / spent.cpu), || scan(&folder).1 as usize);
    let bytes = total(&files);
    measure("read", "each file into memory", || {
        let files = read(&folder, SAMPLE);
        total(&files)
    });
    for average in [16, 64, 256, 1024] {
        let chunker = Chunker::new(keys.gear_table(), Cutter::gear(average << 10));
        let note = format!("{} chunks", cut(&chunker, &random));
        measure(&format!("chunk, average {average} KiB"), &note, || {
            cut(&chunker, &random);
            SAMPLE
        });
    }
    let chunker = Chunker::new(keys.gear_table(), Cutter::default());
    measure("chunk, the folder as one file", &format!("{} chunks", cut(&chunker, &text)), || {
        cut(&chunker, &text);
        bytes
    });
    measure("chunk, file by file", &format!("{} chunks", cut(&chunker, &files)), || {
        cut(&chunker, &files);
        bytes
    });
    let hasher = Hasher::new(&keys);
    measure("hash, 256 KiB", "BLAKE3, keyed", || {
        text[0].chunks(256 << 10).for_each(|chunk| {
            std::hint::black_box(hasher.id(Contents::Data, chunk));
        });
        bytes
    });
    measure("hash, file by file", &format!("{} files", files.len()), || {
        files.iter().for_each(|file| {
            std::hint::black_box(hasher.id(Contents::Data, file));
        });
        bytes
    });
    measure("is it worth compressing", "a sample of each block", || {
        std::hint::black_box(parts.iter().filter(|part| looks_random(part)).count());
        bytes
    });
    for level in LEVELS {
        // The slow ones need not see everything.
        let some = if level > 9 { &parts[..parts.len().min(32)] } else { &parts[..] };
        let stored = total(&compressed(some, level));
        let note = format!("{:.3} of the plain bytes", stored as f64 / total(some) as f64);
        measure(&format!("compress, level {level}"), &note, || {
            std::hint::black_box(compressed(some, level));
            total(some)
        });
    }
    let incompressible = blocks(&random, BLOCK);
    measure("compress, level 3, random bytes", "where the sample did not tell", || {
        std::hint::black_box(compressed(&incompressible, 3));
        SAMPLE
    });
    parity(&random[0]);
    let key = PackKey::new(&keys, Contents::Data, &[5; 32]);
    let mut sealed: Vec<Vec<u8>> = parts.clone();
    measure("seal", "ChaCha20-Poly1305, plain blocks", || {
        sealed.iter_mut().zip(0..).for_each(|(block, number)| {
            // The tag of the round before goes: only the time counts here.
            block.truncate(BLOCK);
            key.seal_block(number, block).expect("seal");
        });
        bytes
    });
    let mut stored = compressed(&parts, 3);
    // What did not get smaller is stored as it is.
    let plain_at: Vec<bool> = stored.iter().map(Vec::is_empty).collect();
    for (block, part) in stored.iter_mut().zip(&parts).filter(|(block, _)| block.is_empty()) {
        block.extend_from_slice(part);
    }
    stored.iter_mut().zip(0..).for_each(|(block, number)| key.seal_block(number, block).expect("seal"));
    let (mut context, mut plain) = (Blocks::new(Level::Off).expect("zstd"), Vec::new());
    measure("open, decompress", "blocks of level 3, by plain bytes", || {
        for ((block, part), number) in stored.iter().zip(&parts).zip(0..) {
            let mut block = block.clone();
            key.open_block(number, &mut block).expect("open");
            if !plain_at[number as usize] {
                context.decompress(&block, part.len(), &mut plain).expect("decompress");
            }
        }
        bytes
    });
}
