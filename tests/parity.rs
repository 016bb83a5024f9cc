//! Recovery data as a library and as a person uses it: what comes back from which damage, that being cut off anywhere loses nothing, and
//! that a repository is never worse off with it.

mod common;
mod made;
#[macro_use]
#[path = "pruning/through.rs"]
mod through;
#[path = "parity/beside.rs"]
mod beside;

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::Sandbox;
use copal::backend::{Backend, Entry, Error as StorageError, Fault, Faulty, Kind, Memory};
use copal::backup;
use copal::check::{self, Reading};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::format::session::Removal;
use copal::format::slot::Unlock;
use copal::model::clock::{Clock, SystemClock};
use copal::model::{Contents, Id, SegmentKind, Time};
use copal::parity::{self, Repaired, Wanted};
use copal::progress::Silent;
use copal::prune;
use copal::repository::healing::Healed;
use copal::repository::parity::Recovered;
use copal::repository::{self, Error, Repository, store};
use made::{folder, make};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A repository in memory, its key, and a folder to back up.
struct Place {
    memory: Memory,
    key: [u8; 32],
    source: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let memory = Memory::new();
        let bytes = make(&memory, &SystemClock, 64 << 10);
        let source = folder();
        Place { memory, key: bytes, source }
    }

    /// With two packs of data and one of trees, and recovery data of that rate.
    fn with_parity(per_mille: u16) -> Place {
        let place = Place::new();
        place.write("file", common::noise(1, 2_500_000));
        place.write("text", "text");
        place.back_up();
        place.set_rate(per_mille);
        if per_mille > 0 {
            place.add().unwrap();
        }
        place
    }

    /// The same, as it is at this moment, to go another way from here.
    fn copy(&self) -> Place {
        let source = tempfile::Builder::new().prefix("copal-test-").tempdir_in("/var/tmp").unwrap();
        Place { memory: self.memory.copy(), key: self.key, source }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.source.path().join(name), content).unwrap();
    }

    fn open_on(&self, backend: impl Backend + 'static, cache: Option<&Path>) -> Result<Repository, Error> {
        let key = MasterKey::from_bytes(self.key);
        repository::open(Box::new(backend), Unlock::KeyFile(&key), cache)
    }

    fn open(&self) -> Repository {
        let repository = self.open_on(self.memory.clone(), None).unwrap();
        let synced = repository.sync().unwrap();
        assert!(synced.problems.is_empty(), "{:?}", synced.problems);
        repository
    }

    fn back_up(&self) -> backup::Outcome {
        let options = backup::Options {
            sources: vec![self.source.path().as_os_str().as_bytes().to_vec()],
            level: Level::FAST,
            racy_seconds: 0,
            ..backup::Options::default()
        };
        backup::backup(&self.open(), &options, &SystemClock, &Silent, &GO_ON).unwrap()
    }

    fn set_rate(&self, per_mille: u16) {
        self.open().change_config(|config| config.parity_per_mille = per_mille).unwrap();
    }

    fn add(&self) -> Result<parity::Added, Error> {
        parity::add(&self.open(), store::MEMORY, &Silent, &GO_ON)
    }

    fn repair(&self, wanted: &Wanted) -> Result<Repaired, Error> {
        parity::repair(&self.open(), wanted, store::MEMORY, &Silent, &GO_ON)
    }

    fn check(&self, reading: Reading) -> check::Report {
        let repository = self.open_on(self.memory.clone(), None).unwrap();
        let synced = repository.sync().unwrap();
        check::check(&repository, &synced, reading, &SystemClock, &Silent, &GO_ON).unwrap()
    }

    fn objects(&self, kind: Kind) -> BTreeMap<Id, Vec<u8>> {
        let mut names = Vec::new();
        self.memory.list(kind, &mut |entry| names.push(entry.name)).unwrap();
        names.iter().map(|name| (Id::parse(name).unwrap(), self.memory.get(kind, name).unwrap())).collect()
    }

    /// The largest pack.
    fn pack(&self) -> (Id, Vec<u8>) {
        self.objects(Kind::Packs).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap()
    }

    fn damage(&self, name: &Id, spoil: impl FnOnce(&mut Vec<u8>)) {
        self.damage_kind(Kind::Packs, name, spoil)
    }

    fn damage_kind(&self, kind: Kind, name: &Id, spoil: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.memory.get(kind, &name.to_string()).unwrap();
        spoil(&mut bytes);
        self.memory.overwrite(kind, &name.to_string(), &bytes);
    }

    /// Reads every tree and every byte of every snapshot.
    fn assert_whole(&self) {
        assert_whole(&self.open());
    }
}

fn assert_whole(repository: &Repository) {
    let all = repository.snapshots().unwrap();
    assert!(all.problems.is_empty() && !all.confirmed.is_empty());
    let mut trees: Vec<Id> = all.confirmed.iter().map(|named| named.snapshot.root).collect();
    while let Some(tree) = trees.pop() {
        for node in repository.nodes(tree) {
            let node = node.unwrap();
            trees.extend(node.tree);
            let mut read = |segment: copal::model::Segment| {
                if let SegmentKind::Data(id) = segment.kind {
                    repository.read_chunk(Contents::Data, &id)?;
                }
                Ok(())
            };
            repository.segments(&node.content, node.size, &mut read).unwrap();
        }
    }
}

// Making -------------------------------------------------------------------------------------------------------------------------

