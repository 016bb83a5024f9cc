//! Adding a snapshot: one transaction in which the rows of what changed are closed and opened.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::names::{PER_PAGE, append, page};
use super::{Child, Coverage, Facts, Lane, OPEN, PathNumber, bytes, rows};
use crate::index::Error;
use crate::model::{Id, Time};

/// A transaction.
pub struct Writing<'c> {
    transaction: Transaction<'c>,
    /// The page to which new names go: its number, its bytes, whether there are new ones in it.
    page: Option<(u32, Vec<u8>, bool)>,
    /// The number that the next new path gets.
    next: PathNumber,
}

impl<'c> Writing<'c> {
    pub(super) fn begin(connection: &'c mut Connection) -> Result<Writing<'c>, Error> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let query = "SELECT value FROM meta WHERE key = 'paths'";
        let paths: Option<PathNumber> = transaction.query_row(query, [], |row| row.get(0)).optional()?;
        Ok(Writing { transaction, page: None, next: paths.unwrap_or(0) + 1 })
    }

    pub(super) fn commit(mut self) -> Result<(), Error> {
        self.write_page()?;
        self.transaction.execute("INSERT OR REPLACE INTO meta VALUES ('paths', ?1)", [self.next - 1])?;
        Ok(self.transaction.commit()?)
    }

    /// Whether a snapshot is there already.
    pub fn has(&self, name: &Id) -> Result<bool, Error> {
        let mut query = self.transaction.prepare_cached("SELECT 1 FROM snapshots WHERE name = ?1")?;
        Ok(query.exists([&name.0[..]])?)
    }

