//! One process at a time: a lock that the system releases when the process ends, however it does.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum Busy {
    /// Another process has it; its number, as far as it said.
    #[error("another process has it")]
    Held(Option<u32>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the lock of that name in a folder, which is made when it is not there.
    pub fn take(folder: &Path, name: &str) -> Result<Lock, Busy> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(name);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = (&file).take(20).read_to_string(&mut text);
                return Err(Busy::Held(text.trim().parse().ok()));
            }
            Err(error) => return Err(Busy::Io(error.into())),
        }
        // The file stays: removing it would let two hold locks of the same name.
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Lock(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_free_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep/er");
        let lock = Lock::take(&folder, "one").unwrap();
        let own = std::process::id();
        assert!(matches!(Lock::take(&folder, "one"), Err(Busy::Held(Some(number))) if number == own));
        let other = Lock::take(&folder, "two").unwrap();
        drop(lock);
        drop(Lock::take(&folder, "one").unwrap());
        drop(other);
        assert!(matches!(Lock::take(Path::new("/dev/null/x"), "one"), Err(Busy::Io(_))));
    }
}
