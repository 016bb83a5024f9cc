//! Packs: what index objects name against what is there, what was found damaged before, and when all of it was read last. No pack is
//! read but the directories of some: that is for `check`.

use std::collections::{HashMap, HashSet};

use super::hurt::{self, Hurt};
use super::objects::Problems;
use super::{DAY, Finding, Inside, Matter, Next, Seen, Severity};
use crate::backend::Kind;
use crate::format::session::{Damage, decode_damage};
use crate::model::{Contents, Id, SegmentKind, Time};
use crate::repository::removals::Removals;
use crate::repository::snapshots::Snapshots;
use crate::repository::{Error, get_named, list_names};
use crate::terminal::size::{agree, show_count, show_size};
use crate::terminal::time;

/// For how long what was read counts as known to be sound, seconds.
const READ_SECONDS: i64 = 35 * DAY;
/// Bytes above which reading everything at once is too much to ask for.
const MUCH_BYTES: u64 = 20 << 30;

/// What index objects say.
#[derive(Default)]
struct Named {
    /// Length of each pack.
    packs: HashMap<Id, u64>,
    objects: HashSet<Id>,
    unreadable: bool,
    /// Chunks that snapshots name themselves and that no pack that is there holds.
    wanted: HashSet<(Contents, Id)>,
}

impl Named {
    fn read(
        inside: &Inside<'_>,
        stored: &HashMap<Id, u64>,
        removed: &HashSet<Id>,
        findings: &mut Vec<Finding>,
        wanted: HashSet<(Contents, Id)>,
    ) -> Result<Named, Error> {
        let repository = inside.repository;
        let mut named = Named { wanted, ..Named::default() };
        let mut problems = Problems::default();
        for name in list_names(&*repository.backend, Kind::Index)? {
            named.objects.insert(name);
            let object = match repository.load_index_object(&name) {
                Ok(object) => object,
                Err(_) if is_gone(inside, Kind::Index, &name) => continue,
                Err(error) => {
                    problems.add(Kind::Index, &error);
                    named.unreadable = true;
                    continue;
                }
            };
            if let Some(error) = repository.unseen(&name, &object) {
                problems.add(Kind::Index, &error);
                named.unreadable = true;
            }
            for entry in object.packs.into_iter().filter(|entry| !removed.contains(&entry.name)) {
                named.packs.insert(entry.name, entry.length);
                if !named.wanted.is_empty() && stored.get(&entry.name) == Some(&entry.length) {
                    let contents = entry.directory.contents;
                    for (id, _) in entry.directory.blocks.iter().flat_map(|block| &block.chunks) {
                        named.wanted.remove(&(contents, *id));
                    }
                }
            }
        }
        problems.tell(inside.folder, findings);
        Ok(named)
    }
}

/// Whether an object went away since it was listed.
fn is_gone(inside: &Inside<'_>, kind: Kind, name: &Id) -> bool {
    inside.repository.backend.stat(kind, &name.to_string()).is_err_and(|error| error.is_not_found())
}

/// Trees and state chunks that snapshots name themselves.
fn wanted(all: &Snapshots) -> HashSet<(Contents, Id)> {
    let mut wanted = HashSet::new();
    for named in all.saved() {
        wanted.insert((Contents::Trees, named.snapshot.root));
        for segment in &named.snapshot.state {
            if let SegmentKind::Data(id) = segment.kind {
                wanted.insert((Contents::Data, id));
            }
        }
    }
    wanted
}

