//! Real processes on one repository at once: four machines back up, two of them with keys that only add, of which one sees what is stored; two prune, one forgets and takes that back, one reads; some are killed.
//! What was reported as saved and was not forgotten comes back exactly.
//!
//! `COPAL_CONCURRENCY_SECONDS` says for how long (40 unless said), `COPAL_CONCURRENCY_SEED` what is done; how the processes meet is the
//! machine's matter.

mod common;
#[allow(dead_code)]
#[path = "simulation/random.rs"]
mod random;
mod sealed;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::{Compare, Ended, Sandbox, below, differences, end_child, noise};
use copal::crypto::Keys;
use random::Random;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const MACHINES: [&str; 4] = ["ann", "bob", "web", "mail"];
/// Those that have write-only keys, and with what else these are made.
const WRITERS: [(&str, &[&str]); 2] = [("web", &[]), ("mail", &["--share-index"])];
/// A file's content is one of so many: what one machine no longer has, the other may still have, or get again.
const CONTENTS: u64 = 24;
/// Each process begins at some moment of this part of a round.
const ROUND: u64 = 160;

/// A snapshot that was reported as saved and is not forgotten: whose it is, and a copy of what was saved.
#[derive(Clone)]
struct Kept {
    source: PathBuf,
    copy: PathBuf,
}

#[derive(Default)]
struct Counts {
    runs: AtomicU64,
    saved: AtomicU64,
    killed: AtomicU64,
    overtaken: AtomicU64,
    forgotten: AtomicU64,
    brought_back: AtomicU64,
    restored: AtomicU64,
    packs_removed: AtomicU64,
    /// Of these, while others were at work: they had begun before the pruner ended.
    packs_waiting: AtomicU64,
}

struct World {
    sandbox: Sandbox,
    memory: tempfile::TempDir,
    keys: Keys,
    kept: Mutex<BTreeMap<String, Kept>>,
    log: Mutex<Vec<String>>,
    counts: Counts,
    began: Instant,
}

