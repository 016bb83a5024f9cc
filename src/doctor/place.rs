//! The folder that a repository lies in, seen from outside and without a key: who may read and write it, what does not belong there,
//! and how full its disk is.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use super::{DAY, Finding, Matter, Next, Severity, mounts};
use crate::backend::Kind;
use crate::files::Owners;
use crate::model::Time;
use crate::terminal::escape::escape;
use crate::terminal::size::{agree, show_count, show_size};

/// Free bytes below which nothing more can be saved: a pack needs as much.
const FULL_BYTES: u64 = 24 << 20;
/// Free bytes below which a disk is told as almost full, when that is also less than a twentieth of it.
const LOW_BYTES: u64 = 20 << 30;
/// Free inodes that count as none.
const FULL_INODES: u64 = 100;
/// The folder of files that are on their way, and how their names begin.
const TEMPORARY: &str = "tmp";
const PREFIX: &str = "tmp-";
/// What is kept aside there for a full disk.
const RESERVE: &str = "reserve";
/// Age of such a file from which nobody writes it any more, seconds: two leases.
const LEFT_SECONDS: i64 = 2 * DAY;
/// What file systems put into their roots.
const USUAL: [&str; 3] = ["lost+found", "System Volume Information", "$RECYCLE.BIN"];

/// That no repository is here.
pub(super) fn none_here(folder: Option<&Path>, location: &str) -> Finding {
    let missing =
        |what: String| Finding::new(Severity::Bad, Matter::NoRepository, what).of([location.to_owned()]);
    let Some(folder) = folder else {
        return missing("there is no repository".to_owned()).then(Next::copal("init"));
    };
    if let Some(point) = mounts::unmounted(folder) {
        let what = format!("there is no repository, and the disk of {} is not mounted", shown(&point));
        return missing(what).then(Next::other(&["mount"], &point));
    }
    if folder.join(Kind::Packs.folder()).is_dir() && folder.join(Kind::Snapshots.folder()).is_dir() {
        let what = "config and all key slots are gone: what is left can not be opened without a copy of keys/ from elsewhere";
        return Finding { is_damage: true, ..missing(what.to_owned()) }
            .then(Next::other(&["ls", "-la"], folder));
    }
    let what = match folder.exists() {
        true => "there is no repository in this folder: is it the right one, and is its disk mounted?",
        false => "there is no such folder: is the path right, and is its disk mounted?",
    };
    missing(what.to_owned()).then(Next::copal("init"))
}

/// Everything that can be seen from outside; and whether the folder can be read at all.
pub(super) fn look(folder: &Path, now: Time) -> (Vec<Finding>, bool) {
    let about = match std::fs::metadata(folder) {
        Ok(about) if about.is_dir() => about,
        // That no repository is there is told by whoever looks for one.
        Ok(_) => return (Vec::new(), true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return (vec![denied(folder, None, vec![shown(folder)])], false);
        }
        Err(_) => return (Vec::new(), true),
    };
    let mut walk = Walk { now, owner: about.uid(), ..Walk::default() };
    walk.all(folder);
    let mut findings = Vec::new();
    if !walk.denied.is_empty() {
        let stop = walk.denied.iter().any(|path| {
            path == folder
                || [Kind::Config, Kind::Keys].iter().any(|kind| *path == folder.join(kind.folder()))
        });
        let objects = walk.denied.iter().map(|path| shown(path)).collect();
        findings.push(denied(folder, Some(about.uid()), objects));
        if stop {
            return (findings, false);
        }
    }
    writable(folder, &about, &mut findings);
    full(folder, &mut findings);
    walk.tell(folder, &mut findings);
    (findings, true)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes()).into_owned()
}

/// The name of a user, or the number.
fn user(uid: u32) -> String {
    Owners::new().user(uid).map_or_else(|| uid.to_string(), |name| escape(&name).into_owned())
}

fn may(path: &Path, access: Access) -> Result<(), Errno> {
    match rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS) {
        // An old kernel knows only the real user, who is the same here.
        Err(Errno::NOSYS | Errno::INVAL) => rustix::fs::access(path, access),
        other => other,
    }
}

