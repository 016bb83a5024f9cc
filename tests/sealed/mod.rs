//! What small objects of a repository say, for tests that look at them from outside.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use copal::crypto::{Keys, MasterKey};
use copal::format::slot::{self, Unlock};
use copal::format::{header, index, session};
use copal::model::Id;

/// The keys of a repository that a key file opens.
pub fn keys(repository: &Path, key_file: &Path) -> Keys {
    let key = MasterKey::from_key_file(&std::fs::read_to_string(key_file).unwrap()).unwrap();
    for path in names(&repository.join("keys")) {
        let object = std::fs::read(&path).unwrap();
        if let Ok(Some(master)) = slot::open(&object, Unlock::KeyFile(&key)) {
            return master.keys(header::decode(&object, slot::KIND).unwrap());
        }
    }
    panic!("no key slot of {} opens", repository.display());
}

/// The files in a folder, sorted; none when it is not there.
pub fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

/// The packs that an index object names.
pub fn packs_of_index(keys: &Keys, object: &[u8]) -> Vec<Id> {
    index::decode(keys, object).unwrap().packs.into_iter().map(|entry| entry.name).collect()
}

/// Removes the session objects of a process that was killed, as if its lease had ended long ago: it can not wake up any more.
pub fn lapse(keys: &Keys, repository: &Path, process: u32) {
    let mut objects = Vec::new();
    for path in names(&repository.join("sessions")) {
        // A pruner may remove it meanwhile.
        let Ok(object) = std::fs::read(&path) else { continue };
        let Ok(object) = session::decode(keys, &object) else { panic!("{} is damaged", path.display()) };
        if object.process == u64::from(process) {
            objects.push((object.state == session::State::End, path));
        }
    }
    // The end goes last: without it the others would seem to be at work.
    objects.sort();
    for (_, path) in objects {
        let _ = std::fs::remove_file(path);
    }
}
