//! Packs and chunks that count as absent: marked for removal, removed, or found damaged.
//!
//! Kept in the database too, so that a run that fails to list the marks errs on the side of storing once more.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use super::records::PackInfo;
use super::{Error, Index, lock, read, write};
use crate::model::{Contents, Id};

/// What is hidden.
#[derive(Default)]
pub(super) struct Hidden {
    packs: HashSet<Id>,
    /// Hidden chunks, each with the pack in which this process stored it again.
    chunks: HashMap<(Contents, Id), Option<Id>>,
    /// Whose packs may be relied on: a writer's number, or 0 for those that full keys made; and whether these too.
    writer: u32,
    and_full: bool,
}

impl Hidden {
    /// What the database has.
    pub(super) fn load(connection: &Connection) -> Result<Hidden, Error> {
        let mut hidden = Hidden::default();
        let mut query = connection.prepare("SELECT name FROM hidden_packs")?;
        for name in query.query_map([], |row| row.get(0))? {
            hidden.packs.insert(Id(name?));
        }
        let mut query = connection.prepare("SELECT contents, id FROM hidden_chunks")?;
        for row in query.query_map([], |row| Ok((row.get::<_, u8>(0)?, row.get(1)?)))? {
            let (contents, id) = row?;
            let contents = contents_of(contents)?;
            hidden.chunks.insert((contents, Id(id)), None);
        }
        Ok(hidden)
    }

    /// Whether a chunk in this pack may be relied on.
    pub(super) fn allows(&self, contents: Contents, id: &Id, pack: &PackInfo) -> bool {
        let is_relied_on = pack.writer == self.writer || self.and_full && pack.writer == 0;
        if !is_relied_on || self.packs.contains(&pack.name) {
            return false;
        }
        match self.chunks.get(&(contents, *id)) {
            None => true,
            Some(healed) => *healed == Some(pack.name),
        }
    }

    /// Notes that this process stored a chunk anew; its copy there counts as present.
    pub(super) fn heal(&mut self, contents: Contents, id: &Id, pack: &Id) {
        if let Some(healed) = self.chunks.get_mut(&(contents, *id)) {
            *healed = Some(*pack);
        }
    }

    /// Whether no chunk is hidden for itself.
    pub(super) fn has_chunks(&self) -> bool {
        !self.chunks.is_empty()
    }
}

/// The kind of contents of a number in the database.
pub(super) fn contents_of(number: u8) -> Result<Contents, Error> {
    Contents::from_number(u64::from(number))
        .ok_or_else(|| Error::Damaged(format!("kind of contents {number}")))
}

impl Index {
    /// Says whose packs alone may be relied on: those of that writer, or, when it is 0, those that full keys made; these too where it says so.
    pub fn rely_on(&self, writer: u32, and_full: bool) {
        let mut hidden = write(&self.hidden);
        (hidden.writer, hidden.and_full) = (writer, and_full);
    }

    /// Says that these packs count as absent too, in this process.
    pub fn hide(&self, packs: &[Id]) {
        write(&self.hidden).packs.extend(packs);
    }

    /// Says which packs and chunks count as absent for `lookup` and `contains`, in place of those said before. A chunk that this
    /// process stores after that counts as present there. Holds in this process also when writing it down fails.
    pub fn set_hidden(&self, packs: &[Id], chunks: &[(Contents, Id)]) -> Result<(), Error> {
        {
            let mut hidden = write(&self.hidden);
            *hidden = Hidden {
                packs: packs.iter().copied().collect(),
                chunks: chunks.iter().map(|chunk| (*chunk, None)).collect(),
                writer: hidden.writer,
                and_full: hidden.and_full,
            };
        }
        let mut writer = lock(&self.writer);
        if read(&self.hidden).same_as(&Hidden::load(&writer)?) {
            return Ok(());
        }
        self.change_on(&mut writer, |transaction| {
            transaction.execute_batch("DELETE FROM hidden_packs; DELETE FROM hidden_chunks")?;
            let mut insert = transaction.prepare("INSERT OR IGNORE INTO hidden_packs VALUES (?1)")?;
            for name in packs {
                insert.execute([&name.0[..]])?;
            }
            let mut insert = transaction.prepare("INSERT OR IGNORE INTO hidden_chunks VALUES (?1, ?2)")?;
            for (contents, id) in chunks {
                insert.execute((*contents as u8, &id.0[..]))?;
            }
            Ok(())
        })
    }
}

impl Hidden {
    /// Whether the same packs and chunks are hidden.
    fn same_as(&self, other: &Hidden) -> bool {
        let same_chunks = || self.chunks.keys().all(|chunk| other.chunks.contains_key(chunk));
        self.packs == other.packs && self.chunks.len() == other.chunks.len() && same_chunks()
    }
}