#[test]
fn packs_that_are_there_get_recovery_data_and_new_ones_with_them() {
    let place = Place::new();
    place.write("file", common::noise(1, 2_500_000));
    place.back_up();
    assert!(place.objects(Kind::Parity).is_empty(), "nobody asked for any");
    place.set_rate(50);
    let added = place.add().unwrap();
    let packs = place.objects(Kind::Packs);
    assert_eq!((added.packs, added.had, added.damaged.len()), (packs.len() as u64, 0, 0));
    let parity = place.objects(Kind::Parity);
    assert!(parity.keys().eq(packs.keys()));
    assert_eq!(added.bytes, parity.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    // Once more: nothing to do, nothing changed.
    let again = place.add().unwrap();
    assert_eq!((again.packs, again.bytes, again.had), (0, 0, packs.len() as u64));
    // New packs have it before anything names them.
    place.write("more", common::noise(2, 1_500_000));
    place.back_up();
    assert!(place.objects(Kind::Packs).len() > packs.len());
    assert!(place.objects(Kind::Parity).keys().eq(place.objects(Kind::Packs).keys()));
    // A higher rate replaces what is there, a lower one does not.
    place.set_rate(20);
    assert_eq!(place.add().unwrap().packs, 0);
    place.set_rate(300);
    let before = place.objects(Kind::Parity);
    let added = place.add().unwrap();
    // A pack of a few sectors has as much at either rate.
    let changed = place.objects(Kind::Parity).iter().filter(|(name, bytes)| before[name] != **bytes).count();
    assert_eq!(added.packs, changed as u64);
    assert!(changed >= 3);
    let status = parity::status(&place.open()).unwrap();
    assert_eq!((status.per_mille, status.with, status.with_less), (300, status.packs, 0));
    assert!(status.bytes > place.objects(Kind::Packs).values().map(|pack| pack.len() as u64 * 3 / 10).sum());
    assert!(place.check(Reading::Everything).findings.is_empty());
    // Off: what is there stays, new packs get none. Then all of it goes.
    place.set_rate(0);
    place.write("last", common::noise(3, 1_500_000));
    place.back_up();
    assert!(place.objects(Kind::Parity).len() < place.objects(Kind::Packs).len());
    let report = place.check(Reading::Everything);
    assert!(report.findings.is_empty() && report.packs_without_parity == 0);
    place.set_rate(10);
    let without = place.objects(Kind::Packs).len() - place.objects(Kind::Parity).len();
    assert_eq!(place.check(Reading::Nothing).packs_without_parity, without as u64);
    let removed = parity::remove(&place.open(), &Silent, &GO_ON).unwrap().packs;
    assert!(removed > 0 && place.objects(Kind::Parity).is_empty());
}

#[test]
fn a_run_that_is_stopped_says_so_and_the_next_one_goes_on() {
    let place = Place::with_parity(0);
    place.set_rate(50);
    let stop = AtomicBool::new(true);
    let added = parity::add(&place.open(), store::MEMORY, &Silent, &stop);
    assert!(matches!(added, Err(Error::Stopped)) && place.objects(Kind::Parity).is_empty());
    assert_eq!(place.add().unwrap().packs, place.objects(Kind::Packs).len() as u64);
    let (name, _) = place.pack();
    place.damage(&name, |bytes| bytes[0] ^= 1);
    place.check(Reading::Everything);
    let repaired = parity::repair(&place.open(), &Wanted::Recorded, store::MEMORY, &Silent, &stop);
    assert!(matches!(repaired, Err(Error::Stopped)) && !place.objects(Kind::Damage).is_empty());
    assert_eq!(place.repair(&Wanted::Recorded).unwrap().healed, [name]);
}

#[test]
fn no_recovery_data_is_made_of_a_damaged_pack() {
    let place = Place::with_parity(10);
    let (name, _) = place.pack();
    let before = place.objects(Kind::Parity)[&name].clone();
    place.damage(&name, |bytes| bytes[5000] ^= 1);
    place.set_rate(500);
    assert_eq!(place.add().unwrap().damaged, [name]);
    assert!(place.objects(Kind::Parity)[&name] == before, "what there is still brings it back");
    assert_eq!(place.open().heal(&name).unwrap(), Healed::Healed);
    assert_eq!(place.add().unwrap().packs, 1);
}

#[test]
fn adding_that_is_cut_off_anywhere_goes_on_and_hurts_nothing() {
    let origin = Place::with_parity(0);
    origin.set_rate(100);
    let packs = origin.objects(Kind::Packs);
    let mut number = 0;
    loop {
        number += 1;
        for fault in [Fault::Crash, Fault::FailAfter, Fault::FailBefore] {
            let place = origin.copy();
            let faulty = std::sync::Arc::new(Faulty::new(place.memory.clone()));
            let repository = place.open_on(faulty.clone(), None).unwrap();
            repository.sync().unwrap();
            faulty.set_fault(Some((faulty.operations() + number, fault)));
            let added = parity::add(&repository, store::MEMORY, &Silent, &GO_ON);
            if !faulty.struck() {
                assert!(added.is_ok());
                assert!(number > 5, "{number} operations make nothing");
                return;
            }
            assert!(place.objects(Kind::Packs) == packs);
            place.add().unwrap();
            assert!(place.objects(Kind::Parity).keys().eq(packs.keys()));
            assert!(place.check(Reading::Everything).findings.is_empty(), "{number} {fault:?}");
        }
    }
}

#[test]
fn whatever_a_backup_names_has_recovery_data_wherever_it_was_cut_off() {
    let origin = Place::new();
    origin.set_rate(50);
    origin.write("file", common::noise(1, 2_500_000));
    let mut number = 0;
    loop {
        number += 1;
        let place =
            Place { memory: origin.memory.copy(), key: origin.key, source: tempfile::tempdir().unwrap() };
        let faulty = std::sync::Arc::new(Faulty::new(place.memory.clone()));
        let repository = place.open_on(faulty.clone(), None).unwrap();
        faulty.set_fault(Some((faulty.operations() + number, Fault::Crash)));
        let options = backup::Options {
            sources: vec![origin.source.path().as_os_str().as_bytes().to_vec()],
            level: Level::FAST,
            checkpoint_seconds: 0.0,
            ..backup::Options::default()
        };
        let done = backup::backup(&repository, &options, &SystemClock, &Silent, &GO_ON);
        let with_parity = place.objects(Kind::Parity);
        place
            .open()
            .index
            .packs(&mut |pack| {
                // One that no index object names was read itself: a run that was cut off left it.
                assert!(!pack.listed || with_parity.contains_key(&pack.name), "{number}");
            })
            .unwrap();
        if !faulty.struck() {
            assert!(done.is_ok() && number > 8 && with_parity.len() >= 3);
            return;
        }
    }
}

// Healing ------------------------------------------------------------------------------------------------------------------------

/// A way to damage a pack, below a rate of 10 %.
type Spoil = fn(&mut Vec<u8>);

const SPOILS: &[(&str, Spoil)] = &[
    ("scattered bits", |bytes| (0..20).for_each(|number| bytes[number * 50_021] ^= 1 << (number % 8))),
    ("the header", |bytes| bytes[..32].fill(0)),
    ("a run of zeros", |bytes| bytes[300_000..380_000].fill(0)),
    ("the tail cut off", |bytes| bytes.truncate(bytes.len() - 90_000)),
    ("the footer", |bytes| {
        let end = bytes.len();
        bytes[end - 144..].fill(0xff);
    }),
    ("more at its end", |bytes| bytes.extend_from_slice(&[7; 100_000])),
    ("one bit", |bytes| bytes[700_000] ^= 0x80),
];

#[test]
fn a_pack_with_any_damage_below_the_rate_is_put_back_bit_for_bit() {
    let origin = Place::with_parity(100);
    let (name, whole) = origin.pack();
    let (packs, parity) = (origin.objects(Kind::Packs), origin.objects(Kind::Parity));
    assert!(whole.len() > 1_050_000);
    for (what, spoil) in SPOILS {
        let place = origin.copy();
        place.damage(&name, spoil);
        let report = place.check(Reading::Everything);
        let told: Vec<_> =
            report.findings.iter().map(|finding| (finding.kind, finding.what.as_str())).collect();
        assert!(
            matches!(&told[..], [("pack", text)] if text.contains("brings it back")),
            "{what}: only the pack is hit: {told:?}"
        );
        assert_eq!(place.objects(Kind::Damage).len(), 1, "{what}");
        // Nothing is lost for who only reads.
        place.assert_whole();
        let repaired = place.repair(&Wanted::Recorded).unwrap();
        assert_eq!((&repaired.healed[..], repaired.damaged.len()), (&[name][..], 0), "{what}");
        assert_eq!(repaired.records_settled, 1, "{what}");
        assert!(place.objects(Kind::Packs) == packs && place.objects(Kind::Parity) == parity, "{what}");
        assert!(place.objects(Kind::Damage).is_empty(), "{what}");
        assert!(place.check(Reading::Everything).findings.is_empty(), "{what}");
    }
}

#[test]
fn a_pack_with_more_damage_is_left_as_it_is_and_said_so() {
    let origin = Place::with_parity(20);
    let (name, whole) = origin.pack();
    let shards = whole.len().div_ceil(4096);
    let spare = (shards * 20).div_ceil(1000);
    let place = origin.copy();
    place.damage(&name, |bytes| (0..=spare).for_each(|number| bytes[number * 20_000] ^= 1));
    let report = place.check(Reading::Everything);
    let text =
        format!("{} of its {shards} parts are lost, and its recovery data can bring back {spare}", spare + 1);
    assert!(report.findings.iter().any(|finding| finding.what.contains(&text)), "{:?}", report.findings);
    let before = (place.objects(Kind::Packs), place.objects(Kind::Parity), place.objects(Kind::Damage));
    let repaired = place.repair(&Wanted::Recorded).unwrap();
    assert_eq!(repaired.damaged, [(name, text)]);
    assert_eq!((repaired.healed.len(), repaired.records_settled), (0, 0));
    let after = (place.objects(Kind::Packs), place.objects(Kind::Parity), place.objects(Kind::Damage));
    assert!(before == after, "nothing changed");
    // One part less, and it comes back.
    place.damage(&name, |bytes| bytes[0] ^= 1);
    assert_eq!(place.repair(&Wanted::Recorded).unwrap().healed, [name]);
    assert!(place.objects(Kind::Packs)[&name] == whole);
}

#[test]
fn a_missing_pack_comes_back_when_there_is_as_much_recovery_data() {
    let place = Place::with_parity(1000);
    let (name, whole) = place.pack();
    place.memory.remove(Kind::Packs, &name.to_string()).unwrap();
    place.assert_whole();
    assert!(
        place.check(Reading::Nothing).findings[0].what.contains("missing; its recovery data brings it back")
    );
    assert_eq!(place.repair(&Wanted::Recorded).unwrap().healed, [name]);
    assert!(place.objects(Kind::Packs)[&name] == whole);
    assert!(place.check(Reading::Everything).findings.is_empty());
}

#[test]
fn damaged_recovery_data_is_told_apart_still_helps_and_is_made_anew() {
    let place = Place::with_parity(100);
    let (name, whole) = place.pack();
    let parity = place.objects(Kind::Parity);
    place.damage_kind(Kind::Parity, &name, |bytes| {
        bytes[100] ^= 1;
        let end = bytes.len();
        bytes.truncate(end - 10_000);
    });
    let report = place.check(Reading::Everything);
    assert_eq!(report.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), ["parity"]);
    assert!(place.objects(Kind::Damage).is_empty(), "no copy of anything is hit");
    let hurt = place.copy();
    hurt.damage(&name, |bytes| bytes[40_000..100_000].fill(9));
    assert_eq!(hurt.open().heal(&name).unwrap(), Healed::Healed);
    assert!(hurt.objects(Kind::Packs)[&name] == whole);
    let repaired = place.repair(&Wanted::All).unwrap();
    assert_eq!((repaired.parity_made, repaired.healed.len(), repaired.damaged.len()), (1, 0, 0));
    assert!(place.objects(Kind::Parity) == parity);
    // Nothing of it is whole: a damaged pack is then as without.
    place.damage_kind(Kind::Parity, &name, |bytes| bytes.fill(0));
    place.damage(&name, |bytes| bytes[9] ^= 1);
    assert_eq!(place.open().heal(&name).unwrap(), Healed::Without);
    assert!(matches!(place.open().recover(&name).unwrap(), Recovered::Without));
}

