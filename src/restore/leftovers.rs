//! Temporary entries that a restore left behind when it was killed, and how they are told from those of one that is at work: as long as a
//! run may have some in a folder, it holds that folder's lock (flock) together with others; who gets it alone finds leftovers only.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::Run;
use crate::files;
use crate::model::NodeType;

/// What the names of temporary entries begin and end with; between them are a run's token, `-`, and a number, both hexadecimal.
const BEGIN: &str = ".copal-";
const END: &str = ".tmp";
const TOKEN: usize = 16;

/// How long a run that clears a folder is waited for. It may be a program of another kind that holds the lock for ever.
const WAIT: Duration = Duration::from_millis(5);
const WAITS: usize = 1000;

/// What all temporary names of a run begin with.
pub fn prefix(token: u64) -> String {
    format!("{BEGIN}{token:016x}-")
}

/// A temporary name of the run with that prefix.
pub fn name(prefix: &str, number: u64) -> Vec<u8> {
    format!("{prefix}{number:x}{END}").into_bytes()
}

/// Whether a name is exactly what `name` makes.
fn is_temporary(name: &[u8]) -> bool {
    let is_hex = |text: &[u8]| text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    name.strip_prefix(BEGIN.as_bytes())
        .and_then(|rest| rest.strip_suffix(END.as_bytes()))
        .and_then(|middle| middle.split_at_checked(TOKEN))
        .and_then(|(token, rest)| Some((token, rest.strip_prefix(b"-")?)))
        .is_some_and(|(token, number)| is_hex(token) && is_hex(number) && (1..=TOKEN).contains(&number.len()))
}

impl Run<'_> {
    /// Takes part in the lock of a folder, before anything temporary is made in it and until the handle is closed. Where there are no
    /// locks, nobody gets it alone either.
    pub(super) fn claim(&self, folder: &OwnedFd) {
        if self.options.dry_run {
            return;
        }
        for _ in 0..WAITS {
            match rustix::fs::flock(folder, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) => std::thread::sleep(WAIT),
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }

    /// Removes what runs that are no more left behind in a folder that was there, and claims it.
    pub(super) fn sweep(&self, folder: &OwnedFd) {
        if self.options.dry_run {
            return;
        }
        if rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let Ok(names) = files::names(folder.as_fd())
        {
            let mut found = names.iter().map(|name| name.bytes).filter(|name| is_temporary(name)).peekable();
            // Where other machines write too, their locks may not be seen.
            if found.peek().is_some() && files::is_local(folder.as_fd()) {
                found.for_each(|name| self.remove_leftover(folder, name));
            }
        }
        self.claim(folder);
    }

    /// Removes one, when this user may have made it (root gives owners away before the name).
    fn remove_leftover(&self, folder: &OwnedFd, name: &[u8]) {
        let own = rustix::process::geteuid().as_raw();
        let Ok(stat) = files::stat(folder.as_fd(), name) else { return };
        if !self.is_root && stat.uid != own {
            return;
        }
        let removed = match stat.kind {
            // They are made empty, and get their names so.
            NodeType::Directory => files::remove_directory(folder.as_fd(), name),
            _ => files::remove(folder.as_fd(), name),
        };
        if removed.is_ok() {
            self.swept.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_known_by_their_exact_form() {
        for (token, number) in [(0, 1), (u64::MAX, u64::MAX), (0x12ab, 0xff)] {
            assert!(is_temporary(&name(&prefix(token), number)));
        }
        for other in [
            "",
            ".copal-",
            ".copal-.tmp",
            ".copal-0123456789abcdef-.tmp",
            ".copal-0123456789abcdef1.tmp",
            ".copal-0123456789abcde-1.tmp",
            ".copal-0123456789abcdef0-1.tmp",
            ".copal-0123456789ABCDEF-1.tmp",
            ".copal-0123456789abcdef-g.tmp",
            ".copal-0123456789abcdef-1-1.tmp",
            ".copal-0123456789abcdef-00112233445566778.tmp",
            ".copal-0123456789abcdef-1.tmp2",
            "a.copal-0123456789abcdef-1.tmp",
            ".copal-thesis-draft.tmp",
        ] {
            assert!(!is_temporary(other.as_bytes()), "{other}");
        }
    }
}