    /// The lane of that host and those sources whose last snapshot is not newer than `time`: the one with the newest, or a new one.
    pub fn lane(&self, host: &[u8], sources: &[Vec<u8>], time: Time) -> Result<Lane, Error> {
        let sources = sources.join(&0);
        let mut query = self.transaction.prepare_cached(
            "SELECT id, (SELECT max(number) FROM snapshots WHERE lane = lanes.id) FROM lanes WHERE host = ?1 AND sources = ?2",
        )?;
        let lanes = query.query_map((host, &sources), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let lanes: Vec<(i64, Option<i64>)> = lanes.collect::<Result<_, _>>()?;
        let mut best: Option<Lane> = None;
        for (number, last) in lanes {
            let last = last.map(|last| self.time(number, last).map(|time| (last, time))).transpose()?;
            let is_later = |last: Option<(i64, Time)>| last.is_none_or(|(_, last)| last <= time);
            let lane = Lane { number, last };
            let newer = |best: &Lane| lane.last.map(|(_, time)| time) > best.last.map(|(_, time)| time);
            if is_later(last) && best.as_ref().is_none_or(newer) {
                best = Some(lane);
            }
        }
        if let Some(lane) = best {
            return Ok(lane);
        }
        let mut insert =
            self.transaction.prepare_cached("INSERT INTO lanes (host, sources) VALUES (?1, ?2)")?;
        Ok(Lane { number: insert.insert((host, &sources))?, last: None })
    }

    fn time(&self, lane: i64, number: i64) -> Result<Time, Error> {
        let query = "SELECT seconds, nanos FROM snapshots WHERE lane = ?1 AND number = ?2";
        let mut query = self.transaction.prepare_cached(query)?;
        Ok(query.query_row((lane, number), |row| Ok(Time { seconds: row.get(0)?, nanos: row.get(1)? }))?)
    }

    /// Adds a snapshot at the end of a lane; gives back its number there.
    pub fn add_snapshot(&self, lane: &Lane, name: &Id, time: Time) -> Result<i64, Error> {
        let number = lane.last.map_or(0, |(number, _)| number + 1);
        let insert = "INSERT INTO snapshots (lane, number, name, seconds, nanos, state) VALUES (?1, ?2, ?3, ?4, ?5, 0)";
        let values = (lane.number, number, &name.0[..], time.seconds, time.nanos);
        self.transaction.prepare_cached(insert)?.execute(values)?;
        Ok(number)
    }

    /// Says of a snapshot that some of its folders could not be read.
    pub fn set_partial(&self, name: &Id) -> Result<(), Error> {
        let update = "UPDATE snapshots SET state = ?2 WHERE name = ?1";
        self.transaction.prepare_cached(update)?.execute((&name.0[..], Coverage::Partial as u8))?;
        Ok(())
    }

    /// Remembers a folder of a snapshot that could not be read.
    pub fn add_unread(&self, lane: i64, number: i64, tree: &Id) -> Result<(), Error> {
        let insert = "INSERT OR IGNORE INTO unread VALUES (?1, ?2, ?3)";
        self.transaction.prepare_cached(insert)?.execute((lane, number, &tree.0[..]))?;
        Ok(())
    }

    /// Takes a lane back to before a snapshot of which that folder could not be read: this one and those behind it are to be added anew.
    /// Nothing when another process did so.
    pub fn cut_back(&self, lane: i64, number: i64, tree: &Id) -> Result<(), Error> {
        let unread = "SELECT 1 FROM unread WHERE lane = ?1 AND number = ?2 AND tree = ?3";
        if !self.transaction.prepare_cached(unread)?.exists((lane, number, &tree.0[..]))? {
            return Ok(());
        }
        for change in [
            "DELETE FROM snapshots WHERE lane = ?1 AND number >= ?2",
            "DELETE FROM unread WHERE lane = ?1 AND number >= ?2",
            "DELETE FROM versions WHERE lane = ?1 AND first >= ?2",
        ] {
            self.transaction.prepare_cached(change)?.execute((lane, number))?;
        }
        // What was there in the snapshot before is there yet.
        let reopen = "UPDATE versions SET last = ?3 WHERE lane = ?1 AND last >= ?2 - 1";
        self.transaction.prepare_cached(reopen)?.execute((lane, number, OPEN))?;
        // Which tree each folder had then is not known any more: all are read.
        self.transaction.prepare_cached("DELETE FROM folders WHERE lane = ?1")?.execute([lane])?;
        Ok(())
    }

    /// The tree of a folder as the lane's last snapshot has it.
    pub fn folder(&self, lane: i64, path: PathNumber) -> Result<Option<Id>, Error> {
        let query = "SELECT tree FROM folders WHERE lane = ?1 AND path = ?2";
        let mut query = self.transaction.prepare_cached(query)?;
        Ok(query.query_row((lane, path), |row| row.get(0).map(Id)).optional()?)
    }

    /// Says which tree a folder has now.
    pub fn set_folder(&self, lane: i64, path: PathNumber, tree: &Id) -> Result<(), Error> {
        let insert = "INSERT OR REPLACE INTO folders VALUES (?1, ?2, ?3)";
        self.transaction.prepare_cached(insert)?.execute((lane, path, &tree.0[..]))?;
        Ok(())
    }

    /// Says that a path is no folder any more.
    pub fn drop_folder(&self, lane: i64, path: PathNumber) -> Result<(), Error> {
        let delete = "DELETE FROM folders WHERE lane = ?1 AND path = ?2";
        self.transaction.prepare_cached(delete)?.execute((lane, path))?;
        Ok(())
    }

    /// What is in a folder in the lane's last snapshot, in order of the names.
    pub fn children(&self, lane: i64, folder: PathNumber) -> Result<Vec<Child>, Error> {
        rows::children(&self.transaction, lane, folder)
    }

    /// The number of a path; a new one when there is none yet.
    pub fn path(&mut self, parent: PathNumber, name: &[u8]) -> Result<PathNumber, Error> {
        let query = "SELECT id FROM paths WHERE parent = ?1 AND name = ?2";
        let known = self.transaction.prepare_cached(query)?.query_row((parent, name), |row| row.get(0));
        if let Some(path) = known.optional()? {
            return Ok(path);
        }
        let path = self.next;
        self.next = path.checked_add(1).ok_or(Error::Full)?;
        let insert = "INSERT INTO paths VALUES (?1, ?2, ?3)";
        self.transaction.prepare_cached(insert)?.execute((parent, name, path))?;
        let number = (path - 1) / PER_PAGE;
        if self.page.as_ref().is_none_or(|(current, ..)| *current != number) {
            self.write_page()?;
            let bytes = page(&self.transaction, number)?.unwrap_or_default();
            self.page = Some((number, bytes, false));
        }
        if let Some((_, bytes, is_new)) = &mut self.page {
            append(bytes, parent, name);
            *is_new = true;
        }
        Ok(path)
    }

    fn write_page(&mut self) -> Result<(), Error> {
        if let Some((number, bytes, true)) = self.page.take() {
            let insert = "INSERT OR REPLACE INTO pages VALUES (?1, ?2)";
            self.transaction.prepare_cached(insert)?.execute((number, bytes))?;
        }
        Ok(())
    }

    /// A path is this from that snapshot on.
    pub fn open(&self, lane: i64, path: PathNumber, first: i64, facts: &Facts) -> Result<(), Error> {
        let insert = "INSERT INTO versions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL)";
        let Facts { kind, size, mtime, content, node } = facts;
        let Time { seconds, nanos } = mtime;
        let values = (path, lane, OPEN, first, *kind as u8, *size as i64, seconds, nanos, content, node);
        self.transaction.prepare_cached(insert)?.execute(values)?;
        Ok(())
    }

    /// A path was what it was up to that snapshot.
    pub fn close(&self, lane: i64, path: PathNumber, last: i64) -> Result<(), Error> {
        let update = "UPDATE versions SET last = ?4 WHERE path = ?1 AND lane = ?2 AND last = ?3";
        self.transaction.prepare_cached(update)?.execute((path, lane, OPEN, last))?;
        Ok(())
    }

    /// Says from where a path that is new came.
    pub fn set_origin(&self, lane: i64, path: PathNumber, origin: PathNumber) -> Result<(), Error> {
        let update = "UPDATE versions SET origin = ?4 WHERE path = ?1 AND lane = ?2 AND last = ?3";
        self.transaction.prepare_cached(update)?.execute((path, lane, OPEN, origin))?;
        Ok(())
    }

    /// Gives up the rows of the oldest snapshots while the catalogue fills more than `most` bytes; of how many snapshots.
    pub fn shrink(&self, most: u64) -> Result<u64, Error> {
        let mut given_up = 0;
        while bytes(&self.transaction)? > most {
            let next = "SELECT lane, number FROM snapshots WHERE state <> 2 AND EXISTS (
                    SELECT 1 FROM snapshots AS later WHERE later.lane = snapshots.lane AND later.number > snapshots.number)
                ORDER BY seconds, nanos LIMIT 1 OFFSET 15";
            let next =
                self.transaction.prepare_cached(next)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
            // The last ones stay: they are what the next is compared with.
            let Some((lane, number)) = next.optional()? else { break };
            given_up += self.give_up(lane, number)?;
        }
        Ok(given_up)
    }

    fn give_up(&self, lane: i64, number: i64) -> Result<u64, Error> {
        let update = "UPDATE snapshots SET state = 2 WHERE lane = ?1 AND number <= ?2 AND state <> 2";
        let count = self.transaction.prepare_cached(update)?.execute((lane, number))?;
        for delete in [
            "DELETE FROM versions WHERE lane = ?1 AND last <= ?2",
            "DELETE FROM unread WHERE lane = ?1 AND number <= ?2",
        ] {
            self.transaction.prepare_cached(delete)?.execute((lane, number))?;
        }
        Ok(count as u64)
    }
}