#[test]
fn healing_that_is_cut_off_anywhere_goes_on_and_hurts_nothing() {
    let origin = Place::with_parity(100);
    let (name, _) = origin.pack();
    let packs = origin.objects(Kind::Packs);
    origin.damage(&name, |bytes| bytes[100_000..150_000].fill(0));
    assert_eq!(origin.check(Reading::Everything).findings.len(), 1);
    let mut number = 0;
    loop {
        number += 1;
        for fault in [Fault::Crash, Fault::FailAfter, Fault::FailBefore, Fault::FlipBit { bit: 123_457 }] {
            let place = origin.copy();
            let faulty = std::sync::Arc::new(Faulty::new(place.memory.clone()));
            let repository = place.open_on(faulty.clone(), None).unwrap();
            repository.sync().unwrap();
            faulty.set_fault(Some((faulty.operations() + number, fault)));
            let repaired = parity::repair(&repository, &Wanted::Recorded, store::MEMORY, &Silent, &GO_ON);
            if !faulty.struck() && fault == Fault::Crash {
                assert_eq!(repaired.unwrap().healed, [name]);
                assert!(number > 8, "{number} operations heal nothing");
                return;
            }
            // As it was, or whole: and while it is damaged that stays said.
            let now = place.objects(Kind::Packs);
            let records = place.open().damaged_packs().unwrap();
            assert!(now == packs || records.contains(&name), "{number} {fault:?}");
            place.assert_whole();
            place.repair(&Wanted::Recorded).unwrap();
            assert!(place.objects(Kind::Packs) == packs, "{number} {fault:?}");
            assert!(place.open().damaged_packs().unwrap().is_empty(), "{number} {fault:?}");
            assert!(place.check(Reading::Everything).findings.is_empty(), "{number} {fault:?}");
        }
    }
}

