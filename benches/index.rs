//! The index at stated sizes: `cargo bench --bench index -- 1000000 10000000` (numbers of chunks; without any 1, 10 and 50 million,
//! which take some minutes and 5 GB). Synthetic packs of 16 blocks of 4 chunks; ids are hashes of a counter, so look-ups fall
//! anywhere. The file lies below `COPAL_BENCH_DIR` or the temporary folder.
//!
//! Columns: loading = rows/s when index objects are taken in, `SYNC_CHUNKS` a transaction; in a run = rows/s of packs of this run
//! on top of that (`PENDING_MAX` a transaction); hits and misses = look-ups/s with 1 and with 4 threads, of random known and
//! unknown chunks; loading, hits and misses (1 thread) by processor time too, which a busy machine changes less; bytes a chunk = size of
//! the whole file (packs and blocks too, without their plain directories) by chunks.
//!
//! For a pruner: gathered = used chunks/s that are added, each chunk three times in three orders, and merged at the end; joined = used
//! chunks/s that are told with their places, both by processor time too; MiB = the most memory that each took on top of what the process
//! had (the lists lie below `COPAL_BENCH_DIR` too).

mod material;

use std::path::{Path, PathBuf};
use std::time::Instant;

use copal::index::{BlockRecord, Gather, Index, PENDING_MAX, PackRecord, SYNC_CHUNKS};
use copal::model::{Contents, Id, Id16};

const BLOCKS: u64 = 16;
const CHUNKS: u64 = 4;
const PACK_CHUNKS: u64 = BLOCKS * CHUNKS;
const CHUNK: u32 = 262_144;
/// What is measured when nothing else is asked for.
const SIZES: [u64; 3] = [1_000_000, 10_000_000, 50_000_000];
/// Look-ups measured in each thread.
const LOOKUPS: u64 = 200_000;

fn id(kind: u8, number: u64) -> Id {
    let mut bytes = [kind; 9];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Id(*blake3::hash(&bytes).as_bytes())
}

fn pack(number: u64) -> PackRecord {
    let block = |block: u64| BlockRecord {
        codec: 1,
        offset: 96 + block * 900_000,
        stored: 900_000,
        plain: CHUNK * CHUNKS as u32,
        chunks: (0..CHUNKS)
            .map(|chunk| (id(0, number * PACK_CHUNKS + block * CHUNKS + chunk), CHUNK))
            .collect(),
    };
    PackRecord {
        writer: 0,
        name: id(1, number),
        length: 16 << 20,
        contents: Contents::Data,
        salt: id(2, number).0,
        commitment: id(3, number).0,
        directory_offset: 15 << 20,
        directory_length: 2400,
        directory: Vec::new(),
        blocks: (0..BLOCKS).map(block).collect(),
    }
}

/// Look-ups per second, all threads together: by the clock, and by processor time.
fn lookups(index: &Index, threads: u64, kind: u8, chunks: u64) -> (f64, f64) {
    let work = || {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let mut random = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(thread + 1);
                    for _ in 0..LOOKUPS {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let found =
                            index.contains(Contents::Data, &id(kind, random % chunks)).expect("look-up");
                        assert_eq!(found, kind == 0);
                    }
                });
            }
        })
    };
    let ((), spent) = material::process(work);
    let count = (threads * LOOKUPS) as f64;
    (count / spent.wall, count / spent.cpu)
}

/// The most memory that this process had since the last call, MiB. What is free goes back to the system, so that it counts again when
/// it is used again.
fn memory() -> u64 {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    std::fs::write("/proc/self/clear_refs", "5").expect("clear_refs");
    most.trim_end_matches("kB").trim().parse::<u64>().expect("a number") >> 10
}

