//! What a run asked of the system, in order, as strace saw it: what was put where, and from when on it is there even after a power cut.

use std::path::{Path, PathBuf};

use regex::Regex;

/// A call that was made, from the line where it began to the line where it was over.
#[derive(Clone, Debug)]
pub struct Event {
    pub begin: usize,
    pub end: usize,
    pub name: String,
    /// The number of the open file, of a call that has one.
    pub handle: Option<u32>,
    /// The file, or its old name.
    pub path: PathBuf,
    /// The new name, of a call that gives one.
    pub to: Option<PathBuf>,
}

impl Event {
    fn syncs(&self, path: &Path) -> bool {
        matches!(&*self.name, "fsync" | "fdatasync") && self.path == path
    }
}

#[derive(Clone, Default)]
pub struct Trace {
    pub events: Vec<Event>,
}

/// A file that got its name: when, and from when on it is durable under it.
#[derive(Clone, Debug)]
pub struct Put {
    pub path: PathBuf,
    pub named: usize,
    pub durable: usize,
}

/// A name that was taken away, and from when on that is durable.
#[derive(Clone, Debug)]
pub struct Taken {
    pub path: PathBuf,
    pub begin: usize,
    pub durable: Option<usize>,
}

/// What strace is to tell.
pub const TRACED: &str = "trace=write,pwrite64,fsync,fdatasync,renameat2,renameat,rename,linkat,link,unlinkat,unlink,mkdirat,mkdir";

impl Trace {
    /// Reads what `strace -f -y -o` wrote. Calls that failed are left out.
    pub fn read(text: &str) -> Trace {
        let resumed = Regex::new(r"^<\.\.\. (\w+) resumed>(.*)$").unwrap();
        let whole = Regex::new(r"^(\w+)\((.*)\)\s+= (-?\d+)").unwrap();
        let names = Regex::new(r#"(?:(\d+)|AT_FDCWD)<([^>]*)>|"((?:[^"\\]|\\.)*)""#).unwrap();
        let mut begun: std::collections::HashMap<&str, (usize, String)> = Default::default();
        let mut events = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let Some((thread, what)) = line.split_once(' ') else { continue };
            let what = what.trim_start();
            let (begin, what) = if let Some(first) = what.strip_suffix(" <unfinished ...>") {
                begun.insert(thread, (number, first.to_owned()));
                continue;
            } else if let Some(rest) = resumed.captures(what) {
                let (begin, first) = begun.remove(thread).expect("a call that never began");
                (begin, first + &rest[2])
            } else {
                (number, what.to_owned())
            };
            let Some(parts) = whole.captures(&what) else { continue };
            if parts[3].starts_with('-') {
                continue;
            }
            let mut handle = None;
            let mut paths: Vec<PathBuf> = Vec::new();
            let mut folder: Option<PathBuf> = None;
            let is_of_file = matches!(&parts[1], "write" | "pwrite64" | "fsync" | "fdatasync");
            for found in names.captures_iter(&parts[2]) {
                if let Some(path) = found.get(2) {
                    handle = handle.or(found.get(1).and_then(|number| number.as_str().parse().ok()));
                    folder = Some(path.as_str().into());
                    if is_of_file {
                        paths.push(path.as_str().into());
                        break;
                    }
                } else if let Some(path) = found.get(3) {
                    let path = Path::new(path.as_str());
                    paths.push(folder.take().map_or(path.to_path_buf(), |folder| folder.join(path)));
                }
            }
            let name = parts[1].to_owned();
            let two = name.starts_with("rename") || name.starts_with("link");
            let to = two.then(|| paths.get(1).cloned()).flatten();
            let Some(path) = paths.into_iter().next() else { continue };
            events.push(Event { begin, end: number, name, handle, path, to });
        }
        Trace { events }
    }

    fn sync_after(&self, path: &Path, after: usize) -> Option<usize> {
        let syncs = self.events.iter().filter(|event| event.syncs(path) && event.begin >= after);
        syncs.map(|event| event.end).min()
    }

    /// From when on an entry of a folder is durable that was made or taken away at `after`; the folders above too, where they are new.
    fn entry_durable(&self, path: &Path, after: usize) -> Result<usize, String> {
        let above = path.parent().unwrap();
        let mut durable = self
            .sync_after(above, after)
            .ok_or_else(|| format!("{}: its folder was not synced after it", path.display()))?;
        for folder in path.ancestors().skip(1) {
            let made =
                self.events.iter().find(|event| event.name.starts_with("mkdir") && event.path == folder);
            if let (Some(made), Some(above)) = (made, folder.parent()) {
                let synced = self.sync_after(above, made.end).ok_or_else(|| {
                    format!("{}: it is new, and the folder above was not synced", folder.display())
                })?;
                durable = durable.max(synced);
            }
        }
        Ok(durable)
    }

    /// Every file below `root` that got its name by renaming or linking, each written and synced before. Errors: what was not synced.
    pub fn puts(&self, root: &Path) -> Result<Vec<Put>, String> {
        let mut puts = Vec::new();
        for event in &self.events {
            let Some(to) = event.to.as_ref().filter(|to| to.starts_with(root)) else { continue };
            self.check_written(&event.path, event.begin)?;
            let durable = self.entry_durable(to, event.end)?;
            puts.push(Put { path: to.clone(), named: event.begin, durable });
        }
        Ok(puts)
    }

    /// That a file was written, and synced after that and before a moment.
    fn check_written(&self, path: &Path, before: usize) -> Result<usize, String> {
        let writes = |event: &&Event| matches!(&*event.name, "write" | "pwrite64") && event.path == path;
        let last = self.events.iter().filter(writes).map(|event| event.end).max();
        let last = last.ok_or_else(|| format!("{}: nothing was written", path.display()))?;
        match self.sync_after(path, last) {
            Some(synced) if last < before && synced < before => Ok(synced),
            _ => Err(format!("{}: it was not synced between its last write and its name", path.display())),
        }
    }

    /// Every name below `root` that was taken away.
    pub fn taken(&self, root: &Path) -> Vec<Taken> {
        let taken = self.events.iter().filter(|event| event.name.starts_with("unlink"));
        taken
            .filter(|event| event.path.starts_with(root))
            .map(|event| Taken {
                path: event.path.clone(),
                begin: event.begin,
                durable: self.sync_after(event.path.parent().unwrap(), event.end),
            })
            .collect()
    }

    /// When something was first written to that standard handle.
    pub fn said(&self, handle: u32) -> Option<usize> {
        let said = self.events.iter().filter(|event| event.name == "write" && event.handle == Some(handle));
        said.map(|event| event.begin).min()
    }

    /// The same without one of its calls.
    pub fn without(&self, place: usize) -> Trace {
        let mut events = self.events.clone();
        events.remove(place);
        Trace { events }
    }
}