/// A storage that gives nothing of some stretch of its packs, as a disk with bad sectors.
struct BadSectors {
    inner: Memory,
    bad: std::ops::Range<u64>,
}

impl Backend for BadSectors {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), copal::backend::Error> {
        self.inner.put(kind, name, bytes)
    }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, copal::backend::Error> {
        match kind {
            Kind::Packs => self.get_range(kind, name, 0, self.inner.stat(kind, name)? as usize),
            _ => self.inner.get(kind, name),
        }
    }
    fn get_range(
        &self,
        kind: Kind,
        name: &str,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, copal::backend::Error> {
        if kind == Kind::Packs && offset < self.bad.end && offset + length as u64 > self.bad.start {
            let source = std::io::Error::other("bad sector");
            return Err(copal::backend::Error::Io { object: name.to_owned(), operation: "read", source });
        }
        self.inner.get_range(kind, name, offset, length)
    }
    fn list(
        &self,
        kind: Kind,
        each: &mut dyn FnMut(copal::backend::Entry),
    ) -> Result<(), copal::backend::Error> {
        self.inner.list(kind, each)
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, copal::backend::Error> {
        self.inner.stat(kind, name)
    }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), copal::backend::Error> {
        self.inner.remove(kind, name)
    }
    fn time(&self) -> Result<copal::model::Time, copal::backend::Error> {
        self.inner.time()
    }
    fn create(&self) -> Result<(), copal::backend::Error> {
        self.inner.create()
    }
}

#[test]
fn bad_sectors_cost_what_lies_on_them_and_all_is_read_from_a_storage_that_takes_nothing() {
    let place = Place::with_parity(100);
    let (name, whole) = place.pack();
    let disk = BadSectors { inner: place.memory.clone(), bad: 500_000..540_000 };
    let repository = place.open_on(disk, None).unwrap();
    repository.sync().unwrap();
    assert!(matches!(repository.recover(&name).unwrap(), Recovered::Mended(bytes) if bytes == whole));
    assert_whole(&repository);
    assert!(repository.mended_packs().contains(&name));
    // It can not put anything back, and says so.
    assert!(repository.heal(&name).is_err());
}

/// A storage that gives one pack spoiled once: the reading of all of it that is chosen.
struct SpoilsOnce {
    inner: Memory,
    name: String,
    length: usize,
    until: AtomicU64,
    forbidden: bool,
}

impl Backend for SpoilsOnce {
    through! { location put get list stat remove time create }
    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        assert!(!self.forbidden, "{name} may be as it should be");
        self.inner.replace(kind, name, bytes)
    }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let mut bytes = self.inner.get_range(kind, name, offset, length)?;
        if kind == Kind::Packs && name == self.name {
            if self.forbidden {
                return Err(StorageError::Denied {
                    object: name.to_owned(),
                    reason: "permission denied".to_owned(),
                });
            }
            if length == self.length && self.until.fetch_sub(1, Ordering::SeqCst) == 1 {
                bytes[1000] ^= 1;
            }
        }
        Ok(bytes)
    }
}

/// That storage, with the repository on it.
fn spoiled(place: &Place, until: u64, forbidden: bool) -> Repository {
    let (name, whole) = place.pack();
    let (inner, name, length) = (place.memory.clone(), name.to_string(), whole.len());
    let until = AtomicU64::new(until);
    let repository = place.open_on(SpoilsOnce { inner, name, length, until, forbidden }, None).unwrap();
    repository.sync().unwrap();
    repository
}