fn denied(folder: &Path, owner: Option<u32>, objects: Vec<String>) -> Finding {
    let me = rustix::process::geteuid().as_raw();
    let (what, next) = match owner {
        Some(owner) if owner != me => (
            format!("the repository belongs to {}, and {} may not read all of it", user(owner), user(me)),
            Next::CopalAs(user(owner), "doctor"),
        ),
        Some(_) => (
            "parts of the repository's folder may not be read, not even by its owner".to_owned(),
            Next::other(&["chmod", "-R", "u+rwX"], folder),
        ),
        None => (
            format!("{} may not look into a folder above the repository", user(me)),
            Next::CopalAs("root".to_owned(), "doctor"),
        ),
    };
    Finding::new(Severity::Bad, Matter::FolderDenied, what).of(objects).then(next)
}

/// Whether it can be written, and whether too many can.
fn writable(folder: &Path, about: &std::fs::Metadata, findings: &mut Vec<Finding>) {
    let me = rustix::process::geteuid().as_raw();
    let add = |what: &str, next| {
        Finding::new(Severity::Warning, Matter::FolderReadOnly, what).of([shown(folder)]).then(next)
    };
    match may(folder, Access::WRITE_OK) {
        Ok(()) => {}
        Err(Errno::ROFS) => findings.push(add(
            "the repository's disk is mounted read-only: everything can be restored, nothing can be saved",
            Next::other(&["findmnt", "-T"], folder),
        )),
        Err(_) if about.uid() == me => findings.push(add(
            "the repository's folder may not be written: everything can be restored, nothing can be saved",
            Next::other(&["chmod", "-R", "u+rwX"], folder),
        )),
        Err(_) => findings.push(add(
            &format!(
                "the repository belongs to {}, and {} may only read it: everything can be restored, nothing can be saved",
                user(about.uid()),
                user(me)
            ),
            Next::CopalAs(user(about.uid()), "doctor"),
        )),
    }
    if about.mode() & 0o002 != 0 {
        findings.push(
            Finding::new(
                Severity::Warning,
                Matter::OpenToOthers,
                "every user of this machine may write into the repository's folder, and so may destroy it",
            )
            .of([shown(folder)])
            .then(Next::other(&["chmod", "-R", "go-w"], folder)),
        );
    }
}

/// How much room a disk has: free bytes, and whether that is too little or little.
pub(super) fn room(folder: &Path) -> Option<(u64, Option<Severity>)> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let (free, all) =
        (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    let no_inodes = disk.f_files > 0 && disk.f_favail < FULL_INODES;
    let severity = match () {
        () if all == 0 => None,
        () if free < FULL_BYTES || no_inodes => Some(Severity::Bad),
        () if free < LOW_BYTES && free < all / 20 => Some(Severity::Warning),
        () => None,
    };
    Some((free, severity))
}

fn full(folder: &Path, findings: &mut Vec<Finding>) {
    let Some((free, Some(severity))) = room(folder) else { return };
    let (matter, what) = match severity {
        Severity::Bad => (
            Matter::StorageFull,
            format!("the repository's disk is full ({} free): nothing can be saved", show_size(free)),
        ),
        _ => (
            Matter::StorageAlmostFull,
            format!("the repository's disk is almost full: {} are free", show_size(free)),
        ),
    };
    findings.push(Finding::new(severity, matter, what).of([shown(folder)]).then(Next::copal("prune")));
}

/// What a walk through the folder saw.
#[derive(Default)]
struct Walk {
    now: Time,
    owner: u32,
    /// Folders and files that this user may not read.
    denied: Vec<PathBuf>,
    foreign: Vec<PathBuf>,
    /// Files of others than the owner of the folder, by who they are of.
    of_others: BTreeMap<u32, u64>,
    /// Files in `tmp` that nobody writes any more, and their bytes.
    left: u64,
    left_bytes: u64,
}

impl Walk {
    fn entries(&mut self, folder: &Path) -> Vec<std::fs::DirEntry> {
        if may(folder, Access::READ_OK | Access::EXEC_OK) == Err(Errno::ACCESS) {
            self.denied.push(folder.to_owned());
            return Vec::new();
        }
        std::fs::read_dir(folder).map(|entries| entries.flatten().collect()).unwrap_or_default()
    }

