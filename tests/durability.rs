//! In which order things become durable: each file before it gets its name, each name before what refers to it, and all before it is said.
//! After "All File Systems Are Not Created Equal" (OSDI 2014): the only order that a file system gives is that of a finished sync.

mod common;
mod sealed;
#[path = "durability/trace.rs"]
mod trace;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Sandbox, end, noise};
use copal::crypto::Keys;
use copal::format::session::{Removal, decode_removal};
use copal::model::Id;
use trace::{Put, TRACED, Taken, Trace};

/// What a run did, and what lies in the repository after it.
struct Seen {
    trace: Trace,
    repository: PathBuf,
    keys: Keys,
}

fn see(sandbox: &Sandbox, words: &[&str]) -> Seen {
    let log = sandbox.path("strace");
    let through = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", TRACED, "-o", log.to_str().unwrap()];
    end(sandbox.command_through(&through, words)).expect(0);
    let text = std::fs::read(&log).expect("strace wrote nothing: is it installed?");
    let trace = Trace::read(&String::from_utf8_lossy(&text));
    let repository = sandbox.repository();
    let keys = sealed::keys(&repository, &sandbox.key_file());
    Seen { trace, repository, keys }
}

fn id(path: &Path) -> Id {
    Id::parse(path.file_name().unwrap().to_str().unwrap()).unwrap()
}

/// The claim that `first` is over before `then` begins.
fn order(first: &str, over: usize, then: &str, begins: usize) -> Result<(), String> {
    if over < begins { Ok(()) } else { Err(format!("{then} at {begins}, {first} durable at {over}")) }
}

impl Seen {
    fn folder(&self, name: &str) -> PathBuf {
        self.repository.join(name)
    }

    fn puts(&self, trace: &Trace, kind: &str) -> Result<Vec<Put>, String> {
        trace.puts(&self.folder(kind))
    }

    fn taken(&self, trace: &Trace, kind: &str) -> Vec<Taken> {
        trace.taken(&self.folder(kind))
    }

    /// Removal records put by the run, but for marks, which are gone.
    fn tombstones(&self, trace: &Trace) -> Result<Vec<(Put, Removal)>, String> {
        let puts = self.puts(trace, "removals")?;
        let read = |put: Put| {
            let object = std::fs::read(&put.path).ok()?;
            Some((put, decode_removal(&self.keys, &object).unwrap()))
        };
        Ok(puts.into_iter().filter_map(read).collect())
    }

    /// Packs before the index objects that name them.
    fn index_after_packs(&self, trace: &Trace) -> Result<(), String> {
        let packs = self.puts(trace, "packs")?;
        let mut named: BTreeSet<Id> = BTreeSet::new();
        for index in self.puts(trace, "index")? {
            // One that went again within the run is passed over: what it said another one says.
            let Ok(object) = std::fs::read(&index.path) else { continue };
            for name in sealed::packs_of_index(&self.keys, &object) {
                if let Some(pack) = packs.iter().find(|pack| id(&pack.path) == name) {
                    order("a pack", pack.durable, "its index object", index.named)?;
                    named.insert(name);
                }
            }
        }
        match packs.iter().find(|pack| !named.contains(&id(&pack.path)) && pack.path.exists()) {
            Some(pack) => Err(format!("{}: no index object names it", pack.path.display())),
            None => Ok(()),
        }
    }

    fn said(&self, trace: &Trace, handle: u32) -> Result<usize, String> {
        trace.said(handle).ok_or_else(|| format!("nothing was said on {handle}"))
    }
}

fn all_before(first: &str, puts: &[Put], then: &str, begins: usize) -> Result<(), String> {
    puts.iter().try_for_each(|put| order(first, put.durable, then, begins))
}

fn only<T>(mut all: Vec<T>, what: &str) -> Result<T, String> {
    if all.len() == 1 { Ok(all.remove(0)) } else { Err(format!("{} instead of one {what}", all.len())) }
}

