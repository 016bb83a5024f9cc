//! `check --read-data` beside reading alone: `cargo bench --bench check -- FOLDER [ROUNDS]` (three rounds unless said), of a new repository
//! with one snapshot of FOLDER, by a key file. The aim: not more than reading the packs takes and a fifth of that.
//!
//! Everything is warm: source and repository were read just before, and nothing is dropped from the page cache, so reading is as fast as it
//! gets and the aim as hard. In each round, one after the other: `cat` of all packs in one thread; the same on all cores; the same
//! with the hash of each pack, which is its name and which no check of all bytes can do without; the program. Wall seconds of each round,
//! their median, and the median of what each takes in a round of what `cat` does in it. The key file costs the program nothing, a password
//! costs half a second more. Needs room for the repository in $TMPDIR, or /var/tmp. For a machine that does nothing else.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rayon::prelude::*;

/// Bytes that are read at a time, as `cat` does.
const PIECE: usize = 128 << 10;
/// What a check may take of what reading takes.
const AIM: f64 = 1.2;

/// Reads a pack to its end; `each` is given its pieces.
fn read(path: &Path, mut each: impl FnMut(&[u8])) -> u64 {
    let mut file = File::open(path).expect("a pack can be opened");
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        match file.read(&mut piece).expect("a pack can be read") {
            0 => return bytes,
            length => {
                each(&piece[..length]);
                bytes += length as u64;
            }
        }
    }
}

/// Reads a pack wholly, and holds it to its name.
fn prove(path: &Path) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let bytes = read(path, |piece| {
        hasher.update(piece);
    });
    let name = path.file_name().and_then(|name| name.to_str()).expect("a pack has a name");
    assert_eq!(hasher.finalize().to_hex().as_str(), name, "a pack is not what its name says");
    bytes
}

/// The program with a home of its own.
fn copal(home: &Path, words: &[&std::ffi::OsStr]) {
    let status = Command::new(env!("CARGO_BIN_EXE_copal"))
        .args(words)
        .env("HOME", home)
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("COPAL_REPOSITORY", home.join("repository"))
        .env("COPAL_KEY_FILE", home.join("key"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("copal can be started");
    assert!(status.success(), "copal {words:?} ended with {status}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A way to read, and whoever goes it; gives the bytes read, where it knows.
type Way<'w> = (&'static str, &'w dyn Fn() -> Option<u64>);

fn main() {
    let words: Vec<_> = std::env::args_os().skip(1).filter(|word| word != "--bench").collect();
    let Some(source) = words.first().map(PathBuf::from) else {
        return eprintln!("cargo bench --bench check -- FOLDER [ROUNDS]");
    };
    let rounds = words.get(1).and_then(|word| word.to_str()?.parse().ok()).unwrap_or(3);
    let place = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let home = tempfile::Builder::new().prefix("copal-bench-check-").tempdir_in(place).expect("a folder");
    let home = home.path();
    copal(home, &["init".as_ref(), "-q".as_ref()]);
    copal(home, &["backup".as_ref(), "-q".as_ref(), source.as_os_str()]);
    let mut packs: Vec<PathBuf> = walkdir::WalkDir::new(home.join("repository/packs"))
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    packs.sort();
    let one = || Some(packs.iter().map(|pack| read(pack, |_| ())).sum::<u64>());
    let all = || Some(packs.par_iter().map(|pack| read(pack, |_| ())).sum::<u64>());
    let hashed = || Some(packs.par_iter().map(|pack| prove(pack)).sum::<u64>());
    let checked = || {
        copal(home, &["check".as_ref(), "-q".as_ref(), "--read-data".as_ref()]);
        None
    };
    let ways: [Way<'_>; 4] = [
        ("read, one thread", &one),
        ("read, all cores", &all),
        ("read and hashed, all cores", &hashed),
        ("copal check --read-data", &checked),
    ];
    let bytes = one().unwrap_or_default();
    println!("{} packs, {:.1} MB, {} cores", packs.len(), bytes as f64 / 1e6, rayon::current_num_threads());
    // Warm, and what a new repository's first check does once is done.
    checked();
    let mut spent = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for ((_, way), spent) in ways.iter().zip(&mut spent) {
            let begin = Instant::now();
            let read = way();
            spent.push(begin.elapsed().as_secs_f64());
            assert!(read.is_none_or(|read| read == bytes), "not all was read");
        }
    }
    let cat = spent[0].clone();
    for ((name, _), spent) in ways.iter().zip(&spent) {
        let each: Vec<String> = spent.iter().map(|seconds| format!("{seconds:.3}")).collect();
        let ratio = median(spent.iter().zip(&cat).map(|(spent, cat)| spent / cat).collect());
        println!("{name:<28} {:>7.3} s  {ratio:>6.2}   ({})", median(spent.clone()), each.join(", "));
    }
    let ratio = median(spent[3].iter().zip(&cat).map(|(spent, cat)| spent / cat).collect());
    let reached = if ratio <= AIM { "reached" } else { "not reached" };
    println!("the aim, at most {AIM} of what reading in one thread takes: {reached}");
}
