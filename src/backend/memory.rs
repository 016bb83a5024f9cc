//! A backend in memory, for tests and benches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Backend, Entry, Error, Kind, checked_path};
use crate::locks::lock;
use crate::model::Time;
use crate::model::clock::{Clock, SystemClock};

/// Where a memory backend says it is.
const LOCATION: &str = "memory:";

type Objects = HashMap<(Kind, String), Arc<[u8]>>;

/// Objects in memory. A clone is another handle to the same objects, so a test can "reopen" what a crash left.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    objects: Arc<Mutex<Objects>>,
}

impl Memory {
    /// An empty storage.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// A storage of its own with the same objects: the state at this moment, to come back to.
    pub fn copy(&self) -> Memory {
        Memory { objects: Arc::new(Mutex::new(self.locked().clone())) }
    }

    /// Puts bytes in place of an object, as damage or an attacker would.
    pub fn overwrite(&self, kind: Kind, name: &str, bytes: &[u8]) {
        self.locked().insert((kind, name.to_owned()), bytes.into());
    }

    fn locked(&self) -> MutexGuard<'_, Objects> {
        lock(&self.objects)
    }

    fn object(&self, kind: Kind, name: &str) -> Result<(String, Arc<[u8]>), Error> {
        let object = format!("{LOCATION}/{}", checked_path(LOCATION, kind, name)?);
        match self.locked().get(&(kind, name.to_owned())) {
            Some(bytes) => Ok((object, Arc::clone(bytes))),
            None => Err(Error::NotFound { object }),
        }
    }
}

impl Backend for Memory {
    fn location(&self) -> String {
        LOCATION.to_owned()
    }

    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = checked_path(LOCATION, kind, name)?;
        let mut objects = self.locked();
        match objects.get(&(kind, name.to_owned())) {
            Some(present) if present.len() == bytes.len() => Ok(()),
            Some(_) => Err(Error::Exists { object: format!("{LOCATION}/{path}") }),
            None => {
                objects.insert((kind, name.to_owned()), bytes.into());
                Ok(())
            }
        }
    }

    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        checked_path(LOCATION, kind, name)?;
        self.overwrite(kind, name, bytes);
        Ok(())
    }

    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        Ok(self.object(kind, name)?.1.to_vec())
    }

    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let (object, bytes) = self.object(kind, name)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        match start.checked_add(length).and_then(|end| bytes.get(start..end)) {
            Some(part) => Ok(part.to_vec()),
            None => {
                let got = (bytes.len() as u64).saturating_sub(offset);
                Err(Error::Short { object, offset, wanted: length as u64, got })
            }
        }
    }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        // Collected before the first call: `each` may use this backend, and tests want one order.
        let mut entries: Vec<Entry> = (self.locked().iter())
            .filter(|((of, name), _)| *of == kind && kind.is_name(name))
            .map(|((_, name), bytes)| Entry { name: name.clone(), size: bytes.len() as u64 })
            .collect();
        entries.sort();
        entries.into_iter().for_each(each);
        Ok(())
    }

    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        Ok(self.object(kind, name)?.1.len() as u64)
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        let path = checked_path(LOCATION, kind, name)?;
        match self.locked().remove(&(kind, name.to_owned())) {
            Some(_) => Ok(()),
            None => Err(Error::NotFound { object: format!("{LOCATION}/{path}") }),
        }
    }

    fn time(&self) -> Result<Time, Error> {
        Ok(SystemClock.now())
    }

    fn create(&self) -> Result<(), Error> {
        Ok(())
    }
}