fn backup(seen: &Seen, trace: &Trace) -> Result<(), String> {
    let (packs, indexes) = (seen.puts(trace, "packs")?, seen.puts(trace, "index")?);
    let session = seen.puts(trace, "sessions")?.into_iter().next().ok_or("no session")?;
    let snapshot = only(seen.puts(trace, "snapshots")?, "snapshot")?;
    let confirmation = only(seen.puts(trace, "confirmed")?, "confirmation")?;
    for pack in &packs {
        order("the session", session.durable, "a pack", pack.named)?;
    }
    seen.index_after_packs(trace)?;
    all_before("a pack", &packs, "the snapshot", snapshot.named)?;
    all_before("an index object", &indexes, "the snapshot", snapshot.named)?;
    order("the snapshot", snapshot.durable, "its confirmation", confirmation.named)?;
    order("the confirmation", confirmation.durable, "the report", seen.said(trace, 1)?)?;
    if packs.is_empty() || indexes.is_empty() { Err("nothing was stored".to_owned()) } else { Ok(()) }
}

fn forget(seen: &Seen, trace: &Trace) -> Result<(), String> {
    let note = only(seen.puts(trace, "notes")?, "note")?;
    let table = trace.events.iter().filter(|event| event.name == "write" && event.handle == Some(1));
    let report = table.map(|event| event.begin).max().ok_or("nothing was said")?;
    order("the note", note.durable, "the report", report)
}

fn prune(seen: &Seen, trace: &Trace) -> Result<(), String> {
    let marks: Vec<Put> =
        seen.puts(trace, "removals")?.into_iter().filter(|put| !put.path.exists()).collect();
    let mark = only(marks, "mark")?;
    let (tombstone, removal) = only(seen.tombstones(trace)?, "tombstone")?;
    seen.index_after_packs(trace)?;
    // What was written anew counts before what it was taken from is marked.
    all_before("a new pack", &seen.puts(trace, "packs")?, "the mark", mark.named)?;
    let first = seen.puts(trace, "index")?.into_iter().next().ok_or("no index object")?;
    order("what names new packs", first.durable, "the mark", mark.named)?;
    order("the mark", mark.durable, "the tombstone", tombstone.named)?;
    all_before("a new index object", &seen.puts(trace, "index")?, "the tombstone", tombstone.named)?;
    let indexes = seen.taken(trace, "index");
    let packs = seen.taken(trace, "packs");
    for index in &indexes {
        order("the tombstone", tombstone.durable, "an index object's end", index.begin)?;
        if !removal.index_objects.contains(&id(&index.path)) {
            return Err(format!("{}: no tombstone names it", index.path.display()));
        }
    }
    for pack in &packs {
        order("the tombstone", tombstone.durable, "a pack's end", pack.begin)?;
        for index in &indexes {
            order("its index object's end", index.durable.unwrap_or(usize::MAX), "a pack's end", pack.begin)?;
        }
        if !removal.packs.contains(&id(&pack.path)) {
            return Err(format!("{}: no tombstone names it", pack.path.display()));
        }
    }
    // A snapshot: the note that stays, then its confirmation, then itself, then its other notes; all before its packs.
    let note = only(seen.puts(trace, "notes")?, "note")?;
    let confirmation = only(seen.taken(trace, "confirmed"), "confirmation")?;
    let snapshot = only(seen.taken(trace, "snapshots"), "snapshot")?;
    let over = |taken: &Taken| taken.durable.unwrap_or(usize::MAX);
    order("the note", note.durable, "the confirmation's end", confirmation.begin)?;
    order("the confirmation's end", over(&confirmation), "the snapshot's end", snapshot.begin)?;
    for other in seen.taken(trace, "notes") {
        order("the snapshot's end", over(&snapshot), "a note's end", other.begin)?;
    }
    order("the snapshot's end", over(&snapshot), "the tombstone", tombstone.named)?;
    let gone = only(seen.taken(trace, "removals"), "mark that went")?;
    for pack in &packs {
        if pack.begin > gone.begin {
            return Err("the mark went before a pack".to_owned());
        }
    }
    order("the mark's end", over(&gone), "the report", seen.said(trace, 1)?)?;
    if packs.is_empty() || indexes.is_empty() { Err("nothing was removed".to_owned()) } else { Ok(()) }
}

/// A key file: written and synced, and its name and those of new folders above it.
fn key_file(trace: &Trace, path: &Path) -> Result<Put, String> {
    only(trace.puts(path.parent().unwrap())?.into_iter().filter(|put| put.path == path).collect(), "key file")
}

fn init(seen: &Seen, trace: &Trace, key: &Path) -> Result<(), String> {
    let key = key_file(trace, key)?;
    let slot = only(seen.puts(trace, "keys")?, "key slot")?;
    let config = only(seen.puts(trace, "config")?, "config")?;
    order("the key file", key.durable, "the key slot", slot.named)?;
    order("the key slot", slot.durable, "config", config.named)?;
    order("config", config.durable, "the report", seen.said(trace, 1)?)
}

