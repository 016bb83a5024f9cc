//! Repositories that tests make by the library, on whatever storage.

use copal::backend::Backend;
use copal::crypto::MasterKey;
use copal::crypto::password::Cost;
use copal::format::slot::{Description, Unlock};
use copal::model::Cutter;
use copal::model::clock::Clock;
use copal::repository::{self, Creation};

/// Makes a repository with packs of a mebibyte and chunks of about `average` bytes; the key that opens it.
pub fn make(storage: &dyn Backend, clock: &dyn Clock, average: u32) -> [u8; 32] {
    let key = MasterKey::generate().unwrap();
    let bytes = *key.bytes();
    let creation = Creation {
        unlock: Unlock::KeyFile(&key),
        cost: Cost::default(),
        cutter: Cutter::gear(average),
        pack_target: 1 << 20,
        description: Description::default(),
    };
    repository::create(storage, &creation, clock).unwrap();
    bytes
}

/// A folder for what is backed up, on a disk and not in memory.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("copal-test-").tempdir_in("/var/tmp").unwrap()
}