    fn all(&mut self, folder: &Path) {
        for entry in self.entries(folder) {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            match Kind::ALL.into_iter().find(|kind| kind.folder() == name) {
                Some(Kind::Packs) => self.packs(&path),
                Some(kind) => self.kind(kind, &path, None),
                None if name == TEMPORARY => self.temporary(&path),
                None if name.starts_with('.') || USUAL.contains(&&*name) => {}
                None => self.foreign.push(path),
            }
        }
    }

    fn packs(&mut self, folder: &Path) {
        for entry in self.entries(folder) {
            let name = entry.file_name();
            let digits =
                name.to_str().filter(|name| name.len() == 2 && Kind::Packs.is_name(&name.repeat(32)));
            match digits {
                Some(digits) if entry.path().is_dir() => self.kind(Kind::Packs, &entry.path(), Some(digits)),
                _ => self.foreign.push(entry.path()),
            }
        }
    }

    fn kind(&mut self, kind: Kind, folder: &Path, digits: Option<&str>) {
        for entry in self.entries(folder) {
            let name = entry.file_name();
            let is_name = name.to_str().is_some_and(|name| {
                kind.is_name(name) && digits.is_none_or(|digits| name.starts_with(digits))
            });
            let path = entry.path();
            match entry.metadata() {
                Ok(about) if is_name && about.is_file() => self.object(path, &about),
                Ok(_) if name.as_bytes().starts_with(b".tmp-") => {}
                _ => self.foreign.push(path),
            }
        }
    }

    fn object(&mut self, path: PathBuf, about: &std::fs::Metadata) {
        if about.uid() != self.owner {
            *self.of_others.entry(about.uid()).or_default() += 1;
        }
        if may(&path, Access::READ_OK) == Err(Errno::ACCESS) {
            self.denied.push(path);
        }
    }

    fn temporary(&mut self, folder: &Path) {
        for entry in self.entries(folder) {
            match entry.metadata() {
                Ok(about) if about.is_file() && entry.file_name() == RESERVE => {}
                Ok(about)
                    if about.is_file() && entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) =>
                {
                    if self.now.seconds.saturating_sub(about.mtime()) > LEFT_SECONDS {
                        self.left += 1;
                        self.left_bytes += about.len();
                    }
                }
                _ => self.foreign.push(entry.path()),
            }
        }
    }

    fn tell(self, folder: &Path, findings: &mut Vec<Finding>) {
        if !self.of_others.is_empty() {
            let names: Vec<String> = self.of_others.keys().map(|uid| user(*uid)).collect();
            let count: u64 = self.of_others.values().sum();
            let what = format!(
                "{} of the repository {} not to its owner {} but to {}, and may be out of reach for others",
                show_count(count, "file"),
                agree(count, "belongs", "belong"),
                user(self.owner),
                names.join(", ")
            );
            let owner = self.owner.to_string();
            let next = Next::other(&["sudo", "chown", "-R", &owner], folder);
            findings.push(Finding::new(Severity::Warning, Matter::OwnersMixed, what).then(next));
        }
        if !self.foreign.is_empty() {
            let count = self.foreign.len() as u64;
            let what = format!(
                "{} in the repository's folder {} not copal's: harmless, but they do not belong there",
                match count {
                    1 => "1 file or folder".to_owned(),
                    count => format!("{count} files or folders"),
                },
                agree(count, "is", "are"),
            );
            let mut objects: Vec<String> = self.foreign.iter().map(|path| shown(path)).collect();
            objects.sort_unstable();
            findings.push(Finding::new(Severity::Note, Matter::ForeignFiles, what).of(objects));
        }
        if self.left > 0 {
            let what = format!(
                "{} of {} were left in tmp/ by runs that were cut off; the next backup removes them",
                show_count(self.left, "file"),
                show_size(self.left_bytes)
            );
            let of = [shown(&folder.join(TEMPORARY))];
            findings.push(Finding::new(Severity::Note, Matter::Leftovers, what).of(of));
        }
    }
}