/// Looks at all packs.
pub(super) fn look(
    inside: &Inside<'_>,
    all: &Snapshots,
    removals: &Removals,
    seen: &mut Seen,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let stored: HashMap<Id, u64> = inside.repository.stored_packs()?.into_iter().collect();
    (seen.packs, seen.bytes) = (stored.len() as u64, stored.values().sum());
    let (removed, marked) = (removals.removed(), removals.marked());
    let mut named = Named::read(inside, &stored, &removed, findings, wanted(all))?;
    let mut broken: Vec<(Id, String)> = Vec::new();
    for (name, length) in &named.packs {
        match stored.get(name) {
            None if marked.contains(name) => {}
            None => broken.push((*name, "missing".to_owned())),
            Some(found) if found != length => {
                broken.push((*name, format!("{found} bytes long instead of {length}")));
            }
            Some(_) => {}
        }
    }
    broken.sort_unstable();
    let records = damage_records(inside, findings)?;
    let told: HashSet<Id> = records.iter().flat_map(|(_, record)| record.packs.iter().copied()).collect();
    let missing: HashSet<Id> = broken.iter().map(|(name, _)| *name).collect();
    let is_open =
        |pack: &&Id| stored.contains_key(pack) && named.packs.contains_key(pack) && !missing.contains(pack);
    let mut open = sorted(told.iter().filter(is_open));
    open.dedup();
    let bad: HashSet<Id> = missing.iter().chain(&open).copied().collect();
    let hurt = hurt::look(inside, &bad, &stored, &removed)?;
    // Only what is written down is stored again.
    let untold = hurt.only_there > 0 && missing.iter().any(|name| !told.contains(name));
    let next = || match untold {
        true => Next::copal("check"),
        false => hurt::healing(inside, all, &records, hurt),
    };
    let weigh = |finding: Finding| match hurt.only_there {
        0 => Finding { severity: Severity::Warning, is_damage: false, ..finding },
        _ => finding,
    };
    let can_be_put_back = hurt::has_parity(inside, &open);
    let costs = match hurt {
        Hurt { only_there: 0, .. } => {
            "everything in them lies elsewhere too, so nothing is lost, and a prune takes them".to_owned()
        }
        Hurt { only_there, lost: 0 } => {
            format!("{} lie only there, and can still be read", show_count(only_there as u64, "chunk"))
        }
        Hurt { only_there, lost } => {
            let hope = match can_be_put_back {
                true => "but for recovery data, that is lost",
                false => "lost, unless a backup finds it again",
            };
            format!(
                "of {} that lie only there, {lost} can not be read: {hope}",
                show_count(only_there as u64, "chunk")
            )
        }
    };
    if !broken.is_empty() {
        let what = format!(
            "{} {} missing or of another length; {costs}",
            show_count(broken.len() as u64, "pack"),
            agree(broken.len() as u64, "is", "are"),
        );
        let objects = broken.iter().map(|(name, what)| format!("packs/{name}: {what}"));
        findings.push(weigh(Finding::damage(Matter::PackMissing, what).of(objects)).then(next()));
    }
    if !open.is_empty() {
        let what = format!("a check found {} damaged; {costs}", show_count(open.len() as u64, "pack"));
        let objects = open.iter().map(|pack| format!("packs/{pack}"));
        let next = match can_be_put_back {
            true => Next::copal("parity repair"),
            false => next(),
        };
        findings.push(weigh(Finding::damage(Matter::PackDamaged, what).of(objects)).then(next));
    }
    if bad.is_empty() {
        found_before(inside, &records, findings);
    }
    let unnamed: Vec<Id> =
        sorted(stored.keys().filter(|name| {
            !named.packs.contains_key(name) && !removed.contains(name) && !marked.contains(name)
        }));
    lost_index(inside, &mut named, removals, &unnamed, &stored, findings);
    long_unread(inside, all, &stored, findings);
    Ok(())
}

fn sorted<'i>(names: impl Iterator<Item = &'i Id>) -> Vec<Id> {
    let mut names: Vec<Id> = names.copied().collect();
    names.sort_unstable();
    names
}

/// Everything that checks wrote down, what can be read of it.
fn damage_records(inside: &Inside<'_>, findings: &mut Vec<Finding>) -> Result<Vec<(Id, Damage)>, Error> {
    let repository = inside.repository;
    let (mut records, mut problems) = (Vec::new(), Problems::default());
    for name in list_names(&*repository.backend, Kind::Damage)? {
        let read = get_named(&*repository.backend, Kind::Damage, &name).and_then(|object| {
            decode_damage(&repository.keys, &object)
                .map_err(|error| Error::decode(Kind::Damage, &name.to_string(), error))
        });
        match read {
            Ok(record) => records.push((name, record)),
            Err(_) if is_gone(inside, Kind::Damage, &name) => {}
            Err(error) => problems.add(Kind::Damage, &error),
        }
    }
    problems.tell(inside.folder, findings);
    records.sort_by_key(|(name, record)| (record.time, *name));
    Ok(records)
}

/// What checks found lost, of which no bad pack tells any more.
fn found_before(inside: &Inside<'_>, records: &[(Id, Damage)], findings: &mut Vec<Finding>) {
    let clean = inside.memory.checked.filter(|(_, found)| *found == 0).map(|(time, _)| time);
    let lost = records.iter().filter(|(_, record)| record.lost.is_some());
    let Some((name, record)) = lost.max_by_key(|(_, record)| record.time) else { return };
    if clean.is_none_or(|clean| clean < record.time) {
        let what = format!(
            "a check at {} found that something was lost; whether it still is, another check says",
            time::show(record.time)
        );
        findings.push(
            Finding::new(Severity::Warning, Matter::DamageFound, what)
                .of([format!("damage/{name}")])
                .then(Next::copal("check")),
        );
    }
}

