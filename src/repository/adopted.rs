//! Packs that no index object names, known by their own directories: for who reads at once, for who writes only after all of each was read.

use std::collections::HashSet;

use super::index_objects::{PACKS_PER_INDEX, fitting};
use super::sync::{Seen, Synced};
use super::{Error, Repository, packs};
use crate::crypto::FULL;
use crate::format::index::{IndexObject, PackEntry};
use crate::format::session::Damage;
use crate::model::{Id, Time};

/// Packs that go into the database at once.
const BATCH_PACKS: usize = 512;

impl Repository {
    /// Enters packs that no readable index object names, from their own directories, or from those that recovery data brings back.
    pub fn adopt_packs(&self, synced: &mut Synced) -> Result<(), Error> {
        // Who only adds opens none, not even its own.
        if self.is_write_only() {
            return Ok(());
        }
        let mut records = Vec::new();
        for (name, length) in self.stored_packs()? {
            if self.is_removed(&name) || self.seen().unsound.contains(&name) || self.index.relies_on(&name)? {
                continue;
            }
            match self.read_or_mend_entry(&name, length) {
                Ok(entry) => {
                    records.push(packs::record(&entry));
                    self.seen().adopted.push(entry);
                    synced.rebuilt_packs += 1;
                }
                Err(error) if error.is_damage() => synced.problems.push(error),
                Err(error) => return Err(error),
            }
            if records.len() >= BATCH_PACKS {
                self.index.add_packs(None, &records)?;
                records.clear();
            }
        }
        Ok(self.index.add_packs(None, &records)?)
    }

    /// Names of the packs that no readable index object names and that were read themselves.
    pub fn adopted(&self) -> Vec<Id> {
        self.seen().adopted.iter().map(|entry| entry.name).collect()
    }

    /// Whether there are any.
    pub fn has_adopted(&self) -> bool {
        !self.seen().adopted.is_empty()
    }

    /// Writes index objects for packs that had none: what a writer relies on must be found by everyone. Each is read wholly before: anybody
    /// who can store can put a pack there that begins and ends like another one, and holds nothing. Which do not hold what they say is
    /// written down, so that copies in these count for nobody. Whether there were such: what was looked up before may rest on them.
    pub fn name_adopted(&self) -> Result<bool, Error> {
        let mut has_unsound = false;
        loop {
            let batch: Vec<PackEntry> = {
                let mut seen = self.seen();
                let Seen { adopted, removed, .. } = &mut *seen;
                adopted.retain(|entry| !removed.contains(&entry.name));
                // Those of each who made them come together.
                adopted.sort_by_key(|entry| entry.maker.writer);
                let writer = adopted.first().map_or(FULL, |entry| entry.maker.writer);
                let count = adopted.partition_point(|entry| entry.maker.writer == writer);
                let own = &adopted[..count];
                own[..fitting(own, PACKS_PER_INDEX)].to_vec()
            };
            if batch.is_empty() {
                return Ok(has_unsound);
            }
            let names: HashSet<Id> = batch.iter().map(|entry| entry.name).collect();
            let (packs, all_sound) = self.tried(batch)?;
            has_unsound |= !all_sound;
            if let Some(writer) = packs.first().map(|entry| entry.maker.writer) {
                let records: Vec<_> = packs.iter().map(packs::record).collect();
                let name =
                    self.put_index_object_of(writer, &mut IndexObject { packs, ..Default::default() })?;
                match self.index.add_packs(Some(name), &records) {
                    // The cache is only a help: these packs come with the next synchronisation.
                    Err(error) if error.is_passing() => {}
                    other => other?,
                }
            }
            self.seen().adopted.retain(|entry| !names.contains(&entry.name));
        }
    }

    /// Those of these packs that may be named: they hold what they say, or it is written down that they do not; and whether all hold it. The
    /// others nobody here relies on.
    fn tried(&self, mut packs: Vec<PackEntry>) -> Result<(Vec<PackEntry>, bool), Error> {
        let (mut damaged, mut others) = (Vec::new(), Vec::new());
        for entry in &packs {
            match self.holds_all(&entry.name)? {
                Some(true) => {}
                Some(false) => damaged.push(entry.name),
                // It may come another time: nothing is known to be wrong with it.
                None => others.push(entry.name),
            }
        }
        let all_sound = damaged.is_empty() && others.is_empty();
        self.index.hide(&damaged);
        if !damaged.is_empty() {
            match self.write_down(&damaged, self.storage_time()?)? {
                true => self.seen().damaged.extend(damaged),
                false => others.append(&mut damaged),
            }
        }
        packs.retain(|entry| !others.contains(&entry.name));
        self.index.hide(&others);
        self.seen().unsound.extend(others);
        Ok((packs, all_sound))
    }

    /// Writes down that these packs are damaged. False when storage takes no such record, as a server that takes additions only.
    pub fn write_down(&self, packs: &[Id], time: Time) -> Result<bool, Error> {
        match self.put_damage(&Damage { packs: packs.to_vec(), lost: None, time }) {
            Err(Error::Backend(error)) if !error.is_no_space() => Ok(false),
            other => other.map(|()| true),
        }
    }
}
