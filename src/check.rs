//! Checking: every snapshot's structure against the packs, and, when asked, every byte of the packs. What is found is written down in the
//! repository, so that later backups store again what is missing. Nothing is repaired here.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rayon::prelude::*;

use crate::format::session::Damage;
use crate::index::{Location, PackInfo};
use crate::model::clock::Clock;
use crate::model::{Contents, Id, Node, NodeType, SegmentKind, XattrValue};
use crate::progress::{Event, Listener};
use crate::repository::{Error, Repository};
use std::sync::Arc;

/// How much of the packs is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// Structure only.
    Nothing,
    Everything,
    /// Part n of t, from 1.
    Part(u64, u64),
    /// That share of the packs, chosen at random, 0 to 1.
    Share(f64),
    /// About that many bytes, those first that were not read for longest.
    Bytes(u64),
    /// What fits into that time, those first that were not read for longest.
    Time(Duration),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `pack`, `index`, `snapshot`, `tree`, `file`.
    pub kind: &'static str,
    /// Which one: a name, or snapshot and path.
    pub object: String,
    pub what: String,
}

/// What a check saw.
#[derive(Debug, Default)]
pub struct Report {
    pub snapshots: u64,
    pub trees: u64,
    pub files: u64,
    pub packs: u64,
    pub packs_read: u64,
    pub bytes_read: u64,
    /// Packs that no index names: left by interrupted runs, harmless.
    pub leftover_packs: u64,
    pub unconfirmed: u64,
    pub findings: Vec<Finding>,
}

struct Check<'r> {
    repository: &'r Repository,
    listener: &'r dyn Listener,
    stop: &'r AtomicBool,
    findings: Mutex<Vec<Finding>>,
    /// Packs that are missing or damaged in any part.
    bad_packs: Mutex<HashSet<Id>>,
    /// Chunks whose bytes in some pack are not what they should be: (contents, id, pack).
    bad_chunks: Mutex<HashSet<(Contents, Id, Id)>>,
}