#[test]
fn recovery_data_is_never_made_of_what_was_spoiled_on_its_way() {
    let place = Place::with_parity(100);
    let (packs, parity) = (place.objects(Kind::Packs), place.objects(Kind::Parity));
    for until in 1..=6 {
        let repository = spoiled(&place, until, false);
        parity::repair(&repository, &Wanted::All, store::MEMORY, &Silent, &GO_ON).unwrap();
        assert!(place.objects(Kind::Packs) == packs, "reading {until}");
        assert!(place.objects(Kind::Parity) == parity, "reading {until}: it would bring back something else");
    }
    // Nor is a pack called damaged for it.
    let (name, _) = place.pack();
    place.memory.remove(Kind::Parity, &name.to_string()).unwrap();
    let added = parity::add(&spoiled(&place, 1, false), store::MEMORY, &Silent, &GO_ON).unwrap();
    assert_eq!((added.packs, &added.damaged[..]), (1, &[][..]));
    assert!(place.objects(Kind::Parity) == parity);
}

#[test]
fn a_pack_that_this_user_may_not_read_is_not_put_back_and_not_called_damaged() {
    // With so much recovery data nothing of the pack is needed to make it.
    let place = Place::with_parity(1000);
    let (name, _) = place.pack();
    let repository = spoiled(&place, 0, true);
    assert!(repository.heal(&name).is_err());
    let stop = AtomicBool::new(false);
    let synced = repository.sync().unwrap();
    check::check(&repository, &synced, Reading::Everything, &SystemClock, &Silent, &stop).unwrap();
    assert!(place.objects(Kind::Damage).is_empty(), "nothing is known to be wrong with it");
}

#[test]
fn what_recovery_data_brings_back_is_called_damaged_and_not_lost_by_every_check() {
    let place = Place::with_parity(100);
    for (name, whole) in place.objects(Kind::Packs) {
        let here = place.copy();
        // All blocks of a small one, some of a large one.
        here.damage(&name, |bytes| (0..bytes.len().min(4_000)).for_each(|place| bytes[place] ^= 1));
        let kinds = |report: check::Report| -> HashSet<&'static str> {
            report.findings.iter().map(|finding| finding.kind).collect()
        };
        assert_eq!(kinds(here.check(Reading::Everything)), HashSet::from(["pack"]));
        let length = whole.len();
        assert_eq!(kinds(here.check(Reading::Everything)), HashSet::from(["pack"]), "again, {length}");
        assert_eq!(kinds(here.check(Reading::Nothing)), HashSet::from(["pack"]), "structure, {length}");
    }
}

#[test]
fn what_may_bring_a_damaged_pack_back_is_not_removed() {
    for is_gone in [true, false] {
        let place = Place::with_parity(1000);
        let (name, whole) = place.pack();
        if is_gone {
            place.memory.remove(Kind::Packs, &name.to_string()).unwrap();
        } else {
            place.damage(&name, |bytes| bytes[3000] ^= 1);
            place.check(Reading::Everything);
        }
        let packs = place.objects(Kind::Parity).len() as u64;
        let removed = parity::remove(&place.open(), &Silent, &GO_ON).unwrap();
        assert_eq!((removed.packs, removed.kept), (packs - 1, 1));
        let wanted = Wanted::Named(vec![name]);
        assert_eq!(place.repair(&wanted).unwrap().healed, [name]);
        assert!(place.objects(Kind::Packs)[&name] == whole);
        let removed = parity::remove(&place.open(), &Silent, &GO_ON).unwrap();
        assert_eq!((removed.packs, removed.kept), (1, 0));
    }
}

// Beside others ------------------------------------------------------------------------------------------------------------------

#[test]
fn who_had_seen_the_damage_relies_on_the_pack_again_when_it_is_healed() {
    let place = Place::with_parity(100);
    let (name, whole) = place.pack();
    let entry = place.open().read_pack_entry(&name, whole.len() as u64).unwrap();
    let (chunk, _) = entry.directory.blocks[0].chunks[0];
    let caches = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let clients: Vec<Repository> =
        caches.iter().map(|cache| place.open_on(place.memory.clone(), Some(cache.path())).unwrap()).collect();
    let relied_on = |client: &Repository| {
        client.sync().unwrap();
        client.index.contains(entry.directory.contents, &chunk).unwrap()
    };
    assert!(clients.iter().all(relied_on));
    place.damage(&name, |bytes| bytes[77_777] ^= 1);
    place.check(Reading::Everything);
    assert!(!clients.iter().any(relied_on), "written down");
    assert_eq!(
        parity::repair(&clients[0], &Wanted::Recorded, store::MEMORY, &Silent, &GO_ON).unwrap().healed,
        [name]
    );
    assert!(clients.iter().all(relied_on), "both, and the one that did not heal it too");
}

#[test]
fn a_record_that_names_others_too_goes_on_naming_them() {
    let place = Place::with_parity(100);
    let packs: Vec<Id> = place.objects(Kind::Packs).into_keys().collect();
    place.damage(&packs[0], |bytes| bytes[300] ^= 1);
    place.damage(&packs[1], |bytes| bytes[300] ^= 1);
    place.check(Reading::Everything);
    assert_eq!(place.objects(Kind::Damage).len(), 1);
    let repaired = place.repair(&Wanted::Named(vec![packs[0]])).unwrap();
    assert_eq!((&repaired.healed[..], repaired.records_settled), (&packs[..1], 1));
    assert_eq!(place.open().damaged_packs().unwrap(), HashSet::from([packs[1]]));
    assert_eq!(place.repair(&Wanted::Recorded).unwrap().healed, [packs[1]]);
    assert!(place.objects(Kind::Damage).is_empty());
}

#[test]
fn what_is_found_damaged_while_packs_are_healed_stays_said() {
    let place = Place::with_parity(100);
    let (name, _) = place.pack();
    place.damage(&name, |bytes| bytes[3000] ^= 1);
    place.check(Reading::Everything);
    let repository = place.open();
    let records = repository.damage_records().unwrap();
    assert_eq!(repository.heal(&name).unwrap(), Healed::Healed);
    // Damaged again, and found so, before the records are taken back.
    place.damage(&name, |bytes| bytes[3001] ^= 1);
    place
        .open()
        .put_damage(&copal::format::session::Damage {
            packs: vec![name],
            lost: Some(Id([1; 32])),
            time: SystemClock.now(),
        })
        .unwrap();
    repository.settle_damage(&records, &HashSet::from([name])).unwrap();
    assert!(place.open().damaged_packs().unwrap().contains(&name));
}