impl World {
    fn new() -> World {
        // Syncs of a disk would take most of the time; what is tried here is the order of what the processes do.
        let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir_in("/var/tmp")).unwrap();
        let repository = memory.path().join("repository");
        let sandbox = Sandbox::empty().with("COPAL_REPOSITORY", &repository);
        sandbox.run(["init"]).expect(0);
        for (machine, options) in WRITERS {
            sandbox
                .run([&["key", "add", "--write-only", "--new-key-file", machine], options].concat())
                .expect(0);
        }
        let keys = sealed::keys(&repository, &sandbox.key_file());
        let world = World {
            sandbox,
            memory,
            keys,
            kept: Mutex::default(),
            log: Mutex::default(),
            counts: Counts::default(),
            began: Instant::now(),
        };
        for machine in MACHINES {
            std::fs::create_dir(world.source(machine)).unwrap();
        }
        world
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.memory.path().join(name)
    }

    /// On a real file system: in memory, nothing would be taken over from the snapshot before.
    fn source(&self, machine: &str) -> PathBuf {
        self.sandbox.path("source").join(machine)
    }

    fn command(&self, cache: &str, words: &[&str]) -> Command {
        let writer = WRITERS.iter().find(|(machine, _)| *machine == cache);
        let cache = self.path(format!("cache-{cache}"));
        let words = words.iter().map(OsString::from);
        let mut command = self.sandbox.command(words.chain(["--cache-dir".into(), cache.into_os_string()]));
        if let Some((machine, _)) = writer {
            command.env("COPAL_KEY_FILE", self.sandbox.path(machine));
        }
        command
    }

    fn say(&self, words: String) {
        self.log.lock().unwrap().push(format!("{:9.3} {words}", self.began.elapsed().as_secs_f64()));
    }

    /// Runs to the end, or until a moment of that many microseconds.
    fn run(&self, cache: &str, words: &[&str], killed_after: Option<u64>) -> Ended {
        let mut command = self.command(cache, words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.say(format!("{cache}: {} begins", words.join(" ")));
        let child = command.spawn().unwrap();
        let process = child.id();
        // A handle, not a number, which may be another process's by then.
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let ended = std::thread::scope(|scope| {
            if let Some(after) = killed_after {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(after));
                    let _ = pidfd_send_signal(handle, Signal::KILL);
                });
            }
            end_child(child, format!("{command:?}"))
        });
        self.counts.runs.fetch_add(1, Relaxed);
        if ended.code == 137 {
            self.counts.killed.fetch_add(1, Relaxed);
            sealed::lapse(&self.keys, &self.path("repository"), process);
        }
        let said = ended.text().replace('\n', " | ");
        self.say(format!("{cache}: {} ends with {}: {said}", words.join(" "), ended.code));
        ended
    }

    /// Ends the test with everything that was done.
    fn fail(&self, what: &str) -> ! {
        for line in self.log.lock().unwrap().iter() {
            println!("{line}");
        }
        // Is it the repository, or what one machine knows of it?
        for cache in ["nobody", "nobody"] {
            println!("{}", self.run(cache, &["check", "--read-data"], None));
        }
        panic!("{what}");
    }

    fn expect(&self, ended: Ended, codes: &[i32]) -> Ended {
        match ended.code {
            11 => drop(self.counts.overtaken.fetch_add(1, Relaxed)),
            code if codes.contains(&code) => {}
            _ => self.fail(&format!("none of {codes:?}: {ended}")),
        }
        ended
    }

    /// Some time to be killed after, once in a few times.
    fn killed(&self, random: &mut Random, most: u64) -> Option<u64> {
        random.once_in(7).then(|| random.below(most))
    }

    fn back_up(&self, machine: &str, random: &mut Random, number: u64) {
        let source = self.source(machine);
        change(&source, random);
        let copy = self.sandbox.path(format!("copy-{machine}-{number}"));
        let copied = Command::new("cp").arg("-a").arg(&source).arg(&copy).status().unwrap();
        assert!(copied.success());
        let words = ["backup", "--json", "-H", machine, source.to_str().unwrap()];
        let killed = self.killed(random, 120_000);
        let ended = self.expect(self.run(machine, &words, killed), &[0, 11, 137]);
        // What counts is what was said: also one that was killed afterwards.
        let said = ended.out();
        let summary = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let id = summary.filter_map(|line| Some(line["snapshot_id"].as_str()?.to_owned())).next();
        match id {
            Some(id) => {
                self.counts.saved.fetch_add(1, Relaxed);
                self.kept.lock().unwrap().insert(id, Kept { source, copy });
            }
            None => {
                assert_ne!(ended.code, 0, "{ended}");
                std::fs::remove_dir_all(copy).unwrap();
            }
        }
    }

    fn prune(&self, pruner: &str, grace: &str, random: &mut Random) {
        let unused = *random.pick(&["0", "0", "5%", "unlimited"]);
        let mut words = vec!["prune", "--json", "--grace", grace, "--max-unused", unused];
        if random.once_in(3) {
            words.push("--repack-small");
        }
        let killed = self.killed(random, 90_000);
        let ended = self.expect(self.run(pruner, &words, killed), &[0, 11, 137]);
        if ended.code == 0 {
            let summary = ended.summary();
            self.counts.packs_removed.fetch_add(summary["packs_removed"].as_u64().unwrap(), Relaxed);
            self.counts.packs_waiting.fetch_add(summary["packs_waiting"].as_u64().unwrap(), Relaxed);
        }
    }

    /// One that is kept, and more than so many are.
    fn some(&self, random: &mut Random, more_than: usize) -> Option<(String, Kept)> {
        let kept = self.kept.lock().unwrap();
        (kept.len() > more_than).then(|| {
            let (id, kept) = kept.iter().nth(random.below(kept.len() as u64) as usize).unwrap();
            (id.clone(), kept.clone())
        })
    }

    fn forget(&self, random: &mut Random) {
        if random.once_in(4) {
            let ended = self.run("forgetter", &["forget", "--keep-last", "3", "--json"], None);
            let ended = self.expect(ended, &[0]);
            for group in ended.messages("group") {
                for line in group["remove"].as_array().unwrap() {
                    self.drop_kept(line["id"].as_str().unwrap());
                }
            }
            return;
        }
        let Some((id, kept)) = self.some(random, 4) else { return };
        // From here on it may be gone.
        self.kept.lock().unwrap().remove(&id);
        let killed = self.killed(random, 60_000);
        self.expect(self.run("forgetter", &["forget", &id], killed), &[0, 137]);
        self.counts.forgotten.fetch_add(1, Relaxed);
        if random.once_in(3) {
            std::thread::sleep(Duration::from_millis(random.below(60)));
            let killed = self.killed(random, 60_000);
            let ended = self.run("forgetter", &["undelete", &id], killed);
            if ended.code == 0 {
                self.counts.brought_back.fetch_add(1, Relaxed);
                self.kept.lock().unwrap().insert(id, kept);
                return;
            }
        }
        std::fs::remove_dir_all(kept.copy).unwrap();
    }

    fn drop_kept(&self, id: &str) {
        if let Some(kept) = self.kept.lock().unwrap().remove(id) {
            self.counts.forgotten.fetch_add(1, Relaxed);
            std::fs::remove_dir_all(kept.copy).unwrap();
        }
    }

    fn is_kept(&self, id: &str) -> bool {
        self.kept.lock().unwrap().contains_key(id)
    }

    /// Restores one and compares everything of it. Whether it could be: what is forgotten meanwhile may be gone.
    fn compare(&self, reader: &str, id: &str, kept: &Kept) -> bool {
        let target = self.path(format!("out-{reader}"));
        let _ = std::fs::remove_dir_all(&target);
        let words = ["restore", id, "-t", target.to_str().unwrap(), "--overwrite", "always"];
        let ended = self.run(reader, &words, None);
        if !self.is_kept(id) {
            return false;
        }
        let ended = self.expect(ended, &[0]);
        let found = below(&target, &kept.source);
        // What was forgotten since has no copy any more, or loses it just now.
        let compared = || differences(&kept.copy, &found, Compare { owners: true });
        let differences = match catch_unwind(AssertUnwindSafe(compared)) {
            Ok(differences) => differences,
            Err(_) if !self.is_kept(id) => return true,
            Err(panic) => resume_unwind(panic),
        };
        if !differences.is_empty() && self.is_kept(id) {
            self.fail(&format!("{id} differs:\n{}\n{ended}", differences.join("\n")));
        }
        true
    }

    fn read(&self, random: &mut Random) {
        if random.once_in(2) {
            let words = ["check", "--read-data"];
            let count = if random.once_in(2) { 1 } else { 2 };
            self.expect(self.run("reader", &words[..count], None), &[0]);
        } else if let Some((id, kept)) = self.some(random, 0)
            && self.compare("reader", &id, &kept)
        {
            self.counts.restored.fetch_add(1, Relaxed);
        }
    }

    fn round(&self, random: &mut Random, number: u64) {
        let begin = |random: &mut Random| {
            std::thread::sleep(Duration::from_millis(random.below(ROUND)));
        };
        let mut stream = || Random::new(random.next(), number);
        let mut randoms: Vec<Random> = (0..8).map(|_| stream()).collect();
        let (work, reads) = (random.percent(90), random.once_in(4));
        std::thread::scope(|scope| {
            let [ann, bob, web, mail, first, second, forgetter, reader] = &mut randoms[..] else {
                unreachable!()
            };
            for (machine, random) in MACHINES.into_iter().zip([ann, bob, web, mail]) {
                if work && random.percent(70) {
                    scope.spawn(move || {
                        begin(random);
                        self.back_up(machine, random, number);
                    });
                }
            }
            for (pruner, grace, random) in [("pruner", "0", first), ("sweeper", "2s", second)] {
                if random.percent(60) {
                    scope.spawn(move || {
                        begin(random);
                        self.prune(pruner, grace, random);
                    });
                }
            }
            if forgetter.percent(60) {
                scope.spawn(move || {
                    begin(forgetter);
                    self.forget(forgetter);
                });
            }
            if reads {
                scope.spawn(move || {
                    begin(reader);
                    self.read(reader);
                });
            }
        });
    }

    /// Everything that must be there, with what each knows and with nothing known.
    fn finish(&self) {
        let kept = self.kept.lock().unwrap().clone();
        self.expect(self.run("pruner", &["prune", "--grace", "0", "--max-unused", "0"], None), &[0]);
        for cache in ["pruner", "fresh"] {
            self.expect(self.run(cache, &["check", "--read-data"], None), &[0]);
        }
        for cache in ["ann", "sweeper", "fresh"] {
            let listed = MACHINES.map(|machine| {
                let words = ["snapshots", "--json", "--host", machine];
                self.expect(self.run(cache, &words, None), &[0]).out()
            });
            if let Some(id) = kept.keys().find(|id| !listed.iter().any(|lines| lines.contains(*id))) {
                self.fail(&format!("{id} is not listed by {cache}"));
            }
        }
        for (number, (id, kept)) in kept.iter().enumerate() {
            self.compare(["ann", "bob", "fresh"][number % 3], id, kept);
        }
        for machine in MACHINES {
            let source = self.source(machine);
            self.expect(self.run(machine, &["backup", "-H", machine, source.to_str().unwrap()], None), &[0]);
        }
    }
}

