//! The local cache, looked at and not touched: whether it can be used, and what it remembers.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::place::room;
use super::{Finding, Matter, Next, Severity};
use crate::index::{Index, Peeked};
use crate::model::{Id, Time};
use crate::repository::Repository;
use crate::repository::{EXPORTED_FACT, GENERATION_FACT, packs};
use crate::terminal::escape::escape;
use crate::terminal::size::show_size;

/// What the cache remembers of earlier runs on this machine.
#[derive(Default)]
pub(super) struct Memory {
    /// There is a cache, and it could be read.
    pub is_known: bool,
    /// A recovery sheet was made.
    pub exported: bool,
    /// The highest generation of `config` that was seen.
    pub generation: Option<u64>,
    /// When each pack was read whole.
    pub reads: HashMap<Id, Time>,
    pub index_objects: Vec<Id>,
    /// When a check ended last, and how much it found.
    pub checked: Option<(Time, u64)>,
}

impl Memory {
    fn of(index: &Index) -> Memory {
        let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let fact = |name: &str| index.fact(name).ok().flatten();
        let mut reads = HashMap::new();
        for (name, value) in index.facts_with_prefix(packs::READ_FACT).unwrap_or_default() {
            if let (Some(id), Some(time)) = (Id::parse(&name[packs::READ_FACT.len()..]), number(&value)) {
                reads.insert(id, Time::new(time as i64, 0));
            }
        }
        let checked = fact(packs::CHECKED_FACT).and_then(|bytes| {
            let (time, found) = bytes.split_at_checked(8)?;
            Some((Time::new(number(time)? as i64, 0), number(found)?))
        });
        Memory {
            is_known: true,
            exported: fact(EXPORTED_FACT).is_some(),
            generation: fact(GENERATION_FACT).as_deref().and_then(number),
            reads,
            index_objects: index.known_index_objects().unwrap_or_default(),
            checked,
        }
    }
}

/// Looks at the cache of that repository.
pub(super) fn look(folder: Option<&Path>, repository: &Repository) -> (Vec<Finding>, Memory) {
    let (mut findings, mut memory) = (Vec::new(), Memory::default());
    let Some(folder) = folder else { return (findings, memory) };
    let path = Index::path(folder, &repository.id());
    let shown = |path: &Path| [escape(path.as_os_str().as_bytes()).into_owned()];
    let warning = |matter, what: String| Finding::new(Severity::Warning, matter, what);
    match Index::peek(folder, repository.id()) {
        Peeked::Missing => {
            let what = "there is no local cache of this repository yet: the next command makes one";
            findings.push(
                Finding::new(Severity::Note, Matter::CacheMissing, what)
                    .of(shown(&path))
                    .then(Next::copal("snapshots")),
            );
        }
        Peeked::Sound(index) => memory = Memory::of(&index),
        Peeked::Unusable(reason) => {
            let what = format!(
                "the local cache is of no use ({reason}): the next command puts it aside and makes it anew"
            );
            findings
                .push(warning(Matter::CacheUnusable, what).of(shown(&path)).then(Next::copal("snapshots")));
        }
        Peeked::Denied(reason) => {
            let what = format!(
                "the local cache can not be read or written ({reason}): every command works without it, and slower"
            );
            let next = Next::other(&["ls", "-lad"], if path.exists() { &path } else { folder });
            findings.push(warning(Matter::CacheDenied, what).of(shown(&path)).then(next));
        }
    }
    let there = folder.ancestors().find(|above| above.exists()).unwrap_or(folder);
    if let Some((free, Some(_))) = room(there) {
        let what = format!(
            "the disk of the local cache is almost full ({} free): commands work without a cache, and slower",
            show_size(free)
        );
        findings.push(
            warning(Matter::CacheFull, what).of(shown(folder)).then(Next::other(&["du", "-sh"], folder)),
        );
    }
    (findings, memory)
}
