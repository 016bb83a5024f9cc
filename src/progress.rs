//! What a running verb tells whoever listens: a terminal, JSON lines, nothing. The core reports events and never prints.

/// What became of an entry: how it compares with the parent snapshot, or with what was there before a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileStatus {
    New,
    Changed,
    Unmodified,
    /// It could not be read.
    Unreadable,
    /// Given back, or to be given back were it no dry run.
    Restored,
    /// Given back in the place of something else.
    Updated,
    /// Removed from the target of a restore, or to be removed were it no dry run.
    Removed,
}

impl FileStatus {
    /// The word shown and written to JSON, restic's where it has one.
    pub fn word(self) -> &'static str {
        match self {
            FileStatus::New => "new",
            FileStatus::Changed => "modified",
            FileStatus::Unmodified => "unchanged",
            FileStatus::Unreadable => "unreadable",
            FileStatus::Restored => "restored",
            FileStatus::Updated => "updated",
            FileStatus::Removed => "deleted",
        }
    }
}

/// Something that happened. Paths and names are bytes as the file system gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The work itself begins (locks and keys are had).
    Started,
    /// What is known of the whole so far; may come again with larger numbers.
    Totals { files: u64, bytes: u64 },
    /// A file is done; its bytes were reported by `Bytes` along the way.
    File { path: &'a [u8], bytes: u64, status: FileStatus },
    /// An entry that is no file, or one that is no more, is done.
    Item { path: &'a [u8], bytes: u64, status: FileStatus },
    /// A folder with so many files in it (those of folders in it apart) was taken over whole from the parent snapshot.
    Folder { path: &'a [u8], files: u64, bytes: u64 },
    /// So many more bytes are done, also those that needed no reading.
    Bytes(u64),
    /// Something is not as it should be; the work goes on.
    Problem {
        /// The file concerned, when there is one.
        path: Option<&'a [u8]>,
        /// What failed, for a person.
        what: &'a str,
        /// What failed, for a program: `unreadable`, `changed_while_read`, `metadata_not_restored` and so on; never changes.
        code: &'static str,
        /// What was being done: `scan`, `read`, `restore` and so on.
        during: &'static str,
    },
    /// Something worth knowing that is no problem.
    Note(&'a str),
    /// The work is over, well or not.
    Finished,
}

/// Takes events, from any thread; must be quick, since the work waits for it.
pub trait Listener: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Listener for Silent {
    fn event(&self, _event: Event<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Counter(AtomicU64);

    impl Listener for Counter {
        fn event(&self, event: Event<'_>) {
            if let Event::Bytes(more) = event {
                self.0.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn listeners_take_events_from_several_threads() {
        let counter = Counter(AtomicU64::new(0));
        let listeners: [&dyn Listener; 2] = [&counter, &Silent];
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| listeners.iter().for_each(|listener| listener.event(Event::Bytes(3))));
            }
        });
        assert_eq!(counter.0.into_inner(), 6);
        assert_eq!(FileStatus::Unmodified.word(), "unchanged");
    }
}
