//! Every input that fuzzing kept (`fixtures/fuzz`, tests/fuzz/README.md) through the same entry points: no panic, no more memory than the input
//! justifies.

#[path = "hostile/memory.rs"]
mod memory;
#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use memory::peak_of;
use targets::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Bytes that all kept inputs may take together.
const CORPUS_BYTES: u64 = 500_000;
/// Memory for each byte of input, and for any input; as in tests/hostile/decoders.rs, twice, since each is read, written and read again.
const FACTOR: usize = 1024;
const SLACK: usize = 1 << 20;
/// Targets that open whole repositories, read the command line or compile patterns: what these take has nothing to do with the input.
const LARGE: [&str; 4] = ["repository", "arguments", "patterns", "ignore"];

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

fn run(target: &Target, what: &str, bytes: &[u8]) -> bool {
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
        let accepted =
            seeds.iter().enumerate().filter(|(number, seed)| run(target, &format!("seed {number}"), seed));
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
            match run(target, &path.display().to_string(), &bytes) {
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
