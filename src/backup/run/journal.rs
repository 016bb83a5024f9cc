//! What a run remembers for the next one: rows of directories, files of directories that are not finished, and which are there no more.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use super::{Run, lock};
use crate::backup::change::{self, Seen};
use crate::backup::walk::{Directory, Volume};
use crate::format;
use crate::index::{DirectoryRow, FinishedFile};
use crate::model::{Id16, Node};
use crate::repository::Error;

/// Files of unfinished directories that are remembered before a checkpoint lets go of them.
const FILES_JOURNALLED_MAX: usize = 100_000;
/// Days for which the row of a directory is kept that is not there: a disk that is only mounted sometimes comes again.
const MISSED_DAYS: i64 = 7;

/// Under which it is remembered how many files looked encrypted in runs that were cut off.
pub fn encrypted_fact(source: &Id16) -> String {
    format!("encrypted {source}")
}

#[derive(Default)]
pub(super) struct Journal {
    rows: Vec<DirectoryRow>,
    /// Files of directories that are not finished.
    files: HashMap<Id16, Vec<FinishedFile>>,
    /// Directories whose files are in the database, until the directory is finished.
    saved: HashSet<Id16>,
    superseded: Vec<Id16>,
}

impl Run<'_> {
    /// The row of a directory, and whether it was found at another path. Never one of another file system.
    pub fn row(&self, directory: &Directory, volume: &Volume) -> Result<(Option<DirectoryRow>, bool), Error> {
        let trust = volume.trust();
        if self.options.force || !trust.reuse {
            return Ok((None, false));
        }
        let is_of_volume = |row: &DirectoryRow| change::volume_of(&row.side) == Some(volume.id);
        let index = &self.repository.index;
        let row = index.directory(&self.source, &directory.key)?.filter(is_of_volume);
        if row.as_ref().is_some_and(|row| row.inode == directory.stat.inode) || !trust.inode || !trust.ctime {
            return Ok((row, false));
        }
        let same_inode = index.directory_by_inode(&self.source, directory.stat.inode)?;
        match same_inode.into_iter().find(is_of_volume) {
            Some(moved) => Ok((Some(moved), true)),
            None => Ok((row, false)),
        }
    }

    /// Files that an interrupted run finished in a directory that it did not finish.
    pub fn finished_files(
        &self,
        directory: &Directory,
        volume: &Volume,
    ) -> Result<HashMap<Vec<u8>, (Seen, Node)>, Error> {
        if self.options.force || directory.way.is_some() || !volume.file_system.reuse {
            return Ok(HashMap::new());
        }
        let place = self.place(directory, volume);
        let files = self.repository.index.finished(&self.source, &place)?;
        if !files.is_empty() {
            lock(&self.journal).saved.insert(place);
        }
        Ok(files
            .into_iter()
            .filter_map(|file| {
                let node = format::node::decode(&file.node).ok()?;
                Some((
                    file.name,
                    (Seen { inode: file.inode, ctime: file.ctime, racy: false, tree: None }, node),
                ))
            })
            .collect())
    }

    /// What the files of a directory are remembered under: its path, and the file system that is there.
    fn place(&self, directory: &Directory, volume: &Volume) -> Id16 {
        self.repository.hasher().local(&[directory.key.0, volume.id.0].concat())
    }

    /// Remembers a file that was read, until its directory is finished.
    pub fn journal_file(
        &self,
        directory: &Directory,
        volume: &Volume,
        name: &[u8],
        seen: &Seen,
        node: &Node,
    ) {
        if seen.racy || directory.way.is_some() || !volume.file_system.reuse {
            return;
        }
        let place = self.place(directory, volume);
        let file = FinishedFile {
            directory: place,
            name: name.to_vec(),
            inode: seen.inode,
            ctime: seen.ctime,
            node: format::node::encode(node),
        };
        lock(&self.journal).files.entry(place).or_default().push(file);
        self.files_journalled.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a directory with a row is there.
    pub fn visit(&self, directory: &Directory) {
        if directory.way.is_none() {
            self.visited.add(&directory.key);
        }
    }

    /// After a whole walk: forgets what is of directories that are there no more; whether any rows went.
    pub fn sweep(&self) -> Result<bool, Error> {
        let index = &self.repository.index;
        if self.unseen.left() > 0 {
            // Who is there was not looked at; nor was all that an interrupted run finished.
            return Ok(false);
        }
        let today = self.clock.now().seconds.div_euclid(24 * 3600);
        let last = today - MISSED_DAYS;
        let swept = index.directory_counts(&self.source).and_then(|(rows, missed)| {
            index.clear_finished(&self.source)?;
            if rows - missed.min(rows) == self.visited.count()
                && !index.has_missed_since(&self.source, last)?
            {
                return Ok(0);
            }
            index.sweep_directories(&self.source, today, last, &|key| self.visited.has(key))
        });
        match swept {
            Err(error) if error.is_passing() => Ok(false),
            other => Ok(other? > 0),
        }
    }

    /// Remembers a directory that is finished, with its row when that is new.
    pub fn journal_row(&self, directory: &Directory, volume: &Volume, row: Option<DirectoryRow>) {
        let place = self.place(directory, volume);
        let mut journal = lock(&self.journal);
        if let Some(files) = journal.files.remove(&place) {
            self.files_journalled
                .fetch_sub(files.len().min(self.files_journalled.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
        if journal.saved.remove(&place) {
            journal.superseded.push(place);
        }
        if let Some(row) = row {
            journal.rows.push(row);
            self.journalled.store(true, Ordering::Relaxed);
        }
    }

    /// Whether any directory was gone through and not taken over whole.
    pub fn has_journalled(&self) -> bool {
        self.journalled.load(Ordering::Relaxed)
    }

    /// Makes what is finished so far survive a crash, when it is time.
    pub fn checkpoint_when_due(&self) -> Result<(), Error> {
        let now = self.clock.now();
        {
            let mut last = lock(&self.checkpointed);
            let many = self.files_journalled.load(Ordering::Relaxed) >= FILES_JOURNALLED_MAX;
            if !many && now.seconds_since(*last) < self.options.checkpoint_seconds {
                return Ok(());
            }
            *last = now;
        }
        self.checkpoint()
    }

    /// Makes what is finished so far survive a crash.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.files_journalled.store(0, Ordering::Relaxed);
        let mut taken = Journal::default();
        self.store.checkpoint(|| {
            let mut journal = lock(&self.journal);
            taken.rows = std::mem::take(&mut journal.rows);
            taken.superseded = std::mem::take(&mut journal.superseded);
            taken.files = std::mem::take(&mut journal.files);
            journal.saved.extend(taken.files.keys());
        })?;
        let index = &self.repository.index;
        let saved = index.save_directories(&self.source, &taken.rows).and_then(|()| {
            index.remove_finished(&self.source, &taken.superseded)?;
            let files: Vec<FinishedFile> = taken.files.into_values().flatten().collect();
            index.save_finished(&self.source, &files)?;
            // What is finished is not read again, should this run be cut off.
            match self.counts.files_incompressible.load(Ordering::Relaxed) {
                0 => Ok(()),
                count => index.set_fact(&encrypted_fact(&self.source), &count.to_le_bytes()),
            }
        });
        match saved {
            // The cache is only a help: a busy or full one costs time next time.
            Err(error) if error.is_passing() => Ok(()),
            other => Ok(other?),
        }
    }
}