/// Changes some files of a source: makes, rewrites, moves and removes some.
fn change(source: &Path, random: &mut Random) {
    for _ in 0..2 + random.below(6) {
        let folder = source.join(format!("folder {}", random.below(4)));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(random.below(8).to_string());
        match random.below(6) {
            0 => drop(std::fs::remove_file(path)),
            1 => drop(std::fs::rename(&path, folder.join("moved"))),
            2 => std::fs::write(path, random.next().to_string()).unwrap(),
            _ => {
                let content = random.below(CONTENTS);
                std::fs::write(path, noise(content, 1000 << (content % 9))).unwrap();
            }
        }
    }
}

#[test]
fn what_was_saved_comes_back_whatever_others_do_at_the_same_time() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seconds = number("COPAL_CONCURRENCY_SECONDS").unwrap_or(40);
    let seed = number("COPAL_CONCURRENCY_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    });
    println!("COPAL_CONCURRENCY_SEED={seed}");
    let mut random = Random::new(seed, 0);
    let world = World::new();
    let mut rounds = 0;
    while world.began.elapsed() < Duration::from_secs(seconds) {
        rounds += 1;
        world.round(&mut random, rounds);
        if rounds % 25 == 0 {
            world.expect(world.run("reader", &["check", "--read-data"], None), &[0]);
        }
    }
    world.finish();
    let counts = &world.counts;
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    println!(
        "{rounds} rounds, {} runs, {} killed, {} overtaken: {} saved, {} forgotten, {} brought back, {} restored meanwhile, {} packs removed, {} times a pack waited; {} compared at the end",
        count(&counts.runs),
        count(&counts.killed),
        count(&counts.overtaken),
        count(&counts.saved),
        count(&counts.forgotten),
        count(&counts.brought_back),
        count(&counts.restored),
        count(&counts.packs_removed),
        count(&counts.packs_waiting),
        world.kept.lock().unwrap().len(),
    );
    // Else nothing was tried.
    for counter in
        [&counts.saved, &counts.killed, &counts.forgotten, &counts.packs_removed, &counts.packs_waiting]
    {
        assert!(count(counter) > 0);
    }
}