#[test]
fn a_pack_whose_directory_is_damaged_is_known_by_its_recovery_data_where_no_index_object_names_it() {
    let ways: [&dyn Fn(&mut Vec<u8>); 4] = [
        &|bytes| bytes.iter_mut().rev().take(100).for_each(|byte| *byte = 0),
        // In the directory, and in the header of the footer.
        &|bytes| *bytes.iter_mut().rev().nth(144 + 20).unwrap() ^= 1,
        &|bytes| *bytes.iter_mut().rev().nth(144 - 13).unwrap() ^= 1,
        &|bytes| bytes.truncate(bytes.len() - 2000),
    ];
    for (number, spoil) in ways.into_iter().enumerate() {
        let place = Place::with_parity(100);
        let (name, _) = place.pack();
        for object in place.objects(Kind::Index).keys() {
            place.memory.remove(Kind::Index, &object.to_string()).unwrap();
        }
        place.damage(&name, spoil);
        // Without recovery data nothing says what lies in it.
        let other = place.copy();
        other.memory.remove(Kind::Parity, &name.to_string()).unwrap();
        let synced = other.open_on(other.memory.clone(), None).unwrap().sync().unwrap();
        assert_eq!(synced.problems.len(), 1, "{number}");
        place.assert_whole();
        let repository = place.open();
        let options = copal::repair::Options::default();
        let tools = copal::repair::Tools {
            repository: &repository,
            options: &options,
            clock: &SystemClock,
            listener: &Silent,
            stop: &GO_ON,
        };
        let packs = copal::repair::packs(tools, &[name], false, &mut |_| false).unwrap();
        assert_eq!((packs.plan.damaged, packs.plan.unknown.len()), (vec![name], 0), "{number}");
        let outcome = copal::repair::index(tools, false, &mut |_| true).unwrap();
        assert_eq!(outcome.plan.unknown, [], "{number}");
        assert_eq!(outcome.packs_named as usize, place.objects(Kind::Packs).len(), "{number}");
        assert_eq!(place.repair(&Wanted::All).unwrap().healed, [name], "{number}");
        let findings = place.check(Reading::Everything).findings;
        assert!(findings.is_empty(), "{number}: {findings:?}");
        place.assert_whole();
    }
}

/// Says of all packs that they are to go, or that they are gone.
fn put_removal_of_all(place: &Place, done: bool) {
    let packs = place.objects(Kind::Packs).into_keys().collect();
    let removal = Removal { packs, time: SystemClock.now(), done, ..Removal::default() };
    place.open().put_removal(&removal).unwrap();
}

#[test]
fn a_pack_that_is_gone_is_not_put_back() {
    let place = Place::with_parity(100);
    let (name, _) = place.pack();
    place.damage(&name, |bytes| bytes[3000] ^= 1);
    let damaged = place.objects(Kind::Packs);
    put_removal_of_all(&place, true);
    assert_eq!(place.open().heal(&name).unwrap(), Healed::Going);
    assert!(place.objects(Kind::Packs) == damaged);
}

#[test]
fn a_pack_that_is_to_go_and_can_not_be_put_back_is_passed_over() {
    let place = Place::with_parity(0);
    let (name, _) = place.pack();
    place.damage(&name, |bytes| bytes[3000] ^= 1);
    put_removal_of_all(&place, false);
    assert_eq!(place.open().heal(&name).unwrap(), Healed::Going);
}

#[test]
fn a_damaged_pack_that_is_to_go_and_is_still_needed_comes_back_and_goes_then() {
    let spoil = |place: &Place, name: &Id| place.damage(name, |bytes| bytes[3000] ^= 1);
    let lose = |place: &Place, name: &Id| place.memory.remove(Kind::Packs, &name.to_string()).unwrap();
    let ways: [(u16, &dyn Fn(&Place, &Id)); 2] = [(100, &spoil), (1000, &lose)];
    for (per_mille, hit) in ways {
        let place = Place::with_parity(per_mille);
        let (name, _) = place.pack();
        // As a pruner says that saw no need of them, before somebody committed what needs them.
        put_removal_of_all(&place, false);
        hit(&place, &name);
        let prune = || {
            prune::prune(&place.open(), &prune::Options::default(), &SystemClock, &Silent, &GO_ON)
                .is_ok_and(|outcome| outcome.stuck.is_empty())
        };
        assert!(!prune(), "{per_mille}: nothing was in the way");
        assert_eq!(place.check(Reading::Everything).findings.len(), 1, "{per_mille}");
        assert_eq!(place.repair(&Wanted::All).unwrap().healed, [name], "{per_mille}");
        assert!(place.open().damage_records().unwrap().is_empty(), "{per_mille}");
        assert!(prune(), "{per_mille}: the mark still waits");
        assert!(!place.objects(Kind::Packs).contains_key(&name), "{per_mille}");
        place.assert_whole();
        assert!(place.check(Reading::Everything).findings.is_empty(), "{per_mille}");
    }
}