/// Packs that no index object names: left by a run that was cut off, or what is left of index objects that are gone.
fn lost_index(
    inside: &Inside<'_>,
    named: &mut Named,
    removals: &Removals,
    unnamed: &[Id],
    stored: &HashMap<Id, u64>,
    findings: &mut Vec<Finding>,
) {
    let explained: HashSet<Id> =
        removals.tombstones.iter().flat_map(|(_, done)| done.index_objects.iter().copied()).collect();
    let gone: Vec<Id> = sorted(
        inside
            .memory
            .index_objects
            .iter()
            .filter(|name| !named.objects.contains(name) && !explained.contains(name)),
    );
    let mut holds_wanted = Vec::new();
    if !named.wanted.is_empty() {
        for name in unnamed {
            let Some(length) = stored.get(name) else { continue };
            let Ok(entry) = inside.repository.read_pack_entry(name, *length) else { continue };
            let contents = entry.directory.contents;
            let before = named.wanted.len();
            for (id, _) in entry.directory.blocks.iter().flat_map(|block| &block.chunks) {
                named.wanted.remove(&(contents, *id));
            }
            if named.wanted.len() < before {
                holds_wanted.push(*name);
            }
        }
    }
    let objects = || unnamed.iter().map(|name| format!("packs/{name}"));
    let none = named.objects.is_empty() && !unnamed.is_empty();
    if none || !gone.is_empty() && !unnamed.is_empty() || !holds_wanted.is_empty() && !named.unreadable {
        let what = format!(
            "index objects are missing: {} {} named by none; the packs themselves say all that those said",
            show_count(unnamed.len() as u64, "pack"),
            agree(unnamed.len() as u64, "is", "are")
        );
        let gone = gone.iter().map(|name| format!("index/{name}: missing"));
        let finding = Finding::damage(Matter::IndexLost, what).of(gone.chain(objects()));
        findings.push(finding.then(Next::copal("repair index")));
    } else if !unnamed.is_empty() && !named.unreadable {
        let what = format!(
            "{} {} named by no index object: left by a backup that was cut off, most likely; what nobody needs of it goes with the next \
             prune, and a check says whether anything needs it",
            show_count(unnamed.len() as u64, "pack"),
            agree(unnamed.len() as u64, "is", "are")
        );
        findings.push(
            Finding::new(Severity::Note, Matter::PacksUnnamed, what).of(objects()).then(Next::copal("check")),
        );
    }
    let trees: Vec<Id> =
        sorted(named.wanted.iter().filter(|(contents, _)| *contents == Contents::Trees).map(|(_, id)| id));
    if !trees.is_empty() {
        let what = format!(
            "the first page of {} is in no pack that is there: those snapshots can not be read",
            show_count(trees.len() as u64, "snapshot tree")
        );
        findings.push(
            Finding::damage(Matter::TreeLost, what)
                .of(trees.iter().map(|id| format!("tree {id}")))
                .then(Next::copal("check")),
        );
    }
}

/// That packs were never read back, or not for long.
fn long_unread(inside: &Inside<'_>, all: &Snapshots, stored: &HashMap<Id, u64>, findings: &mut Vec<Finding>) {
    let old = |time: Time| inside.now.seconds.saturating_sub(time.seconds) > READ_SECONDS;
    // Nothing that is younger can have been left unread for long.
    let since = all.saved().filter_map(|named| named.confirmed).min();
    if !since.is_some_and(old) || stored.is_empty() || !inside.memory.is_known {
        return;
    }
    let (mut never, mut long, mut oldest) = (0, 0, None::<Time>);
    for (name, length) in stored {
        match inside.memory.reads.get(name) {
            None => never += length,
            Some(time) if old(*time) => {
                long += length;
                oldest = Some(oldest.map_or(*time, |before| before.min(*time)));
            }
            Some(_) => {}
        }
    }
    let total: u64 = stored.values().sum();
    // What was added since the last check is no reason for a word.
    if never + long <= total / 5 {
        return;
    }
    let what = match (never, oldest) {
        (_, None) if never == total => {
            "nothing in the repository was ever read back on this machine".to_owned()
        }
        (_, None) => {
            format!("{} of {} were never read back on this machine", show_size(never), show_size(total))
        }
        (_, Some(oldest)) => format!(
            "{} of {} were never read back on this machine, or not for long (since {})",
            show_size(never + long),
            show_size(total),
            time::show(oldest)
        ),
    };
    let what = format!("{what}: whether it still reads as it was written is not known");
    let how: &[&str] = if total > MUCH_BYTES { &["--budget", "1h"] } else { &["--read-data"] };
    let how = how.iter().map(|word| word.as_bytes().to_vec()).collect();
    findings.push(Finding::new(Severity::Warning, Matter::NeverRead, what).then(Next::Copal("check", how)));
}
