//! Storage in memory whose listings lag: what was just put is perhaps not listed yet, what was just removed perhaps still is.

use std::collections::HashMap;
use std::sync::Arc;

use copal::backend::{Backend, Entry, Error, Kind, Memory};

use super::random::Random;

struct Object {
    name: String,
    bytes: Arc<[u8]>,
    put: i64,
    removed: Option<i64>,
    /// Which one of its kind it is, in the order of putting.
    number: u64,
}

/// The objects, in the order in which they were put: names differ from run to run.
#[derive(Default)]
pub struct Storage {
    kinds: HashMap<Kind, Vec<Object>>,
    counts: HashMap<Kind, u64>,
    /// For how long a listing may be behind, nanoseconds.
    pub lag: i64,
    /// Which object the last operation was about, or how many it listed.
    pub number: u64,
}

fn path(kind: Kind, name: &str) -> String {
    format!("simulated:/{}", kind.path_of(name))
}

impl Storage {
    /// One that holds what `memory` holds, put long ago.
    pub fn of(memory: &Memory) -> Storage {
        let mut storage = Storage::default();
        for kind in Kind::ALL {
            let mut names = Vec::new();
            memory.list(kind, &mut |entry| names.push(entry.name)).unwrap();
            for name in names {
                let bytes = memory.get(kind, &name).unwrap();
                storage.put(kind, &name, &bytes, i64::MIN / 2).unwrap();
            }
        }
        storage
    }

    /// A storage of its own with the same objects, as they really are.
    pub fn copy(&self) -> Memory {
        let memory = Memory::new();
        for (kind, objects) in &self.kinds {
            for object in objects.iter().filter(|object| object.removed.is_none()) {
                memory.put(*kind, &object.name, &object.bytes).unwrap();
            }
        }
        memory
    }

    fn find(&mut self, kind: Kind, name: &str) -> Result<&mut Object, Error> {
        let objects = self.kinds.entry(kind).or_default();
        let found = objects.iter_mut().rev().find(|object| object.removed.is_none() && object.name == name);
        self.number = found.as_ref().map_or(0, |object| object.number);
        found.ok_or_else(|| Error::NotFound { object: path(kind, name) })
    }

    pub fn put(&mut self, kind: Kind, name: &str, bytes: &[u8], now: i64) -> Result<(), Error> {
        if let Ok(present) = self.find(kind, name) {
            return match present.bytes.len() == bytes.len() {
                true => Ok(()),
                false => Err(Error::Exists { object: path(kind, name) }),
            };
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        self.number = *count;
        let object =
            Object { name: name.to_owned(), bytes: bytes.into(), put: now, removed: None, number: *count };
        self.kinds.entry(kind).or_default().push(object);
        Ok(())
    }

    pub fn replace(&mut self, kind: Kind, name: &str, bytes: &[u8], now: i64) -> Result<(), Error> {
        match self.find(kind, name) {
            Ok(present) => {
                present.bytes = bytes.into();
                Ok(())
            }
            Err(_) => self.put(kind, name, bytes, now),
        }
    }

    /// What is really there of a kind, in the order of putting: names and bytes.
    pub fn there(&self, kind: Kind) -> impl Iterator<Item = (&str, &[u8])> {
        let objects = self.kinds.get(&kind).into_iter().flatten().filter(|object| object.removed.is_none());
        objects.map(|object| (&*object.name, &*object.bytes))
    }

    pub fn get(&mut self, kind: Kind, name: &str) -> Result<Arc<[u8]>, Error> {
        Ok(self.find(kind, name)?.bytes.clone())
    }

    pub fn get_range(
        &mut self,
        kind: Kind,
        name: &str,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, Error> {
        let bytes = self.get(kind, name)?;
        let start = offset as usize;
        match bytes.get(start..start.saturating_add(length)) {
            Some(part) => Ok(part.to_vec()),
            None => {
                let got = (bytes.len() as u64).saturating_sub(offset);
                Err(Error::Short { object: path(kind, name), offset, wanted: length as u64, got })
            }
        }
    }

    pub fn remove(&mut self, kind: Kind, name: &str, now: i64) -> Result<(), Error> {
        self.find(kind, name)?.removed = Some(now);
        Ok(())
    }

    /// A listing as it comes at that moment.
    pub fn list(&mut self, kind: Kind, now: i64, random: &mut Random) -> Vec<Entry> {
        let lag = self.lag;
        let objects = self.kinds.entry(kind).or_default();
        let mut listed: Vec<Entry> = Vec::new();
        for object in objects.iter() {
            let is_there = match object.removed {
                None => now - object.put >= lag || random.percent(50),
                Some(removed) => now - removed < lag && random.percent(50),
            };
            if is_there && !listed.iter().any(|entry| entry.name == object.name) {
                listed.push(Entry { name: object.name.clone(), size: object.bytes.len() as u64 });
            }
        }
        self.number = listed.len() as u64;
        listed
    }
}