#[test]
fn spoiled_recovery_data_of_a_pack_that_is_to_go_is_no_damage() {
    let place = Place::with_parity(100);
    let (name, _) = place.pack();
    place.damage_kind(Kind::Parity, &name, |bytes| bytes[1000] ^= 1);
    assert_eq!(place.check(Reading::Everything).findings[0].kind, "parity");
    place
        .open()
        .put_removal(&Removal { packs: vec![name], time: SystemClock.now(), ..Removal::default() })
        .unwrap();
    // A repair makes none anew for it.
    assert_eq!(place.repair(&Wanted::All).unwrap().parity_made, 0);
    let findings = place.check(Reading::Everything).findings;
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn recovery_data_goes_with_its_pack_and_that_of_a_lost_pack_stays() {
    let place = Place::with_parity(1000);
    place.write("file", common::noise(9, 1_000_000));
    place.back_up();
    let repository = place.open();
    let mut all = repository.snapshots().unwrap();
    let oldest = all.confirmed.iter().min_by_key(|named| named.snapshot.time).unwrap().name;
    repository
        .put_note(&mut all.notes, &oldest, copal::format::note::Verb::Forget, &[], SystemClock.now())
        .unwrap();
    let options = prune::Options {
        grace_seconds: -1,
        max_unused: prune::Unused::Bytes(0),
        ..prune::Options::default()
    };
    let outcome = prune::prune(&place.open(), &options, &SystemClock, &Silent, &GO_ON).unwrap();
    assert!(outcome.packs_removed > 0);
    let packs = place.objects(Kind::Packs);
    assert!(place.objects(Kind::Parity).keys().eq(packs.keys()), "also what was written anew has it");
    // What a run that was cut off left of a removed pack goes with the next one; nothing of a pack that is only lost does.
    let removed = place.open().removals().unwrap().removed().into_iter().next().unwrap();
    place.memory.put(Kind::Parity, &removed.to_string(), b"left").unwrap();
    prune::prune(&place.open(), &options, &SystemClock, &Silent, &GO_ON).unwrap();
    assert!(place.objects(Kind::Parity).keys().eq(packs.keys()));
    assert!(place.check(Reading::Everything).findings.is_empty());
}

// The rate in config -------------------------------------------------------------------------------------------------------------

const SECOND: &str = "0000000000000002";

#[test]
fn a_lost_or_spoiled_config_of_a_later_generation_locks_nobody_out() {
    let origin = Place::with_parity(50);
    let stored = origin.memory.get(Kind::Config, SECOND).unwrap();
    type Harm = fn(&Memory);
    let flip = |memory: &Memory, place: usize| {
        let mut bytes = memory.get(Kind::Config, SECOND).unwrap();
        bytes[place] ^= 1;
        memory.overwrite(Kind::Config, SECOND, &bytes);
    };
    let lost: Harm = |memory| memory.remove(Kind::Config, SECOND).unwrap();
    let harms: Vec<Box<dyn Fn(&Memory)>> = (0..stored.len())
        .map(|byte| Box::new(move |memory: &Memory| flip(memory, byte)) as Box<dyn Fn(&Memory)>)
        .chain([Box::new(lost) as Box<dyn Fn(&Memory)>])
        .collect();
    for (number, harm) in harms.iter().enumerate() {
        let place = origin.copy();
        let cache = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let open = |cache: Option<&Path>| place.open_on(place.memory.clone(), cache).unwrap();
        assert_eq!(open(Some(cache.path())).config.parity_per_mille, 50);
        harm(&place.memory);
        // Who never saw it goes on with what is there; a changed header is no later program's word.
        let fresh = open(None);
        assert_eq!(fresh.config.generation, if number < 32 { 2 } else { 1 }, "byte {number}");
        // Who saw it has it still, and says so.
        let knowing = open(Some(cache.path()));
        assert_eq!((knowing.config.generation, knowing.config.parity_per_mille), (2, 50), "byte {number}");
        assert!(!knowing.config_warnings.is_empty() && !knowing.config_problems().unwrap().is_empty());
        // Who writes puts it back.
        let client = knowing.client().unwrap();
        copal::repository::session::Session::begin(&knowing, &SystemClock, client, b"host", Vec::new())
            .unwrap();
        assert!(place.memory.get(Kind::Config, SECOND).unwrap() == stored, "byte {number}");
        assert!(open(None).config_warnings.is_empty());
    }
}

#[test]
fn two_clients_that_change_the_rate_at_once_agree_on_the_later_one() {
    let place = Place::new();
    let (mut one, mut other) = (place.open(), place.open());
    one.change_config(|config| config.parity_per_mille = 50).unwrap();
    other.change_config(|config| config.parity_per_mille = 70).unwrap();
    assert_eq!((one.config.generation, other.config.generation), (2, 3));
    assert_eq!(place.open().config.parity_per_mille, 70);
    // The same once more says nothing new.
    other.change_config(|config| config.parity_per_mille = 70).unwrap();
    assert_eq!(place.open().config.generation, 3);
}

// The program --------------------------------------------------------------------------------------------------------------------

fn packs_of(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(sandbox.repository().join("packs")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
    files
}

#[test]
fn a_damaged_repository_gives_everything_back_and_is_repaired() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", common::noise(1, 3_000_000));
    sandbox.write("source/folder/text", "some text\n".repeat(1000));
    sandbox.back_up();
    // Blocks go to packs at random.
    let packs = packs_of(&sandbox).len();
    sandbox
        .run(["parity", "status"])
        .expect(0)
        .says("new packs get no recovery data")
        .says(&format!("0 of {packs} packs have"));
    sandbox.run(["parity", "add"]).expect(2).warns("copal parity add 5%");
    for wrong in ["0%", "5", "101%", "0.05%", "much"] {
        sandbox.run(["parity", "add", wrong]).expect(2);
    }
    sandbox
        .run(["parity", "add", "5%"])
        .expect(0)
        .says(&format!("added recovery data to {packs} packs"))
        .says("new packs get 5 %");
    let status = sandbox.run(["parity", "status", "--json"]).expect(0).messages("parity").remove(0);
    assert_eq!((&status["rate_percent"], &status["packs_with_parity"]), (&5.0.into(), &packs.into()));
    sandbox.run(["check", "--read-data"]).expect(0).says("no errors were found");

    // The largest pack: a run of zeros, and its end is gone.
    let pack = packs_of(&sandbox).pop().unwrap();
    let whole = std::fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    bytes[1_000_000..1_050_000].fill(0);
    bytes.truncate(whole.len() - 20_000);
    std::fs::write(&pack, bytes).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    // Before anybody looked: a restore gives all of it, and says by what.
    let target = sandbox.path("before");
    let ended =
        sandbox.run([std::ffi::OsStr::new("restore"), "latest".as_ref(), "-t".as_ref(), target.as_os_str()]);
    ended.expect(0).warns("1 pack is damaged and was read by its recovery data");
    common::assert_same(&sandbox.source(), &common::below(&target, &sandbox.source()));
    sandbox
        .run(["check", "--read-data"])
        .expect(5)
        .says(&name)
        .says("its recovery data brings it back: copal parity repair");
    let spoiled = std::fs::read(&pack).unwrap();
    let damage = std::fs::read_dir(sandbox.repository().join("damage")).unwrap().count();
    let sessions = std::fs::read_dir(sandbox.repository().join("sessions")).unwrap().count();
    sandbox
        .run(["parity", "repair", "--dry-run"])
        .expect(0)
        .says("looked at 1 pack; 1 would be as it was again");
    assert!(std::fs::read(&pack).unwrap() == spoiled, "a dry run put it back");
    assert_eq!(std::fs::read_dir(sandbox.repository().join("damage")).unwrap().count(), damage);
    assert_eq!(std::fs::read_dir(sandbox.repository().join("sessions")).unwrap().count(), sessions);
    sandbox.run(["parity", "repair"]).expect(0).says("looked at 1 pack; 1 is as it was again");
    assert!(std::fs::read(&pack).unwrap() == whole);
    sandbox.run(["check", "--read-data"]).expect(0).says("no errors were found");
    sandbox.run(["parity", "repair"]).expect(0).says("looked at 0 packs");
    sandbox.run(["restore", "latest", "-t", "after"]).expect(0);
    common::assert_same(&sandbox.source(), &common::below(&sandbox.path("after"), &sandbox.source()));

    // A repair of packs puts back what it can before it salvages anything.
    std::fs::write(&pack, &whole[..whole.len() - 10_000]).unwrap();
    sandbox.run(["check"]).expect(5);
    // It says what else there would be to do: how much of the damaged block is lost goes by chance.
    let tried = sandbox.run(["repair", "packs", "--dry-run"]);
    assert!(matches!(tried.code, 0 | 3), "{tried}");
    assert_eq!(std::fs::read(&pack).unwrap().len(), whole.len() - 10_000);
    sandbox.run(["repair", "packs"]).expect(0).says("1 pack put back by recovery data").says("nothing to do");
    assert!(std::fs::read(&pack).unwrap() == whole);
    sandbox.run(["check", "--read-data"]).expect(0).says("no errors were found");

    // Too much: left as it is, and said so.
    std::fs::write(&pack, &whole[..whole.len() / 2]).unwrap();
    sandbox.run(["check"]).expect(5).says("parts are lost, and its recovery data can bring back");
    sandbox
        .run(["parity", "repair", &name[..12]])
        .expect(5)
        .says("parts are lost")
        .warns("1 pack stays damaged");
    sandbox.run(["parity", "repair", "--read-data"]).expect(5);
    sandbox.run(["parity", "repair", "--read-data", "-n"]).expect(5).says("parts are lost");
    assert_eq!(std::fs::read(&pack).unwrap().len(), whole.len() / 2);
    sandbox.run(["parity", "repair", "xyz"]).expect(2);
    std::fs::write(&pack, &whole).unwrap();
    sandbox.run(["parity", "repair"]).expect(0).says("0 are as they were again");
    sandbox.run(["check", "--read-data"]).expect(0);

    // Damaged recovery data is no damage to what was saved, and is made anew.
    let parity = sandbox.repository().join("parity").join(&name);
    let made = std::fs::read(&parity).unwrap();
    std::fs::write(&parity, &made[..made.len() - 1]).unwrap();
    sandbox.run(["check", "--read-data"]).expect(3).says("parity").warns("copal parity repair --read-data");
    sandbox.run(["check"]).expect(0);
    sandbox
        .run(["parity", "repair", "--read-data", "--dry-run"])
        .expect(0)
        .says("would make recovery data anew of 1 pack");
    assert_eq!(std::fs::read(&parity).unwrap().len(), made.len() - 1);
    sandbox.run(["parity", "repair", "--read-data"]).expect(0).says("made recovery data anew of 1 pack");
    assert!(std::fs::read(&parity).unwrap() == made);

    sandbox.run(["parity", "off"]).expect(0);
    sandbox.write("source/new", common::noise(4, 300_000));
    sandbox.back_up();
    let all = packs_of(&sandbox).len();
    let new = all - packs;
    sandbox.run(["check"]).expect(0);
    sandbox.run(["parity", "status"]).expect(0).says(&format!("{packs} of {all} packs have recovery data"));
    sandbox
        .run(["parity", "add", "2.5%"])
        .expect(0)
        .says(&format!("added recovery data to {new} packs"))
        .says(&format!("{packs} packs had it before"));
    sandbox.run(["parity", "remove"]).expect(0).says(&format!("removed the recovery data of {all} packs"));
    sandbox.run(["parity", "status"]).expect(0).says(&format!("0 of {all} packs have"));
    assert_eq!(std::fs::read_dir(sandbox.repository().join("parity")).unwrap().count(), 0);
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn a_check_counts_packs_without_recovery_data_when_new_ones_get_it() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", common::noise(1, 300_000));
    sandbox.run(["parity", "add", "1%"]).expect(0);
    sandbox.back_up();
    let folder = sandbox.repository().join("parity");
    let one = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&one).unwrap();
    sandbox.run(["check", "--read-data"]).expect(0).says("1 pack has no recovery data yet: copal parity add");
    assert_eq!(sandbox.run(["check", "--json"]).expect(0).summary()["packs_without_parity"], 1);
    sandbox.run(["parity", "add"]).expect(0).says("added recovery data to 1 pack");
    assert!(one.exists());
}
