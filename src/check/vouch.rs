//! What write-only clients stored and was read wholly is told to all, where one of them sees what is stored: from then on nobody stores the
//! same again.

use std::sync::Arc;

use super::Check;
use crate::crypto::FULL;
use crate::index::PackInfo;
use crate::locks::lock;
use crate::model::Id;
use crate::progress::Event;
use crate::repository::Error;

impl Check<'_> {
    /// Vouches for those of these packs that a write-only client made and that hold all that they say, when a key shares the index. A repository
    /// that can not be written is only checked.
    pub(super) fn vouch(&self, packs: &[Arc<PackInfo>]) -> Result<(), Error> {
        let (sound, bad) = (lock(&self.sound).clone(), lock(&self.bad_packs).clone());
        let is_wanted = |pack: &&Arc<PackInfo>| {
            pack.writer != FULL && pack.listed && !pack.vouched && sound.contains(&pack.name)
        };
        let mut wanted = packs.iter().filter(is_wanted).filter(|pack| !bad.contains(&pack.name)).peekable();
        if wanted.peek().is_none() || !self.repository.shares_index()? {
            return Ok(());
        }
        let mut entries = Vec::new();
        for pack in wanted {
            if !self.is_going(&pack.name)? {
                entries.push(self.repository.read_pack_entry(&pack.name, pack.length)?);
            }
        }
        match self.repository.vouch(entries) {
            Err(Error::Backend(error)) => {
                let what = format!(
                    "that packs of write-only keys are sound could not be written down in the repository: {error}"
                );
                self.listener.event(Event::Note(&what));
                Ok(())
            }
            other => other,
        }
    }

    /// Notes that all of a pack was read, and is as it should be.
    pub(super) fn was_sound(&self, pack: &Id) {
        lock(&self.sound).insert(*pack);
    }
}
