//! What was made, written down before it is made: a file for each run, locked while that runs. Whoever gets the lock of another one knows
//! that it was killed, and removes what it left.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Kind, Made};
use crate::terminal::escape::path as shown;

/// Length of a run's id, in hexadecimal digits.
const ID_LENGTH: usize = 16;

/// Where records lie, below the folder for what is remembered of runs.
pub fn folder_of(state: &Path) -> PathBuf {
    state.join("fs-snapshots")
}

/// The snapshots of one run.
pub struct Record {
    /// Locked as long as it is open.
    file: File,
    path: PathBuf,
    id: String,
    made: Vec<Made>,
}

fn encode(made: &Made) -> Vec<u8> {
    let place = made.place.as_deref().unwrap_or(Path::new(""));
    [made.kind.name().as_bytes(), made.what.as_os_str().as_bytes(), place.as_os_str().as_bytes(), b""]
        .join(&0)
}

/// What a record holds; a part that was not written to its end was not made either.
fn decode(bytes: &[u8]) -> Vec<Made> {
    let fields: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let whole = &fields[..fields.len() - 1];
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let one = |fields: &[&[u8]]| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name().as_bytes() == fields[0])?;
        Some(Made { kind, what: path(fields[1]), place: (!fields[2].is_empty()).then(|| path(fields[2])) })
    };
    whole.chunks_exact(3).filter_map(one).collect()
}

/// Whether it bears a name that copal gave in that run: nothing else is ever removed.
fn is_of_run(made: &Made, id: &str, folder: &Path) -> bool {
    let what = made.what.as_os_str().as_bytes();
    let name = what.rsplit(|byte| matches!(byte, b'/' | b'@')).next().unwrap_or_default();
    let begin = match made.kind {
        Kind::Btrfs => format!(".copal-{id}-"),
        Kind::Lvm | Kind::Zfs => format!("copal-{id}-"),
    };
    name.starts_with(begin.as_bytes())
        && made.place.as_ref().is_none_or(|place| place.parent() == Some(folder))
}

/// Holds off others that begin or clean, until it is closed.
fn gate(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

impl Record {
    pub fn begin(folder: &Path) -> io::Result<Record> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let random: [u8; ID_LENGTH / 2] = crate::crypto::random().map_err(io::Error::other)?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(&id);
        let _gate = gate(folder)?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Record { file, path, id, made: Vec::new() })
    }

    /// The name of the next snapshot, and a folder that it may be mounted on.
    pub fn next(&self) -> (String, PathBuf) {
        let number = self.made.len();
        (format!("copal-{}-{number}", self.id), self.path.with_file_name(format!("{}-{number}", self.id)))
    }

    /// Notes what is about to be made.
    pub fn add(&mut self, made: Made) -> io::Result<()> {
        self.file.write_all(&encode(&made))?;
        self.file.sync_all()?;
        // Known to the next run also after a power cut.
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        self.made.push(made);
        Ok(())
    }

    /// Removes all that was made, the last one first; tells what stays, and keeps its record then.
    pub fn release(self) -> Vec<String> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        remove_all(&self.made, &self.path, &self.id, folder)
    }
}

fn remove_all(made: &[Made], path: &Path, id: &str, folder: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for one in made.iter().rev().filter(|one| is_of_run(one, id, folder)) {
        if let Err(why) = one.kind.maker().remove(one) {
            let (kind, what) = (one.kind.name(), shown(&one.what));
            problems.push(format!("the {kind} snapshot {what} could not be removed: {why}"));
        }
    }
    if problems.is_empty() {
        let _ = std::fs::remove_file(path);
    }
    problems
}

/// Removes what runs left that were killed; gives how many snapshots went, and what stays.
pub fn clean(folder: &Path) -> (usize, Vec<String>) {
    let (mut removed, mut problems) = (0, Vec::new());
    let Ok(_gate) = gate(folder) else { return (removed, problems) };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|id| id.len() == ID_LENGTH) else { continue };
        let Ok(file) = File::open(entry.path()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let made = decode(&std::fs::read(entry.path()).unwrap_or_default());
        let stays = remove_all(&made, &entry.path(), id, folder);
        removed += made.len() - stays.len().min(made.len());
        problems.extend(stays);
    }
    (removed, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: Kind, what: &str) -> Made {
        Made { kind, what: what.into(), place: None }
    }

    #[test]
    fn records_come_back_and_halves_do_not() {
        let place = Some(PathBuf::from("/state/0-0"));
        let all = [made(Kind::Btrfs, "/a b/.copal-0-0"), Made { place, ..made(Kind::Lvm, "vg/copal-0-1") }];
        let bytes: Vec<u8> = all.iter().flat_map(encode).collect();
        assert_eq!(decode(&bytes), all);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).len() < 2, "{length}");
        }
    }

    #[test]
    fn nothing_is_removed_that_copal_did_not_name() {
        let folder = Path::new("/state");
        assert!(is_of_run(&made(Kind::Btrfs, "/a/.copal-0123-0"), "0123", folder));
        assert!(is_of_run(&made(Kind::Zfs, "tank/a@copal-0123-0"), "0123", folder));
        for wrong in [
            made(Kind::Btrfs, "/home"),
            made(Kind::Btrfs, "/home/.copal-4567-0"),
            made(Kind::Btrfs, "/a/.copal-0123-0/below"),
            made(Kind::Zfs, "tank/copal-0123-0/a@daily"),
            made(Kind::Lvm, "vg/root"),
            Made { place: Some("/mnt".into()), ..made(Kind::Lvm, "vg/copal-0123-0") },
        ] {
            assert!(!is_of_run(&wrong, "0123", folder), "{wrong:?}");
        }
    }
}
