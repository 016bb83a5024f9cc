//! The chain of a client's snapshots: each names the one before, so that one that went missing is missed.

use super::session::Session;
use super::snapshots::{Named, Snapshots};
use super::{Error, Repository};
use crate::model::{Id, Snapshot};

/// Under which the number of this client's last snapshot is remembered.
const SEQUENCE_FACT: &str = "sequence";

impl Repository {
    /// Puts the snapshot into this client's chain and commits it. `all` are those that were there when the session had begun.
    pub fn commit_next(
        &self,
        session: &Session<'_>,
        snapshot: &mut Snapshot,
        all: &Snapshots,
    ) -> Result<Id, Error> {
        // Forgotten ones are links of the chain like others, and so are those that are gone.
        let own = |named: &&Named| named.snapshot.writer == self.keys.writer();
        let there =
            all.saved().filter(own).map(|named| (named.snapshot.client, named.snapshot.sequence, named.name));
        let gone = all.notes.removed_links().map(|(name, link)| (link.client, link.sequence, name));
        let newest = there
            .chain(gone)
            .filter(|(client, ..)| *client == snapshot.client)
            .max_by_key(|(_, sequence, _)| *sequence);
        let remembered = self
            .index
            .fact(SEQUENCE_FACT)?
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_le_bytes);
        snapshot.previous = newest.map(|(_, _, name)| name);
        snapshot.sequence = newest.map_or(0, |(_, sequence, _)| sequence).max(remembered).saturating_add(1);
        snapshot.session = session.id;
        // What was found on the way in packs that no index object names is relied on: everyone must find it.
        if self.name_adopted()? {
            return Err(Error::Overtaken);
        }
        snapshot.removals_seen = self.removals_known();
        let name = session.commit(snapshot)?;
        // It is saved: whatever the cache says now, that is what is told.
        let _ = self.index.set_fact(SEQUENCE_FACT, &snapshot.sequence.to_le_bytes());
        Ok(name)
    }
}