fn key_change(seen: &Seen, trace: &Trace, key: &Path) -> Result<(), String> {
    let key = key_file(trace, key)?;
    let slot = only(seen.puts(trace, "keys")?, "key slot")?;
    let old = only(seen.taken(trace, "keys"), "old key slot")?;
    order("the key file", key.durable, "the key slot", slot.named)?;
    order("the new slot", slot.durable, "the old one's end", old.begin)?;
    let said = trace.events.iter().filter(|event| event.name == "write" && event.handle == Some(2));
    let report = said.map(|event| event.begin).max().ok_or("nothing was said")?;
    order("the old slot's end", old.durable.unwrap_or(usize::MAX), "the report", report)
}

/// Holds a run to an order, and then the same run with each of its syncs taken out: it must be seen for as many as there are of what counts.
fn hold(seen: &Seen, least: usize, check: impl Fn(&Seen, &Trace) -> Result<(), String>) {
    if let Err(why) = check(seen, &seen.trace) {
        for event in &seen.trace.events {
            println!("{event:?}");
        }
        panic!("{why}");
    }
    let syncs = |place: &usize| matches!(&*seen.trace.events[*place].name, "fsync" | "fdatasync");
    let places: Vec<usize> = (0..seen.trace.events.len()).filter(syncs).collect();
    let missed = places.iter().filter(|place| check(seen, &seen.trace.without(**place)).is_err()).count();
    assert!(missed >= least, "without one of {} syncs, only {missed} of them are missed", places.len());
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..3 {
        sandbox.write(format!("source/folder {number}/file"), noise(number, 400_000));
    }
    sandbox
}

#[test]
fn a_backup_is_durable_part_by_part_before_it_is_said_to_be_saved() {
    let sandbox = sandbox();
    let source = sandbox.source();
    let words = ["backup", source.to_str().unwrap()];
    // Each pack and each object: its file and its folder; and new folders.
    hold(&see(&sandbox, &words), 12, backup);
    sandbox.write("source/more", noise(9, 500_000));
    hold(&see(&sandbox, &words), 8, backup);
    // With checkpoints, so that there are several index objects.
    let sandbox = sandbox.with("COPAL_TEST_CHECKPOINT_SECONDS", "0");
    for number in 0..40 {
        sandbox.write(format!("source/more {number}/file"), noise(100 + number, 300_000));
    }
    hold(&see(&sandbox, &words), 8, backup);
}

#[test]
fn forgetting_is_durable_before_it_is_said() {
    let sandbox = sandbox();
    let id = sandbox.back_up()["snapshot_id"].as_str().unwrap().to_owned();
    hold(&see(&sandbox, &["forget", &id, "--unsafe-allow-remove-all"]), 2, forget);
}

#[test]
fn a_prune_says_durably_what_goes_before_it_goes_and_stores_before_that_what_stays() {
    let sandbox = sandbox();
    let id = sandbox.back_up()["snapshot_id"].as_str().unwrap().to_owned();
    // Of each pack something stays.
    sandbox.write("source/folder 0/file", noise(7, 400_000));
    sandbox.write("source/folder 1/file", noise(8, 400_000));
    sandbox.back_up();
    sandbox.run(["forget", &id]).expect(0);
    hold(&see(&sandbox, &["prune", "--grace", "0", "--max-unused", "0"]), 12, prune);
}

#[test]
fn a_repository_and_its_key_are_durable_before_that_is_said() {
    let sandbox = Sandbox::empty();
    hold(&see(&sandbox, &["init"]), 6, |seen, trace| init(seen, trace, &sandbox.key_file()));
    let new = sandbox.path("keys/of mine/new");
    let words = ["key", "passwd", "--new-key-file", new.to_str().unwrap()];
    // The old key opens no more: what is looked at needs none.
    let trace = {
        let log = sandbox.path("strace");
        let through = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", TRACED, "-o", log.to_str().unwrap()];
        end(sandbox.command_through(&through, words)).expect(0);
        Trace::read(&String::from_utf8_lossy(&std::fs::read(&log).unwrap()))
    };
    let keys = sealed::keys(&sandbox.repository(), &new);
    let seen = Seen { trace, repository: sandbox.repository(), keys };
    hold(&seen, 6, |seen, trace| key_change(seen, trace, &new));
}
