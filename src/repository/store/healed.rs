//! What damage had hit, and is stored again.

use std::sync::atomic::Ordering;

use super::Store;
use crate::model::{Contents, Id};
use crate::repository::Error;

impl Store<'_> {
    /// Counts a new chunk that was there before, and that damage had hit.
    pub(super) fn count_healed(&self, contents: Contents, id: &Id, length: usize) -> Result<(), Error> {
        if !self.damaged.is_empty() {
            let places = self.repository.index.lookup_for_reading(contents, id)?;
            if places.iter().any(|place| self.damaged.contains(&place.pack.name)) {
                self.chunks_healed.fetch_add(1, Ordering::Relaxed);
                self.bytes_healed.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
