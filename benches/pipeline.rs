//! Whole backups: `cargo bench --bench pipeline -- FOLDER [memory|local] [LEVEL] [AVERAGE]` (without words: `/usr/lib`, `memory`, 3, and
//! the default for the average chunk, such as `256K`). Each of three rounds begins with an empty repository, in memory or in a folder below
//! `COPAL_BENCH_DIR` (or the temporary folder), and an empty cache in memory: a first backup, one of the same again, and a check that
//! reads every byte. FOLDER is read once before.
//!
//! MB/s are millions of bytes of the source by seconds on the clock; a core of the processor each second is 1.0 in `cores`.

mod material;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use copal::backend::{Backend, Kind, Local, Memory};
use copal::backup::{Options, Outcome, backup};
use copal::check::{Reading, check};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::format::limits::PACK_TARGET;
use copal::format::slot::{Description, Unlock};
use copal::model::Cutter;
use copal::model::clock::SystemClock;
use copal::progress::Silent;
use copal::repository::{Creation, Repository, create, open};
use material::{Spent, process};

const ROUNDS: usize = 3;

fn empty(backend: &dyn Backend, key: &MasterKey, cutter: Cutter) {
    let creation = Creation {
        unlock: Unlock::KeyFile(key),
        cost: Default::default(),
        cutter,
        pack_target: PACK_TARGET,
        description: Description::default(),
    };
    create(backend, &creation, &SystemClock).expect("create");
}

fn back_up(repository: &Repository, source: &Path, level: Level) -> Outcome {
    let options = Options {
        sources: vec![source.as_os_str().as_bytes().to_vec()],
        host: b"bench".to_vec(),
        user: b"bench".to_vec(),
        level,
        // Files that were just made are taken over too: what is measured here is not how old they are.
        racy_seconds: 0,
        ..Options::default()
    };
    backup(repository, &options, &SystemClock, &Silent, &AtomicBool::new(false)).expect("backup")
}

fn show(name: &str, bytes: u64, spent: Spent, stored: u64) {
    println!(
        "{name:<22} {:>8.2} {:>8.2} {:>8.0} {:>7.2} {:>9.1}",
        spent.wall,
        spent.cpu,
        bytes as f64 / 1e6 / spent.wall,
        spent.cpu / spent.wall,
        stored as f64 / 1e6
    );
}

fn stored(backend: &dyn Backend) -> u64 {
    let mut bytes = 0;
    for kind in Kind::ALL {
        backend.list(kind, &mut |entry| bytes += entry.size).expect("list");
    }
    bytes
}

fn round(source: &Path, backend: Box<dyn Backend>, look: &dyn Backend, level: Level, cutter: Cutter) {
    let key = MasterKey::from_bytes([7; 32]);
    empty(look, &key, cutter);
    let repository = open(backend, Unlock::KeyFile(&key), None).expect("open");
    let (first, spent) = process(|| back_up(&repository, source, level));
    let bytes = first.snapshot.summary.bytes;
    show("first backup", bytes, spent, stored(look));
    let (_, spent) = process(|| back_up(&repository, source, level));
    show("nothing changed", bytes, spent, stored(look));
    let synced = repository.sync().expect("sync");
    let (report, spent) = process(|| {
        let stop = AtomicBool::new(false);
        check(&repository, &synced, Reading::Everything, &SystemClock, &Silent, &stop).expect("check")
    });
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    show("check, reading all", bytes, spent, stored(look));
}

fn main() {
    let (paths, words) = material::arguments();
    let source = paths.first().cloned().unwrap_or_else(|| PathBuf::from("/usr/lib"));
    let source = source.canonicalize().expect("the folder");
    let level = words.iter().find_map(|word| Level::parse(word)).unwrap_or(Level::AUTO);
    let kib = words.iter().find_map(|word| word.strip_suffix('K')?.parse::<u32>().ok());
    let cutter = kib.map_or_else(Cutter::default, |kib| Cutter::gear(kib << 10));
    material::read(&source, usize::MAX);
    println!("{:<22} {:>8} {:>8} {:>8} {:>7} {:>9}", "", "wall s", "CPU s", "MB/s", "cores", "stored MB");
    for _ in 0..ROUNDS {
        if words.iter().any(|word| word == "local") {
            let parent = std::env::var_os("COPAL_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
            let folder = parent.join(format!("copal-pipeline-bench-{}", std::process::id()));
            let backend = Local::new(&folder);
            round(&source, Box::new(Local::new(&folder)), &backend, level, cutter);
            std::fs::remove_dir_all(&folder).expect("remove");
        } else {
            let backend = Memory::new();
            round(&source, Box::new(backend.clone()), &backend, level, cutter);
        }
    }
}