/// Chunks gathered and joined each second, by the clock and by processor time, and the most memory in each.
fn usage(index: &Index, parent: &Path, chunks: u64) -> [u64; 6] {
    // Steps that have no factor in common with the number go through all.
    let common = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut steps = [chunks / 5 * 2, chunks / 7 * 4, chunks / 11 * 3];
    steps.iter_mut().for_each(|step| {
        while common(*step, chunks) != 1 {
            *step += 1;
        }
    });
    memory();
    let before = memory();
    let mut gather = Gather::new(Some(parent)).expect("gather");
    let (mut wall, mut cpu, mut at, mut some) = (0.0, 0.0, [0; 3], Vec::new());
    for number in 0..chunks {
        for (at, step) in at.iter_mut().zip(steps) {
            some.push(id(0, *at));
            *at = (*at + step) % chunks;
        }
        if some.len() >= 30_000 || number + 1 == chunks {
            let adding = || some.drain(..).for_each(|id| gather.add(Contents::Data, &id).expect("add"));
            let ((), spent) = material::process(adding);
            (wall, cpu) = (wall + spent.wall, cpu + spent.cpu);
        }
    }
    let (used, spent) = material::process(|| gather.finish().expect("finish"));
    (wall, cpu) = (wall + spent.wall, cpu + spent.cpu);
    assert_eq!(used.len(), chunks);
    let gathering = memory().saturating_sub(before);
    let before = memory();
    let mut places = 0;
    let mut each = |_, found: &[_]| {
        places += found.len() as u64;
        Ok::<(), copal::index::Error>(())
    };
    let ((), spent) = material::process(|| index.each_used(&used, &mut each).expect("join"));
    assert_eq!(places, chunks);
    let count = chunks as f64;
    let rates = [3.0 * count / wall, 3.0 * count / cpu, count / spent.wall, count / spent.cpu];
    let [gathered, gathered_cpu, joined, joined_cpu] = rates.map(|rate| rate as u64);
    [gathered, gathered_cpu, gathering, joined, joined_cpu, memory().saturating_sub(before)]
}

fn measure(chunks: u64) {
    let parent = std::env::var_os("COPAL_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("copal-index-bench-{}", std::process::id()));
    let (index, _) = Index::open(&folder, Id16([1; 16])).expect("open");
    let (packs, batch) = (chunks.div_ceil(PACK_CHUNKS), SYNC_CHUNKS as u64 / PACK_CHUNKS);
    let (mut first, mut wall, mut cpu) = (0, 0.0, 0.0);
    while first < packs {
        let records: Vec<PackRecord> = (first..packs.min(first + batch)).map(pack).collect();
        let ((), spent) = material::process(|| index.add_packs(Some(id(4, first)), &records).expect("load"));
        (wall, cpu) = (wall + spent.wall, cpu + spent.cpu);
        first += batch;
    }
    let loading = (packs * PACK_CHUNKS) as f64 / wall;
    let loading_cpu = (packs * PACK_CHUNKS) as f64 / cpu;
    let bytes = index.database_bytes().expect("size") as f64 / (packs * PACK_CHUNKS) as f64;
    let hit = [lookups(&index, 1, 0, chunks), lookups(&index, 4, 0, chunks)];
    let miss = [lookups(&index, 1, 9, chunks), lookups(&index, 4, 9, chunks)];
    let usage = usage(&index, &parent, chunks);
    let more = 2 * PENDING_MAX as u64 / PACK_CHUNKS;
    let records: Vec<PackRecord> = (packs..packs + more).map(pack).collect();
    let start = Instant::now();
    records.chunks(4).for_each(|some| index.add_packs(None, some).expect("run"));
    index.flush().expect("flush");
    let run = (more * PACK_CHUNKS) as f64 / start.elapsed().as_secs_f64();
    println!(
        "{chunks:>11} {loading:>11.0} {run:>11.0} {:>11.0} {:>11.0} {:>11.0} {:>11.0} {loading_cpu:>11.0} {:>11.0} {:>11.0} {bytes:>11.1} {}",
        hit[0].0,
        hit[1].0,
        miss[0].0,
        miss[1].0,
        hit[0].1,
        miss[0].1,
        usage.map(|number| format!("{number:>11}")).join(" ")
    );
    drop(index);
    std::fs::remove_dir_all(&folder).expect("remove");
}

fn main() {
    let mut sizes: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes.extend(SIZES);
    }
    let columns = ["chunks", "loading/s", "in a run/s", "hits/s 1", "hits/s 4", "misses/s 1", "misses/s 4"];
    let by_cpu = ["loading CPU", "hits CPU", "misses CPU", "bytes/chunk"];
    let pruner = ["gathered/s", "by CPU", "MiB", "joined/s", "by CPU", "MiB"];
    println!(
        "{}",
        columns
            .iter()
            .chain(&by_cpu)
            .chain(&pruner)
            .map(|name| format!("{name:>11}"))
            .collect::<Vec<_>>()
            .join(" ")
    );
    sizes.into_iter().for_each(measure);
}
