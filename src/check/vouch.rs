//! What write-only clients stored and was read wholly is told to all, where one of them sees what is stored: from then on nobody stores the
//! same again.

use crate::crypto::FULL;
use crate::format::index::PackEntry;
use crate::index::PackInfo;
use crate::locks::lock;
use crate::progress::Event;
use crate::repository::index_objects::chunks_of;
use crate::repository::{Error, Repository};

use super::Check;

/// Packs, and chunks in them, that are told of at once: as many as an index object of a backup has, and some megabytes.
const PACKS_MOST: usize = 256;
const CHUNKS_MOST: usize = 1 << 17;

/// Packs of write-only clients that were read wholly and found to be as they should be, and that nobody vouches for yet.
#[derive(Default)]
pub(super) struct Sound {
    /// Whether anybody is there to be told; known when it is asked first.
    is_wanted: Option<bool>,
    entries: Vec<PackEntry>,
    chunks: usize,
}

impl Sound {
    fn is_wanted(&mut self, repository: &Repository) -> bool {
        *self.is_wanted.get_or_insert_with(|| repository.shares_index().unwrap_or(false))
    }
}

impl Check<'_> {
    /// Notes what the bytes of a pack say, which are as they should be; tells it to all when that is much.
    pub(super) fn was_sound(&self, pack: &PackInfo, entry: PackEntry) {
        if pack.writer == FULL || !pack.listed || pack.vouched || lock(&self.bad_packs).contains(&pack.name) {
            return;
        }
        let mut sound = lock(&self.sound);
        if !sound.is_wanted(self.repository) {
            return;
        }
        sound.chunks += chunks_of(&entry);
        sound.entries.push(entry);
        let is_much = sound.entries.len() >= PACKS_MOST || sound.chunks >= CHUNKS_MOST;
        drop(sound);
        if is_much {
            self.vouch();
        }
    }

    /// Vouches for what was found sound. Only a help: where it can not be done, what was checked is told all the same.
    pub(super) fn vouch(&self) {
        let mut sound = lock(&self.sound);
        sound.chunks = 0;
        let entries = std::mem::take(&mut sound.entries);
        drop(sound);
        if entries.is_empty() {
            return;
        }
        let done = || {
            let mut staying = Vec::with_capacity(entries.len());
            for entry in entries {
                // What is marked may be gone before anybody is told.
                if !self.is_going(&entry.name)? {
                    staying.push(entry);
                }
            }
            self.repository.vouch(staying)
        };
        let told: Result<(), Error> = done();
        if let Err(error) = told {
            let what = format!(
                "that packs of write-only keys are sound could not be written down in the repository: {error}"
            );
            self.listener.event(Event::Note(&what));
        }
    }
}
