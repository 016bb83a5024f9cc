//! A wrapper that only reads: whatever would change the storage is refused before it gets there.

use super::{Backend, Entry, Error, Kind};
use crate::model::Time;

/// A storage that nothing is written to.
pub struct ReadOnly<B>(pub B);

impl<B: Backend> ReadOnly<B> {
    fn refused<T>(&self) -> Result<T, Error> {
        Err(Error::Denied { object: self.0.location(), reason: "it is opened for reading only".to_owned() })
    }
}

impl<B: Backend> Backend for ReadOnly<B> {
    fn location(&self) -> String {
        self.0.location()
    }
    fn put(&self, _: Kind, _: &str, _: &[u8]) -> Result<(), Error> {
        self.refused()
    }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        self.0.get(kind, name)
    }
    fn get_at_most(&self, kind: Kind, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        self.0.get_at_most(kind, name, most)
    }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        self.0.get_range(kind, name, offset, length)
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        self.0.list(kind, each)
    }
    fn list_kinds(&self, kinds: &[Kind], each: &mut dyn FnMut(Kind, Entry)) -> Result<(), Error> {
        self.0.list_kinds(kinds, each)
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        self.0.stat(kind, name)
    }
    fn remove(&self, _: Kind, _: &str) -> Result<(), Error> {
        self.refused()
    }
    /// Refused too: asking for the time may take an object.
    fn time(&self) -> Result<Time, Error> {
        self.refused()
    }
    fn listing_lag_seconds(&self) -> Option<u64> {
        self.0.listing_lag_seconds()
    }
    fn requests_at_once(&self) -> usize {
        self.0.requests_at_once()
    }
    fn remove_leftovers(&self, _: Time) -> Result<u64, Error> {
        self.refused()
    }
    fn exists_repository(&self) -> Result<bool, Error> {
        self.0.exists_repository()
    }
    fn create(&self) -> Result<(), Error> {
        self.refused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Memory;

    #[test]
    fn nothing_is_changed_through_it() {
        let memory = Memory::new();
        let name = "ab".repeat(32);
        memory.put(Kind::Packs, &name, b"bytes").unwrap();
        let guarded = ReadOnly(memory.clone());
        assert_eq!(guarded.get(Kind::Packs, &name).unwrap(), b"bytes");
        assert!(guarded.put(Kind::Packs, &"cd".repeat(32), b"more").is_err());
        assert!(guarded.remove(Kind::Packs, &name).is_err());
        assert!(guarded.time().is_err() && guarded.create().is_err());
        assert!(guarded.remove_leftovers(Time::default()).is_err());
        let mut listed = Vec::new();
        memory.list(Kind::Packs, &mut |entry| listed.push(entry.name)).unwrap();
        assert_eq!(listed, [name]);
    }
}
