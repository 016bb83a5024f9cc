//! What a run counts, and tells of each entry as it does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Run;
use crate::backup::walk::{Directory, State};
use crate::files::Stat;
use crate::model::{Node, NodeType};
use crate::progress::{Event, FileStatus};

/// Running counts. Bytes are exact.
#[derive(Default)]
pub struct Counts {
    pub files: AtomicU64,
    pub directories: AtomicU64,
    pub others: AtomicU64,
    pub bytes: AtomicU64,
    pub files_new: AtomicU64,
    pub files_changed: AtomicU64,
    pub files_unmodified: AtomicU64,
    /// Read, with new contents that look encrypted; those of runs before this one that were cut off too.
    pub files_incompressible: AtomicU64,
    pub unreadable: AtomicU64,
    pub changed_while_read: AtomicU64,
    pub metadata_unread: AtomicU64,
    /// Of some folder it was not seen what it held before.
    pub not_compared: AtomicBool,
}

impl Run<'_> {
    /// Counts an entry that was taken over unread: its bytes are done with.
    pub fn count_file(&self, directory: &Directory, name: &[u8], node: &Node, status: FileStatus) {
        self.count_read(directory, name, node, status);
        self.listener.event(Event::Bytes(node.size));
    }

    /// Counts an entry whose bytes were told while they were read.
    pub fn count_read(&self, directory: &Directory, name: &[u8], node: &Node, status: FileStatus) {
        self.count(node.kind, node.size, status);
        if self.options.tell_files {
            let (path, bytes) = (&directory.path_of(name)[..], node.size);
            self.listener.event(match node.kind {
                NodeType::File => Event::File { path, bytes, status },
                _ => Event::Item { path, bytes, status },
            });
        }
    }

    /// Counts an entry that could not be read; why was told before.
    pub fn count_unreadable(&self, directory: &Directory, name: &[u8]) {
        self.counts.unreadable.fetch_add(1, Ordering::Relaxed);
        if self.options.tell_files {
            let (path, status) = (&directory.path_of(name)[..], FileStatus::Unreadable);
            self.listener.event(Event::Item { path, bytes: 0, status });
        }
    }

    /// Counts a file that a command made; its bytes were told while they were read.
    pub fn count_made(&self, path: &[u8], bytes: u64, status: FileStatus) {
        self.count(NodeType::File, bytes, status);
        if self.options.tell_files {
            self.listener.event(Event::File { path, bytes, status });
        }
    }

    /// Counts a file that a command did not make; why was told before.
    pub fn count_unmade(&self, path: &[u8]) {
        self.counts.unreadable.fetch_add(1, Ordering::Relaxed);
        if self.options.tell_files {
            self.listener.event(Event::Item { path, bytes: 0, status: FileStatus::Unreadable });
        }
    }

    fn count(&self, kind: NodeType, size: u64, status: FileStatus) {
        let add = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed);
        if kind != NodeType::File {
            add(&self.counts.others, 1);
            return;
        }
        add(&self.counts.files, 1);
        add(&self.counts.bytes, size);
        let counter = match status {
            FileStatus::New => &self.counts.files_new,
            FileStatus::Changed => &self.counts.files_changed,
            _ => &self.counts.files_unmodified,
        };
        add(counter, 1);
    }

    /// Counts the entries of a directory that is taken over whole; whether a file among them has other names.
    pub fn count_unmodified(
        &self,
        directory: &Directory,
        state: &State,
        looked_again: impl Iterator<Item = Stat>,
    ) -> bool {
        self.counts.directories.fetch_add(1, Ordering::Relaxed);
        let (mut files, mut bytes, mut others, mut linked) = (0, 0, 0, false);
        let mut one = |stat: &Stat| {
            match stat.kind {
                NodeType::Directory => return,
                NodeType::File => {
                    files += 1;
                    bytes += stat.size;
                }
                _ => others += 1,
            }
            linked |= self.see_link(stat, false);
        };
        for entry in &state.entries {
            if let Ok(stat) = &entry.stat {
                one(stat);
            }
        }
        for stat in looked_again {
            one(&stat);
        }
        if self.options.tell_files {
            self.listener.event(Event::Folder { path: &directory.path(), files, bytes });
        }
        self.counts.files.fetch_add(files, Ordering::Relaxed);
        self.counts.files_unmodified.fetch_add(files, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counts.others.fetch_add(others, Ordering::Relaxed);
        if bytes > 0 {
            self.listener.event(Event::Bytes(bytes));
        }
        linked
    }
}
