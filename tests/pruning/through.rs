//! A wrapper around a storage writes down only what it does otherwise.

/// Operations of a storage that go to the one inside as they are.
macro_rules! through {
    ($($operation:ident)*) => { $( through!(@ $operation); )* };
    (@ location) => {
        fn location(&self) -> String {
            self.inner.location()
        }
    };
    (@ put) => {
        fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
            self.inner.put(kind, name, bytes)
        }
    };
    (@ replace) => {
        fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
            self.inner.replace(kind, name, bytes)
        }
    };
    (@ get) => {
        fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, StorageError> {
            self.inner.get(kind, name)
        }
    };
    (@ get_range) => {
        fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
            self.inner.get_range(kind, name, offset, length)
        }
    };
    (@ list) => {
        fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
            self.inner.list(kind, each)
        }
    };
    (@ stat) => {
        fn stat(&self, kind: Kind, name: &str) -> Result<u64, StorageError> {
            self.inner.stat(kind, name)
        }
    };
    (@ remove) => {
        fn remove(&self, kind: Kind, name: &str) -> Result<(), StorageError> {
            self.inner.remove(kind, name)
        }
    };
    (@ time) => {
        fn time(&self) -> Result<Time, StorageError> {
            self.inner.time()
        }
    };
    (@ create) => {
        fn create(&self) -> Result<(), StorageError> {
            self.inner.create()
        }
    };
}
