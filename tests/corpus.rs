//! Every input that fuzzing kept (`fixtures/fuzz`, tests/fuzz/README.md) through the same entry points: no panic, no more memory than the input
//! justifies.

#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/mutations.rs"]
mod mutations;
#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memory::peak_of;
use mutations::mutate;
use targets::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Bytes that all kept inputs may take together.
const CORPUS_BYTES: u64 = 500_000;
/// Memory for each byte of input, and for any input; as in tests/hostile/decoders.rs, twice, since each is read, written and read again.
const FACTOR: usize = 1024;
const SLACK: usize = 1 << 20;
/// Targets whose memory has nothing to do with the input's length: whole repositories, the command line, compiled patterns, and what may
/// say that it is long before it comes: compressed payloads, up to `SMALL_MAX`, and what stands before an entry of an archive, up to 8 MiB.
const LARGE: [&str; 6] = ["repository", "arguments", "patterns", "ignore", "small", "tar"];

/// Changed inputs of each target when nothing else is said.
const ROUNDS: u64 = 300;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz").join(target.name)
}

/// The kept inputs of a target, in order of their names.
fn kept(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("{}: {error}", target.name));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

fn run(target: &Target, what: &dyn Display, bytes: &[u8]) -> bool {
    let result = std::panic::catch_unwind(|| peak_of(|| (target.run)(bytes)));
    let (accepted, peak) = result.unwrap_or_else(|_| panic!("{} panics on {what}", target.name));
    let most = bytes.len() * FACTOR + SLACK;
    assert!(
        peak <= most || LARGE.contains(&target.name),
        "{}: {peak} bytes of memory for {} bytes of {what}",
        target.name,
        bytes.len()
    );
    accepted
}

#[test]
fn seeds_are_accepted() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let accepted = seeds
            .iter()
            .enumerate()
            .filter(|(number, seed)| run(target, &format_args!("seed {number}"), seed));
        assert!(accepted.count() * 2 >= seeds.len(), "{}: most valid inputs are refused", target.name);
    }
}

#[test]
fn kept_inputs_break_nothing() {
    let mut all = 0;
    for target in TARGETS {
        let (mut accepted, mut refused) = (0, 0);
        for (path, bytes) in kept(target) {
            all += bytes.len() as u64;
            match run(target, &path.display(), &bytes) {
                true => accepted += 1,
                false => refused += 1,
            }
        }
        assert!(accepted > 0 && refused > 0, "{}: {accepted} accepted, {refused} refused", target.name);
    }
    assert!(all <= CORPUS_BYTES, "{all} bytes are too many to keep");
}

#[test]
fn every_target_has_a_program_and_no_folder_is_forgotten() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let manifest = include_str!("fuzz/Cargo.toml");
    let programs: Vec<&str> =
        manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|text| text.split('"').next()).collect();
    assert_eq!(programs, names);
    let mut folders: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, names);
}

/// Changed inputs, by chance and not by what they reach: some of each target; for longer where the environment says how many seconds each
/// target takes, from a seed that it says too: `COPAL_FUZZ_SECONDS=60 COPAL_FUZZ_SEED=1 cargo test --release --test corpus changed`
#[test]
fn changed_inputs_break_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("COPAL_FUZZ_SECONDS");
    let begin = number("COPAL_FUZZ_SEED").unwrap_or_default() << 32;
    for target in TARGETS {
        let mut inputs = (target.seeds)();
        inputs.extend(kept(target).into_iter().map(|(_, bytes)| bytes));
        let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(3600));
        let rounds = if seconds.is_some() { u64::MAX } else { ROUNDS };
        let mut refused = 0;
        for round in 0..rounds {
            let seed = begin + round;
            let input = &inputs[seed as usize % inputs.len()];
            let other = &inputs[(seed / 7) as usize % inputs.len()];
            let changed = mutate(input, other, seed);
            refused += u64::from(!run(target, &format_args!("seed {seed:#x}: {changed:02x?}"), &changed));
            if Instant::now() >= end {
                break;
            }
        }
        assert!(refused > 0, "{}: nothing is refused", target.name);
    }
}

/// Writes the seeds into a folder, one for each target: what fuzzing begins with. `COPAL_FUZZ_SEEDS=FOLDER cargo test --test corpus seeds`
#[test]
fn seeds_are_written_where_the_environment_says() {
    let Some(folder) = std::env::var_os("COPAL_FUZZ_SEEDS").map(PathBuf::from) else { return };
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