impl Check<'_> {
    fn find(&self, kind: &'static str, object: String, what: String) {
        self.listener.event(Event::Problem {
            path: None,
            what: &format!("{kind} {object}: {what}"),
            code: "damaged",
            during: "check",
        });
        self.findings.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(Finding {
            kind,
            object,
            what,
        });
    }

    fn bad_pack(&self, name: Id) {
        self.bad_packs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(name);
    }

    /// Reads one pack wholly: its name, its directory, every block and every chunk.
    fn read_pack(&self, pack: &Arc<PackInfo>) -> Result<u64, Error> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let name = pack.name.to_string();
        let bytes = match self.repository.read_pack_range(&pack.name, 0, pack.length as usize) {
            Ok(bytes) => bytes,
            Err(error) if error.is_damage() => {
                self.bad_pack(pack.name);
                self.find("pack", name, error.to_string());
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let whole = crate::crypto::object_name(&bytes) == pack.name;
        if !whole {
            self.bad_pack(pack.name);
            self.find("pack", name.clone(), "its bytes are not those that were stored".to_owned());
        }
        let entry = self.repository.read_pack_entry(&pack.name, pack.length);
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.is_damage() => {
                if whole {
                    self.bad_pack(pack.name);
                    self.find("pack", name, error.to_string());
                }
                // Its blocks may all be good: the index knows where they lie, but not here which ids they hold.
                return Ok(pack.length);
            }
            Err(error) => return Err(error),
        };
        for (number, block) in entry.directory.blocks.iter().enumerate() {
            let location = Location {
                pack: pack.clone(),
                block: number as u32,
                codec: block.codec,
                block_offset: block.offset,
                block_stored: block.stored,
                block_plain: block.plain,
                offset: 0,
                length: 0,
            };
            let sealed = bytes.get(block.offset as usize..block.offset as usize + block.stored as usize);
            let plain = match sealed {
                Some(sealed) => self.repository.open_block(&location, sealed.to_vec()),
                None => Err(Error::Lost { contents: pack.contents, id: Id::default() }),
            };
            let mut start = 0;
            for (id, length) in &block.chunks {
                let chunk = plain.as_ref().ok().and_then(|plain| plain.get(start..start + *length as usize));
                start += *length as usize;
                if chunk.is_none_or(|chunk| self.repository.hasher().id(pack.contents, chunk) != *id) {
                    self.bad_pack(pack.name);
                    let bad = (pack.contents, *id, pack.name);
                    self.bad_chunks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(bad);
                }
            }
            if whole && let Err(error) = plain {
                self.find("pack", name.clone(), error.to_string());
            }
        }
        Ok(pack.length)
    }

    /// Whether some pack still gives this chunk, as far as this check knows.
    fn is_there(&self, contents: Contents, id: &Id) -> Result<bool, Error> {
        let locations = self.repository.index.lookup_for_reading(contents, id)?;
        let missing = self.bad_packs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bad = self.bad_chunks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if missing.is_empty() {
            return Ok(!locations.is_empty());
        }
        for location in &locations {
            if !missing.contains(&location.pack.name) {
                return Ok(true);
            }
            if bad.contains(&(contents, *id, location.pack.name)) {
                continue;
            }
            // In a damaged pack, but perhaps in a good part of it: look.
            if self.repository.chunk_at_opens(contents, id, location) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn node_problem(&self, node: &Node) -> Result<Option<String>, Error> {
        let mut problem = None;
        let mut lost = 0u64;
        let result = self.repository.segments(&node.content, node.size, &mut |segment| {
            match segment.kind {
                SegmentKind::Data(id) if !self.is_there(Contents::Data, &id)? => lost += segment.length,
                SegmentKind::Gap => lost += segment.length,
                _ => {}
            }
            Ok(())
        });
        match result {
            Ok(()) if lost > 0 => problem = Some(format!("{lost} of its {} bytes are lost", node.size)),
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                problem = Some(format!("its list of contents is lost: {error}"))
            }
            Err(error) => return Err(error),
        }
        for xattr in &node.xattrs {
            if let XattrValue::Chunk(id, _) = &xattr.value
                && !self.is_there(Contents::Data, id)?
            {
                problem = Some("an attribute is lost".to_owned());
            }
        }
        Ok(problem)
    }

    /// Walks one snapshot; trees seen before in good order are passed over.
    fn walk(&self, label: &str, root: Id, good: &mut HashSet<Id>, report: &mut Report) -> Result<(), Error> {
        struct Open<'r> {
            tree: Id,
            nodes: crate::repository::trees::Nodes<'r>,
            path: Vec<u8>,
            clean: bool,
        }
        let open =
            |tree: Id, path: Vec<u8>| Open { tree, nodes: self.repository.nodes(tree), path, clean: true };
        let mut stack = vec![open(root, Vec::new())];
        while let Some(last) = stack.last_mut() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let node = match last.nodes.next() {
                Some(Ok(node)) => node,
                Some(Err(error)) if error.is_damage() => {
                    last.clean = false;
                    let path = crate::terminal::escape::escape(&last.path).into_owned();
                    self.find("tree", format!("{label}:{path}/"), error.to_string());
                    continue;
                }
                Some(Err(error)) => return Err(error),
                None => {
                    if let Some(done) = stack.pop() {
                        report.trees += 1;
                        if let Some(parent) = stack.last_mut() {
                            parent.clean &= done.clean;
                        }
                        if done.clean {
                            good.insert(done.tree);
                        }
                    }
                    continue;
                }
            };
            let mut path = last.path.clone();
            path.push(b'/');
            path.extend_from_slice(&node.name);
            match (node.kind, node.tree) {
                (NodeType::Directory, Some(tree)) if !good.contains(&tree) => {
                    if stack.len() > crate::format::limits::DEPTH_MAX {
                        return Err(Error::Damaged {
                            object: format!("{label}:"),
                            what: "nested too deeply".to_owned(),
                        });
                    }
                    stack.push(open(tree, path));
                }
                (NodeType::Directory, _) => {}
                _ => {
                    report.files += 1;
                    if let Some(problem) = self.node_problem(&node)? {
                        if let Some(last) = stack.last_mut() {
                            last.clean = false;
                        }
                        let path = crate::terminal::escape::escape(&path).into_owned();
                        self.find("file", format!("{label}:{path}"), problem);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The packs to read, in order.
fn choose(
    repository: &Repository,
    packs: &[Arc<PackInfo>],
    reading: Reading,
) -> Result<Vec<Arc<PackInfo>>, Error> {
    let mut chosen: Vec<Arc<PackInfo>> = packs.to_vec();
    match reading {
        Reading::Nothing => chosen.clear(),
        Reading::Everything => {}
        // By name, so that t runs with all n read everything, whatever is added in between.
        Reading::Part(part, of) => {
            chosen.retain(|pack| pack.name.prefix() % of.max(1) == part.saturating_sub(1))
        }
        Reading::Share(share) => {
            for place in (1..chosen.len()).rev() {
                let random = u64::from_le_bytes(crate::crypto::random()?);
                chosen.swap(place, (random % (place as u64 + 1)) as usize);
            }
            chosen.truncate((chosen.len() as f64 * share).ceil() as usize);
        }
        Reading::Bytes(_) | Reading::Time(_) => {
            let mut dated = Vec::with_capacity(chosen.len());
            for pack in chosen {
                let read = repository.index.fact(&read_fact(&pack.name))?;
                dated
                    .push((read.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_le_bytes), pack));
            }
            dated.sort_by_key(|(read, pack)| (*read, pack.name));
            chosen = dated.into_iter().map(|(_, pack)| pack).collect();
            if let Reading::Bytes(most) = reading {
                let mut total = 0;
                chosen.retain(|pack| {
                    let wanted = total < most;
                    total += pack.length;
                    wanted
                });
            }
        }
    }
    Ok(chosen)
}

/// Under which a pack's last reading is remembered.
fn read_fact(name: &Id) -> String {
    format!("read {name}")
}

/// Checks a repository that was just synchronised; `synced` is what that found.
pub fn check(
    repository: &Repository,
    synced: &crate::repository::Synced,
    reading: Reading,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Report, Error> {
    let check = Check {
        repository,
        listener,
        stop,
        findings: Mutex::default(),
        bad_packs: Mutex::default(),
        bad_chunks: Mutex::default(),
    };
    let mut report = Report::default();
    listener.event(Event::Started);
    for problem in &synced.problems {
        check.find("index", repository.location(), problem.to_string());
    }
    let (_, slot_problems) = repository.key_slots()?;
    for problem in slot_problems {
        check.find("key", repository.location(), problem.to_string());
    }
    for problem in repository.config_problems()? {
        check.find("config", repository.location(), problem.to_string());
    }

    let stored: std::collections::HashMap<Id, u64> = repository.stored_packs()?.into_iter().collect();
    let mut packs = Vec::new();
    repository.index.packs(&mut |pack| packs.push(pack))?;
    packs.sort_by_key(|pack| pack.name);
    report.packs = packs.len() as u64;
    let known: HashSet<Id> = packs.iter().map(|pack| pack.name).collect();
    report.leftover_packs = stored.keys().filter(|name| !known.contains(name)).count() as u64;
    let mut readable = Vec::new();
    for pack in &packs {
        match stored.get(&pack.name) {
            None => {
                check.bad_pack(pack.name);
                check.find("pack", pack.name.to_string(), "missing".to_owned());
            }
            Some(length) if *length != pack.length => {
                check.bad_pack(pack.name);
                check.find(
                    "pack",
                    pack.name.to_string(),
                    format!("{length} bytes long instead of {}", pack.length),
                );
            }
            Some(_) => readable.push(pack.clone()),
        }
    }

    let chosen = choose(repository, &readable, reading)?;
    let total: u64 = chosen.iter().map(|pack| pack.length).sum();
    listener.event(Event::Totals { files: chosen.len() as u64, bytes: total });
    let deadline = match reading {
        Reading::Time(budget) => Some(clock.now().plus_seconds(budget.as_secs() as i64)),
        _ => None,
    };
    let read: Vec<(Id, u64)> = chosen
        .par_iter()
        .filter(|_| deadline.is_none_or(|deadline| clock.now() < deadline))
        .map(|pack| {
            let bytes = check.read_pack(pack)?;
            listener.event(Event::Bytes(bytes));
            Ok((pack.name, bytes))
        })
        .collect::<Result<_, Error>>()?;
    let now = clock.now().seconds.to_le_bytes();
    for (name, bytes) in &read {
        report.packs_read += 1;
        report.bytes_read += bytes;
        let _ = repository.index.set_fact(&read_fact(name), &now);
    }

    let snapshots = repository.snapshots()?;
    for problem in &snapshots.problems {
        check.find("snapshot", repository.location(), problem.to_string());
    }
    report.unconfirmed = snapshots.unconfirmed.len() as u64;
    let mut good = HashSet::new();
    for named in &snapshots.confirmed {
        report.snapshots += 1;
        check.walk(&named.name.short(), named.snapshot.root, &mut good, &mut report)?;
    }
    write_down(&check, clock)?;
    report.findings = check.findings.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    listener.event(Event::Finished);
    Ok(report)
}

/// Writes a damage record, so that later backups store again what is damaged. A repository that can not be written is only checked.
fn write_down(check: &Check<'_>, clock: &dyn Clock) -> Result<(), Error> {
    let packs: Vec<Id> = {
        let mut packs: Vec<Id> =
            check.bad_packs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter().copied().collect();
        packs.sort_unstable();
        packs
    };
    if packs.is_empty() {
        return Ok(());
    }
    let damage = Damage { packs, time: clock.now() };
    match check.repository.put_damage(&damage) {
        Ok(()) => Ok(()),
        Err(Error::Backend(error)) => {
            check.listener.event(Event::Note(&format!(
                "the damage could not be written down in the repository: {error}"
            )));
            Ok(())
        }
        Err(error) => Err(error),
    }
}
